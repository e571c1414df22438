use std::path::{Path, PathBuf};

use injerto_config::Config;
use injerto_experiment::{Plan, Summary};
use injerto_recipe::{Metric, Mode};
use injerto_trainer::history::{Best, EpochRecord};
use serde_json::Value;

use crate::ReportError;
use crate::verdict::Guessing;

/// What a run's folder says.
///
/// A run that was killed has no `summary.json`; what its `history.jsonl` holds is drawn all the same.
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
    /// How many classes there are, if the run says it.
    pub classes: Option<usize>,
    /// `summary.json`, where the run came to its end.
    pub summary: Option<Summary>,
    /// Figures of the classes, as `summary.json` has them under `metrics`.
    pub metrics: Value,
    /// `environment.json`.
    pub environment: Value,
    /// `plan.json`; a run of another version may have none that this one reads.
    pub plan: Option<Plan>,
    /// `experiment.toml`.
    pub experiment: Option<String>,
}

/// The epoch whose weights were kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Which, from 1; 0 if none was.
    pub epoch: usize,
    /// What it was judged by.
    pub monitor: String,
    /// How well it did.
    pub value: Option<f64>,
}

/// A phase as the curves show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Its name.
    pub name: String,
    /// Its first epoch.
    pub first: usize,
    /// Its last.
    pub last: usize,
}

impl Run {
    /// Reads the folder.
    ///
    /// # Errors
    /// Files that are not what a run writes; a folder without a finished epoch.
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
                // A line that was cut off when the run was killed has no end.
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
        // An experiment of another version may have keys that this one does not read; its runs are drawn all the same.
        let config =
            experiment.as_ref().and_then(|text| Config::parse(text, &folder.join("experiment.toml"), &[]).ok());
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
        let environment = optional(&folder.join("environment.json"))?;
        let environment = environment.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        let name = name.unwrap_or_else(folder_name);
        let folder = folder.to_owned();
        Ok(Self { folder, name, history, best, classes, summary, metrics, environment, plan, experiment })
    }

    /// Consecutive epochs of one phase, in their order.
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

    /// Accuracy on the validation images, or on the training images where there are no others.
    pub fn accuracies(&self) -> Vec<f64> {
        self.history.iter().map(|record| record.val_accuracy.unwrap_or(record.accuracy)).collect()
    }

    /// What guessing would reach, as far as the run says it.
    pub fn guessing(&self) -> Guessing {
        let images = self.summary.as_ref().and_then(|summary| summary.images.as_ref());
        Guessing::new(self.classes, images.map_or(&[], |images| &images.validation))
    }

    /// The accuracy of guessing, if the run says how many classes there are.
    pub fn chance(&self) -> Option<f64> {
        self.classes.map(|classes| 1.0 / classes.max(1) as f64)
    }

    /// What an epoch brought.
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

/// Reads the line `at` of a file, counted from 0, or all from there.
fn json<T: serde::de::DeserializeOwned>(path: &Path, at: usize, text: &str) -> Result<T, ReportError> {
    serde_json::from_str(text).map_err(|error| {
        // It counts lines from the beginning of the text, and says where at the end of its message.
        let message = error.to_string();
        let what = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        malformed(path, format!("line {}, column {}: {what}", at + error.line().max(1), error.column()))
    })
}

fn malformed(path: &Path, reason: String) -> ReportError {
    ReportError::Malformed { path: path.to_owned(), reason }
}
