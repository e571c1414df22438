//! The specification: one arm per operator, which says the value and its slopes side by side.
//!
//! Semantics are those of Keras 3 (<https://keras.io/api/layers/>) with channels last; `Explicit` padding and
//! `count_include_pad` are PyTorch's (<https://docs.pytorch.org/docs/stable/nn.html>). Where Keras leaves a slope open, at a kink,
//! it is TensorFlow's: a ReLU passes a gradient on only where its output lies strictly between its limits.

use injerto_graph::{Activation, Node, Operator, Padding, Role};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::tensor::Tensor;
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

    /// The way back of a layer whose output goes through a layer with one input.
    fn then(self, last: Self) -> Self {
        Self::new(move |dy| self.apply(&last.apply(dy).0[0]))
    }

    pub(crate) fn apply(&self, dy: &Tensor) -> Slopes {
        (self.0)(dy)
    }
}

/// What a layer is computed with, and what it leaves.
pub(crate) struct Context<'a> {
    pub(crate) node: &'a Node,
    pub(crate) parameters: &'a [Vec<f64>],
    /// Whether dropout drops.
    pub(crate) drops: bool,
    /// Whether a batch normalisation uses the batch's statistics.
    pub(crate) uses_batch: bool,
    pub(crate) random: &'a mut ChaCha8Rng,
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
            let (y, back) = convolve(x, slide, kernel, context.parameter(Role::Bias), *groups, *filters);
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
                convolve(x, slide, kernel, context.parameter(Role::Bias), groups, groups * depth_multiplier);
            let (y, last) = activate(&y, *activation, context);
            (y, back.then(last))
        }
        // y[unit] = activation(bias[unit] + sum over features of x[feature] * kernel[feature, unit]), on the last axis.
        Operator::Dense { units, activation, .. } => {
            let (rows, features) = (x.count() / x.channels(), x.channels());
            let image = x.shaped(&[rows, 1, features]);
            let slide = Slide::new(&image, [1, 1], [1, 1], Padding::Valid, [1, 1]);
            let kernel = context.needed(Role::DenseKernel);
            let (y, back) = convolve(&image, slide, kernel, context.parameter(Role::Bias), 1, *units);
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
        // y = min(max(x, 0), max_value)
        Operator::ReLU { max_value } => clip(x, max_value.unwrap_or(f64::INFINITY), context),
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
        Operator::Add {} => {
            let sum = inputs[1..].iter().fold(x.clone(), |sum, x| sum.with(x, |a, b| a + b));
            let count = inputs.len();
            (sum, Backward::new(move |dy| (vec![dy.clone(); count], Vec::new())))
        }
        // A product, in which a side of length 1 is repeated.
        Operator::Multiply {} => {
            let sides = (0..x.shape.len()).map(|axis| inputs.iter().map(|x| x.shape[axis]).max().unwrap_or(1));
            let shape: Vec<usize> = sides.collect();
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

fn clip(x: &Tensor, most: f64, context: &mut Context<'_>) -> (Tensor, Backward) {
    context.kinks(&x.values, &[0.0, most]);
    let (y, x) = (x.map(|_, x| x.max(0.0).min(most)), x.clone());
    (y, Backward::one(move |dy| dy.with(&x, |dy, x| if x > 0.0 && x < most { dy } else { 0.0 })))
}

/// `y = f(x)` and its slope, value by value.
fn each(x: &Tensor, f: fn(f64) -> f64, slope: fn(f64) -> f64) -> (Tensor, Backward) {
    let (y, x) = (x.map(|_, x| f(x)), x.clone());
    (y, Backward::one(move |dy| dy.with(&x, |dy, x| dy * slope(x))))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The activations of <https://keras.io/api/layers/activations/>.
fn activate(x: &Tensor, function: Activation, context: &mut Context<'_>) -> (Tensor, Backward) {
    match function {
        Activation::Linear => each(x, |x| x, |_| 1.0),
        Activation::Relu => clip(x, f64::INFINITY, context),
        Activation::Relu6 => clip(x, 6.0, context),
        Activation::Swish => each(x, |x| x * sigmoid(x), |x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
        Activation::HardSwish => {
            context.kinks(&x.values, &[-3.0, 3.0]);
            each(
                x,
                |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
                |x| ((x + 3.0) / 6.0).clamp(0.0, 1.0) + if x > -3.0 && x < 3.0 { x / 6.0 } else { 0.0 },
            )
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
