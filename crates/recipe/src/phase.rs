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
