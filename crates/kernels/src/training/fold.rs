use crate::parallel::{Divide as _, Parts as _};

use super::parameters::Parameters;
use super::smooth::Smooth;
use crate::isa::ForLoops;
use crate::simd::{fma, limit, vectorised};

/// The operations after a convolution or a dense layer that are computed with it: the bias, a batch normalisation with its running
/// statistics, a sum with another value, and a clip or a smooth function.
///
/// With `scale = gamma / sqrt(variance + epsilon)`, the output is `clip(x · (kernel * scale) + shift + other)`. In the backward pass, the
/// gradient of gamma follows from that of the scaled kernel: the sum of `dy * (x · kernel)` over all positions equals the sum of
/// `kernel * (xᵀ dy)` over the kernel. So no value between the convolution and the clip must be kept.
#[derive(Debug, Clone)]
pub(super) struct Fold {
    /// The program's instructions.
    pub(super) isa: ForLoops,
    pub(super) channels: usize,
    pub(super) bias: Option<usize>,
    pub(super) norm: Option<Norm>,
    /// Whether a second input is added before the clip.
    pub(super) joins: bool,
    pub(super) clip: Option<(f32, f32)>,
    /// The function at the end, if it is no clip.
    pub(super) function: Option<Smooth>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// The places of a batch normalisation's parameters in [`Parameters`].
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub(super) gamma: Option<usize>,
    pub(super) beta: Option<usize>,
    pub(super) mean: usize,
    pub(super) variance: usize,
    pub(super) epsilon: f64,
}

impl Norm {
    /// `1 / sqrt(variance + epsilon)` of channel `c`.
    pub(super) fn inverse(&self, parameters: &Parameters, c: usize) -> f32 {
        (1.0 / (f64::from(parameters.values(self.variance)[c]) + self.epsilon).sqrt()) as f32
    }

    /// Scale and shift of channel `c` by the running statistics.
    pub(super) fn affine(&self, parameters: &Parameters, c: usize) -> (f32, f32) {
        let scale = self.inverse(parameters, c) * parameters.optional(self.gamma).map_or(1.0, |gamma| gamma[c]);
        let beta = parameters.optional(self.beta).map_or(0.0, |beta| beta[c]);
        (scale, beta - parameters.values(self.mean)[c] * scale)
    }
}

impl Fold {
    pub(super) fn new(isa: ForLoops, channels: usize, bias: Option<usize>) -> Self {
        let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
        Self { isa, channels, bias, norm: None, joins: false, clip: None, function: None, scale, shift }
    }

    /// The stamp of the last change to the kernel or to a parameter that is folded into it.
    pub(super) fn stamp(&self, parameters: &Parameters, kernel: usize) -> u64 {
        let norm = self.norm.iter().flat_map(|norm| [norm.gamma, norm.beta, Some(norm.mean), Some(norm.variance)]);
        parameters.stamp([Some(kernel), self.bias].into_iter().chain(norm).flatten())
    }

    /// Computes scale and shift anew.
    pub(super) fn refresh(&mut self, parameters: &Parameters) {
        let bias = parameters.optional(self.bias);
        for c in 0..self.channels {
            let bias = bias.map_or(0.0, |bias| bias[c]);
            let (scale, shift) = self.norm.as_ref().map_or((1.0, 0.0), |norm| norm.affine(parameters, c));
            (self.scale[c], self.shift[c]) = (scale, shift + bias * scale);
        }
    }

    /// The shift, unless there is neither bias nor normalisation.
    pub(super) fn shift(&self) -> Option<&[f32]> {
        (self.bias.is_some() || self.norm.is_some()).then_some(&self.shift)
    }

    /// Whether the gradient of the scaled kernel is needed.
    pub(super) fn needs_kernel(&self, parameters: &Parameters, kernel: usize) -> bool {
        let gamma = self.norm.as_ref().and_then(|norm| norm.gamma);
        parameters.trains(kernel) || gamma.is_some_and(|gamma| parameters.trains(gamma))
    }

    /// Whether the sums of [`clip_and_sum`] are needed.
    pub(super) fn needs_sums(&self, parameters: &Parameters) -> bool {
        let norm = self.norm.iter().flat_map(|norm| [norm.gamma, norm.beta]);
        norm.chain([self.bias]).flatten().any(|at| parameters.trains(at))
    }

    /// Writes the gradients of all parameters. They follow from the gradient of the scaled kernel, `[.., channels]`, which comes in `gradient`,
    /// and from the sums of the output's gradient per channel. The gradient of the kernel itself is returned in `gradient`.
    pub(super) fn write_gradients(
        &self,
        parameters: &mut Parameters,
        kernel: usize,
        gradient: &mut [f32],
        sums: &[f32],
    ) {
        if let Some(bias) = self.bias.filter(|&bias| parameters.trains(bias)) {
            let (_, out) = parameters.pair(bias);
            out.iter_mut().zip(sums).zip(&self.scale).for_each(|((out, sum), scale)| *out = sum * scale);
        }
        let Some(norm) = &self.norm else {
            return;
        };
        if let Some(beta) = norm.beta.filter(|&beta| parameters.trains(beta)) {
            parameters.pair(beta).1.copy_from_slice(sums);
        }
        if let Some(gamma) = norm.gamma.filter(|&gamma| parameters.trains(gamma)) {
            let mut out = parameters.take(gamma);
            let values = parameters.values(kernel);
            let each = part(values.len() / self.channels) * self.channels;
            let mut partial = vec![0.0; PARTS * self.channels];
            let parts = values.par_chunks(each).zip(gradient.par_chunks(each));
            parts
                .zip(partial.par_chunks_mut(self.channels))
                .for_each(|((x, dy), sums)| multiply_and_sum(self.isa, x, dy, sums));
            reduce(&partial, &mut out);
            let (bias, mean) = (parameters.optional(self.bias), parameters.values(norm.mean));
            for (c, out) in out.iter_mut().enumerate() {
                let bias = bias.map_or(0.0, |bias| bias[c]);
                *out = norm.inverse(parameters, c) * (*out + (bias - mean[c]) * sums[c]);
            }
            parameters.give(gamma, out);
        }
        if parameters.trains(kernel) {
            self.scale_rows(gradient);
        }
    }

    /// Multiplies rows of channels by the scale.
    pub(super) fn scale_rows(&self, rows: &mut [f32]) {
        let each = part(rows.len() / self.channels) * self.channels;
        rows.par_chunks_mut(each).for_each(|rows| scale_rows(self.isa, rows, &self.scale));
    }
}

/// The number of parts into which sums over a batch are divided. It is fixed, so that the order of additions is fixed too.
pub(super) const PARTS: usize = 16;

/// The number of rows in a part.
pub(super) fn part(rows: usize) -> usize {
    rows.div_ceil(PARTS).max(1)
}

/// Sets the gradient to zero where the output is at a limit of the clip, and sums it per channel.
pub(super) fn clip_and_sum(
    isa: ForLoops,
    dy: &mut [f32],
    y: &[f32],
    clip: Option<(f32, f32)>,
    sums: &mut [f32],
    partial: &mut Vec<f32>,
) {
    let channels = sums.len();
    let each = part(dy.len() / channels.max(1));
    partial.clear();
    partial.resize(PARTS * channels, 0.0);
    let parts = dy.par_chunks_mut(each * channels).zip(partial.par_chunks_mut(channels));
    match clip {
        Some((least, most)) => {
            let parts = parts.zip(y.par_chunks(each * channels));
            parts.for_each(|((dy, sums), y)| clip_rows(isa, dy, y, sums, least, most));
        }
        None => parts.for_each(|(dy, sums)| sum_rows(isa, dy, sums)),
    }
    reduce(partial, sums);
}

/// Multiplies the gradient by the derivatives of the function at the end, and sums it per channel.
pub(super) fn slope_and_sum(isa: ForLoops, dy: &mut [f32], slopes: &[f32], sums: &mut [f32], partial: &mut Vec<f32>) {
    let channels = sums.len();
    let each = part(dy.len() / channels.max(1));
    partial.clear();
    partial.resize(PARTS * channels, 0.0);
    let parts = dy.par_chunks_mut(each * channels).zip(partial.par_chunks_mut(channels));
    parts.zip(slopes.par_chunks(each * channels)).for_each(|((dy, sums), slopes)| slope_rows(isa, dy, slopes, sums));
    reduce(partial, sums);
}

/// Sums the parts in order.
pub(super) fn reduce(partial: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for part in partial.chunks_exact(sums.len().max(1)) {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
}

vectorised! {
    /// Sets the gradient to zero where the output is at a limit of the clip, and adds it to the sum of each channel.
    pub(super) fn clip_rows(dy: &mut [f32], y: &[f32], sums: &mut [f32], least: f32, most: f32) => clip_rows_body
}

#[inline(always)]
fn clip_rows_body<const FUSED: bool>(dy: &mut [f32], y: &[f32], sums: &mut [f32], least: f32, most: f32) {
    let channels = sums.len();
    for (dy, y) in dy.chunks_exact_mut(channels).zip(y.chunks_exact(channels)) {
        for ((dy, y), sum) in dy.iter_mut().zip(y).zip(sums.iter_mut()) {
            *dy = if *y > least && *y < most { *dy } else { 0.0 };
            *sum += *dy;
        }
    }
}

vectorised! {
    fn slope_rows(dy: &mut [f32], slopes: &[f32], sums: &mut [f32]) => slope_rows_body
}

#[inline(always)]
fn slope_rows_body<const FUSED: bool>(dy: &mut [f32], slopes: &[f32], sums: &mut [f32]) {
    let channels = sums.len();
    for (dy, slopes) in dy.chunks_exact_mut(channels).zip(slopes.chunks_exact(channels)) {
        for ((dy, slope), sum) in dy.iter_mut().zip(slopes).zip(sums.iter_mut()) {
            *dy *= slope;
            *sum += *dy;
        }
    }
}

vectorised! {
    /// Adds the gradient to the sum of each channel.
    pub(super) fn sum_rows(dy: &[f32], sums: &mut [f32]) => sum_rows_body
}

#[inline(always)]
fn sum_rows_body<const FUSED: bool>(dy: &[f32], sums: &mut [f32]) {
    for dy in dy.chunks_exact(sums.len()) {
        dy.iter().zip(sums.iter_mut()).for_each(|(dy, sum)| *sum += dy);
    }
}

vectorised! {
    /// Adds `x * dy` to the sum of each channel.
    pub(super) fn multiply_and_sum(x: &[f32], dy: &[f32], sums: &mut [f32]) => multiply_and_sum_body
}

#[inline(always)]
fn multiply_and_sum_body<const FUSED: bool>(x: &[f32], dy: &[f32], sums: &mut [f32]) {
    for (x, dy) in x.chunks_exact(sums.len()).zip(dy.chunks_exact(sums.len())) {
        for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
            *sum = fma::<FUSED>(*x, *dy, *sum);
        }
    }
}

vectorised! {
    /// `y = clip(y + other)`.
    pub(super) fn join(other: &[f32], clip: Option<(f32, f32)>, y: &mut [f32]) => join_body
}

#[inline(always)]
fn join_body<const FUSED: bool>(other: &[f32], clip: Option<(f32, f32)>, y: &mut [f32]) {
    match clip {
        Some(limits) => y.iter_mut().zip(other).for_each(|(y, other)| *y = limit(*y + other, limits)),
        None => y.iter_mut().zip(other).for_each(|(y, other)| *y += other),
    }
}

vectorised! {
    fn scale_rows(rows: &mut [f32], scale: &[f32]) => scale_rows_body
}

#[inline(always)]
fn scale_rows_body<const FUSED: bool>(rows: &mut [f32], scale: &[f32]) {
    for row in rows.chunks_exact_mut(scale.len()) {
        row.iter_mut().zip(scale).for_each(|(value, scale)| *value *= scale);
    }
}
