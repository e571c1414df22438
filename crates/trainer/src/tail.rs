//! Copies the weights that a phase can change out of a model, and restores them.

use injerto_backbones::weights::Weights;
use injerto_graph::Split;

use crate::{Model, TrainError};

/// The weights of the layers that a phase can change.
pub(crate) fn tail_weights(model: &Model, split: &Split) -> Weights {
    let (graph, all) = (model.network.graph(), model.network.weights());
    let mut tail = Weights::default();
    for id in graph.parameters_of(&split.tail) {
        let name = graph.parameter_name(id);
        if let Some(values) = all.get(&name) {
            tail.insert(name, values.shape.clone(), values.data.clone());
        }
    }
    tail
}

/// Replaces the model's weights by these.
pub(crate) fn restore(model: &mut Model, weights: &Weights) -> Result<(), TrainError> {
    let mut all = model.network.weights();
    all.extend(weights.clone());
    *model = Model::new(model.card.clone(), &all, model.network.device())?;
    Ok(())
}
