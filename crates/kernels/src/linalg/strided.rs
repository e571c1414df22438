//! Tiles whose rows are equally far apart, as are the steps in them: those of matrices and of packed copies.

use super::micro::{Addressing, MicroKernel, Packing};
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// Rows of the left side, and steps in them, are equally far apart.
#[derive(Debug)]
pub(crate) enum Strided {}

/// Columns of the widest panel.
pub(super) const WIDEST: usize = 48;

/// One tile of a product.
///
/// The left side, the panel and the result are valid for `rows`, `steps` and `width`, at the given distances.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// Rows of the result, at most the kernel's.
    pub(super) rows: usize,
    /// Columns of the result, at most the panel's.
    pub(super) width: usize,
    /// Products in each sum.
    pub(super) steps: usize,
    pub(super) left: *const f32,
    /// Values from one row of the left side to the next.
    pub(super) left_row: usize,
    /// Values from one step of the left side to the next.
    pub(super) left_step: usize,
    /// A panel: as many slots per step as the kernel's packing has columns.
    pub(super) right: *const f32,
    pub(super) result: *mut f32,
    /// Values from one row of the result to the next.
    pub(super) result_row: usize,
    /// Whether the product is added to the values that the result has.
    pub(super) accumulate: bool,
    /// Summands, one per column.
    pub(super) bias: &'a [f32; WIDEST],
    /// Limits; NaN stays NaN.
    pub(super) clip: (f32, f32),
}

impl Addressing for Strided {
    type Tile<'a> = Tile<'a>;

    const KERNELS: &'static [MicroKernel<Self>] = &[
        // 24 sums, three vectors of the right side and up to five values of the left fit in the registers. There are 11 loads for 24 products.
        #[cfg(target_arch = "x86_64")]
        MicroKernel {
            name: "strided 8x48, AVX-512",
            isa: Isa::Avx512,
            rows: 8,
            packing: Packing { lanes: 16, vectors: 3, narrower: false },
            share: 0.8,
            run: avx512,
        },
        // Six rows at a time: 12 sums, two vectors of the right side and one or two values of the left fill 16 registers.
        #[cfg(target_arch = "x86_64")]
        MicroKernel {
            name: "strided 12x16, AVX2",
            isa: Isa::Avx2,
            rows: 12,
            packing: Packing { lanes: 8, vectors: 2, narrower: false },
            share: 0.8,
            run: avx2,
        },
        // Four rows at a time.
        MicroKernel {
            name: "strided 12x16, portable",
            isa: Isa::Portable,
            rows: 12,
            packing: Packing { lanes: 4, vectors: 4, narrower: false },
            share: 0.4,
            run: portable,
        },
    ];
}

impl Tile<'_> {
    /// The tile without its first rows.
    ///
    /// # Safety
    /// The tile has more rows than that.
    #[inline(always)]
    unsafe fn after(&self, rows: usize) -> Self {
        // SAFETY: both addresses are those of a row that the tile has.
        let (left, result) = unsafe { (self.left.add(rows * self.left_row), self.result.add(rows * self.result_row)) };
        Self { rows: self.rows - rows, left, result, ..*self }
    }
}

/// Computes a tile some rows at a time, each time with the first function whose number does not exceed the remaining rows.
macro_rules! by_rows {
    ($tile:expr; $($least:literal => $function:expr,)*) => {{
        let mut done = 0;
        while done < $tile.rows {
            // SAFETY: rows remain, and each function requires valid addresses for no more rows than remain.
            done += unsafe {
                let tile = $tile.after(done);
                match tile.rows {
                    $($least.. => { $function(&tile); $least })*
                    0 => unreachable!("the loop ends when no rows remain"),
                }
            };
        }
    }};
}

#[cfg(target_arch = "x86_64")]
unsafe fn avx512(tile: &Tile<'_>) {
    #[target_feature(enable = "avx512f")]
    unsafe fn all(tile: &Tile<'_>) {
        if tile.rows == 8 && tile.width > 32 {
            // A copy of the tile would be read right after it is written, with wider loads than the stores. Such a load waits until all stores
            // before it have reached the cache, those of the last tile's sums included.
            // SAFETY: this function has the instructions; the tile has the rows and columns, and its addresses are valid.
            return unsafe { avx512_whole(tile) };
        }
        // Vectors without a column of the result are not computed.
        match tile.width {
            33.. => by_rows! { tile;
                4 => some_rows::<Avx512, 4, 3, 3>,
                2 => some_rows::<Avx512, 2, 3, 3>,
                1 => some_rows::<Avx512, 1, 3, 3>,
            },
            17.. => by_rows! { tile;
                8 => some_rows::<Avx512, 8, 2, 3>,
                4 => some_rows::<Avx512, 4, 2, 3>,
                2 => some_rows::<Avx512, 2, 2, 3>,
                1 => some_rows::<Avx512, 1, 2, 3>,
            },
            _ => by_rows! { tile;
                8 => some_rows::<Avx512, 8, 1, 3>,
                4 => some_rows::<Avx512, 4, 1, 3>,
                1 => some_rows::<Avx512, 1, 1, 3>,
            },
        }
    }
    // SAFETY: this row of the table is run where there is AVX-512; the tile's addresses are valid.
    unsafe { all(tile) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn avx2(tile: &Tile<'_>) {
    #[target_feature(enable = "avx2,fma")]
    unsafe fn all(tile: &Tile<'_>) {
        by_rows! { tile;
            6 => some_rows::<Avx2, 6, 2, 2>,
            5 => some_rows::<Avx2, 5, 2, 2>,
            4 => some_rows::<Avx2, 4, 2, 2>,
            3 => some_rows::<Avx2, 3, 2, 2>,
            2 => some_rows::<Avx2, 2, 2, 2>,
            1 => some_rows::<Avx2, 1, 2, 2>,
        }
    }
    // SAFETY: this row of the table is run where there are AVX2 and FMA; the tile's addresses are valid.
    unsafe { all(tile) }
}

unsafe fn portable(tile: &Tile<'_>) {
    by_rows! { tile;
        4 => some_rows::<Portable, 4, 4, 4>,
        3 => some_rows::<Portable, 3, 4, 4>,
        2 => some_rows::<Portable, 2, 4, 4>,
        1 => some_rows::<Portable, 1, 4, 4>,
    }
}

/// The first `ROWS` rows of a tile, `W` vectors wide, with a panel of `PANEL` vectors.
///
/// # Safety
/// The instructions of `S` are there; the tile has as many rows, its panel as many vectors, and its addresses are valid.
#[inline(always)]
unsafe fn some_rows<S: Simd, const ROWS: usize, const W: usize, const PANEL: usize>(tile: &Tile<'_>) {
    // SAFETY: the left side has `ROWS` rows of `steps` values, the right side `PANEL` vectors for each step, which are `W` at least.
    unsafe {
        let mut sums = [[S::splat(0.0); W]; ROWS];
        let mut left: [*const f32; ROWS] = std::array::from_fn(|i| tile.left.wrapping_add(i * tile.left_row));
        let mut right = tile.right;
        for _ in 0..tile.steps {
            let line: [S::V; W] = std::array::from_fn(|w| S::load(right.add(w * S::LANES)));
            for i in 0..ROWS {
                let value = S::splat(*left[i]);
                for w in 0..W {
                    sums[i][w] = S::fma(value, line[w], sums[i][w]);
                }
                left[i] = left[i].wrapping_add(tile.left_step);
            }
            right = right.add(PANEL * S::LANES);
        }
        store::<S, ROWS, W>(tile, &sums);
    }
}

/// Adds the bias and, if the tile accumulates, the result's old values to sums, applies the limits, and stores them.
///
/// # Safety
/// The instructions of `S` are there; the tile has `ROWS` rows, and its addresses are valid.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn store<S: Simd, const ROWS: usize, const W: usize>(tile: &Tile<'_>, sums: &[[S::V; W]; ROWS]) {
    // SAFETY: a line of bias has room for every panel's columns; loads and stores are cut to the `width` values that each of the
    // result's rows has.
    unsafe {
        let (least, most) = (S::splat(tile.clip.0), S::splat(tile.clip.1));
        for w in 0..W {
            let Some(width) = tile.width.checked_sub(w * S::LANES).filter(|&width| width > 0) else { break };
            let bias = S::load(tile.bias.as_ptr().add(w * S::LANES));
            for i in 0..ROWS {
                let to = tile.result.wrapping_add(i * tile.result_row + w * S::LANES);
                let mut sum = S::add(sums[i][w], bias);
                // `load_up_to` and `store_up_to` use masks only where a vector is not whole: on some processors, a store under a mask takes
                // many times as long.
                if tile.accumulate {
                    sum = S::add(sum, S::load_up_to(to, width));
                }
                // With this order of operands, NaN stays NaN.
                S::store_up_to(to, S::min(most, S::max(least, sum)), width);
            }
        }
    }
}

/// Computes a whole tile. It is written in assembly because the compiler does not keep all sums in registers.
///
/// # Safety
/// AVX-512 is there; the tile has 8 rows and a column in each of three vectors, and its addresses are valid.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[rustfmt::skip]
unsafe fn avx512_whole(tile: &Tile<'_>) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch, _mm512_setzero_ps};
    let mut sums = [[_mm512_setzero_ps(); 3]; 8];
    let row = tile.left_row * size_of::<f32>();
    for i in 0..8 {
        for w in 0..3 {
            // The lines of the result are fetched while the products are computed.
            _mm_prefetch::<_MM_HINT_ET0>(tile.result.wrapping_add(i * tile.result_row + w * 16).cast());
        }
    }
    if tile.steps > 0 {
        // SAFETY: the code reads `steps` lines of the panel and `steps` values of 8 rows of the left side, which the tile has, and writes only
        // registers that are declared.
        unsafe {
            std::arch::asm!(
                "2:",
                "vmovups zmm24, zmmword ptr [{b}]",
                "vmovups zmm25, zmmword ptr [{b} + 64]",
                "vmovups zmm26, zmmword ptr [{b} + 128]",
                "vbroadcastss zmm27, dword ptr [{a}]",
                "vfmadd231ps zmm0, zmm24, zmm27",
                "vfmadd231ps zmm1, zmm25, zmm27",
                "vfmadd231ps zmm2, zmm26, zmm27",
                "vbroadcastss zmm28, dword ptr [{a} + {r}]",
                "vfmadd231ps zmm3, zmm24, zmm28",
                "vfmadd231ps zmm4, zmm25, zmm28",
                "vfmadd231ps zmm5, zmm26, zmm28",
                "vbroadcastss zmm29, dword ptr [{a} + 2 * {r}]",
                "vfmadd231ps zmm6, zmm24, zmm29",
                "vfmadd231ps zmm7, zmm25, zmm29",
                "vfmadd231ps zmm8, zmm26, zmm29",
                "vbroadcastss zmm30, dword ptr [{a} + {r3}]",
                "vfmadd231ps zmm9, zmm24, zmm30",
                "vfmadd231ps zmm10, zmm25, zmm30",
                "vfmadd231ps zmm11, zmm26, zmm30",
                "vbroadcastss zmm31, dword ptr [{h}]",
                "vfmadd231ps zmm12, zmm24, zmm31",
                "vfmadd231ps zmm13, zmm25, zmm31",
                "vfmadd231ps zmm14, zmm26, zmm31",
                "vbroadcastss zmm27, dword ptr [{h} + {r}]",
                "vfmadd231ps zmm15, zmm24, zmm27",
                "vfmadd231ps zmm16, zmm25, zmm27",
                "vfmadd231ps zmm17, zmm26, zmm27",
                "vbroadcastss zmm28, dword ptr [{h} + 2 * {r}]",
                "vfmadd231ps zmm18, zmm24, zmm28",
                "vfmadd231ps zmm19, zmm25, zmm28",
                "vfmadd231ps zmm20, zmm26, zmm28",
                "vbroadcastss zmm29, dword ptr [{h} + {r3}]",
                "vfmadd231ps zmm21, zmm24, zmm29",
                "vfmadd231ps zmm22, zmm25, zmm29",
                "vfmadd231ps zmm23, zmm26, zmm29",
                "add {a}, {step}",
                "add {h}, {step}",
                "add {b}, 192",
                "dec {count}",
                "jnz 2b",
                a = inout(reg) tile.left => _,
                h = inout(reg) tile.left.wrapping_byte_add(4 * row) => _,
                b = inout(reg) tile.right => _,
                count = inout(reg) tile.steps => _,
                r = in(reg) row,
                r3 = in(reg) 3 * row,
                step = in(reg) tile.left_step * size_of::<f32>(),
                inout("zmm0") sums[0][0], inout("zmm1") sums[0][1], inout("zmm2") sums[0][2],
                inout("zmm3") sums[1][0], inout("zmm4") sums[1][1], inout("zmm5") sums[1][2],
                inout("zmm6") sums[2][0], inout("zmm7") sums[2][1], inout("zmm8") sums[2][2],
                inout("zmm9") sums[3][0], inout("zmm10") sums[3][1], inout("zmm11") sums[3][2],
                inout("zmm12") sums[4][0], inout("zmm13") sums[4][1], inout("zmm14") sums[4][2],
                inout("zmm15") sums[5][0], inout("zmm16") sums[5][1], inout("zmm17") sums[5][2],
                inout("zmm18") sums[6][0], inout("zmm19") sums[6][1], inout("zmm20") sums[6][2],
                inout("zmm21") sums[7][0], inout("zmm22") sums[7][1], inout("zmm23") sums[7][2],
                out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
                out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
                options(nostack, readonly),
            );
        }
    }
    // SAFETY: this function has the instructions; the tile has the rows, and its addresses are valid.
    unsafe { store::<Avx512, 8, 3>(tile, &sums) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests every height and some widths and depths, on all instruction sets of this machine. Values beside the tile must not change.
    #[test]
    fn every_kernel_computes_every_tile() {
        let value = |seed: usize| ((seed * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
        for kernel in Strided::KERNELS.iter().filter(|kernel| kernel.isa.present().is_some()) {
            let columns = kernel.packing.columns();
            for rows in 1..=kernel.rows {
                for (width, steps, accumulate) in [
                    (columns, 37, false),
                    (columns - 1, 5, true),
                    (columns / 3 * 2, 7, true),
                    (3, 1, false),
                    (1, 0, true),
                ] {
                    let left: Vec<f32> = (0..rows * steps).map(value).collect();
                    let right: Vec<f32> = (0..steps * columns).map(|at| value(at + 5)).collect();
                    let mut bias = [0.0; WIDEST];
                    bias.iter_mut().enumerate().for_each(|(at, bias)| *bias = value(at + 9));
                    let (result_row, clip) = (columns + 2, (-1.5, 2.5));
                    let before: Vec<f32> = (0..rows * result_row).map(|at| value(at + 17)).collect();
                    let mut result = before.clone();
                    let tile = Tile {
                        rows,
                        width,
                        steps,
                        left: left.as_ptr(),
                        left_row: steps,
                        left_step: 1,
                        right: right.as_ptr(),
                        result: result.as_mut_ptr(),
                        result_row,
                        accumulate,
                        bias: &bias,
                        clip,
                    };
                    // SAFETY: both sides and the result have been made for these rows, steps and columns.
                    unsafe { kernel.run(&tile) };
                    for (at, (found, before)) in result.iter().zip(&before).enumerate() {
                        let (row, column) = (at / result_row, at % result_row);
                        if column >= width {
                            assert_eq!(found, before, "{kernel:?} {rows}x{width}, beside the tile");
                            continue;
                        }
                        let product =
                            |p: usize| f64::from(left[row * steps + p]) * f64::from(right[p * columns + column]);
                        let start = if accumulate { f64::from(*before) } else { 0.0 } + f64::from(bias[column]);
                        let expected = (0..steps).map(product).sum::<f64>() + start;
                        let expected = expected.clamp(f64::from(clip.0), f64::from(clip.1));
                        assert!(
                            (f64::from(*found) - expected).abs() < 1e-5,
                            "{kernel:?} {rows}x{width}: {found} for {expected}"
                        );
                    }
                }
            }
        }
    }
}
