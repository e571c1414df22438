//! Callbacks watch a phase and intervene: early stopping, and a learning rate that is reduced on a plateau.
//!
//! The decisions are Keras's (`keras/src/callbacks`). A phase has at most one callback of each kind, which starts anew with the phase,
//! as in each `fit` of Keras. Their state is plain data, which a checkpoint holds.

use injerto_recipe::{Callbacks, EarlyStopping, ReduceOnPlateau};
use serde::{Deserialize, Serialize};

use crate::history::EpochRecord;

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

impl CallbackState {
    /// Decides after epoch number `epoch` of the phase, counted from 0. `learning_rate` is that of the phase's beginning.
    pub fn epoch_ended(
        &mut self,
        callbacks: &Callbacks,
        epoch: usize,
        record: &EpochRecord,
        learning_rate: f64,
    ) -> Decision {
        let early = callbacks.early_stopping.as_ref();
        let (stop, snapshot) = early.map_or((false, false), |early| self.stops(early, epoch, record));
        let plateau = callbacks.reduce_lr_on_plateau.as_ref();
        let reduced = plateau.is_some_and(|plateau| self.reduces(plateau, record, learning_rate));
        Decision { stop, snapshot, reduced }
    }

    /// The learning rate after all reductions; `None` before the first one.
    pub fn learning_rate(&self) -> Option<f64> {
        self.learning_rate
    }

    /// Returns whether the phase ends, and whether these are the best weights so far.
    fn stops(&mut self, early: &EarlyStopping, epoch: usize, record: &EpochRecord) -> (bool, bool) {
        let Some(value) = record.figure(early.monitor).filter(|_| epoch >= early.start_from_epoch) else {
            return (false, false);
        };
        let improves = |value, reference| early.monitor.improves(early.mode, early.min_delta.abs(), value, reference);
        let mut snapshot = early.restore_best_weights && !self.snapshot;
        self.early_wait += 1;
        let better = improves(value, self.early_best);
        if better {
            self.early_best = Some(value);
            snapshot = early.restore_best_weights;
            if early.baseline.is_none_or(|baseline| improves(value, Some(baseline))) {
                self.early_wait = 0;
            }
        }
        self.snapshot |= snapshot;
        (!better && self.early_wait >= early.patience && epoch > 0, snapshot)
    }

    /// Returns whether the learning rate was reduced.
    fn reduces(&mut self, plateau: &ReduceOnPlateau, record: &EpochRecord, learning_rate: f64) -> bool {
        let Some(value) = record.figure(plateau.monitor) else { return false };
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.plateau_wait = 0;
        }
        if plateau.monitor.improves(plateau.mode, plateau.min_delta.abs(), value, self.plateau_best) {
            self.plateau_best = Some(value);
            self.plateau_wait = 0;
        } else if self.cooldown == 0 {
            self.plateau_wait += 1;
            let old = self.learning_rate.unwrap_or(learning_rate);
            if self.plateau_wait >= plateau.patience && old > plateau.min_lr {
                self.learning_rate = Some((old * plateau.factor).max(plateau.min_lr));
                self.cooldown = plateau.cooldown;
                self.plateau_wait = 0;
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
    fn config<T: Default + Serialize + serde::de::DeserializeOwned>(given: &Value) -> T {
        let mut whole = serde_json::to_value(T::default()).expect("plain data");
        let entries = given.as_object().expect("a table").clone();
        whole.as_object_mut().expect("a table").extend(entries);
        serde_json::from_value(whole).expect("a callback")
    }

    #[test]
    fn decisions_are_those_of_keras_and_survive_a_resume_after_every_epoch() {
        let golden: Value = serde_json::from_str(include_str!("../tests/golden/callbacks.json")).expect("JSON");
        let mut seen = [0; 2];
        for case in golden["cases"].as_array().expect("a list") {
            let figures = golden["figures"][case["figures"].as_str().expect("a name")].as_array().expect("a list");
            let mut callbacks = Callbacks::default();
            if let Some(given) = case.get("early_stopping") {
                callbacks.early_stopping = Some(config(given));
                seen[0] += 1;
            } else {
                callbacks.reduce_lr_on_plateau = Some(config(&case["reduce_lr_on_plateau"]));
                seen[1] += 1;
            }
            let (mut state, mut stopped, mut kept) = (CallbackState::default(), None, None);
            for (at, figure) in figures.iter().enumerate() {
                let decision = state.epoch_ended(&callbacks, at, &epoch(figure), 0.1);
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
