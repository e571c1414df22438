use injerto_graph::{Activation, Builder, Graph, GraphError, LayerId, Operator, Padding, PerChannel};

use crate::{Parameters, Variant};

/// A row of the paper's table 1.
pub(crate) struct Stage {
    pub(crate) kernel: usize,
    pub(crate) blocks: usize,
    filters: usize,
    pub(crate) expansion: usize,
    stride: usize,
}

const fn stage(kernel: usize, blocks: usize, filters: usize, expansion: usize, stride: usize) -> Stage {
    Stage { kernel, blocks, filters, expansion, stride }
}

pub(crate) const STAGES: [Stage; 7] = [
    stage(3, 1, 16, 1, 1),
    stage(3, 2, 24, 6, 2),
    stage(5, 2, 40, 6, 2),
    stage(3, 3, 80, 6, 2),
    stage(5, 3, 112, 6, 1),
    stage(5, 4, 192, 6, 2),
    stage(3, 1, 320, 6, 1),
];

/// ImageNet's statistics of red, green and blue, of values 0 to 1.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

/// Share of whole blocks that training drops in the last one, rising from none in the first.
const DROPPED: f64 = 0.2;

/// Keras's prefix of a block's layers: stage and block from 0.
pub(crate) fn prefix(stage: usize, block: usize) -> String {
    format!("block{}{}_", stage + 1, char::from(b'a' + block as u8))
}

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let Parameters { input_shape: size, variant, .. } = *parameters;
    let name = if variant == Variant::Lite0 { "efficientnet_lite0" } else { "efficientnetb0" };
    let mut net = Net { builder: Builder::new(name), variant, size };
    let mut x = net.builder.input([size[0], size[1], 3]);
    x = net.rescaled(x, parameters.imagenet_rescaling);

    x = net.pad("stem_conv_pad", x, 3);
    x = net.conv("stem_conv", x, 32, 3, 2);
    x = net.norm("stem_bn", x);
    x = net.activation("stem_activation", x);
    let (mut channels, mut number) = (32, 0);
    let blocks: usize = STAGES.iter().map(|stage| stage.blocks).sum();
    for (at, stage) in STAGES.iter().enumerate() {
        for block in 0..stage.blocks {
            let stride = if block == 0 { stage.stride } else { 1 };
            let dropped = DROPPED * number as f64 / blocks as f64;
            x = net.block(&prefix(at, block), x, channels, stage, stride, dropped);
            channels = stage.filters;
            number += 1;
        }
    }
    x = net.conv("top_conv", x, 1280, 1, 1);
    x = net.norm("top_bn", x);
    x = net.activation("top_activation", x);
    if parameters.include_top {
        x = net.builder.add("avg_pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
        x = net.builder.add("top_dropout", Operator::Dropout { rate: 0.2, per_sample: false }, &[x]);
        let activation = parameters.classifier_activation;
        net.builder.add("predictions", Operator::Dense { units: parameters.classes, use_bias: true, activation }, &[x]);
    }
    net.builder.finish_in_keras_order()
}

struct Net {
    builder: Builder,
    variant: Variant,
    /// Height and width here.
    size: [usize; 2],
}

impl Net {
    /// From 0 to 255 to what the weights expect. Lite0's images come scaled.
    fn rescaled(&mut self, x: LayerId, second: bool) -> LayerId {
        let scaled = |scale: [f64; 3], offset: [f64; 3]| Operator::Rescaling {
            scale: PerChannel::Each(scale.to_vec()),
            offset: PerChannel::Each(offset.to_vec()),
        };
        if self.variant == Variant::Lite0 {
            return x;
        }
        let to_one = Operator::Rescaling { scale: PerChannel::One(1.0 / 255.0), offset: PerChannel::One(0.0) };
        let x = self.builder.add("rescaling", to_one, &[x]);
        // Keras's statistics are weights; torchvision's are constants.
        let normalization = match self.variant {
            Variant::Torch => scaled(DEVIATION.map(f64::recip), std::array::from_fn(|c| -MEAN[c] / DEVIATION[c])),
            _ => Operator::Normalization {},
        };
        let x = self.builder.add("normalization", normalization, &[x]);
        // Keras's weights were trained on `(x - mean) / variance`, where the layer before divides by the root only.
        let root = DEVIATION.map(|deviation| deviation.sqrt().recip());
        if second { self.builder.add("rescaling_1", scaled(root, [0.0; 3]), &[x]) } else { x }
    }

    /// An inverted residual block.
    fn block(
        &mut self,
        prefix: &str,
        entry: LayerId,
        channels: usize,
        stage: &Stage,
        stride: usize,
        dropped: f64,
    ) -> LayerId {
        let wide = channels * stage.expansion;
        let mut x = entry;
        if stage.expansion > 1 {
            x = self.conv(&format!("{prefix}expand_conv"), x, wide, 1, 1);
            x = self.norm(&format!("{prefix}expand_bn"), x);
            x = self.activation(&format!("{prefix}expand_activation"), x);
        }
        if stride == 2 {
            x = self.pad(&format!("{prefix}dwconv_pad"), x, stage.kernel);
        }
        let depthwise = Operator::DepthwiseConv2D {
            kernel_size: [stage.kernel; 2],
            strides: [stride, stride],
            // An odd window of stride 1 is padded alike by all.
            padding: if stride == 2 { Padding::Valid } else { Padding::Same },
            dilation_rate: [1, 1],
            depth_multiplier: 1,
            use_bias: false,
            activation: Activation::Linear,
        };
        x = self.builder.add(format!("{prefix}dwconv"), depthwise, &[x]);
        x = self.norm(&format!("{prefix}bn"), x);
        x = self.activation(&format!("{prefix}activation"), x);
        if self.variant != Variant::Lite0 {
            x = self.squeeze_and_excite(prefix, x, wide, channels / 4);
        }
        x = self.conv(&format!("{prefix}project_conv"), x, stage.filters, 1, 1);
        x = self.norm(&format!("{prefix}project_bn"), x);
        if stride == 1 && channels == stage.filters {
            if dropped > 0.0 {
                let drop = Operator::Dropout { rate: dropped, per_sample: true };
                x = self.builder.add(format!("{prefix}drop"), drop, &[x]);
            }
            x = self.builder.add(format!("{prefix}add"), Operator::Add {}, &[x, entry]);
        }
        x
    }

    /// Scales each channel by what a small network makes of all channels' means.
    fn squeeze_and_excite(&mut self, prefix: &str, x: LayerId, wide: usize, narrow: usize) -> LayerId {
        let dense = |filters, activation| Operator::Conv2D {
            filters,
            kernel_size: [1, 1],
            strides: [1, 1],
            padding: Padding::Same,
            dilation_rate: [1, 1],
            groups: 1,
            use_bias: true,
            activation,
        };
        let squeeze = Operator::GlobalAveragePooling2D { keepdims: false };
        let mut y = self.builder.add(format!("{prefix}se_squeeze"), squeeze, &[x]);
        let shape = Operator::Reshape { target_shape: vec![1, 1, wide] };
        y = self.builder.add(format!("{prefix}se_reshape"), shape, &[y]);
        y = self.builder.add(format!("{prefix}se_reduce"), dense(narrow, Activation::Swish), &[y]);
        y = self.builder.add(format!("{prefix}se_expand"), dense(wide, Activation::Sigmoid), &[y]);
        self.builder.add(format!("{prefix}se_excite"), Operator::Multiply {}, &[x, y])
    }

    fn conv(&mut self, name: &str, x: LayerId, filters: usize, kernel: usize, stride: usize) -> LayerId {
        let conv = Operator::Conv2D {
            filters,
            kernel_size: [kernel, kernel],
            strides: [stride, stride],
            padding: if stride == 2 { Padding::Valid } else { Padding::Same },
            dilation_rate: [1, 1],
            groups: 1,
            use_bias: false,
            activation: Activation::Linear,
        };
        self.builder.add(name, conv, &[x])
    }

    /// Zeros in front of a window of stride 2, which halves the size. Keras and TensorFlow put the smaller half first
    /// (`correct_pad` in `imagenet_utils.py`); PyTorch pads all sides.
    fn pad(&mut self, name: &str, x: LayerId, kernel: usize) -> LayerId {
        let half = kernel / 2;
        let padding = match self.variant {
            Variant::Torch => [[half, half], [half, half]],
            Variant::Keras | Variant::Lite0 => self.size.map(|side| [half - (1 - side % 2), half]),
        };
        self.size = self.size.map(|side| side.div_ceil(2));
        self.builder.add(name, Operator::ZeroPadding2D { padding }, &[x])
    }

    fn norm(&mut self, name: &str, x: LayerId) -> LayerId {
        let (epsilon, momentum) = match self.variant {
            Variant::Keras | Variant::Lite0 => (1e-3, 0.99),
            Variant::Torch => (1e-5, 0.9),
        };
        self.builder.add(name, Operator::BatchNormalization { epsilon, momentum, center: true, scale: true }, &[x])
    }

    fn activation(&mut self, name: &str, x: LayerId) -> LayerId {
        let activation = match self.variant {
            Variant::Lite0 => Activation::Relu6,
            Variant::Keras | Variant::Torch => Activation::Swish,
        };
        self.builder.add(name, Operator::Activation { activation }, &[x])
    }
}
