use rayon::prelude::*;

use super::convolution::Geometry;
use super::fold::{Fold, clip_and_sum};
use super::matmul::limit;
use super::parameters::Parameters;
use super::simd::{fma, vectorised};
use super::step::{Inputs, Pass, Step};

/// A convolution that keeps channels apart, with what is folded into it.
#[derive(Debug)]
pub(super) struct Depthwise {
    geometry: Geometry,
    /// Output channels for each input channel.
    multiplier: usize,
    kernel: usize,
    fold: Fold,
    /// The kernel times the fold's scale, `[tap, channel]`.
    scaled: Vec<f32>,
    version: Option<u64>,
    sums: Vec<f32>,
    partial: Vec<f32>,
    spare: Vec<f32>,
    blocks: Vec<f32>,
}

/// Channels of one task of the kernel's gradient.
const BLOCK: usize = 32;

impl Depthwise {
    pub(super) fn new(geometry: Geometry, multiplier: usize, kernel: usize, fold: Fold) -> Self {
        let sums = vec![0.0; fold.channels];
        Self {
            geometry,
            multiplier,
            kernel,
            fold,
            scaled: Vec::new(),
            version: None,
            sums,
            partial: Vec::new(),
            spare: Vec::new(),
            blocks: Vec::new(),
        }
    }

    fn refresh(&mut self, parameters: &Parameters) {
        if self.version == Some(parameters.version()) {
            return;
        }
        self.version = Some(parameters.version());
        self.fold.refresh(parameters);
        self.scaled.clear();
        self.scaled.extend_from_slice(parameters.values(self.kernel));
        if self.fold.norm.is_some() {
            for row in self.scaled.chunks_exact_mut(self.fold.channels) {
                row.iter_mut().zip(&self.fold.scale).for_each(|(value, scale)| *value *= scale);
            }
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
            forward_row(geometry, self.multiplier, x, row, &self.scaled, &self.fold.shift, clip, y);
        });
    }

    fn backward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &[f32], d: &mut [f32]) {
        if self.fold.clip.is_some() || self.fold.needs_sums(parameters) {
            clip_and_sum(d, y, self.fold.clip, &mut self.sums, &mut self.partial);
        }
        let needs_kernel = self.fold.needs_kernel(parameters, self.kernel);
        let trains = parameters.trains(self.kernel);
        let mut gradient = if trains { parameters.take(self.kernel) } else { std::mem::take(&mut self.spare) };
        if needs_kernel {
            let (channels, x) = (self.fold.channels, x.get(0));
            let taps = self.scaled.len() / channels;
            gradient.resize(self.scaled.len(), 0.0);
            // Each task sums one block of channels over the whole batch, in one order.
            self.blocks.resize(channels.div_ceil(BLOCK) * taps * BLOCK, 0.0);
            let (geometry, multiplier) = (&self.geometry, self.multiplier);
            self.blocks.par_chunks_mut(taps * BLOCK).enumerate().for_each(|(block, sums)| {
                sums.fill(0.0);
                let first = block * BLOCK;
                let width = BLOCK.min(channels - first);
                kernel_block(geometry, multiplier, x, d, channels, first, width, sums);
            });
            for (block, sums) in self.blocks.chunks_exact(taps * BLOCK).enumerate() {
                let first = block * BLOCK;
                let width = BLOCK.min(channels - first);
                for (out, sums) in gradient.chunks_exact_mut(channels).zip(sums.chunks_exact(BLOCK)) {
                    out[first..first + width].copy_from_slice(&sums[..width]);
                }
            }
        }
        self.fold.finish(parameters, self.kernel, &mut gradient, &self.sums);
        if trains { parameters.give(self.kernel, gradient) } else { self.spare = gradient }
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], d: &[f32], dx: &mut [f32], accumulate: bool) {
        let geometry = &self.geometry;
        let line = geometry.input[1] * geometry.input[2];
        let size = geometry.pixels() * self.fold.channels;
        dx.par_chunks_mut(line).enumerate().for_each(|(at, dx)| {
            let (image, row) = (at / geometry.input[0], at % geometry.input[0]);
            if !accumulate {
                dx.fill(0.0);
            }
            backward_row(geometry, self.multiplier, &d[image * size..][..size], row, &self.scaled, dx);
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
    /// One row of one image's output.
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
    for (column, y) in y.chunks_exact_mut(channels).enumerate() {
        y.copy_from_slice(shift);
        for (tap, kernel) in kernel.chunks_exact(channels).enumerate() {
            let from = geometry.source(0, row, tap / geometry.window[1]);
            let at = geometry.source(1, column, tap % geometry.window[1]);
            let (Some(from), Some(at)) = (from, at) else {
                continue;
            };
            let x = &x[(from * geometry.input[1] + at) * width..][..width];
            if multiplier == 1 {
                for ((y, x), kernel) in y.iter_mut().zip(x).zip(kernel) {
                    *y = fma::<FUSED>(*x, *kernel, *y);
                }
            } else {
                for (c, (y, kernel)) in y.iter_mut().zip(kernel).enumerate() {
                    *y = fma::<FUSED>(x[c / multiplier], *kernel, *y);
                }
            }
        }
        y.iter_mut().for_each(|y| *y = limit(*y, clip));
    }
}

vectorised! {
    /// Adds to one row of one image's input gradient.
    fn backward_row(geometry: &Geometry, multiplier: usize, d: &[f32], row: usize, kernel: &[f32], dx: &mut [f32])
        => backward_row_body
}

#[inline(always)]
fn backward_row_body<const FUSED: bool>(
    geometry: &Geometry,
    multiplier: usize,
    d: &[f32],
    row: usize,
    kernel: &[f32],
    dx: &mut [f32],
) {
    let width = geometry.input[2];
    let channels = width * multiplier;
    // The output row or column that tap `tap` takes input `at` to.
    let target = |axis: usize, at: usize, tap: usize| {
        let place = (at + geometry.before[axis]).checked_sub(tap * geometry.dilation[axis])?;
        let to = place / geometry.strides[axis];
        (place % geometry.strides[axis] == 0 && to < geometry.output[axis]).then_some(to)
    };
    for (column, dx) in dx.chunks_exact_mut(width).enumerate() {
        for (tap, kernel) in kernel.chunks_exact(channels).enumerate() {
            let to = target(0, row, tap / geometry.window[1]);
            let at = target(1, column, tap % geometry.window[1]);
            let (Some(to), Some(at)) = (to, at) else {
                continue;
            };
            let d = &d[(to * geometry.output[1] + at) * channels..][..channels];
            if multiplier == 1 {
                for ((dx, d), kernel) in dx.iter_mut().zip(d).zip(kernel) {
                    *dx = fma::<FUSED>(*d, *kernel, *dx);
                }
            } else {
                for (c, (d, kernel)) in d.iter().zip(kernel).enumerate() {
                    dx[c / multiplier] = fma::<FUSED>(*d, *kernel, dx[c / multiplier]);
                }
            }
        }
    }
}

vectorised! {
    /// The kernel's gradient for some channels, over the whole batch.
    fn kernel_block(geometry: &Geometry, multiplier: usize, x: &[f32], d: &[f32], channels: usize, first: usize,
        count: usize, sums: &mut [f32]) => kernel_block_body
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn kernel_block_body<const FUSED: bool>(
    geometry: &Geometry,
    multiplier: usize,
    x: &[f32],
    d: &[f32],
    channels: usize,
    first: usize,
    count: usize,
    sums: &mut [f32],
) {
    let width = geometry.input[2];
    let size: usize = geometry.input.iter().product();
    for (pixel, d) in d.chunks_exact(channels).enumerate() {
        let (image, pixel) = (pixel / geometry.pixels(), pixel % geometry.pixels());
        let (row, column) = (pixel / geometry.output[1], pixel % geometry.output[1]);
        let (x, d) = (&x[image * size..][..size], &d[first..first + count]);
        for (tap, sums) in sums.chunks_exact_mut(BLOCK).enumerate() {
            let from = geometry.source(0, row, tap / geometry.window[1]);
            let at = geometry.source(1, column, tap % geometry.window[1]);
            let (Some(from), Some(at)) = (from, at) else {
                continue;
            };
            let x = &x[(from * geometry.input[1] + at) * width..][..width];
            if multiplier == 1 {
                for ((sum, x), d) in sums.iter_mut().zip(&x[first..first + count]).zip(d) {
                    *sum = fma::<FUSED>(*x, *d, *sum);
                }
            } else {
                for (c, (sum, d)) in sums.iter_mut().zip(d).enumerate() {
                    *sum = fma::<FUSED>(x[(first + c) / multiplier], *d, *sum);
                }
            }
        }
    }
}
