use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use injerto_graph::{Description, Descriptor};
use injerto_plugin_abi::{CallError, ENTRY_SYMBOL, EntryFn, Linked, Plugin};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Origin, PluginError};

/// Size limit of a description in bytes, which is larger than any description within the limits of a graph.
const LARGEST_JSON: usize = 64 << 20;

/// Size limit of embedded weights in bytes. Larger weights do not belong inside a library.
pub(super) const LARGEST_WEIGHTS: usize = 256 << 20;

/// Bytes at the beginning of a file that tell what it is.
const BEGIN: u64 = 4096;

/// Number of characters of an error text that are shown.
const LONGEST_ERROR: usize = 2000;

/// A plugin that is in this process: a library that was loaded, or a plugin that is linked into this program.
///
/// Libraries are never unloaded, because a plugin may have started threads or handed out static data.
#[derive(Debug)]
pub struct Library {
    origin: Origin,
    plugin: Plugin,
}

impl From<Linked> for Library {
    fn from(linked: Linked) -> Self {
        Self { origin: Origin::Linked(linked), plugin: linked.plugin() }
    }
}

impl Library {
    /// Loads a library and checks symbol, magic number, size, versions and slots.
    ///
    /// Loading runs the library's initialisers. [`Probe`](super::Probe) does this in another process.
    ///
    /// # Errors
    /// [`PluginError::Load`], [`PluginError::Symbol`], [`PluginError::Table`].
    pub fn load(path: &Path) -> Result<Self, PluginError> {
        let library = path.to_owned();
        // SAFETY: loading runs initialisers of a foreign library, which may do anything; this is why hosts ask in a child process.
        let handle = match unsafe { open(path) } {
            Ok(handle) => std::mem::ManuallyDrop::new(handle),
            Err(error) => {
                // The source of the error is the message of the system, which may name a missing symbol.
                let said = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                let said = said.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&said).to_owned();
                let reason = mistaken(path).map_or(said, str::to_owned);
                return Err(PluginError::Load { library, reason });
            }
        };
        // SAFETY: the ABI fixes the type of the symbol; a library that breaks the ABI crashes its own process.
        let Ok(entry) = (unsafe { handle.get::<EntryFn>(ENTRY_SYMBOL) }) else {
            return Err(PluginError::Symbol { library });
        };
        // SAFETY: the entry function has the type of the ABI, and the library is never unloaded.
        let plugin = unsafe { Plugin::new(entry()) };
        let plugin = plugin.map_err(|reason| PluginError::Table { library: library.clone(), reason })?;
        Ok(Self { origin: Origin::File(library), plugin })
    }

    /// Name and version of the library.
    pub fn identity(&self) -> (&str, &str) {
        (self.plugin.name(), self.plugin.version())
    }

    /// Major and minor version of the ABI that it was built for.
    pub fn abi(&self) -> (u32, u32) {
        self.plugin.abi()
    }

    /// The backbones that the library offers. No network is built.
    ///
    /// # Errors
    /// [`PluginError::Call`], [`PluginError::Answer`].
    pub fn descriptors(&self) -> Result<Vec<Descriptor>, PluginError> {
        let question = "list its backbones";
        let bytes = self.plugin.descriptors(LARGEST_JSON).map_err(|error| self.failed(question, &error))?;
        self.parse(question, &bytes)
    }

    /// The description of one backbone with these parameters.
    ///
    /// # Errors
    /// [`PluginError::Call`]; [`PluginError::Answer`], for example for an inconsistent graph.
    pub fn describe(&self, name: &str, parameters: &Map<String, Value>) -> Result<Description, PluginError> {
        let question = format!("describe '{name}'");
        let json = Value::Object(parameters.clone()).to_string();
        let bytes = self.plugin.describe(name, &json, LARGEST_JSON).map_err(|error| self.failed(&question, &error))?;
        self.parse(&question, &bytes)
    }

    /// The bytes of a weight file that the library carries, read through its extension `injerto.weights/1`.
    ///
    /// # Errors
    /// [`PluginError::Call`], for example if the library carries no weights.
    pub fn weights(&self, id: &str) -> Result<Vec<u8>, PluginError> {
        let question = format!("read weights '{id}'");
        self.plugin.weights(id, LARGEST_WEIGHTS).map_err(|error| self.failed(&question, &error))
    }

    fn failed(&self, question: &str, error: &CallError) -> PluginError {
        let (plugin, question) = (self.origin.clone(), question.to_owned());
        let reason = error.to_string().chars().take(LONGEST_ERROR).collect();
        match error {
            CallError::TooLong(_) | CallError::Unreadable => PluginError::Answer { plugin, question, reason },
            _ => PluginError::Call { plugin, question, reason },
        }
    }

    fn parse<T: DeserializeOwned>(&self, question: &str, bytes: &[u8]) -> Result<T, PluginError> {
        serde_json::from_slice(bytes).map_err(|error| PluginError::Answer {
            plugin: self.origin.clone(),
            question: question.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// Says what the file is if its first bytes show that it is not a library.
fn mistaken(path: &Path) -> Option<&'static str> {
    // Reading a pipe might never end.
    let file = File::open(path).ok().filter(|_| path.is_file())?;
    let mut begin = Vec::new();
    file.take(BEGIN).read_to_end(&mut begin).ok()?;
    injerto_files::mistaken(&begin)
}

/// Loads a library with everything that it needs, so that a missing symbol is reported now and does not end the process later.
///
/// # Safety
/// The library's initialisers run.
unsafe fn open(path: &Path) -> Result<libloading::Library, libloading::Error> {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // A name without a folder would be looked for in the folders of the system, and not here.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // SAFETY: the caller of this function agrees that the library's initialisers run.
        unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller of this function agrees that the library's initialisers run.
        unsafe { libloading::Library::new(path) }
    }
}
