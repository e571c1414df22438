//! Optimisers with Keras's formulas (`keras/src/optimizers/*.py`, Keras 3); their options and defaults are
//! [`OptimizerConfig`]'s.
//!
//! [`Optimizer`] makes a step in one pass over the values of each parameter on the host: it gives the same bits every time.
//! Where parameters live on a device, the same rules work on tensors there (`device`), and running means are fetched for
//! checkpoints only. The order of a step is Keras's: gradients are clipped, weights decay, the rule moves them, and the moving
//! average follows.

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

/// Whether the parameter of this name decays.
fn decays(config: &OptimizerConfig, name: &str) -> bool {
    let excluded = |part: &String| matches_pattern(&format!("*{part}*"), name);
    config.weight_decay() > 0.0 && !config.exclude_from_weight_decay.iter().any(excluded)
}

/// Running means of one parameter, as long as the parameter; which is which is the optimiser's affair.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Slot {
    /// Of gradients, or the last step where there is momentum.
    pub first: Vec<f32>,
    /// Of squared gradients.
    pub second: Vec<f32>,
    /// Of gradients, where `second` must be centred.
    pub third: Vec<f32>,
    /// Of the parameter itself.
    pub average: Vec<f32>,
}

impl Slot {
    /// Its vectors by name, for a checkpoint.
    pub(crate) fn into_parts(self) -> [(&'static str, Vec<f32>); 4] {
        [("first", self.first), ("second", self.second), ("third", self.third), ("average", self.average)]
    }

    /// The vector of that name.
    pub(crate) fn part_mut(&mut self, name: &str) -> Option<&mut Vec<f32>> {
        match name {
            "first" => Some(&mut self.first),
            "second" => Some(&mut self.second),
            "third" => Some(&mut self.third),
            "average" => Some(&mut self.average),
            _ => None,
        }
    }
}

/// Steps taken and running means: what a resumed run needs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OptimizerState {
    /// Steps taken.
    pub step: u64,
    /// By the parameter's name.
    pub slots: BTreeMap<String, Slot>,
}

/// What an optimiser knows of a parameter that trains.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// `LAYER/PARAMETER`, its name in a checkpoint.
    pub name: String,
    /// The learning rate is multiplied by this: 1 unless its layer has a learning rate of its own.
    pub multiplier: f64,
}

/// A parameter in a step.
#[derive(Debug)]
pub struct Update<'a> {
    /// Its values, which the step moves.
    pub values: &'a mut [f32],
    /// As long as the values and in the same order.
    pub gradient: &'a [f32],
}

/// Moves one parameter in step number `step`; `global` is what [`clip::global`] says of all gradients.
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

/// An optimiser at work on the parameters of a phase, which it knows by their places.
#[derive(Debug, Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    trained: Vec<Trained>,
    /// Whether each of them decays.
    decays: Vec<bool>,
    step: u64,
    /// Running means of each of them.
    slots: Vec<Slot>,
}

impl Optimizer {
    /// A fresh one.
    pub fn new(config: OptimizerConfig, trained: Vec<Trained>) -> Self {
        Self::resume(config, trained, OptimizerState::default())
    }

    /// One that goes on from `state`.
    pub fn resume(config: OptimizerConfig, trained: Vec<Trained>, mut state: OptimizerState) -> Self {
        let slots = trained.iter().map(|own| state.slots.remove(&own.name).unwrap_or_default()).collect();
        let decays = trained.iter().map(|own| decays(&config, &own.name)).collect();
        Self { config, trained, decays, step: state.step, slots }
    }

    /// What [`Optimizer::resume`] needs.
    pub fn state(&self) -> OptimizerState {
        let slots = self.slots().map(|(name, slot)| (name.to_owned(), slot.clone())).collect();
        OptimizerState { step: self.step, slots }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// The learning rate and momentum that the experiment names.
    pub fn step_size(&self) -> StepSize {
        StepSize { learning_rate: self.config.rule.learning_rate(), momentum: None }
    }

    /// One step of all parameters of a batch, in their order; `None` for one that no gradient reached.
    ///
    /// # Panics
    /// If there are not as many updates as parameters, values and gradient of a parameter differ in length, or a parameter
    /// changed its size.
    pub fn step(&mut self, size: StepSize, updates: &mut [Option<Update<'_>>]) {
        let Self { config, trained, decays, step, slots } = self;
        assert_eq!(updates.len(), trained.len(), "one update for each parameter that trains");
        *step += 1;
        let gradients = updates.iter().flatten().map(|update| update.gradient);
        let global = config.clip.map_or(1.0, |clip| clip::global(clip, gradients));
        let known = trained.par_iter().zip(decays);
        // Parameters do not know of each other, so the order does not matter.
        updates.par_iter_mut().zip(slots).zip(known).for_each(|((update, slot), (own, decays))| {
            let Some(update) = update else { return };
            let size = StepSize { learning_rate: size.learning_rate * own.multiplier, ..size };
            move_one(config, *step, size, global, *decays, update, slot);
        });
    }

    /// What it remembers of each parameter, by the parameter's name.
    fn slots(&self) -> impl Iterator<Item = (&str, &Slot)> {
        self.trained.iter().map(|own| own.name.as_str()).zip(&self.slots)
    }

    /// The moving averages of weights by the parameter's place, for them to change places; none without `ema_momentum`.
    pub(crate) fn averages(&mut self) -> impl Iterator<Item = (usize, &mut Vec<f32>)> {
        let slots = self.slots.iter_mut().map(|slot| &mut slot.average).enumerate();
        slots.filter(|(_, average)| !average.is_empty())
    }
}
