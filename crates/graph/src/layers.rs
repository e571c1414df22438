//! Constructors of layers, in the manner of Keras: `new` takes the required options, a method sets each other option by its name,
//! and options that are not set have Keras's defaults. A layer becomes an [`Operator`] when it is added to a
//! [`Builder`](crate::Builder).
//!
//! ```
//! use injerto_graph::Operator;
//! use injerto_graph::layers::Conv2D;
//!
//! let operator: Operator = Conv2D::new(64, 3).strides(2).same().relu().into();
//! assert_eq!(serde_json::to_value(&operator)?["config"]["strides"], serde_json::json!([2, 2]));
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! Operators without options need no constructor (`Operator::Flatten {}`), and an [`Activation`] is a layer by itself.
//! The defaults are the same as for a description that leaves an option out.

use crate::operator::{keras_epsilon, keras_groups, keras_momentum, one, ones, response_epsilon, yes};
use crate::{Activation, Operator, Padding, PerChannel, Resample, Window};

/// A vertical and a horizontal length. One number stands for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair([usize; 2]);

impl From<usize> for Pair {
    fn from(both: usize) -> Self {
        Self([both, both])
    }
}

impl From<[usize; 2]> for Pair {
    fn from(pair: [usize; 2]) -> Self {
        Self(pair)
    }
}

impl From<Pair> for [usize; 2] {
    fn from(Pair(pair): Pair) -> Self {
        pair
    }
}

/// A limit, if there is one.
type Limit = Option<f64>;

/// The grids of an interpolation, if there is one.
type Grids = Option<Resample>;

/// The argument type for a field of each type. Numbers are plain, so that a literal needs no suffix.
macro_rules! argument {
    (Pair) => { impl Into<Pair> };
    (PerChannel) => { impl Into<PerChannel> };
    (Limit) => { impl Into<Limit> };
    (Grids) => { impl Into<Grids> };
    ($type:ident) => { $type };
}

/// Defines the layers. Parentheses hold the required options, and braces hold the other options with their defaults.
macro_rules! layers {
    ($($name:ident($($needed:ident: $type:ident),*) { $($option:ident: $of:ident = $default:expr),* $(,)? })*) => {
        $(
            #[doc = concat!("[`Operator::", stringify!($name), "`], whose fields say what the options mean.")]
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name {
                $($needed: $type,)*
                $($option: $of,)*
            }

            #[allow(clippy::new_without_default)] // `new` alone is enough.
            impl $name {
                #[doc = concat!("A `", stringify!($name), "` with Keras's defaults.")]
                pub fn new($($needed: argument!($type)),*) -> Self {
                    $(let $needed: $type = $needed.into();)*
                    Self { $($option: $default,)* $($needed,)* }
                }

                $(
                    #[doc = concat!("Sets `", stringify!($option), "`.")]
                    pub fn $option(mut self, $option: argument!($of)) -> Self {
                        self.$option = $option.into();
                        self
                    }
                )*
            }
        )*
    };
}

/// Converts the fields of a layer to those of its operator.
macro_rules! operators {
    ($($name:ident { $($field:ident),* })*) => {
        $(
            impl From<$name> for Operator {
                fn from(layer: $name) -> Self {
                    Self::$name { $($field: layer.$field.into()),* }
                }
            }
        )*
    };
}

/// Defines short forms of options that many layers have.
macro_rules! short {
    (same: $($name:ident)*) => {
        $(impl $name {
            /// Sets `padding = "same"`: the output is as large as the input divided by the strides.
            pub fn same(self) -> Self {
                self.padding(Padding::Same)
            }
        })*
    };
    (relu: $($name:ident)*) => {
        $(impl $name {
            /// Sets `activation = "relu"`: ReLU is applied to the output.
            pub fn relu(self) -> Self {
                self.activation(Activation::Relu)
            }
        })*
    };
}

layers! {
    Conv2D(filters: usize, kernel_size: Pair) {
        strides: Pair = ones().into(),
        padding: Padding = Padding::default(),
        dilation_rate: Pair = ones().into(),
        groups: usize = one(),
        use_bias: bool = yes(),
        activation: Activation = Activation::default(),
    }
    DepthwiseConv2D(kernel_size: Pair) {
        strides: Pair = ones().into(),
        padding: Padding = Padding::default(),
        dilation_rate: Pair = ones().into(),
        depth_multiplier: usize = one(),
        use_bias: bool = yes(),
        activation: Activation = Activation::default(),
    }
    SeparableConv2D(filters: usize, kernel_size: Pair) {
        strides: Pair = ones().into(),
        padding: Padding = Padding::default(),
        dilation_rate: Pair = ones().into(),
        depth_multiplier: usize = one(),
        use_bias: bool = yes(),
        activation: Activation = Activation::default(),
    }
    Dense(units: usize) {
        use_bias: bool = yes(),
        activation: Activation = Activation::default(),
    }
    BatchNormalization() {
        epsilon: f64 = keras_epsilon(),
        momentum: f64 = keras_momentum(),
        center: bool = yes(),
        scale: bool = yes(),
    }
    LayerNormalization() {
        epsilon: f64 = keras_epsilon(),
        center: bool = yes(),
        scale: bool = yes(),
    }
    GroupNormalization() {
        groups: usize = keras_groups(),
        epsilon: f64 = keras_epsilon(),
        center: bool = yes(),
        scale: bool = yes(),
    }
    GlobalResponseNormalization() { epsilon: f64 = response_epsilon() }
    DotProductAttention(num_heads: usize) {}
    PrependTokens() { count: usize = one() }
    PositionEmbedding() { resample: Grids = None }
    ReLU() {
        max_value: Limit = None,
        negative_slope: f64 = 0.0,
    }
    Dropout(rate: f64) { per_sample: bool = false }
    Rescaling(scale: PerChannel) { offset: PerChannel = PerChannel::default() }
    GlobalAveragePooling2D() { keepdims: bool = false }
    GlobalMaxPooling2D() { keepdims: bool = false }
    MaxPooling2D(pool_size: Pair) {
        strides: Pair = pool_size,
        padding: Padding = Padding::default(),
    }
    AveragePooling2D(pool_size: Pair) {
        strides: Pair = pool_size,
        padding: Padding = Padding::default(),
        count_include_pad: bool = false,
    }
}

operators! {
    Conv2D { filters, kernel_size, strides, padding, dilation_rate, groups, use_bias, activation }
    DepthwiseConv2D { kernel_size, strides, padding, dilation_rate, depth_multiplier, use_bias, activation }
    SeparableConv2D { filters, kernel_size, strides, padding, dilation_rate, depth_multiplier, use_bias, activation }
    Dense { units, use_bias, activation }
    BatchNormalization { epsilon, momentum, center, scale }
    LayerNormalization { epsilon, center, scale }
    GroupNormalization { groups, epsilon, center, scale }
    GlobalResponseNormalization { epsilon }
    DotProductAttention { num_heads }
    PrependTokens { count }
    PositionEmbedding { resample }
    ReLU { max_value, negative_slope }
    Dropout { rate, per_sample }
    Rescaling { scale, offset }
    GlobalAveragePooling2D { keepdims }
    GlobalMaxPooling2D { keepdims }
}

short!(same: Conv2D DepthwiseConv2D SeparableConv2D MaxPooling2D AveragePooling2D);
short!(relu: Conv2D DepthwiseConv2D SeparableConv2D Dense);

impl From<MaxPooling2D> for Operator {
    fn from(MaxPooling2D { pool_size, strides, padding }: MaxPooling2D) -> Self {
        let (pool_size, strides) = (pool_size.into(), strides.into());
        Self::MaxPooling2D(Window { pool_size, strides, padding, count_include_pad: false })
    }
}

impl From<AveragePooling2D> for Operator {
    fn from(AveragePooling2D { pool_size, strides, padding, count_include_pad }: AveragePooling2D) -> Self {
        let (pool_size, strides) = (pool_size.into(), strides.into());
        Self::AveragePooling2D(Window { pool_size, strides, padding, count_include_pad })
    }
}

/// [`Operator::ZeroPadding2D`], which has no further options.
#[derive(Debug, Clone, PartialEq)]
pub struct ZeroPadding2D {
    padding: [[usize; 2]; 2],
}

impl ZeroPadding2D {
    /// Pads with `[[top, bottom], [left, right]]` zeros.
    pub fn new(padding: [[usize; 2]; 2]) -> Self {
        Self { padding }
    }

    /// Pads with `amount` zeros on every side.
    pub fn around(amount: usize) -> Self {
        Self::new([[amount; 2]; 2])
    }
}

operators! { ZeroPadding2D { padding } }

impl From<Activation> for Operator {
    fn from(activation: Activation) -> Self {
        Self::Activation { activation }
    }
}
