//! The result of a training: its history, its best epoch, and where the time went.

use serde::{Deserialize, Serialize};

use crate::history::{Best, EpochRecord};
use crate::metrics::Figures;

/// Seconds spent in each part of a training.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Wall-clock time of the whole training.
    pub total: f64,
    /// Reading, decoding and resizing, summed over all threads. It overlaps with the other parts.
    pub decode: f64,
    /// The frozen prefix.
    pub prefix: f64,
    /// Training steps.
    pub train: f64,
    /// Validation.
    pub validate: f64,
    /// What follows the training: finding out what is kept with the model.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub knowledge: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

impl Seconds {
    /// The sum of both.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            decode: self.decode + other.decode,
            prefix: self.prefix + other.prefix,
            train: self.train + other.train,
            validate: self.validate + other.validate,
            knowledge: self.knowledge + other.knowledge,
        }
    }
}

/// Result of a training, including the parts before a resume.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// One record per epoch.
    pub history: Vec<EpochRecord>,
    /// The best epoch.
    pub best: Best,
    /// Seconds spent in each part.
    pub seconds: Seconds,
    /// Number of images that went through the network, each counted once per pass.
    pub images: usize,
    /// The most memory that a process has held, in bytes.
    pub peak_memory_bytes: u64,
    /// Whether the training was stopped before its end.
    pub interrupted: bool,
    /// Files that were left out, as printable names with the reason.
    pub skipped: Vec<(String, String)>,
    /// Metrics of the validation images with the network of the best epoch; `None` without validation images.
    pub report: Option<Figures>,
}
