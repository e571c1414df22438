//! The public type of programs, which chooses the number format when a program is compiled.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use injerto_graph::{Activation, Builder, Graph, Operator};

use super::{Error, Input, Isa, Machine, StepProfile, Unit};
use crate::bf16::Bf16;

/// The number format and the instructions that a program computes with.
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

    /// The time that a small network takes in `f32`, divided by its time in bf16, on this machine. The first call measures it, in some
    /// milliseconds. `None` if the processor has no unit for bf16. It is measured because some processors have a unit that is slower than
    /// their products in `f32`.
    pub fn gain_of_bf16() -> Option<f64> {
        static GAIN: OnceLock<Option<f64>> = OnceLock::new();
        *GAIN.get_or_init(|| measure(Self::bf16()?))
    }

    /// bf16 if it makes programs at least a quarter faster on this machine ([`Arithmetic::gain_of_bf16`]), and `f32` otherwise. The margin is
    /// wide so that a machine gives the same answer every time.
    pub fn fastest() -> Self {
        Self::where_it_pays(Self::gain_of_bf16())
    }

    /// bf16 if `gain` is large enough, and `f32` otherwise.
    pub(crate) fn where_it_pays(gain: Option<f64>) -> Self {
        match (Self::bf16(), gain) {
            (Some(bf16), Some(gain)) if gain >= 1.25 => bf16,
            _ => Self::f32(),
        }
    }

    /// The time of the first of two programs, divided by that of the second. They run alternately, and the shortest time of each, in seconds,
    /// counts. `None` if one of them does not run.
    pub(crate) fn gain<P>(
        mut programs: [P; 2],
        rounds: usize,
        mut seconds: impl FnMut(&mut P) -> Option<f64>,
    ) -> Option<f64> {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..rounds {
            for (program, best) in programs.iter_mut().zip(&mut best) {
                *best = best.min(seconds(program)?);
            }
        }
        (best[1] > 0.0).then(|| best[0] / best[1])
    }
}

/// The gain for two dense layers on 256 rows.
fn measure(bf16: Arithmetic) -> Option<f64> {
    const ROWS: usize = 256;
    const CHANNELS: usize = 192;
    let dense = || Operator::Dense { units: CHANNELS, use_bias: true, activation: Activation::Relu };
    let mut net = Builder::new("measured");
    let x = net.input([ROWS, 1, CHANNELS]);
    let x = net.add("first", dense(), &[x]);
    net.add("second", dense(), &[x]);
    let graph = net.finish().ok()?;
    let [kernel, bias] = [CHANNELS * CHANNELS, CHANNELS].map(|count| vec![0.01_f32; count]);
    let given = |_: usize, place: usize| Cow::Borrowed([kernel.as_slice(), &bias][place]);
    let compile =
        |arithmetic| Program::compile_with(arithmetic, &graph, &[0, 1, 2], &[2], &given, &Input::default()).ok();
    let programs = [compile(Arithmetic::f32())?, compile(bf16)?];
    let pixels = vec![0.5; ROWS * CHANNELS];
    Arithmetic::gain(programs, 12, |program| {
        Some(program.profile(&pixels, 1).ok()?.iter().map(|step| step.seconds).sum())
    })
}

/// Writes a name that identifies results to the last bit, on all machines that have this arithmetic.
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
/// It can be used from several threads at once, and runs in Rayon's current thread pool.
#[derive(Debug)]
pub struct Program(Compiled);

#[derive(Debug)]
enum Compiled {
    Single(Machine<f32>),
    Half(Machine<Bf16>),
}

/// Evaluates `$body` for the machine, which has one of two formats.
macro_rules! either {
    ($program:expr, $machine:ident => $body:expr) => {
        match &$program.0 {
            Compiled::Single($machine) => $body,
            Compiled::Half($machine) => $body,
        }
    };
}

impl Program {
    /// Compiles `layers` (positions in `graph`, such as the prefix of an [`injerto_graph::Split`]) for this machine, in `f32`. `outputs` are the
    /// positions of the layers whose values [`Program::run`] returns. `parameters(layer, place)` gives a parameter in Keras's axes, by the
    /// position of its layer and its place in the layer's list.
    ///
    /// # Errors
    /// [`Error::Layer`] if a needed layer is not among `layers`, [`Error::Parameter`] and [`Error::Input`] for a wrong number of values,
    /// [`Error::Size`] and [`Error::Memory`] if values take more memory than a network may have, or the machine has.
    pub fn compile<'a>(
        graph: &Graph,
        layers: &[usize],
        outputs: &[usize],
        parameters: &dyn Fn(usize, usize) -> Cow<'a, [f32]>,
        input: &Input,
    ) -> Result<Self, Error> {
        Self::compile_with(Arithmetic::f32(), graph, layers, outputs, parameters, input)
    }

    /// Compiles as [`Program::compile`] does, for a given arithmetic. A program's inputs and outputs are always `f32`.
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
        Self::of(arithmetic, graph, 0, layers, outputs, parameters, input)
    }

    /// Compiles layers as [`Program::compile_with`] does, but the program's input is the output of layer `first`, `[batch, …]`, channels last.
    /// It is for the tail of an [`injerto_graph::Split`] whose boundary is one layer.
    ///
    /// # Errors
    /// Those of [`Program::compile_with`].
    pub fn compile_after<'a>(
        arithmetic: Arithmetic,
        graph: &Graph,
        first: usize,
        layers: &[usize],
        outputs: &[usize],
        parameters: &dyn Fn(usize, usize) -> Cow<'a, [f32]>,
    ) -> Result<Self, Error> {
        Self::of(arithmetic, graph, first, layers, outputs, parameters, &Input::default())
    }

    fn of<'a>(
        arithmetic: Arithmetic,
        graph: &Graph,
        first: usize,
        layers: &[usize],
        outputs: &[usize],
        parameters: &dyn Fn(usize, usize) -> Cow<'a, [f32]>,
        input: &Input,
    ) -> Result<Self, Error> {
        Ok(Self(match arithmetic {
            Arithmetic::F32(isa) => {
                let isa = isa.present().ok_or(Error::Instructions { isa })?;
                Compiled::Single(Machine::compile(isa, graph, first, layers, outputs, parameters, input)?)
            }
            Arithmetic::Bf16(unit) => {
                let unit = unit.present().ok_or(Error::Unit { unit })?;
                Compiled::Half(Machine::compile(unit, graph, first, layers, outputs, parameters, input)?)
            }
        }))
    }

    /// The number of values that each output has for one image.
    pub fn output_sizes(&self) -> Vec<usize> {
        either!(self, machine => machine.output_sizes())
    }

    /// Bytes that one image's values take while a program runs.
    pub fn bytes_per_image(&self) -> usize {
        either!(self, machine => machine.bytes_per_image())
    }

    /// Runs `batch` images, `[batch, height, width, channels]`, and returns each output as `[batch, …]`, channels last.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no memory for the images' values.
    ///
    /// # Panics
    /// If the length of `pixels` is not that of `batch` images.
    pub fn run(&self, pixels: &[f32], batch: usize) -> Result<Vec<Vec<f32>>, Error> {
        either!(self, machine => machine.run(pixels, batch))
    }

    /// Runs the first images in this thread and measures each step or chain of steps. At most as many images are run as go through a step
    /// together (four in `f32`, eight in bf16).
    ///
    /// # Errors
    /// In the cases of [`Program::run`].
    ///
    /// # Panics
    /// If `pixels` is shorter than these images.
    pub fn profile(&self, pixels: &[f32], batch: usize) -> Result<Vec<StepProfile>, Error> {
        either!(self, machine => machine.profile(pixels, batch))
    }
}
