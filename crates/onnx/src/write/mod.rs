//! Writes a network as an ONNX model.
//!
//! Inside the model, images are channels-first, because that is the only order that ONNX's convolutions know; matrices and vectors keep
//! their order. Axes are exchanged at the input and where a layer needs the values of an image in a row. Nodes and their
//! parameters have the names of the layers.

mod layers;
mod tokens;

use std::collections::{HashMap, HashSet};
use std::io;

use injerto_graph::{ChannelOrder, Graph, Node, Preprocessing, Role};

use crate::OnnxError;
use crate::wire::{Message, Number};

/// Number format of the stored kernels.
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
    /// The outputs are probabilities.
    Probabilities,
    /// Each output goes through a sigmoid.
    Sigmoid,
    /// All outputs go through a softmax.
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
    /// Keys and texts that are stored in the file.
    pub metadata: &'a [(String, String)],
    /// Number format of the kernels.
    pub precision: Precision,
}

/// Version of ONNX's operator set, which has been supported by all runtimes for years.
const OPSET: i64 = 17;
/// Version of the file format that was published with the operator set.
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

/// A `ValueInfoProto`; each side is a number, or the name of a number that is not fixed.
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
    /// Whether it is an image `[batch, channels, height, width]`; `false` for all other values.
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

    /// Writes the preprocessing and all layers, and returns the output of the last one.
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

    /// Writes the preprocessing, `x * (scale / std) - mean / std` per channel, in the network's order of colours.
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
