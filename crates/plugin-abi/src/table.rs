use std::ffi::c_void;

/// `"INJERTO1"` in ASCII, with the first byte lowest. A [`Table`] begins with this number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"INJERTO1");

/// Major version. It is raised when an existing part changes. A host loads only plugins with its own major version.
pub const ABI_MAJOR: u32 = 1;

/// Minor version. It is raised when fields are appended. A host loads plugins whose minor version is at least the one it needs.
pub const ABI_MINOR: u32 = 0;

/// Name of the one exported symbol, with a zero byte at the end for `dlsym`.
pub const ENTRY_SYMBOL: &[u8] = b"injerto_plugin_entry\0";

/// Identifier of [`WeightsExtension`].
pub const WEIGHTS_EXTENSION: &str = "injerto.weights/1";

/// UTF-8 text, without a zero byte at the end. The callee never keeps the pointer, which is valid only during the call. (The texts
/// of a [`Table`] are valid as long as the process lives.)
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Str {
    /// First byte; may be null if `len` is 0.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

impl Str {
    /// Borrows a Rust string for the duration of a call.
    pub const fn new(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// The text, if it is UTF-8 and its length fits into an `isize`.
    ///
    /// # Safety
    /// `ptr` must point to `len` readable bytes that do not change during `'a`, or `len` must be 0.
    pub unsafe fn as_str<'a>(self) -> Option<&'a str> {
        if self.len == 0 {
            return Some("");
        }
        if self.ptr.is_null() || self.len > isize::MAX as usize {
            return None;
        }
        // SAFETY: the pointer is not null, and by the contract of this function the bytes are readable and do not change.
        std::str::from_utf8(unsafe { std::slice::from_raw_parts(self.ptr, self.len) }).ok()
    }
}

// SAFETY: it points to bytes that are never written.
unsafe impl Sync for Str {}
// SAFETY: it points to bytes that are never written.
unsafe impl Send for Str {}

/// Copies `len` bytes at `data` before it returns. If it returns anything but [`Status::OK`], the plugin must write no more and
/// return that status.
pub type WriteFn = unsafe extern "C" fn(context: *mut c_void, data: *const u8, len: usize) -> Status;

/// The place where a plugin writes its output. The host owns it, and it is valid only during the call. The plugin may write to it
/// any number of times, from the calling thread.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Sink {
    /// First argument of `write`, which the plugin passes on unchanged.
    pub context: *mut c_void,
    /// The function that takes the bytes.
    pub write: WriteFn,
}

impl Sink {
    /// Writes all of `bytes`.
    ///
    /// # Safety
    /// The sink must be one that the host passed to the current call.
    pub unsafe fn put(self, bytes: &[u8]) -> Status {
        // SAFETY: by the contract of this function the sink is that of the current call; the slice is valid.
        unsafe { (self.write)(self.context, bytes.as_ptr(), bytes.len()) }
    }
}

/// The result of a call. Zero is success. Every other number is a failure, with a text in the error sink if there is one.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// The call succeeded.
    pub const OK: Self = Self(0);
    /// The call failed; the error text says why.
    pub const FAILED: Self = Self(1);
    /// There is no backbone or weight set of that name.
    pub const NOT_FOUND: Self = Self(2);
    /// The parameters cannot be read or do not fit.
    pub const BAD_PARAMETERS: Self = Self(3);
    /// A sink took no more bytes. The host's `write` returns this status.
    pub const SINK_FULL: Self = Self(4);
    /// A Rust plugin panicked; the error text holds the message.
    pub const PANICKED: Self = Self(5);
}

/// Writes a JSON array of descriptors: names, one-line summaries, parameters with defaults, identifiers of weight sets.
/// It builds no network. It may be called from any thread, and from several threads at once.
pub type DescriptorsFn = unsafe extern "C" fn(out: Sink, error: Sink) -> Status;

/// Writes the JSON description of the backbone `name` for `parameters`, a JSON object. Equal arguments give equal output.
/// It may be called from any thread, and from several threads at once.
pub type DescribeFn = unsafe extern "C" fn(name: Str, parameters: Str, out: Sink, error: Sink) -> Status;

/// The type of the reserved slot [`Table::score`].
pub type ScoreFn = unsafe extern "C" fn(name: Str, machine: Str, score: *mut u32) -> Status;

/// Returns the table of an extension such as [`WEIGHTS_EXTENSION`], or null. The plugin owns the table, which lives as long as the
/// process. The function may be called from any thread.
pub type ExtensionFn = unsafe extern "C" fn(id: Str) -> *const c_void;

/// The table to which the entry symbol returns a pointer. It is static, because a library is never unloaded.
///
/// Fields are only ever appended. A reader reads a field only if `size` covers it. An empty slot means "not offered".
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// [`MAGIC`]. Since 1.0.
    pub magic: u64,
    /// Offset of the last field plus its size, at the time when the plugin was compiled. Since 1.0.
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
    /// Reserved. A plugin leaves it empty, and no host calls it. Since 1.0.
    pub score: Option<ScoreFn>,
    /// May be empty. Since 1.0.
    pub extension: Option<ExtensionFn>,
}

/// The entry symbol. It takes no arguments, and returns the same pointer every time, which is never null.
pub type EntryFn = unsafe extern "C" fn() -> *const Table;

/// Writes the bytes of the weight file `id` that the plugin carries. It may be called from any thread.
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
