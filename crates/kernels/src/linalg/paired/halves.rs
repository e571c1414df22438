//! Products of matrices that are stored in `f32`, by a unit: each side is rounded to bf16 while it is copied or packed, and results are `f32`.
//!
//! Values are rounded only for products, so a program stores its values, gradients and parameters just as it would without a unit.

use std::ops::Range;

use super::rounding::{pack_panel, round_rows};
use super::{Bias, COLUMNS, DEPTH, Depth, Paired, PresentUnit, Ready, Sums, Tile};
use crate::bf16::{Bf16, as_halves};
use crate::linalg::pack::{Packed, Scale};
use crate::linalg::product::Epilogue;
use crate::memory::scratch;
use crate::parallel::{Divide as _, Parts as _};
use crate::simd::{Simd, per_isa};

/// The rows of a tile that a unit reads are a multiple of this.
const TALL: usize = 16;

/// Upper limit of the steps of a part: 72 KiB of a panel and 432 KiB of 192 rows fit in the second-level cache. With smaller parts, sums would
/// be loaded and stored more often.
const NEAR: usize = 36;

/// The right side of a product, `[depth, columns]`, rounded and packed. Unlike in [`PackedPairs`](super::PackedPairs), columns are in order.
#[derive(Debug)]
pub(crate) struct Halves {
    unit: PresentUnit,
    depth: usize,
    pairs: Packed<Paired>,
}

impl Halves {
    /// An empty one, for a matrix that is packed later.
    pub(crate) fn new(unit: PresentUnit) -> Self {
        Self { unit, depth: 0, pairs: Packed::with(unit.kernel()) }
    }

    /// Columns of the matrix.
    pub(crate) fn columns(&self) -> usize {
        self.pairs.columns()
    }

    /// Packs as [`Packed::pack`] does. Values are scaled first, and then rounded.
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

    /// Multiplies as [`Halves::multiply`] does, for a left side that is made part by part along the inner dimension: `make(numbers, rows, long)`
    /// writes these numbers of all rows, rounded, to rows of `long` numbers, and fills the rest of each row with zeros.
    ///
    /// Each part is multiplied with all panels while it is in the second-level cache.
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
                with_steps(long, |places| {
                    let left = Lying { values: copy, row: long, steps: places, run: rows, line: rows };
                    self.multiply_part(&mut work, steps, (&left, rows), result, result_row, epilogue);
                });
            }
        });
    }

    /// Multiplies as [`Halves::multiply`] does, for a left side that is stored in bf16 already, with a place for every step.
    ///
    /// # Panics
    /// If the left side or the result is too short.
    pub(crate) fn multiply_lying(
        &self,
        rows: usize,
        left: &Lying<'_>,
        result: &mut [f32],
        result_row: usize,
        epilogue: Epilogue<'_>,
    ) {
        let all = self.depth.div_ceil(DEPTH);
        assert_eq!(left.steps.len(), all, "each step has a place");
        self.multiply_part(&mut Work::new(self.unit), 0..all, (left, rows), result, result_row, epilogue);
    }

    /// `result (+)= left · self` for the steps in `part`; the left side has only these steps.
    fn multiply_part(
        &self,
        work: &mut Work,
        part: Range<usize>,
        (left, rows): (&Lying<'_>, usize),
        result: &mut [f32],
        result_row: usize,
        epilogue: Epilogue<'_>,
    ) {
        let columns = self.columns();
        if rows == 0 || columns == 0 {
            return;
        }
        left.check(rows);
        assert!(result.len() >= (rows - 1) * result_row + columns, "the result is too short");
        let slots = part.start * DEPTH / 2 * COLUMNS..part.end * DEPTH / 2 * COLUMNS;
        let clip = epilogue.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        for panel in self.pairs.panels() {
            let bias = epilogue.bias.map(|values| {
                let mut bias = NO_BIAS;
                bias.0[..panel.columns].copy_from_slice(&values[panel.first..][..panel.columns]);
                bias
            });
            let to = result.as_mut_ptr();
            let finish = |rows: Range<usize>| Finish {
                rows: rows.len(),
                width: panel.columns,
                result: to.wrapping_add(rows.start * result_row + panel.first),
                result_row,
                accumulate: epilogue.accumulate,
                bias: bias.as_ref(),
                clip,
            };
            let right = &panel.values[slots.clone()];
            for places in left.tiles(rows, &work.ready) {
                let tile = (left.values[places.start * left.row..].as_ptr(), left.row);
                let whole = left.parts(&places).next().filter(|(_, part)| part.len() == places.len());
                // SAFETY: the left side has all rows, and those that a unit reads after them, with whole steps (checked above); the panel
                // has as many steps (the tile checks); the result has the rows and columns (asserted), and is borrowed mutably.
                unsafe {
                    if let Some((_, part)) = whole {
                        work.tile(tile, left.steps, right, &finish(part));
                        continue;
                    }
                    work.sum(tile, places.len(), left.steps, right);
                    left.parts(&places).for_each(|(first, part)| work.finish(first, &finish(part)));
                }
            }
        }
    }
}

/// The left side of a product, read where it lies. Its rows have places, which are equally far apart: runs of rows alternate with places that
/// are no rows.
pub(crate) struct Lying<'a> {
    pub(crate) values: &'a [Bf16],
    /// Numbers from one place to the next.
    pub(crate) row: usize,
    /// Where each step begins, counted from a row's first number.
    pub(crate) steps: &'a [usize],
    /// Rows of a run.
    pub(crate) run: usize,
    /// Places from one run's first row to the next one's.
    pub(crate) line: usize,
}

impl Lying<'_> {
    /// How many places there are up to the last row.
    fn places(&self, rows: usize) -> usize {
        (rows - 1) / self.run * self.line + (rows - 1) % self.run + 1
    }

    /// # Panics
    /// If numbers are missing for a step of any row, those that a unit reads after the last row included.
    fn check(&self, rows: usize) {
        let places = if rows <= self.run { rows.next_multiple_of(TALL) } else { self.places(rows) + TALL - 1 };
        let end = self.steps.iter().max().map_or(0, |step| (places - 1) * self.row + step + DEPTH);
        assert!(self.values.len() >= end, "the left side is too short");
    }

    /// The places of each tile for `rows` rows. A unit that reads whole tiles computes places that are no rows too, where this takes fewer tiles
    /// than starting anew with each run.
    fn tiles(&self, rows: usize, ready: &Ready) -> impl Iterator<Item = Range<usize>> + use<> {
        let (tall, all, run) = (ready.unit.kernel().rows, self.places(rows), self.run.min(rows));
        let joined = ready.unit.reads_whole_tiles() && cost(all) < rows.div_ceil(run) * cost(run);
        let (run, line) = if joined { (all, all) } else { (run, self.line) };
        (0..all).step_by(line).flat_map(move |start| {
            let end = all.min(start + run);
            (start..end).step_by(tall).map(move |first| first..end.min(first + tall))
        })
    }

    /// The rows among these places: for each run, the first row's number among the places, and the rows.
    fn parts(&self, places: &Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let (Range { start, end }, run, line) = (places.clone(), self.run, self.line);
        (start / line..=(end - 1) / line).filter_map(move |at| {
            let (first, last) = (start.max(at * line), end.min(at * line + run));
            let row = |place: usize| place - at * (line - run);
            (first < last).then(|| (first - start, row(first)..row(last)))
        })
    }
}

/// The time for rows that lie together, by a unit that reads whole tiles: a tile of 16 rows takes 0.7 of the time of one of 32.
fn cost(rows: usize) -> usize {
    rows / 32 * 10 + [0, 7, 10][(rows % 32).div_ceil(TALL)]
}

/// Lends the places of consecutive steps of [`DEPTH`] numbers, for rows of `long` numbers.
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

/// A thread's unit and its sums, for the tiles of a product. No other code may use the thread's unit until it is dropped, so the thread must not
/// wait for other tasks meanwhile: Rayon could run one of them in this thread.
pub(in crate::linalg) struct Work {
    ready: Ready,
    sums: Box<Sums>,
}

/// What happens to the sums of a tile.
pub(in crate::linalg) struct Finish<'a> {
    pub(in crate::linalg) rows: usize,
    /// Columns, at most a panel's.
    pub(in crate::linalg) width: usize,
    pub(in crate::linalg) result: *mut f32,
    /// Values from one row of the result to the next.
    pub(in crate::linalg) result_row: usize,
    /// Whether the sums are added to the values that the result has.
    pub(in crate::linalg) accumulate: bool,
    /// Summands, one per column.
    pub(in crate::linalg) bias: Option<&'a Bias>,
    /// Limits; NaN stays NaN.
    pub(in crate::linalg) clip: (f32, f32),
}

impl Work {
    pub(in crate::linalg) fn new(unit: PresentUnit) -> Self {
        Self { ready: unit.ready(Depth::WHOLE), sums: Box::new(Sums([[0.0; COLUMNS]; super::ROWS])) }
    }

    /// Computes a tile of a transposed product from strips that [`transpose_strip`] and [`zip_strip`] have packed, for `long` numbers of
    /// the inner dimension.
    ///
    /// # Safety
    /// The result has the rows and columns, and no other code accesses them.
    pub(in crate::linalg) unsafe fn strips(&mut self, left: &[f32], right: &[f32], long: usize, finish: &Finish<'_>) {
        let left_row = 2 * left.len() / self.rows();
        // SAFETY: the strips have all rows and steps, and the caller guarantees the result.
        unsafe { self.lying((left.as_ptr().cast(), left_row), right, long, finish) };
    }

    /// Rows of the largest tile.
    pub(super) fn rows(&self) -> usize {
        self.ready.unit.kernel().rows
    }

    /// Computes a tile whose left side has consecutive steps, for rows of `long` numbers; `left` is the address of the first row, and the
    /// numbers from one row to the next.
    ///
    /// # Safety
    /// The conditions of [`Work::tile`].
    pub(super) unsafe fn lying(&mut self, left: (*const Bf16, usize), right: &[f32], long: usize, finish: &Finish<'_>) {
        // SAFETY: the caller guarantees the left side and the result.
        with_steps(long, |steps| unsafe { self.tile(left, steps, right, finish) });
    }

    /// Computes one tile.
    ///
    /// # Safety
    /// The left side has the rows and steps at its address, and those that the unit reads after the last row; the result has the rows and
    /// columns, and no other code accesses them.
    unsafe fn tile(
        &mut self,
        (left, left_row): (*const Bf16, usize),
        steps: &[usize],
        right: &[f32],
        finish: &Finish<'_>,
    ) {
        let (rows, unit) = (finish.rows, self.ready.unit);
        if finish.is_nothing(unit) {
            let (kernel, depth) = (unit.kernel(), Depth::WHOLE);
            assert!(right.len() >= steps.len() * DEPTH / 2 * COLUMNS && (1..=kernel.rows).contains(&rows));
            let (adds, sums, sums_row) = (finish.accumulate, finish.result, finish.result_row);
            let tile = Tile { rows, left, left_row, depth, steps, right, adds, sums, sums_row };
            // SAFETY: the machine has the unit, which is ready; the panel has all steps (asserted); the result has all rows that the unit writes
            // and all columns; the caller guarantees the left side.
            return unsafe { kernel.run(&tile) };
        }
        // SAFETY: the caller guarantees the left side and the result.
        unsafe {
            self.sum((left, left_row), rows, steps, right);
            self.finish(0, finish);
        }
    }

    /// Computes the sums of one tile.
    ///
    /// # Safety
    /// The left side has the rows and steps at its address, and those that the unit reads after the last row.
    unsafe fn sum(&mut self, (left, left_row): (*const Bf16, usize), rows: usize, steps: &[usize], right: &[f32]) {
        let kernel = self.ready.unit.kernel();
        assert!(right.len() >= steps.len() * DEPTH / 2 * COLUMNS && (1..=kernel.rows).contains(&rows));
        let (sums, sums_row) = (self.sums.0.as_flattened_mut().as_mut_ptr(), COLUMNS);
        let tile = Tile { rows, left, left_row, depth: Depth::WHOLE, steps, right, adds: false, sums, sums_row };
        // SAFETY: the machine has the unit, which is ready; the panel has all steps (asserted), and the caller guarantees the left side.
        unsafe { kernel.run(&tile) }
    }

    /// Processes the sums of some rows of the tile, of which the first has this number.
    ///
    /// # Safety
    /// The result has the rows and columns, and no other code accesses them.
    unsafe fn finish(&self, first: usize, finish: &Finish<'_>) {
        let sums = &self.sums.0[first..][..finish.rows];
        // SAFETY: there is a row of sums for each row of the result, which the caller guarantees.
        unsafe { finish_tile(self.ready.unit.vectors(), &(finish, sums)) }
    }
}

/// The bias of sums that have none.
const NO_BIAS: Bias = Bias([0.0; COLUMNS]);

impl Finish<'_> {
    /// Whether the unit itself can add to the result and write it: there is neither bias nor limit, and the unit writes only rows and columns
    /// that the result has.
    fn is_nothing(&self, unit: PresentUnit) -> bool {
        self.width == COLUMNS
            && (!unit.reads_whole_tiles() || self.rows.is_multiple_of(TALL))
            && self.clip == (f32::NEG_INFINITY, f32::INFINITY)
            && self.bias.is_none()
    }
}

per_isa! {
    /// Adds the bias and, if the job accumulates, the result's old values; applies the limits and stores.
    finish_tile = finish_kernel((&Finish<'_>, &[[f32; COLUMNS]]))
}

#[inline(always)]
unsafe fn finish_kernel<S: Simd>((job, sums): &(&Finish<'_>, &[[f32; COLUMNS]])) {
    // SAFETY: the sums have a whole panel; loads and stores of the result are cut to the columns that each of its rows has; the
    // instructions of `S` are there.
    unsafe {
        let (least, most) = (S::splat(job.clip.0), S::splat(job.clip.1));
        let bias = job.bias.unwrap_or(&NO_BIAS);
        for c in (0..job.width).step_by(S::LANES) {
            let bias = S::load(bias.0.as_ptr().add(c));
            for (row, sums) in sums.iter().enumerate() {
                let (to, width) = (job.result.wrapping_add(row * job.result_row + c), job.width - c);
                let mut sum = S::add(S::load(sums.as_ptr().add(c)), bias);
                if job.accumulate {
                    sum = S::add(sum, S::load_up_to(to, width));
                }
                // With this order of operands, NaN stays NaN.
                S::store_up_to(to, S::min(most, S::max(least, sum)), width);
            }
        }
    }
}
