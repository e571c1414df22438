//! Writes a network as an ONNX model.
//!
//! Inside the model, images are channels-first, because that is the only order that ONNX's convolutions know; matrices and vectors keep
//! their order. Axes are exchanged at the input and where a layer needs the values of an image in a row. Nodes and their
//! parameters have the names of the layers.

use std::collections::{HashMap, HashSet};
use std::io;

use injerto_graph::{
    Activation, ChannelOrder, Graph, Node, Operator, Padding, Preprocessing, Role, Window, window_padding,
};

use crate::OnnxError;
use crate::wire::{Message, Number};

/// Number type of the stored kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits for kernels. The model computes in 32 bits, so that every runtime runs it.
    F16,
}

/// How the outputs of the network become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// They are probabilities already.
    Probabilities,
    /// Through a sigmoid each.
    Sigmoid,
    /// Through a softmax of all.
    Softmax,
}

/// A trained classifier that is written as a model.
///
/// The model takes `image`, float32 `[batch, height, width, 3]`, RGB from 0 to 255, and gives `probabilities`, float32
/// `[batch, classes]`. Preprocessing is part of it; decoding and resizing are not.
#[derive(Debug, Clone, Copy)]
pub struct Classifier<'a> {
    /// The network, which ends in `[units]`.
    pub graph: &'a Graph,
    /// How pixels become the input of the network.
    pub preprocessing: &'a Preprocessing,
    /// How outputs become probabilities. One unit gives two columns, of which the second is the output.
    pub answer: Answer,
    /// Keys and texts that the file carries.
    pub metadata: &'a [(String, String)],
    /// Number type of the kernels.
    pub precision: Precision,
}

/// Operator set of ONNX; all runtimes of the last years know it.
const OPSET: i64 = 17;
/// Version of the file format that came with the operator set.
const IR_VERSION: i64 = 8;
/// Size limit of a protocol buffer.
const LARGEST: usize = i32::MAX as usize;

const FLOAT: i64 = 1;
const INT64: i64 = 7;
const FLOAT16: i64 = 10;

impl Classifier<'_> {
    /// Writes the model. `parameter` gives the values of `LAYER/PARAMETER` in Keras's axes.
    ///
    /// # Errors
    /// [`OnnxError`] if a parameter is missing or does not fit half precision, if the network does not end in `[units]`, if the model
    /// is larger than the format allows, or if `out` fails.
    pub fn write<'p>(
        &self,
        parameter: &dyn Fn(&str) -> Option<&'p [f32]>,
        out: &mut dyn io::Write,
    ) -> Result<(), OnnxError> {
        let size = self.graph.image_size()?;
        let mut lowering = Lowering::new(parameter, self.precision);
        let last = lowering.network(self)?;
        let classes = lowering.answer(self, last)?;
        let model = self.model(&lowering, size, classes);
        if model.length() > LARGEST {
            return Err(OnnxError::TooLarge { bytes: model.length() });
        }
        model.write(out).map_err(|source| OnnxError::Io { path: "the model".into(), source })
    }

    fn model<'m>(&self, lowering: &'m Lowering<'_, '_>, [height, width]: [usize; 2], classes: usize) -> Message<'m> {
        let mut graph = Message::new();
        for node in &lowering.nodes {
            graph = graph.message(1, node.message());
        }
        graph = graph.text(2, self.graph.name());
        for tensor in &lowering.tensors {
            graph = graph.message(5, tensor.message());
        }
        let image = value(IMAGE, &[Err("batch"), Ok(height), Ok(width), Ok(3)]);
        let probabilities = value(PROBABILITIES, &[Err("batch"), Ok(classes)]);
        graph = graph.message(11, image).message(12, probabilities);
        let doc = format!(
            "input image: float32 [batch, {height}, {width}, 3], RGB from 0 to 255, resized by the caller; \
             output probabilities: float32 [batch, {classes}], in the order of the metadata 'classes'"
        );
        let mut model = Message::new()
            .int(1, IR_VERSION)
            .text(2, "injerto")
            .text(3, env!("CARGO_PKG_VERSION"))
            .text(6, &doc)
            .message(7, graph)
            .message(8, Message::new().text(1, "").int(2, OPSET));
        for (key, text) in self.metadata {
            model = model.message(14, Message::new().text(1, key).text(2, text));
        }
        model
    }
}

/// A `ValueInfoProto`; a side is a number, or the name of a number that is not fixed.
fn value<'m>(name: &str, sides: &[Result<usize, &str>]) -> Message<'m> {
    let mut shape = Message::new();
    for side in sides {
        let dimension = match side {
            Ok(side) => Message::new().int(1, *side as i64),
            Err(name) => Message::new().text(2, name),
        };
        shape = shape.message(1, dimension);
    }
    let tensor = Message::new().int(1, FLOAT).message(2, shape);
    Message::new().text(1, name).message(2, Message::new().message(1, tensor))
}

/// A node of the model.
struct NodeText {
    name: String,
    op: &'static str,
    inputs: Vec<String>,
    output: String,
    attributes: Vec<(&'static str, Attribute)>,
}

enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
}

impl NodeText {
    fn message<'m>(&self) -> Message<'m> {
        let mut node = Message::new();
        for input in &self.inputs {
            node = node.text(1, input);
        }
        node = node.text(2, &self.output).text(3, &self.name).text(4, self.op);
        for (name, attribute) in &self.attributes {
            let message = Message::new().text(1, name);
            let message = match attribute {
                Attribute::Float(value) => message.float(2, *value).int(20, 1),
                Attribute::Int(value) => message.int(3, *value).int(20, 2),
                Attribute::Ints(values) => message.ints(8, values).int(20, 7),
            };
            node = node.message(5, message);
        }
        node
    }
}

/// A tensor of the model.
struct TensorText {
    name: String,
    shape: Vec<usize>,
    values: TensorValues,
}

enum TensorValues {
    Floats(Vec<f32>, Number),
    Ints(Vec<i64>),
}

impl TensorText {
    fn message(&self) -> Message<'_> {
        let dims: Vec<i64> = self.shape.iter().map(|&side| side as i64).collect();
        let tensor = Message::new().ints(1, &dims);
        match &self.values {
            TensorValues::Floats(values, number) => {
                let kind = if *number == Number::F32 { FLOAT } else { FLOAT16 };
                tensor.int(2, kind).text(8, &self.name).numbers(9, values, *number)
            }
            TensorValues::Ints(values) => tensor.int(2, INT64).ints(7, values).text(8, &self.name),
        }
    }
}

/// A value of the model, and the order of its axes.
#[derive(Debug, Clone, PartialEq)]
struct Placed {
    name: String,
    /// Whether an image is `[batch, channels, height, width]`. Values that are not images are never so.
    first: bool,
}

/// The model so far.
struct Lowering<'a, 'p> {
    parameter: &'a dyn Fn(&str) -> Option<&'p [f32]>,
    precision: Precision,
    nodes: Vec<NodeText>,
    tensors: Vec<TensorText>,
    /// Names of values. Layers may have any name, so a name that is taken gets a number.
    taken: HashSet<String>,
    /// Values with exchanged axes, by the value and whether its channels come first.
    exchanged: HashMap<(String, bool), String>,
}

const IMAGE: &str = "image";
const PROBABILITIES: &str = "probabilities";

impl<'a, 'p> Lowering<'a, 'p> {
    fn new(parameter: &'a dyn Fn(&str) -> Option<&'p [f32]>, precision: Precision) -> Self {
        let taken = [IMAGE, PROBABILITIES].map(str::to_owned).into();
        Self { parameter, precision, nodes: Vec::new(), tensors: Vec::new(), taken, exchanged: HashMap::new() }
    }

    /// A name like `wanted` that no value has yet.
    fn fresh(&mut self, wanted: impl Into<String>) -> String {
        let wanted = wanted.into();
        let numbered = |number: usize| if number == 1 { wanted.clone() } else { format!("{wanted}_{number}") };
        let name = (1..).map(numbered).find(|name| !self.taken.contains(name)).expect("numbers do not run out");
        self.taken.insert(name.clone());
        name
    }

    /// Adds a node. Its output has the name of the node.
    fn node(
        &mut self,
        name: impl Into<String>,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let name = self.fresh(name);
        self.named(name, op, inputs, attributes)
    }

    /// Adds a node with a name that is reserved for it.
    fn named(
        &mut self,
        name: String,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        self.nodes.push(NodeText { output: name.clone(), name: name.clone(), op, inputs, attributes });
        name
    }

    /// Adds a tensor of numbers.
    fn floats(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> String {
        let name = self.fresh(name);
        self.tensors.push(TensorText {
            name: name.clone(),
            shape: shape.to_vec(),
            values: TensorValues::Floats(values, Number::F32),
        });
        name
    }

    /// Adds a list of whole numbers.
    fn ints(&mut self, name: impl Into<String>, values: Vec<i64>) -> String {
        let name = self.fresh(name);
        self.tensors.push(TensorText {
            name: name.clone(),
            shape: vec![values.len()],
            values: TensorValues::Ints(values),
        });
        name
    }

    /// Adds a kernel, in the precision of the file.
    fn kernel(&mut self, name: String, shape: &[usize], values: Vec<f32>) -> Result<String, OnnxError> {
        if self.precision == Precision::F32 {
            return Ok(self.floats(name, shape, values));
        }
        if values.iter().any(|&value| !half::f16::from_f32(value).is_finite()) {
            return Err(OnnxError::Overflow { name });
        }
        let stored = self.fresh(format!("{name}/f16"));
        let values = TensorValues::Floats(values, Number::F16);
        self.tensors.push(TensorText { name: stored.clone(), shape: shape.to_vec(), values });
        Ok(self.node(name, "Cast", &[&stored], vec![("to", Attribute::Int(FLOAT))]))
    }

    /// The values of a parameter of a layer.
    fn values(&self, node: &Node, role: Role) -> Result<Option<&'p [f32]>, OnnxError> {
        let Some(parameter) = node.parameters.iter().find(|parameter| parameter.role == role) else { return Ok(None) };
        let name = format!("{}/{}", node.name(), parameter.name());
        match (self.parameter)(&name).filter(|values| values.len() == parameter.count()) {
            Some(values) => Ok(Some(values)),
            None => Err(OnnxError::Parameter { name }),
        }
    }

    fn needed(&self, node: &Node, role: Role) -> Result<&'p [f32], OnnxError> {
        let name = || OnnxError::Parameter { name: format!("{}/{role:?}", node.name()) };
        self.values(node, role)?.ok_or_else(name)
    }

    /// The value with channels first, if it is an image.
    fn channels_first(&mut self, value: &Placed) -> Placed {
        if value.first {
            return value.clone();
        }
        self.transposed(value, true, vec![0, 3, 1, 2])
    }

    /// The value with channels last.
    fn channels_last(&mut self, value: &Placed) -> Placed {
        if !value.first {
            return value.clone();
        }
        self.transposed(value, false, vec![0, 2, 3, 1])
    }

    /// The value with exchanged axes, which is computed only once.
    fn transposed(&mut self, value: &Placed, first: bool, axes: Vec<i64>) -> Placed {
        let key = (value.name.clone(), first);
        if let Some(name) = self.exchanged.get(&key) {
            return Placed { name: name.clone(), first };
        }
        let name = format!("{}/{}", value.name, if first { "channels_first" } else { "channels_last" });
        let name = self.node(name, "Transpose", &[&value.name], vec![("perm", Attribute::Ints(axes))]);
        self.exchanged.insert(key, name.clone());
        Placed { name, first }
    }

    /// Preprocessing and all layers.
    fn network(&mut self, model: &Classifier<'_>) -> Result<Placed, OnnxError> {
        let mut placed: Vec<Placed> = Vec::with_capacity(model.graph.len());
        for node in model.graph.nodes() {
            let inputs: Vec<Placed> = node.inputs.iter().map(|&input| placed[input].clone()).collect();
            let value = match inputs.is_empty() {
                true => self.input(model.preprocessing),
                false => self.layer(model.graph, node, &inputs)?,
            };
            placed.push(value);
        }
        Ok(placed.pop().expect("a graph has at least its input"))
    }

    /// `x * (scale / std) - mean / std` per channel, in the network's order of colours.
    fn input(&mut self, how: &Preprocessing) -> Placed {
        let mut name = IMAGE.to_owned();
        if how.channel_order == ChannelOrder::Bgr {
            let order = self.ints("preprocessing/order", vec![2, 1, 0]);
            name = self.node("preprocessing/bgr", "Gather", &[&name, &order], vec![("axis", Attribute::Int(3))]);
        }
        let each = |f: &dyn Fn(usize) -> f64| (0..3).map(|c| f(c) as f32).collect::<Vec<f32>>();
        let (factor, shift) = (each(&|c| how.scale / how.std[c]), each(&|c| -how.mean[c] / how.std[c]));
        if factor.iter().any(|&factor| factor != 1.0) {
            let factor = self.floats("preprocessing/factor", &[3], factor);
            name = self.node("preprocessing/scaled", "Mul", &[&name, &factor], Vec::new());
        }
        if shift.iter().any(|&shift| shift != 0.0) {
            let shift = self.floats("preprocessing/shift", &[3], shift);
            name = self.node("preprocessing/shifted", "Add", &[&name, &shift], Vec::new());
        }
        Placed { name, first: false }
    }

    /// A layer.
    fn layer(&mut self, graph: &Graph, node: &Node, inputs: &[Placed]) -> Result<Placed, OnnxError> {
        let (name, shape) = (node.name(), &node.shape.0);
        let input_shape = &graph.nodes()[node.inputs[0]].shape.0;
        let is_image = input_shape.len() == 3;
        // These layers take channels in any order, or exchange them themselves.
        let takes_any = matches!(
            node.operator(),
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
        );
        let x = match is_image && !takes_any {
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
            // Keras's backend epsilon limits the deviation.
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
                // [field, in, out] -> [out, in, field]
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
                // [field, channels * multiplier] -> [channels * multiplier, field]
                let kernel = transposed(kernel, [kh * kw, all, 1], [1, 0, 2]);
                let kernel = self.kernel(format!("{name}/kernel"), &[all, 1, kh, kw], kernel)?;
                let mut attributes = sliding([*kernel_size, *strides, *dilation_rate], *padding, input_shape);
                attributes.push(("group", Attribute::Int(channels as i64)));
                self.convolution(node, &x, kernel, attributes, *activation)?
            }
            Operator::BatchNormalization { epsilon, .. } => {
                let channels = *input_shape.last().expect("a shape has at least one axis");
                let mean = self.needed(node, Role::MovingMean)?.to_vec();
                let variance = self.needed(node, Role::MovingVariance)?.to_vec();
                let or = |values: Option<&[f32]>, default: f32| match values {
                    Some(values) => values.to_vec(),
                    None => vec![default; channels],
                };
                let gamma = or(self.values(node, Role::Gamma)?, 1.0);
                let beta = or(self.values(node, Role::Beta)?, 0.0);
                if is_image || input_shape.len() == 1 {
                    let parameters =
                        [("gamma", gamma), ("beta", beta), ("moving_mean", mean), ("moving_variance", variance)];
                    let names =
                        parameters.map(|(what, values)| self.floats(format!("{name}/{what}"), &[channels], values));
                    let inputs = [&*x.name, &names[0], &names[1], &names[2], &names[3]];
                    let attributes = vec![("epsilon", Attribute::Float(*epsilon as f32))];
                    placed(self.node(name, "BatchNormalization", &inputs, attributes))
                } else {
                    // ONNX normalises the second axis, but channels are the last one here.
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
                    placed(self.node(name, "Add", &[&scaled, &shift], Vec::new()))
                }
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
            Operator::PrependTokens { count } => {
                let tokens = self.needed(node, Role::Embedding)?.to_vec();
                let sides = [1, *count, input_shape[1]];
                let tokens = self.floats(format!("{name}/embeddings"), &sides, tokens);
                let part = vec![("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
                let batch = self.node(format!("{name}/batch"), "Shape", &[&x.name], part);
                let rest = self.ints(format!("{name}/sides"), vec![sides[1] as i64, sides[2] as i64]);
                let along = |axis| vec![("axis", Attribute::Int(axis))];
                let shape = self.node(format!("{name}/shape"), "Concat", &[&batch, &rest], along(0));
                let all = self.node(format!("{name}/tokens"), "Expand", &[&tokens, &shape], Vec::new());
                Placed { name: self.node(name, "Concat", &[&all, &x.name], along(1)), first: false }
            }
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

    /// Values per channel, in a shape that is repeated over the other axes.
    fn per_channel(&mut self, layer: &str, what: &str, values: Vec<f32>, is_image: bool) -> String {
        let channels = values.len();
        let shape = if is_image { vec![channels, 1, 1] } else { vec![channels] };
        self.floats(format!("{layer}/{what}"), &shape, values)
    }

    fn convolution(
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
    fn clip(&mut self, name: &str, x: &str, most: f32) -> String {
        let low = self.floats(format!("{name}/low"), &[], vec![0.0]);
        let high = self.floats(format!("{name}/high"), &[], vec![most]);
        self.node(name, "Clip", &[x, &low, &high], Vec::new())
    }

    fn activation(&mut self, name: &str, x: Placed, activation: Activation) -> Placed {
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
            // x * (1 + erf(x / sqrt(2))) / 2
            Activation::Gelu => {
                let scaled = self.times(&format!("{name}/scaled"), &x.name, std::f32::consts::FRAC_1_SQRT_2);
                let erf = self.node(format!("{name}/erf"), "Erf", &[&scaled], Vec::new());
                self.half_times_one_plus(name, &x.name, &erf)
            }
            // x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2
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
    fn times(&mut self, name: &str, x: &str, factor: f32) -> String {
        let factor = self.floats(format!("{name}/factor"), &[], vec![factor]);
        self.node(name, "Mul", &[x, &factor], Vec::new())
    }

    /// `x * (1 + y) / 2`.
    fn half_times_one_plus(&mut self, name: &str, x: &str, y: &str) -> String {
        let one = self.floats(format!("{name}/one"), &[], vec![1.0]);
        let sum = self.node(format!("{name}/one_plus"), "Add", &[y, &one], Vec::new());
        let product = self.node(format!("{name}/product"), "Mul", &[x, &sum], Vec::new());
        self.times(name, &product, 0.5)
    }

    /// Group normalisation as an instance normalisation whose channels are the groups.
    fn groups(
        &mut self,
        node: &Node,
        x: Placed,
        groups: usize,
        epsilon: f64,
        shape: &[usize],
    ) -> Result<Placed, OnnxError> {
        let name = node.name();
        let channels = *shape.last().expect("a shape has at least one axis");
        // Channels come after the samples, and positions after the channels.
        let exchanged = |this: &mut Self, part: &str, x: &str| {
            this.node(format!("{name}/{part}"), "Transpose", &[x], vec![("perm", Attribute::Ints(vec![0, 2, 1]))])
        };
        let (first, positions) = match shape {
            [_] => (x.name, Vec::new()),
            [tokens, _] => (exchanged(self, "channels", &x.name), vec![*tokens]),
            [height, width, _] => (x.name, vec![*height, *width]),
            _ => {
                let reason = format!("it normalises groups of {} axes", shape.len());
                return Err(OnnxError::Layer { layer: name.to_owned(), reason });
            }
        };
        let sides = self.ints(format!("{name}/groups"), vec![0, groups as i64, -1]);
        let grouped = self.node(format!("{name}/grouped"), "Reshape", &[&first, &sides], Vec::new());
        let [one, zero] = [("scale", 1.0), ("shift", 0.0)]
            .map(|(what, value)| self.floats(format!("{name}/{what}"), &[groups], vec![value; groups]));
        let attributes = vec![("epsilon", Attribute::Float(epsilon as f32))];
        let normal = self.node(format!("{name}/normal"), "InstanceNormalization", &[&grouped, &one, &zero], attributes);
        let back = [0, channels as i64].into_iter().chain(positions.iter().map(|&side| side as i64)).collect();
        let back = self.ints(format!("{name}/sides"), back);
        let mut value = self.node(format!("{name}/ungrouped"), "Reshape", &[&normal, &back], Vec::new());
        let per_channel = [vec![channels], vec![1; positions.len()]].concat();
        for (role, what, op) in [(Role::Gamma, "gamma", "Mul"), (Role::Beta, "beta", "Add")] {
            if let Some(values) = self.values(node, role)?.map(<[f32]>::to_vec) {
                let values = self.floats(format!("{name}/{what}"), &per_channel, values);
                value = self.node(format!("{name}/{what}ed"), op, &[&value, &values], Vec::new());
            }
        }
        Ok(match shape.len() {
            2 => Placed { name: exchanged(self, "tokens", &value), first: false },
            axes => Placed { name: value, first: axes == 3 },
        })
    }

    /// `x + gamma * (x * n) + beta`, where `n` is the norm of a channel, as seen from the mean of all norms.
    fn response(&mut self, node: &Node, x: &Placed, epsilon: f64, axes: usize) -> Result<Placed, OnnxError> {
        let name = node.name();
        let x = self.channels_last(x).name;
        let part = |what: &str| format!("{name}/{what}");
        let positions: Vec<i64> = (1..axes as i64).collect();
        let norms = match positions.is_empty() {
            true => self.node(part("norms"), "Abs", &[&x], Vec::new()),
            false => self.node(part("norms"), "ReduceL2", &[&x], vec![("axes", Attribute::Ints(positions))]),
        };
        let mean = self.node(part("mean"), "ReduceMean", &[&norms], vec![("axes", Attribute::Ints(vec![-1]))]);
        let epsilon = self.floats(part("epsilon"), &[], vec![epsilon as f32]);
        let mean = self.node(part("divisor"), "Add", &[&mean, &epsilon], Vec::new());
        let ratio = self.node(part("ratio"), "Div", &[&norms, &mean], Vec::new());
        let scaled = self.node(part("scaled"), "Mul", &[&x, &ratio], Vec::new());
        let gamma = self.needed(node, Role::Gamma)?.to_vec();
        let beta = self.needed(node, Role::Beta)?.to_vec();
        let gamma = self.per_channel(name, "gamma", gamma, false);
        let beta = self.per_channel(name, "beta", beta, false);
        let product = self.node(part("product"), "Mul", &[&scaled, &gamma], Vec::new());
        let sum = self.node(part("sum"), "Add", &[&product, &beta], Vec::new());
        Ok(Placed { name: self.node(name, "Add", &[&x, &sum], Vec::new()), first: false })
    }

    /// `softmax(q kᵀ / sqrt(d)) v` of each head.
    fn attention(&mut self, graph: &Graph, node: &Node, inputs: &[Placed], heads: usize) -> Result<Placed, OnnxError> {
        let name = node.name();
        let part = |what: &str| format!("{name}/{what}");
        let shapes: Vec<&injerto_graph::Shape> = node.inputs.iter().map(|&at| &graph.nodes()[at].shape).collect();
        let sizes = injerto_graph::Attention::new(heads, &shapes)
            .map_err(|reason| OnnxError::Layer { layer: name.to_owned(), reason })?;
        let (depth, of_values) = (sizes.channels / heads, sizes.value_channels / heads);
        let [q, k, v] = match inputs {
            [q, k, v] => [q.name.clone(), k.name.clone(), v.name.clone()],
            _ => [0, 1, 2].map(|at| {
                let (start, end) = (at * sizes.channels as i64, (at + 1) * sizes.channels as i64);
                let [start, end, axis] = [("start", start), ("end", end), ("axis", 2)]
                    .map(|(what, value)| self.ints(part(&format!("{what}_{at}")), vec![value]));
                self.node(part(&format!("part_{at}")), "Slice", &[&inputs[0].name, &start, &end, &axis], Vec::new())
            }),
        };
        let mut by_head = |what: &str, x: &str, tokens: usize, width: usize, order: [i64; 4]| {
            let sides = [0, tokens as i64, heads as i64, width as i64];
            let sides = self.ints(part(&format!("{what}_sides")), sides.to_vec());
            let split = self.node(part(&format!("{what}_heads")), "Reshape", &[x, &sides], Vec::new());
            self.node(part(what), "Transpose", &[&split], vec![("perm", Attribute::Ints(order.to_vec()))])
        };
        let q = by_head("queries", &q, sizes.tokens, depth, [0, 2, 1, 3]);
        let k = by_head("keys", &k, sizes.others, depth, [0, 2, 3, 1]);
        let v = by_head("values", &v, sizes.others, of_values, [0, 2, 1, 3]);
        let q = self.times(&part("scaled"), &q, (1.0 / (depth as f64).sqrt()) as f32);
        let scores = self.node(part("scores"), "MatMul", &[&q, &k], Vec::new());
        let shares = self.node(part("shares"), "Softmax", &[&scores], vec![("axis", Attribute::Int(-1))]);
        let sums = self.node(part("sums"), "MatMul", &[&shares, &v], Vec::new());
        let order = vec![("perm", Attribute::Ints(vec![0, 2, 1, 3]))];
        let tokens = self.node(part("tokens"), "Transpose", &[&sums], order);
        let sides = vec![0, sizes.tokens as i64, sizes.value_channels as i64];
        let sides = self.ints(part("sides"), sides);
        Ok(Placed { name: self.node(name, "Reshape", &[&tokens, &sides], Vec::new()), first: false })
    }

    fn global(&mut self, name: &str, op: &'static str, x: &Placed, keepdims: bool) -> Placed {
        if keepdims {
            return Placed { name: self.node(name, op, &[&x.name], Vec::new()), first: true };
        }
        let pooled = self.node(format!("{name}/pooled"), op, &[&x.name], Vec::new());
        let value = self.node(name, "Flatten", &[&pooled], vec![("axis", Attribute::Int(1))]);
        Placed { name: value, first: false }
    }

    fn same_order(&mut self, inputs: &[Placed], first: bool) -> Vec<Placed> {
        inputs.iter().map(|input| if first { self.channels_first(input) } else { input.clone() }).collect()
    }

    /// `op` of all inputs, two at a time.
    fn fold(&mut self, name: &str, op: &'static str, inputs: &[Placed], is_image: bool) -> Placed {
        let inputs = self.same_order(inputs, is_image);
        let mut sum = inputs[0].name.clone();
        for (at, input) in inputs.iter().enumerate().skip(1) {
            let is_last = at + 1 == inputs.len();
            let part = if is_last { name.to_owned() } else { format!("{name}/{at}") };
            sum = self.node(part, op, &[&sum, &input.name], Vec::new());
        }
        Placed { name: sum, first: is_image }
    }

    /// Makes probabilities of the outputs; returns the number of columns.
    fn answer(&mut self, model: &Classifier<'_>, last: Placed) -> Result<usize, OnnxError> {
        let &[units] = model.graph.output_shape().0.as_slice() else {
            let (layer, shape) = (model.graph.nodes()[model.graph.len() - 1].name(), model.graph.output_shape());
            let reason = format!("its output of shape {shape} does not hold one number per class");
            return Err(OnnxError::Layer { layer: layer.to_owned(), reason });
        };
        let (op, attributes) = match model.answer {
            Answer::Softmax => ("Softmax", vec![("axis", Attribute::Int(-1))]),
            Answer::Sigmoid => ("Sigmoid", Vec::new()),
            Answer::Probabilities => ("Identity", Vec::new()),
        };
        if units > 1 {
            self.named(PROBABILITIES.to_owned(), op, &[&last.name], attributes);
            return Ok(units);
        }
        let second = self.node("second_class", op, &[&last.name], attributes);
        let whole = self.floats("one", &[], vec![1.0]);
        let first = self.node("first_class", "Sub", &[&whole, &second], Vec::new());
        let axis = vec![("axis", Attribute::Int(1))];
        self.named(PROBABILITIES.to_owned(), "Concat", &[&first, &second], axis);
        Ok(2)
    }
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
        padded.expect("shape inference has found room for the window").0
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
