use injerto_plugin_sdk::{
    Activation, BatchNormalization, Builder, Conv2D, Dense, DepthwiseConv2D, Dropout, GlobalAveragePooling2D, Graph,
    GraphError, LayerId, Operator, Rescaling, ZeroPadding2D,
};

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

/// ImageNet's statistics of red, green and blue, for values from 0 to 1.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

/// Rate of stochastic depth in the last block. The rate rises linearly from 0 in the first block.
const DROPPED: f64 = 0.2;

/// The prefix of Keras's names for the layers of a block. Stages and blocks are counted from 0.
pub(crate) fn prefix(stage: usize, block: usize) -> String {
    format!("block{}{}_", stage + 1, char::from(b'a' + block as u8))
}

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let Parameters { input_shape: size, variant, .. } = *parameters;
    let name = if variant == Variant::Lite0 { "efficientnet_lite0" } else { "efficientnetb0" };
    let mut net = Net { builder: Builder::new(name), variant, size };
    net.builder.image(size);
    net.rescale(parameters.imagenet_rescaling);

    net.pad("stem_conv_pad", 3);
    net.conv("stem_conv", Conv2D::new(32, 3).strides(2));
    net.norm("stem_bn");
    let mut x = net.activation("stem_activation");
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
    net.conv("top_conv", Conv2D::new(1280, 1).same());
    net.norm("top_bn");
    net.activation("top_activation");
    if parameters.include_top {
        net.builder.then("avg_pool", GlobalAveragePooling2D::new());
        net.builder.then("top_dropout", Dropout::new(0.2));
        let top = Dense::new(parameters.classes).activation(parameters.classifier_activation);
        net.builder.then("predictions", top);
    }
    net.builder.finish_in_keras_order()
}

struct Net {
    builder: Builder,
    variant: Variant,
    /// Height and width of the current layer's output.
    size: [usize; 2],
}

impl Net {
    /// Scales pixels from 0 to 255 as the weights expect them. Images for Lite0 are already scaled.
    fn rescale(&mut self, second: bool) {
        if self.variant == Variant::Lite0 {
            return;
        }
        self.builder.then("rescaling", Rescaling::new(1.0 / 255.0));
        // In Keras the statistics are weights; in torchvision and transformers they are constants.
        let normalization: Operator = match self.variant {
            Variant::Torch | Variant::Transformers => {
                let offset: [f64; 3] = std::array::from_fn(|c| -MEAN[c] / DEVIATION[c]);
                Rescaling::new(DEVIATION.map(f64::recip)).offset(offset).into()
            }
            _ => Operator::Normalization {},
        };
        self.builder.then("normalization", normalization);
        if second {
            // Keras's weights were trained on `(x - mean) / variance`, but the layer before divides only by the square root of the variance.
            let root = DEVIATION.map(|deviation| deviation.sqrt().recip());
            self.builder.then("rescaling_1", Rescaling::new(root).offset([0.0; 3]));
        }
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
        if stage.expansion > 1 {
            self.conv(&format!("{prefix}expand_conv"), Conv2D::new(wide, 1).same());
            self.norm(&format!("{prefix}expand_bn"));
            self.activation(&format!("{prefix}expand_activation"));
        }
        let depthwise = DepthwiseConv2D::new(stage.kernel).use_bias(false);
        let depthwise = if stride == 2 {
            self.pad(&format!("{prefix}dwconv_pad"), stage.kernel);
            depthwise.strides(2)
        } else {
            // All variants pad an odd window with stride 1 in the same way.
            depthwise.same()
        };
        self.builder.then(format!("{prefix}dwconv"), depthwise);
        self.norm(&format!("{prefix}bn"));
        let x = self.activation(&format!("{prefix}activation"));
        if self.variant != Variant::Lite0 {
            self.squeeze_and_excite(prefix, x, wide, channels / 4);
        }
        self.conv(&format!("{prefix}project_conv"), Conv2D::new(stage.filters, 1).same());
        let mut x = self.norm(&format!("{prefix}project_bn"));
        if stride == 1 && channels == stage.filters {
            if dropped > 0.0 {
                x = self.builder.then(format!("{prefix}drop"), Dropout::new(dropped).per_sample(true));
            }
            x = self.builder.add(format!("{prefix}add"), Operator::Add {}, &[x, entry]);
        }
        x
    }

    /// Squeeze-and-excitation: scales each channel by the output of a small network, whose input is the means of all channels.
    fn squeeze_and_excite(&mut self, prefix: &str, x: LayerId, wide: usize, narrow: usize) {
        let dense = |filters, activation| Conv2D::new(filters, 1).same().activation(activation);
        self.builder.then(format!("{prefix}se_squeeze"), GlobalAveragePooling2D::new());
        self.builder.then(format!("{prefix}se_reshape"), Operator::Reshape { target_shape: vec![1, 1, wide] });
        self.builder.then(format!("{prefix}se_reduce"), dense(narrow, Activation::Swish));
        let y = self.builder.then(format!("{prefix}se_expand"), dense(wide, Activation::Sigmoid));
        self.builder.add(format!("{prefix}se_excite"), Operator::Multiply {}, &[x, y]);
    }

    fn conv(&mut self, name: &str, conv: Conv2D) {
        self.builder.then(name, conv.use_bias(false));
    }

    /// The zeros before a window with stride 2, which halves the size. Keras and TensorFlow put the smaller half of the zeros first
    /// (`correct_pad` in `imagenet_utils.py`); PyTorch pads all sides equally.
    fn pad(&mut self, name: &str, kernel: usize) {
        let half = kernel / 2;
        let padding = match self.variant {
            Variant::Torch => ZeroPadding2D::around(half),
            Variant::Keras | Variant::Transformers | Variant::Lite0 => {
                ZeroPadding2D::new(self.size.map(|side| [half - (1 - side % 2), half]))
            }
        };
        self.size = self.size.map(|side| side.div_ceil(2));
        self.builder.then(name, padding);
    }

    fn norm(&mut self, name: &str) -> LayerId {
        let norm = match self.variant {
            Variant::Keras | Variant::Transformers | Variant::Lite0 => BatchNormalization::new(),
            Variant::Torch => BatchNormalization::new().epsilon(1e-5).momentum(0.9),
        };
        self.builder.then(name, norm)
    }

    fn activation(&mut self, name: &str) -> LayerId {
        let activation = match self.variant {
            Variant::Lite0 => Activation::Relu6,
            Variant::Keras | Variant::Torch | Variant::Transformers => Activation::Swish,
        };
        self.builder.then(name, activation)
    }
}
