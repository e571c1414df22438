//! The specification: one arm per operator, which says the value and its slopes side by side.
//!
//! Semantics are those of Keras 3 (<https://keras.io/api/layers/>) with channels last; `Explicit` padding and
//! `count_include_pad` are PyTorch's (<https://docs.pytorch.org/docs/stable/nn.html>). Where Keras leaves a slope open, at a kink,
//! it is TensorFlow's: a ReLU passes a gradient on only where its output lies strictly between its limits.

use injerto_graph::{Activation, Operator, Padding, Role};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::activations::{activate, clip};
use crate::layer::{Backward, Context};
use crate::norms::{normalise, respond, standardise};
use crate::tensor::Tensor;
use crate::tokens;
use crate::windows::{Pool, Slide, convolve, largest, pool};

/// The output of a layer, and the way back.
pub(crate) fn layer(inputs: &[&Tensor], context: &mut Context<'_>) -> (Tensor, Backward) {
    let x = inputs[0];
    let node = context.node;
    match node.operator() {
        Operator::InputLayer { .. } => unreachable!("the input is given, not computed"),
        // y = x * scale + offset
        Operator::Rescaling { scale, offset } => {
            let (scale, offset) = (scale.values(x.channels()), offset.values(x.channels()));
            let y = x.map(|c, x| x * scale[c] + offset[c]);
            (y, Backward::one(move |dy| dy.map(|c, dy| dy * scale[c])))
        }
        // y = (x - mean) / max(sqrt(variance), epsilon), with Keras's backend epsilon, 1e-7.
        Operator::Normalization {} => {
            let (mean, variance) = (context.needed(Role::Mean).1, context.needed(Role::Variance).1);
            let scale: Vec<f64> = variance.iter().map(|variance| 1.0 / variance.sqrt().max(1e-7)).collect();
            let y = x.map(|c, x| (x - mean[c]) * scale[c]);
            (y, Backward::one(move |dy| dy.map(|c, dy| dy * scale[c])))
        }
        // y[p, f] = activation(bias[f] + sum over taps t and channels c of f's group of x[p * stride + t, c] * kernel[t, c, f])
        Operator::Conv2D { filters, kernel_size, strides, padding, dilation_rate, groups, activation, .. } => {
            let slide = Slide::new(x, *kernel_size, *strides, *padding, *dilation_rate);
            let kernel = context.needed(Role::ConvolutionKernel);
            // Where each filter has a channel to itself there is no product of matrices.
            let alone = *groups > 1 && groups == filters && x.channels() == *groups;
            let operand = if alone { |x| x } else { context.operand };
            let (y, back) = convolve(operand, x, slide, kernel, context.parameter(Role::Bias), *groups, *filters);
            let (y, last) = activate(&y, *activation, context);
            (y, back.then(last))
        }
        // A convolution in which each channel is a group: filter c * depth_multiplier + i reads channel c alone.
        Operator::DepthwiseConv2D {
            kernel_size,
            strides,
            padding,
            dilation_rate,
            depth_multiplier,
            activation,
            ..
        } => {
            let slide = Slide::new(x, *kernel_size, *strides, *padding, *dilation_rate);
            let (kernel, groups) = (context.needed(Role::DepthwiseKernel), x.channels());
            let (y, back) =
                convolve(|x| x, x, slide, kernel, context.parameter(Role::Bias), groups, groups * depth_multiplier);
            let (y, last) = activate(&y, *activation, context);
            (y, back.then(last))
        }
        // The two convolutions, one after the other.
        Operator::SeparableConv2D {
            filters,
            kernel_size,
            strides,
            padding,
            dilation_rate,
            depth_multiplier,
            activation,
            ..
        } => {
            let slide = Slide::new(x, *kernel_size, *strides, *padding, *dilation_rate);
            let (depthwise, channels) = (context.needed(Role::DepthwiseKernel), x.channels());
            let (between, first) = convolve(|x| x, x, slide, depthwise, None, channels, channels * depth_multiplier);
            let slide = Slide::new(&between, [1, 1], [1, 1], Padding::Valid, [1, 1]);
            let pointwise = context.needed(Role::ConvolutionKernel);
            let bias = context.parameter(Role::Bias);
            let (y, second) = convolve(context.operand, &between, slide, pointwise, bias, 1, *filters);
            let (y, last) = activate(&y, *activation, context);
            (y, first.then(second).then(last))
        }
        // y[unit] = activation(bias[unit] + sum over features of x[feature] * kernel[feature, unit]), on the last axis.
        Operator::Dense { units, activation, .. } => {
            let (rows, features) = (x.count() / x.channels(), x.channels());
            let image = x.shaped(&[rows, 1, features]);
            let slide = Slide::new(&image, [1, 1], [1, 1], Padding::Valid, [1, 1]);
            let kernel = context.needed(Role::DenseKernel);
            let bias = context.parameter(Role::Bias);
            let (y, back) = convolve(context.operand, &image, slide, kernel, bias, 1, *units);
            let (y, last) = activate(&y, *activation, context);
            let (shape, of_image) = (x.shape.clone(), y.shape.clone());
            let back = Backward::new(move |dy| {
                let (dx, parameters) = back.apply(&last.apply(&dy.shaped(&of_image)).0[0]);
                (vec![dx[0].shaped(&shape)], parameters)
            });
            let mut shape = x.shape.clone();
            *shape.last_mut().expect("at least one axis") = *units;
            (y.shaped(&shape), back)
        }
        // y = gamma * (x - mean) / sqrt(variance + epsilon) + beta: running statistics in inference and where the layer is
        // frozen, the batch's (with the biased variance) in training, which then move the running ones by `momentum`.
        Operator::BatchNormalization { epsilon, momentum, .. } => normalise(x, *epsilon, *momentum, context),
        // y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, with the mean and the biased variance of each position's channels
        Operator::LayerNormalization { epsilon, .. } => {
            let channels = x.channels();
            standardise(x, move |at| at / channels, *epsilon, context)
        }
        // The same, with the mean and the biased variance of all positions of a group of channels.
        Operator::GroupNormalization { groups, epsilon, .. } => {
            let (count, channels, groups) = (x.count(), x.channels(), *groups);
            let group = move |at: usize| at / count * groups + at % channels * groups / channels;
            standardise(x, group, *epsilon, context)
        }
        Operator::GlobalResponseNormalization { epsilon } => respond(x, *epsilon, context),
        // y = gamma * x
        Operator::LayerScale {} => {
            let ((place, gamma), x) = (context.needed(Role::Gamma), x.clone());
            let y = x.map(|c, x| gamma[c] * x);
            let back = move |dy: &Tensor| {
                let of_gamma = dy.sum_by_channel(&x, |_, dy, x| dy * x);
                (vec![dy.map(|c, dy| gamma[c] * dy)], vec![(place, of_gamma)])
            };
            (y, Backward::new(back))
        }
        Operator::DotProductAttention { num_heads } => tokens::attention(inputs, *num_heads, context.operand),
        Operator::PrependTokens { .. } => tokens::prepend(x, context.needed(Role::Embedding)),
        Operator::PositionEmbedding { resample } => tokens::embed(x, context.needed(Role::Embedding), *resample),
        Operator::Cropping1D { cropping } => tokens::crop(x, *cropping),
        // y = min(max(x, 0), max_value) + negative_slope * min(x, 0)
        Operator::ReLU { max_value, negative_slope } => {
            clip(x, max_value.unwrap_or(f64::INFINITY), *negative_slope, context)
        }
        Operator::Activation { activation } => activate(x, *activation, context),
        Operator::Softmax {} => activate(x, Activation::Softmax, context),
        Operator::ZeroPadding2D { padding } => {
            // A window of one pixel with a stride of one over an image with zeros around it.
            let slide = Slide::new(x, [1, 1], [1, 1], Padding::Explicit(*padding), [1, 1]);
            pool(x, slide, Pool::Sum)
        }
        // The largest value of a window; padding never wins, and of equal values the first does.
        Operator::MaxPooling2D(window) => largest(x, &Slide::of(x, window), context),
        // The mean of a window: of what lies in the image, or with `count_include_pad` of all of it with its padding.
        Operator::AveragePooling2D(window) => {
            pool(x, Slide::of(x, window), if window.count_include_pad { Pool::MeanOfAll } else { Pool::MeanOfImage })
        }
        Operator::GlobalAveragePooling2D { keepdims } => {
            let (y, back) = pool(x, Slide::whole(x), Pool::MeanOfImage);
            reshape_after(y, back, *keepdims)
        }
        Operator::GlobalMaxPooling2D { keepdims } => {
            let (y, back) = largest(x, &Slide::whole(x), context);
            reshape_after(y, back, *keepdims)
        }
        Operator::Concatenate {} => concatenate(inputs),
        // y[c] = x[indices[c]]
        Operator::Take { indices } => take(x, indices),
        Operator::Add {} => sum(inputs),
        Operator::Multiply {} => product(inputs),
        // In training, a value is 0 with probability `rate`, else it is divided by 1 - rate.
        Operator::Dropout { rate, per_sample } => {
            if !context.drops || *rate == 0.0 {
                return (x.clone(), Backward::one(Tensor::clone));
            }
            let mask = dropout(x, *rate, *per_sample, context.random);
            (x.with(&mask, |x, mask| x * mask), Backward::one(move |dy| dy.with(&mask, |dy, mask| dy * mask)))
        }
        Operator::Flatten {} => shaped(x, &[x.count()]),
        Operator::Reshape { target_shape } => shaped(x, target_shape),
    }
}

/// The inputs' channels one after the other.
fn concatenate(inputs: &[&Tensor]) -> (Tensor, Backward) {
    let x = inputs[0];
    let widths: Vec<usize> = inputs.iter().map(|x| x.channels()).collect();
    let rows = x.values.len() / x.channels();
    let row = |at: usize| inputs.iter().flat_map(move |x| &x.values[at * x.channels()..][..x.channels()]);
    let mut shape = x.shape.clone();
    *shape.last_mut().expect("at least one axis") = widths.iter().sum();
    let y = Tensor::new(x.batch, &shape, (0..rows).flat_map(row).copied().collect());
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape.clone()).collect();
    let back = move |dy: &Tensor| {
        let part = |(place, shape): (usize, &Vec<usize>)| {
            let first: usize = widths[..place].iter().sum();
            let rows = dy.values.chunks_exact(dy.channels());
            let values = rows.flat_map(|row| &row[first..][..widths[place]]).copied().collect();
            Tensor::new(dy.batch, shape, values)
        };
        (shapes.iter().enumerate().map(part).collect(), Vec::new())
    };
    (y, Backward::new(back))
}

/// The channels at `indices`, in that order.
fn take(x: &Tensor, indices: &[usize]) -> (Tensor, Backward) {
    let (old, indices) = (x.shape.clone(), indices.to_vec());
    let rows = x.values.chunks_exact(x.channels());
    let mut shape = old.clone();
    *shape.last_mut().expect("at least one axis") = indices.len();
    let values = rows.flat_map(|row| indices.iter().map(|&index| row[index])).collect();
    let y = Tensor::new(x.batch, &shape, values);
    let back = move |dy: &Tensor| {
        let mut dx = Tensor::zeros(dy.batch, &old);
        let channels = dx.channels();
        for (dx, dy) in dx.values.chunks_exact_mut(channels).zip(dy.values.chunks_exact(indices.len())) {
            indices.iter().zip(dy).for_each(|(&index, dy)| dx[index] += dy);
        }
        dx
    };
    (y, Backward::one(back))
}

/// A sum, in which a side of length 1 is repeated.
fn sum(inputs: &[&Tensor]) -> (Tensor, Backward) {
    let shape = joined(inputs);
    let shapes: Vec<Tensor> = inputs.iter().map(|x| Tensor::zeros(x.batch, &x.shape)).collect();
    let mut y = Tensor::zeros(inputs[0].batch, &shape);
    for (at, y) in y.values.iter_mut().enumerate() {
        *y = inputs.iter().map(|x| x.values[repeated(&shape, x, at)]).sum();
    }
    let back = move |dy: &Tensor| {
        let slope = |x: &Tensor| {
            let mut dx = x.clone();
            dy.values.iter().enumerate().for_each(|(at, dy)| dx.values[repeated(&shape, x, at)] += dy);
            dx
        };
        (shapes.iter().map(slope).collect(), Vec::new())
    };
    (y, Backward::new(back))
}

/// A product, in which a side of length 1 is repeated.
fn product(inputs: &[&Tensor]) -> (Tensor, Backward) {
    let shape = joined(inputs);
    let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
    let mut y = Tensor::zeros(inputs[0].batch, &shape);
    for (at, y) in y.values.iter_mut().enumerate() {
        *y = inputs.iter().map(|x| x.values[repeated(&shape, x, at)]).product();
    }
    let back = move |dy: &Tensor| {
        let slope = |place: usize| {
            let mut dx = Tensor::zeros(dy.batch, &inputs[place].shape);
            for (at, dy) in dy.values.iter().enumerate() {
                let others = inputs.iter().enumerate().filter(|(other, _)| *other != place);
                let product: f64 = others.map(|(_, x)| x.values[repeated(&shape, x, at)]).product();
                dx.values[repeated(&shape, &inputs[place], at)] += dy * product;
            }
            dx
        };
        ((0..inputs.len()).map(slope).collect(), Vec::new())
    };
    (y, Backward::new(back))
}

/// The shape of a sum or a product, in which sides of length 1 are repeated.
fn joined(inputs: &[&Tensor]) -> Vec<usize> {
    let side = |axis: usize| inputs.iter().map(|x| x.shape[axis]).max().unwrap_or(1);
    (0..inputs[0].shape.len()).map(side).collect()
}

fn shaped(x: &Tensor, shape: &[usize]) -> (Tensor, Backward) {
    let old = x.shape.clone();
    (x.shaped(shape), Backward::one(move |dy| dy.shaped(&old)))
}

/// Drops height and width, which are 1, unless they are to be kept.
fn reshape_after(y: Tensor, back: Backward, keepdims: bool) -> (Tensor, Backward) {
    if keepdims {
        return (y, back);
    }
    let (y, last) = shaped(&y, &[y.channels()]);
    (y, back.then(last))
}

/// Where in `x` the value lies that takes part in value `at` of a tensor with samples of this shape.
fn repeated(shape: &[usize], x: &Tensor, at: usize) -> usize {
    let count: usize = shape.iter().product();
    let (sample, mut rest) = (at / count, at % count);
    let (mut from, mut stride) = (0, 1);
    for (side, own) in shape.iter().zip(&x.shape).rev() {
        from += (rest % side).min(own - 1) * stride;
        (rest, stride) = (rest / side, stride * own);
    }
    sample * x.count() + from
}

/// Factors of a dropout. Numbers are drawn sample by sample, channel by channel, 32 bits each.
fn dropout(x: &Tensor, rate: f64, per_sample: bool, random: &mut ChaCha8Rng) -> Tensor {
    let threshold = (rate * (1_u64 << 32) as f64) as u64;
    let mut draw = || if u64::from(random.next_u32()) < threshold { 0.0 } else { 1.0 / (1.0 - rate) };
    let mut mask = Tensor::zeros(x.batch, &x.shape);
    let channels = if x.shape.len() == 3 { x.channels() } else { 1 };
    for mask in mask.values.chunks_exact_mut(x.count()) {
        if per_sample {
            mask.fill(draw());
            continue;
        }
        for c in 0..channels {
            mask[c..].iter_mut().step_by(channels).for_each(|mask| *mask = draw());
        }
    }
    mask
}
