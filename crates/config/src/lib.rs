//! One TOML file describes an experiment: its keys, their defaults, and all that can be wrong with them.
//!
//! [`Config::load`] reads it, applies each `--set`, and either returns a [`Config`] whose every value is in range, or says
//! all that is wrong with line, caret and suggestion. [`Config::to_toml`] writes it out again with all defaults.
//!
//! Names and defaults are Keras's where Keras has the thing. What only data and backbone can tell (the number of classes,
//! the size of an image) stays `None` until [`Config::complete`].
//!
//! *Architecture invariant:* no file but the experiment's own and those it extends is opened here; whether a folder, a plugin
//! or a layer exists is for others to find out.
//!
//! *Architecture invariant:* there is no Burn here, and nothing is trained, so that a change of the schema compiles in seconds.
//!
//! *Architecture invariant:* config structs have no `Default`. What a file leaves out is filled in by the schema, with the
//! defaults that the types of [`injerto_recipe`], [`injerto_heads`] and [`injerto_data`] state; [`Config::to_toml`] says all
//! of it.

mod augment;
mod callbacks;
mod complete;
mod data;
mod diagnostic;
mod explore;
mod extends;
mod forms;
mod habits;
mod json_schema;
mod kinds;
mod limits;
mod network;
mod optimizer;
mod phases;
mod print;
mod reader;
mod schedule;
mod schema;
mod strategy;
mod sweep;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use std::path::Path;

use diagnostic::{Problems, Source};

pub use complete::Completed;
pub use diagnostic::{ConfigError, Diagnostic};
pub use json_schema::{Key, json_schema, keys};
pub use kinds::{ClassWeights, Device, Initial, InputScale, LearningRates, OnLeak, Precision, Strategy};
pub use sweep::{Axis, Drawn, Listed, MOST_TRIALS, SweepConfig};
pub use values::{
    BackboneConfig, CacheConfig, CheckpointConfig, Config, DataConfig, DistillConfig, GradualConfig, HeadConfig,
    Images, InsightConfig, LossConfig, PhaseConfig, ScratchConfig, TransferGainConfig,
};

impl Config {
    /// The seed of an experiment that names none.
    pub const SEED: u32 = 123;

    /// Reads the file at `path`, with each `KEY.PATH=VALUE` of `sets` written over it.
    ///
    /// # Errors
    /// [`ConfigError`]: a file that cannot be read, or all that is wrong in it.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let text = extends::read(path)?;
        Self::parse(&text, path, sets)
    }

    /// Reads `text`, which messages call `path`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all that is wrong.
    pub fn parse(text: &str, path: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let (files, document) = extends::document(extends::without_mark(text), path, &problems);
        let overrides = sets.iter().map(|set| Source { name: "--set".to_owned(), text: set, is_file: false });
        let sources: Vec<Source<'_>> = files.iter().map(extends::File::source).chain(overrides).collect();
        let read = || {
            let mut document = document?;
            let applied: Vec<Option<()>> =
                sets.iter().enumerate().map(|(i, set)| document.set(files.len() + i, set, &problems)).collect();
            applied.into_iter().collect::<Option<()>>()?;
            schema::experiment(&document, &schema::name_of_file(path), &problems)
        };
        let config = read();
        match (problems.into_error(&sources), config) {
            (None, Some(config)) => Ok(config),
            (Some(error), _) => Err(error),
            (None, None) => unreachable!("what cannot be read leaves a problem behind"),
        }
    }
}
