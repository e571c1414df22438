//! Graphs as a plugin may write them, good and bad: checks, shapes, freezing, splitting.

mod cut;
mod hostile;
mod layers;
mod properties;
mod shapes;
mod validation;

use injerto_graph::{Graph, GraphError, GraphSpec};
use serde_json::{Value, json};

/// A graph from layers as they stand in a description: `[name, class, config, inputs]`.
fn graph(layers: &[(&str, &str, Value, &[&str])]) -> Result<Graph, GraphError> {
    let layer = |(name, class, config, inputs): &(&str, &str, Value, &[&str])| json!({"name": name, "class": class, "config": config, "inputs": inputs});
    let spec = json!({"name": "net", "layers": layers.iter().map(layer).collect::<Vec<_>>()});
    Graph::new(serde_json::from_value::<GraphSpec>(spec).expect("well-formed"))
}

/// Shorthand for a graph of an image `[8, 6, 4]` and one layer on it.
fn one_layer(class: &str, config: Value) -> Result<Graph, GraphError> {
    graph(&[("input", "InputLayer", json!({"shape": [8, 6, 4]}), &[]), ("layer", class, config, &["input"])])
}
