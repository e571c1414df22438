//! How far a run has come, and whether the phases that it goes on with are those that it came through.

use std::collections::BTreeMap;

use injerto_backbones::weights::Weights;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Phase;
use crate::TrainError;
use crate::callbacks::CallbackState;
use crate::fit::Seconds;
use crate::history::{Best, EpochRecord};
use crate::metrics::Report;
use crate::optimizer::OptimizerState;

/// How far a run has come. Epochs are never half done: an epoch that was stopped begins again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// One record for each epoch that is done.
    pub history: Vec<EpochRecord>,
    /// The checkpoint callback's memory.
    pub best: Best,
    /// What the network of the best epoch said of the validation images, so that nobody has to ask it again.
    #[serde(default)]
    pub report: Option<Report>,
    /// Phases that are over.
    pub phases_done: usize,
    /// Epochs that are done of the phase after them.
    pub epochs_done: usize,
    /// What the callbacks of that phase remember.
    pub callbacks: CallbackState,
    /// The phases that the run was asked for.
    #[serde(default)]
    pub asked: Vec<Asked>,
    /// How the last phase ended, until an epoch of the next is done.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// Where the seconds of all finished epochs went.
    #[serde(default)]
    pub seconds: Seconds,
    /// Images that went through the network for them.
    #[serde(default)]
    pub images: usize,
    /// The most memory that a process has held on the way here, in bytes.
    #[serde(default)]
    pub peak_memory_bytes: u64,
    /// Files that were left out, fit to be printed, with the reason.
    #[serde(default)]
    pub skipped: Vec<(String, String)>,
    /// Weights to go back to at the end of the phase that is under way. They are tensors of the checkpoint.
    #[serde(skip)]
    pub snapshot: Option<Weights>,
    /// Weights of the last epoch of a phase that went back to others at its end. They are tensors of the checkpoint.
    #[serde(skip)]
    pub left: Option<Weights>,
    /// State of the optimiser of the phase that the last epoch belongs to. Its vectors are tensors of the checkpoint.
    #[serde(skip)]
    pub optimizer: Option<OptimizerState>,
}

/// A phase as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its epochs, the only thing that may change.
    pub epochs: usize,
    /// All the rest of it.
    pub rest: Value,
}

/// How a phase ended: what it takes to go on with it as if it had been longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Its epochs.
    pub epochs: usize,
    /// Whether early stopping ended it.
    pub early: bool,
    /// What its callbacks remembered.
    pub callbacks: CallbackState,
}

/// What it means for a run that phases are longer than when it began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lengthened {
    /// The phase that was over and goes on.
    pub reopened: Option<usize>,
    /// Names of phases that have begun under a schedule that is stretched over the whole phase: the learning rate goes on
    /// as that of the longer phase, whose epochs up to here would have had other ones.
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
    /// Key of the progress in a checkpoint's metadata.
    pub(crate) const KEY: &str = "injerto.progress";

    /// Nothing done yet.
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

    /// The progress in a checkpoint's metadata, without what stands in its tensors.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = metadata.get(Self::KEY).ok_or_else(|| format!("no '{}' in its metadata", Self::KEY))?;
        let progress: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        progress.check()?;
        Ok(progress)
    }

    /// Whether all of `phases` are over, so that nothing is left to train.
    pub fn is_complete(&self, phases: &[Phase]) -> bool {
        self.phases_done >= phases.len() && self.lengthened(phases).is_ok_and(|longer| longer.reopened.is_none())
    }

    /// Whether a run with `phases` can go on from here: all that has begun is as it was, but for more epochs of the phase
    /// under way or of the last one, and further phases. What more epochs mean then.
    ///
    /// # Errors
    /// A phase that differs, or whose number of epochs is a thing of the past.
    pub fn lengthened(&self, phases: &[Phase]) -> Result<Lengthened, TrainError> {
        let mut longer = Lengthened::default();
        let refuse = |phase: &str, reason: String| Err(TrainError::OtherPhase { phase: phase.to_owned(), reason });
        for (at, asked) in self.asked.iter().enumerate() {
            let Some(phase) = phases.get(at) else {
                let name = asked.rest["name"].as_str().unwrap_or_default();
                return refuse(name, "it is gone from the experiment".to_owned());
            };
            let now = Asked::of(phase);
            if now.rest != asked.rest {
                let keys = asked.rest.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
                let keys: Vec<&str> = keys.filter(|&key| now.rest[key] != asked.rest[key]).collect();
                return refuse(&phase.name, format!("it is not what it was ({})", keys.join(", ")));
            }
            let (now, was) = (phase.epochs, asked.epochs);
            if now == was || at > self.phases_done {
                continue;
            }
            let last = self.ended.as_ref().filter(|_| at + 1 == self.phases_done && self.epochs_done == 0);
            match last {
                _ if at == self.phases_done && now > self.epochs_done => {}
                _ if at == self.phases_done => {
                    return refuse(&phase.name, format!("it has {now} epochs now, but {} are done", self.epochs_done));
                }
                Some(ended) if ended.early => {
                    let reason = format!(
                        "early stopping ended it after {} epochs, and would end it there however many it had; \
                         add a phase to train on",
                        ended.epochs
                    );
                    return refuse(&phase.name, reason);
                }
                Some(ended) if now > ended.epochs => longer.reopened = Some(at),
                Some(ended) => {
                    return refuse(&phase.name, format!("it has {now} epochs now, but {} are done", ended.epochs));
                }
                None => {
                    return refuse(&phase.name, format!("it is over, and had {was} epochs, not {now}"));
                }
            }
            if phase.schedule.is_stretched() && (at < self.phases_done || self.epochs_done > 0) {
                longer.stretched.push(phase.name.clone());
            }
        }
        Ok(longer)
    }

    /// Takes these phases for those to go on with, and goes back into the last one where it is longer now. Whether it did.
    pub(crate) fn go_on_with(&mut self, phases: &[Phase]) -> Result<bool, TrainError> {
        let longer = self.lengthened(phases)?;
        self.asked = phases.iter().map(Asked::of).collect();
        let Some(ended) = self.ended.take_if(|_| longer.reopened.is_some()) else { return Ok(false) };
        (self.phases_done, self.epochs_done) = (self.phases_done - 1, ended.epochs);
        self.callbacks = ended.callbacks;
        Ok(true)
    }

    /// Counts an epoch of the current phase, which may have been its last.
    pub(crate) fn turn(&mut self, over: bool, early: bool) {
        self.epochs_done += 1;
        self.ended = None;
        if over {
            let callbacks = std::mem::take(&mut self.callbacks);
            self.ended = Some(Ended { epochs: self.epochs_done, early, callbacks });
            (self.phases_done, self.epochs_done) = (self.phases_done + 1, 0);
        }
    }

    /// Whether its parts agree: it may come from a file that somebody has edited.
    fn check(&self) -> Result<(), String> {
        let epochs = self.history.len();
        if let Some((at, record)) = self.history.iter().enumerate().find(|(at, record)| record.epoch != at + 1) {
            return Err(format!("its history has epoch {} in place {}", record.epoch, at + 1));
        }
        if self.best.epoch > epochs || self.epochs_done > epochs || self.phases_done > epochs {
            return Err(format!("it speaks of more epochs or phases than the {epochs} epochs of its history"));
        }
        if self.ended.as_ref().is_some_and(|ended| ended.epochs > epochs || self.phases_done == 0) {
            return Err("it speaks of a phase that has ended, and of none".to_owned());
        }
        Ok(())
    }
}
