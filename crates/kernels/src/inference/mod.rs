//! A frozen prefix compiled for the CPU.
//!
//! [`Program::compile`] takes layers of a graph with their parameters and makes few steps of them: batch normalisation goes
//! into the convolution before it, activations and sums into its end, zero padding into the one behind it; a concatenation's
//! inputs are written in their place. Values are channels last, with the zeros that windows want already around them, in
//! one arena an image that is planned once.
//!
//! An image's result is the same bit for bit in any batch and with any number of threads: every sum is one chain in one order,
//! wherever its tile falls.
//!
//! - `draft`: layers to steps; `layout`: steps to memory;
//! - `convolution`, `winograd`, `depthwise`, `simple`: kernels, generic over the vectors in `simd`.

mod convolution;
mod depthwise;
mod draft;
mod layout;
mod simd;
mod simple;
mod view;
mod winograd;

use std::borrow::Cow;
use std::sync::Mutex;
use std::time::Instant;

use injerto_graph::{ChannelOrder, Graph, Preprocessing};
use rayon::prelude::*;

use layout::{Layout, Ready, Step};
pub use simd::Isa;
use view::{Region, View};

/// Images that go through a step together in one thread: enough that weights are used again while they are near.
const GROUP: usize = 4;

/// Why a program cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A layer that is needed and not among those to compile.
    #[error("layer '{layer}' is needed, but is not among the layers of '{graph}' that are to be compiled")]
    Layer {
        /// Its name.
        layer: String,
        /// Name of the graph.
        graph: String,
    },
    /// A parameter of another length than the graph's.
    #[error("parameter '{parameter}' has {found} values, expected {expected}")]
    Parameter {
        /// `LAYER/PARAMETER`.
        parameter: String,
        /// By the graph.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A scale or shift of the input for another number of channels.
    #[error("the input's scale and shift have {found} values, expected one for each of {expected} channels")]
    Input {
        /// Channels of the input.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// Instructions that this machine does not have.
    #[error("this machine has no {isa:?} instructions; take Isa::detect()")]
    Instructions {
        /// What was asked for.
        isa: Isa,
    },
}

/// What happens to pixels before the first layer: `x * scale + shift` for each channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input {
    /// One factor a channel, after reordering; empty (with `shift`) for none.
    pub scale: Vec<f64>,
    /// One summand a channel, after reordering.
    pub shift: Vec<f64>,
    /// Last channel first: RGB becomes BGR.
    pub reverse_channels: bool,
}

impl From<&Preprocessing> for Input {
    /// For RGB pixels from 0 to 255.
    fn from(preprocessing: &Preprocessing) -> Self {
        let Preprocessing { scale, mean, deviation, channel_order, .. } = preprocessing;
        Self {
            scale: deviation.iter().map(|deviation| scale / deviation).collect(),
            shift: mean.iter().zip(deviation).map(|(mean, deviation)| -mean / deviation).collect(),
            reverse_channels: *channel_order == ChannelOrder::Bgr,
        }
    }
}

/// Time and work of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepProfile {
    /// Name of the first layer in it.
    pub name: String,
    /// Time in one thread.
    pub seconds: f64,
    /// Multiplications, for all images.
    pub products: usize,
}

/// Layers of a graph, ready to run.
///
/// It can be used from several threads at once. Work goes to rayon's current pool.
#[derive(Debug)]
pub struct Program {
    isa: Isa,
    layout: Layout,
    outputs: Vec<usize>,
    input: [usize; 3],
    arenas: Mutex<Vec<Arena>>,
}

/// Memory for the values of some images.
#[derive(Debug)]
struct Arena(Vec<Line>);

/// A cache line, read and written through its address alone.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "only its address is used")] [f32; 16]);

impl Program {
    /// Compiles `layers` (positions in `graph`, such as [`injerto_graph::Split`]'s prefix) for this machine. `outputs` are the
    /// positions whose values are wanted; `parameters` gives a layer's parameter, by position of the layer and place in its
    /// list, in Keras's axes.
    ///
    /// # Errors
    /// A layer that is needed and not given, or a parameter of a wrong length.
    pub fn compile<'a>(
        graph: &Graph,
        layers: &[usize],
        outputs: &[usize],
        parameters: &dyn Fn(usize, usize) -> Cow<'a, [f32]>,
        input: &Input,
    ) -> Result<Self, Error> {
        Self::compile_for(Isa::detect(), graph, layers, outputs, parameters, input)
    }

    /// As [`Program::compile`], for given instructions.
    ///
    /// # Errors
    /// As there, or [`Error::Instructions`].
    pub fn compile_for<'a>(
        isa: Isa,
        graph: &Graph,
        layers: &[usize],
        outputs: &[usize],
        parameters: &dyn Fn(usize, usize) -> Cow<'a, [f32]>,
        input: &Input,
    ) -> Result<Self, Error> {
        if !Isa::available().contains(&isa) {
            return Err(Error::Instructions { isa });
        }
        let plan = draft::plan(graph, layers, outputs, parameters, input)?;
        let outputs = plan.outputs.clone();
        let layout = layout::lay_out(isa, plan);
        let input = draft::as_image(&graph.input_shape().0);
        Ok(Self { isa, layout, outputs, input, arenas: Mutex::new(Vec::new()) })
    }

    /// Values of each output for one image.
    pub fn output_sizes(&self) -> Vec<usize> {
        self.outputs.iter().map(|&value| self.layout.values[value].shape.iter().product()).collect()
    }

    /// Bytes that one image's values take while a program runs.
    pub fn bytes_per_image(&self) -> usize {
        self.layout.size * size_of::<f32>()
    }

    /// Runs `batch` images, `[batch, height, width, channels]`, and gives each output as `[batch, …]`, channels last.
    ///
    /// # Panics
    /// If `pixels` has not as many values as `batch` images have.
    pub fn run(&self, pixels: &[f32], batch: usize) -> Vec<Vec<f32>> {
        let image = self.input.iter().product::<usize>();
        assert_eq!(pixels.len(), batch * image, "{batch} images have {} values", batch * image);
        let mut outputs: Vec<Vec<f32>> = self.output_sizes().iter().map(|size| vec![0.0; size * batch]).collect();
        let to: Vec<View> = outputs.iter_mut().map(|output| view_of(output.as_mut_ptr())).collect();
        let threads = rayon::current_num_threads();
        if batch >= threads {
            let group = batch.div_ceil(threads).min(GROUP);
            (0..batch.div_ceil(group)).into_par_iter().for_each(|at| {
                let first = at * group;
                let count = group.min(batch - first);
                self.with_arena(count, |base| {
                    for step in &self.layout.steps {
                        self.clear(step, base, count);
                        let region = Region { images: 0..count, rows: 0..self.layout.values[step.output].shape[0] };
                        self.step(step, base, pixels[first * image..].as_ptr(), region);
                    }
                    self.copy_out(base, count, &to, first);
                });
            });
        } else if batch > 0 {
            self.with_arena(batch, |base| {
                for step in &self.layout.steps {
                    self.clear(step, base, batch);
                    let rows = self.layout.values[step.output].shape[0];
                    let parts = threads.min(rows);
                    let base = view_of(base);
                    (0..batch * parts).into_par_iter().for_each(|part| {
                        let (at, part) = (part / parts, part % parts);
                        let rows = part * rows / parts..(part + 1) * rows / parts;
                        self.step(step, base.at(0, 0, 0), pixels.as_ptr(), Region { images: at..at + 1, rows });
                    });
                }
                self.copy_out(base, batch, &to, 0);
            });
        }
        outputs
    }

    /// Runs up to four images in this thread and says how long each step took.
    ///
    /// # Panics
    /// As [`Program::run`].
    pub fn profile(&self, pixels: &[f32], batch: usize) -> Vec<StepProfile> {
        let batch = batch.min(GROUP);
        assert!(pixels.len() >= batch * self.input.iter().product::<usize>(), "too few values for {batch} images");
        let time = |(base, step): (*mut f32, &Step)| {
            let start = Instant::now();
            self.clear(step, base, batch);
            let region = Region { images: 0..batch, rows: 0..self.layout.values[step.output].shape[0] };
            self.step(step, base, pixels.as_ptr(), region);
            let seconds = start.elapsed().as_secs_f64();
            StepProfile { name: step.name.clone(), seconds, products: step.products * batch }
        };
        self.with_arena(batch, |base| self.layout.steps.iter().map(|step| time((base, step))).collect())
    }

    /// Lends memory for `images` images.
    fn with_arena<T>(&self, images: usize, work: impl FnOnce(*mut f32) -> T) -> T {
        let lines = (images * self.layout.size).div_ceil(16) + 1;
        let arenas = || self.arenas.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut arena = arenas().pop().unwrap_or(Arena(Vec::new()));
        if arena.0.len() < lines {
            arena.0 = vec![Line([0.0; 16]); lines];
        }
        let result = work(arena.0.as_mut_ptr().cast());
        arenas().push(arena);
        result
    }

    /// Writes the zeros that must lie around a step's output.
    fn clear(&self, step: &Step, base: *mut f32, images: usize) {
        for image in 0..images {
            for &(offset, length) in &step.zeros {
                // SAFETY: runs lie in an image's arena, and `base` is that of `images` arenas.
                unsafe { std::ptr::write_bytes(base.add(image * self.layout.size + offset), 0, length) };
            }
        }
    }

    /// Runs a step on a region of its output.
    fn step(&self, step: &Step, base: *mut f32, pixels: *const f32, region: Region) {
        let view = |value: usize| self.layout.values[value].view(base, self.layout.size);
        let output = view(step.output);
        let residual = step.residual.map(view);
        // SAFETY: the layout gives every value room for all its images, its halo and a vector beyond, and no two living
        // values the same room; `compile_for` has checked the instructions.
        unsafe {
            match &step.work {
                Ready::Convolution(convolution) => {
                    let input = view(step.inputs[0]);
                    convolution::run(self.isa, &convolution::Job { convolution, input, output, residual, region });
                }
                Ready::Winograd(winograd) => {
                    let input = view(step.inputs[0]);
                    winograd::run(self.isa, &winograd::Job { winograd, input, output, residual, region });
                }
                Ready::Depthwise(depthwise) => {
                    let input = view(step.inputs[0]);
                    depthwise::run(self.isa, &depthwise::Job { depthwise, input, output, residual, region });
                }
                Ready::Simple(simple) => {
                    let mut inputs: Vec<(View, [usize; 3])> =
                        step.inputs.iter().map(|&value| (view(value), self.layout.values[value].shape)).collect();
                    if inputs.is_empty() {
                        let [height, width, pixel] = self.input;
                        let base = pixels.cast_mut();
                        let image = height * width * pixel;
                        inputs.push((View { base, image, row: width * pixel, pixel }, self.input));
                    }
                    let shape = self.layout.values[step.output].shape;
                    simple::run(self.isa, &simple::Job { simple, inputs: &inputs, output, shape, region });
                }
            }
        }
    }

    /// Copies the outputs of a group to where they belong, from image `first` on.
    fn copy_out(&self, base: *mut f32, images: usize, to: &[View], first: usize) {
        for (&value, to) in self.outputs.iter().zip(to) {
            let placed = self.layout.values[value];
            let [height, width, channels] = placed.shape;
            let from = placed.view(base, self.layout.size);
            let mut at = to.base.wrapping_add(first * height * width * channels);
            for image in 0..images {
                for y in 0..height {
                    for x in 0..width {
                        // SAFETY: outputs have room for all images, and each image is written by one thread.
                        unsafe {
                            let pixel = from.at(image, y as isize, x as isize);
                            std::ptr::copy_nonoverlapping(pixel, at, channels);
                            at = at.add(channels);
                        }
                    }
                }
            }
        }
    }
}

/// An address that can go to other threads.
fn view_of(base: *mut f32) -> View {
    View { base, image: 0, row: 0, pixel: 0 }
}
