use std::path::PathBuf;

use injerto_files::{listed, printable, shown};

use crate::resume::ChangedKey;
use crate::split::DataChange;

/// The first few keys with what they were and are.
fn changed_in_words(changed: &[ChangedKey]) -> String {
    let key = |ChangedKey { key, was, is }: &ChangedKey| {
        let short = |text: &str| text.chars().take(60).collect::<String>();
        format!("{} was {} and is {} now", printable(key), printable(&short(was)), printable(&short(is)))
    };
    let mut words: Vec<String> = changed.iter().take(5).map(key).collect();
    if changed.len() > words.len() {
        words.push(format!("and {} more", changed.len() - words.len()));
    }
    words.join(", ")
}

/// Why an experiment cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The TOML.
    #[error(transparent)]
    Config(#[from] injerto_config::ConfigError),
    /// The images.
    #[error(transparent)]
    Data(#[from] injerto_data::DataError),
    /// None of the folders in `data.root` is there.
    #[error(
        "data.root: none of these folders is there: {}\nput the images there, or name another folder with \
         `--set data.root=FOLDER`",
        tried.iter().map(|path| shown(path).to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoRoot {
        /// What was tried.
        tried: Vec<PathBuf>,
    },
    /// The backbone's plugin.
    #[error(transparent)]
    Plugin(#[from] injerto_backbones::plugin::PluginError),
    /// The backbone's weights.
    #[error(transparent)]
    Weights(#[from] injerto_backbones::weights::WeightError),
    /// The network.
    #[error(transparent)]
    Graph(#[from] injerto_graph::GraphError),
    /// The head and the loss do not belong together.
    #[error(transparent)]
    Mismatch(#[from] injerto_recipe::Mismatch),
    /// A weight for a class that there is none of.
    #[error(
        "loss.class_weights: there is no class '{}'; the classes are {}",
        printable(class), listed(classes.iter().map(String::as_str))
    )]
    NoSuchClass {
        /// The name.
        class: String,
        /// The names that there are.
        classes: Vec<String>,
    },
    /// A folder of photos of a class that the network was not trained for.
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
    /// The training.
    #[error(transparent)]
    Train(#[from] injerto_trainer::TrainError),
    /// The device is not in this build, or not in this machine.
    #[error("device '{device}': {reason}")]
    Device {
        /// What was asked for.
        device: &'static str,
        /// Why it is not to be had.
        reason: String,
    },
    /// An image size that the backbone does not take.
    #[error(
        "backbone '{backbone}' takes images of {height}x{width} only (it has no parameter input_shape); \
         leave data.image_size out"
    )]
    FixedSize {
        /// Its name.
        backbone: String,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A file of the run cannot be written or read.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A folder that holds another run.
    #[error(
        "{}: there is a run in this folder already; `--resume` goes on with it, or name another folder",
        shown(path)
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A file that a run would write over, in a folder that holds no run.
    #[error("{}: it is there already, and a run would write over it; name another folder", shown(path))]
    WouldReplace {
        /// The file.
        path: PathBuf,
    },
    /// A run's folder among the classes.
    #[error(
        "{}: this folder lies where the folders of the classes are, in {}, and would be taken for a class; name one \
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
    /// The folders of the classes have other names than when the run began.
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
        /// Classes that are no longer there.
        missing: Vec<String>,
        /// Classes that were not there.
        new: Vec<String>,
    },
    /// A folder that another process is writing to.
    #[error(
        "{0}: another process is training in this folder; wait until it has ended, or stop it, and then go on with \
         `injerto train --resume {0}`",
        shown(path)
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The experiment of a run that goes on is not the one that it began with.
    #[error(
        "{}: the run cannot go on as another experiment: {}; put the value back, or begin a new run",
        shown(path),
        changed_in_words(changed)
    )]
    OtherExperiment {
        /// The folder.
        path: PathBuf,
        /// What differs.
        changed: Vec<ChangedKey>,
    },
    /// The images of a run that goes on are not those that it began with.
    #[error(
        "{}: the images have changed since the run began: {change}. Put them back, or go on all the same with \
         `--changed-data`: {}",
        shown(path),
        if change.unknown {
            "the images are divided anew, and some that were trained on may validate"
        } else {
            "an image that is still there stays on its side, so that none validates that was trained on"
        }
    )]
    DataChanged {
        /// The folder.
        path: PathBuf,
        /// How.
        change: DataChange,
    },
    /// The backbone's weights are not to be had, and the checkpoint cannot stand in for them.
    #[error("{reason}")]
    Lost {
        /// What is missing.
        reason: String,
    },
    /// A backbone that does not tell ImageNet's classes apart.
    #[error(
        "'{backbone}' has no classifier with ImageNet's classes: {problem}; {}",
        if with.is_empty() { "take another backbone".to_owned() } else { format!("weights with one: {}", with.join(", ")) }
    )]
    NoTop {
        /// What was asked for.
        backbone: String,
        /// Why it has none.
        problem: String,
        /// Weight sets that have one.
        with: Vec<String>,
    },
    /// A photo or a folder whose name does not tell its class.
    #[error("{}: {reason}", shown(path))]
    NoLabel {
        /// The file or folder.
        path: PathBuf,
        /// What was expected.
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
