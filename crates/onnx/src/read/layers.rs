//! Nodes whose input depends on the image: moves the view, or adds a layer.

use std::rc::Rc;

use injerto_graph::{ChannelOrder, Operator};

use super::known::{axes_of, slice, slices, squeezed, unsqueezed};
use super::reader::{Reader, Value, Weight};
use super::shapes::{axis, sides, target};
use super::view::{BATCH, Factor, View};
use crate::proto::Node;
use crate::tensor::Constant;

impl Reader<'_> {
    pub(super) fn lower(&mut self, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
        let known = |at: usize| match inputs.get(at) {
            Some(Some(Value::Known(constant))) => Some(constant.clone()),
            _ => None,
        };
        let constants: Vec<Option<Rc<Constant>>> = (0..inputs.len()).map(known).collect();
        let constant = |at: usize| constants.get(at).and_then(Option::as_deref);
        let all: Vec<Option<&Constant>> = (0..inputs.len()).map(constant).collect();
        let needed = |at: usize, what: &str| constant(at).ok_or_else(|| format!("its {what} is not a constant"));
        let binary = matches!(node.op.as_str(), "Add" | "Sub" | "Mul" | "Div" | "MatMul" | "Sum" | "Concat");
        let x = match inputs.first() {
            Some(Some(Value::Seen(view))) => view.clone(),
            _ if binary => match inputs.iter().flatten().find(|value| matches!(value, Value::Seen(_))) {
                Some(Value::Seen(view)) => view.clone(),
                _ => return Err("it has no input".to_owned()),
            },
            _ => return Err("its first input is a constant, and another depends on the image".to_owned()),
        };
        let only_moves = matches!(
            node.op.as_str(),
            "Identity"
                | "Cast"
                | "Shape"
                | "Transpose"
                | "Reshape"
                | "Flatten"
                | "Squeeze"
                | "Unsqueeze"
                | "Slice"
                | "Gather"
        );
        let x = if only_moves { x } else { self.whole(&x)? };
        let shape = x.shape(self.batch);
        let rank = shape.len();
        let moved = |view: Option<View>| {
            let lost = || "it cuts through samples or axes in a way that no layer does".to_owned();
            view.map(Value::Seen).ok_or_else(lost)
        };
        match node.op.as_str() {
            "Identity" | "Cast" => Ok(Value::Seen(x)),
            "Dropout" => {
                let ratio = constant(1).and_then(Constant::uniform).unwrap_or(f64::from(node.float("ratio", 0.5)));
                self.unary("", &x, Operator::Dropout { rate: ratio, per_sample: false })
            }
            "Shape" => {
                let length = rank as i64;
                let (start, end) = (node.int("start", 0), node.int("end", length));
                let (start, _, number) = slice(rank, start, end, 1)?;
                let sides = shape.iter().skip(start as usize).take(number).map(|&side| side as i64).collect();
                Ok(Value::Known(Rc::new(Constant::ints(sides))))
            }
            "Transpose" => {
                let order = match node.ints("perm") {
                    Some(order) => order.iter().map(|&at| axis(at, rank)).collect::<Result<Vec<_>, _>>()?,
                    None => (0..rank).rev().collect(),
                };
                if order.len() != rank || !(0..rank).all(|axis| order.contains(&axis)) {
                    return Err("its axes are not an order".to_owned());
                }
                Ok(Value::Seen(x.transposed(&order)))
            }
            "Reshape" => {
                let wanted = target(&needed(1, "shape")?.to_ints(), &shape, node.int("allowzero", 0) == 1)?;
                moved(x.reshaped(&wanted, self.batch))
            }
            "Flatten" => {
                let at = node.int("axis", 1);
                let at = if at == rank as i64 { rank } else { axis(at, rank)? };
                let product = |sides: &[usize]| sides.iter().fold(1_usize, |all, &side| all.saturating_mul(side));
                moved(x.reshaped(&[product(&shape[..at]), product(&shape[at..])], self.batch))
            }
            "Squeeze" => moved(x.reshaped(&squeezed(&shape, axes_of(node, constant(1)).as_deref())?, self.batch)),
            "Unsqueeze" => {
                let axes = axes_of(node, constant(1)).ok_or("its axes are not constants")?;
                moved(x.reshaped(&unsqueezed(&shape, &axes)?, self.batch))
            }
            "Slice" => {
                let parts = slices(node, &all, rank).ok_or("its limits are not constants")?;
                let mut view = x;
                for (axis, start, end, step) in parts {
                    let all = shape[axis];
                    match slice(all, start, end, step)? {
                        (0, 1, length) if length == all => {}
                        (start, -1, length)
                            if length == all && start + 1 == all as i64 && self.is_colours(&view, axis) =>
                        {
                            self.exchange_colours()?;
                        }
                        (start, 1, length) => {
                            let part = self.part(&view, axis, start as usize, length)?;
                            view =
                                part.ok_or_else(|| format!("it cuts a part of axis {axis} out, which no layer does"))?;
                        }
                        (start, step, length) => {
                            let places = (0..length as i64).map(|at| (start + at * step) as usize).collect();
                            let picked = self.pick(&view, axis, places)?;
                            view =
                                picked.ok_or_else(|| format!("it picks parts of axis {axis}, which no layer does"))?;
                        }
                    }
                }
                Ok(Value::Seen(view))
            }
            "Gather" => {
                let axis = axis(node.int("axis", 0), rank)?;
                let choice = needed(1, "choice")?;
                match choice.to_ints().as_slice() {
                    [2 | -1, 1 | -2, 0 | -3] if self.is_colours(&x, axis) => {
                        self.exchange_colours()?;
                        Ok(Value::Seen(x))
                    }
                    &[index] => {
                        let all = shape[axis] as i64;
                        let index = usize::try_from(if index < 0 { index + all } else { index });
                        let index = index.ok().filter(|&index| index < all as usize).ok_or("there is no such index")?;
                        let mut view = x.part(axis, index, 1).ok_or("it picks samples, or a part that no layer has")?;
                        if choice.shape.is_empty() {
                            view.axes.remove(axis);
                        }
                        Ok(Value::Seen(view))
                    }
                    indices if choice.shape.len() == 1 => {
                        let all = shape[axis] as i64;
                        let place = |&index: &i64| usize::try_from(if index < 0 { index + all } else { index }).ok();
                        let places = indices.iter().map(place).collect::<Option<Vec<_>>>();
                        let picked = self.pick(&x, axis, places.ok_or("there is no such index")?)?;
                        picked
                            .map(Value::Seen)
                            .ok_or_else(|| format!("it picks parts of axis {axis}, which no layer does"))
                    }
                    _ => Err(format!("it picks parts of axis {axis} in several axes, which no layer does")),
                }
            }
            "Conv" => self.convolution(node, &x, needed(1, "kernel")?, constant(2)),
            "MaxPool" | "AveragePool" => self.pooling(node, &x),
            "Pad" => self.padding(node, &x, &all),
            "GlobalAveragePool" | "GlobalMaxPool" => {
                let layer = self.image(&x)?;
                let layer = self.global(layer, node.op == "GlobalAveragePool")?;
                Ok(self.of_image(layer))
            }
            "ReduceMean" | "ReduceMax" => {
                let axes = match axes_of(node, constant(1)) {
                    Some(axes) => axes.iter().map(|&at| axis(at, rank)).collect::<Result<Vec<_>, _>>()?,
                    None => (0..rank).collect(),
                };
                self.reduced(&x, &axes, node.op == "ReduceMean", node.int("keepdims", 1) == 1)
            }
            "LayerNormalization" => {
                let along = axis(node.int("axis", -1), rank)?;
                if along != rank - 1 {
                    return Err("it normalises over several axes".to_owned());
                }
                let mut weights = Vec::new();
                for (at, parameter) in [(1, "gamma"), (2, "beta")] {
                    if inputs.get(at).is_some_and(Option::is_some) {
                        let values = needed(at, parameter)?.to_floats();
                        if values.len() != shape[along] {
                            return Err(format!(
                                "its {parameter} has {} values for {} channels",
                                values.len(),
                                shape[along]
                            ));
                        }
                        weights.push(Weight { parameter, shape: vec![values.len()], values });
                    }
                }
                self.standardise(&x, along, shortest(node.float("epsilon", 1e-5)), weights)
            }
            "InstanceNormalization" => self.instances(node, &x, needed(1, "scale")?, needed(2, "shift")?),
            "GroupNormalization" => {
                let groups =
                    usize::try_from(node.int("num_groups", 0)).map_err(|_| "its number of groups is negative")?;
                let order: Vec<usize> = x.natural_order().into_iter().filter(|&axis| axis != 1).chain([1]).collect();
                let channels = shape.get(1).copied().unwrap_or(0);
                // Old operator sets have one scale per group.
                let each = |constant: &Constant| match constant.to_floats() {
                    values if values.len() == channels => Ok(values),
                    values if groups > 0 && values.len() == groups && channels % groups == 0 => {
                        Ok(values.iter().flat_map(|&value| vec![value; channels / groups]).collect())
                    }
                    _ => Err("its scale has another length"),
                };
                let (scale, shift) = (each(needed(1, "scale")?)?, each(needed(2, "shift")?)?);
                let batch = x.batch_axis().filter(|&batch| batch != 1).ok_or("it mixes the samples")?;
                let layer = self.materialise(&x, &order)?;
                let weights = [("gamma", scale), ("beta", shift)].map(|(parameter, values)| Weight {
                    parameter,
                    shape: vec![channels],
                    values,
                });
                let epsilon = shortest(node.float("epsilon", 1e-5));
                let operator = Operator::GroupNormalization { groups, epsilon, center: true, scale: true };
                let layer = self.add("", operator, &[layer], weights.into())?;
                Ok(Value::Seen(self.placed(layer, &order, rank, batch)))
            }
            "BatchNormalization" => self.normalised(node, &x, &all),
            "Gemm" => {
                if node.int("transA", 0) == 1 {
                    return Err("it exchanges the axes of its input (transA)".to_owned());
                }
                let kernel = needed(1, "kernel")?;
                let kernel = if node.int("transB", 0) == 1 && kernel.shape.len() == 2 {
                    kernel.transposed(&[1, 0])
                } else {
                    kernel.clone()
                };
                let scaled = |values: Vec<f32>, by: f32| match by == 1.0 {
                    true => values,
                    false => values.into_iter().map(|value| value * by).collect(),
                };
                let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
                let kernel = Constant::floats(kernel.shape.clone(), scaled(kernel.to_floats(), alpha));
                let bias = match inputs.get(2) {
                    Some(Some(_)) => Some(needed(2, "bias")?),
                    _ => None,
                };
                let bias = bias.map(|bias| match (bias.uniform(), kernel.shape.get(1)) {
                    (Some(value), Some(&units)) if bias.len() == 1 => vec![value as f32 * beta; units],
                    _ => scaled(bias.to_floats(), beta),
                });
                self.dense(&x, &kernel, bias)
            }
            "MatMul" => match inputs.first() {
                Some(Some(Value::Seen(_))) => self.dense(&x, needed(1, "second factor")?, None),
                _ => Err("its first factor is a constant".to_owned()),
            },
            "Concat" => self.concatenated(inputs, axis(node.int("axis", 0), rank)?),
            _ => self.elementwise(node, &x, inputs, &constants),
        }
    }

    /// Whether an axis of the value has the colours of the image itself.
    fn is_colours(&self, x: &View, axis: usize) -> bool {
        x.layer == 0 && x.axes[axis] == [Factor::Part { length: 3, stride: 1 }]
    }

    /// Notes that the network takes blue first. All of the network must see the image so.
    fn exchange_colours(&mut self) -> Result<(), String> {
        if self.drafts.len() > 1 || self.channel_order == ChannelOrder::Bgr {
            return Err("it exchanges the colours of the image a second time, or for a part of the network".to_owned());
        }
        self.channel_order = ChannelOrder::Bgr;
        Ok(())
    }

    /// Mean or largest value over height and width, which stay as axes of length 1.
    fn global(&mut self, image: usize, is_mean: bool) -> Result<usize, String> {
        let operator = match is_mean {
            true => Operator::GlobalAveragePooling2D { keepdims: true },
            false => Operator::GlobalMaxPooling2D { keepdims: true },
        };
        self.add("", operator, &[image], Vec::new())
    }

    /// Mean or largest value over all axes but those of samples and channels.
    fn reduced(&mut self, x: &View, axes: &[usize], is_mean: bool, keep: bool) -> Result<Value, String> {
        let batch = x.batch_axis().ok_or("it mixes the samples")?;
        let rest: Vec<usize> = (0..x.axes.len()).filter(|axis| *axis != batch && !axes.contains(axis)).collect();
        let &[channels] = rest.as_slice() else {
            return Err("it reduces other axes than all but the channels".to_owned());
        };
        if axes.contains(&batch) || axes.is_empty() {
            return Err("it mixes the samples, or nothing".to_owned());
        }
        let order: Vec<usize> =
            x.natural_order().into_iter().filter(|&axis| axis != channels).chain([channels]).collect();
        let image = match self.materialise(x, &order)? {
            image if self.drafts[image].shape.0.len() == 3 => image,
            // Tokens are an image of one column.
            tokens => {
                let shape = &self.drafts[tokens].shape;
                let channels = shape.channels();
                let all = shape.count() / channels;
                self.with_shape(tokens, vec![all, 1, channels])?
            }
        };
        let layer = self.global(image, is_mean)?;
        let mut view = self.placed(layer, &[axes[0], axes[0], channels], x.axes.len(), batch);
        if !keep {
            let mut at = 0;
            view.axes.retain(|_| {
                at += 1;
                !axes.contains(&(at - 1))
            });
        }
        Ok(Value::Seen(view))
    }

    fn normalised(&mut self, node: &Node<'_>, x: &View, inputs: &[Option<&Constant>]) -> Result<Value, String> {
        let batch = x.batch_axis().filter(|&axis| axis == 0 && x.axes.len() > 1).ok_or("it mixes the samples")?;
        let order: Vec<usize> = x.natural_order().into_iter().filter(|&axis| axis != 1).chain([1]).collect();
        let layer = self.materialise(x, &order)?;
        let channels = self.drafts[layer].shape.channels();
        let mut weights = Vec::with_capacity(4);
        for (at, parameter) in ["gamma", "beta", "moving_mean", "moving_variance"].into_iter().enumerate() {
            let values = inputs.get(at + 1).copied().flatten().ok_or("its statistics are not constants")?.to_floats();
            if values.len() != channels {
                return Err(format!("its {parameter} has {} values for {channels} channels", values.len()));
            }
            weights.push(Weight { parameter, shape: vec![channels], values });
        }
        let operator = Operator::BatchNormalization {
            epsilon: shortest(node.float("epsilon", 1e-5)),
            momentum: shortest(node.float("momentum", 0.9)),
            center: true,
            scale: true,
        };
        let layer = self.add("", operator, &[layer], weights)?;
        Ok(Value::Seen(self.placed(layer, &order, x.axes.len(), batch)))
    }

    /// An instance normalisation whose channels are groups of channels of the layer: that is how exporters write a group
    /// normalisation.
    fn instances(&mut self, node: &Node<'_>, x: &View, scale: &Constant, shift: &Constant) -> Result<Value, String> {
        let stored = self.drafts[x.layer].shape.clone();
        let (channels, groups) = (stored.channels(), x.shape(self.batch).get(1).copied().unwrap_or(0));
        let is_group = match x.axes.get(1).map(Vec::as_slice) {
            Some([]) => groups == 1,
            Some(&[Factor::Part { length, stride }]) => length * stride == channels,
            _ => false,
        };
        if x.batch_axis() != Some(0) || !is_group || x.count() != stored.count() {
            return Err("its channels are no groups of channels".to_owned());
        }
        let (gamma, beta) = (scale.to_floats(), shift.to_floats());
        let has_own = groups == channels && gamma.len() == channels && beta.len() == channels;
        // Parameters that are not trained yet are 1 and 0 as well.
        let is_parameter = has_own && node.inputs.get(1).is_some_and(|name| self.is_stored(name));
        let is_plain = scale.uniform() == Some(1.0) && shift.uniform() == Some(0.0) && !is_parameter;
        let weights = match (is_plain, has_own) {
            (true, _) => Vec::new(),
            (false, true) => [("gamma", gamma), ("beta", beta)]
                .map(|(parameter, values)| Weight { parameter, shape: vec![channels], values })
                .into(),
            (false, false) => return Err("it scales groups of channels".to_owned()),
        };
        let epsilon = shortest(node.float("epsilon", 1e-5));
        let operator = Operator::GroupNormalization { groups, epsilon, center: !is_plain, scale: !is_plain };
        let layer = self.add("", operator, &[x.layer], weights)?;
        Ok(Value::Seen(View { layer, axes: x.axes.clone(), offset: 0 }))
    }

    /// Joins values along the channels.
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
        let (rank, batch) = (views[0].axes.len(), views[0].batch_axis().ok_or("it mixes the samples")?);
        if along == batch || views.iter().any(|view| view.axes.len() != rank || view.batch_axis() != Some(batch)) {
            return Err("it mixes the samples".to_owned());
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

    /// Puts constant tokens before those of the image.
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

    /// The parts of a value along an axis.
    pub(super) fn split(&mut self, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>, String> {
        let Some(Some(Value::Seen(x))) = inputs.first() else {
            return Err("it splits by values of the image".to_owned());
        };
        let along = axis(node.int("axis", 0), x.axes.len())?;
        let all = x.shape(self.batch)[along];
        let lengths = match (inputs.get(1), node.ints("split")) {
            (Some(Some(Value::Known(lengths))), _) => sides(&lengths.to_ints())?,
            (_, Some(lengths)) => sides(lengths)?,
            _ => {
                // Equal parts, of which the last may be shorter.
                let parts = usize::try_from(node.int("num_outputs", node.outputs.len() as i64))
                    .unwrap_or(0)
                    .clamp(1, node.outputs.len().max(1));
                let length = all.div_ceil(parts);
                (0..parts).map(|at| length.min(all.saturating_sub(at * length))).collect()
            }
        };
        let wrong = || format!("it splits axis {along} in a way that no layer does");
        let (mut start, mut parts) = (0_usize, Vec::with_capacity(lengths.len()));
        for length in lengths {
            let end = start.checked_add(length).filter(|&end| end <= all).ok_or_else(wrong)?;
            parts.push(Value::Seen(self.part(x, along, start, length)?.ok_or_else(wrong)?));
            start = end;
        }
        Ok(parts)
    }

    /// A layer that computes each value by itself.
    pub(super) fn unary(&mut self, part: &str, x: &View, operator: Operator) -> Result<Value, String> {
        let layer = self.add(part, operator, &[x.layer], Vec::new())?;
        Ok(Value::Seen(View { layer, axes: x.axes.clone(), offset: x.offset }))
    }

    /// Whether the number of samples is open, so that it is no side of anything else.
    pub(super) fn has_open_batch(&self) -> bool {
        self.batch == BATCH
    }
}

/// The decimal that was meant by a number in single precision: 1e-5, and not 9.999999747378752e-6.
pub(super) fn shortest(value: f32) -> f64 {
    value.to_string().parse().expect("a number in single precision is also one in double precision")
}
