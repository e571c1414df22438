use serde::{Deserialize, Serialize};

/// A loss as an experiment names it: one of Keras's cross-entropies.
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
    /// [`Loss::BinaryCrossentropy`] in which well-predicted images have less weight (Lin et al. 2017, "Focal Loss").
    BinaryFocalCrossentropy {
        /// Whether outputs are logits, not probabilities.
        #[serde(default)]
        from_logits: bool,
        /// Share by which labels are moved towards one half.
        #[serde(default)]
        label_smoothing: f64,
        /// Exponent of `1 - p` by which the loss is multiplied, where `p` is the probability of the label; at least 0.
        #[serde(default = "Focus::default_gamma")]
        gamma: f64,
        /// Weight of class 1, from 0 to 1; that of class 0 is `1 - alpha`.
        #[serde(default = "Focus::default_alpha")]
        alpha: f64,
        /// Whether `alpha` is used.
        #[serde(default)]
        apply_class_balancing: bool,
    },
    /// [`Loss::CategoricalCrossentropy`] in which well-predicted images have less weight.
    CategoricalFocalCrossentropy {
        /// Whether outputs are logits, not probabilities.
        #[serde(default)]
        from_logits: bool,
        /// Share by which labels are moved towards the uniform distribution.
        #[serde(default)]
        label_smoothing: f64,
        /// Exponent of `1 - p` by which the loss is multiplied, where `p` is the probability of the label; at least 0.
        #[serde(default = "Focus::default_gamma")]
        gamma: f64,
        /// Factor of the loss.
        #[serde(default = "Focus::default_alpha")]
        alpha: f64,
    },
}

/// The options of the focal losses, with Keras's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Focus {
    /// Exponent of `1 - p`, where `p` is the probability of the label.
    pub gamma: f64,
    /// Weight of class 1 in the binary loss; factor of the categorical loss.
    pub alpha: f64,
    /// Whether the binary loss uses `alpha`.
    pub apply_class_balancing: bool,
}

impl Focus {
    fn default_gamma() -> f64 {
        Self::default().gamma
    }

    fn default_alpha() -> f64 {
        Self::default().alpha
    }
}

impl Default for Focus {
    fn default() -> Self {
        Self { gamma: 2.0, alpha: 0.25, apply_class_balancing: false }
    }
}

/// The name of a loss, without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossName {
    /// Two classes and one unit, or one unit per class of which an image may have several.
    BinaryCrossentropy,
    /// One unit per class, labels as one-hot rows.
    CategoricalCrossentropy,
    /// One unit per class, labels as indices.
    SparseCategoricalCrossentropy,
    /// Two classes and one unit, with less weight on well-predicted images.
    BinaryFocalCrossentropy,
    /// One unit per class, with less weight on well-predicted images.
    CategoricalFocalCrossentropy,
}

impl LossName {
    /// All losses.
    pub const ALL: [Self; 5] = [
        Self::BinaryCrossentropy,
        Self::CategoricalCrossentropy,
        Self::SparseCategoricalCrossentropy,
        Self::BinaryFocalCrossentropy,
        Self::CategoricalFocalCrossentropy,
    ];

    /// Keras's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BinaryCrossentropy => "binary_crossentropy",
            Self::CategoricalCrossentropy => "categorical_crossentropy",
            Self::SparseCategoricalCrossentropy => "sparse_categorical_crossentropy",
            Self::BinaryFocalCrossentropy => "binary_focal_crossentropy",
            Self::CategoricalFocalCrossentropy => "categorical_focal_crossentropy",
        }
    }

    /// Whether it is a focal loss, which has the options of [`Focus`].
    pub const fn is_focal(self) -> bool {
        matches!(self, Self::BinaryFocalCrossentropy | Self::CategoricalFocalCrossentropy)
    }

    /// The loss with these options; a focal loss has Keras's [`Focus`]. The sparse loss ignores label smoothing.
    pub fn with(self, from_logits: bool, label_smoothing: f64) -> Loss {
        self.focused(from_logits, label_smoothing, Focus::default())
    }

    /// The loss with these options, of which only the focal losses use `focus`.
    pub fn focused(self, from_logits: bool, label_smoothing: f64, focus: Focus) -> Loss {
        let Focus { gamma, alpha, apply_class_balancing } = focus;
        match self {
            Self::BinaryCrossentropy => Loss::BinaryCrossentropy { from_logits, label_smoothing },
            Self::CategoricalCrossentropy => Loss::CategoricalCrossentropy { from_logits, label_smoothing },
            Self::SparseCategoricalCrossentropy => Loss::SparseCategoricalCrossentropy { from_logits },
            Self::BinaryFocalCrossentropy => {
                Loss::BinaryFocalCrossentropy { from_logits, label_smoothing, gamma, alpha, apply_class_balancing }
            }
            Self::CategoricalFocalCrossentropy => {
                Loss::CategoricalFocalCrossentropy { from_logits, label_smoothing, gamma, alpha }
            }
        }
    }
}

impl Loss {
    /// Its name without options.
    pub fn kind(&self) -> LossName {
        match self {
            Self::BinaryCrossentropy { .. } => LossName::BinaryCrossentropy,
            Self::CategoricalCrossentropy { .. } => LossName::CategoricalCrossentropy,
            Self::SparseCategoricalCrossentropy { .. } => LossName::SparseCategoricalCrossentropy,
            Self::BinaryFocalCrossentropy { .. } => LossName::BinaryFocalCrossentropy,
            Self::CategoricalFocalCrossentropy { .. } => LossName::CategoricalFocalCrossentropy,
        }
    }

    /// Keras's name.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Whether it tells two classes apart with one output unit.
    pub fn is_binary(&self) -> bool {
        matches!(self, Self::BinaryCrossentropy { .. } | Self::BinaryFocalCrossentropy { .. })
    }

    /// The options of a focal loss; `None` for other losses.
    pub fn focus(&self) -> Option<Focus> {
        match *self {
            Self::BinaryFocalCrossentropy { gamma, alpha, apply_class_balancing, .. } => {
                Some(Focus { gamma, alpha, apply_class_balancing })
            }
            Self::CategoricalFocalCrossentropy { gamma, alpha, .. } => Some(Focus { gamma, alpha, ..Focus::default() }),
            _ => None,
        }
    }

    /// Share of each label that is spread over all classes.
    pub fn label_smoothing(&self) -> f64 {
        match self {
            Self::BinaryCrossentropy { label_smoothing, .. }
            | Self::CategoricalCrossentropy { label_smoothing, .. }
            | Self::BinaryFocalCrossentropy { label_smoothing, .. }
            | Self::CategoricalFocalCrossentropy { label_smoothing, .. } => *label_smoothing,
            Self::SparseCategoricalCrossentropy { .. } => 0.0,
        }
    }

    /// Whether outputs are logits.
    pub fn from_logits(&self) -> bool {
        match self {
            Self::BinaryCrossentropy { from_logits, .. }
            | Self::CategoricalCrossentropy { from_logits, .. }
            | Self::BinaryFocalCrossentropy { from_logits, .. }
            | Self::CategoricalFocalCrossentropy { from_logits, .. }
            | Self::SparseCategoricalCrossentropy { from_logits } => *from_logits,
        }
    }
}
