//! Transposed copies of matrices.

/// Columns that are transposed together: so few that their cache lines stay in the first-level cache on both sides.
const TOGETHER: usize = 16;

/// Transposes `matrix`, whose rows have `columns` values, to `out`, whose rows have as many values as `matrix` has rows.
pub(crate) fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    let rows = matrix.len() / columns;
    for first in (0..columns).step_by(TOGETHER) {
        for (i, row) in matrix.chunks_exact(columns).enumerate() {
            for (j, value) in row[first..columns.min(first + TOGETHER)].iter().enumerate() {
                out[(first + j) * rows + i] = *value;
            }
        }
    }
}
