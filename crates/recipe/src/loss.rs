use serde::{Deserialize, Serialize};

/// A loss as an experiment names it: one of Keras's three cross-entropies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// The loss for two classes and one output unit, which is the probability of class 1; or for images that may have several classes, with
    /// one output unit per class, whose losses are averaged.
    BinaryCrossentropy {
        /// Whether outputs are logits, not probabilities.
        #[serde(default)]
        from_logits: bool,
        /// Share by which labels are moved towards one half.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// The loss for one output unit per class, with labels as one-hot rows.
    CategoricalCrossentropy {
        /// Whether outputs are logits, not probabilities.
        #[serde(default)]
        from_logits: bool,
        /// Share by which labels are moved towards the uniform distribution.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// The loss for one output unit per class, with labels as indices.
    SparseCategoricalCrossentropy {
        /// Whether outputs are logits, not probabilities.
        #[serde(default)]
        from_logits: bool,
    },
}

/// Which of the three, without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossName {
    /// Two classes and one unit, or one unit per class of which an image may have several.
    BinaryCrossentropy,
    /// One unit per class, labels as one-hot rows.
    CategoricalCrossentropy,
    /// One unit per class, labels as indices.
    SparseCategoricalCrossentropy,
}

impl LossName {
    /// All of them.
    pub const ALL: [Self; 3] =
        [Self::BinaryCrossentropy, Self::CategoricalCrossentropy, Self::SparseCategoricalCrossentropy];

    /// Keras's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BinaryCrossentropy => "binary_crossentropy",
            Self::CategoricalCrossentropy => "categorical_crossentropy",
            Self::SparseCategoricalCrossentropy => "sparse_categorical_crossentropy",
        }
    }

    /// The loss with these options. The sparse one knows no label smoothing.
    pub fn with(self, from_logits: bool, label_smoothing: f64) -> Loss {
        match self {
            Self::BinaryCrossentropy => Loss::BinaryCrossentropy { from_logits, label_smoothing },
            Self::CategoricalCrossentropy => Loss::CategoricalCrossentropy { from_logits, label_smoothing },
            Self::SparseCategoricalCrossentropy => Loss::SparseCategoricalCrossentropy { from_logits },
        }
    }
}

impl Loss {
    /// Which it is.
    pub fn kind(&self) -> LossName {
        match self {
            Self::BinaryCrossentropy { .. } => LossName::BinaryCrossentropy,
            Self::CategoricalCrossentropy { .. } => LossName::CategoricalCrossentropy,
            Self::SparseCategoricalCrossentropy { .. } => LossName::SparseCategoricalCrossentropy,
        }
    }

    /// Keras's name.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Whether outputs are logits.
    pub fn from_logits(&self) -> bool {
        match self {
            Self::BinaryCrossentropy { from_logits, .. }
            | Self::CategoricalCrossentropy { from_logits, .. }
            | Self::SparseCategoricalCrossentropy { from_logits } => *from_logits,
        }
    }
}
