//! From the coefficients of a block of 8×8 to its samples: the inverse cosine transform, and means of parts of a block.
//!
//! The transform is that of Loeffler, Ligtenberg and Moschytz (ICASSP 1989) with 12 fractional bits, in the variant that the Independent
//! JPEG Group calls "islow": its sums and roundings are the same in every decoder that has it.

use std::num::Wrapping;
use std::sync::LazyLock;

/// Lanes of eight columns, or of eight rows.
type Lanes = [i32; 8];

const BITS: usize = 12;

/// A number of the transform with its fractional bits. Half is added to negative ones too, as in the decoder for the other files,
/// so that both make the same pixels.
const fn fixed(number: f64) -> Wrapping<i32> {
    Wrapping((number * (1 << BITS) as f64 + 0.5) as i32)
}

/// Eight transforms of length 8 beside each other. `half` is added before so many bits are dropped.
#[inline(always)]
fn pass(input: &[Lanes; 8], half: i32, drop: usize) -> [Lanes; 8] {
    let mut output = [[0; 8]; 8];
    for lane in 0..8 {
        let x = |at: usize| Wrapping(input[at][lane]);
        let turned = (x(2) + x(6)) * fixed(0.541_196_1);
        let (odd, even) = (turned + x(6) * fixed(-1.847_759_065), turned + x(2) * fixed(0.765_366_865));
        let (sum, difference) = ((x(0) + x(4)) << BITS, (x(0) - x(4)) << BITS);
        let half = Wrapping(half);
        let outer = [sum + even + half, difference + odd + half, difference - odd + half, sum - even + half];
        let (a, b, c, d) = (x(7), x(5), x(3), x(1));
        let all = (a + b + c + d) * fixed(1.175_875_602);
        let (ad, bc) = (all + (a + d) * fixed(-0.899_976_223), all + (b + c) * fixed(-2.562_915_447));
        let (ac, bd) = ((a + c) * fixed(-1.961_570_56), (b + d) * fixed(-0.390_180_644));
        let inner = [
            d * fixed(1.501_321_110) + ad + bd,
            c * fixed(3.072_711_026) + bc + ac,
            b * fixed(2.053_119_869) + bc + bd,
            a * fixed(0.298_631_336) + ad + ac,
        ];
        for at in 0..4 {
            output[at][lane] = ((outer[at] + inner[at]) >> drop).0;
            output[7 - at][lane] = ((outer[at] - inner[at]) >> drop).0;
        }
    }
    output
}

/// The 64 samples of a block, each row `stride` after the one before.
#[inline(always)]
pub(super) fn samples(block: &[i32; 64], last: usize, out: &mut [u8], stride: usize) {
    if last == 0 {
        let value = ((block[0].wrapping_add(4 + 1024)) >> 3).clamp(0, 255) as u8;
        (0..8).for_each(|row| out[row * stride..][..8].fill(value));
        return;
    }
    let mut rows = [[0; 8]; 8];
    rows.iter_mut().zip(block.as_chunks::<8>().0).for_each(|(row, values)| *row = *values);
    let columns = transposed(&pass(&rows, 1 << 9, BITS - 2));
    // Samples are stored as differences from 128.
    let samples = transposed(&pass(&columns, (1 << 9) + (1 << 16) + (128 << 17), BITS + 5));
    for (row, values) in samples.iter().enumerate() {
        out[row * stride..][..8].copy_from_slice(&values.map(|value| value.clamp(0, 255) as u8));
    }
}

#[inline(always)]
fn transposed(lanes: &[Lanes; 8]) -> [Lanes; 8] {
    std::array::from_fn(|at| std::array::from_fn(|lane| lanes[lane][at]))
}

/// For blocks that become 1, 2 or 4 samples long: what each frequency adds to the mean of each part. Row of the part, then frequency.
static MEANS: LazyLock<[[Lanes32; 4]; 3]> = LazyLock::new(|| {
    [1_usize, 2, 4].map(|parts| {
        let length = 8 / parts;
        std::array::from_fn(|part| {
            std::array::from_fn(|frequency| {
                let scale = if frequency == 0 { 0.125_f64.sqrt() } else { 0.5 };
                let wave = |at: usize| (std::f64::consts::PI / 16.0 * ((2 * at + 1) * frequency) as f64).cos();
                let sum: f64 = (part * length..(part + 1) * length).filter(|&at| at < 8).map(wave).sum();
                (sum * scale / length as f64) as f32
            })
        })
    })
});

type Lanes32 = [f32; 8];

/// What each frequency adds to the samples of a row of 8.
static WAVES: LazyLock<[Lanes32; 8]> = LazyLock::new(|| {
    std::array::from_fn(|at| {
        std::array::from_fn(|frequency| {
            let scale = if frequency == 0 { 0.125_f64.sqrt() } else { 0.5 };
            (scale * (std::f64::consts::PI / 16.0 * ((2 * at + 1) * frequency) as f64).cos()) as f32
        })
    })
});

/// What each frequency adds to each of so many means.
fn means_of(parts: usize) -> &'static [Lanes32] {
    match parts {
        8 => WAVES.as_slice(),
        parts => &MEANS[parts.trailing_zeros() as usize][..parts],
    }
}

/// The means of `height` by `width` equal parts of a block, each 1, 2, 4 or 8, rounded; each row is `stride` after the one before.
pub(super) fn means(block: &[i32; 64], last: usize, [height, width]: [usize; 2], out: &mut [u8], stride: usize) {
    let value = |mean: f32| (mean + 128.5).floor().clamp(0.0, 255.0) as u8;
    if last == 0 || (height == 1 && width == 1) {
        (0..height).for_each(|row| out[row * stride..][..width].fill(value(block[0] as f32 / 8.0)));
        return;
    }
    let rows = block.as_chunks::<8>().0;
    for (row, weights) in means_of(height).iter().enumerate() {
        let mut blend = [0.0_f32; 8];
        for (values, weight) in rows.iter().zip(weights) {
            blend.iter_mut().zip(values).for_each(|(sum, &x)| *sum += weight * x as f32);
        }
        for (out, weights) in out[row * stride..][..width].iter_mut().zip(means_of(width)) {
            *out = value(blend.iter().zip(weights).map(|(x, weight)| x * weight).sum());
        }
    }
}
