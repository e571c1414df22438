//! Decides which rows of a value are computed: only those that a layer reads.
//!
//! A transformer whose head reads only the class token drops all other tokens at its end. The layers before it that compute row by row need no
//! other token either, back to the last attention, which needs the queries of the tokens that are read, and the keys and values of all.

use std::ops::Range;

use injerto_graph::{Graph, Node, Operator};

/// The rows of each layer's output that are computed. The rows of `[tokens, channels]` are its tokens; a value of another rank is one row.
#[derive(Debug)]
pub(super) struct Narrow<'a> {
    graph: &'a Graph,
    rows: Vec<Range<usize>>,
    /// For each layer, whether a row of its output depends only on the same row of its inputs.
    by_row: Vec<bool>,
}

impl<'a> Narrow<'a> {
    /// Finds the rows for `layers`, which are in order. The outputs of the layers `given` come from outside. `passes` says whether a layer's
    /// output is its input.
    pub(super) fn new(graph: &'a Graph, layers: &[usize], given: &[usize], passes: &dyn Fn(usize) -> bool) -> Self {
        let nodes = graph.nodes();
        let by_row = (0..nodes.len()).map(|layer| is_by_row(graph, layer, passes)).collect();
        // The inputs and the output of the tail have all rows.
        let mut narrow = Self { graph, rows: nodes.iter().map(all).collect(), by_row };
        let mut read: Vec<Option<Range<usize>>> = vec![None; nodes.len()];
        for &layer in layers.iter().rev().filter(|layer| !given.contains(layer)) {
            let operator = nodes[layer].operator();
            let can = matches!(operator, Operator::DotProductAttention { .. } | Operator::Cropping1D { .. });
            if let Some(rows) = read[layer].take().filter(|_| can || narrow.by_row[layer]) {
                narrow.rows[layer] = rows;
            }
            for (place, &input) in nodes[layer].inputs.iter().enumerate() {
                let rows = narrow.wanted(layer, place);
                let others = read[input].take().unwrap_or_else(|| rows.clone());
                read[input] = Some(others.start.min(rows.start)..others.end.max(rows.end));
            }
        }
        narrow
    }

    /// The rows of a layer's output that are computed.
    pub(super) fn rows(&self, layer: usize) -> Range<usize> {
        self.rows[layer].clone()
    }

    /// The number of values in these rows.
    pub(super) fn count(&self, layer: usize) -> usize {
        let node = &self.graph.nodes()[layer];
        node.shape.count() / all(node).len() * self.rows[layer].len()
    }

    /// The rows that a layer reads of its input at `place`.
    pub(super) fn wanted(&self, layer: usize, place: usize) -> Range<usize> {
        let (node, rows) = (&self.graph.nodes()[layer], self.rows(layer));
        match node.operator() {
            Operator::Cropping1D { cropping } => rows.start + cropping[0]..rows.end + cropping[0],
            Operator::DotProductAttention { .. } if place == 0 && node.inputs.len() > 1 => rows,
            _ if self.by_row[layer] => rows,
            _ => all(&self.graph.nodes()[node.inputs[place]]),
        }
    }
}

/// All rows of a layer's output.
fn all(node: &Node) -> Range<usize> {
    match *node.shape.0.as_slice() {
        [tokens, _] => 0..tokens,
        _ => 0..1,
    }
}

/// Whether a row of a layer's output depends only on the same row of its inputs.
fn is_by_row(graph: &Graph, layer: usize, passes: &dyn Fn(usize) -> bool) -> bool {
    let node = &graph.nodes()[layer];
    match node.operator() {
        Operator::Dense { .. }
        | Operator::LayerNormalization { .. }
        | Operator::LayerScale {}
        | Operator::Activation { .. }
        | Operator::ReLU { .. }
        | Operator::Softmax {} => true,
        Operator::Dropout { .. } => passes(layer),
        Operator::Add {} => node.inputs.iter().all(|&input| graph.nodes()[input].shape == node.shape),
        _ => false,
    }
}
