//! A layer between a program and the file operations of the C library. It counts the operations in one folder, and lets one of them
//! fail.
//!
//! The dynamic linker loads it before everything else (`LD_PRELOAD`), so that the tested program is the same one that users
//! run. Its orders are in the environment:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `INJERTO_FAILING_FOLDER` | the folder in which operations are counted, from 1 on; without it, no operations are counted |
//! | `INJERTO_FAILING_LOG` | a file outside that folder, to which one line per operation is appended: number, name, path |
//! | `INJERTO_FAILING_AT` | the number of the operation that fails; if it is 0 or missing, none fails |
//! | `INJERTO_FAILING_HOW` | how the operation fails, as a name of `orders::How` |
//!
//! Operations that only read (`read`, `stat`) are not counted, but opening a file is.

#![cfg(target_os = "linux")]

mod calls;
mod orders;
mod real;
