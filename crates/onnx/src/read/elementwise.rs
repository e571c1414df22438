//! Element-wise functions, and sums and products of two values.

use injerto_graph::PerChannel::{self, Each, One};
use injerto_graph::{Activation, Operator};

use super::layers::Given;
use super::reader::{Reader, Value, Weight};
use super::shapes::{axis, broadcast, shortest};
use super::view::{Factor, View};
use crate::tensor::Constant;

/// Limit for the nodes between an initialiser and its use.
const MOST_MOVES: usize = 64;

/// `x * scale + offset` with the same numbers for all values.
fn linear(scale: f64, offset: f64) -> Operator {
    Operator::Rescaling { scale: One(scale), offset: One(offset) }
}

impl Reader<'_> {
    pub(super) fn elementwise(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let Given { node, inputs, constants, x, .. } = given;
        let activation = |activation| Operator::Activation { activation };
        let limit = |at: usize, name: &str, default: f64| match (constants.get(at), inputs.get(at)) {
            (Some(Some(constant)), _) => constant.uniform().ok_or_else(|| format!("its {name} is not one number")),
            (_, Some(Some(_))) => Err(format!("its {name} is not a constant")),
            _ => Ok(node.real(name).map_or(default, shortest)),
        };
        match node.op.as_str() {
            "LeakyRelu" => {
                let negative_slope = node.real("alpha").map_or(0.01, shortest);
                self.unary("", x, Operator::ReLU { max_value: None, negative_slope })
            }
            // A minimum is a ReLU with a limit and a slope of 1, which leaves negative values as they are.
            "Min" => match constants.iter().flatten().next().and_then(|most| most.uniform()) {
                Some(most) if most >= 0.0 && constants.len() == 2 => {
                    self.unary("", x, Operator::ReLU { max_value: Some(most), negative_slope: 1.0 })
                }
                _ => Err("its limit is not one positive number".to_owned()),
            },
            "Gelu" => match node.text("approximate").unwrap_or("none") {
                "none" => self.unary("", x, activation(Activation::Gelu)),
                "tanh" => self.unary("", x, activation(Activation::GeluTanh)),
                other => Err(format!("its approximation '{other}' is unknown")),
            },
            "Relu" => self.unary("", x, Operator::ReLU { max_value: None, negative_slope: 0.0 }),
            "Sigmoid" => self.unary("", x, activation(Activation::Sigmoid)),
            "Tanh" => self.unary("", x, activation(Activation::Tanh)),
            "HardSwish" => self.unary("", x, activation(Activation::HardSwish)),
            "Swish" if node.float("alpha", 1.0) == 1.0 => self.unary("", x, activation(Activation::Swish)),
            "Clip" => {
                let (low, high) = (limit(1, "min", f64::MIN)?, limit(2, "max", f64::INFINITY)?);
                match (low, high) {
                    (0.0, high) if high >= f64::from(f32::MAX) => {
                        self.unary("", x, Operator::ReLU { max_value: None, negative_slope: 0.0 })
                    }
                    (0.0, high) => self.unary("", x, Operator::ReLU { max_value: Some(high), negative_slope: 0.0 }),
                    (low, _) => Err(format!("its lower limit is {low}, and only 0 is a layer")),
                }
            }
            // The function is min(max(alpha * x + beta, 0), 1).
            "HardSigmoid" => {
                let (alpha, beta) = (node.real("alpha").map_or(0.2, shortest), node.real("beta").map_or(0.5, shortest));
                // Exporters write 1/6 in single precision.
                if alpha as f32 == 1.0_f32 / 6.0 && beta == 0.5 {
                    return self.unary("", x, activation(Activation::HardSigmoid));
                }
                let Value::Seen(scaled) = self.unary("scaled", x, linear(alpha, beta))? else {
                    unreachable!("a layer gives a view")
                };
                self.unary("", &scaled, Operator::ReLU { max_value: Some(1.0), negative_slope: 0.0 })
            }
            "Softmax" => {
                let rank = x.axes.len();
                let default = if self.model.opset() < 13 { 1 } else { -1 };
                let along = axis(node.int("axis", default), rank)?;
                let batch =
                    x.batch_axis().filter(|&batch| batch != along).ok_or("it mixes values of different images")?;
                let order: Vec<usize> =
                    x.natural_order().into_iter().filter(|&axis| axis != along).chain([along]).collect();
                // In old operator sets, the softmax goes over all axes from this one on.
                if self.model.opset() < 13 && x.shape(self.batch)[along + 1..].iter().any(|&side| side != 1) {
                    return Err("it goes over several axes".to_owned());
                }
                let layer = self.materialise(x, &order)?;
                let layer = self.add("", activation(Activation::Softmax), &[layer], Vec::new())?;
                Ok(Value::Seen(self.placed(layer, &order, rank, batch)))
            }
            "Neg" => self.unary("", x, linear(-1.0, 0.0)),
            _ => Err("it depends on the image".to_owned()),
        }
    }

    pub(super) fn arithmetic(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let Given { node, x, inputs, .. } = given;
        match (node.op.as_str(), inputs) {
            ("Sum", [Some(_)]) => Ok(Value::Seen(x.clone())),
            (_, [Some(Value::Seen(a)), Some(Value::Seen(b))]) => match node.op.as_str() {
                "Add" | "Sum" => self.combined(Operator::Add {}, a, b),
                "Mul" => self.combined(Operator::Multiply {}, a, b),
                "Sub" => {
                    let Value::Seen(negative) = self.unary("negative", b, linear(-1.0, 0.0))? else {
                        unreachable!("a layer gives a view")
                    };
                    self.combined(Operator::Add {}, a, &negative)
                }
                _ => Err("it divides by a value of the image".to_owned()),
            },
            (op, [Some(Value::Seen(a)), Some(Value::Known(k))]) => {
                let by = |f: &dyn Fn(f64) -> f64| Each(k.to_floats().iter().map(|&k| f(f64::from(k))).collect());
                let (scale, offset) = match op {
                    "Add" | "Sum" => (One(1.0), by(&|k| k)),
                    "Sub" => (One(1.0), by(&|k| -k)),
                    "Mul" => (by(&|k| k), One(0.0)),
                    _ => (by(&|k| 1.0 / k), One(0.0)),
                };
                self.scaled(a, &k.shape, scale, offset, self.is_stored(&node.inputs[1]))
            }
            (op, [Some(Value::Known(k)), Some(Value::Seen(b))]) => {
                let values = Each(k.to_floats().into_iter().map(f64::from).collect());
                let (scale, offset) = match op {
                    "Add" | "Sum" => (One(1.0), values),
                    "Sub" => (One(-1.0), values),
                    "Mul" => (values, One(0.0)),
                    _ => return Err("it divides by a value of the image".to_owned()),
                };
                self.scaled(b, &k.shape, scale, offset, self.is_stored(&node.inputs[0]))
            }
            _ => Err("it has other inputs than two".to_owned()),
        }
    }

    /// Reads `x * scale + offset` with a constant of `shape`, which is either the scale or the offset. It has one number, or one per index of
    /// one axis, or (only as an offset) one per place.
    ///
    /// Shape and origin of the constant, and not its values, decide whether it is a parameter. The numbers of a parameter may all be
    /// equal if the network has not been trained yet (a layer scale of 1e-6, a bias of 0, embeddings of 0). After a layer
    /// with parameters, a constant with one number per channel is a parameter. Offsets for several axes, or for a single channel, are
    /// parameters if the model has stored them (`is_stored`), and no parameters if its nodes compute them.
    fn scaled(
        &mut self,
        x: &View,
        shape: &[usize],
        scale: PerChannel,
        offset: PerChannel,
        is_stored: bool,
    ) -> Result<Value, String> {
        let x = &self.whole(x)?;
        let own = x.shape(self.batch);
        let count: usize = shape.iter().product();
        let is_within = shape.len() <= own.len() && broadcast(&own, shape).is_some_and(|both| both == own);
        if count == 0 || !(is_within || count == 1) {
            return Err(format!("a constant of shape {shape:?} enlarges its input of {}", open(&own)));
        }
        let missing = own.len().saturating_sub(shape.len());
        let mut long: Vec<usize> = (0..shape.len()).filter(|&at| shape[at] != 1).map(|at| at + missing).collect();
        let mut channels = x.natural_order().last().copied();
        let is_added = is_stored && scale == One(1.0);
        if is_added && long.is_empty() && self.drafts[x.layer].shape.channels() == 1 {
            channels = (0..own.len()).find(|&axis| own[axis] == 1 && x.batch_axis() != Some(axis));
            long.extend(channels);
        }
        let is_per_channel = long.len() == 1 && long.first().copied() == channels && scale != One(-1.0);
        let is_parameter = (is_per_channel || is_added && long.len() > 1) && self.is_learned(x.layer);
        let same = |values: &PerChannel| match values {
            One(value) => Some(*value),
            Each(values) => values.iter().all(|value| *value == values[0]).then(|| values[0]),
        };
        if let (false, Some(scale), Some(offset)) = (is_parameter, same(&scale), same(&offset)) {
            return match (scale, offset) {
                (1.0, 0.0) => Ok(Value::Seen(x.clone())),
                (scale, offset) => self.unary("", x, linear(scale, offset)),
            };
        }
        let batch = x.batch_axis().ok_or("it mixes values of different images")?;
        let &[along] = long.as_slice() else {
            let (One(1.0), Each(offset)) = (&scale, &offset) else {
                return Err(format!(
                    "its constant of shape {shape:?} multiplies each place of the image by another number"
                ));
            };
            return self.positions(x, shape, offset, batch);
        };
        if along == batch {
            return Err("it has a number for each sample".to_owned());
        }
        let order: Vec<usize> = x.natural_order().into_iter().filter(|&axis| axis != along).chain([along]).collect();
        let layer = self.materialise(x, &order)?;
        let layer = match (scale, offset) {
            (Each(scale), One(0.0)) if self.is_learned(layer) => {
                let values: Vec<f32> = scale.iter().map(|&value| value as f32).collect();
                let gamma = Weight { parameter: "gamma", shape: vec![values.len()], values };
                self.add("", Operator::LayerScale {}, &[layer], vec![gamma])?
            }
            (scale, offset) => {
                let each = |values: PerChannel| Each(values.values(count));
                let operator = Operator::Rescaling { scale: each(scale), offset: each(offset) };
                self.add("", operator, &[layer], Vec::new())?
            }
        };
        Ok(Value::Seen(self.placed(layer, &order, x.axes.len(), batch)))
    }

    /// Whether a constant is stored in the model as an initialiser, like parameters, and is used as it is, or in another shape or order, or in
    /// part. Exporters write the numbers of formulas as `Constant` nodes, or write nodes that compute them.
    pub(super) fn is_stored(&self, name: &str) -> bool {
        let (mut rest, mut steps) = (vec![name], 0);
        while let Some(name) = rest.pop() {
            let Some(&at) = self.makers.get(name) else { return true };
            let node = &self.model.graph.nodes[at];
            steps += 1;
            if steps > MOST_MOVES {
                return false;
            }
            match node.op.as_str() {
                "Identity" | "Cast" | "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice"
                | "Gather" | "Resize" => rest.extend(node.inputs.first().map(String::as_str)),
                // The embeddings of tokens and of patches may come from different tensors.
                "Concat" => rest.extend(node.inputs.iter().map(String::as_str).take(MOST_MOVES)),
                _ => {}
            }
        }
        false
    }

    /// Whether this layer, or one before it, is something else than a scaling of pixels. The scale and the offset of pixels are never
    /// parameters.
    fn is_learned(&self, layer: usize) -> bool {
        let mut first = layer;
        while let Operator::Rescaling { .. } | Operator::Reshape { .. } | Operator::Flatten {} =
            self.drafts[first].operator
        {
            first = self.drafts[first].inputs[0];
        }
        !matches!(self.drafts[first].operator, Operator::InputLayer { .. })
    }

    /// Reads a sum with a constant that has a number for each place.
    fn positions(&mut self, x: &View, shape: &[usize], offset: &[f64], batch: usize) -> Result<Value, String> {
        let mut all = x.shape(self.batch);
        all[batch] = 1;
        let constant = Constant::floats(shape.to_vec(), offset.iter().map(|&value| value as f32).collect());
        let constant = constant.limited(&all)?.expanded(&all).ok_or("it has a number for each sample")?;
        let order = x.natural_order();
        let layer = self.materialise(x, &order)?;
        let values = constant.transposed(&[vec![batch], order.clone()].concat()).to_floats();
        let shape = self.drafts[layer].shape.0.clone();
        let weights = vec![Weight { parameter: "embeddings", shape, values }];
        let layer = self.add("", Operator::PositionEmbedding { resample: None }, &[layer], weights)?;
        Ok(Value::Seen(self.placed(layer, &order, x.axes.len(), batch)))
    }

    /// Reads a sum or a product of two values, whose axes of length 1 may be repeated.
    fn combined(&mut self, operator: Operator, a: &View, b: &View) -> Result<Value, String> {
        let (a, b) = (self.whole(a)?, self.whole(b)?);
        let (a, b) = (self.padded(&a, b.axes.len()), self.padded(&b, a.axes.len()));
        let rank = a.axes.len();
        let batch = match (a.batch_axis(), b.batch_axis()) {
            (Some(a), Some(b)) if a == b => a,
            _ => return Err("it mixes values of different images".to_owned()),
        };
        let is_whole = |view: &View| view.count() == self.drafts[view.layer].shape.count();
        if a.axes == b.axes && is_whole(&a) && self.drafts[a.layer].shape == self.drafts[b.layer].shape {
            let layer = self.add("", operator, &[a.layer, b.layer], Vec::new())?;
            return Ok(Value::Seen(View { layer, axes: a.axes, offset: 0 }));
        }
        let count = |view: &View| self.drafts[view.layer].shape.count();
        let larger = if count(&a) >= count(&b) { &a } else { &b };
        let orders = self.orders(larger);
        let fits = |order: &&Vec<usize>| [&a, &b].iter().all(|view| view.lies_in_order(order, count(view)));
        let order = orders.iter().find(fits).ok_or("its inputs have their axes in different orders")?.clone();
        let layers = [self.materialise(&a, &order)?, self.materialise(&b, &order)?];
        let layer = self.add("", operator, &layers, Vec::new())?;
        Ok(Value::Seen(self.placed(layer, &order, rank, batch)))
    }

    /// The view with additional axes of length 1 in front, so that it has `rank` axes. A batch of one sample may move to the front.
    fn padded(&self, view: &View, rank: usize) -> View {
        let missing = rank.saturating_sub(view.axes.len());
        let mut axes: Vec<Vec<Factor>> = vec![Vec::new(); missing];
        axes.extend(view.axes.iter().cloned());
        if missing > 0 && !self.has_open_batch() && self.batch == 1 && axes[missing] == [Factor::Batch] {
            axes.swap(0, missing);
        }
        View { layer: view.layer, axes, offset: view.offset }
    }
}

/// A shape in words; the number that stands for an open number of samples is written as `batch`.
fn open(shape: &[usize]) -> String {
    let side = |&side: &usize| if side == super::view::BATCH { "batch".to_owned() } else { side.to_string() };
    format!("[{}]", shape.iter().map(side).collect::<Vec<_>>().join(", "))
}
