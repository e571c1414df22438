use super::*;
use crate::linalg::{Epilogue, Matrix, Multiplier, Scale, matmul_at_b, matmul_at_b_whole};

/// Numbers of both signs and very different sizes; a few are subnormal.
fn number(seed: usize) -> f32 {
    let bits = (seed as u32).wrapping_mul(2_654_435_761).rotate_left(9);
    let size = f32::from_bits((bits % 24 + 112) << 23 | bits & 0x7f_ffff);
    match bits % 97 {
        0 => f32::MIN_POSITIVE / 8.0,
        _ if bits & 0x100 == 0 => size,
        _ => -size,
    }
}

/// A product whose left side has its steps of `depth` numbers at given places.
struct Shape {
    rows: usize,
    columns: usize,
    depth: usize,
    steps: &'static [usize],
}

impl Shape {
    const fn new(rows: usize, columns: usize, depth: usize, steps: &'static [usize]) -> Self {
        Self { rows, columns, depth, steps }
    }

    /// Numbers from one row of the left side to the next.
    fn row(&self) -> usize {
        self.steps.iter().max().expect("steps") + self.depth + 6
    }

    fn left(&self, row: usize, step: usize) -> f32 {
        number(row * self.row() + self.steps[step / self.depth] + step % self.depth)
    }

    fn right(&self, step: usize, column: usize) -> f32 {
        number((step * self.columns + column + 1) << 9)
    }

    /// The sums that a unit computes, tile by tile: rows, and within them panels.
    fn sums(&self, unit: Unit) -> Vec<f32> {
        let Self { rows, columns, steps, .. } = *self;
        let unit = unit.present().expect("it is available");
        let depth = Depth::dividing(self.depth).expect("it is even");
        assert_eq!(depth.numbers(), self.depth);
        // NaN lies between the steps and after the last, and must not be read.
        let mut left = vec![Bf16::round(f32::NAN); ROWS * self.row()];
        for (row, values) in left.chunks_exact_mut(self.row()).enumerate() {
            for step in 0..steps.len() * self.depth {
                values[steps[step / self.depth] + step % self.depth] = Bf16::round(self.left(row, step));
            }
        }
        let shape = [steps.len() * self.depth, columns];
        let right =
            PackedPairs::new(unit, depth, shape, |step, column| self.right(step, column)).expect("a little memory");
        let ready = unit.ready(depth);
        let mut all = Vec::new();
        for first in (0..rows).step_by(right.rows()) {
            let here = right.rows().min(rows - first);
            // The tile is copied to memory of its own, with whole rows up to the most that a kernel has.
            let mut own = vec![Bf16::default(); ROWS * self.row()];
            own[..here * self.row()].copy_from_slice(&left[first * self.row()..][..here * self.row()]);
            let mut sums = Sums([[f32::NAN; COLUMNS]; ROWS]);
            for (_, columns, right_side) in right.panels() {
                let (left, left_row) = (own.as_ptr(), self.row());
                // The first step is computed by itself, and the others are added to its sums.
                let (first, others) = steps.split_at(1);
                let (first_right, right_side) = right_side.split_at(depth.pairs() * COLUMNS);
                let parts = [(false, first, first_right), (true, others, right_side)];
                for (adds, steps, right_side) in parts {
                    let (sums, sums_row) = (sums.0.as_flattened_mut().as_mut_ptr(), COLUMNS);
                    let rows = here;
                    let tile = Tile { rows, left, left_row, depth, steps, right: right_side, adds, sums, sums_row };
                    // SAFETY: the left side has 32 rows with all steps, and the panel too.
                    unsafe { right.multiply(&ready, &tile) };
                }
                all.extend(sums.0[..here].iter().flat_map(|row| (0..columns).map(|column| row[place(column)])));
            }
        }
        all
    }
}

const SHAPES: [Shape; 8] = [
    Shape::new(1, 1, 32, &[0]),
    Shape::new(16, 32, 32, &[0, 32]),
    Shape::new(17, 20, 32, &[64, 0]),
    Shape::new(32, 40, 32, &[5, 40, 100]),
    Shape::new(12, 64, 32, &[0, 32, 64, 96, 128]),
    Shape::new(32, 33, 24, &[0, 24, 100]),
    Shape::new(20, 32, 16, &[3]),
    Shape::new(9, 7, 2, &[0, 5, 9]),
];

/// A unit and its emulation share all code but the operations themselves, and every sum must have the same bits.
#[test]
fn units_and_their_emulations_put_out_the_same_bits() {
    for [unit, emulated] in [[Unit::Amx, Unit::EmulatedTiles], [Unit::Avx512Bf16, Unit::EmulatedDots]] {
        if unit.present().is_none() {
            continue;
        }
        for shape in SHAPES {
            let bits = |unit| shape.sums(unit).into_iter().map(f32::to_bits).collect::<Vec<u32>>();
            let Shape { rows, columns, depth, steps } = shape;
            assert_eq!(bits(unit), bits(emulated), "{unit:?}: {rows} by {columns}, {depth} numbers at {steps:?}");
        }
    }
}

/// With each unit, each sum is that of its row and column, within the rounding of `f32`.
#[test]
fn sums_are_those_of_the_rounded_numbers() {
    for unit in Unit::available() {
        for shape in SHAPES {
            let Shape { rows, columns, .. } = shape;
            let mut found = shape.sums(unit).into_iter();
            let high = unit.present().expect("it is available").kernel().rows;
            for first in (0..rows).step_by(high) {
                for panel in (0..columns).step_by(COLUMNS) {
                    for row in first..rows.min(first + high) {
                        for column in panel..columns.min(panel + COLUMNS) {
                            let half = |x: f32| f64::from(Bf16::round(x).value());
                            let products = (0..shape.steps.len() * shape.depth)
                                .map(|step| half(shape.left(row, step)) * half(shape.right(step, column)));
                            let (sum, size) =
                                products.fold((0.0_f64, 0.0_f64), |(sum, size), x| (sum + x, size + x.abs()));
                            let found = found.next().expect("a sum for each");
                            let off = (f64::from(found) - sum).abs();
                            assert!(off <= 1e-6 * size, "{unit:?} {rows}x{columns}: {found} for {sum}");
                        }
                    }
                }
            }
        }
    }
}

/// The chosen step is the deepest one that reads nothing but a run.
#[test]
fn steps_divide_runs_of_an_even_length() {
    let depth = |run| Depth::dividing(run).map(Depth::numbers);
    assert_eq!([16, 24, 32, 144, 240, 58].map(depth), [16, 24, 32, 24, 30, 2].map(Some));
    assert_eq!([0, 1, 27].map(depth), [None; 3]);
}

/// A value of a matrix.
fn value(seed: usize) -> f32 {
    ((seed * 7919 + 13) % 1009) as f32 / 500.0 - 1.0
}

fn rounded(x: f32) -> f64 {
    f64::from(Bf16::round(x).value())
}

/// Compares with sums in double precision, within the rounding of `f32`.
fn check(what: &str, found: f32, products: impl Iterator<Item = f64>, before: f64) {
    let (sum, size) = products.fold((before, before.abs()), |(sum, size), x| (sum + x, size + x.abs()));
    assert!((f64::from(found) - sum).abs() <= 1e-6 * size.max(1.0), "{what}: {found} for {sum}");
}

/// Rows, depth and columns. Miri would take an hour for the larger ones.
const MATRICES: &[[usize; 3]] = if cfg!(miri) {
    &[[1, 1, 1], [5, 3, 17], [13, 0, 5]]
} else {
    &[[1, 1, 1], [5, 3, 17], [33, 70, 40], [17, 32, 32], [40, 64, 65], [13, 0, 5]]
};

/// The right side is stored row by row or column by column, with a factor per row or per column. There are a bias, limits and old values of the
/// result, and values beside the result must not change.
#[test]
fn products_of_matrices_in_single_precision_are_those_of_their_rounded_values() {
    for unit in Unit::available() {
        let unit = unit.present().expect("it is available");
        for ([rows, depth, columns], transposed, accumulate) in
            MATRICES.iter().flat_map(|shape| [(*shape, false, true), (*shape, true, false)])
        {
            let (left_row, result_row) = (depth + 3, columns + 2);
            let left: Vec<f32> = (0..rows * left_row).map(value).collect();
            let source: Vec<f32> = (0..depth * columns).map(|at| value(at + 31)).collect();
            let steps = if transposed { [1, depth] } else { [columns, 1] };
            let factors: Vec<f32> = (0..depth.max(columns)).map(|at| 1.0 + value(at + 7) / 3.0).collect();
            let scale = if transposed { Scale::Rows(&factors[..depth]) } else { Scale::Columns(&factors[..columns]) };
            let bias: Vec<f32> = (0..columns).map(|at| value(at + 3)).collect();
            let before: Vec<f32> = (0..rows * result_row).map(|at| value(at + 11)).collect();
            let mut right = Halves::new(unit);
            // A larger matrix is packed first, of which nothing may be left.
            right.pack([50, 50], &[3.0; 2500], [50, 1], Scale::One);
            right.pack([depth, columns], &source, steps, scale);
            let mut result = before.clone();
            let epilogue = Epilogue { accumulate, bias: Some(&bias), clip: Some((-3.5, 4.0)) };
            right.multiply(rows, &left, left_row, &mut result, result_row, epilogue);
            for (at, (found, before)) in result.iter().zip(&before).enumerate() {
                let (row, column) = (at / result_row, at % result_row);
                if column >= columns {
                    assert_eq!(found, before, "beside the result");
                    continue;
                }
                let start = f64::from(bias[column]) + if accumulate { f64::from(*before) } else { 0.0 };
                let products = (0..depth).map(|step| {
                    let value =
                        source[step * steps[0] + column * steps[1]] * factors[if transposed { step } else { column }];
                    rounded(left[row * left_row + step]) * rounded(value)
                });
                let sum: f64 = products.clone().sum::<f64>() + start;
                if (-3.5..=4.0).contains(&sum) {
                    check(&format!("{unit:?} {rows}x{depth}x{columns}"), *found, products, start);
                } else {
                    assert!((f64::from(*found) - sum.clamp(-3.5, 4.0)).abs() < 1e-5);
                }
            }
        }
    }
}

/// Sums over the rows of two matrices are computed by all threads and by one, with whole blocks of steps and with steps that fill no block.
#[test]
fn transposed_products_are_those_of_rounded_values() {
    let shapes: &[[usize; 3]] =
        if cfg!(miri) { &[[5, 17, 33]] } else { &[[0, 3, 5], [1, 1, 1], [33, 13, 40], [700, 50, 70]] };
    for (unit, &[rows, inner, columns]) in
        Unit::available().into_iter().flat_map(|u| shapes.iter().map(move |s| (u, s)))
    {
        let multiplier = Multiplier::Half(unit.present().expect("it is available"));
        let left: Vec<f32> = (0..rows * inner).map(value).collect();
        let right: Vec<f32> = (0..rows * columns).map(|at| value(at + 77)).collect();
        let [mut all, mut whole, mut made] = [0.5, 2.0, 0.0].map(|before| vec![before; inner * columns]);
        let given = (Matrix::Given(&left, inner), inner);
        matmul_at_b(multiplier, rows, given, (&right, columns), columns, (&mut all, columns));
        let sides = ((left.as_slice(), inner, inner), (right.as_slice(), columns));
        matmul_at_b_whole(multiplier, rows, sides.0, sides.1, columns, &mut whole, true);
        let fill = |rows: std::ops::Range<usize>, part: std::ops::Range<usize>, out: &mut [f32]| {
            for (row, out) in rows.zip(out.chunks_exact_mut(part.len())) {
                out.copy_from_slice(&left[row * inner..][part.clone()]);
            }
        };
        let made_of = (Matrix::Made(&fill), inner);
        matmul_at_b(multiplier, rows, made_of, (&right, columns), columns, (&mut made, columns));
        assert_eq!(all, made, "{unit:?}: rows that are written on demand give other sums than stored rows");
        for (at, (all, whole)) in all.iter().zip(&whole).enumerate() {
            let (i, j) = (at / columns, at % columns);
            let products = (0..rows).map(|row| rounded(left[row * inner + i]) * rounded(right[row * columns + j]));
            check(&format!("{unit:?} {rows}x{inner}x{columns}"), *all, products.clone(), 0.0);
            check(&format!("{unit:?} {rows}x{inner}x{columns}, one thread"), *whole, products, 2.0);
        }
    }
}

/// Runs of rows between which there are other numbers: short runs, of which several fit into a tile, long ones, and a single one.
#[test]
fn rows_that_lie_in_runs_give_the_same_products() {
    let shapes: &[[usize; 3]] =
        if cfg!(miri) { &[[6, 3, 5]] } else { &[[21, 7, 9], [120, 40, 42], [6, 3, 5], [130, 65, 66], [33, 33, 40]] };
    for (unit, &[rows, run, line]) in Unit::available().into_iter().flat_map(|u| shapes.iter().map(move |s| (u, s))) {
        let unit = unit.present().expect("it is available");
        let (depth, columns, row) = (2 * DEPTH, 40, 2 * DEPTH);
        let place = |row: usize| row / run * line + row % run;
        // NaN lies between the runs and after the last, and must not be in a result.
        let mut values = vec![Bf16::round(f32::NAN); (place(rows - 1) + 16) * row];
        let left = |row: usize, step: usize| value(row * depth + step);
        for at in 0..rows * depth {
            values[place(at / depth) * row + at % depth] = Bf16::round(left(at / depth, at % depth));
        }
        let source: Vec<f32> = (0..depth * columns).map(|at| value(at + 31)).collect();
        let bias: Vec<f32> = (0..columns).map(|at| value(at + 3)).collect();
        let mut right = Halves::new(unit);
        right.pack([depth, columns], &source, [columns, 1], Scale::One);
        for (accumulate, bias) in [(false, None), (true, None), (true, Some(bias.as_slice()))] {
            let before: Vec<f32> = (0..rows * columns).map(|at| value(at + 11)).collect();
            let mut result = before.clone();
            let lying = Lying { values: &values, row, steps: &[0, DEPTH], run, line };
            right.multiply_lying(rows, &lying, &mut result, columns, Epilogue { accumulate, bias, clip: None });
            for (at, found) in result.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let products =
                    (0..depth).map(|step| rounded(left(row, step)) * rounded(source[step * columns + column]));
                let start = if accumulate { f64::from(before[at]) } else { 0.0 };
                let start = start + bias.map_or(0.0, |bias| f64::from(bias[column]));
                check(&format!("{unit:?}, runs of {run} in {line}, {at}"), *found, products, start);
            }
        }
    }
}
