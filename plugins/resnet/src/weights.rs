use injerto_plugin_sdk::{TensorMap, WeightSet, published};

use crate::network::stacks;
use crate::{Parameters, Variant};

/// The published weights for the depth, with or without top as `parameters` say. `imagenet` is the preferred set of the variant.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let Parameters { depth, include_top: top, .. } = *parameters;
    let own = match parameters.variant {
        Variant::Keras => keras(depth, top),
        Variant::Torch => torchvision(1, depth, top),
    };
    let second = torchvision(2, depth, top).map(|set| set.named("imagenet-torchvision-v2"));
    let sets = [own.map(|set| set.named("imagenet")), keras(depth, top), torchvision(1, depth, top), second];
    sets.into_iter().flatten().collect()
}

fn requiring(set: WeightSet, variant: &str, top: bool) -> WeightSet {
    let set = set.requires("variant", variant).requires("include_top", top);
    if top { set.requires("classes", 1000) } else { set }
}

fn keras(depth: usize, top: bool) -> Option<WeightSet> {
    let (ending, md5) = match (depth, top) {
        (50, true) => ("", "2cb95161c43110f7111970584f804107"),
        (50, false) => ("_notop", "4d473c1dd8becc155b73f8504c6f6626"),
        (101, true) => ("", "f1aeb4b969a6efcfb50fad2f0c20cfc5"),
        (101, false) => ("_notop", "88cf7a10940856eca736dc7b7e228a21"),
        (152, true) => ("", "100835be76be38e30d865e96f2aaae62"),
        (152, false) => ("_notop", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
        _ => return None,
    };
    let file = format!("resnet/resnet{depth}_weights_tf_dim_ordering_tf_kernels{ending}.h5");
    let set = published::keras(&format!("tensorflow/keras-applications/{file}"), top).md5(md5).licence("MIT");
    Some(requiring(set, "keras", top))
}

fn torchvision(version: usize, depth: usize, top: bool) -> Option<WeightSet> {
    let hash = match (depth, version) {
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
    let model = format!("resnet{depth}");
    Some(requiring(published::torchvision(&model, version, hash, top, tensors), "torch", top))
}
