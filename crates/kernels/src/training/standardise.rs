//! Normalisations whose statistics are computed from each sample, and which are therefore the same in training and in inference: layer,
//! group and global response normalisation.

use crate::parallel::{Divide as _, Parts as _};

use super::fold::{PARTS, part, reduce};
use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step, put};
use crate::isa::ForLoops;
use crate::simd::{Simd, vectorised};

/// Rows in one task.
const ROWS: usize = 32;

/// A layer or group normalisation. It normalises sets of values: those of a layer normalisation are rows of channels, and those of a group
/// normalisation are groups of channels over all positions of a sample.
#[derive(Debug)]
pub(super) struct Standardise {
    isa: ForLoops,
    /// Number of positions in a set.
    positions: usize,
    groups: usize,
    gamma: Option<usize>,
    beta: Option<usize>,
    epsilon: f64,
    /// Gamma and beta of the last forward pass; ones and zeros if the layer does not have them.
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// For each set, its mean, and one over its standard deviation.
    statistics: Vec<[f32; 2]>,
    partial: Vec<f32>,
}

impl Standardise {
    /// A normalisation of sets of `positions` by `channels / groups` values.
    pub(super) fn new(
        isa: ForLoops,
        [positions, channels, groups]: [usize; 3],
        gamma: Option<usize>,
        beta: Option<usize>,
        epsilon: f64,
    ) -> Self {
        let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
        let (statistics, partial) = (Vec::new(), Vec::new());
        Self { isa, positions, groups, gamma, beta, epsilon, scale, shift, statistics, partial }
    }

    fn channels(&self) -> usize {
        self.scale.len()
    }

    /// Whether a set is a row of channels.
    fn is_by_row(&self) -> bool {
        self.positions == 1 && self.groups == 1
    }

    /// The number of values in a block, which one task takes: those of some rows, or of one sample.
    fn block(&self) -> usize {
        self.channels() * if self.is_by_row() { ROWS } else { self.positions }
    }

    /// The number of sets in a block.
    fn sets(&self) -> usize {
        if self.is_by_row() { ROWS } else { self.groups }
    }
}

impl Step for Standardise {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        if let Some(gamma) = self.gamma {
            self.scale.copy_from_slice(parameters.values(gamma));
        }
        if let Some(beta) = self.beta {
            self.shift.copy_from_slice(parameters.values(beta));
        }
        let (block, sets, by_row) = (self.block(), self.sets(), self.is_by_row());
        self.statistics.resize(y.len().div_ceil(block) * sets, [0.0; 2]);
        let (scale, shift, groups, epsilon, isa) = (&self.scale, &self.shift, self.groups, self.epsilon, self.isa);
        let parts = y.par_chunks_mut(block).zip(x.get(0).par_chunks(block)).zip(self.statistics.par_chunks_mut(sets));
        parts.for_each(|((y, x), statistics)| match by_row {
            true => rows(isa, x, scale, shift, epsilon, y, statistics),
            false => sample(x, scale, shift, groups, epsilon, y, statistics),
        });
    }

    fn backward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, _: &[f32], dy: &mut [f32]) {
        let trains = |at: Option<usize>| at.filter(|&at| parameters.trains(at));
        let (gamma, beta) = (trains(self.gamma), trains(self.beta));
        if gamma.is_none() && beta.is_none() {
            return;
        }
        let channels = self.channels();
        let (block, sets) = (self.block(), self.sets());
        // Each part consists of whole blocks, so that it has the statistics of its sets.
        let blocks = part(dy.len().div_ceil(block));
        self.partial.clear();
        self.partial.resize(PARTS * 2 * channels, 0.0);
        let (isa, groups, positions, by_row) = (self.isa, self.groups, self.positions, self.is_by_row());
        let parts = dy.par_chunks(blocks * block).zip(x.get(0).par_chunks(blocks * block));
        let parts = parts.zip(self.statistics.par_chunks(blocks * sets)).zip(self.partial.par_chunks_mut(2 * channels));
        parts.for_each(|(((dy, x), statistics), sums)| {
            let (plain, scaled) = sums.split_at_mut(channels);
            let each = channels / groups;
            for (row, (dy, x)) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)).enumerate() {
                match by_row {
                    true => sum_row(isa, dy, x, statistics[row], plain, scaled),
                    false => {
                        let statistics = &statistics[row / positions * groups..][..groups];
                        for (group, &[mean, inverse]) in statistics.iter().enumerate() {
                            for c in group * each..(group + 1) * each {
                                plain[c] += dy[c];
                                scaled[c] += dy[c] * ((x[c] - mean) * inverse);
                            }
                        }
                    }
                }
            }
        });
        let mut sums = vec![0.0; 2 * channels];
        reduce(&self.partial, &mut sums);
        let (plain, scaled) = sums.split_at(channels);
        if let Some(beta) = beta {
            parameters.pair(beta).1.copy_from_slice(plain);
        }
        if let Some(gamma) = gamma {
            parameters.pair(gamma).1.copy_from_slice(scaled);
        }
    }

    fn input_gradient(&mut self, _: usize, x: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let (block, sets, by_row) = (self.block(), self.sets(), self.is_by_row());
        let (scale, groups, isa) = (&self.scale, self.groups, self.isa);
        let parts = dx.par_chunks_mut(block).zip(dy.par_chunks(block)).zip(x.get(0).par_chunks(block));
        parts.zip(self.statistics.par_chunks(sets)).for_each(|(((dx, dy), x), statistics)| match by_row {
            true => rows_back(isa, dy, x, scale, statistics, accumulate, dx),
            false => sample_back(dy, x, scale, groups, statistics, accumulate, dx),
        });
    }

    fn keeps_inputs(&self, _: &Parameters) -> bool {
        true
    }
}

/// The sum over a row of the vectors `f(at, lanes)`, where `lanes` is the number of values from `at` to the row's end; lanes beyond it must
/// be 0.
#[inline(always)]
unsafe fn sum_of<S: Simd>(channels: usize, f: impl Fn(usize, usize) -> S::V) -> f32 {
    // SAFETY: the instructions of `S` are there.
    unsafe {
        let mut all = S::splat(0.0);
        for at in (0..channels).step_by(S::LANES) {
            all = S::add(all, f(at, channels - at));
        }
        S::sum(all)
    }
}

/// Loads values of a slice from `at` on, with zeros beyond its end.
#[inline(always)]
unsafe fn load<S: Simd>(values: &[f32], at: usize) -> S::V {
    // SAFETY: no more than the values of the slice are read; the instructions of `S` are there.
    unsafe { S::load_up_to(values[at..].as_ptr(), values.len() - at) }
}

/// Writes values of a slice from `at` on, up to its end.
#[inline(always)]
unsafe fn store<S: Simd>(values: &mut [f32], at: usize, v: S::V) {
    let count = values.len() - at;
    // SAFETY: no more than the values of the slice are written; the instructions of `S` are there.
    unsafe { S::store_up_to(values[at..].as_mut_ptr(), v, count) };
}

vectorised! {
    /// Normalises rows, and stores their statistics.
    fn rows(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f64, y: &mut [f32], statistics: &mut [[f32; 2]])
        => rows_body::<S>
}

#[inline(always)]
unsafe fn rows_body<S: Simd>(
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    epsilon: f64,
    y: &mut [f32],
    statistics: &mut [[f32; 2]],
) {
    let channels = scale.len();
    for ((y, x), statistics) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(statistics) {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let mean = sum_of::<S>(channels, |at, _| load::<S>(x, at)) / channels as f32;
            let middle = S::splat(mean);
            let whole = channels / S::LANES * S::LANES;
            let mut squares = sum_of::<S>(whole, |at, _| {
                let x = S::sub(load::<S>(x, at), middle);
                S::mul(x, x)
            });
            x[whole..].iter().for_each(|x| squares += (x - mean) * (x - mean));
            let inverse = (1.0 / (f64::from(squares) / channels as f64 + epsilon).sqrt()) as f32;
            *statistics = [mean, inverse];
            let inverse = S::splat(inverse);
            for at in (0..channels).step_by(S::LANES) {
                let normal = S::mul(S::sub(load::<S>(x, at), middle), inverse);
                store::<S>(y, at, S::fma(normal, load::<S>(scale, at), load::<S>(shift, at)));
            }
        }
    }
}

vectorised! {
    /// Adds a row's gradient to the sums `plain`, and its product with the normalised row to the sums `scaled`.
    fn sum_row(dy: &[f32], x: &[f32], statistics: [f32; 2], plain: &mut [f32], scaled: &mut [f32]) => sum_row_body
}

#[inline(always)]
fn sum_row_body<const FUSED: bool>(
    dy: &[f32],
    x: &[f32],
    [mean, inverse]: [f32; 2],
    plain: &mut [f32],
    scaled: &mut [f32],
) {
    for (((dy, x), plain), scaled) in dy.iter().zip(x).zip(plain).zip(scaled) {
        *plain += dy;
        *scaled += dy * ((x - mean) * inverse);
    }
}

vectorised! {
    /// `dx (+)= inverse * (dy * scale - mean(dy * scale) - normal * mean(dy * scale * normal))`.
    fn rows_back(dy: &[f32], x: &[f32], scale: &[f32], statistics: &[[f32; 2]], accumulate: bool, dx: &mut [f32])
        => rows_back_body::<S>
}

#[inline(always)]
unsafe fn rows_back_body<S: Simd>(
    dy: &[f32],
    x: &[f32],
    scale: &[f32],
    statistics: &[[f32; 2]],
    accumulate: bool,
    dx: &mut [f32],
) {
    let channels = scale.len();
    let rows = dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)).zip(x.chunks_exact(channels));
    for (((dx, dy), x), &[mean, inverse]) in rows.zip(statistics) {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let (middle, inverse) = (S::splat(mean), S::splat(inverse));
            let slope = |at: usize| S::mul(load::<S>(dy, at), load::<S>(scale, at));
            let normal = |at: usize| S::mul(S::sub(load::<S>(x, at), middle), inverse);
            let share = -1.0 / channels as f32;
            // `load` gives zeros beyond the row's end, so the gradient is 0 there.
            let plain = S::splat(sum_of::<S>(channels, |at, _| slope(at)) * share);
            let along = S::splat(sum_of::<S>(channels, |at, _| S::mul(slope(at), normal(at))) * share);
            for at in (0..channels).step_by(S::LANES) {
                let value = S::mul(S::fma(normal(at), along, S::add(slope(at), plain)), inverse);
                let value = if accumulate { S::add(load::<S>(dx, at), value) } else { value };
                store::<S>(dx, at, value);
            }
        }
    }
}

/// Normalises the groups of a sample, and stores their statistics.
fn sample(
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    groups: usize,
    epsilon: f64,
    y: &mut [f32],
    statistics: &mut [[f32; 2]],
) {
    let (channels, each) = (scale.len(), scale.len() / groups);
    let count = (x.len() / groups) as f64;
    let sums = |f: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0_f64; groups];
        for row in x.chunks_exact(channels) {
            row.iter().enumerate().for_each(|(c, x)| sums[c / each] += f(c / each, f64::from(*x)));
        }
        sums
    };
    let hardware: Vec<f64> = sums(&|_, x| x).into_iter().map(|sum| sum / count).collect();
    let squares = sums(&|group, x| (x - hardware[group]).powi(2));
    for ((statistics, mean), squares) in statistics.iter_mut().zip(&hardware).zip(squares) {
        *statistics = [*mean as f32, (1.0 / (squares / count + epsilon).sqrt()) as f32];
    }
    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        for (c, (y, x)) in y.iter_mut().zip(x).enumerate() {
            let [mean, inverse] = statistics[c / each];
            *y = (x - mean) * inverse * scale[c] + shift[c];
        }
    }
}

/// Computes the gradient of the input of [`sample`].
fn sample_back(
    dy: &[f32],
    x: &[f32],
    scale: &[f32],
    groups: usize,
    statistics: &[[f32; 2]],
    accumulate: bool,
    dx: &mut [f32],
) {
    let (channels, each) = (scale.len(), scale.len() / groups);
    let count = (x.len() / groups) as f64;
    let mut sums = vec![[0.0_f64; 2]; groups];
    for (dy, x) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)) {
        for (c, (dy, x)) in dy.iter().zip(x).enumerate() {
            let [mean, inverse] = statistics[c / each];
            let slope = f64::from(dy * scale[c]);
            let [plain, along] = &mut sums[c / each];
            *plain += slope;
            *along += slope * f64::from((x - mean) * inverse);
        }
    }
    let hardware: Vec<[f32; 2]> = sums.into_iter().map(|sums| sums.map(|sum| (sum / count) as f32)).collect();
    let rows = dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)).zip(x.chunks_exact(channels));
    for ((dx, dy), x) in rows {
        for (c, ((dx, dy), x)) in dx.iter_mut().zip(dy).zip(x).enumerate() {
            let ([mean, inverse], [plain, along]) = (statistics[c / each], hardware[c / each]);
            put(dx, (dy * scale[c] - plain - (x - mean) * inverse * along) * inverse, accumulate);
        }
    }
}

/// A global response normalisation.
#[derive(Debug)]
pub(super) struct Respond {
    channels: usize,
    positions: usize,
    gamma: usize,
    beta: usize,
    epsilon: f64,
    /// The gamma of the last forward pass.
    scale: Vec<f32>,
    /// For each sample, the norm of each channel, and then the mean of the norms plus epsilon.
    norms: Vec<f32>,
}

impl Respond {
    pub(super) fn new(channels: usize, positions: usize, gamma: usize, beta: usize, epsilon: f64) -> Self {
        Self { channels, positions, gamma, beta, epsilon, scale: vec![0.0; channels], norms: Vec::new() }
    }
}

impl Step for Respond {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        self.scale.copy_from_slice(parameters.values(self.gamma));
        let (channels, epsilon, gamma, beta) = (self.channels, self.epsilon, &self.scale, parameters.values(self.beta));
        let size = self.positions * channels;
        self.norms.resize(y.len() / size * (channels + 1), 0.0);
        let parts = y.par_chunks_mut(size).zip(x.get(0).par_chunks(size)).zip(self.norms.par_chunks_mut(channels + 1));
        parts.for_each(|((y, x), norms)| {
            let mut squares = vec![0.0_f64; channels];
            for x in x.chunks_exact(channels) {
                squares.iter_mut().zip(x).for_each(|(sum, x)| *sum += f64::from(x * x));
            }
            let all: f64 = squares.iter().map(|sum| sum.sqrt()).sum();
            let whole = all / channels as f64 + epsilon;
            norms[channels] = whole as f32;
            norms.iter_mut().zip(&squares).for_each(|(norm, sum)| *norm = sum.sqrt() as f32);
            let scale: Vec<f32> =
                gamma.iter().zip(&squares).map(|(g, sum)| (1.0 + f64::from(*g) * sum.sqrt() / whole) as f32).collect();
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                y.iter_mut().zip(x).zip(&scale).zip(beta).for_each(|(((y, x), scale), beta)| *y = x * scale + beta);
            }
        });
    }

    fn backward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, _: &[f32], dy: &mut [f32]) {
        let channels = self.channels;
        if !parameters.trains(self.gamma) && !parameters.trains(self.beta) {
            return;
        }
        let size = self.positions * channels;
        // Each sample has sums of its own, which are added in order.
        let mut partial = vec![0.0; dy.len() / size * 2 * channels];
        let parts = dy.par_chunks(size).zip(x.get(0).par_chunks(size)).zip(self.norms.par_chunks(channels + 1));
        parts.zip(partial.par_chunks_mut(2 * channels)).for_each(|(((dy, x), norms), sums)| {
            let (plain, scaled) = sums.split_at_mut(channels);
            for (dy, x) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)) {
                plain.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                scaled.iter_mut().zip(dy).zip(x).for_each(|((sum, dy), x)| *sum += dy * x);
            }
            scaled.iter_mut().zip(norms).for_each(|(sum, norm)| *sum *= norm / norms[channels]);
        });
        let mut sums = vec![0.0; 2 * channels];
        reduce(&partial, &mut sums);
        for (at, sums) in [(self.beta, &sums[..channels]), (self.gamma, &sums[channels..])] {
            if parameters.trains(at) {
                parameters.pair(at).1.copy_from_slice(sums);
            }
        }
    }

    fn input_gradient(&mut self, _: usize, x: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let (channels, gamma) = (self.channels, &self.scale);
        let size = self.positions * channels;
        let parts = dx.par_chunks_mut(size).zip(dy.par_chunks(size)).zip(x.get(0).par_chunks(size));
        parts.zip(self.norms.par_chunks(channels + 1)).for_each(|(((dx, dy), x), norms)| {
            // First the derivative with respect to each channel's norm divided by the mean norm, and from it that with respect to the norm.
            let mut slopes = vec![0.0_f64; channels];
            for (dy, x) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)) {
                slopes.iter_mut().zip(dy).zip(x).for_each(|((slope, dy), x)| *slope += f64::from(dy * x));
            }
            slopes.iter_mut().zip(gamma).for_each(|(slope, gamma)| *slope *= f64::from(*gamma));
            let whole = f64::from(norms[channels]);
            let all: f64 = slopes.iter().zip(norms).map(|(slope, norm)| slope * f64::from(*norm)).sum();
            let rest = all / (whole * whole) / channels as f64;
            let factors: Vec<[f32; 2]> = (0..channels)
                .map(|c| {
                    let norm = f64::from(norms[c]);
                    // As in PyTorch, the norm of a channel of zeros has the derivative 0.
                    let along = if norm > 0.0 { (slopes[c] / whole - rest) / norm } else { 0.0 };
                    [(1.0 + f64::from(gamma[c]) * norm / whole) as f32, along as f32]
                })
                .collect();
            let rows = dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)).zip(x.chunks_exact(channels));
            for ((dx, dy), x) in rows {
                for (((dx, dy), x), [direct, along]) in dx.iter_mut().zip(dy).zip(x).zip(&factors) {
                    put(dx, dy * direct + x * along, accumulate);
                }
            }
        });
    }

    fn keeps_inputs(&self, _: &Parameters) -> bool {
        true
    }
}
