//! Makes steps of a graph: decides what is computed together, which gradients are needed, and which values share a buffer.

mod folding;
mod lifetimes;

use std::collections::BTreeMap;
use std::ops::Range;

use injerto_graph::{Activation, Attention as Sizes, Graph, Node, Operator, Padding, ParameterId, Role, Shape};

use folding::clip_of;
use lifetimes::{assign, contributions};

use super::Error;
use super::attention::Attention;
use super::convolution::Convolution;
use super::depthwise::Depthwise;
use super::elementwise::{Activate, Add, Clip, Concatenate, Dropout, Join, Leaky, ZeroPad};
use super::fold::{Fold, Norm};
use super::narrow::Narrow;
use super::normalise::{Affine, AffineSource, Normalise, Scale};
use super::parameters::Parameters;
use super::pool::{AveragePool, GlobalAverage, MaxPool};
use super::standardise::{Respond, Standardise};
use super::step::Step;
use super::tokens::{Crop, Embed, Prepend, Take};
use crate::geometry::Geometry;
use crate::isa::ForLoops;
use crate::linalg::Multiplier;

/// A step with its inputs and its output.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) step: Box<dyn Step>,
    pub(super) inputs: Vec<usize>,
    pub(super) output: usize,
    /// For each input, whether its gradient is added to an earlier contribution; `None` if no gradient is needed.
    pub(super) wants: Vec<Option<bool>>,
    /// For each input, its buffer and its length for one sample.
    pub(super) places: Vec<(usize, usize)>,
}

/// A value of the program: its length for one sample, its buffer, and that of its gradient.
#[derive(Debug, Clone, Default)]
pub(super) struct Value {
    pub(super) count: usize,
    pub(super) buffer: usize,
    /// `None` if no gradient is needed.
    pub(super) gradient: Option<usize>,
}

/// Steps in order, and their values.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) operations: Vec<Operation>,
    pub(super) values: Vec<Value>,
    pub(super) inputs: Vec<usize>,
    pub(super) output: usize,
    /// The length of each buffer for one sample.
    pub(super) buffers: Vec<usize>,
}

/// The part of a graph that is to be compiled.
#[derive(Clone, Copy)]
pub(super) struct Tail<'a> {
    pub(super) graph: &'a Graph,
    /// Its layers, in order.
    pub(super) layers: &'a [usize],
    /// The layers whose outputs are given to it.
    pub(super) inputs: &'a [usize],
    /// The inputs whose gradients are computed.
    pub(super) towards: &'a [usize],
    /// Whether a layer trains.
    pub(super) trains: &'a dyn Fn(usize) -> bool,
    /// Batch normalisations that use the batch's statistics.
    pub(super) batch_statistics: &'a [usize],
}

/// The state of the compilation of a tail.
struct Compiler<'a> {
    isa: ForLoops,
    multiplier: Multiplier,
    graph: &'a Graph,
    trains: &'a dyn Fn(usize) -> bool,
    batch_statistics: &'a [usize],
    parameters: &'a Parameters,
    /// For each layer, how many layers of the program take its output, and the last of them.
    uses: Vec<(usize, usize)>,
    /// Whether each layer is folded into another one.
    absorbed: Vec<bool>,
    /// The rows of each layer that are computed.
    narrow: Narrow<'a>,
    /// The value that is the output of each layer so far.
    value_of: BTreeMap<usize, usize>,
    /// Values that are some rows of another value, by that value, the first row, and the end of the rows.
    parts: BTreeMap<(usize, usize, usize), usize>,
    values: Vec<Value>,
    needs: Vec<bool>,
    operations: Vec<Operation>,
}

pub(super) fn compile(
    (isa, multiplier): (ForLoops, Multiplier),
    tail: Tail<'_>,
    parameters: &Parameters,
) -> Result<Plan, Error> {
    let Tail { graph, layers, inputs, towards, trains, batch_statistics } = tail;
    let mut uses = vec![(0, 0); graph.len()];
    for &layer in layers {
        graph.nodes()[layer].inputs.iter().for_each(|&input| uses[input] = (uses[input].0 + 1, layer));
    }
    let mut compiler = Compiler {
        isa,
        multiplier,
        graph,
        trains,
        batch_statistics,
        parameters,
        uses,
        absorbed: vec![false; graph.len()],
        narrow: Narrow::new(graph, layers, inputs, &|layer| passes(graph, trains, layer)),
        value_of: BTreeMap::new(),
        parts: BTreeMap::new(),
        values: Vec::new(),
        needs: Vec::new(),
        operations: Vec::new(),
    };
    let given: Vec<usize> = inputs
        .iter()
        .map(|&layer| {
            let value = compiler.value(graph.nodes()[layer].shape.count(), towards.contains(&layer));
            compiler.value_of.insert(layer, value);
            value
        })
        .collect();
    for &layer in layers {
        if !compiler.absorbed[layer] && !compiler.value_of.contains_key(&layer) {
            compiler.layer(layer)?;
        }
    }
    let last = graph.len() - 1;
    let output = *compiler.value_of.get(&last).ok_or_else(|| compiler.missing(last, last))?;
    let Compiler { mut operations, mut values, needs, .. } = compiler;
    contributions(&mut operations, &needs);
    let buffers = assign(&mut operations, &mut values, &needs, parameters, &given, output);
    Ok(Plan { operations, values, inputs: given, output, buffers })
}

impl<'a> Compiler<'a> {
    fn node(&self, layer: usize) -> &'a Node {
        &self.graph.nodes()[layer]
    }

    fn missing(&self, layer: usize, input: usize) -> Error {
        let name = |at: usize| self.node(at).name().to_owned();
        Error::MissingInput { layer: name(layer), input: name(input) }
    }

    fn value(&mut self, count: usize, needs: bool) -> usize {
        self.values.push(Value { count, ..Value::default() });
        self.needs.push(needs);
        self.values.len() - 1
    }

    /// The only layer that takes the output of `layer`, if it computes the same rows.
    fn only_user(&self, layer: usize) -> Option<usize> {
        let (uses, user) = self.uses[layer];
        let alike = self.narrow.rows(layer) == self.narrow.rows(user);
        (uses == 1 && layer + 1 != self.graph.len() && alike).then_some(user)
    }

    /// The value that consists of these rows of the output of `input`, which `layer` takes.
    fn rows_of(&mut self, input: usize, rows: Range<usize>, layer: usize) -> Result<usize, Error> {
        let value = *self.value_of.get(&input).ok_or_else(|| self.missing(layer, input))?;
        let computed = self.narrow.rows(input);
        if rows == computed {
            return Ok(value);
        }
        if let Some(&part) = self.parts.get(&(value, rows.start, rows.end)) {
            return Ok(part);
        }
        let size = self.narrow.count(input);
        let row = size / computed.len();
        let step = Crop { before: (rows.start - computed.start) * row, size, left: rows.len() * row };
        let part = self.value(step.left, self.needs[value]);
        self.operation(layer, Box::new(step), vec![value], part);
        self.parts.insert((value, rows.start, rows.end), part);
        Ok(part)
    }

    fn operation(&mut self, layer: usize, step: Box<dyn Step>, inputs: Vec<usize>, output: usize) {
        let name = self.node(layer).name().to_owned();
        self.operations.push(Operation { name, step, inputs, output, wants: Vec::new(), places: Vec::new() });
    }

    fn parameter(&self, layer: usize, role: Role) -> Option<usize> {
        let place = self.node(layer).parameters.iter().position(|p| p.role == role)?;
        self.parameters.find(ParameterId::new(layer, place))
    }

    fn needed(&self, layer: usize, role: Role) -> usize {
        self.parameter(layer, role).expect("shape inference lists this operator's parameters")
    }

    fn norm(&self, layer: usize, epsilon: f64) -> Norm {
        Norm {
            gamma: self.parameter(layer, Role::Gamma),
            beta: self.parameter(layer, Role::Beta),
            mean: self.needed(layer, Role::MovingMean),
            variance: self.needed(layer, Role::MovingVariance),
            epsilon,
        }
    }

    /// Whether any parameter of these layers trains.
    fn any_trains(&self, layers: &[usize]) -> bool {
        layers.iter().any(|&layer| {
            let places = 0..self.node(layer).parameters.len();
            places
                .filter_map(|place| self.parameters.find(ParameterId::new(layer, place)))
                .any(|at| self.parameters.trains(at))
        })
    }

    fn push(&mut self, layer: usize, end: usize, step: Box<dyn Step>, inputs: Vec<usize>, needs: bool) -> usize {
        let output = self.value(self.narrow.count(end), needs);
        self.operation(layer, step, inputs, output);
        output
    }

    fn layer(&mut self, layer: usize) -> Result<(), Error> {
        let node = self.node(layer);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (place, &input) in node.inputs.iter().enumerate() {
            inputs.push(self.rows_of(input, self.narrow.wanted(layer, place), layer)?);
        }
        if node.inputs.is_empty() {
            return Err(self.missing(layer, layer));
        }
        if passes(self.graph, self.trains, layer) {
            self.value_of.insert(layer, inputs[0]);
            return Ok(());
        }
        if self.becomes_padding(layer) {
            self.absorbed[layer] = true;
            self.value_of.insert(layer, inputs[0]);
            return Ok(());
        }
        if matches!(node.operator(), Operator::SeparableConv2D { .. }) {
            inputs[0] = self.depthwise(layer, inputs[0]);
        }
        let mut end = layer;
        let wants = inputs.iter().any(|&input| self.needs[input]);
        let (step, after) = match self.with_weights(layer, wants, &mut end, &mut inputs) {
            Some(both) => both,
            None => (self.without_weights(layer), Activation::Linear),
        };
        let next = |&at: &usize| if at == end { None } else { self.only_user(at) };
        let parts: Vec<usize> = std::iter::successors(Some(layer), next).collect();
        let needs = inputs.iter().any(|&input| self.needs[input]) || self.any_trains(&parts);
        let mut output = self.push(layer, end, step, inputs, needs);
        if after != Activation::Linear {
            let channels = self.node(layer).shape.channels();
            let activate = Activate { isa: self.isa, function: after, channels };
            output = self.push(layer, end, Box::new(activate), vec![output], needs);
        }
        self.value_of.insert(end, output);
        Ok(())
    }

    /// Whether the layer adds zeros that only the windows of a depthwise convolution read. They are not stored then.
    fn becomes_padding(&self, layer: usize) -> bool {
        let user = self.only_user(layer).map(|user| self.node(user).operator());
        matches!(self.node(layer).operator(), Operator::ZeroPadding2D { .. })
            && matches!(user, Some(Operator::DepthwiseConv2D { .. }))
    }

    /// The zeros around a layer's input that are not stored: `[[above, below], [left, right]]`.
    fn zeros(&self, layer: usize) -> [[usize; 2]; 2] {
        let input = self.node(layer).inputs[0];
        match self.node(input).operator() {
            Operator::ZeroPadding2D { padding } if self.absorbed[input] => *padding,
            _ => [[0; 2]; 2],
        }
    }

    /// Adds the depthwise convolution of a separable one, and returns its value.
    fn depthwise(&mut self, layer: usize, input: usize) -> usize {
        let Operator::SeparableConv2D { kernel_size, strides, padding, dilation_rate, depth_multiplier, .. } =
            *self.node(layer).operator()
        else {
            unreachable!("only a separable convolution has a depthwise one inside");
        };
        let geometry = Geometry::new(self.image(layer), kernel_size, strides, padding, dilation_rate);
        let kernel = self.needed(layer, Role::DepthwiseKernel);
        let channels = geometry.input[2] * depth_multiplier;
        let [height, width] = geometry.output;
        let fold = Fold::new(self.isa, channels, None);
        let step = Box::new(Depthwise::new(geometry, depth_multiplier, kernel, fold));
        let output = self.value(height * width * channels, self.needs[input] || self.parameters.trains(kernel));
        self.operation(layer, step, vec![input], output);
        output
    }

    /// Height, width and channels of a layer's input.
    fn image(&self, layer: usize) -> [usize; 3] {
        let input = self.node(layer).inputs[0];
        self.node(input).shape.image().expect("shape inference accepts only images here")
    }

    /// The step of a layer with weights, and the layer's own activation if it is not folded. `end` becomes the last layer that is folded
    /// into the step. `None` for other layers.
    fn with_weights(
        &mut self,
        layer: usize,
        wants: bool,
        end: &mut usize,
        inputs: &mut Vec<usize>,
    ) -> Option<(Box<dyn Step>, Activation)> {
        let node = self.node(layer);
        let channels = node.shape.channels();
        Some(match node.operator() {
            Operator::Conv2D { kernel_size, strides, padding, dilation_rate, groups, activation, .. } => {
                let geometry = Geometry::new(self.image(layer), *kernel_size, *strides, *padding, *dilation_rate);
                let kernel = self.needed(layer, Role::ConvolutionKernel);
                // If each filter has one channel of its own, the kernel is stored like that of a depthwise convolution.
                if *groups > 1 && *groups == channels && geometry.input[2] == channels {
                    let (fold, rest) = self.fold(layer, channels, *activation, end);
                    return Some((Box::new(Depthwise::new(geometry, 1, kernel, fold)), rest));
                }
                let (fold, rest) = self.fold_sum(layer, &geometry, *activation, end, inputs);
                (Box::new(Convolution::new(geometry, *groups, kernel, fold, self.multiplier, wants)), rest)
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
                let geometry = Geometry::new(self.image(layer), *kernel_size, *strides, *padding, *dilation_rate);
                let geometry = geometry.with_padding(self.zeros(layer));
                let kernel = self.needed(layer, Role::DepthwiseKernel);
                let (fold, rest) = self.fold(layer, channels, *activation, end);
                (Box::new(Depthwise::new(geometry, *depth_multiplier, kernel, fold)), rest)
            }
            // `depthwise` has already added its depthwise convolution.
            Operator::SeparableConv2D { activation, .. } => {
                let kernel = self.needed(layer, Role::ConvolutionKernel);
                let between = node.parameters[1].shape[2];
                let geometry = Geometry::pointwise(node.shape.count() / channels, between);
                let (fold, rest) = self.fold_sum(layer, &geometry, *activation, end, inputs);
                (Box::new(Convolution::new(geometry, 1, kernel, fold, self.multiplier, wants)), rest)
            }
            Operator::Dense { activation, .. } => {
                let features = self.node(node.inputs[0]).shape.channels();
                let geometry = Geometry::pointwise(self.narrow.count(layer) / channels, features);
                let kernel = self.needed(layer, Role::DenseKernel);
                let (fold, rest) = self.fold_sum(layer, &geometry, *activation, end, inputs);
                (Box::new(Convolution::new(geometry, 1, kernel, fold, self.multiplier, wants)), rest)
            }
            Operator::BatchNormalization { epsilon, momentum, .. } => {
                let moves = self.batch_statistics.contains(&layer).then_some(*momentum);
                let mut step = Normalise::new(self.isa, channels, self.norm(layer, *epsilon), moves);
                step.clip = self.absorb_clip(end);
                (Box::new(step), Activation::Linear)
            }
            Operator::LayerNormalization { epsilon, .. } => {
                (self.standardise(layer, 1, 1, *epsilon), Activation::Linear)
            }
            Operator::GroupNormalization { groups, epsilon, .. } => {
                let positions = node.shape.count() / channels;
                (self.standardise(layer, positions, *groups, *epsilon), Activation::Linear)
            }
            Operator::GlobalResponseNormalization { epsilon } => {
                let (gamma, beta) = (self.needed(layer, Role::Gamma), self.needed(layer, Role::Beta));
                let step = Respond::new(channels, node.shape.count() / channels, gamma, beta, *epsilon);
                (Box::new(step), Activation::Linear)
            }
            Operator::LayerScale {} => {
                let step = Scale::new(self.isa, self.needed(layer, Role::Gamma), channels);
                (Box::new(step), Activation::Linear)
            }
            Operator::PrependTokens { .. } => {
                let embedding = self.needed(layer, Role::Embedding);
                let tokens = node.parameters[0].count();
                (Box::new(Prepend { embedding, tokens, size: node.shape.count() }), Activation::Linear)
            }
            Operator::PositionEmbedding { resample } => {
                let embedding = self.needed(layer, Role::Embedding);
                let step = Embed::new(embedding, *resample, node.shape.count() / channels, channels);
                (Box::new(step), Activation::Linear)
            }
            _ => return None,
        })
    }

    fn standardise(&self, layer: usize, positions: usize, groups: usize, epsilon: f64) -> Box<dyn Step> {
        let channels = self.node(layer).shape.channels();
        let (gamma, beta) = (self.parameter(layer, Role::Gamma), self.parameter(layer, Role::Beta));
        Box::new(Standardise::new(self.isa, [positions, channels, groups], gamma, beta, epsilon))
    }

    /// The step of a layer without weights.
    fn without_weights(&self, layer: usize) -> Box<dyn Step> {
        let node = self.node(layer);
        let channels = node.shape.channels();
        match node.operator() {
            Operator::InputLayer { .. }
            | Operator::Flatten {}
            | Operator::Reshape { .. }
            | Operator::Cropping1D { .. } => {
                unreachable!("the input is given, and the output of the others is their input")
            }
            Operator::Conv2D { .. }
            | Operator::DepthwiseConv2D { .. }
            | Operator::SeparableConv2D { .. }
            | Operator::Dense { .. }
            | Operator::BatchNormalization { .. }
            | Operator::LayerNormalization { .. }
            | Operator::GroupNormalization { .. }
            | Operator::GlobalResponseNormalization { .. }
            | Operator::LayerScale {}
            | Operator::PrependTokens { .. }
            | Operator::PositionEmbedding { .. } => unreachable!("these have weights"),
            Operator::DotProductAttention { num_heads } => {
                let shapes: Vec<&Shape> = node.inputs.iter().map(|&input| &self.node(input).shape).collect();
                let sizes = Sizes::new(*num_heads, &shapes).expect("shape inference has seen these inputs");
                let joint = node.inputs.len() == 1;
                Box::new(Attention::new(self.isa, self.multiplier, sizes, joint, self.narrow.rows(layer)))
            }
            Operator::Dropout { rate, per_sample } => {
                let shape = node.shape.0.clone();
                Box::new(Dropout { rate: *rate, per_sample: *per_sample, shape, mask: Vec::new() })
            }
            Operator::Rescaling { scale, offset } => {
                let row = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
                let (scale, shift) = (row(scale.values(channels)), row(offset.values(channels)));
                Box::new(Affine { isa: self.isa, source: AffineSource::Constant, scale, shift })
            }
            Operator::Normalization {} => {
                let source = AffineSource::Statistics {
                    mean: self.needed(layer, Role::Mean),
                    variance: self.needed(layer, Role::Variance),
                };
                Box::new(Affine { isa: self.isa, source, scale: vec![0.0; channels], shift: vec![0.0; channels] })
            }
            Operator::ReLU { max_value, negative_slope } if *negative_slope != 0.0 => {
                let most = max_value.map_or(f32::INFINITY, |most| most as f32);
                Box::new(Leaky { slope: *negative_slope as f32, most })
            }
            Operator::ReLU { .. } => {
                Box::new(Clip { isa: self.isa, limits: clip_of(node.operator()).expect("it is a clip") })
            }
            Operator::Activation { activation } => {
                Box::new(Activate { isa: self.isa, function: *activation, channels })
            }
            Operator::Softmax {} => Box::new(Activate { isa: self.isa, function: Activation::Softmax, channels }),
            Operator::ZeroPadding2D { padding } => {
                let [height, width, _] = node.shape.image().expect("shape inference gives an image");
                let before = [padding[0][0], padding[1][0]];
                Box::new(ZeroPad { input: self.image(layer), output: [height, width], before })
            }
            Operator::MaxPooling2D(window) => {
                let geometry = Geometry::of_window(self.image(layer), window);
                Box::new(MaxPool { isa: self.isa, geometry, argmax: Vec::new() })
            }
            Operator::AveragePooling2D(window) => {
                let geometry = Geometry::of_window(self.image(layer), window);
                Box::new(AveragePool { geometry, count_include_pad: window.count_include_pad })
            }
            Operator::GlobalAveragePooling2D { .. } => {
                let [height, width, channels] = self.image(layer);
                Box::new(GlobalAverage { pixels: height * width, channels })
            }
            Operator::GlobalMaxPooling2D { .. } => {
                let input = self.image(layer);
                let geometry = Geometry::new(input, [input[0], input[1]], [1, 1], Padding::Valid, [1, 1]);
                Box::new(MaxPool { isa: self.isa, geometry, argmax: Vec::new() })
            }
            Operator::Concatenate {} => {
                let widths = node.inputs.iter().map(|&input| self.node(input).shape.channels()).collect();
                Box::new(Concatenate { widths })
            }
            Operator::Take { indices } => {
                let channels = self.node(node.inputs[0]).shape.channels();
                Box::new(Take { channels, indices: indices.clone() })
            }
            Operator::Add {} if node.inputs.iter().all(|&input| self.node(input).shape == node.shape) => Box::new(Add),
            Operator::Add {} | Operator::Multiply {} => {
                let inputs = node.inputs.iter().map(|&input| self.node(input).shape.0.clone()).collect();
                let sum = matches!(node.operator(), Operator::Add {});
                Box::new(Join { sum, shape: node.shape.0.clone(), inputs })
            }
        }
    }
}

/// Whether a layer's output is its input. Values have no shape here, so a reshape changes nothing; a crop's rows are taken by its readers; and a
/// dropout that is frozen, or drops nothing, is the identity.
fn passes(graph: &Graph, trains: &dyn Fn(usize) -> bool, layer: usize) -> bool {
    let operator = graph.nodes()[layer].operator();
    match operator {
        Operator::Flatten {}
        | Operator::Reshape { .. }
        | Operator::Cropping1D { .. }
        | Operator::Activation { activation: Activation::Linear } => true,
        Operator::Dropout { .. } => !(operator.is_random() && trains(layer)),
        _ => false,
    }
}
