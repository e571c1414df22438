//! Metrics of training and validation.
//!
//! [`Accumulator`] sums loss and accuracy while an epoch runs. [`Answers`] holds the network's answer for each image: [`Predictions`] where
//! an image has one class, and [`MultiLabelPredictions`] where it may have several. [`Figures`] are all metrics of them, a [`Report`] or a
//! [`MultiLabelReport`], with scikit-learn's definitions.

mod multi_label;
mod predictions;
mod report;
mod running;

use injerto_data::Label;
use injerto_losses::Outputs;
use injerto_recipe::{Loss, LossName, Task};
use serde::{Deserialize, Serialize};

use crate::wanted::Wanted;
use crate::{ModelCard, TrainError};

pub use multi_label::{ClassFigures, MultiLabelPredictions, MultiLabelReport, Scores};
pub use predictions::Predictions;
pub use report::{ClassReport, Mean, Report};
pub use running::Accumulator;

/// A network's answers for images whose labels are known.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// Each image has one class.
    MultiClass(Predictions),
    /// An image may have several classes.
    MultiLabel(MultiLabelPredictions),
}

impl Answers {
    /// No answers yet.
    pub fn new(task: Task, classes: usize) -> Self {
        match task {
            Task::MultiClass => Self::MultiClass(Predictions::new(classes)),
            Task::MultiLabel => Self::MultiLabel(MultiLabelPredictions::new(classes)),
        }
    }

    /// The answers for images whose probabilities `[images, classes]` are means over several views or networks, and the mean cross-entropy
    /// of these probabilities.
    ///
    /// # Errors
    /// There are no images, or labels are not those of the task.
    pub fn together(
        task: Task,
        classes: usize,
        probabilities: &[f32],
        labels: &[Label],
    ) -> Result<(f64, Self), TrainError> {
        use injerto_losses::CrossEntropy as _;
        if labels.is_empty() {
            return Err(TrainError::NoImages { subset: "validation" });
        }
        let name = match task {
            Task::MultiClass => LossName::SparseCategoricalCrossentropy,
            Task::MultiLabel => LossName::BinaryCrossentropy,
        };
        let loss = name.with(false, 0.0);
        let (rows, wanted) = (Outputs::new(probabilities, classes), Wanted::new(task, classes, labels)?);
        let value = loss.value(rows, wanted.targets(None), None)?;
        let mut answers = Self::new(task, classes);
        match (&mut answers, &wanted) {
            (Self::MultiClass(predictions), Wanted::Classes(labels)) => {
                predictions.push(probabilities, &loss.predictions(rows), labels);
            }
            _ => answers.take(&loss, rows, &wanted),
        }
        Ok((value, answers))
    }

    /// The probabilities of each image.
    pub fn probabilities(&self) -> Vec<&[f32]> {
        match self {
            Self::MultiClass(predictions) => predictions.rows().map(|(row, ..)| row).collect(),
            Self::MultiLabel(predictions) => predictions.rows().map(|(row, _)| row).collect(),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::MultiClass(predictions) => predictions.len(),
            Self::MultiLabel(predictions) => predictions.len(),
        }
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the outputs `[batch, units]` of a batch, which `loss` interprets.
    pub(crate) fn take(&mut self, loss: &Loss, outputs: Outputs<'_>, wanted: &Wanted) {
        use injerto_losses::CrossEntropy as _;
        match (self, wanted) {
            (Self::MultiClass(predictions), Wanted::Classes(labels)) => predictions.take(loss, outputs, labels),
            (Self::MultiLabel(predictions), Wanted::Sets(values)) => {
                let truth: Vec<bool> = values.iter().map(|&value| value > 0.5).collect();
                predictions.push(&loss.probabilities(outputs), &truth);
            }
            _ => unreachable!("answers and labels are made for one task"),
        }
    }
}

/// All metrics of a network's answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figures {
    /// Each image has one class.
    MultiClass(Report),
    /// An image may have several classes.
    MultiLabel(MultiLabelReport),
}

impl Figures {
    /// Those of `answers`, whose mean loss is `loss`, by the classes and thresholds of `card`; `None` without images.
    pub fn new(answers: &Answers, card: &ModelCard, loss: Option<f64>) -> Option<Self> {
        match answers {
            Answers::MultiClass(predictions) => {
                Report::new(predictions, &card.classes).map(|report| Self::MultiClass(Report { loss, ..report }))
            }
            Answers::MultiLabel(predictions) => {
                let half = vec![0.5; card.classes.len()];
                let thresholds = card.thresholds.as_deref().unwrap_or(&half);
                let report = MultiLabelReport::new(predictions, &card.classes, thresholds)?;
                Some(Self::MultiLabel(MultiLabelReport { loss, ..report }))
            }
        }
    }

    /// The two kinds of figures, one of which is `None`.
    pub fn parts(self) -> (Option<Report>, Option<MultiLabelReport>) {
        match self {
            Self::MultiClass(report) => (Some(report), None),
            Self::MultiLabel(report) => (None, Some(report)),
        }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        match self {
            Self::MultiClass(report) => report.images,
            Self::MultiLabel(report) => report.images,
        }
    }
}
