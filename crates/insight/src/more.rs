//! Whether more photos would help: accuracy as a function of the number of training photos, and its extrapolation.
//!
//! The error of a classifier usually falls as a power of the number of examples, towards a floor (Hestness and
//! others, "Deep Learning Scaling is Predictable, Empirically", 2017): `error(n) = floor + scale · n^-exponent`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::folds::Folds;
use crate::probe::Standardised;
use crate::random::Random;
use crate::stats::{Estimate, LEVEL, quantile};
use crate::table::FeatureTable;
use crate::watch::Watch;
use crate::{InsightError, Result};

/// The parts of each fold's training images to which probes are fitted.
const PARTS: [f64; 6] = [0.1, 0.18, 0.3, 0.5, 0.75, 1.0];
/// The range in which the exponent is searched.
const EXPONENTS: [f64; 2] = [0.05, 2.0];
/// Number of fits to resampled images, whose spread gives the intervals of extrapolated accuracies.
const RESAMPLES: usize = 400;

/// The accuracy of probes that were fitted to a number of images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Number of training images, the mean over folds.
    pub images: f64,
    /// Accuracy on images that the probes had not seen.
    pub accuracy: Estimate,
}

/// `error(n) = floor + scale · n^-exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// The error that remains with any number of photos.
    pub floor: f64,
    /// The error above the floor with one image.
    pub scale: f64,
    /// How fast the error falls.
    pub exponent: f64,
}

/// Accuracy as a function of the number of training images, and the power law that was fitted to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearningCurve {
    /// The measured points, from few images to many.
    pub points: Vec<Point>,
    /// The law that was fitted to the points.
    pub law: PowerLaw,
    /// The laws that were fitted to resampled images.
    resampled: Vec<PowerLaw>,
}

impl PowerLaw {
    /// The error with this number of images.
    pub fn error(&self, images: f64) -> f64 {
        self.floor + self.scale * images.powf(-self.exponent)
    }

    /// Fits a law to points by weighted least squares; floor and scale are not negative.
    ///
    /// For a given exponent, floor and scale follow from linear equations, so only the exponent is searched: over a grid, and then by a
    /// golden-section search around the best point of the grid.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] for fewer than three points, or lists of different lengths.
    pub fn fit(images: &[f64], errors: &[f64], weights: &[f64]) -> Result<Self> {
        if images.len() < 3 || errors.len() != images.len() || weights.len() != images.len() {
            let found = images.len().min(errors.len()).min(weights.len());
            return Err(InsightError::TooFew { what: "a power law", needed: "3 points".into(), found });
        }
        let at = |exponent: f64| linear(images, errors, weights, exponent);
        let [from, to] = EXPONENTS;
        let steps = 40;
        let of = |step: usize| from * (to / from).powf(step as f64 / steps as f64);
        let best = (0..=steps).min_by(|&a, &b| at(of(a)).0.total_cmp(&at(of(b)).0)).expect("a grid is not empty");
        let (mut low, mut high) = (of(best.saturating_sub(1)), of((best + 1).min(steps)));
        let ratio = (5_f64.sqrt() - 1.0) / 2.0;
        while high - low > 1e-6 {
            let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
            if at(left).0 <= at(right).0 { high = right } else { low = left }
        }
        Ok(at((low + high) / 2.0).1)
    }
}

/// The law with the least weighted sum of squares for an exponent, and that sum as the first value.
fn linear(images: &[f64], errors: &[f64], weights: &[f64], exponent: f64) -> (f64, PowerLaw) {
    let powers: Vec<f64> = images.iter().map(|n| n.powf(-exponent)).collect();
    let sum = |of: &dyn Fn(usize) -> f64| (0..images.len()).map(|at| weights[at] * of(at)).sum::<f64>();
    let (one, p, pp) = (sum(&|_| 1.0), sum(&|at| powers[at]), sum(&|at| powers[at] * powers[at]));
    let (e, pe) = (sum(&|at| errors[at]), sum(&|at| powers[at] * errors[at]));
    let determinant = one * pp - p * p;
    let scale = (one * pe - p * e) / determinant;
    let floor = (e - scale * p) / one;
    // If one of the two would be negative, it is 0 in the best law that is allowed.
    let (floor, scale) = match (floor < 0.0, !scale.is_finite() || scale < 0.0) {
        (false, false) => (floor, scale),
        (true, false) => (0.0, pe / pp),
        _ => (e / one, 0.0),
    };
    let law = PowerLaw { floor, scale, exponent };
    let squares = |at: usize| (errors[at] - floor - scale * powers[at]).powi(2);
    (sum(&squares), law)
}

impl LearningCurve {
    /// Measures probes of this strength, fitted to growing parts of the training images of each fold, and fits the law.
    /// Smaller parts are contained in larger ones, and have the classes in the proportions of the whole.
    ///
    /// All parts have the same strength: it weighs each image against a prior of the weights, which does not depend on the number of images.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] for fewer images or groups than folds, or if the smallest part has images of one class only,
    /// [`InsightError::Stopped`] if the caller has asked to stop.
    pub fn measure(table: &FeatureTable, folds: Folds, strength: f64, watch: Watch<'_>) -> Result<Self> {
        let fold_of = &folds.deal(table)?[0];
        let labels = table.labels();
        let probe = Standardised::new(table);
        let total = PARTS.len() * folds.count;
        // For each part and image, whether a probe that had not seen the image was right.
        let mut right = vec![vec![false; table.len()]; PARTS.len()];
        let mut sizes = vec![0_usize; PARTS.len()];
        for fold in 0..folds.count {
            let side = |inside: bool| (0..table.len()).filter(move |&row| (fold_of[row] == fold) == inside);
            let (train, test): (Vec<usize>, Vec<usize>) =
                (nested(side(false), &labels, folds.seed), side(true).collect());
            watch.step("learning curve", fold * PARTS.len(), total)?;
            let judge = |part: &f64| -> Result<(usize, Vec<bool>)> {
                let count = ((train.len() as f64 * part).round() as usize).clamp(1, train.len());
                let predicted = probe.classify(&train[..count], &test, strength, watch)?;
                Ok((count, test.iter().zip(predicted).map(|(&row, class)| labels[row] == class).collect()))
            };
            let judged: Result<Vec<(usize, Vec<bool>)>> = PARTS.par_iter().map(judge).collect();
            for (part, (count, hits)) in judged?.into_iter().enumerate() {
                sizes[part] += count;
                test.iter().zip(hits).for_each(|(&row, hit)| right[part][row] = hit);
            }
        }
        watch.step("learning curve", total, total)?;
        let images: Vec<f64> = sizes.iter().map(|&sum| sum as f64 / folds.count as f64).collect();
        let points = images.iter().zip(&right).map(|(&images, right)| {
            let accuracy = Estimate::share(right.iter().filter(|right| **right).count(), right.len());
            Point { images, accuracy }
        });
        let law = |rows: &[usize]| {
            let errors =
                right.iter().map(|right| rows.iter().filter(|&&row| !right[row]).count() as f64 / rows.len() as f64);
            fit(&images, &errors.collect::<Vec<_>>(), rows.len())
        };
        let all: Vec<usize> = (0..table.len()).collect();
        let resample = |resample: usize| {
            let mut random = Random::new(folds.seed, 1 << 32 | resample as u64);
            law(&(0..table.len()).map(|_| random.below(table.len())).collect::<Vec<_>>())
        };
        let resampled: Result<Vec<PowerLaw>> = (0..RESAMPLES).into_par_iter().map(resample).collect();
        Ok(Self { points: points.collect(), law: law(&all)?, resampled: resampled? })
    }

    /// The expected accuracy with this number of training images. Its interval is that of the laws that were fitted to resampled images.
    pub fn foretell(&self, images: f64) -> Estimate {
        let mut accuracies: Vec<f64> = self.resampled.iter().map(|law| 1.0 - law.error(images)).collect();
        accuracies.sort_by(f64::total_cmp);
        let value = 1.0 - self.law.error(images);
        let interval = [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0].map(|share| quantile(&accuracies, share));
        Estimate { value, interval, n: self.points.last().map_or(0, |point| point.accuracy.n) }
    }

    /// The number of training images at which the law reaches an accuracy; `None` if its floor makes it unreachable.
    pub fn images_for(&self, accuracy: f64) -> Option<f64> {
        let above = 1.0 - accuracy - self.law.floor;
        (above > 0.0 && self.law.scale > 0.0).then(|| (self.law.scale / above).powf(1.0 / self.law.exponent))
    }
}

/// Fits a law to errors that were measured on `n` images each. A point counts by the inverse of its variance.
fn fit(images: &[f64], errors: &[f64], n: usize) -> Result<PowerLaw> {
    let weight = |error: &f64| {
        // Laplace's rule of succession: even a point without errors has a variance.
        let error = (error * n as f64 + 1.0) / (n as f64 + 2.0);
        1.0 / (error * (1.0 - error))
    };
    PowerLaw::fit(images, errors, &errors.iter().map(weight).collect::<Vec<_>>())
}

/// The rows in an order in which the first rows, however many, have the classes in nearly the proportions of the whole.
fn nested(rows: impl Iterator<Item = usize>, labels: &[u32], seed: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = rows.collect();
    Random::new(seed, 1 << 33).shuffle(&mut rows);
    let classes = rows.iter().map(|&row| labels[row] as usize + 1).max().unwrap_or(0);
    let (mut sizes, mut seen) = (vec![0_usize; classes], vec![0_usize; classes]);
    rows.iter().for_each(|&row| sizes[labels[row] as usize] += 1);
    let place = |&row: &usize| {
        let class = labels[row] as usize;
        seen[class] += 1;
        ((seen[class] as f64 - 0.5) / sizes[class] as f64, row)
    };
    let mut placed: Vec<(f64, usize)> = rows.iter().map(place).collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    placed.into_iter().map(|(_, row)| row).collect()
}
