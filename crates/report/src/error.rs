use std::path::PathBuf;

use injerto_files::shown;

/// Why nothing can be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the run cannot be read, or one of the report cannot be written.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A file of the run that is not what a run writes.
    #[error("{}: {reason}; was it written by `injerto train`?", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A folder in which no epoch has ended.
    #[error(
        "{}: no finished epoch to draw; expected summary.json or history.jsonl in it, as `injerto train` writes them",
        shown(path)
    )]
    NothingToDraw {
        /// The folder.
        path: PathBuf,
    },
    /// A picture that cannot be encoded.
    #[error("{}: cannot be encoded as PNG: {reason}", shown(path))]
    Png {
        /// The file that it was for.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
