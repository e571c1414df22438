//! Depthwise convolutions, computed for one vector of channels at a time (two for bf16), with the sums of several columns in registers.

use std::mem::MaybeUninit;

use super::view::{Epilogue, Region, View};
use crate::bf16::Bf16;
use crate::element::Element;
use crate::geometry::Geometry;
use crate::linalg::{COLUMNS, column};
use crate::memory::{OutOfMemory, filled};
use crate::simd::{Simd, per_isa, wide_or_portable};

/// The order of channels in weights and bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The order of the output's channels.
    Plain,
    /// Blocks of 32 channels, in which even channels come before odd ones: the order in which two vectors of bf16 are loaded at once.
    Pairs,
}

impl Order {
    /// The channel at a place.
    fn channel(self, place: usize) -> usize {
        match self {
            Self::Plain => place,
            Self::Pairs => column(place),
        }
    }

    /// Loads weights, or the bias, for `N` vectors of values from `channel` on.
    ///
    /// # Safety
    /// The numbers of all channels lie at the pointer, up to whole blocks of 32; the instructions of `S` are there.
    #[inline(always)]
    unsafe fn load<S: Simd, const N: usize>(p: *const f32, channel: usize) -> [S::V; N] {
        let first = match N {
            1 => channel,
            _ => channel / COLUMNS * COLUMNS + channel % COLUMNS / 2,
        };
        // SAFETY: both halves of a block have a whole vector at this place; the instructions of `S` are there.
        unsafe {
            let mut all = [S::load(p.add(first)); N];
            if N == 2 {
                all[1] = S::load(p.add(first + COLUMNS / 2));
            }
            all
        }
    }
}

/// A depthwise convolution.
#[derive(Debug, Clone)]
pub(crate) struct Depthwise {
    geometry: Geometry,
    /// Number of output channels for each channel of the input.
    multiplier: usize,
    /// `[tap, output channel]`, where channels are filled up with zeros to whole vectors.
    weights: Vec<f32>,
    /// One value per output channel, likewise.
    bias: Vec<f32>,
    epilogue: Epilogue,
}

impl Depthwise {
    /// A depthwise convolution with `weight(tap, channel)` for each channel of the output.
    pub(crate) fn new(
        order: Order,
        geometry: Geometry,
        weight: impl Fn(usize, usize) -> f32,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let (taps, channels) = (geometry.window[0] * geometry.window[1], bias.len());
        let (pitch, multiplier) = (channels.next_multiple_of(COLUMNS), channels / geometry.input[2]);
        // The kernel for other sizes reads channels in their own order.
        let order = if is_unrolled(&geometry, multiplier) { order } else { Order::Plain };
        let mut weights = filled(0.0, taps * pitch, "weights")?;
        for (tap, row) in weights.chunks_exact_mut(pitch).enumerate() {
            for (place, to) in row.iter_mut().enumerate().filter(|(place, _)| order.channel(*place) < channels) {
                *to = weight(tap, order.channel(place));
            }
        }
        let bias = (0..pitch).map(|place| bias.get(order.channel(place)).copied().unwrap_or(0.0)).collect();
        Ok(Self { geometry, multiplier, weights, bias, epilogue })
    }

    /// Channels of the output.
    fn channels(&self) -> usize {
        self.geometry.input[2] * self.multiplier
    }

    /// Channels of the output, filled up to whole vectors.
    fn pitch(&self) -> usize {
        self.bias.len()
    }
}

/// Whether there is a kernel that is compiled for the window's size.
pub(crate) fn is_unrolled(geometry: &Geometry, multiplier: usize) -> bool {
    let Geometry { window, strides, dilation, .. } = geometry;
    let size = matches!((window, strides[1]), ([3, 3] | [5, 5], 1 | 2) | ([7, 7], 1));
    size && multiplier == 1 && dilation[1] == 1
}

/// The arguments of one depthwise convolution.
pub(crate) struct Job<'a, T> {
    pub depthwise: &'a Depthwise,
    pub input: View<T>,
    pub output: View<T>,
    /// Values that are added before the last function.
    pub residual: Option<View<T>>,
    pub region: Region,
}

per_isa! {
    /// Computes the region of the output.
    pub(super) run = singles::<S, f32>(Job<'_, f32>)
}

wide_or_portable! {
    /// Computes the region of the output.
    pub(super) run_bf16 = doubles::<S, Bf16>(Job<'_, Bf16>)
}

#[inline(always)]
unsafe fn singles<S: Simd, T: Element>(job: &Job<'_, T>) {
    // SAFETY: the views hold the region, its windows and a vector beyond; the instructions of `S` are there.
    unsafe { kernel::<S, T, 1>(job) }
}

#[inline(always)]
unsafe fn doubles<S: Simd, T: Element>(job: &Job<'_, T>) {
    // SAFETY: the views hold the region, its windows and a vector beyond; the instructions of `S` are there.
    unsafe { kernel::<S, T, 2>(job) }
}

/// Computes the region, `N` vectors of channels at a time.
#[inline(always)]
unsafe fn kernel<S: Simd, T: Element, const N: usize>(job: &Job<'_, T>) {
    let Depthwise { geometry, multiplier, .. } = job.depthwise;
    if !is_unrolled(geometry, *multiplier) {
        // SAFETY: the views hold the region, its windows and a vector beyond; the instructions of `S` are there.
        return unsafe { any::<S, T>(job) };
    }
    // SAFETY: the views hold the region, the windows in the input and its halo, and a vector beyond (see `View`); the instructions of `S`
    // are there.
    unsafe {
        match (geometry.window[0], geometry.strides[1]) {
            (3, 1) => columns::<S, T, N, 3, 3, 1>(job),
            (3, _) => columns::<S, T, N, 3, 3, 2>(job),
            (5, 1) => columns::<S, T, N, 5, 5, 1>(job),
            (5, _) => columns::<S, T, N, 5, 5, 2>(job),
            _ => columns::<S, T, N, 7, 7, 1>(job),
        }
    }
}

/// The rows of the region, as pairs of image and row.
#[inline(always)]
fn rows(region: &Region) -> impl Iterator<Item = (usize, usize)> {
    let rows = region.rows.clone();
    region.images.clone().flat_map(move |image| rows.clone().map(move |y| (image, y)))
}

/// Upper limit of the columns that are computed at once: their sums, a row of weights and an input take less than 32 registers.
const MOST: usize = 8;

/// Upper limit of the bytes of input under the windows of one row of a band: half of a first-level cache of 48 KiB. There, the windows of the
/// next row find the rows that they share with this one.
const NEAR: usize = 24 << 10;

/// The kernel for windows of a known size. It computes up to [`MOST`] columns at once, in groups that are as equal as possible.
///
/// The output is divided into bands of columns and channels, each of which is computed from the first row to the last: whole rows of wide
/// layers do not fit in the first-level cache, and would be fetched again for every row of a window.
#[inline(always)]
unsafe fn columns<S: Simd, T: Element, const N: usize, const H: usize, const W: usize, const STRIDE: usize>(
    job: &Job<'_, T>,
) {
    let (width, channels) = (job.depthwise.geometry.output[1], job.depthwise.geometry.input[2]);
    let parts = width.div_ceil(MOST);
    let window = H * (width.div_ceil(parts) * STRIDE + W) * size_of::<T>();
    let bands = (channels * window).div_ceil(NEAR);
    let band = channels.div_ceil(bands).next_multiple_of(N * S::LANES);
    // In the most common case, the sums are clipped and stored straight from registers.
    let clip = match (job.depthwise.epilogue, job.residual) {
        (Epilogue::Clamp(low, high), None) if T::limits(low, high) => Some((low, high)),
        _ => None,
    };
    for image in job.region.images.clone() {
        for part in 0..parts {
            let (x, end) = (part * width / parts, (part + 1) * width / parts);
            for first in (0..channels).step_by(band) {
                for y in job.region.rows.clone() {
                    for channel in (first..channels.min(first + band)).step_by(N * S::LANES) {
                        let at = [y, x, channel];
                        let clip = if channel + N * S::LANES <= channels { clip } else { None };
                        let mut room = MaybeUninit::<[[S::V; N]; MOST]>::uninit();
                        let sums = room.as_mut_ptr().cast::<[S::V; N]>();
                        // SAFETY: the columns lie in the region that the views hold, and have this channel; `sums` has room for the columns, of
                        // which there are at most `MOST`, and only sums that have been written are read; the instructions of `S` are there.
                        unsafe {
                            match end - x {
                                8 => sum::<S, T, N, H, W, STRIDE, 8>(job, image, at, sums, clip),
                                7 => sum::<S, T, N, H, W, STRIDE, 7>(job, image, at, sums, clip),
                                6 => sum::<S, T, N, H, W, STRIDE, 6>(job, image, at, sums, clip),
                                5 => sum::<S, T, N, H, W, STRIDE, 5>(job, image, at, sums, clip),
                                4 => sum::<S, T, N, H, W, STRIDE, 4>(job, image, at, sums, clip),
                                3 => sum::<S, T, N, H, W, STRIDE, 3>(job, image, at, sums, clip),
                                2 => sum::<S, T, N, H, W, STRIDE, 2>(job, image, at, sums, clip),
                                _ => sum::<S, T, N, H, W, STRIDE, 1>(job, image, at, sums, clip),
                            }
                            if clip.is_none() {
                                finish::<S, T, N>(job, image, at, std::slice::from_raw_parts(sums, end - x));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Repeats code for each column of the input that can lie under the windows of [`MOST`] columns of the output. The iterations of a loop over
/// them would differ, so the compiler might not unroll it, and then the sums would be in memory.
macro_rules! for_each_column {
    (|$column:ident| $body:expr) => {
        $crate::inference::for_each_column!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; |$column| $body)
    };
    ($($at:literal)*; |$column:ident| $body:expr) => {
        $({
            const $column: usize = $at;
            $body
        })*
    };
}
pub(crate) use for_each_column;

/// Computes the sums of `X` columns. With `clip`, they are clipped and stored in the output. Without it, they are written to `to`, because
/// the code of the other epilogues is long and would be compiled again for each size.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn sum<
    S: Simd,
    T: Element,
    const N: usize,
    const H: usize,
    const W: usize,
    const STRIDE: usize,
    const X: usize,
>(
    job: &Job<'_, T>,
    image: usize,
    [y, x, channel]: [usize; 3],
    to: *mut [S::V; N],
    clip: Option<(f32, f32)>,
) {
    const { assert!((X - 1) * STRIDE + W <= 19, "`for_each_column` has no more columns") };
    let d = job.depthwise;
    let (in_y, in_x) = (d.geometry.start(0, y), (x * STRIDE) as isize - d.geometry.before[1] as isize);
    let (pitch, down) = (d.pitch(), d.geometry.dilation[0]);
    // SAFETY: the columns' windows lie in the input and its halo, with a vector beyond; weights and bias are whole vectors (`pitch`); `to` has
    // room for `X` sums; the instructions of `S` are there.
    unsafe {
        let mut sums = [Order::load::<S, N>(d.bias.as_ptr(), channel); X];
        for i in 0..H {
            let row = job.input.at(image, in_y + (i * down) as isize, in_x).add(channel);
            let mut weights = [Order::load::<S, N>(d.weights.as_ptr().add(i * W * pitch), channel); W];
            for j in 1..W {
                weights[j] = Order::load::<S, N>(d.weights.as_ptr().add((i * W + j) * pitch), channel);
            }
            // Every column of the input is read once, and each sum adds up its taps from left to right.
            for_each_column!(|COLUMN| if COLUMN < (X - 1) * STRIDE + W {
                let value = T::load_all::<S, N>(row.add(COLUMN * job.input.pixel));
                for j in 0..W {
                    let Some(start) = COLUMN.checked_sub(j) else { break };
                    if start.is_multiple_of(STRIDE) && start / STRIDE < X {
                        for n in 0..N {
                            let sum = &mut sums[start / STRIDE][n];
                            *sum = S::fma(value[n], weights[j][n], *sum);
                        }
                    }
                }
            });
        }
        let Some(limits) = clip else {
            return to.cast::<[[S::V; N]; X]>().write(sums);
        };
        let to = job.output.at(image, y as isize, x as isize).add(channel);
        for o in 0..X {
            T::store_limited::<S, N>(to.add(o * job.output.pixel), sums[o], limits, N * S::LANES);
        }
    }
}

/// Adds the residual to the sums of pixels that lie side by side, applies the function, and stores them.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn finish<S: Simd, T: Element, const N: usize>(
    job: &Job<'_, T>,
    image: usize,
    [y, x, channel]: [usize; 3],
    sums: &[[S::V; N]],
) {
    let d = job.depthwise;
    for (at, &sum) in sums.iter().enumerate() {
        let (mut sum, x) = (sum, (x + at) as isize);
        // SAFETY: the pixels lie in the region that output and residual hold, the residual with a vector beyond; the store is cut to the
        // channels; the instructions of `S` are there.
        unsafe {
            if let Some(residual) = job.residual {
                let more = T::load_all::<S, N>(residual.at(image, y as isize, x).add(channel));
                for n in 0..N {
                    sum[n] = S::add(sum[n], more[n]);
                }
            }
            for n in 0..N {
                sum[n] = d.epilogue.apply::<S>(sum[n]);
            }
            T::store_all::<S, N>(job.output.at(image, y as isize, x).add(channel), sum, d.channels() - channel);
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

/// The kernel for windows of any size, and for several output channels per input channel.
#[inline(always)]
unsafe fn any<S: Simd, T: Element>(job: &Job<'_, T>) {
    for (image, y) in rows(&job.region) {
        for x in 0..job.depthwise.geometry.output[1] {
            let mut channel = 0;
            while channel < job.depthwise.channels() {
                // SAFETY: the pixel lies in the region that the views hold, and has this channel; the instructions of `S` are there.
                unsafe { vector::<S, T>(job, image, [y, x, channel]) };
                channel += S::LANES;
            }
        }
    }
}

/// Computes a vector of channels of one pixel.
#[inline(always)]
unsafe fn vector<S: Simd, T: Element>(job: &Job<'_, T>, image: usize, [y, x, channel]: [usize; 3]) {
    let d = job.depthwise;
    let Geometry { window, dilation, .. } = d.geometry;
    let (in_y, in_x) = (d.geometry.start(0, y), d.geometry.start(1, x));
    // SAFETY: the pixel's window lies in the input and its halo, with a vector beyond; weights and bias are whole vectors (`pitch`); the
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
