//! Programs as their users see them: the number format is chosen when one is compiled.

use std::borrow::Cow;
use std::fmt;

use injerto_graph::Graph;

use super::{Error, Input, Isa, Machine, StepProfile, Unit};
use crate::element::Bf16;

/// What a program computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// Values and products in `f32`, with these instructions.
    F32(Isa),
    /// Values between steps in bf16, and products of bf16 by this unit, with sums in `f32`. Everything else (biases, functions,
    /// depthwise convolutions, pooling, sums, normalisations, attention) is computed in `f32` and rounded once when a step writes it.
    Bf16(Unit),
}

impl Arithmetic {
    /// `f32` with the best instructions of this machine.
    pub fn f32() -> Self {
        Self::F32(Isa::detect())
    }

    /// bf16 with the best unit of this machine; `None` if its processor has none.
    pub fn bf16() -> Option<Self> {
        Unit::detect().map(Self::Bf16)
    }
}

/// Names what programs with it compute, to the last bit, on all machines that have it.
impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32(isa) => write!(f, "{isa:?}"),
            Self::Bf16(unit) => write!(f, "bf16 {unit:?}"),
        }
    }
}

/// Layers of a graph, ready to run.
///
/// It can be used from several threads at once. Work goes to rayon's current pool.
#[derive(Debug)]
pub struct Program(Compiled);

#[derive(Debug)]
enum Compiled {
    Single(Machine<f32>),
    Half(Machine<Bf16>),
}

/// Evaluates `$body` for the machine of either format.
macro_rules! either {
    ($program:expr, $machine:ident => $body:expr) => {
        match &$program.0 {
            Compiled::Single($machine) => $body,
            Compiled::Half($machine) => $body,
        }
    };
}

impl Program {
    /// Compiles `layers` (positions in `graph`, such as [`injerto_graph::Split`]'s prefix) for this machine. `outputs` are the
    /// positions whose values are wanted; `parameters` gives a layer's parameter, by position of the layer and place in its
    /// list, in Keras's axes.
    ///
    /// # Errors
    /// A layer that is needed and not given, a parameter of a wrong length, or values that take more room than there is.
    pub fn compile<'a>(
        graph: &Graph,
        layers: &[usize],
        outputs: &[usize],
        parameters: &dyn Fn(usize, usize) -> Cow<'a, [f32]>,
        input: &Input,
    ) -> Result<Self, Error> {
        Self::compile_with(Arithmetic::f32(), graph, layers, outputs, parameters, input)
    }

    /// Compiles as [`Program::compile`] does, for given instructions.
    ///
    /// # Errors
    /// Those of [`Program::compile`], or [`Error::Instructions`] where this machine lacks the instructions.
    pub fn compile_for<'a>(
        isa: Isa,
        graph: &Graph,
        layers: &[usize],
        outputs: &[usize],
        parameters: &dyn Fn(usize, usize) -> Cow<'a, [f32]>,
        input: &Input,
    ) -> Result<Self, Error> {
        Self::compile_with(Arithmetic::F32(isa), graph, layers, outputs, parameters, input)
    }

    /// Compiles as [`Program::compile`] does, for a given arithmetic. What a program takes and puts out is `f32` in each.
    ///
    /// # Errors
    /// Those of [`Program::compile`]; [`Error::Instructions`] and [`Error::Unit`] where this machine lacks what is asked for.
    pub fn compile_with<'a>(
        arithmetic: Arithmetic,
        graph: &Graph,
        layers: &[usize],
        outputs: &[usize],
        parameters: &dyn Fn(usize, usize) -> Cow<'a, [f32]>,
        input: &Input,
    ) -> Result<Self, Error> {
        Ok(Self(match arithmetic {
            Arithmetic::F32(isa) => {
                let isa = isa.present().ok_or(Error::Instructions { isa })?;
                Compiled::Single(Machine::compile(isa, graph, layers, outputs, parameters, input)?)
            }
            Arithmetic::Bf16(unit) => {
                let unit = unit.present().ok_or(Error::Unit { unit })?;
                Compiled::Half(Machine::compile(unit, graph, layers, outputs, parameters, input)?)
            }
        }))
    }

    /// Values of each output for one image.
    pub fn output_sizes(&self) -> Vec<usize> {
        either!(self, machine => machine.output_sizes())
    }

    /// Bytes that one image's values take while a program runs.
    pub fn bytes_per_image(&self) -> usize {
        either!(self, machine => machine.bytes_per_image())
    }

    /// Runs `batch` images, `[batch, height, width, channels]`, and gives each output as `[batch, …]`, channels last.
    ///
    /// # Errors
    /// [`Error::Memory`] where there is no room for the images' values.
    ///
    /// # Panics
    /// If `pixels` has not as many values as `batch` images have.
    pub fn run(&self, pixels: &[f32], batch: usize) -> Result<Vec<Vec<f32>>, Error> {
        either!(self, machine => machine.run(pixels, batch))
    }

    /// Runs up to four images in this thread and says how long each step, or chain of steps, took.
    ///
    /// # Errors
    /// In the cases of [`Program::run`].
    ///
    /// # Panics
    /// If there are too few values for the images.
    pub fn profile(&self, pixels: &[f32], batch: usize) -> Result<Vec<StepProfile>, Error> {
        either!(self, machine => machine.profile(pixels, batch))
    }
}
