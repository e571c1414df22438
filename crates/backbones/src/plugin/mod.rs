//! Plugins: shared libraries that describe backbones, and backbone files.
//!
//! The host asks a library in a child process ([`Probe`]) and never loads it itself. A crash, a hang or endless output of a plugin
//! is therefore an error message, and does not end the experiment. A child takes a few milliseconds and answers one question; an
//! experiment asks two or three questions.
//!
//! A backbone can also be a file: a [`BackboneFile`] or an ONNX model. A file is data, and is read in this process. A plugin may also be
//! linked into this program, which then asks it directly: such code is the program's own.
//!
//! - [`Catalog`]: the libraries and backbone files in the search path, in which a backbone is found by its name;
//! - [`Origin`]: the place of a plugin;
//! - [`Library`]: a library that is loaded into this process, with every step checked;
//! - [`Probe`], [`answer_if_asked`]: the two ends of a question to a child process;
//! - [`validate`]: all checks of a plugin, each in a separate process.

mod catalog;
mod dump;
mod error;
mod file;
mod library;
mod onnx;
mod origin;
mod probe;
mod provider;
mod validate;
mod word;

pub use catalog::{Catalog, Found, Refused, SearchPath};
pub use dump::Dump;
pub use error::PluginError;
pub use file::BackboneFile;
pub use library::Library;
pub(crate) use onnx::{LAST_LAYER, Notes, OWN_WEIGHTS};
pub use origin::Origin;
pub use probe::{Identity, Probe, answer_if_asked};
pub use validate::{Check, Report, validate};
