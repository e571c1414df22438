use std::path::Path;

use injerto_graph::{Description, Descriptor};
use serde_json::{Map, Value};

use super::onnx::{self, OnnxFile};
use super::{BackboneFile, Library, Notes, Origin, PluginError, Probe};

/// A source of descriptions of backbones.
pub(super) enum Provider<'a> {
    /// A plugin that is linked into this program and is asked directly.
    Linked(Library),
    /// A library, which is asked in a child process.
    Library(&'a Path),
    /// A backbone file, which is read in this process, because it contains no code.
    File(&'a Path),
    /// An ONNX model, which is read in this process, because nothing in it is executed.
    Onnx(&'a Path),
}

/// The error for a file that does not exist, but that a user has named.
pub(super) fn missing(path: &Path) -> PluginError {
    let (path, reason) = (path.to_owned(), "there is no such file".to_owned());
    match Provider::of(&path) {
        Provider::File(_) => PluginError::File { file: path, reason },
        Provider::Onnx(_) => PluginError::Onnx { file: path, reason },
        Provider::Linked(_) | Provider::Library(_) => PluginError::Load { library: path, reason },
    }
}

impl<'a> Provider<'a> {
    /// The provider of a plugin at this place.
    pub(super) fn from(origin: &'a Origin) -> Self {
        match origin {
            Origin::File(path) => Self::of(path),
            Origin::Linked(linked) => Self::Linked((*linked).into()),
        }
    }

    /// The provider at `path`. Any JSON file is taken as a backbone file, also with a wrong name.
    pub(super) fn of(path: &'a Path) -> Self {
        match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            true => Self::File(path),
            false if onnx::is_named_so(path) => Self::Onnx(path),
            false => Self::Library(path),
        }
    }

    /// The backbones that the provider offers.
    pub(super) fn descriptors(&self, probe: &Probe) -> Result<Vec<Descriptor>, PluginError> {
        match self {
            Self::Linked(library) => library.descriptors(),
            Self::Library(path) => probe.descriptors(path),
            Self::File(path) => Ok(vec![BackboneFile::read(path)?.descriptor(BackboneFile::name(path)?)]),
            Self::Onnx(path) => Ok(vec![OnnxFile::open(path)?.descriptor()?]),
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
            Self::Linked(library) => library.describe(name, parameters),
            Self::Library(path) => probe.describe(path, name, parameters),
            Self::File(path) => Ok(BackboneFile::read(path)?.description),
            Self::Onnx(path) => OnnxFile::open(path)?.describe(parameters),
        }
    }

    /// What a user should know about the backbone before training; `None` if its description says everything.
    pub(super) fn notes(&self, parameters: &Map<String, Value>) -> Result<Option<Notes>, PluginError> {
        match self {
            Self::Linked(_) | Self::Library(_) | Self::File(_) => Ok(None),
            Self::Onnx(path) => OnnxFile::open(path)?.notes(parameters).map(Some),
        }
    }

    /// The bytes of a weight file that the library or the model carries.
    pub(super) fn weights(
        &self,
        probe: &Probe,
        id: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Vec<u8>, PluginError> {
        match self {
            Self::Linked(library) => library.weights(id),
            Self::Library(path) => probe.weights(path, id),
            Self::Onnx(path) => OnnxFile::open(path)?.weights(parameters),
            Self::File(path) => {
                let reason = "only a library carries weights".to_owned();
                Err(PluginError::File { file: (*path).to_owned(), reason })
            }
        }
    }
}
