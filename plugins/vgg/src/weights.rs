use injerto_plugin_sdk::{TensorMap, WeightSet, json, published};

use crate::Parameters;
use crate::network::BLOCKS;

/// The published weights, with or without top as `parameters` say. `imagenet` is the preferred set of the variant.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let top = parameters.include_top;
    published::both(parameters.variant, keras(top), torchvision(top))
}

fn requiring(set: WeightSet, variant: &str, top: bool) -> WeightSet {
    let set = set.requires("variant", variant).requires("include_top", top);
    // The classifier is dense over all positions of the image, so its weights fit only one size.
    if top { set.requires("classes", 1000).requires("input_shape", json!([224, 224])) } else { set }
}

fn keras(top: bool) -> WeightSet {
    let (ending, md5) = match top {
        true => ("", "64373286793e3c8b2b4e3219cbf3544b"),
        false => ("_notop", "6d6bbae143d832006294945121d1f1fc"),
    };
    let file = format!("tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels{ending}.h5");
    let summary = format!("ImageNet-1k, the authors' weights in Keras's file, {} top", published::with(top));
    let set = published::keras(&file, top).md5(md5).licence("CC-BY-4.0").summary(summary);
    requiring(set, "keras", top)
}

fn torchvision(top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut module = 0;
    for (block, (convolutions, _)) in (1..).zip(BLOCKS) {
        for at in 1..=convolutions {
            tensors.kernel(&format!("features.{module}"), &format!("block{block}_conv{at}"), true);
            // torchvision's numbers count each ReLU as a module.
            module += 2;
        }
        // They count each pooling as a module, too.
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
    requiring(published::torchvision("vgg16", 1, "397923af", top, tensors), "torch", top)
}
