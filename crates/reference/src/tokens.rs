//! Operators on sequences of tokens, `[tokens, channels]`.

use injerto_graph::Resample;

use crate::layer::{Backward, Operand};
use crate::tensor::Tensor;

/// A matrix of one head of one sample: rows, and where they lie.
#[derive(Clone, Copy)]
struct Matrix {
    rows: usize,
    columns: usize,
    /// Of its first value.
    first: usize,
    /// Values from one row to the next.
    step: usize,
}

impl Matrix {
    fn at(self, row: usize, column: usize) -> usize {
        self.first + row * self.step + column
    }
}

/// `softmax(q kᵀ / sqrt(d)) v` for each head. Both sides of each product are first made `operand`s: going forward the powers of the scores,
/// whose sum divides afterwards, and going back their shares.
pub(crate) fn attention(inputs: &[&Tensor], heads: usize, operand: Operand) -> (Tensor, Backward) {
    let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.map(|_, x| operand(x))).collect();
    let joint = inputs.len() == 1;
    // The tensor that holds queries, keys and values, and their width.
    let holder = move |part: usize| if joint { 0 } else { part };
    let widths: Vec<usize> = (0..3).map(|part| inputs[holder(part)].channels() / if joint { 3 } else { 1 }).collect();
    let (batch, tokens) = (inputs[0].batch, inputs[0].shape[0]);
    let mut y = Tensor::zeros(batch, &[tokens, widths[2]]);
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape.clone()).collect();
    let width = widths.clone();
    let matrix = move |part: usize, sample: usize, head: usize| {
        let shape = &shapes[holder(part)];
        let columns = width[part] / heads;
        let before: usize = if joint { width[..part].iter().sum() } else { 0 };
        let first = sample * shape[0] * shape[1] + before + head * columns;
        Matrix { rows: shape[0], columns, first, step: shape[1] }
    };
    let scale = 1.0 / (widths[0] as f64 / heads as f64).sqrt();
    // The powers of all keys for a query, and their sum.
    let powers = move |inputs: &[Tensor], q: Matrix, k: Matrix, row: usize| {
        let (queries, keys) = (&inputs[holder(0)].values, &inputs[holder(1)].values);
        let score = |other: usize| {
            let product = |c: usize| queries[q.at(row, c)] * keys[k.at(other, c)];
            (0..q.columns).map(product).sum::<f64>() * scale
        };
        let scores: Vec<f64> = (0..k.rows).map(score).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
        let sum: f64 = powers.iter().sum();
        (powers, sum)
    };
    let out = move |sample: usize, row: usize, head: usize, c: usize| {
        (sample * tokens + row) * widths[2] + head * (widths[2] / heads) + c
    };
    let each = move |visit: &mut dyn FnMut(usize, usize, [Matrix; 3], usize)| {
        for sample in 0..batch {
            for head in 0..heads {
                let parts = [0, 1, 2].map(|part| matrix(part, sample, head));
                (0..parts[0].rows).for_each(|row| visit(sample, head, parts, row));
            }
        }
    };
    each(&mut |sample, head, [q, k, v], row| {
        let (powers, sum) = powers(&inputs, q, k, row);
        for c in 0..v.columns {
            let value = |(other, power): (usize, &f64)| operand(*power) * inputs[holder(2)].values[v.at(other, c)];
            y.values[out(sample, row, head, c)] = powers.iter().enumerate().map(value).sum::<f64>() / sum;
        }
    });
    let back = move |dy: &Tensor| {
        let mut slopes: Vec<Tensor> = inputs.iter().map(|x| Tensor::zeros(x.batch, &x.shape)).collect();
        each(&mut |sample, head, [q, k, v], row| {
            let (powers, sum) = powers(&inputs, q, k, row);
            let shares: Vec<f64> = powers.into_iter().map(|power| power / sum).collect();
            let dy = |c: usize| operand(dy.values[out(sample, row, head, c)]);
            let of_share =
                |other: usize| (0..v.columns).map(|c| dy(c) * inputs[holder(2)].values[v.at(other, c)]).sum::<f64>();
            let of_shares: Vec<f64> = (0..k.rows).map(of_share).collect();
            let mean: f64 = of_shares.iter().zip(&shares).map(|(slope, share)| slope * share).sum();
            for other in 0..k.rows {
                let of_score = operand(shares[other] * (of_shares[other] - mean) * scale);
                for c in 0..q.columns {
                    let (query, key) = (q.at(row, c), k.at(other, c));
                    slopes[holder(0)].values[query] += of_score * inputs[holder(1)].values[key];
                    slopes[holder(1)].values[key] += of_score * inputs[holder(0)].values[query];
                }
                (0..v.columns).for_each(|c| slopes[holder(2)].values[v.at(other, c)] += operand(shares[other]) * dy(c));
            }
        });
        (slopes, Vec::new())
    };
    (y, Backward::new(back))
}

/// Learned tokens, then those of the input.
pub(crate) fn prepend(x: &Tensor, (place, embedding): (usize, Vec<f64>)) -> (Tensor, Backward) {
    let (old, channels, length) = (x.shape.clone(), x.channels(), embedding.len());
    let samples = x.values.chunks_exact(x.count());
    let values = samples.flat_map(|sample| embedding.iter().chain(sample)).copied().collect();
    let y = Tensor::new(x.batch, &[length / channels + old[0], channels], values);
    let back = move |dy: &Tensor| {
        let mut learned = vec![0.0; length];
        let mut rest = Vec::new();
        for sample in dy.values.chunks_exact(dy.count()) {
            learned.iter_mut().zip(sample).for_each(|(sum, dy)| *sum += dy);
            rest.extend_from_slice(&sample[length..]);
        }
        (vec![Tensor::new(dy.batch, &old, rest)], vec![(place, learned)])
    };
    (y, Backward::new(back))
}

/// `y = x + embedding`, where the embedding of a grid may be interpolated.
pub(crate) fn embed(
    x: &Tensor,
    (place, embedding): (usize, Vec<f64>),
    resample: Option<Resample>,
) -> (Tensor, Backward) {
    let (count, channels, length) = (x.count(), x.channels(), embedding.len());
    // Which values of the embedding make each value of a sample, and with which weights.
    let sources: Vec<Vec<(usize, f64)>> = match resample {
        None => (0..count).map(|at| vec![(at, 1.0)]).collect(),
        Some(Resample { from, to }) => {
            let before = x.shape[0] - to[0] * to[1];
            let source = |at: usize| {
                let (token, c) = (at / channels, at % channels);
                let Some(cell) = token.checked_sub(before) else { return vec![(at, 1.0)] };
                let mut all = Vec::new();
                for (row, tall) in cubic(from[0], to[0], cell / to[1]) {
                    for (column, broad) in cubic(from[1], to[1], cell % to[1]) {
                        all.push(((before + row * from[1] + column) * channels + c, tall * broad));
                    }
                }
                all
            };
            (0..count).map(source).collect()
        }
    };
    let mut y = x.clone();
    for (at, y) in y.values.iter_mut().enumerate() {
        *y += sources[at % count].iter().map(|(from, weight)| embedding[*from] * weight).sum::<f64>();
    }
    let back = move |dy: &Tensor| {
        let mut gradient = vec![0.0; length];
        for (at, dy) in dy.values.iter().enumerate() {
            sources[at % count].iter().for_each(|(from, weight)| gradient[*from] += dy * weight);
        }
        (vec![dy.clone()], vec![(place, gradient)])
    };
    (y, Backward::new(back))
}

/// Places and weights from which value `at` of `to` is made of `from` values: a cubic with a = -0.5, stretched where values become
/// fewer, over all values, divided by the sum of the weights.
fn cubic(from: usize, to: usize, at: usize) -> Vec<(usize, f64)> {
    let ratio = from as f64 / to as f64;
    let centre = (at as f64 + 0.5) * ratio - 0.5;
    let weight = |place: usize| {
        let x = ((place as f64 - centre) / ratio.max(1.0)).abs();
        match x {
            x if x <= 1.0 => 1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0,
            x if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0,
            _ => 0.0,
        }
    };
    let sum: f64 = (0..from).map(weight).sum();
    (0..from).map(|place| (place, weight(place) / sum)).collect()
}

/// All positions but some at the beginning and at the end.
pub(crate) fn crop(x: &Tensor, [before, after]: [usize; 2]) -> (Tensor, Backward) {
    let (old, channels, count) = (x.shape.clone(), x.channels(), x.count());
    let left = old[0] - before - after;
    let samples = x.values.chunks_exact(count);
    let values = samples.flat_map(|sample| &sample[before * channels..][..left * channels]).copied().collect();
    let y = Tensor::new(x.batch, &[left, channels], values);
    let back = move |dy: &Tensor| {
        let mut dx = Tensor::zeros(dy.batch, &old);
        for (dx, dy) in dx.values.chunks_exact_mut(count).zip(dy.values.chunks_exact(left * channels)) {
            dx[before * channels..][..left * channels].copy_from_slice(dy);
        }
        dx
    };
    (y, Backward::one(back))
}
