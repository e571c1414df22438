//! Tests of graphs as plugins may write them, valid and invalid: checks, shapes, freezing and splitting.

mod cut;
mod hostile;
mod layers;
mod properties;
mod shapes;
mod validation;

use injerto_graph::{Graph, GraphError, GraphSpec};
use serde_json::{Value, json};

/// A graph from layers as a description writes them: `[name, class, config, inputs]`.
fn graph(layers: &[(&str, &str, Value, &[&str])]) -> Result<Graph, GraphError> {
    let layer = |(name, class, config, inputs): &(&str, &str, Value, &[&str])| json!({"name": name, "class": class, "config": config, "inputs": inputs});
    let spec = json!({"name": "net", "layers": layers.iter().map(layer).collect::<Vec<_>>()});
    Graph::new(serde_json::from_value::<GraphSpec>(spec).expect("well-formed"))
}

/// A graph with an image `[8, 6, 4]` as input and one layer after it.
fn one_layer(class: &str, config: Value) -> Result<Graph, GraphError> {
    graph(&[("input", "InputLayer", json!({"shape": [8, 6, 4]}), &[]), ("layer", class, config, &["input"])])
}
