//! Activations and their slopes.

use std::f64::consts::PI;

use injerto_graph::Activation;

use crate::layer::{Backward, Context};
use crate::tensor::Tensor;

/// A ReLU that stops at `most` and lets the share `below` of negative values through.
pub(crate) fn clip(x: &Tensor, most: f64, below: f64, context: &mut Context<'_>) -> (Tensor, Backward) {
    context.kinks(&x.values, &[0.0, most]);
    let (y, x) = (x.map(|_, x| if x > 0.0 { x.min(most) } else { below * x }), x.clone());
    let slope = move |x: f64| match x {
        x if x > 0.0 && x < most => 1.0,
        // Zero itself is on the side of negative values, as in TensorFlow.
        x if x <= 0.0 => below,
        _ => 0.0,
    };
    (y, Backward::one(move |dy| dy.with(&x, |dy, x| dy * slope(x))))
}

/// `y = f(x)` and its slope, value by value.
fn each(x: &Tensor, f: fn(f64) -> f64, slope: fn(f64) -> f64) -> (Tensor, Backward) {
    let (y, x) = (x.map(|_, x| f(x)), x.clone());
    (y, Backward::one(move |dy| dy.with(&x, |dy, x| dy * slope(x))))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The argument of the hyperbolic tangent in the approximation of GELU.
fn gate(x: f64) -> f64 {
    (2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))
}

/// The distribution function of the standard normal distribution, `(1 + erf(x / sqrt(2))) / 2`.
///
/// Where the series `1/2 + phi(x) * (x + x^3/3 + x^5/(3*5) + …)` (Marsaglia, 2004) would add up large terms, the continued fraction of
/// Mills's ratio has the tail.
fn normal(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
    if x.abs() < 4.0 {
        let (mut term, mut sum, mut odd) = (x, 0.0, 1.0);
        while f64::abs(term) > 1e-18 {
            sum += term;
            odd += 2.0;
            term *= x * x / odd;
        }
        return 0.5 + density * sum;
    }
    let fraction = (1..60).rev().fold(x.abs(), |below, n| x.abs() + f64::from(n) / below);
    let tail = density / fraction;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The activations of <https://keras.io/api/layers/activations/>.
pub(crate) fn activate(x: &Tensor, function: Activation, context: &mut Context<'_>) -> (Tensor, Backward) {
    match function {
        Activation::Linear => each(x, |x| x, |_| 1.0),
        Activation::Relu => clip(x, f64::INFINITY, 0.0, context),
        Activation::Relu6 => clip(x, 6.0, 0.0, context),
        Activation::Swish => each(x, |x| x * sigmoid(x), |x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
        Activation::HardSwish => {
            context.kinks(&x.values, &[-3.0, 3.0]);
            each(
                x,
                |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
                |x| ((x + 3.0) / 6.0).clamp(0.0, 1.0) + if x > -3.0 && x < 3.0 { x / 6.0 } else { 0.0 },
            )
        }
        Activation::Gelu => each(x, |x| x * normal(x), |x| normal(x) + x * (-x * x / 2.0).exp() / (2.0 * PI).sqrt()),
        Activation::GeluTanh => each(
            x,
            |x| x * (1.0 + gate(x).tanh()) / 2.0,
            |x| {
                let slope = (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044_715 * x * x);
                (1.0 + gate(x).tanh()) / 2.0 + x / 2.0 * (1.0 - gate(x).tanh().powi(2)) * slope
            },
        ),
        Activation::HardSigmoid => {
            context.kinks(&x.values, &[-3.0, 3.0]);
            each(x, |x| (x + 3.0).clamp(0.0, 6.0) / 6.0, |x| if x > -3.0 && x < 3.0 { 1.0 / 6.0 } else { 0.0 })
        }
        Activation::Sigmoid => each(x, sigmoid, |x| sigmoid(x) * (1.0 - sigmoid(x))),
        Activation::Tanh => each(x, f64::tanh, |x| 1.0 - x.tanh().powi(2)),
        // exp(x) / sum(exp(x)) over the last axis.
        Activation::Softmax => {
            let channels = x.channels();
            let mut y = x.clone();
            for row in y.values.chunks_exact_mut(channels) {
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                row.iter_mut().for_each(|x| *x = (*x - top).exp());
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|y| *y /= sum);
            }
            let output = y.clone();
            let back = move |dy: &Tensor| {
                let mut dx = dy.with(&output, |dy, y| dy * y);
                for (dx, y) in dx.values.chunks_exact_mut(channels).zip(output.values.chunks_exact(channels)) {
                    let sum: f64 = dx.iter().sum();
                    dx.iter_mut().zip(y).for_each(|(dx, y)| *dx -= sum * y);
                }
                dx
            };
            (y, Backward::one(back))
        }
    }
}
