//! The content of the table that Keras's `model.summary()` prints: layers, output shapes, parameters, and the inputs of each layer.

use serde::Serialize;

use crate::{FreezePlan, Graph, Node};

/// A network as a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the network.
    pub name: String,
    /// One row per layer.
    pub layers: Vec<Row>,
    /// Number of values in all parameters.
    pub total: usize,
    /// Number of parameter values that train.
    pub trainable: usize,
    /// Number of values that do not train.
    pub non_trainable: usize,
}

/// One layer of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Position in the graph.
    pub index: usize,
    /// Name.
    pub name: String,
    /// Keras's class.
    pub class: String,
    /// `[height, width, channels]` or `[features]`.
    pub output_shape: Vec<usize>,
    /// Number of values in its parameters.
    pub params: usize,
    /// Number of parameter values that train.
    pub trainable: usize,
    /// Whether the layer is frozen.
    pub frozen: bool,
    /// Names of the layers whose outputs it takes.
    pub inputs: Vec<String>,
}

impl Summary {
    /// The table of `graph` under `plan`.
    pub fn new(graph: &Graph, plan: &FreezePlan) -> Self {
        let row = |(index, node): (usize, &Node)| Row {
            index,
            name: node.name().to_owned(),
            class: node.operator().class().to_owned(),
            output_shape: node.shape.0.clone(),
            params: node.parameter_count(),
            trainable: if plan.trains(index) { node.trainable_count() } else { 0 },
            frozen: !plan.trains(index),
            inputs: node.layer.inputs.clone(),
        };
        let (trainable, non_trainable) = plan.counts(graph);
        Self {
            name: graph.name().to_owned(),
            layers: graph.nodes().iter().enumerate().map(row).collect(),
            total: graph.parameter_count(),
            trainable,
            non_trainable,
        }
    }
}
