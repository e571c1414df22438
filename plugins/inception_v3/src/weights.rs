use injerto_graph::{Checksum, Format, Source, TensorMap, WeightSet};
use serde_json::{Map, Value, json};

use crate::network::{build, numbered};
use crate::{Parameters, Variant};

/// The published weights with or without top, as `parameters` ask: `imagenet` is the variant's own.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let top = parameters.include_top;
    let own = match parameters.variant {
        Variant::Keras => keras("imagenet", top),
        Variant::Torch => torchvision("imagenet", top),
    };
    vec![own, keras("imagenet-keras", top), torchvision("imagenet-torchvision", top)]
}

fn requires(variant: &str, top: bool) -> Map<String, Value> {
    let classes = top.then(|| ("classes", json!(1000)));
    let pairs = [("variant", json!(variant)), ("include_top", json!(top))].into_iter().chain(classes);
    pairs.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn keras(id: &str, top: bool) -> WeightSet {
    let base = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3";
    let (ending, with, md5) = match top {
        true => ("", "with", "9a0d58056eeedaa3f26cb7ebd46da564"),
        false => ("_notop", "without", "bcbd6486424b2319ff4ef7d526e38f63"),
    };
    WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, Keras's own file, {with} top"),
        licence: "Apache-2.0".to_owned(),
        source: Source::Url { url: format!("{base}/inception_v3_weights_tf_dim_ordering_tf_kernels{ending}.h5") },
        checksum: Some(Checksum::Md5(md5.to_owned())),
        format: Format::KerasHdf5,
        tensors: TensorMap::keras(),
        requires: requires("keras", top),
    }
}

fn torchvision(id: &str, top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    // The names do not depend on the parameters, and the defaults describe a sound network.
    let modules = build(&Parameters { variant: Variant::Torch, ..Parameters::default() }).map(|(_, modules)| modules);
    for (number, module) in modules.unwrap_or_default().iter().enumerate() {
        tensors.kernel(&format!("{module}.conv"), &numbered("conv2d", number), false);
        tensors.normalization(&format!("{module}.bn"), &numbered("batch_normalization", number));
    }
    // The second classifier half-way up, of use only in training from scratch.
    tensors.ignore.push("AuxLogits.*".to_owned());
    match top {
        true => tensors.kernel("fc", "predictions", true),
        false => tensors.ignore.push("fc.*".to_owned()),
    }
    WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, torchvision's IMAGENET1K_V1, {} top", if top { "with" } else { "without" }),
        licence: "BSD-3-Clause".to_owned(),
        source: Source::Url { url: "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth".to_owned() },
        // torchvision publishes the first digits of the hash, in the file's name.
        checksum: Some(Checksum::Sha256("0cc3c7bd".to_owned())),
        format: Format::Pytorch,
        tensors,
        requires: requires("torch", top),
    }
}
