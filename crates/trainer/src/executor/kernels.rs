use injerto_backbones::network::Network;
use injerto_kernels::training;
use injerto_losses::{CrossEntropy as _, Outputs};
use injerto_recipe::StepSize;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use super::{Aim, Boundary, Executor, Reading, are_finite};
use crate::optimizer::{Optimizer, OptimizerState, Trained, Update};
use crate::plan::PhasePlan;
use crate::prefix::Prefix;
use crate::{Model, TrainError};

/// Computes a phase with prefix and tail compiled for this CPU.
pub(super) struct KernelExecutor {
    prefix: Prefix,
    tail: training::Program,
    optimizer: Optimizer,
    readings: Vec<Reading>,
}

impl KernelExecutor {
    pub(super) fn new(
        model: &Model,
        plan: &PhasePlan,
        trained: Vec<Trained>,
        state: OptimizerState,
    ) -> Result<Self, TrainError> {
        let optimizer = Optimizer::resume(plan.phase.optimizer.clone(), trained, state);
        let (graph, split) = (model.network.graph(), plan.split());
        let trains = |layer: usize| plan.trains(layer);
        let statistics = plan.updates_statistics();
        let mut tail = training::Program::compile(graph, &split.tail, &split.boundary, &trains, &statistics)?;
        for (id, values) in model.network.parameters_of(&split.tail) {
            tail.set(id, &values)?;
        }
        Ok(Self { prefix: Prefix::new(model, split, true), tail, optimizer, readings: Vec::new() })
    }
}

impl Executor for KernelExecutor {
    fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    fn forward(&mut self, boundary: &Boundary, images: usize) -> Result<Vec<f32>, TrainError> {
        let boundary = boundary.on_host();
        let inputs: Vec<&[f32]> = boundary.iter().map(Vec::as_slice).collect();
        Ok(self.tail.forward(&inputs, images)?.to_vec())
    }

    fn step(
        &mut self,
        boundary: &Boundary,
        images: usize,
        aim: &Aim<'_>,
        size: StepSize,
        random: &mut ChaCha8Rng,
    ) -> Result<(), TrainError> {
        let boundary = boundary.on_host();
        let inputs: Vec<&[f32]> = boundary.iter().map(Vec::as_slice).collect();
        let outputs = self.tail.forward_train(&inputs, images, &mut || random.next_u32())?.to_vec();
        let rows = Outputs::new(&outputs, outputs.len() / images.max(1));
        let (loss, gradient) = aim.loss.gradient(rows, aim.targets, aim.weights)?;
        self.tail.backward(&gradient);
        self.readings.push(Reading { loss, outputs });
        let trained = self.tail.trained_mut();
        let mut updates: Vec<_> = trained.map(|(_, values, gradient)| Some(Update { values, gradient })).collect();
        self.optimizer.step(size, &mut updates);
        Ok(())
    }

    fn readings(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.readings)
    }

    fn swap_averages(&mut self) -> bool {
        let mut changed = false;
        let mut trained: Vec<_> = self.tail.trained_mut().map(|(_, values, _)| values).collect();
        for (at, average) in self.optimizer.averages() {
            changed = true;
            trained[at].swap_with_slice(average);
        }
        changed
    }

    fn store(&self, network: &mut Network) {
        for id in self.tail.parameters() {
            if let Some(values) = self.tail.get(id) {
                network.set_values(id, values);
            }
        }
    }

    fn broken_layer(&self) -> Option<usize> {
        let mut all = self.tail.parameters();
        let broken = all.find(|&id| self.tail.get(id).is_some_and(|values| !are_finite(values)));
        broken.map(|id| id.layer())
    }

    fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    fn optimizer_state(&self) -> OptimizerState {
        self.optimizer.state()
    }

    fn steps_between_readings(&self) -> usize {
        1
    }
}
