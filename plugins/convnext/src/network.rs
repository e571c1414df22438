use injerto_plugin_sdk::{
    Activation, Builder, Conv2D, Dense, Dropout, GlobalAveragePooling2D, GlobalResponseNormalization, Graph,
    GraphError, LayerId, LayerNormalization, Operator,
};

use crate::{Parameters, Pooling, Variant};

/// The properties in which the networks differ.
pub(crate) struct Size {
    /// Blocks of each stage.
    pub(crate) blocks: [usize; 4],
    /// Channels of each stage.
    pub(crate) widths: [usize; 4],
    /// Whether blocks have global response normalisations instead of layer scales.
    pub(crate) second: bool,
}

pub(crate) fn size(variant: Variant) -> Size {
    let (blocks, first, second) = match variant {
        Variant::Tiny => ([3, 3, 9, 3], 96, false),
        Variant::Small => ([3, 3, 27, 3], 96, false),
        Variant::AttoV2 => ([2, 2, 6, 2], 40, true),
        Variant::FemtoV2 => ([2, 2, 6, 2], 48, true),
        Variant::PicoV2 => ([2, 2, 6, 2], 64, true),
        Variant::NanoV2 => ([2, 2, 8, 2], 80, true),
        Variant::TinyV2 => ([3, 3, 9, 3], 96, true),
    };
    Size { blocks, widths: [first, 2 * first, 4 * first, 8 * first], second }
}

/// The network.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let Parameters { variant, input_shape, pooling, include_top, drop_path_rate, .. } = *parameters;
    let Size { blocks, widths, .. } = size(variant);
    let name = variant.name();
    let mut net = Net { builder: Builder::new(name), variant };
    net.builder.image(input_shape);
    net.builder.then(format!("{name}_stem_conv"), Conv2D::new(widths[0], 4).strides(4));
    let mut x = net.norm("stem_layernorm");
    let (mut number, all) = (0, blocks.iter().sum::<usize>());
    for (stage, (&blocks, &width)) in blocks.iter().zip(&widths).enumerate() {
        if stage > 0 {
            net.norm(&format!("downsampling_layernorm_{}", stage - 1));
            let conv = Conv2D::new(width, 2).strides(2);
            x = net.builder.then(format!("{name}_downsampling_conv_{}", stage - 1), conv);
        }
        for block in 0..blocks {
            x = net.block(
                &format!("stage_{stage}_block_{block}"),
                x,
                width,
                drop_path_rate * number as f64 / (all - 1) as f64,
            );
            number += 1;
        }
    }
    if pooling == Pooling::Average {
        net.builder.then(format!("{name}_head_gap"), GlobalAveragePooling2D::new());
        net.norm("head_layernorm");
    }
    if include_top {
        let top = Dense::new(parameters.classes).activation(parameters.classifier_activation);
        net.builder.then(format!("{name}_head_dense"), top);
    }
    net.builder.finish()
}

struct Net {
    builder: Builder,
    variant: Variant,
}

impl Net {
    /// A residual block: a depthwise convolution, a normalisation, and two dense layers with a GELU between them.
    fn block(&mut self, block: &str, entry: LayerId, width: usize, dropped: f64) -> LayerId {
        let name = |part: &str| format!("{}_{block}_{part}", self.variant.name());
        let depthwise = Conv2D::new(width, 7).groups(width).same();
        self.builder.then(name("depthwise_conv"), depthwise);
        self.builder.then(name("layernorm"), LayerNormalization::new().epsilon(1e-6));
        self.builder.then(name("pointwise_conv_1"), Dense::new(4 * width));
        self.builder.then(name("gelu"), Activation::Gelu);
        if size(self.variant).second {
            self.builder.then(name("grn"), GlobalResponseNormalization::new());
        }
        let mut last = self.builder.then(name("pointwise_conv_2"), Dense::new(width));
        if !size(self.variant).second {
            last = self.builder.then(name("layer_scale"), Operator::LayerScale {});
        }
        if dropped > 0.0 {
            last = self.builder.then(name("stochastic_depth"), Dropout::new(dropped).per_sample(true));
        }
        self.builder.add(name("add"), Operator::Add {}, &[entry, last])
    }

    fn norm(&mut self, part: &str) -> LayerId {
        let name = format!("{}_{part}", self.variant.name());
        self.builder.then(name, LayerNormalization::new().epsilon(1e-6))
    }
}
