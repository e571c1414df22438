use injerto_plugin_sdk::{TensorMap, WeightSet, published};

use crate::network::{Size, size};
use crate::{Parameters, Pooling, Variant};

/// The published weights of the variant; `imagenet` is the preferred set. Those of other variants come last, so that a file of one is known
/// by its shapes.
pub(crate) fn sets(parameters: &Parameters) -> Vec<WeightSet> {
    let own = of(parameters.variant, parameters);
    let first = own.first().map(|set| set.clone().named("imagenet"));
    let others = Variant::ALL.iter().copied().filter(|&other| other != parameters.variant);
    let others = others.flat_map(|other| {
        let named = move |set: WeightSet| {
            let id = format!("{}-{}", set.id, other.name());
            set.named(&id)
        };
        of(other, parameters).into_iter().map(named)
    });
    first.into_iter().chain(own).chain(others).collect()
}

fn of(variant: Variant, parameters: &Parameters) -> Vec<WeightSet> {
    let top = parameters.include_top;
    let timm = |model: &str| published::timm_hub(model, top, timms(variant, parameters));
    let torchvision =
        |model: &str, hash: &str| published::torchvision(model, 1, hash, top, torchvisions(variant, parameters));
    let sets = match variant {
        Variant::Tiny => {
            vec![
                torchvision("convnext_tiny", "983f1562"),
                timm("convnext_tiny.fb_in1k"),
                authors("convnext_tiny_1k_224_ema", variant, parameters),
            ]
        }
        Variant::Small => {
            vec![
                torchvision("convnext_small", "0c510722"),
                timm("convnext_small.fb_in1k"),
                authors("convnext_small_1k_224_ema", variant, parameters),
            ]
        }
        Variant::AttoV2 | Variant::FemtoV2 | Variant::PicoV2 | Variant::NanoV2 | Variant::TinyV2 => {
            // The authors allow no commercial use of these weights.
            vec![timm(&format!("{}.fcmae_ft_in1k", variant.name())).licence("CC-BY-NC-4.0")]
        }
    };
    let requiring = |set: WeightSet| {
        let set = set.requires("variant", variant.name());
        if top { set.requires("include_top", true).requires("classes", 1000) } else { set }
    };
    sets.into_iter().map(requiring).collect()
}

/// A table of tensors that grows part by part.
struct Table<'a> {
    tensors: TensorMap,
    name: &'static str,
    parameters: &'a Parameters,
}

impl<'a> Table<'a> {
    fn new(variant: Variant, parameters: &'a Parameters) -> Self {
        Self { tensors: TensorMap::torch(), name: variant.name(), parameters }
    }

    fn kernel(&mut self, module: &str, layer: &str) {
        self.tensors.kernel(module, &format!("{}_{layer}", self.name), true);
    }

    fn norm(&mut self, module: &str, layer: &str) {
        self.tensors.scale_and_shift(module, &format!("{}_{layer}", self.name));
    }

    /// The normalisation after the pooling, and the classifier.
    fn head(mut self, norm: &str, dense: &str) -> TensorMap {
        match self.parameters.pooling {
            Pooling::Average => self.norm(norm, "head_layernorm"),
            Pooling::None => self.tensors.ignore.push(format!("{norm}.*")),
        }
        match self.parameters.include_top {
            true => self.kernel(dense, "head_dense"),
            false => self.tensors.ignore.push(format!("{dense}.*")),
        }
        self.tensors
    }
}

fn timms(variant: Variant, parameters: &Parameters) -> TensorMap {
    let Size { blocks, second, .. } = size(variant);
    let mut table = Table::new(variant, parameters);
    table.kernel("stem.0", "stem_conv");
    table.norm("stem.1", "stem_layernorm");
    for (stage, blocks) in blocks.into_iter().enumerate() {
        if stage > 0 {
            table.norm(&format!("stages.{stage}.downsample.0"), &format!("downsampling_layernorm_{}", stage - 1));
            table.kernel(&format!("stages.{stage}.downsample.1"), &format!("downsampling_conv_{}", stage - 1));
        }
        for block in 0..blocks {
            let (module, layer) = (format!("stages.{stage}.blocks.{block}"), format!("stage_{stage}_block_{block}"));
            table.kernel(&format!("{module}.conv_dw"), &format!("{layer}_depthwise_conv"));
            table.norm(&format!("{module}.norm"), &format!("{layer}_layernorm"));
            table.kernel(&format!("{module}.mlp.fc1"), &format!("{layer}_pointwise_conv_1"));
            table.kernel(&format!("{module}.mlp.fc2"), &format!("{layer}_pointwise_conv_2"));
            match second {
                true => table.norm(&format!("{module}.mlp.grn"), &format!("{layer}_grn")),
                false => {
                    let gamma = format!("{}_{layer}_layer_scale/gamma", table.name);
                    table.tensors.tensor(&format!("{module}.gamma"), &gamma);
                }
            }
        }
    }
    table.head("head.norm", "head.fc")
}

fn torchvisions(variant: Variant, parameters: &Parameters) -> TensorMap {
    let mut table = Table::new(variant, parameters);
    table.kernel("features.0.0", "stem_conv");
    table.norm("features.0.1", "stem_layernorm");
    for (stage, blocks) in size(variant).blocks.into_iter().enumerate() {
        if stage > 0 {
            table.norm(&format!("features.{}.0", 2 * stage), &format!("downsampling_layernorm_{}", stage - 1));
            table.kernel(&format!("features.{}.1", 2 * stage), &format!("downsampling_conv_{}", stage - 1));
        }
        for block in 0..blocks {
            let module = format!("features.{}.{block}", 2 * stage + 1);
            let layer = format!("stage_{stage}_block_{block}");
            table.kernel(&format!("{module}.block.0"), &format!("{layer}_depthwise_conv"));
            table.norm(&format!("{module}.block.2"), &format!("{layer}_layernorm"));
            table.kernel(&format!("{module}.block.3"), &format!("{layer}_pointwise_conv_1"));
            table.kernel(&format!("{module}.block.5"), &format!("{layer}_pointwise_conv_2"));
            let gamma = format!("{}_{layer}_layer_scale/gamma", table.name);
            table.tensors.tensor(&format!("{module}.layer_scale"), &gamma);
        }
    }
    table.head("classifier.0", "classifier.2")
}

/// The authors' own file.
fn authors(file: &str, variant: Variant, parameters: &Parameters) -> WeightSet {
    let mut table = Table::new(variant, parameters);
    for (stage, blocks) in size(variant).blocks.into_iter().enumerate() {
        let module = format!("downsample_layers.{stage}");
        match stage.checked_sub(1) {
            None => {
                table.kernel(&format!("{module}.0"), "stem_conv");
                table.norm(&format!("{module}.1"), "stem_layernorm");
            }
            Some(before) => {
                table.norm(&format!("{module}.0"), &format!("downsampling_layernorm_{before}"));
                table.kernel(&format!("{module}.1"), &format!("downsampling_conv_{before}"));
            }
        }
        for block in 0..blocks {
            let (module, layer) = (format!("stages.{stage}.{block}"), format!("stage_{stage}_block_{block}"));
            table.kernel(&format!("{module}.dwconv"), &format!("{layer}_depthwise_conv"));
            table.norm(&format!("{module}.norm"), &format!("{layer}_layernorm"));
            table.kernel(&format!("{module}.pwconv1"), &format!("{layer}_pointwise_conv_1"));
            table.kernel(&format!("{module}.pwconv2"), &format!("{layer}_pointwise_conv_2"));
            let gamma = format!("{}_{layer}_layer_scale/gamma", table.name);
            table.tensors.tensor(&format!("{module}.gamma"), &gamma);
        }
    }
    let url = format!("https://dl.fbaipublicfiles.com/convnext/{file}.pth");
    let set = published::pytorch("imagenet-authors", &url, table.head("norm", "head")).licence("MIT");
    set.summary(format!("ImageNet-1k, the authors' {file}, {} top", published::with(parameters.include_top)))
}
