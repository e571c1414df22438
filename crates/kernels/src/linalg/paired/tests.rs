use super::*;

/// Numbers of both signs and very different sizes, one of a few too small for its exponent.
fn number(seed: usize) -> f32 {
    let bits = (seed as u32).wrapping_mul(2_654_435_761).rotate_left(9);
    let size = f32::from_bits((bits % 24 + 112) << 23 | bits & 0x7f_ffff);
    match bits % 97 {
        0 => f32::MIN_POSITIVE / 8.0,
        _ if bits & 0x100 == 0 => size,
        _ => -size,
    }
}

/// The sums of a product of `rows` rows, whose steps begin at these places, by `columns` columns.
fn sums(unit: Unit, rows: usize, columns: usize, steps: &[usize]) -> Vec<f32> {
    let unit = unit.present().expect("it is available");
    let last = steps.iter().max().expect("steps");
    let row = last + DEPTH + 6;
    let left: Vec<Bf16> = (0..ROWS * row).map(|at| Bf16::round(number(at))).collect();
    let depth = steps.len() * DEPTH;
    let right = PackedPairs::new(unit, [depth, columns], |step, column| number((step * columns + column + 1) << 9))
        .expect("a little memory");
    let ready = unit.ready();
    let mut all = Vec::new();
    for first in (0..rows).step_by(right.rows()) {
        let here = right.rows().min(rows - first);
        let mut sums = Sums([[f32::NAN; COLUMNS]; ROWS]);
        for (_, columns, values) in right.panels() {
            let left = left[first * row..].as_ptr();
            let tile = Tile { rows: here, left, left_row: row, steps, right: values, sums: &raw mut sums };
            // SAFETY: the left side has 32 rows with all steps, and the panel too.
            unsafe { right.multiply(&ready, &tile) };
            all.extend(sums.0[..here].iter().flat_map(|row| (0..columns).map(|column| row[place(column)])));
        }
    }
    all
}

const SHAPES: [(usize, usize, &[usize]); 5] =
    [(1, 1, &[0]), (16, 32, &[0, 32]), (17, 20, &[64, 0]), (32, 40, &[5, 40, 100]), (12, 64, &[0, 32, 64, 96, 128])];

/// Only what the unit itself does differs between a unit and its emulation, so every sum has the same bits.
#[test]
fn units_and_their_emulations_put_out_the_same_bits() {
    for [unit, emulated] in [[Unit::Amx, Unit::EmulatedTiles], [Unit::Avx512Bf16, Unit::EmulatedDots]] {
        if unit.present().is_none() {
            continue;
        }
        for (rows, columns, steps) in SHAPES {
            let bits = |unit| sums(unit, rows, columns, steps).into_iter().map(f32::to_bits).collect::<Vec<u32>>();
            assert_eq!(bits(unit), bits(emulated), "{unit:?}: {rows} rows, {columns} columns, {steps:?}");
        }
    }
}

/// Each sum is that of its own row and column, whatever the unit, within the rounding of `f32`.
#[test]
fn sums_are_those_of_the_rounded_numbers() {
    for unit in Unit::available() {
        for (rows, columns, steps) in SHAPES {
            let row = steps.iter().max().expect("steps") + DEPTH + 6;
            let found = sums(unit, rows, columns, steps);
            let high = unit.present().expect("it is available").kernel().rows;
            let mut at = 0;
            for first in (0..rows).step_by(high) {
                for panel in (0..columns).step_by(COLUMNS) {
                    for r in first..rows.min(first + high) {
                        for column in panel..columns.min(panel + COLUMNS) {
                            let half = |x: f32| f64::from(flush(Bf16::round(x).value()));
                            let products = (0..steps.len() * DEPTH).map(|step| {
                                let left = r * row + steps[step / DEPTH] + step % DEPTH;
                                half(number(left)) * half(number((step * columns + column + 1) << 9))
                            });
                            let (sum, size) = products.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                            let off = (f64::from(found[at]) - sum).abs();
                            assert!(off <= 1e-6 * size, "{unit:?} {rows}x{columns}: {} for {sum}", found[at]);
                            at += 1;
                        }
                    }
                }
            }
        }
    }
}
