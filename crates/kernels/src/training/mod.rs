//! A trainable tail compiled for the CPU, forward and backward.
//!
//! The tail is a static graph, so a [`Program`] plans everything once: frozen batch normalisations and clipped ReLUs are
//! computed with the convolution before them, forward and backward; only gradients that a trainable parameter needs are
//! computed; values and gradients share buffers. Images are channels last, and parameters have Keras's axes.
//!
//! Products of matrices are computed in `f32`, or by a unit for bf16 ([`Program::compile_with`]). Values and gradients are stored in `f32` in
//! both cases, because clips, normalisations with the batch's statistics, depthwise convolutions and sums of gradients also read them, and
//! each of these would round them once more. A value is rounded only while it is copied for the unit. This costs a copy within the caches, and
//! both ways to multiply have the same plan of steps and buffers.
//!
//! *Architecture invariant:* equal inputs give equal bits on one machine. A sum over a batch is divided into parts that do not depend on
//! threads or time, and the parts are added in order.

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

/// Why a tail cannot be compiled, or its parameters cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A layer takes the output of a layer that is neither in the tail nor one of its inputs.
    #[error("layer '{layer}' takes the output of '{input}', which is neither in the tail nor one of its inputs")]
    MissingInput {
        /// Name of the layer.
        layer: String,
        /// Name of the layer that feeds it.
        input: String,
    },
    /// The tail does not have this parameter.
    #[error("layer {layer} of the tail has no parameter {place}")]
    NoSuchParameter {
        /// Position of the layer in the graph.
        layer: usize,
        /// Place of the parameter in the layer's list.
        place: usize,
    },
    /// The number of values is not that of the parameter.
    #[error("'{parameter}' has {expected} values, not {found}")]
    Length {
        /// `LAYER/PARAMETER`.
        parameter: String,
        /// The number of values of the parameter.
        expected: usize,
        /// The number of values that were given.
        found: usize,
    },
    /// This machine does not have enough memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// This machine does not have the instructions.
    #[error("this machine has no instructions of {}; use Isa::detect()", isa.name())]
    Instructions {
        /// The instructions that were asked for.
        isa: Isa,
    },
    /// This machine does not have the unit for bf16.
    #[error("this machine does not multiply bf16 by {}; use Unit::detect()", unit.name())]
    Unit {
        /// The unit that was asked for.
        unit: Unit,
    },
}

/// The shortest times that one step of a program has taken since [`Program::profile`] was turned on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// Name of the layer that the step computes, or of the first of several.
    pub layer: String,
    /// The time of the forward pass.
    pub forward: Duration,
    /// The time for the gradients of the parameters.
    pub parameters: Duration,
    /// The time for the gradients of the inputs.
    pub inputs: Duration,
}

/// A tail that can be trained: layers, parameters, gradients, buffers.
#[derive(Debug)]
pub struct Program {
    plan: Plan,
    parameters: Parameters,
    /// The layers whose outputs are the program's inputs.
    given: Vec<usize>,
    buffers: Vec<Aligned>,
    batch: usize,
    /// Whether the buffers hold the values of a training pass, which [`Program::backward`] needs.
    trained: bool,
    times: Option<Vec<StepTime>>,
}

impl Program {
    /// Compiles `layers` of `graph` ([`Split::tail`]), which take the outputs of the layers `inputs` ([`Split::boundary`]).
    ///
    /// The trainable parameters of the layers for which `trains` is true get gradients. A dropout layer drops values only if `trains` is
    /// true for it; otherwise it is the identity. The batch normalisations in `batch_statistics` use the statistics of the batch in
    /// training passes, and update their running statistics.
    ///
    /// [`Split::tail`]: injerto_graph::Split::tail
    /// [`Split::boundary`]: injerto_graph::Split::boundary
    ///
    /// # Errors
    /// [`Error::MissingInput`] if the output of a layer is missing that is neither in `layers` nor in `inputs`, and [`Error::Memory`] if there is
    /// no memory for the parameters.
    pub fn compile(
        graph: &Graph,
        layers: &[usize],
        inputs: &[usize],
        trains: &dyn Fn(usize) -> bool,
        batch_statistics: &[usize],
    ) -> Result<Self, Error> {
        Self::compile_with(Arithmetic::f32(), graph, layers, inputs, trains, batch_statistics)
    }

    /// Compiles as [`Program::compile`] does, for a given arithmetic. With bf16, both sides of every product of matrices (in convolutions, dense
    /// layers and attention) are rounded, forward and backward, and sums are `f32`. All other operations are computed in `f32`, and values,
    /// gradients and parameters are stored in it.
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

    /// Compiles layers as [`Program::compile_with`] does, but no parameter gets a gradient. Instead, [`Program::backward`] computes the
    /// gradients of the inputs in `towards`, and [`Program::input_gradient`] returns them.
    ///
    /// # Errors
    /// Those of [`Program::compile_with`].
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
        let hardware = match arithmetic {
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
        let plan = plan::compile(hardware, tail, &parameters)?;
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
    /// [`Error::NoSuchParameter`] if the tail does not have it, [`Error::Length`] if the number of values is another one.
    pub fn set(&mut self, id: impl Into<ParameterId>, values: &[f32]) -> Result<(), Error> {
        self.trained = false;
        self.parameters.set(id.into(), values)
    }

    /// A parameter, in Keras's axes; `None` if the tail does not have it. Running statistics are those after the last training pass.
    pub fn get(&self, id: impl Into<ParameterId>) -> Option<&[f32]> {
        self.parameters.get(id.into())
    }

    /// All parameters that train, each with its gradient, in order, for an optimiser to change in place.
    pub fn trained_mut(&mut self) -> impl Iterator<Item = (ParameterId, &mut [f32], &mut [f32])> {
        self.trained = false;
        self.parameters.trained_mut()
    }

    /// The gradients that the last [`Program::backward`] computed, in order.
    pub fn gradients(&self) -> impl Iterator<Item = (ParameterId, &[f32])> {
        self.parameters.gradients()
    }

    /// The gradient of an input, which is the output of `layer`, after [`Program::backward`]: `[batch, …]`, channels last. `None` unless the
    /// program was compiled [towards](Program::compile_towards) this input.
    pub fn input_gradient(&self, layer: usize) -> Option<&[f32]> {
        let place = self.given.iter().position(|given| *given == layer)?;
        let value = &self.plan.values[self.plan.inputs[place]];
        Some(&self.buffers[value.gradient?][..value.count * self.batch])
    }

    /// Runs the tail in inference mode, for validation: with running statistics and without dropout. `inputs` are `[batch, …]`, channels
    /// last, in the order of those given to [`Program::compile`]. Returns the output of the last layer, `[batch, …]`.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no memory for the batch.
    ///
    /// # Panics
    /// If a parameter has not been set, the number of inputs is another one, or an input's length is not that of `batch` samples.
    pub fn forward(&mut self, inputs: &[&[f32]], batch: usize) -> Result<&[f32], Error> {
        self.trained = false;
        self.run(inputs, batch, &mut Pass::Inference)
    }

    /// Runs the tail in training mode: with the batch's statistics in the layers that were chosen for it, and with dropout, whose masks are made
    /// from the bits of `random`. Returns the output of the last layer, `[batch, …]`.
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

    /// Computes the gradients of all parameters that train. `output` is the gradient of the output of the last [`Program::forward_train`].
    /// [`Program::gradients`] and [`Program::trained_mut`] return the results.
    ///
    /// # Panics
    /// If the last call was not a training pass, or `output` is not as long as the output of that pass.
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
            // If the step does not keep its output, the buffer may hold another value, which must not be read.
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

    /// Starts to measure the steps, from zero again if it was measuring already, or stops it.
    pub fn profile(&mut self, on: bool) {
        let names = self.plan.operations.iter().map(|operation| operation.name.clone());
        let never = Duration::MAX;
        let time = |layer| StepTime { layer, forward: never, parameters: never, inputs: never };
        self.times = on.then(|| names.map(time).collect());
    }

    /// The shortest times of each step; [`Duration::MAX`] if it has not run, and no steps at all unless [`Program::profile`] is on.
    pub fn times(&self) -> &[StepTime] {
        self.times.as_deref().unwrap_or_default()
    }

    /// How often kernels have been packed, transformed or scaled since the program was compiled. This happens once for a frozen layer, and once
    /// per training step for a layer that trains.
    pub fn packings(&self) -> u64 {
        self.parameters.packings()
    }

    /// Bytes that the values and gradients of a batch take.
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
            // A layer's output has at most 2^32 values per image, and the inputs of the batch exist in memory, so no product overflows.
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
