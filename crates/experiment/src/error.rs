use std::path::PathBuf;

use injerto_files::{listed, printable, shown};
use injerto_trainer::Checkpoints;

use crate::split::DataChange;

/// A key of a run's experiment whose value has changed since the run began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedKey {
    /// The dotted key, such as `phases.0.optimizer.learning_rate`.
    pub key: String,
    /// The old value as JSON; `null` if the key was left out.
    pub was: String,
    /// The new value as JSON; `null` if the key is left out.
    pub is: String,
}

/// The first five changed keys with their old and their new values.
fn changed_in_words(changed: &[ChangedKey]) -> String {
    let key = |ChangedKey { key, was, is }: &ChangedKey| {
        let short = |text: &str| text.chars().take(60).collect::<String>();
        format!("{} was {} and is now {}", printable(key), printable(&short(was)), printable(&short(is)))
    };
    let mut words: Vec<String> = changed.iter().take(5).map(key).collect();
    if changed.len() > words.len() {
        words.push(format!("and {} more", changed.len() - words.len()));
    }
    words.join(", ")
}

/// What is there instead of the folders that were looked for, or why they cannot be there.
fn other_than_folder(tried: &[PathBuf]) -> String {
    let file = tried.iter().find(|path| path.is_file());
    let home = tried.first().filter(|path| path.starts_with("~"));
    match (file, home) {
        (Some(file), _) => format!("\n{} is a file: if it is an archive, unpack it", shown(file)),
        (None, Some(_)) => "\n`~` is not replaced in a path: write the home folder's path".to_owned(),
        (None, None) => String::new(),
    }
}

/// Why an experiment cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The experiment file is wrong.
    #[error(transparent)]
    Config(#[from] injerto_config::ConfigError),
    /// There is not enough memory for features that are read at once.
    #[cfg(feature = "shards")]
    #[error(transparent)]
    NoRoom(#[from] injerto_files::memory::NoRoom),
    /// The images cannot be read, or their folders are not laid out as expected.
    #[error(transparent)]
    Data(#[from] injerto_data::DataError),
    /// A model cannot be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] injerto_onnx::OnnxError),
    /// None of the folders in `data.root` exists.
    #[error(
        "data.root: none of these folders exists: {}\nput the images there, or name another folder with \
         `--set data.root=FOLDER`{}",
        tried.iter().map(|path| shown(path).to_string()).collect::<Vec<_>>().join(", "),
        other_than_folder(tried)
    )]
    NoRoot {
        /// The folders.
        tried: Vec<PathBuf>,
    },
    /// The checkpoint of the best epoch so far cannot be read when a run is resumed.
    #[error(
        "{source}\nit has the weights of the best epoch so far: put a copy of it back, or delete it to continue without these \
         weights"
    )]
    DamagedBest {
        /// What is wrong with it.
        source: injerto_backbones::weights::WeightError,
    },
    /// The archive of the images cannot be fetched.
    #[error("{source}{}", by_hand(places))]
    Fetch {
        /// Why.
        source: injerto_fetch::datasets::FetchError,
        /// Folders in which the images are looked for.
        places: Vec<PathBuf>,
    },
    /// The backbone's plugin cannot be found or used.
    #[error(transparent)]
    Plugin(#[from] injerto_backbones::plugin::PluginError),
    /// The backbone's weights cannot be found or do not fit.
    #[error(transparent)]
    Weights(#[from] injerto_backbones::weights::WeightError),
    /// The images cannot answer the question.
    #[error(transparent)]
    Insight(#[from] injerto_insight::InsightError),
    /// The network is not well-formed.
    #[error(transparent)]
    Graph(#[from] injerto_graph::GraphError),
    /// The head does not fit the loss.
    #[error(transparent)]
    Mismatch(#[from] injerto_recipe::Mismatch),
    /// `loss.class_weights` names a class that does not exist.
    #[error(
        "loss.class_weights: there is no class '{}'; the classes are {}",
        printable(class), listed(classes.iter().map(String::as_str))
    )]
    NoSuchClass {
        /// The name in `loss.class_weights`.
        class: String,
        /// The classes of the images.
        classes: Vec<String>,
    },
    /// Weights of classes, where an image may have several.
    #[error(
        "loss.class_weights weighs each image by its one class, but these images may have several (data.multi_label), of which Keras \
         would take the first alone: leave loss.class_weights out"
    )]
    ClassWeights,
    /// Something that needs images with one class each.
    #[error("{what} needs images with one class each, and these may have several (data.multi_label)")]
    SeveralClasses {
        /// What needs it.
        what: &'static str,
    },
    /// The network's outputs for an image are not numbers.
    #[error(
        "the network's outputs are infinite or not a number, so there is no answer; its weights are too large or were \
         damaged: use another checkpoint of the run"
    )]
    NoAnswer,
    /// A folder holds photos of a class that the network was not trained for.
    #[error(
        "the network does not know the class '{}'; it was trained for {}",
        printable(class), listed(known.iter().map(String::as_str))
    )]
    UnknownClass {
        /// Name of the folder.
        class: String,
        /// The network's classes.
        known: Vec<String>,
    },
    /// Networks that should answer together have different classes.
    #[error(
        "network {number} has the classes {}, but the first one has {}: networks answer together if they were trained for the same classes",
        listed(classes.iter().map(String::as_str)), listed(expected.iter().map(String::as_str))
    )]
    UnlikeClasses {
        /// Number of the network, counted from 1.
        number: usize,
        /// Its classes.
        classes: Vec<String>,
        /// Classes of the first network.
        expected: Vec<String>,
    },
    /// Networks that answer together are made for different questions.
    #[error(
        "network {number} gives each image one class and network 1 several, or the other way round; leave one of them out"
    )]
    UnlikeTasks {
        /// Number of the network, counted from 1.
        number: usize,
    },
    /// The training failed.
    #[error(transparent)]
    Train(#[from] injerto_trainer::TrainError),
    /// The device is not supported by this build.
    #[error("device '{device}': {reason}")]
    Device {
        /// Name of the device.
        device: &'static str,
        /// Why it is not available.
        reason: String,
    },
    /// The backbone does not take images of the size in `data.image_size`.
    #[error(
        "backbone '{backbone}' takes images of {height}x{width} only (it has no parameter input_shape); \
         leave data.image_size out"
    )]
    FixedSize {
        /// Name of the backbone.
        backbone: String,
        /// Height of the images that it takes, in pixels.
        height: usize,
        /// Width of the images that it takes, in pixels.
        width: usize,
    },
    /// The list of images in `data.split` cannot be used.
    #[error("data.split: {}: {reason}", shown(path))]
    List {
        /// The list.
        path: PathBuf,
        /// What is wrong, and the fix.
        reason: String,
    },
    /// Photos are on two sides of the split or in two classes, and `data.on_leak` says that nothing is trained then.
    #[error("{findings}\n{advice}; data.on_leak = \"warn\" trains nevertheless")]
    Leaks {
        /// What was found, in words.
        findings: String,
        /// What can be done about it.
        advice: &'static str,
    },
    /// `head.initial = "probe"`, and there is no probe.
    #[error("head.initial = \"probe\": {reason}; leave head.initial out")]
    NoProbe {
        /// Why, in words.
        reason: String,
    },
    /// A file of the run cannot be written or read.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The folder of a new run already holds a run.
    #[error(
        "{}: there is a run in this folder already; continue it with `--resume`, or name another folder",
        shown(path)
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of a new run holds no run, but a file that the run would overwrite.
    #[error("{}: this file exists already, and the run would overwrite it; name another folder", shown(path))]
    WouldReplace {
        /// The file.
        path: PathBuf,
    },
    /// A folder without the checkpoint of a run's best epoch.
    #[error(
        "{}: there is no {} in this folder: it holds no run, or no epoch of the run is finished",
        shown(path),
        Checkpoints::BEST
    )]
    NoCheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of a run lies among the folders of the classes.
    #[error(
        "{}: this folder lies among the folders of the classes, in {}, and would be taken for a class; name a folder \
         elsewhere with `--run-dir`",
        shown(path),
        shown(images)
    )]
    AmongImages {
        /// The run's folder.
        path: PathBuf,
        /// The folder of the classes.
        images: PathBuf,
    },
    /// The classes are not those that the run began with.
    #[error(
        "{}: the run cannot go on with other classes: {}; give the folders their old names, or begin a new run",
        shown(path),
        [("missing", missing), ("new", new)].iter().filter(|(_, names)| !names.is_empty())
            .map(|(word, names)| format!("{word} {}", listed(names.iter().map(String::as_str))))
            .collect::<Vec<_>>().join(", ")
    )]
    OtherClasses {
        /// The run's folder.
        path: PathBuf,
        /// Classes of the run that no longer exist.
        missing: Vec<String>,
        /// Classes that did not exist when the run began.
        new: Vec<String>,
    },
    /// Another process is writing to the folder.
    #[error(
        "{0}: another process is training in this folder; wait until it ends, or stop it, and then continue with \
         `injerto train --resume {0}`",
        shown(path)
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The experiment of a resumed run is not the one that the run began with.
    #[error(
        "{}: the run cannot go on with a changed experiment: {}; restore the value, or begin a new run",
        shown(path),
        changed_in_words(changed)
    )]
    OtherExperiment {
        /// The folder.
        path: PathBuf,
        /// The keys whose values differ.
        changed: Vec<ChangedKey>,
    },
    /// A run that began in bf16, on a machine that cannot compute in it.
    #[error(
        "{}: the run computes in bf16 (`backbone.precision`), for which this processor has no unit; resume it on a machine with AMX or \
         AVX-512 BF16, or begin a new run with `--set backbone.precision=f32`",
        shown(path)
    )]
    NoUnit {
        /// The folder.
        path: PathBuf,
    },
    /// The images of a resumed run are not those that the run began with.
    #[error(
        "{}: the images have changed since the run began: {change}. Restore them, or continue anyway with \
         `--changed-data`: {}",
        shown(path),
        if change.unknown {
            "the images are then split again, and some that were trained on may become validation images"
        } else {
            "each image that still exists then stays on its side, so that no training image becomes a validation image"
        }
    )]
    DataChanged {
        /// The folder.
        path: PathBuf,
        /// What has changed.
        change: DataChange,
    },
    /// What was kept with a model is damaged, or does not fit it.
    #[error(
        "{}: {reason}; delete the file, and `injerto train --resume` with the run's folder writes it again",
        shown(path)
    )]
    Knowledge {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// A question needs what a run keeps with its model, and there is none.
    #[error(
        "nothing is kept with this model about the images that it was trained on: {reason}; `injerto train --resume` \
         with the run's folder writes it, unless the run says `insight.knowledge = false`"
    )]
    NothingKept {
        /// Why there is none, in words.
        reason: String,
    },
    /// There is no such map of what an answer rests on.
    #[error("no map: {reason}")]
    NoMap {
        /// Why, and what there is instead, in words.
        reason: String,
    },
    /// The folder is that of a trial of a sweep, which keeps no checkpoint.
    #[error(
        "{}: this is a trial of a sweep, which keeps no checkpoint to go on from; `injerto train {}` trains it as a run",
        shown(path),
        shown(&path.join("experiment.toml"))
    )]
    IsTrial {
        /// The folder.
        path: PathBuf,
    },
    /// A trial of a sweep cannot be prepared.
    #[error("the trial with {}: {source}", printable(sets))]
    Trial {
        /// What the trial sets.
        sets: String,
        /// Why.
        source: Box<ExperimentError>,
    },
    /// Files of shards cannot be read or written.
    #[cfg(feature = "shards")]
    #[error(transparent)]
    Shards(#[from] injerto_shards::ShardsError),
    /// The features of `data.features` cannot be used.
    #[error("{reason}")]
    Gathered {
        /// Why, in words.
        reason: String,
    },
    /// Another process is writing to the folder of a sweep.
    #[error(
        "{}: another sweep is writing to this folder; wait until it ends, or name another folder with `--out`",
        shown(path)
    )]
    BusySweep {
        /// The folder.
        path: PathBuf,
    },
    /// The backbone's weights are missing, and the checkpoint cannot replace them.
    #[error("{reason}")]
    Lost {
        /// What is missing, in words.
        reason: String,
    },
    /// The backbone has no classifier for ImageNet's classes.
    #[error(
        "'{backbone}' has no classifier for ImageNet's classes: {problem}; {}",
        match with.is_empty() {
            true => "choose another backbone".to_owned(),
            false => format!("weight sets with a classifier: {}", with.join(", ")),
        }
    )]
    NoTop {
        /// Name of the backbone.
        backbone: String,
        /// Why it has no such classifier, in words.
        problem: String,
        /// Ids of the weight sets that have one.
        with: Vec<String>,
    },
    /// The run that is named as teacher cannot teach.
    #[error("distill.teacher: {}: {reason}", shown(path))]
    Teacher {
        /// The run, as the experiment names it.
        path: PathBuf,
        /// Why, in words.
        reason: String,
    },
    /// The name of a photo or folder does not say its class.
    #[error("{}: {reason}", shown(path))]
    NoLabel {
        /// The file or folder.
        path: PathBuf,
        /// What was expected, in words.
        reason: String,
    },
}

impl From<injerto_backbones::resolve::ResolveError> for ExperimentError {
    fn from(error: injerto_backbones::resolve::ResolveError) -> Self {
        use injerto_backbones::resolve::ResolveError;
        match error {
            ResolveError::Plugin(error) => Self::Plugin(error),
            ResolveError::Weights(error) => Self::Weights(error),
            ResolveError::Graph(error) => Self::Graph(error),
        }
    }
}

/// What to do where an archive cannot be fetched.
fn by_hand(places: &[PathBuf]) -> String {
    let places = places.iter().map(|path| shown(path).to_string()).collect::<Vec<_>>().join(" or ");
    match places.is_empty() {
        true => "\nor fetch and unpack it by other means, and name the folder with `--set data.root=FOLDER`".to_owned(),
        false => format!(
            "\nor fetch and unpack it by other means, so that the images lie in {places}; or name another folder with `--set \
             data.root=FOLDER`, or one that holds datasets with the variable INJERTO_DATA_DIR"
        ),
    }
}
