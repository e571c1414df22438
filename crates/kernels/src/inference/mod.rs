//! Layers compiled for the CPU to be run and not to be trained: a frozen prefix, or a tail that is evaluated.
//!
//! [`Program::compile`] makes few steps of the layers of a graph and their parameters. Batch normalisation is folded into the convolution
//! before it, activations and sums become the convolution's epilogue, and zero padding becomes that of the convolution after it; the inputs
//! of a concatenation are written directly to their places in it. Values are channels last, and the zeros that windows read around them
//! (their halo) are stored too. All values of an image lie in one arena, which is planned once.
//!
//! The result of an image is the same, bit for bit, in any batch and with any number of threads, because each sum is added up in one
//! order, whatever tile it is in.
//!
//! - `lowering` makes steps of layers, `layout` gives their values places in memory, and `strips` decides which steps run together, a few
//!   rows at a time;
//! - `convolution`, `minimal`, `product`, `depthwise`, `attention`, `normalise` and `simple` compute steps, with the products of
//!   [`crate::linalg`]; `format` holds what depends on the number format of the values between steps, `f32` or bf16.

mod attention;
mod block;
mod convolution;
mod depthwise;
mod format;
mod layout;
mod lowering;
mod minimal;
mod normalise;
mod product;
mod program;
mod simple;
mod strips;
mod view;

use std::sync::Mutex;
use std::time::Instant;

use injerto_graph::{ChannelOrder, Graph, Preprocessing};
use rayon::prelude::*;

use crate::memory::{Aligned, OutOfMemory, room};

pub use crate::isa::Isa;
pub use crate::linalg::Unit;
pub(crate) use depthwise::{for_each_column, is_unrolled};
use format::{Format, Places};
use layout::{Layout, Operation, Step};
pub use program::{Arithmetic, Program};
use strips::{Chain, Progress};
use view::{Region, View};

/// Why a program cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A needed layer is not among those to compile.
    #[error("layer '{layer}' is needed, but is not among the layers of '{graph}' that are to be compiled")]
    Layer {
        /// Its name.
        layer: String,
        /// Name of the graph.
        graph: String,
    },
    /// A parameter's length is not the one that the graph says.
    #[error("parameter '{parameter}' has {found} values, expected {expected}")]
    Parameter {
        /// `LAYER/PARAMETER`.
        parameter: String,
        /// The number of values that the graph says.
        expected: usize,
        /// The number of values that were given.
        found: usize,
    },
    /// The scale or the shift of the input does not have one value for each channel.
    #[error("the input's scale and shift have {found} values, expected one for each of {expected} channels")]
    Input {
        /// Channels of the input.
        expected: usize,
        /// The number of values that were given.
        found: usize,
    },
    /// A value with its halo takes more memory than any network may: the halo has room for the padding of all layers that read the value.
    #[error(
        "the values of layer '{layer}' take more memory than a network may have, together with the zeros that other layers need around them"
    )]
    Size {
        /// Name of the layer.
        layer: String,
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

/// The preprocessing of pixels: `x * scale + shift` for each channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input {
    /// One factor per channel, in the order after `reverse_channels`. Empty, together with `shift`, to leave pixels as they are.
    pub scale: Vec<f64>,
    /// One summand per channel, in the same order.
    pub shift: Vec<f64>,
    /// Whether the order of channels is reversed first: RGB becomes BGR.
    pub reverse_channels: bool,
}

impl From<&Preprocessing> for Input {
    /// The preprocessing for RGB pixels from 0 to 255.
    fn from(preprocessing: &Preprocessing) -> Self {
        let Preprocessing { scale, mean, std, channel_order, .. } = preprocessing;
        Self {
            scale: std.iter().map(|std| scale / std).collect(),
            shift: mean.iter().zip(std).map(|(mean, std)| -mean / std).collect(),
            reverse_channels: *channel_order == ChannelOrder::Bgr,
        }
    }
}

/// Time and work of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepProfile {
    /// Name of its first layer; for a chain of steps, those of all steps, joined by ` + `.
    pub name: String,
    /// Time in one thread, in seconds.
    pub seconds: f64,
    /// Number of multiplications, for all images together.
    pub products: usize,
}

/// Layers of a graph, ready to run, with one number format for the values between steps.
#[derive(Debug)]
struct Machine<T: Format> {
    hardware: T::Hardware,
    layout: Layout<T>,
    outputs: Vec<usize>,
    input: [usize; 3],
    /// Arenas that no run is using.
    arenas: Mutex<Vec<Aligned>>,
}

/// The addresses at which a step finds its values.
struct Memory<T> {
    /// The arenas of the images, one after the other.
    base: *mut T,
    /// The pixels of the images.
    pixels: *const f32,
    /// The arena in which values inside a chain lie.
    strips: *mut T,
    /// The rows with which the buffers of the input and of the output begin, if these values are inside a chain.
    first: [isize; 2],
}

impl<T> Memory<T> {
    /// The addresses for a step that is not in a chain with others.
    fn plain(base: *mut T, pixels: *const f32) -> Self {
        Self { base, pixels, strips: base, first: [0, 0] }
    }
}

impl<T: Format> Machine<T> {
    fn compile(
        hardware: T::Hardware,
        graph: &Graph,
        first: usize,
        layers: &[usize],
        outputs: &[usize],
        parameters: lowering::Parameters<'_, '_>,
        input: &Input,
    ) -> Result<Self, Error> {
        let lowering = lowering::lower(graph, first, layers, outputs, parameters, input, T::MINIMAL)?;
        let outputs = lowering.outputs.clone();
        let layout = layout::lay_out(hardware, lowering)?;
        let input = lowering::as_image(&graph.nodes()[first].shape.0);
        Ok(Self { hardware, layout, outputs, input, arenas: Mutex::new(Vec::new()) })
    }

    fn output_sizes(&self) -> Vec<usize> {
        self.outputs.iter().map(|&value| self.layout.values[value].shape.iter().product()).collect()
    }

    fn bytes_per_image(&self) -> usize {
        self.layout.size * size_of::<T>()
    }

    /// See [`Program::run`].
    fn run(&self, pixels: &[f32], batch: usize) -> Result<Vec<Vec<f32>>, Error> {
        let image = self.input.iter().product::<usize>();
        assert_eq!(pixels.len(), batch * image, "{batch} images have {} values", batch * image);
        // An output has at most 2^32 values per image, and the pixels of `batch` images exist in memory, so no product overflows.
        let sizes = self.output_sizes();
        // The outputs are not filled with zeros, so the thread that computes an image is the first to write to their memory.
        let mut outputs: Vec<Vec<f32>> =
            sizes.iter().map(|size| room(size * batch, "outputs")).collect::<Result<_, _>>()?;
        let to: Vec<View> = outputs.iter_mut().map(|output| view_of(output.as_mut_ptr())).collect();
        let threads = rayon::current_num_threads();
        if batch >= threads {
            let group = batch.div_ceil(threads).min(T::GROUP);
            (0..batch.div_ceil(group)).into_par_iter().try_for_each(|at| {
                let first = at * group;
                let count = group.min(batch - first);
                self.with_arena(count, |base| {
                    for chain in &self.layout.chains {
                        self.together(chain, base, pixels[first * image..].as_ptr(), count);
                    }
                    self.copy_out(base, count, &to, first);
                })
            })?;
        } else if batch > 0 {
            self.with_arena(batch, |base| {
                let mut chains = self.layout.chains.iter();
                chains.try_for_each(|chain| self.apart(chain, base, pixels.as_ptr(), batch))?;
                self.copy_out(base, batch, &to, 0);
                Ok::<_, OutOfMemory>(())
            })??;
        }
        for (output, size) in outputs.iter_mut().zip(sizes) {
            // SAFETY: the vector has room for this many values, and `copy_out` has written those of all images.
            unsafe { output.set_len(size * batch) };
        }
        Ok(outputs)
    }

    /// See [`Program::profile`].
    fn profile(&self, pixels: &[f32], batch: usize) -> Result<Vec<StepProfile>, Error> {
        let batch = batch.min(T::GROUP);
        assert!(pixels.len() >= batch * self.input.iter().product::<usize>(), "too few values for {batch} images");
        let time = |base: *mut T, chain: &Chain| {
            let start = Instant::now();
            self.together(chain, base, pixels.as_ptr(), batch);
            let seconds = start.elapsed().as_secs_f64();
            let steps = &self.layout.steps[chain.steps.clone()];
            let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
            let products = steps.iter().map(|step| step.products * batch).sum();
            StepProfile { name: names.join(" + "), seconds, products }
        };
        Ok(self.with_arena(batch, |base| self.layout.chains.iter().map(|chain| time(base, chain)).collect())?)
    }

    /// Runs a chain on `images` images in this thread.
    fn together(&self, chain: &Chain, base: *mut T, pixels: *const f32, images: usize) {
        self.clear(chain, base, images);
        let last = &self.layout.steps[chain.steps.end - 1];
        let rows = 0..self.layout.values[last.output].shape[0];
        if chain.inner.is_empty() {
            return self.step(last, &Memory::plain(base, pixels), Region { images: 0..images, rows });
        }
        for image in 0..images {
            self.strips(chain, [base, base], pixels, Region { images: image..image + 1, rows: rows.clone() });
        }
    }

    /// Runs a chain on fewer images than there are threads: each thread computes some rows.
    fn apart(&self, chain: &Chain, base: *mut T, pixels: *const f32, images: usize) -> Result<(), OutOfMemory> {
        self.clear(chain, base, images);
        let last = &self.layout.steps[chain.steps.end - 1];
        let rows = self.layout.values[last.output].shape[0];
        let parts = rayon::current_num_threads().min(rows);
        let (base, pixels) = (view_of(base), view_of(pixels.cast_mut()));
        (0..images * parts).into_par_iter().try_for_each(|part| {
            let (image, part) = (part / parts, part % parts);
            let region = Region { images: image..image + 1, rows: part * rows / parts..(part + 1) * rows / parts };
            let (base, pixels) = (base.at(0, 0, 0), pixels.at(0, 0, 0).cast_const());
            if chain.inner.is_empty() {
                self.step(last, &Memory::plain(base, pixels), region);
                return Ok(());
            }
            // Each thread has an arena of its own for the values inside the chain.
            self.with_arena(1, |strips| self.strips(chain, [base, strips], pixels, region))
        })
    }

    /// Runs a chain on rows of one image, strip by strip. `strips` is the arena in which the values inside the chain lie.
    fn strips(&self, chain: &Chain, [base, strips]: [*mut T; 2], pixels: *const f32, region: Region) {
        let steps = &self.layout.steps[chain.steps.clone()];
        let mut progress = Progress::new(chain);
        let mut memory = Memory { base, pixels, strips, first: [0, 0] };
        // The row with which the buffer of each inner value begins.
        let mut starts = vec![0; chain.inner.len()];
        let mut from = region.rows.start;
        while from < region.rows.end {
            let to = (from + chain.strip).min(region.rows.end);
            let fills = progress.next(from..to);
            for (at, (step, fill)) in steps.iter().zip(&fills).enumerate() {
                let Some(fill) = fill else { continue };
                // SAFETY: the buffer has room for as many rows as the chain's capacity, which the rows of no `Fill` exceed (see `Progress`).
                unsafe { self.shift(step, chain.inner[at], fill, strips) };
                starts[at] = fill.start;
                memory.first = [if at == 0 { 0 } else { starts[at - 1] }, starts[at]];
                let rows = fill.new.start.clamp(0, chain.inner[at].height as isize) as usize
                    ..fill.new.end.clamp(0, chain.inner[at].height as isize) as usize;
                if !rows.is_empty() {
                    self.step(step, &memory, Region { images: region.images.clone(), rows });
                }
            }
            memory.first = [starts[chain.inner.len() - 1], 0];
            self.step(&steps[steps.len() - 1], &memory, Region { images: region.images.clone(), rows: from..to });
            from = to;
        }
    }

    /// Moves the rows of an inner value that are still needed to the front of its buffer and writes the zeros of the new ones.
    ///
    /// # Safety
    /// The buffer must hold the rows from `fill.start` to `fill.new.end`.
    unsafe fn shift(&self, step: &Step<T>, inner: strips::Inner, fill: &strips::Fill, arena: *mut T) {
        let placed = self.layout.values[step.output];
        let width = placed.shape[1] * placed.pixel;
        let start = arena.wrapping_add(placed.offset - inner.left);
        let at = |row: isize| start.wrapping_add((row - fill.start) as usize * inner.row);
        // SAFETY: the buffer has room for the rows from `fill.start` to `fill.new.end`. It begins with row `fill.held`, and the rows from
        // `fill.start` on are moved to its front.
        unsafe {
            if fill.start > fill.held && fill.start < fill.new.start {
                let kept = (fill.new.start - fill.start) as usize * inner.row;
                let from = start.wrapping_add((fill.start - fill.held) as usize * inner.row);
                std::ptr::copy(from, start, kept);
            }
            for row in fill.new.clone() {
                if (0..inner.height as isize).contains(&row) {
                    std::ptr::write_bytes(at(row), 0, inner.left);
                    std::ptr::write_bytes(at(row).add(inner.left + width), 0, inner.row - inner.left - width);
                } else {
                    std::ptr::write_bytes(at(row), 0, inner.row);
                }
            }
        }
    }

    /// Lends arenas for `images` images.
    fn with_arena<R>(&self, images: usize, work: impl FnOnce(*mut T) -> R) -> Result<R, OutOfMemory> {
        // A vector that is read may reach beyond the last value of the last image.
        let length = (images * self.layout.size).next_multiple_of(layout::SLACK) + layout::SLACK;
        let arenas = || self.arenas.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut arena = arenas().pop().unwrap_or_default();
        arena.replace((length * size_of::<T>()).div_ceil(size_of::<f32>()), "values between layers")?;
        let result = work(arena.as_mut_ptr().cast());
        arenas().push(arena);
        Ok(result)
    }

    /// Writes the halos of the steps' outputs.
    fn clear(&self, chain: &Chain, base: *mut T, images: usize) {
        for image in 0..images {
            for &(offset, length) in self.layout.steps[chain.steps.clone()].iter().flat_map(|step| &step.zeros) {
                // SAFETY: each run of zeros lies in an image's arena, and `base` is the address of `images` arenas.
                unsafe { std::ptr::write_bytes(base.add(image * self.layout.size + offset), 0, length) };
            }
        }
    }

    /// Runs a step on a region of its output.
    fn step(&self, step: &Step<T>, memory: &Memory<T>, region: Region) {
        let view = |value: usize, first: isize| {
            let placed = self.layout.values[value];
            if !placed.strip {
                return placed.view(memory.base, self.layout.size);
            }
            let base = memory.strips.wrapping_add(placed.offset).wrapping_offset(-first * placed.row as isize);
            View { base, image: 0, row: placed.row, pixel: placed.pixel }
        };
        let isa = T::vectors(self.hardware);
        let output = view(step.output, memory.first[1]);
        let residual = step.residual.map(|value| view(value, 0));
        let view = |value: usize| view(value, memory.first[0]);
        // SAFETY: the layout gives every value room for its halo and for a vector beyond its end, and two values that are needed at the same
        // time never overlap.
        unsafe {
            match &step.operation {
                Operation::Product(product) => {
                    let places = Places { input: view(step.inputs[0]), output, residual };
                    T::multiply(self.hardware, product, places, region);
                }
                Operation::Depthwise(depthwise) => {
                    let input = view(step.inputs[0]);
                    T::depthwise(isa, &depthwise::Job { depthwise, input, output, residual, region });
                }
                Operation::Normalise(normalise) => {
                    let (input, shape) = (view(step.inputs[0]), self.layout.values[step.output].shape);
                    T::normalise(isa, &normalise::Job { normalise, input, output, shape, region });
                }
                Operation::Attention(sizes) => {
                    let inputs: Vec<View<T>> = step.inputs.iter().map(|&value| view(value)).collect();
                    let job = attention::Job { sizes: *sizes, inputs: &inputs, output, region };
                    attention::run(isa, &job);
                }
                Operation::Simple(simple) => {
                    let inputs: Vec<(View<T>, [usize; 3])> =
                        step.inputs.iter().map(|&value| (view(value), self.layout.values[value].shape)).collect();
                    let [height, width, pixel] = self.input;
                    let pixels = inputs.is_empty().then(|| View {
                        base: memory.pixels.cast_mut(),
                        image: height * width * pixel,
                        row: width * pixel,
                        pixel,
                    });
                    let shape = self.layout.values[step.output].shape;
                    T::simple(isa, &simple::Job { simple, pixels, inputs: &inputs, output, shape, region });
                }
            }
        }
    }

    /// Copies the outputs of a group of images to `to`, as those of image `first` and the next ones.
    fn copy_out(&self, base: *mut T, images: usize, to: &[View], first: usize) {
        for (&value, to) in self.outputs.iter().zip(to) {
            let placed = self.layout.values[value];
            let [height, width, channels] = placed.shape;
            let (input, first) =
                (placed.view(base, self.layout.size), to.base.wrapping_add(first * height * width * channels));
            let output = View { base: first, image: height * width * channels, row: width * channels, pixel: channels };
            // SAFETY: the arenas hold the value of each image, and outputs have room for all images, each of which is written by one thread.
            unsafe {
                T::copy_out(T::vectors(self.hardware), &simple::Out { input, output, shape: placed.shape, images })
            };
        }
    }
}

/// A view without distances, which carries an address to other threads.
fn view_of<T>(base: *mut T) -> View<T> {
    View { base, image: 0, row: 0, pixel: 0 }
}
