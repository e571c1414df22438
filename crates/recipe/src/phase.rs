use serde::{Deserialize, Serialize};

/// Treatment of the running statistics in a batch normalisation that trains. A frozen one always uses them unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// Uses them unchanged, while gamma and beta train, as in Keras's `base_model(x, training=False)`.
    #[default]
    Frozen,
    /// Normalises by the statistics of the batch and updates the running ones, as training from scratch needs.
    Update,
}

/// Stochastic weight averaging (Izmailov et al. 2018): from an epoch of its phase on, each epoch is judged and kept by the mean of the
/// weights at the ends of all epochs since then. Training itself goes on with the last weights; the mean takes their place at the end
/// of the phase. Running statistics that training updates are computed anew for the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swa {
    /// The first epoch whose weights count, counted from 1 in the phase.
    pub start_epoch: usize,
}

impl Swa {
    /// Number of weights in the mean before those of epoch number `epoch`, counted from 0 in the phase; `None` before the first epoch
    /// that counts.
    pub fn before(self, epoch: usize) -> Option<u64> {
        (epoch + 1).checked_sub(self.start_epoch.max(1)).map(|before| before as u64)
    }
}

/// Number type of stored features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeaturePrecision {
    /// 32 bits. Training with the cache equals training without it, bit for bit.
    #[default]
    F32,
    /// IEEE half precision, with half the size and three to four digits.
    F16,
    /// The upper half of 32 bits, with half the size, two to three digits and the same range.
    BF16,
}

impl FeaturePrecision {
    /// Bytes per value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}
