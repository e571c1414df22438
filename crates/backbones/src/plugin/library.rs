use std::ffi::c_void;
use std::path::{Path, PathBuf};

use injerto_graph::{Description, Descriptor};
use injerto_plugin_abi::{
    ENTRY_SYMBOL, EntryFn, Sink, Status, Str, Table, WEIGHTS_EXTENSION, WeightsExtension, check_table,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::PluginError;

/// Size limit of a description in bytes, which is larger than any description within the limits of a graph.
const LARGEST_JSON: usize = 64 << 20;

/// Size limit of embedded weights in bytes. Larger weights do not belong inside a library.
pub(super) const LARGEST_WEIGHTS: usize = 256 << 20;

/// Number of characters of an error text that are shown.
const LONGEST_ERROR: usize = 2000;

/// A plugin that is loaded into this process.
///
/// Libraries are never unloaded, because a plugin may have started threads or handed out static data.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    table: Table,
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
                let reason = said.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&said).to_owned();
                return Err(PluginError::Load { library, reason });
            }
        };
        // SAFETY: the ABI fixes the type of the symbol; a library that breaks the ABI crashes its own process.
        let Ok(entry) = (unsafe { handle.get::<EntryFn>(ENTRY_SYMBOL) }) else {
            return Err(PluginError::Symbol { library });
        };
        // SAFETY: the entry function has the type of the ABI; its table is checked before it is used.
        let table = unsafe { check_table(entry()) };
        let table = table.map_err(|reason| PluginError::Table { library: library.clone(), reason })?;
        Ok(Self { path: library, table })
    }

    /// Name and version of the library.
    pub fn identity(&self) -> (&str, &str) {
        // SAFETY: the strings of a table live as long as the process, and `check_table` has read them.
        unsafe { (self.table.name.as_str().unwrap_or_default(), self.table.version.as_str().unwrap_or_default()) }
    }

    /// Major and minor version of the ABI that it was built for.
    pub fn abi(&self) -> (u32, u32) {
        (self.table.abi_major, self.table.abi_minor)
    }

    /// The backbones that the library offers. No network is built.
    ///
    /// # Errors
    /// [`PluginError::Call`], [`PluginError::Answer`].
    pub fn descriptors(&self) -> Result<Vec<Descriptor>, PluginError> {
        let call = self.table.descriptors.expect("check_table refuses a table without");
        // SAFETY: sinks live during the call.
        let bytes = self.collect("list its backbones", LARGEST_JSON, |out, error| unsafe { call(out, error) })?;
        self.parse("list its backbones", &bytes)
    }

    /// The description of one backbone with these parameters.
    ///
    /// # Errors
    /// [`PluginError::Call`]; [`PluginError::Answer`], for example for an inconsistent graph.
    pub fn describe(&self, name: &str, parameters: &Map<String, Value>) -> Result<Description, PluginError> {
        let question = format!("describe '{name}'");
        let json = Value::Object(parameters.clone()).to_string();
        let call = self.table.describe.expect("check_table refuses a table without");
        // SAFETY: strings and sinks live during the call.
        let ask = |out, error| unsafe { call(Str::new(name), Str::new(&json), out, error) };
        let bytes = self.collect(&question, LARGEST_JSON, ask)?;
        self.parse(&question, &bytes)
    }

    /// The bytes of a weight file that the library carries, read through its extension `injerto.weights/1`.
    ///
    /// # Errors
    /// [`PluginError::Call`], for example if the library carries no weights.
    pub fn weights(&self, id: &str) -> Result<Vec<u8>, PluginError> {
        let question = format!("read weights '{id}'");
        // SAFETY: the string lives during the call.
        let table = self.table.extension.map(|extension| unsafe { extension(Str::new(WEIGHTS_EXTENSION)) });
        let table = table.unwrap_or(std::ptr::null()).cast::<WeightsExtension>();
        let covered = size_of::<WeightsExtension>();
        // SAFETY: the pointer is not null, and the table of an extension begins with its size.
        let offered = !table.is_null() && unsafe { (*table).size } >= covered;
        // SAFETY: the size of the table covers the field.
        let read = if offered { unsafe { (*table).read } } else { None };
        let Some(read) = read else {
            let reason = "it carries no weights (no extension injerto.weights/1)".to_owned();
            return Err(PluginError::Call { library: self.path.clone(), question, reason });
        };
        // SAFETY: string and sinks live during the call.
        self.collect(&question, LARGEST_WEIGHTS, |out, error| unsafe { read(Str::new(id), out, error) })
    }

    /// Makes a call with two sinks, and returns the bytes that were written into the first one.
    fn collect(
        &self,
        question: &str,
        largest: usize,
        call: impl FnOnce(Sink, Sink) -> Status,
    ) -> Result<Vec<u8>, PluginError> {
        let (mut output, mut error) = (Collected::new(largest), Collected::new(64 << 10));
        match call(output.sink(), error.sink()) {
            Status::OK if output.problem.is_none() => Ok(output.bytes),
            status => match output.problem {
                Some(reason) => {
                    let (library, question) = (self.path.clone(), question.to_owned());
                    Err(PluginError::Answer { library, question, reason })
                }
                None => Err(self.failed(question, status, &error.bytes)),
            },
        }
    }

    fn failed(&self, question: &str, status: Status, text: &[u8]) -> PluginError {
        let reason = match String::from_utf8_lossy(text).trim() {
            "" => format!("it failed with status {} and without a reason", status.0),
            text => text.chars().take(LONGEST_ERROR).collect(),
        };
        PluginError::Call { library: self.path.clone(), question: question.to_owned(), reason }
    }

    fn parse<T: DeserializeOwned>(&self, question: &str, bytes: &[u8]) -> Result<T, PluginError> {
        serde_json::from_slice(bytes).map_err(|error| PluginError::Answer {
            library: self.path.clone(),
            question: question.to_owned(),
            reason: error.to_string(),
        })
    }
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

/// The bytes that a sink has taken, up to a limit.
struct Collected {
    bytes: Vec<u8>,
    limit: usize,
    /// The reason why it took no more bytes, if it stopped.
    problem: Option<String>,
}

impl Collected {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, problem: None }
    }

    fn sink(&mut self) -> Sink {
        Sink { context: std::ptr::from_mut(self).cast(), write: take }
    }
}

unsafe extern "C" fn take(context: *mut c_void, data: *const u8, len: usize) -> Status {
    // SAFETY: the context is the `Collected` of this call, to which nothing else refers meanwhile.
    let collected = unsafe { &mut *context.cast::<Collected>() };
    if len == 0 {
        return Status::OK;
    }
    if data.is_null() {
        collected.problem = Some("it wrote no readable bytes".to_owned());
        return Status::FAILED;
    }
    if len > collected.limit - collected.bytes.len() {
        collected.problem = Some(format!("it wrote more than {} MiB", collected.limit >> 20));
        return Status::SINK_FULL;
    }
    // SAFETY: the pointer is not null, and by the ABI the plugin passes `len` readable bytes.
    collected.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(data, len) });
    Status::OK
}
