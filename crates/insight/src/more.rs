//! Whether more photos would help: accuracy over the number of training photos, and how it goes on.
//!
//! The error of a classifier usually falls as a power of the number of examples, towards a floor (Hestness and others, "Deep Learning
//! Scaling is Predictable, Empirically", 2017): `error(n) = floor + scale · n^-exponent`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::folds::Folds;
use crate::probe::Standardised;
use crate::random::Random;
use crate::stats::{Estimate, LEVEL, quantile};
use crate::table::FeatureTable;
use crate::watch::Watch;
use crate::{InsightError, Result};

/// Parts of each fold's training images on which a probe is fitted.
const PARTS: [f64; 6] = [0.1, 0.18, 0.3, 0.5, 0.75, 1.0];
/// Exponents among which the best is looked for.
const EXPONENTS: [f64; 2] = [0.05, 2.0];
/// Fits to resampled images, whose spread is the interval of what is foretold.
const RESAMPLES: usize = 400;

/// Accuracy of a probe that was fitted to so many images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Training images, the mean over folds.
    pub images: f64,
    /// Accuracy on images that it had not seen.
    pub accuracy: Estimate,
}

/// `error(n) = floor + scale · n^-exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// Error that no number of photos takes away.
    pub floor: f64,
    /// Error above it at one image.
    pub scale: f64,
    /// How fast it falls.
    pub exponent: f64,
}

/// Accuracy over the number of training images, and the law that it follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearningCurve {
    /// Measured, from few images to many.
    pub points: Vec<Point>,
    /// Fitted to the points.
    pub law: PowerLaw,
    /// Fitted to the points of resampled images.
    resampled: Vec<PowerLaw>,
}

impl PowerLaw {
    /// Error with so many images.
    pub fn error(&self, images: f64) -> f64 {
        self.floor + self.scale * images.powf(-self.exponent)
    }

    /// The law of the least squares, each point counted by its weight; floor and scale are not negative.
    ///
    /// For a given exponent the rest is linear and has one solution, so only the exponent is searched: over a grid, and then by golden
    /// sections around its best.
    ///
    /// # Errors
    /// Fewer than three points.
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

/// Floor and scale of the least weighted squares for an exponent; the first value is the sum of squares.
fn linear(images: &[f64], errors: &[f64], weights: &[f64], exponent: f64) -> (f64, PowerLaw) {
    let powers: Vec<f64> = images.iter().map(|n| n.powf(-exponent)).collect();
    let sum = |of: &dyn Fn(usize) -> f64| (0..images.len()).map(|at| weights[at] * of(at)).sum::<f64>();
    let (one, p, pp) = (sum(&|_| 1.0), sum(&|at| powers[at]), sum(&|at| powers[at] * powers[at]));
    let (e, pe) = (sum(&|at| errors[at]), sum(&|at| powers[at] * errors[at]));
    let determinant = one * pp - p * p;
    let scale = (one * pe - p * e) / determinant;
    let floor = (e - scale * p) / one;
    // Where one of the two would be negative, the best of those that are allowed has it at zero.
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
    /// Measures a probe of this strength on growing parts of the training images of each fold, and fits the law. Smaller parts lie
    /// within larger ones, and hold the classes in the proportions of the whole.
    ///
    /// The strength is that of the whole: it weighs the images against a belief about weights that does not depend on how many images there
    /// are.
    ///
    /// # Errors
    /// Fewer images or groups than folds, too few images of two classes in the smallest part, the caller's wish to stop.
    pub fn measure(table: &FeatureTable, folds: Folds, strength: f64, watch: Watch<'_>) -> Result<Self> {
        let fold_of = &folds.deal(table)?[0];
        let labels = table.labels();
        let probe = Standardised::new(table);
        let total = PARTS.len() * folds.count;
        // Of each part and image: whether a probe that had not seen the image was right.
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

    /// Accuracy to be expected with so many training images; the interval is that of the law, fitted to resampled images.
    pub fn foretell(&self, images: f64) -> Estimate {
        let mut accuracies: Vec<f64> = self.resampled.iter().map(|law| 1.0 - law.error(images)).collect();
        accuracies.sort_by(f64::total_cmp);
        let value = 1.0 - self.law.error(images);
        let interval = [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0].map(|share| quantile(&accuracies, share));
        Estimate { value, interval, n: self.points.last().map_or(0, |point| point.accuracy.n) }
    }

    /// How many training images the law asks for an accuracy; `None` beyond its floor.
    pub fn images_for(&self, accuracy: f64) -> Option<f64> {
        let above = 1.0 - accuracy - self.law.floor;
        (above > 0.0 && self.law.scale > 0.0).then(|| (self.law.scale / above).powf(1.0 / self.law.exponent))
    }
}

/// A law through errors measured on `n` images each: a point counts by how exactly it is known.
fn fit(images: &[f64], errors: &[f64], n: usize) -> Result<PowerLaw> {
    let weight = |error: &f64| {
        // The error of Laplace's rule of succession: a point without errors is not known beyond doubt.
        let error = (error * n as f64 + 1.0) / (n as f64 + 2.0);
        1.0 / (error * (1.0 - error))
    };
    PowerLaw::fit(images, errors, &errors.iter().map(weight).collect::<Vec<_>>())
}

/// Rows in an order in which every beginning holds the classes in nearly the proportions of the whole.
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
