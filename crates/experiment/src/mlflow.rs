//! Writes a run into a file store of MLflow, so that its interface shows the run beside others.
//!
//! The layout is that of MLflow's `FileStore`: a folder per experiment with a folder per run, in which each parameter, tag and metric is a
//! file. A line of a metric is a time in milliseconds, the value and the step.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use injerto_files::{hex, write};
use injerto_trainer::Checkpoints;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::summary::Summary;
use crate::{ExperimentError, RunFolder};

/// Files of a run that become its artifacts, where they exist.
const ARTIFACTS: [&str; 7] = [
    RunFolder::README,
    "report.html",
    RunFolder::SUMMARY,
    RunFolder::EXPERIMENT,
    RunFolder::PREDICTIONS,
    RunFolder::SPLIT,
    Checkpoints::BEST,
];
/// Most characters of a parameter's value in MLflow.
const VALUE: usize = 6000;

/// Writes the run in `folder` into the store `store`, under the experiment of its name, and returns the folder of the run there. A run that was
/// written before is written anew.
///
/// # Errors
/// [`ExperimentError`] if `folder` holds no finished run, or if files cannot be written.
pub fn to_mlflow(folder: &Path, store: &Path) -> Result<PathBuf, ExperimentError> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|source| ExperimentError::Io { path, source })
    };
    let summary: Summary = serde_json::from_str(&read(RunFolder::SUMMARY)?).map_err(|error| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        ExperimentError::Io { path: folder.join(RunFolder::SUMMARY), source }
    })?;
    let environment: Value =
        read(RunFolder::ENVIRONMENT).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let began = environment["started"].as_str().and_then(|text| humantime::parse_rfc3339(text).ok());
    let since = began.and_then(|began| began.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let began = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let digest = |text: &str| hex(Sha256::digest(text.as_bytes()));
    let (experiment, place) = experiment(store, &summary.name, began)?;
    let folder_name = folder.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy());
    let id = digest(&format!("{folder_name} {began} {}", summary.seed))[..32].to_owned();
    let run = place.join(&id);
    let put = |path: PathBuf, text: &str| {
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| write(&path, text.as_bytes())).map_err(|source| ExperimentError::Io { path, source })
    };
    for (key, value) in parameters(&read(RunFolder::EXPERIMENT)?) {
        put(run.join("params").join(key), &value)?;
    }
    let mut time = began as f64;
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, time: f64, value: f64, step: usize| {
        let line = format!("{time:.0} {value} {step}\n");
        match lines.iter_mut().find(|(known, _)| known == name) {
            Some((_, text)) => text.push_str(&line),
            None => lines.push((name.to_owned(), line)),
        }
    };
    for record in summary.phases.iter().flat_map(|phase| &phase.history) {
        time += record.seconds * 1e3;
        add("loss", time, record.loss, record.epoch);
        add("accuracy", time, record.accuracy, record.epoch);
        add("learning_rate", time, record.learning_rate, record.epoch);
        for (name, value) in [("val_loss", record.val_loss), ("val_accuracy", record.val_accuracy)] {
            value.into_iter().for_each(|value| add(name, time, value, record.epoch));
        }
    }
    let best = summary.best.epoch;
    for (name, value) in single(&summary) {
        add(name, time, value, best);
    }
    for (name, text) in lines {
        put(run.join("metrics").join(name), &text)?;
    }
    let weights = summary.weights.as_deref().unwrap_or("fresh");
    let tags = [
        ("mlflow.runName", &*folder_name),
        ("mlflow.source.name", "injerto train"),
        ("mlflow.source.type", "LOCAL"),
        ("injerto.version", environment["injerto"].as_str().unwrap_or("unknown")),
        ("injerto.weights", weights),
        ("injerto.device", &summary.device),
    ];
    for (name, value) in tags {
        put(run.join("tags").join(name), value)?;
    }
    let artifacts = run.join("artifacts");
    fs::create_dir_all(&artifacts).map_err(|source| ExperimentError::Io { path: artifacts.clone(), source })?;
    for name in ARTIFACTS {
        let (from, path) = (folder.join(name), artifacts.join(name));
        if from.is_file() {
            fs::copy(&from, &path).map_err(|source| ExperimentError::Io { path, source })?;
        }
    }
    let ended = began + (summary.seconds.total * 1e3) as i64;
    // 3 is FINISHED and 5 is KILLED.
    let status = if summary.interrupted { 5 } else { 3 };
    let meta = [
        ("artifact_uri", json!(uri(&artifacts))),
        ("end_time", json!(ended)),
        ("entry_point_name", json!("")),
        ("experiment_id", json!(experiment)),
        ("lifecycle_stage", json!("active")),
        ("run_id", json!(id)),
        ("run_name", json!(folder_name)),
        ("run_uuid", json!(id)),
        ("source_name", json!("")),
        ("source_type", json!(4)),
        ("source_version", json!("")),
        ("start_time", json!(began)),
        ("status", json!(status)),
        ("tags", json!([])),
        ("user_id", json!("")),
    ];
    // The description of the run comes last: MLflow shows folders that have one.
    put(run.join("meta.yaml"), &yaml(&meta))?;
    Ok(run)
}

/// Keys and values of JSON are YAML.
fn yaml(entries: &[(&str, Value)]) -> String {
    entries.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
}

fn uri(path: &Path) -> String {
    let whole = injerto_files::absolute(path);
    let escaped =
        whole.to_string_lossy().replace('%', "%25").replace(' ', "%20").replace('#', "%23").replace('?', "%3F");
    format!("file://{escaped}")
}

/// The id and the folder of the experiment with this name, which is made if the store does not have it.
fn experiment(store: &Path, name: &str, time: i64) -> Result<(String, PathBuf), ExperimentError> {
    let line = format!("name: {}", json!(name));
    for entry in fs::read_dir(store).into_iter().flatten().flatten() {
        let meta = fs::read_to_string(entry.path().join("meta.yaml")).unwrap_or_default();
        // MLflow writes plain names without quotation marks.
        let named = |known: &str| known == line || known.strip_prefix("name: ") == Some(name);
        if meta.lines().any(named) {
            return Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    let number =
        Sha256::digest(name.as_bytes()).iter().take(7).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let id = format!("{:018}", number % 1_000_000_000_000_000_000);
    let place = store.join(&id);
    let meta = [
        ("artifact_location", json!(uri(&place))),
        ("creation_time", json!(time)),
        ("experiment_id", json!(id)),
        ("last_update_time", json!(time)),
        ("lifecycle_stage", json!("active")),
        ("name", json!(name)),
    ];
    let path = place.join("meta.yaml");
    let made = fs::create_dir_all(&place).and_then(|()| write(&path, yaml(&meta).as_bytes()));
    made.map_err(|source| ExperimentError::Io { path, source })?;
    Ok((id, place))
}

/// The keys of an experiment's file with points between, and their values.
fn parameters(text: &str) -> Vec<(String, String)> {
    fn add(value: &toml::Value, path: &str, all: &mut Vec<(String, String)>) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| add(value, &below(key), all)),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                items.iter().enumerate().for_each(|(at, item)| add(item, &below(&at.to_string()), all));
            }
            toml::Value::String(text) => all.push((path.to_owned(), text.clone())),
            other => all.push((path.to_owned(), other.to_string())),
        }
    }
    let mut all = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        add(&toml::Value::Table(table), "", &mut all);
    }
    // Names that MLflow takes: letters, digits, `_`, `-`, `.`, spaces and slashes; a slash would make a folder.
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_-. ".contains(c) { c } else { '_' };
    all.into_iter().map(|(key, value)| (key.chars().map(safe).collect(), value.chars().take(VALUE).collect())).collect()
}

/// Figures that are measured once.
fn single(summary: &Summary) -> Vec<(&'static str, f64)> {
    let mut all = Vec::new();
    all.extend(summary.best.value.map(|value| ("best", value)));
    if let Some(report) = &summary.metrics {
        all.extend([("macro_f1", report.macro_f1), ("ece", report.ece)]);
        all.extend(report.roc_auc.map(|value| ("roc_auc", value)));
    }
    if let Some(report) = &summary.multi_label {
        all.extend([
            ("macro_f1", report.macro_mean.f1),
            ("micro_f1", report.micro.f1),
            ("exact_match", report.exact_match),
        ]);
        all.extend(report.mean_average_precision.map(|value| ("mean_average_precision", value)));
    }
    if let Some(test) = &summary.test {
        all.extend([("test_accuracy", test.accuracy), ("test_loss", test.loss)]);
    }
    all.extend(summary.probe.map(|probe| ("probe_accuracy", probe.accuracy)));
    all.push(("seconds", summary.seconds.total));
    all
}
