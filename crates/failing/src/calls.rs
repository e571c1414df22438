//! The functions of the C library that this library replaces. Each asks [`step`], and then calls the original function.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::{AT_FDCWD, iovec, mode_t, off64_t, size_t, ssize_t};

use crate::orders::{Step, of_file, resolve, step};
use crate::real::{Open, Write, next};

type Openat = unsafe extern "C" fn(c_int, *const c_char, c_int, mode_t) -> c_int;

fn fail(error: c_int) {
    // SAFETY: the pointer is to `errno` of this thread.
    unsafe { *libc::__errno_location() = error };
}

fn die() -> ! {
    // SAFETY: the process sends itself a signal that cannot be caught.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::hint::spin_loop();
    }
}

/// Does an operation on `path` as the orders say.
fn done(operation: &str, path: &[u8], grows: bool, real: impl FnOnce() -> c_int) -> c_int {
    match step(operation, path, grows) {
        Step::Go | Step::Half => real(),
        Step::Fail(error, _) => {
            fail(error);
            -1
        }
        Step::Kill => die(),
        Step::Torn => {
            real();
            die()
        }
    }
}

/// Writes `length` bytes to a file as the orders say. `real` writes the number of bytes that it is given.
fn written(operation: &str, file: c_int, length: size_t, real: impl Fn(size_t) -> ssize_t) -> ssize_t {
    match step(operation, &of_file(file), true) {
        Step::Go => real(length),
        Step::Half => real(length.div_ceil(2)),
        Step::Fail(error, half) => {
            if half {
                real(length / 2);
            }
            fail(error);
            -1
        }
        Step::Kill => die(),
        Step::Torn => {
            real(length / 2);
            die()
        }
    }
}

// `open` and `openat` have a last argument only if a file may be created. Both of Linux's 64-bit calling conventions pass it in the
// same register whether it is declared or not, and it is not read in the other case.

/// Defines a function that opens.
macro_rules! opens {
    ($($name:ident),*) => {$(
        /// Replaces the function of the C library.
        ///
        /// # Safety
        /// The contract is that of the C library's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            // SAFETY: the type is that of the function, and the arguments of the caller are passed on unchanged.
            let real = || unsafe { next!($name as Open)(path, flags, mode) };
            done("open", &resolve(AT_FDCWD, path), flags & libc::O_CREAT != 0, real)
        }
    )*};
}
opens!(open, open64);

/// Defines a function that opens in a folder.
macro_rules! opens_at {
    ($($name:ident),*) => {$(
        /// Replaces the function of the C library.
        ///
        /// # Safety
        /// The contract is that of the C library's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            // SAFETY: the type is that of the function, and the arguments of the caller are passed on unchanged.
            let real = || unsafe { next!($name as Openat)(folder, path, flags, mode) };
            done("open", &resolve(folder, path), flags & libc::O_CREAT != 0, real)
        }
    )*};
}
opens_at!(openat, openat64);

/// Replaces the function of the C library.
///
/// # Safety
/// The contract is that of the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the type is that of the function, and the arguments of the caller are passed on with a length that is not greater.
    written("write", file, length, |length| unsafe { next!(write as Write)(file, bytes, length) })
}

/// Replaces the function of the C library.
///
/// # Safety
/// The contract is that of the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    type Writev = unsafe extern "C" fn(c_int, *const iovec, c_int) -> ssize_t;
    if count < 1 {
        // SAFETY: the type is that of the function, and the arguments of the caller are passed on unchanged.
        return unsafe { next!(writev as Writev)(file, parts, count) };
    }
    // SAFETY: there is at least one part.
    let first = unsafe { *parts };
    written("write", file, first.iov_len, |length| match length == first.iov_len {
        // SAFETY: the type is that of the function, and the arguments of the caller are passed on unchanged.
        true => unsafe { next!(writev as Writev)(file, parts, count) },
        // SAFETY: the type is that of the function, and the buffer is the beginning of the first part.
        false => unsafe { next!(write as Write)(file, first.iov_base, length) },
    })
}

/// Defines a function that writes at a position.
macro_rules! writes_at {
    ($($name:ident),*) => {$(
        /// Replaces the function of the C library.
        ///
        /// # Safety
        /// The contract is that of the C library's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(file: c_int, bytes: *const c_void, length: size_t, at: off64_t) -> ssize_t {
            type Pwrite = unsafe extern "C" fn(c_int, *const c_void, size_t, off64_t) -> ssize_t;
            // SAFETY: the type is that of the function, and the arguments of the caller are passed on with a length that is not greater.
            written("write", file, length, |length| unsafe { next!($name as Pwrite)(file, bytes, length, at) })
        }
    )*};
}
writes_at!(pwrite, pwrite64);

/// Defines a function on an open file.
macro_rules! of_open_file {
    ($($name:ident, $called:literal, $grows:literal, ($($argument:ident: $type:ty),*);)*) => {$(
        /// Replaces the function of the C library.
        ///
        /// # Safety
        /// The contract is that of the C library's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(file: c_int, $($argument: $type),*) -> c_int {
            // SAFETY: the type is that of the function, and the arguments of the caller are passed on unchanged.
            let real = || unsafe { next!($name as unsafe extern "C" fn(c_int, $($type),*) -> c_int)(file, $($argument),*) };
            done($called, &of_file(file), $grows, real)
        }
    )*};
}
of_open_file! {
    fsync, "fsync", true, ();
    fdatasync, "fsync", true, ();
    ftruncate, "truncate", false, (length: off64_t);
    ftruncate64, "truncate", false, (length: off64_t);
    fallocate, "allocate", true, (mode: c_int, at: off64_t, length: off64_t);
    fallocate64, "allocate", true, (mode: c_int, at: off64_t, length: off64_t);
    fchmod, "chmod", false, (mode: mode_t);
}

/// Defines a function on a path. The first item in the parentheses says where the path is.
macro_rules! of_path {
    ($($name:ident, $called:literal, $grows:literal, [$folder:expr, $path:ident], ($($argument:ident: $type:ty),*);)*) => {$(
        /// Replaces the function of the C library.
        ///
        /// # Safety
        /// The contract is that of the C library's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            // SAFETY: the type is that of the function, and the arguments of the caller are passed on unchanged.
            let real = || unsafe { next!($name as unsafe extern "C" fn($($type),*) -> c_int)($($argument),*) };
            done($called, &resolve($folder, $path), $grows, real)
        }
    )*};
}
of_path! {
    rename, "rename", false, [AT_FDCWD, to], (from: *const c_char, to: *const c_char);
    renameat, "rename", false, [new, to], (old: c_int, from: *const c_char, new: c_int, to: *const c_char);
    renameat2, "rename", false, [new, to], (old: c_int, from: *const c_char, new: c_int, to: *const c_char, flags: c_uint);
    link, "link", true, [AT_FDCWD, to], (from: *const c_char, to: *const c_char);
    linkat, "link", true, [new, to], (old: c_int, from: *const c_char, new: c_int, to: *const c_char, flags: c_int);
    symlink, "link", true, [AT_FDCWD, to], (from: *const c_char, to: *const c_char);
    unlink, "unlink", false, [AT_FDCWD, path], (path: *const c_char);
    unlinkat, "unlink", false, [folder, path], (folder: c_int, path: *const c_char, flags: c_int);
    rmdir, "rmdir", false, [AT_FDCWD, path], (path: *const c_char);
    mkdir, "mkdir", true, [AT_FDCWD, path], (path: *const c_char, mode: mode_t);
    mkdirat, "mkdir", true, [folder, path], (folder: c_int, path: *const c_char, mode: mode_t);
}
