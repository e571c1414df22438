use crate::parallel::{Divide as _, Parts as _};

use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step, put};
use crate::geometry::Geometry;
use crate::isa::ForLoops;
use crate::simd::vectorised;

/// Largest value of each window, or of the whole image.
#[derive(Debug)]
pub(super) struct MaxPool {
    pub(super) isa: ForLoops,
    pub(super) geometry: Geometry,
    /// Which tap won.
    pub(super) winners: Vec<u32>,
}

impl Step for MaxPool {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let geometry = &self.geometry;
        let channels = geometry.input[2];
        let (size, line) = (geometry.input.iter().product::<usize>(), geometry.output[1] * channels);
        self.winners.resize(y.len(), 0);
        let x = x.get(0);
        y.par_chunks_mut(line).zip(self.winners.par_chunks_mut(line)).enumerate().for_each(|(at, (y, winners))| {
            let (image, row) = (at / geometry.output[0], at % geometry.output[0]);
            let x = &x[image * size..][..size];
            let pixels = y.chunks_exact_mut(channels).zip(winners.chunks_exact_mut(channels));
            for (column, (y, winners)) in pixels.enumerate() {
                y.fill(f32::NEG_INFINITY);
                winners.fill(u32::MAX);
                for tap in 0..geometry.window[0] * geometry.window[1] {
                    let from = geometry.source(0, row, tap / geometry.window[1]);
                    let at = geometry.source(1, column, tap % geometry.window[1]);
                    if let (Some(from), Some(at)) = (from, at) {
                        let x = &x[(from * geometry.input[1] + at) * channels..][..channels];
                        challenge(self.isa, x, tap as u32, y, winners);
                    }
                }
            }
        });
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let geometry = &self.geometry;
        let channels = geometry.input[2];
        let (size, pooled) = (geometry.input.iter().product::<usize>(), geometry.pixels() * channels);
        let parts = dx.par_chunks_mut(size).zip(dy.par_chunks(pooled)).zip(self.winners.par_chunks(pooled));
        parts.for_each(|((dx, dy), winners)| {
            if !accumulate {
                dx.fill(0.0);
            }
            let pixels = dy.chunks_exact(channels).zip(winners.chunks_exact(channels));
            for (pixel, (dy, winners)) in pixels.enumerate() {
                let (row, column) = (pixel / geometry.output[1], pixel % geometry.output[1]);
                for tap in 0..geometry.window[0] * geometry.window[1] {
                    let from = geometry.source(0, row, tap / geometry.window[1]);
                    let to = geometry.source(1, column, tap % geometry.window[1]);
                    if let (Some(from), Some(to)) = (from, to) {
                        let dx = &mut dx[(from * geometry.input[1] + to) * channels..][..channels];
                        reward(self.isa, dy, winners, tap as u32, dx);
                    }
                }
            }
        });
    }
}

vectorised! {
    /// Lets a tap's values win: the first of equals, and what is not a number.
    fn challenge(x: &[f32], tap: u32, y: &mut [f32], winners: &mut [u32]) => challenge_body
}

#[inline(always)]
fn challenge_body<const FUSED: bool>(x: &[f32], tap: u32, y: &mut [f32], winners: &mut [u32]) {
    for ((y, winner), x) in y.iter_mut().zip(winners.iter_mut()).zip(x) {
        let wins = *x > *y || x.is_nan();
        *y = if wins { *x } else { *y };
        *winner = if wins || *winner == u32::MAX { tap } else { *winner };
    }
}

vectorised! {
    /// Hands the gradient to a tap where it has won.
    fn reward(dy: &[f32], winners: &[u32], tap: u32, dx: &mut [f32]) => reward_body
}

#[inline(always)]
fn reward_body<const FUSED: bool>(dy: &[f32], winners: &[u32], tap: u32, dx: &mut [f32]) {
    for ((dx, dy), winner) in dx.iter_mut().zip(dy).zip(winners) {
        *dx += if *winner == tap { *dy } else { 0.0 };
    }
}

/// Mean of each window.
#[derive(Debug)]
pub(super) struct AveragePool {
    pub(super) geometry: Geometry,
    pub(super) count_include_pad: bool,
}

impl AveragePool {
    /// One over the number of values that the mean is of.
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

/// Mean over height and width.
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
