//! Parameters between the device and the host, where optimisers work.

use burn::tensor::{Tensor, TensorData};
use injerto_backbones::network::{Network, ParameterId, ParameterTensor};
use injerto_backbones::weights::Weights;
use injerto_graph::{Graph, Split};

use crate::optimizer::Optimizer;
use crate::{Model, TrainError};

/// The values of a parameter in the order of its tensor.
pub(crate) fn values(parameter: &ParameterTensor) -> Vec<f32> {
    fn host<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
        let data = tensor.to_data();
        data.try_to_vec::<f32>().unwrap_or_else(|_| data.iter::<f32>().collect())
    }
    match parameter {
        ParameterTensor::Vector(tensor) => host(tensor),
        ParameterTensor::Matrix(tensor) => host(tensor),
        ParameterTensor::Kernel(tensor) => host(tensor),
    }
}

/// A parameter of the same shape on the same device, with other values.
pub(crate) fn with_values(parameter: &ParameterTensor, values: Vec<f32>) -> ParameterTensor {
    fn device<const D: usize>(tensor: &Tensor<D>, values: Vec<f32>) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, tensor.dims()), &tensor.device())
    }
    match parameter {
        ParameterTensor::Vector(tensor) => ParameterTensor::Vector(device(tensor, values)),
        ParameterTensor::Matrix(tensor) => ParameterTensor::Matrix(device(tensor, values)),
        ParameterTensor::Kernel(tensor) => ParameterTensor::Kernel(device(tensor, values)),
    }
}

/// `LAYER/PARAMETER`.
pub(crate) fn name(graph: &Graph, (layer, at): ParameterId) -> String {
    let node = &graph.nodes()[layer];
    format!("{}/{}", node.name(), node.parameters[at].name())
}

/// Lets the weights and their moving averages change places; calling it twice changes nothing.
pub(crate) fn swap_averages(network: &mut Network, optimizer: &mut Optimizer) {
    let graph = network.graph().clone();
    for (name, average) in optimizer.averages() {
        let found = name.rsplit_once('/').and_then(|(layer, parameter)| {
            let layer = graph.position(layer).ok()?;
            let at = graph.nodes()[layer].parameters.iter().position(|own| own.name() == parameter)?;
            Some((layer, at))
        });
        let id = found.expect("the optimiser knows the network's parameters only");
        let own = network.get(id).clone();
        let raw = std::mem::replace(average, values(&own));
        network.set(id, with_values(&own, raw));
    }
}

/// The weights of the layers that a phase can change.
pub(crate) fn tail_weights(model: &Model, split: &Split) -> Weights {
    let (graph, all) = (model.network.graph(), model.network.weights());
    let mut tail = Weights::default();
    for &layer in &split.tail {
        for at in 0..graph.nodes()[layer].parameters.len() {
            let name = name(graph, (layer, at));
            if let Some(values) = all.get(&name) {
                tail.insert(name, values.shape.clone(), values.data.clone());
            }
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
