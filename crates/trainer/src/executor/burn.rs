use burn_tensor::Tensor;
use injerto_backbones::network::{Network, TrainingPass, Value};
use injerto_graph::{ParameterId, Split};
use injerto_losses::tensor::TensorCrossEntropy as _;
use injerto_recipe::StepSize;
use rand_chacha::ChaCha8Rng;

use super::{Aim, Boundary, Executor, Reading, are_finite};
use crate::optimizer::{DeviceOptimizer, DeviceSlot, DeviceUpdate, OptimizerState, Slot, Trained};
use crate::plan::PhasePlan;
use crate::prefix::Prefix;
use crate::{Model, TrainError};

/// Number of steps whose losses and outputs stay on the device before they are read.
const READING: usize = 16;

/// Computes a phase with Burn's operators on the network's device. Parameters, gradients and the state of the optimiser stay there;
/// only checkpoints fetch them.
pub(super) struct BurnExecutor {
    network: Network,
    prefix: Prefix,
    split: Split,
    /// Layers of the tail that train. Their parameters are leaves, and dropout in these layers drops values.
    layers: Vec<usize>,
    /// Batch normalisations that update their running statistics.
    updates_statistics: Vec<usize>,
    /// Parameters that train, in the order of the optimiser.
    trained: Vec<ParameterId>,
    optimizer: DeviceOptimizer,
    /// Losses `[1]` and outputs `[images, units]` that are still on the device.
    unread: Vec<(Tensor<1>, Tensor<2>)>,
}

impl BurnExecutor {
    pub(super) fn new(
        model: &Model,
        plan: &PhasePlan,
        (trained, described): (Vec<ParameterId>, Vec<Trained>),
        mut state: OptimizerState,
    ) -> Self {
        let network = &model.network;
        let to_device = |(&id, own): (&ParameterId, &Trained)| {
            let slot = state.slots.remove(&own.name).unwrap_or_default();
            let row = |values: Vec<f32>| (!values.is_empty()).then(|| network.to_tensor(id, &values).flat());
            DeviceSlot {
                first_moment: row(slot.first_moment),
                second_moment: row(slot.second_moment),
                mean_gradient: row(slot.mean_gradient),
                average: row(slot.average),
            }
        };
        let slots = trained.iter().zip(&described).map(to_device).collect();
        let optimizer = DeviceOptimizer::resume(plan.phase.optimizer.clone(), described, state.step, slots);
        let split = plan.split().clone();
        Self {
            network: model.network.clone(),
            prefix: Prefix::new(model, &split, false),
            layers: split.tail.iter().copied().filter(|&at| plan.trains(at)).collect(),
            updates_statistics: plan.updates_statistics(),
            split,
            trained,
            optimizer,
            unread: Vec::new(),
        }
    }

    /// The boundary, on the network's device.
    fn to_device(&self, boundary: &Boundary, images: usize) -> Vec<Value> {
        let boundary = match boundary {
            Boundary::Host(values) => values,
            Boundary::Device(values) => return values.clone(),
        };
        let shapes = self.split.boundary.iter().map(|&at| &self.network.graph().nodes()[at].shape.0);
        let device = self.network.device();
        shapes.zip(boundary).map(|(shape, values)| Value::from_host(values.clone(), images, shape, device)).collect()
    }
}

impl Executor for BurnExecutor {
    fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    fn forward(&mut self, boundary: &Boundary, images: usize) -> Result<Vec<f32>, TrainError> {
        let last = self.network.graph().len() - 1;
        self.network.check_room(&self.split.tail, &[last], images, false)?;
        let boundary = self.to_device(boundary, images);
        Ok(to_host(self.network.tail(&self.split, boundary, None).into_features()))
    }

    fn step(
        &mut self,
        boundary: &Boundary,
        images: usize,
        aim: &Aim<'_>,
        size: StepSize,
        random: &mut ChaCha8Rng,
    ) -> Result<(), TrainError> {
        self.network.check_room(&self.split.tail, &[], images, true)?;
        let leaves = self.network.leaves(self.layers.iter().copied());
        let mut pass = TrainingPass {
            leaves: &leaves,
            random,
            drawing: &self.layers,
            updates_statistics: &self.updates_statistics,
            statistics: Vec::new(),
        };
        let boundary = self.to_device(boundary, images);
        let outputs = self.network.tail(&self.split, boundary, Some(&mut pass)).into_features();
        let statistics = pass.statistics;
        let loss = aim.loss.forward(outputs.clone(), aim.targets, aim.weights)?;
        self.unread.push((loss.clone().inner(), outputs.inner()));
        let mut gradients = loss.backward();
        let network = &self.network;
        // Values and gradient of each parameter that trains, if a gradient reached it.
        let update = |id: &ParameterId| {
            let gradient = leaves[id].gradient(&mut gradients)?.flat();
            Some(DeviceUpdate { values: network.get(*id).flat(), gradient })
        };
        let mut updates: Vec<Option<DeviceUpdate>> = self.trained.iter().map(update).collect();
        self.optimizer.step(size, &mut updates);
        for (&id, update) in self.trained.iter().zip(updates) {
            if let Some(DeviceUpdate { values, .. }) = update {
                let moved = self.network.get(id).with_flat(values);
                self.network.set(id, moved);
            }
        }
        statistics.into_iter().for_each(|(id, tensor)| self.network.set(id, tensor));
        Ok(())
    }

    fn readings(&mut self) -> Vec<Reading> {
        if self.unread.is_empty() {
            return Vec::new();
        }
        let (losses, outputs): (Vec<_>, Vec<_>) = self.unread.drain(..).unzip();
        let sizes: Vec<usize> = outputs.iter().map(|outputs| outputs.shape().num_elements()).collect();
        // All of them in one transfer each, because each transfer waits for the device.
        let (losses, outputs) = (to_host(Tensor::cat(losses, 0)), to_host(Tensor::cat(outputs, 0)));
        let mut rest = outputs.as_slice();
        let mut take = |(size, loss): (usize, f32)| {
            let (outputs, after) = rest.split_at(size);
            rest = after;
            Reading { loss: loss.into(), outputs: outputs.to_vec() }
        };
        sizes.into_iter().zip(losses).map(&mut take).collect()
    }

    fn swap_averages(&mut self) -> bool {
        let mut changed = false;
        for (at, average) in self.optimizer.averages() {
            changed = true;
            let id = self.trained[at];
            let judged = self.network.get(id).with_flat(average.clone());
            *average = self.network.get(id).flat();
            self.network.set(id, judged);
        }
        changed
    }

    fn store(&self, network: &mut Network) {
        for id in self.network.graph().parameters_of(&self.split.tail) {
            network.set(id, self.network.get(id).clone());
        }
    }

    fn broken_layer(&self) -> Option<usize> {
        let all = self.network.parameters_of(&self.split.tail);
        all.into_iter().find(|(_, values)| !are_finite(values)).map(|(id, _)| id.layer())
    }

    fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    fn optimizer_state(&self) -> OptimizerState {
        let network = &self.network;
        let fetch = |(&id, (name, slot)): (&ParameterId, (&str, &DeviceSlot))| {
            let row = |row: &Option<Tensor<1>>| {
                let tensor = row.as_ref().map(|row| network.get(id).with_flat(row.clone()));
                tensor.map_or_else(Vec::new, |tensor| network.to_values(id, &tensor))
            };
            let slot = Slot {
                first_moment: row(&slot.first_moment),
                second_moment: row(&slot.second_moment),
                mean_gradient: row(&slot.mean_gradient),
                average: row(&slot.average),
            };
            (name.to_owned(), slot)
        };
        let slots = self.trained.iter().zip(self.optimizer.slots()).map(fetch).collect();
        OptimizerState { step: self.steps(), slots }
    }

    fn steps_between_readings(&self) -> usize {
        READING
    }
}

fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
