use std::path::PathBuf;

/// The other processes cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Lost {
    /// Why, in words.
    pub reason: String,
}

/// The reason why training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The backbone, the head or the freezing is not consistent.
    #[error(transparent)]
    Graph(#[from] injerto_graph::GraphError),
    /// The weights do not fit the network.
    #[error(transparent)]
    Network(#[from] injerto_backbones::network::NetworkError),
    /// The frozen prefix cannot be compiled.
    #[error(transparent)]
    Prefix(#[from] injerto_kernels::inference::Error),
    /// The trainable tail cannot be compiled.
    #[error(transparent)]
    Tail(#[from] injerto_kernels::training::Error),
    /// Weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] injerto_backbones::weights::WeightError),
    /// Images cannot be read.
    #[error(transparent)]
    Data(#[from] injerto_data::DataError),
    /// The loss cannot take the network's outputs.
    #[error(transparent)]
    Loss(#[from] injerto_losses::LossError),
    /// A loss, an output or a weight is infinite or not a number.
    #[error(
        "{what} in epoch {epoch}{}: training has diverged; {}try a learning rate ten times smaller (it is {learning_rate:?})",
        batch.map_or(String::new(), |batch| format!(", batch {batch}")),
        if *epoch > 1 { "the earlier epochs are kept; " } else { "" }
    )]
    Diverged {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Batch of the epoch, counted from 1; `None` if it was noticed after the last batch.
        batch: Option<usize>,
        /// The observation, such as `the loss became NaN`.
        what: String,
        /// Learning rate of that step.
        learning_rate: f64,
    },
    /// `monitor` names a figure that the run does not have.
    #[error(
        "cannot monitor '{monitor}': there are no validation images; \
         hold some out with `data.validation_split = 0.2`, or monitor 'loss' or 'accuracy'"
    )]
    NothingToMonitor {
        /// Name of the figure, such as `val_accuracy`.
        monitor: String,
    },
    /// Images have several classes, and the network gives each one.
    #[error(
        "images have several classes each, but the network was trained to give each image one: give it labels with one class per image"
    )]
    SeveralClasses,
    /// A teacher has other classes than the network that it is to teach.
    #[error(
        "{}: this network cannot teach, because it was trained for other classes, or for another number of classes per image",
        injerto_files::shown(path)
    )]
    Teacher {
        /// Checkpoint of the teacher.
        path: PathBuf,
    },
    /// The teacher could not read the images of a batch that the student has read.
    #[error("an image of a batch was read for the student and not for the teacher; its file has changed: train again")]
    OtherImages,
    /// The other processes of a training cannot be reached.
    #[error(
        "the other processes are lost: {0}; every finished epoch is kept in the run's folder, and `injerto train --resume` goes on with \
         it, with any number of processes"
    )]
    LostPeers(#[from] Lost),
    /// A batch has fewer images than there are processes.
    #[error(
        "a batch of {batch_size} image(s) cannot be divided among {processes} processes; set data.batch_size to {processes} or more, or \
         start fewer processes"
    )]
    SmallBatch {
        /// Images per batch.
        batch_size: usize,
        /// Number of processes.
        processes: usize,
    },
    /// No image could be used.
    #[error("no usable image in the {subset} set")]
    NoImages {
        /// `training` or `validation`.
        subset: &'static str,
    },
    /// A file of the run cannot be written or read.
    #[error("{path}: {source}", path = injerto_files::shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A file is not a checkpoint of this program.
    #[error("{path}: not a checkpoint of Injerto: {reason}", path = injerto_files::shown(path))]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        reason: String,
    },
    /// A checkpoint has another network or loss than the experiment.
    #[error(
        "{}: it has another {what} than the experiment; if a new version of injerto or of the plugin made the difference, go \
         on with the old one, or begin a new run",
        injerto_files::shown(path)
    )]
    OtherCheckpoint {
        /// The file.
        path: PathBuf,
        /// The part that differs, such as `network`.
        what: &'static str,
    },
    /// The checkpoint of a run's last epoch is missing, damaged, or not a file.
    #[error(
        "{}: {reason}; the run cannot go on from it. Put a copy of that file back{}, or begin a new run in another folder",
        injerto_files::shown(path),
        if *best {
            "; or go on in another way with best.safetensors beside it, which has the weights of the best epoch: \
             `injerto predict --run` uses it, and a new experiment can begin with it as `backbone.weights`"
        } else {
            ""
        }
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        reason: String,
        /// Whether the weights of the best epoch are beside it.
        best: bool,
    },
    /// A phase differs from the one with which the run began.
    #[error("phase '{}' cannot go on: {reason}", injerto_files::printable(phase))]
    OtherPhase {
        /// Name of the phase.
        phase: String,
        /// The difference.
        reason: String,
    },
}
