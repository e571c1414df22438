//! One trial of a sweep: its record, its folder, and how it is trained.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use injerto_data::Dataset;
use injerto_insight::stats::{Estimate, count_of};
use injerto_recipe::{Metric, Mode};
use injerto_trainer::history::{Best, EpochRecord};
use injerto_trainer::metrics::Figures;
use injerto_trainer::{Checkpoints, Event, Fitted, Observer, Paused, TrainError, Watch};
use serde::{Deserialize, Serialize};

use super::ground::{Ground, Shared};
use crate::judged::{self, Trust};
use crate::record::History;
use crate::resume::notes;
use crate::run::{Start, run, summarise};
use crate::source::root;
use crate::{ExperimentError, Prepared, RunFolder, Summary};

/// File of a trial that may go on.
const STATE: &str = "state.safetensors";

/// What is known of a trial that was trained, in `trial.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Number of the trial, which is the name of its folder.
    pub number: usize,
    /// What it sets, by key.
    pub sets: Vec<(String, String)>,
    /// Number of epochs that its experiment has.
    pub of_epochs: usize,
    /// Whether it has been trained to its end, which may be before its last epoch.
    pub complete: bool,
    /// The figure that decides which epoch is the best, and whether larger or smaller values are better.
    pub monitor: Metric,
    /// The direction.
    pub mode: Mode,
    /// Number of the best epoch; 0 for none.
    pub best_epoch: usize,
    /// The monitored figure of the best epoch.
    pub value: Option<f64>,
    /// Accuracy on the validation images in the best epoch, with Wilson's interval.
    pub accuracy: Option<Estimate>,
    /// Loss of the best epoch, on the validation images if there are any.
    pub loss: Option<f64>,
    /// Number of parameter values of the network.
    pub parameters: usize,
    /// The largest number of parameter values that train in a phase.
    pub trainable: usize,
    /// Seconds of training and validation, without the features that all trials share.
    pub seconds: f64,
    /// Why training failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// One record per epoch.
    pub history: Vec<EpochRecord>,
    /// Digest of the list of images.
    data: String,
}

impl Trial {
    /// The best epoch among the first ones, as many as are given.
    pub(super) fn best_within(&self, epochs: usize) -> Best {
        let mut best = Best::new(self.monitor, self.mode);
        for record in self.history.iter().take(epochs) {
            best.improve(record);
        }
        best
    }

    /// Whether it has been trained for this many epochs, or to its end.
    pub(super) fn has(&self, epochs: usize) -> bool {
        self.complete || self.failed.is_some() || self.history.len() >= epochs
    }
}

/// A trial that is to be trained.
pub(super) struct Planned {
    pub number: usize,
    pub sets: Vec<String>,
    pub config: injerto_config::Config,
    /// Place of its ground.
    pub ground: usize,
    /// What its features depend on beside its ground.
    pub features: String,
    /// Whether it trains a head alone, on features in memory.
    pub is_head_alone: bool,
    /// Number of its epochs.
    pub epochs: usize,
    /// Its experiment as it is written in its folder.
    pub experiment: String,
    pub folder: PathBuf,
    /// What is known of it.
    pub done: Option<Trial>,
}

impl Planned {
    /// Reads the record of an earlier sweep, if it is about these images.
    pub fn find(&mut self, data: &str) {
        let text = std::fs::read_to_string(self.folder.join(RunFolder::TRIAL)).ok();
        let found: Option<Trial> = text.and_then(|text| serde_json::from_str(&text).ok());
        self.done = found.filter(|trial| trial.data == data).map(|trial| Trial {
            number: self.number,
            sets: by_key(&self.sets),
            ..trial
        });
    }

    /// Trains up to so many epochs, from where it paused, and writes its folder. `None` if it was stopped.
    pub fn train(
        &self,
        epochs: usize,
        ground: &Ground,
        shared: &Shared,
        stop: &AtomicBool,
    ) -> Result<Option<Trial>, ExperimentError> {
        let prepared = ground.base.with(self.config.clone())?;
        let fit = prepared.fit();
        let (mut model, gathered) = shared.begin(ground, &prepared, &fit)?;
        let from = self.done.as_ref().and_then(|done| self.paused(done));
        let gathered = gathered.filter(|_| from.as_ref().is_none_or(|from| from.progress.phases_done == 0));
        let mut said = Said { prepared: &prepared, predictions: None };
        let trained = fit.run_until(epochs, from, &mut model, gathered, &mut Watch { observer: &mut said, stop });
        let predictions = said.predictions;
        let (fitted, paused) = match trained {
            Err(error @ TrainError::Diverged { .. }) => {
                let trial = Trial { failed: Some(error.to_string()), ..self.record(&prepared, ground, None, false) };
                self.write(&prepared, &trial, None, None)?;
                return Ok(Some(trial));
            }
            trained => trained?,
        };
        let Some(paused) = paused else { return Ok(None) };
        let complete = paused.progress.is_complete(&prepared.phases());
        let trial = self.record(&prepared, ground, Some(&fitted), complete);
        make(&self.folder)?;
        paused.save(&self.folder.join(STATE))?;
        self.write(&prepared, &trial, Some(&fitted), predictions)?;
        Ok(Some(trial))
    }

    /// Where it paused; `None` if that cannot be read, so that it begins again.
    fn paused(&self, done: &Trial) -> Option<Paused> {
        let paused = Paused::load(&self.folder.join(STATE)).ok()?;
        (paused.progress.history == done.history).then_some(paused)
    }

    fn record(&self, prepared: &Prepared, ground: &Ground, fitted: Option<&Fitted>, complete: bool) -> Trial {
        let checkpoint = &prepared.config.checkpoint;
        let best = fitted.map(|fitted| &fitted.best).filter(|best| best.epoch > 0);
        let one_class = fitted.and_then(|fitted| match &fitted.report {
            Some(Figures::MultiClass(report)) => Some(report),
            _ => None,
        });
        Trial {
            number: self.number,
            sets: by_key(&self.sets),
            of_epochs: self.epochs,
            complete,
            monitor: checkpoint.monitor,
            mode: checkpoint.mode,
            best_epoch: best.map_or(0, |best| best.epoch),
            value: best.and_then(|best| best.value),
            accuracy: one_class.map(|it| Estimate::share(count_of(it.accuracy, it.images), it.images)),
            loss: best.and_then(|best| best.loss),
            parameters: prepared.card.graph.parameter_count(),
            trainable: prepared.plan.phases.iter().map(|plan| plan.trainable).max().unwrap_or(0),
            seconds: fitted.map_or(0.0, |fitted| fitted.seconds.total),
            failed: None,
            history: fitted.map_or_else(Vec::new, |fitted| fitted.history.clone()),
            data: ground.data.clone(),
        }
    }

    /// Writes the folder of a run without a network and without a report, its record last.
    fn write(
        &self,
        prepared: &Prepared,
        trial: &Trial,
        fitted: Option<&Fitted>,
        predictions: Option<String>,
    ) -> Result<(), ExperimentError> {
        make(&self.folder)?;
        self.file(RunFolder::EXPERIMENT, &self.experiment)?;
        self.file(RunFolder::PLAN, &prepared.plan.to_json())?;
        if let Some(fitted) = fitted {
            History::begin(&self.folder, &fitted.history)?;
            if let Some(predictions) = predictions {
                self.file(RunFolder::PREDICTIONS, &predictions)?;
            }
            let counts = prepared.validation.as_ref().map(Dataset::counts);
            let (metrics, multi_label) = fitted.report.clone().map_or((None, None), Figures::parts);
            let trust = metrics.as_ref().zip(counts).map(|(it, counts)| Trust::of_accuracy(it.accuracy, &counts));
            let summary = Summary { metrics, multi_label, trust, ..summarise(prepared, fitted) };
            self.file(RunFolder::SUMMARY, &crate::json::pretty(&summary))?;
        }
        self.file(RunFolder::TRIAL, &crate::json::pretty(trial))
    }

    fn file(&self, name: &str, text: &str) -> Result<(), ExperimentError> {
        let path = self.folder.join(name);
        injerto_files::write(&path, text.as_bytes()).map_err(|source| ExperimentError::Io { path, source })
    }

    /// Makes the folder that of a whole run: with the checkpoints, what is kept with the model, and the test. `None` if it was stopped.
    pub fn crown(&self, ground: &Ground, watch: &mut Watch<'_>) -> Result<Option<Summary>, ExperimentError> {
        let prepared = ground.base.with(self.config.clone())?;
        let device = crate::device(prepared.config.device)?;
        let split = prepared.split_list();
        let paused = self.done.as_ref().and_then(|done| self.paused(done));
        let checkpoints = Checkpoints::new(&self.folder, true).with_notes(notes(&prepared, split.as_ref()));
        let (folder, start) = match (paused, checkpoints.last().is_file()) {
            (paused, true) => {
                drop(paused);
                (RunFolder::open(&self.folder)?, Start::Again(checkpoints.open()?.map(Box::new)))
            }
            (Some(paused), false) => {
                let folder = RunFolder::open(&self.folder)?;
                if let Some(split) = &split {
                    folder.write(RunFolder::SPLIT, &split.to_csv())?;
                }
                paused.write(&prepared.model(prepared.config.seed, &device)?, &checkpoints)?;
                (folder, Start::Again(checkpoints.open()?.map(Box::new)))
            }
            // The state from which it would go on is gone, so it begins again.
            (None, false) => {
                let record = self.done.as_ref().map(crate::json::pretty);
                std::fs::remove_dir_all(&self.folder)
                    .map_err(|source| ExperimentError::Io { path: self.folder.clone(), source })?;
                let folder = RunFolder::create(Some(&self.folder), &prepared.config.name)?;
                let summary = run(prepared, &device, &folder, Start::New, watch)?.summary;
                if let Some(record) = record {
                    self.file(RunFolder::TRIAL, &record)?;
                }
                return Ok((!summary.interrupted).then_some(summary));
            }
        };
        let summary = run(prepared, &device, &folder, start, watch)?.summary;
        Ok((!summary.interrupted).then_some(summary))
    }

    /// Removes the state from which it would go on.
    pub fn end(&self) {
        // If the state cannot be removed, it takes room and does no harm.
        let _ = std::fs::remove_file(self.folder.join(STATE));
    }
}

fn make(folder: &Path) -> Result<(), ExperimentError> {
    std::fs::create_dir_all(folder).map_err(|source| ExperimentError::Io { path: folder.to_owned(), source })
}

/// `KEY=VALUE` as key and value.
pub(super) fn by_key(sets: &[String]) -> Vec<(String, String)> {
    let pair = |set: &String| {
        let (key, value) = set.split_once('=').unwrap_or((set, ""));
        (key.to_owned(), value.to_owned())
    };
    sets.iter().map(pair).collect()
}

/// Keeps what the best epoch says of the validation images.
struct Said<'a> {
    prepared: &'a Prepared,
    predictions: Option<String>,
}

impl Observer for Said<'_> {
    fn observe(&mut self, event: &Event<'_>) {
        if let (Event::Best { answers, images, .. }, Some(dataset)) = (event, &self.prepared.validation) {
            let root = root(&self.prepared.config).unwrap_or(Path::new(""));
            self.predictions = Some(judged::to_csv(root, dataset, answers, images));
        }
    }
}
