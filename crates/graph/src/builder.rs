use std::collections::HashMap;

use crate::{Graph, GraphError, GraphSpec, Layer, Operator};

/// A handle on a layer of a [`Builder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerId(usize);

/// Builds a graph layer by layer. [`Builder::finish`] checks it.
///
/// [`then`](Self::then) adds a layer after the last one. Where the network branches, [`from`](Self::from) goes back to an earlier
/// layer, and [`add`](Self::add) joins several.
///
/// ```
/// use injerto_graph::layers::{Conv2D, Dense, GlobalAveragePooling2D};
/// use injerto_graph::{Activation, Builder, Operator};
///
/// let mut net = Builder::new("tiny");
/// let input = net.image([8, 8]);
/// let wide = net.then("wide", Conv2D::new(3, 5).same().relu());
/// let small = net.from(input).then("small", Conv2D::new(3, 1).relu());
/// net.add("sum", Operator::Add {}, &[wide, small]);
/// net.then("pool", GlobalAveragePooling2D::new());
/// net.then("dense", Dense::new(2).activation(Activation::Softmax));
/// let graph = net.finish()?;
/// assert_eq!(graph.parameter_count(), 3 * 3 * 25 + 3 + 3 * 3 + 3 + 3 * 2 + 2);
/// # Ok::<(), injerto_graph::GraphError>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    name: String,
    layers: Vec<Layer>,
    /// The layer whose output the next call of [`Builder::then`] takes.
    here: Option<LayerId>,
}

impl Builder {
    /// An empty network.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), layers: Vec::new(), here: None }
    }

    /// Adds the input, with Keras's name `input_layer`; `shape` is `[height, width, channels]`.
    pub fn input(&mut self, shape: [usize; 3]) -> LayerId {
        self.add("input_layer", Operator::InputLayer { shape: shape.to_vec() }, &[])
    }

    /// Adds the input for RGB images of `[height, width]`.
    pub fn image(&mut self, [height, width]: [usize; 2]) -> LayerId {
        self.input([height, width, 3])
    }

    /// Adds a layer that takes the outputs of `inputs`, such as a sum or a concatenation.
    pub fn add(&mut self, name: impl Into<String>, layer: impl Into<Operator>, inputs: &[LayerId]) -> LayerId {
        let inputs = inputs.iter().map(|id| self.layers[id.0].name.clone()).collect();
        self.layers.push(Layer { name: name.into(), operator: layer.into(), inputs });
        let id = LayerId(self.layers.len() - 1);
        self.here = Some(id);
        id
    }

    /// Adds a layer that takes the output of the last layer, or of the layer that [`Builder::from`] went back to.
    pub fn then(&mut self, name: impl Into<String>, layer: impl Into<Operator>) -> LayerId {
        let here = self.here;
        self.add(name, layer, here.as_slice())
    }

    /// Goes back to a layer, so that the next one follows it.
    pub fn from(&mut self, layer: LayerId) -> &mut Self {
        self.here = Some(layer);
        self
    }

    /// Checks the network.
    ///
    /// # Errors
    /// Those of [`Graph::new`].
    pub fn finish(self) -> Result<Graph, GraphError> {
        Graph::new(GraphSpec { name: self.name, layers: self.layers })
    }

    /// Sorts the layers as Keras's `model.layers`, and checks the network. Keras sorts layers by the length of their longest path to
    /// the output; layers of equal distance come in the order in which a walk from the output through all inputs meets them.
    /// If branches run side by side, this is not the order in which the layers were added.
    ///
    /// # Errors
    /// Those of [`Graph::new`].
    pub fn finish_in_keras_order(self) -> Result<Graph, GraphError> {
        let Self { name, layers, .. } = self;
        let position: HashMap<&str, usize> =
            layers.iter().enumerate().map(|(at, layer)| (layer.name.as_str(), at)).collect();
        let inputs: Vec<Vec<usize>> = layers
            .iter()
            .map(|layer| layer.inputs.iter().filter_map(|input| position.get(input.as_str()).copied()).collect())
            .collect();
        // Inputs were added before the layers that read them, so one sweep from the end finds the longest paths.
        let mut distance = vec![0_usize; layers.len()];
        for at in (0..layers.len()).rev() {
            inputs[at].iter().for_each(|&input| distance[input] = distance[input].max(distance[at] + 1));
        }
        let mut met = vec![usize::MAX; layers.len()];
        let (mut waiting, mut count) = (vec![layers.len().saturating_sub(1)], 0);
        while let Some(at) = waiting.pop() {
            if let Some(met) = met.get_mut(at).filter(|met| **met == usize::MAX) {
                *met = count;
                count += 1;
                waiting.extend(inputs[at].iter().rev());
            }
        }
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by_key(|&at| (std::cmp::Reverse(distance[at]), met[at]));
        let mut taken: Vec<Option<Layer>> = layers.into_iter().map(Some).collect();
        let layers = order.into_iter().filter_map(|at| taken[at].take()).collect();
        Graph::new(GraphSpec { name, layers })
    }
}

/// The name that Keras gives to an unnamed layer, the `number`-th of its class counted from 0: `conv2d`, `conv2d_1`, ….
pub fn numbered(class: &str, number: usize) -> String {
    if number == 0 { class.to_owned() } else { format!("{class}_{number}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activation;

    #[test]
    fn branches_are_ordered_as_in_keras() {
        let mut net = Builder::new("net");
        let input = net.input([4, 4, 3]);
        let relu = || Operator::Activation { activation: Activation::Relu };
        let short = net.add("short", relu(), &[input]);
        let a = net.add("a", relu(), &[input]);
        let b = net.add("b", relu(), &[a]);
        net.add("sum", Operator::Add {}, &[short, b]);
        let graph = net.finish_in_keras_order().expect("a graph");
        let names: Vec<&str> = graph.nodes().iter().map(crate::Node::name).collect();
        assert_eq!(names, ["input_layer", "a", "short", "b", "sum"]);
    }
}
