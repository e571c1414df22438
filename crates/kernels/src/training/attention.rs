//! Attention, forward and backward. The backward pass computes the scores again, for a block of queries at a time, so that the scores of
//! all pairs of tokens need not be kept.

use std::ops::Range;

use crate::parallel::{Divide as _, Parts as _};
use injerto_graph::Attention as Sizes;

use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step, put};
use crate::attention::{Head, Rows};
use crate::isa::ForLoops;
use crate::linalg::{Epilogue, Multiplier, matmul_at_b_whole};
use crate::memory::workspace;
use crate::simd::vectorised;

/// Scaled dot-product attention.
#[derive(Debug)]
pub(super) struct Attention {
    isa: ForLoops,
    multiplier: Multiplier,
    sizes: Sizes,
    /// Whether queries, keys and values are the channels of one input.
    joint: bool,
    /// The tokens whose output is computed. If the queries are an input of their own, that input has only these tokens.
    queries: Range<usize>,
    /// For each sample, the gradients of queries, keys and values, one after the other; empty if they are one input.
    gradients: Vec<f32>,
}

impl Attention {
    pub(super) fn new(
        isa: ForLoops,
        multiplier: Multiplier,
        mut sizes: Sizes,
        joint: bool,
        mut queries: Range<usize>,
    ) -> Self {
        if !joint {
            sizes.tokens = queries.len();
            queries = 0..queries.len();
        }
        Self { isa, multiplier, sizes, joint, queries, gradients: Vec::new() }
    }

    /// Rows and columns of a sample's queries (part 0), keys (1) or values (2).
    fn part(&self, part: usize) -> [usize; 2] {
        let Sizes { tokens, others, channels, value_channels, .. } = self.sizes;
        [[tokens, channels], [others, channels], [others, value_channels]][part]
    }

    /// Where the gradient of a part begins in the gradients of a sample.
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

    /// For each of the three parts: where the gradient of a head's first value is in the gradients of a sample, and the distance of its rows.
    fn places(&self, head: usize) -> [(usize, usize); 3] {
        std::array::from_fn(|part| {
            let [_, columns] = self.part(part);
            let within = head * (columns / self.sizes.heads);
            if self.joint { (part * columns + within, 3 * columns) } else { (self.first(part) + within, columns) }
        })
    }

    /// Writes the gradients of one head to those of a sample, or adds them.
    fn back(&self, [q, k, v, dy]: [Rows<'_>; 4], head: usize, gradients: &mut [f32], accumulate: bool) {
        let [(of_q, q_step), of_k, of_v] = self.places(head);
        // Queries whose output is not computed have a gradient of zero.
        for row in (0..q.count).filter(|row| !accumulate && !self.queries.contains(row)) {
            gradients[of_q + row * q_step..][..q.width].fill(0.0);
        }
        let (isa, multiplier) = (self.isa, self.multiplier);
        let hardware = (isa, multiplier);
        // The second head packs vᵀ and k, for the gradients of the attention weights and of the queries.
        Head::lend(hardware, k, v, |forward, memory| {
            Head::lend(hardware, v, k, |backward, _| {
                let (most, pitch) = forward.block(q.count);
                workspace(most * pitch + k.count * (k.width + v.width), |buffer| {
                    let (slopes, sums) = buffer.split_at_mut(most * pitch);
                    let (keys, values) = sums.split_at_mut(k.count * k.width);
                    let start = self.queries.start;
                    forward.each_block(q, self.queries.clone(), memory, |queries, weights, _, totals| {
                        let (first, count) = (queries.start, queries.len());
                        let (at, add) = (first - start, first > start);
                        let (slopes, plain) = (&mut slopes[..count * pitch], Epilogue::plain(false));
                        backward.keys().multiply(count, dy.from(at), dy.step, slopes, pitch, plain);
                        softmax_back(isa, weights, totals, k.count, forward.scale(), slopes);
                        let gradient = |left: &[f32], right: &[f32], step: usize, width: usize, out: &mut [f32]| {
                            let left = (left, pitch, k.count);
                            matmul_at_b_whole(multiplier, count, left, (right, step), width, out, add);
                        };
                        gradient(weights, dy.from(at), dy.step, dy.width, values);
                        gradient(slopes, q.from(first), q.step, q.width, keys);
                        let to = &mut gradients[of_q + first * q_step..];
                        backward.values().multiply(count, slopes, pitch, to, q_step, Epilogue::plain(accumulate));
                    });
                    for (from, (to, step), width) in [(keys, of_k, k.width), (values, of_v, v.width)] {
                        for (row, from) in from.chunks_exact(width).enumerate() {
                            let to = &mut gradients[to + row * step..][..width];
                            to.iter_mut().zip(from).for_each(|(to, from)| put(to, *from, accumulate));
                        }
                    }
                });
            });
        });
    }

    /// Writes or adds the gradients of all samples, `size` values each.
    fn back_all(&self, x: &Inputs<'_>, dy: &[f32], gradients: &mut [f32], size: usize, accumulate: bool) {
        let Sizes { heads, value_channels, .. } = self.sizes;
        let (tokens, width) = (self.queries.len(), value_channels / heads);
        let samples = gradients.par_chunks_mut(size).zip(dy.par_chunks(tokens * value_channels)).enumerate();
        samples.for_each(|(sample, (gradients, dy))| {
            for head in 0..heads {
                let [q, k, v] = [0, 1, 2].map(|part| self.rows(x, part, sample, head));
                let dy = Rows { values: &dy[head * width..], step: value_channels, count: tokens, width };
                self.back([q, k, v, dy], head, gradients, accumulate);
            }
        });
    }
}

impl Step for Attention {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let Sizes { heads, value_channels, .. } = self.sizes;
        let (queries, width) = (&self.queries, value_channels / heads);
        y.par_chunks_mut(queries.len() * value_channels).enumerate().for_each(|(sample, y)| {
            for head in 0..heads {
                let [q, k, v] = [0, 1, 2].map(|part| self.rows(x, part, sample, head));
                Head::lend((self.isa, self.multiplier), k, v, |packed, memory| {
                    packed.run(q, queries.clone(), memory, &mut y[head * width..], value_channels);
                });
            }
        });
    }

    fn backward(&mut self, _: &mut Parameters, x: &Inputs<'_>, _: &[f32], dy: &mut [f32]) {
        // If all three are one input, `input_gradient` computes its gradient directly.
        if !self.joint {
            let (size, mut gradients) = (self.first(3), std::mem::take(&mut self.gradients));
            gradients.resize(x.batch * size, 0.0);
            self.back_all(x, dy, &mut gradients, size, false);
            self.gradients = gradients;
        }
    }

    fn input_gradient(
        &mut self,
        place: usize,
        x: &Inputs<'_>,
        _: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        accumulate: bool,
    ) {
        let size = self.first(3);
        if self.joint {
            return self.back_all(x, dy, dx, size, accumulate);
        }
        let [count, width] = self.part(place);
        dx.par_chunks_mut(count * width).zip(self.gradients.par_chunks(size)).for_each(|(dx, gradients)| {
            let from = &gradients[self.first(place)..];
            dx.iter_mut().zip(from).for_each(|(dx, from)| put(dx, *from, accumulate));
        });
    }

    fn keeps_inputs(&self, _: &Parameters) -> bool {
        true
    }
}

vectorised! {
    /// Divides each row of exponentials (`weights`) by its total, which gives the attention weights. `slopes` holds the gradients of these
    /// weights, which are replaced by those of the scores before scaling: `weight * (slope - weighted mean of the slopes) * scale`. The
    /// values after the last key become 0 in both.
    fn softmax_back(weights: &mut [f32], totals: &[f32], keys: usize, scale: f32, slopes: &mut [f32]) => softmax_back_body
}

#[inline(always)]
fn softmax_back_body<const FUSED: bool>(
    weights: &mut [f32],
    totals: &[f32],
    keys: usize,
    scale: f32,
    slopes: &mut [f32],
) {
    let pitch = slopes.len() / totals.len().max(1);
    let rows = weights.chunks_exact_mut(pitch).zip(slopes.chunks_exact_mut(pitch)).zip(totals);
    for ((weights, slopes), total) in rows {
        weights[keys..].fill(0.0);
        slopes[keys..].fill(0.0);
        let each = 1.0 / total;
        // Sixteen sums at once, so that the compiler can use vectors.
        let mut sums = [0.0_f32; 16];
        for (weights, slopes) in weights.chunks_exact_mut(16).zip(slopes.chunks_exact(16)) {
            for ((sum, weight), slope) in sums.iter_mut().zip(weights).zip(slopes) {
                *weight *= each;
                *sum += *weight * slope;
            }
        }
        let mean: f32 = sums.iter().sum();
        slopes.iter_mut().zip(weights).for_each(|(slope, weight)| *slope = *weight * (*slope - mean) * scale);
    }
}
