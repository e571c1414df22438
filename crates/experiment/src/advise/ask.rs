//! The two experiments of an advice: the one whose images and backbone are examined, and the one that is recommended.

use std::path::Path;

use injerto_config::{Config, ConfigError};
use injerto_files::{absolute, from_text, to_text};
use injerto_recipe::{Callbacks, Metric, Mode};
use toml::{Table, Value};

use super::Advice;
use crate::Prepared;

/// Share of the images that a recommended experiment holds out where there are no validation images.
const HELD_OUT: f64 = 0.2;

/// The images, backbone and weights that advice is asked for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Root folder of the images.
    pub root: &'a Path,
    /// Name of the backbone, or path of its plugin's library.
    pub backbone: &'a str,
    /// Id of a weight set, or path of a weight file.
    pub weights: &'a str,
    /// Settings of the experiment in the form `KEY=VALUE`, as `--set` takes them.
    pub sets: &'a [String],
    /// File that the recommended experiment will be written to. The experiment is named after the file.
    pub file: &'a Path,
}

impl Ask<'_> {
    /// The experiment whose images are run through its backbone to score the backbone's layers.
    ///
    /// # Errors
    /// [`ConfigError`] if `sets` names an unknown key or has a value that does not fit.
    pub fn experiment(&self) -> Result<Config, ConfigError> {
        let mut table = self.table();
        // These phases never train. There are as many as the longest strategy has, so that `sets` may name their keys.
        let phase = |_| Value::Table(Table::from_iter([("epochs".to_owned(), Value::Integer(1))]));
        table.insert("phases".to_owned(), (0..2).map(phase).collect::<Vec<_>>().into());
        let mut config = Config::parse(&table.to_string(), self.file, self.sets)?;
        // Nothing is trained, so no callback or monitor may demand validation images: the images need not be split yet.
        config.callbacks = Callbacks::default();
        (config.checkpoint.monitor, config.checkpoint.mode) = (Metric::Loss, Mode::Auto);
        Ok(config)
    }

    /// The experiment that the advice recommends, with every default written out. It can be run from any folder, because
    /// its paths are absolute. Where there are no validation images, it holds 20 % of the images out.
    ///
    /// # Errors
    /// [`ConfigError`] if `sets` does not fit, for example if it names a phase that the recommended strategy does not have.
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
            // With too few images to hold one out, the training loss decides which epoch is the best.
            match (prepared.train.samples.len() as f64 * HELD_OUT).floor() as usize {
                0 => section("checkpoint", "monitor", "loss".into()),
                _ => section("data", "validation_split", HELD_OUT.into()),
            }
        }
        // The strategy's phases are written out first, so that `sets` may change their keys.
        let text = Config::parse(&table.to_string(), self.file, &[])?.to_toml();
        Config::parse(&text, self.file, self.sets)
    }

    fn table(&self) -> Table {
        let path = |path: &Path| to_text(absolute(path).as_os_str()).into_owned();
        // Text that is not the path of a file is a name.
        let name = |text: &str| {
            Some(from_text(text)).filter(|file| file.is_file()).map_or(text.to_owned(), |file| path(&file))
        };
        let data = Table::from_iter([("root".to_owned(), path(self.root).into())]);
        let backbone = [("plugin", self.backbone), ("weights", self.weights)];
        let backbone = Table::from_iter(backbone.map(|(key, value)| (key.to_owned(), name(value).into())));
        Table::from_iter([("data".to_owned(), Value::Table(data)), ("backbone".to_owned(), Value::Table(backbone))])
    }
}
