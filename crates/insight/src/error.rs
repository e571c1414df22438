use std::path::PathBuf;

use injerto_files::shown;

/// Why a question about the data has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InsightError {
    /// The number of values, images or features is not the expected one.
    #[error("there are {found} {what}, but {expected} are expected")]
    Count {
        /// What is counted, in the plural.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A feature is infinite or NaN.
    #[error("row {row} of the features holds a value that is not finite; compute the features of this image again")]
    NotFinite {
        /// The row, from 0.
        row: usize,
    },
    /// A label is not below the number of classes.
    #[error("the label of {} is {label}, but there are {classes} classes", shown(.path))]
    Label {
        /// Path of the image.
        path: PathBuf,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A probability is not between 0 and 1, or a label is not below the number of classes.
    #[error(
        "row {row} holds a probability that is not between 0 and 1, or a label that is not below {classes}, the number of classes"
    )]
    Probabilities {
        /// The row, from 0.
        row: usize,
        /// Number of classes.
        classes: usize,
    },
    /// There are fewer images, classes or groups than the question needs.
    #[error("{what} needs at least {needed}, and there are {found}")]
    TooFew {
        /// The question, as the subject of the message.
        what: &'static str,
        /// The number that it needs, with its unit.
        needed: String,
        /// How many there are.
        found: usize,
    },
    /// A setting is outside of its range.
    #[error("{name} is {found}, but it must be {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: f64,
        /// Its range, in words.
        expected: &'static str,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, InsightError>;
