//! How far a number that was measured on a few images can be trusted.
//!
//! An accuracy of 0.974 on 1,000 photos says that the accuracy on all such photos lies between 0.962 and 0.982.
//! [`Estimate`] keeps value, interval and number of images together, so that none is shown without the others.

mod bootstrap;
mod paired;
mod scores;

pub use bootstrap::Bootstrap;
pub use paired::Paired;
pub use scores::{macro_f1, roc_auc};

use serde::{Deserialize, Serialize};

/// The level of all intervals, unless another one is given: 95 %.
pub const LEVEL: f64 = 0.95;

/// A measured number with its interval, and the number of images on which it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The measured number.
    pub value: f64,
    /// Lower and upper limit. The interval covers the true value in a share of [`LEVEL`] of all cases.
    pub interval: [f64; 2],
    /// The number of images on which it was measured.
    pub n: usize,
}

impl Estimate {
    /// The share `right / n` with Wilson's interval. Without images, it is 0 with the interval from 0 to 1.
    pub fn share(right: usize, n: usize) -> Self {
        let value = right as f64 / n.max(1) as f64;
        Self { value, interval: wilson(value, n, LEVEL), n }
    }

    /// The number of images in the share, if the value is a share.
    pub fn count(&self) -> usize {
        count_of(self.value, self.n)
    }
}

/// The number of images in a share of `n` images.
pub fn count_of(share: f64, n: usize) -> usize {
    (share * n as f64).round() as usize
}

/// Wilson's score interval for a share of `n` images (Wilson, "Probable Inference, the Law of Succession, and
/// Statistical Inference", 1927), without continuity correction. It stays between 0 and 1, and is also right for few images
/// and for shares near 1, where the usual `share ± z·deviation` is wrong.
pub fn wilson(share: f64, n: usize, level: f64) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, z) = (n as f64, normal_quantile(0.5 + level / 2.0));
    let middle = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    [((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0)]
}

/// The accuracy that can be reached without looking at the photos.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Accuracy of guessing each class equally often.
    pub chance: f64,
    /// Accuracy of always naming the most frequent class.
    pub majority: f64,
    /// Index of that class.
    pub majority_class: usize,
    /// Number of images.
    pub n: usize,
}

impl Baselines {
    /// The baselines for `counts` images per class. Classes without images lower `chance`, because a guess may name them.
    pub fn of(counts: &[usize]) -> Self {
        let n: usize = counts.iter().sum();
        // `max_by_key` gives the last of equal elements; `rev` makes it the first class.
        let (majority_class, most) =
            counts.iter().enumerate().rev().max_by_key(|(_, count)| **count).unwrap_or((0, &0));
        let majority = *most as f64 / n.max(1) as f64;
        Self { chance: 1.0 / counts.len().max(1) as f64, majority, majority_class, n }
    }
}

/// The value below which a standard normal variable lies with this probability, with an error of about 1e-12.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    if probability <= 0.0 || probability >= 1.0 {
        return if probability <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // Bisection is exact enough, and needs no table of constants.
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if normal_share(middle) < probability { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The probability that a standard normal variable lies below `x` (Marsaglia, "Evaluating the Normal Distribution",
/// 2004), by a series near zero, and by Laplace's continued fraction farther away.
fn normal_share(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x.abs() > 6.0 {
        let fraction = (1..=60).rev().fold(x.abs(), |rest, k| x.abs() + f64::from(k) / rest);
        let tail = density / fraction;
        return if x < 0.0 { tail } else { 1.0 - tail };
    }
    let (mut sum, mut term, mut k) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        k += 2.0;
        term *= x * x / k;
        sum += term;
    }
    0.5 + density * sum
}

/// The quantile of sorted values, interpolated linearly between two of them (NumPy's default).
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, rest) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + rest * (sorted[high] - sorted[low])
}

/// Mean and standard deviation of a sample (with `n - 1` in the denominator).
pub(crate) fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (square / (n - 1.0).max(1.0)).sqrt())
}
