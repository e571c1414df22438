//! Runs a graph with its parameters on a device.
//!
//! Images are channels-first here, `[batch, channels, height, width]`, while the graph is channels-last, as in Keras; tokens are
//! `[batch, tokens, channels]` and vectors `[batch, features]`. Parameters are converted when they go to the device and when they come back.

mod forward;
mod inference;
mod memory;
mod parameters;
mod preprocess;
mod statistics;
mod tokens;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn_tensor::{Device, FloatDType, Tensor};
use injerto_files::memory::NoRoom;
use injerto_graph::{Graph, ParameterId, Role, Split};
use rand_chacha::ChaCha8Rng;

pub use parameters::ParameterTensor;
pub use preprocess::to_input;
pub use statistics::distance_from_training;
pub use value::{Value, filled};

use crate::weights::Weights;

/// The reason why a graph with its weights cannot be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// A parameter of the graph has no values.
    #[error("no weights for '{parameter}', which '{graph}' needs with shape {expected:?}")]
    Missing {
        /// `LAYER/PARAMETER`.
        parameter: String,
        /// Name of the graph.
        graph: String,
        /// Shape in Keras's axes.
        expected: Vec<usize>,
    },
    /// The values of a parameter have another shape.
    #[error("weights for '{parameter}' have shape {found:?}, '{graph}' needs {expected:?}")]
    Shape {
        /// `LAYER/PARAMETER`.
        parameter: String,
        /// Name of the graph.
        graph: String,
        /// Shape in Keras's axes.
        expected: Vec<usize>,
        /// Shape of the values.
        found: Vec<usize>,
    },
    /// A variance is below 0.
    #[error(
        "the weights are damaged: '{parameter}' holds negative values, and it is a variance, which is never below 0"
    )]
    NegativeVariance {
        /// `LAYER/PARAMETER`.
        parameter: String,
    },
    /// The output of a layer is neither an image, nor tokens, nor a vector.
    #[error(
        "layer '{layer}' has output shape {shape:?}: only [height, width, channels], [tokens, channels] and [features] can be run"
    )]
    Rank {
        /// Name of the layer.
        layer: String,
        /// Shape of its output.
        shape: Vec<usize>,
    },
    /// The device reports an error instead of values.
    #[error(
        "the GPU cannot compute '{graph}' in {format:?}; take `backbone.precision = \"f32\"`, or another GPU. It says: {reason}"
    )]
    Device {
        /// Name of the graph.
        graph: String,
        /// The number format of values between layers.
        format: FloatDType,
        /// The error of the device.
        reason: String,
    },
    /// This machine has too little memory.
    #[error("{0}; a smaller batch, smaller images or fewer filters take less")]
    NoRoom(#[from] NoRoom),
}

/// A graph with its parameters on a device.
#[derive(Debug, Clone)]
pub struct Network {
    graph: Arc<Graph>,
    parameters: Vec<Vec<ParameterTensor>>,
    device: Device,
    /// The number format of values between layers.
    format: FloatDType,
}

/// The parts of a training pass that inference does not have: parameters with gradients, random numbers, and statistics.
#[derive(Debug)]
pub struct TrainingPass<'a> {
    /// Parameters that are leaves of the autodiff graph, made by [`Network::leaves`].
    pub leaves: &'a BTreeMap<ParameterId, ParameterTensor>,
    /// Source of dropout's masks.
    pub random: &'a mut ChaCha8Rng,
    /// Layers in training mode. Dropout in these layers drops values; in all other layers it is the identity.
    pub drawing: &'a [usize],
    /// Batch normalisations (by layer) that normalise by the batch and update their running statistics.
    pub updates_statistics: &'a [usize],
    /// Updated running statistics, which the caller passes to [`Network::set`] after the step.
    pub statistics: Vec<(ParameterId, ParameterTensor)>,
}

impl Network {
    /// Puts the parameters of `graph` on `device`.
    ///
    /// # Errors
    /// Values are missing or have another shape, a variance is negative, the output of a layer has a rank that cannot be run, or there is
    /// too little memory.
    pub fn new(graph: Arc<Graph>, weights: &Weights, device: &Device) -> Result<Self, NetworkError> {
        memory::ask_for(graph.parameter_count(), device, &format!("the parameters of '{}'", graph.name()))?;
        Self::beginning_with(Vec::new(), graph, weights, device.clone().inner())
    }

    /// The network of `graph`, which begins with the layers of this one and shares their parameters on the device. `weights` has the
    /// parameters of the other layers.
    ///
    /// # Errors
    /// Those of [`Network::new`].
    ///
    /// # Panics
    /// If `graph` does not begin with the layers of this network.
    pub fn grown(&self, graph: Arc<Graph>, weights: &Weights) -> Result<Self, NetworkError> {
        let own = self.graph.nodes();
        let begins = graph.len() >= own.len() && own.iter().zip(graph.nodes()).all(|(own, other)| own == other);
        assert!(begins, "'{}' does not begin with the layers of '{}'", graph.name(), self.graph.name());
        Self::beginning_with(self.parameters.clone(), graph, weights, self.device.clone())
    }

    /// A network whose first layers have these parameters.
    fn beginning_with(
        mut parameters: Vec<Vec<ParameterTensor>>,
        graph: Arc<Graph>,
        weights: &Weights,
        device: Device,
    ) -> Result<Self, NetworkError> {
        for node in &graph.nodes()[parameters.len()..] {
            if !matches!(node.shape.0.len(), 1..=3) {
                return Err(NetworkError::Rank { layer: node.name().to_owned(), shape: node.shape.0.clone() });
            }
            let mut own = Vec::with_capacity(node.parameters.len());
            for parameter in &node.parameters {
                let name = format!("{}/{}", node.name(), parameter.name());
                let (graph, expected) = (graph.name().to_owned(), parameter.shape.clone());
                let Some(values) = weights.get(&name) else {
                    return Err(NetworkError::Missing { parameter: name, graph, expected });
                };
                if values.shape != expected {
                    return Err(NetworkError::Shape { parameter: name, graph, expected, found: values.shape.clone() });
                }
                // The root of a negative variance is NaN, which the next activation may turn into 0 unnoticed.
                let is_variance = matches!(parameter.role, Role::MovingVariance | Role::Variance);
                if is_variance && values.data.iter().any(|&variance| variance < 0.0) {
                    return Err(NetworkError::NegativeVariance { parameter: name });
                }
                own.push(ParameterTensor::to_device(parameter.role, &values.shape, &values.data, &device));
            }
            parameters.push(own);
        }
        Ok(Self { graph, parameters, device, format: FloatDType::F32 })
    }

    /// The network.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// The device, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Copies all parameters back to the host, with Keras's names and axes.
    pub fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        for (node, own) in self.graph.nodes().iter().zip(&self.parameters) {
            for (parameter, tensor) in node.parameters.iter().zip(own) {
                let data = tensor.to_host(parameter.role, &parameter.shape);
                weights.insert(format!("{}/{}", node.name(), parameter.name()), parameter.shape.clone(), data);
            }
        }
        weights
    }

    /// Parameters of some layers on the host, in the graph's axes.
    pub fn parameters_of(&self, layers: &[usize]) -> Vec<(ParameterId, Vec<f32>)> {
        self.graph.parameters_of(layers).map(|id| (id, self.values(id))).collect()
    }

    /// Values of a parameter on the host, in the graph's axes.
    pub fn values(&self, id: ParameterId) -> Vec<f32> {
        self.to_values(id, self.get(id))
    }

    /// Copies a tensor that belongs to a parameter, such as its gradient, to the host, in the graph's axes.
    pub fn to_values(&self, id: ParameterId, tensor: &ParameterTensor) -> Vec<f32> {
        let parameter = self.graph.parameter(id);
        tensor.to_host(parameter.role, &parameter.shape)
    }

    /// Copies values that belong to a parameter, such as its moving average, from the host in the graph's axes to the device.
    ///
    /// # Panics
    /// If the number of values is not that of the parameter.
    pub fn to_tensor(&self, id: ParameterId, values: &[f32]) -> ParameterTensor {
        let parameter = self.graph.parameter(id);
        assert_eq!(values.len(), parameter.count(), "values of '{}'", parameter.name());
        ParameterTensor::to_device(parameter.role, &parameter.shape, values, &self.device)
    }

    /// Sets a parameter to values from the host, in the graph's axes.
    ///
    /// # Panics
    /// If the number of values is not that of the parameter.
    pub fn set_values(&mut self, id: ParameterId, values: &[f32]) {
        self.parameters[id.layer()][id.place()] = self.to_tensor(id, values);
    }

    /// One parameter on the device.
    pub fn get(&self, id: ParameterId) -> &ParameterTensor {
        &self.parameters[id.layer()][id.place()]
    }

    /// Replaces a parameter on the device by a tensor of the same shape, such as an optimiser's result.
    pub fn set(&mut self, id: ParameterId, tensor: ParameterTensor) {
        debug_assert_eq!(self.get(id).dims(), tensor.dims());
        self.parameters[id.layer()][id.place()] = tensor.inner();
    }

    /// Trainable parameters of the given layers as leaves of a new autodiff graph.
    pub fn leaves(&self, layers: impl IntoIterator<Item = usize>) -> BTreeMap<ParameterId, ParameterTensor> {
        let mut leaves = BTreeMap::new();
        for layer in layers {
            for (at, parameter) in self.graph.nodes()[layer].parameters.iter().enumerate() {
                if parameter.trainable() {
                    leaves.insert(ParameterId::new(layer, at), self.parameters[layer][at].clone().require_grad());
                }
            }
        }
        leaves
    }

    /// Runs the whole network in inference. Images are `[batch, channels, height, width]`, prepared by [`to_input`].
    pub fn forward(&self, images: Tensor<4>) -> Value {
        let everything: Vec<usize> = (1..self.graph.len()).collect();
        let mut known = BTreeMap::from([(0, Value::Image(images))]);
        self.run(&everything, &mut known, &[self.graph.len() - 1], None);
        known.remove(&(self.graph.len() - 1)).expect("the last layer was asked for")
    }

    /// Runs the prefix in inference, and returns the tensors of the boundary in the order of [`Split::boundary`].
    pub fn prefix(&self, split: &Split, images: Tensor<4>) -> Vec<Value> {
        let mut known = BTreeMap::from([(0, Value::Image(images))]);
        self.run(&split.prefix, &mut known, &split.boundary, None);
        split.boundary.iter().map(|at| known[at].clone()).collect()
    }

    /// Finds out whether the device has computed a value, for which this waits.
    ///
    /// # Errors
    /// [`NetworkError::Device`] with what the device reports.
    pub fn check(&self, value: &Value) -> Result<(), NetworkError> {
        value.wait().map_err(|reason| NetworkError::Device {
            graph: self.graph.name().to_owned(),
            format: self.format,
            reason,
        })
    }

    /// Runs the tail on the tensors of the boundary, in training if there is a [`TrainingPass`], otherwise in inference.
    pub fn tail(&self, split: &Split, boundary: Vec<Value>, training: Option<&mut TrainingPass<'_>>) -> Value {
        let last = self.graph.len() - 1;
        let mut known: BTreeMap<usize, Value> = split.boundary.iter().copied().zip(boundary).collect();
        self.run(&split.tail, &mut known, &[last], training);
        known.remove(&last).expect("the last layer is in the tail or is what crosses")
    }

    /// Runs in inference and returns the outputs of the layers in `wanted`, in that order.
    pub fn outputs(&self, images: Tensor<4>, wanted: &[usize]) -> Vec<Value> {
        let upto: Vec<usize> = (1..=wanted.iter().copied().max().unwrap_or(0)).collect();
        let mut known = BTreeMap::from([(0, Value::Image(images))]);
        self.run(&upto, &mut known, wanted, None);
        wanted.iter().map(|at| known[at].clone()).collect()
    }
}

/// Copies a tensor from its device to the host, whatever the type of its values there. This waits for the device.
///
/// No other code does it (`clippy.toml` forbids it), and each copy is traced with the target `injerto::device`, so that copies can be
/// counted.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tracing::trace!(target: "injerto::device", shape = ?tensor.dims(), "copied to the host");
    // An iterator would look up the type for each value.
    tensor.into_data().convert::<f32>().try_into_vec().expect("they were made f32")
}
