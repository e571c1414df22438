use injerto_plugin_sdk::{
    Activation, BatchNormalization, Builder, Conv2D, Dense, GlobalAveragePooling2D, Graph, GraphError, LayerId,
    MaxPooling2D, Operator, Padding, Variant, ZeroPadding2D, classifier,
};

use crate::Parameters;

/// Number of blocks in each of the four stacks, from table 1 of the paper.
pub(crate) fn stacks(depth: usize) -> Option<[usize; 4]> {
    match depth {
        18 => Some([2, 2, 2, 2]),
        34 => Some([3, 4, 6, 3]),
        50 => Some([3, 4, 6, 3]),
        101 => Some([3, 4, 23, 3]),
        152 => Some([3, 8, 36, 3]),
        _ => None,
    }
}

/// Whether blocks have two wide convolutions instead of a bottleneck. Keras does not have these networks.
pub(crate) fn is_basic(depth: usize) -> bool {
    depth < 50
}

/// ResNet-18 or 34 with torchvision's names.
fn basic(parameters: &Parameters) -> Result<Graph, GraphError> {
    let Parameters { depth, input_shape, .. } = *parameters;
    let mut net = Basic(Builder::new(format!("resnet{depth}")));
    net.0.image(input_shape);
    net.conv("conv1", "bn1", Conv2D::new(64, 7).strides(2).padding(Padding::around(3)));
    net.0.then("relu", Activation::Relu);
    let mut x = net.0.then("maxpool", MaxPooling2D::new(3).strides(2).padding(Padding::around(1)));
    for (stack, blocks) in stacks(depth).into_iter().flatten().enumerate() {
        for block in 0..blocks {
            let stride = if stack > 0 && block == 0 { 2 } else { 1 };
            x = net.block(&format!("layer{}.{block}", stack + 1), x, 64 << stack, stride);
        }
    }
    if parameters.include_top {
        net.0.then("avgpool", GlobalAveragePooling2D::new());
        net.0.then("fc", Dense::new(parameters.classes).activation(parameters.classifier_activation));
    }
    net.0.finish()
}

/// The layers of ResNet-18 and 34.
struct Basic(Builder);

impl Basic {
    /// Two convolutions of 3×3, and a shortcut, which is a convolution where the size changes.
    fn block(&mut self, name: &str, x: LayerId, filters: usize, stride: usize) -> LayerId {
        let part = |part: &str| format!("{name}.{part}");
        let wide = || Conv2D::new(filters, 3).padding(Padding::around(1));
        self.conv(&part("conv1"), &part("bn1"), wide().strides(stride));
        self.0.then(part("relu"), Activation::Relu);
        let y = self.conv(&part("conv2"), &part("bn2"), wide());
        let shortcut = if stride > 1 {
            self.0.from(x);
            self.conv(&part("downsample.0"), &part("downsample.1"), Conv2D::new(filters, 1).strides(stride))
        } else {
            x
        };
        self.0.add(part("add"), Operator::Add {}, &[y, shortcut]);
        self.0.then(part("out"), Activation::Relu)
    }

    /// A convolution with batch normalisation.
    fn conv(&mut self, conv: &str, norm: &str, layer: Conv2D) -> LayerId {
        self.0.then(conv, layer.use_bias(false));
        self.0.then(norm, BatchNormalization::new().epsilon(1e-5).momentum(0.9))
    }
}

/// The network, with Keras's names and order where Keras has it.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let Parameters { depth, input_shape, variant, .. } = *parameters;
    if is_basic(depth) {
        return basic(parameters);
    }
    let mut net = Net { builder: Builder::new(format!("resnet{depth}")), variant };
    net.builder.image(input_shape);
    net.builder.then("conv1_pad", ZeroPadding2D::around(3));
    net.conv("conv1", Conv2D::new(64, 7).strides(2));
    net.builder.then("conv1_relu", Activation::Relu);
    // Values after a ReLU are never smaller than the zeros around them, so padding with zeros does not change the maximum.
    net.builder.then("pool1_pad", ZeroPadding2D::around(1));
    let mut x = net.builder.then("pool1_pool", MaxPooling2D::new(3).strides(2));
    for (stack, blocks) in stacks(depth).into_iter().flatten().enumerate() {
        for block in 0..blocks {
            let name = format!("conv{}_block{}", stack + 2, block + 1);
            let stride = if stack > 0 && block == 0 { 2 } else { 1 };
            x = net.block(&name, x, 64 << stack, stride, block == 0);
        }
    }
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
    /// A bottleneck: convolutions of 1×1, 3×3 and 1×1, and a shortcut, which is a convolution in the first block of a stack.
    fn block(&mut self, name: &str, x: LayerId, filters: usize, stride: usize, first: bool) -> LayerId {
        let shortcut = match first {
            true => self.conv(&format!("{name}_0"), Conv2D::new(4 * filters, 1).strides(stride)),
            false => x,
        };
        let (narrow, wide) = (Conv2D::new(filters, 1), Conv2D::new(filters, 3));
        let (narrow, wide) = match self.variant {
            Variant::Keras => (narrow.strides(stride), wide.same()),
            Variant::Torch => (narrow, wide.strides(stride).padding(Padding::around(1))),
        };
        self.builder.from(x);
        self.conv(&format!("{name}_1"), narrow);
        self.builder.then(format!("{name}_1_relu"), Activation::Relu);
        self.conv(&format!("{name}_2"), wide);
        self.builder.then(format!("{name}_2_relu"), Activation::Relu);
        let y = self.conv(&format!("{name}_3"), Conv2D::new(4 * filters, 1));
        self.builder.add(format!("{name}_add"), Operator::Add {}, &[shortcut, y]);
        self.builder.then(format!("{name}_out"), Activation::Relu)
    }

    /// A convolution with batch normalisation.
    fn conv(&mut self, name: &str, conv: Conv2D) -> LayerId {
        let norm = BatchNormalization::new();
        let (conv, norm) = match self.variant {
            Variant::Keras => (conv, norm.epsilon(1.001e-5)),
            Variant::Torch => (conv.use_bias(false), norm.epsilon(1e-5).momentum(0.9)),
        };
        self.builder.then(format!("{name}_conv"), conv);
        self.builder.then(format!("{name}_bn"), norm)
    }
}
