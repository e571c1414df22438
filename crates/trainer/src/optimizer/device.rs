//! The optimiser's rules on tensors. Parameters, gradients and the optimiser's state stay on their device; a step fetches
//! nothing from it.

use burn_tensor::Tensor;
use injerto_recipe::{Adam, Clip, OptimizerConfig, RmsProp, Rule, Sgd, StepSize};

use super::{Trained, decays};

/// An optimiser whose state is on a device. Every tensor has the shape `[values]`. For equal inputs it gives the results of
/// [`Optimizer`](super::Optimizer), up to rounding.
#[derive(Debug)]
pub(crate) struct DeviceOptimizer {
    config: OptimizerConfig,
    trained: Vec<Trained>,
    decays: Vec<bool>,
    steps: u64,
    slots: Vec<DeviceSlot>,
}

/// State of one parameter, like [`Slot`](super::Slot) on the host. `None` stands for an empty vector.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceSlot {
    pub(crate) first_moment: Option<Tensor<1>>,
    pub(crate) second_moment: Option<Tensor<1>>,
    pub(crate) mean_gradient: Option<Tensor<1>>,
    pub(crate) average: Option<Tensor<1>>,
}

/// Values and gradient of one parameter in a step.
pub(crate) struct DeviceUpdate {
    pub(crate) values: Tensor<1>,
    pub(crate) gradient: Tensor<1>,
}

impl DeviceOptimizer {
    /// An optimiser that has taken `steps` steps and continues from the state in `slots`.
    pub(crate) fn resume(config: OptimizerConfig, trained: Vec<Trained>, steps: u64, slots: Vec<DeviceSlot>) -> Self {
        let decays = trained.iter().map(|own| decays(&config, &own.name)).collect();
        Self { config, trained, decays, steps, slots }
    }

    /// Number of steps taken.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Name and state of each parameter.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&str, &DeviceSlot)> {
        self.trained.iter().map(|own| own.name.as_str()).zip(&self.slots)
    }

    /// Takes the values of the parameters, in their order, into their mean over epochs. `before` epochs are in it already.
    pub(crate) fn average(&mut self, before: u64, values: impl Iterator<Item = Tensor<1>>) {
        for (slot, values) in self.slots.iter_mut().zip(values) {
            slot.average = Some(match slot.average.take().filter(|_| before > 0) {
                Some(mean) => mean.clone() + (values - mean).mul_scalar(1.0 / (before + 1) as f32),
                None => values,
            });
        }
    }

    /// Average of each parameter's values, with the parameter's position, so that callers can swap values and averages. Empty
    /// without `ema_momentum` and before the first [`DeviceOptimizer::average`].
    pub(crate) fn averages(&mut self) -> impl Iterator<Item = (usize, &mut Tensor<1>)> {
        self.slots.iter_mut().enumerate().filter_map(|(at, slot)| Some((at, slot.average.as_mut()?)))
    }

    /// Takes one step. `updates` are the parameters in their order, with `None` for a parameter that no gradient reached.
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
            let (m, v) = (zeros(&mut slot.first_moment), zeros(&mut slot.second_moment));
            let m = m.clone() + (g.clone() - m).mul_scalar((1.0 - beta_1) as f32);
            let v = v.clone() + (g.clone() * g - v).mul_scalar((1.0 - beta_2) as f32);
            (slot.first_moment, slot.second_moment) = (Some(m.clone()), Some(v.clone()));
            w - m.mul_scalar(alpha) / v.sqrt().add_scalar(epsilon as f32)
        }
        Rule::Sgd(Sgd { momentum, nesterov, .. }) => {
            let momentum = size.momentum.unwrap_or(momentum) as f32;
            if momentum == 0.0 && slot.first_moment.is_none() {
                return w - g.mul_scalar(lr);
            }
            let m = zeros(&mut slot.first_moment).mul_scalar(momentum) - g.clone().mul_scalar(lr);
            slot.first_moment = Some(m.clone());
            w + if nesterov { m.mul_scalar(momentum) - g.mul_scalar(lr) } else { m }
        }
        Rule::RmsProp(RmsProp { rho, momentum, epsilon, centered, .. }) => {
            let momentum = size.momentum.unwrap_or(momentum) as f32;
            let (rho, rest) = (rho as f32, (1.0 - rho) as f32);
            let (m, v) = (zeros(&mut slot.first_moment), zeros(&mut slot.second_moment));
            let v = v.mul_scalar(rho) + g.clone().mul_scalar(rest) * g.clone();
            slot.second_moment = Some(v.clone());
            let mut spread = v;
            if centered {
                let mean = zeros(&mut slot.mean_gradient).mul_scalar(rho) + g.clone().mul_scalar(rest);
                slot.mean_gradient = Some(mean.clone());
                spread = spread - mean.clone() * mean;
            }
            let m = m.mul_scalar(momentum) + g.mul_scalar(lr) / spread.add_scalar(epsilon as f32).sqrt();
            slot.first_moment = Some(m.clone());
            w - m
        }
    }
}

fn square_sum(gradient: &Tensor<1>) -> Tensor<1> {
    (gradient.clone() * gradient.clone()).sum()
}

/// The factor that reduces the norm of a vector with this sum of squares to at most `most`; 1 if the norm is smaller.
fn shrink(most: f64, square_sum: Tensor<1>) -> Tensor<1> {
    square_sum.sqrt().clamp_min(most).recip().mul_scalar(most as f32)
}
