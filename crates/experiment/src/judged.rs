//! The predictions of the best epoch for each validation image (`predictions.csv`), and how far the figures of a run can be trusted.

use std::fmt::Write as _;
use std::path::Path;

use injerto_data::{Dataset, SEPARATOR};
use injerto_files::csv::{field, lines};
use injerto_files::printable;
use injerto_insight::predictions::Predictions;
use injerto_insight::stats::{Baselines, Bootstrap, Estimate, count_of};
use injerto_trainer::metrics::{Answers, MultiLabelPredictions, Predictions as Said};
use injerto_trainer::{Event, Observer};
use serde::{Deserialize, Serialize};

use crate::split::name;
use crate::{ExperimentError, RunFolder};

/// Most values that the bootstrap of the area under the ROC curve sorts: images times classes.
const MOST_SORTED: usize = 20_000;

/// How far the figures of the best epoch can be trusted, and what is reached without looking at a photo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// Accuracy on the validation images, with Wilson's interval.
    pub accuracy: Estimate,
    /// Mean F1 over the classes, with the bootstrap's interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<Estimate>,
    /// Area under the ROC curve, with the bootstrap's interval; `None` for more images and classes than it takes seconds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<Estimate>,
    /// Accuracy of guessing, and of always naming the most frequent class.
    pub against: Baselines,
}

impl Trust {
    /// Of an accuracy on images of which there are so many per class, without what takes a bootstrap.
    pub(crate) fn of_accuracy(accuracy: f64, counts: &[usize]) -> Self {
        let against = Baselines::of(counts);
        let accuracy = Estimate::share(count_of(accuracy, against.n), against.n);
        Self { accuracy, macro_f1: None, roc_auc: None, against }
    }

    /// Of predictions whose labels are known; `None` without images.
    pub(crate) fn new(predictions: &Predictions, seed: u64) -> Option<Self> {
        let (n, bootstrap) = (predictions.len(), Bootstrap::new(seed));
        let mut counts = vec![0; predictions.classes()];
        predictions.labels().iter().for_each(|&label| counts[label as usize] += 1);
        let sorted = n * if predictions.classes() == 2 { 1 } else { predictions.classes() };
        (n > 0).then(|| Self {
            accuracy: predictions.accuracy(),
            macro_f1: predictions.macro_f1(bootstrap),
            roc_auc: (sorted <= MOST_SORTED).then(|| predictions.roc_auc(bootstrap)).flatten(),
            against: Baselines::of(&counts),
        })
    }
}

/// Writes [`RunFolder::PREDICTIONS`] whenever an epoch is the best so far, before its checkpoint: a run that is killed between the
/// two computes the epoch again. If the file could not be written, it is tried again after the epoch, and at the end of the run.
pub(crate) struct Judged<'a> {
    folder: &'a RunFolder,
    root: Option<&'a Path>,
    validation: Option<&'a Dataset>,
    unwritten: Option<String>,
}

impl<'a> Judged<'a> {
    /// For a run in `folder`, whose images lie in `root`.
    pub fn new(folder: &'a RunFolder, root: Option<&'a Path>, validation: Option<&'a Dataset>) -> Self {
        Self { folder, root, validation, unwritten: None }
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    /// It still cannot be written.
    pub fn finish(&mut self) -> Result<(), ExperimentError> {
        if let Some(text) = &self.unwritten {
            self.folder.write(RunFolder::PREDICTIONS, text)?;
        }
        self.unwritten = None;
        Ok(())
    }
}

impl Observer for Judged<'_> {
    fn observe(&mut self, event: &Event<'_>) {
        match (event, self.validation) {
            (Event::Best { answers, images, .. }, Some(dataset)) => {
                let root = self.root.unwrap_or(Path::new(""));
                self.unwritten = Some(to_csv(root, dataset, answers, images));
            }
            (Event::EpochEnded { .. }, _) => {}
            _ => return,
        }
        if let Err(error) = self.finish() {
            tracing::warn!("{error}");
        }
    }
}

/// The network's prediction for each image, as text.
pub(crate) fn to_csv(root: &Path, dataset: &Dataset, answers: &Answers, images: &[usize]) -> String {
    match answers {
        Answers::MultiClass(predictions) => one_to_csv(root, dataset, predictions, images),
        Answers::MultiLabel(predictions) => several_to_csv(root, dataset, predictions, images),
    }
}

/// A line per image: its path below the root, its class, the predicted class, and the probability of each class.
fn one_to_csv(root: &Path, dataset: &Dataset, predictions: &Said, images: &[usize]) -> String {
    let classes = in_a_line(&dataset.classes);
    let class = |at: u32| field(&classes[at as usize]);
    let mut text = "path,label,predicted".to_owned();
    classes.iter().for_each(|class| text.extend([",", &field(class)]));
    text.push('\n');
    for (&image, (row, predicted, label)) in images.iter().zip(predictions.rows()) {
        let path = name(root, &dataset.samples[image]);
        let _ = write!(text, "{},{},{}", field(&path), class(label), class(predicted));
        for probability in row {
            let _ = write!(text, ",{probability}");
        }
        text.push('\n');
    }
    text
}

/// The same where an image may have several classes: a line per image with its path below the root, its classes with `|` between them, those
/// that are predicted by the thresholds with the best F1 of these images, and the probability of each class.
fn several_to_csv(root: &Path, dataset: &Dataset, predictions: &MultiLabelPredictions, images: &[usize]) -> String {
    let (classes, thresholds) = (in_a_line(&dataset.classes), predictions.best_thresholds());
    let mut text = "path,labels,predicted".to_owned();
    classes.iter().for_each(|class| text.extend([",", &field(class)]));
    text.push('\n');
    let names = |holds: &dyn Fn(usize) -> bool| {
        let names: Vec<&str> = (0..classes.len()).filter(|&at| holds(at)).map(|at| classes[at].as_str()).collect();
        names.join(SEPARATOR)
    };
    for (&image, (row, truth)) in images.iter().zip(predictions.rows()) {
        let path = name(root, &dataset.samples[image]);
        let (own, said) = (names(&|at| truth[at]), names(&|at| row[at] >= thresholds[at]));
        let _ = write!(text, "{},{},{}", field(&path), field(&own), field(&said));
        for probability in row {
            let _ = write!(text, ",{probability}");
        }
        text.push('\n');
    }
    text
}

/// Names of classes that fit into a line.
fn in_a_line(classes: &[String]) -> Vec<String> {
    classes.iter().map(|class| printable(class).to_string()).collect()
}

/// The labels and probabilities in the text of a `predictions.csv`; `None` if it is not of these classes.
pub(crate) fn parse(text: &str, classes: &[String]) -> Option<Predictions> {
    let mut rows = lines(text).ok()?.into_iter().map(|(_, row)| row);
    let header = rows.next()?;
    let classes = in_a_line(classes);
    if header.get(3..)? != classes {
        return None;
    }
    let (mut labels, mut probabilities) = (Vec::new(), Vec::new());
    for row in rows {
        labels.push(classes.iter().position(|class| Some(class) == row.get(1))? as u32);
        for value in row.get(3..)? {
            probabilities.push(f64::from(value.parse::<f32>().ok()?));
        }
    }
    Predictions::new(classes.len(), labels, probabilities).ok()
}
