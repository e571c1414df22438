use std::path::PathBuf;

/// Why nothing can be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the run cannot be read, or one of the report cannot be written.
    #[error("{}: {source}", injerto_files::shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A file of the run that is not what a run writes.
    #[error("{}: {source}; was it written by `injerto train`?", injerto_files::shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A folder in which no epoch has ended.
    #[error(
        "{}: no finished epoch to draw; expected summary.json or history.jsonl in it, as `injerto train` writes them",
        injerto_files::shown(path)
    )]
    NothingToDraw {
        /// The folder.
        path: PathBuf,
    },
    /// A picture that cannot be encoded.
    #[error("{}: cannot be encoded as PNG: {reason}", injerto_files::shown(path))]
    Png {
        /// The file that it was for.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
