//! The choice between vectors and a unit for products of matrices that are stored in `f32`.

use super::micro::MicroKernel;
use super::pack::{Packed, Scale};
use super::paired::{Halves, PresentUnit};
use super::product::{Epilogue, multiply};
use super::strided::Strided;
use crate::isa::Present;

/// How matrices that are stored in `f32` are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Multiplier {
    /// By vectors of `f32`.
    Single(Present),
    /// By a unit for bf16: both sides are rounded, and sums are `f32`.
    Half(PresentUnit),
}

impl Multiplier {
    /// Rows of the largest tile.
    pub(crate) fn rows(self) -> usize {
        match self {
            Self::Single(isa) => MicroKernel::<Strided>::of(isa).rows,
            Self::Half(unit) => unit.kernel().rows,
        }
    }

    /// Columns of a panel.
    pub(crate) fn columns(self) -> usize {
        match self {
            Self::Single(isa) => MicroKernel::<Strided>::of(isa).packing.columns(),
            Self::Half(unit) => unit.kernel().packing.columns(),
        }
    }
}

/// The right side of a product, packed for a [`Multiplier`].
#[derive(Debug)]
pub(crate) enum Right {
    /// In `f32`.
    Single(Packed<Strided>),
    /// In bf16.
    Half(Halves),
}

impl Right {
    /// An empty one, for a matrix that is packed later.
    pub(crate) fn new(multiplier: Multiplier) -> Self {
        match multiplier {
            Multiplier::Single(isa) => Self::Single(Packed::new(isa)),
            Multiplier::Half(unit) => Self::Half(Halves::new(unit)),
        }
    }

    /// Columns of the matrix.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Single(packed) => packed.columns(),
            Self::Half(packed) => packed.columns(),
        }
    }

    /// Packs a matrix of this shape, `[depth, columns]`: `value(step, column) = source[step * row + column * across]` with
    /// `steps = [row, across]`, scaled.
    ///
    /// # Panics
    /// In the cases of [`Packed::pack`].
    pub(crate) fn pack(&mut self, shape: [usize; 2], source: &[f32], steps: [usize; 2], scale: Scale<'_>) {
        match self {
            Self::Single(packed) => packed.pack(shape, source, steps, scale),
            Self::Half(packed) => packed.pack(shape, source, steps, scale),
        }
    }

    /// `result (+)= left · self`: `left` has `rows` rows, `left_row` values apart; `result`'s rows are `result_row` apart.
    pub(crate) fn multiply(
        &self,
        rows: usize,
        left: &[f32],
        left_row: usize,
        result: &mut [f32],
        result_row: usize,
        epilogue: Epilogue<'_>,
    ) {
        match self {
            Self::Single(packed) => multiply(rows, left, left_row, packed, result, result_row, epilogue),
            Self::Half(packed) => packed.multiply(rows, left, left_row, result, result_row, epilogue),
        }
    }
}
