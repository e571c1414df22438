//! How far a run has come, and the check that a resumed run goes on with the same phases.

use std::collections::BTreeMap;

use injerto_backbones::weights::Weights;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Phase;
use crate::TrainError;
use crate::callbacks::CallbackState;
use crate::fitted::Seconds;
use crate::history::{Best, EpochRecord};
use crate::metrics::Figures;
use crate::optimizer::OptimizerState;

/// How far a run has come. Only complete epochs count; an epoch that was stopped begins again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// One record per complete epoch.
    pub history: Vec<EpochRecord>,
    /// The best epoch.
    pub best: Best,
    /// Metrics of the validation images with the network of the best epoch, so that they need not be evaluated again.
    #[serde(default)]
    pub report: Option<Figures>,
    /// Number of finished phases.
    pub phases_done: usize,
    /// Number of complete epochs of the phase after them.
    pub epochs_done: usize,
    /// State of the callbacks of that phase.
    pub callbacks: CallbackState,
    /// The phases of the run.
    #[serde(default)]
    pub asked: Vec<Asked>,
    /// How the last finished phase ended, until an epoch of the next one is complete.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// Seconds spent in each part of all complete epochs.
    #[serde(default)]
    pub seconds: Seconds,
    /// Number of images that went through the network for them.
    #[serde(default)]
    pub images: usize,
    /// The most memory that a process has held on the way here, in bytes.
    #[serde(default)]
    pub peak_memory_bytes: u64,
    /// Files that were left out, as printable names with the reason.
    #[serde(default)]
    pub skipped: Vec<(String, String)>,
    /// Weights to restore at the end of the current phase. They are tensors of the checkpoint.
    #[serde(skip)]
    pub snapshot: Option<Weights>,
    /// Weights of the last epoch of a phase that has restored others at its end. They are tensors of the checkpoint.
    #[serde(skip)]
    pub left: Option<Weights>,
    /// State of the optimiser of the last epoch's phase. Its vectors are tensors of the checkpoint.
    #[serde(skip)]
    pub optimizer: Option<OptimizerState>,
}

/// A phase as the user asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Number of epochs, the only part that may change.
    pub epochs: usize,
    /// All other parts of the phase.
    pub rest: Value,
}

/// How a phase ended, with everything that is needed to go on with it as if it had been longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Number of epochs of the phase.
    pub epochs: usize,
    /// Whether early stopping ended the phase.
    pub early: bool,
    /// State of its callbacks.
    pub callbacks: CallbackState,
}

/// The consequences for a run whose phases are longer now than at its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lengthened {
    /// The finished phase that goes on.
    pub reopened: Option<usize>,
    /// Names of phases that have begun with a schedule that is stretched over the whole phase. The learning rate goes on as that of the
    /// longer phase, in which the earlier epochs would have had other learning rates.
    pub stretched: Vec<String>,
}

impl Asked {
    fn of(phase: &Phase) -> Self {
        let mut rest = serde_json::to_value(phase).expect("a phase is plain data");
        if let Some(fields) = rest.as_object_mut() {
            fields.remove("epochs");
        }
        Self { epochs: phase.epochs, rest }
    }
}

impl Progress {
    /// Metadata key of the progress in a checkpoint.
    pub(crate) const KEY: &str = "injerto.progress";

    /// The progress before the first epoch.
    pub fn new(best: Best) -> Self {
        Self {
            history: Vec::new(),
            best,
            report: None,
            phases_done: 0,
            epochs_done: 0,
            callbacks: CallbackState::default(),
            asked: Vec::new(),
            ended: None,
            seconds: Seconds::default(),
            images: 0,
            peak_memory_bytes: 0,
            skipped: Vec::new(),
            snapshot: None,
            left: None,
            optimizer: None,
        }
    }

    /// Reads the progress in the metadata of a checkpoint, without the parts that are tensors.
    ///
    /// # Errors
    /// The problem with the metadata, in words.
    pub fn of(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = metadata.get(Self::KEY).ok_or_else(|| format!("no '{}' in its metadata", Self::KEY))?;
        let progress: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        progress.check()?;
        Ok(progress)
    }

    /// Whether all of `phases` are finished, so that nothing is left to train.
    pub fn is_complete(&self, phases: &[Phase]) -> bool {
        self.phases_done >= phases.len() && self.lengthened(phases).is_ok_and(|longer| longer.reopened.is_none())
    }

    /// Checks that a run with `phases` can go on from here, and returns the consequences of longer phases. The phases that have begun
    /// must be unchanged, except that the current or the last finished phase may have more epochs, and that phases may be added.
    ///
    /// # Errors
    /// A phase that has begun differs, or its number of epochs can no longer change.
    pub fn lengthened(&self, phases: &[Phase]) -> Result<Lengthened, TrainError> {
        let mut longer = Lengthened::default();
        let refuse = |phase: &str, reason: String| Err(TrainError::OtherPhase { phase: phase.to_owned(), reason });
        for (at, asked) in self.asked.iter().enumerate() {
            let Some(phase) = phases.get(at) else {
                let name = asked.rest["name"].as_str().unwrap_or_default();
                return refuse(name, "it is missing in the experiment".to_owned());
            };
            let now = Asked::of(phase);
            if now.rest != asked.rest {
                let keys = asked.rest.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
                let keys: Vec<&str> = keys.filter(|&key| now.rest[key] != asked.rest[key]).collect();
                return refuse(&phase.name, format!("it has changed ({})", keys.join(", ")));
            }
            let (now, was) = (phase.epochs, asked.epochs);
            if now == was || at > self.phases_done {
                continue;
            }
            let last = self.ended.as_ref().filter(|_| at + 1 == self.phases_done && self.epochs_done == 0);
            match last {
                _ if at == self.phases_done && now > self.epochs_done => {}
                _ if at == self.phases_done => {
                    return refuse(
                        &phase.name,
                        format!("its `epochs` is {now} now, but {} are complete", self.epochs_done),
                    );
                }
                Some(ended) if ended.early => {
                    let reason = format!(
                        "early stopping ended it after {} epochs, and would do so with any number of epochs; \
                         add a phase to train on",
                        ended.epochs
                    );
                    return refuse(&phase.name, reason);
                }
                Some(ended) if now > ended.epochs => longer.reopened = Some(at),
                Some(ended) => {
                    return refuse(
                        &phase.name,
                        format!("its `epochs` is {now} now, but {} are complete", ended.epochs),
                    );
                }
                None => {
                    return refuse(&phase.name, format!("it is finished, and had {was} epochs, not {now}"));
                }
            }
            if phase.schedule.is_stretched() && (at < self.phases_done || self.epochs_done > 0) {
                longer.stretched.push(phase.name.clone());
            }
        }
        Ok(longer)
    }

    /// Goes on with these phases. If the last finished phase is longer now, it becomes the current phase again. Returns whether it did.
    pub(crate) fn go_on_with(&mut self, phases: &[Phase]) -> Result<bool, TrainError> {
        let longer = self.lengthened(phases)?;
        self.asked = phases.iter().map(Asked::of).collect();
        let Some(ended) = self.ended.take_if(|_| longer.reopened.is_some()) else { return Ok(false) };
        (self.phases_done, self.epochs_done) = (self.phases_done - 1, ended.epochs);
        self.callbacks = ended.callbacks;
        Ok(true)
    }

    /// Counts a complete epoch of the current phase, which may have been its last.
    pub(crate) fn advance(&mut self, over: bool, early: bool) {
        self.epochs_done += 1;
        self.ended = None;
        if over {
            let callbacks = std::mem::take(&mut self.callbacks);
            self.ended = Some(Ended { epochs: self.epochs_done, early, callbacks });
            (self.phases_done, self.epochs_done) = (self.phases_done + 1, 0);
        }
    }

    /// Checks that the parts are consistent, because the file may have been edited.
    fn check(&self) -> Result<(), String> {
        let epochs = self.history.len();
        if let Some((at, record)) = self.history.iter().enumerate().find(|(at, record)| record.epoch != at + 1) {
            return Err(format!("its history has epoch {} in place {}", record.epoch, at + 1));
        }
        if self.best.epoch > epochs || self.epochs_done > epochs || self.phases_done > epochs {
            return Err(format!("it counts more epochs or phases than the {epochs} epochs of its history"));
        }
        if self.ended.as_ref().is_some_and(|ended| ended.epochs > epochs || self.phases_done == 0) {
            return Err("it contains the end of a phase, but no finished phase".to_owned());
        }
        Ok(())
    }
}
