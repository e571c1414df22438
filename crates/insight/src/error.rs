use std::path::PathBuf;

use injerto_files::shown;

/// Why a question to the data has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InsightError {
    /// Numbers of things that belong together differ.
    #[error("{found} {what}, but {expected} are expected")]
    Count {
        /// What is counted, in the plural.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// Features that are not numbers.
    #[error("row {row} of the features holds a value that is not finite; compute the features of this image again")]
    NotFinite {
        /// The row, from 0.
        row: usize,
    },
    /// A label without a class.
    #[error("the label of {} is {label}, but there are {classes} classes", shown(.path))]
    Label {
        /// Path of the image.
        path: PathBuf,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Probabilities outside of 0 to 1.
    #[error("row {row} holds probabilities that are not between 0 and 1, or a label above the {classes} classes")]
    Probabilities {
        /// The row, from 0.
        row: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Fewer images, classes or groups than the question needs.
    #[error("{what} needs at least {needed}, and there are {found}")]
    TooFew {
        /// The question.
        what: &'static str,
        /// What it needs, with its unit.
        needed: String,
        /// How many there are.
        found: usize,
    },
    /// A setting outside its range.
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
