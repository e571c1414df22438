use std::path::{Path, PathBuf};

use injerto_graph::{Description, Descriptor};
use injerto_plugin_abi::{CallError, ENTRY_SYMBOL, EntryFn, Plugin};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::PluginError;

/// More than any description of as many layers as there may be.
const LARGEST_JSON: usize = 64 << 20;

/// More than any weights that belong inside a library.
pub(super) const LARGEST_WEIGHTS: usize = 256 << 20;

/// Characters of an error text that are shown.
const LONGEST_ERROR: usize = 2000;

/// A plugin in this process.
///
/// Libraries are never unloaded: a plugin may have started threads or handed out static data, and neither survives it.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    plugin: Plugin,
}

impl Library {
    /// Loads a library, trusting nothing that has not been checked: symbol, magic, size, versions, slots.
    ///
    /// Loading runs the library's initialisers; use [`Probe`](super::Probe) to have that happen elsewhere.
    ///
    /// # Errors
    /// [`PluginError::Load`], [`PluginError::Symbol`], [`PluginError::Table`].
    pub fn load(path: &Path) -> Result<Self, PluginError> {
        let library = path.to_owned();
        // SAFETY: initialisers of a foreign library run; that is what loading means, and why hosts ask in a child process.
        let handle = match unsafe { open(path) } {
            Ok(handle) => std::mem::ManuallyDrop::new(handle),
            Err(error) => {
                // The system's own word, such as the symbol that is missing, is the source.
                let said = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                let reason = said.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&said).to_owned();
                return Err(PluginError::Load { library, reason });
            }
        };
        // SAFETY: the symbol's type is what the ABI says; a plugin that lies is one that crashes its process.
        let Ok(entry) = (unsafe { handle.get::<EntryFn>(ENTRY_SYMBOL) }) else {
            return Err(PluginError::Symbol { library });
        };
        // SAFETY: as above; the library is never unloaded.
        let plugin = unsafe { Plugin::new(entry()) };
        let plugin = plugin.map_err(|reason| PluginError::Table { library: library.clone(), reason })?;
        Ok(Self { path: library, plugin })
    }

    /// Name and version of the library.
    pub fn identity(&self) -> (&str, &str) {
        (self.plugin.name(), self.plugin.version())
    }

    /// Major and minor version of the ABI that it was built for.
    pub fn abi(&self) -> (u32, u32) {
        self.plugin.abi()
    }

    /// The backbones that it offers; builds nothing.
    ///
    /// # Errors
    /// [`PluginError::Call`], [`PluginError::Answer`].
    pub fn descriptors(&self) -> Result<Vec<Descriptor>, PluginError> {
        let question = "list its backbones";
        let bytes = self.plugin.descriptors(LARGEST_JSON).map_err(|error| self.failed(question, &error))?;
        self.parse(question, &bytes)
    }

    /// One backbone for these parameters.
    ///
    /// # Errors
    /// [`PluginError::Call`]; [`PluginError::Answer`], also for a graph that does not hold together.
    pub fn describe(&self, name: &str, parameters: &Map<String, Value>) -> Result<Description, PluginError> {
        let question = format!("describe '{name}'");
        let json = Value::Object(parameters.clone()).to_string();
        let bytes = self.plugin.describe(name, &json, LARGEST_JSON).map_err(|error| self.failed(&question, &error))?;
        self.parse(&question, &bytes)
    }

    /// The bytes of a weight file that the library carries, through its extension `injerto.weights/1`.
    ///
    /// # Errors
    /// [`PluginError::Call`], also where the library carries none.
    pub fn weights(&self, id: &str) -> Result<Vec<u8>, PluginError> {
        let question = format!("read weights '{id}'");
        self.plugin.weights(id, LARGEST_WEIGHTS).map_err(|error| self.failed(&question, &error))
    }

    fn failed(&self, question: &str, error: &CallError) -> PluginError {
        let (library, question) = (self.path.clone(), question.to_owned());
        let reason = error.to_string().chars().take(LONGEST_ERROR).collect();
        match error {
            CallError::TooLong(_) | CallError::Unreadable => PluginError::Answer { library, question, reason },
            _ => PluginError::Call { library, question, reason },
        }
    }

    fn parse<T: DeserializeOwned>(&self, question: &str, bytes: &[u8]) -> Result<T, PluginError> {
        serde_json::from_slice(bytes).map_err(|error| PluginError::Answer {
            library: self.path.clone(),
            question: question.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// Loads a library with all that it needs, so that a symbol that nobody offers is named now and does not end the process
/// later.
///
/// # Safety
/// The library's initialisers run.
unsafe fn open(path: &Path) -> Result<libloading::Library, libloading::Error> {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // A name without a folder would be looked for where the system keeps its libraries, and not here.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // SAFETY: the caller lets the library's initialisers run.
        unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller lets the library's initialisers run.
        unsafe { libloading::Library::new(path) }
    }
}
