//! Executors compute a phase. Each implementation is one file.
//!
//! An executor is built from a model and a [`PhasePlan`], and from then on owns everything that the phase changes: the parameters of
//! the tail and the state of the optimiser. It receives neither model nor plan again; at the end of an epoch the model takes the
//! parameters back with [`Executor::store`].

mod burn;
mod kernels;

use burn_tensor::Tensor;
use injerto_backbones::network::Network;
use injerto_graph::{Graph, ParameterId};
use injerto_losses::tensor::TensorCrossEntropy as _;
use injerto_losses::{CrossEntropy as _, LossError, Outputs, Targets, Taught};
use injerto_recipe::{Loss, StepSize};
use rand_chacha::ChaCha8Rng;

use crate::boundary::Boundary;
use crate::collective::Peers;
use crate::optimizer::{OptimizerState, Trained};
use crate::plan::PhasePlan;
use crate::prefix::Prefix;
use crate::teacher::Answer;
use crate::{Model, TrainError};

/// What the outputs of a training step should be.
pub(crate) struct Aim<'a> {
    pub(crate) loss: &'a Loss,
    pub(crate) targets: Targets<'a>,
    /// Weight per image, which multiplies its loss; `None` means 1.
    pub(crate) weights: Option<&'a [f32]>,
    /// A teacher's answers for the images.
    pub(crate) teacher: Option<&'a Answer>,
}

impl Aim<'_> {
    /// Mean loss of outputs on the host, and its gradient.
    pub(crate) fn gradient(&self, outputs: Outputs<'_>) -> Result<(f64, Vec<f32>), LossError> {
        match self.taught(outputs.units()) {
            Some(taught) => taught.gradient(outputs, self.targets, self.weights),
            None => self.loss.gradient(outputs, self.targets, self.weights),
        }
    }

    /// Mean loss `[1]` of outputs on a device.
    pub(crate) fn forward(&self, outputs: Tensor<2>) -> Result<Tensor<1>, LossError> {
        match self.taught(outputs.dims()[1]) {
            Some(taught) => taught.forward(outputs, self.targets, self.weights),
            None => self.loss.forward(outputs, self.targets, self.weights),
        }
    }

    fn taught(&self, units: usize) -> Option<Taught<'_>> {
        let Answer { distillation, logits } = self.teacher?;
        Some(Taught { loss: self.loss, distillation: *distillation, teacher: Outputs::new(logits, units) })
    }
}

/// What a batch gave before it changed the parameters.
pub(crate) struct Reading {
    pub(crate) loss: f64,
    /// Outputs, `[images, units]`.
    pub(crate) outputs: Vec<f32>,
}

/// A compiled phase.
pub(crate) trait Executor {
    /// The frozen prefix, before the tail.
    fn prefix(&self) -> &Prefix;

    /// Outputs `[images, units]` of the tail in inference.
    fn forward(&mut self, boundary: &Boundary, images: usize) -> Result<Vec<f32>, TrainError>;

    /// Forward, loss and backward of a batch, whose gradients wait for [`Executor::update`]. Unless the optimiser accumulates
    /// gradients, each batch is followed by an update. `random` draws dropout's masks. A device may still be at work when this
    /// returns.
    fn gradient(
        &mut self,
        boundary: &Boundary,
        images: usize,
        aim: &Aim<'_>,
        random: &mut ChaCha8Rng,
    ) -> Result<(), TrainError>;

    /// From now on, sums gradients over images until [`Executor::update`], so that they can be joined.
    fn sum_gradients(&mut self);

    /// Adds the gradients that wait for [`Executor::update`] up over all processes, each image counting the same.
    fn join(&mut self, peers: Peers<'_>) -> Result<(), TrainError>;

    /// One step of the optimiser, with the mean gradient of all images since the last one. A device may still be at work when this
    /// returns.
    fn update(&mut self, size: StepSize);

    /// Losses and outputs of the batches since the last call, one after the other. This waits for the device.
    fn readings(&mut self) -> Vec<Reading>;

    /// Swaps the weights and their moving averages, if there are averages, and returns whether it did. Calling it twice changes nothing.
    fn swap_averages(&mut self) -> bool;

    /// Takes the weights into their mean, into which those of `before` epochs have been taken; [`Executor::swap_averages`] swaps both.
    fn average(&mut self, before: u64);

    /// Runs a batch in training mode for its statistics alone: weights stay as they are, and running statistics are updated.
    fn observe(&mut self, boundary: &Boundary, images: usize, random: &mut ChaCha8Rng) -> Result<(), TrainError>;

    /// Values of a parameter of the tail.
    fn values(&self, id: ParameterId) -> Vec<f32>;

    /// Replaces the values of a parameter of the tail.
    fn set_values(&mut self, id: ParameterId, values: &[f32]);

    /// Copies the parameters of the tail to a network of the same graph.
    fn store(&self, network: &mut Network);

    /// Position of a layer of the tail with a parameter that is infinite or not a number.
    fn broken_layer(&self) -> Option<usize>;

    /// Number of steps that the optimiser has taken.
    fn steps(&self) -> u64;

    /// State of the optimiser for a checkpoint.
    fn optimizer_state(&self) -> OptimizerState;

    /// Number of batches after which [`Executor::readings`] is to be asked. It is 1 if they are on the host. If asking would wait for a
    /// device, divergence is noticed with this delay.
    fn steps_between_readings(&self) -> usize;
}

/// Builds an executor for the phase of `plan`, with the model's parameters and with an optimiser that goes on from `state`; with
/// `kernels` for a model on the CPU.
///
/// # Errors
/// The kernels cannot compile the network.
pub(crate) fn build(
    kernels: bool,
    model: &Model,
    plan: &PhasePlan,
    state: OptimizerState,
) -> Result<Box<dyn Executor>, TrainError> {
    let graph = model.network.graph();
    let trained = trained(graph, plan);
    let describe = |&id: &ParameterId| Trained {
        name: graph.parameter_name(id),
        multiplier: plan.layers[id.layer()].learning_rate_multiplier,
    };
    let described: Vec<Trained> = trained.iter().map(describe).collect();
    Ok(match kernels {
        true => Box::new(kernels::KernelExecutor::new(model, plan, described, state)?),
        false => Box::new(burn::BurnExecutor::new(model, plan, (trained, described), state)),
    })
}

/// The parameters that train, in the graph's order, which is the order of the optimiser.
fn trained(graph: &Graph, plan: &PhasePlan) -> Vec<ParameterId> {
    let all = graph.parameters_of(&plan.split().tail);
    all.filter(|&id| plan.trains(id.layer()) && graph.parameter(id).trainable()).collect()
}

/// Whether all values are finite.
fn are_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}
