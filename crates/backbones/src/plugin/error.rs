use std::path::PathBuf;

use injerto_files::shown;
use injerto_plugin_abi::TableError;

/// Why a plugin cannot be used. Every message names the library.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    // --- loading ---------------------------------------------------------------------------------------------------
    /// The system cannot load the file.
    #[error("{}: cannot be loaded as a library: {reason}", injerto_files::shown(library))]
    Load {
        /// The library.
        library: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The entry symbol is missing.
    #[error("{}: not an Injerto plugin: it exports no 'injerto_plugin_entry'", injerto_files::shown(library))]
    Symbol {
        /// The library.
        library: PathBuf,
    },
    /// The table is refused.
    #[error("{}: refused: {reason}", injerto_files::shown(library))]
    Table {
        /// The library.
        library: PathBuf,
        /// What is wrong with it.
        reason: TableError,
    },

    // --- asking ----------------------------------------------------------------------------------------------------
    /// A call failed.
    #[error("{}: {question}: {reason}", injerto_files::shown(library))]
    Call {
        /// The library.
        library: PathBuf,
        /// What was asked, such as `describe mobilenet_v2`.
        question: String,
        /// What the plugin said.
        reason: String,
    },
    /// An answer that cannot be understood.
    #[error("{}: {question}: its answer is not valid: {reason}", injerto_files::shown(library))]
    Answer {
        /// The library.
        library: PathBuf,
        /// What was asked.
        question: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The child process that asked the plugin died.
    #[error("{}: {question}: the plugin crashed ({how}); nothing else was harmed", injerto_files::shown(library))]
    Crashed {
        /// The library.
        library: PathBuf,
        /// What was asked.
        question: String,
        /// Such as `signal 11`.
        how: String,
    },
    /// The plugin did not answer in time.
    #[error(
        "{}: {question}: no answer within {seconds} seconds; the plugin was stopped",
        injerto_files::shown(library)
    )]
    Hangs {
        /// The library.
        library: PathBuf,
        /// What was asked.
        question: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The child process could not be started.
    #[error("cannot ask plugins: {program}: {source}", program = injerto_files::shown(program))]
    Child {
        /// The program that should have asked.
        program: PathBuf,
        /// Why it does not start.
        source: std::io::Error,
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
    #[error("no backbone '{name}'{suggestion}\n{listing}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// "; did you mean …", or nothing.
        suggestion: String,
        /// What was found, what was refused and where was searched.
        listing: String,
    },
    /// A parameter that the backbone does not have, or of the wrong type.
    #[error("{reason}")]
    Parameter {
        /// What is wrong, with the backbone's name.
        reason: String,
    },
}
