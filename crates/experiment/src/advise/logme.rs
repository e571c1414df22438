//! LogME (You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021): the logarithm
//! of the probability of the labels under a linear model of the features, with the model's weights integrated out. Higher
//! is better.

use nalgebra::{DMatrix, SymmetricEigen};

/// The LogME score: the logarithm of the maximum evidence per image, averaged over the classes.
///
/// `features` has the shape `[images, width]`, row by row; each of `labels` is less than `classes`.
///
/// Alpha and beta are found by the fixed-point iteration of the paper's algorithm 1. All sums run over the eigenvalues of
/// the images' Gram matrix, which are the squared singular values of the features.
pub(super) fn logme(features: &[f32], width: usize, labels: &[u32], classes: usize) -> f64 {
    let images = labels.len();
    let rows = DMatrix::from_row_iterator(images, width, features.iter().map(|&x| f64::from(x)));
    let gram = SymmetricEigen::new(&rows * rows.transpose());
    // Rounding turns eigenvalues of zero into tiny values, some of them negative.
    let floor = gram.eigenvalues.max() * 1e-10;
    let squares: Vec<f64> = gram.eigenvalues.iter().map(|&value| if value > floor { value } else { 0.0 }).collect();
    let of_class = |class: usize| {
        let target = |label: &u32| f64::from(u8::from(*label as usize == class));
        let targets = nalgebra::DVector::from_iterator(images, labels.iter().map(target));
        let projected = gram.eigenvectors.tr_mul(&targets);
        evidence(&squares, &projected.iter().map(|x| x * x).collect::<Vec<f64>>(), width)
    };
    (0..classes).map(of_class).sum::<f64>() / classes as f64
}

/// Logarithm of the maximum evidence per image. `squares` are the eigenvalues of the Gram matrix, one per image; `targets`
/// are the squared components of the targets along its eigenvectors.
fn evidence(squares: &[f64], targets: &[f64], width: usize) -> f64 {
    const TINY: f64 = 1e-12;
    let n = squares.len() as f64;
    let (mut alpha, mut beta) = (1.0_f64, 1.0_f64);
    let pairs = || squares.iter().zip(targets);
    let (mut weight, mut rest) = (0.0, 0.0);
    for _ in 0..50 {
        let ratio = alpha / beta;
        let gamma: f64 = squares.iter().map(|s| s / (s + ratio)).sum();
        weight = pairs().map(|(s, t)| s * t / (s + ratio).powi(2)).sum();
        rest = pairs().map(|(s, t)| t * (ratio / (s + ratio)).powi(2)).sum();
        let before = ratio;
        (alpha, beta) = (gamma / (weight + TINY), (n - gamma).max(TINY) / (rest + TINY));
        if (alpha / beta - before).abs() <= 1e-3 * before {
            break;
        }
    }
    // In the other `width - rank` directions there is only the prior. Its factor of the determinant cancels against
    // `width / 2 * log(alpha)`.
    let used = squares.iter().filter(|s| **s > 0.0).count().min(width) as f64;
    let determinant: f64 = squares.iter().filter(|s| **s > 0.0).map(|s| (alpha + beta * s).ln()).sum();
    let whole = used / 2.0 * alpha.ln() + n / 2.0 * beta.ln()
        - 0.5 * determinant
        - beta / 2.0 * rest
        - alpha / 2.0 * weight
        - n / 2.0 * (2.0 * std::f64::consts::PI).ln();
    whole / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_tell_classes_apart_score_higher() {
        let labels: Vec<u32> = (0..60).map(|i| i % 3).collect();
        let noise = |i: usize, j: usize| ((i * 7919 + j * 104_729) as f32 * 0.618).sin();
        let features = |signal: f32| -> Vec<f32> {
            let value = |i: usize, j: usize| noise(i, j) + if labels[i] as usize == j { signal } else { 0.0 };
            (0..60).flat_map(|i| (0..5).map(move |j| (i, j))).map(|(i, j)| value(i, j)).collect()
        };
        let scores: Vec<f64> = [0.0, 1.0, 3.0, 10.0].map(|signal| logme(&features(signal), 5, &labels, 3)).to_vec();
        assert!(scores.is_sorted_by(|a, b| a < b), "{scores:?}");
    }

    #[test]
    fn the_score_is_the_evidence_worked_out_directly() {
        // With one feature and four images, the posterior is one-dimensional and the evidence is the density of a Gaussian.
        let (f, labels) = ([0.5_f64, 1.0, -0.7, 0.2], [1_u32, 1, 0, 0]);
        let features: Vec<f32> = f.iter().map(|&x| x as f32).collect();
        let found = logme(&features, 1, &labels, 2);
        // The logarithm of the density of y under N(0, I/beta + f fᵀ/alpha), at the best alpha and beta of a fine grid.
        let density = |y: [f64; 4], alpha: f64, beta: f64| {
            let (yy, fy, ff) = (
                y.iter().map(|y| y * y).sum::<f64>(),
                y.iter().zip(f).map(|(y, f)| y * f).sum::<f64>(),
                f.iter().map(|f| f * f).sum::<f64>(),
            );
            let determinant = (1.0 + beta / alpha * ff).ln() - 4.0 * beta.ln();
            let form = beta * yy - beta * beta * fy * fy / (alpha + beta * ff);
            -0.5 * (4.0 * (2.0 * std::f64::consts::PI).ln() + determinant + form)
        };
        let best = |y: [f64; 4]| {
            let grid = |i: i32| 10_f64.powf(f64::from(i) / 40.0);
            let all = (-160..=400).flat_map(|a| (-80..=80).map(move |b| (a, b)));
            all.map(|(a, b)| density(y, grid(a), grid(b))).fold(f64::NEG_INFINITY, f64::max) / 4.0
        };
        let expected = (best([0.0, 0.0, 1.0, 1.0]) + best([1.0, 1.0, 0.0, 0.0])) / 2.0;
        assert!((found - expected).abs() < 5e-3, "{found} is not {expected}");
    }
}
