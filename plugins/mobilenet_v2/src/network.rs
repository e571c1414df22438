use injerto_plugin_sdk::{
    BatchNormalization, Builder, Conv2D, Dense, DepthwiseConv2D, GlobalAveragePooling2D, Graph, GraphError, Operator,
    Padding, ReLU, Variant, ZeroPadding2D,
};

use crate::Parameters;

/// Filters, stride and expansion of each block, from table 2 of the paper.
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

/// The prefix of Keras's names for the layers of a block.
pub(crate) fn prefix(block: usize) -> String {
    if block == 0 { "expanded_conv_".to_owned() } else { format!("block_{block}_") }
}

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let Parameters { alpha, input_shape, variant, .. } = *parameters;
    let norm = match variant {
        Variant::Keras => BatchNormalization::new().momentum(0.999),
        Variant::Torch => BatchNormalization::new().momentum(0.9).epsilon(1e-5),
    };
    // In both variants an odd window with stride 1 keeps the size; in Keras the stem is padded by the same rule.
    let same = match variant {
        Variant::Keras => Padding::Same,
        Variant::Torch => Padding::around(1),
    };
    let norm = || norm.clone();
    let relu = || ReLU::new().max_value(6.0);
    let conv = |filters, kernel| Conv2D::new(filters, kernel).use_bias(false);

    let mut net = Builder::new("mobilenet_v2");
    net.image(input_shape);
    let mut channels = divisible(32.0 * alpha);
    net.then("Conv1", conv(channels, 3).strides(2).padding(same));
    net.then("bn_Conv1", norm());
    let mut x = net.then("Conv1_relu", relu());
    let mut size = input_shape.map(|side| side.div_ceil(2));

    for (block, (base, stride, expansion)) in BLOCKS.into_iter().enumerate() {
        let (prefix, entry, out) = (prefix(block), x, divisible(base as f64 * alpha));
        if expansion > 1 {
            net.then(format!("{prefix}expand"), conv(channels * expansion, 1));
            net.then(format!("{prefix}expand_BN"), norm());
            net.then(format!("{prefix}expand_relu"), relu());
        }
        if stride == 2 {
            net.then(format!("{prefix}pad"), ZeroPadding2D::new(stride_padding(variant, size)));
            size = size.map(|side| side.div_ceil(2));
        }
        let padding = if stride == 2 { Padding::Valid } else { same };
        let depthwise = DepthwiseConv2D::new(3).strides(stride).padding(padding).use_bias(false);
        net.then(format!("{prefix}depthwise"), depthwise);
        net.then(format!("{prefix}depthwise_BN"), norm());
        net.then(format!("{prefix}depthwise_relu"), relu());
        net.then(format!("{prefix}project"), conv(out, 1));
        x = net.then(format!("{prefix}project_BN"), norm());
        if stride == 1 && channels == out {
            x = net.add(format!("{prefix}add"), Operator::Add {}, &[entry, x]);
        }
        channels = out;
    }

    let last = if alpha > 1.0 { divisible(1280.0 * alpha) } else { 1280 };
    net.then("Conv_1", conv(last, 1));
    net.then("Conv_1_bn", norm());
    net.then("out_relu", relu());
    if parameters.include_top {
        net.then("global_average_pooling2d", GlobalAveragePooling2D::new());
        net.then("predictions", Dense::new(parameters.classes).activation(parameters.classifier_activation));
    }
    net.finish()
}

/// The zeros before a 3×3 convolution with stride 2. Keras puts the smaller half of the zeros first (`correct_pad` in
/// `imagenet_utils.py`); PyTorch pads all sides equally.
fn stride_padding(variant: Variant, size: [usize; 2]) -> [[usize; 2]; 2] {
    match variant {
        Variant::Keras => size.map(|side| [side % 2, 1]),
        Variant::Torch => [[1, 1], [1, 1]],
    }
}

/// The nearest multiple of 8 to `value` that is at least 8 and not less than nine tenths of `value` (`_make_divisible` of the
/// reference implementation).
fn divisible(value: f64) -> usize {
    let value = value.trunc();
    let rounded = (((value + 4.0) / 8.0).floor() as usize * 8).max(8);
    if (rounded as f64) < 0.9 * value { rounded + 8 } else { rounded }
}
