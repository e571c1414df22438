use crate::parallel::{Divide as _, Parts as _};

use super::fold::{Fold, clip_and_sum};
use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step};
use crate::geometry::Geometry;
use crate::simd::{fma, limit, vectorised};

/// A depthwise convolution, with the layers that are folded into it.
#[derive(Debug)]
pub(super) struct Depthwise {
    geometry: Geometry,
    /// Number of output channels per input channel.
    multiplier: usize,
    kernel: usize,
    fold: Fold,
    /// The kernel, multiplied by the fold's scale, `[tap, channel]`.
    scaled: Vec<f32>,
    /// The stamp of the parameters from which the scaled kernel was made.
    stamp: Option<u64>,
    sums: Vec<f32>,
    partial: Vec<f32>,
    spare: Vec<f32>,
    blocks: Vec<f32>,
}

/// Channels that are computed together.
const LANES: usize = 16;
/// Channels of one task of the kernel's gradient.
const BLOCK: usize = 64;

impl Depthwise {
    pub(super) fn new(geometry: Geometry, multiplier: usize, kernel: usize, fold: Fold) -> Self {
        let sums = vec![0.0; fold.channels];
        Self {
            geometry,
            multiplier,
            kernel,
            fold,
            scaled: Vec::new(),
            stamp: None,
            sums,
            partial: Vec::new(),
            spare: Vec::new(),
            blocks: Vec::new(),
        }
    }

    fn refresh(&mut self, parameters: &mut Parameters) {
        let stamp = self.fold.stamp(parameters, self.kernel);
        if self.stamp.replace(stamp) == Some(stamp) {
            return;
        }
        parameters.count_packing();
        self.fold.refresh(parameters);
        self.scaled.clear();
        self.scaled.extend_from_slice(parameters.values(self.kernel));
        if self.fold.norm.is_some() {
            self.fold.scale_rows(&mut self.scaled);
        }
    }
}

impl Step for Depthwise {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        self.refresh(parameters);
        let (geometry, x, channels) = (&self.geometry, x.get(0), self.fold.channels);
        let line = geometry.output[1] * channels;
        let size: usize = geometry.input.iter().product();
        y.par_chunks_mut(line).enumerate().for_each(|(at, y)| {
            let (image, row) = (at / geometry.output[0], at % geometry.output[0]);
            let clip = self.fold.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            let x = &x[image * size..][..size];
            forward_row(self.fold.isa, geometry, self.multiplier, x, row, &self.scaled, &self.fold.shift, clip, y);
        });
    }

    fn backward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &[f32], dy: &mut [f32]) {
        if self.fold.clip.is_some() || self.fold.needs_sums(parameters) {
            clip_and_sum(self.fold.isa, dy, y, self.fold.clip, &mut self.sums, &mut self.partial);
        }
        let needs_kernel = self.fold.needs_kernel(parameters, self.kernel);
        let trains = parameters.trains(self.kernel);
        let mut gradient = if trains { parameters.take(self.kernel) } else { std::mem::take(&mut self.spare) };
        if needs_kernel {
            let (channels, x) = (self.fold.channels, x.get(0));
            let taps = self.scaled.len() / channels;
            gradient.resize(self.scaled.len(), 0.0);
            // Each task sums one block of channels over the whole batch, in a fixed order.
            self.blocks.resize(channels.div_ceil(BLOCK) * taps * BLOCK, 0.0);
            let (isa, geometry, multiplier) = (self.fold.isa, &self.geometry, self.multiplier);
            self.blocks.par_chunks_mut(taps * BLOCK).enumerate().for_each(|(block, sums)| {
                sums.fill(0.0);
                let first = block * BLOCK;
                let width = BLOCK.min(channels - first);
                kernel_block(isa, geometry, multiplier, x, dy, channels, first, width, sums);
            });
            for (block, sums) in self.blocks.chunks_exact(taps * BLOCK).enumerate() {
                let first = block * BLOCK;
                let width = BLOCK.min(channels - first);
                for (out, sums) in gradient.chunks_exact_mut(channels).zip(sums.chunks_exact(BLOCK)) {
                    out[first..first + width].copy_from_slice(&sums[..width]);
                }
            }
        }
        self.fold.write_gradients(parameters, self.kernel, &mut gradient, &self.sums);
        if trains { parameters.give(self.kernel, gradient) } else { self.spare = gradient }
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let geometry = &self.geometry;
        let line = geometry.input[1] * geometry.input[2];
        let size = geometry.pixels() * self.fold.channels;
        dx.par_chunks_mut(line).enumerate().for_each(|(at, dx)| {
            let (image, row) = (at / geometry.input[0], at % geometry.input[0]);
            if !accumulate {
                dx.fill(0.0);
            }
            backward_row(self.fold.isa, geometry, self.multiplier, &dy[image * size..][..size], row, &self.scaled, dx);
        });
    }

    fn keeps_inputs(&self, parameters: &Parameters) -> bool {
        self.fold.needs_kernel(parameters, self.kernel)
    }

    fn keeps_output(&self) -> bool {
        self.fold.clip.is_some()
    }
}

vectorised! {
    /// Computes one row of one image's output.
    fn forward_row(geometry: &Geometry, multiplier: usize, x: &[f32], row: usize, kernel: &[f32], shift: &[f32],
        clip: (f32, f32), y: &mut [f32]) => forward_row_body
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn forward_row_body<const FUSED: bool>(
    geometry: &Geometry,
    multiplier: usize,
    x: &[f32],
    row: usize,
    kernel: &[f32],
    shift: &[f32],
    clip: (f32, f32),
    y: &mut [f32],
) {
    let (channels, width) = (shift.len(), geometry.input[2]);
    let mut taps = Vec::with_capacity(geometry.window[0] * geometry.window[1]);
    for (column, y) in y.chunks_exact_mut(channels).enumerate() {
        taps.clear();
        for tap in 0..geometry.window[0] * geometry.window[1] {
            let from = geometry.source(0, row, tap / geometry.window[1]);
            let at = geometry.source(1, column, tap % geometry.window[1]);
            if let (Some(from), Some(at)) = (from, at) {
                taps.push(((from * geometry.input[1] + at) * width, tap * channels));
            }
        }
        if multiplier == 1 {
            gather::<FUSED>(x, kernel, &taps, Some(shift), clip, y);
            continue;
        }
        for (c, y) in y.iter_mut().enumerate() {
            let sum = taps.iter().fold(shift[c], |sum, (x_at, kernel_at)| {
                fma::<FUSED>(x[x_at + c / multiplier], kernel[kernel_at + c], sum)
            });
            *y = limit(sum, clip);
        }
    }
}

/// `out = clip(start + sum of source * kernel over the taps)`, channel by channel; without `start`, the sum is added to `out`.
#[inline(always)]
fn gather<const FUSED: bool>(
    source: &[f32],
    kernel: &[f32],
    taps: &[(usize, usize)],
    start: Option<&[f32]>,
    clip: (f32, f32),
    out: &mut [f32],
) {
    let channels = out.len();
    let wide = channels / (4 * LANES) * (4 * LANES);
    for first in (0..wide).step_by(4 * LANES) {
        gather_block::<FUSED, { 4 * LANES }>(source, kernel, taps, start, clip, first, out);
    }
    let narrow = channels / LANES * LANES;
    for first in (wide..narrow).step_by(LANES) {
        gather_block::<FUSED, LANES>(source, kernel, taps, start, clip, first, out);
    }
    for first in narrow..channels {
        gather_block::<FUSED, 1>(source, kernel, taps, start, clip, first, out);
    }
}

#[inline(always)]
fn gather_block<const FUSED: bool, const WIDTH: usize>(
    source: &[f32],
    kernel: &[f32],
    taps: &[(usize, usize)],
    start: Option<&[f32]>,
    clip: (f32, f32),
    first: usize,
    out: &mut [f32],
) {
    let out: &mut [f32; WIDTH] = (&mut out[first..first + WIDTH]).try_into().expect("the slice has this length");
    let mut sums: [f32; WIDTH] = match start {
        Some(start) => start[first..first + WIDTH].try_into().expect("the slice has this length"),
        None => *out,
    };
    for (source_at, kernel_at) in taps {
        let source: &[f32; WIDTH] = source[source_at + first..][..WIDTH].try_into().expect("the slice has this length");
        let kernel: &[f32; WIDTH] = kernel[kernel_at + first..][..WIDTH].try_into().expect("the slice has this length");
        for ((sum, source), kernel) in sums.iter_mut().zip(source).zip(kernel) {
            *sum = fma::<FUSED>(*source, *kernel, *sum);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = limit(sum, clip);
    }
}

vectorised! {
    /// Adds the contributions of all taps to one row of one image's input gradient.
    fn backward_row(geometry: &Geometry, multiplier: usize, dy: &[f32], row: usize, kernel: &[f32], dx: &mut [f32])
        => backward_row_body
}

#[inline(always)]
fn backward_row_body<const FUSED: bool>(
    geometry: &Geometry,
    multiplier: usize,
    dy: &[f32],
    row: usize,
    kernel: &[f32],
    dx: &mut [f32],
) {
    let width = geometry.input[2];
    let channels = width * multiplier;
    // The output row (or column) to which tap `tap` contributes the input row (or column) `at`.
    let target = |axis: usize, at: usize, tap: usize| {
        let place = (at + geometry.before[axis]).checked_sub(tap * geometry.dilation[axis])?;
        let to = place / geometry.strides[axis];
        (place % geometry.strides[axis] == 0 && to < geometry.output[axis]).then_some(to)
    };
    let mut taps = Vec::with_capacity(geometry.window[0] * geometry.window[1]);
    for (column, dx) in dx.chunks_exact_mut(width).enumerate() {
        taps.clear();
        for tap in 0..geometry.window[0] * geometry.window[1] {
            let to = target(0, row, tap / geometry.window[1]);
            let at = target(1, column, tap % geometry.window[1]);
            if let (Some(to), Some(at)) = (to, at) {
                taps.push(((to * geometry.output[1] + at) * channels, tap * channels));
            }
        }
        if multiplier == 1 {
            gather::<FUSED>(dy, kernel, &taps, None, (f32::NEG_INFINITY, f32::INFINITY), dx);
            continue;
        }
        for (dy_at, kernel_at) in &taps {
            for c in 0..channels {
                dx[c / multiplier] = fma::<FUSED>(dy[dy_at + c], kernel[kernel_at + c], dx[c / multiplier]);
            }
        }
    }
}

vectorised! {
    /// Computes the kernel's gradient for some channels, over the whole batch.
    fn kernel_block(geometry: &Geometry, multiplier: usize, x: &[f32], dy: &[f32], channels: usize, first: usize,
        count: usize, sums: &mut [f32]) => kernel_block_body
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn kernel_block_body<const FUSED: bool>(
    geometry: &Geometry,
    multiplier: usize,
    x: &[f32],
    dy: &[f32],
    channels: usize,
    first: usize,
    count: usize,
    sums: &mut [f32],
) {
    let width = geometry.input[2];
    let size: usize = geometry.input.iter().product();
    if multiplier == 1 {
        let images = x.chunks_exact(size).zip(dy.chunks_exact(geometry.pixels() * channels));
        for (x, dy) in images {
            for (tap, sums) in sums.chunks_exact_mut(BLOCK).enumerate() {
                if count == BLOCK {
                    sum_tap::<FUSED, BLOCK>(geometry, x, dy, tap, first, sums);
                    continue;
                }
                let narrow = count / LANES * LANES;
                for at in (0..narrow).step_by(LANES) {
                    sum_tap::<FUSED, LANES>(geometry, x, dy, tap, first + at, &mut sums[at..]);
                }
                for at in narrow..count {
                    sum_tap::<FUSED, 1>(geometry, x, dy, tap, first + at, &mut sums[at..]);
                }
            }
        }
        return;
    }
    for (pixel, dy) in dy.chunks_exact(channels).enumerate() {
        let (image, pixel) = (pixel / geometry.pixels(), pixel % geometry.pixels());
        let (row, column) = (pixel / geometry.output[1], pixel % geometry.output[1]);
        let (x, dy) = (&x[image * size..][..size], &dy[first..first + count]);
        for (tap, sums) in sums.chunks_exact_mut(BLOCK).enumerate() {
            let from = geometry.source(0, row, tap / geometry.window[1]);
            let at = geometry.source(1, column, tap % geometry.window[1]);
            let (Some(from), Some(at)) = (from, at) else {
                continue;
            };
            let x = &x[(from * geometry.input[1] + at) * width..][..width];
            for (c, (sum, dy)) in sums.iter_mut().zip(dy).enumerate() {
                *sum = fma::<FUSED>(x[(first + c) / multiplier], *dy, *sum);
            }
        }
    }
}

/// Adds the contribution of one image to the gradient of one tap. The sums are in registers, and these channels of the image in the first-level
/// cache.
#[inline(always)]
fn sum_tap<const FUSED: bool, const WIDTH: usize>(
    geometry: &Geometry,
    x: &[f32],
    dy: &[f32],
    tap: usize,
    first: usize,
    sums: &mut [f32],
) {
    let [_, width, channels] = geometry.input;
    let out: &mut [f32; WIDTH] = (&mut sums[..WIDTH]).try_into().expect("the slice has this length");
    let mut sums = *out;
    // The columns for which this tap lies in the image.
    let inside = |column: &usize| geometry.source(1, *column, tap % geometry.window[1]).is_some();
    let start = (0..geometry.output[1]).find(inside).unwrap_or(0);
    let end = (0..geometry.output[1]).rfind(inside).map_or(start, |last| last + 1);
    for row in 0..geometry.output[0] {
        let Some(from) = geometry.source(0, row, tap / geometry.window[1]) else {
            continue;
        };
        let Some(left) = geometry.source(1, start, tap % geometry.window[1]) else {
            continue;
        };
        let x = &x[(from * width + left) * channels..];
        let dy = &dy[(row * geometry.output[1] + start) * channels..];
        let x = x.chunks(geometry.strides[1] * channels);
        for (x, dy) in x.zip(dy.chunks(channels)).take(end - start) {
            let x: &[f32; WIDTH] = x[first..first + WIDTH].try_into().expect("the slice has this length");
            let dy: &[f32; WIDTH] = dy[first..first + WIDTH].try_into().expect("the slice has this length");
            for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                *sum = fma::<FUSED>(*x, *dy, *sum);
            }
        }
    }
    *out = sums;
}
