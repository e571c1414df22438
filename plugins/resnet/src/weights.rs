use injerto_plugin_sdk::{TensorMap, Variant, WeightSet, published};

use crate::Parameters;
use crate::network::{is_basic, stacks};

/// The depths that weights are published for.
const DEPTHS: [usize; 5] = [18, 34, 50, 101, 152];

/// The published weights for the depth, with or without top as `parameters` say. `imagenet` is the preferred set of the variant. The
/// weights of other depths come last, so that a file of one is known by its names.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let Parameters { depth, include_top: top, .. } = *parameters;
    let own = match parameters.variant {
        Variant::Keras if !is_basic(depth) => keras(depth, top),
        _ => torchvision(1, depth, top),
    };
    let second = torchvision(2, depth, top).map(|set| set.named("imagenet-torchvision-v2"));
    let third = hugging_face(depth, top);
    let sets = [own.map(|set| set.named("imagenet")), keras(depth, top), torchvision(1, depth, top), second, third];
    let of_depth = |other: usize| {
        let named = move |set: WeightSet| {
            let id = format!("{}-{other}", set.id);
            set.named(&id)
        };
        [keras(other, top), torchvision(1, other, top), hugging_face(other, top)].into_iter().flatten().map(named)
    };
    let others = DEPTHS.into_iter().filter(|&other| other != depth).flat_map(of_depth);
    sets.into_iter().flatten().chain(others).collect()
}

fn requiring(set: WeightSet, variant: &str, depth: usize, top: bool) -> WeightSet {
    let set = set.requires("depth", depth).requires("include_top", top);
    let set = if is_basic(depth) { set } else { set.requires("variant", variant) };
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
    Some(requiring(set, "keras", depth, top))
}

fn torchvision(version: usize, depth: usize, top: bool) -> Option<WeightSet> {
    let hash = match (depth, version) {
        (18, 1) => "f37072fd",
        (34, 1) => "b627a593",
        (50, 1) => "0676ba61",
        (50, 2) => "11ad3fa6",
        (101, 1) => "63fe2227",
        (101, 2) => "cd907fc2",
        (152, 1) => "394f9c45",
        (152, 2) => "f82ba261",
        _ => return None,
    };
    if is_basic(depth) {
        let set = published::torchvision(&format!("resnet{depth}"), version, hash, top, basic(depth, top)?);
        return Some(requiring(set, "torch", depth, top));
    }
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
    Some(requiring(published::torchvision(&model, version, hash, top, tensors), "torch", depth, top))
}

/// The tensors of ResNet-18 and 34, whose layers have torchvision's names.
fn basic(depth: usize, top: bool) -> Option<TensorMap> {
    let mut tensors = TensorMap::torch();
    let mut pair = |conv: &str, norm: &str| {
        tensors.kernel(conv, conv, false);
        tensors.normalization(norm, norm);
    };
    pair("conv1", "bn1");
    for (stack, blocks) in stacks(depth)?.into_iter().enumerate() {
        for block in 0..blocks {
            let part = |part: &str| format!("layer{}.{block}.{part}", stack + 1);
            pair(&part("conv1"), &part("bn1"));
            pair(&part("conv2"), &part("bn2"));
            if stack > 0 && block == 0 {
                pair(&part("downsample.0"), &part("downsample.1"));
            }
        }
    }
    match top {
        true => tensors.kernel("fc", "fc", true),
        false => tensors.ignore.push("fc.*".to_owned()),
    }
    Some(tensors)
}

/// The weights with the names of transformers. They were trained by timm, in torchvision's variant.
fn hugging_face(depth: usize, top: bool) -> Option<WeightSet> {
    if is_basic(depth) {
        return None;
    }
    let mut tensors = TensorMap::torch();
    let mut pair = |module: &str, layer: &str| {
        tensors.kernel(&format!("{module}.convolution"), &format!("{layer}_conv"), false);
        tensors.normalization(&format!("{module}.normalization"), &format!("{layer}_bn"));
    };
    pair("resnet.embedder.embedder", "conv1");
    for (stack, blocks) in stacks(depth)?.into_iter().enumerate() {
        for block in 0..blocks {
            let module = format!("resnet.encoder.stages.{stack}.layers.{block}");
            let layer = format!("conv{}_block{}", stack + 2, block + 1);
            for step in 0..3 {
                pair(&format!("{module}.layer.{step}"), &format!("{layer}_{}", step + 1));
            }
            if block == 0 {
                pair(&format!("{module}.shortcut"), &format!("{layer}_0"));
            }
        }
    }
    match top {
        true => tensors.kernel("classifier.1", "predictions", true),
        false => tensors.ignore.push("classifier.*".to_owned()),
    }
    let set = published::hugging_face(&format!("microsoft/resnet-{depth}"), top, tensors).licence("Apache-2.0");
    Some(requiring(set, "torch", depth, top))
}
