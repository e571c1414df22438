//! The orders: which operation fails, and how.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::real;

/// How an operation fails. The comments give the names in the environment.
#[derive(Clone, Copy)]
pub enum How {
    /// `ENOSPC`, `EACCES`, `EIO`: only this operation returns the error.
    Error(c_int),
    /// `full`: from here on no file can be created or written. Of this write, the first half arrives.
    Full,
    /// `short`: the first half of this write arrives, and the operation says so. This is not a failure; the program must write the rest.
    Short,
    /// `kill`: the process is killed before the operation.
    Kill,
    /// `torn`: the process is killed after the operation, or after the first half of a write.
    Torn,
}

impl How {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "ENOSPC" => Self::Error(libc::ENOSPC),
            "EACCES" => Self::Error(libc::EACCES),
            "EIO" => Self::Error(libc::EIO),
            "full" => Self::Full,
            "short" => Self::Short,
            "kill" => Self::Kill,
            "torn" => Self::Torn,
            _ => return None,
        })
    }
}

/// The orders in the environment.
struct Orders {
    folder: Vec<u8>,
    at: usize,
    how: How,
    log: Option<c_int>,
}

/// Number of operations so far.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The orders; `None` if no operations are counted.
fn orders() -> Option<&'static Orders> {
    static ORDERS: OnceLock<Option<Orders>> = OnceLock::new();
    let read = || {
        let folder = std::env::var_os("INJERTO_FAILING_FOLDER")?.into_vec();
        let text = |name| std::env::var(name).unwrap_or_default();
        let log = std::env::var_os("INJERTO_FAILING_LOG").and_then(|path| CString::new(path.into_vec()).ok());
        let log = log.map(|path| real::append(&path)).filter(|&file| file >= 0);
        let at = text("INJERTO_FAILING_AT").parse().unwrap_or(0);
        Some(Orders { folder, at, how: How::of(&text("INJERTO_FAILING_HOW")).unwrap_or(How::Kill), log })
    };
    ORDERS.get_or_init(read).as_ref()
}

/// The action of an operation.
pub enum Step {
    /// Do the operation.
    Go,
    /// Return this error; if `true`, a write first does half of its work.
    Fail(c_int, bool),
    /// Write only the first half.
    Half,
    /// End the process before the operation.
    Kill,
    /// End the process after the operation, or after half of a write.
    Torn,
}

/// Counts an operation on `path`, and returns what it must do. `grows` is true for operations that a full disk refuses.
pub fn step(operation: &str, path: &[u8], grows: bool) -> Step {
    let Some(orders) = orders() else { return Step::Go };
    let inside = path.strip_prefix(&orders.folder[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    if !inside {
        return Step::Go;
    }
    let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(log) = orders.log {
        let line = [format!("{number}\t{operation}\t").as_bytes(), path, b"\n"].concat();
        real::write_log(log, &line);
    }
    match orders.how {
        How::Full if orders.at != 0 && number >= orders.at && grows => Step::Fail(libc::ENOSPC, number == orders.at),
        _ if number != orders.at => Step::Go,
        How::Error(error) => Step::Fail(error, false),
        How::Full => Step::Go,
        How::Short => Step::Half,
        How::Kill => Step::Kill,
        How::Torn => Step::Torn,
    }
}

/// Makes a path absolute, if it is relative to `folder`.
pub fn resolve(folder: c_int, path: *const c_char) -> Vec<u8> {
    if path.is_null() {
        return Vec::new();
    }
    // SAFETY: callers of the C library pass a string that is not null and ends with a zero byte.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    if path.first() == Some(&b'/') {
        return path.to_vec();
    }
    let mut whole = if folder == libc::AT_FDCWD { link(c"/proc/self/cwd") } else { of_file(folder) };
    whole.push(b'/');
    whole.extend(path);
    whole
}

/// The path of an open file.
pub fn of_file(file: c_int) -> Vec<u8> {
    CString::new(format!("/proc/self/fd/{file}")).map(|name| link(&name)).unwrap_or_default()
}

/// The target of a link.
fn link(name: &CStr) -> Vec<u8> {
    let mut target = vec![0_u8; 4096];
    // SAFETY: the name ends with a zero byte, and as many bytes may be written as the buffer has.
    let length = unsafe { libc::readlink(name.as_ptr(), target.as_mut_ptr().cast(), target.len()) };
    target.truncate(usize::try_from(length).unwrap_or(0));
    target
}
