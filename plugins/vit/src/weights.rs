use injerto_plugin_sdk::{TensorMap, WeightSet, published};

use crate::network::{BLOCKS, size};
use crate::{Parameters, Variant};

/// The published weights of the variant; `imagenet` is the preferred set. Those of other variants come last, so that a file of one is known
/// by its shapes.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let Parameters { variant, include_top: top, .. } = *parameters;
    let own = of(variant, top);
    let first = own.first().map(|set| set.clone().named("imagenet"));
    let others = Variant::ALL.iter().copied().filter(|&other| other != variant);
    let others = others.flat_map(|other| {
        let named = move |set: WeightSet| {
            let id = format!("{}-{}", set.id, other.name());
            set.named(&id)
        };
        of(other, top).into_iter().map(named)
    });
    first.into_iter().chain(own).chain(others).collect()
}

fn of(variant: Variant, top: bool) -> Vec<WeightSet> {
    let tensors = tensors(variant, top);
    let sets = match variant {
        Variant::Small16 => {
            vec![published::timm_hub("vit_small_patch16_224.augreg_in21k_ft_in1k", top, tensors)]
        }
        Variant::Base16 => vec![
            published::timm_hub("vit_base_patch16_224.augreg2_in21k_ft_in1k", top, tensors.clone()),
            published::timm_hub("vit_base_patch16_224.augreg_in21k_ft_in1k", top, tensors)
                .named("imagenet-timm-augreg"),
        ],
        Variant::SmallDino => dino("dinov2_vits14", "vit_small_patch14_dinov2.lvd142m", tensors),
        Variant::BaseDino => dino("dinov2_vitb14", "vit_base_patch14_dinov2.lvd142m", tensors),
    };
    let requiring = |set: WeightSet| {
        let set = set.requires("variant", variant.name());
        if top { set.requires("include_top", true).requires("classes", 1000) } else { set }
    };
    sets.into_iter().map(requiring).collect()
}

/// The authors' file, and timm's with the same tensors. The authors' has a token for masked patches besides.
fn dino(name: &str, model: &str, tensors: TensorMap) -> Vec<WeightSet> {
    let url = format!("https://dl.fbaipublicfiles.com/dinov2/{name}/{name}_pretrain.pth");
    let authors = published::pytorch("lvd142m", &url, tensors.clone()).licence("Apache-2.0");
    let summary = "142 million images without labels (LVD-142M)";
    vec![
        authors.summary(format!("{summary}, the authors' {name}")),
        published::timm_hub(model, false, tensors).named("lvd142m-timm").summary(format!("{summary}, timm's {model}")),
    ]
}

/// timm's names of the tensors, which the authors of DINOv2 use too.
fn tensors(variant: Variant, top: bool) -> TensorMap {
    let mut tensors = TensorMap::torch();
    tensors.kernel("patch_embed.proj", "patch_embed.proj", true);
    for layer in ["cls_token", "pos_embed"] {
        tensors.tensor(layer, &format!("{layer}/embeddings"));
    }
    for block in 0..BLOCKS {
        let name = |part: &str| format!("blocks.{block}.{part}");
        for part in ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"] {
            tensors.kernel(&name(part), &name(part), true);
        }
        for branch in [1, 2] {
            let [norm, scale] = ["norm", "ls"].map(|part| name(&format!("{part}{branch}")));
            tensors.scale_and_shift(&norm, &norm);
            if size(variant).layer_scale {
                tensors.tensor(&format!("{scale}.gamma"), &format!("{scale}/gamma"));
            }
        }
    }
    tensors.scale_and_shift("norm", "norm");
    tensors.ignore.push("mask_token".to_owned());
    match top {
        true => tensors.kernel("head", "head", true),
        false => tensors.ignore.push("head.*".to_owned()),
    }
    tensors
}
