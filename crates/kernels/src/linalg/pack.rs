//! The right side of a product, packed in panels.

use crate::parallel::{Divide as _, Parts as _};

use super::micro::{Addressing, MicroKernel};
use super::strided::{Strided, WIDEST};
use crate::isa::Present;
use crate::memory::{Aligned, OutOfMemory};
use crate::simd::vectorised;

/// Rows that are packed together if the source is transposed.
const BLOCK: usize = 16;

/// Where a panel lies, and which columns it has.
#[derive(Debug, Clone, Copy)]
struct Cut {
    first: usize,
    columns: usize,
    vectors: usize,
    at: usize,
}

/// A panel of a packed matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// Its first column.
    pub(crate) first: usize,
    /// How many columns it has.
    pub(crate) columns: usize,
    /// How many vectors hold them.
    pub(crate) vectors: usize,
    /// The slots: for each step, `vectors` vectors of them.
    pub(crate) values: &'a [f32],
}

/// The right side of a product, `[depth, columns]`, packed for the kernel that reads it.
#[derive(Debug)]
pub(crate) struct Packed<A: Addressing> {
    kernel: &'static MicroKernel<A>,
    depth: usize,
    columns: usize,
    cuts: Vec<Cut>,
    values: Aligned,
}

impl<A: Addressing> Packed<A> {
    /// An empty one, for a matrix that is packed later for the kernel of these instructions.
    pub(crate) fn new(isa: Present) -> Self {
        Self::with(MicroKernel::of(isa))
    }

    /// An empty one, for a matrix that is packed later for this kernel.
    pub(super) fn with(kernel: &'static MicroKernel<A>) -> Self {
        Self { kernel, depth: 0, columns: 0, cuts: Vec::new(), values: Aligned::default() }
    }

    /// The kernel that reads it.
    #[inline(always)]
    pub(crate) fn kernel(&self) -> &'static MicroKernel<A> {
        self.kernel
    }

    /// Steps along the inner dimension.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// How many panels there are.
    pub(crate) fn len(&self) -> usize {
        self.cuts.len()
    }

    /// One of the panels.
    #[inline(always)]
    pub(crate) fn panel(&self, at: usize) -> Panel<'_> {
        let Cut { first, columns, vectors, at } = self.cuts[at];
        let values = &self.values[at..at + self.depth * vectors * self.kernel.packing.lanes];
        Panel { first, columns, vectors, values }
    }

    /// All panels in order.
    pub(crate) fn panels(&self) -> impl Iterator<Item = Panel<'_>> {
        (0..self.len()).map(|at| self.panel(at))
    }

    /// Makes room for a matrix whose panels the caller fills.
    pub(super) fn room(&mut self, [depth, columns]: [usize; 2]) -> Result<&mut [f32], OutOfMemory> {
        (self.depth, self.columns) = (depth, columns);
        self.cuts.clear();
        let packing = self.kernel.packing;
        let (mut first, mut at) = (0, 0);
        for vectors in packing.widths(columns) {
            let wide = vectors * packing.lanes;
            self.cuts.push(Cut { first, columns: wide.min(columns - first), vectors, at });
            (first, at) = (first + wide, at + depth * wide);
        }
        self.values.grow(at, "weights")?;
        Ok(&mut self.values[..at])
    }

    /// Packs a matrix `[depth, columns]` whose values are `value(step, column)`.
    pub(crate) fn fill(
        &mut self,
        [depth, columns]: [usize; 2],
        value: impl Fn(usize, usize) -> f32,
    ) -> Result<(), OutOfMemory> {
        self.room([depth, columns])?;
        for cut in &self.cuts {
            let wide = cut.vectors * self.kernel.packing.lanes;
            for (step, line) in self.values[cut.at..][..depth * wide].chunks_exact_mut(wide).enumerate() {
                for (column, slot) in line.iter_mut().enumerate() {
                    *slot = if column < cut.columns { value(step, cut.first + column) } else { 0.0 };
                }
            }
        }
        Ok(())
    }
}

impl Packed<Strided> {
    /// Makes room for a matrix `[depth, columns]`. The caller writes its values to their places, and zeros to the places of columns that the
    /// last panel does not have.
    ///
    /// # Panics
    /// If there is no memory for it. This is no error because the parameters of the network, of the same size, have been given memory before.
    pub(crate) fn places(&mut self, shape: [usize; 2]) -> (Places, &mut [f32]) {
        let places = Places { depth: shape[0], wide: self.kernel.packing.columns() };
        (places, self.room(shape).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Packs `value(step, column) = source[step * row + column * across]`, each value times `scale[step]` or `scale[column]`.
    ///
    /// # Panics
    /// In the cases of [`Packed::places`], and if neither `row` nor `across` is 1: the values of a row or those of a column must be consecutive.
    pub(crate) fn pack(&mut self, shape: [usize; 2], source: &[f32], [row, across]: [usize; 2], scale: Scale<'_>) {
        let [depth, columns] = shape;
        let present = self.kernel.isa.present().expect("the machine has the instructions of the kernel");
        let isa = present.for_loops();
        let (Places { wide, .. }, room) = self.places(shape);
        assert!(across == 1 || row == 1, "neither the values of a row nor those of a column are consecutive");
        room.par_chunks_mut((depth * wide).max(1)).enumerate().for_each(|(panel, out)| {
            let first = panel * wide;
            let width = wide.min(columns - first);
            let mut line = [1.0_f32; WIDEST];
            if let Scale::Columns(scale) = scale {
                line[..width].copy_from_slice(&scale[first..first + width]);
            }
            let source = &source[first * across..];
            match across {
                1 => pack_rows(isa, source, row, &line[..width], wide, out),
                _ => pack_columns(isa, source, across, &line[..width], wide, out),
            }
            if let Scale::Rows(scale) = scale {
                for (out, factor) in out.chunks_exact_mut(wide).zip(scale) {
                    out.iter_mut().for_each(|value| *value *= factor);
                }
            }
        });
    }
}

vectorised! {
    /// Packs a panel of `wide` columns from rows that are `row` values apart; each column is multiplied by its factor.
    fn pack_rows(source: &[f32], row: usize, factors: &[f32], wide: usize, out: &mut [f32]) => pack_rows_body
}

#[inline(always)]
fn pack_rows_body<const FUSED: bool>(source: &[f32], row: usize, factors: &[f32], wide: usize, out: &mut [f32]) {
    for (step, out) in out.chunks_exact_mut(wide).enumerate() {
        let (line, rest) = out.split_at_mut(factors.len());
        for ((out, value), factor) in line.iter_mut().zip(&source[step * row..]).zip(factors) {
            *out = value * factor;
        }
        rest.fill(0.0);
    }
}

vectorised! {
    /// Packs a panel of `wide` columns that are `across` values apart; each is multiplied by its factor.
    fn pack_columns(source: &[f32], across: usize, factors: &[f32], wide: usize, out: &mut [f32]) => pack_columns_body
}

#[inline(always)]
fn pack_columns_body<const FUSED: bool>(source: &[f32], across: usize, factors: &[f32], wide: usize, out: &mut [f32]) {
    // Blocks of rows stay in the first-level cache on both sides.
    for (block, out) in out.chunks_mut(BLOCK * wide).enumerate() {
        let steps = out.len() / wide;
        let source = &source[block * BLOCK..];
        // Four columns at once, so that four values are stored together.
        let fours = factors.as_chunks::<4>().0;
        for (four, &[f, g, h, i]) in fours.iter().enumerate() {
            let source = &source[4 * four * across..];
            let (a, b) = (&source[..steps], &source[across..][..steps]);
            let (c, d) = (&source[2 * across..][..steps], &source[3 * across..][..steps]);
            for ((((out, a), b), c), d) in out.chunks_exact_mut(wide).zip(a).zip(b).zip(c).zip(d) {
                let out = &mut out[4 * four..];
                if let Some(out) = out.first_chunk_mut::<4>() {
                    *out = [a * f, b * g, c * h, d * i];
                }
            }
        }
        for at in 4 * fours.len()..factors.len() {
            let values = source[at * across..][..steps].iter().map(|value| value * factors[at]);
            out[at..].iter_mut().step_by(wide).zip(values).for_each(|(out, value)| *out = value);
        }
        out.chunks_exact_mut(wide).for_each(|out| out[factors.len()..].fill(0.0));
    }
}

/// The places of values in a packed matrix whose panels are all equally wide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    depth: usize,
    /// Columns of a panel.
    pub(crate) wide: usize,
}

impl Places {
    /// The slot of a step and a column. The slots of the next columns follow it, up to the end of the panel.
    #[inline(always)]
    pub(crate) fn of(self, step: usize, column: usize) -> usize {
        (column / self.wide * self.depth + step) * self.wide + column % self.wide
    }
}

/// Factors that go into a packed matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scale<'a> {
    /// None.
    One,
    /// One per row.
    Rows(&'a [f32]),
    /// One per column.
    Columns(&'a [f32]),
}

#[cfg(test)]
mod tests {
    use super::super::addressed::Addressed;
    use super::super::micro::Packing;
    use super::*;

    #[test]
    fn panels_hold_every_column_once_and_zeros_beside_them() {
        fn check<A: Addressing>() {
            for kernel in A::KERNELS {
                let Packing { lanes, vectors, narrower } = kernel.packing;
                for columns in 0..if cfg!(miri) { 20 } else { 150 } {
                    let mut packed = Packed::with(kernel);
                    packed
                        .fill([3, columns], |step, column| (1 + step * 1000 + column) as f32)
                        .expect("a little memory");
                    let mut next = 0;
                    for panel in packed.panels() {
                        assert_eq!(panel.first, next);
                        assert!(panel.vectors <= vectors && (narrower || panel.vectors == vectors));
                        for (step, line) in panel.values.chunks_exact(panel.vectors * lanes).enumerate() {
                            for (column, &slot) in line.iter().enumerate() {
                                let there = column < panel.columns;
                                let expected = if there { (1 + step * 1000 + next + column) as f32 } else { 0.0 };
                                assert_eq!(slot, expected);
                            }
                        }
                        next += panel.columns;
                    }
                    assert_eq!(next, columns);
                }
            }
        }
        check::<Addressed>();
        check::<Strided>();
    }
}
