//! The three cross-entropies of Keras, each with `from_logits`.
//!
//! A [`Loss`] is plain data (it stands in the experiment's TOML); [`Loss::forward`] computes it on Burn tensors, so that its
//! gradient is autodiff's. Formulas and clipping follow Keras 3 on TensorFlow (`keras/src/losses/losses.py`,
//! `keras/src/backend/tensorflow/nn.py`), and both values and gradients are tested against it.
//!
//! *Architecture invariant:* no network, no data: outputs and labels come in as tensors and class indices.

mod agreement;
mod class_weights;
mod cross_entropy;
#[cfg(test)]
mod tests;

use burn_tensor::activation::{sigmoid, softmax};
use burn_tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

pub use agreement::{Mismatch, OutputActivation};
pub use class_weights::{balanced, sample_weights};
pub use cross_entropy::{binary_crossentropy, categorical_crossentropy};

/// Probabilities are kept this far from 0 and 1 before their logarithm is taken: Keras's `epsilon()`.
pub const EPSILON: f64 = 1e-7;

/// Why a loss cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LossError {
    /// Outputs and labels of different number.
    #[error("{outputs} outputs but {labels} labels")]
    Batch {
        /// Rows of the outputs.
        outputs: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A label that the outputs have no place for.
    #[error("label {label} does not fit {units} output unit(s)")]
    Label {
        /// The label.
        label: u32,
        /// Columns of the outputs.
        units: usize,
    },
    /// Soft targets of another shape than the outputs ask for.
    #[error("soft targets are {found:?}, but {expected:?} is needed: a row an output, a column a class")]
    Targets {
        /// Shape of the targets.
        found: [usize; 2],
        /// Shape that fits the outputs.
        expected: [usize; 2],
    },
}

/// A loss as an experiment names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// For two classes and one output unit; the label is the probability of class 1.
    BinaryCrossentropy {
        /// Outputs are logits, not probabilities.
        #[serde(default)]
        from_logits: bool,
        /// Labels are moved this far towards one half.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// For one output unit a class; labels become one-hot rows.
    CategoricalCrossentropy {
        /// Outputs are logits, not probabilities.
        #[serde(default)]
        from_logits: bool,
        /// Labels are moved this far towards uniform.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// For one output unit a class; labels stay indices.
    SparseCategoricalCrossentropy {
        /// Outputs are logits, not probabilities.
        #[serde(default)]
        from_logits: bool,
    },
}

impl Loss {
    /// Keras's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BinaryCrossentropy { .. } => "binary_crossentropy",
            Self::CategoricalCrossentropy { .. } => "categorical_crossentropy",
            Self::SparseCategoricalCrossentropy { .. } => "sparse_categorical_crossentropy",
        }
    }

    /// Whether outputs are logits.
    pub fn from_logits(&self) -> bool {
        match self {
            Self::BinaryCrossentropy { from_logits, .. }
            | Self::CategoricalCrossentropy { from_logits, .. }
            | Self::SparseCategoricalCrossentropy { from_logits } => *from_logits,
        }
    }

    /// Mean loss of a batch, `[1]`.
    ///
    /// `outputs` is `[batch, units]`, `labels` holds a class index a row; `sample_weights`, `[batch]`, multiplies the loss
    /// of each row before the mean (which still divides by the batch, as in Keras).
    ///
    /// # Errors
    /// Labels that do not fit the outputs.
    pub fn forward(
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
        Ok(self.mean(outputs, targets, sample_weights))
    }

    /// The same for targets that are distributions over the classes, `[batch, classes]`, as mixing images makes them. One
    /// unit takes two columns, of which the second counts.
    ///
    /// # Errors
    /// Targets that do not fit the outputs.
    pub fn forward_soft(
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
        Ok(self.mean(outputs, targets, sample_weights))
    }

    /// Mean over the batch; `targets` has the outputs' shape.
    fn mean(&self, outputs: Tensor<2>, targets: Tensor<2>, sample_weights: Option<Tensor<1>>) -> Tensor<1> {
        let rows = match self {
            Self::BinaryCrossentropy { from_logits, label_smoothing } => {
                binary_crossentropy(outputs, targets, *from_logits, *label_smoothing)
            }
            Self::CategoricalCrossentropy { from_logits, label_smoothing } => {
                categorical_crossentropy(outputs, targets, *from_logits, *label_smoothing)
            }
            Self::SparseCategoricalCrossentropy { from_logits } => {
                // From probabilities, Keras takes the logarithm of the clipped values for logits.
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

    /// Probabilities `[batch, classes]` from outputs `[batch, units]`; one unit gives two columns.
    pub fn probabilities(&self, outputs: Tensor<2>) -> Tensor<2> {
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

    /// The class each row of the outputs stands for: above one half (above zero for a logit) means class 1 where there is
    /// one unit; the largest unit otherwise.
    pub fn predictions(&self, outputs: &Tensor<2>) -> Vec<u32> {
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
