use serde::{Deserialize, Serialize};

use super::Mean;

/// Predictions of a network for images that may have several classes, or none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MultiLabelPredictions {
    classes: usize,
    /// One row per image and one column per class.
    probabilities: Vec<f32>,
    truth: Vec<bool>,
}

impl MultiLabelPredictions {
    /// No predictions yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, ..Self::default() }
    }

    /// Adds images: the probability of each class, `[images, classes]`, and whether the image has it.
    ///
    /// # Panics
    /// If the two are not rows of the same images.
    pub fn push(&mut self, probabilities: &[f32], truth: &[bool]) {
        assert!(probabilities.len() == truth.len() && truth.len().is_multiple_of(self.classes.max(1)), "whole rows");
        self.probabilities.extend_from_slice(probabilities);
        self.truth.extend_from_slice(truth);
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.truth.len() / self.classes.max(1)
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.truth.is_empty()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The probability of each class and whether the image has it, image by image.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], &[bool])> {
        let size = self.classes.max(1);
        self.probabilities.chunks_exact(size).zip(self.truth.chunks_exact(size))
    }

    /// The images of one class, ranked.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn scores(&self, class: usize) -> Scores {
        assert!(class < self.classes, "class {class} of {}", self.classes);
        Scores::new(self.rows().map(|(row, truth)| (row[class], truth[class])).collect())
    }

    /// The threshold of each class that has the best F1 on these images ([`Scores::best_threshold`]).
    pub fn best_thresholds(&self) -> Vec<f32> {
        (0..self.classes).map(|class| self.scores(class).best_threshold()).collect()
    }
}

/// Images with the probability of one class, the most probable first, and whether they have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    ranked: Vec<(f32, bool)>,
    positives: usize,
}

impl Scores {
    /// Of these probabilities and truths, in any order.
    pub fn new(mut scores: Vec<(f32, bool)>) -> Self {
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let positives = scores.iter().filter(|(_, own)| *own).count();
        Self { ranked: scores, positives }
    }

    /// For each distinct probability, the largest first: the probability, how many images have at least that much, and how many of them have the
    /// class.
    fn steps(&self) -> impl Iterator<Item = (f32, usize, usize)> {
        let (mut taken, mut right) = (0, 0);
        self.ranked.chunk_by(|a, b| a.0 == b.0).map(move |tied| {
            taken += tied.len();
            right += tied.iter().filter(|(_, own)| *own).count();
            (tied[0].0, taken, right)
        })
    }

    /// The curve of precision over recall: `(recall, precision)` for each distinct probability, the largest first. It is empty if no image
    /// has the class.
    pub fn curve(&self) -> Vec<[f64; 2]> {
        let point = |(_, taken, right): (f32, usize, usize)| {
            [right as f64 / self.positives as f64, right as f64 / taken as f64]
        };
        self.steps().filter(|_| self.positives > 0).map(point).collect()
    }

    /// Average precision, as scikit-learn's `average_precision_score` defines it: the sum of the precisions, each weighted with the
    /// recall that its threshold adds. `None` if no image has the class; scikit-learn says 0 then.
    pub fn average_precision(&self) -> Option<f64> {
        let mut before = 0.0;
        let add = |[recall, precision]: [f64; 2]| {
            let part = (recall - before) * precision;
            before = recall;
            part
        };
        (self.positives > 0).then(|| self.curve().into_iter().map(add).sum())
    }

    /// The threshold with the best F1, halfway between the least probable image that is taken and the most probable one that is not, so
    /// that other images are as likely as possible on the right side of it. Of equally good thresholds it is the largest; one half if no
    /// image has the class.
    pub fn best_threshold(&self) -> f32 {
        let mut best: Option<(f64, f32)> = None;
        let mut steps = self.steps().peekable();
        while let Some((probability, taken, right)) = steps.next() {
            let f1 = 2.0 * right as f64 / (taken + self.positives) as f64;
            if right > 0 && best.is_none_or(|(known, _)| f1 > known) {
                let next = steps.peek().map_or(0.0, |(next, ..)| *next);
                let between = f32::midpoint(probability, next);
                best = Some((f1, if between > next { between } else { probability }));
            }
        }
        best.map_or(0.5, |(_, threshold)| threshold)
    }
}

/// All metrics of predictions for images that may have several classes, as `summary.json` has them under `multi_label`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelReport {
    /// Number of images.
    pub images: usize,
    /// Mean loss, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Share of right decisions, one per image and class, with one half as the threshold of all classes: Keras's `binary_accuracy`.
    pub binary_accuracy: f64,
    /// Share of the images all of whose classes are right, by the thresholds of the classes: scikit-learn's `accuracy_score`.
    pub exact_match: f64,
    /// Mean of the average precisions of the classes that occur; `None` if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// Mean over all classes, by their thresholds.
    #[serde(rename = "macro")]
    pub macro_mean: Mean,
    /// Of all decisions together, by the thresholds of the classes.
    #[serde(rename = "micro")]
    pub micro: Mean,
    /// Mean F1 over all classes with one half as the threshold of all.
    pub macro_f1_at_half: f64,
    /// Metrics of each class.
    pub per_class: Vec<ClassFigures>,
}

/// One class of a [`MultiLabelReport`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// Name of the class.
    pub class: String,
    /// Number of images that have it.
    pub support: usize,
    /// The probability from which on an image is said to have it.
    pub threshold: f32,
    /// Average precision ([`Scores::average_precision`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// Precision: of the images that are predicted to have it, the share that have it; 0 if there are none.
    pub precision: f64,
    /// Recall: of the images that have it, the share that are predicted to have it; 0 if there are none.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of images by truth (rows: has it not, has it) and prediction (columns), as scikit-learn's `multilabel_confusion_matrix`.
    pub confusion: [[usize; 2]; 2],
}

impl ClassFigures {
    fn of(confusion: [[usize; 2]; 2]) -> Mean {
        let [[_, wrong], [missed, right]] = confusion;
        let share = |of: usize| if of == 0 { 0.0 } else { right as f64 / of as f64 };
        let all = 2 * right + wrong + missed;
        let f1 = if all == 0 { 0.0 } else { 2.0 * right as f64 / all as f64 };
        Mean { precision: share(right + wrong), recall: share(right + missed), f1 }
    }
}

/// Counts decisions by truth and prediction.
fn confusion(decisions: impl Iterator<Item = (bool, bool)>) -> [[usize; 2]; 2] {
    let mut counts = [[0; 2]; 2];
    decisions.for_each(|(truth, said)| counts[usize::from(truth)][usize::from(said)] += 1);
    counts
}

impl MultiLabelReport {
    /// Computes the report of `predictions`, where an image is said to have a class if its probability reaches the threshold of the class.
    /// `None` without images.
    ///
    /// # Panics
    /// If the numbers of names and thresholds are not that of the classes.
    pub fn new(predictions: &MultiLabelPredictions, classes: &[String], thresholds: &[f32]) -> Option<Self> {
        let all = predictions.classes();
        assert_eq!((all, all), (classes.len(), thresholds.len()), "a name and a threshold for each class");
        if predictions.is_empty() {
            return None;
        }
        let images = predictions.len();
        let counts = |class: usize, says: &dyn Fn(f32) -> bool| {
            confusion(predictions.rows().map(|(row, truth)| (truth[class], says(row[class]))))
        };
        let figures = |class: usize| {
            let confusion = counts(class, &|p| p >= thresholds[class]);
            let Mean { precision, recall, f1 } = ClassFigures::of(confusion);
            ClassFigures {
                class: classes[class].clone(),
                support: confusion[1].iter().sum(),
                threshold: thresholds[class],
                average_precision: predictions.scores(class).average_precision(),
                precision,
                recall,
                f1,
                confusion,
            }
        };
        let per_class: Vec<ClassFigures> = (0..all).map(figures).collect();
        let mean = |figure: &dyn Fn(&ClassFigures) -> f64| per_class.iter().map(figure).sum::<f64>() / all as f64;
        let macro_mean =
            Mean { precision: mean(&|it| it.precision), recall: mean(&|it| it.recall), f1: mean(&|it| it.f1) };
        let mut sum = [[0; 2]; 2];
        for (row, own) in per_class.iter().flat_map(|it| &it.confusion).enumerate() {
            own.iter().enumerate().for_each(|(column, count)| sum[row % 2][column] += count);
        }
        let halves: Vec<_> = (0..all).map(|class| counts(class, &|p| p > 0.5)).collect();
        let right: usize = halves.iter().map(|[[no, _], [_, yes]]| no + yes).sum();
        let is_exact = |(row, truth): (&[f32], &[bool])| {
            row.iter().zip(thresholds).zip(truth).all(|((p, threshold), own)| (p >= threshold) == *own)
        };
        let precisions: Vec<f64> = per_class.iter().filter_map(|it| it.average_precision).collect();
        Some(Self {
            images,
            loss: None,
            binary_accuracy: right as f64 / (images * all) as f64,
            exact_match: predictions.rows().filter(|&row| is_exact(row)).count() as f64 / images as f64,
            mean_average_precision: (!precisions.is_empty())
                .then(|| precisions.iter().sum::<f64>() / precisions.len() as f64),
            macro_mean,
            micro: ClassFigures::of(sum),
            macro_f1_at_half: halves.iter().map(|&counts| ClassFigures::of(counts).f1).sum::<f64>() / all as f64,
            per_class,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn close(ours: f64, theirs: &Value, what: &str) {
        let theirs = theirs.as_f64().expect("a number");
        assert!((ours - theirs).abs() < 1e-12, "{what}: {ours} is not {theirs}");
    }

    #[test]
    fn every_metric_of_several_classes_per_image_is_that_of_scikit_learn() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/golden/multi_label.json")).expect("JSON");
        for case in golden["cases"].as_array().expect("a list") {
            let name = case["name"].as_str().expect("a name");
            let rows: Vec<Vec<f32>> = serde_json::from_value(case["probabilities"].clone()).expect("rows");
            let truth: Vec<Vec<u8>> = serde_json::from_value(case["truth"].clone()).expect("rows");
            let thresholds: Vec<f32> = serde_json::from_value(case["thresholds"].clone()).expect("one per class");
            let truth: Vec<bool> = truth.concat().into_iter().map(|mark| mark == 1).collect();
            let mut predictions = MultiLabelPredictions::new(thresholds.len());
            // The rows are added in two batches.
            let (probabilities, half) = (rows.concat(), rows.len() / 2 * thresholds.len());
            predictions.push(&probabilities[..half], &truth[..half]);
            predictions.push(&probabilities[half..], &truth[half..]);
            let names: Vec<String> = (0..thresholds.len()).map(|class| class.to_string()).collect();
            let report = MultiLabelReport::new(&predictions, &names, &thresholds).expect("there are images");
            close(report.binary_accuracy, &case["binary_accuracy"], name);
            close(report.exact_match, &case["exact_match"], name);
            close(report.mean_average_precision.expect("a class occurs"), &case["mean_average_precision"], name);
            close(report.macro_f1_at_half, &case["macro_f1_at_half"], name);
            for (mean, key) in [(report.macro_mean, "macro"), (report.micro, "micro")] {
                close(mean.precision, &case[key]["precision"], name);
                close(mean.recall, &case[key]["recall"], name);
                close(mean.f1, &case[key]["f1"], name);
            }
            for (at, class) in report.per_class.iter().enumerate() {
                assert_eq!(serde_json::json!(class.confusion), case["confusion"][at], "{name}");
                assert_eq!(serde_json::json!(class.support), case["support"][at], "{name}");
                close(class.precision, &case["precision"][at], name);
                close(class.recall, &case["recall"][at], name);
                close(class.f1, &case["f1"][at], name);
                match class.average_precision {
                    Some(precision) => close(precision, &case["average_precision"][at], name),
                    None => assert_eq!(class.support, 0, "{name}"),
                }
                // No threshold that scikit-learn knows has a better F1.
                let best = predictions.scores(at).best_threshold();
                let own = MultiLabelReport::new(&predictions, &names, &vec![best; names.len()]).expect("images");
                if class.support > 0 {
                    close(own.per_class[at].f1, &case["best_f1"][at], name);
                }
            }
        }
    }

    #[test]
    fn a_threshold_lies_halfway_between_the_images_that_it_parts() {
        let check = |scores: &[(f32, bool)], expected: f32| {
            assert_eq!(Scores::new(scores.to_vec()).best_threshold(), expected, "{scores:?}");
        };
        check(&[(0.9, true), (0.7, true), (0.3, false)], 0.5);
        check(&[(0.9, false), (0.75, true), (0.25, false), (0.0, false)], 0.5);
        check(&[(0.25, true), (0.125, true)], 0.0625);
        check(&[(0.9, false)], 0.5);
        check(&[], 0.5);
        // Neighbours in single precision have nothing between them.
        check(&[(0.5_f32.next_up(), true), (0.5, false)], 0.5_f32.next_up());
    }
}
