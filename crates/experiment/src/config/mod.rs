//! One TOML file describes an experiment.
//!
//! [`Config::load`] reads it, applies each `--set`, and either returns a [`Config`] whose every value is in range, or says
//! all that is wrong with line, caret and suggestion. [`Config::to_toml`] writes it out again with all defaults.
//!
//! Names and defaults are Keras's where Keras has the thing. What only data and backbone can tell (the number of classes,
//! the size of an image) stays `None` until [`Config::complete`].
//!
//! *Architecture invariant:* no file but the experiment's own and those it extends is opened here; whether a folder, a plugin or a layer exists is
//! for others to find out.

mod augment;
mod cache;
mod diagnostic;
mod extends;
mod kinds;
mod reader;
mod schema;
mod strategy;
#[cfg(test)]
mod tests;
mod training;
mod tree;

use std::path::{Path, PathBuf};

use injerto_data::augment::{Augmentation, MixOptions};
use injerto_graph::{Activation, Interpolation, Selection};
use injerto_heads::{Head, Hidden, Pooling};
use injerto_losses::{Loss, OutputActivation};
use serde::Serialize;
use serde_json::{Map, Value};

use diagnostic::{Problems, Source};

pub use cache::CacheConfig;
pub use diagnostic::{ConfigError, Diagnostic};
pub use injerto_data::OnCorrupt;
pub use injerto_data::decode::Orientation;
pub use injerto_data::folder::Layout;
pub use injerto_trainer::BatchNorm;
pub use injerto_trainer::callbacks::{Callbacks, EarlyStopping, ReduceOnPlateau};
pub use injerto_trainer::history::{Metric, Mode};
pub use injerto_trainer::optimizer::OptimizerConfig;
pub use injerto_trainer::schedule::Schedule;
pub use kinds::{ClassWeights, Device, Generated, InputScale, LearningRates, LossName};
pub(crate) use schema::INPUT_SCALES;
pub use strategy::Strategy;

/// An experiment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Names the run's folder; by default the file's name without `.toml`.
    pub name: String,
    /// Of the split, the order of images, fresh weights and dropout.
    pub seed: u32,
    /// Where tensors live.
    pub device: Device,
    /// Compute on the CPU with the project's own kernels; `false`: with Burn's operators, as on every other device.
    pub kernels: bool,
    /// What the file left out of backbone, head and phases was filled in by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// `[data]`: the images.
    pub data: DataConfig,
    /// `[backbone]`: what the head is grafted on.
    pub backbone: BackboneConfig,
    /// `[head]`: what is grafted.
    pub head: HeadConfig,
    /// `[loss]`: what training makes small.
    pub loss: LossConfig,
    /// `[[phases]]`: stretches of training, one after the other. Never empty; names differ.
    pub phases: Vec<PhaseConfig>,
    /// `[callbacks]`: what watches each phase and steps in.
    #[serde(skip_serializing_if = "no_callbacks")]
    pub callbacks: Callbacks,
    /// `[checkpoint]`: which epoch is kept.
    pub checkpoint: CheckpointConfig,
    /// `[cache]`: whether features of the frozen prefix are kept.
    pub cache: CacheConfig,
    /// `[transfer_gain]`: whether the experiment also compares with training from scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_gain: Option<TransferGainConfig>,
}

/// Paths as an experiment's file has them: what is not UTF-8 is written `\xNN`.
fn paths<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| injerto_files::to_text(path.as_os_str())))
}

fn no_callbacks(callbacks: &Callbacks) -> bool {
    *callbacks == Callbacks::default()
}

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataConfig {
    /// Where images come from.
    #[serde(flatten)]
    pub images: Images,
    /// Height and width that images are resized to; `None`: the backbone's own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<[usize; 2]>,
    /// Images a step.
    pub batch_size: usize,
    /// The part that is held out of the training images where there are no validation images, between 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<f64>,
    /// What the sub-folders of the root are; `None`: whatever their names and what is in them say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Cut images to the aspect ratio of `image_size` instead of distorting them.
    pub crop_to_aspect_ratio: bool,
    /// How images are resized; `None`: as the backbone was trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// What an unreadable image is.
    pub on_corrupt: OnCorrupt,
    /// What is done with a camera's note of which side is up.
    pub exif_orientation: Orientation,
    /// Whether JPEGs of at least four times the network's size are decoded at a quarter or an eighth of theirs, which is
    /// faster and gives other pixels.
    pub scaled_decoding: bool,
    /// Whether training images come in a new order each epoch.
    pub shuffle: bool,
    /// Random changes of training images, one after the other, with the names and options of Keras's layers.
    ///
    /// They come before the network, so that a frozen prefix sees another image each epoch: its features are either
    /// those of `cached_views` fixed views, or not cached at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augmentation>,
    /// Alpha of mixup, at least 0, which is off. Features of mixed images are never cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixup: Option<f64>,
    /// Alpha of cutmix, as `mixup`. With both, a coin decides for each batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutmix: Option<f64>,
    /// How many augmented views of each image the feature cache holds, of which each epoch takes one; `None`: the prefix
    /// runs on fresh ones every epoch. Only with `augment`, and without `mixup` and `cutmix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_views: Option<usize>,
}

/// Where images come from: `root`, or `generated`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Images {
    /// Folders.
    Folder {
        /// The first that exists is taken; relative to the current folder. Never empty.
        #[serde(serialize_with = "paths")]
        root: Vec<PathBuf>,
    },
    /// Drawn by this project.
    Drawn {
        /// What is drawn.
        generated: Generated,
        /// Training images of each class.
        train_per_class: usize,
        /// Validation images of each class.
        validation_per_class: usize,
    },
}

/// `[backbone]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackboneConfig {
    /// Name of a plugin, or path of its library.
    pub plugin: String,
    /// A weight set's id, `none` for random weights, or the path of a file.
    pub weights: String,
    /// Handed to the plugin, which says which there are. Without `input_shape`, which is `data.image_size`.
    pub parameters: Map<String, Value>,
    /// The last layer that is kept: what stands behind it is cut off, the head is grafted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_layer: Option<String>,
    /// How pixels become its input, for weights that were trained otherwise than the backbone says; `None`: as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<InputScale>,
}

/// `[head]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadConfig {
    /// How an image of features becomes a vector.
    pub pooling: Pooling,
    /// Whether a batch normalisation stands behind the pooling; it always uses the batch's statistics in training.
    pub batch_norm: bool,
    /// Hidden layers.
    pub dense: Vec<Hidden>,
    /// Fraction dropped in front of the output layer, from 0 to below 1.
    pub dropout: f64,
    /// Outputs; `None`: what the loss needs for the classes found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// One of sigmoid, softmax and linear; `None`: what the loss needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// `[loss]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LossConfig {
    /// Which; `None`: what the classes found and the head ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<LossName>,
    /// Outputs are logits, not probabilities.
    pub from_logits: bool,
    /// How far labels are moved towards uniform, from 0 to below 1; 0 for the sparse loss.
    pub label_smoothing: f64,
    /// What the loss of a training image of each class is multiplied by; `None`: by 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

/// An entry of `[[phases]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseConfig {
    /// Shown in progress, history and curves.
    pub name: String,
    /// Passes over the training images, at least 1.
    pub epochs: usize,
    /// Which layers of the backbone train; the head always does.
    pub unfreeze: Selection,
    /// What unfrozen batch normalisations do with their statistics.
    pub batch_norm: BatchNorm,
    /// A fresh one for each phase.
    pub optimizer: OptimizerConfig,
    /// How its learning rate moves from step to step.
    #[serde(skip_serializing_if = "Schedule::is_constant")]
    pub schedule: Schedule,
    /// What the learning rate of some layers is multiplied by.
    #[serde(skip_serializing_if = "LearningRates::is_empty")]
    pub learning_rates: LearningRates,
    /// Unfreezes step by step instead of all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradual: Option<GradualConfig>,
}

/// `gradual` of a phase: the layers that `unfreeze` names are parted into as many groups as there are stages, equally many
/// layers with weights in each. The first stage trains the last group (with the head), each further stage one more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GradualConfig {
    /// How many steps, at least 2.
    pub stages: usize,
    /// Epochs of each stage; the last has all that remain of the phase's `epochs`.
    pub epochs_per_stage: usize,
    /// What the learning rate is multiplied by from stage to stage.
    pub factor: f64,
}

/// `[checkpoint]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointConfig {
    /// The figure that makes an epoch the best.
    pub monitor: Metric,
    /// Which direction is better.
    pub mode: Mode,
    /// Whether only the best epoch's checkpoint is kept.
    pub save_best_only: bool,
}

/// `[transfer_gain]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TransferGainConfig {
    /// Seeds that the comparison is averaged over. Never empty; they differ.
    pub seeds: Vec<u32>,
    /// How the same network is trained from random weights, for as many epochs as all phases have.
    pub scratch: ScratchConfig,
}

/// `transfer_gain.scratch`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScratchConfig {
    /// Step size; by default the first phase's.
    pub learning_rate: f64,
}

impl DataConfig {
    /// How the images of a batch are mixed.
    pub fn mix(&self) -> MixOptions {
        MixOptions { mixup: self.mixup.unwrap_or(0.0), cutmix: self.cutmix.unwrap_or(0.0) }
    }
}

impl Config {
    /// Whether the project's kernels compute, instead of Burn's operators.
    pub fn uses_kernels(&self) -> bool {
        self.kernels && self.device.has_kernels()
    }

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

    /// The experiment as TOML with every default written out. [`Config::parse`] reads the same experiment from it.
    pub fn to_toml(&self) -> String {
        let table = toml::Table::try_from(self).expect("an experiment is plain data with names for keys");
        // Two levels of headers, then values in one line each, as one writes it by hand.
        let lines =
            |table: &toml::Table| table.iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>();
        let (mut top, mut sections) = (String::new(), String::new());
        for (key, value) in &table {
            match value {
                toml::Value::Table(table) => sections += &format!("\n[{key}]\n{}", lines(table)),
                toml::Value::Array(items) => {
                    for table in items.iter().filter_map(toml::Value::as_table) {
                        sections += &format!("\n[[{key}]]\n{}", lines(table));
                    }
                }
                value => top += &format!("{key} = {value}\n"),
            }
        }
        top + &sections
    }

    /// Fills in what the file left to the data and the backbone: `image_size` and `interpolation` are the backbone's, and
    /// the loss, the units and the activation of the output follow from the number of classes.
    ///
    /// Two classes mean one sigmoid unit and binary cross-entropy, unless the head asks for softmax or another number of
    /// units; everything else means one softmax unit a class and sparse categorical cross-entropy (categorical with label
    /// smoothing, which the sparse one does not have). With `from_logits` the output is linear. What the file says is never
    /// changed, even if it does not fit: that is for the loss to refuse.
    pub fn complete(&mut self, classes: usize, image_size: [usize; 2], interpolation: Interpolation) {
        self.data.image_size.get_or_insert(image_size);
        self.data.interpolation.get_or_insert(interpolation);
        let one_unit = self.head.units.unwrap_or(1) == 1 && self.head.activation != Some(Activation::Softmax);
        let loss = *self.loss.name.get_or_insert(match (classes, one_unit) {
            (..=2, true) => LossName::BinaryCrossentropy,
            _ if self.loss.label_smoothing > 0.0 => LossName::CategoricalCrossentropy,
            _ => LossName::SparseCategoricalCrossentropy,
        });
        let binary = loss == LossName::BinaryCrossentropy;
        self.head.units.get_or_insert(if binary && classes == 2 { 1 } else { classes });
        self.head.activation.get_or_insert(match (self.loss.from_logits, binary) {
            (true, _) => Activation::Linear,
            (false, true) => Activation::Sigmoid,
            (false, false) => Activation::Softmax,
        });
    }
}

impl HeadConfig {
    /// The head, once [`Config::complete`] has said what it ends in.
    pub fn head(&self) -> Option<Head> {
        let Self { pooling, batch_norm, dense, dropout, units, activation } = self.clone();
        Some(Head { pooling, batch_norm, dense, dropout, units: units?, activation: activation? })
    }

    /// What its outputs are, for the loss to check, once [`Config::complete`] has said it.
    pub fn output(&self) -> Option<OutputActivation> {
        match self.activation? {
            Activation::Sigmoid => Some(OutputActivation::Sigmoid),
            Activation::Softmax => Some(OutputActivation::Softmax),
            Activation::Linear => Some(OutputActivation::Linear),
            _ => None,
        }
    }
}

impl LossConfig {
    /// The loss, once [`Config::complete`] has said which.
    pub fn loss(&self) -> Option<Loss> {
        let (from_logits, label_smoothing) = (self.from_logits, self.label_smoothing);
        Some(match self.name? {
            LossName::BinaryCrossentropy => Loss::BinaryCrossentropy { from_logits, label_smoothing },
            LossName::CategoricalCrossentropy => Loss::CategoricalCrossentropy { from_logits, label_smoothing },
            LossName::SparseCategoricalCrossentropy => Loss::SparseCategoricalCrossentropy { from_logits },
        })
    }
}
