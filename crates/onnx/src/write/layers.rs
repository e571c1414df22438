//! One arm per operator of a layer.

use injerto_graph::{Activation, Graph, Node, Operator, Padding, Role, Window, window_padding};

use super::{Attribute, Lowering, Placed};
use crate::OnnxError;

impl Lowering<'_, '_> {
    /// Writes a layer, and returns its output.
    pub(super) fn layer(&mut self, graph: &Graph, node: &Node, inputs: &[Placed]) -> Result<Placed, OnnxError> {
        let (name, shape) = (node.name(), &node.shape.0);
        let input_shape = &graph.nodes()[node.inputs[0]].shape.0;
        let is_image = input_shape.len() == 3;
        let x = match is_image && !takes_both_orders(node.operator()) {
            true => self.channels_first(&inputs[0]),
            false => inputs[0].clone(),
        };
        let first = x.first;
        let placed = |name: String| Placed { name, first };
        Ok(match node.operator() {
            Operator::InputLayer { .. } => unreachable!("the input has no inputs"),
            Operator::Rescaling { scale, offset } => {
                let channels = *input_shape.last().expect("a shape has at least one axis");
                let each = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
                let scale = self.per_channel(name, "scale", each(scale.values(channels)), first);
                let offset = self.per_channel(name, "offset", each(offset.values(channels)), first);
                let scaled = self.node(format!("{name}/scaled"), "Mul", &[&x.name, &scale], Vec::new());
                placed(self.node(name, "Add", &[&scaled, &offset], Vec::new()))
            }
            // As in Keras, the deviation is at least the backend's epsilon.
            Operator::Normalization {} => {
                let mean = self.needed(node, Role::Mean)?.to_vec();
                let variance = self.needed(node, Role::Variance)?;
                let factor = variance.iter().map(|&value| (1.0 / f64::from(value).sqrt().max(1e-7)) as f32).collect();
                let mean = self.per_channel(name, "mean", mean, first);
                let factor = self.per_channel(name, "factor", factor, first);
                let centred = self.node(format!("{name}/centred"), "Sub", &[&x.name, &mean], Vec::new());
                placed(self.node(name, "Mul", &[&centred, &factor], Vec::new()))
            }
            Operator::Conv2D { filters, kernel_size, strides, padding, dilation_rate, groups, activation, .. } => {
                let [kh, kw] = *kernel_size;
                let inputs = node.parameters[0].shape[2];
                let kernel = self.needed(node, Role::ConvolutionKernel)?;
                // The axes [field, in, out] become [out, in, field].
                let kernel = transposed(kernel, [kh * kw, inputs, *filters], [2, 1, 0]);
                let kernel = self.kernel(format!("{name}/kernel"), &[*filters, inputs, kh, kw], kernel)?;
                let window = [*kernel_size, *strides, *dilation_rate];
                let mut attributes = sliding(window, *padding, input_shape);
                attributes.push(("group", Attribute::Int(*groups as i64)));
                self.convolution(node, &x, kernel, attributes, *activation)?
            }
            Operator::DepthwiseConv2D { kernel_size, strides, padding, dilation_rate, activation, .. } => {
                let [kh, kw] = *kernel_size;
                let (channels, all) = (input_shape[2], shape[2]);
                let kernel = self.needed(node, Role::DepthwiseKernel)?;
                // The axes [field, channels * multiplier] become [channels * multiplier, field].
                let kernel = transposed(kernel, [kh * kw, all, 1], [1, 0, 2]);
                let kernel = self.kernel(format!("{name}/kernel"), &[all, 1, kh, kw], kernel)?;
                let mut attributes = sliding([*kernel_size, *strides, *dilation_rate], *padding, input_shape);
                attributes.push(("group", Attribute::Int(channels as i64)));
                self.convolution(node, &x, kernel, attributes, *activation)?
            }
            Operator::SeparableConv2D { filters, kernel_size, strides, padding, dilation_rate, activation, .. } => {
                let [kh, kw] = *kernel_size;
                let (channels, between) = (input_shape[2], node.parameters[1].shape[2]);
                let depthwise = transposed(self.needed(node, Role::DepthwiseKernel)?, [kh * kw, between, 1], [1, 0, 2]);
                let depthwise = self.kernel(format!("{name}/depthwise_kernel"), &[between, 1, kh, kw], depthwise)?;
                let mut attributes = sliding([*kernel_size, *strides, *dilation_rate], *padding, input_shape);
                attributes.push(("group", Attribute::Int(channels as i64)));
                let inputs = [x.name.as_str(), depthwise.as_str()];
                let between_name = self.node(format!("{name}/depthwise"), "Conv", &inputs, attributes);
                let pointwise = self.needed(node, Role::ConvolutionKernel)?;
                let pointwise = transposed(pointwise, [1, between, *filters], [2, 1, 0]);
                let pointwise =
                    self.kernel(format!("{name}/pointwise_kernel"), &[*filters, between, 1, 1], pointwise)?;
                let attributes = sliding([[1, 1]; 3], Padding::Valid, shape);
                self.convolution(node, &placed(between_name), pointwise, attributes, *activation)?
            }
            Operator::BatchNormalization { epsilon, .. } => {
                self.batch_normalization(node, &x, *epsilon, input_shape)?
            }
            Operator::ReLU { max_value, negative_slope } if *negative_slope != 0.0 => {
                let alpha = vec![("alpha", Attribute::Float(*negative_slope as f32))];
                placed(match max_value {
                    None => self.node(name, "LeakyRelu", &[&x.name], alpha),
                    Some(most) => {
                        let leaky = self.node(format!("{name}/leaky"), "LeakyRelu", &[&x.name], alpha);
                        let most = self.floats(format!("{name}/high"), &[], vec![*most as f32]);
                        self.node(name, "Min", &[&leaky, &most], Vec::new())
                    }
                })
            }
            Operator::ReLU { max_value: None, .. } => placed(self.node(name, "Relu", &[&x.name], Vec::new())),
            Operator::ReLU { max_value: Some(most), .. } => placed(self.clip(name, &x.name, *most as f32)),
            Operator::LayerNormalization { epsilon, .. } => {
                let x = self.channels_last(&x);
                let channels = *input_shape.last().expect("a shape has at least one axis");
                let gamma = self.values(node, Role::Gamma)?.map_or_else(|| vec![1.0; channels], <[f32]>::to_vec);
                let gamma = self.floats(format!("{name}/gamma"), &[channels], gamma);
                let beta = self.values(node, Role::Beta)?.map(<[f32]>::to_vec);
                let beta = beta.map(|beta| self.floats(format!("{name}/beta"), &[channels], beta));
                let inputs: Vec<&str> = [&*x.name, &*gamma].into_iter().chain(beta.as_deref()).collect();
                let attributes = vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(*epsilon as f32))];
                Placed { name: self.node(name, "LayerNormalization", &inputs, attributes), first: false }
            }
            Operator::GroupNormalization { groups, epsilon, .. } => {
                self.groups(node, x, *groups, *epsilon, input_shape)?
            }
            Operator::GlobalResponseNormalization { epsilon } => {
                self.response(node, &x, *epsilon, input_shape.len())?
            }
            Operator::LayerScale {} => {
                let gamma = self.needed(node, Role::Gamma)?.to_vec();
                let gamma = self.per_channel(name, "gamma", gamma, x.first);
                let value = self.node(name, "Mul", &[&x.name, &gamma], Vec::new());
                Placed { name: value, first: x.first }
            }
            Operator::DotProductAttention { num_heads } => self.attention(graph, node, inputs, *num_heads)?,
            Operator::PrependTokens { count } => self.prepend(node, &x, *count, input_shape[1])?,
            Operator::PositionEmbedding { resample } => {
                let learned = self.needed(node, Role::Embedding)?;
                let values = match resample {
                    None => learned.to_vec(),
                    Some(grids) => grids.apply(learned, input_shape[0], input_shape[1]),
                };
                let x = self.channels_last(&x);
                let embeddings = self.floats(format!("{name}/embeddings"), input_shape, values);
                Placed { name: self.node(name, "Add", &[&x.name, &embeddings], Vec::new()), first: false }
            }
            Operator::Cropping1D { cropping: [before, after] } => {
                let (start, end) = (*before as i64, (input_shape[0] - after) as i64);
                let [start, end, axis] = [("start", start), ("end", end), ("axis", 1)]
                    .map(|(what, value)| self.ints(format!("{name}/{what}"), vec![value]));
                Placed { name: self.node(name, "Slice", &[&x.name, &start, &end, &axis], Vec::new()), first: false }
            }
            Operator::Activation { activation } => self.activation(name, x, *activation),
            Operator::Softmax {} => self.activation(name, x, Activation::Softmax),
            Operator::ZeroPadding2D { padding: [[top, bottom], [left, right]] } => {
                let pads = [0, 0, *top, *left, 0, 0, *bottom, *right].map(|zeros| zeros as i64);
                let pads = self.ints(format!("{name}/pads"), pads.to_vec());
                placed(self.node(name, "Pad", &[&x.name, &pads], Vec::new()))
            }
            Operator::MaxPooling2D(window) => {
                let Window { pool_size, strides, padding, .. } = window;
                let mut attributes = sliding([*pool_size, *strides, [1, 1]], *padding, input_shape);
                attributes.retain(|(name, _)| *name != "dilations");
                placed(self.node(name, "MaxPool", &[&x.name], attributes))
            }
            Operator::AveragePooling2D(window) => {
                let Window { pool_size, strides, padding, count_include_pad } = window;
                let mut attributes = sliding([*pool_size, *strides, [1, 1]], *padding, input_shape);
                attributes.retain(|(name, _)| *name != "dilations");
                attributes.push(("count_include_pad", Attribute::Int(i64::from(*count_include_pad))));
                placed(self.node(name, "AveragePool", &[&x.name], attributes))
            }
            Operator::GlobalAveragePooling2D { keepdims } => self.global(name, "GlobalAveragePool", &x, *keepdims),
            Operator::GlobalMaxPooling2D { keepdims } => self.global(name, "GlobalMaxPool", &x, *keepdims),
            Operator::Concatenate {} => {
                let axis = if is_image { 1 } else { -1 };
                let inputs = self.same_order(inputs, is_image);
                let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
                placed(self.node(name, "Concat", &names, vec![("axis", Attribute::Int(axis))]))
            }
            Operator::Take { indices } => {
                let indices = indices.iter().map(|&index| index as i64).collect();
                let indices = self.ints(format!("{name}/indices"), indices);
                let axis = if first { 1 } else { -1 };
                placed(self.node(name, "Gather", &[&x.name, &indices], vec![("axis", Attribute::Int(axis))]))
            }
            Operator::Add {} => self.fold(name, "Add", inputs, is_image),
            Operator::Multiply {} => self.fold(name, "Mul", inputs, is_image),
            Operator::Dense { units, activation, .. } => {
                let x = self.channels_last(&inputs[0]);
                let features = *input_shape.last().expect("a shape has at least one axis");
                let kernel = self.needed(node, Role::DenseKernel)?.to_vec();
                let kernel = self.kernel(format!("{name}/kernel"), &[features, *units], kernel)?;
                let bias = self.values(node, Role::Bias)?.map(<[f32]>::to_vec);
                let bias = bias.map(|bias| self.floats(format!("{name}/bias"), &[*units], bias));
                let linear = linear_name(name, *activation);
                let value = match (input_shape.len(), &bias) {
                    (1, Some(bias)) => self.node(linear, "Gemm", &[&x.name, &kernel, bias], Vec::new()),
                    (_, None) => self.node(linear, "MatMul", &[&x.name, &kernel], Vec::new()),
                    (_, Some(bias)) => {
                        let product = self.node(format!("{name}/product"), "MatMul", &[&x.name, &kernel], Vec::new());
                        self.node(linear, "Add", &[&product, bias], Vec::new())
                    }
                };
                self.activation(name, Placed { name: value, first: false }, *activation)
            }
            Operator::Dropout { .. } => x,
            Operator::Flatten {} => {
                let x = self.channels_last(&x);
                let value = self.node(name, "Flatten", &[&x.name], vec![("axis", Attribute::Int(1))]);
                Placed { name: value, first: false }
            }
            Operator::Reshape { target_shape } => {
                let x = self.channels_last(&x);
                let sides = std::iter::once(0).chain(target_shape.iter().map(|&side| side as i64)).collect();
                let sides = self.ints(format!("{name}/shape"), sides);
                Placed { name: self.node(name, "Reshape", &[&x.name, &sides], Vec::new()), first: false }
            }
        })
    }

    /// Writes a batch normalisation with its running statistics. Images and vectors take the operator of ONNX; other shapes take a product and a sum.
    fn batch_normalization(
        &mut self,
        node: &Node,
        x: &Placed,
        epsilon: f64,
        input_shape: &[usize],
    ) -> Result<Placed, OnnxError> {
        let name = node.name();
        let channels = *input_shape.last().expect("a shape has at least one axis");
        let mean = self.needed(node, Role::MovingMean)?.to_vec();
        let variance = self.needed(node, Role::MovingVariance)?.to_vec();
        let or = |values: Option<&[f32]>, default: f32| match values {
            Some(values) => values.to_vec(),
            None => vec![default; channels],
        };
        let gamma = or(self.values(node, Role::Gamma)?, 1.0);
        let beta = or(self.values(node, Role::Beta)?, 0.0);
        let value = if matches!(input_shape.len(), 1 | 3) {
            let parameters = [("gamma", gamma), ("beta", beta), ("moving_mean", mean), ("moving_variance", variance)];
            let names = parameters.map(|(what, values)| self.floats(format!("{name}/{what}"), &[channels], values));
            let inputs = [&*x.name, &names[0], &names[1], &names[2], &names[3]];
            let attributes = vec![("epsilon", Attribute::Float(epsilon as f32))];
            self.node(name, "BatchNormalization", &inputs, attributes)
        } else {
            // ONNX normalises the second axis, but here channels are the last axis, so the layer is written as a product and a sum.
            let factor: Vec<f64> = (gamma.iter().zip(&variance))
                .map(|(&gamma, &variance)| f64::from(gamma) / (f64::from(variance) + epsilon).sqrt())
                .collect();
            let shift = (beta.iter().zip(&mean).zip(&factor))
                .map(|((&beta, &mean), factor)| (f64::from(beta) - f64::from(mean) * factor) as f32)
                .collect();
            let factor = factor.iter().map(|&value| value as f32).collect();
            let factor = self.per_channel(name, "factor", factor, false);
            let shift = self.per_channel(name, "shift", shift, false);
            let scaled = self.node(format!("{name}/scaled"), "Mul", &[&x.name, &factor], Vec::new());
            self.node(name, "Add", &[&scaled, &shift], Vec::new())
        };
        Ok(Placed { name: value, first: x.first })
    }

    /// Adds a tensor with one value per channel, in a shape that is repeated over the other axes.
    pub(super) fn per_channel(&mut self, layer: &str, what: &str, values: Vec<f32>, is_image: bool) -> String {
        let channels = values.len();
        let shape = if is_image { vec![channels, 1, 1] } else { vec![channels] };
        self.floats(format!("{layer}/{what}"), &shape, values)
    }

    pub(super) fn convolution(
        &mut self,
        node: &Node,
        x: &Placed,
        kernel: String,
        attributes: Vec<(&'static str, Attribute)>,
        activation: Activation,
    ) -> Result<Placed, OnnxError> {
        let name = node.name();
        let bias = self.values(node, Role::Bias)?.map(<[f32]>::to_vec);
        let bias = bias.map(|bias| self.floats(format!("{name}/bias"), &[bias.len()], bias));
        let inputs: Vec<&str> = [x.name.as_str(), kernel.as_str()].into_iter().chain(bias.as_deref()).collect();
        let value = self.node(linear_name(name, activation), "Conv", &inputs, attributes);
        Ok(self.activation(name, Placed { name: value, first: true }, activation))
    }

    /// `min(max(x, 0), most)`.
    pub(super) fn clip(&mut self, name: &str, x: &str, most: f32) -> String {
        let low = self.floats(format!("{name}/low"), &[], vec![0.0]);
        let high = self.floats(format!("{name}/high"), &[], vec![most]);
        self.node(name, "Clip", &[x, &low, &high], Vec::new())
    }

    pub(super) fn activation(&mut self, name: &str, x: Placed, activation: Activation) -> Placed {
        let axis = if x.first { 1 } else { -1 };
        let first = x.first;
        let value = match activation {
            Activation::Linear => x.name,
            Activation::Relu => self.node(name, "Relu", &[&x.name], Vec::new()),
            Activation::Relu6 => self.clip(name, &x.name, 6.0),
            Activation::Swish => {
                let gate = self.node(format!("{name}/sigmoid"), "Sigmoid", &[&x.name], Vec::new());
                self.node(name, "Mul", &[&x.name, &gate], Vec::new())
            }
            // GELU is x * (1 + erf(x / sqrt(2))) / 2.
            Activation::Gelu => {
                let scaled = self.times(&format!("{name}/scaled"), &x.name, std::f32::consts::FRAC_1_SQRT_2);
                let erf = self.node(format!("{name}/erf"), "Erf", &[&scaled], Vec::new());
                self.half_times_one_plus(name, &x.name, &erf)
            }
            // Its approximation is x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2.
            Activation::GeluTanh => {
                let square = self.node(format!("{name}/square"), "Mul", &[&x.name, &x.name], Vec::new());
                let cube = self.node(format!("{name}/cube"), "Mul", &[&square, &x.name], Vec::new());
                let small = self.times(&format!("{name}/small"), &cube, 0.044715);
                let sum = self.node(format!("{name}/sum"), "Add", &[&x.name, &small], Vec::new());
                let factor = (2.0 / std::f64::consts::PI).sqrt() as f32;
                let scaled = self.times(&format!("{name}/scaled"), &sum, factor);
                let tanh = self.node(format!("{name}/tanh"), "Tanh", &[&scaled], Vec::new());
                self.half_times_one_plus(name, &x.name, &tanh)
            }
            Activation::HardSigmoid => {
                let numbers = [("alpha", 1.0 / 6.0), ("beta", 0.5)];
                let numbers = numbers.map(|(name, value)| (name, Attribute::Float(value))).into();
                self.node(name, "HardSigmoid", &[&x.name], numbers)
            }
            Activation::HardSwish => self.node(name, "HardSwish", &[&x.name], Vec::new()),
            Activation::Sigmoid => self.node(name, "Sigmoid", &[&x.name], Vec::new()),
            Activation::Tanh => self.node(name, "Tanh", &[&x.name], Vec::new()),
            Activation::Softmax => self.node(name, "Softmax", &[&x.name], vec![("axis", Attribute::Int(axis))]),
        };
        Placed { name: value, first }
    }

    /// `x * factor`.
    pub(super) fn times(&mut self, name: &str, x: &str, factor: f32) -> String {
        let factor = self.floats(format!("{name}/factor"), &[], vec![factor]);
        self.node(name, "Mul", &[x, &factor], Vec::new())
    }

    /// `x * (1 + y) / 2`.
    pub(super) fn half_times_one_plus(&mut self, name: &str, x: &str, y: &str) -> String {
        let one = self.floats(format!("{name}/one"), &[], vec![1.0]);
        let sum = self.node(format!("{name}/one_plus"), "Add", &[y, &one], Vec::new());
        let product = self.node(format!("{name}/product"), "Mul", &[x, &sum], Vec::new());
        self.times(name, &product, 0.5)
    }

    pub(super) fn global(&mut self, name: &str, op: &'static str, x: &Placed, keepdims: bool) -> Placed {
        if keepdims {
            return Placed { name: self.node(name, op, &[&x.name], Vec::new()), first: true };
        }
        let pooled = self.node(format!("{name}/pooled"), op, &[&x.name], Vec::new());
        let value = self.node(name, "Flatten", &[&pooled], vec![("axis", Attribute::Int(1))]);
        Placed { name: value, first: false }
    }

    pub(super) fn same_order(&mut self, inputs: &[Placed], first: bool) -> Vec<Placed> {
        inputs.iter().map(|input| if first { self.channels_first(input) } else { input.clone() }).collect()
    }

    /// `op` of all inputs, two at a time.
    pub(super) fn fold(&mut self, name: &str, op: &'static str, inputs: &[Placed], is_image: bool) -> Placed {
        let inputs = self.same_order(inputs, is_image);
        let mut sum = inputs[0].name.clone();
        for (at, input) in inputs.iter().enumerate().skip(1) {
            let is_last = at + 1 == inputs.len();
            let part = if is_last { name.to_owned() } else { format!("{name}/{at}") };
            sum = self.node(part, op, &[&sum, &input.name], Vec::new());
        }
        Placed { name: sum, first: is_image }
    }
}

/// Whether a layer takes images in both orders of axes, or exchanges axes itself.
fn takes_both_orders(operator: &Operator) -> bool {
    matches!(
        operator,
        Operator::Rescaling { .. }
            | Operator::Normalization {}
            | Operator::ReLU { .. }
            | Operator::Activation { .. }
            | Operator::Softmax {}
            | Operator::LayerScale {}
            | Operator::LayerNormalization { .. }
            | Operator::GlobalResponseNormalization { .. }
            | Operator::PositionEmbedding { .. }
            | Operator::Dense { .. }
            | Operator::Dropout { .. }
            | Operator::Flatten {}
            | Operator::Reshape { .. }
    )
}

/// Name of the node before an activation that is part of a layer.
fn linear_name(layer: &str, activation: Activation) -> String {
    match activation {
        Activation::Linear => layer.to_owned(),
        _ => format!("{layer}/linear"),
    }
}

/// Attributes of a window over an image of `[height, width, channels]`.
fn sliding(
    [window, strides, dilations]: [[usize; 2]; 3],
    padding: Padding,
    input: &[usize],
) -> Vec<(&'static str, Attribute)> {
    let pads = [0, 1].map(|axis| {
        let padded = window_padding(padding, axis, input[axis], window[axis], strides[axis], dilations[axis]);
        padded.expect("shape inference has checked that the window fits").0
    });
    let ints = |values: [usize; 2]| Attribute::Ints(values.iter().map(|&value| value as i64).collect());
    let pads = [pads[0].0, pads[1].0, pads[0].1, pads[1].1].map(|zeros| zeros as i64);
    vec![
        ("kernel_shape", ints(window)),
        ("strides", ints(strides)),
        ("dilations", ints(dilations)),
        ("pads", Attribute::Ints(pads.to_vec())),
    ]
}

/// Values of shape `sides` with their axes in the order `axes`.
fn transposed(values: &[f32], sides: [usize; 3], axes: [usize; 3]) -> Vec<f32> {
    let strides = [sides[1] * sides[2], sides[2], 1];
    let [a, b, c] = axes;
    let mut out = Vec::with_capacity(values.len());
    for i in 0..sides[a] {
        for j in 0..sides[b] {
            for k in 0..sides[c] {
                out.push(values[i * strides[a] + j * strides[b] + k * strides[c]]);
            }
        }
    }
    out
}
