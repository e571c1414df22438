//! Functions of single rows that losses are made of, in double precision. None of them overflows.

use crate::EPSILON;

/// `-sum(y * log_softmax(z))` and its slopes.
pub(crate) fn softmax(logits: &[f64], wanted: &[f64], slopes: &mut [f64]) -> f64 {
    let normaliser = log_sum_exp(logits);
    let total: f64 = wanted.iter().sum();
    let mut value = 0.0;
    for ((&logit, &target), slope) in logits.iter().zip(wanted).zip(slopes) {
        value -= target * (logit - normaliser);
        *slope = total * (logit - normaliser).exp() - target;
    }
    value
}

pub(crate) fn log_sum_exp(logits: &[f64]) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln()
}

pub(crate) fn sigmoid(logit: f64) -> f64 {
    // Of the two equal forms, each is used where its exponential cannot overflow.
    if logit < 0.0 { logit.exp() / (1.0 + logit.exp()) } else { 1.0 / (1.0 + (-logit).exp()) }
}

/// A probability that is kept away from 0 and 1, and the slope of doing so: 1, or 0 outside. The limits are those of single precision, in
/// which Keras computes them.
pub(crate) fn clip(probability: f64) -> (f64, f64) {
    const LIMITS: [f64; 2] = [EPSILON as f32 as f64, (1.0 - EPSILON as f32) as f64];
    let [low, high] = LIMITS;
    (probability.clamp(low, high), f64::from(u8::from((low..=high).contains(&probability))))
}
