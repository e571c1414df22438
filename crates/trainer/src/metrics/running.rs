use injerto_losses::{CrossEntropy as _, Outputs};
use injerto_recipe::Loss;

use super::Predictions;

/// Mean loss and accuracy over batches. Each image counts once, so a smaller last batch has a smaller weight (Keras's `Mean`
/// metric).
#[derive(Debug, Clone, Default)]
pub struct Accumulator {
    loss: f64,
    right: usize,
    count: usize,
    /// Whether an output or a loss was infinite or not a number. A loss that clips its input would hide it.
    broken: bool,
}

impl Accumulator {
    /// Adds a batch: its mean loss, its outputs `[batch, units]` and its labels.
    pub fn add(&mut self, loss: &Loss, value: f64, outputs: Outputs<'_>, labels: &[u32]) {
        self.loss += value * labels.len() as f64;
        self.count += labels.len();
        self.broken |= !value.is_finite() || outputs.values().iter().any(|output| !output.is_finite());
        self.right +=
            loss.predictions(outputs).iter().zip(labels).filter(|(predicted, label)| predicted == label).count();
    }

    /// Whether every loss and every output so far was finite.
    pub fn is_finite(&self) -> bool {
        !self.broken
    }

    /// Number of images so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Mean loss so far; 0 before the first image.
    pub fn loss(&self) -> f64 {
        self.loss / self.count.max(1) as f64
    }

    /// Share of images that were predicted right so far; 0 before the first image.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.count.max(1) as f64
    }
}

impl Predictions {
    /// Adds the outputs `[batch, units]` of a batch, which `loss` interprets.
    pub fn take(&mut self, loss: &Loss, outputs: Outputs<'_>, labels: &[u32]) {
        self.push(&loss.probabilities(outputs), &loss.predictions(outputs), labels);
    }
}
