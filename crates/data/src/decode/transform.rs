//! From the coefficients of a block of 8×8 to its samples: the inverse cosine transform, and means of parts of a block.
//!
//! The transform is that of Loeffler, Ligtenberg and Moschytz (ICASSP 1989) with 12 fractional bits, in the variant that the Independent
//! JPEG Group calls "islow": its sums and roundings are the same in every decoder that has it.

use std::num::Wrapping;
use std::sync::LazyLock;

/// Lanes of eight columns, or of eight rows.
type Lanes = [i32; 8];

pub(super) const BITS: usize = 12;

/// Where each coefficient of a file stands in a block whose rows follow each other (ITU-T T.81, figure A.6).
const IN_ROWS: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Pairs of rows that the transform multiplies and adds up together.
const PAIRS: [[usize; 2]; 4] = [[0, 4], [2, 6], [1, 3], [5, 7]];

/// Where a coefficient of a row and a column stands in a [`Block`].
const fn place(row: usize, column: usize) -> usize {
    let (mut pair, mut at) = (0, 0);
    while pair < 4 {
        if PAIRS[pair][0] == row || PAIRS[pair][1] == row {
            at = pair * 16 + column * 2 + (PAIRS[pair][1] == row) as usize;
        }
        pair += 1;
    }
    at
}

/// Where each coefficient of a file stands in a [`Block`]; those after the last one stand beside it.
pub(super) const PLACES: [u8; 128] = {
    let mut places = [64; 128];
    let mut at = 0;
    while at < 64 {
        places[at] = place(IN_ROWS[at] as usize / 8, IN_ROWS[at] as usize % 8) as u8;
        at += 1;
    }
    places
};

/// The coefficients of a block before they are multiplied by their steps.
#[derive(Debug)]
pub(super) struct Block {
    /// All coefficients: of each of the pairs of rows the first column of both, then the second. What stands after them does not count.
    pub values: [i16; 72],
    /// The constant coefficient, of which `values` has the lower 16 bits.
    pub constant: i32,
    /// Whether all others are zero.
    pub is_flat: bool,
}

impl Block {
    pub const EMPTY: Self = Self { values: [0; 72], constant: 0, is_flat: true };

    /// Makes the block empty again.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.values[..64].fill(0);
        self.is_flat = true;
    }
}

/// Greatest sum of the absolute coefficients of a column of which the first pass makes numbers of 16 bits for certain: the greatest
/// weight is 5,681 of 4,096, and two fractional bits stay.
pub(super) const LARGEST_COLUMN: u16 = 5900;

/// By what each coefficient of a block is multiplied.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    /// In the order of [`Block::values`], the lower 16 bits.
    pub steps: [i16; 64],
    /// For each, the greatest absolute value whose product is at most [`LARGEST_COLUMN`].
    pub limits: [i16; 64],
}

impl Steps {
    /// From the order of the file.
    pub fn new(steps: &[u16; 64]) -> Self {
        let mut sorted = Self { steps: [0; 64], limits: [0; 64] };
        for (&step, place) in steps.iter().zip(PLACES) {
            sorted.steps[usize::from(place)] = step as i16;
            sorted.limits[usize::from(place)] = (LARGEST_COLUMN / step.max(1)) as i16;
        }
        sorted
    }

    /// By what the coefficient at a place is multiplied.
    #[inline(always)]
    fn step(&self, place: usize) -> i32 {
        i32::from(self.steps[place] as u16)
    }

    /// The coefficients of a block, row by row.
    #[inline(always)]
    fn coefficients(&self, block: &Block) -> [i32; 64] {
        let mut all: [i32; 64] = std::array::from_fn(|at| {
            let place = place(at / 8, at % 8);
            i32::from(block.values[place]) * self.step(place)
        });
        all[0] = self.constant(block);
        all
    }

    /// The constant coefficient of a block.
    #[inline(always)]
    fn constant(&self, block: &Block) -> i32 {
        block.constant.wrapping_mul(self.step(0))
    }
}

/// A number of the transform with its fractional bits. Half is added to negative ones too, as in the decoder for the other files,
/// so that both make the same pixels.
pub(super) const fn fixed(number: f64) -> i32 {
    (number * (1 << BITS) as f64 + 0.5) as i32
}

/// Eight transforms of length 8 beside each other. `half` is added before so many bits are dropped.
#[inline(always)]
fn pass(input: &[Lanes; 8], half: i32, drop: usize) -> [Lanes; 8] {
    let mut output = [[0; 8]; 8];
    for lane in 0..8 {
        let x = |at: usize| Wrapping(input[at][lane]);
        let fixed = |number: f64| Wrapping(fixed(number));
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

/// What is added before the bits are dropped that the second of the two passes leaves: a half, the halves of the first pass, and 128, since
/// samples are stored as differences from it.
pub(super) const SECOND_HALF: i32 = (1 << 9) + (1 << 16) + (128 << 17);

/// The sample of a block with a constant coefficient only, if it is that of all 64.
#[inline(always)]
pub(super) fn flat(block: &Block, steps: &Steps) -> Option<u8> {
    block.is_flat.then(|| (steps.constant(block).wrapping_add(4 + 1024) >> 3).clamp(0, 255) as u8)
}

/// The 64 samples of a block, each row `stride` after the one before.
#[inline(always)]
pub(super) fn samples(block: &Block, steps: &Steps, out: &mut [u8], stride: usize) {
    let mut rows = [[0; 8]; 8];
    let coefficients = steps.coefficients(block);
    rows.iter_mut().zip(coefficients.as_chunks::<8>().0).for_each(|(row, values)| *row = *values);
    let columns = transposed(&pass(&rows, 1 << 9, BITS - 2));
    let samples = transposed(&pass(&columns, SECOND_HALF, BITS + 5));
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
pub(super) fn means(block: &Block, steps: &Steps, [height, width]: [usize; 2], out: &mut [u8], stride: usize) {
    let value = |mean: f32| (mean + 128.5).floor().clamp(0.0, 255.0) as u8;
    if block.is_flat || (height == 1 && width == 1) {
        let mean = value(steps.constant(block) as f32 / 8.0);
        return (0..height).for_each(|row| out[row * stride..][..width].fill(mean));
    }
    let coefficients = steps.coefficients(block);
    let rows = coefficients.as_chunks::<8>().0;
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
