//! AVX-512's products of pairs: one instruction adds the products of two consecutive numbers of the inner dimension to a vector of 16 sums.

use super::{COLUMNS, Tile, flush, halves, pair_at};

/// Whether the processor multiplies pairs in vectors of 16.
pub(super) fn are_there() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    false
}

/// The kernel in AVX-512's instructions.
///
/// # Safety
/// The unit is there; the tile's addresses are valid, as its fields say.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn multiply_avx512(tile: &Tile<'_>) {
    // SAFETY: the unit is there; the tile's addresses are valid.
    unsafe {
        match tile.rows {
            1 => sized::<1>(tile),
            2 => sized::<2>(tile),
            3 => sized::<3>(tile),
            4 => sized::<4>(tile),
            5 => sized::<5>(tile),
            6 => sized::<6>(tile),
            7 => sized::<7>(tile),
            8 => sized::<8>(tile),
            9 => sized::<9>(tile),
            10 => sized::<10>(tile),
            11 => sized::<11>(tile),
            12 => sized::<12>(tile),
            rows => unreachable!("a tile has 1 to 12 rows, not {rows}"),
        }
    }
}

/// Computes `P` rows. At most 24 vectors of sums, two vectors of weights and one pair of the left side stay in registers.
///
/// # Safety
/// The unit is there; the tile has `P` rows, and its addresses are valid.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn sized<const P: usize>(tile: &Tile<'_>) {
    use std::arch::x86_64::*;
    // SAFETY: this function has the instructions; the panel has two vectors for each pair; each row has a step's numbers at each place, and
    // the sums have room for all rows.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; P];
        if tile.adds {
            for p in 0..P {
                for w in 0..2 {
                    sums[p][w] = _mm512_loadu_ps(tile.sums.add(p * tile.sums_row + w * 16));
                }
            }
        }
        let mut weights = tile.right.as_ptr();
        for &at in tile.steps {
            let rows: [*const i32; P] =
                std::array::from_fn(|p| tile.left.wrapping_add(p * tile.left_row + at).cast::<i32>());
            for pair in 0..tile.depth.pairs() {
                let row = [0, 16].map(|first| {
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(weights.add(first).cast()))
                });
                for p in 0..P {
                    let x = _mm512_set1_epi32(rows[p].add(pair).read_unaligned());
                    let x = std::mem::transmute::<__m512i, __m512bh>(x);
                    for w in 0..2 {
                        sums[p][w] = _mm512_dpbf16_ps(sums[p][w], x, row[w]);
                    }
                }
                weights = weights.add(COLUMNS);
            }
        }
        for p in 0..P {
            for w in 0..2 {
                _mm512_storeu_ps(tile.sums.add(p * tile.sums_row + w * 16), sums[p][w]);
            }
        }
    }
}

/// The kernel in plain Rust.
///
/// # Safety
/// The tile's addresses are valid, as its fields say.
pub(super) unsafe fn multiply_emulated(tile: &Tile<'_>) {
    for row in 0..tile.rows {
        let before = tile.sums.wrapping_add(row * tile.sums_row).cast::<[f32; COLUMNS]>();
        // SAFETY: each row of the sums has all columns, and they have been written if the tile adds.
        let mut sums = if tile.adds { unsafe { before.read() } } else { [0.0; COLUMNS] };
        for (step, at) in tile.steps.iter().enumerate() {
            for pair in 0..tile.depth.pairs() {
                let left = tile.left.wrapping_add(row * tile.left_row + at + 2 * pair);
                // SAFETY: the row has all numbers of the steps at this place.
                let x = halves(unsafe { pair_at(left) });
                let slots = &tile.right[(step * tile.depth.pairs() + pair) * COLUMNS..][..COLUMNS];
                for (sum, slot) in sums.iter_mut().zip(slots) {
                    let w = halves(slot.to_bits());
                    // `VDPBF16PS` adds the odd number's product first. A product of two numbers of bf16 is exact in `f32`, so each sum
                    // rounds once.
                    *sum = flush(*sum + x[1] * w[1]);
                    *sum = flush(*sum + x[0] * w[0]);
                }
            }
        }
        // SAFETY: the sums have room for all rows.
        unsafe { before.write(sums) };
    }
}
