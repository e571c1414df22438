use injerto_plugin_sdk::{
    Activation, BatchNormalization, Builder, Conv2D, DepthwiseConv2D, Dropout, GlobalAveragePooling2D, Graph,
    GraphError, LayerId, Operator, Padding, ReLU, Rescaling, Variant, ZeroPadding2D, numbered,
};

use crate::{Parameters, Size};

/// A row of the paper's tables 1 and 2.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// Channels of the depthwise convolution as a multiple of the block's input.
    pub(crate) expansion: f64,
    filters: usize,
    kernel: usize,
    stride: usize,
    pub(crate) excites: bool,
    /// Whether the activation is hard swish; otherwise it is ReLU.
    hard: bool,
}

const fn row(expansion: f64, filters: usize, kernel: usize, stride: usize, excites: bool, hard: bool) -> Block {
    Block { expansion, filters, kernel, stride, excites, hard }
}

pub(crate) const SMALL: [Block; 11] = [
    row(1.0, 16, 3, 2, true, false),
    row(72.0 / 16.0, 24, 3, 2, false, false),
    row(88.0 / 24.0, 24, 3, 1, false, false),
    row(4.0, 40, 5, 2, true, true),
    row(6.0, 40, 5, 1, true, true),
    row(6.0, 40, 5, 1, true, true),
    row(3.0, 48, 5, 1, true, true),
    row(3.0, 48, 5, 1, true, true),
    row(6.0, 96, 5, 2, true, true),
    row(6.0, 96, 5, 1, true, true),
    row(6.0, 96, 5, 1, true, true),
];

pub(crate) const LARGE: [Block; 15] = [
    row(1.0, 16, 3, 1, false, false),
    row(4.0, 24, 3, 2, false, false),
    row(3.0, 24, 3, 1, false, false),
    row(3.0, 40, 5, 2, true, false),
    row(3.0, 40, 5, 1, true, false),
    row(3.0, 40, 5, 1, true, false),
    row(6.0, 80, 3, 2, false, true),
    row(2.5, 80, 3, 1, false, true),
    row(2.3, 80, 3, 1, false, true),
    row(2.3, 80, 3, 1, false, true),
    row(6.0, 112, 3, 1, true, true),
    row(6.0, 112, 3, 1, true, true),
    row(6.0, 160, 5, 2, true, true),
    row(6.0, 160, 5, 1, true, true),
    row(6.0, 160, 5, 1, true, true),
];

pub(crate) fn blocks(size: Size) -> &'static [Block] {
    match size {
        Size::Small => &SMALL,
        Size::Large => &LARGE,
    }
}

/// The prefix of Keras's names for the layers of a block.
pub(crate) fn prefix(block: usize) -> String {
    if block == 0 { "expanded_conv_".to_owned() } else { format!("expanded_conv_{block}_") }
}

/// A number of channels that 8 divides, not much smaller than `channels` (Keras's `_depth`).
fn depth(channels: f64) -> usize {
    let near = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (near as f64) < 0.9 * channels { near + 8 } else { near }
}

/// ImageNet's statistics of red, green and blue, for values from 0 to 1.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let Parameters { size, input_shape, alpha, variant, .. } = *parameters;
    let name = match size {
        Size::Small => "MobileNetV3Small",
        Size::Large => "MobileNetV3Large",
    };
    let mut net = Net { builder: Builder::new(name), variant, size: input_shape, relus: 0, activations: 0 };
    net.builder.image(input_shape);
    let rescaling = match variant {
        Variant::Keras => Rescaling::new(1.0 / 127.5).offset(-1.0),
        Variant::Torch => Rescaling::new(DEVIATION.map(|deviation| 1.0 / (255.0 * deviation)))
            .offset(std::array::from_fn::<f64, 3, _>(|c| -MEAN[c] / DEVIATION[c])),
    };
    net.builder.then("rescaling", rescaling);
    let stem = match variant {
        Variant::Keras => Conv2D::new(16, 3).strides(2).same(),
        Variant::Torch => Conv2D::new(16, 3).strides(2).padding(Padding::around(1)),
    };
    net.builder.then("conv", stem.use_bias(false));
    net.size = net.size.map(|side| side.div_ceil(2));
    net.norm("conv_bn");
    let mut x = net.activation(true);
    let mut channels = 16;
    for (at, block) in blocks(size).iter().enumerate() {
        let filters = depth(block.filters as f64 * alpha);
        x = net.block(&prefix(at), x, channels, filters, *block, at > 0);
        channels = filters;
    }
    net.builder.then("conv_1", Conv2D::new(depth(channels as f64 * 6.0), 1).same().use_bias(false));
    net.norm("conv_1_bn");
    net.activation(true);
    if parameters.include_top {
        let wide = if size == Size::Small { 1024 } else { 1280 };
        let wide = if alpha > 1.0 { depth(wide as f64 * alpha) } else { wide };
        net.builder.then("global_average_pooling2d", GlobalAveragePooling2D::new().keepdims(true));
        net.builder.then("conv_2", Conv2D::new(wide, 1).same());
        net.activation(true);
        net.builder.then("dropout", Dropout::new(0.2));
        net.builder.then("logits", Conv2D::new(parameters.classes, 1).same());
        net.builder.then("flatten", Operator::Flatten {});
        net.builder.then("predictions", parameters.classifier_activation);
    }
    net.builder.finish_in_keras_order()
}

struct Net {
    builder: Builder,
    variant: Variant,
    /// Height and width of the current layer's output.
    size: [usize; 2],
    /// How many ReLUs and activations Keras has numbered.
    relus: usize,
    activations: usize,
}

impl Net {
    /// An inverted residual block.
    fn block(
        &mut self,
        prefix: &str,
        entry: LayerId,
        channels: usize,
        filters: usize,
        block: Block,
        expands: bool,
    ) -> LayerId {
        let Block { expansion, kernel, stride, excites, hard, .. } = block;
        let wide = depth(channels as f64 * expansion);
        if expands {
            self.builder.then(format!("{prefix}expand"), Conv2D::new(wide, 1).same().use_bias(false));
            self.norm(&format!("{prefix}expand_bn"));
            self.activation(hard);
        }
        let depthwise = DepthwiseConv2D::new(kernel).use_bias(false);
        let depthwise = if stride == 2 {
            self.pad(&format!("{prefix}depthwise_pad"), kernel);
            depthwise.strides(2)
        } else {
            depthwise.same()
        };
        self.builder.then(format!("{prefix}depthwise"), depthwise);
        self.norm(&format!("{prefix}depthwise_bn"));
        let x = self.activation(hard);
        if excites {
            self.squeeze_and_excite(&format!("{prefix}squeeze_excite_"), x, wide);
        }
        self.builder.then(format!("{prefix}project"), Conv2D::new(filters, 1).same().use_bias(false));
        let x = self.norm(&format!("{prefix}project_bn"));
        match stride == 1 && channels == filters {
            true => self.builder.add(format!("{prefix}add"), Operator::Add {}, &[entry, x]),
            false => x,
        }
    }

    /// Scales each channel by the output of a small network, whose input is the means of all channels.
    fn squeeze_and_excite(&mut self, prefix: &str, x: LayerId, wide: usize) {
        self.builder.then(format!("{prefix}avg_pool"), GlobalAveragePooling2D::new().keepdims(true));
        self.builder.then(format!("{prefix}conv"), Conv2D::new(depth(wide as f64 * 0.25), 1).same());
        self.builder.then(format!("{prefix}relu"), ReLU::new());
        self.builder.then(format!("{prefix}conv_1"), Conv2D::new(wide, 1).same());
        // Keras computes it as a ReLU layer between a sum and a product, which are not layers.
        let y = self.builder.then(numbered("re_lu", self.relus), Activation::HardSigmoid);
        self.relus += 1;
        self.builder.add(format!("{prefix}mul"), Operator::Multiply {}, &[x, y]);
    }

    /// The zeros before a window with stride 2, which halves the size. Keras puts the smaller half of the zeros first (`correct_pad` in
    /// `imagenet_utils.py`); PyTorch pads all sides equally.
    fn pad(&mut self, name: &str, kernel: usize) {
        let half = kernel / 2;
        let padding = match self.variant {
            Variant::Torch => ZeroPadding2D::around(half),
            Variant::Keras => ZeroPadding2D::new(self.size.map(|side| [half - (1 - side % 2), half])),
        };
        self.size = self.size.map(|side| side.div_ceil(2));
        self.builder.then(name, padding);
    }

    fn norm(&mut self, name: &str) -> LayerId {
        let momentum = if self.variant == Variant::Keras { 0.999 } else { 0.99 };
        self.builder.then(name, BatchNormalization::new().momentum(momentum))
    }

    /// Hard swish or ReLU, with the name that Keras gives to an unnamed layer.
    fn activation(&mut self, hard: bool) -> LayerId {
        if hard {
            let name = numbered("activation", self.activations);
            self.activations += 1;
            return self.builder.then(name, Activation::HardSwish);
        }
        let name = numbered("re_lu", self.relus);
        self.relus += 1;
        self.builder.then(name, ReLU::new())
    }
}
