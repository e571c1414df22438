//! Schedules of the learning rate.
//!
//! A schedule is plain data, and the learning rate is a function of the step, so a resumed run needs only the step. The curves are Keras's
//! (`keras/src/optimizers/schedules`); one-cycle is PyTorch's `OneCycleLR`. The learning rate of the optimiser is Keras's
//! `initial_learning_rate` (with a warm-up, `warmup_target`) and PyTorch's `max_lr`.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Learning rate and momentum of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSize {
    /// Learning rate, before a layer's own multiplier.
    pub learning_rate: f64,
    /// The momentum that replaces the rule's own (Adam's `beta_1`, or `momentum` of the other rules); `None` if it does not change.
    pub momentum: Option<f64>,
}

/// A length of training, in steps or in epochs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Length {
    /// Number of steps.
    Steps(u64),
    /// Number of epochs, which may be a fraction. It is rounded to whole steps.
    Epochs {
        /// Number of epochs.
        epochs: f64,
    },
}

impl Length {
    fn steps(self, count: StepCount) -> f64 {
        match self {
            Self::Steps(steps) => steps as f64,
            Self::Epochs { epochs } => (epochs * count.steps_per_epoch as f64).round(),
        }
    }
}

/// Length of the phase in which a schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepCount {
    /// Steps per epoch.
    pub steps_per_epoch: u64,
    /// Steps of the whole phase.
    pub total: u64,
}

/// A curve of learning rates with an optional warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The curve after the warm-up.
    #[serde(flatten)]
    pub curve: Curve,
    /// Length of the linear warm-up, during which the learning rate rises. The curve starts after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Length>,
    /// Learning rate at which the warm-up begins.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warmup_start: f64,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// A curve of learning rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Curve {
    /// The same learning rate at every step.
    Constant,
    /// Keras's `CosineDecay`: half a cosine down to `alpha` times the learning rate, and constant after that.
    Cosine {
        /// Length of the descent; `None` means the rest of the phase.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decay: Option<Length>,
        /// The share of the learning rate that remains at the end.
        #[serde(default)]
        alpha: f64,
    },
    /// Keras's `ExponentialDecay`: the learning rate is multiplied by `rate` over each length `every`.
    Exponential {
        /// The factor.
        rate: f64,
        /// Length over which the factor takes effect; `None` means one epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        every: Option<Length>,
        /// Whether the factor takes effect at once at the end of the length (PyTorch's `StepLR`) instead of gradually.
        #[serde(default)]
        staircase: bool,
    },
    /// Keras's `PiecewiseConstantDecay`: the optimiser's learning rate up to the first boundary, then the first value up to the second boundary,
    /// and so on.
    Piecewise {
        /// Boundaries in rising order. The step at a boundary still belongs to the part before it.
        boundaries: Vec<Length>,
        /// One value per boundary.
        values: Vec<f64>,
    },
    /// PyTorch's `OneCycleLR` (fastai's `fit_one_cycle`): the learning rate rises and falls over the whole phase, while momentum falls and
    /// rises.
    OneCycle(OneCycle),
}

/// The shape of [`Curve::OneCycle`], with PyTorch's names and defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OneCycle {
    /// Share of the steps in which the learning rate rises.
    pub pct_start: f64,
    /// The first learning rate is the highest one divided by this.
    pub div_factor: f64,
    /// The last learning rate is the first one divided by this.
    pub final_div_factor: f64,
    /// Form of the curve.
    pub anneal: Anneal,
    /// Whether the learning rate falls as slowly as it rises and has a third part down to the end, instead of one fall to the end.
    pub three_phase: bool,
    /// Whether momentum (Adam's `beta_1`) moves in the opposite direction.
    pub cycle_momentum: bool,
    /// Momentum at the beginning and at the end.
    pub max_momentum: f64,
    /// Momentum at the highest learning rate.
    pub base_momentum: f64,
}

/// Form of a one-cycle schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anneal {
    /// Half a cosine.
    Cos,
    /// A straight line.
    Linear,
}

impl Default for OneCycle {
    fn default() -> Self {
        Self {
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            anneal: Anneal::Cos,
            three_phase: false,
            cycle_momentum: true,
            max_momentum: 0.95,
            base_momentum: 0.85,
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Curve::Constant.into()
    }
}

impl Curve {
    /// [`Curve::Cosine`] with Keras's defaults, over the whole phase.
    pub const COSINE: Self = Self::Cosine { decay: None, alpha: 0.0 };
    /// [`Curve::Exponential`] with a factor of 0.9 per epoch.
    pub const EXPONENTIAL: Self = Self::Exponential { rate: 0.9, every: None, staircase: false };
    /// [`Curve::Piecewise`] without a boundary.
    pub const PIECEWISE: Self = Self::Piecewise { boundaries: Vec::new(), values: Vec::new() };
}

impl From<Curve> for Schedule {
    fn from(curve: Curve) -> Self {
        Self { curve, warmup: None, warmup_start: 0.0 }
    }
}

impl Schedule {
    /// Whether every step has the optimiser's learning rate.
    pub fn is_constant(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the learning rates depend on the number of epochs of the phase.
    pub fn is_stretched(&self) -> bool {
        matches!(self.curve, Curve::Cosine { decay: None, .. } | Curve::OneCycle(_))
    }

    /// Learning rate and momentum of a step, counted from 0. `learning_rate` is that of the optimiser.
    pub fn step_size(&self, learning_rate: f64, step: u64, count: StepCount) -> StepSize {
        let warmup = self.warmup.map_or(0.0, |warmup| warmup.steps(count));
        let step = step as f64;
        if step < warmup {
            let risen = (learning_rate - self.warmup_start) * step / warmup;
            return StepSize { learning_rate: risen + self.warmup_start, momentum: None };
        }
        let (step, rest) = (step - warmup, (count.total as f64 - warmup).max(1.0));
        let constant = |learning_rate| StepSize { learning_rate, momentum: None };
        match &self.curve {
            Curve::Constant => constant(learning_rate),
            Curve::Cosine { decay, alpha } => {
                let length = decay.map_or(rest, |decay| decay.steps(count)).max(1.0);
                let cosine = 0.5 * (1.0 + (PI * step.min(length) / length).cos());
                constant(learning_rate * ((1.0 - alpha) * cosine + alpha))
            }
            Curve::Exponential { rate, every, staircase } => {
                let every = every.unwrap_or(Length::Epochs { epochs: 1.0 }).steps(count).max(1.0);
                let times = step / every;
                constant(learning_rate * rate.powf(if *staircase { times.floor() } else { times }))
            }
            Curve::Piecewise { boundaries, values } => {
                let passed = boundaries.iter().zip(values).take_while(|(boundary, _)| step > boundary.steps(count));
                constant(passed.last().map_or(learning_rate, |(_, value)| *value))
            }
            Curve::OneCycle(cycle) => cycle.step_size(learning_rate, step, rest),
        }
    }
}

impl OneCycle {
    fn step_size(&self, highest: f64, step: f64, total: f64) -> StepSize {
        let first = highest / self.div_factor;
        let last = first / self.final_div_factor;
        let (many, few) = (self.max_momentum, self.base_momentum);
        let up = self.pct_start * total - 1.0;
        // For each part: its last step, and the values of learning rate and momentum at its beginning and end.
        let up_there = (up, (first, highest), (many, few));
        let stretches = match self.three_phase {
            false => vec![up_there, (total - 1.0, (highest, last), (few, many))],
            true => vec![
                up_there,
                (2.0 * self.pct_start * total - 2.0, (highest, first), (few, many)),
                (total - 1.0, (first, last), (many, many)),
            ],
        };
        let at = stretches.iter().position(|(end, ..)| step <= *end).unwrap_or(stretches.len() - 1);
        let begin = if at == 0 { 0.0 } else { stretches[at - 1].0 };
        let (end, rate, momentum) = stretches[at];
        // A part without steps has already reached its end.
        let part = if end > begin { ((step - begin) / (end - begin)).min(1.0) } else { 1.0 };
        let between = |(from, to): (f64, f64)| match self.anneal {
            Anneal::Cos => to + (from - to) / 2.0 * (1.0 + (PI * part).cos()),
            Anneal::Linear => (to - from) * part + from,
        };
        StepSize { learning_rate: between(rate), momentum: self.cycle_momentum.then(|| between(momentum)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Checks every step of every case of a golden file.
    fn check(golden: &str) {
        let golden: Value = serde_json::from_str(golden).expect("JSON");
        for case in golden["cases"].as_array().expect("a list") {
            let schedule: Schedule = serde_json::from_value(case["schedule"].clone()).expect("a schedule");
            let whole = |key: &str| case[key].as_u64().expect("a number");
            let count = StepCount { steps_per_epoch: whole("steps_per_epoch"), total: whole("total") };
            let base = case["learning_rate"].as_f64().expect("a number");
            for (step, rate) in case["rates"].as_array().expect("a list").iter().enumerate() {
                let size = schedule.step_size(base, step as u64, count);
                // Keras computes in single precision.
                let rate = rate.as_f64().expect("a number");
                let near = (size.learning_rate - rate).abs() < 1e-6 * base;
                assert!(near, "{schedule:?}, step {step}: {} is not {rate}", size.learning_rate);
                let momentum = case.get("momenta").map(|momenta| momenta[step].as_f64().expect("a number"));
                assert_eq!(size.momentum.is_some(), momentum.is_some());
                let near = size.momentum.zip(momentum).is_none_or(|(ours, theirs)| (ours - theirs).abs() < 1e-9);
                assert!(near, "{schedule:?}, step {step}: momentum {:?} is not {momentum:?}", size.momentum);
            }
        }
    }

    #[test]
    fn curves_are_those_of_keras_at_every_step() {
        check(include_str!("../../trainer/tests/golden/schedules.json"));
    }

    #[test]
    fn one_cycle_is_that_of_pytorch_at_every_step() {
        check(include_str!("../../trainer/tests/golden/one_cycle.json"));
    }

    #[test]
    fn every_schedule_gives_finite_rates_for_a_short_phase() {
        let names = [r#"{"name":"cosine","warmup":9}"#, r#"{"name":"one_cycle"}"#, r#"{"name":"cosine","decay":0}"#];
        let more = [
            r#"{"name":"one_cycle","three_phase":true}"#,
            r#"{"name":"exponential","rate":0.5,"every":0}"#,
            r#"{"name":"constant","warmup":{"epochs":0.1}}"#,
        ];
        for name in names.into_iter().chain(more) {
            let schedule: Schedule = serde_json::from_str(name).expect("a schedule");
            for total in 1..4 {
                for step in 0..12 {
                    let size = schedule.step_size(0.1, step, StepCount { steps_per_epoch: 1, total });
                    assert!((0.0..=0.1 + 1e-12).contains(&size.learning_rate), "{name} {total} {step}: {size:?}");
                }
            }
        }
    }

    #[test]
    fn a_schedule_is_read_back_from_its_text() {
        for text in [
            r#"{"name":"constant","warmup":{"epochs":0.5},"warmup_start":0.01}"#,
            r#"{"name":"piecewise","boundaries":[3,{"epochs":2.0}],"values":[0.1,0.01]}"#,
            r#"{"name":"one_cycle","pct_start":0.25}"#,
        ] {
            let schedule: Schedule = serde_json::from_str(text).expect("a schedule");
            let written = serde_json::to_string(&schedule).expect("plain data");
            assert_eq!(serde_json::from_str::<Schedule>(&written).expect("the same"), schedule);
        }
    }
}
