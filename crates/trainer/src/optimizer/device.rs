//! The same rules on tensors: parameters, gradients and running means stay on their device, and nothing is fetched.

use burn_tensor::Tensor;
use injerto_recipe::{Adam, Clip, OptimizerConfig, RmsProp, Rule, Sgd, StepSize};

use super::{Trained, decays};

/// An optimiser whose running means are on a device. Every tensor is flat; of equal inputs it makes what
/// [`Optimizer`](super::Optimizer) makes, up to rounding.
#[derive(Debug)]
pub(crate) struct DeviceOptimizer {
    config: OptimizerConfig,
    trained: Vec<Trained>,
    decays: Vec<bool>,
    steps: u64,
    slots: Vec<DeviceSlot>,
}

/// Running means of one parameter, as [`Slot`](super::Slot) has them on the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceSlot {
    pub(crate) first: Option<Tensor<1>>,
    pub(crate) second: Option<Tensor<1>>,
    pub(crate) third: Option<Tensor<1>>,
    pub(crate) average: Option<Tensor<1>>,
}

/// A parameter in a step: its values, and its gradient.
pub(crate) struct DeviceUpdate {
    pub(crate) values: Tensor<1>,
    pub(crate) gradient: Tensor<1>,
}

impl DeviceOptimizer {
    /// One that has taken `steps` steps and goes on from these means.
    pub(crate) fn resume(config: OptimizerConfig, trained: Vec<Trained>, steps: u64, slots: Vec<DeviceSlot>) -> Self {
        let decays = trained.iter().map(|own| decays(&config, &own.name)).collect();
        Self { config, trained, decays, steps, slots }
    }

    /// Steps taken.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// What it remembers of each parameter, by the parameter's name.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&str, &DeviceSlot)> {
        self.trained.iter().map(|own| own.name.as_str()).zip(&self.slots)
    }

    /// The moving averages of weights by the parameter's place, for them to change places; none without `ema_momentum`.
    pub(crate) fn averages(&mut self) -> impl Iterator<Item = (usize, &mut Tensor<1>)> {
        self.slots.iter_mut().enumerate().filter_map(|(at, slot)| Some((at, slot.average.as_mut()?)))
    }

    /// One step of all parameters of a batch, in their order; `None` for one that no gradient reached.
    pub(crate) fn step(&mut self, size: StepSize, updates: &mut [Option<DeviceUpdate>]) {
        let Self { config, trained, decays, steps, slots } = self;
        *steps += 1;
        let global = match config.clip {
            Some(Clip::GlobalNorm(most)) => {
                let squares = updates.iter().flatten().map(|update| square_sum(&update.gradient));
                squares.reduce(|a, b| a + b).map(|sum| shrink(most, sum))
            }
            _ => None,
        };
        for (((update, slot), own), decays) in updates.iter_mut().zip(slots).zip(trained).zip(decays) {
            let Some(DeviceUpdate { values, gradient }) = update else { continue };
            let size = StepSize { learning_rate: size.learning_rate * own.multiplier, ..size };
            let gradient = match (config.clip, &global) {
                (Some(Clip::Norm(most)), _) => gradient.clone() * shrink(most, square_sum(gradient)),
                (Some(Clip::GlobalNorm(_)), Some(scale)) => gradient.clone() * scale.clone(),
                (Some(Clip::Value(most)), _) => gradient.clone().clamp(-most, most),
                _ => gradient.clone(),
            };
            let mut weights = values.clone();
            if *decays {
                weights = weights.mul_scalar(1.0 - (config.weight_decay() * size.learning_rate) as f32);
            }
            weights = apply(&config.rule, *steps, size, weights, gradient, slot);
            if let Some(momentum) = config.ema_momentum {
                let momentum = momentum as f32;
                slot.average = Some(match slot.average.take() {
                    Some(old) => old.mul_scalar(momentum) + weights.clone().mul_scalar(1.0 - momentum),
                    None => weights.clone(),
                });
            }
            *values = weights;
        }
    }
}

/// The weights after step number `t`, counted from 1.
fn apply(rule: &Rule, t: u64, size: StepSize, w: Tensor<1>, g: Tensor<1>, slot: &mut DeviceSlot) -> Tensor<1> {
    let lr = size.learning_rate as f32;
    let zeros = |slot: &mut Option<Tensor<1>>| slot.take().unwrap_or_else(|| g.zeros_like());
    match *rule {
        Rule::Adam(Adam { beta_1, beta_2, epsilon, .. }) | Rule::AdamW(Adam { beta_1, beta_2, epsilon, .. }) => {
            let beta_1 = size.momentum.unwrap_or(beta_1);
            let t = t.max(1) as i32;
            let alpha = (size.learning_rate * (1.0 - beta_2.powi(t)).sqrt() / (1.0 - beta_1.powi(t))) as f32;
            let (m, v) = (zeros(&mut slot.first), zeros(&mut slot.second));
            let m = m.clone() + (g.clone() - m).mul_scalar((1.0 - beta_1) as f32);
            let v = v.clone() + (g.clone() * g - v).mul_scalar((1.0 - beta_2) as f32);
            (slot.first, slot.second) = (Some(m.clone()), Some(v.clone()));
            w - m.mul_scalar(alpha) / v.sqrt().add_scalar(epsilon as f32)
        }
        Rule::Sgd(Sgd { momentum, nesterov, .. }) => {
            let momentum = size.momentum.unwrap_or(momentum) as f32;
            if momentum == 0.0 && slot.first.is_none() {
                return w - g.mul_scalar(lr);
            }
            let m = zeros(&mut slot.first).mul_scalar(momentum) - g.clone().mul_scalar(lr);
            slot.first = Some(m.clone());
            w + if nesterov { m.mul_scalar(momentum) - g.mul_scalar(lr) } else { m }
        }
        Rule::RmsProp(RmsProp { rho, momentum, epsilon, centered, .. }) => {
            let momentum = size.momentum.unwrap_or(momentum) as f32;
            let (rho, rest) = (rho as f32, (1.0 - rho) as f32);
            let (m, v) = (zeros(&mut slot.first), zeros(&mut slot.second));
            let v = v.mul_scalar(rho) + g.clone().mul_scalar(rest) * g.clone();
            slot.second = Some(v.clone());
            let mut spread = v;
            if centered {
                let mean = zeros(&mut slot.third).mul_scalar(rho) + g.clone().mul_scalar(rest);
                slot.third = Some(mean.clone());
                spread = spread - mean.clone() * mean;
            }
            let m = m.mul_scalar(momentum) + g.mul_scalar(lr) / spread.add_scalar(epsilon as f32).sqrt();
            slot.first = Some(m.clone());
            w - m
        }
    }
}

fn square_sum(gradient: &Tensor<1>) -> Tensor<1> {
    (gradient.clone() * gradient.clone()).sum()
}

/// What brings a vector with this sum of squares down to a norm of at most `most`; 1 for a shorter one.
fn shrink(most: f64, square_sum: Tensor<1>) -> Tensor<1> {
    square_sum.sqrt().clamp_min(most).recip().mul_scalar(most as f32)
}
