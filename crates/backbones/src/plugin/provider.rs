use std::path::Path;

use injerto_graph::{Description, Descriptor};
use serde_json::{Map, Value};

use super::{BackboneFile, PluginError, Probe};

/// A source of descriptions of backbones.
pub(super) enum Provider<'a> {
    /// A library, which is asked in a child process.
    Library(&'a Path),
    /// A backbone file, which is read in this process, because it contains no code.
    File(&'a Path),
}

impl<'a> Provider<'a> {
    /// The provider at `path`. Any JSON file is taken as a backbone file, also with a wrong name.
    pub(super) fn of(path: &'a Path) -> Self {
        match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            true => Self::File(path),
            false => Self::Library(path),
        }
    }

    /// The error for a file that does not exist.
    pub(super) fn missing(&self) -> PluginError {
        let reason = "there is no such file".to_owned();
        match self {
            Self::Library(path) => PluginError::Load { library: (*path).to_owned(), reason },
            Self::File(path) => PluginError::File { file: (*path).to_owned(), reason },
        }
    }

    /// The backbones that the provider offers.
    pub(super) fn descriptors(&self, probe: &Probe) -> Result<Vec<Descriptor>, PluginError> {
        match self {
            Self::Library(path) => probe.descriptors(path),
            Self::File(path) => Ok(vec![BackboneFile::read(path)?.descriptor(BackboneFile::name(path)?)]),
        }
    }

    /// The description of one backbone with these parameters. A file has no parameters.
    pub(super) fn describe(
        &self,
        probe: &Probe,
        name: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Description, PluginError> {
        match self {
            Self::Library(path) => probe.describe(path, name, parameters),
            Self::File(path) => Ok(BackboneFile::read(path)?.description),
        }
    }

    /// The bytes of a weight file that the library carries.
    pub(super) fn weights(&self, probe: &Probe, id: &str) -> Result<Vec<u8>, PluginError> {
        match self {
            Self::Library(path) => probe.weights(path, id),
            Self::File(path) => {
                let reason = "only a library carries weights".to_owned();
                Err(PluginError::File { file: (*path).to_owned(), reason })
            }
        }
    }
}
