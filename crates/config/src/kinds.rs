//! The values that some keys can have.

use std::collections::BTreeMap;

use injerto_graph::Preprocessing;
use serde::{Serialize, Serializer};

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The CPU, in pure Rust.
    Flex,
    /// A GPU through Vulkan, Metal or DirectX.
    Wgpu,
    /// An NVIDIA GPU through CUDA.
    Cuda,
}

impl Device {
    /// Whether the project's own kernels run there.
    pub fn has_kernels(self) -> bool {
        self == Self::Flex
    }

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }
}

/// What is done about photos that are on two sides of the split, or in two classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLeak {
    /// They are reported, and training begins.
    Warn,
    /// They are reported, and nothing is trained.
    Error,
    /// Copies of a photo that are on two sides are moved to one side before training.
    Move,
    /// They are not looked for.
    Off,
}

impl OnLeak {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Warn, Self::Error, Self::Move, Self::Off];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Move => "move",
            Self::Off => "off",
        }
    }
}

/// The number format in which a network is computed during training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bf16 with sums in single precision: on the CPU where the processor has a unit for it, on a GPU for frozen layers.
    Bf16,
    /// IEEE's half precision, on a GPU for frozen layers.
    F16,
    /// bf16 where it is faster on this CPU; single precision on a GPU.
    Auto,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::F16, Self::Auto];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Auto => "auto",
        }
    }
}

/// The weights that the output layer starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Initial {
    /// Random weights, as in Keras.
    #[default]
    Random,
    /// Those of the probe, the logistic regression that is fitted before the first epoch.
    Probe,
}

impl Initial {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Random, Self::Probe];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Probe => "probe",
        }
    }
}

/// How pixels become a network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputScale {
    /// `x / 127.5 - 1`.
    MinusOneToOne,
    /// `x / 255`.
    ZeroToOne,
    /// `x / 255`, then ImageNet's mean is subtracted and its standard deviation divided by.
    Imagenet,
    /// Channels in the order blue, green, red, with ImageNet's mean subtracted.
    Caffe,
    /// Pixels as they are.
    None,
}

impl InputScale {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::MinusOneToOne, Self::ZeroToOne, Self::Imagenet, Self::Caffe, Self::None];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MinusOneToOne => "minus_one_to_one",
            Self::ZeroToOne => "zero_to_one",
            Self::Imagenet => "imagenet",
            Self::Caffe => "caffe",
            Self::None => "none",
        }
    }

    /// The same in numbers.
    pub fn preprocessing(self) -> Preprocessing {
        match self {
            Self::MinusOneToOne => Preprocessing::minus_one_to_one(),
            Self::ZeroToOne => Preprocessing::zero_to_one(),
            Self::Imagenet => Preprocessing::imagenet(),
            Self::Caffe => Preprocessing::caffe(),
            Self::None => Preprocessing::none(),
        }
    }
}

/// Factors of the loss of each class.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeights {
    /// All classes count the same, however many images each has.
    Balanced,
    /// A weight for each class that is named; 1 for the others.
    Table(BTreeMap<String, f64>),
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => "balanced".serialize(serializer),
            Self::Table(weights) => weights.serialize(serializer),
        }
    }
}

/// Factors of the learning rate of layers, in the order of the file. A key is a pattern of the backbone's layer names, or
/// `head`. The last pattern that matches a layer decides; a layer that none matches has the factor 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LearningRates(pub Vec<(String, f64)>);

impl LearningRates {
    /// The key that stands for all layers of the head.
    pub const HEAD: &str = "head";

    /// Whether every layer learns at the same rate.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for LearningRates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pattern, multiplier)| (pattern, multiplier)))
    }
}

/// How much of the backbone is kept, and how much of it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// For much data that is like the source's: a new head trains first, then the whole network, starting from the pre-trained weights.
    RetrainAll,
    /// For little data that is like the source's: the backbone is frozen, and new dense layers train.
    FeatureExtractor,
    /// For little data that is unlike the source's: only the layers up to `backbone.last_layer` are kept, and frozen; new
    /// dense layers train.
    EarlyLayers,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RetrainAll, Self::FeatureExtractor, Self::EarlyLayers];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RetrainAll => "retrain-all",
            Self::FeatureExtractor => "feature-extractor",
            Self::EarlyLayers => "early-layers",
        }
    }
}
