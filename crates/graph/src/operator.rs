use serde::{Deserialize, Serialize};

use crate::{Padding, PerChannel, Window};

/// The operation of a layer. Classes and options are Keras's. In JSON an operator is `{"class": "Conv2D", "config": {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class", content = "config", deny_unknown_fields)]
pub enum Operator {
    /// The input of the network; `shape` is `[height, width, channels]`.
    InputLayer {
        /// Shape of one sample.
        shape: Vec<usize>,
    },
    /// `x * scale + offset`.
    Rescaling {
        /// One factor for all channels, or one per channel.
        scale: PerChannel,
        /// One summand for all channels, or one per channel.
        #[serde(default)]
        offset: PerChannel,
    },
    /// `(x - mean) / max(sqrt(variance), 1e-7)` per channel. Mean and variance are parameters that are not trained.
    Normalization {},
    /// Two-dimensional convolution.
    Conv2D {
        /// Output channels.
        filters: usize,
        /// `[height, width]`.
        kernel_size: [usize; 2],
        /// `[vertical, horizontal]`.
        #[serde(default = "ones")]
        strides: [usize; 2],
        /// Rule for the border.
        #[serde(default)]
        padding: Padding,
        /// `[vertical, horizontal]`.
        #[serde(default = "ones")]
        dilation_rate: [usize; 2],
        /// Groups of channels that do not mix.
        #[serde(default = "one")]
        groups: usize,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        use_bias: bool,
        /// Activation of the output.
        #[serde(default)]
        activation: Activation,
    },
    /// Two-dimensional convolution of each channel by itself.
    DepthwiseConv2D {
        /// `[height, width]`.
        kernel_size: [usize; 2],
        /// `[vertical, horizontal]`.
        #[serde(default = "ones")]
        strides: [usize; 2],
        /// Rule for the border.
        #[serde(default)]
        padding: Padding,
        /// `[vertical, horizontal]`.
        #[serde(default = "ones")]
        dilation_rate: [usize; 2],
        /// Number of output channels per input channel.
        #[serde(default = "one")]
        depth_multiplier: usize,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        use_bias: bool,
        /// Activation of the output.
        #[serde(default)]
        activation: Activation,
    },
    /// An [`Operator::DepthwiseConv2D`] directly followed by an [`Operator::Conv2D`] with a kernel of 1×1 (Chollet, 2016). Its
    /// kernels are `depthwise_kernel` and `pointwise_kernel`; bias and activation are those of the second convolution.
    SeparableConv2D {
        /// Output channels.
        filters: usize,
        /// `[height, width]` of the first kernel.
        kernel_size: [usize; 2],
        /// `[vertical, horizontal]`.
        #[serde(default = "ones")]
        strides: [usize; 2],
        /// Rule for the border.
        #[serde(default)]
        padding: Padding,
        /// `[vertical, horizontal]`.
        #[serde(default = "ones")]
        dilation_rate: [usize; 2],
        /// Number of channels between the two convolutions per input channel.
        #[serde(default = "one")]
        depth_multiplier: usize,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        use_bias: bool,
        /// Activation of the output.
        #[serde(default)]
        activation: Activation,
    },
    /// Batch normalisation over the last axis.
    BatchNormalization {
        /// Added to the variance.
        #[serde(default = "keras_epsilon")]
        epsilon: f64,
        /// Share of the old running statistics that each step keeps.
        #[serde(default = "keras_momentum")]
        momentum: f64,
        /// Whether the layer has a beta.
        #[serde(default = "yes")]
        center: bool,
        /// Whether the layer has a gamma.
        #[serde(default = "yes")]
        scale: bool,
    },
    /// Layer normalisation over the last axis (Ba, Kiros and Hinton, 2016): `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with
    /// mean and biased variance of the channels of each position. Training and inference compute the same. Keras's epsilon is 1e-3,
    /// PyTorch's 1e-5, and that of timm's transformers 1e-6.
    LayerNormalization {
        /// Added to the variance.
        #[serde(default = "keras_epsilon")]
        epsilon: f64,
        /// Whether the layer has a beta.
        #[serde(default = "yes")]
        center: bool,
        /// Whether the layer has a gamma.
        #[serde(default = "yes")]
        scale: bool,
    },
    /// Group normalisation (Wu and He, 2018): as [`Operator::LayerNormalization`], with mean and biased variance of all positions of each
    /// group of consecutive channels. Keras's epsilon is 1e-3, PyTorch's 1e-5.
    GroupNormalization {
        /// Number of groups, which divides the channels.
        #[serde(default = "keras_groups")]
        groups: usize,
        /// Added to the variance.
        #[serde(default = "keras_epsilon")]
        epsilon: f64,
        /// Whether the layer has a beta.
        #[serde(default = "yes")]
        center: bool,
        /// Whether the layer has a gamma.
        #[serde(default = "yes")]
        scale: bool,
    },
    /// Global response normalisation (Woo et al., 2023, ConvNeXt V2): `x + gamma * (x * n) + beta`, where `n` is the Euclidean norm of a
    /// channel over all positions, divided by the mean of these norms over the channels plus epsilon.
    GlobalResponseNormalization {
        /// Added to the mean of the norms.
        #[serde(default = "response_epsilon")]
        epsilon: f64,
    },
    /// `gamma * x` for each channel (Touvron et al., 2021, CaiT).
    LayerScale {},
    /// `softmax(q kᵀ / sqrt(d)) v` for each of some heads (Vaswani et al., 2017), as `keras.ops.dot_product_attention` and PyTorch's
    /// `scaled_dot_product_attention` compute it. The projections of a multi-head attention are [`Operator::Dense`] layers before and
    /// after it.
    ///
    /// With three inputs, the first one has the queries `[tokens, channels]`, the second one the keys `[others, channels]` and the third one the
    /// values `[others, value channels]`; the output is `[tokens, value channels]`. With one input `[tokens, 3 * channels]`, its channels are
    /// those of queries, keys and values, in this order, as a joint projection computes them. A head takes consecutive channels, and `d` is
    /// their number.
    DotProductAttention {
        /// Number of heads, which divides the channels.
        num_heads: usize,
    },
    /// Puts learned tokens before those of the input `[tokens, channels]`: a class token, or registers.
    PrependTokens {
        /// Number of tokens that are added.
        #[serde(default = "one")]
        count: usize,
    },
    /// Adds a learned value to each value of a sample, such as the embedding of a token's position.
    PositionEmbedding {
        /// The grids between which the embedding is interpolated, if images have another size than those that it was learned from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resample: Option<Resample>,
    },
    /// Leaves out positions at the beginning and the end of `[positions, channels]`.
    Cropping1D {
        /// How many positions at the beginning, and how many at the end.
        cropping: [usize; 2],
    },
    /// `min(x, max_value)` where `x` is positive, and `negative_slope * x` elsewhere. If the slope is not 0, it is a leaky ReLU.
    ReLU {
        /// Upper limit, if any.
        #[serde(default)]
        max_value: Option<f64>,
        /// Slope for negative values. The default is 0 in Keras, and 0.01 in PyTorch's `LeakyReLU`.
        #[serde(default, skip_serializing_if = "is_zero")]
        negative_slope: f64,
    },
    /// An activation as a separate layer.
    Activation {
        /// The activation.
        activation: Activation,
    },
    /// Softmax over the last axis.
    Softmax {},
    /// Adds zeros around the image.
    ZeroPadding2D {
        /// `[[top, bottom], [left, right]]`.
        padding: [[usize; 2]; 2],
    },
    /// Largest value of each window. Padding is never the largest value.
    MaxPooling2D(Window),
    /// Mean of each window. Padding is left out of the mean unless `count_include_pad` is set.
    AveragePooling2D(Window),
    /// Mean over height and width.
    GlobalAveragePooling2D {
        /// Whether height and width are kept as axes of length 1.
        #[serde(default)]
        keepdims: bool,
    },
    /// Largest value over height and width.
    GlobalMaxPooling2D {
        /// Whether height and width are kept as axes of length 1.
        #[serde(default)]
        keepdims: bool,
    },
    /// Joins inputs along the channels.
    Concatenate {},
    /// Selects the channels with these numbers, in this order, as `keras.ops.take(x, indices, axis=-1)`: some of the channels, or all in another
    /// order. A number may occur several times.
    Take {
        /// For each output channel, the number of its input channel.
        indices: Vec<usize>,
    },
    /// Sum of inputs. A side of length 1 is repeated.
    Add {},
    /// Product of inputs. A side of length 1 is repeated.
    Multiply {},
    /// `x · kernel + bias` over the last axis.
    Dense {
        /// Output features.
        units: usize,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        use_bias: bool,
        /// Activation of the output.
        #[serde(default)]
        activation: Activation,
    },
    /// Zeroes a fraction of its inputs in training and scales the rest by `1 / (1 - rate)`. In inference, and if the layer is frozen,
    /// it is the identity.
    Dropout {
        /// The fraction, 0.0 to 1.0 (1.0 excluded).
        rate: f64,
        /// Whether whole samples are dropped (Keras's `noise_shape = (None, 1, 1, 1)`), which is known as stochastic depth.
        #[serde(default)]
        per_sample: bool,
    },
    /// Joins all axes into one.
    Flatten {},
    /// The same values in another shape.
    Reshape {
        /// Shape of one sample.
        target_shape: Vec<usize>,
    },
}

/// Two grids of positions. The input of the layer has the `to` grid as its last tokens, row by row; the embedding has the `from` grid
/// instead. Tokens before them have the same embedding in both. [`crate::Taps::bicubic`] says how values are interpolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resample {
    /// `[height, width]` of the grid that the embedding was learned for.
    pub from: [usize; 2],
    /// `[height, width]` of the grid of the input.
    pub to: [usize; 2],
}

/// An element-wise function, or softmax over the last axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x`.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x * sigmoid(x)`.
    #[serde(alias = "silu")]
    Swish,
    /// `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `x * (1 + erf(x / sqrt(2))) / 2` (Hendrycks and Gimpel, 2016), the default of PyTorch and of Keras.
    Gelu,
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`, PyTorch's `approximate="tanh"` and Keras's `approximate=True`.
    GeluTanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `relu6(x + 3) / 6`, as in Keras 3 and PyTorch.
    HardSigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `exp(x) / sum(exp(x))` over the last axis.
    Softmax,
}

impl Activation {
    /// All activations.
    pub const ALL: [Self; 11] = [
        Self::Linear,
        Self::Relu,
        Self::Relu6,
        Self::Swish,
        Self::HardSwish,
        Self::Gelu,
        Self::GeluTanh,
        Self::Sigmoid,
        Self::HardSigmoid,
        Self::Tanh,
        Self::Softmax,
    ];

    /// Keras's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Swish => "swish",
            Self::HardSwish => "hard_swish",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Sigmoid => "sigmoid",
            Self::HardSigmoid => "hard_sigmoid",
            Self::Tanh => "tanh",
            Self::Softmax => "softmax",
        }
    }
}

impl Operator {
    /// Keras's class name.
    pub fn class(&self) -> &'static str {
        match self {
            Self::InputLayer { .. } => "InputLayer",
            Self::Rescaling { .. } => "Rescaling",
            Self::Normalization {} => "Normalization",
            Self::Conv2D { .. } => "Conv2D",
            Self::DepthwiseConv2D { .. } => "DepthwiseConv2D",
            Self::SeparableConv2D { .. } => "SeparableConv2D",
            Self::BatchNormalization { .. } => "BatchNormalization",
            Self::LayerNormalization { .. } => "LayerNormalization",
            Self::GroupNormalization { .. } => "GroupNormalization",
            Self::GlobalResponseNormalization { .. } => "GlobalResponseNormalization",
            Self::LayerScale {} => "LayerScale",
            Self::DotProductAttention { .. } => "DotProductAttention",
            Self::PrependTokens { .. } => "PrependTokens",
            Self::PositionEmbedding { .. } => "PositionEmbedding",
            Self::Cropping1D { .. } => "Cropping1D",
            Self::ReLU { .. } => "ReLU",
            Self::Activation { .. } => "Activation",
            Self::Softmax {} => "Softmax",
            Self::ZeroPadding2D { .. } => "ZeroPadding2D",
            Self::MaxPooling2D(_) => "MaxPooling2D",
            Self::AveragePooling2D(_) => "AveragePooling2D",
            Self::GlobalAveragePooling2D { .. } => "GlobalAveragePooling2D",
            Self::GlobalMaxPooling2D { .. } => "GlobalMaxPooling2D",
            Self::Concatenate {} => "Concatenate",
            Self::Take { .. } => "Take",
            Self::Add {} => "Add",
            Self::Multiply {} => "Multiply",
            Self::Dense { .. } => "Dense",
            Self::Dropout { .. } => "Dropout",
            Self::Flatten {} => "Flatten",
            Self::Reshape { .. } => "Reshape",
        }
    }

    /// Checks the numbers that do not depend on the input: each must be finite, also in single precision, and in its range.
    pub(crate) fn check(&self) -> Result<(), String> {
        let all_finite = |values: &[f64]| values.iter().all(|&value| (value as f32).is_finite());
        match self {
            Self::Rescaling { scale, offset } => {
                for (what, values) in [("scale", scale), ("offset", offset)] {
                    let finite = match values {
                        PerChannel::One(value) => all_finite(&[*value]),
                        PerChannel::Each(values) => all_finite(values),
                    };
                    if !finite {
                        return Err(format!("{what} must be finite"));
                    }
                }
            }
            Self::BatchNormalization { epsilon, momentum, .. } => {
                if !(all_finite(&[*epsilon]) && *epsilon >= 0.0) {
                    return Err(format!("epsilon must be finite and not negative, not {epsilon}"));
                }
                if !(0.0..=1.0).contains(momentum) {
                    return Err(format!("momentum must be 0.0 to 1.0, not {momentum}"));
                }
            }
            Self::LayerNormalization { epsilon, .. }
            | Self::GroupNormalization { epsilon, .. }
            | Self::GlobalResponseNormalization { epsilon }
                if !(all_finite(&[*epsilon]) && *epsilon >= 0.0) =>
            {
                return Err(format!("epsilon must be finite and not negative, not {epsilon}"));
            }
            Self::ReLU { max_value: Some(most), .. } if !(all_finite(&[*most]) && *most >= 0.0) => {
                return Err(format!("max_value must be finite and not negative, not {most}"));
            }
            Self::ReLU { negative_slope, .. } if !(0.0..=1.0).contains(negative_slope) => {
                return Err(format!("negative_slope must be 0.0 to 1.0, not {negative_slope}"));
            }
            Self::Dropout { rate, .. } if !(0.0..1.0).contains(rate) => {
                return Err(format!("rate must be 0.0 to 1.0 (1.0 excluded), not {rate}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the operator draws random numbers in training.
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Dropout { rate, .. } if *rate > 0.0)
    }
}

// Keras's defaults, which hold for options that a description leaves out and for the constructors in `layers`.

pub(crate) fn one() -> usize {
    1
}
pub(crate) fn ones() -> [usize; 2] {
    [1, 1]
}
pub(crate) fn yes() -> bool {
    true
}
pub(crate) fn is_zero(value: &f64) -> bool {
    *value == 0.0
}
pub(crate) fn response_epsilon() -> f64 {
    1e-6
}
pub(crate) fn keras_groups() -> usize {
    32
}
pub(crate) fn keras_epsilon() -> f64 {
    1e-3
}
pub(crate) fn keras_momentum() -> f64 {
    0.99
}
