//! Callbacks watch a phase and intervene: early stopping, and a learning rate that is reduced on a plateau.
//!
//! The decisions are Keras's (`keras/src/callbacks`). A phase has at most one callback of each kind, which starts anew with the phase,
//! as in each `fit` of Keras. Their state is plain data, which a checkpoint holds.

use serde::{Deserialize, Serialize};

use crate::history::{EpochRecord, Metric, Mode};

/// The callbacks of a phase.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Callbacks {
    /// Ends the phase when the monitored figure no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Reduces the learning rate when the monitored figure no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce_lr_on_plateau: Option<ReduceOnPlateau>,
}

/// Options of Keras's `EarlyStopping`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// The monitored figure.
    pub monitor: Metric,
    /// Whether larger or smaller values are better.
    pub mode: Mode,
    /// Epochs without improvement after which the phase ends.
    pub patience: usize,
    /// The smallest change that counts as an improvement (Keras's `min_delta`).
    pub min_delta: f64,
    /// Patience begins anew only if the figure is also better than this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// Whether the phase ends with the weights of its best epoch, in whatever way it ends.
    pub restore_best_weights: bool,
    /// First epoch of the phase, counted from 0, that the callback looks at.
    pub start_from_epoch: usize,
}

/// Options of Keras's `ReduceLROnPlateau`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReduceOnPlateau {
    /// The monitored figure.
    pub monitor: Metric,
    /// Whether larger or smaller values are better.
    pub mode: Mode,
    /// Factor by which the learning rate is multiplied.
    pub factor: f64,
    /// Number of epochs without improvement after which the learning rate is reduced.
    pub patience: usize,
    /// The smallest change that counts as an improvement (Keras's `min_delta`).
    pub min_delta: f64,
    /// Number of epochs after a reduction in which epochs without improvement are not counted.
    pub cooldown: usize,
    /// Lower limit of the learning rate.
    pub min_lr: f64,
}

/// State of the callbacks of a phase. Checkpoints hold its floating-point numbers bit by bit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CallbackState {
    early_wait: usize,
    #[serde(with = "crate::exact")]
    early_best: Option<f64>,
    /// Whether there are weights to restore.
    snapshot: bool,
    plateau_wait: usize,
    #[serde(with = "crate::exact")]
    plateau_best: Option<f64>,
    cooldown: usize,
    #[serde(with = "crate::exact")]
    learning_rate: Option<f64>,
}

/// Decision of the callbacks after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the phase ends here.
    pub stop: bool,
    /// Whether the weights of this epoch are the ones to restore at the end of the phase.
    pub snapshot: bool,
    /// Whether the learning rate was reduced.
    pub reduced: bool,
}

impl Metric {
    /// Whether `value` is better than `reference` by more than `min_delta`, as in Keras.
    fn improves(self, mode: Mode, min_delta: f64, value: f64, reference: Option<f64>) -> bool {
        let Some(reference) = reference else { return true };
        if self.larger_is_better(mode) { value - min_delta > reference } else { value + min_delta < reference }
    }
}

impl Callbacks {
    /// Decides after epoch number `epoch` of the phase, counted from 0. `learning_rate` is that of the phase's beginning.
    pub fn epoch_ended(
        &self,
        state: &mut CallbackState,
        epoch: usize,
        record: &EpochRecord,
        learning_rate: f64,
    ) -> Decision {
        let (stop, snapshot) =
            self.early_stopping.map_or((false, false), |early| early.epoch_ended(state, epoch, record));
        let plateau = self.reduce_lr_on_plateau.as_ref();
        let reduced = plateau.is_some_and(|plateau| plateau.epoch_ended(state, record, learning_rate));
        Decision { stop, snapshot, reduced }
    }

    /// The monitored figures.
    pub fn monitors(&self) -> impl Iterator<Item = Metric> {
        let early = self.early_stopping.map(|early| early.monitor);
        early.into_iter().chain(self.reduce_lr_on_plateau.map(|plateau| plateau.monitor))
    }

    /// Whether the best weights are restored at the end of the phase.
    pub fn restores(&self) -> bool {
        self.early_stopping.is_some_and(|early| early.restore_best_weights)
    }
}

impl CallbackState {
    /// The learning rate after all reductions; `None` before the first one.
    pub fn learning_rate(&self) -> Option<f64> {
        self.learning_rate
    }
}

impl EarlyStopping {
    /// Returns whether the phase ends, and whether these are the best weights so far.
    fn epoch_ended(self, state: &mut CallbackState, epoch: usize, record: &EpochRecord) -> (bool, bool) {
        let Some(value) = self.monitor.of(record).filter(|_| epoch >= self.start_from_epoch) else {
            return (false, false);
        };
        let improves = |value, reference| self.monitor.improves(self.mode, self.min_delta.abs(), value, reference);
        let mut snapshot = self.restore_best_weights && !state.snapshot;
        state.early_wait += 1;
        let better = improves(value, state.early_best);
        if better {
            state.early_best = Some(value);
            snapshot = self.restore_best_weights;
            if self.baseline.is_none_or(|baseline| improves(value, Some(baseline))) {
                state.early_wait = 0;
            }
        }
        state.snapshot |= snapshot;
        (!better && state.early_wait >= self.patience && epoch > 0, snapshot)
    }
}

impl ReduceOnPlateau {
    /// Returns whether the learning rate was reduced.
    fn epoch_ended(&self, state: &mut CallbackState, record: &EpochRecord, learning_rate: f64) -> bool {
        let Some(value) = self.monitor.of(record) else { return false };
        if state.cooldown > 0 {
            state.cooldown -= 1;
            state.plateau_wait = 0;
        }
        if self.monitor.improves(self.mode, self.min_delta.abs(), value, state.plateau_best) {
            state.plateau_best = Some(value);
            state.plateau_wait = 0;
        } else if state.cooldown == 0 {
            state.plateau_wait += 1;
            let old = state.learning_rate.unwrap_or(learning_rate);
            if state.plateau_wait >= self.patience && old > self.min_lr {
                state.learning_rate = Some((old * self.factor).max(self.min_lr));
                state.cooldown = self.cooldown;
                state.plateau_wait = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn epoch(figure: &Value) -> EpochRecord {
        let value = figure.as_f64().unwrap_or(f64::NAN);
        EpochRecord {
            epoch: 1,
            phase: "phase-0".to_owned(),
            loss: 0.5,
            accuracy: 0.5,
            val_loss: Some(value),
            val_accuracy: Some(value),
            learning_rate: 0.1,
            seconds: 0.0,
        }
    }

    /// Keras's defaults, overridden by `given`.
    fn config<T: serde::de::DeserializeOwned>(mut defaults: Value, given: &Value) -> T {
        let entries = given.as_object().expect("a table").clone();
        defaults.as_object_mut().expect("a table").extend(entries);
        serde_json::from_value(defaults).expect("a callback")
    }

    #[test]
    fn decisions_are_those_of_keras_and_survive_a_resume_after_every_epoch() {
        let golden: Value = serde_json::from_str(include_str!("../tests/golden/callbacks.json")).expect("JSON");
        let mut seen = [0; 2];
        for case in golden["cases"].as_array().expect("a list") {
            let figures = golden["figures"][case["figures"].as_str().expect("a name")].as_array().expect("a list");
            let mut callbacks = Callbacks::default();
            if let Some(given) = case.get("early_stopping") {
                let defaults = json!({"mode": "auto", "patience": 0, "min_delta": 0.0, "restore_best_weights": false,
                                      "start_from_epoch": 0});
                callbacks.early_stopping = Some(config(defaults, given));
                seen[0] += 1;
            } else {
                let defaults = json!({"mode": "auto", "factor": 0.1, "patience": 10, "min_delta": 1e-4, "cooldown": 0,
                                      "min_lr": 0.0});
                callbacks.reduce_lr_on_plateau = Some(config(defaults, &case["reduce_lr_on_plateau"]));
                seen[1] += 1;
            }
            let (mut state, mut stopped, mut kept) = (CallbackState::default(), None, None);
            for (at, figure) in figures.iter().enumerate() {
                let decision = callbacks.epoch_ended(&mut state, at, &epoch(figure), 0.1);
                let written = serde_json::to_string(&state).expect("plain data");
                state = serde_json::from_str(&written).expect("the same");
                kept = if decision.snapshot { Some(at) } else { kept };
                if let Some(rates) = case.get("rates") {
                    let (ours, keras) = (state.learning_rate().unwrap_or(0.1), rates[at].as_f64().expect("a number"));
                    // Keras keeps the learning rate in single precision.
                    assert!((ours - keras).abs() < 1e-6 * keras, "{case} epoch {at}: {ours}");
                }
                if decision.stop {
                    stopped = Some(at);
                    break;
                }
            }
            if callbacks.early_stopping.is_some() {
                assert_eq!(json!(stopped), case["stopped"], "{case}");
                let last = stopped.unwrap_or(figures.len() - 1);
                assert_eq!(json!(if callbacks.restores() { kept.unwrap_or(last) } else { last }), case["weights_of"]);
            }
        }
        assert!(seen.iter().all(|&count| count > 20), "{seen:?}");
    }
}
