use std::path::PathBuf;

/// Why images cannot be had. Every message names the folder or the file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DataError {
    // --- folders ---------------------------------------------------------------------------------------------------
    /// The folder is not there.
    #[error("{}: no such folder", injerto_files::shown(path))]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder cannot be listed.
    #[error("{}: cannot be read: {reason}", injerto_files::shown(path))]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A folder without sub-folders.
    #[error("{}: no classes found: expected one sub-folder a class, with images in each", injerto_files::shown(path))]
    NoClasses {
        /// The folder.
        path: PathBuf,
    },
    /// A class without images.
    #[error("{}: class '{class}' has no images ({})", injerto_files::shown(path), crate::folder::EXTENSIONS.join(", "))]
    EmptyClass {
        /// The class's folder.
        path: PathBuf,
        /// Its name.
        class: String,
    },
    /// Training and validation with different classes.
    #[error(
        "{}: classes differ between training ({}) and validation ({})",
        injerto_files::shown(path), training.join(", "), validation.join(", ")
    )]
    ClassesDiffer {
        /// The root.
        path: PathBuf,
        /// Classes of the training folder.
        training: Vec<String>,
        /// Classes of the validation folder.
        validation: Vec<String>,
    },
    /// A split that cannot be made.
    #[error("validation_split {fraction} leaves {training} images to train and {validation} to validate: {}", split_fix(*fraction))]
    Split {
        /// The fraction.
        fraction: f64,
        /// Training images.
        training: usize,
        /// Validation images.
        validation: usize,
    },

    // --- images ----------------------------------------------------------------------------------------------------
    /// A file that is no readable image.
    #[error("{}: not a readable image: {reason}", injerto_files::shown(path))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// The thread that decodes has died.
    #[error("decoding stopped unexpectedly")]
    Stopped,

    // --- generated -------------------------------------------------------------------------------------------------
    /// A generated dataset that does not exist.
    #[error("no generated dataset '{name}': there are {}", known.join(" and "))]
    UnknownTask {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {reason}", injerto_files::shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn split_fix(fraction: f64) -> &'static str {
    if fraction > 0.0 && fraction < 1.0 { "there are too few images" } else { "expected a number between 0 and 1" }
}
