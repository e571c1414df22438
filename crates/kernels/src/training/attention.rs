//! Attention going forward and backward. Going backward computes the scores anew, a block of queries at a time, so that nothing of the size
//! of all pairs of tokens is kept.

use injerto_graph::Attention as Sizes;
use rayon::prelude::*;

use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step, put};
use crate::attention::{Head, Rows};
use crate::isa::ForLoops;
use crate::linalg::{Epilogue, matmul_at_b_rows, multiply};
use crate::memory::workspace;
use crate::simd::vectorised;

/// Scaled dot-product attention.
#[derive(Debug)]
pub(super) struct Attention {
    isa: ForLoops,
    sizes: Sizes,
    /// Whether queries, keys and values are side by side in one input.
    joint: bool,
    /// For each sample the gradients of queries, keys and values, one after the other.
    gradients: Vec<f32>,
}

impl Attention {
    pub(super) fn new(isa: ForLoops, sizes: Sizes, joint: bool) -> Self {
        Self { isa, sizes, joint, gradients: Vec::new() }
    }

    /// Rows and columns of the queries, keys or values of a sample.
    fn part(&self, part: usize) -> [usize; 2] {
        let Sizes { tokens, others, channels, value_channels, .. } = self.sizes;
        [[tokens, channels], [others, channels], [others, value_channels]][part]
    }

    /// Where the gradient of a part begins in that of a sample.
    fn first(&self, part: usize) -> usize {
        (0..part).map(|before| self.part(before).iter().product::<usize>()).sum()
    }

    /// The rows of one head of a sample.
    fn rows<'a>(&self, x: &Inputs<'a>, part: usize, sample: usize, head: usize) -> Rows<'a> {
        let [count, columns] = self.part(part);
        let width = columns / self.sizes.heads;
        let (input, step, first) = match self.joint {
            true => (0, 3 * columns, part * columns),
            false => (part, columns, 0),
        };
        let values = &x.get(input)[sample * count * step..][..count * step];
        Rows { values: &values[first + head * width..], step, count, width }
    }

    /// The gradients of one head of a sample, in `gradients` of the sample.
    fn back(&self, [q, k, v, dy]: [Rows<'_>; 4], head: usize, gradients: &mut [f32]) {
        let heads = self.sizes.heads;
        let (of_q, rest) = gradients.split_at_mut(self.first(1));
        let (of_k, of_v) = rest.split_at_mut(self.first(2) - self.first(1));
        let [_, columns] = self.part(0);
        let isa = self.isa;
        // The second head has vᵀ and k, for the slopes of the shares and of the queries.
        Head::lend(isa, k, v, |forward, memory| {
            Head::lend(isa, v, k, |backward, _| {
                let (most, pitch) = forward.block(q.count);
                workspace(most * pitch + pitch * (k.width + v.width), |buffer| {
                    let (slopes, sums) = buffer.split_at_mut(most * pitch);
                    let (keys, values) = sums.split_at_mut(pitch * k.width);
                    forward.each_block(q, 0..q.count, memory, |queries, shares, _, totals| {
                        let (first, count) = (queries.start, queries.len());
                        let slopes = &mut slopes[..count * pitch];
                        multiply(
                            count,
                            dy.from(first),
                            dy.step,
                            backward.keys(),
                            slopes,
                            pitch,
                            Epilogue::plain(false),
                        );
                        soften_back(isa, shares, totals, k.count, forward.scale(), slopes);
                        let vectors = isa.vectors();
                        let add = first > 0;
                        matmul_at_b_rows(
                            vectors,
                            count,
                            (shares, pitch),
                            (dy.from(first), dy.step),
                            v.width,
                            values,
                            add,
                        );
                        matmul_at_b_rows(vectors, count, (slopes, pitch), (q.from(first), q.step), k.width, keys, add);
                        let to = &mut of_q[first * columns + head * q.width..];
                        multiply(count, slopes, pitch, backward.values(), to, columns, Epilogue::plain(false));
                    });
                    for (from, to, width) in [(keys, of_k, k.width), (values, of_v, v.width)] {
                        for (to, from) in to.chunks_exact_mut(heads * width).zip(from.chunks_exact(width)) {
                            to[head * width..][..width].copy_from_slice(from);
                        }
                    }
                });
            });
        });
    }
}

impl Step for Attention {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let Sizes { heads, tokens, value_channels, .. } = self.sizes;
        let width = value_channels / heads;
        y.par_chunks_mut(tokens * value_channels).enumerate().for_each(|(sample, y)| {
            for head in 0..heads {
                let [q, k, v] = [0, 1, 2].map(|part| self.rows(x, part, sample, head));
                Head::lend(self.isa, k, v, |packed, memory| {
                    packed.run(q, 0..tokens, memory, &mut y[head * width..], value_channels);
                });
            }
        });
    }

    fn backward(&mut self, _: &mut Parameters, x: &Inputs<'_>, _: &[f32], dy: &mut [f32]) {
        let Sizes { heads, tokens, value_channels, .. } = self.sizes;
        let (size, width) = (self.first(3), value_channels / heads);
        let mut gradients = std::mem::take(&mut self.gradients);
        gradients.resize(x.batch * size, 0.0);
        gradients.par_chunks_mut(size).zip(dy.par_chunks(tokens * value_channels)).enumerate().for_each(
            |(sample, (gradients, dy))| {
                for head in 0..heads {
                    let [q, k, v] = [0, 1, 2].map(|part| self.rows(x, part, sample, head));
                    let dy = Rows { values: &dy[head * width..], step: value_channels, count: tokens, width };
                    self.back([q, k, v, dy], head, gradients);
                }
            },
        );
        self.gradients = gradients;
    }

    fn input_gradient(&mut self, place: usize, _: &Inputs<'_>, _: &[f32], _: &[f32], dx: &mut [f32], accumulate: bool) {
        let size = self.first(3);
        let parts = if self.joint { 0..3 } else { place..place + 1 };
        let all: usize = parts.clone().map(|part| self.part(part)[1]).sum();
        let each = self.part(parts.start)[0] * all;
        dx.par_chunks_mut(each).zip(self.gradients.par_chunks(size)).for_each(|(dx, gradients)| {
            let mut column = 0;
            for part in parts.clone() {
                let [count, width] = self.part(part);
                let from = &gradients[self.first(part)..][..count * width];
                for (dx, from) in dx.chunks_exact_mut(all).zip(from.chunks_exact(width)) {
                    let dx = &mut dx[column..column + width];
                    dx.iter_mut().zip(from).for_each(|(dx, from)| put(dx, *from, accumulate));
                }
                column += width;
            }
        });
    }

    fn keeps_inputs(&self, _: &Parameters) -> bool {
        true
    }
}

vectorised! {
    /// Makes shares of the powers of each row, and slopes of the scores, `share * (slope - mean slope) * scale`, of those of the shares.
    /// What lies beside the keys becomes 0 in both.
    fn soften_back(shares: &mut [f32], totals: &[f32], keys: usize, scale: f32, slopes: &mut [f32]) => soften_back_body
}

#[inline(always)]
fn soften_back_body<const FUSED: bool>(
    shares: &mut [f32],
    totals: &[f32],
    keys: usize,
    scale: f32,
    slopes: &mut [f32],
) {
    let pitch = slopes.len() / totals.len().max(1);
    let rows = shares.chunks_exact_mut(pitch).zip(slopes.chunks_exact_mut(pitch)).zip(totals);
    for ((shares, slopes), total) in rows {
        shares[keys..].fill(0.0);
        slopes[keys..].fill(0.0);
        let each = 1.0 / total;
        // Sixteen sums side by side, which fit in vectors.
        let mut sums = [0.0_f32; 16];
        for (shares, slopes) in shares.chunks_exact_mut(16).zip(slopes.chunks_exact(16)) {
            for ((sum, share), slope) in sums.iter_mut().zip(shares).zip(slopes) {
                *share *= each;
                *sum += *share * slope;
            }
        }
        let mean: f32 = sums.iter().sum();
        slopes.iter_mut().zip(shares).for_each(|(slope, share)| *slope = *share * (*slope - mean) * scale);
    }
}
