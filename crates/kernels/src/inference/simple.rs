//! Steps without weights of their own or with one weight per value: pooling, element-wise functions, softmax, and copies of values.

use super::view::{Epilogue, Region, View};
use crate::bf16::Bf16;
use crate::element::Element;
use crate::geometry::Geometry;
use crate::simd::{Simd, per_isa, wide_or_portable};

/// The operation of a job.
#[derive(Debug, Clone)]
pub(crate) enum Simple {
    /// Applies an affine function to each channel, and then a function.
    Map(Map),
    /// Adds all inputs, and then applies a function.
    Add(Epilogue),
    /// Adds or multiplies all inputs, whose sides of length 1 are repeated, and then applies a function.
    Join(Join, Vec<Factor>, Epilogue),
    /// Computes the mean or the maximum of windows.
    Pool(Pool),
    /// Computes the softmax over the channels.
    Softmax,
    /// Copies the input to row and column `[y, x]` of the output, with zeros around it.
    Place([usize; 2]),
    /// Copies the values to another shape.
    Reshape,
    /// Puts rows of these values before those of the input.
    Prepend(Vec<f32>),
    /// Adds these values, one for each value of an image.
    Embed(Vec<f32>),
    /// Copies the rows of the input from this one on.
    Crop(usize),
    /// Copies these runs of the input's channels, one after the other.
    Take(Vec<Run>),
}

/// Consecutive channels: the first one, and their number.
pub(crate) type Run = [usize; 2];

/// Divides a list of channels into runs.
pub(crate) fn runs(channels: &[usize]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &channel in channels {
        match runs.last_mut() {
            Some([first, count]) if *first + *count == channel => *count += 1,
            _ => runs.push([channel, 1]),
        }
    }
    runs
}

/// How inputs are combined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Join {
    Sum,
    Product,
}

/// `x * scale + shift` for each channel, then a function.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    /// One factor per channel; the list is repeated until it is a multiple of the longest vector. Empty, together with `shift`, for the
    /// identity.
    pub scale: Vec<f32>,
    /// One summand per channel, repeated likewise.
    pub shift: Vec<f32>,
    /// Whether the order of channels is reversed first.
    pub reverse: bool,
    /// The function that is applied last.
    pub epilogue: Epilogue,
}

impl Map {
    /// A map with a factor and a summand for each channel.
    pub fn affine(scale: &[f64], shift: &[f64], epilogue: Epilogue) -> Self {
        let length = (1..=16).map(|n| n * scale.len()).find(|n| n % 16 == 0).unwrap_or(16 * scale.len());
        let repeat = |values: &[f64]| values.iter().cycle().take(length).map(|&x| x as f32).collect();
        Self { scale: repeat(scale), shift: repeat(shift), reverse: false, epilogue }
    }

    /// A map that only applies the function.
    pub fn epilogue(epilogue: Epilogue) -> Self {
        Self { scale: Vec::new(), shift: Vec::new(), reverse: false, epilogue }
    }
}

/// An input of a sum or a product.
#[derive(Debug, Clone)]
pub(crate) struct Factor {
    /// If it has fewer pixels than the result: for each pixel of the result, `[y, x]` of the input's pixel.
    pub pixels: Option<Vec<[u32; 2]>>,
    /// Whether it has one channel, which is repeated for all channels of the result.
    pub single: bool,
}

/// A pooling.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    /// Whether it takes the largest value of a window, instead of the mean.
    pub largest: bool,
    pub geometry: Geometry,
    /// Whether a mean counts the zeros of the padding.
    pub include_padding: bool,
    /// The function that is applied last.
    pub epilogue: Epilogue,
}

/// The arguments of one simple step.
pub(crate) struct Job<'a, T> {
    pub simple: &'a Simple,
    /// The program's input, for the step that reads it, which is a [`Simple::Map`].
    pub pixels: Option<View>,
    /// View and `[height, width, channels]` of each of the other inputs.
    pub inputs: &'a [(View<T>, [usize; 3])],
    pub output: View<T>,
    /// `[height, width, channels]`.
    pub shape: [usize; 3],
    pub region: Region,
}

per_isa! {
    /// Computes the region of the output.
    pub(super) run = kernel::<S, f32>(Job<'_, f32>)
}

wide_or_portable! {
    /// Computes the region of the output.
    pub(super) run_bf16 = kernel::<S, Bf16>(Job<'_, Bf16>)
}

/// The arguments of the copy of a program's output.
pub(crate) struct Out<T> {
    pub input: View<T>,
    pub output: View,
    /// `[height, width, channels]`.
    pub shape: [usize; 3],
    pub images: usize,
}

per_isa! {
    /// Copies an output.
    pub(super) copy_out = copy_out_kernel::<S, f32>(Out<f32>)
}

wide_or_portable! {
    /// Copies an output, converted to `f32`.
    pub(super) copy_out_bf16 = copy_out_kernel::<S, Bf16>(Out<Bf16>)
}

#[inline(always)]
unsafe fn copy_out_kernel<S: Simd, T: Element>(job: &Out<T>) {
    let ([height, width, channels], as_it_is) = (job.shape, Map::epilogue(Epilogue::None));
    for (image, y) in (0..job.images).flat_map(|image| (0..height).map(move |y| (image, y))) {
        for (from, to) in both(job.input, job.output, width, image, y) {
            // SAFETY: the pixel has the channels in both views; the instructions of `S` are there.
            unsafe { line::<S, T, f32>(&as_it_is, from, to, channels) };
        }
    }
}

#[inline(always)]
unsafe fn kernel<S: Simd, T: Element>(job: &Job<'_, T>) {
    for image in job.region.images.clone() {
        for y in job.region.rows.clone() {
            // SAFETY: the views hold the row and what it is made of, with a vector beyond (see `View`); the instructions of `S` are
            // there.
            unsafe {
                match job.simple {
                    Simple::Map(m) => match job.pixels {
                        Some(pixels) => map::<S, f32, T>(pixels, job, m, image, y),
                        None => map::<S, T, T>(job.inputs[0].0, job, m, image, y),
                    },
                    Simple::Add(epilogue) => add::<S, T>(job, *epilogue, image, y),
                    Simple::Join(Join::Sum, all, epilogue) => join::<S, T, true>(job, all, *epilogue, image, y),
                    Simple::Join(Join::Product, all, epilogue) => join::<S, T, false>(job, all, *epilogue, image, y),
                    Simple::Pool(p) => pool::<S, T>(job, p, image, y),
                    Simple::Softmax => softmax(job, image, y),
                    Simple::Place(at) => place(job, *at, image, y),
                    Simple::Reshape => reshape(job, image, y),
                    Simple::Prepend(rows) => prepend(job, rows, image, y),
                    Simple::Embed(values) => embed::<S, T>(job, values, image, y),
                    Simple::Crop(first) => copy_row(job, image, y + first, y),
                    Simple::Take(runs) => take(job, runs, image, y),
                }
            }
        }
    }
}

/// The pixels of row `y`: pairs of addresses in input 0 and in the output.
#[inline(always)]
fn pixels<T>(job: &Job<'_, T>, image: usize, y: usize) -> impl Iterator<Item = (*const T, *mut T)> {
    both(job.inputs[0].0, job.output, job.shape[1], image, y)
}

/// The pixels of row `y`: pairs of addresses in `input` and in `output`.
#[inline(always)]
fn both<I, T>(
    input: View<I>,
    output: View<T>,
    width: usize,
    image: usize,
    y: usize,
) -> impl Iterator<Item = (*const I, *mut T)> {
    (0..width as isize).map(move |x| (input.at(image, y as isize, x).cast_const(), output.at(image, y as isize, x)))
}

#[inline(always)]
unsafe fn map<S: Simd, I: Element, T: Element>(input: View<I>, job: &Job<'_, T>, m: &Map, image: usize, y: usize) {
    let [_, width, channels] = job.shape;
    // SAFETY: the views hold row `y`; stores are cut to the row, or to the channels; the instructions of `S` are there.
    unsafe {
        if m.reverse {
            for (from, to) in both(input, job.output, width, image, y) {
                for c in 0..channels {
                    let x = (*from.add(channels - 1 - c)).get();
                    *to.add(c) = T::of(if m.scale.is_empty() { x } else { x * m.scale[c] + m.shift[c] });
                }
            }
        } else if input.pixel == channels && job.output.pixel == channels {
            let (from, to) = (input.at(image, y as isize, 0), job.output.at(image, y as isize, 0));
            line::<S, I, T>(m, from, to, width * channels);
        } else {
            for (from, to) in both(input, job.output, width, image, y) {
                line::<S, I, T>(m, from, to, channels);
            }
        }
    }
}

#[inline(always)]
unsafe fn line<S: Simd, I: Element, T: Element>(m: &Map, from: *const I, to: *mut T, length: usize) {
    // SAFETY: `length` values lie at both addresses; scale and shift are whole vectors; the instructions of `S` are there.
    unsafe {
        match m.epilogue {
            // The most common case, the preprocessing of pixels, has a loop of its own, without a branch in it.
            Epilogue::None => line_with::<S, I, T>(m, from, to, length, |x| x),
            epilogue => line_with::<S, I, T>(m, from, to, length, |x| epilogue.apply::<S>(x)),
        }
    }
}

#[inline(always)]
unsafe fn line_with<S: Simd, I: Element, T: Element>(
    m: &Map,
    from: *const I,
    to: *mut T,
    length: usize,
    function: impl Fn(S::V) -> S::V,
) {
    let (mut i, mut at) = (0, 0);
    while i < length {
        // SAFETY: `length` values lie at both addresses, of which no more are read or written; scale and shift are whole vectors; the
        // instructions of `S` are there.
        unsafe {
            // Nothing is read beyond the input's end: the input may be the batch of pixels, which has no values after it.
            let mut x = I::load_up_to::<S>(from.add(i), length - i);
            if !m.scale.is_empty() {
                x = S::fma(x, S::load(m.scale.as_ptr().add(at)), S::load(m.shift.as_ptr().add(at)));
            }
            T::store_up_to::<S>(to.add(i), function(x), length - i);
        }
        i += S::LANES;
        at += S::LANES;
        if at >= m.scale.len() {
            at = 0;
        }
    }
}

#[inline(always)]
unsafe fn add<S: Simd, T: Element>(job: &Job<'_, T>, epilogue: Epilogue, image: usize, y: usize) {
    for x in 0..job.shape[1] as isize {
        let mut c = 0;
        while c < job.shape[2] {
            // SAFETY: the pixel lies in the row, of which the inputs hold a vector beyond (see `View`); the store is cut to the channels; the
            // instructions of `S` are there.
            unsafe {
                let mut sum = T::load::<S>(job.inputs[0].0.at(image, y as isize, x).add(c));
                for (input, _) in &job.inputs[1..] {
                    sum = S::add(sum, T::load::<S>(input.at(image, y as isize, x).add(c)));
                }
                let to = job.output.at(image, y as isize, x).add(c);
                T::store_up_to::<S>(to, epilogue.apply::<S>(sum), job.shape[2] - c);
            }
            c += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn join<S: Simd, T: Element, const SUM: bool>(
    job: &Job<'_, T>,
    factors: &[Factor],
    epilogue: Epilogue,
    image: usize,
    y: usize,
) {
    for x in 0..job.shape[1] {
        let pixel = |i: usize| {
            let table = factors[i].pixels.as_ref();
            let [y, x] = table.map_or([y, x], |table| table[y * job.shape[1] + x].map(|n| n as usize));
            job.inputs[i].0.at(image, y as isize, x as isize)
        };
        let mut c = 0;
        while c < job.shape[2] {
            // SAFETY: the pixel of each input has the channels and a vector beyond, or the one that is repeated; the store is cut to the
            // channels; the instructions of `S` are there.
            unsafe {
                let value = |i: usize| match factors[i].single {
                    true => S::splat((*pixel(i)).get()),
                    false => T::load::<S>(pixel(i).add(c)),
                };
                let both = |a: S::V, b: S::V| if SUM { S::add(a, b) } else { S::mul(a, b) };
                let all = (1..job.inputs.len()).fold(value(0), |all, i| both(all, value(i)));
                let to = job.output.at(image, y as isize, x as isize).add(c);
                T::store_up_to::<S>(to, epilogue.apply::<S>(all), job.shape[2] - c);
            }
            c += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn pool<S: Simd, T: Element>(job: &Job<'_, T>, p: &Pool, image: usize, y: usize) {
    let (input, [_, _, channels]) = job.inputs[0];
    let geometry = &p.geometry;
    // The rows of the input under a window (on axis 1, the columns).
    let inside = |axis: usize, at: usize| {
        let (first, before, side) = (at * geometry.strides[axis], geometry.before[axis], geometry.input[axis]);
        let end = (first + geometry.window[axis]).saturating_sub(before).min(side);
        (first.saturating_sub(before).min(side), end)
    };
    let (top, bottom) = inside(0, y);
    for x in 0..job.shape[1] {
        let (left, right) = inside(1, x);
        let whole = geometry.window[0] * geometry.window[1];
        let count = if p.include_padding { whole } else { (bottom - top) * (right - left) };
        let share = 1.0 / count.max(1) as f32;
        let to = job.output.at(image, y as isize, x as isize);
        let mut c = 0;
        while c < channels {
            // SAFETY: the window has been cut to the input, which holds a vector beyond (see `View`); the store is cut to the channels; the
            // instructions of `S` are there.
            unsafe {
                let corner = input.at(image, top as isize, left as isize).add(c);
                let all = match (p.largest, bottom - top, right - left) {
                    (true, 3, 3) => window::<S, T, true>(corner, input, 3, 3),
                    (false, 3, 3) => window::<S, T, false>(corner, input, 3, 3),
                    (true, rows, columns) => window::<S, T, true>(corner, input, rows, columns),
                    (false, rows, columns) => window::<S, T, false>(corner, input, rows, columns),
                };
                let all = if p.largest { all } else { S::mul(all, S::splat(share)) };
                T::store_up_to::<S>(to.add(c), p.epilogue.apply::<S>(all), channels - c);
            }
            c += S::LANES;
        }
    }
}

/// Largest value or sum of a window.
#[inline(always)]
unsafe fn window<S: Simd, T: Element, const LARGEST: bool>(
    corner: *const T,
    input: View<T>,
    rows: usize,
    columns: usize,
) -> S::V {
    // SAFETY: the input holds `rows` by `columns` pixels from the corner on, and a vector beyond; the instructions of `S` are there.
    unsafe {
        let mut all = S::splat(if LARGEST { f32::NEG_INFINITY } else { 0.0 });
        for i in 0..rows {
            for j in 0..columns {
                let value = T::load::<S>(corner.add(i * input.row + j * input.pixel));
                all = if LARGEST { S::max(all, value) } else { S::add(all, value) };
            }
        }
        all
    }
}

unsafe fn softmax<T: Element>(job: &Job<'_, T>, image: usize, y: usize) {
    let channels = job.shape[2];
    let mut exponentials = vec![0.0_f32; channels];
    for (from, to) in pixels(job, image, y) {
        // SAFETY: the channels of both pixels are consecutive. Input and output may be the same address: each value is read before it is
        // written.
        unsafe {
            let largest = (0..channels).map(|c| (*from.add(c)).get()).fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for (c, exponential) in exponentials.iter_mut().enumerate() {
                *exponential = ((*from.add(c)).get() - largest).exp();
                sum += *exponential;
            }
            exponentials.iter().enumerate().for_each(|(c, exponential)| *to.add(c) = T::of(exponential / sum));
        }
    }
}

unsafe fn place<T: Element>(job: &Job<'_, T>, [top, left]: [usize; 2], image: usize, y: usize) {
    let (input, [height, width, channels]) = job.inputs[0];
    for x in 0..job.shape[1] {
        let to = job.output.at(image, y as isize, x as isize);
        let inside = (top..top + height).contains(&y) && (left..left + width).contains(&x);
        // SAFETY: the pixel lies in the output's row, and if it is inside, the input has it too; both have all channels.
        unsafe {
            if inside {
                let from = input.at(image, (y - top) as isize, (x - left) as isize);
                std::ptr::copy_nonoverlapping(from, to, channels);
            } else {
                std::ptr::write_bytes(to, 0, channels);
            }
        }
    }
}

/// Copies row `from` of the input to row `to` of the output.
unsafe fn copy_row<T: Element>(job: &Job<'_, T>, image: usize, from: usize, to: usize) {
    let [_, width, channels] = job.shape;
    for x in 0..width as isize {
        let (from, to) = (job.inputs[0].0.at(image, from as isize, x), job.output.at(image, to as isize, x));
        // SAFETY: both views hold their row, whose pixels have `channels` values.
        unsafe { std::ptr::copy_nonoverlapping(from.cast_const(), to, channels) };
    }
}

unsafe fn take<T: Element>(job: &Job<'_, T>, runs: &[Run], image: usize, y: usize) {
    for (from, mut to) in pixels(job, image, y) {
        for &[first, count] in runs {
            // SAFETY: shape inference has found these channels in the input, and the output has as many as all runs together.
            unsafe {
                match count {
                    1 => *to = *from.add(first),
                    _ => std::ptr::copy_nonoverlapping(from.add(first), to, count),
                }
                to = to.add(count);
            }
        }
    }
}

unsafe fn prepend<T: Element>(job: &Job<'_, T>, rows: &[f32], image: usize, y: usize) {
    let [_, width, channels] = job.shape;
    let line = width * channels;
    // SAFETY: the output has as many more rows than the input as there are learned rows, and each of these has a row's length.
    unsafe {
        match rows.get(y * line..(y + 1) * line) {
            Some(row) => {
                for (x, pixel) in row.chunks_exact(channels).enumerate() {
                    let to = job.output.at(image, y as isize, x as isize);
                    pixel.iter().enumerate().for_each(|(c, value)| *to.add(c) = T::of(*value));
                }
            }
            None => copy_row(job, image, y - rows.len() / line, y),
        }
    }
}

#[inline(always)]
unsafe fn embed<S: Simd, T: Element>(job: &Job<'_, T>, values: &[f32], image: usize, y: usize) {
    let [_, width, channels] = job.shape;
    let row = &values[y * width * channels..][..width * channels];
    for ((from, to), own) in pixels(job, image, y).zip(row.chunks_exact(channels)) {
        let mut c = 0;
        while c < channels {
            let count = channels - c;
            // SAFETY: all three have `channels` values, and no more are read or written; the instructions of `S` are there.
            unsafe {
                let sum = S::add(T::load_up_to::<S>(from.add(c), count), S::load_up_to(own.as_ptr().add(c), count));
                T::store_up_to::<S>(to.add(c), sum, count);
            }
            c += S::LANES;
        }
    }
}

unsafe fn reshape<T: Element>(job: &Job<'_, T>, image: usize, y: usize) {
    let (input, [_, in_width, in_channels]) = job.inputs[0];
    let [_, width, channels] = job.shape;
    for x in 0..width {
        let to = job.output.at(image, y as isize, x as isize);
        let mut c = 0;
        while c < channels {
            let flat = (y * width + x) * channels + c;
            let (pixel, from) = (flat / in_channels, flat % in_channels);
            let count = (in_channels - from).min(channels - c);
            // SAFETY: both shapes have as many values, so the pixel lies in the input, and `count` values lie in both pixels.
            unsafe {
                let pixel = input.at(image, (pixel / in_width) as isize, (pixel % in_width) as isize);
                std::ptr::copy_nonoverlapping(pixel.add(from), to.add(c), count);
            }
            c += count;
        }
    }
}
