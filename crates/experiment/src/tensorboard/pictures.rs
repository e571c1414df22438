//! What the best epoch says, as TensorBoard shows it: the photos of its most confident mistakes, and precision over recall.

use std::path::Path;

use injerto_data::decode::examine;
use injerto_data::{Dataset, thumbnails};
use injerto_files::printable;
use injerto_trainer::metrics::Answers;

use super::{BYTES, VARINT, bytes, double, tag_of, varint};

/// Photos that are shown, and the longer side of each in pixels.
const PHOTOS: usize = 12;
const SIDE: usize = 160;
/// Most classes whose curves are written.
const CLASSES: usize = 30;
/// Thresholds of a curve, evenly from 0 to 1.
const THRESHOLDS: usize = 101;

/// What the best epoch said of the validation images.
#[derive(Debug)]
pub(super) struct Said {
    pub epoch: usize,
    pub answers: Answers,
    /// Position of each image in the dataset.
    pub images: Vec<usize>,
}

impl Said {
    /// The probability of each class, and whether the image has it, image by image.
    fn rows(&self) -> Vec<(&[f32], Vec<bool>)> {
        match &self.answers {
            Answers::MultiClass(predictions) => {
                let truth = |label: u32, classes: usize| (0..classes).map(|class| class == label as usize).collect();
                predictions.rows().map(|(row, _, label)| (row, truth(label, row.len()))).collect()
            }
            Answers::MultiLabel(predictions) => predictions.rows().map(|(row, truth)| (row, truth.to_vec())).collect(),
        }
    }

    /// Row, class and error of the decisions that are farthest from the truth, one per image, the worst first: only those that are wrong by
    /// more than one half.
    fn mistakes(&self) -> Vec<(usize, usize, f32)> {
        let worst = |(row, (probabilities, truth)): (usize, (&[f32], Vec<bool>))| {
            let error = |class: usize| if truth[class] { 1.0 - probabilities[class] } else { probabilities[class] };
            let class = (0..truth.len()).max_by(|&a, &b| error(a).total_cmp(&error(b)))?;
            Some((row, class, error(class))).filter(|(.., error)| *error > 0.5)
        };
        let mut all: Vec<(usize, usize, f32)> = self.rows().into_iter().enumerate().filter_map(worst).collect();
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        all.truncate(PHOTOS);
        all
    }

    /// The events of curves and photos, at this time in seconds. Photos that are no files, or that are gone, are left out.
    pub fn events(&self, wall_time: f64, dataset: &Dataset) -> Vec<Vec<u8>> {
        let (rows, classes) = (self.rows(), &dataset.classes);
        let mut values: Vec<Vec<u8>> = Vec::new();
        for (class, name) in classes.iter().enumerate().take(CLASSES) {
            let scores: Vec<(f32, bool)> = rows.iter().map(|(row, truth)| (row[class], truth[class])).collect();
            values.push(curve(&format!("precision and recall/{}", printable(name)), &scores));
        }
        let files: Vec<(usize, usize, f32, &Path)> = self
            .mistakes()
            .into_iter()
            .filter_map(|(row, class, error)| {
                Some((row, class, error, dataset.samples[self.images[row]].origin.path()?))
            })
            .collect();
        let paths: Vec<&Path> = files.iter().map(|(.., path)| *path).collect();
        for (place, ((row, class, error, _), jpeg)) in files.iter().zip(thumbnails(&paths, SIDE)).enumerate() {
            let Some(jpeg) = jpeg else { continue };
            let label = dataset.samples[self.images[*row]].label.name(classes);
            let label = if label.is_empty() { "nothing".into() } else { label };
            let (class, truth) = (&classes[*class], rows[*row].1[*class]);
            let probability = 100.0 * if truth { 1.0 - error } else { *error };
            let tag =
                format!("mistakes/{:02}: {}, {} {probability:.1} %", place + 1, printable(&label), printable(class));
            values.extend(picture(&tag, &jpeg));
        }
        let event = |value: &Vec<u8>| {
            let mut summary = Vec::new();
            bytes(&mut summary, 1, value);
            let mut message = Vec::new();
            double(&mut message, 1, wall_time);
            tag_of(&mut message, 2, VARINT);
            varint(&mut message, self.epoch as u64);
            bytes(&mut message, 5, &summary);
            message
        };
        values.iter().map(event).collect()
    }
}

fn number(message: &mut Vec<u8>, field: u64, value: u64) {
    tag_of(message, field, VARINT);
    varint(message, value);
}

/// A `Summary.Value` with a JPEG; `None` if it cannot be read.
fn picture(tag: &str, jpeg: &[u8]) -> Option<Vec<u8>> {
    let size = examine(jpeg).ok()?;
    let mut image = Vec::new();
    number(&mut image, 1, size.height.into());
    number(&mut image, 2, size.width.into());
    number(&mut image, 3, 3);
    bytes(&mut image, 4, jpeg);
    let mut value = Vec::new();
    bytes(&mut value, 1, tag.as_bytes());
    bytes(&mut value, 4, &image);
    Some(value)
}

/// A `Summary.Value` of the plugin `pr_curves`: a tensor `[6, thresholds]` of true positives, false positives, true negatives, false
/// negatives, precision and recall.
fn curve(tag: &str, scores: &[(f32, bool)]) -> Vec<u8> {
    let mut rows = [const { Vec::<f32>::new() }; 6];
    for step in 0..THRESHOLDS {
        let threshold = step as f32 / (THRESHOLDS - 1) as f32;
        let count = |truth: bool, said: bool| {
            scores.iter().filter(|(p, own)| *own == truth && (*p >= threshold) == said).count() as f32
        };
        let [right, wrong, rest, missed] =
            [count(true, true), count(false, true), count(false, false), count(true, false)];
        let share = |of: f32| if of == 0.0 { 0.0 } else { right / of };
        let values = [right, wrong, rest, missed, share(right + wrong), share(right + missed)];
        rows.iter_mut().zip(values).for_each(|(row, value)| row.push(value));
    }
    let (mut plugin_data, mut content, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
    number(&mut content, 2, THRESHOLDS as u64);
    bytes(&mut plugin_data, 1, b"pr_curves");
    bytes(&mut plugin_data, 2, &content);
    bytes(&mut metadata, 1, &plugin_data);
    // DATA_CLASS_TENSOR
    number(&mut metadata, 4, 2);
    let (mut shape, mut tensor) = (Vec::new(), Vec::new());
    for side in [rows.len(), THRESHOLDS] {
        let mut dimension = Vec::new();
        number(&mut dimension, 1, side as u64);
        bytes(&mut shape, 2, &dimension);
    }
    // DT_FLOAT
    number(&mut tensor, 1, 1);
    bytes(&mut tensor, 2, &shape);
    let floats: Vec<u8> = rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    tag_of(&mut tensor, 5, BYTES);
    varint(&mut tensor, floats.len() as u64);
    tensor.extend(floats);
    let mut value = Vec::new();
    bytes(&mut value, 1, tag.as_bytes());
    bytes(&mut value, 8, &tensor);
    bytes(&mut value, 9, &metadata);
    value
}

#[cfg(test)]
mod tests {
    use injerto_data::{Label, Sample};
    use injerto_trainer::metrics::MultiLabelPredictions;

    use super::*;

    #[test]
    fn a_curve_holds_the_six_rows_of_the_plugin() {
        let value = curve("a", &[(0.9, true), (0.6, false), (0.2, true)]);
        let floats = 6 * THRESHOLDS * 4;
        let start = value.windows(2).position(|pair| pair == [0x08, 0x01]).expect("a tensor of floats");
        // Kind, shape `[6, 101]`, and the packed values after their tag and length (2424 as two bytes).
        assert_eq!(value[start..start + 13], [8, 1, 18, 8, 18, 2, 8, 6, 18, 2, 8, 101, 42]);
        let at = |row: usize, step: usize| {
            let place = start + 15 + (row * THRESHOLDS + step) * 4;
            f32::from_le_bytes(value[place..place + 4].try_into().expect("four bytes"))
        };
        assert!(value.len() > start + 15 + floats);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|row| at(row, 50)), [1.0, 1.0, 0.0, 1.0, 0.5, 0.5]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|row| at(row, 0)), [2.0, 1.0, 0.0, 0.0, 2.0 / 3.0, 1.0]);
    }

    #[test]
    fn the_most_confident_mistakes_come_first_and_only_photos_are_shown() {
        let mut predictions = MultiLabelPredictions::new(2);
        predictions.push(&[0.9, 0.2, 0.4, 0.6, 0.05, 0.4], &[true, false, false, false, true, false]);
        let said = Said { epoch: 3, answers: Answers::MultiLabel(predictions), images: vec![0, 1, 2] };
        let found: Vec<(usize, usize)> = said.mistakes().iter().map(|(row, class, _)| (*row, *class)).collect();
        assert_eq!(found, [(2, 0), (1, 1)]);
        let samples = (0..3).map(|_| Sample::new(vec![0_u8], Label::several([0]))).collect();
        let dataset = Dataset { classes: vec!["a".to_owned(), "b".to_owned()], samples };
        assert_eq!(said.events(0.0, &dataset).len(), 2, "a curve per class, and no photos in memory");
    }
}
