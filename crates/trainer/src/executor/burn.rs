use burn::tensor::Tensor;
use injerto_backbones::network::{Network, TrainingPass, Value, to_input};
use injerto_data::Batch;
use injerto_graph::{ParameterId, Preprocessing, Split};
use rand_chacha::ChaCha8Rng;

use super::{Boundary, Executor, LossOf, are_finite};
use crate::optimizer::{Optimizer, StepSize, Update};
use crate::plan::PhasePlan;
use crate::{Model, TrainError};

/// Burn's operators on the network's device. The optimiser works on the host.
pub(super) struct BurnExecutor {
    network: Network,
    preprocessing: Preprocessing,
    /// Height and width of the images.
    image_size: [usize; 2],
    split: Split,
    /// Layers of the tail that train: their parameters are leaves, and dropout among them drops.
    layers: Vec<usize>,
    /// Batch normalisations that move their running statistics.
    updates_statistics: Vec<usize>,
    /// Parameters that train, in the order of the optimiser.
    trained: Vec<ParameterId>,
    optimizer: Optimizer,
}

impl BurnExecutor {
    pub(super) fn new(model: &Model, plan: &PhasePlan, trained: Vec<ParameterId>, optimizer: Optimizer) -> Self {
        let split = plan.split().clone();
        Self {
            network: model.network.clone(),
            preprocessing: model.card.preprocessing.clone(),
            image_size: model.card.image_size(),
            layers: split.tail.iter().copied().filter(|&at| plan.trains(at)).collect(),
            updates_statistics: plan.updates_statistics(),
            split,
            trained,
            optimizer,
        }
    }

    /// The boundary, on the network's device.
    fn to_device(&self, boundary: &Boundary, images: usize) -> Vec<Value> {
        let shapes = self.split.crossing.iter().map(|&at| &self.network.graph().nodes()[at].shape.0);
        let device = self.network.device();
        shapes.zip(boundary).map(|(shape, values)| Value::from_host(values.clone(), images, shape, device)).collect()
    }
}

impl Executor for BurnExecutor {
    fn identity(&self) -> String {
        "burn".to_owned()
    }

    fn prefix(&self, batch: &Batch) -> Result<Boundary, TrainError> {
        let ([height, width], images) = (self.image_size, batch.labels.len());
        let input = to_input(&batch.pixels, [images, height, width], &self.preprocessing, self.network.device());
        Ok(self.network.prefix(&self.split, input).iter().map(Value::to_host).collect())
    }

    fn forward(&mut self, boundary: &Boundary, images: usize) -> Result<Tensor<2>, TrainError> {
        let boundary = self.to_device(boundary, images);
        Ok(self.network.tail(&self.split, boundary, None).into_features())
    }

    fn step(
        &mut self,
        boundary: &Boundary,
        images: usize,
        loss: &mut LossOf<'_>,
        size: StepSize,
        random: &mut ChaCha8Rng,
    ) -> Result<(), TrainError> {
        let leaves = self.network.leaves(self.layers.iter().copied());
        let mut pass = TrainingPass {
            leaves: &leaves,
            random,
            drawing: &self.layers,
            moving: &self.updates_statistics,
            statistics: Vec::new(),
        };
        let boundary = self.to_device(boundary, images);
        let outputs = self.network.tail(&self.split, boundary, Some(&mut pass)).into_features();
        let statistics = pass.statistics;
        let mut gradients = loss(outputs)?.backward();
        // Values and gradient of each parameter that trains, unless no gradient reached it.
        let mut moved: Vec<Option<(Vec<f32>, Vec<f32>)>> = Vec::with_capacity(self.trained.len());
        for &id in &self.trained {
            let gradient = leaves[&id].gradient(&mut gradients);
            moved.push(gradient.map(|found| (self.network.values(id), self.network.to_values(id, &found))));
        }
        let updates = moved.iter_mut().map(|moved| {
            let (values, gradient) = moved.as_mut()?;
            Some(Update { values, gradient })
        });
        self.optimizer.step(size, &mut updates.collect::<Vec<_>>());
        for (&id, moved) in self.trained.iter().zip(&moved) {
            if let Some((values, _)) = moved {
                self.network.set_values(id, values);
            }
        }
        statistics.into_iter().for_each(|(id, tensor)| self.network.set(id, tensor));
        Ok(())
    }

    fn swap_averages(&mut self) -> bool {
        let mut changed = false;
        for (at, average) in self.optimizer.averages() {
            changed = true;
            let id = self.trained[at];
            let raw = std::mem::replace(average, self.network.values(id));
            self.network.set_values(id, &raw);
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

    fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }
}
