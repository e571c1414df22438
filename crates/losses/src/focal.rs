//! The focal losses (Lin et al. 2017, "Focal Loss for Dense Object Detection"), with the formulas of Keras 3
//! (`binary_focal_crossentropy` and `categorical_focal_crossentropy` in `keras/src/losses/losses.py`).
//!
//! A cross-entropy is multiplied by `(1 - p)^gamma`, where `p` is the probability of what is right. Keras makes probabilities of logits
//! first and clips them; so does this module.

use burn_tensor::Tensor;
use burn_tensor::activation::{sigmoid, softmax};
use injerto_recipe::Focus;

use crate::EPSILON;
use crate::smooth::{clip, log_sum_exp, sigmoid as sigmoid_of};

/// Binary focal cross-entropy of a row, the mean over its units, and its slopes. `wanted` are the targets after label smoothing.
pub(crate) fn binary(outputs: &[f64], wanted: &[f64], from_logits: bool, focus: Focus, slopes: &mut [f64]) -> f64 {
    let units = slopes.len() as f64;
    let mut sum = 0.0;
    for ((&output, &y), slope) in outputs.iter().zip(wanted).zip(slopes) {
        let p = if from_logits { sigmoid_of(output) } else { output };
        let (q, passes) = clip(p);
        let entropy = -(y * q.ln() + (1.0 - y) * (1.0 - q).ln());
        let right = y * p + (1.0 - y) * (1.0 - p);
        let (factor, factor_slope) = power(1.0 - right, focus.gamma);
        let weight = if focus.apply_class_balancing { y * focus.alpha + (1.0 - y) * (1.0 - focus.alpha) } else { 1.0 };
        sum += weight * factor * entropy;
        let entropy_slope = passes * ((1.0 - y) / (1.0 - q) - y / q);
        *slope = weight * (factor_slope * (1.0 - 2.0 * y) * entropy + factor * entropy_slope) / units;
        if from_logits {
            *slope *= p * (1.0 - p);
        }
    }
    sum / units
}

/// Categorical focal cross-entropy of a row and its slopes. `wanted` are the targets after label smoothing.
pub(crate) fn categorical(outputs: &[f64], wanted: &[f64], from_logits: bool, focus: Focus, slopes: &mut [f64]) -> f64 {
    let probabilities: Vec<f64> = match from_logits {
        true => {
            let normaliser = log_sum_exp(outputs);
            outputs.iter().map(|logit| (logit - normaliser).exp()).collect()
        }
        false => outputs.to_vec(),
    };
    let total: f64 = probabilities.iter().sum();
    let (mut value, mut inner) = (0.0, 0.0);
    for ((&probability, &y), slope) in probabilities.iter().zip(wanted).zip(&mut *slopes) {
        let (p, passes) = clip(probability / total);
        let (factor, factor_slope) = power(1.0 - p, focus.gamma);
        value -= focus.alpha * factor * y * p.ln();
        *slope = passes * focus.alpha * y * (factor_slope * p.ln() - factor / p);
        inner += *slope * probability / total;
    }
    // The derivative of a row that is divided by its sum, and of the softmax.
    for (slope, probability) in slopes.iter_mut().zip(probabilities) {
        *slope = (*slope - inner) / total * if from_logits { probability } else { 1.0 };
    }
    value
}

/// `base^gamma` and its slope. A base of 0 would have no slope where `gamma` is below 1, so it counts as [`EPSILON`].
fn power(base: f64, gamma: f64) -> (f64, f64) {
    if gamma == 0.0 {
        return (1.0, 0.0);
    }
    let base = base.max(EPSILON);
    (base.powf(gamma), gamma * base.powf(gamma - 1.0))
}

/// [`power`] on tensors.
fn power_of(base: Tensor<2>, gamma: f64) -> Option<Tensor<2>> {
    (gamma > 0.0).then(|| base.clamp_min(EPSILON).powf_scalar(gamma as f32))
}

/// Binary focal cross-entropy of each row, `[batch]`, of outputs and targets `[batch, units]`.
pub fn binary_focal_crossentropy(
    outputs: Tensor<2>,
    targets: Tensor<2>,
    from_logits: bool,
    label_smoothing: f64,
    focus: Focus,
) -> Tensor<1> {
    let y = targets.mul_scalar(1.0 - label_smoothing).add_scalar(0.5 * label_smoothing);
    let against = y.clone().neg().add_scalar(1.0);
    let p = if from_logits { sigmoid(outputs) } else { outputs };
    let q = p.clone().clamp(EPSILON, 1.0 - EPSILON);
    let entropy = y.clone() * q.clone().log() + against.clone() * q.neg().add_scalar(1.0).log();
    let mut loss = entropy.neg();
    // The distance of the label's probability from 1.
    let wrong = y.clone() * p.clone().neg().add_scalar(1.0) + against.clone() * p;
    if let Some(factor) = power_of(wrong, focus.gamma) {
        loss = factor * loss;
    }
    if focus.apply_class_balancing {
        loss = (y.mul_scalar(focus.alpha) + against.mul_scalar(1.0 - focus.alpha)) * loss;
    }
    loss.mean_dim(1).squeeze_dim(1)
}

/// Categorical focal cross-entropy of each row, `[batch]`, of outputs and targets `[batch, classes]`.
pub fn categorical_focal_crossentropy(
    outputs: Tensor<2>,
    targets: Tensor<2>,
    from_logits: bool,
    label_smoothing: f64,
    focus: Focus,
) -> Tensor<1> {
    let classes = outputs.dims()[1] as f64;
    let y = targets.mul_scalar(1.0 - label_smoothing).add_scalar(label_smoothing / classes);
    let p = if from_logits { softmax(outputs, 1) } else { outputs };
    let sums = p.clone().sum_dim(1);
    let p = (p / sums).clamp(EPSILON, 1.0 - EPSILON);
    let mut loss = y * p.clone().log().mul_scalar(-focus.alpha);
    if let Some(factor) = power_of(p.neg().add_scalar(1.0), focus.gamma) {
        loss = factor * loss;
    }
    loss.sum_dim(1).squeeze_dim(1)
}
