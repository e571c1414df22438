//! `summary.json`: the results of a run, for scripts.

use injerto_insight::calibration::{Operation, Temperature};
use injerto_trainer::Seconds;
use injerto_trainer::history::EpochRecord;
use injerto_trainer::metrics::{MultiLabelReport, Report};
use serde::{Deserialize, Serialize};

use crate::gain::Gain;
use crate::judged::Trust;

/// Content of `summary.json`: the results of a run, for scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the experiment.
    pub name: String,
    /// Name of the device on which it ran.
    pub device: String,
    /// Seed of the experiment.
    pub seed: u32,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Number of images of each class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageCounts>,
    /// Source of the backbone's weights, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The phases of training, in order.
    pub phases: Vec<PhaseSummary>,
    /// The epoch with the best monitored value.
    pub best: BestSummary,
    /// Duration of the run and of its parts, in seconds.
    pub seconds: Seconds,
    /// Number of images that passed through the network per second. An image counts once per pass.
    pub images_per_second: f64,
    /// Largest amount of memory that the process held, in bytes.
    pub peak_memory_bytes: u64,
    /// Files that were left out, with the reason. Bytes of a name that are not UTF-8, and characters that a terminal would not
    /// show, are escaped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<(String, String)>,
    /// Whether the run was stopped before its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Accuracy and per-class figures of the validation images under the weights of the best epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Report>,
    /// The same where an image may have several classes, by the thresholds of the best epoch, which were chosen on these images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_label: Option<MultiLabelReport>,
    /// Intervals of these figures, and the figures of guessing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// What a logistic regression on the kept features reached before the first epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeSummary>,
    /// Pairs of photos that show one picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks: Option<LeakCounts>,
    /// The test after training, if there are test images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestSummary>,
    /// What the run has kept with its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<KnowledgeSummary>,
    /// Gain of transfer over training from scratch, if the experiment asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_gain: Option<Gain>,
}

impl Summary {
    /// Checks that the parts of the summary agree; it may come from an edited file.
    ///
    /// # Errors
    /// The contradiction, in words.
    pub fn check(&self) -> Result<(), String> {
        let history = self.phases.iter().flat_map(|phase| &phase.history);
        for (at, record) in history.clone().enumerate() {
            if record.epoch != at + 1 {
                return Err(format!("epoch {} is in place {} of the phases' epochs", record.epoch, at + 1));
            }
        }
        let epochs = history.count();
        if self.best.epoch > epochs {
            return Err(format!("the best epoch is {}, but there are {epochs} epochs", self.best.epoch));
        }
        let classes = self.classes.len();
        let counted = self.images.iter().flat_map(|images| [&images.train, &images.validation, &images.test]);
        if let Some(counts) = counted.clone().find(|counts| !counts.is_empty() && counts.len() != classes) {
            return Err(format!("{} counts of images for {classes} classes", counts.len()));
        }
        let metrics = self.metrics.iter();
        let all = counted.chain(metrics.clone().flat_map(|metrics| &metrics.confusion)).flatten();
        let several = self.multi_label.iter().flat_map(|report| &report.per_class);
        let decisions = several.clone().flat_map(|class| class.confusion.iter().flatten());
        let supports = metrics.flat_map(|metrics| &metrics.per_class).map(|class| &class.support);
        let supports = supports.chain(several.map(|class| &class.support)).chain(decisions);
        // The limit keeps sums of these counts from overflowing.
        if let Some(count) = all.chain(supports).find(|count| **count > MOST_IMAGES) {
            return Err(format!("it counts {count} images, and no run has more than {MOST_IMAGES}"));
        }
        if self.multi_label.as_ref().is_some_and(|report| report.per_class.len() != classes) {
            return Err(format!("its metrics are not those of {classes} classes"));
        }
        let Some(metrics) = &self.metrics else { return Ok(()) };
        let square = metrics.confusion.len() == classes && metrics.confusion.iter().all(|row| row.len() == classes);
        if !square || metrics.per_class.len() != classes {
            return Err(format!("its metrics are not those of {classes} classes"));
        }
        Ok(())
    }
}

/// Upper limit of a count of images in a summary. Even with as many classes as a graph may have outputs, the sum of such
/// counts does not overflow.
const MOST_IMAGES: usize = 1 << 31;

/// Number of images of each class, in the order of [`Summary::classes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCounts {
    /// Training images per class.
    pub train: Vec<usize>,
    /// Validation images per class.
    pub validation: Vec<usize>,
    /// Test images per class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<usize>,
}

/// One phase of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSummary {
    /// Name of the phase.
    pub name: String,
    /// Number of finished epochs.
    pub epochs: usize,
    /// Number of values that were trained.
    pub trainable_params: usize,
    /// Number of values that were not trained.
    pub non_trainable_params: usize,
    /// Duration of its epochs, in seconds.
    pub seconds: f64,
    /// Figures of each epoch.
    pub history: Vec<EpochRecord>,
}

/// The best epoch of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestSummary {
    /// Number of the epoch, from 1; 0 if there is none.
    pub epoch: usize,
    /// Name of the monitored metric.
    pub monitor: String,
    /// Best value of the metric; `None` before the first epoch.
    pub value: Option<f64>,
    /// The 95 % interval (Wilson) of the value, if it is an accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Number of images that it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// Name of the file with its weights.
    pub checkpoint: String,
}

/// The best epoch's network on the test images, which were not used before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestSummary {
    /// Share of the images that are predicted right.
    pub accuracy: f64,
    /// The 95 % interval (Wilson) of the accuracy.
    pub interval: [f64; 2],
    /// Number of images.
    pub n: usize,
    /// Mean loss.
    pub loss: f64,
    /// All metrics, where an image may have several classes. The accuracy is then the share of right decisions, one per image and class, and
    /// its interval is that of as many decisions as there are images: decisions about one image may go wrong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_label: Option<MultiLabelReport>,
}

/// What the probe has reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProbeSummary {
    /// Share of the validation images that it predicts right; without validation images, of the training images by
    /// cross-validation.
    pub accuracy: f64,
    /// The 95 % interval of the accuracy.
    pub interval: [f64; 2],
    /// Number of images that it was judged by.
    pub n: usize,
    /// Number of training images that it was fitted to.
    pub images: usize,
    /// Seconds that it took, the strength's choice included.
    pub seconds: f64,
    /// Strength of the fit (scikit-learn's `C`), chosen by cross-validation on the training images.
    pub strength: f64,
}

/// Number of pairs of photos that show one picture, by what separates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeakCounts {
    /// Pairs on two sides of the split, before photos were moved.
    pub across_split: usize,
    /// Pairs under two classes, on one side.
    pub across_class: usize,
    /// Pairs on one side and under one class.
    pub none: usize,
    /// Photos that were moved to another side.
    pub moved: usize,
}

impl LeakCounts {
    /// Pairs that were on two sides of the split when training began: none where photos were moved, because that leaves none.
    pub fn trained_across_split(self) -> usize {
        if self.moved > 0 { 0 } else { self.across_split }
    }
}

/// The part of `summary.json` about what the run has kept with its model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnowledgeSummary {
    /// Number of training images whose features are kept.
    pub images: usize,
    /// Number of training images.
    pub training_images: usize,
    /// Number of validation images that threshold and temperature rest on.
    pub validation_images: usize,
    /// The fitted temperature; `None` without validation images, and where the probabilities of an image do not add up to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// Whether logits are divided by it: it gains more than chance would.
    pub calibrated: bool,
    /// Where the model answers most validation images with 99 % of the answers right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Operation>,
}
