//! What tries to break the project, and says how often it tried: `cargo xtask prove`.
//!
//! - [`fuzz`]: damaged input for everything that reads;
//! - [`kills`]: runs that are killed, or whose file operations fail, and go on;
//! - [`soak`]: many runs and predictions in one process;
//! - [`example`]: the small experiment that all of them use.
//!
//! Each has a short form among the tests. See `docs/reliability.md` for what was tried.

pub mod example;
pub mod fuzz;
pub mod kills;
pub mod soak;
