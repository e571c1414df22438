//! What a layer costs: its multiply-adds, and the values that it needs beside input and output.

use crate::Shape;
use crate::infer::{Attention, slide, window_padding};
use crate::{Operator, Parameter, Resample, limits};

/// The multiply-adds of one forward pass; see [`Node::multiply_adds`](crate::Node::multiply_adds).
pub(crate) fn multiply_adds(operator: &Operator, inputs: &[&Shape], output: &Shape, parameters: &[Parameter]) -> u64 {
    let read = || inputs.iter().map(|shape| shape.count() as u64).sum::<u64>();
    let outputs = output.count() as u64;
    match operator {
        // Each output value takes one multiply-add per value of the kernel for one filter.
        Operator::Conv2D { filters, .. } => outputs.saturating_mul((parameters[0].count() / (*filters).max(1)) as u64),
        Operator::DepthwiseConv2D { kernel_size: [h, w], .. } => outputs.saturating_mul((h * w) as u64),
        Operator::SeparableConv2D { filters, kernel_size: [h, w], depth_multiplier, .. } => {
            let between = inputs[0].channels().saturating_mul(*depth_multiplier) as u64;
            let pixels = outputs / (*filters).max(1) as u64;
            pixels.saturating_mul(between).saturating_mul(((h * w) as u64).saturating_add(*filters as u64))
        }
        Operator::Dense { .. } => outputs.saturating_mul(inputs[0].channels() as u64),
        Operator::DotProductAttention { num_heads } => Attention::new(*num_heads, inputs).map_or(0, |sizes| {
            let products = (sizes.tokens as u64).saturating_mul(sizes.others as u64);
            products.saturating_mul((sizes.channels + sizes.value_channels) as u64)
        }),
        Operator::MaxPooling2D(window) | Operator::AveragePooling2D(window) => {
            let [h, w] = window.pool_size;
            outputs.saturating_mul((h * w) as u64)
        }
        Operator::Rescaling { .. }
        | Operator::Normalization {}
        | Operator::BatchNormalization { .. }
        | Operator::LayerNormalization { .. }
        | Operator::GroupNormalization { .. }
        | Operator::GlobalResponseNormalization { .. }
        | Operator::LayerScale {}
        | Operator::PositionEmbedding { .. }
        | Operator::ReLU { .. }
        | Operator::Activation { .. }
        | Operator::Softmax {}
        | Operator::GlobalAveragePooling2D { .. }
        | Operator::GlobalMaxPooling2D { .. }
        | Operator::Add {}
        | Operator::Multiply {} => read(),
        Operator::InputLayer { .. }
        | Operator::ZeroPadding2D { .. }
        | Operator::Concatenate {}
        | Operator::Take { .. }
        | Operator::PrependTokens { .. }
        | Operator::Cropping1D { .. }
        | Operator::Dropout { .. }
        | Operator::Flatten {}
        | Operator::Reshape { .. } => 0,
    }
}

/// Number of values that a layer needs beside its inputs and its output: the zeros around an input whose windows are padded, the values
/// between the two convolutions of a separable one, the scores of an attention, and the weights of an interpolation. `None` if the number
/// overflows.
pub(crate) fn working_values(operator: &Operator, inputs: &[&Shape]) -> Option<usize> {
    let (window, strides, padding, dilation) = match operator {
        Operator::Conv2D { kernel_size, strides, padding, dilation_rate, .. }
        | Operator::DepthwiseConv2D { kernel_size, strides, padding, dilation_rate, .. }
        | Operator::SeparableConv2D { kernel_size, strides, padding, dilation_rate, .. } => {
            (kernel_size, strides, padding, *dilation_rate)
        }
        Operator::MaxPooling2D(window) | Operator::AveragePooling2D(window) => {
            (&window.pool_size, &window.strides, &window.padding, [1, 1])
        }
        Operator::DotProductAttention { num_heads } => {
            let sizes = Attention::new(*num_heads, inputs).ok()?;
            return limits::product(&[sizes.heads, sizes.tokens, sizes.others]);
        }
        // The interpolation has weights for each axis.
        Operator::PositionEmbedding { resample: Some(Resample { from, to }) } => {
            return limits::product(&[from[0], to[0]])?.checked_add(limits::product(&[from[1], to[1]])?);
        }
        _ => return Some(0),
    };
    let [height, width, channels] = inputs[0].image()?;
    let side = |axis: usize, length: usize| {
        let ((before, after), _) = window_padding(*padding, axis, length, window[axis], strides[axis], dilation[axis])?;
        length.checked_add(before)?.checked_add(after)
    };
    let padded = limits::product(&[side(0, height)?, side(1, width)?, channels])?;
    let zeros = padded.checked_sub(inputs[0].count())?;
    match operator {
        Operator::SeparableConv2D { depth_multiplier, .. } => {
            let [oh, ow] = slide([height, width], *window, *strides, *padding, dilation).ok()?;
            zeros.checked_add(limits::product(&[oh, ow, channels, *depth_multiplier])?)
        }
        _ => Some(zeros),
    }
}
