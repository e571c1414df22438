use serde::{Deserialize, Serialize};

use crate::{FreezePlan, Graph};

/// A network in two parts: the frozen prefix, which depends only on the image, and the tail, which contains everything that trains.
///
/// No gradient reaches the prefix, and a frozen layer draws no random numbers ([`FreezePlan`]). The output of the prefix for an image
/// therefore never changes, so it is computed once per image. The tail may begin with frozen layers ([`Split::planned`]), which run
/// in inference mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Layers of the prefix, in order. The input layer is always one of them.
    pub prefix: Vec<usize>,
    /// Layers of the tail, in order.
    pub tail: Vec<usize>,
    /// Layers of the prefix whose outputs the tail takes. If there is no tail, it is the last layer.
    pub boundary: Vec<usize>,
}

impl Split {
    /// Splits `graph` as late as `plan` allows. A layer belongs to the tail only if it has parameters that train, or draws random
    /// numbers while it trains, or takes the output of a layer of the tail.
    pub fn new(graph: &Graph, plan: &FreezePlan) -> Self {
        let mut in_tail = vec![false; graph.len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            in_tail[index] = (plan.trains(index) && node.trainable_count() > 0)
                || plan.draws(graph, index)
                || node.inputs.iter().any(|&input| in_tail[input]);
        }
        Self::along(graph, in_tail)
    }

    /// The split whose prefix ends with `layer`, if only the output of that layer is needed. All layers before it are in the prefix.
    pub fn at(graph: &Graph, layer: usize) -> Self {
        Self { prefix: (0..=layer).collect(), tail: (layer + 1..graph.len()).collect(), boundary: vec![layer] }
    }

    /// The split whose tail contains the layers that depend on the output of `layer`, and no others. The boundary contains `layer`, and the
    /// other layers of the prefix whose outputs the tail takes.
    pub fn after(graph: &Graph, layer: usize) -> Self {
        let mut in_tail = vec![false; graph.len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            in_tail[index] = node.inputs.iter().any(|&input| input == layer || in_tail[input]);
        }
        Self::along(graph, in_tail)
    }

    /// The split with these layers in the tail. The tail must contain all readers of each of its layers.
    pub(crate) fn along(graph: &Graph, in_tail: Vec<bool>) -> Self {
        let (tail, prefix): (Vec<usize>, Vec<usize>) = (0..graph.len()).partition(|&index| in_tail[index]);
        let mut read = vec![false; graph.len()];
        tail.iter().flat_map(|&layer| &graph.nodes()[layer].inputs).for_each(|&input| read[input] = true);
        let boundary = match tail.is_empty() {
            true => vec![graph.len() - 1],
            false => prefix.iter().copied().filter(|&index| read[index]).collect(),
        };
        Self { prefix, tail, boundary }
    }

    /// Number of values of the boundary per image.
    pub fn boundary_values(&self, graph: &Graph) -> usize {
        self.boundary.iter().map(|&index| graph.nodes()[index].shape.count()).sum()
    }
}
