use injerto_plugin_sdk::{TensorMap, Variant, WeightSet, numbered, published};

use crate::Parameters;
use crate::network::build;

/// The published weights, with or without top as `parameters` say. `imagenet` is the preferred set of the variant.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let top = parameters.include_top;
    published::both(parameters.variant, keras(top), torchvision(top))
}

fn requiring(set: WeightSet, variant: &str, top: bool) -> WeightSet {
    let set = set.requires("variant", variant).requires("include_top", top);
    if top { set.requires("classes", 1000) } else { set }
}

fn keras(top: bool) -> WeightSet {
    let (ending, md5) = match top {
        true => ("", "9a0d58056eeedaa3f26cb7ebd46da564"),
        false => ("_notop", "bcbd6486424b2319ff4ef7d526e38f63"),
    };
    let file = format!("inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels{ending}.h5");
    let set = published::keras(&format!("tensorflow/keras-applications/{file}"), top).md5(md5);
    requiring(set, "keras", top)
}

fn torchvision(top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    // The names do not depend on the parameters, and the defaults describe a valid network.
    let modules = build(&Parameters { variant: Variant::Torch, ..Parameters::default() }).map(|(_, modules)| modules);
    for (number, module) in modules.unwrap_or_default().iter().enumerate() {
        tensors.kernel(&format!("{module}.conv"), &numbered("conv2d", number), false);
        tensors.normalization(&format!("{module}.bn"), &numbered("batch_normalization", number));
    }
    // The auxiliary classifier, which is used only when training from scratch.
    tensors.ignore.push("AuxLogits.*".to_owned());
    match top {
        true => tensors.kernel("fc", "predictions", true),
        false => tensors.ignore.push("fc.*".to_owned()),
    }
    requiring(published::torchvision("inception_v3_google", 1, "0cc3c7bd", top, tensors), "torch", top)
}
