//! Every operator once more, in double precision and in the plainest way.

use std::collections::BTreeMap;

use injerto_graph::{Activation, Graph, Node, Operator, Padding, Role, window_padding};

/// Parameters by layer and place.
pub type Parameters = BTreeMap<(usize, usize), Vec<f64>>;

/// How a pass is made.
pub struct Pass<'a> {
    /// In training: the bits that dropout draws, from the first.
    pub bits: Option<&'a dyn Fn(usize) -> u32>,
    /// Which layers train: dropout among them drops.
    pub trains: &'a dyn Fn(usize) -> bool,
    /// Batch normalisations that use the batch's statistics in training.
    pub batch_statistics: &'a [usize],
}

/// Outputs of all layers for `batch` samples, and the moved statistics.
pub fn run(
    graph: &Graph,
    parameters: &Parameters,
    input: &[f64],
    batch: usize,
    pass: &Pass<'_>,
) -> (Vec<Vec<f64>>, Parameters) {
    let mut outputs: Vec<Vec<f64>> = Vec::new();
    let (mut moved, mut drawn) = (Parameters::new(), 0);
    for (at, node) in graph.nodes().iter().enumerate() {
        let x: Vec<&[f64]> = node.inputs.iter().map(|&input| outputs[input].as_slice()).collect();
        let shapes: Vec<&[usize]> = node.inputs.iter().map(|&input| graph.nodes()[input].shape.0.as_slice()).collect();
        let y = match node.operator() {
            Operator::InputLayer { .. } => input.to_vec(),
            Operator::Dropout { rate, per_sample } => match pass.bits.filter(|_| *rate > 0.0 && (pass.trains)(at)) {
                Some(bits) => dropout(x[0], batch, &node.shape.0, (*rate, *per_sample), bits, &mut drawn),
                None => x[0].to_vec(),
            },
            Operator::BatchNormalization { epsilon, momentum, .. } => {
                let batches = pass.bits.is_some() && pass.batch_statistics.contains(&at);
                let kept = batches.then_some(*momentum);
                normalise(at, node, x[0], parameters, *epsilon, kept, &mut moved)
            }
            _ => layer(at, node, &x, &shapes, batch, parameters),
        };
        outputs.push(y);
    }
    (outputs, moved)
}

fn find<'a>(at: usize, node: &Node, role: Role, parameters: &'a Parameters) -> Option<&'a [f64]> {
    let place = node.parameters.iter().position(|p| p.role == role)?;
    Some(&parameters[&(at, place)])
}

fn dropout(
    x: &[f64],
    batch: usize,
    shape: &[usize],
    (rate, per_sample): (f64, bool),
    bits: &dyn Fn(usize) -> u32,
    drawn: &mut usize,
) -> Vec<f64> {
    let threshold = (rate * 4_294_967_296.0) as u64;
    let mut draw = || {
        *drawn += 1;
        if u64::from(bits(*drawn - 1)) < threshold { 0.0 } else { 1.0 / (1.0 - rate) }
    };
    let size: usize = shape.iter().product();
    let mut y = x.to_vec();
    for sample in 0..batch {
        let y = &mut y[sample * size..][..size];
        if per_sample {
            let factor = draw();
            y.iter_mut().for_each(|y| *y *= factor);
            continue;
        }
        // Channel by channel.
        let channels = if shape.len() == 3 { shape[2] } else { 1 };
        for c in 0..channels {
            for at in (c..size).step_by(channels) {
                y[at] *= draw();
            }
        }
    }
    y
}

fn normalise(
    at: usize,
    node: &Node,
    x: &[f64],
    parameters: &Parameters,
    epsilon: f64,
    momentum: Option<f64>,
    moved: &mut Parameters,
) -> Vec<f64> {
    let channels = node.shape.channels();
    let rows = x.len() / channels;
    let mut y = x.to_vec();
    for c in 0..channels {
        let values = || x.iter().skip(c).step_by(channels);
        let stored = |role| find(at, node, role, parameters).expect("has statistics")[c];
        let (mut mean, mut variance) = (stored(Role::MovingMean), stored(Role::MovingVariance));
        if let Some(momentum) = momentum {
            let own = values().sum::<f64>() / rows as f64;
            let square = values().map(|x| (x - own) * (x - own)).sum::<f64>() / rows as f64;
            for (role, old, new) in [(Role::MovingMean, mean, own), (Role::MovingVariance, variance, square)] {
                let place = node.parameters.iter().position(|p| p.role == role).expect("has statistics");
                moved.entry((at, place)).or_default().push(old * momentum + new * (1.0 - momentum));
            }
            (mean, variance) = (own, square);
        }
        let gamma = find(at, node, Role::Gamma, parameters).map_or(1.0, |gamma| gamma[c]);
        let beta = find(at, node, Role::Beta, parameters).map_or(0.0, |beta| beta[c]);
        for y in y.iter_mut().skip(c).step_by(channels) {
            *y = (*y - mean) / (variance + epsilon).sqrt() * gamma + beta;
        }
    }
    y
}

fn activate(y: &mut [f64], function: Activation, channels: usize) {
    if function == Activation::Softmax {
        for y in y.chunks_exact_mut(channels) {
            let sum: f64 = y.iter().map(|y| y.exp()).sum();
            y.iter_mut().for_each(|y| *y = y.exp() / sum);
        }
        return;
    }
    for y in y {
        let x = *y;
        *y = match function {
            Activation::Linear | Activation::Softmax => x,
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Swish => x / (1.0 + (-x).exp()),
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        };
    }
}

/// Calls `visit(output pixel, tap, input pixel)` for every tap that lies in the image; `input pixel` is `None` in the padding.
fn slide(
    input: &[usize],
    window: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    mut visit: impl FnMut(usize, usize, Option<usize>),
) {
    let axis = |axis: usize| {
        window_padding(padding, axis, input[axis], window[axis], strides[axis], dilation[axis]).expect("it fits")
    };
    let (((top, _), height), ((left, _), width)) = (axis(0), axis(1));
    for oy in 0..height {
        for ox in 0..width {
            for ky in 0..window[0] {
                for kx in 0..window[1] {
                    let y = (oy * strides[0] + ky * dilation[0]) as isize - top as isize;
                    let x = (ox * strides[1] + kx * dilation[1]) as isize - left as isize;
                    let inside = (0..input[0] as isize).contains(&y) && (0..input[1] as isize).contains(&x);
                    let from = inside.then(|| y as usize * input[1] + x as usize);
                    visit(oy * width + ox, ky * window[1] + kx, from);
                }
            }
        }
    }
}

fn layer(at: usize, node: &Node, x: &[&[f64]], shapes: &[&[usize]], batch: usize, parameters: &Parameters) -> Vec<f64> {
    let size = node.shape.count();
    let channels = node.shape.channels();
    let mut y = vec![0.0; batch * size];
    let parameter = |role| find(at, node, role, parameters);
    let own = |place: usize| shapes[place].iter().product::<usize>();
    let pad_bias = |y: &mut [f64]| {
        if let Some(bias) = parameter(Role::Bias) {
            y.iter_mut().enumerate().for_each(|(at, y)| *y += bias[at % channels]);
        }
    };
    match node.operator() {
        Operator::InputLayer { .. } | Operator::BatchNormalization { .. } | Operator::Dropout { .. } => {
            unreachable!("done elsewhere")
        }
        Operator::Rescaling { scale, offset } => {
            let (scale, offset) = (scale.values(channels), offset.values(channels));
            for (at, (y, x)) in y.iter_mut().zip(x[0]).enumerate() {
                *y = x * scale[at % channels] + offset[at % channels];
            }
        }
        Operator::Normalization {} => {
            let (mean, variance) = (parameter(Role::Mean).expect("a mean"), parameter(Role::Variance).expect("one"));
            for (at, (y, x)) in y.iter_mut().zip(x[0]).enumerate() {
                *y = (x - mean[at % channels]) / variance[at % channels].sqrt().max(1e-7);
            }
        }
        Operator::Conv2D { kernel_size, strides, padding, dilation_rate, groups, activation, .. } => {
            let kernel = parameter(Role::ConvolutionKernel).expect("a kernel");
            let (width, each) = (shapes[0][2] / groups, channels / groups);
            for sample in 0..batch {
                let (x, y) = (&x[0][sample * own(0)..], &mut y[sample * size..]);
                slide(shapes[0], *kernel_size, *strides, *padding, *dilation_rate, |to, tap, from| {
                    let Some(from) = from else { return };
                    for out in 0..channels {
                        for c in 0..width {
                            let x = x[from * shapes[0][2] + out / each * width + c];
                            y[to * channels + out] += x * kernel[(tap * width + c) * channels + out];
                        }
                    }
                });
            }
            pad_bias(&mut y);
            activate(&mut y, *activation, channels);
        }
        Operator::DepthwiseConv2D {
            kernel_size,
            strides,
            padding,
            dilation_rate,
            depth_multiplier,
            activation,
            ..
        } => {
            let kernel = parameter(Role::DepthwiseKernel).expect("a kernel");
            for sample in 0..batch {
                let (x, y) = (&x[0][sample * own(0)..], &mut y[sample * size..]);
                slide(shapes[0], *kernel_size, *strides, *padding, *dilation_rate, |to, tap, from| {
                    let Some(from) = from else { return };
                    for out in 0..channels {
                        let x = x[from * shapes[0][2] + out / depth_multiplier];
                        y[to * channels + out] += x * kernel[tap * channels + out];
                    }
                });
            }
            pad_bias(&mut y);
            activate(&mut y, *activation, channels);
        }
        Operator::Dense { activation, .. } => {
            let (kernel, width) = (parameter(Role::DenseKernel).expect("a kernel"), shapes[0][shapes[0].len() - 1]);
            for (x, y) in x[0].chunks_exact(width).zip(y.chunks_exact_mut(channels)) {
                for (c, x) in x.iter().enumerate() {
                    y.iter_mut().zip(&kernel[c * channels..]).for_each(|(y, kernel)| *y += x * kernel);
                }
            }
            pad_bias(&mut y);
            activate(&mut y, *activation, channels);
        }
        Operator::ReLU { max_value } => {
            let most = max_value.unwrap_or(f64::INFINITY);
            y.iter_mut().zip(x[0]).for_each(|(y, x)| *y = x.clamp(0.0, most));
        }
        Operator::Activation { activation } => {
            y.copy_from_slice(x[0]);
            activate(&mut y, *activation, channels);
        }
        Operator::Softmax {} => {
            y.copy_from_slice(x[0]);
            activate(&mut y, Activation::Softmax, channels);
        }
        Operator::ZeroPadding2D { padding } => {
            let width = node.shape.0[1];
            for sample in 0..batch {
                for row in 0..shapes[0][0] {
                    let line = shapes[0][1] * channels;
                    let to = sample * size + ((row + padding[0][0]) * width + padding[1][0]) * channels;
                    y[to..to + line].copy_from_slice(&x[0][sample * own(0) + row * line..][..line]);
                }
            }
        }
        Operator::MaxPooling2D(window) | Operator::AveragePooling2D(window) => {
            let largest = matches!(node.operator(), Operator::MaxPooling2D(_));
            for sample in 0..batch {
                let (x, y) = (&x[0][sample * own(0)..], &mut y[sample * size..][..size]);
                if largest {
                    y.fill(f64::NEG_INFINITY);
                }
                let mut counts = vec![0; size / channels];
                slide(shapes[0], window.pool_size, window.strides, window.padding, [1, 1], |to, _, from| {
                    counts[to] += usize::from(from.is_some() || window.count_include_pad);
                    let Some(from) = from else { return };
                    for c in 0..channels {
                        let (x, y) = (x[from * channels + c], &mut y[to * channels + c]);
                        *y = if largest { y.max(x) } else { *y + x };
                    }
                });
                if !largest {
                    y.iter_mut().enumerate().for_each(|(at, y)| *y /= counts[at / channels] as f64);
                }
            }
        }
        Operator::GlobalAveragePooling2D { .. } | Operator::GlobalMaxPooling2D { .. } => {
            let largest = matches!(node.operator(), Operator::GlobalMaxPooling2D { .. });
            let pixels = shapes[0][0] * shapes[0][1];
            for sample in 0..batch {
                for c in 0..channels {
                    let values = x[0][sample * own(0)..][..own(0)].iter().skip(c).step_by(channels);
                    y[sample * channels + c] = match largest {
                        true => values.copied().fold(f64::NEG_INFINITY, f64::max),
                        false => values.sum::<f64>() / pixels as f64,
                    };
                }
            }
        }
        Operator::Concatenate {} => {
            let mut first = 0;
            for (x, shape) in x.iter().zip(shapes) {
                let width = shape[shape.len() - 1];
                for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(width)) {
                    y[first..first + width].copy_from_slice(x);
                }
                first += width;
            }
        }
        Operator::Add {} => {
            for x in x {
                y.iter_mut().zip(*x).for_each(|(y, x)| *y += x);
            }
        }
        Operator::Multiply {} => {
            for sample in 0..batch {
                for at in 0..size {
                    let value = &mut y[sample * size + at];
                    *value = 1.0;
                    for (place, (x, shape)) in x.iter().zip(shapes).enumerate() {
                        let (mut rest, mut from, mut stride) = (at, 0, 1);
                        for (side, own) in node.shape.0.iter().zip(*shape).rev() {
                            from += (rest % side).min(own - 1) * stride;
                            (rest, stride) = (rest / side, stride * own);
                        }
                        *value *= x[sample * own(place) + from];
                    }
                }
            }
        }
        Operator::Flatten {} | Operator::Reshape { .. } => y.copy_from_slice(x[0]),
    }
    y
}
