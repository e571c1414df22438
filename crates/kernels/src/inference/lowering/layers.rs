//! The lowering of each kind of layer.

use injerto_graph::{Activation, Attention, Operator, Padding, Role, Shape, Window};

use super::super::Error;
use super::super::minimal::Form;
use super::super::normalise::{Normalise, Over};
use super::super::simple::{Factor, Join, Pool, runs};
use super::super::view::Epilogue;
use super::{Lowerer, Seen, Value, Weights, Work, as_image};
use crate::geometry::Geometry;

/// The places of a convolution's kernel and bias in the layer's list of parameters.
struct Kernel {
    place: usize,
    bias: Option<usize>,
    groups: usize,
    /// Whether each filter reads all channels of its group, as in a `Conv2D`, so that minimal filtering is possible.
    full: bool,
}

impl Kernel {
    /// The places for a layer with one kernel.
    fn only(use_bias: bool) -> Self {
        Self { place: 0, bias: use_bias.then_some(1), groups: 1, full: true }
    }
}

impl Lowerer<'_, '_, '_> {
    /// Lowers layer `at`.
    pub(super) fn layer(&mut self, at: usize) -> Result<(), Error> {
        let node = &self.graph.nodes()[at];
        let channels = node.shape.channels();
        match node.operator() {
            Operator::InputLayer { .. } => unreachable!("a graph has one input, its first layer"),
            Operator::Rescaling { scale, offset } => {
                self.affine(at, scale.values(channels), offset.values(channels));
            }
            Operator::Normalization {} => self.normalization(at)?,
            Operator::BatchNormalization { epsilon, center, scale, .. } => {
                self.batch_normalization(at, *epsilon, *scale, *center)?;
            }
            Operator::LayerNormalization { epsilon, center, scale } => {
                self.normalise(at, Over::Pixel, *epsilon, *scale, *center)?;
            }
            Operator::GroupNormalization { groups, epsilon, center, scale } => {
                self.normalise(at, Over::Groups(*groups), *epsilon, *scale, *center)?;
            }
            Operator::GlobalResponseNormalization { epsilon } => {
                self.normalise(at, Over::Response, *epsilon, true, true)?;
            }
            Operator::LayerScale {} => {
                let gamma = self.parameter(at, 0)?.iter().map(|&x| f64::from(x)).collect();
                self.affine(at, gamma, vec![0.0; channels]);
            }
            Operator::DotProductAttention { num_heads } => {
                let shapes: Vec<&Shape> = node.inputs.iter().map(|&input| &self.graph.nodes()[input].shape).collect();
                let sizes = Attention::new(*num_heads, &shapes).expect("shape inference has seen these inputs");
                let inputs = node.inputs.iter().map(|&input| self.value(input)).collect();
                self.step(at, Work::Attention(sizes), inputs);
            }
            Operator::PrependTokens { .. } => {
                let tokens = self.parameter(at, 0)?.into_owned();
                self.plain(at, Work::Prepend(tokens));
            }
            Operator::PositionEmbedding { resample } => {
                let learned = self.parameter(at, 0)?;
                let embedding = match resample {
                    Some(grids) => grids.apply(&learned, node.shape.0[0], channels),
                    None => learned.into_owned(),
                };
                self.plain(at, Work::Embed(embedding));
            }
            Operator::Cropping1D { cropping } => self.plain(at, Work::Crop(cropping[0])),
            Operator::Conv2D {
                filters,
                kernel_size,
                strides,
                padding,
                dilation_rate,
                groups,
                use_bias,
                activation,
            } => {
                let windows = (*kernel_size, *strides, *padding, *dilation_rate);
                let input = self.unpadded(node.inputs[0]);
                let weights =
                    self.weights(at, input, windows, Kernel { groups: *groups, ..Kernel::only(*use_bias) })?;
                // If each filter has one channel of its own, the kernel is stored like that of a depthwise convolution.
                let depthwise = *groups > 1 && groups == filters && weights.geometry.input[2] == *groups;
                let work = if depthwise { Work::Depthwise(weights) } else { Work::Convolution(weights) };
                self.step(at, work, vec![input.0]);
                self.end(at, *activation);
            }
            Operator::DepthwiseConv2D {
                kernel_size, strides, padding, dilation_rate, use_bias, activation, ..
            } => {
                let windows = (*kernel_size, *strides, *padding, *dilation_rate);
                let input = self.unpadded(node.inputs[0]);
                let weights = self.weights(at, input, windows, Kernel { full: false, ..Kernel::only(*use_bias) })?;
                self.step(at, Work::Depthwise(weights), vec![input.0]);
                self.end(at, *activation);
            }
            Operator::SeparableConv2D {
                kernel_size, strides, padding, dilation_rate, use_bias, activation, ..
            } => {
                let input = self.unpadded(node.inputs[0]);
                let windows = (*kernel_size, *strides, *padding, *dilation_rate);
                let depthwise = Kernel { full: false, ..Kernel::only(false) };
                let depthwise = self.weights(at, input, windows, depthwise)?;
                let [height, width] = depthwise.geometry.output;
                let between = self.make([height, width, depthwise.bias.len()], 1);
                self.push(at, Work::Depthwise(depthwise), vec![input.0], between);
                let windows = ([1, 1], [1, 1], Padding::Valid, [1, 1]);
                let pointwise = Kernel { place: 1, bias: use_bias.then_some(2), ..Kernel::only(false) };
                let weights = self.weights(at, (between, [[0; 2]; 2]), windows, pointwise)?;
                self.step(at, Work::Convolution(weights), vec![between]);
                self.end(at, *activation);
            }
            Operator::Dense { use_bias, activation, .. } => {
                let windows = ([1, 1], [1, 1], Padding::Valid, [1, 1]);
                let input = self.unpadded(node.inputs[0]);
                let weights = self.weights(at, input, windows, Kernel { full: false, ..Kernel::only(*use_bias) })?;
                self.step(at, Work::Convolution(weights), vec![input.0]);
                self.end(at, *activation);
            }
            Operator::ReLU { max_value, negative_slope } => {
                let high = max_value.map_or(f32::INFINITY, |x| x as f32);
                self.function(
                    at,
                    match *negative_slope {
                        0.0 => Epilogue::Clamp(0.0, high),
                        slope => Epilogue::Leaky(slope as f32, high),
                    },
                );
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
                let (value, inner) = self.unpadded(node.inputs[0]);
                self.same(at, value);
                let sides = [0, 1].map(|axis| [0, 1].map(|end| inner[axis][end] + padding[axis][end]));
                self.seen[at] = Some(Seen::Padded(value, sides));
            }
            Operator::MaxPooling2D(window) => self.pool(at, true, window),
            Operator::AveragePooling2D(window) => self.pool(at, false, window),
            Operator::GlobalAveragePooling2D { .. } => self.pool_all(at, false),
            Operator::GlobalMaxPooling2D { .. } => self.pool_all(at, true),
            Operator::Concatenate {} => self.concatenate(at),
            Operator::Take { indices } => self.plain(at, Work::Take(runs(indices))),
            Operator::Add {} => {
                let nodes = self.graph.nodes();
                match node.inputs.iter().all(|&input| nodes[input].shape == node.shape) {
                    true => self.add(at),
                    false => self.join(at, Join::Sum),
                }
            }
            Operator::Multiply {} => self.join(at, Join::Product),
            Operator::Flatten {} | Operator::Reshape { .. } => {
                let value = self.value(node.inputs[0]);
                match self.lowering.values[value].shape == as_image(&node.shape.0) {
                    true => self.same(at, value),
                    false => self.step(at, Work::Reshape, vec![value]),
                }
            }
        }
        Ok(())
    }

    /// The value of layer `at`, and the zero padding around it that is not stored.
    fn unpadded(&mut self, at: usize) -> (usize, [[usize; 2]; 2]) {
        match self.seen[at] {
            Some(Seen::Padded(value, zeros)) => (value, zeros),
            _ => (self.value(at), [[0; 2]; 2]),
        }
    }

    fn normalization(&mut self, at: usize) -> Result<(), Error> {
        let mean = self.parameter(at, 0)?;
        let std: Vec<f64> = self.parameter(at, 1)?.iter().map(|&v| f64::from(v).sqrt().max(1e-7)).collect();
        let scale = std.iter().map(|std| 1.0 / std).collect();
        let shift = mean.iter().zip(&std).map(|(&mean, std)| -f64::from(mean) / std).collect();
        self.affine(at, scale, shift);
        Ok(())
    }

    /// Lowers a batch normalisation, which uses its running statistics. `scale` and `center` say whether gamma and beta come before them in the
    /// list of parameters.
    fn batch_normalization(&mut self, at: usize, epsilon: f64, scale: bool, center: bool) -> Result<(), Error> {
        let channels = self.graph.nodes()[at].shape.channels();
        let list = |place: usize| -> Result<Vec<f64>, Error> {
            Ok(self.parameter(at, place)?.iter().map(|&x| f64::from(x)).collect())
        };
        let gamma = if scale { list(0)? } else { vec![1.0; channels] };
        let beta = if center { list(usize::from(scale))? } else { vec![0.0; channels] };
        let first = usize::from(scale) + usize::from(center);
        let (mean, variance) = (list(first)?, list(first + 1)?);
        let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift = (0..channels).map(|c| beta[c] - mean[c] * scale[c]).collect();
        self.affine(at, scale, shift);
        Ok(())
    }

    /// Lowers a normalisation that computes its statistics from the image. `scale` and `center` say whether there are gamma and beta.
    fn normalise(&mut self, at: usize, over: Over, epsilon: f64, scale: bool, center: bool) -> Result<(), Error> {
        let channels = self.graph.nodes()[at].shape.channels();
        let gamma = if scale { self.parameter(at, 0)?.into_owned() } else { vec![1.0; channels] };
        let beta = if center { self.parameter(at, usize::from(scale))?.into_owned() } else { vec![0.0; channels] };
        self.plain(at, Work::Normalise(Normalise { over, epsilon, gamma, beta }));
        Ok(())
    }

    /// Adds a step with one input and nothing to fuse.
    fn plain(&mut self, at: usize, work: Work) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        self.step(at, work, vec![value]);
    }

    /// Lowers the activation that is an option of layer `at`.
    fn end(&mut self, at: usize, activation: Activation) {
        let step = self.lowering.steps.last_mut().expect("a step was just added");
        match epilogue(activation) {
            Some(epilogue) => step.epilogue = epilogue,
            None => {
                let before = step.output;
                let shape = self.lowering.values[before].shape;
                self.lowering.values[before].uses = 1;
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
        let fusible = |work: &Work| {
            matches!(work, Work::Convolution(_) | Work::Depthwise(_) | Work::Map { .. } | Work::Add | Work::Join(..))
        };
        if let Some(step) = self.fusible(value).filter(|step| fusible(&step.work)) {
            step.epilogue = epilogue;
            return self.same(at, value);
        }
        self.step(at, Work::Map { affine: None, reverse: false }, vec![value]);
        self.lowering.steps.last_mut().expect("a step was just added").epilogue = epilogue;
    }

    fn affine(&mut self, at: usize, scale: Vec<f64>, shift: Vec<f64>) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        let fold = |old: &mut [f64], bias: &mut [f64]| {
            for (c, (old, bias)) in old.iter_mut().zip(bias).enumerate() {
                *old *= scale[c];
                *bias = *bias * scale[c] + shift[c];
            }
        };
        if let Some(step) = self.fusible(value).filter(|step| step.residual.is_none()) {
            match &mut step.work {
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

    /// The geometry and weights of a convolution. The halo of the value that it reads is enlarged to what the windows read; `zeros` is padding
    /// around that value that is not stored.
    fn weights(
        &mut self,
        at: usize,
        (value, zeros): (usize, [[usize; 2]; 2]),
        (kernel_size, strides, padding, dilation): ([usize; 2], [usize; 2], Padding, [usize; 2]),
        Kernel { place, bias, groups, full }: Kernel,
    ) -> Result<Weights, Error> {
        let [height, width, channels] = self.lowering.values[value].shape;
        let [tall, broad] =
            [(0, height), (1, width)].map(|(axis, side): (usize, usize)| side + zeros[axis][0] + zeros[axis][1]);
        let geometry =
            Geometry::new([tall, broad, channels], kernel_size, strides, padding, dilation).with_padding(zeros);
        let kernel = self.parameter(at, place)?.into_owned();
        let shape = &self.graph.nodes()[at].parameters[place];
        let filters = match shape.role {
            Role::DepthwiseKernel => shape.shape[2] * shape.shape[3],
            _ => *shape.shape.last().expect("a kernel has axes"),
        };
        let form = if self.minimal && full && groups == 1 { Form::choose(&geometry, filters) } else { None };
        let halo = &mut self.lowering.values[value].halo;
        for (axis, [before, after]) in halo.iter_mut().enumerate() {
            let tile = form.map_or(1, |form| form.tile()[axis]);
            let last = geometry.output[axis].next_multiple_of(tile) - 1;
            let end = last * strides[axis] + geometry.extent(axis);
            *before = geometry.before[axis].max(*before);
            *after = end.saturating_sub(geometry.before[axis] + geometry.input[axis]).max(*after);
        }
        let bias = match bias {
            Some(place) => self.parameter(at, place)?.iter().map(|&x| f64::from(x)).collect(),
            None => vec![0.0; filters],
        };
        Ok(Weights { geometry, groups, form, kernel, scale: vec![1.0; filters], bias })
    }

    fn pool(&mut self, at: usize, largest: bool, window: &Window) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        let geometry = Geometry::of_window(self.lowering.values[value].shape, window);
        let pool = Pool { largest, geometry, include_padding: window.count_include_pad, epilogue: Epilogue::None };
        self.step(at, Work::Pool(pool), vec![value]);
    }

    fn pool_all(&mut self, at: usize, largest: bool) {
        let value = self.value(self.graph.nodes()[at].inputs[0]);
        let [height, width, _] = self.lowering.values[value].shape;
        let window =
            Window { pool_size: [height, width], strides: [1, 1], padding: Padding::Valid, count_include_pad: false };
        self.pool(at, largest, &window);
    }

    /// Lowers a concatenation. Inputs that no other layer reads are written directly to their places in it; the others are copied there.
    fn concatenate(&mut self, at: usize) {
        let node = &self.graph.nodes()[at];
        let inputs: Vec<usize> = node.inputs.iter().map(|&input| self.value(input)).collect();
        let whole = self.make(as_image(&node.shape.0), self.uses[at]);
        let mut channel = 0;
        for value in inputs {
            let Value { shape, parent, uses, .. } = self.lowering.values[value];
            let part = match (parent, uses) {
                (None, 1) => value,
                _ => {
                    let part = self.make(shape, 1);
                    self.push(at, Work::Place([0, 0]), vec![value], part);
                    part
                }
            };
            self.lowering.values[part].parent = Some((whole, channel));
            channel += shape[2];
        }
        self.seen[at] = Some(Seen::Value(whole));
    }

    fn add(&mut self, at: usize) {
        let inputs: Vec<usize> = self.graph.nodes()[at].inputs.iter().map(|&input| self.value(input)).collect();
        let made = |value: usize| self.lowering.steps.iter().rposition(|step| step.output == value);
        if let [a, b] = inputs[..] {
            let (late, early) = if made(a) > made(b) { (a, b) } else { (b, a) };
            // A value without a step of its own is a concatenation, which may be complete only after `late`.
            if made(early).is_some()
                && let Some(step) = self.fusible(late)
                && step.residual.is_none()
                && matches!(step.work, Work::Convolution(_) | Work::Depthwise(_))
            {
                step.residual = Some(early);
                return self.same(at, late);
            }
        }
        self.step(at, Work::Add, inputs);
    }

    fn join(&mut self, at: usize, join: Join) {
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
            let width = self.lowering.values[value].shape[1];
            let pixels: usize = out[..rank - 1].iter().product();
            let table = (0..pixels).map(|pixel| {
                // Axes go from the last to the first. On an axis of length 1, the input's index stays 0.
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
        self.step(at, Work::Join(join, factors), inputs);
    }
}

/// An activation as the epilogue of a kernel; `None` for softmax, which is a step of its own.
fn epilogue(activation: Activation) -> Option<Epilogue> {
    Some(match activation {
        Activation::Linear => Epilogue::None,
        Activation::Relu => Epilogue::Clamp(0.0, f32::INFINITY),
        Activation::Relu6 => Epilogue::Clamp(0.0, 6.0),
        Activation::Swish => Epilogue::Swish,
        Activation::HardSwish => Epilogue::HardSwish,
        Activation::Gelu => Epilogue::Gelu,
        Activation::GeluTanh => Epilogue::GeluTanh,
        Activation::Sigmoid => Epilogue::Sigmoid,
        Activation::HardSigmoid => Epilogue::HardSigmoid,
        Activation::Tanh => Epilogue::Tanh,
        Activation::Softmax => return None,
    })
}
