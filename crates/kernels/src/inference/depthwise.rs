//! Depthwise convolutions: a vector of channels at a time, several columns of the output in registers.

use super::view::{Epilogue, Region, View, pitch};
use crate::element::{Bf16, Element};
use crate::geometry::Geometry;
use crate::memory::{OutOfMemory, filled};
use crate::simd::{Simd, per_isa, wide_or_portable};

/// A depthwise convolution.
#[derive(Debug, Clone)]
pub(crate) struct Depthwise {
    geometry: Geometry,
    /// Output channels for each of the input.
    multiplier: usize,
    /// `[tap, output channel]`, whole vectors of channels with zeros beside them.
    weights: Vec<f32>,
    /// One value per output channel, likewise.
    bias: Vec<f32>,
    epilogue: Epilogue,
}

impl Depthwise {
    /// A depthwise convolution with `weight(tap, channel)` for each channel of the output.
    pub(crate) fn new(
        geometry: Geometry,
        weight: impl Fn(usize, usize) -> f32,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let (taps, channels) = (geometry.window[0] * geometry.window[1], bias.len());
        let pitch = pitch(channels);
        let mut weights = filled(0.0, taps * pitch, "weights")?;
        for (tap, row) in weights.chunks_exact_mut(pitch).enumerate() {
            row[..channels].iter_mut().enumerate().for_each(|(channel, to)| *to = weight(tap, channel));
        }
        let mut padded = vec![0.0; pitch];
        padded[..channels].copy_from_slice(bias);
        Ok(Self { geometry, multiplier: channels / geometry.input[2], weights, bias: padded, epilogue })
    }

    /// Channels of the output.
    fn channels(&self) -> usize {
        self.geometry.input[2] * self.multiplier
    }

    /// Channels of the output, with room for a vector read beyond them.
    fn pitch(&self) -> usize {
        self.bias.len()
    }
}

/// Work of one depthwise convolution.
pub(crate) struct Job<'a, T> {
    pub depthwise: &'a Depthwise,
    pub input: View<T>,
    pub output: View<T>,
    /// Added before the last function.
    pub residual: Option<View<T>>,
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

#[inline(always)]
unsafe fn kernel<S: Simd, T: Element>(job: &Job<'_, T>) {
    let Depthwise { geometry, multiplier, .. } = job.depthwise;
    // SAFETY: the views hold the region, the windows in the input's halo and a vector beyond (see `View`); the instructions of `S`
    // are there.
    unsafe {
        match (multiplier, geometry.window, geometry.strides[1], geometry.dilation[1]) {
            (1, [3, 3], 1, 1) => columns::<S, T, 3, 3, 1>(job),
            (1, [3, 3], 2, 1) => columns::<S, T, 3, 3, 2>(job),
            (1, [5, 5], 1, 1) => columns::<S, T, 5, 5, 1>(job),
            (1, [5, 5], 2, 1) => columns::<S, T, 5, 5, 2>(job),
            (1, [7, 7], 1, 1) => columns::<S, T, 7, 7, 1>(job),
            _ => any::<S, T>(job),
        }
    }
}

/// Rows of the region.
#[inline(always)]
fn rows(region: &Region) -> impl Iterator<Item = (usize, usize)> {
    let rows = region.rows.clone();
    region.images.clone().flat_map(move |image| rows.clone().map(move |y| (image, y)))
}

/// Most columns of the output at once: their sums, a row of weights and an input fill less than 32 registers.
const COLUMNS: usize = 8;

/// Kernels of a known size, up to [`COLUMNS`] columns at once, as evenly as they go.
#[inline(always)]
unsafe fn columns<S: Simd, T: Element, const H: usize, const W: usize, const STRIDE: usize>(job: &Job<'_, T>) {
    let width = job.depthwise.geometry.output[1];
    let parts = width.div_ceil(COLUMNS);
    for (image, y) in rows(&job.region) {
        for part in 0..parts {
            let (x, end) = (part * width / parts, (part + 1) * width / parts);
            // SAFETY: the columns lie in the region that the views hold; the instructions of `S` are there.
            unsafe {
                match end - x {
                    8 => channels::<S, T, H, W, STRIDE, 8>(job, image, y, x),
                    7 => channels::<S, T, H, W, STRIDE, 7>(job, image, y, x),
                    6 => channels::<S, T, H, W, STRIDE, 6>(job, image, y, x),
                    5 => channels::<S, T, H, W, STRIDE, 5>(job, image, y, x),
                    4 => channels::<S, T, H, W, STRIDE, 4>(job, image, y, x),
                    3 => channels::<S, T, H, W, STRIDE, 3>(job, image, y, x),
                    2 => channels::<S, T, H, W, STRIDE, 2>(job, image, y, x),
                    _ => channels::<S, T, H, W, STRIDE, 1>(job, image, y, x),
                }
            }
        }
    }
}

/// All channels of `X` columns.
#[inline(always)]
unsafe fn channels<S: Simd, T: Element, const H: usize, const W: usize, const STRIDE: usize, const X: usize>(
    job: &Job<'_, T>,
    image: usize,
    y: usize,
    x: usize,
) {
    let mut channel = 0;
    while channel < job.depthwise.geometry.input[2] {
        // SAFETY: the columns lie in the region that the views hold, and the channel is one of theirs; the instructions of `S` are
        // there.
        unsafe { block::<S, T, H, W, STRIDE, X>(job, image, [y, x, channel]) };
        channel += S::LANES;
    }
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn block<S: Simd, T: Element, const H: usize, const W: usize, const STRIDE: usize, const X: usize>(
    job: &Job<'_, T>,
    image: usize,
    [y, x, channel]: [usize; 3],
) {
    let d = job.depthwise;
    let (in_y, in_x) = (d.geometry.start(0, y), (x * STRIDE) as isize - d.geometry.before[1] as isize);
    let (pitch, down) = (d.pitch(), d.geometry.dilation[0]);
    // SAFETY: the columns' windows lie in the input's halo, with a vector beyond; weights and bias are whole vectors (`pitch`); the
    // instructions of `S` are there.
    unsafe {
        let mut sums = [S::load(d.bias.as_ptr().add(channel)); X];
        for i in 0..H {
            let row = job.input.at(image, in_y + (i * down) as isize, in_x).add(channel);
            let weights: [S::V; W] =
                std::array::from_fn(|j| S::load(d.weights.as_ptr().add((i * W + j) * pitch + channel)));
            // Every column of the input is read once. Each sum takes its taps from left to right.
            for column in 0..(X - 1) * STRIDE + W {
                let value = T::load::<S>(row.add(column * job.input.pixel));
                for o in 0..X {
                    if column >= o * STRIDE && column - o * STRIDE < W {
                        sums[o] = S::fma(value, weights[column - o * STRIDE], sums[o]);
                    }
                }
            }
        }
        for o in 0..X {
            store::<S, T>(job, image, [y, x + o, channel], sums[o]);
        }
    }
}

#[inline(always)]
unsafe fn store<S: Simd, T: Element>(job: &Job<'_, T>, image: usize, [y, x, channel]: [usize; 3], mut sum: S::V) {
    let d = job.depthwise;
    // SAFETY: the pixel lies in the region that output and residual hold, the residual with a vector beyond; the store is cut to the
    // channels; the instructions of `S` are there.
    unsafe {
        if let Some(residual) = job.residual {
            sum = S::add(sum, T::load::<S>(residual.at(image, y as isize, x as isize).add(channel)));
        }
        let to = job.output.at(image, y as isize, x as isize).add(channel);
        T::store_up_to::<S>(to, d.epilogue.apply::<S>(sum), d.channels() - channel);
    }
}

/// Kernels of any size, and several outputs per channel.
#[inline(always)]
unsafe fn any<S: Simd, T: Element>(job: &Job<'_, T>) {
    for (image, y) in rows(&job.region) {
        for x in 0..job.depthwise.geometry.output[1] {
            let mut channel = 0;
            while channel < job.depthwise.channels() {
                // SAFETY: the pixel lies in the region that the views hold, and the channel is one of its; the instructions of `S`
                // are there.
                unsafe { vector::<S, T>(job, image, [y, x, channel]) };
                channel += S::LANES;
            }
        }
    }
}

/// A vector of channels of one pixel.
#[inline(always)]
unsafe fn vector<S: Simd, T: Element>(job: &Job<'_, T>, image: usize, [y, x, channel]: [usize; 3]) {
    let d = job.depthwise;
    let Geometry { window, dilation, .. } = d.geometry;
    let (in_y, in_x) = (d.geometry.start(0, y), d.geometry.start(1, x));
    // SAFETY: the pixel's window lies in the input's halo, with a vector beyond; weights and bias are whole vectors (`pitch`); the
    // instructions of `S` are there.
    unsafe {
        let mut sum = S::load(d.bias.as_ptr().add(channel));
        for i in 0..window[0] {
            for j in 0..window[1] {
                let (dy, dx) = ((i * dilation[0]) as isize, (j * dilation[1]) as isize);
                let pixel = job.input.at(image, in_y + dy, in_x + dx);
                let weight = S::load(d.weights.as_ptr().add((i * window[1] + j) * d.pitch() + channel));
                let value = if d.multiplier == 1 {
                    T::load::<S>(pixel.add(channel))
                } else {
                    let mut lanes = [0.0; 16];
                    for (lane, value) in lanes[..S::LANES.min(d.channels() - channel)].iter_mut().enumerate() {
                        *value = (*pixel.add((channel + lane) / d.multiplier)).get();
                    }
                    S::load(lanes.as_ptr())
                };
                sum = S::fma(value, weight, sum);
            }
        }
        store::<S, T>(job, image, [y, x, channel], sum);
    }
}
