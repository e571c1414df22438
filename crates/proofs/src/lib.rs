//! Tries to break the project, and counts the trials: `cargo xtask prove`.
//!
//! - [`fuzz`]: damaged input for everything that reads;
//! - [`kills`]: runs that are killed, or whose file operations fail, and that are resumed;
//! - [`soak`]: many runs and predictions in one process;
//! - [`example`]: the small experiment that all of them use.
//!
//! Short forms of these run as tests. `docs/reliability.md` says what was tried.

pub mod example;
pub mod fuzz;
pub mod kills;
pub mod soak;
