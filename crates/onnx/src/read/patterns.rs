//! Recognises layers that an exporter has written as several nodes: layer normalisation, GELU, attention.
//!
//! A pattern is recognised at its last node, from which its other nodes are found backwards. Some of them may have been refused before, because
//! they are no layers by themselves; if the pattern is recognised, they no longer count as refused.

use injerto_graph::{Activation, Operator};

use super::known::axes_of;
use super::reader::{Reader, Value};
use super::shapes::axis;
use super::view::{Factor, View};
use crate::proto::Node;

/// Nodes of a pattern, by their positions in the model.
type Inner = Vec<usize>;

/// Limit for the factors of a product, and for the nodes of a chain.
const MOST_FACTORS: usize = 6;

/// Whether a constant is the expected one, with some tolerance, because exporters write constants in single precision, and some with few digits.
fn near(found: f64, meant: f64) -> bool {
    (found - meant).abs() <= 1e-4 * meant.abs()
}

impl<'m> Reader<'m> {
    /// The layer whose last node this is, if it is the end of a pattern.
    pub(super) fn pattern(&mut self, node: &'m Node<'m>) -> Result<Option<Value>, String> {
        let mut inner = Inner::new();
        let value = match node.op.as_str() {
            "Mul" => match self.gelu(node, &mut inner) {
                Some((x, activation)) => Some(self.unary("", &x, Operator::Activation { activation })?),
                None => {
                    inner.clear();
                    self.layer_normalisation(node, &mut inner)?
                }
            },
            "Div" => self.layer_normalisation(node, &mut inner)?,
            "Add" => self.response(node, &mut inner)?,
            "MatMul" => self.attention(node, &mut inner)?,
            _ => None,
        };
        if value.is_some() {
            self.refused.retain(|(at, _)| !inner.contains(at));
        }
        Ok(value)
    }

    /// The node that computes a value, if its operator is `op`; it becomes part of the pattern.
    fn maker(&self, name: &str, op: &str, inner: &mut Inner) -> Option<&'m Node<'m>> {
        let &at = self.makers.get(name)?;
        let node = &self.model.graph.nodes[at];
        (node.op == op && node.domain.is_empty()).then(|| {
            inner.push(at);
            node
        })
    }

    /// The value of a constant whose values are all equal.
    fn number(&self, name: &str) -> Option<f64> {
        self.constant_of(name).and_then(|constant| constant.uniform())
    }

    /// The two inputs of a node, in both orders.
    fn both_ways(node: &'m Node<'m>) -> Option<[(&'m str, &'m str); 2]> {
        let [a, b] = node.inputs.as_slice() else { return None };
        Some([(a, b), (b, a)])
    }

    /// Writes a value as a product of a number and of other values.
    fn product(&self, name: &'m str, inner: &mut Inner) -> (f64, Vec<&'m str>) {
        let (mut factor, mut rest, mut left) = (1.0, vec![name], Vec::new());
        for _ in 0..MOST_FACTORS * 2 {
            let Some(name) = rest.pop() else { break };
            let mut own = Inner::new();
            let divided = self.maker(name, "Div", &mut own).and_then(|node| {
                let [x, by] = node.inputs.as_slice() else { return None };
                self.number(by).map(|by| (1.0 / by, x))
            });
            if let Some((by, x)) = divided {
                factor *= by;
                rest.push(x);
                inner.extend(own);
                continue;
            }
            let Some(node) = self.maker(name, "Mul", &mut own) else {
                left.push(name);
                continue;
            };
            let Some(orders) = Self::both_ways(node) else { return (factor, Vec::new()) };
            let scaled = orders.into_iter().find_map(|(by, x)| Some((self.number(by)?, x)));
            match scaled {
                Some((by, x)) => {
                    factor *= by;
                    rest.push(x);
                }
                // A product that is already a layer is not part of this pattern.
                None if self.seen(name).is_some() && !inner.is_empty() => {
                    left.push(name);
                    continue;
                }
                None => rest.extend([orders[0].0, orders[0].1]),
            }
            inner.extend(own);
            if rest.len() + left.len() > MOST_FACTORS {
                return (factor, Vec::new());
            }
        }
        left.extend(rest);
        (factor, left)
    }

    /// Recognises `x * (1 + erf(x / sqrt(2))) / 2`, or its approximation by tanh.
    fn gelu(&self, node: &'m Node<'m>, inner: &mut Inner) -> Option<(View, Activation)> {
        let output = node.outputs.first()?;
        let (half, factors) = self.product(output, inner);
        let &[a, b] = factors.as_slice() else { return None };
        if !near(half, 0.5) {
            return None;
        }
        [(a, b), (b, a)].into_iter().find_map(|(x, sum)| {
            let mut own = Inner::new();
            let sum = self.maker(sum, "Add", &mut own)?;
            let (_, inside) = Self::both_ways(sum)?.into_iter().find(|(one, _)| self.number(one) == Some(1.0))?;
            let activation = if let Some(erf) = self.maker(inside, "Erf", &mut own) {
                let (factor, of) = self.product(erf.inputs.first()?, &mut own);
                (of == [x] && near(factor, std::f64::consts::FRAC_1_SQRT_2)).then_some(Activation::Gelu)?
            } else {
                let tanh = self.maker(inside, "Tanh", &mut own)?;
                let (factor, of) = self.product(tanh.inputs.first()?, &mut own);
                let &[sum] = of.as_slice() else { return None };
                let sum = self.maker(sum, "Add", &mut own)?;
                let (_, cube) = Self::both_ways(sum)?.into_iter().find(|(first, _)| *first == x)?;
                let (small, of) = self.product(cube, &mut own);
                let power = of.iter().map(|&value| self.power_of(value, x, &mut own)).sum::<Option<f64>>()?;
                let is_it = near(factor, (2.0 / std::f64::consts::PI).sqrt()) && near(small, 0.044715) && power == 3.0;
                is_it.then_some(Activation::GeluTanh)?
            };
            let view = self.seen(x)?.clone();
            inner.extend(own);
            Some((view, activation))
        })
    }

    /// The exponent with which a value is a power of `x`.
    fn power_of(&self, value: &'m str, x: &str, inner: &mut Inner) -> Option<f64> {
        if value == x {
            return Some(1.0);
        }
        let node = self.maker(value, "Pow", inner)?;
        let [base, exponent] = node.inputs.as_slice() else { return None };
        (base == x).then(|| self.number(exponent)).flatten()
    }

    /// If `name` is a mean over one axis, which stays with length 1: the value whose mean it is, and the axis.
    fn mean_of(&self, name: &str, inner: &mut Inner) -> Option<(&'m str, i64)> {
        let node = self.maker(name, "ReduceMean", inner)?;
        let axes = axes_of(node, node.inputs.get(1).and_then(|axes| self.constant_of(axes)))?;
        let &[axis] = axes.as_slice() else { return None };
        (node.int("keepdims", 1) == 1).then_some((node.inputs.first()?, axis))
    }

    /// If `name` is `x - mean(x)`: `x`, and the axis of the mean.
    fn centred(&self, name: &str, inner: &mut Inner) -> Option<(&'m str, i64)> {
        let node = self.maker(name, "Sub", inner)?;
        let [x, mean] = node.inputs.as_slice() else { return None };
        let (of, axis) = self.mean_of(mean, inner)?;
        (of == x).then_some((x, axis))
    }

    /// Recognises `(x - mean) / sqrt(variance + epsilon)`.
    fn layer_normalisation(&mut self, node: &'m Node<'m>, inner: &mut Inner) -> Result<Option<Value>, String> {
        let Some((x, along, epsilon)) = self.standardised(node, inner) else { return Ok(None) };
        let Some(view) = self.seen(x).cloned() else { return Ok(None) };
        let along = axis(along, view.axes.len())?;
        self.standardise(&view, along, epsilon, Vec::new()).map(Some)
    }

    fn standardised(&self, node: &'m Node<'m>, inner: &mut Inner) -> Option<(&'m str, i64, f64)> {
        let found = match node.op.as_str() {
            "Div" => vec![Self::both_ways(node)?[0]],
            _ => Self::both_ways(node)?.into(),
        };
        found.into_iter().find_map(|(difference, deviation)| {
            let mut own = Inner::new();
            let (x, axis) = self.centred(difference, &mut own)?;
            let root = match node.op.as_str() {
                "Div" => deviation,
                _ => self.maker(deviation, "Reciprocal", &mut own)?.inputs.first()?,
            };
            let sum = self.maker(root, "Sqrt", &mut own)?.inputs.first()?;
            let sum = self.maker(sum, "Add", &mut own)?;
            let orders = Self::both_ways(sum)?;
            let (epsilon, variance) = orders.into_iter().find_map(|(e, v)| Some((self.number(e)?, v)))?;
            let (square, of_variance) = self.mean_of(variance, &mut own)?;
            let base = match self.maker(square, "Pow", &mut own) {
                Some(power) => {
                    let [base, exponent] = power.inputs.as_slice() else { return None };
                    (self.number(exponent)? == 2.0).then_some(base)?
                }
                None => {
                    let [a, b] = self.maker(square, "Mul", &mut own)?.inputs.as_slice() else { return None };
                    (a == b).then_some(a)?
                }
            };
            let same = base == difference || self.centred(base, &mut own)? == (x, axis);
            (same && of_variance == axis).then(|| {
                inner.extend(own);
                (x, axis, f64::from(epsilon as f32))
            })
        })
    }

    /// Recognises `x + gamma * (x * n) + beta`, the global response normalisation of ConvNeXt V2.
    fn response(&mut self, node: &'m Node<'m>, inner: &mut Inner) -> Result<Option<Value>, String> {
        let Some((x, along, epsilon, gamma, beta)) = self.response_of(node, inner) else { return Ok(None) };
        let Some(view) = self.seen(x).cloned() else { return Ok(None) };
        let along = axis(along, view.axes.len())?;
        let batch = view.batch_axis().filter(|&batch| batch != along).ok_or("it mixes values of different images")?;
        let order: Vec<usize> = view.natural_order().into_iter().filter(|&axis| axis != along).chain([along]).collect();
        let layer = self.materialise(&view, &order)?;
        let channels = self.drafts[layer].shape.channels();
        let each = |name: &str| {
            let constant = self.constant_of(name)?;
            let values = match constant.len() {
                1 => vec![constant.uniform()? as f32; channels],
                _ => constant.to_floats(),
            };
            (values.len() == channels).then_some(values)
        };
        let (Some(gamma), Some(beta)) = (each(gamma), each(beta)) else { return Ok(None) };
        let weights = [("gamma", gamma), ("beta", beta)].map(|(parameter, values)| super::reader::Weight {
            parameter,
            shape: vec![channels],
            values,
        });
        let operator = Operator::GlobalResponseNormalization { epsilon };
        let layer = self.add("", operator, &[layer], weights.into())?;
        Ok(Some(Value::Seen(self.placed(layer, &order, view.axes.len(), batch))))
    }

    /// The parts of a global response normalisation: `x`, the axis of the channels, epsilon, and the names of gamma and beta.
    fn response_of(&self, node: &'m Node<'m>, inner: &mut Inner) -> Option<(&'m str, i64, f64, &'m str, &'m str)> {
        Self::both_ways(node)?.into_iter().find_map(|(x, sum)| {
            let mut own = Inner::new();
            let is_constant = |name: &str| self.constant_of(name).is_some();
            let constant_first = |(a, b): &(&'m str, &'m str)| is_constant(a) && !is_constant(b);
            let sum = self.maker(sum, "Add", &mut own)?;
            let (beta, product) = Self::both_ways(sum)?.into_iter().find(constant_first)?;
            let product = self.maker(product, "Mul", &mut own)?;
            let (gamma, scaled) = Self::both_ways(product)?.into_iter().find(constant_first)?;
            let scaled = self.maker(scaled, "Mul", &mut own)?;
            let (_, ratio) = Self::both_ways(scaled)?.into_iter().find(|(first, _)| *first == x)?;
            let [norms, divisor] = self.maker(ratio, "Div", &mut own)?.inputs.as_slice() else { return None };
            let divisor = self.maker(divisor, "Add", &mut own)?;
            let numbers = Self::both_ways(divisor)?.into_iter();
            let (epsilon, mean) = { numbers }.find_map(|(e, mean)| Some((self.number(e)?, mean)))?;
            let (of, along) = self.mean_of(mean, &mut own)?;
            // If there is only one position, exporters write the norm as an absolute value.
            let of_norms = match self.maker(norms, "ReduceL2", &mut own) {
                Some(norm) => norm.inputs.first(),
                None => self.maker(norms, "Abs", &mut own)?.inputs.first(),
            };
            (of == norms && of_norms? == x).then(|| {
                inner.extend(own);
                (x, along, f64::from(epsilon as f32), gamma, beta)
            })
        })
    }

    /// The product of the numbers by which a value is multiplied, and the value without them.
    fn unscaled(&self, name: &'m str, depth: usize, inner: &mut Inner) -> Option<(f64, View)> {
        let depth = depth.checked_sub(1)?;
        let (factor, of) = self.product(name, inner);
        let &[plain] = of.as_slice() else { return None };
        if plain != name
            && let Some((more, view)) = self.unscaled(plain, depth, inner)
        {
            return Some((factor * more, view));
        }
        let mut own = Inner::new();
        if let Some(node) = self.maker(plain, "Transpose", &mut own)
            && let Some(order) = node.ints("perm")
            && let Some((more, view)) = self.unscaled(node.inputs.first()?, depth, inner)
        {
            let rank = view.axes.len();
            let order: Vec<usize> = order.iter().map(|&at| axis(at, rank)).collect::<Result<_, _>>().ok()?;
            inner.extend(own);
            return (order.len() == rank).then(|| (factor * more, view.transposed(&order)));
        }
        Some((factor, self.seen(plain)?.clone()))
    }

    /// Recognises `softmax(q kᵀ / sqrt(d)) v` of several heads.
    fn attention(&mut self, node: &'m Node<'m>, inner: &mut Inner) -> Result<Option<Value>, String> {
        let Some((factor, [q, k, v])) = self.heads_of(node, inner) else { return Ok(None) };
        let Some(heads) = Heads::of(&q, &k, &v) else {
            return Err("its heads lie in an order that no layer makes".to_owned());
        };
        let wanted = 1.0 / (heads.depth as f64).sqrt();
        if !near(factor, wanted) {
            return Err(format!(
                "an attention scales by {factor}, and only {wanted} for {} channels is a layer",
                heads.depth
            ));
        }
        let channels = heads.heads * heads.depth;
        let of_values = heads.heads * heads.of_values;
        let shape = |view: &View| self.drafts[view.layer].shape.0.clone();
        let is_row = |view: &View, tokens: usize, width: usize| {
            view.offset == 0 && shape(view).iter().product::<usize>() == tokens * width
        };
        let joint = q.layer == k.layer
            && k.layer == v.layer
            && [q.offset, k.offset, v.offset] == [0, channels, 2 * channels]
            && heads.rows.iter().all(|row| row.is_none_or(|row| row == 3 * channels))
            && channels == of_values
            && shape(&q).iter().product::<usize>() == heads.tokens * 3 * channels;
        let rows = heads.rows.iter().zip([channels, channels, of_values]);
        let separate = { rows }.all(|(row, width)| row.is_none_or(|row| row == width))
            && is_row(&q, heads.tokens, channels)
            && is_row(&k, heads.others, channels)
            && is_row(&v, heads.others, of_values);
        let inputs = if joint && heads.tokens == heads.others {
            vec![self.with_shape(q.layer, vec![heads.tokens, 3 * channels])?]
        } else if separate {
            vec![
                self.with_shape(q.layer, vec![heads.tokens, channels])?,
                self.with_shape(k.layer, vec![heads.others, channels])?,
                self.with_shape(v.layer, vec![heads.others, of_values])?,
            ]
        } else {
            return Err("queries, keys and values lie in an order that no layer makes".to_owned());
        };
        let layer = self.add("", Operator::DotProductAttention { num_heads: heads.heads }, &inputs, Vec::new())?;
        let mut axes = q.axes.clone();
        let (last, rest) = axes.split_last_mut().expect("an attention has axes");
        *last = match heads.of_values {
            1 => Vec::new(),
            length => vec![Factor::Part { length, stride: 1 }],
        };
        for factor in rest.iter_mut().flatten() {
            if let Factor::Part { stride, .. } = factor {
                let is_token = heads.rows[0].is_some_and(|row| *stride >= row);
                *stride = if is_token { of_values } else { heads.of_values };
            }
        }
        Ok(Some(Value::Seen(View { layer, axes, offset: 0 })))
    }

    /// The factor of the scores, and queries, keys (before their axes are exchanged) and values, each `[…, tokens, depth]`.
    fn heads_of(&self, node: &'m Node<'m>, inner: &mut Inner) -> Option<(f64, [View; 3])> {
        let [shares, values] = node.inputs.as_slice() else { return None };
        let softmax = self.maker(shares, "Softmax", inner)?;
        let (scale, scores) = self.product(softmax.inputs.first()?, inner);
        let &[scores] = scores.as_slice() else { return None };
        let [queries, keys] = self.maker(scores, "MatMul", inner)?.inputs.as_slice() else { return None };
        let (of_queries, q) = self.unscaled(queries, MOST_FACTORS, inner)?;
        let (of_keys, k) = self.unscaled(keys, MOST_FACTORS, inner)?;
        let v = self.seen(values)?.clone();
        let rank = q.axes.len();
        let along = softmax.int("axis", -1);
        if (along != -1 && along != rank as i64 - 1) || rank < 3 || k.axes.len() != rank || v.axes.len() != rank {
            return None;
        }
        let exchanged: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
        Some((scale * of_queries * of_keys, [q, k.transposed(&exchanged), v]))
    }

    /// Adds a layer normalisation over one axis, with those of gamma and beta that `weights` has.
    pub(super) fn standardise(
        &mut self,
        x: &View,
        along: usize,
        epsilon: f64,
        weights: Vec<super::reader::Weight>,
    ) -> Result<Value, String> {
        let batch = x.batch_axis().filter(|&batch| batch != along).ok_or("it mixes values of different images")?;
        let x = self.whole(x)?;
        let order: Vec<usize> = x.natural_order().into_iter().filter(|&axis| axis != along).chain([along]).collect();
        let layer = self.materialise(&x, &order)?;
        let has = |name: &str| weights.iter().any(|weight| weight.parameter == name);
        let operator = Operator::LayerNormalization { epsilon, center: has("beta"), scale: has("gamma") };
        let layer = self.add("", operator, &[layer], weights)?;
        Ok(Value::Seen(self.placed(layer, &order, x.axes.len(), batch)))
    }
}

/// The sizes of an attention, and the strides of its tokens.
struct Heads {
    heads: usize,
    tokens: usize,
    others: usize,
    depth: usize,
    of_values: usize,
    /// Strides of the tokens of queries, keys and values; `None` for a single token.
    rows: [Option<usize>; 3],
}

impl Heads {
    /// The sizes of views `[…, tokens, depth]`, whose heads are in the axes before these two.
    fn of(q: &View, k: &View, v: &View) -> Option<Self> {
        let [(heads, tokens, depth, q_row), (k_heads, others, k_depth, k_row), (v_heads, v_others, of_values, v_row)] =
            [Self::one(q)?, Self::one(k)?, Self::one(v)?];
        let fits = heads == k_heads && heads == v_heads && others == v_others && depth == k_depth;
        fits.then_some(Self { heads, tokens, others, depth, of_values, rows: [q_row, k_row, v_row] })
    }

    /// Heads, tokens, depth and stride of the tokens of one view; `None` unless the channels of its heads follow one another.
    fn one(view: &View) -> Option<(usize, usize, usize, Option<usize>)> {
        let (rest, [tokens, depth]) = view.axes.split_last_chunk::<2>()?;
        let part = |factors: &[Factor]| match factors {
            [] => Some((1, None)),
            [Factor::Part { length, stride }] => Some((*length, Some(*stride))),
            _ => None,
        };
        let ((tokens, row), (depth, None | Some(1))) = (part(tokens)?, part(depth)?) else { return None };
        let parts: Vec<&Factor> = rest.iter().flatten().filter(|factor| **factor != Factor::Batch).collect();
        let heads = match parts.as_slice() {
            [] => 1,
            [Factor::Part { length, stride }] if *stride == depth => *length,
            _ => return None,
        };
        Some((heads, tokens, depth, row))
    }
}
