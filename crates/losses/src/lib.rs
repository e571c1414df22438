//! The three cross-entropies of Keras, each from logits or from probabilities.
//!
//! A [`Loss`] is plain data, which the experiment's TOML contains. [`CrossEntropy`] computes it on Burn tensors, and autodiff
//! gives its gradient. Formulas and clipping follow Keras 3 on TensorFlow (`keras/src/losses/losses.py`,
//! `keras/src/backend/tensorflow/nn.py`); both values and gradients are tested against it.
//!
//! *Architecture invariant:* there is no network and no data here. Outputs come in as tensors, and labels as class indices.

mod class_weights;
mod cross_entropy;
#[cfg(test)]
mod tests;

use burn_tensor::activation::{sigmoid, softmax};
use burn_tensor::{Device, Tensor, TensorData};
use injerto_recipe::Loss;

pub use class_weights::{balanced, sample_weights};
pub use cross_entropy::{binary_crossentropy, categorical_crossentropy};

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
    /// Soft targets have a shape that does not fit the outputs.
    #[error("soft targets have shape {found:?}, expected {expected:?}: one row per output and one column per class")]
    Targets {
        /// Shape of the targets.
        found: [usize; 2],
        /// Shape that fits the outputs.
        expected: [usize; 2],
    },
}

/// What a [`Loss`] computes.
pub trait CrossEntropy {
    /// Mean loss of a batch, `[1]`.
    ///
    /// `outputs` is `[batch, units]`, and `labels` holds one class index per row. `sample_weights`, `[batch]`, multiplies the loss of
    /// each row before the mean, which still divides by the batch size, as in Keras.
    ///
    /// # Errors
    /// Labels that do not fit the outputs.
    fn forward(
        &self,
        outputs: Tensor<2>,
        labels: &[u32],
        sample_weights: Option<Tensor<1>>,
    ) -> Result<Tensor<1>, LossError>;

    /// Mean loss of a batch, `[1]`, for targets that are distributions over the classes, `[batch, classes]`; mixing images makes such
    /// targets. With one output unit, the targets have two columns, of which only the second is used.
    ///
    /// # Errors
    /// Targets that do not fit the outputs.
    fn forward_soft(
        &self,
        outputs: Tensor<2>,
        targets: Tensor<2>,
        sample_weights: Option<Tensor<1>>,
    ) -> Result<Tensor<1>, LossError>;

    /// Probabilities `[batch, classes]` of outputs `[batch, units]`. One unit gives two columns.
    fn probabilities(&self, outputs: Tensor<2>) -> Tensor<2>;

    /// The predicted class of each row of the outputs. With one unit, an output above one half (a logit above zero) means
    /// class 1; otherwise the largest unit is the class.
    fn predictions(&self, outputs: &Tensor<2>) -> Vec<u32>;
}

impl CrossEntropy for Loss {
    fn forward(
        &self,
        outputs: Tensor<2>,
        labels: &[u32],
        sample_weights: Option<Tensor<1>>,
    ) -> Result<Tensor<1>, LossError> {
        let [batch, units] = outputs.dims();
        if batch != labels.len() {
            return Err(LossError::Batch { outputs: batch, labels: labels.len() });
        }
        let largest = if units == 1 { 2 } else { units };
        if let Some(&label) = labels.iter().find(|&&label| label as usize >= largest) {
            return Err(LossError::Label { label, units });
        }
        let device = outputs.device().inner();
        let targets = if units == 1 { column(labels, &device) } else { one_hot(labels, units, &device) };
        Ok(mean(self, outputs, targets, sample_weights))
    }

    fn forward_soft(
        &self,
        outputs: Tensor<2>,
        targets: Tensor<2>,
        sample_weights: Option<Tensor<1>>,
    ) -> Result<Tensor<1>, LossError> {
        let [batch, units] = outputs.dims();
        let (found, expected) = (targets.dims(), [batch, units.max(2)]);
        if found != expected {
            return Err(LossError::Targets { found, expected });
        }
        let targets = if units == 1 { targets.narrow(1, 1, 1) } else { targets };
        Ok(mean(self, outputs, targets, sample_weights))
    }

    fn probabilities(&self, outputs: Tensor<2>) -> Tensor<2> {
        let binary = matches!(self, Self::BinaryCrossentropy { .. });
        let probabilities = match (self.from_logits(), binary) {
            (false, _) => outputs,
            (true, true) => sigmoid(outputs),
            (true, false) => softmax(outputs, 1),
        };
        if probabilities.dims()[1] == 1 {
            let negative = probabilities.clone().neg().add_scalar(1.0);
            return Tensor::cat(vec![negative, probabilities], 1);
        }
        probabilities
    }

    fn predictions(&self, outputs: &Tensor<2>) -> Vec<u32> {
        let [_, units] = outputs.dims();
        let values: Vec<f32> = outputs.to_data().iter::<f32>().collect();
        if units == 1 {
            let threshold = if self.from_logits() { 0.0 } else { 0.5 };
            return values.into_iter().map(|value| u32::from(value > threshold)).collect();
        }
        let largest = |row: &[f32]| (0..units).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as u32;
        values.chunks_exact(units.max(1)).map(largest).collect()
    }
}

/// Mean over the batch. `targets` has the shape of the outputs.
fn mean(loss: &Loss, outputs: Tensor<2>, targets: Tensor<2>, sample_weights: Option<Tensor<1>>) -> Tensor<1> {
    let rows = match loss {
        Loss::BinaryCrossentropy { from_logits, label_smoothing } => {
            binary_crossentropy(outputs, targets, *from_logits, *label_smoothing)
        }
        Loss::CategoricalCrossentropy { from_logits, label_smoothing } => {
            categorical_crossentropy(outputs, targets, *from_logits, *label_smoothing)
        }
        Loss::SparseCategoricalCrossentropy { from_logits } => {
            // For probabilities, Keras uses the logarithm of the clipped values as logits.
            let logits = if *from_logits { outputs } else { outputs.clamp(EPSILON, 1.0 - EPSILON).log() };
            categorical_crossentropy(logits, targets, true, 0.0)
        }
    };
    let rows = match sample_weights {
        Some(weights) => rows * weights,
        None => rows,
    };
    rows.mean()
}

fn column(labels: &[u32], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
    Tensor::from_data(TensorData::new(values, [labels.len(), 1]), device)
}

fn one_hot(labels: &[u32], units: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0_f32; labels.len() * units];
    for (row, &label) in values.chunks_exact_mut(units).zip(labels) {
        row[label as usize] = 1.0;
    }
    Tensor::from_data(TensorData::new(values, [labels.len(), units]), device)
}
