//! The functions of the C library that this library hides, and the log, which is written with them.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use libc::{mode_t, size_t, ssize_t};

/// The address of the next function of this name, after that of this library.
pub fn address(found: &OnceLock<usize>, name: &CStr) -> usize {
    // SAFETY: the name ends with a zero byte.
    let address = *found.get_or_init(|| unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize);
    assert!(address != 0, "the C library has no {name:?}");
    address
}

/// The function of the C library with this name, which this library hides. The type must be the one that the manual states.
macro_rules! next {
    ($name:ident as $type:ty) => {{
        static FOUND: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
        let name = std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes());
        std::mem::transmute::<usize, $type>($crate::real::address(&FOUND, name.unwrap_or_default()))
    }};
}
pub(crate) use next;

pub type Open = unsafe extern "C" fn(*const c_char, c_int, mode_t) -> c_int;
pub type Write = unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t;

/// Opens the log.
pub fn append(path: &CStr) -> c_int {
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC;
    // SAFETY: `Open` is the type of the function, and the path ends with a zero byte.
    unsafe { next!(open64 as Open)(path.as_ptr(), flags, 0o644) }
}

/// Appends a line to the log.
pub fn write_log(file: c_int, line: &[u8]) {
    // SAFETY: `Write` is the type of the function, and the buffer is that of the line.
    unsafe { next!(write as Write)(file, line.as_ptr().cast(), line.len()) };
}
