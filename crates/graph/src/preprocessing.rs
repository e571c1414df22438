use serde::{Deserialize, Deserializer, Serialize, de};

use crate::GraphError;

/// How an RGB image with values from 0 to 255 becomes input: `(x * scale - mean) / std`, per channel.
///
/// Means and standard deviations are in the order of `channel_order`. A preprocessing that was read from JSON has passed
/// [`Preprocessing::check`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(remote = "Self")]
pub struct Preprocessing {
    /// Factor that is applied first, such as 1/255.
    pub scale: f64,
    /// Value per channel that is subtracted.
    pub mean: [f64; 3],
    /// Value per channel that divides. Files call it `deviation`, and may call it `std`.
    #[serde(rename = "deviation", alias = "std")]
    pub std: [f64; 3],
    /// Order of the input's channels.
    #[serde(default)]
    pub channel_order: ChannelOrder,
    /// How images are resized for the network.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// The central crop with which the published accuracy was measured: the side of a square, as a share of the photo's shorter
    /// side, that is cut out before resizing. Only evaluation on ImageNet's classes reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<f64>,
}

impl Serialize for Preprocessing {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Preprocessing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Self::deserialize(deserializer)?;
        read.check().map_err(de::Error::custom)?;
        Ok(read)
    }
}

impl Preprocessing {
    /// Checks that the image is not lost: in single precision, every factor and summand must be finite, and no factor may be zero.
    ///
    /// # Errors
    /// [`GraphError::Preprocessing`], which names the number.
    pub fn check(&self) -> Result<(), GraphError> {
        let fail = |reason: String| Err(GraphError::Preprocessing { reason });
        if !self.scale.is_finite() || self.scale == 0.0 {
            return fail(format!("scale must be finite and not 0, not {}", self.scale));
        }
        for (mean, std) in self.mean.iter().zip(&self.std) {
            if !(std.is_finite() && *std > 0.0) {
                return fail(format!("each deviation must be finite and greater than 0, not {std}"));
            }
            let (factor, summand) = ((self.scale / std) as f32, (mean / std) as f32);
            if !(factor.is_finite() && factor != 0.0 && summand.is_finite()) {
                return fail(format!("mean {mean} and deviation {std} lose the image in single precision"));
            }
        }
        match self.crop {
            Some(crop) if !(crop > 0.0 && crop <= 1.0) => {
                fail(format!("crop must be above 0.0 and at most 1.0, not {crop}"))
            }
            _ => Ok(()),
        }
    }

    /// `x / 127.5 - 1`, which is Keras's mode `tf`.
    pub fn minus_one_to_one() -> Self {
        Self::new(1.0 / 127.5, [1.0; 3], [1.0; 3])
    }

    /// `x / 255`.
    pub fn zero_to_one() -> Self {
        Self::new(1.0 / 255.0, [0.0; 3], [1.0; 3])
    }

    /// `(x / 255 - mean) / std` with ImageNet's statistics, as in torchvision and in Keras's mode `torch`.
    pub fn imagenet() -> Self {
        Self::new(1.0 / 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    }

    /// The unchanged image, for networks that rescale it themselves.
    pub fn none() -> Self {
        Self::new(1.0, [0.0; 3], [1.0; 3])
    }

    /// Blue first and ImageNet's mean subtracted, which is Keras's mode `caffe`.
    pub fn caffe() -> Self {
        Self { channel_order: ChannelOrder::Bgr, ..Self::new(1.0, [103.939, 116.779, 123.68], [1.0; 3]) }
    }

    fn new(scale: f64, mean: [f64; 3], std: [f64; 3]) -> Self {
        let (channel_order, interpolation) = (ChannelOrder::default(), Interpolation::default());
        Self { scale, mean, std, channel_order, interpolation, crop: None }
    }
}

/// Order of the colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// How an image is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Bilinear with half-pixel centres and without antialiasing, Keras's default.
    #[default]
    Bilinear,
    /// The nearest pixel.
    Nearest,
    /// Keys's cubic with a = -0.5 over the four nearest pixels.
    Bicubic,
    /// The mean of what an output pixel covers.
    Area,
}

/// One number for all channels, or one number per channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerChannel {
    /// The same number for all channels.
    One(f64),
    /// One number per channel.
    Each(Vec<f64>),
}

impl Default for PerChannel {
    fn default() -> Self {
        Self::One(0.0)
    }
}

impl From<f64> for PerChannel {
    fn from(value: f64) -> Self {
        Self::One(value)
    }
}

impl From<[f64; 3]> for PerChannel {
    fn from(values: [f64; 3]) -> Self {
        Self::Each(values.to_vec())
    }
}

impl PerChannel {
    /// Number of channels, if there is one number per channel.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::One(_) => None,
            Self::Each(values) => Some(values.len()),
        }
    }

    /// The numbers of `channels` channels.
    pub fn values(&self, channels: usize) -> Vec<f64> {
        match self {
            Self::One(value) => vec![*value; channels],
            Self::Each(values) => values.clone(),
        }
    }
}
