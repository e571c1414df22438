use serde::{Deserialize, Serialize};

/// A metric of an epoch that checkpoints and callbacks can monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Training loss.
    Loss,
    /// Training accuracy.
    Accuracy,
    /// Validation loss.
    ValLoss,
    /// Validation accuracy.
    ValAccuracy,
}

impl Metric {
    /// Keras's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
            Self::ValLoss => "val_loss",
            Self::ValAccuracy => "val_accuracy",
        }
    }

    /// Whether the metric needs validation images.
    pub fn needs_validation(self) -> bool {
        matches!(self, Self::ValLoss | Self::ValAccuracy)
    }

    /// Whether `mode` would prefer worse values: the smallest accuracy, or the largest loss.
    pub fn is_worse_by(self, mode: Mode) -> bool {
        self.larger_is_better(mode) != self.larger_is_better(Mode::Auto)
    }

    /// Whether larger values are better.
    pub fn larger_is_better(self, mode: Mode) -> bool {
        match mode {
            Mode::Max => true,
            Mode::Min => false,
            Mode::Auto => matches!(self, Self::Accuracy | Self::ValAccuracy),
        }
    }

    /// Whether `value` is better than `reference` by more than `min_delta`, as in Keras. Without a reference, every value is an
    /// improvement.
    pub fn improves(self, mode: Mode, min_delta: f64, value: f64, reference: Option<f64>) -> bool {
        let Some(reference) = reference else { return true };
        if self.larger_is_better(mode) { value - min_delta > reference } else { value + min_delta < reference }
    }
}

/// Whether larger or smaller values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Accuracies are better when larger, losses when smaller.
    #[default]
    Auto,
    /// Larger is better.
    Max,
    /// Smaller is better.
    Min,
}
