use crate::{FreezePlan, Graph};

/// A network in two: the frozen prefix, which depends on the image alone, and the trainable tail.
///
/// A layer belongs to the tail if it trains, draws random numbers, or takes the output of such a layer; every other layer
/// is prefix: no gradient reaches it and its output for an image never changes. What crosses from one to the other can
/// be computed once an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Layers of the prefix, in order. The input layer is always one of them.
    pub prefix: Vec<usize>,
    /// Layers of the tail, in order.
    pub tail: Vec<usize>,
    /// Layers of the prefix whose outputs the tail takes (or, where there is no tail, the last layer).
    pub crossing: Vec<usize>,
}

impl Split {
    /// Splits `graph` where `plan` lets gradients in.
    pub fn new(graph: &Graph, plan: &FreezePlan) -> Self {
        let mut in_tail = vec![false; graph.len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            in_tail[index] = (plan.trains(index) && node.trainable_count() > 0)
                || node.operator().is_random()
                || node.inputs.iter().any(|&input| in_tail[input]);
        }
        let (tail, prefix): (Vec<usize>, Vec<usize>) = (0..graph.len()).partition(|&index| in_tail[index]);
        let crosses = |&index: &usize| tail.iter().any(|&t| graph.nodes()[t].inputs.contains(&index));
        let crossing = match tail.is_empty() {
            true => vec![graph.len() - 1],
            false => prefix.iter().copied().filter(crosses).collect(),
        };
        Self { prefix, tail, crossing }
    }

    /// Number of values that cross for one image.
    pub fn crossing_values(&self, graph: &Graph) -> usize {
        self.crossing.iter().map(|&index| graph.nodes()[index].shape.count()).sum()
    }
}
