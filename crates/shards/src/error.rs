use std::path::PathBuf;

use injerto_files::{printable, shown};

use crate::Place;

/// Why work on shards cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// The argument is not a shard.
    #[error("'{}' is not a shard: {reason}; expected I/N with I from 0 to N-1, such as 0/8", printable(given))]
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
    /// The argument is not a place.
    #[error("{}: {reason}", printable(given))]
    Place {
        /// What was given.
        given: String,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// An object store refuses, or cannot be reached.
    #[error("{}: {reason}", printable(place))]
    Store {
        /// The object.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no such object in a store.
    #[error("{}: there is no such object, and nothing below that name", printable(place))]
    Absent {
        /// The object.
        place: String,
    },
    /// Images of a folder cannot be found.
    #[error(transparent)]
    Data(#[from] injerto_data::DataError),
    /// An input that holds no photos.
    #[error(
        "{place}: there are no photos here; expected images, .tar or .parquet files, or a list (.csv, .tsv, .jsonl, .txt)"
    )]
    NoPhotos {
        /// The input.
        place: Place,
    },
    /// An archive, a table or a list that cannot be read.
    #[error("{place}: {reason}")]
    Input {
        /// The file.
        place: Place,
        /// What is wrong with it.
        reason: String,
    },
    /// Two photos with one key.
    #[error(
        "two photos have the key '{}': {} and {}; give one folder that holds both, so that their keys differ",
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
    #[error("{place}: {reason}")]
    Output {
        /// The file.
        place: Place,
        /// What is wrong with it.
        reason: String,
    },
    /// There are no files of shards.
    #[error(
        "no shards in {}; `injerto features MODEL PHOTOS --out FOLDER` writes them",
        folders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    NoShards {
        /// The folders.
        folders: Vec<Place>,
    },
}

impl ShardsError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn output(place: &Place, reason: impl std::fmt::Display) -> Self {
        Self::Output { place: place.clone(), reason: reason.to_string() }
    }

    pub(crate) fn input(place: &Place, reason: impl std::fmt::Display) -> Self {
        Self::Input { place: place.clone(), reason: reason.to_string() }
    }
}
