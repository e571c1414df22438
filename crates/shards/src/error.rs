use std::path::PathBuf;

use injerto_files::{printable, shown};

/// Why work on shards cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// What was given as a shard is none.
    #[error("'{}' is no shard: {reason}; expected I/N with I from 0 to N-1, such as 0/8", printable(given))]
    Shard {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The environment says a part of what is needed.
    #[error("{variable}: {reason}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong, and the fix.
        reason: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// Images of a folder cannot be found.
    #[error(transparent)]
    Data(#[from] injerto_data::DataError),
    /// An input that holds no photos.
    #[error(
        "{}: there are no photos here; expected images, .tar or .parquet files, or a list (.csv, .tsv, .jsonl, .txt)",
        shown(path)
    )]
    NoPhotos {
        /// The input.
        path: PathBuf,
    },
    /// An archive, a table or a list that cannot be read.
    #[error("{}: {reason}", shown(path))]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Two photos with one key.
    #[error(
        "the key '{}' stands for two photos, {} and {}; give one folder that holds both, so that their keys differ",
        printable(key), printable(&paths[0]), printable(&paths[1])
    )]
    SameKey {
        /// The key.
        key: String,
        /// The photos.
        paths: [String; 2],
    },
    /// The network cannot go on.
    #[error("{0}")]
    Network(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file of a shard that is damaged or not one.
    #[error("{}: {reason}", shown(path))]
    Output {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There are no files of shards.
    #[error(
        "no shards in {}; `injerto features MODEL PHOTOS --out FOLDER` writes them",
        folders.iter().map(|folder| shown(folder).to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoShards {
        /// The folders.
        folders: Vec<PathBuf>,
    },
}

impl ShardsError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn output(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        Self::Output { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn input(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        Self::Input { path: path.into(), reason: reason.to_string() }
    }
}
