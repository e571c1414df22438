//! Asks the machine for the memory that Burn's operators will take before they run, because they end the process if they get none.

use std::collections::{BTreeMap, BTreeSet};

use burn_tensor::Device;
use injerto_files::memory::{NoRoom, ask};
use injerto_graph::{Graph, Node, Operator};

use super::{Network, NetworkError};

/// Asks for memory for so many values if the memory of the device is the machine's. `what` names them in the error.
pub(super) fn ask_for(values: usize, device: &Device, what: &str) -> Result<(), NoRoom> {
    if *device != Device::flex() {
        return Ok(());
    }
    ask(values.saturating_mul(size_of::<f32>()) as u64, what)
}

impl Network {
    /// Checks that there is memory for the outputs of `layers` for a batch of `images`. Inference, which returns the outputs of
    /// `wanted`, needs room for the outputs that exist at the same time; training keeps all of them until the gradients are computed.
    ///
    /// This is a lower bound, because temporary values within an operator are not counted.
    ///
    /// # Errors
    /// [`NetworkError::NoRoom`] if there is too little memory.
    pub fn check_room(
        &self,
        layers: &[usize],
        wanted: &[usize],
        images: usize,
        is_training: bool,
    ) -> Result<(), NetworkError> {
        let values = if is_training { all(&self.graph, layers) } else { living(&self.graph, layers, wanted) };
        let what = format!("the values between layers of '{}', for a batch of {images}", self.graph.name());
        Ok(ask_for(values.saturating_mul(images), &self.device, &what)?)
    }
}

/// Number of values per image in the outputs of `layers`.
fn all(graph: &Graph, layers: &[usize]) -> usize {
    let values = |node: &Node| match node.operator() {
        // All scores of an attention exist at the same time.
        Operator::DotProductAttention { .. } => node.shape.count().saturating_add(node.working_values()),
        _ => node.shape.count(),
    };
    layers.iter().map(|&layer| values(&graph.nodes()[layer])).fold(0, usize::saturating_add)
}

/// The largest number of values per image that exist at the same time if each output is dropped after its last use.
fn living(graph: &Graph, layers: &[usize], wanted: &[usize]) -> usize {
    let mut last_use: BTreeMap<usize, usize> = BTreeMap::new();
    for &layer in layers {
        last_use.extend(graph.nodes()[layer].inputs.iter().map(|&input| (input, layer)));
    }
    let computed: BTreeSet<usize> = layers.iter().copied().collect();
    // The outputs of other layers exist from the beginning.
    let outside: Vec<usize> = last_use.keys().copied().filter(|input| !computed.contains(input)).collect();
    let mut now = all(graph, &outside);
    let mut most = now;
    for &layer in layers {
        now = now.saturating_add(all(graph, &[layer]));
        most = most.max(now);
        let inputs: BTreeSet<usize> = graph.nodes()[layer].inputs.iter().copied().collect();
        let is_over = |input: &usize| last_use.get(input) == Some(&layer) && !wanted.contains(input);
        let over: Vec<usize> = inputs.into_iter().filter(is_over).collect();
        now -= all(graph, &over);
    }
    most
}

#[cfg(test)]
mod tests {
    use injerto_graph::{Builder, Operator, Padding, Window};

    use super::*;

    #[test]
    fn outputs_live_until_their_last_use() {
        let window = Window { pool_size: [2, 2], strides: [2, 2], padding: Padding::Valid, count_include_pad: false };
        let mut net = Builder::new("net");
        let input = net.input([8, 8, 3]);
        let once = net.add("once", Operator::MaxPooling2D(window.clone()), &[input]);
        let twice = net.add("twice", Operator::MaxPooling2D(window.clone()), &[once]);
        net.add("thrice", Operator::MaxPooling2D(window), &[twice]);
        let graph = net.finish().expect("a graph");
        // 192, 48, 12 and 3 values: the first two live together.
        assert_eq!(living(&graph, &[0, 1, 2, 3], &[3]), 192 + 48);
        assert_eq!(living(&graph, &[1, 2, 3], &[3]), 192 + 48);
        assert_eq!(living(&graph, &[2, 3], &[1, 3]), 48 + 12 + 3);
        assert_eq!(all(&graph, &[1, 2, 3]), 48 + 12 + 3);
    }
}
