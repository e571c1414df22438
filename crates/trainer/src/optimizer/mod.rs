//! Optimisers with Keras's formulas and defaults (`keras/src/optimizers/*.py`, Keras 3).
//!
//! The update of a parameter is one pass over its values on the host: state is plain vectors that a checkpoint can hold,
//! and a step gives the same bits on every device.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// An optimiser as an experiment names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerConfig {
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
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    AdamW {
        /// Step size.
        #[serde(default = "rate_adam")]
        learning_rate: f64,
        /// Share of the weight that each step takes off, times the step size.
        #[serde(default = "weight_decay")]
        weight_decay: f64,
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
        /// Added to the mean of squared gradients.
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::adam(rate_adam())
    }
}

impl OptimizerConfig {
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
fn weight_decay() -> f64 {
    4e-3
}

/// Running means of one parameter, as long as the parameter; which is which is the optimiser's affair.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Slot {
    /// Of gradients, or the last step where there is momentum.
    pub first: Vec<f32>,
    /// Of squared gradients.
    pub second: Vec<f32>,
}

/// Steps taken and running means: what a resumed run needs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OptimizerState {
    /// Steps taken.
    pub step: u64,
    /// By the parameter's name.
    pub slots: BTreeMap<String, Slot>,
}

/// An optimiser at work.
#[derive(Debug, Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    state: OptimizerState,
}

impl Optimizer {
    /// A fresh one.
    pub fn new(config: OptimizerConfig) -> Self {
        Self::resume(config, OptimizerState::default())
    }

    /// One that goes on from `state`.
    pub fn resume(config: OptimizerConfig, state: OptimizerState) -> Self {
        Self { config, state }
    }

    /// What [`Optimizer::resume`] needs.
    pub fn state(&self) -> &OptimizerState {
        &self.state
    }

    /// The step size.
    pub fn learning_rate(&self) -> f64 {
        self.config.learning_rate()
    }

    /// Counts a step. Call it once before the updates of a batch.
    pub fn begin_step(&mut self) {
        self.state.step += 1;
    }

    /// The new value of the parameter `name`, both tensors without autodiff.
    ///
    /// # Panics
    /// If value and gradient differ in shape, or the parameter changed its size.
    pub fn update<const D: usize>(
        &mut self,
        name: &str,
        value: Tensor<D>,
        gradient: Tensor<D>,
        learning_rate: f64,
    ) -> Tensor<D> {
        let (shape, device) = (value.dims(), value.device());
        assert_eq!(shape, gradient.dims(), "gradient of '{name}'");
        let mut values = host(value);
        self.step(name, &mut values, &host(gradient), learning_rate);
        Tensor::from_data(TensorData::new(values, shape), &device)
    }

    /// The same on plain slices.
    fn step(&mut self, name: &str, values: &mut [f32], gradient: &[f32], learning_rate: f64) {
        let n = values.len();
        if !self.state.slots.contains_key(name) {
            self.state.slots.insert(name.to_owned(), Slot::default());
        }
        let slot = self.state.slots.get_mut(name).expect("inserted above");
        let lr = learning_rate as f32;
        // Each rule is one loop over equally long slices, which the compiler can vectorise.
        match self.config {
            OptimizerConfig::Adam { beta_1, beta_2, epsilon, .. }
            | OptimizerConfig::AdamW { beta_1, beta_2, epsilon, .. } => {
                if let OptimizerConfig::AdamW { weight_decay, .. } = self.config {
                    let keep = 1.0 - (weight_decay * learning_rate) as f32;
                    values.iter_mut().for_each(|w| *w *= keep);
                }
                let t = self.state.step.max(1) as i32;
                let alpha = (learning_rate * (1.0 - beta_2.powi(t)).sqrt() / (1.0 - beta_1.powi(t))) as f32;
                let (rest_1, rest_2, epsilon) = ((1.0 - beta_1) as f32, (1.0 - beta_2) as f32, epsilon as f32);
                slot.first.resize(n, 0.0);
                slot.second.resize(n, 0.0);
                for (((w, &g), m), v) in values.iter_mut().zip(gradient).zip(&mut slot.first).zip(&mut slot.second) {
                    *m += (g - *m) * rest_1;
                    *v += (g * g - *v) * rest_2;
                    *w -= *m * alpha / (v.sqrt() + epsilon);
                }
            }
            OptimizerConfig::Sgd { momentum: 0.0, .. } => {
                values.iter_mut().zip(gradient).for_each(|(w, &g)| *w -= lr * g);
            }
            OptimizerConfig::Sgd { momentum, nesterov, .. } => {
                let momentum = momentum as f32;
                slot.first.resize(n, 0.0);
                for ((w, &g), m) in values.iter_mut().zip(gradient).zip(&mut slot.first) {
                    *m = *m * momentum - g * lr;
                    *w += if nesterov { *m * momentum - g * lr } else { *m };
                }
            }
            OptimizerConfig::RmsProp { rho, momentum, epsilon, .. } => {
                let (rho, momentum, epsilon) = (rho as f32, momentum as f32, epsilon as f32);
                slot.first.resize(if momentum > 0.0 { n } else { 0 }, 0.0);
                slot.second.resize(n, 0.0);
                for (i, ((w, &g), v)) in values.iter_mut().zip(gradient).zip(&mut slot.second).enumerate() {
                    *v = rho * *v + (1.0 - rho) * g * g;
                    let step = lr * g / (*v + epsilon).sqrt();
                    *w -= match slot.first.get_mut(i) {
                        Some(m) => {
                            *m = momentum * *m + step;
                            *m
                        }
                        None => step,
                    };
                }
            }
        }
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    data.try_to_vec::<f32>().unwrap_or_else(|_| data.iter::<f32>().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a golden file, or says that it is skipped.
    fn golden(name: &str) -> Option<serde_json::Value> {
        let path = format!("{}/../../../shared/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(serde_json::from_str(&text).expect("golden files are JSON")),
            Err(_) if std::env::var("CI").as_deref() == Ok("true") => panic!("{path} is missing"),
            Err(_) => {
                eprintln!("skipped: {path} is missing");
                None
            }
        }
    }

    fn floats(value: &serde_json::Value) -> Vec<f32> {
        value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
    }

    #[test]
    fn adam_is_keras_adam_at_every_step() {
        let Some(cases) = golden("keras_adam.json") else { return };
        for case in cases.as_array().expect("a list") {
            let learning_rate = case["learning_rate"].as_f64().expect("a number");
            let mut adam = Optimizer::new(OptimizerConfig::default());
            let mut values = floats(&case["start"]);
            for step in case["steps"].as_array().expect("a list") {
                adam.begin_step();
                adam.step("w", &mut values, &floats(&step["grad"]), learning_rate);
                for (ours, keras) in values.iter().zip(floats(&step["value"])) {
                    assert!((ours - keras).abs() < 1e-6, "{ours} is not {keras}");
                }
            }
        }
    }

    /// Two steps with gradient 1 from weight 1, worked out by hand from the formulas.
    fn check(config: &str, after: [f32; 2]) {
        let config: OptimizerConfig = serde_json::from_str(config).expect("a config");
        let (mut optimizer, mut w) = (Optimizer::new(config.clone()), [1.0_f32]);
        for expected in after {
            optimizer.begin_step();
            optimizer.step("w", &mut w, &[1.0], config.learning_rate());
            assert!((w[0] - expected).abs() < 1e-5, "{config:?}: {} is not {expected}", w[0]);
        }
    }

    #[test]
    fn the_other_rules() {
        check(r#"{"name": "sgd", "learning_rate": 0.1}"#, [0.9, 0.8]);
        check(r#"{"name": "sgd", "learning_rate": 0.1, "momentum": 0.5}"#, [0.9, 0.75]);
        check(r#"{"name": "sgd", "learning_rate": 0.1, "momentum": 0.5, "nesterov": true}"#, [0.85, 0.675]);
        // v = 0.1, then 0.19: steps 0.1 / sqrt(v).
        check(r#"{"name": "rmsprop", "learning_rate": 0.1}"#, [0.683_772, 0.454_357]);
        check(r#"{"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.5}"#, [0.85, 0.7075]);
    }

    #[test]
    fn a_resumed_optimiser_goes_on_with_the_same_bits() {
        let gradients: Vec<[f32; 3]> = (0..6).map(|t| [t as f32 - 2.0, 0.5, -0.1 * t as f32]).collect();
        let run = |optimizer: &mut Optimizer, w: &mut [f32; 3], part: &[[f32; 3]]| {
            for gradient in part {
                optimizer.begin_step();
                optimizer.step("w", w, gradient, 1e-2);
            }
        };
        let (mut whole, mut a) = (Optimizer::new(OptimizerConfig::default()), [1.0, 2.0, 3.0]);
        run(&mut whole, &mut a, &gradients);
        let (mut first, mut b) = (Optimizer::new(OptimizerConfig::default()), [1.0, 2.0, 3.0]);
        run(&mut first, &mut b, &gradients[..3]);
        let mut second = Optimizer::resume(OptimizerConfig::default(), first.state().clone());
        run(&mut second, &mut b, &gradients[3..]);
        assert_eq!(a, b);
    }
}
