use std::path::PathBuf;

use injerto_files::shown;

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the run cannot be read, or one of the report cannot be written.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file of the run does not have the expected content.
    #[error("{}: {reason}; was it written by `injerto train`?", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file, and where.
        reason: String,
    },
    /// The folder does not hold a finished epoch.
    #[error(
        "{}: no finished epoch to draw; expected summary.json or history.jsonl in it, as `injerto train` writes them",
        shown(path)
    )]
    NothingToDraw {
        /// The folder.
        path: PathBuf,
    },
    /// What an answer rests on cannot be drawn.
    #[error("the map cannot be drawn: {reason}")]
    Look {
        /// Why, in words.
        reason: String,
    },
    /// A picture cannot be encoded.
    #[error("{}: cannot be encoded as PNG: {reason}", shown(path))]
    Png {
        /// The file of the picture.
        path: PathBuf,
        /// Why the picture cannot be encoded.
        reason: String,
    },
}
