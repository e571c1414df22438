use injerto_plugin_sdk::{TensorMap, Variant, WeightSet, published};

use crate::network::{blocks, prefix};
use crate::{Parameters, Size};

/// The published weights of the size; `imagenet` is the preferred set of the variant. Those of the other size come last, so that a file of it is
/// known by its shapes.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let Parameters { size, include_top: top, .. } = *parameters;
    let own = match parameters.variant {
        Variant::Keras => keras(size, top),
        Variant::Torch => torchvision(size, 1, top),
    };
    let other = if size == Size::Small { Size::Large } else { Size::Small };
    let named = |set: WeightSet| {
        let id = format!("{}-{}", set.id, other.name());
        set.named(&id)
    };
    let second = (size == Size::Large).then(|| torchvision(size, 2, top).named("imagenet-torchvision-v2"));
    let sets = [own.named("imagenet"), keras(size, top), torchvision(size, 1, top)];
    sets.into_iter().chain(second).chain([named(keras(other, top)), named(torchvision(other, 1, top))]).collect()
}

fn requiring(set: WeightSet, size: Size, variant: Variant, top: bool) -> WeightSet {
    let set = set.requires("size", size.name()).requires("variant", variant.name());
    let set = set.requires("alpha", 1.0).requires("include_top", top);
    if top { set.requires("classes", 1000) } else { set }
}

fn keras(size: Size, top: bool) -> WeightSet {
    let (ending, md5) = match (size, top) {
        (Size::Small, true) => ("", "8768d4c2e7dee89b9d02b2d03d65d862"),
        (Size::Small, false) => ("_no_top_v2", "d3e8ec802a04aa4fc771ee12a9a9b836"),
        (Size::Large, true) => ("", "59e551e166be033d707958cf9e29a6a7"),
        (Size::Large, false) => ("_no_top_v2", "07fb09a5933dd0c8eaafa16978110389"),
    };
    let file = format!("mobilenet_v3/weights_mobilenet_v3_{}_224_1.0_float{ending}.h5", size.name());
    let set = published::keras(&format!("tensorflow/keras-applications/{file}"), top).md5(md5);
    requiring(set, size, Variant::Keras, top)
}

fn torchvision(size: Size, version: usize, top: bool) -> WeightSet {
    let hash = match (size, version) {
        (Size::Small, _) => "047dcff4",
        (Size::Large, 1) => "8738ca79",
        (Size::Large, _) => "5c1a4163",
    };
    let mut tensors = TensorMap::torch();
    let mut pair = |module: &str, conv: &str, norm: &str| {
        tensors.kernel(&format!("{module}.0"), conv, false);
        tensors.normalization(&format!("{module}.1"), norm);
    };
    pair("features.0", "conv", "conv_bn");
    let all = blocks(size);
    for (at, block) in all.iter().enumerate() {
        let steps: &[&str] = if at > 0 { &["expand", "depthwise"] } else { &["depthwise"] };
        let module = |place: usize| format!("features.{}.block.{place}", at + 1);
        let layer = |step: &str| format!("{}{step}", prefix(at));
        for (place, step) in steps.iter().enumerate() {
            pair(&module(place), &layer(step), &layer(&format!("{step}_bn")));
        }
        let last = steps.len() + usize::from(block.excites);
        pair(&module(last), &layer("project"), &layer("project_bn"));
    }
    pair(&format!("features.{}", all.len() + 1), "conv_1", "conv_1_bn");
    for (at, _) in all.iter().enumerate().filter(|(_, block)| block.excites) {
        let module = format!("features.{}.block.{}", at + 1, if at > 0 { 2 } else { 1 });
        for (theirs, ours) in [("fc1", "conv"), ("fc2", "conv_1")] {
            tensors.kernel(&format!("{module}.{theirs}"), &format!("{}squeeze_excite_{ours}", prefix(at)), true);
        }
    }
    match top {
        true => {
            tensors.kernel("classifier.0", "conv_2", true);
            tensors.kernel("classifier.3", "logits", true);
        }
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    let model = format!("mobilenet_v3_{}", size.name());
    requiring(published::torchvision(&model, version, hash, top, tensors), size, Variant::Torch, top)
}
