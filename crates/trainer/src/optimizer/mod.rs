//! Optimisers with Keras's formulas and defaults (`keras/src/optimizers/*.py`, Keras 3).
//!
//! A step is one pass over the values of each parameter on the host: state is plain vectors that a checkpoint can hold, and
//! a step gives the same bits on every device. Its order is Keras's: gradients are clipped, weights decay, the rule moves
//! them, and the moving average follows.

mod clip;
mod rule;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use injerto_graph::matches_pattern;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use clip::Clip;
pub use rule::Rule;

/// An optimiser as an experiment names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptimizerConfig {
    /// How a gradient becomes a step.
    #[serde(flatten)]
    pub rule: Rule,
    /// How gradients are kept from growing.
    #[serde(flatten)]
    pub clip: Option<Clip>,
    /// Share of each weight that a step takes off, times the step size; `None`: 0.004 for AdamW, none for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Parameters whose name (`LAYER/PARAMETER`) contains one of these do not decay; `*` stands for any text. As in Keras,
    /// every parameter decays where nothing is said; `["bias", "gamma", "beta"]` is what timm and others leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_from_weight_decay: Vec<String>,
    /// Keeps a moving average of the weights, with this momentum. Epochs are judged and kept by the average, and at the end
    /// of the phase it takes the place of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_momentum: Option<f64>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::adam(1e-3)
    }
}

impl From<Rule> for OptimizerConfig {
    fn from(rule: Rule) -> Self {
        Self { rule, clip: None, weight_decay: None, exclude_from_weight_decay: Vec::new(), ema_momentum: None }
    }
}

impl OptimizerConfig {
    /// Adam with this step size and Keras's defaults for the rest.
    pub fn adam(learning_rate: f64) -> Self {
        Rule::adam(learning_rate).into()
    }

    /// The step size.
    pub fn learning_rate(&self) -> f64 {
        self.rule.learning_rate()
    }

    /// Share of a weight that a step takes off, times the step size.
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay.unwrap_or(if matches!(self.rule, Rule::AdamW { .. }) { 4e-3 } else { 0.0 })
    }

    /// Moves one parameter.
    fn move_one(&self, step: u64, pace: Pace, global: f32, update: &mut Update<'_>, slot: &mut Slot) {
        let Update { name, values, gradient, multiplier } = update;
        assert_eq!(values.len(), gradient.len(), "gradient of '{name}'");
        let gradient = self.clip.map_or(Cow::Borrowed(*gradient), |clip| clip.apply(gradient, global));
        let pace = Pace { learning_rate: pace.learning_rate * *multiplier, ..pace };
        if self.decays(name) {
            let keep = 1.0 - (self.weight_decay() * pace.learning_rate) as f32;
            values.iter_mut().for_each(|w| *w *= keep);
        }
        self.rule.apply(step, pace, values, &gradient, slot);
        if let Some(momentum) = self.ema_momentum {
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

    fn decays(&self, name: &str) -> bool {
        let excluded = |part: &String| matches_pattern(&format!("*{part}*"), name);
        self.weight_decay() > 0.0 && !self.exclude_from_weight_decay.iter().any(excluded)
    }
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
    pub(crate) fn parts(&mut self) -> [(&'static str, &mut Vec<f32>); 4] {
        [
            ("first", &mut self.first),
            ("second", &mut self.second),
            ("third", &mut self.third),
            ("average", &mut self.average),
        ]
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

/// How far, and with which momentum, one step goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Step size.
    pub learning_rate: f64,
    /// In place of the rule's own: Adam's `beta_1`, the others' `momentum`.
    pub momentum: Option<f64>,
}

/// A parameter in a step.
#[derive(Debug)]
pub struct Update<'a> {
    /// `LAYER/PARAMETER`.
    pub name: &'a str,
    /// Its values, which the step moves.
    pub values: &'a mut [f32],
    /// As long as the values and in the same order.
    pub gradient: &'a [f32],
    /// The step size is multiplied by this: 1 unless its layer has a learning rate of its own.
    pub multiplier: f64,
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

    /// The step size and momentum that the experiment names.
    pub fn pace(&self) -> Pace {
        Pace { learning_rate: self.config.learning_rate(), momentum: None }
    }

    /// One step of all parameters of a batch.
    ///
    /// # Panics
    /// If values and gradient of a parameter differ in length, or a parameter changed its size.
    pub fn step(&mut self, pace: Pace, updates: &mut [Update<'_>]) {
        let OptimizerState { step, slots } = &mut self.state;
        *step += 1;
        let clip = self.config.clip;
        let global = clip.map_or(1.0, |clip| clip.global(updates.iter().map(|update| update.gradient)));
        let slot = |name: &str| slots.remove_entry(name).unwrap_or_else(|| (name.to_owned(), Slot::default()));
        let mut own: Vec<(String, Slot)> = updates.iter().map(|update| update.name).map(slot).collect();
        // Parameters do not know of each other, so the order does not matter.
        let work = updates.par_iter_mut().zip(&mut own);
        work.for_each(|(update, (_, slot))| self.config.move_one(*step, pace, global, update, slot));
        slots.extend(own);
    }

    /// What it remembers of each parameter, by name.
    pub(crate) fn slots(&mut self) -> impl Iterator<Item = (&str, &mut Slot)> {
        self.state.slots.iter_mut().map(|(name, slot)| (name.as_str(), slot))
    }

    /// The moving averages of weights by the parameter's name, for them to change places; none without `ema_momentum`.
    pub(crate) fn averages(&mut self) -> impl Iterator<Item = (&str, &mut Vec<f32>)> {
        let kept = self.state.slots.iter_mut().filter(|(_, slot)| !slot.average.is_empty());
        kept.map(|(name, slot)| (name.as_str(), &mut slot.average))
    }
}
