use std::collections::BTreeMap;

use injerto_files::nearest;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use crate::words::{line, name};
use crate::{Graph, GraphError, WeightSet, limits};

/// A backbone that a plugin offers. A descriptor can be read without building a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Name that users write as `backbone.plugin`, such as `mobilenet_v2`.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// One line about the backbone.
    #[serde(deserialize_with = "line")]
    pub summary: String,
    /// Parameters of its [`Description`]s, with their defaults.
    #[serde(default, deserialize_with = "named")]
    pub parameters: BTreeMap<String, ParameterDoc>,
    /// Identifiers of its weight sets.
    #[serde(default, deserialize_with = "names")]
    pub weights: Vec<String>,
}

/// A parameter of a backbone: its default and its documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterDoc {
    /// Value that holds unless the user gives another. Its JSON type is the type of the parameter.
    pub default: Value,
    /// One line that says what the parameter does.
    #[serde(deserialize_with = "line")]
    pub doc: String,
    /// The possible words, if the parameter is one of a few words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

impl Descriptor {
    /// Completes `given` with the defaults.
    ///
    /// # Errors
    /// A message that names the parameter, if a parameter is unknown or has another type than its default.
    pub fn resolve(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        for (key, value) in given {
            let Some(known) = self.parameters.get(key) else {
                let names: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
                let suggestion = nearest(key, names.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
                let listing = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(format!(
                    "backbone '{}' has no parameter '{key}' (it has: {listing}){suggestion}",
                    self.name
                ));
            };
            if kind(value) != kind(&known.default) && !known.default.is_null() {
                return Err(format!(
                    "parameter '{key}' of backbone '{}' must be {}, such as {}, not {value}",
                    self.name,
                    kind(&known.default),
                    known.default,
                ));
            }
        }
        let mut all: Map<String, Value> =
            self.parameters.iter().map(|(key, known)| (key.clone(), known.default.clone())).collect();
        all.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(all)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// A backbone described for given parameters: the network, how its images are prepared, and where weights come from.
///
/// A description that was read from JSON takes RGB images: the input of its network is [an image](Graph::image_size).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The network.
    #[serde(deserialize_with = "of_images")]
    pub graph: Graph,
    /// How an image becomes the input of the network.
    pub preprocessing: Preprocessing,
    /// Weight sets that fit this network, or another variant of it ([`WeightSet::requires`]).
    #[serde(default)]
    pub weights: Vec<WeightSet>,
}

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

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().try_for_each(|name| limits::check_name(name)).map_err(de::Error::custom)?;
    Ok(names)
}

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, ParameterDoc>, D::Error> {
    let parameters = BTreeMap::<String, ParameterDoc>::deserialize(deserializer)?;
    parameters.keys().try_for_each(|name| limits::check_name(name)).map_err(de::Error::custom)?;
    Ok(parameters)
}

/// Reads a graph whose input is an RGB image, for `#[serde(deserialize_with = …)]`.
///
/// # Errors
/// Those of [`Graph::new`] and [`Graph::image_size`].
pub fn of_images<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Graph, D::Error> {
    let graph = Graph::deserialize(deserializer)?;
    graph.image_size().map_err(de::Error::custom)?;
    Ok(graph)
}
