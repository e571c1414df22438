use serde::{Deserialize, Serialize};

use crate::{Cut, CutOptions, FreezePlan, Graph};

/// A network in two: the frozen prefix, which depends on the image alone, and the tail with all that trains.
///
/// No gradient reaches the prefix and no randomness touches it: its output for an image never changes, so what crosses
/// can be computed once per image: a frozen layer draws no random numbers ([`FreezePlan`]). The tail may begin with frozen layers ([`Split::planned`]); they run in inference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Layers of the prefix, in order. The input layer is always one of them.
    pub prefix: Vec<usize>,
    /// Layers of the tail, in order.
    pub tail: Vec<usize>,
    /// Layers of the prefix whose outputs the tail takes (or, where there is no tail, the last layer).
    #[serde(rename = "boundary")]
    pub crossing: Vec<usize>,
}

impl Split {
    /// Splits `graph` as late as `plan` allows: a layer belongs to the tail only if it has parameters that train, trains and draws
    /// random numbers, or takes the output of such a layer.
    pub fn new(graph: &Graph, plan: &FreezePlan) -> Self {
        let mut in_tail = vec![false; graph.len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            in_tail[index] = (plan.trains(index) && node.trainable_count() > 0)
                || plan.draws(graph, index)
                || node.inputs.iter().any(|&input| in_tail[input]);
        }
        Self::along(graph, in_tail)
    }

    /// Splits `graph` where bytes kept and work done again cost least together; [`Cut`] says which it is and why.
    pub fn planned(graph: &Graph, plan: &FreezePlan, options: CutOptions) -> Self {
        Cut::new(graph, plan, options).split
    }

    /// The split after `layer`, of which nothing but its output is wanted.
    pub fn at(graph: &Graph, layer: usize) -> Self {
        Self { prefix: (0..=layer).collect(), tail: (layer + 1..graph.len()).collect(), crossing: vec![layer] }
    }

    /// The split with these layers in the tail, which must hold the readers of all its layers.
    pub(crate) fn along(graph: &Graph, in_tail: Vec<bool>) -> Self {
        let (tail, prefix): (Vec<usize>, Vec<usize>) = (0..graph.len()).partition(|&index| in_tail[index]);
        let mut read = vec![false; graph.len()];
        tail.iter().flat_map(|&layer| &graph.nodes()[layer].inputs).for_each(|&input| read[input] = true);
        let crossing = match tail.is_empty() {
            true => vec![graph.len() - 1],
            false => prefix.iter().copied().filter(|&index| read[index]).collect(),
        };
        Self { prefix, tail, crossing }
    }

    /// Number of values that cross for one image.
    pub fn crossing_values(&self, graph: &Graph) -> usize {
        self.crossing.iter().map(|&index| graph.nodes()[index].shape.count()).sum()
    }
}
