//! A trainable tail compiled for the CPU, forward and backward.
//!
//! The tail is a static graph, so a [`Program`] plans everything once: frozen batch normalisations and clipped ReLUs are
//! computed with the convolution before them, forward and backward; only gradients that a trainable parameter needs are
//! computed; values and gradients share buffers. Images are channels last, parameters have Keras's axes.
//!
//! Products of matrices are computed in `f32`, or by a unit for bf16 ([`Program::compile_with`]). Values and gradients lie in `f32` in both
//! cases: clips, normalisations with the batch's statistics, depthwise convolutions and sums of gradients read them too, and would round
//! once more each. So a value is rounded where a product reads it, once, while it is copied for the unit, which costs a copy in a near cache
//! and leaves one plan of steps and buffers for both.
//!
//! *Architecture invariant:* equal inputs give equal bits on one machine. Sums over a batch are taken in parts that do not depend
//! on threads or time, and parts are added in order.

mod attention;
mod choice;
mod convolution;
mod depthwise;
mod elementwise;
mod fold;
mod narrow;
mod normalise;
mod parameters;
mod plan;
mod pool;
mod smooth;
mod standardise;
mod step;
mod tokens;
mod windows;
mod winograd;

use std::time::{Duration, Instant};

pub use choice::{fastest, gain_of_bf16};
use injerto_graph::{Graph, ParameterId};

use crate::inference::{Arithmetic, Unit};
use crate::isa::Isa;
use crate::linalg::Multiplier;
use crate::memory::{Aligned, OutOfMemory};
use parameters::Parameters;
use plan::{Plan, Tail};
use step::{Inputs, Pass};

/// Why a tail cannot be compiled or its parameters not be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A layer takes what is neither in the tail nor given to it.
    #[error("layer '{layer}' takes the output of '{input}', which is neither in the tail nor one of its inputs")]
    MissingInput {
        /// Name of the layer.
        layer: String,
        /// Name of the layer that feeds it.
        input: String,
    },
    /// A parameter that the tail does not have.
    #[error("layer {layer} of the tail has no parameter {place}")]
    NoSuchParameter {
        /// Position of the layer in the graph.
        layer: usize,
        /// Place in the layer's list.
        place: usize,
    },
    /// Values of another number than the parameter's.
    #[error("'{parameter}' has {expected} values, not {found}")]
    Length {
        /// `LAYER/PARAMETER`.
        parameter: String,
        /// The number that it has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// Memory that this machine does not give.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Instructions that this machine does not have.
    #[error("this machine has no {isa:?} instructions; take Isa::detect()")]
    Instructions {
        /// What was asked for.
        isa: Isa,
    },
    /// A unit for bf16 that this machine does not have.
    #[error("this machine does not multiply bf16 by {}; take Unit::detect()", unit.name())]
    Unit {
        /// What was asked for.
        unit: Unit,
    },
}

/// The shortest times that one step of a program has taken since [`Program::profile`] was turned on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// Name of the (first) layer that the step computes.
    pub layer: String,
    /// Going forward.
    pub forward: Duration,
    /// Gradients of the parameters.
    pub parameters: Duration,
    /// Gradients of the inputs.
    pub inputs: Duration,
}

/// A tail that can be trained: layers, parameters, gradients, buffers.
#[derive(Debug)]
pub struct Program {
    plan: Plan,
    parameters: Parameters,
    /// The layers whose outputs are given.
    given: Vec<usize>,
    buffers: Vec<Aligned>,
    batch: usize,
    /// Whether the values of a training pass are there, for [`Program::backward`].
    trained: bool,
    times: Option<Vec<StepTime>>,
}

impl Program {
    /// Compiles `layers` of `graph` ([`Split::tail`]), which take the outputs of the layers `inputs` ([`Split::boundary`]).
    ///
    /// Layers for which `trains` says so get gradients for their trainable parameters, and drop values where they are dropout;
    /// a dropout that does not train is the identity. The batch normalisations in `batch_statistics` use the batch's statistics
    /// in training and move their own.
    ///
    /// [`Split::tail`]: injerto_graph::Split::tail
    /// [`Split::boundary`]: injerto_graph::Split::boundary
    ///
    /// # Errors
    /// [`Error::MissingInput`] if `layers` and `inputs` do not hold together, [`Error::Memory`] where there is no room for the
    /// parameters.
    pub fn compile(
        graph: &Graph,
        layers: &[usize],
        inputs: &[usize],
        trains: &dyn Fn(usize) -> bool,
        batch_statistics: &[usize],
    ) -> Result<Self, Error> {
        Self::compile_with(Arithmetic::f32(), graph, layers, inputs, trains, batch_statistics)
    }

    /// Compiles as [`Program::compile`] does, for a given arithmetic. With bf16 both sides of every product of matrices are rounded, forward
    /// and backward, and sums are `f32`: those of convolutions, dense layers and attention. All else is computed in `f32`, in which
    /// values, gradients and parameters lie.
    ///
    /// # Errors
    /// Those of [`Program::compile`]; [`Error::Instructions`] and [`Error::Unit`] where this machine lacks what is asked for.
    pub fn compile_with(
        arithmetic: Arithmetic,
        graph: &Graph,
        layers: &[usize],
        inputs: &[usize],
        trains: &dyn Fn(usize) -> bool,
        batch_statistics: &[usize],
    ) -> Result<Self, Error> {
        Self::of(arithmetic, Tail { graph, layers, inputs, towards: &[], trains, batch_statistics })
    }

    /// Compiles layers of which none trains, as [`Program::compile_with`] does, so that [`Program::backward`] gives the gradients of
    /// those inputs that are named in `towards`: [`Program::input_gradient`].
    ///
    /// # Errors
    /// Those of [`Program::compile`].
    pub fn compile_towards(
        arithmetic: Arithmetic,
        graph: &Graph,
        layers: &[usize],
        inputs: &[usize],
        towards: &[usize],
    ) -> Result<Self, Error> {
        let (trains, batch_statistics): (&dyn Fn(usize) -> bool, _) = (&|_| false, &[]);
        Self::of(arithmetic, Tail { graph, layers, inputs, towards, trains, batch_statistics })
    }

    fn of(arithmetic: Arithmetic, tail: Tail<'_>) -> Result<Self, Error> {
        let means = match arithmetic {
            Arithmetic::F32(isa) => {
                let isa = isa.present().ok_or(Error::Instructions { isa })?.for_loops();
                (isa, Multiplier::Single(isa.vectors()))
            }
            Arithmetic::Bf16(unit) => {
                let unit = unit.present().ok_or(Error::Unit { unit })?;
                (unit.vectors().for_loops(), Multiplier::Half(unit))
            }
        };
        let parameters = Parameters::new(tail.graph, tail.layers, tail.trains)?;
        let given = tail.inputs.to_vec();
        let plan = plan::compile(means, tail, &parameters)?;
        let buffers = vec![Aligned::default(); plan.buffers.len()];
        Ok(Self { plan, parameters, given, buffers, batch: 0, trained: false, times: None })
    }

    /// All parameters of the tail, trainable or not, in order.
    pub fn parameters(&self) -> impl Iterator<Item = ParameterId> {
        self.parameters.ids()
    }

    /// Sets a parameter, in Keras's axes.
    ///
    /// # Errors
    /// [`Error::NoSuchParameter`], [`Error::Length`].
    pub fn set(&mut self, id: impl Into<ParameterId>, values: &[f32]) -> Result<(), Error> {
        self.trained = false;
        self.parameters.set(id.into(), values)
    }

    /// A parameter, in Keras's axes. Running statistics are those after the last training pass.
    pub fn get(&self, id: impl Into<ParameterId>) -> Option<&[f32]> {
        self.parameters.get(id.into())
    }

    /// Every parameter that trains with its gradient, in order, for an optimiser to change in place.
    pub fn trained_mut(&mut self) -> impl Iterator<Item = (ParameterId, &mut [f32], &mut [f32])> {
        self.trained = false;
        self.parameters.trained_mut()
    }

    /// Gradients of the last [`Program::backward`], in order.
    pub fn gradients(&self) -> impl Iterator<Item = (ParameterId, &[f32])> {
        self.parameters.gradients()
    }

    /// The gradient of the output of `layer`, which is one of the inputs, after [`Program::backward`]: `batch` samples, channels
    /// last. `None` unless the program was compiled [towards](Program::compile_towards) it.
    pub fn input_gradient(&self, layer: usize) -> Option<&[f32]> {
        let place = self.given.iter().position(|given| *given == layer)?;
        let value = &self.plan.values[self.plan.inputs[place]];
        Some(&self.buffers[value.gradient?][..value.count * self.batch])
    }

    /// Runs in inference, for validation: with running statistics, without dropout. `inputs` in the order given to
    /// [`Program::compile`], channels last; the last layer's output for `batch` samples.
    ///
    /// # Errors
    /// [`Error::Memory`] where there is no room for the batch.
    ///
    /// # Panics
    /// If a parameter has not been set, or an input's length is not that of `batch` samples.
    pub fn forward(&mut self, inputs: &[&[f32]], batch: usize) -> Result<&[f32], Error> {
        self.trained = false;
        self.run(inputs, batch, &mut Pass::Inference)
    }

    /// Runs in training: with the batch's statistics where asked for, and dropout with masks from `random`'s bits.
    ///
    /// # Errors
    /// In the cases of [`Program::forward`].
    ///
    /// # Panics
    /// In the cases of [`Program::forward`].
    pub fn forward_train(
        &mut self,
        inputs: &[&[f32]],
        batch: usize,
        random: &mut dyn FnMut() -> u32,
    ) -> Result<&[f32], Error> {
        self.trained = false;
        self.run(inputs, batch, &mut Pass::Training(random))?;
        self.trained = true;
        Ok(self.output())
    }

    /// Computes the gradient of every parameter that trains from that of the output of the last
    /// [`Program::forward_train`]; then [`Program::gradients`] and [`Program::trained_mut`] have them.
    ///
    /// # Panics
    /// If no training pass came directly before it, or `output` is not as long as that pass's output.
    pub fn backward(&mut self, output: &[f32]) {
        assert!(std::mem::take(&mut self.trained), "a backward pass must follow a training pass");
        let (values, batch) = (&self.plan.values, self.batch);
        let last = &values[self.plan.output];
        assert_eq!(output.len(), last.count * batch, "the gradient is not as long as the output");
        let Some(at) = last.gradient else {
            return;
        };
        self.buffers[at][..output.len()].copy_from_slice(output);
        for (index, operation) in self.plan.operations.iter_mut().enumerate().rev() {
            let value = &values[operation.output];
            let Some(gradient) = value.gradient else {
                continue;
            };
            let started = self.times.is_some().then(Instant::now);
            let length = value.count * batch;
            let mut dy = std::mem::take(&mut self.buffers[gradient]);
            // A value that is not kept is not read.
            let kept = if operation.step.keeps_output() { length } else { 0 };
            let x = Inputs { buffers: &self.buffers, places: &operation.places, batch };
            let y = &self.buffers[value.buffer][..kept];
            operation.step.backward(&mut self.parameters, &x, y, &mut dy[..length]);
            let between = started.map(|started| started.elapsed());
            for (place, wants) in operation.wants.iter().enumerate() {
                let Some(accumulate) = *wants else {
                    continue;
                };
                let input = &values[operation.inputs[place]];
                let to = input.gradient.expect("an input that wants a gradient has a buffer for it");
                let mut dx = std::mem::take(&mut self.buffers[to]);
                let x = Inputs { buffers: &self.buffers, places: &operation.places, batch };
                let y = &self.buffers[value.buffer][..kept];
                let target = &mut dx[..input.count * batch];
                operation.step.input_gradient(place, &x, y, &dy[..length], target, accumulate);
                self.buffers[to] = dx;
            }
            self.buffers[gradient] = dy;
            if let (Some(times), Some(started), Some(between)) = (&mut self.times, started, between) {
                times[index].parameters = times[index].parameters.min(between);
                times[index].inputs = times[index].inputs.min(started.elapsed() - between);
            }
        }
    }

    /// Turns the measuring of steps on (anew) or off.
    pub fn profile(&mut self, on: bool) {
        let names = self.plan.operations.iter().map(|operation| operation.name.clone());
        let never = Duration::MAX;
        let time = |layer| StepTime { layer, forward: never, parameters: never, inputs: never };
        self.times = on.then(|| names.map(time).collect());
    }

    /// The shortest times of each step, [`Duration::MAX`] where it has not run; empty unless [`Program::profile`] is on.
    pub fn times(&self) -> &[StepTime] {
        self.times.as_deref().unwrap_or_default()
    }

    /// How often kernels have been packed, transformed or scaled since the program was compiled: once for a frozen layer, and
    /// once in each step for one that trains.
    pub fn packings(&self) -> u64 {
        self.parameters.packings()
    }

    /// Bytes that values and gradients take for a batch.
    pub fn buffer_bytes(&self, batch: usize) -> usize {
        let (operations, values) = (self.plan.operations.iter(), &self.plan.values);
        let backward = operations.filter(|operation| values[operation.output].gradient.is_some());
        let kept: usize = backward.map(|operation| operation.step.kept()).sum();
        (self.plan.buffers.iter().sum::<usize>() + kept) * batch * size_of::<f32>()
    }

    fn output(&self) -> &[f32] {
        let last = &self.plan.values[self.plan.output];
        &self.buffers[last.buffer][..last.count * self.batch]
    }

    fn run(&mut self, inputs: &[&[f32]], batch: usize, pass: &mut Pass<'_>) -> Result<&[f32], Error> {
        if let Some(name) = self.parameters.unset() {
            panic!("parameter '{name}' has not been set");
        }
        assert_eq!(inputs.len(), self.plan.inputs.len(), "another number of inputs than compiled for");
        self.batch = batch;
        for (buffer, length) in self.buffers.iter_mut().zip(&self.plan.buffers) {
            // A value has at most 2^32 values per image, and the images of a batch are there: no product overflows.
            if buffer.len() < length * batch {
                buffer.grow(length * batch, "values and gradients")?;
            }
        }
        let values = &self.plan.values;
        if matches!(pass, Pass::Training(_)) {
            let operations = self.plan.operations.iter_mut();
            let mut backward = operations.filter(|operation| values[operation.output].gradient.is_some());
            backward.try_for_each(|operation| operation.step.reserve(batch))?;
        }
        for (&at, input) in self.plan.inputs.iter().zip(inputs) {
            assert_eq!(input.len(), values[at].count * batch, "an input's length is not that of {batch} samples");
            self.buffers[values[at].buffer][..input.len()].copy_from_slice(input);
        }
        for (index, operation) in self.plan.operations.iter_mut().enumerate() {
            let started = self.times.is_some().then(Instant::now);
            let value = &values[operation.output];
            let mut y = std::mem::take(&mut self.buffers[value.buffer]);
            let x = Inputs { buffers: &self.buffers, places: &operation.places, batch };
            operation.step.forward(&mut self.parameters, &x, &mut y[..value.count * batch], pass);
            self.buffers[value.buffer] = y;
            if let (Some(times), Some(started)) = (&mut self.times, started) {
                times[index].forward = times[index].forward.min(started.elapsed());
            }
        }
        Ok(self.output())
    }
}
