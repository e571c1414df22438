//! The TOML file that describes an experiment, and the run that it describes.
//!
//! - [`config`]: the schema, its diagnostics, `--set`, and the resolved file.

pub mod config;
