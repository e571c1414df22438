//! Whole products: `C = A B`, or `C += A B`, with a bias and limits at the end, and `C = Aᵀ B`.

use std::ops::Range;

use rayon::prelude::*;

use super::micro::MicroKernel;
use super::pack::Packed;
use super::strided::{Strided, Tile, WIDEST};
use crate::isa::Present;
use crate::memory::scratch;

/// Most steps along the inner dimension in one go: a panel of as many rows stays in the first cache.
const DEPTH: usize = 320;

/// What happens to a result at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// Whether it is added to what is there.
    pub(crate) accumulate: bool,
    /// Added, one per column.
    pub(crate) bias: Option<&'a [f32]>,
    /// Limits.
    pub(crate) clip: Option<(f32, f32)>,
}

impl Epilogue<'_> {
    /// Neither bias nor limits.
    pub(crate) fn plain(accumulate: bool) -> Self {
        Self { accumulate, bias: None, clip: None }
    }
}

/// `result (+)= left · right`: `left` has `rows` rows, `left_row` values apart; `result`'s rows are `result_row` apart.
pub(crate) fn multiply(
    rows: usize,
    left: &[f32],
    left_row: usize,
    right: &Packed<Strided>,
    result: &mut [f32],
    result_row: usize,
    epilogue: Epilogue<'_>,
) {
    let (kernel, inner, columns) = (right.kernel(), right.depth(), right.columns());
    let (high, wide) = (kernel.rows, kernel.packing.columns());
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(left.len() >= (rows - 1) * left_row + inner, "the left side is too short");
    assert!(result.len() >= (rows - 1) * result_row + columns, "the result is too short");
    let parts = inner.div_ceil(DEPTH).max(1);
    let depth = inner.div_ceil(parts).max(1);
    for part in 0..parts {
        let first = part * depth;
        let steps = depth.min(inner - first);
        let last = part + 1 == parts;
        for panel in right.panels() {
            let (column, width) = (panel.first, panel.columns);
            let bias = if last { epilogue.bias } else { None };
            let mut bias_line = [0.0; WIDEST];
            if let Some(bias) = bias {
                bias_line[..width].copy_from_slice(&bias[column..column + width]);
            }
            let clip = if last { epilogue.clip } else { None }.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            let right = &panel.values[first * wide..][..steps * wide];
            for row in (0..rows).step_by(high) {
                let tile = Tile {
                    rows: high.min(rows - row),
                    width,
                    steps,
                    left: left[row * left_row + first..].as_ptr(),
                    left_row,
                    left_step: 1,
                    right: right.as_ptr(),
                    result: result[row * result_row + column..].as_mut_ptr(),
                    result_row,
                    accumulate: epilogue.accumulate || part > 0,
                    bias: &bias_line,
                    clip,
                };
                // SAFETY: left side and result have been found long enough for all rows and columns (asserted above), the panel has a
                // line for each of the steps, and the result is borrowed for this call alone.
                unsafe { kernel.run(&tile) };
            }
        }
    }
}

/// The address of a result that tasks fill in disjoint parts.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: a `Shared` is an address; `matmul_at_b` gives each task rows and columns of the result of its own.
unsafe impl Send for Shared {}
// SAFETY: sharing it copies the address.
unsafe impl Sync for Shared {}

impl Shared {
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// Writes rows and columns of the left side of a [`matmul_at_b`], row by row.
pub(crate) type Fill<'a> = dyn Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync + 'a;

/// The sum over all rows of `left[row]ᵀ right[row]`: a kernel's gradient, `[inner, columns]`.
///
/// `fill(rows, inner, out)` writes those values of the left side row by row. Tasks own parts of the result, so that each sum is
/// taken in one order whatever the number of threads.
pub(crate) fn matmul_at_b(
    isa: Present,
    rows: usize,
    inner: usize,
    fill: &Fill<'_>,
    (right, right_row): (&[f32], usize),
    columns: usize,
    (result, result_row): (&mut [f32], usize),
) {
    if inner == 0 || columns == 0 {
        return;
    }
    assert!(rows == 0 || right.len() >= (rows - 1) * right_row + columns, "the right side is too short");
    let kernel = MicroKernel::of(isa);
    let (high, wide) = (kernel.rows, kernel.packing.columns());
    assert!(result.len() >= (inner - 1) * result_row + columns, "the result is too short");
    let (tiles, panels) = (inner.div_ceil(high), columns.div_ceil(wide));
    // About eight tasks, in parts as square as may be.
    let (mut by_tile, mut by_panel) = (1, 1);
    while by_tile * by_panel < 8 && (by_tile < tiles || by_panel < panels) {
        let (tile, panel) = (tiles.div_ceil(by_tile) * high, panels.div_ceil(by_panel) * wide);
        if (tile >= panel && by_tile < tiles) || by_panel >= panels { by_tile *= 2 } else { by_panel *= 2 }
    }
    let (tiles_each, panels_each) = (tiles.div_ceil(by_tile), panels.div_ceil(by_panel));
    let shared = Shared(result.as_mut_ptr());
    (0..by_tile * by_panel).into_par_iter().for_each(|task| {
        let (row, column) = (task / by_panel * tiles_each * high, task % by_panel * panels_each * wide);
        if row >= inner || column >= columns {
            return;
        }
        let part = row..inner.min(row + tiles_each * high);
        let width = columns.min(column + panels_each * wide) - column;
        // SAFETY: rows and columns of the result that are this task's alone; its length has been checked.
        unsafe {
            part_at_b(
                kernel,
                rows,
                [part, column..column + width],
                fill,
                (right, right_row),
                (shared, result_row),
                false,
            )
        };
    });
}

/// Does what [`matmul_at_b`] does, for contiguous sides and in one task: `result (+)= leftᵀ right`.
pub(crate) fn matmul_at_b_whole(
    isa: Present,
    rows: usize,
    left: (&[f32], usize),
    (right, columns): (&[f32], usize),
    result: &mut [f32],
    add: bool,
) {
    matmul_at_b_rows(isa, rows, left, (right, columns), columns, result, add);
}

/// The same for a right side whose rows are `right_row` values apart.
pub(crate) fn matmul_at_b_rows(
    isa: Present,
    rows: usize,
    (left, inner): (&[f32], usize),
    (right, right_row): (&[f32], usize),
    columns: usize,
    result: &mut [f32],
    add: bool,
) {
    assert!(left.len() >= rows * inner && result.len() >= inner * columns);
    assert!(rows == 0 || right.len() >= (rows - 1) * right_row + columns, "the right side is too short");
    let fill = |rows: Range<usize>, part: Range<usize>, out: &mut [f32]| {
        for (row, out) in rows.zip(out.chunks_exact_mut(part.len())) {
            out.copy_from_slice(&left[row * inner..][part.clone()]);
        }
    };
    let shared = Shared(result.as_mut_ptr());
    // SAFETY: the whole result is borrowed for this call alone, and its length has been checked.
    unsafe {
        part_at_b(MicroKernel::of(isa), rows, [0..inner, 0..columns], &fill, (right, right_row), (shared, columns), add)
    };
}

/// Copies a line of a tile, and fills up with zeros. Whole lines have few lengths, for which no function is called.
#[inline(always)]
fn copy_line(out: &mut [f32], line: &[f32]) {
    fn whole<const N: usize>(out: &mut [f32], line: &[f32]) -> bool {
        match (out.as_mut_array::<N>(), line.as_array::<N>()) {
            (Some(out), Some(line)) => {
                *out = *line;
                true
            }
            _ => false,
        }
    }
    if whole::<12>(out, line) || whole::<16>(out, line) || whole::<14>(out, line) || whole::<32>(out, line) {
        return;
    }
    out[..line.len()].copy_from_slice(line);
    out[line.len()..].fill(0.0);
}

/// # Safety
/// `result` has the rows `part` and the columns `columns`, `result_row` values apart, and nobody else touches them.
unsafe fn part_at_b(
    kernel: &MicroKernel<Strided>,
    rows: usize,
    [part, columns]: [Range<usize>; 2],
    fill: &Fill<'_>,
    (right, right_row): (&[f32], usize),
    (result, result_row): (Shared, usize),
    add: bool,
) {
    let (column, width) = (columns.start, columns.len());
    let (high, wide) = (kernel.rows, kernel.packing.columns());
    let (tiles, panels) = (part.len().div_ceil(high), width.div_ceil(wide));
    let depth = DEPTH.min(rows).max(1);
    scratch(depth * (part.len() + high * tiles + wide * panels), |buffer| {
        // The panels first, so that they begin with a line of the cache.
        let (packed, buffer) = buffer.split_at_mut(depth * wide * panels);
        let (left, lines) = buffer.split_at_mut(depth * high * tiles);
        // No rows: one turn that writes zeros.
        for first in (0..rows.max(1)).step_by(depth) {
            let steps = depth.min(rows - first);
            fill(first..first + steps, part.clone(), &mut lines[..steps * part.len()]);
            for (t, out) in left.chunks_exact_mut(depth * high).enumerate() {
                let height = high.min(part.len() - t * high);
                let lines = lines.chunks_exact(part.len());
                for (out, line) in out.chunks_exact_mut(high).zip(lines).take(steps) {
                    copy_line(out, &line[t * high..][..height]);
                }
            }
            for (panel, out) in packed.chunks_exact_mut(depth * wide).enumerate() {
                let from = column + panel * wide;
                let width = wide.min(columns.end - from);
                for (p, out) in out.chunks_exact_mut(wide).take(steps).enumerate() {
                    copy_line(out, &right[(first + p) * right_row + from..][..width]);
                }
            }
            for panel in 0..panels {
                let from = column + panel * wide;
                let right = &packed[panel * depth * wide..][..steps * wide];
                for t in 0..tiles {
                    let tile = Tile {
                        rows: high.min(part.len() - t * high),
                        width: wide.min(columns.end - from),
                        steps,
                        left: left[t * depth * high..][..steps * high].as_ptr(),
                        left_row: 1,
                        left_step: high,
                        right: right.as_ptr(),
                        result: result.at((part.start + t * high) * result_row + from),
                        result_row,
                        accumulate: add || first > 0,
                        bias: &[0.0; WIDEST],
                        clip: (f32::NEG_INFINITY, f32::INFINITY),
                    };
                    // SAFETY: both sides have been cut to lines of as many rows and columns as a tile has, one for each step; the rows
                    // and columns of this tile lie in the part of the result that nobody else touches.
                    unsafe { kernel.run(&tile) };
                }
            }
        }
    });
}
