//! From layers to few steps: normalisation folded, functions and sums fused, zero padding left to the convolution behind it.

use std::borrow::Cow;

use injerto_graph::{Activation, Graph, Operator, Padding, Window, window_padding};

use super::simple::{Factor, Pool};
use super::view::Epilogue;
use super::{Error, Input, line, winograd};

/// Gives the values of a layer's parameter: position of the layer in the graph, position of the parameter in its list.
pub(crate) type Parameters<'p, 'a> = &'p dyn Fn(usize, usize) -> Cow<'a, [f32]>;

/// A tensor between steps, `[height, width, channels]`.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub shape: [usize; 3],
    /// Zeros that its readers want around it, `[[top, bottom], [left, right]]`.
    pub halo: [[usize; 2]; 2],
    /// It is the channels from there on of another value.
    pub parent: Option<(usize, usize)>,
    /// How many layers (and outputs) read it.
    uses: usize,
}

/// A step, its parameters still in Keras's axes and in double precision where folding changes them.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// Name of the first layer in it.
    pub name: String,
    pub work: Work,
    pub inputs: Vec<usize>,
    /// Added before the last function.
    pub residual: Option<usize>,
    pub output: usize,
    pub epilogue: Epilogue,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Convolution(Weights),
    Depthwise(Weights),
    /// An affine function of each channel, or none; channels backwards.
    Map {
        affine: Option<(Vec<f64>, Vec<f64>)>,
        reverse: bool,
    },
    Add,
    Multiply(Vec<Factor>),
    Pool(Pool),
    Softmax,
    Place([usize; 2]),
    Reshape,
}

/// A convolution's geometry and weights.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    pub kernel_size: [usize; 2],
    pub strides: [usize; 2],
    pub dilation: [usize; 2],
    pub front: [usize; 2],
    pub groups: usize,
    /// Where it makes outputs in pairs, the halo is wide enough.
    pub algorithm: Algorithm,
    /// `[height, width, in, out]`; depthwise `[height, width, in, multiplier]`.
    pub kernel: Vec<f32>,
    /// Multiplies the weights of each output channel.
    pub scale: Vec<f64>,
    pub bias: Vec<f64>,
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// By its definition.
    Direct,
    /// Two by two pixels of a 3×3 window.
    Square,
    /// Two pixels of a line of seven taps, downwards if `vertical`.
    Line { vertical: bool },
}

impl Algorithm {
    fn choose(window: [[usize; 2]; 3], channels: usize, output: [usize; 3]) -> Self {
        match line::pays(window, channels, output) {
            Some(vertical) => Self::Line { vertical },
            None if winograd::pays(window, channels, output) => Self::Square,
            None => Self::Direct,
        }
    }

    /// Whether outputs are made in pairs along an axis.
    pub fn pairs(self, axis: usize) -> bool {
        match self {
            Self::Direct => false,
            Self::Square => true,
            Self::Line { vertical } => vertical == (axis == 0),
        }
    }
}

/// What a layer's output is.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Value(usize),
    /// A value with zeros around it that nobody has written yet.
    Padded(usize, [[usize; 2]; 2]),
}

/// Steps and values of a program.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub drafts: Vec<Draft>,
    pub values: Vec<Value>,
    /// The wanted values.
    pub outputs: Vec<usize>,
}

struct Planner<'p, 'a, 'g> {
    graph: &'g Graph,
    parameters: Parameters<'p, 'a>,
    plan: Plan,
    seen: Vec<Option<Seen>>,
    uses: Vec<usize>,
}

/// Any shape as `[height, width, channels]`: channels are its last axis.
pub(crate) fn as_image(shape: &[usize]) -> [usize; 3] {
    match *shape {
        [h, w, c] => [h, w, c],
        [] => [1, 1, 1],
        [ref front @ .., c] => [1, front.iter().product(), c],
    }
}

/// Plans the layers that the outputs need.
pub(crate) fn plan(
    graph: &Graph,
    layers: &[usize],
    outputs: &[usize],
    parameters: Parameters<'_, '_>,
    input: &Input,
) -> Result<Plan, Error> {
    let name = |at: usize| graph.nodes().get(at).map_or_else(|| format!("layer {at}"), |n| n.name().to_owned());
    let mut given = vec![false; graph.len()];
    for &at in layers {
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
        if uses[at] > 0 {
            for &from in &graph.nodes()[at].inputs {
                if !given[from] {
                    return Err(Error::Layer { layer: name(from), graph: graph.name().to_owned() });
                }
                uses[from] += 1;
            }
        }
    }
    let mut planner = Planner { graph, parameters, plan: Plan::default(), seen: vec![None; graph.len()], uses };
    planner.input(input)?;
    for at in (1..graph.len()).filter(|&at| given[at]) {
        if planner.uses[at] > 0 {
            planner.layer(at)?;
        }
    }
    for &at in outputs {
        let value = planner.value(at);
        planner.plan.outputs.push(value);
    }
    Ok(planner.plan)
}

impl Planner<'_, '_, '_> {
    fn input(&mut self, input: &Input) -> Result<(), Error> {
        let channels = self.graph.input_shape().channels();
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
        self.step(0, Work::Map { affine, reverse: input.reverse_channels }, Vec::new());
        Ok(())
    }

    /// Adds a step that makes the output of layer `at`.
    fn step(&mut self, at: usize, work: Work, inputs: Vec<usize>) {
        let output = self.make(as_image(&self.graph.nodes()[at].shape.0), self.uses[at]);
        self.push(at, work, inputs, output);
        self.seen[at] = Some(Seen::Value(output));
    }

    fn make(&mut self, shape: [usize; 3], uses: usize) -> usize {
        self.plan.values.push(Value { shape, halo: [[0; 2]; 2], parent: None, uses });
        self.plan.values.len() - 1
    }

    fn push(&mut self, at: usize, work: Work, inputs: Vec<usize>, output: usize) {
        let name = self.graph.nodes()[at].name().to_owned();
        self.plan.drafts.push(Draft { name, work, inputs, residual: None, output, epilogue: Epilogue::None });
    }

    /// Layer `at` gives what `value` holds.
    fn same(&mut self, at: usize, value: usize) {
        self.plan.values[value].uses = self.plan.values[value].uses + self.uses[at] - 1;
        self.seen[at] = Some(Seen::Value(value));
    }

    /// The value of layer `at`, with its zeros written down if nobody has yet.
    fn value(&mut self, at: usize) -> usize {
        match self.seen[at] {
            Some(Seen::Value(value)) => value,
            Some(Seen::Padded(value, [[top, _], [left, _]])) => {
                let shape = as_image(&self.graph.nodes()[at].shape.0);
                // Both now count all readers of the padding: one too many keeps fusing away, never too few.
                let padded = self.make(shape, self.uses[at]);
                self.push(at, Work::Place([top, left]), vec![value], padded);
                self.seen[at] = Some(Seen::Value(padded));
                padded
            }
            None => unreachable!("inputs come before layers"),
        }
    }

    /// The step that makes `value`, if nobody else reads the value and nothing follows in the step yet.
    fn fusible(&mut self, value: usize) -> Option<&mut Draft> {
        if self.plan.values[value].uses != 1 {
            return None;
        }
        self.plan.drafts.iter_mut().rev().find(|d| d.output == value).filter(|d| d.epilogue == Epilogue::None)
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

    fn layer(&mut self, at: usize) -> Result<(), Error> {
        let node = &self.graph.nodes()[at];
        let channels = node.shape.channels();
        match node.operator() {
            Operator::InputLayer { .. } => unreachable!("a graph has one input, its first layer"),
            Operator::Rescaling { scale, offset } => {
                self.affine(at, scale.values(channels), offset.values(channels));
            }
            Operator::Normalization {} => {
                let mean = self.parameter(at, 0)?;
                let deviation: Vec<f64> =
                    self.parameter(at, 1)?.iter().map(|&v| f64::from(v).sqrt().max(1e-7)).collect();
                let scale = deviation.iter().map(|d| 1.0 / d).collect();
                let shift = mean.iter().zip(&deviation).map(|(&m, d)| -f64::from(m) / d).collect();
                self.affine(at, scale, shift);
            }
            Operator::BatchNormalization { epsilon, center, scale, .. } => {
                let list = |place: usize| -> Result<Vec<f64>, Error> {
                    Ok(self.parameter(at, place)?.iter().map(|&x| f64::from(x)).collect())
                };
                let gamma = if *scale { list(0)? } else { vec![1.0; channels] };
                let beta = if *center { list(usize::from(*scale))? } else { vec![0.0; channels] };
                let first = usize::from(*scale) + usize::from(*center);
                let (mean, variance) = (list(first)?, list(first + 1)?);
                let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
                let shift = (0..channels).map(|c| beta[c] - mean[c] * scale[c]).collect();
                self.affine(at, scale, shift);
            }
            Operator::Conv2D { kernel_size, strides, padding, dilation_rate, groups, use_bias, activation, .. } => {
                let bias = use_bias.then_some(1);
                let windows = (*kernel_size, *strides, *padding, *dilation_rate);
                let (weights, input) = self.weights(at, windows, *groups, bias)?;
                self.step(at, Work::Convolution(weights), vec![input]);
                self.finish(at, *activation);
            }
            Operator::DepthwiseConv2D {
                kernel_size, strides, padding, dilation_rate, use_bias, activation, ..
            } => {
                let bias = use_bias.then_some(1);
                let windows = (*kernel_size, *strides, *padding, *dilation_rate);
                let (weights, input) = self.weights(at, windows, 1, bias)?;
                self.step(at, Work::Depthwise(weights), vec![input]);
                self.finish(at, *activation);
            }
            Operator::Dense { use_bias, activation, .. } => {
                let bias = use_bias.then_some(1);
                let windows = ([1, 1], [1, 1], Padding::Valid, [1, 1]);
                let (weights, input) = self.weights(at, windows, 1, bias)?;
                self.step(at, Work::Convolution(weights), vec![input]);
                self.finish(at, *activation);
            }
            Operator::ReLU { max_value } => {
                let high = max_value.map_or(f32::INFINITY, |x| x as f32);
                self.function(at, Epilogue::Clamp(0.0, high));
            }
            Operator::Activation { activation } => match epilogue(*activation) {
                Some(epilogue) => self.function(at, epilogue),
                None => self.plain(at, Work::Softmax),
            },
            Operator::Softmax {} => self.plain(at, Work::Softmax),
            Operator::Dropout { .. } => {
                let value = self.value(node.inputs[0]);
                self.same(at, value);
            }
            Operator::ZeroPadding2D { padding } => {
                let (value, inner) = match self.seen[node.inputs[0]] {
                    Some(Seen::Padded(value, inner)) => (value, inner),
                    _ => (self.value(node.inputs[0]), [[0; 2]; 2]),
                };
                self.same(at, value);
                let sides = [0, 1].map(|axis| [0, 1].map(|end| inner[axis][end] + padding[axis][end]));
                self.seen[at] = Some(Seen::Padded(value, sides));
            }
            Operator::MaxPooling2D(window) => self.pool(at, true, window),
            Operator::AveragePooling2D(window) => self.pool(at, false, window),
            Operator::GlobalAveragePooling2D { .. } => self.pool_all(at, false),
            Operator::GlobalMaxPooling2D { .. } => self.pool_all(at, true),
            Operator::Concatenate {} => self.concatenate(at),
            Operator::Add {} => self.add(at),
            Operator::Multiply {} => self.multiply(at),
            Operator::Flatten {} | Operator::Reshape { .. } => {
                let value = self.value(node.inputs[0]);
                match self.plan.values[value].shape == as_image(&node.shape.0) {
                    true => self.same(at, value),
                    false => self.step(at, Work::Reshape, vec![value]),
                }
            }
        }
        Ok(())
    }

    /// A step with one input and nothing to fuse.
    fn plain(&mut self, at: usize, work: Work) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        self.step(at, work, vec![value]);
    }

    /// The activation that a layer has inside.
    fn finish(&mut self, at: usize, activation: Activation) {
        let draft = self.plan.drafts.last_mut().expect("a step was just added");
        match epilogue(activation) {
            Some(epilogue) => draft.epilogue = epilogue,
            None => {
                let before = draft.output;
                let shape = self.plan.values[before].shape;
                self.plan.values[before].uses = 1;
                let output = self.make(shape, self.uses[at]);
                self.push(at, Work::Softmax, vec![before], output);
                self.seen[at] = Some(Seen::Value(output));
            }
        }
    }

    fn function(&mut self, at: usize, epilogue: Epilogue) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        if epilogue == Epilogue::None {
            return self.same(at, value);
        }
        let fusible = |work: &Work| !matches!(work, Work::Pool(_) | Work::Softmax | Work::Place(_) | Work::Reshape);
        if let Some(draft) = self.fusible(value).filter(|draft| fusible(&draft.work)) {
            draft.epilogue = epilogue;
            return self.same(at, value);
        }
        self.step(at, Work::Map { affine: None, reverse: false }, vec![value]);
        self.plan.drafts.last_mut().expect("a step was just added").epilogue = epilogue;
    }

    fn affine(&mut self, at: usize, scale: Vec<f64>, shift: Vec<f64>) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        let fold = |old: &mut [f64], bias: &mut [f64]| {
            for (c, (old, bias)) in old.iter_mut().zip(bias).enumerate() {
                *old *= scale[c];
                *bias = *bias * scale[c] + shift[c];
            }
        };
        if let Some(draft) = self.fusible(value).filter(|draft| draft.residual.is_none()) {
            match &mut draft.work {
                Work::Convolution(weights) | Work::Depthwise(weights) => {
                    fold(&mut weights.scale, &mut weights.bias);
                    return self.same(at, value);
                }
                Work::Map { affine: Some((old, bias)), .. } => {
                    fold(old, bias);
                    return self.same(at, value);
                }
                Work::Map { affine, .. } => {
                    *affine = Some((scale, shift));
                    return self.same(at, value);
                }
                _ => {}
            }
        }
        self.step(at, Work::Map { affine: Some((scale, shift)), reverse: false }, vec![value]);
    }

    /// Geometry and weights of a convolution, and the value that it reads.
    fn weights(
        &mut self,
        at: usize,
        (kernel_size, strides, padding, dilation): ([usize; 2], [usize; 2], Padding, [usize; 2]),
        groups: usize,
        bias: Option<usize>,
    ) -> Result<(Weights, usize), Error> {
        let node = &self.graph.nodes()[at];
        let (value, outer) = match self.seen[node.inputs[0]] {
            Some(Seen::Padded(value, sides)) => (value, sides),
            _ => (self.value(node.inputs[0]), [[0; 2]; 2]),
        };
        let [height, width, channels] = self.plan.values[value].shape;
        let mut front = [0; 2];
        let node = &self.graph.nodes()[at];
        let full = groups == 1 && matches!(node.operator(), Operator::Conv2D { .. });
        let algorithm = match full {
            true => Algorithm::choose([kernel_size, strides, dilation], channels, as_image(&node.shape.0)),
            false => Algorithm::Direct,
        };
        for (axis, length) in [height, width].into_iter().enumerate() {
            let padded = length + outer[axis][0] + outer[axis][1];
            let (kernel, stride, dilation) = (kernel_size[axis], strides[axis], dilation[axis]);
            let ((before, _), out) = window_padding(padding, axis, padded, kernel, stride, dilation)
                .unwrap_or_else(|| unreachable!("a graph's windows fit"));
            front[axis] = outer[axis][0] + before;
            let out = if algorithm.pairs(axis) { out.next_multiple_of(2) } else { out };
            let end = (out - 1) * stride + (kernel - 1) * dilation + 1;
            let halo = &mut self.plan.values[value].halo[axis];
            *halo = [halo[0].max(front[axis]), halo[1].max(end.saturating_sub(front[axis] + length))];
        }
        let channels = self.graph.nodes()[at].shape.channels();
        let bias = match bias {
            Some(place) => self.parameter(at, place)?.iter().map(|&x| f64::from(x)).collect(),
            None => vec![0.0; channels],
        };
        let kernel = self.parameter(at, 0)?.into_owned();
        let scale = vec![1.0; channels];
        Ok((Weights { kernel_size, strides, dilation, front, groups, algorithm, kernel, scale, bias }, value))
    }

    fn pool(&mut self, at: usize, largest: bool, window: &Window) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        let [height, width, _] = self.plan.values[value].shape;
        let front = |axis: usize, length: usize| {
            window_padding(window.padding, axis, length, window.pool_size[axis], window.strides[axis], 1)
                .map_or(0, |((before, _), _)| before)
        };
        let pool = Pool {
            largest,
            window: window.pool_size,
            strides: window.strides,
            front: [front(0, height), front(1, width)],
            include_padding: window.count_include_pad,
        };
        self.step(at, Work::Pool(pool), vec![value]);
    }

    fn pool_all(&mut self, at: usize, largest: bool) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        let [height, width, _] = self.plan.values[value].shape;
        let window = [height, width];
        let pool = Pool { largest, window, strides: [1, 1], front: [0, 0], include_padding: false };
        self.step(at, Work::Pool(pool), vec![value]);
    }

    /// No step: inputs that nobody else reads are written in their place, others are copied there.
    fn concatenate(&mut self, at: usize) {
        let node = &self.graph.nodes()[at];
        let inputs: Vec<usize> = node.inputs.iter().map(|&input| self.value(input)).collect();
        let whole = self.make(as_image(&node.shape.0), self.uses[at]);
        let mut channel = 0;
        for value in inputs {
            let Value { shape, parent, uses, .. } = self.plan.values[value];
            let part = match (parent, uses) {
                (None, 1) => value,
                _ => {
                    let part = self.make(shape, 1);
                    self.push(at, Work::Place([0, 0]), vec![value], part);
                    part
                }
            };
            self.plan.values[part].parent = Some((whole, channel));
            channel += shape[2];
        }
        self.seen[at] = Some(Seen::Value(whole));
    }

    fn add(&mut self, at: usize) {
        let inputs: Vec<usize> = self.graph.nodes()[at].inputs.iter().map(|&input| self.value(input)).collect();
        let made = |value: usize| self.plan.drafts.iter().rposition(|draft| draft.output == value);
        if let [a, b] = inputs[..] {
            let (late, early) = if made(a) > made(b) { (a, b) } else { (b, a) };
            // A value without a step of its own is a concatenation: it may be finished after `late`.
            if made(early).is_some()
                && let Some(draft) = self.fusible(late)
                && draft.residual.is_none()
                && matches!(draft.work, Work::Convolution(_) | Work::Depthwise(_))
            {
                draft.residual = Some(early);
                return self.same(at, late);
            }
        }
        self.step(at, Work::Add, inputs);
    }

    fn multiply(&mut self, at: usize) {
        let node = &self.graph.nodes()[at];
        let inputs: Vec<usize> = node.inputs.iter().map(|&input| self.value(input)).collect();
        let out = &node.shape.0;
        let rank = out.len().max(1);
        let mut factors = Vec::with_capacity(inputs.len());
        for (&input, &value) in node.inputs.iter().zip(&inputs) {
            let shape = &self.graph.nodes()[input].shape.0;
            let single = shape.last() == Some(&1);
            if shape[..rank - 1] == out[..rank - 1] {
                factors.push(Factor { pixels: None, single });
                continue;
            }
            let width = self.plan.values[value].shape[1];
            let pixels: usize = out[..rank - 1].iter().product();
            let table = (0..pixels).map(|pixel| {
                // Axes from the last to the first: where the input's side is 1, it stays at 0.
                let (mut rest, mut flat, mut step) = (pixel, 0, 1);
                for axis in (0..rank - 1).rev() {
                    flat += if shape[axis] == 1 { 0 } else { rest % out[axis] * step };
                    step *= shape[axis];
                    rest /= out[axis];
                }
                [(flat / width) as u32, (flat % width) as u32]
            });
            factors.push(Factor { pixels: Some(table.collect()), single });
        }
        self.step(at, Work::Multiply(factors), inputs);
    }
}

/// An activation as the end of a kernel; `None` for softmax, which is a step.
fn epilogue(activation: Activation) -> Option<Epilogue> {
    Some(match activation {
        Activation::Linear => Epilogue::None,
        Activation::Relu => Epilogue::Clamp(0.0, f32::INFINITY),
        Activation::Relu6 => Epilogue::Clamp(0.0, 6.0),
        Activation::Swish => Epilogue::Swish,
        Activation::HardSwish => Epilogue::HardSwish,
        Activation::Sigmoid => Epilogue::Sigmoid,
        Activation::Tanh => Epilogue::Tanh,
        Activation::Softmax => return None,
    })
}
