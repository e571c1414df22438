use injerto_graph::{Activation, Builder, Graph, GraphError, LayerId, Operator, Padding, Window};

use crate::{Parameters, Variant};

/// Blocks of each of the four stacks: table 1 of the paper.
pub(crate) fn stacks(depth: usize) -> Option<[usize; 4]> {
    match depth {
        50 => Some([3, 4, 6, 3]),
        101 => Some([3, 4, 23, 3]),
        152 => Some([3, 8, 36, 3]),
        _ => None,
    }
}

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters, stacks: [usize; 4]) -> Result<Graph, GraphError> {
    let [height, width] = parameters.input_shape;
    let builder = Builder::new(format!("resnet{}", parameters.depth));
    let mut net = Net { builder, variant: parameters.variant };
    let mut x = net.builder.input([height, width, 3]);
    x = net.builder.add("conv1_pad", Operator::ZeroPadding2D { padding: [[3, 3], [3, 3]] }, &[x]);
    x = net.conv("conv1", x, 64, 7, 2, Padding::Valid);
    x = net.relu("conv1_relu", x);
    // What follows a ReLU is never below the zeros around it.
    x = net.builder.add("pool1_pad", Operator::ZeroPadding2D { padding: [[1, 1], [1, 1]] }, &[x]);
    let window = Window { pool_size: [3, 3], strides: [2, 2], padding: Padding::Valid, count_include_pad: false };
    x = net.builder.add("pool1_pool", Operator::MaxPooling2D(window), &[x]);
    for (stack, blocks) in stacks.into_iter().enumerate() {
        for block in 0..blocks {
            let name = format!("conv{}_block{}", stack + 2, block + 1);
            let stride = if stack > 0 && block == 0 { 2 } else { 1 };
            x = net.block(&name, x, 64 << stack, stride, block == 0);
        }
    }
    if parameters.include_top {
        x = net.builder.add("avg_pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
        let activation = parameters.classifier_activation;
        net.builder.add("predictions", Operator::Dense { units: parameters.classes, use_bias: true, activation }, &[x]);
    }
    net.builder.finish_in_keras_order()
}

struct Net {
    builder: Builder,
    variant: Variant,
}

impl Net {
    /// A bottleneck: 1×1, 3×3 and 1×1 around a shortcut, which is a convolution too in the first block of a stack.
    fn block(&mut self, name: &str, x: LayerId, filters: usize, stride: usize, first: bool) -> LayerId {
        let shortcut = match first {
            true => self.conv(&format!("{name}_0"), x, 4 * filters, 1, stride, Padding::Valid),
            false => x,
        };
        let (narrow, wide) = match self.variant {
            Variant::Keras => ((stride, Padding::Valid), (1, Padding::Same)),
            Variant::Torch => ((1, Padding::Valid), (stride, Padding::around(1))),
        };
        let mut y = self.conv(&format!("{name}_1"), x, filters, 1, narrow.0, narrow.1);
        y = self.relu(&format!("{name}_1_relu"), y);
        y = self.conv(&format!("{name}_2"), y, filters, 3, wide.0, wide.1);
        y = self.relu(&format!("{name}_2_relu"), y);
        y = self.conv(&format!("{name}_3"), y, 4 * filters, 1, 1, Padding::Valid);
        y = self.builder.add(format!("{name}_add"), Operator::Add {}, &[shortcut, y]);
        self.relu(&format!("{name}_out"), y)
    }

    /// Convolution and batch normalisation.
    fn conv(
        &mut self,
        name: &str,
        x: LayerId,
        filters: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> LayerId {
        let (use_bias, epsilon, momentum) = match self.variant {
            Variant::Keras => (true, 1.001e-5, 0.99),
            Variant::Torch => (false, 1e-5, 0.9),
        };
        let conv = Operator::Conv2D {
            filters,
            kernel_size: [kernel, kernel],
            strides: [stride, stride],
            padding,
            dilation_rate: [1, 1],
            groups: 1,
            use_bias,
            activation: Activation::Linear,
        };
        let x = self.builder.add(format!("{name}_conv"), conv, &[x]);
        let norm = Operator::BatchNormalization { epsilon, momentum, center: true, scale: true };
        self.builder.add(format!("{name}_bn"), norm, &[x])
    }

    fn relu(&mut self, name: &str, x: LayerId) -> LayerId {
        self.builder.add(name, Operator::Activation { activation: Activation::Relu }, &[x])
    }
}
