use crate::{Graph, GraphError, GraphSpec, Layer, Operator};

/// A handle on a layer of a [`Builder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerId(usize);

/// Writes a graph down, layer by layer; checks happen in [`Builder::finish`].
///
/// ```
/// use injerto_graph::{Activation, Builder, Operator};
///
/// let mut net = Builder::new("tiny");
/// let x = net.input([8, 8, 3]);
/// let x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
/// net.add("dense", Operator::Dense { units: 2, use_bias: true, activation: Activation::Softmax }, &[x]);
/// let graph = net.finish()?;
/// assert_eq!(graph.parameter_count(), 8);
/// # Ok::<(), injerto_graph::GraphError>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    name: String,
    layers: Vec<Layer>,
}

impl Builder {
    /// An empty network.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), layers: Vec::new() }
    }

    /// The input, under Keras's name `input_layer`; `shape` is `[height, width, channels]`.
    pub fn input(&mut self, shape: [usize; 3]) -> LayerId {
        self.add("input_layer", Operator::InputLayer { shape: shape.to_vec() }, &[])
    }

    /// Adds a layer that takes the outputs of `inputs`.
    pub fn add(&mut self, name: impl Into<String>, operator: Operator, inputs: &[LayerId]) -> LayerId {
        let inputs = inputs.iter().map(|id| self.layers[id.0].name.clone()).collect();
        self.layers.push(Layer { name: name.into(), operator, inputs });
        LayerId(self.layers.len() - 1)
    }

    /// Checks the network.
    ///
    /// # Errors
    /// As [`Graph::new`]'s.
    pub fn finish(self) -> Result<Graph, GraphError> {
        Graph::new(GraphSpec { name: self.name, layers: self.layers })
    }
}
