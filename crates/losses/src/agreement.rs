use serde::{Deserialize, Serialize};

use crate::Loss;

/// What the last layer applies to its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputActivation {
    /// Nothing: outputs are logits.
    Linear,
    /// Each output is a probability of its own.
    Sigmoid,
    /// Outputs are probabilities that sum to 1.
    Softmax,
}

/// A loss, an activation and a number of units that do not belong together. Each message names the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Probabilities where the loss expects logits.
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
    /// Logits where the loss expects probabilities.
    #[error(
        "{loss} has from_logits = false, but a linear output is no probability: \
         set loss.from_logits = true, or head.activation = \"{activation}\""
    )]
    LogitsAsProbabilities {
        /// Name of the loss.
        loss: &'static str,
        /// The activation that would fit.
        activation: &'static str,
    },
    /// The binary loss with something else than one unit.
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
    /// A categorical loss without one unit a class.
    #[error(
        "{loss} needs one unit a class, but there are {classes} classes and {units} unit(s): set head.units = {classes}{}",
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
    /// An activation whose outputs are not what the loss takes.
    #[error("{loss} does not go with a {activation} output: set head.activation = \"{fix}\"")]
    Activation {
        /// Name of the loss.
        loss: &'static str,
        /// Name of the activation.
        activation: &'static str,
        /// The activation that fits.
        fix: &'static str,
    },
    /// Fewer than two classes.
    #[error("there is nothing to tell apart: {classes} class(es) found, at least 2 needed")]
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
    /// Whether a head with `units` outputs under `activation`, for `classes` classes, belongs to this loss.
    ///
    /// # Errors
    /// The first thing that does not fit, with what to change.
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

    /// The activation that makes this loss's input.
    pub fn natural_activation(&self) -> OutputActivation {
        match (self.from_logits(), self) {
            (true, _) => OutputActivation::Linear,
            (false, Self::BinaryCrossentropy { .. }) => OutputActivation::Sigmoid,
            (false, _) => OutputActivation::Softmax,
        }
    }
}
