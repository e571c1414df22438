use injerto_plugin_sdk::{
    Activation, Builder, Conv2D, Dense, DotProductAttention, Dropout, GlobalAveragePooling2D, Graph, GraphError,
    LayerId, LayerNormalization, Operator, PositionEmbedding, PrependTokens, Resample,
};

use crate::{Parameters, Pooling, Variant};

/// Blocks of every network.
pub(crate) const BLOCKS: usize = 12;

/// The properties in which the networks differ.
pub(crate) struct Size {
    pub(crate) width: usize,
    heads: usize,
    pub(crate) patch: usize,
    /// Patches along a side of the images that the positions were learned from.
    grid: usize,
    /// Whether the branches of a block are scaled, as in DINOv2.
    pub(crate) layer_scale: bool,
}

pub(crate) fn size(variant: Variant) -> Size {
    match variant {
        Variant::Small16 => Size { width: 384, heads: 6, patch: 16, grid: 14, layer_scale: false },
        Variant::Base16 => Size { width: 768, heads: 12, patch: 16, grid: 14, layer_scale: false },
        Variant::SmallDino => Size { width: 384, heads: 6, patch: 14, grid: 37, layer_scale: true },
        Variant::BaseDino => Size { width: 768, heads: 12, patch: 14, grid: 37, layer_scale: true },
    }
}

/// The network with the names of timm's modules.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let Parameters { variant, input_shape, pooling, include_top, drop_path_rate, .. } = *parameters;
    let Size { width, patch, grid, .. } = size(variant);
    let [rows, columns] = input_shape.map(|side| side / patch);
    let tokens = rows * columns + 1;
    let mut net = Net { builder: Builder::new(variant.name()), size: size(variant) };
    net.builder.image(input_shape);
    net.builder.then("patch_embed.proj", Conv2D::new(width, patch).strides(patch));
    net.builder.then("patch_embed.flatten", Operator::Reshape { target_shape: vec![rows * columns, width] });
    net.builder.then("cls_token", PrependTokens::new());
    let resample = Resample { from: [grid; 2], to: [rows, columns] };
    let mut x = net.builder.then("pos_embed", PositionEmbedding::new().resample(resample));
    for block in 0..BLOCKS {
        x = net.block(block, x, drop_path_rate * block as f64 / (BLOCKS - 1) as f64);
    }
    let x = net.norm("norm".to_owned());
    let first = |net: &mut Builder| {
        net.from(x).then("pool.token", Operator::Cropping1D { cropping: [0, tokens - 1] });
        net.then("pool.flatten", Operator::Flatten {})
    };
    let mean = |net: &mut Builder| {
        net.from(x).then("pool.patches", Operator::Cropping1D { cropping: [1, 0] });
        net.then("pool.grid", Operator::Reshape { target_shape: vec![rows, columns, width] });
        net.then("pool.avg", GlobalAveragePooling2D::new())
    };
    let mut net = net.builder;
    match pooling {
        Pooling::Token => {
            first(&mut net);
        }
        Pooling::Average => {
            mean(&mut net);
        }
        Pooling::Both => {
            let both = [first(&mut net), mean(&mut net)];
            net.add("pool.both", Operator::Concatenate {}, &both);
        }
        Pooling::None => {}
    }
    if include_top {
        net.then("head", Dense::new(parameters.classes).activation(parameters.classifier_activation));
    }
    net.finish()
}

struct Net {
    builder: Builder,
    size: Size,
}

impl Net {
    /// A transformer block: an attention and a perceptron. Each is a residual branch that begins with a normalisation.
    fn block(&mut self, number: usize, entry: LayerId, dropped: f64) -> LayerId {
        let Size { width, heads, .. } = self.size;
        let name = |part: &str| format!("blocks.{number}.{part}");
        self.norm(name("norm1"));
        self.builder.then(name("attn.qkv"), Dense::new(3 * width));
        self.builder.then(name("attn"), DotProductAttention::new(heads));
        let y = self.builder.then(name("attn.proj"), Dense::new(width));
        let x = self.residual(number, 1, [entry, y], dropped);
        self.norm(name("norm2"));
        self.builder.then(name("mlp.fc1"), Dense::new(4 * width));
        self.builder.then(name("mlp.act"), Activation::Gelu);
        let y = self.builder.then(name("mlp.fc2"), Dense::new(width));
        self.residual(number, 2, [x, y], dropped)
    }

    /// Adds the output of a branch to its input. Layer scale and stochastic depth come before the sum if the network has them.
    fn residual(&mut self, number: usize, branch: usize, [entry, last]: [LayerId; 2], dropped: f64) -> LayerId {
        let name = |part: &str| format!("blocks.{number}.{part}{branch}");
        let mut last = last;
        if self.size.layer_scale {
            last = self.builder.then(name("ls"), Operator::LayerScale {});
        }
        if dropped > 0.0 {
            last = self.builder.then(name("drop_path"), Dropout::new(dropped).per_sample(true));
        }
        self.builder.add(name("add"), Operator::Add {}, &[entry, last])
    }

    /// A normalisation with timm's epsilon.
    fn norm(&mut self, name: String) -> LayerId {
        self.builder.then(name, LayerNormalization::new().epsilon(1e-6))
    }
}
