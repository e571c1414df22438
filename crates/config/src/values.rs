//! What an experiment says, as values.

use std::path::{Path, PathBuf};

use injerto_data::augment::{Augmentation, MixOptions};
use injerto_data::decode::Orientation;
use injerto_data::folder::{Grouping, Labels, Layout};
use injerto_data::generated::Task;
use injerto_data::{ClassSampling, OnCorrupt};
use injerto_graph::{Activation, Interpolation, Selection};
use injerto_heads::Body;
use injerto_recipe::{
    BatchNorm, Callbacks, Distillation, FeaturePrecision, LossName, Metric, Mode, OptimizerConfig, Schedule, Swa,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::kinds::{ClassWeights, Device, Initial, InputScale, LearningRates, OnLeak, Precision, Strategy};
use crate::sweep::SweepConfig;

/// An experiment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Names the run's folder; by default the file's name without `.toml`.
    pub name: String,
    /// Seed of the split, the order of images, fresh weights and dropout.
    pub seed: u32,
    /// Where tensors live.
    pub device: Device,
    /// Whether the project's own kernels compute on the CPU; otherwise Burn's operators do, as on every other device.
    pub kernels: bool,
    /// The strategy that filled in what the file left out of backbone, head and phases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// `[data]`: the images.
    pub data: DataConfig,
    /// `[backbone]`: what the head is grafted on.
    pub backbone: BackboneConfig,
    /// `[head]`: what is grafted.
    pub head: HeadConfig,
    /// `[loss]`: what training minimises.
    pub loss: LossConfig,
    /// `[distill]`: the run whose answers are learned from as well as from the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// `[[phases]]`: the parts of the training, one after the other. Never empty; names differ.
    pub phases: Vec<PhaseConfig>,
    /// `[callbacks]`: what watches each phase and steps in.
    #[serde(skip_serializing_if = "no_callbacks")]
    pub callbacks: Callbacks,
    /// `[checkpoint]`: which epoch is kept.
    pub checkpoint: CheckpointConfig,
    /// `[cache]`: whether features of the frozen prefix are kept.
    pub cache: CacheConfig,
    /// `[insight]`: what a run finds out about its images and keeps with the model.
    pub insight: InsightConfig,
    /// `[transfer_gain]`: whether the experiment also compares with training from scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_gain: Option<TransferGainConfig>,
    /// `[sweep]`: which experiments `injerto sweep` tries. A training does not read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepConfig>,
}

/// Paths as an experiment's file has them: what is not UTF-8 is written `\xNN`.
fn paths<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| injerto_files::to_text(path.as_os_str())))
}

/// A path as an experiment's file has it.
fn path<S: serde::Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| injerto_files::to_text(path.as_os_str())).serialize(serializer)
}

/// A path as an experiment's file has it.
fn one_path<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    injerto_files::to_text(path.as_os_str()).serialize(serializer)
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
    /// Address of an archive (zip, tar, tar with gzip) that is fetched if none of the folders exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-256 of this archive in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Height and width that images are resized to; `None`: the backbone's own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<[usize; 2]>,
    /// Images per step.
    pub batch_size: usize,
    /// The share of the training images that is held out where there are no validation images, between 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<f64>,
    /// The share of the training images that is kept for the test after training, between 0 and 1; with `validation_split` below
    /// 1 together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_split: Option<f64>,
    /// Whether a split divides each class evenly.
    pub stratify: bool,
    /// The rule that says which images belong together, so that a split and a cross-validation never divide them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Grouping>,
    /// A list like a run's `split.csv` that says of each image whether it trains, validates or tests.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "path")]
    pub split: Option<PathBuf>,
    /// How the sub-folders of the root are read; `None`: by their names and contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Where the class of each image is stated, if it is not the folder that the image lies in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Whether an image may have several classes, or none; `None`: the lists of `labels` show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_label: Option<bool>,
    /// Whether images are cut to the aspect ratio of `image_size` instead of being distorted.
    pub crop_to_aspect_ratio: bool,
    /// How images are resized; `None`: as the backbone was trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// Whether an unreadable image is an error or is skipped.
    pub on_corrupt: OnCorrupt,
    /// What is done about photos that are on two sides of the split, or in two classes.
    pub on_leak: OnLeak,
    /// Whether images are turned as the camera's EXIF orientation says.
    pub exif_orientation: Orientation,
    /// Whether photos of at least four times the network's size are reduced to a quarter or an eighth, each pixel the mean of a square,
    /// before they are resized. This gives other pixels and saves no time.
    pub scaled_decoding: bool,
    /// Whether training images come in a new order in each epoch.
    pub shuffle: bool,
    /// How often the images of each class come in an epoch.
    pub sampling: ClassSampling,
    /// Random changes of training images, one after the other, with the names and options of Keras's layers.
    ///
    /// They come before the network, so that a frozen prefix sees another image in each epoch: its features are either those
    /// of `cached_views` fixed views, or not cached at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augmentation>,
    /// Alpha of mixup, at least 0; 0 switches it off. Features of mixed images are never cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixup: Option<f64>,
    /// Alpha of cutmix, with the same range as `mixup`. With both, a coin decides for each batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutmix: Option<f64>,
    /// How many augmented views of each image the feature cache holds, of which each epoch takes one; `None`: the prefix
    /// runs on fresh views in every epoch. Only with `augment`, and without `mixup` and `cutmix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_views: Option<usize>,
}

/// Where images come from: `root`, `generated`, or `features`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Images {
    /// Folders.
    Folder {
        /// Folders, relative to the current one, of which the first that exists is taken. Empty only where there is a `url`.
        #[serde(serialize_with = "paths", skip_serializing_if = "Vec::is_empty")]
        root: Vec<PathBuf>,
    },
    /// Drawn by this project.
    Drawn {
        /// What is drawn.
        generated: Task,
        /// Training images of each class.
        train_per_class: usize,
        /// Validation images of each class.
        validation_per_class: usize,
    },
    /// Photos of which only the features are kept, in files that `injerto features` has written.
    Features {
        /// Folders of the files.
        #[serde(serialize_with = "paths")]
        features: Vec<PathBuf>,
    },
}

/// `[backbone]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackboneConfig {
    /// Name of a backbone, or path of its library.
    pub plugin: String,
    /// A weight set's id, `none` for random weights, or the path of a file.
    pub weights: String,
    /// Parameters for the plugin, which says which ones it has. `input_shape` is not among them: it is `data.image_size`.
    pub parameters: Map<String, Value>,
    /// The last layer that is kept: the layers after it are cut off, and the head is grafted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_layer: Option<String>,
    /// How pixels are scaled, for weights that were trained on other pixels than the backbone says; `None`: as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<InputScale>,
    /// The number format in which the CPU computes the network during training.
    pub precision: Precision,
}

/// `[head]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadConfig {
    /// The layers before the output layer.
    #[serde(flatten)]
    pub body: Body,
    /// Outputs; `None`: what the loss needs for the classes found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// One of sigmoid, softmax and linear; `None`: what the loss needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// The weights that the output layer starts from.
    pub initial: Initial,
}

/// `[loss]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LossConfig {
    /// Name of the loss; `None`: the one that suits the classes and the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<LossName>,
    /// Whether outputs are logits, not probabilities.
    pub from_logits: bool,
    /// Share of each label that is spread evenly over all classes, from 0 to below 1; 0 for the sparse loss.
    pub label_smoothing: f64,
    /// Power of a focal loss; `None` for other losses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Weight of class 1 in the binary focal loss, factor of the categorical one; `None` where neither uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Whether the binary focal loss uses `alpha`; `None` for other losses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_class_balancing: Option<bool>,
    /// Weight per class, which multiplies the loss of a training image; `None` means 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

/// An entry of `[[phases]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseConfig {
    /// Name, which is shown in progress, history and curves.
    pub name: String,
    /// Passes over the training images, at least 1.
    pub epochs: usize,
    /// Which layers of the backbone train; the head always does.
    pub unfreeze: Selection,
    /// What unfrozen batch normalisations do with their running statistics.
    pub batch_norm: BatchNorm,
    /// The optimiser; each phase begins with a fresh one.
    pub optimizer: OptimizerConfig,
    /// How the learning rate moves from step to step.
    #[serde(skip_serializing_if = "Schedule::is_constant")]
    pub schedule: Schedule,
    /// Factors of the learning rate of some layers.
    #[serde(skip_serializing_if = "LearningRates::is_empty")]
    pub learning_rates: LearningRates,
    /// If given, epochs are judged and kept by a mean of the weights of several epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swa: Option<Swa>,
    /// If given, layers are unfrozen stage by stage instead of all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradual: Option<GradualConfig>,
}

/// `gradual` of a phase: the layers that `unfreeze` names are divided into as many groups as there are stages, with equally
/// many layers with weights in each. The first stage trains the last group (with the head), each further stage one more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GradualConfig {
    /// Number of stages, at least 2.
    pub stages: usize,
    /// Epochs per stage; the last stage has all that remain of the phase's `epochs`.
    pub epochs_per_stage: usize,
    /// Factor of the learning rate from each stage to the next.
    pub factor: f64,
}

/// `[checkpoint]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointConfig {
    /// The figure that makes an epoch the best.
    pub monitor: Metric,
    /// Whether larger or smaller values are better.
    pub mode: Mode,
    /// Whether only the best epoch's checkpoint is kept.
    pub save_best_only: bool,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheConfig {
    /// Whether features are kept in the user's cache folder.
    pub keep: bool,
    /// Number type of the features.
    pub precision: FeaturePrecision,
    /// MiB up to which the features of one set of images are held in memory; beyond it they are read from the folder.
    pub memory_mb: usize,
    /// MiB of decoded and resized images that are held in memory, for epochs that look at the photos again.
    pub images_mb: usize,
    /// MiB of decoded photos that all runs together keep in the user's cache folder, for epochs that look at the photos again; 0 keeps
    /// none.
    pub photos_mb: usize,
}

/// `[insight]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InsightConfig {
    /// Whether a logistic regression is fitted to the kept features, to say which accuracy they allow.
    pub probe: bool,
    /// Whether the probe also says what more photos would bring: it is then fitted to growing parts of the training images.
    pub more_photos: bool,
    /// Whether the run ends by keeping with the model what it knows about its images: features of the training images, the distance from
    /// which on an image is unknown, and how probabilities are calibrated.
    pub knowledge: bool,
}

/// `[distill]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DistillConfig {
    /// Folder of the run that teaches, or its checkpoint.
    #[serde(serialize_with = "one_path")]
    pub teacher: PathBuf,
    /// How much the teacher's answers count, and the temperature.
    #[serde(flatten)]
    pub distillation: Distillation,
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
    /// Learning rate; by default the first phase's.
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
}
