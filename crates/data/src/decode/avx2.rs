//! The innermost loops of a JPEG's pixels with AVX2, bit for bit the values of the portable ones.
//!
//! Everything here reads and writes arrays of known length by value, so that no file, however hostile, can make it touch other memory.

use std::arch::x86_64::*;

use super::transform::{BITS, Block, LARGEST_COLUMN, SECOND_HALF, Steps, fixed};
use super::weights::{self, BLUE, GREEN, RED};

/// Proof that the processor has AVX2, and the instructions for bits that came with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt");
        all.then_some(Self(()))
    }

    /// Writes the rows of a block, each `stride` after the one before. Nothing is written, and the answer is `false`, where a number on
    /// the way has more than 16 bits, which no photo has.
    #[inline(always)]
    pub fn samples(self, block: &Block, steps: &Steps, out: &mut [u8], stride: usize) -> bool {
        // SAFETY: an `Avx2` is made only where the processor has all of them.
        unsafe { samples(block, steps, out, stride) }
    }

    /// Red, green and blue of sixteen pixels of luma and chroma.
    #[inline(always)]
    pub fn colours(self, y: &[u8; 16], cb: &[u8; 16], cr: &[u8; 16]) -> [u8; 48] {
        // SAFETY: an `Avx2` is made only where the processor has all of them.
        unsafe { colours(*y, *cb, *cr) }
    }
}

/// 32 bytes as a vector.
#[inline(always)]
fn vector(values: [i16; 16]) -> __m256i {
    // SAFETY: both have 32 bytes, and any bytes are a value of both.
    unsafe { std::mem::transmute(values) }
}

/// Two numbers in turn.
const fn in_turn(first: i32, second: i32) -> [i16; 16] {
    let (first, second) = (first as i16, second as i16);
    [
        first, second, first, second, first, second, first, second, first, second, first, second, first, second, first,
        second,
    ]
}

/// What the coefficients of two rows add to a part of the transform. Each weight is the sum of the numbers by which
/// [`pass`](super::transform) multiplies the coefficient on its ways there: products and sums of integers are the same in any order.
struct Turn {
    even: [[i16; 16]; 4],
    odd: [[[i16; 16]; 2]; 4],
}

static TURN: Turn = {
    let one = 1 << BITS;
    let (all, ad, bc) = (fixed(1.175_875_602), fixed(-0.899_976_223), fixed(-2.562_915_447));
    let (ac, bd) = (fixed(-1.961_570_56), fixed(-0.390_180_644));
    let [d, c, b, a] = [fixed(1.501_321_110), fixed(3.072_711_026), fixed(2.053_119_869), fixed(0.298_631_336)];
    let turned = fixed(0.541_196_1);
    // `a` to `d` are rows 7, 5, 3 and 1.
    Turn {
        even: [
            in_turn(one, one),
            in_turn(one, -one),
            in_turn(turned + fixed(0.765_366_865), turned),
            in_turn(turned, turned + fixed(-1.847_759_065)),
        ],
        odd: [
            [in_turn(d + all + ad + bd, all), in_turn(all + bd, all + ad)],
            [in_turn(all, c + all + bc + ac), in_turn(all + bc, all + ac)],
            [in_turn(all + bd, all + bc), in_turn(b + all + bc + bd, all)],
            [in_turn(all + ad, all + ac), in_turn(all, a + all + ad + ac)],
        ],
    }
};

/// Eight transforms of length 8 beside each other, of pairs of rows as a [`Block`] has them.
#[inline]
#[target_feature(enable = "avx2")]
fn pass<const DROP: i32>([zero_four, two_six, one_three, five_seven]: [__m256i; 4], half: i32) -> [__m256i; 8] {
    let times = |pair, weights| _mm256_madd_epi16(pair, vector(weights));
    let half = _mm256_set1_epi32(half);
    let sum = _mm256_add_epi32(times(zero_four, TURN.even[0]), half);
    let difference = _mm256_add_epi32(times(zero_four, TURN.even[1]), half);
    let (even, odd) = (times(two_six, TURN.even[2]), times(two_six, TURN.even[3]));
    let outer = [
        _mm256_add_epi32(sum, even),
        _mm256_add_epi32(difference, odd),
        _mm256_sub_epi32(difference, odd),
        _mm256_sub_epi32(sum, even),
    ];
    let inner = |at: usize| _mm256_add_epi32(times(one_three, TURN.odd[at][0]), times(five_seven, TURN.odd[at][1]));
    let inner = [inner(0), inner(1), inner(2), inner(3)];
    let sum = |at: usize| _mm256_srai_epi32::<DROP>(_mm256_add_epi32(outer[at], inner[at]));
    let difference = |at: usize| _mm256_srai_epi32::<DROP>(_mm256_sub_epi32(outer[at], inner[at]));
    [sum(0), sum(1), sum(2), sum(3), difference(3), difference(2), difference(1), difference(0)]
}

/// The products of some coefficients with their steps. Absolute products are added to `sums`, and what a coefficient has more than it may
/// have comes into `over`.
#[inline]
#[target_feature(enable = "avx2")]
fn products(block: &Block, steps: &Steps, at: usize, sums: &mut __m256i, over: &mut __m256i) -> __m256i {
    let values = vector(block.values.as_chunks::<16>().0[at]);
    let absolute = _mm256_abs_epi16(values);
    let product = _mm256_mullo_epi16(absolute, vector(steps.steps.as_chunks::<16>().0[at]));
    let limit = vector(steps.limits.as_chunks::<16>().0[at]);
    *over = _mm256_or_si256(*over, _mm256_subs_epu16(absolute, limit));
    *sums = _mm256_adds_epu16(*sums, product);
    _mm256_sign_epi16(product, values)
}

/// Two rows of the first pass as 16 bits; in each, the pairs of columns stand in the order of a block's pairs of rows.
#[inline]
#[target_feature(enable = "avx2")]
fn two_rows(first: __m256i, second: __m256i) -> __m256i {
    let in_pairs = _mm256_setr_epi8(
        0, 1, 8, 9, 4, 5, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 8, 9, 4, 5, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
    );
    let both = _mm256_packs_epi32(first, second);
    _mm256_shuffle_epi8(_mm256_permute4x64_epi64::<0b11_01_10_00>(both), in_pairs)
}

/// Four columns as bytes: the first four rows of each in the lower half, the others in the upper one.
#[inline]
#[target_feature(enable = "avx2")]
fn four_columns(columns: [__m256i; 4]) -> __m256i {
    let in_rows = _mm256_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    );
    let [a, b, c, d] = columns;
    _mm256_shuffle_epi8(_mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)), in_rows)
}

#[inline]
#[target_feature(enable = "avx2")]
fn samples(block: &Block, steps: &Steps, out: &mut [u8], stride: usize) -> bool {
    let (mut sums, mut over) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    let zero_four = products(block, steps, 0, &mut sums, &mut over);
    let two_six = products(block, steps, 1, &mut sums, &mut over);
    let one_three = products(block, steps, 2, &mut sums, &mut over);
    let five_seven = products(block, steps, 3, &mut sums, &mut over);
    let sums = _mm256_adds_epu16(sums, _mm256_srli_epi32::<16>(sums));
    let over =
        _mm256_or_si256(over, _mm256_subs_epu16(sums, _mm256_set1_epi32(i32::from(LARGEST_COLUMN) | 0xffff << 16)));
    if _mm256_testz_si256(over, over) == 0 || i32::from(block.values[0]) != block.constant {
        return false;
    }
    let r = pass::<{ BITS as i32 - 2 }>([zero_four, two_six, one_three, five_seven], 1 << 9);
    let (a, b, c, d) = (two_rows(r[0], r[4]), two_rows(r[1], r[5]), two_rows(r[2], r[6]), two_rows(r[3], r[7]));
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (ab_odd, cd_odd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    let columns = [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab_odd, cd_odd),
        _mm256_unpackhi_epi64(ab_odd, cd_odd),
    ];
    let c = pass::<{ BITS as i32 + 5 }>(columns, SECOND_HALF);
    let (left, right) = (four_columns([c[0], c[1], c[2], c[3]]), four_columns([c[4], c[5], c[6], c[7]]));
    let (first, second) = (_mm256_unpacklo_epi32(left, right), _mm256_unpackhi_epi32(left, right));
    let out = &mut out[..7 * stride + 8];
    let mut row = |at: usize, samples: i64| out[at * stride..][..8].copy_from_slice(&samples.to_le_bytes());
    row(0, _mm256_extract_epi64::<0>(first));
    row(1, _mm256_extract_epi64::<1>(first));
    row(2, _mm256_extract_epi64::<0>(second));
    row(3, _mm256_extract_epi64::<1>(second));
    row(4, _mm256_extract_epi64::<2>(first));
    row(5, _mm256_extract_epi64::<3>(first));
    row(6, _mm256_extract_epi64::<2>(second));
    row(7, _mm256_extract_epi64::<3>(second));
    true
}

/// Eight numbers of 16 bits for each half of a vector, of bytes less `zero`.
#[inline]
#[target_feature(enable = "avx2")]
fn widened(bytes: [u8; 16], zero: i16) -> __m256i {
    // SAFETY: both have 16 bytes, and any bytes are a value of both.
    let bytes: __m128i = unsafe { std::mem::transmute(bytes) };
    _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), _mm256_set1_epi16(zero))
}

#[inline]
#[target_feature(enable = "avx2")]
fn colours(y: [u8; 16], cb: [u8; 16], cr: [u8; 16]) -> [u8; 48] {
    let (y, cb, cr) = (widened(y, 0), widened(cb, 128), widened(cr, 128));
    let one = 1 << weights::BITS;
    let half = _mm256_set1_epi32(weights::HALF);
    // In each half of the vectors, eight sums; packed, they stand in order again.
    let packed = |sums: [__m256i; 2]| {
        let [low, high] = sums.map(|sum| _mm256_srai_epi32::<{ weights::BITS as i32 }>(sum));
        _mm256_packs_epi32(low, high)
    };
    let both = |first, second| [_mm256_unpacklo_epi16(first, second), _mm256_unpackhi_epi16(first, second)];
    let luma_and = |chroma, weight| {
        let weights = vector(in_turn(one, weight));
        both(y, chroma).map(|pairs| _mm256_madd_epi16(pairs, weights))
    };
    let red = packed(luma_and(cr, RED).map(|sum| _mm256_add_epi32(sum, half)));
    let blue = packed(luma_and(cb, BLUE).map(|sum| _mm256_add_epi32(sum, half)));
    let rest = vector(in_turn(GREEN[0], weights::HALF));
    let rest = both(cb, _mm256_set1_epi16(1)).map(|pairs| _mm256_madd_epi16(pairs, rest));
    let [low, high] = luma_and(cr, GREEN[1]);
    let green = packed([_mm256_add_epi32(low, rest[0]), _mm256_add_epi32(high, rest[1])]);
    // Each half: eight of red and then of green; eight of blue, twice.
    let (red_green, blue) = (_mm256_packus_epi16(red, green), _mm256_packus_epi16(blue, blue));
    let in_turns = |from_red_green: __m128i, from_blue: __m128i| {
        let [from_red_green, from_blue] = [from_red_green, from_blue].map(|from| _mm256_broadcastsi128_si256(from));
        _mm256_or_si256(_mm256_shuffle_epi8(red_green, from_red_green), _mm256_shuffle_epi8(blue, from_blue))
    };
    let first = in_turns(
        _mm_setr_epi8(0, 8, -1, 1, 9, -1, 2, 10, -1, 3, 11, -1, 4, 12, -1, 5),
        _mm_setr_epi8(-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1),
    );
    let second = in_turns(
        _mm_setr_epi8(13, -1, 6, 14, -1, 7, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1),
        _mm_setr_epi8(-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, -1, -1, -1, -1, -1, -1),
    );
    let mut pixels = [0; 48];
    let longs = [
        _mm256_extract_epi64::<0>(first),
        _mm256_extract_epi64::<1>(first),
        _mm256_extract_epi64::<0>(second),
        _mm256_extract_epi64::<2>(first),
        _mm256_extract_epi64::<3>(first),
        _mm256_extract_epi64::<2>(second),
    ];
    pixels.as_chunks_mut::<8>().0.iter_mut().zip(longs).for_each(|(to, long)| *to = long.to_le_bytes());
    pixels
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{colour, transform};
    use super::*;

    /// A block of the file's order.
    fn block(constant: i32, others: &[i16]) -> Block {
        let mut block = Block { constant, is_flat: false, ..Block::EMPTY };
        block.values[0] = constant as i16;
        let places = transform::PLACES[1..].iter().zip(others);
        places.for_each(|(&place, &value)| block.values[usize::from(place)] = value);
        block
    }

    /// Whether the vectors take a block, whose samples are then the portable ones.
    fn check(avx2: Avx2, block: &Block, steps: &[u16; 64]) -> bool {
        let (steps, stride) = (Steps::new(steps), 13);
        let [mut portable, mut vectors] = [[7_u8; 8 * 13]; 2];
        transform::samples(block, &steps, &mut portable, stride);
        let is_taken = avx2.samples(block, &steps, &mut vectors, stride);
        assert_eq!(vectors, if is_taken { portable } else { [7; 8 * 13] }, "{block:?}");
        is_taken
    }

    proptest! {
        #[test]
        fn blocks_have_the_same_samples_with_vectors_as_without(
            constant in -3000..3000_i32,
            others in proptest::collection::vec(-40..40_i16, 63),
            large in (0..63_usize, any::<i16>()),
            step in 1..40_u16,
            odd in (0..64_usize, any::<u16>()),
        ) {
            let Some(avx2) = Avx2::detect() else { return Ok(()) };
            // As in a photo, then with a coefficient, a step and a constant of any size.
            let mut steps = [step; 64];
            check(avx2, &block(constant / i32::from(step), &others.iter().map(|x| x / 8).collect::<Vec<_>>()), &steps);
            check(avx2, &block(constant, &others), &[1; 64]);
            let mut wild = others.clone();
            wild[large.0] = large.1;
            check(avx2, &block(constant, &wild), &steps);
            check(avx2, &block(0, &wild.iter().map(|x| x / 64).collect::<Vec<_>>()), &[1; 64]);
            steps[odd.0] = odd.1;
            check(avx2, &block(constant.wrapping_mul(1 << 20), &others), &steps);
            check(avx2, &block(constant, &others), &steps);
        }

        #[test]
        fn pixels_have_the_same_colours_with_vectors_as_without(
            y in any::<[u8; 16]>(), cb in any::<[u8; 16]>(), cr in any::<[u8; 16]>(),
        ) {
            let Some(avx2) = Avx2::detect() else { return Ok(()) };
            let rows = |avx2| {
                let mut pixels = [[0; 3]; 16];
                colour::row(avx2, &y, &cb, &cr, &mut pixels);
                pixels
            };
            prop_assert_eq!(rows(Some(avx2)), rows(None));
        }
    }

    #[test]
    fn blocks_of_photos_are_transformed_with_vectors_and_larger_numbers_without() {
        let Some(avx2) = Avx2::detect() else { return };
        let steps = [16; 64];
        assert!(check(avx2, &block(-64, &[20; 40]), &steps));
        assert!(!check(avx2, &block(-64, &[60; 63]), &steps), "a column of 7,680");
        assert!(!check(avx2, &block(-64, &[i16::MIN]), &steps));
        assert!(!check(avx2, &block(1 << 16, &[1]), &steps), "the lower 16 bits are zero");
        // The greatest column that is taken, with the signs that make the most of it.
        for signs in 0..256_u16 {
            let mut block = block(if signs & 1 == 0 { 737 } else { -737 }, &[]);
            for (at, pair) in block.values[..64].chunks_mut(2).enumerate() {
                let row = at / 8 * 2;
                if at % 8 == 0 {
                    pair.iter_mut().enumerate().for_each(|(side, value)| {
                        *value = if signs >> (row + side) & 1 == 0 { 737 } else { -737 };
                    });
                }
            }
            block.values[0] = block.constant as i16;
            assert!(check(avx2, &block, &[1; 64]));
        }
    }
}
