//! An experiment in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_data::folder::{Folder, Inventory};
use injerto_data::{Dataset, Origin, Sample};
use injerto_experiment::first::{First, Ground};
use injerto_experiment::{ExperimentError, Gallery, Prepared, RunFolder, Session};
use injerto_trainer::{Event, Observer, Watch};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use serde_json::Value;

use crate::catalog::Where;
use crate::collective::Peers;
use crate::error::raised;
use crate::feed::{heard, interruptible};
use crate::images;
use crate::values::{from_json, to_table};

/// Trains what an experiment describes, and returns its summary: the figures of `summary.json`, and `run`, the folder of the run. It takes
/// the experiment, and `progress`, settings, a folder and a collective, each of which may be `None`.
pub fn train(arguments: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = arguments.py();
    type Any<'py> = Option<Bound<'py, PyAny>>;
    type Arguments<'py> = (Bound<'py, PyAny>, Any<'py>, Any<'py>, Option<PathBuf>, Any<'py>);
    let (experiment, progress, set, run_dir, collective): Arguments<'_> = arguments.extract()?;
    let peers = collective.map(|object| Peers::new(&object).map(Arc::new)).transpose()?;
    let follows = peers.as_ref().is_some_and(|peers| peers.follows());
    if let Some(progress) = progress.as_ref().filter(|progress| !progress.is_callable()) {
        let name = progress.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "progress: the type {name} cannot be called; a function gets each epoch's figures"
        )));
    }
    let sets = set.map_or_else(|| Ok(Vec::new()), |set| sets(&set))?;
    let asked = Asked::new(&experiment, sets)?;
    let found = Where::new(py)?;
    let run = Run { progress, run_dir, peers, reports: true };
    run.train(py, move |run_dir| {
        let cache = Cache::of_user().map_err(ExperimentError::from)?;
        let prepared = found.catalog(|catalog| {
            let config = match asked {
                Asked::Config(config) => *config,
                Asked::Folder(root, sets) => {
                    let ground = Ground::choose(catalog, &cache);
                    let file = root.file_name().map_or_else(|| PathBuf::from("images"), PathBuf::from);
                    let (epochs, fine_tune, name) = (None, None, None);
                    let first = First {
                        root: &root,
                        ground: &ground,
                        epochs,
                        fine_tune,
                        name,
                        sets: &sets,
                        file: &file.with_extension("toml"),
                    };
                    first.write(catalog)?.1
                }
            };
            Prepared::new(config, catalog, &cache)
        })?;
        // The folder belongs to process 0, which may have made it already.
        if !follows {
            prepared.check_folder(run_dir.unwrap_or(Path::new("runs")))?;
        }
        Ok(prepared)
    })
}

/// Trains what an experiment describes on images, all of which are training images, and returns its summary. It takes a dict, the images,
/// the position of each one's class, the names of the classes, a folder, and `progress` or `None`.
pub fn fit(arguments: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = arguments.py();
    type Arguments<'py> =
        (Bound<'py, PyDict>, Bound<'py, PyAny>, Vec<u32>, Vec<String>, PathBuf, Option<Bound<'py, PyAny>>);
    let (experiment, images, labels, classes, run_dir, progress): Arguments<'_> = arguments.extract()?;
    let Asked::Config(config) = Asked::new(experiment.as_any(), Vec::new())? else {
        unreachable!("a dict is no folder")
    };
    let mut origins: Vec<Origin> = Vec::with_capacity(labels.len());
    images::each(&images, &mut |image| {
        origins.push(image);
        Ok(true)
    })?;
    if origins.len() != labels.len() {
        let (images, labels) = (origins.len(), labels.len());
        return Err(PyValueError::new_err(format!("{images} images and {labels} labels: each image needs one")));
    }
    let samples = origins.into_iter().zip(labels).map(|(origin, label)| Sample::new(origin, label)).collect();
    let train = Dataset { classes, samples };
    let folder = Folder { train, validation: None, test: None, inventory: Inventory::default() };
    let gallery = Gallery::given(folder);
    let found = Where::new(py)?;
    let run = Run { progress, run_dir: Some(run_dir), peers: None, reports: false };
    run.train(py, move |_| {
        let cache = Cache::of_user().map_err(ExperimentError::from)?;
        found.catalog(|catalog| Prepared::on(&gallery, *config, catalog, &cache))
    })
}

/// What is to be trained.
enum Asked {
    /// What a file, a text or a dict says.
    Config(Box<Config>),
    /// A folder of images, and keys to be set in the experiment that is chosen for it.
    Folder(PathBuf, Vec<String>),
}

impl Asked {
    fn new(experiment: &Bound<'_, PyAny>, sets: Vec<String>) -> PyResult<Self> {
        let parse = |text: &str, path: &Path| {
            Config::parse(text, path, &sets).map(|config| Self::Config(Box::new(config))).map_err(raised)
        };
        if let Ok(dict) = experiment.cast::<PyDict>() {
            return parse(&to_table("", dict)?.to_string(), Path::new("experiment"));
        }
        if experiment.is_instance_of::<PyString>() {
            let text: String = experiment.extract()?;
            // A path has no line break, and no text of an experiment does without.
            if text.contains('\n') {
                return parse(&text, Path::new("experiment"));
            }
        }
        let path: PathBuf = experiment.extract().map_err(|_| {
            PyTypeError::new_err("an experiment is the path of its file, its text, a dict, or a folder of images")
        })?;
        if path.is_dir() {
            return Ok(Self::Folder(path, sets));
        }
        Config::load(&path, &sets).map(|config| Self::Config(Box::new(config))).map_err(raised)
    }
}

/// Settings as the command line takes them.
fn sets(set: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let Ok(dict) = set.cast::<PyDict>() else { return set.extract() };
    let each = dict.iter().map(|(key, value)| {
        let key: String = key.extract()?;
        let value = crate::values::to_toml(&key, &value)?;
        Ok(format!("{key}={value}"))
    });
    each.collect()
}

/// How an experiment is run.
struct Run<'py> {
    /// Called with the figures of each epoch.
    progress: Option<Bound<'py, PyAny>>,
    run_dir: Option<PathBuf>,
    /// Processes that train together with this one.
    peers: Option<Arc<Peers>>,
    /// Whether a page is drawn of the run.
    reports: bool,
}

impl Run<'_> {
    /// Prepares and trains on another thread, while this one passes epochs on to `progress`.
    fn train(
        self,
        py: Python<'_>,
        prepare: impl FnOnce(Option<&Path>) -> Result<Prepared, ExperimentError> + Send,
    ) -> PyResult<Py<PyAny>> {
        let Self { progress, run_dir, peers, reports } = self;
        let stop = AtomicBool::new(false);
        let (told, mut hear) = channel();
        let others = peers.clone();
        let follows = peers.as_ref().is_some_and(|peers| peers.follows());
        let work = || -> Result<(Vec<String>, Value), ExperimentError> {
            let mut observer = Epochs { told };
            let prepared = prepare(run_dir.as_deref())?;
            let warnings = if follows { Vec::new() } else { prepared.warnings.clone() };
            let folder = match follows {
                true => RunFolder::scratch(None)?,
                false => RunFolder::create(run_dir.as_deref(), &prepared.config.name)?,
            };
            let session = Session::begin(prepared, folder)?;
            let folder = session.folder().clone();
            let watch = &mut Watch { observer: &mut observer, stop: &stop };
            let outcome = match others {
                Some(others) => session.run_together(others, watch),
                None => session.run(watch),
            };
            if reports && !follows {
                // Without an epoch there is nothing to draw, and a run that cannot be drawn is no failed run.
                let _ = injerto_report::write(folder.path());
            }
            let mut summary = serde_json::to_value(&outcome?.summary).expect("plain data with names for keys");
            summary["run"] = match follows {
                true => Value::Null,
                false => injerto_files::to_text(folder.path().as_os_str()).into(),
            };
            Ok((warnings, summary))
        };
        let listen = || loop {
            match (heard(py, &mut hear), &progress) {
                (Ok(epoch), Some(progress)) => drop(progress.call1((from_json(py, &epoch)?,))?),
                (Ok(_), None) | (Err(RecvTimeoutError::Timeout), _) => {}
                (Err(RecvTimeoutError::Disconnected), _) => return Ok(()),
            }
            py.check_signals()?;
        };
        let explained = |error| match &peers {
            Some(peers) => peers.explain(py, raised(error)),
            None => raised(error),
        };
        let (warnings, summary) = interruptible(py, &stop, work, listen)?.map_err(explained)?;
        let warn = py.import("warnings")?.getattr("warn")?;
        for warning in warnings {
            warn.call1((warning,))?;
        }
        Ok(from_json(py, &summary)?.unbind())
    }
}

/// Tells the figures of each epoch.
struct Epochs {
    told: Sender<Value>,
}

impl Observer for Epochs {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::EpochEnded { record, best } = event {
            let mut epoch = serde_json::to_value(record).expect("plain data with names for keys");
            epoch["best"] = (*best).into();
            // There is no receiver any more after an exception in `progress`; the training is then being stopped.
            let _ = self.told.send(epoch);
        }
    }
}
