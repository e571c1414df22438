//! Parameters between the device and the host, where optimisers work.

use injerto_backbones::network::Network;
use injerto_backbones::weights::Weights;
use injerto_graph::{ParameterId, Split};

use crate::optimizer::Optimizer;
use crate::{Model, TrainError};

/// Lets the weights and their moving averages, where there are some, change places; calling it twice changes nothing.
/// Whether anything changed.
pub(crate) fn swap_averages(network: &mut Network, optimizer: &mut Optimizer) -> bool {
    let graph = network.graph().clone();
    let mut changed = false;
    for (name, average) in optimizer.averages() {
        changed = true;
        let found = name.rsplit_once('/').and_then(|(layer, parameter)| {
            let layer = graph.position(layer).ok()?;
            let at = graph.nodes()[layer].parameters.iter().position(|own| own.name() == parameter)?;
            Some(ParameterId::new(layer, at))
        });
        let id = found.expect("the optimiser knows the network's parameters only");
        let raw = std::mem::replace(average, network.values(id));
        network.set_values(id, &raw);
    }
    changed
}

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

/// Puts these weights over the model's.
pub(crate) fn put(model: &mut Model, weights: &Weights) -> Result<(), TrainError> {
    let mut all = model.network.weights();
    all.extend(weights.clone());
    *model = Model::new(model.card.clone(), &all, model.network.device())?;
    Ok(())
}
