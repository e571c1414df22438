use crate::parallel::{Divide as _, Parts as _};

use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step, put};
use crate::geometry::Geometry;
use crate::isa::ForLoops;
use crate::simd::vectorised;

/// Max pooling of windows, or of the whole image.
#[derive(Debug)]
pub(super) struct MaxPool {
    pub(super) isa: ForLoops,
    pub(super) geometry: Geometry,
    /// For each output value, the tap with the largest value.
    pub(super) argmax: Vec<u32>,
}

impl Step for MaxPool {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let geometry = &self.geometry;
        let channels = geometry.input[2];
        let (size, line) = (geometry.input.iter().product::<usize>(), geometry.output[1] * channels);
        self.argmax.resize(y.len(), 0);
        let x = x.get(0);
        y.par_chunks_mut(line).zip(self.argmax.par_chunks_mut(line)).enumerate().for_each(|(at, (y, argmax))| {
            let (image, row) = (at / geometry.output[0], at % geometry.output[0]);
            let x = &x[image * size..][..size];
            let pixels = y.chunks_exact_mut(channels).zip(argmax.chunks_exact_mut(channels));
            for (column, (y, argmax)) in pixels.enumerate() {
                y.fill(f32::NEG_INFINITY);
                argmax.fill(u32::MAX);
                for tap in 0..geometry.window[0] * geometry.window[1] {
                    let from = geometry.source(0, row, tap / geometry.window[1]);
                    let at = geometry.source(1, column, tap % geometry.window[1]);
                    if let (Some(from), Some(at)) = (from, at) {
                        let x = &x[(from * geometry.input[1] + at) * channels..][..channels];
                        update_largest(self.isa, x, tap as u32, y, argmax);
                    }
                }
            }
        });
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let geometry = &self.geometry;
        let channels = geometry.input[2];
        let (size, pooled) = (geometry.input.iter().product::<usize>(), geometry.pixels() * channels);
        let parts = dx.par_chunks_mut(size).zip(dy.par_chunks(pooled)).zip(self.argmax.par_chunks(pooled));
        parts.for_each(|((dx, dy), argmax)| {
            if !accumulate {
                dx.fill(0.0);
            }
            let pixels = dy.chunks_exact(channels).zip(argmax.chunks_exact(channels));
            for (pixel, (dy, argmax)) in pixels.enumerate() {
                let (row, column) = (pixel / geometry.output[1], pixel % geometry.output[1]);
                for tap in 0..geometry.window[0] * geometry.window[1] {
                    let from = geometry.source(0, row, tap / geometry.window[1]);
                    let to = geometry.source(1, column, tap % geometry.window[1]);
                    if let (Some(from), Some(to)) = (from, to) {
                        let dx = &mut dx[(from * geometry.input[1] + to) * channels..][..channels];
                        add_where_largest(self.isa, dy, argmax, tap as u32, dx);
                    }
                }
            }
        });
    }
}

vectorised! {
    /// Compares the values of a tap with the largest so far, and replaces those that are smaller. Of equal values, the first counts; NaN always
    /// replaces the old value.
    fn update_largest(x: &[f32], tap: u32, y: &mut [f32], argmax: &mut [u32]) => update_largest_body
}

#[inline(always)]
fn update_largest_body<const FUSED: bool>(x: &[f32], tap: u32, y: &mut [f32], argmax: &mut [u32]) {
    for ((y, largest), x) in y.iter_mut().zip(argmax.iter_mut()).zip(x) {
        let larger = *x > *y || x.is_nan();
        *y = if larger { *x } else { *y };
        *largest = if larger || *largest == u32::MAX { tap } else { *largest };
    }
}

vectorised! {
    /// Adds the gradient to the values of a tap that were the largest.
    fn add_where_largest(dy: &[f32], argmax: &[u32], tap: u32, dx: &mut [f32]) => add_where_largest_body
}

#[inline(always)]
fn add_where_largest_body<const FUSED: bool>(dy: &[f32], argmax: &[u32], tap: u32, dx: &mut [f32]) {
    for ((dx, dy), largest) in dx.iter_mut().zip(dy).zip(argmax) {
        *dx += if *largest == tap { *dy } else { 0.0 };
    }
}

/// Average pooling of windows.
#[derive(Debug)]
pub(super) struct AveragePool {
    pub(super) geometry: Geometry,
    pub(super) count_include_pad: bool,
}

impl AveragePool {
    /// One over the number of values in the mean at an output pixel.
    fn share(&self, row: usize, column: usize) -> f32 {
        let covered = |axis: usize, at: usize| {
            let geometry = &self.geometry;
            (0..geometry.window[axis])
                .filter(|&tap| {
                    let place = at * geometry.strides[axis] + tap;
                    let (before, length) = (geometry.before[axis], geometry.input[axis]);
                    let (least, most) = if self.count_include_pad {
                        (0, before + length + geometry.after[axis])
                    } else {
                        (before, before + length)
                    };
                    (least..most).contains(&place)
                })
                .count()
        };
        1.0 / (covered(0, row) * covered(1, column)).max(1) as f32
    }
}

impl Step for AveragePool {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let geometry = &self.geometry;
        let channels = geometry.input[2];
        let (size, line) = (geometry.input.iter().product::<usize>(), geometry.output[1] * channels);
        let x = x.get(0);
        y.par_chunks_mut(line).enumerate().for_each(|(at, y)| {
            let (image, row) = (at / geometry.output[0], at % geometry.output[0]);
            let x = &x[image * size..][..size];
            for (column, y) in y.chunks_exact_mut(channels).enumerate() {
                y.fill(0.0);
                for tap in 0..geometry.window[0] * geometry.window[1] {
                    let from = geometry.source(0, row, tap / geometry.window[1]);
                    let at = geometry.source(1, column, tap % geometry.window[1]);
                    if let (Some(from), Some(at)) = (from, at) {
                        let x = &x[(from * geometry.input[1] + at) * channels..][..channels];
                        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                    }
                }
                let share = self.share(row, column);
                y.iter_mut().for_each(|y| *y *= share);
            }
        });
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let geometry = &self.geometry;
        let channels = geometry.input[2];
        let (size, pooled) = (geometry.input.iter().product::<usize>(), geometry.pixels() * channels);
        dx.par_chunks_mut(size).zip(dy.par_chunks(pooled)).for_each(|(dx, dy)| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (pixel, dy) in dy.chunks_exact(channels).enumerate() {
                let (row, column) = (pixel / geometry.output[1], pixel % geometry.output[1]);
                let share = self.share(row, column);
                for tap in 0..geometry.window[0] * geometry.window[1] {
                    let from = geometry.source(0, row, tap / geometry.window[1]);
                    let at = geometry.source(1, column, tap % geometry.window[1]);
                    if let (Some(from), Some(at)) = (from, at) {
                        let dx = &mut dx[(from * geometry.input[1] + at) * channels..][..channels];
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy * share);
                    }
                }
            }
        });
    }
}

/// Global average pooling, over height and width.
#[derive(Debug)]
pub(super) struct GlobalAverage {
    pub(super) pixels: usize,
    pub(super) channels: usize,
}

impl Step for GlobalAverage {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let (channels, share) = (self.channels, 1.0 / self.pixels as f32);
        y.par_chunks_mut(channels).zip(x.get(0).par_chunks(self.pixels * channels)).for_each(|(y, x)| {
            y.fill(0.0);
            for x in x.chunks_exact(channels) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y *= share);
        });
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let (channels, share) = (self.channels, 1.0 / self.pixels as f32);
        dx.par_chunks_mut(self.pixels * channels).zip(dy.par_chunks(channels)).for_each(|(dx, dy)| {
            for dx in dx.chunks_exact_mut(channels) {
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| put(dx, dy * share, accumulate));
            }
        });
    }
}
