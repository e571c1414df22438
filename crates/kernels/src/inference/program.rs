//! Programs as their users see them: the number format is chosen when one is compiled.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use injerto_graph::{Activation, Builder, Graph, Operator};

use super::{Error, Input, Isa, Machine, StepProfile, Unit};
use crate::bf16::Bf16;

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

    /// How many times as fast as `f32` this machine computes a small network in bf16, by a measurement of some milliseconds when it is
    /// first asked for; `None` if its processor has no unit for bf16. Which processor it is says little: the unit of some is slower than
    /// their products in `f32`.
    pub fn gain_of_bf16() -> Option<f64> {
        static GAIN: OnceLock<Option<f64>> = OnceLock::new();
        *GAIN.get_or_init(|| measure(Self::bf16()?))
    }

    /// bf16 where it makes programs at least a quarter faster ([`Arithmetic::gain_of_bf16`]), and `f32` elsewhere. The margin is wide, so
    /// that a machine does not answer one way today and another way tomorrow.
    pub fn fastest() -> Self {
        Self::where_it_pays(Self::gain_of_bf16())
    }

    /// bf16 if this is gain enough.
    pub(crate) fn where_it_pays(gain: Option<f64>) -> Self {
        match (Self::bf16(), gain) {
            (Some(bf16), Some(gain)) if gain >= 1.25 => bf16,
            _ => Self::f32(),
        }
    }

    /// How many times as fast as the first of two programs the second one is. They run in turn, and the best time of each counts, in
    /// seconds; `None` if they do not run.
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

/// How many times as fast as in `f32` two dense layers on 256 rows are.
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

    /// Runs images in this thread, as many as go through a step together at the most (four in `f32`, eight in bf16), and says how long each
    /// step, or chain of steps, took.
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
