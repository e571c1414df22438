//! The cross-entropies of Keras, each from logits or from probabilities, their focal forms, and what a teacher's answers add to them.
//!
//! A [`Loss`](injerto_recipe::Loss) is plain data, which the experiment's TOML contains. [`CrossEntropy`] computes it, its gradient, and the
//! classes that it predicts from outputs on the host, in double precision. [`tensor`] computes the loss on Burn tensors for networks that
//! train on another device; there autodiff gives the gradient. [`Taught`] is a loss with a teacher. Formulas and clipping follow Keras 3 on TensorFlow
//! (`keras/src/losses/losses.py`, `keras/src/backend/tensorflow/nn.py`); values and gradients of both are tested against it.
//!
//! *Architecture invariant:* there is no network and no data here. Outputs come in as numbers, and labels as class indices.

mod class_weights;
mod distillation;
mod focal;
mod rows;
mod smooth;
pub mod tensor;
#[cfg(test)]
mod tests;

pub use class_weights::{balanced, sample_weights};
pub use distillation::Taught;
pub use rows::{CrossEntropy, Outputs, Targets};

/// Smallest distance of a probability from 0 and 1 before its logarithm is taken; Keras's `epsilon()`.
pub const EPSILON: f64 = 1e-7;

/// The reason why a loss cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LossError {
    /// The numbers of outputs and labels differ.
    #[error("{outputs} outputs but {labels} labels")]
    Batch {
        /// Rows of the outputs.
        outputs: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A label is too large for the number of output units.
    #[error("label {label} does not fit {units} output unit(s)")]
    Label {
        /// The label.
        label: u32,
        /// Columns of the outputs.
        units: usize,
    },
    /// Soft targets, or the logits of a teacher, have a shape that does not fit the outputs.
    #[error("soft targets have shape {found:?}, expected {expected:?}: one row per output and one column per class")]
    Targets {
        /// Shape of the targets.
        found: [usize; 2],
        /// Shape that fits the outputs.
        expected: [usize; 2],
    },
}
