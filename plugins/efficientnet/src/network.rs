use injerto_plugin_sdk::{
    Activation, BatchNormalization, Builder, Conv2D, Dense, DepthwiseConv2D, Dropout, GlobalAveragePooling2D, Graph,
    GraphError, LayerId, Operator, Padding, Rescaling, ZeroPadding2D,
};

use crate::sizes::{Architecture, Stage};
use crate::{Parameters, Variant};

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
    let Parameters { size, variant, .. } = *parameters;
    let architecture = size.architecture();
    let name = match variant {
        Variant::Lite0 => "efficientnet_lite0".to_owned(),
        _ => format!("efficientnet{}", size.name()),
    };
    let image = parameters.image();
    let mut net = Net { builder: Builder::new(name), variant, image, architecture: &architecture };
    net.builder.image(image);
    net.rescale(parameters.imagenet_rescaling);

    let (padding, stem) = net.halved("stem_conv_pad", 3);
    net.conv("stem_conv", Conv2D::new(architecture.stem, 3).strides(stem).padding(padding));
    net.norm("stem_bn");
    let mut x = net.activation("stem_activation");
    let (mut channels, mut number) = (architecture.stem, 0);
    let blocks: usize = architecture.stages.iter().map(|stage| stage.blocks).sum();
    for (at, stage) in architecture.stages.iter().enumerate() {
        for block in 0..stage.blocks {
            let stride = if block == 0 { stage.stride } else { 1 };
            let dropped = DROPPED * number as f64 / blocks as f64;
            x = net.block(&prefix(at, block), x, channels, stage, stride, dropped);
            channels = stage.filters;
            number += 1;
        }
    }
    net.conv("top_conv", Conv2D::new(architecture.top, 1).same());
    net.norm("top_bn");
    net.activation("top_activation");
    if parameters.include_top {
        net.builder.then("avg_pool", GlobalAveragePooling2D::new());
        net.builder.then("top_dropout", Dropout::new(architecture.dropout));
        let top = Dense::new(parameters.classes).activation(parameters.classifier_activation);
        net.builder.then("predictions", top);
    }
    net.builder.finish_in_keras_order()
}

struct Net<'a> {
    builder: Builder,
    variant: Variant,
    /// Height and width of the current layer's output.
    image: [usize; 2],
    architecture: &'a Architecture,
}

impl Net<'_> {
    /// Scales pixels from 0 to 255 as the weights expect them. Images for Lite0 are already scaled.
    fn rescale(&mut self, second: bool) {
        let offset: [f64; 3] = std::array::from_fn(|c| -MEAN[c] / DEVIATION[c]);
        let (rescaling, normalization): (Rescaling, Option<Operator>) = match (self.variant, self.architecture.second) {
            (Variant::Lite0, _) => return,
            (Variant::Keras, true) => (Rescaling::new(1.0 / 128.0).offset(-1.0), None),
            (Variant::Torch | Variant::Transformers, true) => {
                let scale = DEVIATION.map(|deviation| 1.0 / (255.0 * deviation));
                (Rescaling::new(scale).offset(offset), None)
            }
            // In Keras the statistics are weights; in torchvision and transformers they are constants.
            (Variant::Keras, false) => (Rescaling::new(1.0 / 255.0), Some(Operator::Normalization {})),
            (Variant::Torch | Variant::Transformers, false) => {
                let normalization = Rescaling::new(DEVIATION.map(f64::recip)).offset(offset);
                (Rescaling::new(1.0 / 255.0), Some(normalization.into()))
            }
        };
        self.builder.then("rescaling", rescaling);
        if let Some(normalization) = normalization {
            self.builder.then("normalization", normalization);
        }
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
        let mut x = if stage.fused {
            self.fused(prefix, wide, stage, stride)
        } else {
            self.separated(prefix, channels, wide, stage, stride)
        };
        if stride == 1 && channels == stage.filters {
            if dropped > 0.0 {
                x = self.builder.then(format!("{prefix}drop"), Dropout::new(dropped).per_sample(true));
            }
            x = self.builder.add(format!("{prefix}add"), Operator::Add {}, &[x, entry]);
        }
        x
    }

    /// The convolutions of an MBConv block (Sandler et al., 2018): expansion, depthwise convolution, projection.
    fn separated(&mut self, prefix: &str, channels: usize, wide: usize, stage: &Stage, stride: usize) -> LayerId {
        if stage.expansion > 1 {
            self.conv(&format!("{prefix}expand_conv"), Conv2D::new(wide, 1).same());
            self.norm(&format!("{prefix}expand_bn"));
            self.activation(&format!("{prefix}expand_activation"));
        }
        let depthwise = DepthwiseConv2D::new(stage.kernel).use_bias(false);
        let depthwise = if stride == 2 {
            let (padding, stride) = self.halved(&format!("{prefix}dwconv_pad"), stage.kernel);
            depthwise.strides(stride).padding(padding)
        } else {
            // All variants pad an odd window with stride 1 in the same way.
            depthwise.same()
        };
        self.builder.then(format!("{prefix}{}", self.architecture.depthwise()), depthwise);
        self.norm(&format!("{prefix}bn"));
        let x = self.activation(&format!("{prefix}activation"));
        if self.variant != Variant::Lite0 {
            self.squeeze_and_excite(prefix, x, wide, channels / 4);
        }
        self.conv(&format!("{prefix}project_conv"), Conv2D::new(stage.filters, 1).same());
        self.norm(&format!("{prefix}project_bn"))
    }

    /// The convolutions of a Fused-MBConv block, with which EfficientNetV2 begins: one full convolution takes the place of expansion and
    /// depthwise convolution. A block that does not expand has the projection alone.
    fn fused(&mut self, prefix: &str, wide: usize, stage: &Stage, stride: usize) -> LayerId {
        let expands = stage.expansion > 1;
        let whole = Conv2D::new(if expands { wide } else { stage.filters }, stage.kernel);
        let whole = if stride == 2 {
            let (padding, stride) = self.halved("", stage.kernel);
            whole.strides(stride).padding(padding)
        } else {
            whole.same()
        };
        if !expands {
            self.conv(&format!("{prefix}project_conv"), whole);
            self.norm(&format!("{prefix}project_bn"));
            return self.activation(&format!("{prefix}project_activation"));
        }
        self.conv(&format!("{prefix}expand_conv"), whole);
        self.norm(&format!("{prefix}expand_bn"));
        self.activation(&format!("{prefix}expand_activation"));
        self.conv(&format!("{prefix}project_conv"), Conv2D::new(stage.filters, 1).same());
        self.norm(&format!("{prefix}project_bn"))
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

    /// The padding and the stride of a window that halves the size. Keras and TensorFlow put the smaller half of the zeros first
    /// (`correct_pad` in `imagenet_utils.py`); PyTorch pads all sides equally. The first generation has a layer for it, with this name.
    fn halved(&mut self, layer: &str, kernel: usize) -> (Padding, usize) {
        let half = kernel / 2;
        let keras = self.variant != Variant::Torch;
        let zeros = self.image.map(|side| [half - (1 - side % 2), half]);
        self.image = self.image.map(|side| side.div_ceil(2));
        let padding = match (self.architecture.second, keras) {
            (true, true) => Padding::Same,
            (true, false) => Padding::around(half),
            (false, _) => {
                self.builder.then(layer, if keras { ZeroPadding2D::new(zeros) } else { ZeroPadding2D::around(half) });
                Padding::Valid
            }
        };
        (padding, 2)
    }

    fn norm(&mut self, name: &str) -> LayerId {
        let norm = BatchNormalization::new();
        let norm = match self.variant {
            Variant::Keras if self.architecture.second => norm.momentum(0.9),
            Variant::Keras | Variant::Transformers | Variant::Lite0 => norm,
            Variant::Torch => {
                let [epsilon, momentum] = self.architecture.torch_norm;
                norm.epsilon(epsilon).momentum(momentum)
            }
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
