//! Reads nodes whose input depends on the image: each one changes a view or adds a layer.

use std::rc::Rc;

use injerto_graph::Operator;

use super::known::axes_of;
use super::reader::{Reader, Value, Weight};
use super::shapes::axis;
use super::view::{BATCH, View};
use crate::proto::Node;
use crate::tensor::Constant;

/// A node with its inputs, at least one of which depends on the image.
pub(super) struct Given<'a> {
    pub(super) node: &'a Node<'a>,
    pub(super) inputs: &'a [Option<Value>],
    /// The inputs that are constants, at their places.
    pub(super) constants: Vec<Option<Rc<Constant>>>,
    /// The input that the node works on.
    pub(super) x: View,
    /// Lengths of the axes of `x`, the axis of samples included.
    pub(super) shape: Vec<usize>,
}

impl Given<'_> {
    pub(super) fn rank(&self) -> usize {
        self.shape.len()
    }

    pub(super) fn constant(&self, at: usize) -> Option<&Constant> {
        self.constants.get(at).and_then(Option::as_deref)
    }

    /// The constant input at a place; `what` is its name in the error if it is no constant.
    pub(super) fn needed(&self, at: usize, what: &str) -> Result<&Constant, String> {
        self.constant(at).ok_or_else(|| format!("its {what} is not a constant"))
    }

    /// All inputs; `None` for those that are no constants.
    pub(super) fn all(&self) -> Vec<Option<&Constant>> {
        self.constants.iter().map(Option::as_deref).collect()
    }
}

/// The input on which a node works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// The first input, which may be a part of a layer's output.
    Part,
    /// The first input; if it is a part of a layer's output, a layer is added for the part.
    First,
    /// The first input that depends on the image, as [`On::First`]; a constant may come before it.
    Either,
}

/// A function that reads a node.
type Read<'m> = fn(&mut Reader<'m>, &Given<'_>) -> Result<Value, String>;

/// For each operator, the input on which it works, and the function that reads it.
fn reading<'m>(operator: &str) -> (On, Read<'m>) {
    match operator {
        "Identity" | "Cast" => (On::Part, |_, given| Ok(Value::Seen(given.x.clone()))),
        "Shape" => (On::Part, Reader::measured),
        "Transpose" => (On::Part, Reader::transposed),
        "Reshape" => (On::Part, Reader::reshaped),
        "Flatten" => (On::Part, Reader::flattened),
        "Squeeze" => (On::Part, Reader::squeezed),
        "Unsqueeze" => (On::Part, Reader::unsqueezed),
        "Slice" => (On::Part, Reader::sliced),
        "Gather" => (On::Part, Reader::gathered),
        "Dropout" => (On::First, Reader::dropped),
        "Conv" => (On::First, |reader, given| {
            reader.convolution(given.node, &given.x, given.needed(1, "kernel")?, given.constant(2))
        }),
        "MaxPool" | "AveragePool" => (On::First, |reader, given| reader.pooling(given.node, &given.x)),
        "Pad" => (On::First, |reader, given| reader.padding(given.node, &given.x, &given.all())),
        "GlobalAveragePool" | "GlobalMaxPool" => (On::First, Reader::pooled_whole),
        "ReduceMean" | "ReduceMax" => (On::First, Reader::reduced),
        "LayerNormalization" => (On::First, Reader::layer_normalised),
        "InstanceNormalization" => (On::First, Reader::instance_normalised),
        "GroupNormalization" => (On::First, Reader::group_normalised),
        "BatchNormalization" => (On::First, Reader::batch_normalised),
        "Gemm" => (On::First, Reader::affine),
        "MatMul" => (On::Either, |reader, given| match given.inputs.first() {
            Some(Some(Value::Seen(_))) => reader.dense(&given.x, given.needed(1, "second factor")?, None),
            _ => Err("its first factor is a constant".to_owned()),
        }),
        "Concat" => (On::Either, |reader, given| {
            reader.concatenated(given.inputs, axis(given.node.int("axis", 0), given.rank())?)
        }),
        "Add" | "Sub" | "Mul" | "Div" | "Sum" => (On::Either, Reader::arithmetic),
        _ => (On::First, Reader::elementwise),
    }
}

impl Reader<'_> {
    pub(super) fn lower(&mut self, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
        let (on, read) = reading(&node.op);
        let x = match inputs.first() {
            Some(Some(Value::Seen(view))) => view,
            _ if on == On::Either => match inputs.iter().flatten().find(|value| matches!(value, Value::Seen(_))) {
                Some(Value::Seen(view)) => view,
                _ => return Err("it has no input".to_owned()),
            },
            _ => return Err("its first input is a constant, and another depends on the image".to_owned()),
        };
        let x = if on == On::Part { x.clone() } else { self.whole(x)? };
        let constant = |input: &Option<Value>| match input {
            Some(Value::Known(constant)) => Some(constant.clone()),
            _ => None,
        };
        let constants = inputs.iter().map(constant).collect();
        let shape = x.shape(self.batch);
        read(self, &Given { node, inputs, constants, x, shape })
    }

    fn dropped(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let ratio = given.constant(1).and_then(Constant::uniform);
        let rate = ratio.unwrap_or(f64::from(given.node.float("ratio", 0.5)));
        self.unary("", &given.x, Operator::Dropout { rate, per_sample: false })
    }

    /// Reads a `Gemm`: a dense layer whose kernel and bias are scaled.
    fn affine(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let node = given.node;
        if node.int("transA", 0) == 1 {
            return Err("it exchanges the axes of its input (transA)".to_owned());
        }
        let kernel = given.needed(1, "kernel")?;
        let kernel = match node.int("transB", 0) == 1 && kernel.shape.len() == 2 {
            true => kernel.transposed(&[1, 0]),
            false => kernel.clone(),
        };
        let scaled = |values: Vec<f32>, by: f32| match by == 1.0 {
            true => values,
            false => values.into_iter().map(|value| value * by).collect(),
        };
        let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
        let kernel = Constant::floats(kernel.shape.clone(), scaled(kernel.to_floats(), alpha));
        let bias = match given.inputs.get(2) {
            Some(Some(_)) => Some(given.needed(2, "bias")?),
            _ => None,
        };
        let bias = bias.map(|bias| match (bias.uniform(), kernel.shape.get(1)) {
            (Some(value), Some(&units)) if bias.len() == 1 => vec![value as f32 * beta; units],
            _ => scaled(bias.to_floats(), beta),
        });
        self.dense(&given.x, &kernel, bias)
    }

    fn pooled_whole(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let layer = self.image(&given.x)?;
        let layer = self.global(layer, given.node.op == "GlobalAveragePool")?;
        Ok(self.of_image(layer))
    }

    /// Adds a mean or maximum over height and width, which stay as axes of length 1.
    fn global(&mut self, image: usize, is_mean: bool) -> Result<usize, String> {
        let operator = match is_mean {
            true => Operator::GlobalAveragePooling2D { keepdims: true },
            false => Operator::GlobalMaxPooling2D { keepdims: true },
        };
        self.add("", operator, &[image], Vec::new())
    }

    /// Reads a mean or maximum over all axes except those of samples and channels.
    fn reduced(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let Given { node, x, .. } = given;
        let axes = match axes_of(node, given.constant(1)) {
            Some(axes) => axes.iter().map(|&at| axis(at, given.rank())).collect::<Result<Vec<_>, _>>()?,
            None => (0..given.rank()).collect(),
        };
        let batch = x.batch_axis().ok_or("it mixes values of different images")?;
        let rest: Vec<usize> = (0..x.axes.len()).filter(|axis| *axis != batch && !axes.contains(axis)).collect();
        let &[channels] = rest.as_slice() else {
            return Err("it reduces other axes than all but the channels".to_owned());
        };
        if axes.contains(&batch) || axes.is_empty() {
            return Err("it mixes values of different images, or reduces no axis".to_owned());
        }
        let order: Vec<usize> =
            x.natural_order().into_iter().filter(|&axis| axis != channels).chain([channels]).collect();
        let image = match self.materialise(x, &order)? {
            image if self.drafts[image].shape.0.len() == 3 => image,
            // Tokens are treated as an image with one column.
            tokens => {
                let shape = &self.drafts[tokens].shape;
                let channels = shape.channels();
                let all = shape.count() / channels;
                self.with_shape(tokens, vec![all, 1, channels])?
            }
        };
        let layer = self.global(image, node.op == "ReduceMean")?;
        let mut view = self.placed(layer, &[axes[0], axes[0], channels], x.axes.len(), batch);
        if node.int("keepdims", 1) != 1 {
            let mut at = 0;
            view.axes.retain(|_| {
                at += 1;
                !axes.contains(&(at - 1))
            });
        }
        Ok(Value::Seen(view))
    }

    /// Reads a concatenation along the channels.
    fn concatenated(&mut self, inputs: &[Option<Value>], along: usize) -> Result<Value, String> {
        let views: Option<Vec<View>> = inputs
            .iter()
            .map(|input| match input {
                Some(Value::Seen(view)) => Some(view.clone()),
                _ => None,
            })
            .collect();
        let Some(views) = views else { return self.prepended(inputs, along) };
        let views: Vec<View> = views.iter().map(|view| self.whole(view)).collect::<Result<_, _>>()?;
        if let [one] = views.as_slice() {
            return Ok(Value::Seen(one.clone()));
        }
        let (rank, batch) = (views[0].axes.len(), views[0].batch_axis().ok_or("it mixes values of different images")?);
        if along == batch || views.iter().any(|view| view.axes.len() != rank || view.batch_axis() != Some(batch)) {
            return Err("it mixes values of different images".to_owned());
        }
        let natural = views[0].natural_order().into_iter().filter(|&axis| axis != along).chain([along]).collect();
        let orders: [Vec<usize>; 2] =
            [natural, (0..rank).filter(|&a| a != batch && a != along).chain([along]).collect()];
        let fits = |order: &&Vec<usize>| {
            views.iter().all(|view| view.lies_in_order(order, self.drafts[view.layer].shape.count()))
        };
        let order = orders.iter().find(fits).ok_or("it joins values along another axis than the channels")?;
        let layers: Vec<usize> = views.iter().map(|view| self.materialise(view, order)).collect::<Result<_, _>>()?;
        let layer = self.add("", Operator::Concatenate {}, &layers, Vec::new())?;
        Ok(Value::Seen(self.placed(layer, order, rank, batch)))
    }

    /// Reads a concatenation that puts constant tokens before those of the image.
    fn prepended(&mut self, inputs: &[Option<Value>], along: usize) -> Result<Value, String> {
        let wrong = || "it joins a constant to values of the image, and not as tokens before them".to_owned();
        let Some((Some(Value::Seen(x)), constants)) = inputs.split_last() else { return Err(wrong()) };
        let mut x = self.whole(x)?;
        let batch = x.batch_axis().filter(|&batch| batch != along && x.axes.len() == 3).ok_or_else(wrong)?;
        let channels = 3 - batch - along;
        for constant in constants.iter().rev() {
            let Some(Value::Known(tokens)) = constant else { return Err(wrong()) };
            let layer = self.materialise(&x, &[along, channels])?;
            let width = self.drafts[layer].shape.channels();
            if tokens.shape.len() != 3 || tokens.shape[batch] != 1 || tokens.shape[channels] != width {
                return Err(wrong());
            }
            let count = tokens.shape[along];
            let values = tokens.transposed(&[batch, along, channels]).to_floats();
            let weights = vec![Weight { parameter: "embeddings", shape: vec![count, width], values }];
            let layer = self.add("", Operator::PrependTokens { count }, &[layer], weights)?;
            x = self.placed(layer, &[along, channels], 3, batch);
        }
        Ok(Value::Seen(x))
    }

    /// Adds an element-wise layer.
    pub(super) fn unary(&mut self, part: &str, x: &View, operator: Operator) -> Result<Value, String> {
        let layer = self.add(part, operator, &[x.layer], Vec::new())?;
        Ok(Value::Seen(View { layer, axes: x.axes.clone(), offset: x.offset }))
    }

    /// Whether the number of samples is open, so that the length of its axis cannot be that of another one.
    pub(super) fn has_open_batch(&self) -> bool {
        self.batch == BATCH
    }
}
