//! Plugins: shared libraries that describe backbones, and files that do.
//!
//! A library is asked in a child process ([`Probe`]): the host itself never loads one, so that a crash, a hang or endless
//! output in a plugin is an error message and not the end of an experiment. A child costs a few milliseconds and answers
//! one question; an experiment asks two or three.
//!
//! A backbone can also be a file ([`BackboneFile`]): it is data, and is read in this process.
//!
//! - [`Catalog`]: the libraries and backbone files in the search path, and the backbone of a name among them;
//! - [`Library`]: one library loaded into this process, every step checked;
//! - [`Probe`], [`answer_if_asked`]: the two ends of a question to a child process;
//! - [`validate`]: every check of a plugin, each in a process of its own.

mod catalog;
mod dump;
mod error;
mod file;
mod library;
mod probe;
mod provider;
mod validate;

pub use catalog::{Catalog, Found, Refused, SearchPath};
pub use dump::Dump;
pub use error::PluginError;
pub use file::BackboneFile;
pub use library::Library;
pub use probe::{Identity, Probe, answer_if_asked};
pub use validate::{Check, Report, validate};
