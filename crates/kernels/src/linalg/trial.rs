//! Products with a chosen kernel: tests compute them with every row of the table, and the benchmark measures them.

use super::addressed::{self, Addressed, Shared, ZEROS};
use super::micro::{Addressing, MicroKernel};
use super::pack::Packed;
use super::product::{Epilogue, multiply};
use super::strided::Strided;
use crate::isa::Isa;
use crate::memory::OutOfMemory;
use crate::simd::{Simd, per_isa};

/// A row of the table of micro-kernels that this machine can run.
#[derive(Debug, Clone, Copy)]
pub struct Kernel(Row);

#[derive(Debug, Clone, Copy)]
enum Row {
    Addressed(&'static MicroKernel<Addressed>),
    Strided(&'static MicroKernel<Strided>),
}

/// All rows of the table that this machine can run. Among those for the same addressing, the one that programs choose comes first.
pub fn kernels() -> Vec<Kernel> {
    fn present<A: Addressing>() -> impl Iterator<Item = &'static MicroKernel<A>> {
        A::KERNELS.iter().filter(|kernel| kernel.isa.present().is_some())
    }
    let addressed = present::<Addressed>().map(Row::Addressed);
    addressed.chain(present::<Strided>().map(Row::Strided)).map(Kernel).collect()
}

impl Kernel {
    /// Its name, such as `strided 8x48, AVX-512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Row::Addressed(kernel) => kernel.name,
            Row::Strided(kernel) => kernel.name,
        }
    }

    /// The instructions that it is written in.
    pub fn isa(self) -> Isa {
        match self.0 {
            Row::Addressed(kernel) => kernel.isa,
            Row::Strided(kernel) => kernel.isa,
        }
    }

    /// Rows and columns of its largest tile.
    pub fn tile(self) -> [usize; 2] {
        match self.0 {
            Row::Addressed(kernel) => [kernel.rows, kernel.packing.columns()],
            Row::Strided(kernel) => [kernel.rows, kernel.packing.columns()],
        }
    }

    /// The part of the peak ([`multiply_registers`]) that it reaches at least if its inputs are in the first-level cache, from 0 to 1.
    pub fn share(self) -> f64 {
        match self.0 {
            Row::Addressed(kernel) => kernel.share,
            Row::Strided(kernel) => kernel.share,
        }
    }

    /// Whether programs for [`Isa::detect`] compute with it.
    pub fn is_chosen(self) -> bool {
        self.isa() == Isa::detect()
    }

    /// Whether a program could choose it instead of `other`, because both find their rows in the same way.
    pub fn rivals(self, other: Self) -> bool {
        std::mem::discriminant(&self.0) == std::mem::discriminant(&other.0)
    }

    /// Packs the right side of a product, `[depth, columns]` row by row.
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no memory for the packed copy.
    ///
    /// # Panics
    /// If `right` does not have `depth * columns` values.
    pub fn pack(self, [depth, columns]: [usize; 2], right: &[f32]) -> Result<Trial, OutOfMemory> {
        assert_eq!(right.len(), depth * columns, "the right side has another length");
        let value = |step: usize, column: usize| right[step * columns + column];
        match self.0 {
            Row::Addressed(kernel) => {
                let mut packed = Packed::with(kernel);
                packed.fill([depth, columns], value)?;
                Ok(Trial(Side::Addressed(packed)))
            }
            Row::Strided(kernel) => {
                let mut packed = Packed::with(kernel);
                packed.fill([depth, columns], value)?;
                Ok(Trial(Side::Strided(packed)))
            }
        }
    }
}

/// A right side, packed for a kernel.
#[derive(Debug)]
pub struct Trial(Side);

#[derive(Debug)]
enum Side {
    Addressed(Packed<Addressed>),
    Strided(Packed<Strided>),
}

impl Trial {
    /// `result = left · right` in this thread; `left` is `[rows, depth]`, `result` is `[rows, columns]`.
    ///
    /// # Panics
    /// If `left` or `result` has another length.
    pub fn run(&self, rows: usize, left: &[f32], result: &mut [f32]) {
        let (depth, columns) = match &self.0 {
            Side::Addressed(right) => (right.depth(), right.columns()),
            Side::Strided(right) => (right.depth(), right.columns()),
        };
        assert_eq!((left.len(), result.len()), (rows * depth, rows * columns), "a side has another length");
        match &self.0 {
            Side::Addressed(right) => addressed(right, left, result),
            Side::Strided(right) => multiply(rows, left, depth, right, result, columns, Epilogue::plain(false)),
        }
    }
}

/// Computes a product with an addressed kernel as a convolution does: in blocks of rows whose values stay in the cache for all panels.
fn addressed(right: &Packed<Addressed>, left: &[f32], result: &mut [f32]) {
    const BLOCK: usize = 128;
    let (depth, columns, kernel) = (right.depth(), right.columns(), right.kernel());
    if columns == 0 {
        return;
    }
    for (block, result) in result.chunks_mut(BLOCK * columns).enumerate() {
        let rows = result.len() / columns;
        let left: Vec<*const f32> = (0..rows).map(|row| left[(block * BLOCK + row) * depth..].as_ptr()).collect();
        let base = result.as_mut_ptr();
        let result: Vec<*mut f32> = (0..rows).map(|row| base.wrapping_add(row * columns)).collect();
        for right in right.panels() {
            let (taps, to) = (&[0], right.first);
            let panel = Shared { right, taps, run: depth, start: &ZEROS, from: 0, to, clip: None, next: right };
            let tiles = rows.div_ceil(kernel.rows);
            for tile in 0..tiles {
                let range = tile * rows / tiles..(tile + 1) * rows / tiles;
                let (ahead, after) = (panel.ahead(tile), left[range.end % rows]);
                let (left, result) = (&left[range.clone()], &result[range]);
                let tile = addressed::Tile { panel: &panel, left, result, residual: None, ahead, after };
                // SAFETY: each address on the left is that of `depth` values, each of the result that of a row of `columns` values,
                // of which the panel's are some; no other code accesses the result.
                unsafe { kernel.run(&tile) };
            }
        }
    }
}

/// Multiplies and adds on registers alone, in this thread, for a fraction of a millisecond, and returns the number of floating-point
/// operations. Timed by the caller, it gives the peak of one core. `None` if this machine does not have the instructions.
pub fn multiply_registers(isa: Isa) -> Option<usize> {
    let isa = isa.present()?;
    let turns = 20_000;
    // SAFETY: the job has no addresses.
    unsafe { chains(isa, &Chains { turns }) };
    Some(2 * turns * CHAINS * isa.isa().lanes())
}

/// Number of independent chains of sums: more than a processor needs to keep all its units busy.
const CHAINS: usize = 12;

struct Chains {
    turns: usize,
}

per_isa! {
    /// Adds products to sums that stay in registers.
    chains = chains_kernel(Chains)
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn chains_kernel<S: Simd>(job: &Chains) {
    // SAFETY: the instructions of `S` are there; the store goes to an array of the widest vector.
    unsafe {
        let (a, b) = (S::splat(std::hint::black_box(1.0)), S::splat(std::hint::black_box(1e-9)));
        let mut sums = [b; CHAINS];
        for _ in 0..job.turns {
            for i in 0..CHAINS {
                sums[i] = S::fma(a, b, sums[i]);
            }
        }
        let mut all = sums[0];
        for i in 1..CHAINS {
            all = S::add(all, sums[i]);
        }
        let mut out = [0.0_f32; 16];
        S::store(out.as_mut_ptr(), all);
        std::hint::black_box(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_computes_products_of_any_shape() {
        let value = |seed: usize| ((seed * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
        let shapes = if cfg!(miri) {
            vec![[0, 2, 3], [5, 3, 17], [13, 2, 33]]
        } else {
            vec![[0, 4, 3], [1, 1, 1], [3, 0, 5], [15, 37, 31], [14, 400, 32], [200, 9, 100], [129, 64, 47]]
        };
        for kernel in kernels() {
            for &[rows, depth, columns] in &shapes {
                let left: Vec<f32> = (0..rows * depth).map(value).collect();
                let right: Vec<f32> = (0..depth * columns).map(|at| value(at + 5)).collect();
                let mut result = vec![f32::NAN; rows * columns];
                kernel.pack([depth, columns], &right).expect("a little memory").run(rows, &left, &mut result);
                for (at, found) in result.iter().enumerate() {
                    let (row, column) = (at / columns, at % columns);
                    let product =
                        |step: usize| f64::from(left[row * depth + step]) * f64::from(right[step * columns + column]);
                    let expected: f64 = (0..depth).map(product).sum();
                    assert!(
                        (f64::from(*found) - expected).abs() < 1e-4,
                        "{}: {rows}x{depth}x{columns} at {row}, {column}: {found} for {expected}",
                        kernel.name()
                    );
                }
            }
        }
    }
}
