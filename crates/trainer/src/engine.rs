//! What computes: the project's own kernels on the CPU, or Burn's operators, on every device.

use burn::tensor::{Tensor, TensorData};
use injerto_backbones::network::{Network, TrainingPass, Value, to_input};
use injerto_data::Batch;
use injerto_graph::{ParameterId, Split};
use injerto_kernels::{inference, training};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use crate::optimizer::Update;
use crate::runner::compile;
use crate::{Model, TrainError};

/// Computes the prefix and the tail of one phase.
pub(crate) enum Engine {
    /// Burn's operators on the network's device.
    Burn,
    /// Both parts compiled for this CPU. The tail has parameters of its own: [`Engine::load`] and [`Engine::store`].
    Kernels(Box<Kernels>),
}

pub(crate) struct Kernels {
    /// `None` where the prefix does nothing.
    prefix: Option<inference::Program>,
    tail: training::Program,
}

/// The loss of a batch's outputs, `[batch, units]`: a tensor of one value that depends on them.
type LossOf<'a> = dyn FnMut(Tensor<2>) -> Result<Tensor<1>, TrainError> + 'a;

impl Engine {
    /// For a phase in which the layers that `trains` names train, and those in `moving` move their statistics.
    pub(crate) fn new(
        kernels: bool,
        model: &Model,
        split: &Split,
        trains: &dyn Fn(usize) -> bool,
        moving: &[usize],
    ) -> Result<Self, TrainError> {
        if !kernels {
            return Ok(Self::Burn);
        }
        let graph = model.network.graph();
        let prefix = match split.prefix.len() {
            0 | 1 => None,
            _ => Some(compile(&model.network, &model.card.preprocessing, &split.prefix, &split.crossing)?),
        };
        let tail = training::Program::compile(graph, &split.tail, &split.crossing, trains, moving)?;
        Ok(Self::Kernels(Box::new(Kernels { prefix, tail })))
    }

    /// What computes the prefix, as far as that shows in the last bits of features.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::Burn => "burn".to_owned(),
            Self::Kernels(_) => format!("{} {:?}", injerto_kernels::REVISION, inference::Isa::detect()),
        }
    }

    /// What crosses from the prefix for a batch: one vector per tensor, channels last.
    pub(crate) fn prefix(&self, model: &Model, split: &Split, batch: &Batch) -> Result<Vec<Vec<f32>>, TrainError> {
        let count = batch.labels.len();
        if let Self::Kernels(kernels) = self
            && let Some(prefix) = &kernels.prefix
        {
            return Ok(prefix.run(&batch.pixels, count)?);
        }
        let [height, width] = model.card.image_size();
        let network = &model.network;
        let input = to_input(&batch.pixels, [count, height, width], &model.card.preprocessing, network.device());
        Ok(network.prefix(split, input).iter().map(Value::to_host).collect())
    }

    /// Takes the tail's parameters from the network.
    pub(crate) fn load(&mut self, network: &Network, split: &Split) -> Result<(), TrainError> {
        let Self::Kernels(kernels) = self else { return Ok(()) };
        for (id, values) in network.parameters_of(&split.tail) {
            kernels.tail.set(id, &values)?;
        }
        Ok(())
    }

    /// Gives the tail's parameters back to the network.
    pub(crate) fn store(&self, network: &mut Network) {
        let Self::Kernels(kernels) = self else { return };
        for id in kernels.tail.parameters() {
            if let Some(values) = kernels.tail.get(id) {
                network.set_values(id, values);
            }
        }
    }

    /// Outputs `[batch, units]` in inference.
    pub(crate) fn forward(
        &mut self,
        network: &Network,
        split: &Split,
        crossing: Vec<Vec<f32>>,
        batch: usize,
    ) -> Result<Tensor<2>, TrainError> {
        Ok(match self {
            Self::Burn => network.tail(split, values(network, split, crossing, batch), None).into_features(),
            Self::Kernels(kernels) => {
                let inputs: Vec<&[f32]> = crossing.iter().map(Vec::as_slice).collect();
                outputs(kernels.tail.forward(&inputs, batch)?, batch, network)
            }
        })
    }

    /// One training step: forward, `loss`, backward, and `update` with every parameter that trains.
    pub(crate) fn step(
        &mut self,
        network: &mut Network,
        step: Step<'_>,
        loss: &mut LossOf<'_>,
        update: &mut dyn FnMut(&mut [Update<'_>]),
    ) -> Result<(), TrainError> {
        let Step { split, trains, multiplier, crossing, batch, moving, random } = step;
        let graph = network.graph().clone();
        match self {
            Self::Burn => {
                let leaves = network.leaves(split.tail.iter().copied().filter(|&at| trains(at)));
                let drawing: Vec<usize> = split.tail.iter().copied().filter(|&at| trains(at)).collect();
                let mut pass =
                    TrainingPass { leaves: &leaves, random, drawing: &drawing, moving, statistics: Vec::new() };
                let crossing = values(network, split, crossing, batch);
                let outputs = network.tail(split, crossing, Some(&mut pass)).into_features();
                let statistics = pass.statistics;
                let mut gradients = loss(outputs)?.backward();
                let mut moved: Vec<(ParameterId, String, Vec<f32>, Vec<f32>)> = Vec::with_capacity(leaves.len());
                for (id, leaf) in leaves {
                    let Some(gradient) = leaf.gradient(&mut gradients) else { continue };
                    moved.push((id, graph.parameter_name(id), network.values(id), network.to_values(id, &gradient)));
                }
                let mut updates: Vec<Update<'_>> = moved
                    .iter_mut()
                    .map(|(id, name, values, gradient)| Update {
                        name,
                        values,
                        gradient,
                        multiplier: multiplier(id.layer()),
                    })
                    .collect();
                update(&mut updates);
                moved.iter().for_each(|(id, _, values, _)| network.set_values(*id, values));
                statistics.into_iter().for_each(|(id, tensor)| network.set(id, tensor));
            }
            Self::Kernels(kernels) => {
                let inputs: Vec<&[f32]> = crossing.iter().map(Vec::as_slice).collect();
                let outputs = kernels.tail.forward_train(&inputs, batch, &mut || random.next_u32())?;
                let outputs = self::outputs(outputs, batch, network);
                // Burn differentiates the loss with respect to the outputs; the kernels go on from there.
                let outputs = outputs.autodiff().require_grad();
                let mut gradients = loss(outputs.clone())?.backward();
                let gradient = outputs.grad_remove(&mut gradients);
                let gradient = gradient.map(|gradient| gradient.into_data().iter::<f32>().collect());
                kernels.tail.backward(&gradient.unwrap_or_else(|| vec![0.0; outputs.shape().num_elements()]));
                let trained: Vec<(ParameterId, &mut [f32], &mut [f32])> = kernels.tail.trained_mut().collect();
                let names: Vec<String> = trained.iter().map(|(id, ..)| graph.parameter_name(*id)).collect();
                let mut updates: Vec<Update<'_>> = trained
                    .into_iter()
                    .zip(&names)
                    .map(|((id, values, gradient), name)| Update {
                        name,
                        values,
                        gradient,
                        multiplier: multiplier(id.layer()),
                    })
                    .collect();
                update(&mut updates);
            }
        }
        Ok(())
    }
}

/// What a training step works on.
pub(crate) struct Step<'a> {
    pub split: &'a Split,
    pub trains: &'a dyn Fn(usize) -> bool,
    /// What a layer's learning rate is multiplied by.
    pub multiplier: &'a dyn Fn(usize) -> f64,
    pub crossing: Vec<Vec<f32>>,
    pub batch: usize,
    /// Batch normalisations that move their statistics.
    pub moving: &'a [usize],
    /// Of dropout's masks.
    pub random: &'a mut ChaCha8Rng,
}

/// What crossed, on the network's device.
fn values(network: &Network, split: &Split, crossing: Vec<Vec<f32>>, batch: usize) -> Vec<Value> {
    let shape = |&at: &usize| &network.graph().nodes()[at].shape.0;
    let shapes = split.crossing.iter().map(shape);
    shapes.zip(crossing).map(|(shape, values)| Value::from_host(values, batch, shape, network.device())).collect()
}

fn outputs(values: &[f32], batch: usize, network: &Network) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [batch, values.len() / batch.max(1)]), network.device())
}
