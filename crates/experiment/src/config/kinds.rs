//! What a key can be chosen from.

use serde::Serialize;

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

/// What can be drawn instead of read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Generated {
    /// Five kinds of flowers on varied backgrounds.
    Flowers,
    /// Ten plain figures, which the shipped backbone learnt from.
    Shapes,
}

impl Generated {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flowers => "flowers",
            Self::Shapes => "shapes",
        }
    }
}

/// What an unreadable image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCorrupt {
    /// The end of the experiment.
    Error,
    /// Left out, counted and listed.
    Skip,
}

/// What is done with a camera's note of which side is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExifOrientation {
    /// Nothing, as in Keras.
    Ignore,
    /// The image is turned.
    Apply,
}

/// A loss by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossName {
    /// Two classes, one unit.
    BinaryCrossentropy,
    /// One unit a class, labels as one-hot rows.
    CategoricalCrossentropy,
    /// One unit a class, labels as indices.
    SparseCategoricalCrossentropy,
}

/// A figure that a checkpoint watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Training loss.
    Loss,
    /// Training accuracy.
    Accuracy,
    /// Validation loss.
    ValLoss,
    /// Validation accuracy.
    ValAccuracy,
}

/// Which direction is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Accuracies are better when larger, losses when smaller.
    Auto,
    /// Larger is better.
    Max,
    /// Smaller is better.
    Min,
}

/// What a batch normalisation that trains does with its moving statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// Uses them as they are, while gamma and beta train: Keras's `base_model(x, training=False)`.
    Frozen,
    /// Normalises by the batch and moves them.
    Update,
}

/// An optimiser with its options.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum OptimizerConfig {
    /// Adam.
    Adam {
        /// Step size.
        learning_rate: f64,
        /// Decay of the mean of gradients.
        beta_1: f64,
        /// Decay of the mean of squared gradients.
        beta_2: f64,
        /// Added to the root of the mean of squared gradients.
        epsilon: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Step size.
        learning_rate: f64,
        /// Share of the weight that each step takes off, times the step size.
        weight_decay: f64,
        /// Decay of the mean of gradients.
        beta_1: f64,
        /// Decay of the mean of squared gradients.
        beta_2: f64,
        /// Added to the root of the mean of squared gradients.
        epsilon: f64,
    },
    /// Gradient descent with momentum.
    Sgd {
        /// Step size.
        learning_rate: f64,
        /// Share of the last step that is added to this one.
        momentum: f64,
        /// Nesterov's look ahead.
        nesterov: bool,
    },
    /// Steps divided by the root of a running mean of squared gradients.
    RmsProp {
        /// Step size.
        learning_rate: f64,
        /// Decay of the mean of squared gradients.
        rho: f64,
        /// Share of the last step that is added to this one.
        momentum: f64,
        /// Added to the mean of squared gradients.
        epsilon: f64,
    },
}

impl OptimizerConfig {
    /// The step size.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adam { learning_rate, .. }
            | Self::AdamW { learning_rate, .. }
            | Self::Sgd { learning_rate, .. }
            | Self::RmsProp { learning_rate, .. } => *learning_rate,
        }
    }
}
