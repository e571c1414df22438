//! What computes a phase: one file for each way to do it.
//!
//! An executor is built from a model and a [`PhasePlan`], and owns from then on what the phase changes: the parameters of the
//! tail and the optimiser's state. Nobody hands it the model or the plan again; at the end of an epoch the model takes the
//! parameters back with [`Executor::store`].

mod burn;
mod kernels;

use burn_tensor::Tensor;
use injerto_backbones::network::Network;
use injerto_data::Batch;
use injerto_graph::{Graph, ParameterId};
use rand_chacha::ChaCha8Rng;

use crate::optimizer::{OptimizerState, StepSize, Trained};
use crate::plan::PhasePlan;
use crate::{Model, TrainError};

/// The loss of a batch's outputs, `[images, units]`: a tensor of one value that depends on them.
pub(crate) type LossOf<'a> = dyn FnMut(Tensor<2>) -> Result<Tensor<1>, TrainError> + 'a;

/// Values of the boundary for a batch: one vector per tensor that crosses the cut, channels last.
pub(crate) type Boundary = Vec<Vec<f32>>;

/// One phase, compiled.
pub(crate) trait Executor {
    /// Names the code that computes the prefix. Executors with different identities may differ in the last bits, and do not
    /// share cached features.
    fn identity(&self) -> String;

    /// Runs the frozen prefix on a batch.
    fn prefix(&self, batch: &Batch) -> Result<Boundary, TrainError>;

    /// Outputs `[images, units]` of the tail in inference.
    fn forward(&mut self, boundary: &Boundary, images: usize) -> Result<Tensor<2>, TrainError>;

    /// One training step: forward, `loss`, backward, and the optimiser. `random` draws dropout's masks.
    fn step(
        &mut self,
        boundary: &Boundary,
        images: usize,
        loss: &mut LossOf<'_>,
        size: StepSize,
        random: &mut ChaCha8Rng,
    ) -> Result<(), TrainError>;

    /// Lets the weights and their moving averages, where there are some, change places; calling it twice changes nothing.
    /// Whether anything changed.
    fn swap_averages(&mut self) -> bool;

    /// Gives the parameters of the tail to a network of the same graph.
    fn store(&self, network: &mut Network);

    /// Position of a layer of the tail with a parameter that is infinite or not a number.
    fn broken_layer(&self) -> Option<usize>;

    /// Steps that the optimiser has taken.
    fn steps(&self) -> u64;

    /// What a checkpoint keeps of the optimiser.
    fn optimizer_state(&self) -> OptimizerState;

    /// After how many steps losses and outputs are read: 1 where they are on the host anyway. Where reading them would wait
    /// for a device, divergence is noticed with this delay.
    fn steps_between_readings(&self) -> usize;
}

/// An executor for the phase of `plan`, with the model's parameters and with an optimiser that goes on from `state`;
/// `kernels` for a model on the CPU.
///
/// # Errors
/// A network that the kernels cannot compile.
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

/// Whether all values are numbers.
fn are_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}
