use std::path::PathBuf;

/// Why training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The backbone, the head or the freezing does not hold together.
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
    /// The loss is infinite or not a number.
    #[error(
        "the loss became {loss} in epoch {epoch}, batch {batch}: training has diverged; \
         try a learning rate ten times smaller (it is {learning_rate})"
    )]
    Diverged {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Batch of the epoch, counted from 1.
        batch: usize,
        /// The loss.
        loss: f64,
        /// Learning rate of that step.
        learning_rate: f64,
    },
    /// `monitor` names a figure that the run does not have.
    #[error("cannot monitor '{monitor}': there are no validation images; monitor 'loss' or 'accuracy' instead")]
    NothingToMonitor {
        /// Such as `val_accuracy`.
        monitor: String,
    },
    /// No image at all could be used.
    #[error("no usable image in the {subset} set")]
    NoImages {
        /// `training` or `validation`.
        subset: &'static str,
    },
    /// A file of the run cannot be written or read.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A checkpoint that is not one of ours.
    #[error("{path}: not a checkpoint of Injerto: {reason}", path = .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
