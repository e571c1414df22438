use std::net::SocketAddr;
use std::path::PathBuf;

use injerto_experiment::ExperimentError;
use injerto_files::shown;

/// Why a server cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}; --port names another port, and --port 0 takes a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: std::io::Error,
    },
    /// Threads or the reactor cannot be made.
    #[error("the server cannot begin: {0}")]
    Begin(#[source] std::io::Error),
    /// There is nothing to serve.
    #[error("{}: neither a checkpoint nor the folder of a run", shown(path))]
    Nothing {
        /// What was named.
        path: PathBuf,
    },
    /// The checkpoint cannot be loaded.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
}
