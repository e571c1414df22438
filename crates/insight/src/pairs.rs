//! The scalar products of all pairs of images, each pair once: the product of a matrix with its transpose.
//!
//! Rows are taken in blocks. The later block of two is packed as columns, whose values are interleaved, so that a tile of sums stays in
//! registers while each value of a row multiplies many columns. The product of a pair depends only on its two rows, so the number of
//! threads changes no bit.

use crate::dense::{Isa, fused, isa};
use crate::table::Matrix;

/// Rows of a block. A packed block of 1,280 features fits into the second-level cache of a core. It is a multiple of the columns of each tile.
pub(crate) const BLOCK: usize = 192;
/// Number of values of a row whose products are added up before the sums are stored.
const DEPTH: usize = 256;
/// Rows of a tile of sums.
const ROWS: usize = 4;
/// Values in a cache line; packed columns begin at the start of one.
const LINE: usize = 16;

/// The columns of a block, each divided by its length.
#[derive(Debug)]
pub(crate) struct Packed {
    /// `[panels, width, columns of a tile]`, from `begin` on.
    values: Vec<f32>,
    begin: usize,
    columns: usize,
    width: usize,
}

/// One over the length of each row, and 0 for a row of zeros.
pub(crate) fn inverse_lengths(matrix: &Matrix) -> Vec<f32> {
    let of = |row: &[f32]| {
        let inverse = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().recip() as f32;
        if inverse.is_finite() { inverse } else { 0.0 }
    };
    matrix.rows().map(of).collect()
}

impl Packed {
    /// Packs the rows of a matrix from `first` on, at most [`BLOCK`] of them, as columns. `inverse` has one over the length of each row of the
    /// matrix.
    pub fn new(matrix: &Matrix, inverse: &[f32], first: usize) -> Self {
        let (width, columns, lanes) = (matrix.width(), BLOCK.min(matrix.len() - first), lanes(isa()));
        let mut values = vec![0.0; columns.next_multiple_of(lanes) * width + LINE];
        let begin = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        for column in 0..columns {
            let panel = &mut values[begin + column / lanes * lanes * width..][..lanes * width];
            let places = panel.iter_mut().skip(column % lanes).step_by(lanes);
            let row = matrix.row(first + column).iter();
            places.zip(row).for_each(|(place, value)| *place = value * inverse[first + column]);
        }
        Self { values, begin, columns, width }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Writes the products of rows with all columns to `out`, `[rows, BLOCK]`.
    ///
    /// # Panics
    /// If `out` has fewer rows, or a row has another width.
    pub fn multiply(&self, rows: &[&[f32]], out: &mut [[f32; BLOCK]]) {
        assert!(
            rows.len() <= out.len() && rows.iter().all(|row| row.len() == self.width),
            "`out` has too few rows, or a row has another width than the columns"
        );
        let panels = &self.values[self.begin..];
        match isa() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `isa` has found this instruction set on this machine.
            Isa::Avx512 => unsafe { multiply_avx512(rows, panels, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `isa` has found both instruction sets on this machine.
            Isa::Avx2 => unsafe { multiply_avx2(rows, panels, out) },
            Isa::Plain => multiply_body::<8, { cfg!(target_arch = "aarch64") }>(rows, panels, out),
        }
    }
}

/// Columns of a tile: as many as there are registers for the sums of four rows.
fn lanes(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => 64,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => 16,
        Isa::Plain => 8,
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_avx512(rows: &[&[f32]], panels: &[f32], out: &mut [[f32; BLOCK]]) {
    multiply_body::<64, true>(rows, panels, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_avx2(rows: &[&[f32]], panels: &[f32], out: &mut [[f32; BLOCK]]) {
    multiply_body::<16, true>(rows, panels, out);
}

/// Computes the products of rows with columns, in tiles of [`ROWS`] rows and `LANES` columns.
#[inline(always)]
fn multiply_body<const LANES: usize, const FMA: bool>(rows: &[&[f32]], panels: &[f32], out: &mut [[f32; BLOCK]]) {
    let width = rows.first().map_or(0, |row| row.len());
    let (panels, _) = panels.as_chunks::<LANES>();
    for from in (0..width).step_by(DEPTH) {
        let to = width.min(from + DEPTH);
        for (tile, out) in rows.chunks(ROWS).zip(out.chunks_mut(ROWS)) {
            // If the last tile has fewer rows, its last row is repeated.
            let row = |at: usize| &tile[at.min(tile.len() - 1)][from..to];
            let tile = [row(0), row(1), row(2), row(3)];
            for (panel, columns) in panels.chunks_exact(width).enumerate() {
                let sums = sums::<LANES, FMA>(tile, &columns[from..to]);
                for (out, sums) in out.iter_mut().zip(sums) {
                    let out = &mut out[panel * LANES..][..LANES];
                    match from {
                        0 => out.copy_from_slice(&sums),
                        _ => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum),
                    }
                }
            }
        }
    }
}

/// The scalar products of four rows with the columns of a panel.
#[inline(always)]
fn sums<const LANES: usize, const FMA: bool>(rows: [&[f32]; ROWS], columns: &[[f32; LANES]]) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0.0; LANES]; ROWS];
    let [a, b, c, d] = rows;
    for ((((columns, a), b), c), d) in columns.iter().zip(a).zip(b).zip(c).zip(d) {
        let values = [*a, *b, *c, *d];
        for row in 0..ROWS {
            for lane in 0..LANES {
                sums[row][lane] = fused::<FMA>(values[row], columns[lane], sums[row][lane]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn products_of_any_rows_and_columns_equal_plain_loops_in_double_precision() {
        let mut random = Random::new(3, 0);
        for (count, width) in [(1, 1), (5, 3), (13, 40), (BLOCK + 7, 300), (2 * BLOCK, 257)] {
            let values = (0..count * width).map(|_| random.normal() as f32).collect();
            let matrix = Matrix::new(width, values).expect("finite values");
            let (inverse, unit) = (inverse_lengths(&matrix), matrix.unit());
            let first = count / BLOCK * (BLOCK - 1) / 2;
            let rows = crate::dense::block(&matrix, 0, BLOCK);
            let packed = Packed::new(&matrix, &inverse, first);
            let mut out = vec![[f32::NAN; BLOCK]; BLOCK];
            packed.multiply(&rows, &mut out);
            let check = |what: &str, out: &[[f32; BLOCK]]| {
                for (row, products) in rows.iter().zip(out) {
                    for (column, &found) in products[..packed.columns()].iter().enumerate() {
                        let pairs = row.iter().zip(unit.row(first + column));
                        let expected: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                        assert!(
                            (f64::from(found) - expected).abs() < 1e-4,
                            "{what}, {count}x{width}: {found}, {expected}"
                        );
                    }
                }
            };
            check("the best of this machine", &out);
            let panels = &packed.values[packed.begin..];
            match lanes(isa()) {
                64 => multiply_body::<64, false>(&rows, panels, &mut out),
                16 => multiply_body::<16, false>(&rows, panels, &mut out),
                _ => multiply_body::<8, false>(&rows, panels, &mut out),
            }
            check("plain", &out);
        }
    }

    #[test]
    fn a_row_of_zeros_resembles_nothing() {
        let matrix = Matrix::new(2, vec![0.0, 0.0, 3.0, 4.0]).expect("finite values");
        let inverse = inverse_lengths(&matrix);
        assert_eq!(inverse, [0.0, 0.2]);
        let mut out = vec![[f32::NAN; BLOCK]; 2];
        Packed::new(&matrix, &inverse, 0).multiply(&[matrix.row(0), matrix.row(1)], &mut out);
        assert_eq!((out[0][..2].to_vec(), out[1][0]), (vec![0.0, 0.0], 0.0));
        assert!((out[1][1] - 5.0).abs() < 1e-6);
    }
}
