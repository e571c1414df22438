//! Products of rows, on which the other modules rest.
//!
//! [`dots`] multiplies rows by rows (for logits and similarities), and [`combine`] adds up rows with weights (for gradients). Both suit few rows of
//! weights or few queries; [`crate::pairs`] multiplies all pairs. They keep a tile of sums in registers and read rows where they lie, so that a
//! subset of a matrix is a list of its rows and never a copy. The result of a row does not depend on the rows beside it, so the number of
//! threads changes no bit.

use std::sync::OnceLock;

use crate::table::Matrix;

/// Rows and columns of a tile of sums.
const TILE: usize = 4;

/// The instruction sets for which the loops are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

pub(crate) fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                return Isa::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Plain
    })
}

/// `a * b + c`, in one instruction if `FMA`.
#[inline(always)]
pub(crate) fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The scalar products of `ROWS` rows with `COLUMNS` columns.
#[inline(always)]
fn dot_tile<const ROWS: usize, const COLUMNS: usize, const LANES: usize, const FMA: bool>(
    rows: [&[f32]; ROWS],
    columns: [&[f32]; COLUMNS],
) -> [[f32; COLUMNS]; ROWS] {
    let width = rows[0].len();
    let whole = width / LANES * LANES;
    let mut sums = [[[0_f32; LANES]; COLUMNS]; ROWS];
    for at in (0..whole).step_by(LANES) {
        let of = |row: &[f32]| -> [f32; LANES] { row[at..at + LANES].try_into().expect("a slice of LANES values") };
        let (rows, columns) = (rows.map(of), columns.map(of));
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                for lane in 0..LANES {
                    let sum = &mut sums[row][column][lane];
                    *sum = fused::<FMA>(rows[row][lane], columns[column][lane], *sum);
                }
            }
        }
    }
    let mut out = [[0_f32; COLUMNS]; ROWS];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let rest: f32 = (whole..width).map(|at| rows[row][at] * columns[column][at]).sum();
            // The second half of the lanes is added to the first, again and again, which keeps rounding errors small.
            let mut lanes = sums[row][column];
            let mut count = LANES;
            while count > 1 {
                count /= 2;
                (0..count).for_each(|lane| lanes[lane] += lanes[lane + count]);
            }
            out[row][column] = lanes[0] + rest;
        }
    }
    out
}

/// Writes the scalar products of `rows` with `columns` to `out`, `[rows, columns]`.
#[inline(always)]
fn dots_body<const LANES: usize, const FMA: bool>(rows: &[&[f32]], columns: &[&[f32]], out: &mut [f32]) {
    let stride = columns.len();
    let (row_tiles, single_rows) = rows.as_chunks::<TILE>();
    let (column_tiles, single_columns) = columns.as_chunks::<TILE>();
    let first_single_column = column_tiles.len() * TILE;
    // The outer loop goes over columns: a tile of them stays in the first-level cache while it is multiplied with all rows.
    for (tile, columns) in column_tiles.iter().enumerate() {
        let mut put = |row: usize, sums: [f32; TILE]| {
            out[row * stride + tile * TILE..][..TILE].copy_from_slice(&sums);
        };
        for (at, rows) in row_tiles.iter().enumerate() {
            let sums = dot_tile::<TILE, TILE, LANES, FMA>(*rows, *columns);
            sums.into_iter().enumerate().for_each(|(row, sums)| put(at * TILE + row, sums));
        }
        for (row, single) in single_rows.iter().enumerate() {
            put(row_tiles.len() * TILE + row, dot_tile::<1, TILE, LANES, FMA>([*single], *columns)[0]);
        }
    }
    for (column, single) in single_columns.iter().enumerate() {
        let column = first_single_column + column;
        for (at, rows) in row_tiles.iter().enumerate() {
            let sums = dot_tile::<TILE, 1, LANES, FMA>(*rows, [*single]);
            sums.into_iter().enumerate().for_each(|(row, [sum])| out[(at * TILE + row) * stride + column] = sum);
        }
        for (row, single_row) in single_rows.iter().enumerate() {
            let [[sum]] = dot_tile::<1, 1, LANES, FMA>([*single_row], [*single]);
            out[(row_tiles.len() * TILE + row) * stride + column] = sum;
        }
    }
}

/// Adds all rows, each times its weight for that sum, to `LANES` values (from `at` on) of each of `COLUMNS` sums.
#[inline(always)]
fn combine_tile<const COLUMNS: usize, const LANES: usize, const FMA: bool>(
    rows: &[&[f32]],
    weights: &[f32],
    columns: (usize, usize),
    at: usize,
    out: &mut [f32],
) {
    let (first, stride) = columns;
    let mut sums = [[0_f32; LANES]; COLUMNS];
    for (row, weights) in rows.iter().zip(weights.chunks_exact(stride)) {
        let row: [f32; LANES] = row[at..at + LANES].try_into().expect("a slice of LANES values");
        let weights: [f32; COLUMNS] = weights[first..first + COLUMNS].try_into().expect("a slice of COLUMNS weights");
        for column in 0..COLUMNS {
            for lane in 0..LANES {
                sums[column][lane] = fused::<FMA>(weights[column], row[lane], sums[column][lane]);
            }
        }
    }
    let width = rows.first().map_or(0, |row| row.len());
    for (column, sums) in sums.iter().enumerate() {
        let out = &mut out[(first + column) * width + at..][..LANES];
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
    }
}

/// Adds each row times its `weights`, `[rows, sums]`, to `out`, `[sums, width]`.
#[inline(always)]
fn combine_body<const LANES: usize, const FMA: bool>(rows: &[&[f32]], weights: &[f32], count: usize, out: &mut [f32]) {
    let width = rows.first().map_or(0, |row| row.len());
    let mut at = 0;
    let mut tiles = |at: usize, wide: bool| {
        let mut first = 0;
        while first < count {
            let four = count - first >= TILE;
            let columns = (first, count);
            match (four, wide) {
                (true, true) => combine_tile::<TILE, LANES, FMA>(rows, weights, columns, at, out),
                (false, true) => combine_tile::<1, LANES, FMA>(rows, weights, columns, at, out),
                (true, false) => combine_tile::<TILE, 1, FMA>(rows, weights, columns, at, out),
                (false, false) => combine_tile::<1, 1, FMA>(rows, weights, columns, at, out),
            }
            first += if four { TILE } else { 1 };
        }
    };
    while at < width {
        let wide = width - at >= LANES;
        tiles(at, wide);
        at += if wide { LANES } else { 1 };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dots_avx512(rows: &[&[f32]], columns: &[&[f32]], out: &mut [f32]) {
    dots_body::<16, true>(rows, columns, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dots_avx2(rows: &[&[f32]], columns: &[&[f32]], out: &mut [f32]) {
    // Sixteen sums take one register each; with two each, they would not fit.
    dots_body::<8, true>(rows, columns, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn combine_avx512(rows: &[&[f32]], weights: &[f32], count: usize, out: &mut [f32]) {
    combine_body::<64, true>(rows, weights, count, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn combine_avx2(rows: &[&[f32]], weights: &[f32], count: usize, out: &mut [f32]) {
    combine_body::<16, true>(rows, weights, count, out);
}

/// Writes the scalar products of `rows` with `columns` to `out`, `[rows, columns]`.
///
/// # Panics
/// If rows and columns are not equally long, or `out` does not have one value for each pair.
pub(crate) fn dots(rows: &[&[f32]], columns: &[&[f32]], out: &mut [f32]) {
    assert_eq!(out.len(), rows.len() * columns.len(), "`out` must have one value for each pair");
    let width = rows.first().map_or(0, |row| row.len());
    assert!(rows.iter().chain(columns).all(|row| row.len() == width), "rows and columns must be equally long");
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` has found this instruction set on this machine.
        Isa::Avx512 => unsafe { dots_avx512(rows, columns, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` has found both instruction sets on this machine.
        Isa::Avx2 => unsafe { dots_avx2(rows, columns, out) },
        Isa::Plain => dots_body::<4, { cfg!(target_arch = "aarch64") }>(rows, columns, out),
    }
}

/// Adds each row times its `weights`, `[rows, sums]`, to `out`, `[sums, width]`.
///
/// # Panics
/// If rows are not equally long, or the length of `weights` or `out` is wrong.
pub(crate) fn combine(rows: &[&[f32]], weights: &[f32], out: &mut [f32]) {
    let Some(first) = rows.first() else { return };
    let count = weights.len() / rows.len();
    assert!(rows.iter().all(|row| row.len() == first.len()), "rows must be equally long");
    assert_eq!(
        (weights.len(), out.len()),
        (rows.len() * count, count * first.len()),
        "there must be a weight for each row and sum"
    );
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` has found this instruction set on this machine.
        Isa::Avx512 => unsafe { combine_avx512(rows, weights, count, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` has found both instruction sets on this machine.
        Isa::Avx2 => unsafe { combine_avx2(rows, weights, count, out) },
        Isa::Plain => combine_body::<8, { cfg!(target_arch = "aarch64") }>(rows, weights, count, out),
    }
}

/// The rows of a matrix from `first` on, at most `count` of them.
pub(crate) fn block(matrix: &Matrix, first: usize, count: usize) -> Vec<&[f32]> {
    (first..matrix.len().min(first + count)).map(|row| matrix.row(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    type Dots = fn(&[&[f32]], &[&[f32]], &mut [f32]);
    type Combine = fn(&[&[f32]], &[f32], usize, &mut [f32]);

    fn every_isa() -> Vec<(&'static str, Dots, Combine)> {
        let mut all: Vec<(&'static str, Dots, Combine)> = vec![
            ("plain", dots_body::<4, false>, combine_body::<8, false>),
            ("the best of this machine", dots, |rows, weights, _, out| combine(rows, weights, out)),
        ];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: this machine has both instruction sets.
            let dots: Dots = |rows, columns, out| unsafe { dots_avx2(rows, columns, out) };
            // SAFETY: this machine has both instruction sets.
            let combine: Combine = |rows, weights, count, out| unsafe { combine_avx2(rows, weights, count, out) };
            all.push(("avx2", dots, combine));
        }
        all
    }

    #[test]
    fn products_and_sums_of_any_shape_equal_plain_loops_in_double_precision() {
        let mut random = Random::new(1, 0);
        for (rows, columns, width) in [(1, 1, 1), (4, 4, 16), (5, 3, 7), (9, 6, 33), (64, 1, 1280), (13, 11, 130)] {
            let mut values = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32).collect() };
            let (a, b, weights) = (values(rows * width), values(columns * width), values(rows * columns));
            let a: Vec<&[f32]> = a.chunks_exact(width).collect();
            let b: Vec<&[f32]> = b.chunks_exact(width).collect();
            let close = |found: f32, expected: f64| (f64::from(found) - expected).abs() < 1e-3;
            for (name, dots, combine) in every_isa() {
                let mut out = vec![0.0; rows * columns];
                dots(&a, &b, &mut out);
                for (at, &found) in out.iter().enumerate() {
                    let pairs = a[at / columns].iter().zip(b[at % columns]);
                    let expected: f64 = pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                    assert!(close(found, expected), "{name}, {rows}x{columns}x{width}: {found} is not {expected}");
                }
                let mut out = vec![1.0; columns * width];
                combine(&a, &weights, columns, &mut out);
                for (at, &found) in out.iter().enumerate() {
                    let of =
                        |row: usize| f64::from(weights[row * columns + at / width]) * f64::from(a[row][at % width]);
                    let expected = 1.0 + (0..rows).map(of).sum::<f64>();
                    assert!(close(found, expected), "{name}, {rows}x{columns}x{width}: {found} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn the_product_of_two_rows_has_the_same_bits_wherever_they_stand() {
        let mut random = Random::new(2, 0);
        let values: Vec<f32> = (0..7 * 50).map(|_| random.normal() as f32).collect();
        let rows: Vec<&[f32]> = values.chunks_exact(50).collect();
        let mut all = vec![0.0; 49];
        dots(&rows, &rows, &mut all);
        for (at, &together) in all.iter().enumerate() {
            let mut alone = [0.0];
            dots(&[rows[at / 7]], &[rows[at % 7]], &mut alone);
            assert_eq!(together.to_bits(), alone[0].to_bits());
        }
    }
}
