use burn_tensor::Tensor;
use burn_tensor::activation::log_softmax;

use crate::EPSILON;

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
