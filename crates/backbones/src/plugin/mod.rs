//! Plugins: shared libraries that describe backbones.
//!
//! A library is asked in a child process ([`Probe`]): the host itself never loads one, so that a crash, a hang or endless
//! output in a plugin is an error message and not the end of an experiment. A child costs a few milliseconds and answers
//! one question; an experiment asks two or three.
//!
//! - [`Catalog`]: the libraries in the search path, and the backbone of a name among them;
//! - [`Library`]: one library loaded into this process, every step checked;
//! - [`Probe`], [`answer_if_asked`]: the two ends of a question to a child process;
//! - [`validate`]: every check of a plugin, each in a process of its own.

mod catalog;
mod error;
mod library;
mod probe;
mod validate;

pub use catalog::{Catalog, Found, Refused, SearchPath};
pub use error::PluginError;
pub use library::Library;
pub use probe::{Identity, Probe, answer_if_asked};
pub use validate::{Check, Report, validate};
