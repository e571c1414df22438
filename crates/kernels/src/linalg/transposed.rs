//! Products with a transposed left side, `C = Aᵀ B`. The gradient of a kernel is such a sum over the rows of both sides.

use std::ops::Range;

use crate::parallel::{self, Disjoint, Divide as _, Parts as _};

use super::micro::MicroKernel;
use super::multiplier::Multiplier;
use super::paired::{self, Finish, Places, PresentUnit, Work};
use super::product::DEPTH;
use super::strided::{Strided, Tile, WIDEST};
use crate::isa::ForLoops;
use crate::memory::{scratch, workspace};
use crate::simd::vectorised;

/// A function that writes a block of a matrix, given as ranges of rows and columns, row by row.
pub(crate) type Fill<'a> = dyn Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync + 'a;

/// A side of [`matmul_at_b`].
#[derive(Clone, Copy)]
pub(crate) enum Matrix<'a> {
    /// Stored values, and how many of them lie from one row to the next.
    Given(&'a [f32], usize),
    /// A matrix that is not stored: the function writes the block that is needed.
    Made(&'a Fill<'a>),
}

/// Upper limit of the steps of a block that a unit takes in one call. It loads and stores its sums once per block.
const UNIT_DEPTH: usize = 320;

/// How the values of a strip are arranged.
#[derive(Clone, Copy)]
enum Order {
    /// Row by row, copied with these instructions.
    Lines(ForLoops),
    /// Column by column, in bf16, as this unit reads left sides.
    Transposed(PresentUnit),
    /// Pairs of rows whose values are interleaved, in bf16, as this unit reads right sides.
    Zipped(PresentUnit),
}

/// How a block of rows of a matrix is packed for a transposed product: in strips, each with all rows of the block and as many columns as a tile.
#[derive(Clone, Copy)]
struct Strips {
    order: Order,
    columns: usize,
    /// Columns of a strip; the last one is filled up with zeros.
    wide: usize,
    /// Rows of a block.
    depth: usize,
}

impl Strips {
    /// How many strips one task packs together, so that whole cache lines are read.
    const TOGETHER: usize = 8;

    /// The strips of the left side and of the right side of a product with `rows` steps.
    fn of(multiplier: Multiplier, rows: usize, inner: usize, columns: usize) -> [Self; 2] {
        let (depth, orders) = match multiplier {
            Multiplier::Single(isa) => (DEPTH.min(rows).max(1), [Order::Lines(isa.for_loops()); 2]),
            Multiplier::Half(unit) => {
                let depth = UNIT_DEPTH.min(rows).max(1).next_multiple_of(paired::DEPTH);
                (depth, [Order::Transposed(unit), Order::Zipped(unit)])
            }
        };
        let strips = |order, columns, wide| Self { order, columns, wide, depth };
        [strips(orders[0], inner, multiplier.rows()), strips(orders[1], columns, multiplier.columns())]
    }

    fn count(self) -> usize {
        self.columns.div_ceil(self.wide)
    }

    /// Values of one strip.
    fn each(self) -> usize {
        match self.order {
            Order::Lines(_) => self.wide * self.depth,
            Order::Transposed(_) | Order::Zipped(_) => self.wide * self.depth / 2,
        }
    }

    /// Values of all strips, rounded up to whole cache lines.
    fn values(self) -> usize {
        (self.count() * self.each()).next_multiple_of(16)
    }

    /// The strip with this number.
    fn strip(self, packed: &[f32], at: usize) -> &[f32] {
        &packed[at * self.each()..][..self.each()]
    }

    /// Packs `steps` rows that are `row` values apart, in this thread.
    fn pack(self, (values, row): (&[f32], usize), steps: usize, out: &mut [f32]) {
        self.pack_from(0, (values, row), steps, &mut out[..self.count() * self.each()]);
    }

    /// Packs as many strips as `out` has room for, beginning with column `first`, which is the first column of `values`.
    fn pack_from(self, first: usize, (values, row): (&[f32], usize), steps: usize, out: &mut [f32]) {
        let wide = self.wide;
        let width = |from: usize| wide.min(self.columns - first - from);
        match self.order {
            Order::Lines(isa) => {
                let shape = [steps, wide, self.columns - first];
                copy_lines(isa, values, row, shape, self.each(), out);
            }
            Order::Transposed(unit) | Order::Zipped(unit) => {
                let (isa, places) = (unit.vectors().for_loops(), Places::all(steps));
                for (strip, out) in out.chunks_exact_mut(self.each()).enumerate() {
                    let (values, width) = (&values[strip * wide..], width(strip * wide));
                    match self.order {
                        Order::Transposed(_) => {
                            paired::transpose_strip(isa, values, row, [width, wide], places, steps, out)
                        }
                        _ => {
                            let whole = steps.next_multiple_of(paired::DEPTH) / 2 * wide;
                            paired::zip_strip(isa, values, row, width, places, &mut out[..whole]);
                        }
                    }
                }
            }
        }
    }

    /// Packs `rows` of the matrix in parallel.
    fn pack_in_parallel(self, matrix: Matrix<'_>, rows: Range<usize>, out: &mut [f32]) {
        let out = &mut out[..self.count() * self.each()];
        out.par_chunks_mut(Self::TOGETHER * self.each()).enumerate().for_each(|(part, out)| {
            let first = part * Self::TOGETHER * self.wide;
            let steps = rows.len();
            match matrix {
                _ if steps == 0 => {}
                Matrix::Given(values, row) => {
                    self.pack_from(first, (&values[rows.start * row + first..], row), steps, out)
                }
                Matrix::Made(fill) => {
                    let part = first..self.columns.min(first + out.len() / self.each() * self.wide);
                    scratch(steps * part.len(), |lines| {
                        fill(rows.clone(), part.clone(), lines);
                        self.pack_from(first, (lines, part.len()), steps, out);
                    });
                }
            }
        });
    }
}

vectorised! {
    /// Copies rows that are `row` values apart to strips of `each` values; `shape` is `[rows, columns of a strip, columns in all]`.
    fn copy_lines(values: &[f32], row: usize, shape: [usize; 3], each: usize, out: &mut [f32]) => copy_lines_body
}

#[inline(always)]
fn copy_lines_body<const FUSED: bool>(
    values: &[f32],
    row: usize,
    [steps, wide, columns]: [usize; 3],
    each: usize,
    out: &mut [f32],
) {
    // Only some rows at a time, so that their lines are still in the cache for the next strip.
    for step in (0..steps).step_by(16) {
        for (strip, out) in out.chunks_exact_mut(each).enumerate() {
            let (from, width) = (strip * wide, wide.min(columns - strip * wide));
            let lines = out[step * wide..].chunks_exact_mut(wide).take(16.min(steps - step));
            for (line, out) in lines.enumerate() {
                copy_line(out, &values[(step + line) * row + from..][..width]);
            }
        }
    }
}

/// Copies a line of a tile, and fills it up with zeros. Whole lines have one of few lengths, for which the copy is inlined.
#[inline(always)]
fn copy_line(out: &mut [f32], line: &[f32]) {
    #[inline(always)]
    fn whole<const N: usize>(out: &mut [f32], line: &[f32]) -> bool {
        match (out.as_mut_array::<N>(), line.as_array::<N>()) {
            (Some(out), Some(line)) => {
                *out = *line;
                true
            }
            _ => false,
        }
    }
    if whole::<8>(out, line) || whole::<12>(out, line) || whole::<16>(out, line) || whole::<48>(out, line) {
        return;
    }
    out[..line.len()].copy_from_slice(line);
    out[line.len()..].fill(0.0);
}

/// Values that [`matmul_at_b`] packs at a time (2 MiB), unless one block alone has more.
const PACKED: usize = 1 << 19;

/// Writes the sum over all rows of `left[row]ᵀ right[row]`, such as a kernel's gradient, to `result`, `[inner, columns]`.
///
/// Blocks of rows of both sides are packed once, by all threads. Then each task computes a part of the result, so that each sum is added up in
/// the same order with any number of threads.
pub(crate) fn matmul_at_b(
    multiplier: Multiplier,
    rows: usize,
    (left, inner): (Matrix<'_>, usize),
    (right, right_row): (&[f32], usize),
    columns: usize,
    (result, result_row): (&mut [f32], usize),
) {
    if inner == 0 || columns == 0 {
        return;
    }
    assert!(rows == 0 || right.len() >= (rows - 1) * right_row + columns, "the right side is too short");
    if let Matrix::Given(left, left_row) = left {
        assert!(rows == 0 || left.len() >= (rows - 1) * left_row + inner, "the left side is too short");
    }
    assert!(result.len() >= (inner - 1) * result_row + columns, "the result is too short");
    let [lefts, rights] = Strips::of(multiplier, rows, inner, columns);
    let (high, wide, depth) = (lefts.wide, rights.wide, lefts.depth);
    let each = lefts.values() + rights.values();
    // Without rows, there is one block, which writes zeros.
    let blocks = rows.div_ceil(depth).max(1);
    let together = (PACKED / each).clamp(1, blocks);
    let span = |block: usize| block * depth..rows.min((block + 1) * depth);
    let (tiles, panels) = (lefts.count(), rights.count());
    // About eight tasks, whose parts of the result are as square as possible.
    let (mut by_tile, mut by_panel) = (1, 1);
    while by_tile * by_panel < 8 && (by_tile < tiles || by_panel < panels) {
        let (tile, panel) = (tiles.div_ceil(by_tile) * high, panels.div_ceil(by_panel) * wide);
        if (tile >= panel && by_tile < tiles) || by_panel >= panels { by_tile *= 2 } else { by_panel *= 2 }
    }
    let (tiles_each, panels_each) = (tiles.div_ceil(by_tile), panels.div_ceil(by_panel));
    let shared = Disjoint::new(result);
    workspace(together * each, |buffer| {
        for first in (0..blocks).step_by(together) {
            let buffer = &mut buffer[..together.min(blocks - first) * each];
            buffer.par_chunks_mut(each).enumerate().for_each(|(block, out)| {
                let rows = span(first + block);
                let (for_right, for_left) = out.split_at_mut(rights.values());
                rayon::join(
                    || lefts.pack_in_parallel(left, rows.clone(), for_left),
                    || rights.pack_in_parallel(Matrix::Given(right, right_row), rows.clone(), for_right),
                );
            });
            parallel::each(by_tile * by_panel, &|task| {
                let part = |at: usize, each: usize, all: usize| (at * each).min(all)..((at + 1) * each).min(all);
                let tiles = part(task / by_panel, tiles_each, tiles);
                let panels = part(task % by_panel, panels_each, panels);
                let mut tiling = Tiling::new(multiplier);
                for (block, packed) in buffer.chunks_exact(each).enumerate() {
                    let (right, left) = packed.split_at(rights.values());
                    let steps = span(first + block).len();
                    let add = first + block > 0;
                    for (panel, tile) in panels.clone().flat_map(|panel| tiles.clone().map(move |tile| (panel, tile))) {
                        let (left, right) = (Left::Strip(lefts.strip(left, tile)), rights.strip(right, panel));
                        let (strips, place) = ([lefts, rights], [tile, panel]);
                        // SAFETY: no other task accesses the tile's rows and columns of the result, whose length has been checked.
                        unsafe { tiling.tile(strips, place, steps, left, right, (shared, result_row), add) };
                    }
                }
            });
        }
    });
}

/// Computes `result (+)= leftᵀ right` as [`matmul_at_b`] does, but in one task. `left` is `(values, values from row to row, columns)`; the
/// rows of the result follow one another.
///
/// If the right side has few panels, the left side is read where it lies instead of being packed.
pub(crate) fn matmul_at_b_whole(
    multiplier: Multiplier,
    rows: usize,
    (left, left_row, inner): (&[f32], usize, usize),
    (right, right_row): (&[f32], usize),
    columns: usize,
    result: &mut [f32],
    add: bool,
) {
    if inner == 0 || columns == 0 {
        return;
    }
    assert!(rows == 0 || left.len() >= (rows - 1) * left_row + inner, "the left side is too short");
    assert!(rows == 0 || right.len() >= (rows - 1) * right_row + columns, "the right side is too short");
    assert!(result.len() >= inner * columns, "the result is too short");
    let [lefts, rights] = Strips::of(multiplier, rows, inner, columns);
    let depth = lefts.depth;
    let in_place = rights.count() < 4 && matches!(multiplier, Multiplier::Single(_));
    let shared = Disjoint::new(result);
    scratch(rights.values() + if in_place { 0 } else { lefts.values() }, |buffer| {
        let (for_right, for_left) = buffer.split_at_mut(rights.values());
        let mut tiling = Tiling::new(multiplier);
        for first in (0..rows.max(1)).step_by(depth) {
            let steps = depth.min(rows - first);
            if steps > 0 {
                rights.pack((&right[first * right_row..], right_row), steps, for_right);
                if !in_place {
                    lefts.pack((&left[first * left_row..], left_row), steps, for_left);
                }
            }
            for (panel, tile) in (0..rights.count()).flat_map(|panel| (0..lefts.count()).map(move |t| (panel, t))) {
                let right = rights.strip(for_right, panel);
                let left = if in_place {
                    Left::Lying(left.as_ptr().wrapping_add(first * left_row + tile * lefts.wide), left_row)
                } else {
                    Left::Strip(lefts.strip(for_left, tile))
                };
                let (strips, place, result) = ([lefts, rights], [tile, panel], (shared, columns));
                // SAFETY: the result is borrowed mutably for this call, and the lengths of result and left side have been checked.
                unsafe { tiling.tile(strips, place, steps, left, right, result, add || first > 0) };
            }
        }
    });
}

/// The left side of a tile of a transposed product.
enum Left<'a> {
    /// A packed strip.
    Strip(&'a [f32]),
    /// A side that is not packed: the address of the tile's first value, and the values from one step to the next.
    Lying(*const f32, usize),
}

/// The kernel with which a thread computes the tiles of a transposed product.
enum Tiling {
    Single(&'static MicroKernel<Strided>),
    Half(Work),
}

impl Tiling {
    fn new(multiplier: Multiplier) -> Self {
        match multiplier {
            Multiplier::Single(isa) => Self::Single(MicroKernel::of(isa)),
            Multiplier::Half(unit) => Self::Half(Work::new(unit)),
        }
    }

    /// One tile, with `steps` steps of its strips.
    ///
    /// # Safety
    /// A left side that is not packed has a value for every step and row of the tile. `result` has the tile's rows and columns,
    /// `result_row` values apart, and no other code accesses them.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "they are the three matrices and the place of the tile in them")]
    unsafe fn tile(
        &mut self,
        [lefts, rights]: [Strips; 2],
        [tile, panel]: [usize; 2],
        steps: usize,
        left: Left<'_>,
        right: &[f32],
        (result, result_row): (Disjoint, usize),
        accumulate: bool,
    ) {
        let (row, column) = (tile * lefts.wide, panel * rights.wide);
        let (rows, width) = (lefts.wide.min(lefts.columns - row), rights.wide.min(rights.columns - column));
        let result = result.at(row * result_row + column);
        let clip = (f32::NEG_INFINITY, f32::INFINITY);
        match (self, left) {
            (Self::Single(kernel), left) => {
                let (left, left_step) = match left {
                    Left::Strip(strip) => (strip.as_ptr(), lefts.wide),
                    Left::Lying(at, step) => (at, step),
                };
                let tile = Tile {
                    rows,
                    width,
                    steps,
                    left,
                    left_row: 1,
                    left_step,
                    right: right.as_ptr(),
                    result,
                    result_row,
                    accumulate,
                    bias: &[0.0; WIDEST],
                    clip,
                };
                // SAFETY: strips have all rows, columns and steps; a left side that is not packed has them too; the result has the tile's rows
                // and columns.
                unsafe { kernel.run(&tile) };
            }
            (Self::Half(work), Left::Strip(left)) => {
                let finish = Finish { rows, width, result, result_row, accumulate, bias: None, clip };
                // SAFETY: the strips have been packed for the unit; the result has the tile's rows and columns.
                unsafe { work.strips(left, right, steps.next_multiple_of(paired::DEPTH), &finish) };
            }
            (Self::Half(_), Left::Lying(..)) => unreachable!("a unit reads strips"),
        }
    }
}
