use injerto_graph::{Checksum, Format, Source, TensorMap, WeightSet};
use serde_json::{Map, Value, json};

use crate::network::BLOCKS;
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
    // The classifier is dense over all places of the image, so its weights fit one size only.
    let of_top = top.then(|| [("classes", json!(1000)), ("input_shape", json!([224, 224]))]);
    let pairs = [("variant", json!(variant)), ("include_top", json!(top))];
    let pairs = pairs.into_iter().chain(of_top.into_iter().flatten());
    pairs.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn keras(id: &str, top: bool) -> WeightSet {
    let base = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16";
    let (ending, with, md5) = match top {
        true => ("", "with", "64373286793e3c8b2b4e3219cbf3544b"),
        false => ("_notop", "without", "6d6bbae143d832006294945121d1f1fc"),
    };
    WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, the authors' weights in Keras's file, {with} top"),
        licence: "CC-BY-4.0".to_owned(),
        source: Source::Url { url: format!("{base}/vgg16_weights_tf_dim_ordering_tf_kernels{ending}.h5") },
        checksum: Some(Checksum::Md5(md5.to_owned())),
        format: Format::KerasHdf5,
        tensors: TensorMap::keras(),
        requires: requires("keras", top),
    }
}

fn torchvision(id: &str, top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut module = 0;
    for (block, (convolutions, _)) in BLOCKS.into_iter().enumerate() {
        for at in 1..=convolutions {
            tensors.kernel(&format!("features.{module}"), &format!("block{}_conv{at}", block + 1), true);
            // A ReLU is a module of its own,
            module += 2;
        }
        // and so is pooling.
        module += 1;
    }
    match top {
        true => {
            tensors.kernel("classifier.0", "fc1", true);
            tensors.kernel("classifier.3", "fc2", true);
            tensors.kernel("classifier.6", "predictions", true);
        }
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, torchvision's IMAGENET1K_V1, {} top", if top { "with" } else { "without" }),
        licence: "BSD-3-Clause".to_owned(),
        source: Source::Url { url: "https://download.pytorch.org/models/vgg16-397923af.pth".to_owned() },
        // torchvision publishes the first digits of the hash, in the file's name.
        checksum: Some(Checksum::Sha256("397923af".to_owned())),
        format: Format::Pytorch,
        tensors,
        requires: requires("torch", top),
    }
}
