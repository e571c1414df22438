//! Makes few steps of layers: normalisation is folded into the convolution before it, functions and sums are fused with the step before them,
//! and zero padding becomes that of the convolution after it.

mod layers;
mod pooling;

use std::borrow::Cow;

use injerto_graph::{Attention, Graph};

use super::minimal::Form;
use super::normalise::Normalise;
use super::simple::{Factor, Join, Pool, Run};
use super::view::Epilogue;
use super::{Error, Input};
use crate::geometry::Geometry;

/// Gives the values of a parameter, by the position of its layer in the graph and its place in the layer's list.
pub(crate) type Parameters<'p, 'a> = &'p dyn Fn(usize, usize) -> Cow<'a, [f32]>;

/// A tensor between steps, `[height, width, channels]`.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub shape: [usize; 3],
    /// Zeros that its readers need around it, `[[top, bottom], [left, right]]`.
    pub halo: [[usize; 2]; 2],
    /// The concatenation of which it is a part, and its first channel there.
    pub parent: Option<(usize, usize)>,
    /// How many layers read it; an output of the program counts as a reader.
    uses: usize,
}

/// A step that one or more layers have been fused to. Its parameters are still in Keras's axes, and those that folding changes are in double
/// precision.
#[derive(Debug, Clone)]
pub(crate) struct Fused {
    /// Name of the first layer in it.
    pub name: String,
    pub work: Work,
    pub inputs: Vec<usize>,
    /// The value that is added before the epilogue.
    pub residual: Option<usize>,
    pub output: usize,
    pub epilogue: Epilogue,
}

/// The operation of a step.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Convolution(Weights),
    Depthwise(Weights),
    /// An affine function of each channel, if there is one; `reverse` says whether the order of channels is reversed first.
    Map {
        affine: Option<(Vec<f64>, Vec<f64>)>,
        reverse: bool,
    },
    Add,
    /// A sum or a product of inputs whose sides of length 1 are repeated.
    Join(Join, Vec<Factor>),
    Normalise(Normalise),
    Attention(Attention),
    Pool(Pool),
    Softmax,
    Place([usize; 2]),
    Reshape,
    /// See [`Simple::Prepend`](super::simple::Simple::Prepend).
    Prepend(Vec<f32>),
    /// See [`Simple::Embed`](super::simple::Simple::Embed).
    Embed(Vec<f32>),
    /// See [`Simple::Crop`](super::simple::Simple::Crop).
    Crop(usize),
    /// See [`Simple::Take`](super::simple::Simple::Take).
    Take(Vec<Run>),
}

/// A convolution's geometry and weights.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    /// Its geometry. Its padding includes the zeros of a padding layer before it.
    pub geometry: Geometry,
    pub groups: usize,
    /// The form of minimal filtering that computes it, if there is one; the input's halo then holds whole tiles.
    pub form: Option<Form>,
    /// `[height, width, in, out]`; depthwise `[height, width, in, multiplier]`.
    pub kernel: Vec<f32>,
    /// The factor of the weights of each output channel.
    pub scale: Vec<f64>,
    pub bias: Vec<f64>,
}

/// The output of a layer that has been lowered.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Value(usize),
    /// A value with zero padding around it that is not stored.
    Padded(usize, [[usize; 2]; 2]),
}

/// The result of lowering: steps in order, and the values between them.
#[derive(Debug, Default)]
pub(crate) struct Lowering {
    pub steps: Vec<Fused>,
    pub values: Vec<Value>,
    /// The values that the program returns.
    pub outputs: Vec<usize>,
}

struct Lowerer<'p, 'a, 'g> {
    graph: &'g Graph,
    parameters: Parameters<'p, 'a>,
    /// Whether products may be computed by minimal filtering.
    minimal: bool,
    lowering: Lowering,
    seen: Vec<Option<Seen>>,
    uses: Vec<usize>,
}

/// Any shape as `[height, width, channels]`: channels are its last axis, and tokens become rows, so that they can be divided over threads.
pub(crate) fn as_image(shape: &[usize]) -> [usize; 3] {
    match *shape {
        [h, w, c] => [h, w, c],
        [tokens, c] => [tokens, 1, c],
        [] => [1, 1, 1],
        [ref front @ .., c] => [1, front.iter().product(), c],
    }
}

/// Lowers the layers that the outputs need, from the layer `first` on, whose output is the program's input. `minimal` says whether products may
/// be computed by minimal filtering.
pub(crate) fn lower(
    graph: &Graph,
    first: usize,
    layers: &[usize],
    outputs: &[usize],
    parameters: Parameters<'_, '_>,
    input: &Input,
    minimal: bool,
) -> Result<Lowering, Error> {
    let name = |at: usize| graph.nodes().get(at).map_or_else(|| format!("layer {at}"), |n| n.name().to_owned());
    let mut given = vec![false; graph.len()];
    for &at in layers.iter().chain([&first]) {
        *given.get_mut(at).ok_or_else(|| Error::Layer { layer: name(at), graph: graph.name().to_owned() })? = true;
    }
    let mut uses = vec![0; graph.len()];
    for &at in outputs {
        if !given.get(at).copied().unwrap_or(false) {
            return Err(Error::Layer { layer: name(at), graph: graph.name().to_owned() });
        }
        uses[at] += 1;
    }
    for at in (0..graph.len()).rev().filter(|&at| given[at]) {
        if uses[at] > 0 && at != first {
            for &from in &graph.nodes()[at].inputs {
                if !given[from] {
                    return Err(Error::Layer { layer: name(from), graph: graph.name().to_owned() });
                }
                uses[from] += 1;
            }
        }
    }
    let (lowering, seen) = (Lowering::default(), vec![None; graph.len()]);
    let mut lowerer = Lowerer { graph, parameters, minimal, lowering, seen, uses };
    lowerer.input(first, input)?;
    for at in (first + 1..graph.len()).filter(|&at| given[at]) {
        if lowerer.uses[at] > 0 {
            lowerer.layer(at)?;
        }
    }
    for &at in outputs {
        let value = lowerer.value(at);
        lowerer.lowering.outputs.push(value);
    }
    pooling::pool_fewer_channels(&mut lowerer.lowering);
    Ok(lowerer.lowering)
}

impl Lowerer<'_, '_, '_> {
    fn input(&mut self, first: usize, input: &Input) -> Result<(), Error> {
        let channels = self.graph.nodes()[first].shape.channels();
        let affine = match (input.scale.is_empty(), input.shift.is_empty()) {
            (true, true) => None,
            _ => {
                for list in [&input.scale, &input.shift] {
                    if list.len() != channels {
                        return Err(Error::Input { expected: channels, found: list.len() });
                    }
                }
                Some((input.scale.clone(), input.shift.clone()))
            }
        };
        self.step(first, Work::Map { affine, reverse: input.reverse_channels }, Vec::new());
        Ok(())
    }

    /// Adds a step that computes the output of layer `at`.
    fn step(&mut self, at: usize, work: Work, inputs: Vec<usize>) {
        let output = self.make(as_image(&self.graph.nodes()[at].shape.0), self.uses[at]);
        self.push(at, work, inputs, output);
        self.seen[at] = Some(Seen::Value(output));
    }

    fn make(&mut self, shape: [usize; 3], uses: usize) -> usize {
        self.lowering.values.push(Value { shape, halo: [[0; 2]; 2], parent: None, uses });
        self.lowering.values.len() - 1
    }

    fn push(&mut self, at: usize, work: Work, inputs: Vec<usize>, output: usize) {
        let name = self.graph.nodes()[at].name().to_owned();
        self.lowering.steps.push(Fused { name, work, inputs, residual: None, output, epilogue: Epilogue::None });
    }

    /// Makes `value` the output of layer `at` too.
    fn same(&mut self, at: usize, value: usize) {
        self.lowering.values[value].uses = self.lowering.values[value].uses + self.uses[at] - 1;
        self.seen[at] = Some(Seen::Value(value));
    }

    /// The value of layer `at`. If it has zero padding that is not stored, a step is added that stores it.
    fn value(&mut self, at: usize) -> usize {
        match self.seen[at] {
            Some(Seen::Value(value)) => value,
            Some(Seen::Padded(value, [[top, _], [left, _]])) => {
                let shape = as_image(&self.graph.nodes()[at].shape.0);
                // All readers of the padding are counted for both values. Counting too many only prevents a fusion; counting too few would
                // allow a wrong one.
                let padded = self.make(shape, self.uses[at]);
                self.push(at, Work::Place([top, left]), vec![value], padded);
                self.seen[at] = Some(Seen::Value(padded));
                padded
            }
            None => unreachable!("a layer's inputs are lowered before it"),
        }
    }

    /// The step that computes `value`, if a layer can be fused with it: the value has only one reader, and the step has no epilogue yet.
    fn fusible(&mut self, value: usize) -> Option<&mut Fused> {
        if self.lowering.values[value].uses != 1 {
            return None;
        }
        self.lowering.steps.iter_mut().rev().find(|d| d.output == value).filter(|d| d.epilogue == Epilogue::None)
    }

    fn parameter(&self, at: usize, place: usize) -> Result<Cow<'_, [f32]>, Error> {
        let node = &self.graph.nodes()[at];
        let parameter = &node.parameters[place];
        let values = (self.parameters)(at, place);
        match values.len() == parameter.count() {
            true => Ok(values),
            false => Err(Error::Parameter {
                parameter: format!("{}/{}", node.name(), parameter.name()),
                expected: parameter.count(),
                found: values.len(),
            }),
        }
    }
}
