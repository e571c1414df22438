use std::fmt;

use super::pack::Packing;
use crate::isa::{Isa, Present};

/// How kernels find the rows of their left side and of their result.
pub(crate) trait Addressing: Sized + 'static {
    /// One tile of a product, as such a kernel is told of it.
    type Tile<'a>;

    /// The table's rows for this addressing, best first: one for each instruction set at least.
    const KERNELS: &'static [MicroKernel<Self>];
}

/// A row of the table: a function that computes a tile, and what it wants.
pub(crate) struct MicroKernel<A: Addressing> {
    pub(super) name: &'static str,
    pub(super) isa: Isa,
    /// Rows of the largest tile.
    pub(crate) rows: usize,
    /// How it reads the right side.
    pub(crate) packing: Packing,
    /// What it reaches at least of the processor's peak where all that it reads lies in the first cache.
    pub(super) share: f64,
    pub(super) run: unsafe fn(&A::Tile<'_>),
}

impl<A: Addressing> MicroKernel<A> {
    /// The kernel for these instructions. Nothing outside of `linalg` gets a kernel in another way, so that whoever has one is on
    /// a machine with its instructions.
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
