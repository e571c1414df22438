//! The calibration of probabilities, and thresholds for decisions by them.

use serde::{Deserialize, Serialize};

use crate::predictions::{Predictions, largest};
use crate::probe::softmax;
use crate::stats::Estimate;
use crate::{InsightError, Result};

/// The number by which logits are divided before the softmax (Guo and others, "On Calibration of Modern Neural Networks", ICML
/// 2017). A temperature above 1 lowers the confidence of a classifier; the predicted classes do not change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// The temperature.
    pub value: f64,
    /// Mean cross-entropy without it.
    pub loss_before: f64,
    /// Mean cross-entropy with it, on the images to which it was fitted.
    pub loss_after: f64,
    /// The number of these images.
    pub n: usize,
}

impl Temperature {
    /// The temperature with the lowest cross-entropy. It follows from probabilities alone: the logarithm of a probability is its logit plus
    /// a constant of the row, which does not change the softmax.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] without images.
    pub fn fit(predictions: &Predictions) -> Result<Self> {
        if predictions.is_empty() {
            let needed = "an image".to_owned();
            return Err(InsightError::TooFew { what: "a temperature", needed, found: 0 });
        }
        let loss = |logarithm: f64| scaled(predictions, logarithm.exp()).log_loss();
        // The loss is convex in 1/T, so it has one minimum along log T, which a golden-section search finds.
        let ratio = (5_f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (0.02_f64.ln(), 50_f64.ln());
        let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
        let (mut at_left, mut at_right) = (loss(left), loss(right));
        while high - low > 1e-7 {
            if at_left < at_right {
                (high, right, at_right) = (right, left, at_left);
                left = high - ratio * (high - low);
                at_left = loss(left);
            } else {
                (low, left, at_left) = (left, right, at_right);
                right = low + ratio * (high - low);
                at_right = loss(right);
            }
        }
        let value = ((low + high) / 2.0).exp();
        let (loss_before, loss_after) = (predictions.log_loss(), scaled(predictions, value).log_loss());
        Ok(Self { value, loss_before, loss_after, n: predictions.len() })
    }

    /// Whether the gain is larger than one parameter gains by chance, by the likelihood-ratio test at 95 % (Wilks): the log-likelihood of all
    /// images together must rise by 1.92.
    pub fn helps(&self) -> bool {
        (self.loss_before - self.loss_after) * self.n as f64 > 1.92
    }

    /// The probabilities of one image at this temperature, from those without it.
    pub fn of(&self, probabilities: &[f64]) -> Vec<f64> {
        at_temperature(probabilities, self.value)
    }

    /// The predictions at this temperature.
    pub fn apply(&self, predictions: &Predictions) -> Predictions {
        scaled(predictions, self.value)
    }
}

/// Probabilities of one image at a temperature.
fn at_temperature(probabilities: &[f64], temperature: f64) -> Vec<f64> {
    softmax(&probabilities.iter().map(|p| p.max(1e-15).ln() / temperature).collect::<Vec<_>>())
}

fn scaled(predictions: &Predictions, temperature: f64) -> Predictions {
    let probabilities = predictions.rows().flat_map(|(_, row)| at_temperature(row, temperature)).collect();
    Predictions::new(predictions.classes(), predictions.labels().to_vec(), probabilities)
        .expect("a softmax gives probabilities")
}

/// The images whose confidence lies in one range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// The confidence is above this.
    pub above: f64,
    /// The confidence is at most this.
    pub up_to: f64,
    /// Mean confidence.
    pub confidence: f64,
    /// Share of these images that are classified correctly.
    pub accuracy: Estimate,
}

/// Accuracy by confidence, the data of a reliability diagram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// The bins that hold images, in ascending order of confidence.
    pub bins: Vec<Bin>,
    /// Expected calibration error: the mean difference of confidence and accuracy, where each bin counts by its number of images.
    pub ece: f64,
}

impl Reliability {
    /// The reliability in `bins` bins of equal width (usually 15). The confidence of an image is its largest probability.
    pub fn of(predictions: &Predictions, bins: usize) -> Self {
        let bins = bins.max(1);
        let mut inside = vec![(0_usize, 0.0_f64, 0_usize); bins];
        for (label, p) in predictions.rows() {
            let best = largest(p);
            let at = ((p[best] * bins as f64).ceil() as usize).clamp(1, bins) - 1;
            let (right, sum, count) = &mut inside[at];
            (*right, *sum, *count) = (*right + usize::from(best == label as usize), *sum + p[best], *count + 1);
        }
        let edge = |at: usize| at as f64 / bins as f64;
        let filled = inside.iter().enumerate().filter(|(_, (_, _, count))| *count > 0);
        let bins: Vec<Bin> = filled
            .map(|(at, &(right, sum, count))| Bin {
                above: edge(at),
                up_to: edge(at + 1),
                confidence: sum / count as f64,
                accuracy: Estimate::share(right, count),
            })
            .collect();
        let gap = |bin: &Bin| (bin.confidence - bin.accuracy.value).abs() * bin.accuracy.n as f64;
        let ece = bins.iter().map(gap).sum::<f64>() / predictions.len().max(1) as f64;
        Self { bins, ece }
    }
}

/// A model that answers only if its confidence reaches a threshold, and leaves the other photos to a person.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// It answers if its confidence is at least this.
    pub threshold: f64,
    /// Share of photos that it answers.
    pub coverage: f64,
    /// Share of its answers that are right.
    pub accuracy: Estimate,
}

/// Accuracy as a function of coverage: one point for each threshold, from the highest confidence to the lowest.
pub fn coverage(predictions: &Predictions) -> Vec<Operation> {
    let sure = |(label, p): (u32, &[f64])| {
        let best = largest(p);
        (p[best], best == label as usize)
    };
    operations(predictions.rows().map(sure).collect(), predictions.len())
}

/// The threshold with the highest coverage at which this share of the answers is right; `None` if no threshold reaches the share.
///
/// The share is measured on these photos; its interval says how far it holds for others.
pub fn alone_at(predictions: &Predictions, accuracy: f64) -> Option<Operation> {
    coverage(predictions).into_iter().rev().find(|operation| operation.accuracy.value >= accuracy)
}

/// For each class the lowest threshold at which its predictions have this precision, with the recall at this threshold; `None` if no
/// threshold reaches the precision.
pub fn class_thresholds(predictions: &Predictions, precision: f64) -> Vec<Option<ClassThreshold>> {
    let of_class = |class: usize| {
        let taken = predictions.rows().filter(|(_, p)| largest(p) == class);
        let taken: Vec<(f64, bool)> = taken.map(|(label, p)| (p[class], label as usize == class)).collect();
        let images = predictions.labels().iter().filter(|label| **label as usize == class).count();
        let all = operations(taken, predictions.len());
        all.into_iter().rev().find(|operation| operation.accuracy.value >= precision).map(|operation| {
            let recall = Estimate::share(operation.accuracy.count(), images);
            ClassThreshold { class, threshold: operation.threshold, precision: operation.accuracy, recall }
        })
    };
    (0..predictions.classes()).map(of_class).collect()
}

/// The probability from which on a prediction of a class is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassThreshold {
    /// Index of the class.
    pub class: usize,
    /// Its probability must be at least this, and the largest of its row.
    pub threshold: f64,
    /// Precision: the share of the accepted images that belong to the class.
    pub precision: Estimate,
    /// Recall: the share of the images of the class that are accepted.
    pub recall: Estimate,
}

/// One operation for each different confidence. `answers` are pairs of a confidence and whether the answer is right, for some of `images`
/// images.
fn operations(mut answers: Vec<(f64, bool)>, images: usize) -> Vec<Operation> {
    answers.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut right, mut count) = (0, 0);
    let take = |equal: &[(f64, bool)]| {
        count += equal.len();
        right += equal.iter().filter(|(_, right)| *right).count();
        let coverage = count as f64 / images.max(1) as f64;
        Operation { threshold: equal[0].0, coverage, accuracy: Estimate::share(right, count) }
    };
    answers.chunk_by(|a, b| a.0 == b.0).map(take).collect()
}
