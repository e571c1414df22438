//! One head of scaled dot-product attention, `softmax(q kᵀ / sqrt(d)) v`. It is computed for a block of queries at a time, so that the scores
//! of a block stay in the second-level cache, and the scores of all tokens never exist together.
//!
//! The sums of a query are added up in the same order wherever its row is in a block, so its result is the same in every block.

use std::cell::RefCell;
use std::ops::Range;

use crate::isa::ForLoops;
use crate::linalg::{Epilogue, Multiplier, Right, Scale};
use crate::memory::Aligned;
use crate::simd::{Simd, vectorised};

/// Number of scores in a block: 128 KiB of them.
const SCORES: usize = 32 << 10;

/// Upper limit of the queries in a block.
const MOST_QUERIES: usize = 112;

/// The rows of one head in a tensor of a sample's queries, keys or values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// The tensor from the first value of the head's first row on.
    pub(crate) values: &'a [f32],
    /// Values from one row to the next.
    pub(crate) step: usize,
    pub(crate) count: usize,
    /// Values of a row.
    pub(crate) width: usize,
}

impl<'a> Rows<'a> {
    /// Row `at` and those after it.
    pub(crate) fn from(&self, at: usize) -> &'a [f32] {
        &self.values[at * self.step..]
    }
}

/// Keys and values of a head, packed for the products with queries and scores.
#[derive(Debug)]
pub(crate) struct Head {
    isa: ForLoops,
    multiplier: Multiplier,
    /// `kᵀ`, `[width of a key, keys]`.
    keys: Right,
    /// `v`, `[keys, width of a value]`.
    values: Right,
    scale: f32,
}

thread_local! {
    /// Heads that are not lent at the moment, each with memory for scores.
    static SPARE: RefCell<Vec<(Head, Aligned)>> = const { RefCell::new(Vec::new()) };
}

impl Head {
    /// Packs these keys and values, and lends the result with memory for scores. `isa` is for everything except products.
    pub(crate) fn lend<R>(
        (isa, multiplier): (ForLoops, Multiplier),
        k: Rows<'_>,
        v: Rows<'_>,
        work: impl FnOnce(&Self, &mut Aligned) -> R,
    ) -> R {
        let alike = |(head, _): &(Self, Aligned)| (head.isa, head.multiplier) == (isa, multiplier);
        let spare = SPARE.with_borrow_mut(Vec::pop).filter(alike);
        let (mut head, mut memory) = spare.unwrap_or_else(|| {
            let [keys, values] = [Right::new(multiplier), Right::new(multiplier)];
            (Self { isa, multiplier, keys, values, scale: 1.0 }, Aligned::default())
        });
        head.keys.pack([k.width, k.count], k.values, [1, k.step], Scale::One);
        head.values.pack([v.count, v.width], v.values, [v.step, 1], Scale::One);
        head.scale = (1.0 / (k.width as f64).sqrt()) as f32;
        let result = work(&head, &mut memory);
        SPARE.with_borrow_mut(|spare| spare.push((head, memory)));
        result
    }

    /// The factor of the products of queries and keys, `1 / sqrt(d)`.
    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }

    /// `kᵀ`, packed.
    pub(crate) fn keys(&self) -> &Right {
        &self.keys
    }

    /// `v`, packed.
    pub(crate) fn values(&self) -> &Right {
        &self.values
    }

    /// Upper limit of the queries in a block, and the number of values in a row of its scores.
    pub(crate) fn block(&self, queries: usize) -> (usize, usize) {
        let pitch = self.keys.columns().next_multiple_of(16);
        let high = self.multiplier.rows();
        let most = (SCORES / pitch).clamp(high, MOST_QUERIES.max(high)) / high * high;
        (most.min(queries), pitch)
    }

    /// Calls `block(queries, powers, pitch, sums)` for blocks of queries. `powers` has `exp(score - largest score)` of each key, one row
    /// of `pitch` values per query, and `sums` the sum of each row.
    pub(crate) fn each_block(
        &self,
        q: Rows<'_>,
        queries: Range<usize>,
        memory: &mut Aligned,
        mut block: impl FnMut(Range<usize>, &mut [f32], usize, &[f32]),
    ) {
        let keys = self.keys.columns();
        let (most, pitch) = self.block(queries.len());
        memory.grow(most * (pitch + 1), "one thread's work").unwrap_or_else(|error| panic!("{error}"));
        let (scores, sums) = memory.split_at_mut(most * pitch);
        for first in queries.clone().step_by(most.max(1)) {
            let count = most.min(queries.end - first);
            let scores = &mut scores[..count * pitch];
            // The values after the last key of a row must not become its largest value.
            scores.chunks_exact_mut(pitch).for_each(|row| row[keys..].fill(f32::NEG_INFINITY));
            self.keys.multiply(count, q.from(first), q.step, scores, pitch, Epilogue::plain(false));
            exponentiate(self.isa, scores, pitch, keys, self.scale, &mut sums[..count]);
            block(first..first + count, scores, pitch, &sums[..count]);
        }
    }

    /// Writes the output of these queries to `out`, in rows that are `step` values apart.
    pub(crate) fn run(&self, q: Rows<'_>, queries: Range<usize>, memory: &mut Aligned, out: &mut [f32], step: usize) {
        let (start, width) = (queries.start, self.values.columns());
        self.each_block(q, queries, memory, |queries, exponentials, pitch, sums| {
            let out = &mut out[(queries.start - start) * step..];
            self.values.multiply(queries.len(), exponentials, pitch, out, step, Epilogue::plain(false));
            for (row, sum) in out.chunks_mut(step).zip(sums) {
                let share = 1.0 / sum;
                row[..width].iter_mut().for_each(|value| *value *= share);
            }
        });
    }
}

vectorised! {
    /// Replaces the scores of each row by `exp(scale * (score - largest))`, and sums the first `keys` of them.
    fn exponentiate(scores: &mut [f32], pitch: usize, keys: usize, scale: f32, sums: &mut [f32]) => exponentiate_body::<S>
}

#[inline(always)]
unsafe fn exponentiate_body<S: Simd>(scores: &mut [f32], pitch: usize, keys: usize, scale: f32, sums: &mut [f32]) {
    for (row, sum) in scores.chunks_exact_mut(pitch).zip(sums) {
        // SAFETY: the instructions of `S` are there; slices are cut to the vectors that are loaded and stored, and a row has whole
        // vectors.
        unsafe {
            let mut top = S::splat(f32::NEG_INFINITY);
            for at in (0..pitch).step_by(S::LANES) {
                top = S::max(top, S::from_slice(row, at));
            }
            let mut lanes = [f32::NEG_INFINITY; 16];
            S::to_slice(&mut lanes, 0, top);
            let top = S::splat(lanes.into_iter().fold(f32::NEG_INFINITY, f32::max));
            let scale = S::splat(scale);
            let mut all = S::splat(0.0);
            let whole = keys / S::LANES * S::LANES;
            for at in (0..whole).step_by(S::LANES) {
                let power = S::exp(S::mul(S::sub(S::from_slice(row, at), top), scale));
                S::to_slice(row, at, power);
                all = S::add(all, power);
            }
            *sum = S::sum(all);
            if whole < keys {
                let power = S::exp(S::mul(S::sub(S::from_slice(row, whole), top), scale));
                let mut lanes = [0.0; 16];
                S::to_slice(&mut lanes, 0, power);
                row[whole..keys].copy_from_slice(&lanes[..keys - whole]);
                *sum += lanes[..keys - whole].iter().sum::<f32>();
            }
        }
    }
}
