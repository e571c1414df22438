//! Memory that Burn's operators will take, asked for before: they end the process where there is none.

use std::collections::{BTreeMap, BTreeSet};

use burn_tensor::Device;
use injerto_files::memory::{NoRoom, ask};
use injerto_graph::{Graph, Node, Operator};

use super::{Network, NetworkError};

/// Asks for so many values, on devices whose memory is the machine's.
pub(super) fn ask_for(values: usize, device: &Device, what: &str) -> Result<(), NoRoom> {
    if *device != Device::flex() {
        return Ok(());
    }
    ask(values.saturating_mul(size_of::<f32>()) as u64, what)
}

impl Network {
    /// Whether there is memory for the outputs of `layers` for a batch of `images`: for those that live at one time in an
    /// inference that wants the outputs of `wanted`, or for all, which a training pass keeps until its gradients are known.
    ///
    /// It is the least that the operators take; what they take beside it for a moment is their own affair.
    ///
    /// # Errors
    /// [`NetworkError::NoRoom`].
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

/// Values that layers put out per image.
fn all(graph: &Graph, layers: &[usize]) -> usize {
    let values = |node: &Node| match node.operator() {
        // Its scores exist as a whole.
        Operator::DotProductAttention { .. } => node.shape.count().saturating_add(node.working_values()),
        _ => node.shape.count(),
    };
    layers.iter().map(|&layer| values(&graph.nodes()[layer])).fold(0, usize::saturating_add)
}

/// The most values that live at one time per image, where each output is dropped after its last use.
fn living(graph: &Graph, layers: &[usize], wanted: &[usize]) -> usize {
    let mut last_use: BTreeMap<usize, usize> = BTreeMap::new();
    for &layer in layers {
        last_use.extend(graph.nodes()[layer].inputs.iter().map(|&input| (input, layer)));
    }
    let computed: BTreeSet<usize> = layers.iter().copied().collect();
    // What comes from outside is there from the beginning.
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
