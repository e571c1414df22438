//! Depthwise convolutions: a vector of channels at a time, or two of bf16, and several columns of the output in registers.

use std::mem::MaybeUninit;

use super::view::{Epilogue, Region, View};
use crate::bf16::Bf16;
use crate::element::Element;
use crate::geometry::Geometry;
use crate::linalg::{COLUMNS, column};
use crate::memory::{OutOfMemory, filled};
use crate::simd::{Simd, per_isa, wide_or_portable};

/// How weights and bias lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Channel by channel.
    Plain,
    /// In blocks of 32 channels, those with an even number before the others: as two vectors of bf16 are loaded at once.
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

    /// Weights, or the bias, for `N` vectors of values from `channel` on.
    ///
    /// # Safety
    /// The numbers of all channels lie at the pointer, up to whole blocks of 32; the instructions of `S` are there.
    #[inline(always)]
    unsafe fn load<S: Simd, const N: usize>(p: *const f32, channel: usize) -> [S::V; N] {
        let first = match N {
            1 => channel,
            _ => channel / COLUMNS * COLUMNS + channel % COLUMNS / 2,
        };
        // SAFETY: a block's first half has a vector at the place, and so has the second; the instructions of `S` are there.
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
        order: Order,
        geometry: Geometry,
        weight: impl Fn(usize, usize) -> f32,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let (taps, channels) = (geometry.window[0] * geometry.window[1], bias.len());
        let (pitch, multiplier) = (channels.next_multiple_of(COLUMNS), channels / geometry.input[2]);
        // Kernels of any size take their channels one by one.
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

    /// Channels of the output, with room for a vector read beyond them.
    fn pitch(&self) -> usize {
        self.bias.len()
    }
}

/// Whether there is a kernel of the window's size.
fn is_unrolled(geometry: &Geometry, multiplier: usize) -> bool {
    let Geometry { window, strides, dilation, .. } = geometry;
    let size = matches!((window, strides[1]), ([3, 3] | [5, 5], 1 | 2) | ([7, 7], 1));
    size && multiplier == 1 && dilation[1] == 1
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

/// Kernels of `N` vectors of channels at once.
#[inline(always)]
unsafe fn kernel<S: Simd, T: Element, const N: usize>(job: &Job<'_, T>) {
    let Depthwise { geometry, multiplier, .. } = job.depthwise;
    if !is_unrolled(geometry, *multiplier) {
        // SAFETY: the views hold the region, its windows and a vector beyond; the instructions of `S` are there.
        return unsafe { any::<S, T>(job) };
    }
    // SAFETY: the views hold the region, the windows in the input's halo and a vector beyond (see `View`); the instructions of `S`
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

/// Rows of the region.
#[inline(always)]
fn rows(region: &Region) -> impl Iterator<Item = (usize, usize)> {
    let rows = region.rows.clone();
    region.images.clone().flat_map(move |image| rows.clone().map(move |y| (image, y)))
}

/// Most columns of the output at once: their sums, a row of weights and an input fill less than 32 registers.
const MOST: usize = 8;

/// Upper limit of the bytes of input under the windows of one band: half of a first cache of 48 KiB. The windows of the next row find the
/// rows that they share with this one there.
const NEAR: usize = 24 << 10;

/// Kernels of a known size, up to [`MOST`] columns at once, as evenly as they go.
///
/// Bands of columns and channels are computed from the first row to the last: whole rows of wide layers do not fit in the first cache,
/// and would be fetched again for every row of a window.
#[inline(always)]
unsafe fn columns<S: Simd, T: Element, const N: usize, const H: usize, const W: usize, const STRIDE: usize>(
    job: &Job<'_, T>,
) {
    let (width, channels) = (job.depthwise.geometry.output[1], job.depthwise.geometry.input[2]);
    let parts = width.div_ceil(MOST);
    let window = H * (width.div_ceil(parts) * STRIDE + W) * size_of::<T>();
    let bands = (channels * window).div_ceil(NEAR);
    let band = channels.div_ceil(bands).next_multiple_of(N * S::LANES);
    // The most common end is short enough to happen in registers: whole vectors are clipped and stored.
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
                        // SAFETY: the columns lie in the region that the views hold, and the channel is one of theirs; the sums of as many
                        // columns are written, of which there are at most `MOST`, as are read; the instructions of `S` are there.
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

/// Writes code once for each column of the input that [`MOST`] columns of the output can have under their windows. The compiler may leave
/// a loop over them as it is, because its turns differ, and then the sums are in memory.
macro_rules! for_each_column {
    (|$column:ident| $body:expr) => {
        for_each_column!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; |$column| $body)
    };
    ($($at:literal)*; |$column:ident| $body:expr) => {
        $({
            const $column: usize = $at;
            $body
        })*
    };
}

/// The sums of `X` columns. With `clip` they are clipped and stored in the output; without it, `to` gets them, because what else happens
/// at the end is much code, which would be compiled again for each size.
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
    // SAFETY: the columns' windows lie in the input's halo, with a vector beyond; weights and bias are whole vectors (`pitch`); `to` has
    // room for `X` sums; the instructions of `S` are there.
    unsafe {
        let mut sums = [Order::load::<S, N>(d.bias.as_ptr(), channel); X];
        for i in 0..H {
            let row = job.input.at(image, in_y + (i * down) as isize, in_x).add(channel);
            let mut weights = [Order::load::<S, N>(d.weights.as_ptr().add(i * W * pitch), channel); W];
            for j in 1..W {
                weights[j] = Order::load::<S, N>(d.weights.as_ptr().add((i * W + j) * pitch), channel);
            }
            // Every column of the input is read once. Each sum takes its taps from left to right.
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
