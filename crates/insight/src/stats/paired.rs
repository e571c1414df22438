use serde::{Deserialize, Serialize};

use super::{Bootstrap, Estimate, LEVEL, normal_quantile};
use crate::{InsightError, Result};

/// Two classifiers on the same images. Only the images on which exactly one of them is right can tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// Number of images on which both are right.
    pub both: usize,
    /// Number of images on which only the first one is right.
    pub only_first: usize,
    /// Number of images on which only the second one is right.
    pub only_second: usize,
    /// Number of images on which neither is right.
    pub neither: usize,
}

impl Paired {
    /// Counts the images, given for each classifier and image whether it is right.
    ///
    /// # Errors
    /// [`InsightError::Count`] if the lists have different lengths.
    pub fn new(first: &[bool], second: &[bool]) -> Result<Self> {
        if first.len() != second.len() {
            let (found, expected) = (second.len(), first.len());
            return Err(InsightError::Count { what: "answers of the second classifier", found, expected });
        }
        let count = |of: (bool, bool)| first.iter().zip(second).filter(|&(&a, &b)| (a, b) == of).count();
        let (both, neither) = (count((true, true)), count((false, false)));
        Ok(Self { both, only_first: count((true, false)), only_second: count((false, true)), neither })
    }

    /// Number of images.
    pub fn n(&self) -> usize {
        self.both + self.only_first + self.only_second + self.neither
    }

    /// McNemar's exact test (two-sided): the probability that the images on which exactly one is right are divided at least as unevenly, if both
    /// classifiers are equally good. If it is below 0.05, they are usually called different.
    pub fn p_value(&self) -> f64 {
        let (fewer, all) = (self.only_first.min(self.only_second), self.only_first + self.only_second);
        // Σ binomial(all, k) / 2^all for k up to the smaller count, computed with logarithms because 2^all may overflow.
        let mut logarithm = -(all as f64) * std::f64::consts::LN_2;
        let mut sum = logarithm.exp();
        for k in 1..=fewer {
            logarithm += ((all - k + 1) as f64).ln() - (k as f64).ln();
            sum += logarithm.exp();
        }
        (2.0 * sum).min(1.0)
    }

    /// Whether the test tells them apart at [`LEVEL`].
    pub fn distinguishable(&self) -> bool {
        self.p_value() < 1.0 - LEVEL
    }

    /// The accuracy of the first minus that of the second, with the interval of the paired bootstrap.
    pub fn difference(&self, bootstrap: Bootstrap) -> Estimate {
        let n = self.n();
        let value = (self.only_first as f64 - self.only_second as f64) / n.max(1) as f64;
        // Only the counts of the four kinds matter, so the images may be numbered in any order.
        let sign = |image: usize| {
            let first = usize::from(image < self.only_first) as f64;
            let second = usize::from((self.only_first..self.only_first + self.only_second).contains(&image)) as f64;
            first - second
        };
        let mean = |images: &[usize]| Some(images.iter().map(|&image| sign(image)).sum::<f64>() / images.len() as f64);
        let interval = bootstrap.interval(n, mean).unwrap_or([-1.0, 1.0]);
        Estimate { value, interval, n }
    }

    /// The number of photos with which the test would tell them apart with a probability of `power`, if they differ on as large a share of
    /// photos as now
    /// (Connor, "Sample Size for Testing Differences in Proportions for the Paired-Sample Design", Biometrics 1987).
    /// `None` if they are equally often right, because then no number is enough.
    pub fn photos_needed(&self, power: f64) -> Option<usize> {
        let n = self.n() as f64;
        let (first, second) = (self.only_first as f64 / n, self.only_second as f64 / n);
        let (differing, gap) = (first + second, (first - second).abs());
        if self.only_first == self.only_second {
            return None;
        }
        let (z_level, z_power) = (normal_quantile(0.5 + LEVEL / 2.0), normal_quantile(power));
        let root = z_level * differing.sqrt() + z_power * (differing - gap * gap).sqrt();
        Some((root / gap).powi(2).ceil() as usize)
    }
}
