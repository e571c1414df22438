//! Copies the weights that a phase can change out of a model, and restores them.

use injerto_backbones::network::NetworkError;
use injerto_backbones::weights::Weights;
use injerto_graph::Split;

use crate::{Model, TrainError};

/// The weights of the layers that a phase can change.
pub(crate) fn tail_weights(model: &Model, split: &Split) -> Weights {
    weights_of(model, &split.tail)
}

/// The weights of some layers.
pub(crate) fn weights_of(model: &Model, layers: &[usize]) -> Weights {
    let graph = model.network.graph();
    let mut weights = Weights::default();
    for (id, values) in model.network.parameters_of(layers) {
        weights.insert(graph.parameter_name(id), graph.parameter(id).shape.clone(), values);
    }
    weights
}

/// Replaces the model's weights by these. Those that the network does not have are ignored.
///
/// # Errors
/// Weights of another shape, from a file that was edited.
pub(crate) fn restore(model: &mut Model, weights: &Weights) -> Result<(), TrainError> {
    let graph = model.network.graph().clone();
    let layers: Vec<usize> = (0..graph.len()).collect();
    for id in graph.parameters_of(&layers) {
        let (parameter, name) = (graph.parameter(id), graph.parameter_name(id));
        let Some(values) = weights.get(&name) else { continue };
        if values.shape != parameter.shape {
            let (graph, expected) = (graph.name().to_owned(), parameter.shape.clone());
            let found = values.shape.clone();
            return Err(NetworkError::Shape { parameter: name, graph, expected, found }.into());
        }
        model.network.set_values(id, &values.data);
    }
    Ok(())
}
