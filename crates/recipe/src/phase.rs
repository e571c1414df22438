use serde::{Deserialize, Serialize};

/// Treatment of the running statistics in a batch normalisation that trains. A frozen layer always uses them unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// The layer uses them unchanged, while gamma and beta train, as in Keras's `base_model(x, training=False)`.
    #[default]
    Frozen,
    /// The layer normalises by the statistics of the batch and updates the running statistics, as training from scratch needs.
    Update,
}

/// Stochastic weight averaging (Izmailov et al. 2018): from `start_epoch` on, each epoch is validated and saved with the mean of the
/// weights at the ends of all epochs since then. Training itself goes on with the last weights; the mean replaces them at the end
/// of the phase. Running statistics that training updates are computed again for the mean.
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

/// Number format of stored features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeaturePrecision {
    /// 32 bits. Training with the cache equals training without it, bit for bit.
    #[default]
    F32,
    /// IEEE half precision: half the size, three to four digits.
    F16,
    /// bf16, the upper half of an `f32`: half the size, two to three digits, the same range.
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
