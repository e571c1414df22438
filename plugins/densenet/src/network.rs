use injerto_plugin_sdk::{
    Activation, AveragePooling2D, BatchNormalization, Builder, Conv2D, Graph, GraphError, LayerId, MaxPooling2D,
    Operator, Variant, ZeroPadding2D, classifier,
};

use crate::Parameters;

/// Blocks of each of the four stages of DenseNet-121, from table 1 of the paper.
pub(crate) const BLOCKS: [usize; 4] = [6, 12, 24, 16];

/// Channels that each block adds.
const GROWTH: usize = 32;

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let mut net = Net { builder: Builder::new("densenet121"), variant: parameters.variant };
    net.builder.image(parameters.input_shape);
    net.builder.then("zero_padding2d", ZeroPadding2D::around(3));
    net.builder.then("conv1_conv", Conv2D::new(64, 7).strides(2).use_bias(false));
    net.normalised("conv1_bn", "conv1_relu");
    // Values after a ReLU are never smaller than the zeros around them, so padding with zeros does not change the maximum.
    net.builder.then("zero_padding2d_1", ZeroPadding2D::around(1));
    let mut x = net.builder.then("pool1", MaxPooling2D::new(3).strides(2));
    let mut channels = 64;
    for (stage, blocks) in BLOCKS.into_iter().enumerate() {
        for block in 1..=blocks {
            x = net.block(&format!("conv{}_block{block}", stage + 2), x);
        }
        channels += blocks * GROWTH;
        if stage + 1 < BLOCKS.len() {
            channels /= 2;
            let name = |part: &str| format!("pool{}_{part}", stage + 2);
            net.normalised(&name("bn"), &name("relu"));
            net.builder.then(name("conv"), Conv2D::new(channels, 1).use_bias(false));
            x = net.builder.then(name("pool"), AveragePooling2D::new(2));
        }
    }
    net.normalised("bn", "relu");
    if parameters.include_top {
        classifier(&mut net.builder, parameters.classes, parameters.classifier_activation);
    }
    net.builder.finish_in_keras_order()
}

struct Net {
    builder: Builder,
    variant: Variant,
}

impl Net {
    /// Two convolutions, each after a normalisation, whose output is joined to their input.
    fn block(&mut self, name: &str, x: LayerId) -> LayerId {
        let part = |part: &str| format!("{name}_{part}");
        self.normalised(&part("0_bn"), &part("0_relu"));
        self.builder.then(part("1_conv"), Conv2D::new(4 * GROWTH, 1).use_bias(false));
        self.normalised(&part("1_bn"), &part("1_relu"));
        let y = self.builder.then(part("2_conv"), Conv2D::new(GROWTH, 3).same().use_bias(false));
        self.builder.add(part("concat"), Operator::Concatenate {}, &[x, y])
    }

    /// A batch normalisation and a ReLU.
    fn normalised(&mut self, norm: &str, relu: &str) {
        let layer = match self.variant {
            Variant::Keras => BatchNormalization::new().epsilon(1.001e-5),
            Variant::Torch => BatchNormalization::new().epsilon(1e-5).momentum(0.9),
        };
        self.builder.then(norm, layer);
        self.builder.then(relu, Activation::Relu);
    }
}
