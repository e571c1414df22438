use std::collections::BTreeMap;

use burn_tensor::activation;
use burn_tensor::module::{avg_pool2d, conv2d, max_pool2d};
use burn_tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn_tensor::{Device, FloatDType, Int, Tensor, TensorData};
use injerto_graph::{
    Activation, Attention, Node, Operator, Padding, ParameterId, Role, Shape, Window, dropout_factor, window_padding,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::{Network, ParameterTensor, TrainingPass, Value, tokens};

/// Applies the same expression to a value of either rank.
macro_rules! each {
    ($value:expr, $x:ident => $body:expr) => {
        $value.each(|$x| $body, |$x| $body, |$x| $body)
    };
}

impl Network {
    /// Computes `layers`, in order, from the outputs in `known`, and leaves the outputs of `wanted` in it.
    /// Every other output is dropped after its last use. Inference gives them in `f32`, whatever the format between layers.
    pub(super) fn run(
        &self,
        layers: &[usize],
        known: &mut BTreeMap<usize, Value>,
        wanted: &[usize],
        mut training: Option<&mut TrainingPass<'_>>,
    ) {
        let nodes = self.graph.nodes();
        let mut last_use: BTreeMap<usize, usize> = BTreeMap::new();
        for &layer in layers {
            last_use.extend(nodes[layer].inputs.iter().map(|&input| (input, layer)));
        }
        let is_inference = training.is_none();
        if is_inference {
            known.values_mut().for_each(|value| *value = value.clone().cast(self.format));
        }
        for &layer in layers {
            let node = &nodes[layer];
            if matches!(node.operator(), Operator::InputLayer { .. }) {
                continue;
            }
            let take = |input: usize, known: &mut BTreeMap<usize, Value>| {
                let done = last_use[&input] == layer && !wanted.contains(&input);
                // An input that occurs twice in one layer (`Add` of x and x) must still exist the second time.
                let once = node.inputs.iter().filter(|&&other| other == input).count() == 1;
                if done && once { known.remove(&input) } else { known.get(&input).cloned() }
                    .expect("layers come after their inputs")
            };
            let inputs: Vec<Value> = node.inputs.iter().map(|&input| take(input, known)).collect();
            let output = self.layer(layer, node, inputs, training.as_deref_mut());
            known.insert(layer, output);
        }
        if is_inference {
            known.values_mut().for_each(|value| *value = value.clone().cast(FloatDType::F32));
        }
    }

    fn layer(&self, at: usize, node: &Node, mut inputs: Vec<Value>, training: Option<&mut TrainingPass<'_>>) -> Value {
        let parameter = |role: Role, training: Option<&TrainingPass<'_>>| {
            let place = node.parameters.iter().position(|p| p.role == role)?;
            let leaf = training.and_then(|pass| pass.leaves.get(&ParameterId::new(at, place)));
            Some(leaf.unwrap_or(&self.parameters[at][place]).clone())
        };
        let vector = |role, training| parameter(role, training).map(|p: ParameterTensor| p.vector());
        let first = if inputs.len() == 1 { inputs.pop() } else { None };
        let x = || first.clone().expect("shape inference counted one input");
        let pass = training.as_deref();
        match node.operator() {
            Operator::InputLayer { .. } => unreachable!("the input is given, not computed"),
            Operator::Rescaling { scale, offset } => {
                let channels = node.shape.channels();
                let row = |values: Vec<f64>| {
                    let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
                    Tensor::<1>::from_data(TensorData::new(values, [channels]), &self.device)
                };
                affine(x(), row(scale.values(channels)), row(offset.values(channels)))
            }
            Operator::Normalization {} => {
                let mean = vector(Role::Mean, pass).expect("has a mean");
                let variance = vector(Role::Variance, pass).expect("has a variance");
                let scale = variance.sqrt().clamp_min(1e-7).recip();
                affine(x(), scale.clone(), mean.mul(scale).neg())
            }
            Operator::Conv2D { strides, padding, dilation_rate, groups, activation, kernel_size, .. } => {
                let geometry =
                    Geometry { window: *kernel_size, strides: *strides, padding: *padding, dilation: *dilation_rate };
                let kernel = parameter(Role::ConvolutionKernel, pass).expect("has a kernel").kernel();
                let y = convolve(x().image(), kernel, vector(Role::Bias, pass), &geometry, *groups);
                activate(Value::Image(y), *activation)
            }
            Operator::DepthwiseConv2D { strides, padding, dilation_rate, activation, kernel_size, .. } => {
                let geometry =
                    Geometry { window: *kernel_size, strides: *strides, padding: *padding, dilation: *dilation_rate };
                let kernel = parameter(Role::DepthwiseKernel, pass).expect("has a kernel").kernel();
                let image = x().image();
                let channels = image.dims()[1];
                let y = convolve(image, kernel, vector(Role::Bias, pass), &geometry, channels);
                activate(Value::Image(y), *activation)
            }
            Operator::SeparableConv2D { strides, padding, dilation_rate, activation, kernel_size, .. } => {
                let geometry =
                    Geometry { window: *kernel_size, strides: *strides, padding: *padding, dilation: *dilation_rate };
                let kernel = parameter(Role::DepthwiseKernel, pass).expect("has a kernel").kernel();
                let image = x().image();
                let channels = image.dims()[1];
                let between = convolve(image, kernel, None, &geometry, channels);
                let kernel = parameter(Role::ConvolutionKernel, pass).expect("has a kernel").kernel();
                let single = Geometry { window: [1, 1], strides: [1, 1], padding: Padding::Valid, dilation: [1, 1] };
                let y = convolve(between, kernel, vector(Role::Bias, pass), &single, 1);
                activate(Value::Image(y), *activation)
            }
            Operator::BatchNormalization { epsilon, momentum, .. } => {
                let learned = [vector(Role::Gamma, pass), vector(Role::Beta, pass)];
                let stored = (
                    vector(Role::MovingMean, pass).expect("has a mean"),
                    vector(Role::MovingVariance, pass).expect("has a variance"),
                );
                let x = x();
                let statistics = match training.filter(|pass| pass.updates_statistics.contains(&at)) {
                    Some(pass) => {
                        let (mean, variance) = batch_statistics(&x);
                        pass.move_statistic(at, node, Role::MovingMean, *momentum, [stored.0, mean.clone().inner()]);
                        let variances = [stored.1, variance.clone().inner()];
                        pass.move_statistic(at, node, Role::MovingVariance, *momentum, variances);
                        [mean, variance]
                    }
                    None => stored.into(),
                };
                let (scale, shift) = normalising(statistics, learned, *epsilon);
                affine(x, scale, shift)
            }
            Operator::LayerNormalization { epsilon, .. } => {
                let normal = tokens::layer_normalise(x(), *epsilon);
                scale_and_shift(normal, vector(Role::Gamma, pass), vector(Role::Beta, pass))
            }
            Operator::GroupNormalization { groups, epsilon, .. } => {
                let normal = tokens::group_normalise(x(), *groups, *epsilon);
                scale_and_shift(normal, vector(Role::Gamma, pass), vector(Role::Beta, pass))
            }
            Operator::GlobalResponseNormalization { epsilon } => {
                let gamma = vector(Role::Gamma, pass).expect("has a gamma");
                tokens::respond(x(), gamma, vector(Role::Beta, pass).expect("has a beta"), *epsilon)
            }
            Operator::LayerScale {} => scale_and_shift(x(), vector(Role::Gamma, pass), None),
            Operator::DotProductAttention { num_heads } => {
                let nodes = self.graph.nodes();
                let shapes: Vec<&Shape> = node.inputs.iter().map(|&input| &nodes[input].shape).collect();
                let sizes = Attention::new(*num_heads, &shapes).expect("shape inference has seen these inputs");
                tokens::attention(first.into_iter().chain(inputs).collect(), sizes)
            }
            Operator::PrependTokens { .. } => {
                let learned = parameter(Role::Embedding, pass).expect("has an embedding").matrix();
                Value::Tokens(tokens::prepend(x().tokens(), learned))
            }
            Operator::PositionEmbedding { resample } => {
                let learned = parameter(Role::Embedding, pass).expect("has an embedding").matrix();
                tokens::embed(x(), learned, *resample, &self.device)
            }
            Operator::Cropping1D { cropping: [before, _] } => {
                Value::Tokens(x().tokens().narrow(1, *before, node.shape.0[0]))
            }
            Operator::ReLU { max_value, negative_slope } if *negative_slope != 0.0 => {
                let top = max_value.unwrap_or(f64::INFINITY);
                each!(x(), t => activation::relu(t.clone()).clamp_max(top) - activation::relu(-t).mul_scalar(*negative_slope))
            }
            Operator::ReLU { max_value: Some(top), .. } => each!(x(), t => t.clamp(0.0, *top)),
            Operator::ReLU { max_value: None, .. } => activate(x(), Activation::Relu),
            Operator::Activation { activation } => activate(x(), *activation),
            Operator::Softmax {} => activate(x(), Activation::Softmax),
            Operator::ZeroPadding2D { padding } => {
                let [[top, bottom], [left, right]] = *padding;
                Value::Image(x().image().pad([(top, bottom), (left, right)], 0.0))
            }
            Operator::MaxPooling2D(window) => Value::Image(max_pool(x().image(), window)),
            Operator::AveragePooling2D(window) => Value::Image(average_pool(x().image(), window)),
            Operator::GlobalAveragePooling2D { keepdims } => global(x().image(), *keepdims, |image| image.mean_dim(2)),
            Operator::GlobalMaxPooling2D { keepdims } => global(x().image(), *keepdims, |image| image.max_dim(2)),
            Operator::Concatenate {} => match inputs[0] {
                Value::Image(_) => Value::Image(Tensor::cat(inputs.into_iter().map(Value::image).collect(), 1)),
                Value::Tokens(_) => Value::Tokens(Tensor::cat(inputs.into_iter().map(Value::tokens).collect(), 2)),
                Value::Features(_) => {
                    Value::Features(Tensor::cat(inputs.into_iter().map(Value::into_features).collect(), 1))
                }
            },
            Operator::Take { indices } => take_channels(x(), indices, &self.device),
            Operator::Add {} => combine(inputs, |a, b| a + b, |a, b| a + b, |a, b| a + b),
            Operator::Multiply {} => combine(inputs, |a, b| a * b, |a, b| a * b, |a, b| a * b),
            Operator::Dense { activation, .. } => {
                let kernel = parameter(Role::DenseKernel, pass).expect("has a kernel").matrix();
                activate(dense(x(), kernel, vector(Role::Bias, pass)), *activation)
            }
            Operator::Dropout { rate, per_sample } => match training {
                Some(pass) if *rate > 0.0 && pass.drawing.contains(&at) => {
                    dropout(x(), *rate, *per_sample, pass.random, &self.device)
                }
                _ => x(),
            },
            Operator::Flatten {} => Value::Features(x().into_features()),
            Operator::Reshape { target_shape } => reshape(x(), target_shape),
        }
    }
}

impl TrainingPass<'_> {
    /// Records the new running statistic of a batch normalisation, `old * momentum + new * (1 - momentum)`.
    fn move_statistic(&mut self, at: usize, node: &Node, role: Role, momentum: f64, [old, new]: [Tensor<1>; 2]) {
        let place = node.parameters.iter().position(|p| p.role == role).expect("has statistics");
        let moved = old.mul_scalar(momentum) + new.mul_scalar(1.0 - momentum);
        self.statistics.push((ParameterId::new(at, place), ParameterTensor::Vector(moved)));
    }
}

/// A dense layer on each position: `x kernel + bias`, where `kernel` is `[channels, units]`.
fn dense(x: Value, kernel: Tensor<2>, bias: Option<Tensor<1>>) -> Value {
    let units = kernel.dims()[1];
    let apply = |rows: Tensor<2>| {
        let y = rows.matmul(kernel);
        match bias {
            Some(bias) => y + bias.unsqueeze(),
            None => y,
        }
    };
    match x {
        Value::Features(rows) => Value::Features(apply(rows)),
        Value::Tokens(tokens) => {
            let [batch, count, channels] = tokens.dims();
            let rows = apply(tokens.reshape([batch * count, channels]));
            Value::Tokens(rows.reshape([batch, count, units]))
        }
        Value::Image(image) => {
            let [batch, channels, height, width] = image.dims();
            let rows = apply(image.permute([0, 2, 3, 1]).reshape([batch * height * width, channels]));
            Value::Image(rows.reshape([batch, height, width, units]).permute([0, 3, 1, 2]))
        }
    }
}

/// Gives the values of each sample another shape, in Keras's order, channels last.
fn reshape(x: Value, target_shape: &[usize]) -> Value {
    let rows = x.into_features();
    let batch = rows.dims()[0];
    match *target_shape {
        [height, width, channels] => Value::Image(rows.reshape([batch, height, width, channels]).permute([0, 3, 1, 2])),
        [count, channels] => Value::Tokens(rows.reshape([batch, count, channels])),
        _ => Value::Features(rows),
    }
}

/// The channels at `indices`, in that order.
fn take_channels(x: Value, indices: &[usize], device: &Device) -> Value {
    let numbers: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
    let numbers = Tensor::<1, Int>::from_data(TensorData::new(numbers, [indices.len()]), device);
    match x {
        Value::Image(image) => Value::Image(image.select(1, numbers)),
        Value::Tokens(tokens) => Value::Tokens(tokens.select(2, numbers)),
        Value::Features(rows) => Value::Features(rows.select(1, numbers)),
    }
}

fn max_pool(image: Tensor<4>, window: &Window) -> Tensor<4> {
    let geometry = Geometry::of(window);
    let mut options = MaxPoolOptions::new(geometry.window);
    options.stride = geometry.strides;
    options.padding = geometry.padding_of(&image);
    max_pool2d(image, options)
}

fn average_pool(image: Tensor<4>, window: &Window) -> Tensor<4> {
    let geometry = Geometry::of(window);
    let mut options = AvgPoolOptions::new(geometry.window);
    options.stride = geometry.strides;
    options.padding = geometry.padding_of(&image);
    options.count_include_pad = window.count_include_pad;
    avg_pool2d(image, options)
}

/// `x * gamma + beta`, without the factor or the term that is `None`.
fn scale_and_shift(x: Value, gamma: Option<Tensor<1>>, beta: Option<Tensor<1>>) -> Value {
    match (gamma, beta) {
        (Some(gamma), Some(beta)) => affine(x, gamma, beta),
        (Some(gamma), None) => {
            let zeros = Tensor::zeros_like(&gamma.clone().inner());
            affine(x, gamma, zeros)
        }
        (None, Some(beta)) => {
            let ones = Tensor::ones_like(&beta.clone().inner());
            affine(x, ones, beta)
        }
        (None, None) => x,
    }
}

/// A window that slides over an image.
struct Geometry {
    window: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
}

impl Geometry {
    fn of(window: &Window) -> Self {
        Self { window: window.pool_size, strides: window.strides, padding: window.padding, dilation: [1, 1] }
    }

    /// Numbers of zeros around `image`, `(before, after)` for height and width.
    fn padding_of(&self, image: &Tensor<4>) -> [(usize, usize); 2] {
        let [_, _, h, w] = image.dims();
        let axis = |axis: usize, length: usize| {
            window_padding(self.padding, axis, length, self.window[axis], self.strides[axis], self.dilation[axis])
                .map_or((0, 0), |(padding, _)| padding)
        };
        [axis(0, h), axis(1, w)]
    }
}

fn convolve(image: Tensor<4>, kernel: Tensor<4>, bias: Option<Tensor<1>>, how: &Geometry, groups: usize) -> Tensor<4> {
    let padding = how.padding_of(&image);
    let options = ConvOptions { stride: how.strides, padding, dilation: how.dilation, groups };
    conv2d(image, kernel, bias, options)
}

/// Scale and shift of a batch normalisation with this mean and variance, and with its gamma and beta if it has them:
/// `gamma / sqrt(variance + epsilon)`, and `beta - mean * scale`.
pub(super) fn normalising(
    [mean, variance]: [Tensor<1>; 2],
    [gamma, beta]: [Option<Tensor<1>>; 2],
    epsilon: f64,
) -> (Tensor<1>, Tensor<1>) {
    let mut scale = variance.add_scalar(epsilon).sqrt().recip();
    if let Some(gamma) = gamma {
        scale = scale * gamma;
    }
    let shift = (mean * scale.clone()).neg();
    let shift = match beta {
        Some(beta) => shift + beta,
        None => shift,
    };
    (scale, shift)
}

/// `x * scale + shift`, with one scale and one shift per channel, in the format of `x`.
fn affine(x: Value, scale: Tensor<1>, shift: Tensor<1>) -> Value {
    let channels = scale.dims()[0];
    let format = x.format();
    let (scale, shift) = (scale.cast(format), shift.cast(format));
    match x {
        Value::Image(image) => {
            let side = [1, channels, 1, 1];
            Value::Image(image * scale.reshape(side) + shift.reshape(side))
        }
        Value::Tokens(tokens) => {
            Value::Tokens(tokens * scale.reshape([1, 1, channels]) + shift.reshape([1, 1, channels]))
        }
        Value::Features(rows) => Value::Features(rows * scale.reshape([1, channels]) + shift.reshape([1, channels])),
    }
}

/// Mean and variance (without Bessel's correction) of each channel over batch, height and width.
fn batch_statistics(x: &Value) -> (Tensor<1>, Tensor<1>) {
    let rows = match x {
        Value::Image(image) => {
            let [b, c, h, w] = image.dims();
            image.clone().permute([1, 0, 2, 3]).reshape([c, b * h * w])
        }
        Value::Tokens(tokens) => {
            let [b, n, c] = tokens.dims();
            tokens.clone().reshape([b * n, c]).transpose()
        }
        Value::Features(rows) => rows.clone().transpose(),
    };
    let channels = rows.dims()[0];
    let mean = rows.clone().mean_dim(1);
    let variance = (rows - mean.clone()).powi_scalar(2).mean_dim(1);
    (mean.reshape([channels]), variance.reshape([channels]))
}

fn global(image: Tensor<4>, keepdims: bool, reduce: impl Fn(Tensor<3>) -> Tensor<3>) -> Value {
    let [b, c, h, w] = image.dims();
    let pooled = reduce(image.reshape([b, c, h * w]));
    if keepdims { Value::Image(pooled.reshape([b, c, 1, 1])) } else { Value::Features(pooled.reshape([b, c])) }
}

fn combine(
    inputs: Vec<Value>,
    image: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
    tokens: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>,
    features: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>,
) -> Value {
    inputs
        .into_iter()
        .reduce(|a, b| match (a, b) {
            (Value::Image(a), Value::Image(b)) => Value::Image(image(a, b)),
            (Value::Tokens(a), Value::Tokens(b)) => Value::Tokens(tokens(a, b)),
            (Value::Features(a), Value::Features(b)) => Value::Features(features(a, b)),
            _ => unreachable!("shape inference compared the ranks"),
        })
        .expect("shape inference counted two inputs or more")
}

fn activate(x: Value, function: Activation) -> Value {
    match function {
        Activation::Linear => x,
        Activation::Relu => each!(x, t => activation::relu(t)),
        Activation::Relu6 => each!(x, t => activation::relu6(t)),
        Activation::Swish => each!(x, t => activation::silu(t)),
        Activation::HardSwish => each!(x, t => activation::hard_swish(t)),
        // The gradient of Burn's own GELU is an approximation.
        Activation::Gelu => {
            let root = std::f64::consts::FRAC_1_SQRT_2;
            each!(x, t => t.clone() * t.mul_scalar(root).erf().add_scalar(1.0).mul_scalar(0.5))
        }
        Activation::GeluTanh => each!(x, t => activation::gelu_approximate(t)),
        Activation::HardSigmoid => each!(x, t => t.add_scalar(3.0).clamp(0.0, 6.0).mul_scalar(1.0 / 6.0)),
        Activation::Sigmoid => each!(x, t => activation::sigmoid(t)),
        Activation::Tanh => each!(x, t => activation::tanh(t)),
        // Channels are axis 1 of images and of features, and axis 2 of tokens.
        Activation::Softmax => {
            x.each(|t| activation::softmax(t, 1), |t| activation::softmax(t, 2), |t| activation::softmax(t, 1))
        }
    }
}

/// Multiplies each value (or each sample) by its [`dropout_factor`].
fn dropout(x: Value, rate: f64, per_sample: bool, random: &mut ChaCha8Rng, device: &Device) -> Value {
    let mut mask = |count: usize| -> Vec<f32> { (0..count).map(|_| dropout_factor(rate, random.next_u32())).collect() };
    match x {
        Value::Image(image) => {
            let [b, c, h, w] = image.dims();
            let side = if per_sample { [b, 1, 1, 1] } else { [b, c, h, w] };
            let mask = mask(side.iter().product());
            Value::Image(image * Tensor::<4>::from_data(TensorData::new(mask, side), device))
        }
        Value::Tokens(tokens) => {
            let [b, n, c] = tokens.dims();
            let side = if per_sample { [b, 1, 1] } else { [b, n, c] };
            let mask = mask(side.iter().product());
            Value::Tokens(tokens * Tensor::<3>::from_data(TensorData::new(mask, side), device))
        }
        Value::Features(rows) => {
            let [b, c] = rows.dims();
            let side = if per_sample { [b, 1] } else { [b, c] };
            let mask = mask(side.iter().product());
            Value::Features(rows * Tensor::<2>::from_data(TensorData::new(mask, side), device))
        }
    }
}
