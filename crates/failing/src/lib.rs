//! A layer between a program and the C library's file operations: it counts those in one folder, and fails one on order.
//!
//! It is loaded by the dynamic linker before everything else (`LD_PRELOAD`), so that the program under test is the very one
//! that users run. Its orders are in the environment:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `INJERTO_FAILING_FOLDER` | operations in this folder are counted, from 1 on; without it nothing is |
//! | `INJERTO_FAILING_LOG` | a file, outside that folder, to which a line for each operation is appended: number, name, path |
//! | `INJERTO_FAILING_AT` | the number of the operation that fails; 0 or nothing for none |
//! | `INJERTO_FAILING_HOW` | how it fails, a name of `orders::How` |
//!
//! What only reads (`read`, `stat`) is not counted, but opening is.

#![cfg(target_os = "linux")]

mod calls;
mod orders;
