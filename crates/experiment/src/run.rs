use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use burn::tensor::Device;
use injerto_data::{Loader, Skipped};
use injerto_trainer::history::EpochRecord;
use injerto_trainer::metrics::Report;
use injerto_trainer::{Checkpoints, Fit, Fitted, Model, Observer, Phase, Progress, Seconds};
use serde::{Deserialize, Serialize};

use crate::environment::{environment, peak_memory};
use crate::gain::{Gain, compare};
use crate::record::History;
use crate::tensorboard::TensorBoard;
use crate::{ExperimentError, Prepared};

/// The folder that a run leaves.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// A new folder: `wanted`, or `runs/NAME-TIME`.
    ///
    /// # Errors
    /// A folder that holds a run already, or cannot be made.
    pub fn create(wanted: Option<&Path>, name: &str) -> Result<Self, ExperimentError> {
        let path = wanted.map_or_else(
            || {
                let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
                let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
                let base = format!("{}-{time}", name.chars().map(safe).collect::<String>());
                // Two runs may begin in one second.
                let candidates = (1..).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
                let mut free = candidates.map(|name| Path::new("runs").join(name)).filter(|path| !path.exists());
                free.next().expect("numbers do not run out")
            },
            Path::to_owned,
        );
        if path.join("experiment.toml").exists() {
            return Err(ExperimentError::Occupied { path });
        }
        std::fs::create_dir_all(&path).map_err(|source| ExperimentError::Io { path: path.clone(), source })?;
        Ok(Self { path })
    }

    /// The folder of a run that has begun, to go on with.
    ///
    /// # Errors
    /// A folder without an experiment in it.
    pub fn open(path: &Path) -> Result<Self, ExperimentError> {
        let folder = Self { path: path.to_owned() };
        match folder.experiment().is_file() {
            true => Ok(folder),
            false => {
                let source =
                    std::io::Error::new(std::io::ErrorKind::NotFound, "no such file; this is not a run's folder");
                Err(ExperimentError::Io { path: folder.experiment(), source })
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved experiment in it.
    pub fn experiment(&self) -> PathBuf {
        self.path.join("experiment.toml")
    }

    fn write(&self, name: &str, text: &str) -> Result<(), ExperimentError> {
        let path = self.path.join(name);
        // Beside its name and then renamed, so that a script never reads half a file.
        let partial = self.path.join(format!(".{name}.partial"));
        let written = std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, &path));
        written.map_err(|source| ExperimentError::Io { path, source })
    }
}

/// `summary.json`: what scripts read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the experiment.
    pub name: String,
    /// Where it ran.
    pub device: String,
    /// Its seed.
    pub seed: u32,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Images of each class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageCounts>,
    /// Where the backbone's weights are from, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Stretches of training.
    pub phases: Vec<PhaseSummary>,
    /// The epoch that was kept.
    pub best: BestSummary,
    /// Where the seconds went.
    pub seconds: Seconds,
    /// Images that went through the network in a second, each counted once a pass.
    pub images_per_second: f64,
    /// The most memory that was held.
    pub peak_memory_bytes: u64,
    /// Files that were left out, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<(PathBuf, String)>,
    /// Whether it was stopped before its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// What the network of the best epoch makes of the validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Report>,
    /// How much transfer helped, where the experiment asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_gain: Option<Gain>,
}

/// How many images a run had of each class, in the order of [`Summary::classes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCounts {
    /// To learn from.
    pub train: Vec<usize>,
    /// To judge by.
    pub validation: Vec<usize>,
}

/// One phase of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSummary {
    /// Its name.
    pub name: String,
    /// Its epochs.
    pub epochs: usize,
    /// Values that trained.
    pub trainable_params: usize,
    /// Values that did not.
    pub non_trainable_params: usize,
    /// Seconds of its epochs.
    pub seconds: f64,
    /// What each epoch brought.
    pub history: Vec<EpochRecord>,
}

/// The best epoch of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestSummary {
    /// Which.
    pub epoch: usize,
    /// What it was judged by.
    pub monitor: String,
    /// How well it did; nothing before the first epoch.
    pub value: Option<f64>,
    /// File of its weights.
    pub checkpoint: String,
}

/// What a run brought.
#[derive(Debug)]
pub struct Outcome {
    /// `summary.json`.
    pub summary: Summary,
    /// The network after the last epoch.
    pub model: Model,
}

/// Who watches a run, and how it is stopped.
pub struct Watch<'a> {
    /// Is told what happens.
    pub observer: &'a mut dyn Observer,
    /// Is told which of the runs that a comparison takes begins, in words.
    pub announce: &'a mut dyn FnMut(&str),
    /// Set from outside, it ends the run after the current batch, with everything written.
    pub stop: &'a AtomicBool,
}

/// Trains, and leaves the folder: resolved experiment, environment, history, TensorBoard events, checkpoints, summary.
///
/// # Errors
/// Whatever training meets. Files of finished epochs are there all the same.
pub fn run(
    prepared: &Prepared,
    device: &Device,
    folder: &RunFolder,
    resume: bool,
    watch: &mut Watch<'_>,
) -> Result<Outcome, ExperimentError> {
    let began = Instant::now();
    let config = &prepared.config;
    let name = config.device.name();
    if !resume {
        folder.write("experiment.toml", &config.to_toml())?;
        let environment = serde_json::to_string_pretty(&environment(name)).expect("plain data");
        folder.write("environment.json", &environment)?;
    }
    let mut model = prepared.model(config.seed, device)?;
    let checkpoints = Checkpoints::new(folder.path(), config.checkpoint.save_best_only);
    let progress = if resume { checkpoints.resume(&mut model)? } else { None };
    let mut history = History::begin(folder.path(), progress.as_ref().map_or(&[], |done| &done.history))?;
    let mut board = TensorBoard::begin(folder.path())?;
    let (train, validation) = prepared.loaders(config.seed);
    let settings = prepared.settings(config.seed);
    let fitted = Fit {
        train: &train,
        validation: validation.as_ref(),
        phases: &prepared.phases,
        settings: &settings,
        checkpoints: Some(&checkpoints),
        observer: &mut (&mut history, (&mut board, &mut *watch.observer)),
        stop: watch.stop,
    }
    .run(&mut model, progress)?;
    history.finish()?;
    let mut skipped = prepared.looked.unreadable.clone();
    skipped.extend(train.skipped());
    skipped.extend(validation.iter().flat_map(Loader::skipped));
    let mut summary = summarise(prepared, &fitted, skipped);
    summary.metrics = metrics(prepared, &fitted, validation.as_ref(), device, folder, watch)?;
    folder.write("summary.json", &serde_json::to_string_pretty(&summary).expect("plain data"))?;
    if let Some(asked) = config.transfer_gain.as_ref().filter(|_| !fitted.interrupted) {
        let own = accuracies(&fitted.history);
        summary.transfer_gain = transfer_gain(prepared, device, asked, (config.seed, own), watch)?;
        summary.interrupted = summary.transfer_gain.is_none();
    }
    summary.seconds.total = began.elapsed().as_secs_f64();
    summary.peak_memory_bytes = peak_memory();
    folder.write("summary.json", &serde_json::to_string_pretty(&summary).expect("plain data"))?;
    // The least of the files: everything else is there if it is not.
    board.finish()?;
    Ok(Outcome { summary, model })
}

/// What is known of the validation images under the best epoch's weights. A resumed run whose best epoch lies before the
/// resume asks its checkpoint again.
fn metrics(
    prepared: &Prepared,
    fitted: &Fitted,
    validation: Option<&Loader>,
    device: &Device,
    folder: &RunFolder,
    watch: &mut Watch<'_>,
) -> Result<Option<Report>, ExperimentError> {
    let Some(best) = fitted.history.iter().find(|record| record.epoch == fitted.best.epoch) else { return Ok(None) };
    match (&fitted.predictions, validation) {
        (Some(predictions), _) => {
            let report = Report::new(predictions, &prepared.card.classes);
            Ok(report.map(|report| Report { loss: best.val_loss, ..report }))
        }
        (None, Some(loader)) if !fitted.interrupted => {
            let model = Model::load(&folder.path().join(Checkpoints::BEST), device)?;
            let runner = model.runner(prepared.config.uses_kernels())?;
            Ok(model.report(&runner, loader, watch.observer, watch.stop)?)
        }
        (None, _) => Ok(None),
    }
}

fn accuracies(history: &[EpochRecord]) -> Vec<f64> {
    history.iter().map(|record| record.val_accuracy.unwrap_or(record.accuracy)).collect()
}

/// Trains the network by transfer and from scratch for each seed; `None` if it was stopped.
fn transfer_gain(
    prepared: &Prepared,
    device: &Device,
    asked: &crate::config::TransferGainConfig,
    own: (u32, Vec<f64>),
    watch: &mut Watch<'_>,
) -> Result<Option<Gain>, ExperimentError> {
    let scratch = [prepared.scratch_phase(asked.scratch.learning_rate)?];
    let mut pairs = Vec::new();
    for &seed in &asked.seeds {
        let mut curve = |mut model: Model, phases: &[Phase]| -> Result<Option<Vec<f64>>, ExperimentError> {
            let (train, validation) = prepared.loaders(seed);
            let settings = prepared.settings(seed);
            let fitted = Fit {
                train: &train,
                validation: validation.as_ref(),
                phases,
                settings: &settings,
                checkpoints: None,
                observer: &mut *watch.observer,
                stop: watch.stop,
            }
            .run(&mut model, None::<Progress>)?;
            Ok((!fitted.interrupted).then(|| accuracies(&fitted.history)))
        };
        let transfer = if seed == own.0 {
            Some(own.1.clone())
        } else {
            (watch.announce)(&format!("seed {seed}, by transfer"));
            curve(prepared.model(seed, device)?, &prepared.phases)?
        };
        let Some(transfer) = transfer else { return Ok(None) };
        (watch.announce)(&format!("seed {seed}, from scratch"));
        let Some(scratch) = curve(prepared.scratch_model(seed, device)?, &scratch)? else { return Ok(None) };
        pairs.push((seed, transfer, scratch));
    }
    Ok(Some(compare(&pairs, prepared.card.classes.len())))
}

/// A path as JSON can hold it: each byte that is not UTF-8 as `\xNN`.
fn in_json(path: PathBuf) -> PathBuf {
    if path.to_str().is_some() { path } else { PathBuf::from(injerto_files::shown(&path).to_string()) }
}

fn summarise(prepared: &Prepared, fitted: &Fitted, skipped: Vec<Skipped>) -> Summary {
    let config = &prepared.config;
    let phase = |phase: &Phase| {
        let own: Vec<EpochRecord> =
            fitted.history.iter().filter(|record| record.phase == phase.name).cloned().collect();
        let (trainable_params, non_trainable_params) = phase.plan.counts(&prepared.card.graph);
        PhaseSummary {
            name: phase.name.clone(),
            epochs: own.len(),
            trainable_params,
            non_trainable_params,
            seconds: own.iter().map(|record| record.seconds).sum(),
            history: own,
        }
    };
    Summary {
        name: config.name.clone(),
        device: config.device.name().to_owned(),
        seed: config.seed,
        classes: prepared.card.classes.clone(),
        images: Some(ImageCounts {
            train: prepared.train.counts(),
            validation: prepared.validation.as_ref().map_or_else(Vec::new, injerto_data::Dataset::counts),
        }),
        weights: Some(prepared.origin.clone()),
        phases: prepared.phases.iter().map(phase).collect(),
        best: BestSummary {
            epoch: fitted.best.epoch,
            monitor: fitted.best.monitor.name().to_owned(),
            value: fitted.best.value,
            checkpoint: Checkpoints::BEST.to_owned(),
        },
        seconds: fitted.seconds,
        images_per_second: fitted.images as f64 / fitted.seconds.total.max(1e-9),
        peak_memory_bytes: peak_memory(),
        skipped: skipped.into_iter().map(|skipped| (in_json(skipped.path), skipped.reason)).collect(),
        interrupted: fitted.interrupted,
        metrics: None,
        transfer_gain: None,
    }
}
