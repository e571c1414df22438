//! From a question to the experiment that is looked at, and from the answer to the one that is recommended.

use std::path::Path;

use injerto_config::{Config, ConfigError};
use injerto_files::{absolute, from_text, to_text};
use injerto_recipe::{Callbacks, Metric, Mode};
use toml::{Table, Value};

use super::Advice;
use crate::Prepared;

/// The part of images without a validation folder that a recommended experiment holds out.
const HELD_OUT: f64 = 0.2;

/// What advice is asked about.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// The images.
    pub root: &'a Path,
    /// Name of the backbone, or path of its library.
    pub backbone: &'a str,
    /// A weight set's id, or the path of a file.
    pub weights: &'a str,
    /// Keys of the experiment, as `--set` takes them.
    pub sets: &'a [String],
    /// The file that the recommended experiment goes into; it is called after it.
    pub file: &'a Path,
}

impl Ask<'_> {
    /// The experiment whose images are looked at through its backbone.
    ///
    /// # Errors
    /// Something wrong in `sets`.
    pub fn experiment(&self) -> Result<Config, ConfigError> {
        let mut table = self.table();
        // Never trained: as many as any strategy has, so that `sets` may speak of them.
        let phase = |_| Value::Table(Table::from_iter([("epochs".to_owned(), Value::Integer(1))]));
        table.insert("phases".to_owned(), (0..2).map(phase).collect::<Vec<_>>().into());
        let mut config = Config::parse(&table.to_string(), self.file, self.sets)?;
        // What only training asks for: the images need not be divided yet.
        config.callbacks = Callbacks::default();
        (config.checkpoint.monitor, config.checkpoint.mode) = (Metric::Loss, Mode::Auto);
        Ok(config)
    }

    /// The experiment that the advice recommends, with every default written out. It runs as it stands, from every folder:
    /// paths are absolute, and where there are no validation images, some are held out.
    ///
    /// # Errors
    /// Something wrong in `sets`, such as a phase that the recommended strategy does not have.
    pub fn recommended(&self, prepared: &Prepared, advice: &Advice) -> Result<Config, ConfigError> {
        let mut table = self.table();
        table.insert("strategy".to_owned(), advice.strategy.name().into());
        let mut section = |name: &str, key: &str, value: Value| {
            let section = table.entry(name).or_insert_with(|| Table::new().into());
            section.as_table_mut().expect("a section is a table").insert(key.to_owned(), value);
        };
        if let Some(layer) = &advice.last_layer {
            section("backbone", "last_layer", layer.as_str().into());
        }
        if prepared.validation.is_none() {
            // Of so few that none would be held out, the training images judge.
            match (prepared.train.samples.len() as f64 * HELD_OUT).floor() as usize {
                0 => section("checkpoint", "monitor", "loss".into()),
                _ => section("data", "validation_split", HELD_OUT.into()),
            }
        }
        // Written out first, so that `sets` may speak of the strategy's phases.
        let text = Config::parse(&table.to_string(), self.file, &[])?.to_toml();
        Config::parse(&text, self.file, self.sets)
    }

    fn table(&self) -> Table {
        let path = |path: &Path| to_text(absolute(path).as_os_str()).into_owned();
        // What is no file is a name.
        let name = |text: &str| {
            Some(from_text(text)).filter(|file| file.is_file()).map_or(text.to_owned(), |file| path(&file))
        };
        let data = Table::from_iter([("root".to_owned(), path(self.root).into())]);
        let backbone = [("plugin", self.backbone), ("weights", self.weights)];
        let backbone = Table::from_iter(backbone.map(|(key, value)| (key.to_owned(), name(value).into())));
        Table::from_iter([("data".to_owned(), Value::Table(data)), ("backbone".to_owned(), Value::Table(backbone))])
    }
}
