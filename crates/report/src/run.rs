use std::path::{Path, PathBuf};

use injerto_config::Config;
use injerto_experiment::inspect::MorePhotos;
use injerto_experiment::{Calibration, Plan, RunFolder, Summary};
use injerto_files::printable;
use injerto_recipe::{Metric, Mode};
use injerto_trainer::history::{Best, EpochRecord};
use serde_json::Value;

use crate::ReportError;
use crate::chart::Stretch;
use crate::judged::{self, Judged, Pair, Placed};
use crate::tagged::Tagged;
use crate::verdict::Guessing;

/// The contents of a run's folder.
///
/// A run that was killed has no `summary.json`; its finished epochs are read from `history.jsonl`.
#[derive(Debug, Clone)]
pub struct Run {
    /// The folder.
    pub folder: PathBuf,
    /// Name of the experiment.
    pub name: String,
    /// One record for each finished epoch; never empty.
    pub history: Vec<EpochRecord>,
    /// The epoch that was kept.
    pub best: Kept,
    /// Number of classes, if it is known.
    pub classes: Option<usize>,
    /// Content of `summary.json`, if the run came to its end.
    pub summary: Option<Summary>,
    /// The value `metrics` of `summary.json`, with the figures per class.
    pub metrics: Value,
    /// Content of `calibration.json`; `None` if it is missing, or if another version wrote it in another form.
    pub calibration: Option<Calibration>,
    /// The best epoch's prediction for each validation image: `predictions.csv`; `None` if it is missing, or if it names other classes.
    pub judged: Option<Judged>,
    /// The same where an image may have several classes.
    pub tagged: Option<Tagged>,
    /// The images with their classes and sides: `split.csv`; empty if it is missing.
    pub placed: Vec<Placed>,
    /// Pairs of photos that show one picture, the worst first: `leaks.csv`; empty if it is missing.
    pub pairs: Vec<Pair>,
    /// Content of `more_photos.json`; `None` if the run was not asked, or if another version wrote it in another form.
    pub more: Option<MorePhotos>,
    /// Content of `environment.json`.
    pub environment: Value,
    /// Content of `plan.json`; `None` if it is missing, or if another version wrote it in another form.
    pub plan: Option<Plan>,
    /// Text of `experiment.toml`.
    pub experiment: Option<String>,
}

/// What the text of an experiment in this folder says.
fn config(text: &str, folder: &Path) -> Option<Config> {
    Config::parse(text, &folder.join("experiment.toml"), &[]).ok()
}

/// The epoch whose weights were kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Number of the epoch, from 1; 0 if no epoch was kept.
    pub epoch: usize,
    /// Name of the monitored metric.
    pub monitor: String,
    /// Value of the metric in this epoch.
    pub value: Option<f64>,
}

impl Run {
    /// Reads the folder of a run.
    ///
    /// # Errors
    /// [`ReportError`] if a file cannot be read or is malformed, or if there is no finished epoch.
    pub fn load(folder: &Path) -> Result<Self, ReportError> {
        let at = folder.join("summary.json");
        let summary: Option<Value> = optional(&at)?.map(|text| json(&at, 0, &text)).transpose()?;
        let metrics = summary.as_ref().map_or(Value::Null, |summary| summary["metrics"].clone());
        let summary: Option<Summary> = summary
            .map(|value| serde_json::from_value(value).map_err(|error| malformed(&at, error.to_string())))
            .transpose()?;
        if let Some(Err(reason)) = summary.as_ref().map(Summary::check) {
            return Err(malformed(&at, reason));
        }
        let history: Vec<EpochRecord> = match &summary {
            Some(summary) => summary.phases.iter().flat_map(|phase| phase.history.clone()).collect(),
            None => {
                let path = folder.join("history.jsonl");
                let text = optional(&path)?.unwrap_or_default();
                // The last line is incomplete if the run was killed while it was written.
                let whole = text.rfind('\n').map_or("", |end| &text[..end]);
                let records: Vec<EpochRecord> =
                    whole.lines().enumerate().map(|(at, line)| json(&path, at, line)).collect::<Result<_, _>>()?;
                let misplaced = records.iter().enumerate().find(|(at, record)| record.epoch != at + 1);
                if let Some((at, record)) = misplaced {
                    return Err(malformed(&path, format!("line {}: epoch {} is out of place", at + 1, record.epoch)));
                }
                records
            }
        };
        if history.is_empty() {
            return Err(ReportError::NothingToDraw { path: folder.to_owned() });
        }
        let experiment = optional(&folder.join("experiment.toml"))?;
        // An experiment of another version may have unknown keys. Its runs are drawn without the experiment's values.
        let config = experiment.as_ref().and_then(|text| config(text, folder));
        let best = match &summary {
            Some(Summary { best, .. }) => Kept { epoch: best.epoch, monitor: best.monitor.clone(), value: best.value },
            None => {
                let asked = config.as_ref().map(|config| (config.checkpoint.monitor, config.checkpoint.mode));
                let (monitor, mode) = asked.unwrap_or((Metric::ValAccuracy, Mode::Auto));
                let mut best = Best::new(monitor, mode);
                history.iter().for_each(|record| {
                    best.improve(record);
                });
                Kept { epoch: best.epoch, monitor: monitor.name().to_owned(), value: best.value }
            }
        };
        let units = config.as_ref().and_then(|config| config.head.units).map(|units| units.max(2));
        let classes = summary.as_ref().map(|summary| summary.classes.len()).or(units);
        let folder_name =
            || folder.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        let name = summary.as_ref().map(|summary| summary.name.clone()).or(config.map(|config| config.name));
        let plan = optional(&folder.join(Plan::FILE))?.and_then(|text| serde_json::from_str(&text).ok());
        let calibration = optional(&folder.join(Calibration::FILE))?.and_then(|text| serde_json::from_str(&text).ok());
        let more = optional(&folder.join(RunFolder::MORE_PHOTOS))?.and_then(|text| serde_json::from_str(&text).ok());
        let environment = optional(&folder.join("environment.json"))?;
        let environment = environment.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        let name = name.unwrap_or_else(folder_name);
        let of_these_classes = |judged: &Judged| {
            let names = |summary: &Summary| summary.classes.iter().map(|class| printable(class).to_string()).collect();
            summary.as_ref().map(names).is_none_or(|names: Vec<String>| names == judged.classes)
        };
        let judged = Judged::load(folder).filter(of_these_classes);
        let tagged = summary.as_ref().and_then(|summary| Tagged::load(folder, summary));
        let (placed, pairs, folder) = (judged::placed(folder), judged::pairs(folder), folder.to_owned());
        Ok(Self {
            folder,
            name,
            history,
            best,
            classes,
            summary,
            metrics,
            calibration,
            judged,
            tagged,
            placed,
            pairs,
            more,
            environment,
            plan,
            experiment,
        })
    }

    /// The phases with their first and last epochs, in order.
    pub fn stretches(&self) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for record in &self.history {
            match stretches.last_mut().filter(|stretch| stretch.name == record.phase) {
                Some(stretch) => stretch.last = record.epoch,
                None => stretches.push(Stretch { name: record.phase.clone(), first: record.epoch, last: record.epoch }),
            }
        }
        stretches
    }

    /// The folder that the run's photos lie in; `None` if the images were drawn, or if it is unknown.
    pub fn root(&self) -> Option<PathBuf> {
        judged::root(&self.config()?)
    }

    /// The experiment; `None` if its file is missing, or has keys that this version does not know.
    pub fn config(&self) -> Option<Config> {
        config(self.experiment.as_ref()?, &self.folder)
    }

    /// Accuracy of each epoch on the validation images, or on the training images if there are no validation images.
    pub fn accuracies(&self) -> Vec<f64> {
        self.history.iter().map(|record| record.val_accuracy.unwrap_or(record.accuracy)).collect()
    }

    /// Accuracy and loss of guessing, as far as the classes and validation images of the run are known.
    pub fn guessing(&self) -> Guessing {
        self.summary.as_ref().map_or_else(|| Guessing::new(self.classes, &[]), Guessing::of)
    }

    /// The accuracy of guessing with equal probabilities, if the number of classes is known; one half where an image may have several.
    pub fn chance(&self) -> Option<f64> {
        let several = self.summary.as_ref().is_some_and(|summary| summary.multi_label.is_some());
        self.classes.map(|classes| if several { 0.5 } else { 1.0 / classes.max(1) as f64 })
    }

    /// Figures of an epoch, which is given by its number.
    pub fn epoch(&self, epoch: usize) -> Option<&EpochRecord> {
        self.history.iter().find(|record| record.epoch == epoch)
    }
}

fn optional(path: &Path) -> Result<Option<String>, ReportError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReportError::Io { path: path.to_owned(), source }),
    }
}

/// Parses `text`, which begins at line `at` of the file, counted from 0.
fn json<T: serde::de::DeserializeOwned>(path: &Path, at: usize, text: &str) -> Result<T, ReportError> {
    serde_json::from_str(text).map_err(|error| {
        // The parser counts lines from the beginning of the text, and gives the position at the end of its message.
        let message = error.to_string();
        let what = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        malformed(path, format!("line {}, column {}: {what}", at + error.line().max(1), error.column()))
    })
}

fn malformed(path: &Path, reason: String) -> ReportError {
    ReportError::Malformed { path: path.to_owned(), reason }
}
