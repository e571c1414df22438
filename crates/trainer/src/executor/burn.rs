use std::collections::BTreeMap;

use burn_tensor::{FloatDType, Tensor};
use injerto_backbones::network::{Network, ParameterTensor, TrainingPass, Value, to_host};
use injerto_graph::{ParameterId, Split};
use injerto_recipe::StepSize;
use rand_chacha::ChaCha8Rng;

use super::{Aim, Boundary, Executor, Reading, are_finite};
use crate::collective::Peers;
use crate::filling::Filling;
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
    /// The network with its present parameters for inference of the tail, once it has been asked for.
    judged: Option<Network>,
    filling: Filling,
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
    /// Whether a step takes the gradients of several batches together.
    accumulates: bool,
    /// Gradients since the last step, one per parameter that trains, if a gradient reached it: those of the batch, or their sums over
    /// the images.
    gradients: Vec<Option<Tensor<1>>>,
    /// Number of images since the last step.
    images: usize,
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
            judged: None,
            filling: Filling::on(model.network.device()),
            prefix: Prefix::new(model, &split, false),
            layers: split.tail.iter().copied().filter(|&at| plan.trains(at)).collect(),
            updates_statistics: plan.updates_statistics(),
            split,
            trained,
            optimizer,
            unread: Vec::new(),
            accumulates: plan.phase.optimizer.gradient_accumulation_steps > 1,
            gradients: Vec::new(),
            images: 0,
        }
    }

    /// Replaces running statistics.
    fn set_statistics(&mut self, statistics: Vec<(ParameterId, ParameterTensor)>) {
        self.judged = None;
        statistics.into_iter().for_each(|(id, tensor)| self.network.set(id, tensor));
    }

    /// The boundary, on the network's device, with so many samples after it has been filled up.
    fn to_device(&self, boundary: &Boundary, images: usize, filled: usize) -> Vec<Value> {
        let (shapes, device) = (self.split.boundary.iter(), self.network.device());
        let shapes = shapes.map(|&at| &self.network.graph().nodes()[at].shape.0);
        let values: Vec<Value> = match boundary {
            Boundary::Host(values) => {
                shapes.zip(values).map(|(shape, own)| Value::from_host(own.clone(), images, shape, device)).collect()
            }
            Boundary::Device(values) => values.clone(),
        };
        values.into_iter().map(|value| value.filled(filled)).collect()
    }

    /// The outputs of the tail in training mode, and the running statistics that it updates.
    fn forward_train(
        &self,
        leaves: &BTreeMap<ParameterId, ParameterTensor>,
        boundary: &Boundary,
        images: usize,
        random: &mut ChaCha8Rng,
    ) -> Result<(Value, Vec<(ParameterId, ParameterTensor)>), TrainError> {
        // Running statistics are those of the images alone.
        let filled = if self.updates_statistics.is_empty() { self.filling.size(images) } else { images };
        self.network.check_room(&self.split.tail, &[], filled, true)?;
        let (drawing, updates_statistics) = (&self.layers, &self.updates_statistics);
        let mut pass = TrainingPass { leaves, random, drawing, updates_statistics, statistics: Vec::new() };
        let boundary = self.to_device(boundary, images, filled);
        // No gradient reaches the samples of zeros.
        let outputs = self.network.tail(&self.split, boundary, Some(&mut pass)).first(images);
        Ok((outputs, pass.statistics))
    }
}

impl Executor for BurnExecutor {
    fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    fn forward(&mut self, boundary: &Boundary, images: usize) -> Result<Vec<f32>, TrainError> {
        let last = self.network.graph().len() - 1;
        let filled = self.filling.size(images);
        self.network.check_room(&self.split.tail, &[last], filled, false)?;
        let boundary = self.to_device(boundary, images, filled);
        let Self { network, split, judged, .. } = self;
        let judged = judged.get_or_insert_with(|| network.for_inference(&split.tail, &[last], FloatDType::F32));
        Ok(to_host(judged.tail(split, boundary, None).first(images).into_features()))
    }

    fn gradient(
        &mut self,
        boundary: &Boundary,
        images: usize,
        aim: &Aim<'_>,
        random: &mut ChaCha8Rng,
    ) -> Result<(), TrainError> {
        let leaves = self.network.leaves(self.layers.iter().copied());
        let (outputs, statistics) = self.forward_train(&leaves, boundary, images, random)?;
        let outputs = outputs.into_features();
        let loss = aim.forward(outputs.clone())?;
        self.unread.push((loss.clone().inner(), outputs.inner()));
        let mut gradients = loss.backward();
        let found = self.trained.iter().map(|id| Some(leaves[id].gradient(&mut gradients)?.flat()));
        let found: Vec<Option<Tensor<1>>> = match self.accumulates {
            true => found.map(|gradient| Some(gradient?.mul_scalar(images as f32))).collect(),
            false => found.collect(),
        };
        self.gradients = match std::mem::take(&mut self.gradients) {
            before if before.is_empty() => found,
            before => before.into_iter().zip(found).map(|pair| sum(pair.0, pair.1)).collect(),
        };
        self.images += images;
        self.set_statistics(statistics);
        Ok(())
    }

    fn sum_gradients(&mut self) {
        self.accumulates = true;
    }

    fn join(&mut self, peers: Peers<'_>) -> Result<(), TrainError> {
        let own = std::mem::take(&mut self.gradients);
        // For each parameter whether a gradient reached it, and the gradient; all of them in one message with the number of images.
        let mut all = vec![self.images as f32];
        for (at, &id) in self.trained.iter().enumerate() {
            match own.get(at).and_then(Option::as_ref) {
                Some(gradient) => {
                    all.push(1.0);
                    all.extend(to_host(gradient.clone()));
                }
                None => all.resize(all.len() + 1 + self.network.get(id).flat().dims()[0], 0.0),
            }
        }
        peers.sum(&mut all)?;
        self.images = all[0] as usize;
        let (mut rest, device) = (&all[1..], self.network.device());
        for &id in &self.trained {
            let length = self.network.get(id).flat().dims()[0];
            let (gradient, others) = rest.split_at(length + 1);
            let reached = gradient[0] > 0.0;
            self.gradients.push(reached.then(|| Tensor::from_floats(&gradient[1..], device)));
            rest = others;
        }
        Ok(())
    }

    fn update(&mut self, size: StepSize) {
        self.judged = None;
        let (images, network) = (std::mem::take(&mut self.images), &self.network);
        let gradients = std::mem::take(&mut self.gradients);
        let mut updates: Vec<Option<DeviceUpdate>> = self
            .trained
            .iter()
            .zip(gradients)
            .map(|(&id, gradient)| {
                let gradient = match self.accumulates {
                    true => gradient?.div_scalar(images.max(1) as f32),
                    false => gradient?,
                };
                Some(DeviceUpdate { values: network.get(id).flat(), gradient })
            })
            .collect();
        self.optimizer.step(size, &mut updates);
        for (&id, update) in self.trained.iter().zip(updates) {
            if let Some(DeviceUpdate { values, .. }) = update {
                let moved = self.network.get(id).with_flat(values);
                self.network.set(id, moved);
            }
        }
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
        self.judged = None;
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

    fn average(&mut self, before: u64) {
        let values = self.trained.iter().map(|&id| self.network.get(id).flat());
        self.optimizer.average(before, values);
    }

    fn observe(&mut self, boundary: &Boundary, images: usize, random: &mut ChaCha8Rng) -> Result<(), TrainError> {
        let leaves = self.network.leaves(self.layers.iter().copied());
        let (_, statistics) = self.forward_train(&leaves, boundary, images, random)?;
        self.set_statistics(statistics);
        Ok(())
    }

    fn values(&self, id: ParameterId) -> Vec<f32> {
        self.network.to_values(id, self.network.get(id))
    }

    fn set_values(&mut self, id: ParameterId, values: &[f32]) {
        self.network.set_values(id, values);
        self.judged = None;
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

/// The sum of those that are there.
fn sum(a: Option<Tensor<1>>, b: Option<Tensor<1>>) -> Option<Tensor<1>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
