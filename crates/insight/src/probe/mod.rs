//! The exact probe: logistic regression on standardised features, to the optimum.
//!
//! It has no learning rate and no epochs, its result depends on nothing but the data, and it takes about a second. What it
//! reaches is what features are worth before anything is fine-tuned.

mod newton;
mod problem;
mod validate;

pub use validate::{CrossValidation, FoldScore, Mean, Strengths, Tried};

use problem::{Problem, moments, sigmoid};
use rayon::prelude::*;

use crate::dense;
use crate::folds::Folds;
use crate::predictions::{Predictions, largest};
use crate::table::{FeatureTable, Matrix};
use crate::watch::Watch;
use crate::{InsightError, Result};

/// The gradient of a fitted probe is at most this part of the gradient at zero weights: coefficients agree with scikit-learn's
/// to five digits.
const EXACT: f64 = 1e-6;
/// The same for a probe that is only to be scored: its probabilities are right to about three digits.
const ROUGH: f64 = 1e-3;

/// A linear classifier on features, at the optimum of
///
/// ```text
/// strength · Σ cross-entropy + ½ ‖weights‖²
/// ```
///
/// over standardised features (each minus its mean, divided by its deviation); the intercept is not penalised. `strength` is
/// scikit-learn's `C`: the smaller, the smoother.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    classes: usize,
    /// Classes that the images bear; the others have probability 0.
    present: Vec<usize>,
    width: usize,
    strength: f64,
    /// `[outputs, width]`, for features as they are.
    weights: Vec<f64>,
    intercepts: Vec<f64>,
}

/// The last layer of a network: `outputs = features · weights + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Number of outputs.
    pub units: usize,
    /// `[width, units]`, as Keras lays out a dense kernel.
    pub weights: Vec<f32>,
    /// `[units]`.
    pub bias: Vec<f32>,
}

impl Probe {
    /// The probe of all images of a table.
    ///
    /// # Errors
    /// Images of fewer than two classes; a strength that is not positive; the caller's wish to stop.
    pub fn fit(table: &FeatureTable, strength: f64, watch: Watch<'_>) -> Result<Self> {
        let standard = Standardised::new(table);
        let rows: Vec<usize> = (0..table.len()).collect();
        let (probe, _) = standard.fit(&rows, strength, EXACT, None, watch)?;
        Ok(probe.unstandardised(&standard.mean, &standard.scale))
    }

    /// Chooses the strength by cross-validation, and fits the probe of all images with it.
    ///
    /// # Errors
    /// As [`Probe::fit`] and [`CrossValidation::run`].
    pub fn choose(table: &FeatureTable, folds: Folds, watch: Watch<'_>) -> Result<(Self, CrossValidation)> {
        let validation = CrossValidation::run(table, folds, &Strengths::default(), watch)?;
        let probe = Self::fit(table, validation.strength, watch.quiet())?;
        Ok((probe, validation))
    }

    /// Strength of the fit.
    pub fn strength(&self) -> f64 {
        self.strength
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Probabilities of images, `[images, classes]`.
    ///
    /// # Errors
    /// Features of another width.
    pub fn probabilities(&self, features: &Matrix) -> Result<Vec<f64>> {
        if features.width() != self.width {
            let (found, expected) = (features.width(), self.width);
            return Err(InsightError::Count { what: "features per image", found, expected });
        }
        // In double precision: features may have means that are large beside their deviations.
        let of = |row: &[f32]| -> Vec<f64> {
            let products = self.weights.chunks_exact(self.width).map(|weights| dot(row, weights));
            let logits: Vec<f64> = products.zip(&self.intercepts).map(|(product, b)| product + b).collect();
            self.spread(&logits)
        };
        Ok(features.values().par_chunks(self.width).flat_map_iter(of).collect())
    }

    /// Probabilities of all classes.
    fn spread(&self, logits: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.classes];
        if let [logit] = *logits {
            (out[self.present[0]], out[self.present[1]]) = (sigmoid(-logit), sigmoid(logit));
            return out;
        }
        let probabilities = softmax(logits);
        self.present.iter().zip(probabilities).for_each(|(&class, p)| out[class] = p);
        out
    }

    /// Predictions for the images of a table.
    ///
    /// # Errors
    /// Features of another width, or other classes.
    pub fn predict(&self, table: &FeatureTable) -> Result<Predictions> {
        if table.classes().len() != self.classes {
            let (found, expected) = (table.classes().len(), self.classes);
            return Err(InsightError::Count { what: "classes", found, expected });
        }
        Predictions::new(self.classes, table.labels(), self.probabilities(table.features())?)
    }

    /// The probe as the last layer of a network: with one unit (of two classes; the logit is the second class's), or with one
    /// unit per class. `None` where there is no such layer: a class without images, or one unit for more than two classes.
    pub fn linear(&self, units: usize) -> Option<Linear> {
        let whole = self.present.len() == self.classes;
        if !whole || !(units == self.classes || (units == 1 && self.classes == 2)) {
            return None;
        }
        // Two logits that differ by the one there is.
        let shares: &[f64] = if units == 2 { &[-0.5, 0.5] } else { &[1.0] };
        let of = |values: &[f64], stride: usize, at: usize, unit: usize| {
            (if units == self.intercepts.len() { values[unit * stride + at] } else { values[at] * shares[unit] }) as f32
        };
        let all = (0..self.width).flat_map(|at| (0..units).map(move |unit| (at, unit)));
        let weights = all.map(|(at, unit)| of(&self.weights, self.width, at, unit)).collect();
        Some(Linear { units, weights, bias: (0..units).map(|unit| of(&self.intercepts, 1, 0, unit)).collect() })
    }

    /// For features as they were before each was made `(feature - mean) / scale`.
    fn unstandardised(mut self, mean: &[f64], scale: &[f64]) -> Self {
        for (weights, intercept) in self.weights.chunks_exact_mut(self.width).zip(&mut self.intercepts) {
            for ((weight, mean), scale) in weights.iter_mut().zip(mean).zip(scale) {
                *weight /= scale;
                *intercept -= *weight * mean;
            }
        }
        self
    }
}

/// A table whose features are standardised once, for probes on many subsets of it.
///
/// Each probe standardises anew by the rows that it is fitted to; where means are far from zero, products of features as they are
/// would lose digits.
pub(crate) struct Standardised {
    matrix: Matrix,
    labels: Vec<u32>,
    classes: usize,
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Standardised {
    pub fn new(table: &FeatureTable) -> Self {
        let rows: Vec<usize> = (0..table.len()).collect();
        let features = table.features();
        let (mean, scale) = moments(features, &rows);
        let one = |((&x, mean), scale): ((&f32, &f64), &f64)| ((f64::from(x) - mean) / scale) as f32;
        let values = features.rows().flat_map(|row| row.iter().zip(&mean).zip(&scale).map(one)).collect();
        let matrix =
            Matrix::new(features.width(), values).expect("standardised values are finite, and as many as there were");
        Self { matrix, labels: table.labels(), classes: table.classes().len(), mean, scale }
    }

    /// The classes for which a probe of the rows `train` takes the rows `test`.
    pub fn classify(&self, train: &[usize], test: &[usize], strength: f64, watch: Watch<'_>) -> Result<Vec<u32>> {
        let (probe, _) = self.fit(train, strength, ROUGH, None, watch)?;
        let probabilities = self.probabilities(&probe, test);
        Ok(probabilities.chunks_exact(self.classes).map(|row| largest(row) as u32).collect())
    }

    /// The probe of some rows, for features as they are in the matrix. `start` is the optimum of another strength on the same rows;
    /// the second value is this one's.
    fn fit(
        &self,
        rows: &[usize],
        strength: f64,
        tolerance: f64,
        start: Option<Vec<f64>>,
        watch: Watch<'_>,
    ) -> Result<(Probe, Vec<f64>)> {
        if !(strength > 0.0 && strength.is_finite()) {
            return Err(InsightError::Setting { name: "the probe's strength", found: strength, expected: "above 0" });
        }
        let mut present: Vec<usize> = rows.iter().map(|&row| self.labels[row] as usize).collect();
        present.sort_unstable();
        present.dedup();
        if present.len() < 2 {
            let (needed, found) = ("images of 2 classes".to_owned(), present.len());
            return Err(InsightError::TooFew { what: "a probe", needed, found });
        }
        let place = |&row: &usize| {
            present.binary_search(&(self.labels[row] as usize)).expect("the label of each row is present") as u32
        };
        let targets = rows.iter().map(place).collect();
        let problem = Problem::new(&self.matrix, rows, targets, present.len(), strength);
        let start = start.unwrap_or_else(|| vec![0.0; problem.dimensions()]);
        let point = newton::minimise(&problem, start, tolerance, watch)?;
        let (weights, intercepts) = problem.unstandardised(&point);
        let (classes, width) = (self.classes, self.matrix.width());
        Ok((Probe { classes, present, width, strength, weights, intercepts }, point))
    }

    /// Probabilities of some rows by a probe for features as they are in the matrix, in single precision.
    fn probabilities(&self, probe: &Probe, rows: &[usize]) -> Vec<f64> {
        let weights: Vec<f32> = probe.weights.iter().map(|&weight| weight as f32).collect();
        let columns: Vec<&[f32]> = weights.chunks_exact(probe.width).collect();
        let rows: Vec<&[f32]> = rows.iter().map(|&row| self.matrix.row(row)).collect();
        let mut products = vec![0.0; rows.len() * columns.len()];
        dense::dots(&rows, &columns, &mut products);
        let of = |products: &[f32]| -> Vec<f64> {
            let logits = products.iter().zip(&probe.intercepts).map(|(&product, b)| f64::from(product) + b);
            probe.spread(&logits.collect::<Vec<_>>())
        };
        products.chunks_exact(columns.len()).flat_map(of).collect()
    }
}

fn dot(row: &[f32], weights: &[f64]) -> f64 {
    row.iter().zip(weights).map(|(&x, weight)| f64::from(x) * weight).sum()
}

/// Probabilities from logits.
pub(crate) fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
