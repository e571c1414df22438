use std::ffi::c_void;

use crate::check::{TableError, check_table};
use crate::table::{Sink, Status, Str, Table, WEIGHTS_EXTENSION, WeightsExtension};

/// Bytes of an error text that are taken.
const LONGEST_ERROR: usize = 64 << 10;

/// A plugin as a host asks it: its table, checked. The host follows pointers of a plugin here and nowhere else.
///
/// ```
/// # injerto_plugin_abi::export_plugin! {
/// #     name: "empty",
/// #     version: "0.1.0",
/// #     descriptors: || Ok("[]".to_owned()),
/// #     describe: |name, _parameters| Err::<String, _>(format!("no backbone '{name}'")),
/// # }
/// # fn main() {
/// use injerto_plugin_abi::{CallError, Plugin, Status};
/// // SAFETY: it is the entry symbol of this program.
/// let plugin = unsafe { Plugin::new(injerto_plugin_entry()) }.unwrap();
/// assert_eq!(plugin.descriptors(1 << 20).unwrap(), b"[]");
/// let text = b"no backbone 'vgg'".to_vec();
/// assert_eq!(plugin.describe("vgg", "{}", 1 << 20), Err(CallError::Failed { status: Status::FAILED, text }));
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Plugin(Table);

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The plugin said so.
    Failed {
        /// What it returned.
        status: Status,
        /// What it wrote into the error sink: at most 64 KiB, and not always text.
        text: Vec<u8>,
    },
    /// It wrote more bytes than this.
    TooLong(usize),
    /// It wrote bytes at a null pointer.
    Unreadable,
    /// It carries no weights: there is no extension [`WEIGHTS_EXTENSION`].
    NotOffered,
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed { status, text } => match String::from_utf8_lossy(text).trim() {
                "" => write!(f, "it failed with status {} and without a reason", status.0),
                text => write!(f, "{text}"),
            },
            Self::TooLong(limit) => write!(f, "it wrote more than {} MiB", limit >> 20),
            Self::Unreadable => write!(f, "it wrote no readable bytes"),
            Self::NotOffered => write!(f, "it carries no weights (no extension {WEIGHTS_EXTENSION})"),
        }
    }
}

impl std::error::Error for CallError {}

impl Plugin {
    /// Checks a table with [`check_table`].
    ///
    /// # Errors
    /// [`TableError`], which says the first thing that is wrong.
    ///
    /// # Safety
    /// `table` must be null or what a plugin's entry symbol returned, and the plugin must keep to the ABI: texts and
    /// extensions of its table live as long as the process, and its functions are what `injerto_plugin.h` says. The
    /// library must never be unloaded.
    pub unsafe fn new(table: *const Table) -> Result<Self, TableError> {
        // SAFETY: the table is null, or what an entry symbol returned, and lives as long as the process.
        unsafe { check_table(table) }.map(Self)
    }

    /// Name of the library.
    pub fn name(&self) -> &str {
        // SAFETY: texts of a table live as long as the process; `check_table` has read this one.
        unsafe { self.0.name.as_str() }.unwrap_or_default()
    }

    /// Version of the library.
    pub fn version(&self) -> &str {
        // SAFETY: texts of a table live as long as the process; `check_table` has read this one.
        unsafe { self.0.version.as_str() }.unwrap_or_default()
    }

    /// Major and minor version of the ABI that it was built for.
    pub fn abi(&self) -> (u32, u32) {
        (self.0.abi_major, self.0.abi_minor)
    }

    /// A JSON array of descriptors, of at most `longest` bytes.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn descriptors(&self, longest: usize) -> Result<Vec<u8>, CallError> {
        let call = self.0.descriptors.expect("check_table refuses a table without");
        // SAFETY: the sinks live during the call.
        collect(longest, |out, error| unsafe { call(out, error) })
    }

    /// The JSON description of a backbone for a JSON object of parameters, of at most `longest` bytes.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn describe(&self, name: &str, parameters: &str, longest: usize) -> Result<Vec<u8>, CallError> {
        let call = self.0.describe.expect("check_table refuses a table without");
        // SAFETY: the texts and sinks live during the call.
        collect(longest, |out, error| unsafe { call(Str::new(name), Str::new(parameters), out, error) })
    }

    /// The bytes of a weight file that the library carries, at most `longest` of them.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn weights(&self, id: &str, longest: usize) -> Result<Vec<u8>, CallError> {
        let Some(extension) = self.0.extension else { return Err(CallError::NotOffered) };
        // SAFETY: the text lives during the call.
        let table = unsafe { extension(Str::new(WEIGHTS_EXTENSION)) }.cast::<WeightsExtension>();
        if table.is_null() || !table.is_aligned() {
            return Err(CallError::NotOffered);
        }
        // Field by field, never the whole struct: the plugin's may be shorter.
        // SAFETY: an extension's table is static and begins with its size.
        let covered = unsafe { (&raw const (*table).size).read() } >= size_of::<WeightsExtension>();
        // SAFETY: the size covers the field.
        let read = if covered { unsafe { (&raw const (*table).read).read() } } else { None };
        let Some(read) = read else { return Err(CallError::NotOffered) };
        // SAFETY: the text and the sinks live during the call.
        collect(longest, |out, error| unsafe { read(Str::new(id), out, error) })
    }
}

/// Makes a call with two sinks, and returns the bytes that were written into the first one.
fn collect(longest: usize, call: impl FnOnce(Sink, Sink) -> Status) -> Result<Vec<u8>, CallError> {
    let (mut output, mut error) = (Taken::new(longest), Taken::new(LONGEST_ERROR));
    let status = call(output.sink(), error.sink());
    match (output.problem, status) {
        (Some(problem), _) => Err(problem),
        (None, Status::OK) => Ok(output.bytes),
        (None, status) => Err(CallError::Failed { status, text: error.bytes }),
    }
}

/// The bytes that a sink has taken, up to a limit.
struct Taken {
    bytes: Vec<u8>,
    limit: usize,
    /// The reason why it took no more bytes, if it stopped.
    problem: Option<CallError>,
}

impl Taken {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, problem: None }
    }

    fn sink(&mut self) -> Sink {
        Sink { context: std::ptr::from_mut(self).cast(), write: take }
    }
}

unsafe extern "C" fn take(context: *mut c_void, data: *const u8, len: usize) -> Status {
    // SAFETY: the context is the `Taken` of this call, to which nothing else refers meanwhile.
    let taken = unsafe { &mut *context.cast::<Taken>() };
    if len == 0 {
        return Status::OK;
    }
    if data.is_null() {
        taken.problem = Some(CallError::Unreadable);
        return Status::FAILED;
    }
    if len > taken.limit - taken.bytes.len() {
        taken.problem = Some(CallError::TooLong(taken.limit));
        return Status::SINK_FULL;
    }
    // SAFETY: the pointer is not null, `len` is within the limit, and by the ABI the plugin passes `len` readable bytes.
    taken.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(data, len) });
    Status::OK
}
