use injerto_graph::{Activation, Builder, Graph, GraphError, LayerId, Operator, Padding};

use crate::{Parameters, Variant};

/// Filters, stride and expansion of each block: table 2 of the paper.
pub(crate) const BLOCKS: [(usize, usize, usize); 17] = [
    (16, 1, 1),
    (24, 2, 6),
    (24, 1, 6),
    (32, 2, 6),
    (32, 1, 6),
    (32, 1, 6),
    (64, 2, 6),
    (64, 1, 6),
    (64, 1, 6),
    (64, 1, 6),
    (96, 1, 6),
    (96, 1, 6),
    (96, 1, 6),
    (160, 2, 6),
    (160, 1, 6),
    (160, 1, 6),
    (320, 1, 6),
];

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let [height, width] = parameters.input_shape;
    let mut net = Net { builder: Builder::new("mobilenet_v2"), variant: parameters.variant };
    let filters = |base: usize| divisible(base as f64 * parameters.alpha);

    let mut x = net.builder.input([height, width, 3]);
    let first = divisible(32.0 * parameters.alpha);
    let stem = match parameters.variant {
        Variant::Keras => Padding::Same,
        Variant::Torch => Padding::around(1),
    };
    x = net.conv("Conv1", x, first, 3, 2, stem);
    x = net.norm("bn_Conv1", x);
    x = net.relu("Conv1_relu", x);
    let (mut channels, mut size) = (first, [height.div_ceil(2), width.div_ceil(2)]);

    for (block, (base, stride, expansion)) in BLOCKS.into_iter().enumerate() {
        let prefix = if block == 0 { "expanded_conv_".to_owned() } else { format!("block_{block}_") };
        let (entry, out) = (x, filters(base));
        if expansion > 1 {
            x = net.conv(&format!("{prefix}expand"), x, channels * expansion, 1, 1, Padding::Valid);
            x = net.norm(&format!("{prefix}expand_BN"), x);
            x = net.relu(&format!("{prefix}expand_relu"), x);
        }
        if stride == 2 {
            let padding = net.stride_padding(size);
            x = net.builder.add(format!("{prefix}pad"), Operator::ZeroPadding2D { padding }, &[x]);
            size = size.map(|side| side.div_ceil(2));
        }
        let padding = match (stride, parameters.variant) {
            (2, _) => Padding::Valid,
            (_, Variant::Keras) => Padding::Same,
            (_, Variant::Torch) => Padding::around(1),
        };
        x = net.depthwise(&format!("{prefix}depthwise"), x, stride, padding);
        x = net.norm(&format!("{prefix}depthwise_BN"), x);
        x = net.relu(&format!("{prefix}depthwise_relu"), x);
        x = net.conv(&format!("{prefix}project"), x, out, 1, 1, Padding::Valid);
        x = net.norm(&format!("{prefix}project_BN"), x);
        if stride == 1 && channels == out {
            x = net.builder.add(format!("{prefix}add"), Operator::Add {}, &[entry, x]);
        }
        channels = out;
    }

    let last = if parameters.alpha > 1.0 { filters(1280) } else { 1280 };
    x = net.conv("Conv_1", x, last, 1, 1, Padding::Valid);
    x = net.norm("Conv_1_bn", x);
    x = net.relu("out_relu", x);
    if parameters.include_top {
        let pool = Operator::GlobalAveragePooling2D { keepdims: false };
        x = net.builder.add("global_average_pooling2d", pool, &[x]);
        let activation = parameters.classifier_activation;
        let dense = Operator::Dense { units: parameters.classes, use_bias: true, activation };
        net.builder.add("predictions", dense, &[x]);
    }
    net.builder.finish()
}

struct Net {
    builder: Builder,
    variant: Variant,
}

impl Net {
    fn conv(
        &mut self,
        name: &str,
        x: LayerId,
        filters: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> LayerId {
        let conv = Operator::Conv2D {
            filters,
            kernel_size: [kernel, kernel],
            strides: [stride, stride],
            padding,
            dilation_rate: [1, 1],
            groups: 1,
            use_bias: false,
            activation: Activation::Linear,
        };
        self.builder.add(name, conv, &[x])
    }

    fn depthwise(&mut self, name: &str, x: LayerId, stride: usize, padding: Padding) -> LayerId {
        let conv = Operator::DepthwiseConv2D {
            kernel_size: [3, 3],
            strides: [stride, stride],
            padding,
            dilation_rate: [1, 1],
            depth_multiplier: 1,
            use_bias: false,
            activation: Activation::Linear,
        };
        self.builder.add(name, conv, &[x])
    }

    fn norm(&mut self, name: &str, x: LayerId) -> LayerId {
        let (epsilon, momentum) = match self.variant {
            Variant::Keras => (1e-3, 0.999),
            Variant::Torch => (1e-5, 0.9),
        };
        self.builder.add(name, Operator::BatchNormalization { epsilon, momentum, center: true, scale: true }, &[x])
    }

    fn relu(&mut self, name: &str, x: LayerId) -> LayerId {
        self.builder.add(name, Operator::ReLU { max_value: Some(6.0) }, &[x])
    }

    /// Zeros in front of a 3×3 convolution of stride 2. Keras puts the smaller half first (`correct_pad` in
    /// `imagenet_utils.py`); PyTorch pads all sides.
    fn stride_padding(&self, size: [usize; 2]) -> [[usize; 2]; 2] {
        match self.variant {
            Variant::Keras => size.map(|side| [side % 2, 1]),
            Variant::Torch => [[1, 1], [1, 1]],
        }
    }
}

/// The multiple of 8 that is nearest to `value`, at least 8 and not below nine tenths of it (`_make_divisible` of the
/// reference implementation).
fn divisible(value: f64) -> usize {
    let value = value.trunc();
    let rounded = (((value + 4.0) / 8.0).floor() as usize * 8).max(8);
    if (rounded as f64) < 0.9 * value { rounded + 8 } else { rounded }
}
