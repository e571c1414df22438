use std::fmt;

use crate::isa::{Isa, Present};

/// A way in which kernels find the rows of their left side and of their result.
pub(crate) trait Addressing: Sized + 'static {
    /// The argument of such a kernel: one tile of a product.
    type Tile<'a>;

    /// The table's rows for this addressing, best first, with at least one for each instruction set.
    const KERNELS: &'static [MicroKernel<Self>];
}

/// How the right side is arranged in panels. For each step along the inner dimension, a panel has one slot per column, filled up with zeros to
/// whole vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packing {
    /// Slots of a vector.
    pub(crate) lanes: usize,
    /// Vectors of the widest panel.
    pub(crate) vectors: usize,
    /// Whether the kernel also computes narrower panels. If not, all are equally wide, and the last is filled up with zeros.
    pub(crate) narrower: bool,
}

impl Packing {
    /// Columns of the widest panel.
    pub(crate) const fn columns(self) -> usize {
        self.lanes * self.vectors
    }

    /// Widths of the panels that make up `columns`, in vectors. They are as wide as possible, but two and two instead of three and one,
    /// because a tile that is one vector wide waits for its loads.
    pub(super) fn widths(self, columns: usize) -> Vec<usize> {
        let (most, mut left) = (self.vectors, columns.div_ceil(self.lanes));
        if !self.narrower {
            return vec![most; left.div_ceil(most)];
        }
        let mut widths = Vec::with_capacity(left.div_ceil(most));
        while left > most && left != 4 {
            widths.push(most);
            left -= most;
        }
        match left {
            0 => {}
            4 if most < 4 => widths.extend([2, 2]),
            _ => widths.push(left),
        }
        widths
    }
}

/// A row of the table: a function that computes a tile, with the instructions and the packing that it needs.
pub(crate) struct MicroKernel<A: Addressing> {
    pub(super) name: &'static str,
    pub(super) isa: Isa,
    /// Rows of the largest tile.
    pub(crate) rows: usize,
    /// How it reads the right side.
    pub(crate) packing: Packing,
    /// The part of the processor's peak that it reaches at least if its inputs are in the first-level cache, from 0 to 1.
    pub(super) share: f64,
    pub(super) run: unsafe fn(&A::Tile<'_>),
}

impl<A: Addressing> MicroKernel<A> {
    /// The kernel for these instructions. Code outside of `linalg` can get a kernel in no other way, so the machine has the instructions of
    /// every kernel that it holds.
    pub(crate) fn of(isa: Present) -> &'static Self {
        let row = A::KERNELS.iter().find(|kernel| kernel.isa == isa.isa());
        row.expect("the table has a kernel for each instruction set")
    }

    /// Computes a tile.
    ///
    /// # Safety
    /// The addresses in the tile are valid, as its fields say.
    #[inline(always)]
    pub(crate) unsafe fn run(&self, tile: &A::Tile<'_>) {
        // SAFETY: the machine has the kernel's instructions (see `of`), and the tile's addresses are valid.
        unsafe { (self.run)(tile) }
    }
}

impl<A: Addressing> fmt::Debug for MicroKernel<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_panel_of_one_vector_lies_beside_one_of_three() {
        let packing = Packing { lanes: 4, vectors: 3, narrower: true };
        assert_eq!(packing.widths(4 * 7), [3, 2, 2]);
        assert_eq!(packing.widths(4 * 6), [3, 3]);
        assert_eq!(packing.widths(4 * 5 - 1), [3, 2]);
        assert_eq!(packing.widths(1), [1]);
    }
}
