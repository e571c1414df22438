//! Products of matrices in bf16 with sums in `f32`: rows by panels of 32 columns, two steps of the inner dimension at a time.
//!
//! Both kinds of unit that processors have for this multiply pairs of consecutive steps, so a slot of the packed right side holds such a
//! pair. A kernel computes the sums of a few rows; the caller processes them further.
//!
//! - `tiles`: the matrix unit of AMX, whose registers hold 16 rows of 64 bytes;
//! - `dots`: AVX-512's products of pairs.
//!
//! `halves` multiplies matrices that are stored in `f32`, for training; `shifted` computes the gradient of a convolution's kernel; and
//! `rounding` rounds and packs values for both.
//!
//! Each unit is written twice, with the processor's instructions and in plain Rust (the emulation), so that the code around it is tested on
//! every machine. Both add up sums in the same order, which is part of the definition of the instructions (Intel's manual, volume 2,
//! `TDPBF16PS` and `VDPBF16PS`). By this definition, subnormal numbers count as zeros before and after each operation.

mod dots;
mod halves;
mod rounding;
mod shifted;
mod tiles;

pub(super) use halves::{Finish, Work};
pub(crate) use halves::{Halves, Lying};
pub(super) use rounding::{Places, transpose_strip, zip_strip};
pub(crate) use rounding::{round, round_rows};
pub(crate) use shifted::{Frame, Side, shifted_products};

use super::micro::{Addressing, MicroKernel, Packing};
use super::pack::Packed;
use crate::bf16::Bf16;
use crate::isa::{Isa, Present};
use crate::memory::OutOfMemory;

/// A unit that multiplies numbers of bf16 and adds the products up in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// The matrix unit of AMX (`TDPBF16PS`).
    Amx,
    /// AVX-512's products of pairs (`VDPBF16PS`).
    Avx512Bf16,
    /// AMX in plain Rust, for tests.
    EmulatedTiles,
    /// AVX-512's products of pairs in plain Rust, for tests.
    EmulatedDots,
}

/// A unit that this machine has, and the vectors that process its sums. The value is the proof: only [`Unit::present`] makes one, after asking
/// the processor and the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PresentUnit {
    unit: Unit,
    vectors: Present,
}

impl Unit {
    /// All units: those of processors first, the fastest before the others, and then their emulations.
    pub const ALL: [Self; 4] = [Self::Amx, Self::Avx512Bf16, Self::EmulatedTiles, Self::EmulatedDots];

    /// The units that this machine has, the processor's own first. The emulated ones are available everywhere.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|unit| unit.present().is_some()).collect()
    }

    /// The best unit of the processor; `None` if it has none.
    pub fn detect() -> Option<Self> {
        Self::available().into_iter().find(|unit| !unit.is_emulated())
    }

    /// Whether this is the emulation of a unit in plain Rust.
    pub fn is_emulated(self) -> bool {
        matches!(self, Self::EmulatedTiles | Self::EmulatedDots)
    }

    /// Its name, such as `AMX`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "AMX",
            Self::Avx512Bf16 => "AVX-512 BF16",
            Self::EmulatedTiles => "emulated tiles",
            Self::EmulatedDots => "emulated products of pairs",
        }
    }

    /// Whether this machine has it, as a proof.
    pub(crate) fn present(self) -> Option<PresentUnit> {
        let vectors = match self {
            Self::Amx => tiles::are_allowed().then(|| Isa::Avx512.present())?,
            Self::Avx512Bf16 => dots::are_there().then(|| Isa::Avx512.present())?,
            Self::EmulatedTiles | Self::EmulatedDots => Isa::detect().present(),
        };
        Some(PresentUnit { unit: self, vectors: vectors? })
    }
}

impl PresentUnit {
    /// The vectors for everything but products.
    pub(crate) fn vectors(self) -> Present {
        self.vectors
    }

    /// Makes this thread's unit ready for steps of a depth, until the value is dropped.
    pub(crate) fn ready(self, depth: Depth) -> Ready {
        if self.unit == Unit::Amx {
            // SAFETY: `Unit::present` has found the unit.
            unsafe { tiles::configure(depth) };
        }
        Ready { unit: self, depth, thread: std::marker::PhantomData }
    }
}

/// A thread's unit, ready to multiply. The value cannot go to another thread.
#[derive(Debug)]
pub(crate) struct Ready {
    unit: PresentUnit,
    depth: Depth,
    thread: std::marker::PhantomData<*const ()>,
}

impl Drop for Ready {
    fn drop(&mut self) {
        if self.unit.unit == Unit::Amx {
            // SAFETY: `Unit::present` has found the unit.
            unsafe { tiles::release() };
        }
    }
}

/// The addressing of kernels for bf16: rows of the left side lie equally far apart, and each is read in steps of up to 32 numbers at given
/// places.
#[derive(Debug)]
pub(crate) enum Paired {}

/// Upper limit of the numbers of the inner dimension that are multiplied in one step.
pub(crate) const DEPTH: usize = 32;

/// How many numbers of the inner dimension are multiplied in one step: an even number from 2 to [`DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth(usize);

impl Depth {
    /// The deepest step, of [`DEPTH`] numbers.
    pub(crate) const WHOLE: Self = Self(DEPTH);

    /// The deepest step that divides `run`, the length of a run of numbers; `None` if it is odd or 0.
    pub(crate) fn dividing(run: usize) -> Option<Self> {
        (2..=DEPTH).rev().step_by(2).find(|depth| run > 0 && run.is_multiple_of(*depth)).map(Self)
    }

    /// Numbers of a step.
    pub(crate) fn numbers(self) -> usize {
        self.0
    }

    /// Pairs of numbers of a step.
    pub(crate) fn pairs(self) -> usize {
        self.0 / 2
    }
}

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;

/// Rows of the largest tile of any kernel.
pub(crate) const ROWS: usize = 32;

/// The sums of a tile, row by row.
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [[f32; COLUMNS]; ROWS]);

/// The summands of a panel's columns, in the order of the panel's slots.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Bias(pub(crate) [f32; COLUMNS]);

/// One tile of a product.
///
/// For each row, there are the numbers of a step at each of the steps' places. If the unit reads whole tiles
/// ([`PresentUnit::reads_whole_tiles`]), this also holds for the rows after the last up to a multiple of 16.
pub(crate) struct Tile<'a> {
    /// How many rows there are.
    pub(crate) rows: usize,
    /// The first row.
    pub(crate) left: *const Bf16,
    /// Numbers from one row to the next.
    pub(crate) left_row: usize,
    /// Numbers of each step, for which the unit is ready.
    pub(crate) depth: Depth,
    /// Where each step begins, counted from a row's first number.
    pub(crate) steps: &'a [usize],
    /// The panel: for each pair of each step a slot per column.
    pub(crate) right: &'a [f32],
    /// Whether the products are added to the values that `sums` has.
    pub(crate) adds: bool,
    /// Receives the sums, [`COLUMNS`] for each row. If the unit reads whole tiles, the sums of the additional rows are arbitrary afterwards.
    pub(crate) sums: *mut f32,
    /// Values from one row of sums to the next.
    pub(crate) sums_row: usize,
}

impl Addressing for Paired {
    type Tile<'a> = Tile<'a>;

    const KERNELS: &'static [MicroKernel<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        MicroKernel {
            name: "paired 32x32, AMX",
            isa: Isa::Avx512,
            rows: 32,
            packing: PACKING,
            share: 0.5,
            run: tiles::multiply_amx,
        },
        #[cfg(target_arch = "x86_64")]
        MicroKernel {
            name: "paired 12x32, AVX-512 BF16",
            isa: Isa::Avx512,
            rows: 12,
            packing: PACKING,
            share: 0.5,
            run: dots::multiply_avx512,
        },
        MicroKernel {
            name: "paired 32x32, emulated tiles",
            isa: Isa::Portable,
            rows: 32,
            packing: PACKING,
            share: 0.0,
            run: tiles::multiply_emulated,
        },
        MicroKernel {
            name: "paired 12x32, emulated products of pairs",
            isa: Isa::Portable,
            rows: 12,
            packing: PACKING,
            share: 0.0,
            run: dots::multiply_emulated,
        },
    ];
}

/// A panel has one slot for each of 32 columns and each pair of numbers of the inner dimension.
const PACKING: Packing = Packing { lanes: 16, vectors: 2, narrower: false };

impl PresentUnit {
    /// The row of the table for this unit.
    pub(super) fn kernel(self) -> &'static MicroKernel<Paired> {
        let from_the_end = match self.unit {
            Unit::Amx => 4,
            Unit::Avx512Bf16 => 3,
            Unit::EmulatedTiles => 2,
            Unit::EmulatedDots => 1,
        };
        &Paired::KERNELS[Paired::KERNELS.len() - from_the_end]
    }

    /// Whether its kernel reads and writes rows in multiples of 16.
    pub(crate) fn reads_whole_tiles(self) -> bool {
        matches!(self.unit, Unit::Amx | Unit::EmulatedTiles)
    }
}

/// The right side of a product in bf16, packed for the unit that reads it.
#[derive(Debug)]
pub(crate) struct PackedPairs {
    unit: PresentUnit,
    step: Depth,
    /// Columns of the matrix, without those that fill up the last panel.
    columns: usize,
    pairs: Packed<Paired>,
}

impl PackedPairs {
    /// Packs `value(row, column)`, rounded, of a matrix `[depth, columns]`; the depth is filled up with zeros to whole steps, and columns to
    /// whole panels. Columns lie at their [`place`]s.
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no memory for the packed copy.
    pub(crate) fn new(
        unit: PresentUnit,
        step: Depth,
        [depth, columns]: [usize; 2],
        value: impl Fn(usize, usize) -> f32,
    ) -> Result<Self, OutOfMemory> {
        let mut pairs = Packed::with(unit.kernel());
        let half = |row: usize, column: usize| match row < depth && column < columns {
            true => u32::from(Bf16::round(value(row, column)).to_bits()),
            false => 0,
        };
        let pair = |pair: usize, column: usize| half(2 * pair, column) | half(2 * pair + 1, column) << 16;
        let shape = [depth.next_multiple_of(step.numbers()) / 2, columns.next_multiple_of(COLUMNS)];
        pairs.fill(shape, |at, slot| f32::from_bits(pair(at, column(slot))))?;
        Ok(Self { unit, step, columns, pairs })
    }

    /// Rows of the largest tile.
    pub(crate) fn rows(&self) -> usize {
        self.pairs.kernel().rows
    }

    /// Each panel: its first column, how many columns it has, and its slots.
    pub(crate) fn panels(&self) -> impl Iterator<Item = (usize, usize, &[f32])> {
        self.pairs.panels().map(|panel| (panel.first, COLUMNS.min(self.columns - panel.first), panel.values))
    }

    /// Computes the sums of a tile.
    ///
    /// # Safety
    /// The tile's addresses are valid, as its fields say.
    #[inline(always)]
    pub(crate) unsafe fn multiply(&self, ready: &Ready, tile: &Tile<'_>) {
        assert_eq!((ready.unit, ready.depth), (self.unit, self.step), "another unit is ready");
        assert!(tile.depth == self.step && (1..=self.rows()).contains(&tile.rows));
        assert!(tile.right.len() >= tile.steps.len() * tile.depth.pairs() * COLUMNS, "the panel is too short");
        // SAFETY: the machine has the unit, which is ready; the panel has all steps (asserted), and the tile's addresses are valid.
        unsafe { self.pairs.kernel().run(tile) }
    }
}

/// The place of a column in a panel, and of its sum in a row of a tile: columns with even numbers come first. The sums of two neighbouring
/// columns, which share 32 bits when they are rounded to bf16, are thus at the same place of two vectors.
#[cfg(test)]
pub(crate) fn place(column: usize) -> usize {
    column / COLUMNS * COLUMNS + column % 2 * (COLUMNS / 2) + column % COLUMNS / 2
}

/// The column at a place, where places are counted through all panels.
pub(crate) fn column(place: usize) -> usize {
    let within = place % COLUMNS;
    place / COLUMNS * COLUMNS + within % (COLUMNS / 2) * 2 + within / (COLUMNS / 2)
}

/// `x`, or zero if it is subnormal, as units read and write numbers.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}

/// The two numbers of a pair, the one in the lower bits first.
fn halves(pair: u32) -> [f32; 2] {
    [pair << 16, pair & 0xffff_0000].map(|bits| flush(f32::from_bits(bits)))
}

/// A pair of numbers of the left side.
///
/// # Safety
/// Two numbers lie at the address.
unsafe fn pair_at(p: *const Bf16) -> u32 {
    // SAFETY: two numbers lie at the address, which is that of a number.
    let [low, high] = unsafe { [*p, *p.add(1)] };
    u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16
}

#[cfg(test)]
mod tests;
