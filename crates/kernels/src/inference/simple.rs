//! Pooling, element-wise functions, and moving values about.

use super::view::{Epilogue, Region, View};
use crate::geometry::Geometry;
use crate::simd::{Simd, per_isa};

/// What a job does with its inputs.
#[derive(Debug, Clone)]
pub(crate) enum Simple {
    /// An affine function of each channel, then a function.
    Map(Map),
    /// The sum of all inputs, then a function.
    Add(Epilogue),
    /// The sum or the product of all inputs, some of which are repeated, then a function.
    Join(Join, Vec<Factor>, Epilogue),
    /// Mean or maximum of windows.
    Pool(Pool),
    /// Softmax over the channels.
    Softmax,
    /// The input at `[y, x]` in the output, zeros around it.
    Place([usize; 2]),
    /// The same values in another shape.
    Reshape,
    /// Rows of these values before those of the input.
    Prepend(Vec<f32>),
    /// These values, one for each of an image, are added.
    Embed(Vec<f32>),
    /// The rows of the input from this one on.
    Crop(usize),
    /// These runs of the input's channels, one after the other.
    Take(Vec<Run>),
}

/// Consecutive channels: the first, and how many.
pub(crate) type Run = [usize; 2];

/// The runs that these channels are made of.
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

/// How inputs become one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Join {
    Sum,
    Product,
}

/// `x * scale + shift` for each channel, then a function.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    /// One per channel, repeated up to whole vectors; empty for 1.
    pub scale: Vec<f32>,
    /// One per channel, repeated likewise.
    pub shift: Vec<f32>,
    /// Read the channels backwards.
    pub reverse: bool,
    /// Applied last.
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
    /// Where it is smaller than the result: `[y, x]` of its pixel for each of the result's.
    pub pixels: Option<Vec<[u32; 2]>>,
    /// Whether its one channel is repeated for all of the result's.
    pub single: bool,
}

/// Windows of which one value is made.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    /// Largest value, or mean.
    pub largest: bool,
    pub geometry: Geometry,
    /// Count padding in a mean.
    pub include_padding: bool,
}

/// Work of one simple step.
pub(crate) struct Job<'a> {
    pub simple: &'a Simple,
    /// View and `[height, width, channels]` of each input.
    pub inputs: &'a [(View, [usize; 3])],
    pub output: View,
    /// `[height, width, channels]`.
    pub shape: [usize; 3],
    pub region: Region,
}

per_isa! {
    /// Computes the region of the output.
    pub(super) run = kernel(Job<'_>)
}

#[inline(always)]
unsafe fn kernel<S: Simd>(job: &Job<'_>) {
    for image in job.region.images.clone() {
        for y in job.region.rows.clone() {
            // SAFETY: the views hold the row and what it is made of, with a vector beyond (see `View`); the instructions of `S` are
            // there.
            unsafe {
                match job.simple {
                    Simple::Map(m) => map::<S>(job, m, image, y),
                    Simple::Add(epilogue) => add::<S>(job, *epilogue, image, y),
                    Simple::Join(Join::Sum, all, epilogue) => join::<S, true>(job, all, *epilogue, image, y),
                    Simple::Join(Join::Product, all, epilogue) => join::<S, false>(job, all, *epilogue, image, y),
                    Simple::Pool(p) => pool::<S>(job, p, image, y),
                    Simple::Softmax => softmax(job, image, y),
                    Simple::Place(at) => place(job, *at, image, y),
                    Simple::Reshape => reshape(job, image, y),
                    Simple::Prepend(rows) => prepend(job, rows, image, y),
                    Simple::Embed(values) => embed::<S>(job, values, image, y),
                    Simple::Crop(first) => copy_row(job, image, y + first, y),
                    Simple::Take(runs) => take(job, runs, image, y),
                }
            }
        }
    }
}

/// Pixels of row `y`, as addresses of input 0 and output.
#[inline(always)]
fn pixels(job: &Job<'_>, image: usize, y: usize) -> impl Iterator<Item = (*const f32, *mut f32)> {
    let (input, output) = (job.inputs[0].0, job.output);
    (0..job.shape[1] as isize)
        .map(move |x| (input.at(image, y as isize, x).cast_const(), output.at(image, y as isize, x)))
}

#[inline(always)]
unsafe fn map<S: Simd>(job: &Job<'_>, m: &Map, image: usize, y: usize) {
    let [_, width, channels] = job.shape;
    // SAFETY: the views hold row `y`; stores are cut to the row, or to the channels; the instructions of `S` are there.
    unsafe {
        if m.reverse {
            for (from, to) in pixels(job, image, y) {
                for c in 0..channels {
                    let x = *from.add(channels - 1 - c);
                    *to.add(c) = if m.scale.is_empty() { x } else { x * m.scale[c] + m.shift[c] };
                }
            }
        } else if job.inputs[0].0.pixel == channels && job.output.pixel == channels {
            let (from, to) = (job.inputs[0].0.at(image, y as isize, 0), job.output.at(image, y as isize, 0));
            line::<S>(m, from, to, width * channels);
        } else {
            for (from, to) in pixels(job, image, y) {
                line::<S>(m, from, to, channels);
            }
        }
    }
}

#[inline(always)]
unsafe fn line<S: Simd>(m: &Map, from: *const f32, to: *mut f32, length: usize) {
    let (mut i, mut at) = (0, 0);
    while i < length {
        // SAFETY: `length` values lie at both addresses, of which no more are read or written; scale and shift are whole vectors; the
        // instructions of `S` are there.
        unsafe {
            // No more is read than there is: the input may be the batch of pixels itself, with nothing after it.
            let mut x = S::load_up_to(from.add(i), length - i);
            if !m.scale.is_empty() {
                x = S::fma(x, S::load(m.scale.as_ptr().add(at)), S::load(m.shift.as_ptr().add(at)));
            }
            S::store_up_to(to.add(i), m.epilogue.apply::<S>(x), length - i);
        }
        i += S::LANES;
        at += S::LANES;
        if at >= m.scale.len() {
            at = 0;
        }
    }
}

#[inline(always)]
unsafe fn add<S: Simd>(job: &Job<'_>, epilogue: Epilogue, image: usize, y: usize) {
    for x in 0..job.shape[1] as isize {
        let mut c = 0;
        while c < job.shape[2] {
            // SAFETY: the pixel lies in the row, of which the inputs hold a vector beyond (see `View`); the store is cut to the channels; the
            // instructions of `S` are there.
            unsafe {
                let mut sum = S::load(job.inputs[0].0.at(image, y as isize, x).add(c));
                for (input, _) in &job.inputs[1..] {
                    sum = S::add(sum, S::load(input.at(image, y as isize, x).add(c)));
                }
                let to = job.output.at(image, y as isize, x).add(c);
                S::store_up_to(to, epilogue.apply::<S>(sum), job.shape[2] - c);
            }
            c += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn join<S: Simd, const SUM: bool>(
    job: &Job<'_>,
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
                let value = |i: usize| if factors[i].single { S::splat(*pixel(i)) } else { S::load(pixel(i).add(c)) };
                let both = |a: S::V, b: S::V| if SUM { S::add(a, b) } else { S::mul(a, b) };
                let all = (1..job.inputs.len()).fold(value(0), |all, i| both(all, value(i)));
                let to = job.output.at(image, y as isize, x as isize).add(c);
                S::store_up_to(to, epilogue.apply::<S>(all), job.shape[2] - c);
            }
            c += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn pool<S: Simd>(job: &Job<'_>, p: &Pool, image: usize, y: usize) {
    let (input, [_, _, channels]) = job.inputs[0];
    let geometry = &p.geometry;
    // Rows of the input under a window, or columns.
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
                    (true, 3, 3) => window::<S, true>(corner, input, 3, 3),
                    (false, 3, 3) => window::<S, false>(corner, input, 3, 3),
                    (true, rows, columns) => window::<S, true>(corner, input, rows, columns),
                    (false, rows, columns) => window::<S, false>(corner, input, rows, columns),
                };
                let all = if p.largest { all } else { S::mul(all, S::splat(share)) };
                S::store_up_to(to.add(c), all, channels - c);
            }
            c += S::LANES;
        }
    }
}

/// Largest value or sum of a window.
#[inline(always)]
unsafe fn window<S: Simd, const LARGEST: bool>(corner: *const f32, input: View, rows: usize, columns: usize) -> S::V {
    // SAFETY: the input holds `rows` by `columns` pixels from the corner on, and a vector beyond; the instructions of `S` are there.
    unsafe {
        let mut all = S::splat(if LARGEST { f32::NEG_INFINITY } else { 0.0 });
        for i in 0..rows {
            for j in 0..columns {
                let value = S::load(corner.add(i * input.row + j * input.pixel));
                all = if LARGEST { S::max(all, value) } else { S::add(all, value) };
            }
        }
        all
    }
}

unsafe fn softmax(job: &Job<'_>, image: usize, y: usize) {
    for (from, to) in pixels(job, image, y) {
        // SAFETY: both pixels have their channels one after the other. Input and output may be the same.
        unsafe {
            let channels = job.shape[2];
            let largest = (0..channels).map(|c| *from.add(c)).fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for c in 0..channels {
                *to.add(c) = (*from.add(c) - largest).exp();
                sum += *to.add(c);
            }
            (0..channels).for_each(|c| *to.add(c) /= sum);
        }
    }
}

unsafe fn place(job: &Job<'_>, [top, left]: [usize; 2], image: usize, y: usize) {
    let (input, [height, width, channels]) = job.inputs[0];
    for x in 0..job.shape[1] {
        let to = job.output.at(image, y as isize, x as isize);
        let inside = (top..top + height).contains(&y) && (left..left + width).contains(&x);
        // SAFETY: the pixel lies in the row, and where it is inside, the input has it; both have the channels.
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
unsafe fn copy_row(job: &Job<'_>, image: usize, from: usize, to: usize) {
    let [_, width, channels] = job.shape;
    for x in 0..width as isize {
        let (from, to) = (job.inputs[0].0.at(image, from as isize, x), job.output.at(image, to as isize, x));
        // SAFETY: both views hold their row, whose pixels have `channels` values.
        unsafe { std::ptr::copy_nonoverlapping(from.cast_const(), to, channels) };
    }
}

unsafe fn take(job: &Job<'_>, runs: &[Run], image: usize, y: usize) {
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

unsafe fn prepend(job: &Job<'_>, rows: &[f32], image: usize, y: usize) {
    let [_, width, channels] = job.shape;
    let line = width * channels;
    // SAFETY: the output has as many rows more than the input as there are learned ones, each of a row's length.
    unsafe {
        match rows.get(y * line..(y + 1) * line) {
            Some(row) => {
                for (x, pixel) in row.chunks_exact(channels).enumerate() {
                    let to = job.output.at(image, y as isize, x as isize);
                    std::ptr::copy_nonoverlapping(pixel.as_ptr(), to, channels);
                }
            }
            None => copy_row(job, image, y - rows.len() / line, y),
        }
    }
}

#[inline(always)]
unsafe fn embed<S: Simd>(job: &Job<'_>, values: &[f32], image: usize, y: usize) {
    let [_, width, channels] = job.shape;
    let row = &values[y * width * channels..][..width * channels];
    for ((from, to), own) in pixels(job, image, y).zip(row.chunks_exact(channels)) {
        let mut c = 0;
        while c < channels {
            let count = channels - c;
            // SAFETY: all three have `channels` values, and no more are read or written; the instructions of `S` are there.
            unsafe {
                let sum = S::add(S::load_up_to(from.add(c), count), S::load_up_to(own.as_ptr().add(c), count));
                S::store_up_to(to.add(c), sum, count);
            }
            c += S::LANES;
        }
    }
}

unsafe fn reshape(job: &Job<'_>, image: usize, y: usize) {
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
