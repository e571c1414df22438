//! What layers compute, by the book: one value at a time, in double precision.

use injerto_graph::{Activation, Graph, Node, Operator, Padding, Shape, Window, window_padding};

/// A tensor, channels last.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Tensor {
    fn zeros(shape: &Shape) -> Self {
        Self { shape: shape.0.clone(), values: vec![0.0; shape.count()] }
    }

    fn channels(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    fn at(&self, y: isize, x: isize, c: usize) -> Option<f64> {
        let [h, w, channels] = self.shape[..] else { panic!("not an image") };
        let inside = (0..h as isize).contains(&y) && (0..w as isize).contains(&x);
        inside.then(|| self.values[(y as usize * w + x as usize) * channels + c])
    }

    fn map(&self, f: impl Fn(usize, f64) -> f64) -> Self {
        let c = self.channels();
        let values = self.values.iter().enumerate().map(|(i, &x)| f(i % c, x)).collect();
        Self { shape: self.shape.clone(), values }
    }
}

/// Outputs of all layers for one image.
pub fn evaluate(graph: &Graph, parameters: &[Vec<Vec<f32>>], image: &[f64]) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = Vec::with_capacity(graph.len());
    for (at, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<&Tensor> = node.inputs.iter().map(|&input| &all[input]).collect();
        let parameters: Vec<Vec<f64>> =
            parameters[at].iter().map(|list| list.iter().map(|&x| f64::from(x)).collect()).collect();
        let output = if at == 0 {
            Tensor { shape: node.shape.0.clone(), values: image.to_vec() }
        } else {
            layer(node, &inputs, &parameters)
        };
        assert_eq!(output.shape, node.shape.0);
        all.push(output);
    }
    all
}

fn layer(node: &Node, inputs: &[&Tensor], parameters: &[Vec<f64>]) -> Tensor {
    let input = inputs[0];
    let shape = &node.shape;
    let channels = shape.channels();
    match node.operator() {
        Operator::InputLayer { .. } => unreachable!("only the first"),
        Operator::Rescaling { scale, offset } => {
            let (scale, offset) = (scale.values(channels), offset.values(channels));
            input.map(|c, x| x * scale[c] + offset[c])
        }
        Operator::Normalization {} => input.map(|c, x| (x - parameters[0][c]) / parameters[1][c].sqrt().max(1e-7)),
        Operator::BatchNormalization { epsilon, center, scale, .. } => {
            let mut rest = parameters.iter();
            let gamma = if *scale { rest.next().unwrap().clone() } else { vec![1.0; channels] };
            let beta = if *center { rest.next().unwrap().clone() } else { vec![0.0; channels] };
            let (mean, variance) = (rest.next().unwrap(), rest.next().unwrap());
            input.map(|c, x| (x - mean[c]) / (variance[c] + epsilon).sqrt() * gamma[c] + beta[c])
        }
        Operator::Conv2D { filters, kernel_size, strides, padding, dilation_rate, groups, use_bias, activation } => {
            let inner = input.channels() / groups;
            let kernel = |i: usize, j: usize, c: usize, f: usize| {
                let group = f / (filters / groups);
                (c / inner == group)
                    .then(|| parameters[0][((i * kernel_size[1] + j) * inner + c % inner) * filters + f])
            };
            let bias = use_bias.then(|| parameters[1].clone());
            let windows = (*kernel_size, *strides, *padding, *dilation_rate);
            activate(&convolve(input, shape, windows, kernel, bias), *activation)
        }
        Operator::DepthwiseConv2D {
            kernel_size,
            strides,
            padding,
            dilation_rate,
            depth_multiplier: m,
            use_bias,
            activation,
        } => {
            let kernel = |i: usize, j: usize, c: usize, f: usize| {
                (f / m == c).then(|| parameters[0][((i * kernel_size[1] + j) * input.channels() + c) * m + f % m])
            };
            let bias = use_bias.then(|| parameters[1].clone());
            let windows = (*kernel_size, *strides, *padding, *dilation_rate);
            activate(&convolve(input, shape, windows, kernel, bias), *activation)
        }
        Operator::ReLU { max_value } => input.map(|_, x| x.max(0.0).min(max_value.unwrap_or(f64::INFINITY))),
        Operator::Activation { activation } => activate(input, *activation),
        Operator::Softmax {} => activate(input, Activation::Softmax),
        Operator::ZeroPadding2D { padding } => {
            let mut output = Tensor::zeros(shape);
            let [h, w, c] = shape.image().unwrap();
            for y in 0..h {
                for x in 0..w {
                    let at = (y as isize - padding[0][0] as isize, x as isize - padding[1][0] as isize);
                    for k in 0..c {
                        output.values[(y * w + x) * c + k] = input.at(at.0, at.1, k).unwrap_or(0.0);
                    }
                }
            }
            output
        }
        Operator::MaxPooling2D(window) => pool(input, shape, window, true),
        Operator::AveragePooling2D(window) => pool(input, shape, window, false),
        Operator::GlobalAveragePooling2D { .. } | Operator::GlobalMaxPooling2D { .. } => {
            let mut output = Tensor::zeros(shape);
            let pixels = input.values.len() / channels;
            for c in 0..channels {
                let values = (0..pixels).map(|p| input.values[p * channels + c]);
                output.values[c] = match node.operator() {
                    Operator::GlobalMaxPooling2D { .. } => values.fold(f64::NEG_INFINITY, f64::max),
                    _ => values.sum::<f64>() / pixels as f64,
                };
            }
            output
        }
        Operator::Concatenate {} => {
            let pixels = input.values.len() / input.channels();
            let values = (0..pixels).flat_map(|p| {
                inputs.iter().flat_map(move |t| t.values[p * t.channels()..(p + 1) * t.channels()].iter().copied())
            });
            Tensor { shape: shape.0.clone(), values: values.collect() }
        }
        Operator::Add {} => {
            let sum = |i: usize| inputs.iter().map(|t| t.values[i]).sum();
            Tensor { shape: shape.0.clone(), values: (0..shape.count()).map(sum).collect() }
        }
        Operator::Multiply {} => {
            let value = |mut i: usize| {
                let mut index = vec![0; shape.0.len()];
                for axis in (0..index.len()).rev() {
                    index[axis] = i % shape.0[axis];
                    i /= shape.0[axis];
                }
                let of = |t: &&Tensor| {
                    let flat =
                        index.iter().zip(&t.shape).fold(0, |flat, (&i, &n)| flat * n + if n == 1 { 0 } else { i });
                    t.values[flat]
                };
                inputs.iter().map(of).product()
            };
            Tensor { shape: shape.0.clone(), values: (0..shape.count()).map(value).collect() }
        }
        Operator::Dense { units, use_bias, activation } => {
            let features = input.channels();
            let mut output = Tensor::zeros(shape);
            for (i, value) in output.values.iter_mut().enumerate() {
                let (row, unit) = (i / units, i % units);
                *value = if *use_bias { parameters[1][unit] } else { 0.0 };
                *value += (0..features)
                    .map(|k| input.values[row * features + k] * parameters[0][k * units + unit])
                    .sum::<f64>();
            }
            activate(&output, *activation)
        }
        Operator::Dropout { .. } => input.clone(),
        Operator::Flatten {} | Operator::Reshape { .. } => {
            Tensor { shape: shape.0.clone(), values: input.values.clone() }
        }
    }
}

type Windows = ([usize; 2], [usize; 2], Padding, [usize; 2]);

fn front(input: &Tensor, (kernel, strides, padding, dilation): Windows) -> [isize; 2] {
    [0, 1].map(|a| window_padding(padding, a, input.shape[a], kernel[a], strides[a], dilation[a]).unwrap().0.0 as isize)
}

fn convolve(
    input: &Tensor,
    shape: &Shape,
    windows: Windows,
    kernel: impl Fn(usize, usize, usize, usize) -> Option<f64>,
    bias: Option<Vec<f64>>,
) -> Tensor {
    let (size, strides, _, dilation) = windows;
    let front = front(input, windows);
    let [h, w, filters] = shape.image().unwrap();
    let mut output = Tensor::zeros(shape);
    for y in 0..h {
        for x in 0..w {
            for f in 0..filters {
                let mut sum = bias.as_ref().map_or(0.0, |bias| bias[f]);
                for i in 0..size[0] {
                    for j in 0..size[1] {
                        let in_y = (y * strides[0] + i * dilation[0]) as isize - front[0];
                        let in_x = (x * strides[1] + j * dilation[1]) as isize - front[1];
                        for c in 0..input.channels() {
                            if let (Some(value), Some(weight)) = (input.at(in_y, in_x, c), kernel(i, j, c, f)) {
                                sum += value * weight;
                            }
                        }
                    }
                }
                output.values[(y * w + x) * filters + f] = sum;
            }
        }
    }
    output
}

fn pool(input: &Tensor, shape: &Shape, window: &Window, largest: bool) -> Tensor {
    let front = front(input, (window.pool_size, window.strides, window.padding, [1, 1]));
    let [h, w, channels] = shape.image().unwrap();
    let mut output = Tensor::zeros(shape);
    for y in 0..h {
        for x in 0..w {
            for c in 0..channels {
                let mut values = Vec::new();
                for i in 0..window.pool_size[0] {
                    for j in 0..window.pool_size[1] {
                        let in_y = (y * window.strides[0] + i) as isize - front[0];
                        let in_x = (x * window.strides[1] + j) as isize - front[1];
                        values.extend(input.at(in_y, in_x, c));
                    }
                }
                let count =
                    if window.count_include_pad { window.pool_size[0] * window.pool_size[1] } else { values.len() };
                output.values[(y * w + x) * channels + c] = match largest {
                    true => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    false => values.iter().sum::<f64>() / count as f64,
                };
            }
        }
    }
    output
}

fn activate(input: &Tensor, activation: Activation) -> Tensor {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Linear => input.clone(),
        Activation::Relu => input.map(|_, x| x.max(0.0)),
        Activation::Relu6 => input.map(|_, x| x.clamp(0.0, 6.0)),
        Activation::Swish => input.map(|_, x| x * sigmoid(x)),
        Activation::HardSwish => input.map(|_, x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
        Activation::Sigmoid => input.map(|_, x| sigmoid(x)),
        Activation::Tanh => input.map(|_, x| x.tanh()),
        Activation::Softmax => {
            let c = input.channels();
            let mut output = input.clone();
            for pixel in output.values.chunks_exact_mut(c) {
                let largest = pixel.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = pixel.iter().map(|x| (x - largest).exp()).sum();
                pixel.iter_mut().for_each(|x| *x = (*x - largest).exp() / sum);
            }
            output
        }
    }
}
