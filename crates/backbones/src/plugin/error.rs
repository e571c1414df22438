use std::path::PathBuf;

use injerto_files::{printable, shown};
use injerto_plugin_abi::TableError;

use super::Origin;

/// The reason why a plugin cannot be used. Messages name the library.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    // --- loading ---------------------------------------------------------------------------------------------------
    /// The system cannot load the file.
    #[error("{}: cannot be loaded as a library: {}", shown(library), printable(reason))]
    Load {
        /// The library.
        library: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// The entry symbol is missing.
    #[error("{}: not an Injerto plugin: it exports no 'injerto_plugin_entry'", shown(library))]
    Symbol {
        /// The library.
        library: PathBuf,
    },
    /// The table is refused.
    #[error("{}: refused: {reason}", shown(library))]
    Table {
        /// The library.
        library: PathBuf,
        /// The problem with it.
        reason: TableError,
    },

    // --- asking ----------------------------------------------------------------------------------------------------
    /// A call failed.
    #[error("{plugin}: {question}: {}", printable(reason))]
    Call {
        /// The plugin.
        plugin: Origin,
        /// The question, such as `describe mobilenet_v2`.
        question: String,
        /// The error of the plugin.
        reason: String,
    },
    /// An answer is not valid.
    #[error("{plugin}: {question}: its answer is not valid: {}", printable(reason))]
    Answer {
        /// The plugin.
        plugin: Origin,
        /// The question.
        question: String,
        /// The problem with the answer.
        reason: String,
    },
    /// The child process that asked the plugin died.
    #[error("{}: {question}: the plugin crashed ({how}); nothing else was harmed", shown(library))]
    Crashed {
        /// The library.
        library: PathBuf,
        /// The question.
        question: String,
        /// How it died, such as `signal 11`.
        how: String,
    },
    /// The plugin did not answer in time.
    #[error("{}: {question}: no answer within {seconds} seconds; the plugin was stopped", shown(library))]
    Hangs {
        /// The library.
        library: PathBuf,
        /// The question.
        question: String,
        /// How long the host waited.
        seconds: u64,
    },
    /// The system ended the child process, or did not let it answer. The plugin is not the cause.
    #[error("{}: {question}: it could not answer: {how}", shown(library))]
    Limited {
        /// The library.
        library: PathBuf,
        /// The question.
        question: String,
        /// The limit, and what sets it.
        how: String,
    },
    /// The child process could not be started.
    #[error("cannot ask plugins: {} does not start: {reason}", shown(program))]
    Child {
        /// The program that should have asked.
        program: PathBuf,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// There is no place for a plugin's answer.
    #[error(
        "cannot ask plugins: no folder can be made in {} ({reason}); set TMPDIR to a folder that can be written to",
        shown(folder)
    )]
    Folder {
        /// The folder for temporary files.
        folder: PathBuf,
        /// The error of the system.
        reason: std::io::ErrorKind,
    },

    // --- backbone files --------------------------------------------------------------------------------------------
    /// A backbone file cannot be used.
    #[error("{}: cannot be used as a backbone file: {reason}", shown(.file))]
    File {
        /// The file.
        file: PathBuf,
        /// The problem with it.
        reason: String,
    },
    /// An ONNX model cannot be used.
    #[error("{}: {reason}", shown(.file))]
    Onnx {
        /// The file.
        file: PathBuf,
        /// The problem with it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", shown(.path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },

    // --- choosing --------------------------------------------------------------------------------------------------
    /// No library has a backbone of that name.
    #[error("no backbone '{}'{}\n{listing}", printable(name), printable(suggestion))]
    Unknown {
        /// The name that the user gave.
        name: String,
        /// The text "; did you mean …", or nothing.
        suggestion: String,
        /// A list of what was found, what was refused and where was searched.
        listing: String,
    },
    /// The backbone has no such parameter, or the value has the wrong type.
    #[error("{}", printable(reason))]
    Parameter {
        /// The problem, including the name of the backbone.
        reason: String,
    },
}

impl PluginError {
    /// Whether the error concerns all plugins, because none can be asked.
    pub(crate) fn concerns_all(&self) -> bool {
        matches!(self, Self::Child { .. } | Self::Folder { .. })
    }
}
