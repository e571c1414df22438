//! LogME (You and others, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021): how
//! probable the labels are under a linear model of the features whose weights are integrated out. Higher is
//! better.

use rayon::prelude::*;

use crate::table::{FeatureTable, Matrix};
use crate::{InsightError, Result};

/// Upper limit of the steps of the paper's fixed-point iteration.
const STEPS: usize = 50;
const TINY: f64 = 1e-12;

/// The mean over classes of the logarithm of the maximum evidence per image.
///
/// Alpha and beta are found by the fixed-point iteration of the paper's algorithm 1. All sums run over the
/// eigenvalues of the Gram matrix of images or of features, whichever is smaller. The time grows with the cube of its size; a size of
/// a thousand takes about a second.
///
/// # Errors
/// [`InsightError::TooFew`] without images.
pub fn logme(table: &FeatureTable) -> Result<f64> {
    let (images, classes) = (table.len(), table.classes().len());
    if images == 0 {
        return Err(InsightError::TooFew { what: "LogME", needed: "an image".to_owned(), found: 0 });
    }
    let targets = |class: usize| -> Vec<f64> {
        table.images().iter().map(|image| f64::from(u8::from(image.label as usize == class))).collect()
    };
    let targets: Vec<Vec<f64>> = (0..classes).map(targets).collect();
    let (squares, projected) = spectrum(table.features(), &targets);
    let of_class = |(targets, projected): (&Vec<f64>, &Vec<f64>)| {
        let whole: f64 = targets.iter().map(|y| y * y).sum();
        let outside = (whole - projected.iter().sum::<f64>()).max(0.0);
        evidence(&squares, projected, outside, images)
    };
    Ok(targets.iter().zip(&projected).map(of_class).sum::<f64>() / classes as f64)
}

/// The squares of the features' singular values that are not zero, and for each target the squares of its components along the
/// left singular vectors.
fn spectrum(features: &Matrix, targets: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let by_images = features.len() <= features.width();
    let images: Vec<Vec<f64>> = features.rows().map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect();
    let (gram, right) = if by_images {
        (gram(&images), targets.to_vec())
    } else {
        let column = |at: usize| images.iter().map(|row| row[at]).collect();
        let columns: Vec<Vec<f64>> = (0..features.width()).map(column).collect();
        let moved = |target: &Vec<f64>| columns.iter().map(|column| product(column, target)).collect();
        (gram(&columns), targets.iter().map(moved).collect())
    };
    let (values, parts) = eigen(gram, right);
    // Rounding makes tiny values, some of them negative, of eigenvalues that are zero.
    let floor = values.iter().copied().fold(0.0, f64::max) * 1e-10;
    let kept: Vec<usize> = (0..values.len()).filter(|&at| values[at] > floor).collect();
    let square = |parts: &Vec<f64>, at: usize| {
        let square = parts[at] * parts[at];
        if by_images { square } else { square / values[at] }
    };
    let projected = parts.iter().map(|parts| kept.iter().map(|&at| square(parts, at)).collect()).collect();
    (kept.iter().map(|&at| values[at]).collect(), projected)
}

/// The scalar products of all pairs of rows, in double precision, because small eigenvalues are differences of large sums.
fn gram(rows: &[Vec<f64>]) -> Vec<f64> {
    let size = rows.len();
    // Each row is multiplied with itself and those after it; the other half of the matrix is the same.
    let half = |at: usize| rows[at..].iter().map(|other| product(&rows[at], other)).collect::<Vec<_>>();
    let halves: Vec<Vec<f64>> = (0..size).into_par_iter().map(half).collect();
    let entry = |row: usize, column: usize| halves[row.min(column)][row.max(column) - row.min(column)];
    (0..size)
        .flat_map(|row| (0..size).map(move |column| (row, column)))
        .map(|(row, column)| entry(row, column))
        .collect()
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    // Several sums are computed at once, so that the compiler can use a vector.
    const LANES: usize = 8;
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        (0..LANES).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// The eigenvalues of a symmetric matrix, and the components of each vector along its eigenvectors, in the same order.
///
/// Householder reflections make the matrix tridiagonal, and the implicit QL algorithm makes it diagonal (Golub and Van Loan,
/// "Matrix Computations", 8.3). The eigenvectors are never computed: each reflection and rotation is applied to the few vectors instead.
fn eigen(mut matrix: Vec<f64>, mut vectors: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = matrix.len().isqrt();
    let (mut diagonal, mut beside) = (vec![0.0; size], vec![0.0; size]);
    for at in 0..size {
        diagonal[at] = matrix[at * size + at];
        let rest = at + 1..size;
        if rest.len() < 2 {
            if let Some(next) = rest.clone().next() {
                beside[at] = matrix[next * size + at];
            }
            continue;
        }
        // This reflection maps the part of the column below the diagonal to a multiple of the first axis.
        let mut v: Vec<f64> = rest.clone().map(|row| matrix[row * size + at]).collect();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let target = if v[0] > 0.0 { -length } else { length };
        beside[at] = target;
        v[0] -= target;
        let square: f64 = v.iter().map(|x| x * x).sum();
        if square == 0.0 {
            continue;
        }
        let factor = 2.0 / square;
        let product = |row: usize| -> f64 {
            matrix[row * size + at + 1..(row + 1) * size].iter().zip(&v).map(|(a, v)| a * v).sum::<f64>() * factor
        };
        let mut w: Vec<f64> = rest.clone().map(product).collect();
        let half = factor / 2.0 * w.iter().zip(&v).map(|(w, v)| w * v).sum::<f64>();
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= half * v);
        for (row, (v_row, w_row)) in rest.clone().zip(v.iter().zip(&w)) {
            let row = &mut matrix[row * size + at + 1..(row + 1) * size];
            row.iter_mut().zip(v.iter().zip(&w)).for_each(|(a, (v, w))| *a -= v_row * w + w_row * v);
        }
        for vector in &mut vectors {
            let along = factor * vector[at + 1..].iter().zip(&v).map(|(x, v)| x * v).sum::<f64>();
            vector[at + 1..].iter_mut().zip(&v).for_each(|(x, v)| *x -= along * v);
        }
    }
    diagonalise(&mut diagonal, &mut beside, &mut vectors);
    (diagonal, vectors)
}

/// The implicit QL algorithm with Wilkinson shifts on a tridiagonal matrix; `beside[i]` is the value in row `i` and column `i + 1`.
fn diagonalise(diagonal: &mut [f64], beside: &mut [f64], vectors: &mut [Vec<f64>]) {
    let size = diagonal.len();
    for low in 0..size {
        // Each eigenvalue needs about two sweeps; the limit ends the loop for a matrix that is not finite.
        for _ in 0..60 {
            let negligible =
                |at: usize| beside[at].abs() <= f64::EPSILON * (diagonal[at].abs() + diagonal[at + 1].abs());
            let high = (low..size - 1).find(|&at| negligible(at)).unwrap_or(size - 1);
            if high == low {
                break;
            }
            let gap = (diagonal[low + 1] - diagonal[low]) / (2.0 * beside[low]);
            let root = gap.hypot(1.0);
            let mut g = diagonal[high] - diagonal[low] + beside[low] / (gap + root.copysign(gap));
            let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
            let mut vanished = false;
            for at in (low..high).rev() {
                let (f, b) = (sine * beside[at], cosine * beside[at]);
                let radius = f.hypot(g);
                beside[at + 1] = radius;
                if radius == 0.0 {
                    diagonal[at + 1] -= shift;
                    beside[high] = 0.0;
                    vanished = true;
                    break;
                }
                (sine, cosine) = (f / radius, g / radius);
                g = diagonal[at + 1] - shift;
                let r = (diagonal[at] - g) * sine + 2.0 * cosine * b;
                shift = sine * r;
                diagonal[at + 1] = g + shift;
                g = cosine * r - b;
                for vector in vectors.iter_mut() {
                    let (lower, upper) = (vector[at], vector[at + 1]);
                    (vector[at], vector[at + 1]) = (cosine * lower - sine * upper, sine * lower + cosine * upper);
                }
            }
            if !vanished {
                diagonal[low] -= shift;
                beside[low] = g;
                beside[high] = 0.0;
            }
        }
    }
}

/// The logarithm of the maximum evidence per image. `squares` are the squared singular values, `targets` the squared components of a target
/// along the singular vectors, and `outside` is the squared length of the rest of the target.
fn evidence(squares: &[f64], targets: &[f64], outside: f64, images: usize) -> f64 {
    let n = images as f64;
    let (mut alpha, mut beta) = (1.0_f64, 1.0_f64);
    let pairs = || squares.iter().zip(targets);
    let (mut weight, mut rest) = (0.0, 0.0);
    for _ in 0..STEPS {
        let ratio = alpha / beta;
        let gamma: f64 = squares.iter().map(|s| s / (s + ratio)).sum();
        weight = pairs().map(|(s, t)| s * t / (s + ratio).powi(2)).sum();
        rest = outside + pairs().map(|(s, t)| t * (ratio / (s + ratio)).powi(2)).sum::<f64>();
        (alpha, beta) = (gamma / (weight + TINY), (n - gamma).max(TINY) / (rest + TINY));
        if (alpha / beta - ratio).abs() <= 1e-3 * ratio {
            break;
        }
    }
    // In directions without a singular value there is only the prior, whose part of the determinant cancels.
    let determinant: f64 = squares.iter().map(|s| (alpha + beta * s).ln()).sum();
    let whole = squares.len() as f64 / 2.0 * alpha.ln() + n / 2.0 * beta.ln()
        - 0.5 * determinant
        - beta / 2.0 * rest
        - alpha / 2.0 * weight
        - n / 2.0 * (2.0 * std::f64::consts::PI).ln();
    whole / n
}
