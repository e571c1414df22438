//! Transposed copies of matrices.

use crate::simd::{Simd, vectorised};

vectorised! {
    /// Transposes `matrix`, whose rows have `columns` values, to `out`, whose rows have as many values as `matrix` has rows.
    pub(crate) fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) => transpose_body::<S>
}

#[inline(always)]
unsafe fn transpose_body<S: Simd>(matrix: &[f32], columns: usize, out: &mut [f32]) {
    let rows = matrix.len() / columns;
    let whole = [rows, columns].map(|side| side - side % S::LANES);
    for first in (0..whole[1]).step_by(S::LANES) {
        for row in (0..whole[0]).step_by(S::LANES) {
            // SAFETY: the type's instructions are there.
            unsafe { transpose_square::<S>((matrix, row * columns + first, columns), (out, first * rows + row, rows)) };
        }
    }
    for row in 0..rows {
        let first = if row < whole[0] { whole[1] } else { 0 };
        for column in first..columns {
            out[column * rows + row] = matrix[row * columns + column];
        }
    }
}

/// Transposes a square of as many rows and columns as a vector has lanes. Of both matrices, it gets the square's first place, and the number of
/// values from one row to the next.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
pub(super) unsafe fn transpose_square<S: Simd>(
    (from, at, row): (&[f32], usize, usize),
    (to, to_at, to_row): (&mut [f32], usize, usize),
) {
    // SAFETY: the instructions of `S` are there.
    unsafe {
        let mut rows = [S::splat(0.0); 16];
        for (i, values) in rows.iter_mut().enumerate().take(S::LANES) {
            *values = S::from_slice(from, at + i * row);
        }
        // Each round interleaves the rows of the first half with those of the second. After as many rounds as the number of a row has bits, the
        // number of a value's row and that of its column have changed places.
        for _ in 0..S::LANES.ilog2() {
            let before = rows;
            for i in 0..S::LANES / 2 {
                [rows[2 * i], rows[2 * i + 1]] = S::interleave(before[i], before[i + S::LANES / 2]);
            }
        }
        for (i, values) in rows.into_iter().enumerate().take(S::LANES) {
            S::to_slice(to, to_at + i * to_row, values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn rows_become_columns() {
        for isa in Isa::available().into_iter().filter_map(Isa::present) {
            for [rows, columns] in [[16, 16], [32, 48], [5, 3], [17, 40], [1, 33], [70, 1], [20, 4]] {
                let matrix: Vec<f32> = (0..rows * columns).map(|at| at as f32).collect();
                let mut out = vec![f32::NAN; rows * columns];
                transpose(isa.for_loops(), &matrix, columns, &mut out);
                for (at, found) in out.into_iter().enumerate() {
                    assert_eq!(found, matrix[at % rows * columns + at / rows], "{isa:?}, {rows}x{columns}, {at}");
                }
            }
        }
    }
}
