//! Products of matrices that lie in `f32`, by a unit: each side is rounded to bf16 while it is copied or packed, and results are `f32`.
//!
//! A value is rounded where a product reads it and nowhere else, so a program's values, gradients and parameters lie as they would
//! without a unit.

use std::ops::Range;

use super::{Bias, COLUMNS, DEPTH, Depth, Paired, PresentUnit, Ready, Start, Sums, Tile};
use crate::bf16::{Bf16, as_halves};
use crate::element::Element;
use crate::isa::ForLoops;
use crate::linalg::pack::{Packed, Scale};
use crate::linalg::product::Epilogue;
use crate::memory::scratch;
use crate::parallel::{Divide as _, Parts as _};
use crate::simd::{Simd, per_isa, vectorised};

/// Rows that a unit's tiles are multiples of.
const TALL: usize = 16;

/// Most steps of a part: 20 KiB of a panel, in the first cache.
const NEAR: usize = 10;

/// The right side of a product, `[depth, columns]`, rounded and packed. Columns lie in order.
#[derive(Debug)]
pub(crate) struct Halves {
    unit: PresentUnit,
    depth: usize,
    pairs: Packed<Paired>,
}

impl Halves {
    /// No matrix yet.
    pub(crate) fn new(unit: PresentUnit) -> Self {
        Self { unit, depth: 0, pairs: Packed::with(unit.kernel()) }
    }

    /// Columns of the matrix.
    pub(crate) fn columns(&self) -> usize {
        self.pairs.columns()
    }

    /// Packs as [`Packed::pack`] does. What is scaled is rounded afterwards.
    ///
    /// # Panics
    /// In the cases of [`Packed::pack`].
    pub(crate) fn pack(&mut self, shape: [usize; 2], source: &[f32], [row, across]: [usize; 2], scale: Scale<'_>) {
        let [depth, columns] = shape;
        self.depth = depth;
        let pairs = depth.next_multiple_of(DEPTH) / 2;
        let isa = self.unit.vectors().for_loops();
        let room = self.pairs.room([pairs, columns]).unwrap_or_else(|error| panic!("{error}"));
        room.par_chunks_mut((pairs * COLUMNS).max(1)).enumerate().for_each(|(panel, out)| {
            let first = panel * COLUMNS;
            let width = COLUMNS.min(columns - first);
            let source = &source[(first * across).min(source.len())..];
            let scale = match scale {
                Scale::Columns(scale) => Scale::Columns(&scale[first..][..width]),
                scale => scale,
            };
            pack_panel(isa, [depth, width], source, [row, across], scale, as_halves(out));
        });
    }

    /// `result (+)= left · self`, as [`multiply`](crate::linalg::multiply) computes it.
    pub(crate) fn multiply(
        &self,
        rows: usize,
        left: &[f32],
        left_row: usize,
        result: &mut [f32],
        result_row: usize,
        epilogue: Epilogue<'_>,
    ) {
        if rows == 0 || self.columns() == 0 {
            return;
        }
        assert!(left.len() >= (rows - 1) * left_row + self.depth, "the left side is too short");
        let isa = self.unit.vectors().for_loops();
        self.multiply_parts(rows, result, result_row, epilogue, |part, copy, long| {
            round_rows(isa, &left[part.start.min(left.len())..], left_row, part.len(), copy, long);
        });
    }

    /// The same for a left side that is made part by part: `make` writes all rows of a part of the depth, rounded, in rows of so many numbers
    /// with zeros after the part.
    ///
    /// For each part all panels are multiplied: a panel's part stays in the first cache while the rows go by, and the part of the rows in the
    /// second one while the panels do.
    pub(crate) fn multiply_parts(
        &self,
        rows: usize,
        result: &mut [f32],
        result_row: usize,
        epilogue: Epilogue<'_>,
        make: impl Fn(Range<usize>, &mut [Bf16], usize),
    ) {
        let all = self.depth.div_ceil(DEPTH);
        let parts = all.div_ceil(NEAR).max(1);
        let mut work = Work::new(self.unit);
        scratch(rows.next_multiple_of(TALL) * all.div_ceil(parts) * DEPTH / 2, |copy| {
            let copy = as_halves(copy);
            for part in 0..parts {
                let steps = part * all / parts..(part + 1) * all / parts;
                let long = steps.len() * DEPTH;
                if long > 0 {
                    let numbers = steps.start * DEPTH..self.depth.min(steps.end * DEPTH);
                    make(numbers, &mut copy[..rows * long], long);
                }
                let epilogue = Epilogue {
                    accumulate: epilogue.accumulate || part > 0,
                    bias: epilogue.bias.filter(|_| part == 0),
                    clip: epilogue.clip.filter(|_| part + 1 == parts),
                };
                self.multiply_part(&mut work, steps, (copy, rows), result, result_row, epilogue);
            }
        });
    }

    /// `result (+)= left · self` for some of the steps; `left` has rows of as many, and room for whole tiles.
    fn multiply_part(
        &self,
        work: &mut Work,
        part: Range<usize>,
        (left, rows): (&[Bf16], usize),
        result: &mut [f32],
        result_row: usize,
        epilogue: Epilogue<'_>,
    ) {
        let (long, kernel, columns) = (part.len() * DEPTH, self.pairs.kernel(), self.columns());
        if rows == 0 || columns == 0 {
            return;
        }
        assert!(left.len() >= rows.next_multiple_of(TALL) * long, "the left side is too short");
        assert!(result.len() >= (rows - 1) * result_row + columns, "the result is too short");
        let slots = part.start * DEPTH / 2 * COLUMNS..part.end * DEPTH / 2 * COLUMNS;
        let clip = epilogue.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        with_steps(long, |steps| {
            for panel in self.pairs.panels() {
                let bias = epilogue.bias.map(|values| {
                    let mut bias = NO_BIAS;
                    bias.0[..panel.columns].copy_from_slice(&values[panel.first..][..panel.columns]);
                    bias
                });
                for row in (0..rows).step_by(kernel.rows) {
                    let left = (left[row * long..].as_ptr(), long);
                    let finish = Finish {
                        rows: kernel.rows.min(rows - row),
                        width: panel.columns,
                        result: result[row * result_row + panel.first..].as_mut_ptr(),
                        result_row,
                        accumulate: epilogue.accumulate,
                        bias: bias.as_ref(),
                        clip,
                    };
                    // SAFETY: the left side has all rows, and those that a unit reads after them, with whole steps (asserted above); the panel
                    // has as many; the result has the rows and columns (asserted), and is borrowed for this call alone.
                    unsafe { work.tile(left, steps, &panel.values[slots.clone()], &finish) };
                }
            }
        });
    }
}

/// Lends the places of steps that lie one after the other, `long` numbers of them.
fn with_steps<R>(long: usize, work: impl FnOnce(&[usize]) -> R) -> R {
    const MANY: [usize; 64] = {
        let mut places = [0; 64];
        let mut at = 0;
        while at < 64 {
            places[at] = at * DEPTH;
            at += 1;
        }
        places
    };
    match MANY.get(..long / DEPTH) {
        Some(places) => work(places),
        None => work(&(0..long).step_by(DEPTH).collect::<Vec<usize>>()),
    }
}

/// A thread's unit and its sums, for the tiles of a product. Nothing else may use the unit until it is dropped, so no other thread's work is
/// waited for meanwhile.
pub(in crate::linalg) struct Work {
    ready: Ready,
    sums: Box<Sums>,
}

/// What is done with the sums of a tile.
pub(in crate::linalg) struct Finish<'a> {
    pub(in crate::linalg) rows: usize,
    /// Columns, at most a panel's.
    pub(in crate::linalg) width: usize,
    pub(in crate::linalg) result: *mut f32,
    /// Values from one row of the result to the next.
    pub(in crate::linalg) result_row: usize,
    /// Whether the sums are added to what is there.
    pub(in crate::linalg) accumulate: bool,
    /// What the sums begin with.
    pub(in crate::linalg) bias: Option<&'a Bias>,
    /// Limits; what is not a number stays so.
    pub(in crate::linalg) clip: (f32, f32),
}

impl Work {
    pub(in crate::linalg) fn new(unit: PresentUnit) -> Self {
        Self { ready: unit.ready(Depth::WHOLE), sums: Box::new(Sums([[0.0; COLUMNS]; super::ROWS])) }
    }

    /// A tile of a transposed product from strips that [`turn_strip`] and [`zip_strip`] have packed, `long` steps of them.
    ///
    /// # Safety
    /// The result has the rows and columns, and nobody else touches them.
    pub(in crate::linalg) unsafe fn strips(&mut self, left: &[f32], right: &[f32], long: usize, finish: &Finish<'_>) {
        let left_row = 2 * left.len() / self.ready.unit.kernel().rows;
        with_steps(long, |steps| {
            // SAFETY: the strips have all rows and steps, and the result is the caller's.
            unsafe { self.tile((left.as_ptr().cast(), left_row), steps, right, finish) };
        });
    }

    /// # Safety
    /// The left side has the rows and steps at its address, and those that the unit reads after the last row; the result has the rows and
    /// columns, and nobody else touches them.
    unsafe fn tile(
        &mut self,
        (left, left_row): (*const Bf16, usize),
        steps: &[usize],
        right: &[f32],
        finish: &Finish<'_>,
    ) {
        let unit = self.ready.unit;
        let kernel = unit.kernel();
        assert!(right.len() >= steps.len() * DEPTH / 2 * COLUMNS && (1..=kernel.rows).contains(&finish.rows));
        let (rows, depth, start) = (finish.rows, Depth::WHOLE, Start::Bias(finish.bias.unwrap_or(&NO_BIAS)));
        if finish.is_nothing(unit) {
            let start = if finish.accumulate { Start::Before } else { start };
            let (sums, sums_row) = (finish.result, finish.result_row);
            let tile = Tile { rows, left, left_row, depth, steps, right, start, sums, sums_row };
            // SAFETY: the machine has the unit, which is ready; the panel has all steps (asserted); the result has all rows that the unit writes
            // and all columns; the caller vouches for the rest.
            return unsafe { kernel.run(&tile) };
        }
        let (sums, sums_row) = (self.sums.0.as_flattened_mut().as_mut_ptr(), COLUMNS);
        let tile = Tile { rows, left, left_row, depth, steps, right, start, sums, sums_row };
        // SAFETY: the machine has the unit, which is ready; the panel has all steps (asserted), and the caller vouches for the rest.
        unsafe {
            kernel.run(&tile);
            finish_tile(unit.vectors(), &(finish, &*self.sums));
        }
    }
}

/// What sums begin with that have no bias.
const NO_BIAS: Bias = Bias([0.0; COLUMNS]);

impl Finish<'_> {
    /// Whether the unit itself can add to the result and write it: nothing else is to be done, and it writes no rows or columns but those that
    /// there are.
    fn is_nothing(&self, unit: PresentUnit) -> bool {
        self.width == COLUMNS
            && (!unit.reads_whole_tiles() || self.rows.is_multiple_of(TALL))
            && self.clip == (f32::NEG_INFINITY, f32::INFINITY)
            && !(self.accumulate && self.bias.is_some())
    }
}

per_isa! {
    /// Adds what is there if wanted, limits and stores.
    finish_tile = finish_kernel((&Finish<'_>, &Sums))
}

#[inline(always)]
unsafe fn finish_kernel<S: Simd>((job, sums): &(&Finish<'_>, &Sums)) {
    // SAFETY: the sums have a whole panel; loads and stores of the result are cut to the columns that each of its rows has; the
    // instructions of `S` are there.
    unsafe {
        let (least, most) = (S::splat(job.clip.0), S::splat(job.clip.1));
        for (row, sums) in sums.0.iter().enumerate().take(job.rows) {
            for c in (0..job.width).step_by(S::LANES) {
                let (to, width) = (job.result.wrapping_add(row * job.result_row + c), job.width - c);
                let mut sum = S::load(sums.as_ptr().add(c));
                if job.accumulate {
                    sum = S::add(sum, S::load_up_to(to, width));
                }
                // In this order of operands what is not a number stays so.
                S::store_up_to(to, S::min(most, S::max(least, sum)), width);
            }
        }
    }
}

/// Rounds values.
pub(crate) fn round(isa: ForLoops, from: &[f32], to: &mut [Bf16]) {
    round_rows(isa, from, from.len(), from.len(), to, from.len());
}

vectorised! {
    /// Rounds rows of `columns` values that are `from_row` values apart to rows of `to_row` numbers, with zeros after the columns.
    fn round_rows(from: &[f32], from_row: usize, columns: usize, to: &mut [Bf16], to_row: usize) => round_rows_body::<S, Bf16>
}

#[inline(always)]
unsafe fn round_rows_body<S: Simd>(from: &[f32], from_row: usize, columns: usize, to: &mut [Bf16], to_row: usize) {
    if to_row == 0 {
        return;
    }
    for (row, to) in to.chunks_exact_mut(to_row).enumerate() {
        let from = &from[row * from_row..][..columns];
        for at in (0..columns).step_by(S::LANES) {
            let left = columns - at;
            // SAFETY: both rows have `left` values from here on, and no more are touched; the instructions of `S` are there.
            unsafe {
                let values = f32::load_up_to::<S>(from.as_ptr().add(at), left);
                Bf16::store_up_to::<S>(to.as_mut_ptr().add(at), values, left);
            }
        }
        to[columns..].fill(Bf16::default());
    }
}

/// What pairs and panels are filled up with.
const NOTHING: [f32; COLUMNS] = [0.0; COLUMNS];

/// Rounds two rows, and writes their values as pairs.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn zip<S: Simd>(even: &[f32], odd: &[f32], to: &mut [Bf16]) {
    let width = even.len().min(odd.len()).min(to.len() / 2);
    for at in (0..width).step_by(S::LANES) {
        let left = width - at;
        // SAFETY: both rows have `left` values from here on, and there is room for as many pairs; the instructions of `S` are there.
        unsafe {
            let both = [S::load_up_to(even.as_ptr().add(at), left), S::load_up_to(odd.as_ptr().add(at), left)];
            S::store_two_bf16(to.as_mut_ptr().add(2 * at), both, (2 * left).min(2 * S::LANES));
        }
    }
}

vectorised! {
    /// Packs a strip of the right side of a transposed product: `steps` rows of `width` values that are `row` apart, two and two; steps
    /// are filled up with zeros to whole [`DEPTH`]s.
    pub(in crate::linalg) fn zip_strip(values: &[f32], row: usize, width: usize, steps: usize, out: &mut [f32])
        => zip_strip_body::<S, Bf16>
}

#[inline(always)]
unsafe fn zip_strip_body<S: Simd>(values: &[f32], row: usize, width: usize, steps: usize, out: &mut [f32]) {
    let lines = as_halves(out).chunks_exact_mut(2 * COLUMNS).take(steps.next_multiple_of(DEPTH) / 2);
    for (pair, out) in lines.enumerate() {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            zip::<S>(line(values, row, width, steps, 2 * pair), line(values, row, width, steps, 2 * pair + 1), out)
        };
    }
}

/// The row with this number, or zeros after the last.
#[inline(always)]
fn line(values: &[f32], row: usize, width: usize, steps: usize, at: usize) -> &[f32] {
    if at < steps { &values[at * row..][..width] } else { &NOTHING[..width] }
}

vectorised! {
    /// Packs a strip of the left side of a transposed product: `steps` rows of `width` values that are `row` apart become `width` rows of
    /// numbers, as far apart as `out` has room for `high` of them; steps are filled up with zeros to whole [`DEPTH`]s.
    pub(in crate::linalg) fn turn_strip(values: &[f32], row: usize, sides: [usize; 2], steps: usize, out: &mut [f32])
        => turn_strip_body::<S, Bf16>
}

#[inline(always)]
unsafe fn turn_strip_body<S: Simd>(
    values: &[f32],
    row: usize,
    [width, high]: [usize; 2],
    steps: usize,
    out: &mut [f32],
) {
    const PAIRS: usize = DEPTH / 2;
    let long = out.len() / high;
    for first in (0..steps).step_by(DEPTH) {
        // Pairs of one step after the other, which are then turned.
        let mut pairs = [[0.0_f32; COLUMNS]; PAIRS];
        for (pair, to) in pairs.iter_mut().enumerate() {
            let at = first + 2 * pair;
            let (even, odd) = (line(values, row, width, steps, at), line(values, row, width, steps, at + 1));
            // SAFETY: the instructions of `S` are there.
            unsafe { zip::<S>(even, odd, as_halves(to)) };
        }
        for (column, out) in out.chunks_exact_mut(long).enumerate().take(width) {
            for (to, pairs) in out[first / 2..][..PAIRS].iter_mut().zip(&pairs) {
                *to = pairs[column];
            }
        }
    }
}

vectorised! {
    /// Packs one panel of a right side: `value(step, column) = source[step * row + column * across]`, scaled, rounded, two steps to a pair,
    /// with zeros up to whole steps and columns.
    fn pack_panel(shape: [usize; 2], source: &[f32], from: [usize; 2], scale: Scale<'_>, out: &mut [Bf16])
        => pack_panel_body::<S, Bf16>
}

#[inline(always)]
unsafe fn pack_panel_body<S: Simd>(
    [depth, width]: [usize; 2],
    source: &[f32],
    [row, across]: [usize; 2],
    scale: Scale<'_>,
    out: &mut [Bf16],
) {
    let mut columns = [1.0_f32; COLUMNS];
    if let Scale::Columns(scale) = scale {
        columns[..width].copy_from_slice(scale);
    }
    let scaled = |step: usize| {
        let mut line = NOTHING;
        if step < depth {
            let factor = if let Scale::Rows(scale) = scale { scale[step % scale.len()] } else { 1.0 };
            let source = &source[step * row..];
            if across == 1 {
                line[..width].copy_from_slice(&source[..width]);
            } else {
                line.iter_mut().zip(source.iter().step_by(across)).take(width).for_each(|(to, from)| *to = *from);
            }
            line.iter_mut().zip(&columns).for_each(|(value, scale)| *value = *value * scale * factor);
        }
        line
    };
    for (pair, out) in out.chunks_exact_mut(2 * COLUMNS).enumerate() {
        // SAFETY: the instructions of `S` are there.
        unsafe { zip::<S>(&scaled(2 * pair), &scaled(2 * pair + 1), out) };
    }
}
