//! The specification: one arm per operator, which says the value and its slopes side by side.
//!
//! Semantics are those of Keras 3 (<https://keras.io/api/layers/>) with channels last; `Explicit` padding and
//! `count_include_pad` are PyTorch's (<https://docs.pytorch.org/docs/stable/nn.html>). Where Keras leaves a slope open, at a kink,
//! it is TensorFlow's: a ReLU passes a gradient on only where its output lies strictly between its limits.

use std::f64::consts::PI;

use injerto_graph::{Activation, Node, Operator, Padding, Role};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::tensor::Tensor;
use crate::tokens;
use crate::windows::{Pool, Slide, convolve, largest, pool};

/// Gradients of a layer's inputs, and of its parameters by their place in the layer's list.
pub(crate) type Slopes = (Vec<Tensor>, Vec<(usize, Vec<f64>)>);

/// Takes the gradient of a layer's output to those of its inputs and parameters.
pub(crate) struct Backward(Box<dyn Fn(&Tensor) -> Slopes>);

impl Backward {
    pub(crate) fn new(slopes: impl Fn(&Tensor) -> Slopes + 'static) -> Self {
        Self(Box::new(slopes))
    }

    /// The way back of a layer that has neither inputs nor parameters.
    pub(crate) fn constant() -> Self {
        Self::new(|_| (Vec::new(), Vec::new()))
    }

    /// The way back of a layer with one input and no parameters.
    pub(crate) fn one(slope: impl Fn(&Tensor) -> Tensor + 'static) -> Self {
        Self::new(move |dy| (vec![slope(dy)], Vec::new()))
    }

    /// The way back of a layer whose output goes through another one with one input. Both may have parameters.
    fn then(self, last: Self) -> Self {
        Self::new(move |dy| {
            let (between, of_last) = last.apply(dy);
            let (of_inputs, of_both) = self.apply(&between[0]);
            (of_inputs, of_both.into_iter().chain(of_last).collect())
        })
    }

    pub(crate) fn apply(&self, dy: &Tensor) -> Slopes {
        (self.0)(dy)
    }
}

/// What becomes of a number before it is multiplied in a product of matrices.
pub(crate) type Operand = fn(f64) -> f64;

/// What a layer is computed with, and what it leaves.
pub(crate) struct Context<'a> {
    pub(crate) node: &'a Node,
    pub(crate) parameters: &'a [Vec<f64>],
    /// Whether dropout drops.
    pub(crate) drops: bool,
    /// Whether a batch normalisation uses the batch's statistics.
    pub(crate) uses_batch: bool,
    pub(crate) random: &'a mut ChaCha8Rng,
    /// For both sides of products of matrices.
    pub(crate) operand: Operand,
    /// Running statistics that the layer has moved.
    pub(crate) moved: Vec<(usize, Vec<f64>)>,
    pub(crate) nearest_kink: &'a mut f64,
}

impl Context<'_> {
    /// The parameter with this role, and its place.
    fn parameter(&self, role: Role) -> Option<(usize, Vec<f64>)> {
        let place = self.node.parameters.iter().position(|parameter| parameter.role == role)?;
        Some((place, self.parameters[place].clone()))
    }

    fn needed(&self, role: Role) -> (usize, Vec<f64>) {
        self.parameter(role).expect("shape inference gives the layer its parameters")
    }

    /// Notes how far values are from where a slope changes. On the point itself both precisions take the same side.
    pub(crate) fn kinks(&mut self, values: &[f64], at: &[f64]) {
        for distance in values.iter().flat_map(|x| at.iter().map(move |kink| (x - kink).abs())) {
            if distance > 0.0 {
                *self.nearest_kink = self.nearest_kink.min(distance);
            }
        }
    }
}

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
        // The inputs' channels one after the other.
        Operator::Concatenate {} => {
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
        // y[c] = x[indices[c]]
        Operator::Take { indices } => {
            let (old, indices) = (x.shape.clone(), indices.clone());
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
        // A sum, in which a side of length 1 is repeated.
        Operator::Add {} => {
            let shape = joined(inputs);
            let shapes: Vec<Tensor> = inputs.iter().map(|x| Tensor::zeros(x.batch, &x.shape)).collect();
            let mut y = Tensor::zeros(x.batch, &shape);
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
        // A product, in which a side of length 1 is repeated.
        Operator::Multiply {} => {
            let shape = joined(inputs);
            let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
            let mut y = Tensor::zeros(x.batch, &shape);
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

fn normalise(x: &Tensor, epsilon: f64, momentum: f64, context: &mut Context<'_>) -> (Tensor, Backward) {
    let channels = x.channels();
    let rows = (x.values.len() / channels) as f64;
    let (gamma, beta) = (context.parameter(Role::Gamma), context.parameter(Role::Beta));
    let [running_mean, running_variance] = [Role::MovingMean, Role::MovingVariance].map(|role| context.needed(role));
    let uses_batch = context.uses_batch;
    let (mut mean, mut variance) = (running_mean.1.clone(), running_variance.1.clone());
    if uses_batch {
        mean = x.sum_by_channel(x, |_, x, _| x / rows);
        variance = x.sum_by_channel(x, |c, x, _| (x - mean[c]).powi(2) / rows);
        for ((place, old), new) in [(running_mean, &mean), (running_variance, &variance)] {
            let moved = old.iter().zip(new).map(|(old, new)| old * momentum + new * (1.0 - momentum)).collect();
            context.moved.push((place, moved));
        }
    }
    let inverse: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let normal = x.map(|c, x| (x - mean[c]) * inverse[c]);
    let scale = gamma.as_ref().map_or(vec![1.0; channels], |(_, gamma)| gamma.clone());
    let shift = beta.as_ref().map_or(vec![0.0; channels], |(_, beta)| beta.clone());
    let y = normal.map(|c, normal| normal * scale[c] + shift[c]);
    let back = move |dy: &Tensor| {
        let of_gamma = dy.sum_by_channel(&normal, |_, dy, normal| dy * normal);
        let of_beta = dy.sum_by_channel(dy, |_, dy, _| dy);
        let mut dx = dy.map(|c, dy| dy * scale[c] * inverse[c]);
        if uses_batch {
            // The batch's mean and variance depend on x too.
            for (at, (dx, normal)) in dx.values.iter_mut().zip(&normal.values).enumerate() {
                let c = at % channels;
                *dx -= scale[c] * inverse[c] * (of_beta[c] + normal * of_gamma[c]) / rows;
            }
        }
        let of =
            |parameter: &Option<(usize, Vec<f64>)>, gradient| parameter.as_ref().map(|(place, _)| (*place, gradient));
        let parameters = [of(&gamma, of_gamma), of(&beta, of_beta)];
        (vec![dx], parameters.into_iter().flatten().collect())
    };
    (y, Backward::new(back))
}

/// Normalises the values that belong to the same set; `set` gives the number of the set of each value.
fn standardise(
    x: &Tensor,
    set: impl Fn(usize) -> usize,
    epsilon: f64,
    context: &mut Context<'_>,
) -> (Tensor, Backward) {
    let (gamma, beta) = (context.parameter(Role::Gamma), context.parameter(Role::Beta));
    let sets: Vec<usize> = (0..x.values.len()).map(set).collect();
    let count = sets.iter().max().map_or(0, |last| last + 1);
    // For each value, the mean of its set.
    let means = move |values: &mut dyn Iterator<Item = f64>| {
        let mut sums = vec![0.0; count];
        let size = (sets.len() / count) as f64;
        values.zip(&sets).for_each(|(value, &set)| sums[set] += value / size);
        sets.iter().map(|&set| sums[set]).collect::<Vec<f64>>()
    };
    let mean = means(&mut x.values.iter().copied());
    let variance = means(&mut x.values.iter().zip(&mean).map(|(x, mean)| (x - mean).powi(2)));
    let inverse: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let mut normal = x.clone();
    for ((x, mean), inverse) in normal.values.iter_mut().zip(&mean).zip(&inverse) {
        *x = (*x - mean) * inverse;
    }
    let channels = x.channels();
    let scale = gamma.as_ref().map_or(vec![1.0; channels], |(_, gamma)| gamma.clone());
    let shift = beta.as_ref().map_or(vec![0.0; channels], |(_, beta)| beta.clone());
    let y = normal.map(|c, normal| normal * scale[c] + shift[c]);
    let back = move |dy: &Tensor| {
        let of_gamma = dy.sum_by_channel(&normal, |_, dy, normal| dy * normal);
        let of_beta = dy.sum_by_channel(dy, |_, dy, _| dy);
        // Mean and variance depend on x too.
        let mut dx = dy.map(|c, dy| dy * scale[c]);
        let plain = means(&mut dx.values.iter().copied());
        let along = means(&mut dx.values.iter().zip(&normal.values).map(|(dx, normal)| dx * normal));
        for (at, dx) in dx.values.iter_mut().enumerate() {
            *dx = (*dx - plain[at] - normal.values[at] * along[at]) * inverse[at];
        }
        let of =
            |parameter: &Option<(usize, Vec<f64>)>, gradient| parameter.as_ref().map(|(place, _)| (*place, gradient));
        let parameters = [of(&gamma, of_gamma), of(&beta, of_beta)];
        (vec![dx], parameters.into_iter().flatten().collect())
    };
    (y, Backward::new(back))
}

/// `y = x + gamma * x * n + beta`, where `n[c] = g[c] / (mean of g + epsilon)` and `g[c]` is the Euclidean norm of channel c over all
/// positions of a sample.
fn respond(x: &Tensor, epsilon: f64, context: &mut Context<'_>) -> (Tensor, Backward) {
    let ((gamma_place, gamma), (beta_place, beta)) = (context.needed(Role::Gamma), context.needed(Role::Beta));
    let (channels, count) = (x.channels(), x.count());
    let sums = move |values: &mut dyn Iterator<Item = f64>, batch: usize| {
        let mut sums = vec![0.0; batch * channels];
        values.enumerate().for_each(|(at, value)| sums[at / count * channels + at % channels] += value);
        sums
    };
    let norm: Vec<f64> = sums(&mut x.values.iter().map(|x| x * x), x.batch).iter().map(|sum| sum.sqrt()).collect();
    let whole: Vec<f64> =
        norm.chunks_exact(channels).map(|norm| norm.iter().sum::<f64>() / channels as f64 + epsilon).collect();
    let place = move |at: usize| at / count * channels + at % channels;
    let (mut y, x) = (x.clone(), x.clone());
    for (at, y) in y.values.iter_mut().enumerate() {
        let share = norm[place(at)] / whole[at / count];
        *y += gamma[at % channels] * *y * share + beta[at % channels];
    }
    let back = move |dy: &Tensor| {
        let share = |at: usize| norm[place(at)] / whole[at / count];
        let (mut of_gamma, mut of_beta) = (vec![0.0; channels], vec![0.0; channels]);
        for (at, dy) in dy.values.iter().enumerate() {
            of_gamma[at % channels] += dy * x.values[at] * share(at);
            of_beta[at % channels] += dy;
        }
        // The slope along n of each channel, and from there along g.
        let each = |at: usize| dy.values[at] * gamma[at % channels] * x.values[at];
        let of_share = sums(&mut (0..dy.values.len()).map(each), dy.batch);
        let of_norm = |at: usize| {
            let (sample, own) = (at / count, place(at));
            let row = sample * channels..(sample + 1) * channels;
            let all: f64 = of_share[row.clone()].iter().zip(&norm[row]).map(|(slope, norm)| slope * norm).sum();
            of_share[own] / whole[sample] - all / whole[sample].powi(2) / channels as f64
        };
        let mut dx = dy.clone();
        for (at, dx) in dx.values.iter_mut().enumerate() {
            let length = norm[place(at)];
            // As in PyTorch, a channel of zeros has no slope along its norm.
            let along = if length > 0.0 { of_norm(at) * x.values[at] / length } else { 0.0 };
            *dx = *dx * (1.0 + gamma[at % channels] * share(at)) + along;
        }
        (vec![dx], vec![(gamma_place, of_gamma), (beta_place, of_beta)])
    };
    (y, Backward::new(back))
}

fn clip(x: &Tensor, most: f64, below: f64, context: &mut Context<'_>) -> (Tensor, Backward) {
    context.kinks(&x.values, &[0.0, most]);
    let (y, x) = (x.map(|_, x| if x > 0.0 { x.min(most) } else { below * x }), x.clone());
    let slope = move |x: f64| match x {
        x if x > 0.0 && x < most => 1.0,
        // Zero itself is on the side of negative values, as in TensorFlow.
        x if x <= 0.0 => below,
        _ => 0.0,
    };
    (y, Backward::one(move |dy| dy.with(&x, |dy, x| dy * slope(x))))
}

/// `y = f(x)` and its slope, value by value.
fn each(x: &Tensor, f: fn(f64) -> f64, slope: fn(f64) -> f64) -> (Tensor, Backward) {
    let (y, x) = (x.map(|_, x| f(x)), x.clone());
    (y, Backward::one(move |dy| dy.with(&x, |dy, x| dy * slope(x))))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The argument of the hyperbolic tangent in the approximation of GELU.
fn gate(x: f64) -> f64 {
    (2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))
}

/// The distribution function of the standard normal distribution, `(1 + erf(x / sqrt(2))) / 2`.
///
/// Where the series `1/2 + phi(x) * (x + x^3/3 + x^5/(3*5) + …)` (Marsaglia, 2004) would add up large terms, the continued fraction of
/// Mills's ratio has the tail.
fn normal(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
    if x.abs() < 4.0 {
        let (mut term, mut sum, mut odd) = (x, 0.0, 1.0);
        while f64::abs(term) > 1e-18 {
            sum += term;
            odd += 2.0;
            term *= x * x / odd;
        }
        return 0.5 + density * sum;
    }
    let fraction = (1..60).rev().fold(x.abs(), |below, n| x.abs() + f64::from(n) / below);
    let tail = density / fraction;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The activations of <https://keras.io/api/layers/activations/>.
fn activate(x: &Tensor, function: Activation, context: &mut Context<'_>) -> (Tensor, Backward) {
    match function {
        Activation::Linear => each(x, |x| x, |_| 1.0),
        Activation::Relu => clip(x, f64::INFINITY, 0.0, context),
        Activation::Relu6 => clip(x, 6.0, 0.0, context),
        Activation::Swish => each(x, |x| x * sigmoid(x), |x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
        Activation::HardSwish => {
            context.kinks(&x.values, &[-3.0, 3.0]);
            each(
                x,
                |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
                |x| ((x + 3.0) / 6.0).clamp(0.0, 1.0) + if x > -3.0 && x < 3.0 { x / 6.0 } else { 0.0 },
            )
        }
        Activation::Gelu => each(x, |x| x * normal(x), |x| normal(x) + x * (-x * x / 2.0).exp() / (2.0 * PI).sqrt()),
        Activation::GeluTanh => each(
            x,
            |x| x * (1.0 + gate(x).tanh()) / 2.0,
            |x| {
                let slope = (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044_715 * x * x);
                (1.0 + gate(x).tanh()) / 2.0 + x / 2.0 * (1.0 - gate(x).tanh().powi(2)) * slope
            },
        ),
        Activation::HardSigmoid => {
            context.kinks(&x.values, &[-3.0, 3.0]);
            each(x, |x| (x + 3.0).clamp(0.0, 6.0) / 6.0, |x| if x > -3.0 && x < 3.0 { 1.0 / 6.0 } else { 0.0 })
        }
        Activation::Sigmoid => each(x, sigmoid, |x| sigmoid(x) * (1.0 - sigmoid(x))),
        Activation::Tanh => each(x, f64::tanh, |x| 1.0 - x.tanh().powi(2)),
        // exp(x) / sum(exp(x)) over the last axis.
        Activation::Softmax => {
            let channels = x.channels();
            let mut y = x.clone();
            for row in y.values.chunks_exact_mut(channels) {
                let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                row.iter_mut().for_each(|x| *x = (*x - top).exp());
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|y| *y /= sum);
            }
            let output = y.clone();
            let back = move |dy: &Tensor| {
                let mut dx = dy.with(&output, |dy, y| dy * y);
                for (dx, y) in dx.values.chunks_exact_mut(channels).zip(output.values.chunks_exact(channels)) {
                    let sum: f64 = dx.iter().sum();
                    dx.iter_mut().zip(y).for_each(|(dx, y)| *dx -= sum * y);
                }
                dx
            };
            (y, Backward::one(back))
        }
    }
}
