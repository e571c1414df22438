//! Tiles whose rows have addresses of their own. The sums of some pixels by a panel of filters stay in registers while the loop goes over taps
//! and channels, and each pixel is read where it lies.

use super::micro::{Addressing, MicroKernel, Packing};
use super::pack::Panel;
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{FIRST_CACHE, Portable, SECOND_CACHE, Simd, prefetch};

/// Each row of the left side has an address of its own.
#[derive(Debug)]
pub(crate) enum Addressed {}

/// The arguments that all tiles of a panel have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared<'a> {
    /// The panel, with the steps of all runs one after the other.
    pub(crate) right: Panel<'a>,
    /// Where each run begins, in values from a row's address.
    pub(crate) taps: &'a [usize],
    /// Values of a run.
    pub(crate) run: usize,
    /// The initial values of the sums, one for each slot of the panel's vectors.
    pub(crate) start: &'a [f32],
    /// Number of values that is added to the addresses of the left side.
    pub(crate) from: usize,
    /// Number of values that is added to the addresses of the result and of the residual.
    pub(crate) to: usize,
    /// Limits.
    pub(crate) clip: Option<(f32, f32)>,
    /// The panel that is read next, perhaps from main memory: the first tiles prefetch it while they compute.
    pub(crate) next: Panel<'a>,
}

impl Shared<'_> {
    /// Where tile number `tile` begins to prefetch, one cache line in each step. The first tiles share the next panel; the others ask for this
    /// one, which is in the cache already, so that it costs nothing.
    #[inline(always)]
    pub(crate) fn ahead(&self, tile: usize) -> *const f32 {
        let Panel { vectors, values, .. } = self.next;
        if tile < vectors {
            values.as_ptr().wrapping_add(tile * values.len() / vectors)
        } else {
            self.right.values.as_ptr()
        }
    }
}

/// One tile of a product.
///
/// For each row, the runs after its `left` address and `columns` values at its `result` address are valid. At the `residual` address, whole
/// vectors are read, which may reach beyond the columns.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    pub(crate) panel: &'a Shared<'a>,
    /// One address per row, for at most as many rows as the kernel's.
    pub(crate) left: &'a [*const f32],
    /// One address per row.
    pub(crate) result: &'a [*mut f32],
    /// One address per row, of values that are added before the limits are applied.
    pub(crate) residual: Option<&'a [*const f32]>,
    /// See [`Shared::ahead`].
    pub(crate) ahead: *const f32,
    /// The `left` address of the first row of the next tile. The values from there on are prefetched while this tile is computed, as if the
    /// next tile's rows followed one another; where they do not, the result is the same.
    pub(crate) after: *const f32,
}

/// The initial values of sums without a bias.
pub(crate) static ZEROS: [f32; 48] = [0.0; 48];

impl Addressing for Addressed {
    type Tile<'a> = Tile<'a>;

    const KERNELS: &'static [MicroKernel<Self>] = &[
        // 24 sums, 3 weights and one value fill 28 of 32 registers. There are 11 loads for 24 products.
        #[cfg(target_arch = "x86_64")]
        MicroKernel {
            name: "addressed 8x48, AVX-512",
            isa: Isa::Avx512,
            rows: 8,
            packing: Packing { lanes: 16, vectors: 3, narrower: true },
            share: 0.8,
            run: avx512,
        },
        #[cfg(target_arch = "x86_64")]
        MicroKernel {
            name: "addressed 6x16, AVX2",
            isa: Isa::Avx2,
            rows: 6,
            packing: Packing { lanes: 8, vectors: 2, narrower: true },
            share: 0.8,
            run: avx2,
        },
        MicroKernel {
            name: "addressed 4x12, portable",
            isa: Isa::Portable,
            rows: 4,
            packing: Packing { lanes: 4, vectors: 3, narrower: true },
            share: 0.4,
            run: portable,
        },
    ];
}

/// Calls the function that is compiled for the number of a tile's rows and of its panel's vectors.
macro_rules! sizes {
    ($function:ident, $tile:expr; $($n:literal)*) => {
        match ($tile.left.len(), $tile.panel.right.vectors) {
            $(($n, 1) => $function::<$n, 1>($tile),
            ($n, 2) => $function::<$n, 2>($tile),
            ($n, 3) => $function::<$n, 3>($tile),)*
            (rows, vectors) => unreachable!("tiles of {rows} rows by {vectors} vectors are not made"),
        }
    };
}

#[cfg(target_arch = "x86_64")]
unsafe fn avx512(tile: &Tile<'_>) {
    #[target_feature(enable = "avx512f")]
    unsafe fn sized<const P: usize, const W: usize>(tile: &Tile<'_>) {
        // SAFETY: this function has the instructions, and the tile's addresses are valid.
        unsafe { kernel::<Avx512, P, W>(tile) }
    }
    // SAFETY: this row of the table is run where there is AVX-512; the tile's addresses are valid.
    unsafe { sizes!(sized, tile; 1 2 3 4 5 6 7 8) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn avx2(tile: &Tile<'_>) {
    #[target_feature(enable = "avx2,fma")]
    unsafe fn sized<const P: usize, const W: usize>(tile: &Tile<'_>) {
        // SAFETY: this function has the instructions, and the tile's addresses are valid.
        unsafe { kernel::<Avx2, P, W>(tile) }
    }
    // SAFETY: this row of the table is run where there are AVX2 and FMA; the tile's addresses are valid.
    unsafe { sizes!(sized, tile; 1 2 3 4 5 6) }
}

unsafe fn portable(tile: &Tile<'_>) {
    unsafe fn sized<const P: usize, const W: usize>(tile: &Tile<'_>) {
        // SAFETY: arrays need no instructions, and the tile's addresses are valid.
        unsafe { kernel::<Portable, P, W>(tile) }
    }
    // SAFETY: arrays need no instructions, and the tile's addresses are valid.
    unsafe { sizes!(sized, tile; 1 2 3 4) }
}

/// Computes `P` rows by `W` vectors of columns. In every tile, each sum is added up in the same order of taps and channels, so that a result
/// does not depend on the tile in which its pixel is.
///
/// # Safety
/// The instructions of `S` are there; the tile has `P` rows and a panel of `W` vectors, and its addresses are valid.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn kernel<S: Simd, const P: usize, const W: usize>(tile: &Tile<'_>) {
    let panel = tile.panel;
    assert!(tile.left.len() >= P && tile.result.len() >= P && panel.start.len() >= W * S::LANES);
    assert!(panel.right.values.len() >= panel.taps.len() * panel.run * W * S::LANES);
    // SAFETY: the panel has `W` vectors for each step of all runs, and the start too (asserted); the runs lie at the addresses of
    // the left side; stores are cut to the panel's columns, which the result's rows have.
    unsafe {
        let mut sums = [[S::splat(0.0); W]; P];
        for w in 0..W {
            let start = S::load(panel.start.as_ptr().add(w * S::LANES));
            for p in 0..P {
                sums[p][w] = start;
            }
        }
        let mut weights = panel.right.values.as_ptr();
        let (mut ahead, mut after) = (tile.ahead, tile.after.wrapping_add(panel.from));
        for &tap in panel.taps {
            let input: [*const f32; P] =
                std::array::from_fn(|p| (*tile.left.get_unchecked(p)).wrapping_add(panel.from + tap));
            for k in 0..panel.run {
                let row: [S::V; W] = std::array::from_fn(|w| S::load(weights.add(w * S::LANES)));
                for p in 0..P {
                    let x = S::splat(*input[p].add(k));
                    for w in 0..W {
                        sums[p][w] = S::fma(x, row[w], sums[p][w]);
                    }
                }
                weights = weights.add(W * S::LANES);
                prefetch::<SECOND_CACHE>(ahead);
                ahead = ahead.wrapping_add(S::LANES);
                prefetch::<FIRST_CACHE>(after);
                after = after.wrapping_add(P);
            }
        }
        if let Some(residual) = tile.residual {
            assert!(residual.len() >= P);
            for p in 0..P {
                let from = residual[p].add(panel.to);
                for w in 0..W {
                    sums[p][w] = S::add(sums[p][w], S::load(from.add(w * S::LANES)));
                }
            }
        }
        // Other functions are applied later, when all channels of a block's pixels are computed: here they would need the registers of the sums.
        if let Some((low, high)) = panel.clip {
            let (low, high) = (S::splat(low), S::splat(high));
            for p in 0..P {
                for w in 0..W {
                    sums[p][w] = S::min(S::max(sums[p][w], low), high);
                }
            }
        }
        let columns = panel.right.columns;
        let full = columns == W * S::LANES;
        for p in 0..P {
            let to = tile.result[p].add(panel.to);
            for w in 0..W {
                if full {
                    S::store(to.add(w * S::LANES), sums[p][w]);
                } else if columns > w * S::LANES {
                    S::store_up_to(to.add(w * S::LANES), sums[p][w], columns - w * S::LANES);
                }
            }
        }
    }
}
