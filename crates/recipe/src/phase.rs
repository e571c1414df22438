use serde::{Deserialize, Serialize};

/// What a batch normalisation that trains does with its running statistics. A frozen one always uses them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// Uses them as they are, while gamma and beta train: Keras's `base_model(x, training=False)`.
    #[default]
    Frozen,
    /// Normalises by the batch's statistics and updates the running ones, as training from scratch must.
    Update,
}

/// Number type of stored features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeaturePrecision {
    /// 32 bits: training with the cache equals training without it, bit for bit.
    #[default]
    F32,
    /// IEEE half precision: half the size, three to four digits.
    F16,
    /// The upper half of 32 bits: half the size, two to three digits, the same range.
    BF16,
}

impl FeaturePrecision {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}
