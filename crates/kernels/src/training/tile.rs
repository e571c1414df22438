//! The innermost kernel of products of matrices: a tile of the result stays in registers while the inner dimension goes by.

use super::simd::{PLAIN_FUSED, fma, limit};
use crate::isa::Isa;

/// How products are cut so that they fit registers and the first cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocking {
    /// Most rows of a tile.
    pub(super) rows: usize,
    /// Columns of a tile, which is as wide as a panel of the right side.
    pub(super) columns: usize,
}

/// For 32 registers of 16 lanes.
#[cfg(target_arch = "x86_64")]
const WIDE: Blocking = Blocking { rows: 14, columns: 32 };
/// For 16 registers of 8 lanes, which take half of a tile at a time, and for whatever else there is.
const NARROW: Blocking = Blocking { rows: 12, columns: 16 };
/// Columns of the widest tile.
pub(super) const WIDEST: usize = 32;

impl Blocking {
    /// That of a program's instructions.
    pub(super) fn of(isa: Isa) -> Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => WIDE,
            _ => NARROW,
        }
    }
}

/// One tile of a product.
pub(super) struct Tile<'a> {
    /// Of the result, [`Blocking::rows`] at most.
    pub(super) rows: usize,
    /// Columns of the result, [`Blocking::columns`] at most.
    pub(super) width: usize,
    /// Products of each sum.
    pub(super) steps: usize,
    /// Values from one row of the left side to the next.
    pub(super) left_row: usize,
    /// Values from one step of the left side to the next.
    pub(super) left_step: usize,
    /// Values from one row of the result to the next.
    pub(super) result_row: usize,
    /// Whether the product is added to what is there.
    pub(super) accumulate: bool,
    /// Added, one a column.
    pub(super) bias: &'a [f32; WIDEST],
    /// Limits.
    pub(super) clip: (f32, f32),
}

impl Tile<'_> {
    /// `right` is a panel: [`Blocking::columns`] values for each step.
    ///
    /// # Safety
    /// This machine has the instructions of `isa`, and `result` points at `rows` rows of `width` values, `result_row` apart, that
    /// nobody else touches.
    pub(super) unsafe fn run(&self, isa: Isa, left: &[f32], right: &[f32], result: *mut f32) {
        assert!(left.len() > (self.rows - 1) * self.left_row + self.steps.saturating_sub(1) * self.left_step);
        let columns = Blocking::of(isa).columns;
        assert!(right.len() >= self.steps * columns && self.width <= columns && self.width > 0);
        match isa {
            // SAFETY: the caller has the instructions and the result's rows; the lengths of both sides have been checked above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { self.avx512(left.as_ptr(), right.as_ptr(), result) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { self.avx2(left.as_ptr(), right.as_ptr(), result) },
            // SAFETY: the caller has the result's rows; both sides are read through slices.
            _ => unsafe { self.portable::<PLAIN_FUSED>(left, right, result) },
        }
    }

    /// Four rows at a time, in arrays that the compiler keeps in registers.
    ///
    /// # Safety
    /// As [`Tile::run`]'s.
    unsafe fn portable<const FUSED: bool>(&self, left: &[f32], right: &[f32], result: *mut f32) {
        const COLUMNS: usize = NARROW.columns;
        for row in (0..self.rows).step_by(4) {
            let rows = 4.min(self.rows - row);
            let mut sums = [[0.0_f32; COLUMNS]; 4];
            // Rows beyond the end repeat the last one and are not stored.
            let line = |i: usize| (row + i.min(rows - 1)) * self.left_row;
            let lines = [line(0), line(1), line(2), line(3)];
            for (p, right) in right.chunks_exact(COLUMNS).take(self.steps).enumerate() {
                let right: &[f32; COLUMNS] = right.try_into().expect("a line of a panel");
                for (sums, line) in sums.iter_mut().zip(&lines) {
                    let left = left[line + p * self.left_step];
                    for (sum, value) in sums.iter_mut().zip(right) {
                        *sum = fma::<FUSED>(left, *value, *sum);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate().take(rows) {
                for (j, (sum, bias)) in sums.iter().zip(self.bias).enumerate().take(self.width) {
                    // SAFETY: within the rows and columns that the caller has given.
                    let out = unsafe { &mut *result.add((row + i) * self.result_row + j) };
                    let sum = sum + bias;
                    *out = limit(if self.accumulate { *out + sum } else { sum }, self.clip);
                }
            }
        }
    }

    /// # Safety
    /// AVX2 and FMA; `left`, `right` and `result` as long as [`Tile::run`] asserts.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(&self, left: *const f32, right: *const f32, result: *mut f32) {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: `row` is one of the rows of both sides, and the functions take no more than there are.
            unsafe {
                let (left, result) = (left.add(row * self.left_row), result.add(row * self.result_row));
                row += match self.rows - row {
                    6.. => self.avx2_rows::<6>(left, right, result),
                    5 => self.avx2_rows::<5>(left, right, result),
                    4 => self.avx2_rows::<4>(left, right, result),
                    3 => self.avx2_rows::<3>(left, right, result),
                    2 => self.avx2_rows::<2>(left, right, result),
                    _ => self.avx2_rows::<1>(left, right, result),
                };
            }
        }
    }

    /// Six rows' 12 sums, two values of the right side and one or two of the left fill the 16 registers.
    ///
    /// # Safety
    /// As [`Tile::avx2`]'s, with `ROWS` rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    #[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
    unsafe fn avx2_rows<const ROWS: usize>(&self, left: *const f32, mut right: *const f32, result: *mut f32) -> usize {
        use std::arch::x86_64::{
            _mm256_add_ps, _mm256_cmpgt_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskload_ps,
            _mm256_maskstore_ps, _mm256_max_ps, _mm256_min_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32,
            _mm256_setzero_ps, _mm256_storeu_ps,
        };
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        let mut at: [*const f32; ROWS] = std::array::from_fn(|i| left.wrapping_add(i * self.left_row));
        for _ in 0..self.steps {
            // SAFETY: `right` has `steps` lines of a panel, `left` has `ROWS` rows of `steps` values.
            unsafe {
                let (low, high) = (_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8)));
                for i in 0..ROWS {
                    let value = _mm256_set1_ps(*at[i]);
                    sums[i][0] = _mm256_fmadd_ps(value, low, sums[i][0]);
                    sums[i][1] = _mm256_fmadd_ps(value, high, sums[i][1]);
                    at[i] = at[i].wrapping_add(self.left_step);
                }
                right = right.add(NARROW.columns);
            }
        }
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let (least, most) = (_mm256_set1_ps(self.clip.0), _mm256_set1_ps(self.clip.1));
        for half in 0..2 {
            let left_over = self.width as i32 - 8 * half as i32;
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(left_over), lane);
            // SAFETY: the mask keeps to the `width` values of each of the result's rows; `WIDEST` values of bias are there.
            unsafe {
                let bias = _mm256_loadu_ps(self.bias.as_ptr().add(8 * half));
                // In this order of operands what is not a number stays so.
                let finish = |sum| _mm256_min_ps(most, _mm256_max_ps(least, sum));
                for i in 0..ROWS {
                    let out = result.wrapping_add(i * self.result_row + 8 * half);
                    let mut sum = _mm256_add_ps(sums[i][half], bias);
                    // Masked stores take many times as long as whole ones on some processors.
                    if left_over >= 8 {
                        if self.accumulate {
                            sum = _mm256_add_ps(sum, _mm256_loadu_ps(out));
                        }
                        _mm256_storeu_ps(out, finish(sum));
                    } else {
                        if self.accumulate {
                            sum = _mm256_add_ps(sum, _mm256_maskload_ps(out, mask));
                        }
                        _mm256_maskstore_ps(out, mask, finish(sum));
                    }
                }
            }
        }
        ROWS
    }

    /// # Safety
    /// AVX-512; `left`, `right` and `result` as long as [`Tile::run`] asserts.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512(&self, left: *const f32, right: *const f32, result: *mut f32) {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: `row` is one of the rows of both sides, and the functions take no more than there are.
            unsafe {
                let (left, result) = (left.add(row * self.left_row), result.add(row * self.result_row));
                row += match self.rows - row {
                    14.. => self.avx512_tile(left, right, result),
                    7.. => self.avx512_rows::<7>(left, right, result),
                    4.. => self.avx512_rows::<4>(left, right, result),
                    2.. => self.avx512_rows::<2>(left, right, result),
                    _ => self.avx512_rows::<1>(left, right, result),
                };
            }
        }
    }

    /// A whole tile. Its 28 sums, two values of the right side and two of the left just fit in the registers, which the compiler
    /// does not find out by itself.
    ///
    /// # Safety
    /// As [`Tile::avx512`]'s, with a whole tile's rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    #[rustfmt::skip]
    unsafe fn avx512_tile(&self, left: *const f32, right: *const f32, result: *mut f32) -> usize {
        use std::arch::x86_64::_mm512_setzero_ps;
        let mut sums = [[_mm512_setzero_ps(); 2]; WIDE.rows];
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
        unsafe { self.avx512_store(&sums, result) }
        WIDE.rows
    }

    /// # Safety
    /// As [`Tile::avx512`]'s, with `ROWS` rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_rows<const ROWS: usize>(
        &self,
        left: *const f32,
        mut right: *const f32,
        result: *mut f32,
    ) -> usize {
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
                right = right.add(WIDE.columns);
            }
        }
        // SAFETY: as this function's.
        unsafe { self.avx512_store(&sums, result) }
        ROWS
    }

    /// Finishes sums and stores them.
    ///
    /// # Safety
    /// AVX-512; `result` has `ROWS` rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_store<const ROWS: usize>(&self, sums: &[[std::arch::x86_64::__m512; 2]; ROWS], result: *mut f32) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every height and some widths and depths, with all instructions that this machine has, with values around the tile that must stay.
    #[test]
    fn every_kind_of_instructions_computes_every_tile() {
        let value = |seed: usize| ((seed * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
        for isa in Isa::available().into_iter().map(Isa::for_loops) {
            let Blocking { rows: most, columns } = Blocking::of(isa);
            for rows in 1..=most {
                for (width, steps, accumulate) in [(columns, 37, false), (columns - 1, 5, true), (3, 1, false)] {
                    let left: Vec<f32> = (0..rows * steps).map(value).collect();
                    let right: Vec<f32> = (0..steps * columns).map(|at| value(at + 5)).collect();
                    let mut bias = [0.0; WIDEST];
                    bias.iter_mut().enumerate().for_each(|(at, bias)| *bias = value(at + 9));
                    let (result_row, clip) = (columns + 2, (-1.5, 2.5));
                    let before: Vec<f32> = (0..rows * result_row).map(|at| value(at + 17)).collect();
                    let tile = Tile {
                        rows,
                        width,
                        steps,
                        left_row: steps,
                        left_step: 1,
                        result_row,
                        accumulate,
                        bias: &bias,
                        clip,
                    };
                    let mut result = before.clone();
                    // SAFETY: the result has the rows; `isa` is one that the machine has.
                    unsafe { tile.run(isa, &left, &right, result.as_mut_ptr()) };
                    for (at, (found, before)) in result.iter().zip(&before).enumerate() {
                        let (row, column) = (at / result_row, at % result_row);
                        if column >= width {
                            assert_eq!(found, before, "{isa:?} {rows}x{width}, beside the tile");
                            continue;
                        }
                        let product =
                            |p: usize| f64::from(left[row * steps + p]) * f64::from(right[p * columns + column]);
                        let start = if accumulate { f64::from(*before) } else { 0.0 } + f64::from(bias[column]);
                        let expected = (0..steps).map(product).sum::<f64>() + start;
                        let expected = expected.clamp(f64::from(clip.0), f64::from(clip.1));
                        assert!(
                            (f64::from(*found) - expected).abs() < 1e-5,
                            "{isa:?} {rows}x{width}: {found} for {expected}"
                        );
                    }
                }
            }
        }
    }
}
