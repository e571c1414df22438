use serde::{Deserialize, Serialize};

use crate::Loss;

/// Activation of the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputActivation {
    /// No activation; outputs are logits.
    Linear,
    /// Each output is a probability by itself.
    Sigmoid,
    /// Outputs are probabilities that sum to 1.
    Softmax,
}

/// A loss, an activation and a number of units that do not go together. Each message names the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The outputs are probabilities, but the loss expects logits.
    #[error(
        "{loss} has from_logits = true, but {activation} already makes probabilities: \
         set loss.from_logits = false, or head.activation = \"linear\""
    )]
    ProbabilitiesAsLogits {
        /// Name of the loss.
        loss: &'static str,
        /// Name of the activation.
        activation: &'static str,
    },
    /// The outputs are logits, but the loss expects probabilities.
    #[error(
        "{loss} has from_logits = false, but a linear output is not a probability: \
         set loss.from_logits = true, or head.activation = \"{activation}\""
    )]
    LogitsAsProbabilities {
        /// Name of the loss.
        loss: &'static str,
        /// The activation that would fit.
        activation: &'static str,
    },
    /// The binary loss needs two classes and one unit.
    #[error(
        "binary_crossentropy tells two classes apart with one unit, but there are {classes} classes and {units} unit(s): {}",
        if *classes == 2 { "set head.units = 1" }
        else { "set loss.name = \"sparse_categorical_crossentropy\", head.activation = \"softmax\" and leave head.units out" }
    )]
    Binary {
        /// Number of classes.
        classes: usize,
        /// Number of units.
        units: usize,
    },
    /// A categorical loss needs one unit per class.
    #[error(
        "{loss} needs one unit per class, but there are {classes} classes and {units} unit(s): set head.units = {classes}{}",
        if *units == 1 && *classes == 2 { ", or loss.name = \"binary_crossentropy\"" } else { "" }
    )]
    Units {
        /// Name of the loss.
        loss: &'static str,
        /// Number of classes.
        classes: usize,
        /// Number of units.
        units: usize,
    },
    /// The loss cannot take outputs of this activation.
    #[error("{loss} does not go with a {activation} output: set head.activation = \"{fix}\"")]
    Activation {
        /// Name of the loss.
        loss: &'static str,
        /// Name of the activation.
        activation: &'static str,
        /// The activation that fits.
        fix: &'static str,
    },
    /// There are fewer than two classes.
    #[error("{classes} class(es) found, but a classifier needs at least 2: add images of another class")]
    Classes {
        /// Number of classes.
        classes: usize,
    },
}

impl OutputActivation {
    fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Sigmoid => "sigmoid",
            Self::Softmax => "softmax",
        }
    }
}

impl Loss {
    /// Checks that this loss goes with a head that has `units` outputs with `activation`, for `classes` classes.
    ///
    /// # Errors
    /// The first mismatch, with the change that fixes it.
    pub fn check(&self, activation: OutputActivation, units: usize, classes: usize) -> Result<(), Mismatch> {
        use OutputActivation::{Linear, Sigmoid, Softmax};
        let loss = self.name();
        let binary = matches!(self, Self::BinaryCrossentropy { .. });
        if classes < 2 {
            return Err(Mismatch::Classes { classes });
        }
        if binary && (classes != 2 || units != 1) {
            return Err(Mismatch::Binary { classes, units });
        }
        if !binary && units != classes {
            return Err(Mismatch::Units { loss, classes, units });
        }
        let probability = if binary { Sigmoid } else { Softmax };
        match (self.from_logits(), activation) {
            (true, Linear) => Ok(()),
            (true, _) => Err(Mismatch::ProbabilitiesAsLogits { loss, activation: activation.name() }),
            (false, Linear) => Err(Mismatch::LogitsAsProbabilities { loss, activation: probability.name() }),
            (false, _) if activation == probability => Ok(()),
            (false, _) => Err(Mismatch::Activation { loss, activation: activation.name(), fix: probability.name() }),
        }
    }

    /// The activation whose outputs this loss expects.
    pub fn natural_activation(&self) -> OutputActivation {
        match (self.from_logits(), self) {
            (true, _) => OutputActivation::Linear,
            (false, Self::BinaryCrossentropy { .. }) => OutputActivation::Sigmoid,
            (false, _) => OutputActivation::Softmax,
        }
    }
}
