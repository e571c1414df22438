use std::ffi::c_void;

/// `"INJERTO1"` in ASCII, first byte lowest: the first thing in a [`Table`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"INJERTO1");

/// Raised when anything existing changes. A host loads plugins of its own major only.
pub const ABI_MAJOR: u32 = 1;

/// Raised when fields are appended. A host loads any minor at least as new as it needs.
pub const ABI_MINOR: u32 = 0;

/// The one exported symbol, with a closing zero for `dlsym`.
pub const ENTRY_SYMBOL: &[u8] = b"injerto_plugin_entry\0";

/// Identifier of [`WeightsExtension`].
pub const WEIGHTS_EXTENSION: &str = "injerto.weights/1";

/// UTF-8 text, not closed by a zero. The callee never keeps the pointer: it is valid during the call (fields of a
/// [`Table`]: as long as the process lives).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Str {
    /// First byte; may be null where `len` is 0.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

impl Str {
    /// Borrows a Rust string for the time of a call.
    pub const fn new(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// The text, if it is UTF-8 and not absurdly long.
    ///
    /// # Safety
    /// `ptr` must point to `len` readable bytes that stay as they are for `'a`, or `len` must be 0.
    pub unsafe fn as_str<'a>(self) -> Option<&'a str> {
        if self.len == 0 {
            return Some("");
        }
        if self.ptr.is_null() || self.len > isize::MAX as usize {
            return None;
        }
        // SAFETY: not null, and the caller vouches for the bytes.
        std::str::from_utf8(unsafe { std::slice::from_raw_parts(self.ptr, self.len) }).ok()
    }
}

// SAFETY: it is a pointer to bytes that nobody writes.
unsafe impl Sync for Str {}
// SAFETY: as above.
unsafe impl Send for Str {}

/// Takes `len` bytes at `data`; they are copied before it returns. Anything but [`Status::OK`] means: write no more and
/// return that status.
pub type WriteFn = unsafe extern "C" fn(context: *mut c_void, data: *const u8, len: usize) -> Status;

/// Where a plugin writes its output; the host owns it and it is valid during the call only. It may be written to any
/// number of times, from the calling thread.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Sink {
    /// Handed to `write` as it is.
    pub context: *mut c_void,
    /// Takes bytes.
    pub write: WriteFn,
}

impl Sink {
    /// Writes all of `bytes`.
    ///
    /// # Safety
    /// The sink must be one that the host passed to the current call.
    pub unsafe fn put(self, bytes: &[u8]) -> Status {
        // SAFETY: the caller vouches for the sink; the slice is valid.
        unsafe { (self.write)(self.context, bytes.as_ptr(), bytes.len()) }
    }
}

/// How a call ended. Zero is success; every other number is a failure, with a text in the error sink where one was
/// passed.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// It worked.
    pub const OK: Self = Self(0);
    /// It did not; the error text says why.
    pub const FAILED: Self = Self(1);
    /// No backbone or weight set of that name.
    pub const NOT_FOUND: Self = Self(2);
    /// Parameters that cannot be read or do not fit.
    pub const BAD_PARAMETERS: Self = Self(3);
    /// A sink took no more; returned by the host's `write`.
    pub const SINK_FULL: Self = Self(4);
    /// A Rust plugin panicked; the error text holds the message.
    pub const PANICKED: Self = Self(5);
}

/// Writes a JSON array of descriptors: names, one-line summaries, parameters with defaults, identifiers of weight sets.
/// Builds no network. May be called from any thread, by several at once.
pub type DescriptorsFn = unsafe extern "C" fn(out: Sink, error: Sink) -> Status;

/// Writes the JSON description of the backbone `name` for `parameters`, a JSON object. Equal arguments give equal output.
/// May be called from any thread, by several at once.
pub type DescribeFn = unsafe extern "C" fn(name: Str, parameters: Str, out: Sink, error: Sink) -> Status;

/// The type of the reserved slot [`Table::score`].
pub type ScoreFn = unsafe extern "C" fn(name: Str, machine: Str, score: *mut u32) -> Status;

/// The table of an extension such as [`WEIGHTS_EXTENSION`], or null. The plugin owns it and it lives as long as the
/// process. May be called from any thread.
pub type ExtensionFn = unsafe extern "C" fn(id: Str) -> *const c_void;

/// What the entry symbol returns a pointer to. It is static: a library is never unloaded.
///
/// Fields are only ever appended. A reader reads a field only where `size` covers it, and takes an empty slot for "not
/// offered".
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// [`MAGIC`]. Since 1.0.
    pub magic: u64,
    /// Offset of the last field plus its size, as the plugin was compiled. Since 1.0.
    pub size: usize,
    /// [`ABI_MAJOR`] of the plugin. Since 1.0.
    pub abi_major: u32,
    /// [`ABI_MINOR`] of the plugin. Since 1.0.
    pub abi_minor: u32,
    /// Name of the library. Since 1.0.
    pub name: Str,
    /// Version of the library. Since 1.0.
    pub version: Str,
    /// Must be offered. Since 1.0.
    pub descriptors: Option<DescriptorsFn>,
    /// Must be offered. Since 1.0.
    pub describe: Option<DescribeFn>,
    /// Reserved: a plugin leaves it empty, and no host calls it. Since 1.0.
    pub score: Option<ScoreFn>,
    /// May be empty. Since 1.0.
    pub extension: Option<ExtensionFn>,
}

/// The entry symbol: no arguments, never null, the same pointer every time.
pub type EntryFn = unsafe extern "C" fn() -> *const Table;

/// Writes the bytes of the weight file `id` that the plugin carries. May be called from any thread.
pub type WeightsReadFn = unsafe extern "C" fn(id: Str, out: Sink, error: Sink) -> Status;

/// The extension [`WEIGHTS_EXTENSION`]: weight files inside the library.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct WeightsExtension {
    /// Offset of the last field plus its size.
    pub size: usize,
    /// Must be offered.
    pub read: Option<WeightsReadFn>,
}
