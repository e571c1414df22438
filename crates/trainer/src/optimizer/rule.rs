use serde::{Deserialize, Serialize};

use super::{Slot, StepSize};

/// The rule by which an optimiser turns a gradient into a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Rule {
    /// Adam (Kingma and Ba, 2015), with the epsilon of the paper's section 2 ("epsilon hat"), as Keras has it.
    Adam {
        /// Step size.
        #[serde(default = "rate_adam")]
        learning_rate: f64,
        /// Decay of the mean of gradients.
        #[serde(default = "beta_1")]
        beta_1: f64,
        /// Decay of the mean of squared gradients.
        #[serde(default = "beta_2")]
        beta_2: f64,
        /// Added to the root of the mean of squared gradients.
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
    /// Adam, with a weight decay of 0.004 unless another is given (Loshchilov and Hutter, 2019).
    AdamW {
        /// Step size.
        #[serde(default = "rate_adam")]
        learning_rate: f64,
        /// Decay of the mean of gradients.
        #[serde(default = "beta_1")]
        beta_1: f64,
        /// Decay of the mean of squared gradients.
        #[serde(default = "beta_2")]
        beta_2: f64,
        /// Added to the root of the mean of squared gradients.
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
    /// Gradient descent with momentum.
    Sgd {
        /// Step size.
        #[serde(default = "rate_sgd")]
        learning_rate: f64,
        /// Share of the last step that is added to this one.
        #[serde(default)]
        momentum: f64,
        /// Nesterov's look ahead.
        #[serde(default)]
        nesterov: bool,
    },
    /// Steps divided by the root of a running mean of squared gradients.
    RmsProp {
        /// Step size.
        #[serde(default = "rate_adam")]
        learning_rate: f64,
        /// Decay of the mean of squared gradients.
        #[serde(default = "rho")]
        rho: f64,
        /// Share of the last step that is added to this one.
        #[serde(default)]
        momentum: f64,
        /// Added to the mean of squared gradients, under the root.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Divides by the variance of gradients instead of their mean square.
        #[serde(default)]
        centered: bool,
    },
}

fn rate_adam() -> f64 {
    1e-3
}
fn rate_sgd() -> f64 {
    1e-2
}
fn beta_1() -> f64 {
    0.9
}
fn beta_2() -> f64 {
    0.999
}
fn rho() -> f64 {
    0.9
}
fn epsilon() -> f64 {
    1e-7
}

impl Rule {
    /// Adam with this step size and Keras's defaults for the rest.
    pub fn adam(learning_rate: f64) -> Self {
        Self::Adam { learning_rate, beta_1: beta_1(), beta_2: beta_2(), epsilon: epsilon() }
    }

    /// The step size.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adam { learning_rate, .. }
            | Self::AdamW { learning_rate, .. }
            | Self::Sgd { learning_rate, .. }
            | Self::RmsProp { learning_rate, .. } => *learning_rate,
        }
    }

    /// Moves `values` in step number `t`, counted from 1.
    pub(super) fn apply(&self, t: u64, size: StepSize, values: &mut [f32], gradient: &[f32], slot: &mut Slot) {
        let n = values.len();
        let lr = size.learning_rate as f32;
        // Each rule is one loop over equally long slices, which the compiler can vectorise.
        match *self {
            Self::Adam { beta_1, beta_2, epsilon, .. } | Self::AdamW { beta_1, beta_2, epsilon, .. } => {
                let beta_1 = size.momentum.unwrap_or(beta_1);
                let t = t.max(1) as i32;
                let alpha = (size.learning_rate * (1.0 - beta_2.powi(t)).sqrt() / (1.0 - beta_1.powi(t))) as f32;
                let (rest_1, rest_2, epsilon) = ((1.0 - beta_1) as f32, (1.0 - beta_2) as f32, epsilon as f32);
                slot.first.resize(n, 0.0);
                slot.second.resize(n, 0.0);
                for (((w, &g), m), v) in values.iter_mut().zip(gradient).zip(&mut slot.first).zip(&mut slot.second) {
                    *m += (g - *m) * rest_1;
                    *v += (g * g - *v) * rest_2;
                    *w -= *m * alpha / (v.sqrt() + epsilon);
                }
            }
            Self::Sgd { momentum, nesterov, .. } => {
                let momentum = size.momentum.unwrap_or(momentum) as f32;
                if momentum == 0.0 && slot.first.is_empty() {
                    return values.iter_mut().zip(gradient).for_each(|(w, &g)| *w -= lr * g);
                }
                slot.first.resize(n, 0.0);
                for ((w, &g), m) in values.iter_mut().zip(gradient).zip(&mut slot.first) {
                    *m = *m * momentum - g * lr;
                    *w += if nesterov { *m * momentum - g * lr } else { *m };
                }
            }
            Self::RmsProp { rho, momentum, epsilon, centered, .. } => {
                let momentum = size.momentum.unwrap_or(momentum) as f32;
                let (rho, rest, epsilon) = (rho as f32, (1.0 - rho) as f32, epsilon as f32);
                slot.first.resize(n, 0.0);
                slot.second.resize(n, 0.0);
                slot.third.resize(if centered { n } else { 0 }, 0.0);
                let means = slot.third.iter_mut().map(Some).chain(std::iter::repeat_with(|| None));
                let moving = slot.first.iter_mut().zip(&mut slot.second).zip(means);
                for ((w, &g), ((m, v), mean)) in values.iter_mut().zip(gradient).zip(moving) {
                    *v = rho * *v + rest * g * g;
                    let square = mean.map_or(0.0, |mean| {
                        *mean = rho * *mean + rest * g;
                        *mean * *mean
                    });
                    *m = momentum * *m + lr * g / (*v - square + epsilon).sqrt();
                    *w -= *m;
                }
            }
        }
    }
}
