use injerto_backbones::network::Network;
use injerto_graph::ParameterId;
use injerto_kernels::training;
use injerto_losses::Outputs;
use injerto_recipe::StepSize;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use super::{Aim, Boundary, Executor, Reading, are_finite};
use crate::collective::Peers;
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
    /// Gradients of several batches; `None` if each batch has its own step.
    sums: Option<Sums>,
}

/// Gradients of the images since the last step.
#[derive(Default)]
struct Sums {
    images: usize,
    /// Sum over the images for each parameter that trains.
    gradients: Vec<Vec<f32>>,
}

impl Sums {
    /// Adds the mean gradients of a batch.
    fn add<'a>(&mut self, images: usize, gradients: impl Iterator<Item = &'a [f32]>) {
        let weight = images as f32;
        for (at, gradient) in gradients.enumerate() {
            match self.gradients.get_mut(at) {
                Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * weight),
                None => self.gradients.push(gradient.iter().map(|g| g * weight).collect()),
            }
        }
        self.images += images;
    }

    /// Adds those of other processes, of which each has gradients of these lengths.
    fn join(&mut self, lengths: impl Iterator<Item = usize>, peers: Peers<'_>) -> Result<(), TrainError> {
        if self.gradients.is_empty() {
            self.gradients = lengths.map(|length| vec![0.0; length]).collect();
        }
        // All of them in one message; its last value is the number of images.
        let mut all: Vec<f32> = self.gradients.iter().flatten().copied().chain([self.images as f32]).collect();
        peers.sum(&mut all)?;
        let mut rest = all.as_slice();
        for gradient in &mut self.gradients {
            let (own, others) = rest.split_at(gradient.len());
            gradient.copy_from_slice(own);
            rest = others;
        }
        self.images = rest[0] as usize;
        Ok(())
    }

    /// The mean gradients over all images.
    fn take(&mut self) -> Vec<Vec<f32>> {
        let part = 1.0 / std::mem::take(&mut self.images).max(1) as f32;
        let mut gradients = std::mem::take(&mut self.gradients);
        gradients.iter_mut().flatten().for_each(|g| *g *= part);
        gradients
    }
}

impl KernelExecutor {
    pub(super) fn new(
        model: &Model,
        plan: &PhasePlan,
        trained: Vec<Trained>,
        state: OptimizerState,
    ) -> Result<Self, TrainError> {
        let sums = (plan.phase.optimizer.gradient_accumulation_steps > 1).then(Sums::default);
        let optimizer = Optimizer::resume(plan.phase.optimizer.clone(), trained, state);
        let (graph, split) = (model.network.graph(), plan.split());
        let trains = |layer: usize| plan.trains(layer);
        let statistics = plan.updates_statistics();
        let (layers, inputs) = (&split.tail, &split.boundary);
        let arithmetic = model.arithmetic().tail;
        let mut tail = training::Program::compile_with(arithmetic, graph, layers, inputs, &trains, &statistics)?;
        for (id, values) in model.network.parameters_of(&split.tail) {
            tail.set(id, &values)?;
        }
        Ok(Self { prefix: Prefix::new(model, split, true), tail, optimizer, readings: Vec::new(), sums })
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

    fn gradient(
        &mut self,
        boundary: &Boundary,
        images: usize,
        aim: &Aim<'_>,
        random: &mut ChaCha8Rng,
    ) -> Result<(), TrainError> {
        let boundary = boundary.on_host();
        let inputs: Vec<&[f32]> = boundary.iter().map(Vec::as_slice).collect();
        let outputs = self.tail.forward_train(&inputs, images, &mut || random.next_u32())?.to_vec();
        let rows = Outputs::new(&outputs, outputs.len() / images.max(1));
        let (loss, gradient) = aim.gradient(rows)?;
        self.tail.backward(&gradient);
        self.readings.push(Reading { loss, outputs });
        if let Some(sums) = &mut self.sums {
            sums.add(images, self.tail.gradients().map(|(_, gradient)| gradient));
        }
        Ok(())
    }

    fn sum_gradients(&mut self) {
        self.sums.get_or_insert_default();
    }

    fn join(&mut self, peers: Peers<'_>) -> Result<(), TrainError> {
        let sums = self.sums.as_mut().expect("gradients that are joined are summed");
        sums.join(self.tail.gradients().map(|(_, gradient)| gradient.len()), peers)
    }

    fn update(&mut self, size: StepSize) {
        let means = self.sums.as_mut().map(Sums::take);
        let trained = self.tail.trained_mut().enumerate().map(|(at, (_, values, gradient))| {
            let gradient: &[f32] = means.as_ref().map_or(gradient, |means| &means[at]);
            Some(Update { values, gradient })
        });
        self.optimizer.step(size, &mut trained.collect::<Vec<_>>());
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

    fn average(&mut self, before: u64) {
        self.optimizer.average(before, self.tail.trained_mut().map(|(_, values, _)| &*values));
    }

    fn observe(&mut self, boundary: &Boundary, images: usize, random: &mut ChaCha8Rng) -> Result<(), TrainError> {
        let boundary = boundary.on_host();
        let inputs: Vec<&[f32]> = boundary.iter().map(Vec::as_slice).collect();
        self.tail.forward_train(&inputs, images, &mut || random.next_u32())?;
        Ok(())
    }

    fn values(&self, id: ParameterId) -> Vec<f32> {
        self.tail.get(id).map_or_else(Vec::new, |values| values.to_vec())
    }

    fn set_values(&mut self, id: ParameterId, values: &[f32]) {
        self.tail.set(id, values).expect("as many values as the parameter has");
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
