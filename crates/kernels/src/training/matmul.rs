//! Products of matrices with a packed right side: `C = A B`, or `C += A B`, with a bias and a clip at the end.
//!
//! The right side is packed in panels of [`PANEL`] columns, so that the innermost loop reads it in one stream; rows of the
//! left side are read where they are.

use std::ops::Range;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::scratch;
use super::simd::{Level, PLAIN_FUSED, fma, level};

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// Most rows of a tile of the result that one call of the innermost kernel computes.
pub(super) const TILE: usize = 14;
/// Most steps along the inner dimension in one go: a panel of as many rows stays in the first cache.
const DEPTH: usize = 320;

/// The right side of a product, `[inner, columns]`, in panels.
#[derive(Debug, Clone, Default)]
pub(super) struct Packed {
    data: Aligned,
    inner: usize,
    columns: usize,
}

impl Packed {
    /// Packs `value(p, j) = source[p * row + j * column]`, each value times `scale[p]` or `scale[j]`.
    pub(super) fn pack(
        &mut self,
        [inner, columns]: [usize; 2],
        source: &[f32],
        [row, column]: [usize; 2],
        scale: Scale,
    ) {
        (self.inner, self.columns) = (inner, columns);
        self.data.resize(columns.div_ceil(PANEL) * inner * PANEL);
        for (panel, out) in self.data.chunks_exact_mut((inner * PANEL).max(1)).enumerate() {
            let first = panel * PANEL;
            let width = PANEL.min(columns - first);
            let mut line = [1.0_f32; PANEL];
            if let Scale::Columns(scale) = scale {
                line[..width].copy_from_slice(&scale[first..first + width]);
            }
            for (p, out) in out.chunks_exact_mut(PANEL).enumerate() {
                let factor = if let Scale::Rows(scale) = scale { scale[p] } else { 1.0 };
                if column == 1 {
                    let source = &source[p * row + first..][..width];
                    for ((out, value), line) in out.iter_mut().zip(source).zip(&line) {
                        *out = value * line * factor;
                    }
                } else {
                    for (j, out) in out[..width].iter_mut().enumerate() {
                        *out = source[p * row + (first + j) * column] * line[j] * factor;
                    }
                }
                out[width..].fill(0.0);
            }
        }
    }
}

impl Packed {
    /// Makes room for a matrix, whose panels the caller fills: `[panel][inner][PANEL]`.
    pub(super) fn room(&mut self, [inner, columns]: [usize; 2]) -> &mut [f32] {
        (self.inner, self.columns) = (inner, columns);
        self.data.resize(columns.div_ceil(PANEL) * inner * PANEL);
        &mut self.data
    }
}

/// Factors that go into a packed matrix.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale<'a> {
    /// None.
    One,
    /// One a row.
    Rows(&'a [f32]),
    /// One a column.
    Columns(&'a [f32]),
}

/// What happens to a result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a> {
    /// Whether it is added to what is there.
    pub(super) accumulate: bool,
    /// Added, one a column.
    pub(super) bias: Option<&'a [f32]>,
    /// Limits.
    pub(super) clip: Option<(f32, f32)>,
}

impl Finish<'_> {
    /// Neither bias nor limits.
    pub(super) fn plain(accumulate: bool) -> Self {
        Self { accumulate, bias: None, clip: None }
    }
}

/// `result (+)= left · right`: `left` has `rows` rows, `left_row` values apart; `result`'s rows are `result_row` apart.
pub(super) fn multiply(
    rows: usize,
    left: &[f32],
    left_row: usize,
    right: &Packed,
    result: &mut [f32],
    result_row: usize,
    finish: Finish<'_>,
) {
    let (inner, columns) = (right.inner, right.columns);
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
        for panel in 0..columns.div_ceil(PANEL) {
            let column = panel * PANEL;
            let width = PANEL.min(columns - column);
            let bias = if last { finish.bias } else { None };
            let mut bias_line = [0.0; PANEL];
            if let Some(bias) = bias {
                bias_line[..width].copy_from_slice(&bias[column..column + width]);
            }
            let clip = if last { finish.clip } else { None }.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            let right = &right.data[(panel * inner + first) * PANEL..][..steps * PANEL];
            for row in (0..rows).step_by(TILE) {
                let tile = Tile {
                    rows: TILE.min(rows - row),
                    width,
                    steps,
                    left_row,
                    left_step: 1,
                    result_row,
                    accumulate: finish.accumulate || part > 0,
                    bias: &bias_line,
                    clip,
                };
                let left = &left[row * left_row + first..];
                let result = &mut result[row * result_row + column..];
                // SAFETY: the result has been found long enough for all rows.
                unsafe { tile.run(left, right, result.as_mut_ptr()) };
            }
        }
    }
}

/// `x` within limits; what is not a number stays so.
#[inline(always)]
pub(super) fn limit(x: f32, (least, most): (f32, f32)) -> f32 {
    if x < least {
        least
    } else if x > most {
        most
    } else {
        x
    }
}

/// A result that tasks fill in disjoint parts.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: `gram` gives each task rows and columns of its own.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: `gram` has checked that the result has `count` rows.
        unsafe { self.0.add(offset) }
    }
}

/// Writes rows and columns of the left side of a [`gram`], row by row.
pub(super) type Fill<'a> = dyn Fn(Range<usize>, Range<usize>, &mut [f32]) + Sync + 'a;

/// The sum over all rows of `left[row]ᵀ right[row]`: a kernel's gradient, `[inner, columns]`.
///
/// `fill(rows, inner, out)` writes those values of the left side row by row. Tasks own parts of the result, so that each sum is
/// taken in one order whatever the number of threads.
pub(super) fn gram(
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
    assert!(result.len() >= (inner - 1) * result_row + columns, "the result is too short");
    let (tiles, panels) = (inner.div_ceil(TILE), columns.div_ceil(PANEL));
    // About eight tasks, in parts as square as may be.
    let (mut by_tile, mut by_panel) = (1, 1);
    while by_tile * by_panel < 8 && (by_tile < tiles || by_panel < panels) {
        let (tile, panel) = (tiles.div_ceil(by_tile) * TILE, panels.div_ceil(by_panel) * PANEL);
        if (tile >= panel && by_tile < tiles) || by_panel >= panels { by_tile *= 2 } else { by_panel *= 2 }
    }
    let (tiles_each, panels_each) = (tiles.div_ceil(by_tile), panels.div_ceil(by_panel));
    let shared = Shared(result.as_mut_ptr());
    (0..by_tile * by_panel).into_par_iter().for_each(|task| {
        let (row, column) = (task / by_panel * tiles_each * TILE, task % by_panel * panels_each * PANEL);
        if row >= inner || column >= columns {
            return;
        }
        let part = row..inner.min(row + tiles_each * TILE);
        let width = columns.min(column + panels_each * PANEL) - column;
        // SAFETY: rows and columns of the result that are this task's alone; its length has been checked.
        unsafe { gram_part(rows, part, fill, (right, right_row), column..column + width, (shared, result_row), false) };
    });
}

/// As [`gram`] for contiguous sides and all of the result in one task: `result (+)= leftᵀ right`.
pub(super) fn gram_whole(
    rows: usize,
    left: &[f32],
    inner: usize,
    right: &[f32],
    columns: usize,
    result: &mut [f32],
    add: bool,
) {
    assert!(left.len() >= rows * inner && right.len() >= rows * columns && result.len() >= inner * columns);
    let fill = |rows: Range<usize>, part: Range<usize>, out: &mut [f32]| {
        for (row, out) in rows.zip(out.chunks_exact_mut(part.len())) {
            out.copy_from_slice(&left[row * inner..][part.clone()]);
        }
    };
    let shared = Shared(result.as_mut_ptr());
    // SAFETY: the whole result is this call's.
    unsafe { gram_part(rows, 0..inner, &fill, (right, columns), 0..columns, (shared, columns), add) };
}

/// # Safety
/// `result` has the rows `part` and the columns `columns`, `result_row` values apart, and nobody else touches them.
unsafe fn gram_part(
    rows: usize,
    part: Range<usize>,
    fill: &Fill<'_>,
    (right, right_row): (&[f32], usize),
    columns: Range<usize>,
    (result, result_row): (Shared, usize),
    add: bool,
) {
    let (column, width) = (columns.start, columns.len());
    let (tiles, panels) = (part.len().div_ceil(TILE), width.div_ceil(PANEL));
    let depth = DEPTH.min(rows).max(1);
    scratch(depth * (part.len() + TILE * tiles + PANEL * panels), |buffer| {
        // The panels first, so that they begin with a line of the cache.
        let (packed, buffer) = buffer.split_at_mut(depth * PANEL * panels);
        let (left, lines) = buffer.split_at_mut(depth * TILE * tiles);
        // No rows: one turn that writes zeros.
        for first in (0..rows.max(1)).step_by(depth) {
            let steps = depth.min(rows - first);
            fill(first..first + steps, part.clone(), &mut lines[..steps * part.len()]);
            for (t, out) in left.chunks_exact_mut(depth * TILE).enumerate() {
                let height = TILE.min(part.len() - t * TILE);
                let lines = lines.chunks_exact(part.len());
                for (out, line) in out.chunks_exact_mut(TILE).zip(lines).take(steps) {
                    out[..height].copy_from_slice(&line[t * TILE..][..height]);
                    out[height..].fill(0.0);
                }
            }
            for (panel, out) in packed.chunks_exact_mut(depth * PANEL).enumerate() {
                let from = column + panel * PANEL;
                let width = PANEL.min(columns.end - from);
                for (p, out) in out.chunks_exact_mut(PANEL).take(steps).enumerate() {
                    out[..width].copy_from_slice(&right[(first + p) * right_row + from..][..width]);
                    out[width..].fill(0.0);
                }
            }
            for panel in 0..panels {
                let from = column + panel * PANEL;
                let right = &packed[panel * depth * PANEL..][..steps * PANEL];
                for t in 0..tiles {
                    let tile = Tile {
                        rows: TILE.min(part.len() - t * TILE),
                        width: PANEL.min(columns.end - from),
                        steps,
                        left_row: 1,
                        left_step: TILE,
                        result_row,
                        accumulate: add || first > 0,
                        bias: &[0.0; PANEL],
                        clip: (f32::NEG_INFINITY, f32::INFINITY),
                    };
                    let out = result.at((part.start + t * TILE) * result_row + from);
                    // SAFETY: the rows and columns of this tile lie in the caller's part of the result.
                    unsafe { tile.run(&left[t * depth * TILE..][..steps * TILE], right, out) };
                }
            }
        }
    });
}

/// One tile of a product.
struct Tile<'a> {
    rows: usize,
    width: usize,
    steps: usize,
    left_row: usize,
    left_step: usize,
    result_row: usize,
    accumulate: bool,
    bias: &'a [f32; PANEL],
    clip: (f32, f32),
}

impl Tile<'_> {
    /// # Safety
    /// `result` points at `rows` rows of `width` values, `result_row` apart, that nobody else touches.
    unsafe fn run(&self, left: &[f32], right: &[f32], result: *mut f32) {
        assert!(left.len() > (self.rows - 1) * self.left_row + self.steps.saturating_sub(1) * self.left_step);
        assert!(right.len() >= self.steps * PANEL && self.width <= PANEL && self.width > 0);
        match level() {
            // SAFETY: as this function's.
            Level::Plain => unsafe { self.portable::<PLAIN_FUSED>(left, right, result) },
            // SAFETY: `level` has asked the processor.
            #[cfg(target_arch = "x86_64")]
            Level::V3 => unsafe { self.v3(left, right, result) },
            // SAFETY: `level` has asked the processor; the lengths have been checked above.
            #[cfg(target_arch = "x86_64")]
            Level::V4 => unsafe { self.v4(left.as_ptr(), right.as_ptr(), result) },
        }
    }

    /// # Safety
    /// As [`Tile::run`]'s, with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn v3(&self, left: &[f32], right: &[f32], result: *mut f32) {
        // SAFETY: as this function's.
        unsafe { self.portable::<true>(left, right, result) }
    }

    /// Four rows and half a panel at a time, in arrays that the compiler keeps in registers.
    ///
    /// # Safety
    /// As [`Tile::run`]'s.
    #[inline(always)]
    unsafe fn portable<const FUSED: bool>(&self, left: &[f32], right: &[f32], result: *mut f32) {
        const HALF: usize = PANEL / 2;
        for row in (0..self.rows).step_by(4) {
            for half in (0..self.width).step_by(HALF) {
                let rows = 4.min(self.rows - row);
                let width = HALF.min(self.width - half);
                let mut sums = [[0.0_f32; HALF]; 4];
                // Rows beyond the end repeat the last one and are not stored.
                let line = |i: usize| (row + i.min(rows - 1)) * self.left_row;
                let lines = [line(0), line(1), line(2), line(3)];
                for (p, right) in right.chunks_exact(PANEL).take(self.steps).enumerate() {
                    let right: &[f32; HALF] = right[half..half + HALF].try_into().expect("half a panel");
                    for (sums, line) in sums.iter_mut().zip(&lines) {
                        let left = left[line + p * self.left_step];
                        for (sum, value) in sums.iter_mut().zip(right) {
                            *sum = fma::<FUSED>(left, *value, *sum);
                        }
                    }
                }
                for (i, sums) in sums.iter().enumerate().take(rows) {
                    for (j, (sum, bias)) in sums.iter().zip(&self.bias[half..]).enumerate().take(width) {
                        // SAFETY: within the rows and columns that the caller has given.
                        let out = unsafe { &mut *result.add((row + i) * self.result_row + half + j) };
                        let sum = sum + bias;
                        *out = limit(if self.accumulate { *out + sum } else { sum }, self.clip);
                    }
                }
            }
        }
    }

    /// # Safety
    /// AVX-512; `left`, `right` and `result` as long as [`Tile::run`] asserts.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn v4(&self, left: *const f32, right: *const f32, result: *mut f32) {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: `row` is one of the rows of both sides, and the functions take no more than there are.
            unsafe {
                let (left, result) = (left.add(row * self.left_row), result.add(row * self.result_row));
                row += match self.rows - row {
                    TILE.. => self.v4_tile(left, right, result),
                    7.. => self.v4_rows::<7>(left, right, result),
                    4.. => self.v4_rows::<4>(left, right, result),
                    2.. => self.v4_rows::<2>(left, right, result),
                    _ => self.v4_rows::<1>(left, right, result),
                };
            }
        }
    }

    /// A whole tile. Its 28 sums, two values of the right side and two of the left just fit in the registers, which the compiler
    /// does not find out by itself.
    ///
    /// # Safety
    /// As [`Tile::v4`]'s, with a whole tile's rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    #[rustfmt::skip]
    unsafe fn v4_tile(&self, left: *const f32, right: *const f32, result: *mut f32) -> usize {
        use std::arch::x86_64::_mm512_setzero_ps;
        let mut sums = [[_mm512_setzero_ps(); 2]; TILE];
        let row = self.left_row * size_of::<f32>();
        if self.steps > 0 {
        // SAFETY: reads `steps` lines of a panel from `right` and `steps` values of 14 rows from `left`; writes registers only.
        unsafe {
            std::arch::asm!(
                "vpxord zmm0, zmm0, zmm0",
                "vpxord zmm1, zmm1, zmm1",
                "vpxord zmm2, zmm2, zmm2",
                "vpxord zmm3, zmm3, zmm3",
                "vpxord zmm4, zmm4, zmm4",
                "vpxord zmm5, zmm5, zmm5",
                "vpxord zmm6, zmm6, zmm6",
                "vpxord zmm7, zmm7, zmm7",
                "vpxord zmm8, zmm8, zmm8",
                "vpxord zmm9, zmm9, zmm9",
                "vpxord zmm10, zmm10, zmm10",
                "vpxord zmm11, zmm11, zmm11",
                "vpxord zmm12, zmm12, zmm12",
                "vpxord zmm13, zmm13, zmm13",
                "vpxord zmm14, zmm14, zmm14",
                "vpxord zmm15, zmm15, zmm15",
                "vpxord zmm16, zmm16, zmm16",
                "vpxord zmm17, zmm17, zmm17",
                "vpxord zmm18, zmm18, zmm18",
                "vpxord zmm19, zmm19, zmm19",
                "vpxord zmm20, zmm20, zmm20",
                "vpxord zmm21, zmm21, zmm21",
                "vpxord zmm22, zmm22, zmm22",
                "vpxord zmm23, zmm23, zmm23",
                "vpxord zmm24, zmm24, zmm24",
                "vpxord zmm25, zmm25, zmm25",
                "vpxord zmm26, zmm26, zmm26",
                "vpxord zmm27, zmm27, zmm27",
                "2:",
                "vmovups zmm28, zmmword ptr [{b}]",
                "vmovups zmm29, zmmword ptr [{b} + 64]",
                "vbroadcastss zmm30, dword ptr [{a}]",
                "vfmadd231ps zmm0, zmm28, zmm30",
                "vfmadd231ps zmm1, zmm29, zmm30",
                "vbroadcastss zmm31, dword ptr [{a} + {r}]",
                "vfmadd231ps zmm2, zmm28, zmm31",
                "vfmadd231ps zmm3, zmm29, zmm31",
                "vbroadcastss zmm30, dword ptr [{a} + 2 * {r}]",
                "vfmadd231ps zmm4, zmm28, zmm30",
                "vfmadd231ps zmm5, zmm29, zmm30",
                "vbroadcastss zmm31, dword ptr [{a} + {r3}]",
                "vfmadd231ps zmm6, zmm28, zmm31",
                "vfmadd231ps zmm7, zmm29, zmm31",
                "vbroadcastss zmm30, dword ptr [{a} + 4 * {r}]",
                "vfmadd231ps zmm8, zmm28, zmm30",
                "vfmadd231ps zmm9, zmm29, zmm30",
                "vbroadcastss zmm31, dword ptr [{a} + {r5}]",
                "vfmadd231ps zmm10, zmm28, zmm31",
                "vfmadd231ps zmm11, zmm29, zmm31",
                "vbroadcastss zmm30, dword ptr [{a} + 2 * {r3}]",
                "vfmadd231ps zmm12, zmm28, zmm30",
                "vfmadd231ps zmm13, zmm29, zmm30",
                "vbroadcastss zmm31, dword ptr [{h}]",
                "vfmadd231ps zmm14, zmm28, zmm31",
                "vfmadd231ps zmm15, zmm29, zmm31",
                "vbroadcastss zmm30, dword ptr [{h} + {r}]",
                "vfmadd231ps zmm16, zmm28, zmm30",
                "vfmadd231ps zmm17, zmm29, zmm30",
                "vbroadcastss zmm31, dword ptr [{h} + 2 * {r}]",
                "vfmadd231ps zmm18, zmm28, zmm31",
                "vfmadd231ps zmm19, zmm29, zmm31",
                "vbroadcastss zmm30, dword ptr [{h} + {r3}]",
                "vfmadd231ps zmm20, zmm28, zmm30",
                "vfmadd231ps zmm21, zmm29, zmm30",
                "vbroadcastss zmm31, dword ptr [{h} + 4 * {r}]",
                "vfmadd231ps zmm22, zmm28, zmm31",
                "vfmadd231ps zmm23, zmm29, zmm31",
                "vbroadcastss zmm30, dword ptr [{h} + {r5}]",
                "vfmadd231ps zmm24, zmm28, zmm30",
                "vfmadd231ps zmm25, zmm29, zmm30",
                "vbroadcastss zmm31, dword ptr [{h} + 2 * {r3}]",
                "vfmadd231ps zmm26, zmm28, zmm31",
                "vfmadd231ps zmm27, zmm29, zmm31",
                "add {a}, {step}",
                "add {h}, {step}",
                "add {b}, 128",
                "dec {count}",
                "jnz 2b",
                a = inout(reg) left => _,
                h = inout(reg) left.byte_add(7 * row) => _,
                b = inout(reg) right => _,
                count = inout(reg) self.steps => _,
                r = in(reg) row,
                r3 = in(reg) 3 * row,
                r5 = in(reg) 5 * row,
                step = in(reg) self.left_step * size_of::<f32>(),
                out("zmm0") sums[0][0], out("zmm1") sums[0][1],
                out("zmm2") sums[1][0], out("zmm3") sums[1][1],
                out("zmm4") sums[2][0], out("zmm5") sums[2][1],
                out("zmm6") sums[3][0], out("zmm7") sums[3][1],
                out("zmm8") sums[4][0], out("zmm9") sums[4][1],
                out("zmm10") sums[5][0], out("zmm11") sums[5][1],
                out("zmm12") sums[6][0], out("zmm13") sums[6][1],
                out("zmm14") sums[7][0], out("zmm15") sums[7][1],
                out("zmm16") sums[8][0], out("zmm17") sums[8][1],
                out("zmm18") sums[9][0], out("zmm19") sums[9][1],
                out("zmm20") sums[10][0], out("zmm21") sums[10][1],
                out("zmm22") sums[11][0], out("zmm23") sums[11][1],
                out("zmm24") sums[12][0], out("zmm25") sums[12][1],
                out("zmm26") sums[13][0], out("zmm27") sums[13][1],
                out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
                options(nostack, readonly),
            );
        }
        }
        // SAFETY: as this function's.
        unsafe { self.v4_store(&sums, result) }
        TILE
    }

    /// # Safety
    /// As [`Tile::v4`]'s, with `ROWS` rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn v4_rows<const ROWS: usize>(&self, left: *const f32, mut right: *const f32, result: *mut f32) -> usize {
        use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps};
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for p in 0..self.steps {
            // SAFETY: `right` has `steps` lines of a panel, `left` has `ROWS` rows of `steps` values.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*left.add(i * self.left_row + p * self.left_step));
                    sums[0] = _mm512_fmadd_ps(value, low, sums[0]);
                    sums[1] = _mm512_fmadd_ps(value, high, sums[1]);
                }
                right = right.add(PANEL);
            }
        }
        // SAFETY: as this function's.
        unsafe { self.v4_store(&sums, result) }
        ROWS
    }

    /// Finishes sums and stores them.
    ///
    /// # Safety
    /// AVX-512; `result` has `ROWS` rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn v4_store<const ROWS: usize>(&self, sums: &[[std::arch::x86_64::__m512; 2]; ROWS], result: *mut f32) {
        use std::arch::x86_64::{
            _mm512_add_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps,
            _mm512_set1_ps,
        };
        let mask = (1_u64 << self.width) - 1;
        let masks = [mask as u16, (mask >> 16) as u16];
        let (least, most) = (_mm512_set1_ps(self.clip.0), _mm512_set1_ps(self.clip.1));
        for half in 0..2 {
            // SAFETY: a panel has two halves of 16; the mask keeps to the `width` values of each row of the result.
            unsafe {
                let bias = _mm512_loadu_ps(self.bias.as_ptr().add(16 * half));
                for (i, sums) in sums.iter().enumerate() {
                    let out = result.wrapping_add(i * self.result_row + 16 * half);
                    let mut sum = _mm512_add_ps(sums[half], bias);
                    if self.accumulate {
                        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(masks[half], out));
                    }
                    // In this order of operands what is not a number stays so.
                    let sum = _mm512_min_ps(most, _mm512_max_ps(least, sum));
                    _mm512_mask_storeu_ps(out, masks[half], sum);
                }
            }
        }
    }
}
