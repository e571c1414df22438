use injerto_graph::{Checksum, Format, Source, TensorMap, WeightSet};
use serde_json::{Map, Value, json};

use crate::network::stacks;
use crate::{Parameters, Variant};

/// The published weights with or without top, as `parameters` ask: `imagenet` is the variant's own for its depth.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let (depth, top) = (parameters.depth, parameters.include_top);
    let own = match parameters.variant {
        Variant::Keras => keras("imagenet", depth, top),
        Variant::Torch => torchvision("imagenet", 1, depth, top),
    };
    let others = [
        keras("imagenet-keras", depth, top),
        torchvision("imagenet-torchvision", 1, depth, top),
        torchvision("imagenet-torchvision-v2", 2, depth, top),
    ];
    [own].into_iter().chain(others).flatten().collect()
}

fn requires(variant: &str, top: bool) -> Map<String, Value> {
    let classes = top.then(|| ("classes", json!(1000)));
    let pairs = [("variant", json!(variant)), ("include_top", json!(top))].into_iter().chain(classes);
    pairs.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn with(top: bool) -> &'static str {
    if top { "with" } else { "without" }
}

fn keras(id: &str, depth: usize, top: bool) -> Option<WeightSet> {
    let base = "https://storage.googleapis.com/tensorflow/keras-applications/resnet";
    let (ending, md5) = match (depth, top) {
        (50, true) => ("", "2cb95161c43110f7111970584f804107"),
        (50, false) => ("_notop", "4d473c1dd8becc155b73f8504c6f6626"),
        (101, true) => ("", "f1aeb4b969a6efcfb50fad2f0c20cfc5"),
        (101, false) => ("_notop", "88cf7a10940856eca736dc7b7e228a21"),
        (152, true) => ("", "100835be76be38e30d865e96f2aaae62"),
        (152, false) => ("_notop", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
        _ => return None,
    };
    Some(WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, Keras's own file, {} top", with(top)),
        licence: "MIT".to_owned(),
        source: Source::Url { url: format!("{base}/resnet{depth}_weights_tf_dim_ordering_tf_kernels{ending}.h5") },
        checksum: Some(Checksum::Md5(md5.to_owned())),
        format: Format::KerasHdf5,
        tensors: TensorMap::keras(),
        requires: requires("keras", top),
    })
}

fn torchvision(id: &str, version: usize, depth: usize, top: bool) -> Option<WeightSet> {
    // torchvision publishes the first digits of the hash, in the file's name.
    let sha256 = match (depth, version) {
        (50, 1) => "0676ba61",
        (50, 2) => "11ad3fa6",
        (101, 1) => "63fe2227",
        (101, 2) => "cd907fc2",
        (152, 1) => "394f9c45",
        (152, 2) => "f82ba261",
        _ => return None,
    };
    let mut tensors = TensorMap::torch();
    tensors.kernel("conv1", "conv1_conv", false);
    tensors.normalization("bn1", "conv1_bn");
    for (stack, blocks) in stacks(depth)?.into_iter().enumerate() {
        for block in 0..blocks {
            let module = format!("layer{}.{block}", stack + 1);
            let layer = format!("conv{}_block{}", stack + 2, block + 1);
            for step in 1..=3 {
                tensors.kernel(&format!("{module}.conv{step}"), &format!("{layer}_{step}_conv"), false);
                tensors.normalization(&format!("{module}.bn{step}"), &format!("{layer}_{step}_bn"));
            }
            if block == 0 {
                tensors.kernel(&format!("{module}.downsample.0"), &format!("{layer}_0_conv"), false);
                tensors.normalization(&format!("{module}.downsample.1"), &format!("{layer}_0_bn"));
            }
        }
    }
    match top {
        true => tensors.kernel("fc", "predictions", true),
        false => tensors.ignore.push("fc.*".to_owned()),
    }
    Some(WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, torchvision's IMAGENET1K_V{version}, {} top", with(top)),
        licence: "BSD-3-Clause".to_owned(),
        source: Source::Url { url: format!("https://download.pytorch.org/models/resnet{depth}-{sha256}.pth") },
        checksum: Some(Checksum::Sha256(sha256.to_owned())),
        format: Format::Pytorch,
        tensors,
        requires: requires("torch", top),
    })
}
