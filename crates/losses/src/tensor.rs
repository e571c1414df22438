//! The losses on Burn tensors, whose gradient is left to autodiff.

use burn_tensor::activation::log_softmax;
use burn_tensor::{Tensor, TensorData};
use injerto_recipe::{Focus, Loss};

pub use crate::focal::{binary_focal_crossentropy, categorical_focal_crossentropy};
use crate::{EPSILON, LossError, Targets};

/// A [`Loss`] on tensors.
pub trait TensorCrossEntropy {
    /// Mean loss of a batch, `[1]`, of outputs `[batch, units]`, as [`CrossEntropy::value`](crate::CrossEntropy::value) describes it.
    ///
    /// # Errors
    /// Targets that do not fit the outputs.
    fn forward(
        &self,
        outputs: Tensor<2>,
        targets: Targets<'_>,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, LossError>;
}

impl TensorCrossEntropy for Loss {
    fn forward(
        &self,
        outputs: Tensor<2>,
        targets: Targets<'_>,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, LossError> {
        let [batch, units] = outputs.dims();
        targets.check(batch, units)?;
        let mut wanted = vec![0.0; units];
        let mut values = Vec::with_capacity(batch * units);
        for at in 0..batch {
            targets.row(at, &mut wanted);
            values.extend(wanted.iter().map(|&target| target as f32));
        }
        let device = outputs.device().inner();
        let targets = Tensor::from_data(TensorData::new(values, [batch, units]), &device);
        let weights = weights.map(|weights| Tensor::from_floats(weights, &device));
        Ok(mean(self, outputs, targets, weights))
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
        Loss::BinaryFocalCrossentropy { from_logits, label_smoothing, gamma, alpha, apply_class_balancing } => {
            let focus = Focus { gamma: *gamma, alpha: *alpha, apply_class_balancing: *apply_class_balancing };
            binary_focal_crossentropy(outputs, targets, *from_logits, *label_smoothing, focus)
        }
        Loss::CategoricalFocalCrossentropy { from_logits, label_smoothing, gamma, alpha } => {
            let focus = Focus { gamma: *gamma, alpha: *alpha, ..Focus::default() };
            categorical_focal_crossentropy(outputs, targets, *from_logits, *label_smoothing, focus)
        }
    };
    let rows = match sample_weights {
        Some(weights) => rows * weights,
        None => rows,
    };
    rows.mean()
}

/// Binary cross-entropy of each row, `[batch]`. `outputs` and `targets` are `[batch, units]`; the losses of the units are averaged.
///
/// From logits: `max(z, 0) - z * y + log(1 + exp(-|z|))`, as TensorFlow computes
/// `sigmoid_cross_entropy_with_logits`. From probabilities: `-(y log p + (1 - y) log(1 - p))` with `p` clipped.
pub fn binary_crossentropy(
    outputs: Tensor<2>,
    targets: Tensor<2>,
    from_logits: bool,
    label_smoothing: f64,
) -> Tensor<1> {
    let y = if label_smoothing > 0.0 {
        targets.mul_scalar(1.0 - label_smoothing).add_scalar(0.5 * label_smoothing)
    } else {
        targets
    };
    let loss = if from_logits {
        // The logarithm of the sum of 1 and a number from 0 to 1 neither overflows nor loses digits that matter. max(z, 0) is
        // written as (z + |z|) / 2. This is the same number, but its slope at 0 is one half, so the gradient is sigmoid(0) - y
        // there too.
        let size = outputs.clone().abs();
        let linear = (outputs.clone() + size.clone()).mul_scalar(0.5) - outputs * y;
        linear + size.neg().exp().log1p()
    } else {
        let p = outputs.clamp(EPSILON, 1.0 - EPSILON);
        let positive = y.clone() * p.clone().log();
        let negative = y.neg().add_scalar(1.0) * p.neg().add_scalar(1.0).log();
        (positive + negative).neg()
    };
    loss.mean_dim(1).squeeze_dim(1)
}

/// Categorical cross-entropy of each row, `[batch]`; `targets` is one-hot or any distribution, `[batch, classes]`.
///
/// From logits: `-sum(y * log_softmax(z))`. From probabilities: `-sum(y * log p)`, where the rows are divided by their sum and then
/// clipped.
pub fn categorical_crossentropy(
    outputs: Tensor<2>,
    targets: Tensor<2>,
    from_logits: bool,
    label_smoothing: f64,
) -> Tensor<1> {
    let classes = outputs.dims()[1] as f64;
    let y = if label_smoothing > 0.0 {
        targets.mul_scalar(1.0 - label_smoothing).add_scalar(label_smoothing / classes)
    } else {
        targets
    };
    let logarithms = if from_logits {
        log_softmax(outputs, 1)
    } else {
        let sums = outputs.clone().sum_dim(1);
        (outputs / sums).clamp(EPSILON, 1.0 - EPSILON).log()
    };
    (y * logarithms).sum_dim(1).squeeze_dim(1).neg()
}
