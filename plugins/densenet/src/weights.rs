use injerto_plugin_sdk::{TensorMap, WeightSet, published};

use crate::Parameters;
use crate::network::BLOCKS;

/// The published weights; `imagenet` is the preferred set of the variant.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let top = parameters.include_top;
    let mut sets = published::both(parameters.variant, keras(top), torchvision(top));
    sets.push(timm(top));
    sets
}

fn requiring(set: WeightSet, variant: &str, top: bool) -> WeightSet {
    let set = set.requires("variant", variant).requires("include_top", top);
    if top { set.requires("classes", 1000) } else { set }
}

fn keras(top: bool) -> WeightSet {
    let (ending, md5) = match top {
        true => ("", "9d60b8095a5708f2dcce2bca79d332c7"),
        false => ("_notop", "30ee3e1110167f948a6b9946edeeb738"),
    };
    let file = format!("densenet/densenet121_weights_tf_dim_ordering_tf_kernels{ending}.h5");
    requiring(published::keras(&format!("tensorflow/keras-applications/{file}"), top).md5(md5), "keras", top)
}

/// torchvision's file is older than its names: it writes `norm.1` for what is now `norm1`.
fn torchvision(top: bool) -> WeightSet {
    let tensors = tensors(|part, number| format!("{part}.{number}"), top);
    requiring(published::torchvision("densenet121", 1, "a639ec97", top, tensors), "torch", top)
}

fn timm(top: bool) -> WeightSet {
    let tensors = tensors(|part, number| format!("{part}{number}"), top);
    requiring(published::timm_hub("densenet121.ra_in1k", top, tensors), "torch", top)
}

fn tensors(module: impl Fn(&str, usize) -> String, top: bool) -> TensorMap {
    let mut tensors = TensorMap::torch();
    tensors.kernel("features.conv0", "conv1_conv", false);
    tensors.normalization("features.norm0", "conv1_bn");
    for (stage, blocks) in BLOCKS.into_iter().enumerate() {
        for block in 1..=blocks {
            let theirs = format!("features.denseblock{}.denselayer{block}", stage + 1);
            let ours = format!("conv{}_block{block}", stage + 2);
            for step in 1..=2 {
                let (norm, conv) = (module("norm", step), module("conv", step));
                tensors.normalization(&format!("{theirs}.{norm}"), &format!("{ours}_{}_bn", step - 1));
                tensors.kernel(&format!("{theirs}.{conv}"), &format!("{ours}_{step}_conv"), false);
            }
        }
        if stage + 1 < BLOCKS.len() {
            let (theirs, ours) = (format!("features.transition{}", stage + 1), format!("pool{}", stage + 2));
            tensors.normalization(&format!("{theirs}.norm"), &format!("{ours}_bn"));
            tensors.kernel(&format!("{theirs}.conv"), &format!("{ours}_conv"), false);
        }
    }
    tensors.normalization("features.norm5", "bn");
    match top {
        true => tensors.kernel("classifier", "predictions", true),
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    tensors
}
