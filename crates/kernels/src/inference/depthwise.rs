//! Depthwise convolutions: a vector of channels at a time, several columns of the output in registers.

use super::simd::{Simd, per_isa};
use super::view::{Epilogue, Region, View};

/// A depthwise convolution.
#[derive(Debug, Clone)]
pub(crate) struct Depthwise {
    /// `[height, width]`.
    pub kernel: [usize; 2],
    /// `[vertical, horizontal]`.
    pub strides: [usize; 2],
    /// `[vertical, horizontal]`.
    pub dilation: [usize; 2],
    /// Zeros in front, `[top, left]`; the input's halo has them.
    pub front: [usize; 2],
    /// Columns of the output.
    pub width: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Output channels for each of the input.
    pub multiplier: usize,
    /// `[height, width, output channel]`, one row of zeros-padded channels a tap.
    pub weights: Vec<f32>,
    /// One value an output channel.
    pub bias: Vec<f32>,
    /// Applied last.
    pub epilogue: Epilogue,
}

impl Depthwise {
    /// Channels of the output, with room for a vector read beyond them.
    pub fn pitch(&self) -> usize {
        pitch(self.channels * self.multiplier)
    }
}

/// `channels` in whole vectors of any instruction set.
pub(crate) fn pitch(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

/// Work of one depthwise convolution.
pub(crate) struct Job<'a> {
    pub depthwise: &'a Depthwise,
    pub input: View,
    pub output: View,
    /// Added before the last function.
    pub residual: Option<View>,
    pub region: Region,
}

per_isa! {
    /// Computes the region of the output.
    run = kernel(Job<'_>)
}

#[inline(always)]
unsafe fn kernel<S: Simd>(job: &Job<'_>) {
    let d = job.depthwise;
    // SAFETY: the job's views hold the region, the windows in its halo and a vector beyond (see `View`), weights and bias are
    // whole vectors (`pitch`), and the caller has the instructions.
    unsafe {
        match (d.multiplier, d.kernel, d.strides[1], d.dilation[1]) {
            (1, [3, 3], 1, 1) => columns::<S, 3, 3, 1>(job),
            (1, [3, 3], 2, 1) => columns::<S, 3, 3, 2>(job),
            (1, [5, 5], 1, 1) => columns::<S, 5, 5, 1>(job),
            (1, [5, 5], 2, 1) => columns::<S, 5, 5, 2>(job),
            _ => any::<S>(job),
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
unsafe fn columns<S: Simd, const H: usize, const W: usize, const STRIDE: usize>(job: &Job<'_>) {
    let width = job.depthwise.width;
    let parts = width.div_ceil(COLUMNS);
    for (image, y) in rows(&job.region) {
        for part in 0..parts {
            let (x, end) = (part * width / parts, (part + 1) * width / parts);
            // SAFETY: the job's views hold the region, the windows in its halo and a vector beyond (see `View`), weights and bias are
            // whole vectors (`pitch`), and the caller has the instructions.
            unsafe {
                match end - x {
                    8 => channels::<S, H, W, STRIDE, 8>(job, image, y, x),
                    7 => channels::<S, H, W, STRIDE, 7>(job, image, y, x),
                    6 => channels::<S, H, W, STRIDE, 6>(job, image, y, x),
                    5 => channels::<S, H, W, STRIDE, 5>(job, image, y, x),
                    4 => channels::<S, H, W, STRIDE, 4>(job, image, y, x),
                    3 => channels::<S, H, W, STRIDE, 3>(job, image, y, x),
                    2 => channels::<S, H, W, STRIDE, 2>(job, image, y, x),
                    _ => channels::<S, H, W, STRIDE, 1>(job, image, y, x),
                }
            }
        }
    }
}

/// All channels of `X` columns.
#[inline(always)]
unsafe fn channels<S: Simd, const H: usize, const W: usize, const STRIDE: usize, const X: usize>(
    job: &Job<'_>,
    image: usize,
    y: usize,
    x: usize,
) {
    let mut channel = 0;
    while channel < job.depthwise.channels {
        // SAFETY: the job's views hold the region, the windows in its halo and a vector beyond (see `View`), weights and bias are
        // whole vectors (`pitch`), and the caller has the instructions.
        unsafe { block::<S, H, W, STRIDE, X>(job, image, [y, x, channel]) };
        channel += S::LANES;
    }
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn block<S: Simd, const H: usize, const W: usize, const STRIDE: usize, const X: usize>(
    job: &Job<'_>,
    image: usize,
    [y, x, channel]: [usize; 3],
) {
    let d = job.depthwise;
    let in_y = (y * d.strides[0]) as isize - d.front[0] as isize;
    let in_x = (x * STRIDE) as isize - d.front[1] as isize;
    let pitch = d.pitch();
    // SAFETY: the job's views hold the region, the windows in its halo and a vector beyond (see `View`), weights and bias are
    // whole vectors (`pitch`), and the caller has the instructions.
    unsafe {
        let mut sums = [S::load(d.bias.as_ptr().add(channel)); X];
        for i in 0..H {
            let row = job.input.at(image, in_y + (i * d.dilation[0]) as isize, in_x).add(channel);
            let weights: [S::V; W] =
                std::array::from_fn(|j| S::load(d.weights.as_ptr().add((i * W + j) * pitch + channel)));
            // Every column of the input is read once. Each sum takes its taps from left to right.
            for column in 0..(X - 1) * STRIDE + W {
                let value = S::load(row.add(column * job.input.pixel));
                for o in 0..X {
                    if column >= o * STRIDE && column - o * STRIDE < W {
                        sums[o] = S::fma(value, weights[column - o * STRIDE], sums[o]);
                    }
                }
            }
        }
        for o in 0..X {
            store::<S>(job, image, [y, x + o, channel], sums[o]);
        }
    }
}

#[inline(always)]
unsafe fn store<S: Simd>(job: &Job<'_>, image: usize, [y, x, channel]: [usize; 3], mut sum: S::V) {
    let d = job.depthwise;
    // SAFETY: the pixel lies in the region of output and residual, which have a vector beyond; the store is cut to the channels.
    unsafe {
        if let Some(residual) = job.residual {
            sum = S::add(sum, S::load(residual.at(image, y as isize, x as isize).add(channel)));
        }
        let to = job.output.at(image, y as isize, x as isize).add(channel);
        S::store_up_to(to, d.epilogue.apply::<S>(sum), d.channels * d.multiplier - channel);
    }
}

/// Kernels of any size, and several outputs a channel.
#[inline(always)]
unsafe fn any<S: Simd>(job: &Job<'_>) {
    let d = job.depthwise;
    let out = d.channels * d.multiplier;
    for (image, y) in rows(&job.region) {
        let in_y = (y * d.strides[0]) as isize - d.front[0] as isize;
        for x in 0..d.width {
            let in_x = (x * d.strides[1]) as isize - d.front[1] as isize;
            let mut channel = 0;
            while channel < out {
                // SAFETY: the job's views hold the region, the windows in its halo and a vector beyond (see `View`), weights and bias are
                // whole vectors (`pitch`), and the caller has the instructions.
                unsafe {
                    let mut sum = S::load(d.bias.as_ptr().add(channel));
                    for i in 0..d.kernel[0] {
                        for j in 0..d.kernel[1] {
                            let (dy, dx) = ((i * d.dilation[0]) as isize, (j * d.dilation[1]) as isize);
                            let pixel = job.input.at(image, in_y + dy, in_x + dx);
                            let weight = S::load(d.weights.as_ptr().add((i * d.kernel[1] + j) * d.pitch() + channel));
                            let value = if d.multiplier == 1 {
                                S::load(pixel.add(channel))
                            } else {
                                let mut lanes = [0.0; 16];
                                for (lane, value) in lanes[..S::LANES.min(out - channel)].iter_mut().enumerate() {
                                    *value = *pixel.add((channel + lane) / d.multiplier);
                                }
                                S::load(lanes.as_ptr())
                            };
                            sum = S::fma(value, weight, sum);
                        }
                    }
                    store::<S>(job, image, [y, x, channel], sum);
                }
                channel += S::LANES;
            }
        }
    }
}
