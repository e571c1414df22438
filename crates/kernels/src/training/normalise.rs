use crate::parallel::{Divide as _, Parts as _};

use super::fold::{Norm, PARTS, multiply_and_sum, part, reduce};
use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step};
use crate::isa::ForLoops;
use crate::simd::{limit, vectorised};

/// Rows whose statistics are computed together: so few that they stay in the cache between the pass for the mean and that for the squares.
const ROWS: usize = 64;

/// A batch normalisation that is a step of its own, with a clip.
#[derive(Debug)]
pub(super) struct Normalise {
    isa: ForLoops,
    pub(super) channels: usize,
    pub(super) norm: Norm,
    pub(super) clip: Option<(f32, f32)>,
    /// If training uses the batch's statistics, the momentum: the part of the old running statistics that is kept.
    pub(super) moves: Option<f64>,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
    inverse: Vec<f32>,
    partial: Vec<f32>,
    sums: Vec<f32>,
    /// Whether the last forward pass used the batch's statistics.
    batch: bool,
    /// The factors of each channel in `dx = first * dy + second * x + third`.
    back: [Vec<f32>; 3],
}

impl Normalise {
    pub(super) fn new(isa: ForLoops, channels: usize, norm: Norm, moves: Option<f64>) -> Self {
        let zeros = || vec![0.0; channels];
        let state = State {
            scale: zeros(),
            shift: zeros(),
            mean: zeros(),
            inverse: zeros(),
            partial: Vec::new(),
            sums: vec![0.0; 2 * channels],
            batch: false,
            back: [zeros(), zeros(), zeros()],
        };
        Self { isa, channels, norm, clip: None, moves, state }
    }

    /// Computes mean and variance of the batch, for a block of rows at a time, and combines the blocks in order.
    fn statistics(&mut self, parameters: &mut Parameters, x: &[f32], momentum: f64) {
        let channels = self.channels;
        let rows = x.len() / channels;
        let blocks = rows.div_ceil(ROWS);
        self.state.partial.resize(blocks * 2 * channels, 0.0);
        let partial = self.state.partial.par_chunks_mut(2 * channels);
        x.par_chunks(ROWS * channels).zip(partial).for_each(|(x, out)| {
            let (mean, squares) = out.split_at_mut(channels);
            moments(self.isa, x, mean, squares);
        });
        let (mut mean, mut squares) = (vec![0.0_f64; channels], vec![0.0_f64; channels]);
        let mut seen = 0.0_f64;
        for (block, part) in self.state.partial.chunks_exact(2 * channels).enumerate() {
            let count = ROWS.min(rows - block * ROWS) as f64;
            let all = seen + count;
            for c in 0..channels {
                let delta = f64::from(part[c]) - mean[c];
                mean[c] += delta * count / all;
                squares[c] += f64::from(part[channels + c]) + delta * delta * seen * count / all;
            }
            seen = all;
        }
        for c in 0..channels {
            let variance = squares[c] / seen;
            self.state.mean[c] = mean[c] as f32;
            self.state.inverse[c] = (1.0 / (variance + self.norm.epsilon).sqrt()) as f32;
            let moved = |old: f32, new: f64| (f64::from(old) * momentum + new * (1.0 - momentum)) as f32;
            let stored = &mut parameters.values_mut(self.norm.mean)[c];
            *stored = moved(*stored, mean[c]);
            let stored = &mut parameters.values_mut(self.norm.variance)[c];
            *stored = moved(*stored, variance);
        }
        for c in 0..channels {
            let gamma = parameters.optional(self.norm.gamma).map_or(1.0, |gamma| gamma[c]);
            let beta = parameters.optional(self.norm.beta).map_or(0.0, |beta| beta[c]);
            self.state.scale[c] = self.state.inverse[c] * gamma;
            self.state.shift[c] = beta - self.state.mean[c] * self.state.scale[c];
        }
    }
}

impl Step for Normalise {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], pass: &mut Pass<'_>) {
        let x = x.get(0);
        match (self.moves, pass) {
            (Some(momentum), Pass::Training(_)) => {
                self.state.batch = true;
                self.statistics(parameters, x, momentum);
            }
            _ => {
                self.state.batch = false;
                for c in 0..self.channels {
                    (self.state.scale[c], self.state.shift[c]) = self.norm.affine(parameters, c);
                    self.state.mean[c] = parameters.values(self.norm.mean)[c];
                    self.state.inverse[c] = self.norm.inverse(parameters, c);
                }
            }
        }
        let clip = self.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let (scale, shift) = (&self.state.scale, &self.state.shift);
        let block = ROWS * self.channels;
        y.par_chunks_mut(block)
            .zip(x.par_chunks(block))
            .for_each(|(y, x)| affine_rows(self.isa, x, scale, shift, clip, y));
    }

    fn backward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &[f32], dy: &mut [f32]) {
        let channels = self.channels;
        let trains = |at: Option<usize>| at.filter(|&at| parameters.trains(at));
        let (gamma, beta) = (trains(self.norm.gamma), trains(self.norm.beta));
        let needs_sums = gamma.is_some() || beta.is_some() || self.state.batch;
        if !needs_sums && self.clip.is_none() {
            self.state.back[0].copy_from_slice(&self.state.scale);
            return;
        }
        let rows = dy.len() / channels;
        let each = part(rows) * channels;
        self.state.partial.clear();
        self.state.partial.resize(PARTS * 2 * channels, 0.0);
        let clip = self.clip;
        let (mean, inverse) = (&self.state.mean, &self.state.inverse);
        // The buffer of a value that is not read may already hold another value. `backward_sums` ignores that argument, so the other slice,
        // which has the same length, replaces it.
        let x = if needs_sums { x.get(0) } else { y };
        let y = if self.clip.is_some() { y } else { x };
        let parts = dy.par_chunks_mut(each).zip(x.par_chunks(each)).zip(y.par_chunks(each));
        parts.zip(self.state.partial.par_chunks_mut(2 * channels)).for_each(|(((dy, x), y), sums)| {
            let (plain, scaled) = sums.split_at_mut(channels);
            backward_sums(self.isa, dy, x, y, mean, inverse, clip, plain, scaled);
        });
        reduce(&self.state.partial, &mut self.state.sums);
        let (plain, scaled) = self.state.sums.split_at(channels);
        if let Some(beta) = beta {
            parameters.pair(beta).1.copy_from_slice(plain);
        }
        if let Some(gamma) = gamma {
            parameters.pair(gamma).1.copy_from_slice(scaled);
        }
        let [first, second, third] = &mut self.state.back;
        first.copy_from_slice(&self.state.scale);
        if self.state.batch {
            for c in 0..channels {
                // The gradient is (dy - mean(dy) - normalised * mean(dy * normalised)) * scale.
                let slope = scaled[c] / rows as f32 * self.state.inverse[c];
                second[c] = -first[c] * slope;
                third[c] = first[c] * (slope * self.state.mean[c] - plain[c] / rows as f32);
            }
        }
    }

    fn input_gradient(&mut self, _: usize, x: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let block = ROWS * self.channels;
        let [first, second, third] = &self.state.back;
        if self.state.batch {
            let parts = dx.par_chunks_mut(block).zip(dy.par_chunks(block)).zip(x.get(0).par_chunks(block));
            parts.for_each(|((dx, dy), x)| combine_rows(self.isa, dy, x, first, second, third, accumulate, dx));
        } else {
            let parts = dx.par_chunks_mut(block).zip(dy.par_chunks(block));
            parts.for_each(|(dx, dy)| scale_rows(self.isa, dy, first, accumulate, dx));
        }
    }

    fn keeps_inputs(&self, parameters: &Parameters) -> bool {
        let trained = [self.norm.gamma, self.norm.beta].into_iter().flatten().any(|at| parameters.trains(at));
        trained || self.moves.is_some()
    }

    fn keeps_output(&self) -> bool {
        self.clip.is_some()
    }
}

/// A learned factor per channel.
#[derive(Debug)]
pub(super) struct Scale {
    isa: ForLoops,
    gamma: usize,
    /// Gamma of the last forward pass.
    scale: Vec<f32>,
    zeros: Vec<f32>,
}

impl Scale {
    pub(super) fn new(isa: ForLoops, gamma: usize, channels: usize) -> Self {
        Self { isa, gamma, scale: vec![1.0; channels], zeros: vec![0.0; channels] }
    }
}

impl Step for Scale {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        self.scale.copy_from_slice(parameters.values(self.gamma));
        let block = ROWS * self.scale.len();
        let clip = (f32::NEG_INFINITY, f32::INFINITY);
        let parts = y.par_chunks_mut(block).zip(x.get(0).par_chunks(block));
        parts.for_each(|(y, x)| affine_rows(self.isa, x, &self.scale, &self.zeros, clip, y));
    }

    fn backward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, _: &[f32], dy: &mut [f32]) {
        if !parameters.trains(self.gamma) {
            return;
        }
        let channels = self.scale.len();
        let each = part(dy.len() / channels) * channels;
        let mut partial = vec![0.0; PARTS * channels];
        let parts = x.get(0).par_chunks(each).zip(dy.par_chunks(each)).zip(partial.par_chunks_mut(channels));
        parts.for_each(|((x, dy), sums)| multiply_and_sum(self.isa, x, dy, sums));
        reduce(&partial, parameters.pair(self.gamma).1);
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let block = ROWS * self.scale.len();
        let parts = dx.par_chunks_mut(block).zip(dy.par_chunks(block));
        parts.for_each(|(dx, dy)| scale_rows(self.isa, dy, &self.scale, accumulate, dx));
    }

    fn keeps_inputs(&self, parameters: &Parameters) -> bool {
        parameters.trains(self.gamma)
    }
}

/// A constant scale and shift per channel.
#[derive(Debug)]
pub(super) struct Affine {
    pub(super) isa: ForLoops,
    /// Whether scale and shift are constant or follow from parameters.
    pub(super) source: AffineSource,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// The source of the numbers of an [`Affine`].
#[derive(Debug)]
pub(super) enum AffineSource {
    /// Scale and shift are constant.
    Constant,
    /// The output is `(x - mean) / max(sqrt(variance), 1e-7)`, with these places of the mean and the variance in [`Parameters`].
    Statistics { mean: usize, variance: usize },
}

impl Step for Affine {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        if let AffineSource::Statistics { mean, variance } = self.source {
            for c in 0..self.scale.len() {
                self.scale[c] = 1.0 / parameters.values(variance)[c].sqrt().max(1e-7);
                self.shift[c] = -parameters.values(mean)[c] * self.scale[c];
            }
        }
        let block = ROWS * self.scale.len();
        let clip = (f32::NEG_INFINITY, f32::INFINITY);
        let parts = y.par_chunks_mut(block).zip(x.get(0).par_chunks(block));
        parts.for_each(|(y, x)| affine_rows(self.isa, x, &self.scale, &self.shift, clip, y));
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let block = ROWS * self.scale.len();
        let parts = dx.par_chunks_mut(block).zip(dy.par_chunks(block));
        parts.for_each(|(dx, dy)| scale_rows(self.isa, dy, &self.scale, accumulate, dx));
    }
}

vectorised! {
    /// Computes the mean of each channel, and the sum of squared deviations from it.
    fn moments(x: &[f32], mean: &mut [f32], squares: &mut [f32]) => moments_body
}

#[inline(always)]
fn moments_body<const FUSED: bool>(x: &[f32], mean: &mut [f32], squares: &mut [f32]) {
    let channels = mean.len();
    mean.fill(0.0);
    squares.fill(0.0);
    for x in x.chunks_exact(channels) {
        mean.iter_mut().zip(x).for_each(|(mean, x)| *mean += x);
    }
    let share = channels as f32 / x.len() as f32;
    mean.iter_mut().for_each(|mean| *mean *= share);
    for x in x.chunks_exact(channels) {
        for ((square, x), mean) in squares.iter_mut().zip(x).zip(mean.iter()) {
            *square += (x - mean) * (x - mean);
        }
    }
}

vectorised! {
    fn affine_rows(x: &[f32], scale: &[f32], shift: &[f32], clip: (f32, f32), y: &mut [f32]) => affine_rows_body
}

#[inline(always)]
fn affine_rows_body<const FUSED: bool>(x: &[f32], scale: &[f32], shift: &[f32], clip: (f32, f32), y: &mut [f32]) {
    let channels = scale.len();
    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
            *y = limit(x * scale + shift, clip);
        }
    }
}

vectorised! {
    fn scale_rows(dy: &[f32], scale: &[f32], accumulate: bool, dx: &mut [f32]) => scale_rows_body
}

#[inline(always)]
fn scale_rows_body<const FUSED: bool>(dy: &[f32], scale: &[f32], accumulate: bool, dx: &mut [f32]) {
    let channels = scale.len();
    for (dx, dy) in dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)) {
        for ((dx, dy), scale) in dx.iter_mut().zip(dy).zip(scale) {
            *dx = dy * scale + if accumulate { *dx } else { 0.0 };
        }
    }
}

vectorised! {
    /// Sets the gradient to zero where the output was clipped, and adds it to the sums `plain`, and its product with the normalised input to the
    /// sums `scaled`.
    fn backward_sums(dy: &mut [f32], x: &[f32], y: &[f32], mean: &[f32], inverse: &[f32], clip: Option<(f32, f32)>,
        plain: &mut [f32], scaled: &mut [f32]) => backward_sums_body
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn backward_sums_body<const FUSED: bool>(
    dy: &mut [f32],
    x: &[f32],
    y: &[f32],
    mean: &[f32],
    inverse: &[f32],
    clip: Option<(f32, f32)>,
    plain: &mut [f32],
    scaled: &mut [f32],
) {
    let channels = mean.len();
    let rows = dy.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(y.chunks_exact(channels));
    let (mean, inverse) = (&mean[..channels], &inverse[..channels]);
    let (plain, scaled) = (&mut plain[..channels], &mut scaled[..channels]);
    let Some((least, most)) = clip else {
        for ((dy, x), _) in rows {
            for c in 0..channels {
                plain[c] += dy[c];
                scaled[c] += dy[c] * ((x[c] - mean[c]) * inverse[c]);
            }
        }
        return;
    };
    for ((dy, x), y) in rows {
        for c in 0..channels {
            let value = if y[c] > least && y[c] < most { dy[c] } else { 0.0 };
            dy[c] = value;
            plain[c] += value;
            scaled[c] += value * ((x[c] - mean[c]) * inverse[c]);
        }
    }
}

vectorised! {
    /// `dx (+)= dy * first + x * second + third`.
    fn combine_rows(dy: &[f32], x: &[f32], first: &[f32], second: &[f32], third: &[f32], accumulate: bool,
        dx: &mut [f32]) => combine_rows_body
}

#[inline(always)]
fn combine_rows_body<const FUSED: bool>(
    dy: &[f32],
    x: &[f32],
    first: &[f32],
    second: &[f32],
    third: &[f32],
    accumulate: bool,
    dx: &mut [f32],
) {
    let channels = first.len();
    let (first, second, third) = (&first[..channels], &second[..channels], &third[..channels]);
    let rows = dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)).zip(x.chunks_exact(channels));
    for ((dx, dy), x) in rows {
        for c in 0..channels {
            let value = dy[c] * first[c] + x[c] * second[c] + third[c];
            dx[c] = if accumulate { dx[c] + value } else { value };
        }
    }
}
