//! Optimisers with Keras's formulas (`keras/src/optimizers/*.py`, Keras 3); their options and defaults are
//! [`OptimizerConfig`]'s.
//!
//! [`Optimizer`] updates each parameter on the host in one pass over its values; equal inputs give equal bits. If the
//! parameters are on a device, the same rules run on tensors there (`device`), and the optimiser's state is fetched for
//! checkpoints only. The order of a step is Keras's: clip the gradients, decay the weights, apply the rule, update the moving
//! averages.

mod clip;
mod device;
mod rule;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use injerto_graph::matches_pattern;
use injerto_recipe::{OptimizerConfig, StepSize};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) use device::{DeviceOptimizer, DeviceSlot, DeviceUpdate};

/// Whether weight decay applies to the parameter of this name.
fn decays(config: &OptimizerConfig, name: &str) -> bool {
    let excluded = |part: &String| matches_pattern(&format!("*{part}*"), name);
    config.weight_decay() > 0.0 && !config.exclude_from_weight_decay.iter().any(excluded)
}

/// State of the optimiser for one parameter. Each vector is as long as the parameter, or empty if the rule does not use it.
/// Checkpoints name the vectors `first`, `second`, `third` and `average`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Slot {
    /// First moment of the gradient (Adam: `m`), or the momentum, which is the last step (SGD and RMSprop).
    #[serde(rename = "first")]
    pub first_moment: Vec<f32>,
    /// Second moment of the gradient: the running mean of its square (Adam and RMSprop: `v`).
    #[serde(rename = "second")]
    pub second_moment: Vec<f32>,
    /// Running mean of the gradient, which centred RMSprop subtracts from the second moment.
    #[serde(rename = "third")]
    pub mean_gradient: Vec<f32>,
    /// Moving average of the parameter's values (`ema_momentum`).
    pub average: Vec<f32>,
}

impl Slot {
    /// The vectors with their names in a checkpoint.
    pub(crate) fn into_parts(self) -> [(&'static str, Vec<f32>); 4] {
        [
            ("first", self.first_moment),
            ("second", self.second_moment),
            ("third", self.mean_gradient),
            ("average", self.average),
        ]
    }

    /// The vector of this name in a checkpoint.
    pub(crate) fn part_mut(&mut self, name: &str) -> Option<&mut Vec<f32>> {
        match name {
            "first" => Some(&mut self.first_moment),
            "second" => Some(&mut self.second_moment),
            "third" => Some(&mut self.mean_gradient),
            "average" => Some(&mut self.average),
            _ => None,
        }
    }
}

/// State of an optimiser, from which a resumed run continues.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OptimizerState {
    /// Number of steps taken.
    pub step: u64,
    /// State of each parameter, by the parameter's name.
    pub slots: BTreeMap<String, Slot>,
}

/// Name and learning-rate multiplier of a parameter that trains.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Name of the parameter in a checkpoint: `LAYER/PARAMETER`.
    pub name: String,
    /// Factor of the learning rate: 1 unless the experiment sets a multiplier for the layer.
    pub multiplier: f64,
}

/// Values and gradient of one parameter in a step.
#[derive(Debug)]
pub struct Update<'a> {
    /// Values of the parameter, which the step updates.
    pub values: &'a mut [f32],
    /// Gradient of the loss, as long as the values and in the same order.
    pub gradient: &'a [f32],
}

/// Updates one parameter in step number `step`, counted from 1. `global` is the factor that [`clip::global`] returns for all
/// gradients.
fn move_one(
    config: &OptimizerConfig,
    step: u64,
    size: StepSize,
    global: f32,
    decays: bool,
    update: &mut Update<'_>,
    slot: &mut Slot,
) {
    let Update { values, gradient } = update;
    assert_eq!(values.len(), gradient.len(), "a gradient is as long as its values");
    let gradient = config.clip.map_or(Cow::Borrowed(*gradient), |clip| clip::apply(clip, gradient, global));
    if decays {
        let keep = 1.0 - (config.weight_decay() * size.learning_rate) as f32;
        values.iter_mut().for_each(|w| *w *= keep);
    }
    rule::apply(&config.rule, step, size, values, &gradient, slot);
    if let Some(momentum) = config.ema_momentum {
        let momentum = momentum as f32;
        match slot.average.is_empty() {
            true => slot.average.extend_from_slice(values),
            false => {
                let both = slot.average.iter_mut().zip(values.iter());
                both.for_each(|(average, w)| *average = momentum * *average + (1.0 - momentum) * w);
            }
        }
    }
}

/// An optimiser of the parameters of a phase, which are identified by their positions.
#[derive(Debug, Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    trained: Vec<Trained>,
    /// Whether weight decay applies, for each parameter.
    decays: Vec<bool>,
    step: u64,
    /// State of each parameter.
    slots: Vec<Slot>,
}

impl Optimizer {
    /// An optimiser that has taken no step.
    pub fn new(config: OptimizerConfig, trained: Vec<Trained>) -> Self {
        Self::resume(config, trained, OptimizerState::default())
    }

    /// An optimiser that continues from `state`. Parameters without a slot in `state` start afresh.
    pub fn resume(config: OptimizerConfig, trained: Vec<Trained>, mut state: OptimizerState) -> Self {
        let slots = trained.iter().map(|own| state.slots.remove(&own.name).unwrap_or_default()).collect();
        let decays = trained.iter().map(|own| decays(&config, &own.name)).collect();
        Self { config, trained, decays, step: state.step, slots }
    }

    /// The state from which [`Optimizer::resume`] continues.
    pub fn state(&self) -> OptimizerState {
        let slots = self.slots().map(|(name, slot)| (name.to_owned(), slot.clone())).collect();
        OptimizerState { step: self.step, slots }
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Learning rate of the experiment, before schedule and multipliers; the momentum is that of the rule.
    pub fn step_size(&self) -> StepSize {
        StepSize { learning_rate: self.config.rule.learning_rate(), momentum: None }
    }

    /// Takes one step. `updates` are the parameters in their order, with `None` for a parameter that no gradient reached.
    ///
    /// # Panics
    /// If the number of updates is not the number of parameters, or if the values and the gradient of a parameter differ in
    /// length.
    pub fn step(&mut self, size: StepSize, updates: &mut [Option<Update<'_>>]) {
        let Self { config, trained, decays, step, slots } = self;
        assert_eq!(updates.len(), trained.len(), "one update for each parameter that trains");
        *step += 1;
        let gradients = updates.iter().flatten().map(|update| update.gradient);
        let global = config.clip.map_or(1.0, |clip| clip::global(clip, gradients));
        let known = trained.par_iter().zip(decays);
        // The updates of different parameters are independent, so their order does not matter.
        updates.par_iter_mut().zip(slots).zip(known).for_each(|((update, slot), (own, decays))| {
            let Some(update) = update else { return };
            let size = StepSize { learning_rate: size.learning_rate * own.multiplier, ..size };
            move_one(config, *step, size, global, *decays, update, slot);
        });
    }

    /// Name and state of each parameter.
    fn slots(&self) -> impl Iterator<Item = (&str, &Slot)> {
        self.trained.iter().map(|own| own.name.as_str()).zip(&self.slots)
    }

    /// Takes the values of the parameters, in their order, into their mean over epochs. `before` epochs are in it already.
    pub(crate) fn average<'a>(&mut self, before: u64, values: impl Iterator<Item = &'a [f32]>) {
        let part = 1.0 / (before + 1) as f32;
        for (slot, values) in self.slots.iter_mut().zip(values) {
            if before == 0 || slot.average.is_empty() {
                slot.average = values.to_vec();
            } else {
                slot.average.iter_mut().zip(values).for_each(|(mean, w)| *mean += (w - *mean) * part);
            }
        }
    }

    /// Average of each parameter's values, with the parameter's position, so that callers can swap values and averages. Empty
    /// without `ema_momentum` and before the first [`Optimizer::average`].
    pub(crate) fn averages(&mut self) -> impl Iterator<Item = (usize, &mut Vec<f32>)> {
        let slots = self.slots.iter_mut().map(|slot| &mut slot.average).enumerate();
        slots.filter(|(_, average)| !average.is_empty())
    }
}
