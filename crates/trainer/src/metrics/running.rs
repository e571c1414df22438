use injerto_losses::{CrossEntropy as _, Outputs, Targets};
use injerto_recipe::Loss;

use super::Predictions;
use crate::TrainError;
use crate::collective::Peers;

/// Mean loss and accuracy over batches. Each image counts once, so a smaller last batch has a smaller weight (Keras's `Mean`
/// metric). Where images may have several classes, the accuracy is Keras's `binary_accuracy`: the share of right decisions, one per image and
/// class, with one half as the threshold.
#[derive(Debug, Clone, Default)]
pub struct Accumulator {
    loss: f64,
    right: usize,
    /// Number of decisions: one per image, or one per image and class.
    decisions: usize,
    count: usize,
    /// Whether an output or a loss was infinite or not a number. A loss that clips its input would hide it.
    broken: bool,
}

impl Accumulator {
    /// Adds a batch: its mean loss, its outputs `[batch, units]` and its targets, which are not those of mixed images.
    pub fn add(&mut self, loss: &Loss, value: f64, outputs: Outputs<'_>, targets: Targets<'_>) {
        self.loss += value * outputs.batch() as f64;
        self.count += outputs.batch();
        self.broken |= !value.is_finite() || outputs.values().iter().any(|output| !output.is_finite());
        let (right, decisions) = match targets {
            Targets::Labels(labels) => {
                let same = |(predicted, label): &(&u32, &u32)| predicted == label;
                (loss.predictions(outputs).iter().zip(labels).filter(same).count(), labels.len())
            }
            Targets::Independent(wanted) | Targets::Distributions(wanted) => {
                let threshold = if loss.from_logits() { 0.0 } else { 0.5 };
                let same = |(output, wanted): &(&f32, &f32)| (**output > threshold) == (**wanted > 0.5);
                (outputs.values().iter().zip(wanted).filter(same).count(), wanted.len())
            }
        };
        self.right += right;
        self.decisions += decisions;
    }

    /// Adds what another one has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.loss += other.loss;
        self.right += other.right;
        self.decisions += other.decisions;
        self.count += other.count;
        self.broken |= other.broken;
    }

    /// The sum over all processes, which count a batch each.
    pub(crate) fn joined(self, peers: Peers<'_>) -> Result<Self, TrainError> {
        if peers.is_alone() {
            return Ok(self);
        }
        let Self { loss, right, decisions, count, broken } = self;
        let mut all = [loss as f32, right as f32, decisions as f32, count as f32, f32::from(u8::from(broken))];
        peers.sum(&mut all)?;
        let [loss, right, decisions, count, broken] = all;
        let broken = broken > 0.0 || !loss.is_finite();
        Ok(Self {
            loss: loss.into(),
            right: right as usize,
            decisions: decisions as usize,
            count: count as usize,
            broken,
        })
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

    /// Share of right decisions so far; 0 before the first image.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.decisions.max(1) as f64
    }
}

impl Predictions {
    /// Adds the outputs `[batch, units]` of a batch, which `loss` interprets.
    pub fn take(&mut self, loss: &Loss, outputs: Outputs<'_>, labels: &[u32]) {
        self.push(&loss.probabilities(outputs), &loss.predictions(outputs), labels);
    }
}
