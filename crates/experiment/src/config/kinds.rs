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

impl Device {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }
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
