use std::path::PathBuf;

use injerto_files::{printable, shown};
use injerto_plugin_abi::TableError;

/// Why a plugin cannot be used. Every message names the library.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    // --- loading ---------------------------------------------------------------------------------------------------
    /// The system cannot load the file.
    #[error("{}: cannot be loaded as a library: {}", shown(library), printable(reason))]
    Load {
        /// The library.
        library: PathBuf,
        /// What the system said.
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
        /// What is wrong with it.
        reason: TableError,
    },

    // --- asking ----------------------------------------------------------------------------------------------------
    /// A call failed.
    #[error("{}: {question}: {}", shown(library), printable(reason))]
    Call {
        /// The library.
        library: PathBuf,
        /// What was asked, such as `describe mobilenet_v2`.
        question: String,
        /// What the plugin said.
        reason: String,
    },
    /// An answer that cannot be understood.
    #[error("{}: {question}: its answer is not valid: {}", shown(library), printable(reason))]
    Answer {
        /// The library.
        library: PathBuf,
        /// What was asked.
        question: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The child process that asked the plugin died.
    #[error("{}: {question}: the plugin crashed ({how}); nothing else was harmed", shown(library))]
    Crashed {
        /// The library.
        library: PathBuf,
        /// What was asked.
        question: String,
        /// Such as `signal 11`.
        how: String,
    },
    /// The plugin did not answer in time.
    #[error("{}: {question}: no answer within {seconds} seconds; the plugin was stopped", shown(library))]
    Hangs {
        /// The library.
        library: PathBuf,
        /// What was asked.
        question: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The system ended the child process, or did not let it answer: the plugin is not to blame.
    #[error("{}: {question}: it could not answer: {how}", shown(library))]
    Limited {
        /// The library.
        library: PathBuf,
        /// What was asked.
        question: String,
        /// Which limit, and what sets it.
        how: String,
    },
    /// The child process could not be started.
    #[error("cannot ask plugins: {} does not start: {reason}", shown(program))]
    Child {
        /// The program that should have asked.
        program: PathBuf,
        /// Why it does not start.
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
        /// Why nothing can be made in it.
        reason: std::io::ErrorKind,
    },

    // --- backbone files --------------------------------------------------------------------------------------------
    /// A backbone file that cannot be used.
    #[error("{}: cannot be used as a backbone file: {reason}", shown(.file))]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", shown(.path))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    // --- choosing --------------------------------------------------------------------------------------------------
    /// No library has a backbone of that name.
    #[error("no backbone '{}'{}\n{listing}", printable(name), printable(suggestion))]
    Unknown {
        /// What was asked for.
        name: String,
        /// "; did you mean …", or nothing.
        suggestion: String,
        /// What was found, what was refused and where was searched.
        listing: String,
    },
    /// A parameter that the backbone does not have, or of the wrong type.
    #[error("{}", printable(reason))]
    Parameter {
        /// What is wrong, with the backbone's name.
        reason: String,
    },
}

impl PluginError {
    /// Whether no plugin at all can be asked, whichever it is.
    pub(crate) fn concerns_all(&self) -> bool {
        matches!(self, Self::Child { .. } | Self::Folder { .. })
    }
}
