use std::borrow::Cow;
use std::sync::Arc;

use injerto_backbones::network::Network;
use injerto_graph::{Graph, ParameterId, Split};
use injerto_kernels::inference::Arithmetic;
use injerto_kernels::{inference, training};
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
    evaluation: Option<Evaluation>,
    optimizer: Optimizer,
    readings: Vec<Reading>,
    /// Gradients of several batches; `None` if each batch has its own step.
    sums: Option<Sums>,
}

/// The tail compiled for inference, which is faster than a forward pass that can train. It is there if the tail has layers of the backbone and
/// takes the output of one layer.
struct Evaluation {
    graph: Arc<Graph>,
    split: Split,
    arithmetic: Arithmetic,
    /// `None` if the parameters have changed since it was compiled.
    program: Option<inference::Program>,
}

impl Evaluation {
    fn of(model: &Model, split: &Split) -> Option<Self> {
        let (graph, (_, arithmetic)) = (model.network.graph().clone(), model.arithmetic().of_kernels());
        let is_backbone = split.tail.iter().any(|layer| *layer < model.card.backbone_layers);
        let new = || Self { graph, split: split.clone(), arithmetic, program: None };
        (is_backbone && split.boundary.len() == 1).then(new)
    }

    /// The outputs of the tail with its parameters, `[images, units]`.
    fn run(&mut self, tail: &training::Program, input: &[f32], images: usize) -> Result<Vec<f32>, TrainError> {
        let program = match self.program.take() {
            Some(program) => program,
            None => {
                let parameters = |layer, place| {
                    Cow::Borrowed(tail.get(ParameterId::new(layer, place)).expect("the tail has the layer"))
                };
                let (layers, first, last) = (&self.split.tail, self.split.boundary[0], self.graph.len() - 1);
                inference::Program::compile_after(self.arithmetic, &self.graph, first, layers, &[last], &parameters)?
            }
        };
        let mut outputs = program.run(input, images)?;
        self.program = Some(program);
        Ok(outputs.swap_remove(0))
    }
}

/// Gradients of the images since the last step.
#[derive(Default)]
struct Sums {
    /// The sums over the images for all parameters that train, one after the other, and at last the number of images. Processes exchange
    /// it as it is.
    all: Vec<f32>,
}

impl Sums {
    /// The sums, which are undefined while there are no images, and the number of images.
    fn parts(&mut self, length: usize) -> (&mut [f32], &mut f32) {
        self.all.resize(length + 1, 0.0);
        let (images, sums) = self.all.split_last_mut().expect("one more value than gradients");
        (sums, images)
    }

    /// The same, where sums of no images are zero.
    fn settled(&mut self, length: usize) -> (&mut [f32], &mut f32) {
        let (sums, images) = self.parts(length);
        if *images == 0.0 {
            sums.fill(0.0);
        }
        (sums, images)
    }

    /// Adds the mean gradients of a batch of this many images; `length` is the number of values of all gradients.
    fn add<'a>(&mut self, images: usize, length: usize, gradients: impl Iterator<Item = &'a [f32]>) {
        let weight = images as f32;
        let (mut rest, count) = self.parts(length);
        for gradient in gradients {
            let (sums, others) = rest.split_at_mut(gradient.len());
            match *count > 0.0 {
                true => sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * weight),
                false => sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum = g * weight),
            }
            rest = others;
        }
        *count += weight;
    }

    /// Adds those of other processes, of which each has so many values.
    fn join(&mut self, length: usize, peers: Peers<'_>) -> Result<(), TrainError> {
        self.settled(length);
        peers.sum(&mut self.all)
    }

    /// The mean gradients over all images, one after the other. Sums begin anew.
    fn take(&mut self, length: usize) -> &[f32] {
        let (sums, images) = self.settled(length);
        let part = 1.0 / std::mem::take(images).max(1.0);
        sums.iter_mut().for_each(|g| *g *= part);
        sums
    }
}

/// Number of values of all gradients.
fn length(tail: &training::Program) -> usize {
    tail.gradients().map(|(_, gradient)| gradient.len()).sum()
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
        let (_, arithmetic) = model.arithmetic().of_kernels();
        let mut tail = training::Program::compile_with(arithmetic, graph, layers, inputs, &trains, &statistics)?;
        for (id, values) in model.network.parameters_of(&split.tail) {
            tail.set(id, &values)?;
        }
        let (prefix, evaluation) = (Prefix::new(model, split, true), Evaluation::of(model, split));
        Ok(Self { prefix, tail, evaluation, optimizer, readings: Vec::new(), sums })
    }

    /// Gives up what was compiled for evaluation, because the parameters change.
    fn outdate(&mut self) {
        if let Some(evaluation) = &mut self.evaluation {
            evaluation.program = None;
        }
    }
}

impl Executor for KernelExecutor {
    fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    fn forward(&mut self, boundary: &Boundary, images: usize) -> Result<Vec<f32>, TrainError> {
        let boundary = boundary.on_host();
        let inputs: Vec<&[f32]> = boundary.iter().map(Vec::as_slice).collect();
        match &mut self.evaluation {
            Some(evaluation) => evaluation.run(&self.tail, inputs[0], images),
            None => Ok(self.tail.forward(&inputs, images)?.to_vec()),
        }
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
        self.outdate();
        let outputs = self.tail.forward_train(&inputs, images, &mut || random.next_u32())?.to_vec();
        let rows = Outputs::new(&outputs, outputs.len() / images.max(1));
        let (loss, gradient) = aim.gradient(rows)?;
        self.tail.backward(&gradient);
        self.readings.push(Reading { loss, outputs });
        if let Some(sums) = &mut self.sums {
            let length = length(&self.tail);
            sums.add(images, length, self.tail.gradients().map(|(_, gradient)| gradient));
        }
        Ok(())
    }

    fn sum_gradients(&mut self) {
        self.sums.get_or_insert_default();
    }

    fn join(&mut self, peers: Peers<'_>) -> Result<(), TrainError> {
        let sums = self.sums.as_mut().expect("gradients that are joined are summed");
        sums.join(length(&self.tail), peers)
    }

    fn update(&mut self, size: StepSize) {
        self.outdate();
        let length = length(&self.tail);
        let mut means = self.sums.as_mut().map(|sums| sums.take(length));
        let trained = self.tail.trained_mut().map(|(_, values, own)| {
            let gradient = match &mut means {
                Some(rest) => rest.split_off(..own.len()).expect("a mean for each value of a gradient"),
                None => own,
            };
            Some(Update { values, gradient })
        });
        self.optimizer.step(size, &mut trained.collect::<Vec<_>>());
    }

    fn readings(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.readings)
    }

    fn swap_averages(&mut self) -> bool {
        let mut changed = false;
        self.outdate();
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
        self.outdate();
        self.tail.forward_train(&inputs, images, &mut || random.next_u32())?;
        Ok(())
    }

    fn values(&self, id: ParameterId) -> Vec<f32> {
        self.tail.get(id).map_or_else(Vec::new, |values| values.to_vec())
    }

    fn set_values(&mut self, id: ParameterId, values: &[f32]) {
        self.outdate();
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
