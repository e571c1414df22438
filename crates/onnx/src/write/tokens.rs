//! Layers that are written as many nodes: learned tokens, group normalisation, global response normalisation, attention.

use injerto_graph::{Graph, Node, Role};

use super::{Attribute, Lowering, Placed};
use crate::OnnxError;

impl Lowering<'_, '_> {
    /// Writes learned tokens before those of `x`, once for each sample of the batch.
    pub(super) fn prepend(
        &mut self,
        node: &Node,
        x: &Placed,
        count: usize,
        channels: usize,
    ) -> Result<Placed, OnnxError> {
        let name = node.name();
        let tokens = self.needed(node, Role::Embedding)?.to_vec();
        let sides = [1, count, channels];
        let tokens = self.floats(format!("{name}/embeddings"), &sides, tokens);
        let part = vec![("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
        let batch = self.node(format!("{name}/batch"), "Shape", &[&x.name], part);
        let rest = self.ints(format!("{name}/sides"), vec![sides[1] as i64, sides[2] as i64]);
        let along = |axis| vec![("axis", Attribute::Int(axis))];
        let shape = self.node(format!("{name}/shape"), "Concat", &[&batch, &rest], along(0));
        let all = self.node(format!("{name}/tokens"), "Expand", &[&tokens, &shape], Vec::new());
        Ok(Placed { name: self.node(name, "Concat", &[&all, &x.name], along(1)), first: false })
    }

    /// Writes a group normalisation as an instance normalisation whose channels are the groups.
    pub(super) fn groups(
        &mut self,
        node: &Node,
        x: Placed,
        groups: usize,
        epsilon: f64,
        shape: &[usize],
    ) -> Result<Placed, OnnxError> {
        let name = node.name();
        let channels = *shape.last().expect("a shape has at least one axis");
        // The order of axes must be samples, channels, positions.
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

    /// Writes `x + gamma * (x * n) + beta`, where `n` is the norm of a channel divided by the mean of all norms.
    pub(super) fn response(&mut self, node: &Node, x: &Placed, epsilon: f64, axes: usize) -> Result<Placed, OnnxError> {
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

    /// Writes `softmax(q kᵀ / sqrt(d)) v` for all heads.
    pub(super) fn attention(
        &mut self,
        graph: &Graph,
        node: &Node,
        inputs: &[Placed],
        heads: usize,
    ) -> Result<Placed, OnnxError> {
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
}
