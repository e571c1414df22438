//! The exact probe: a logistic regression on standardised features, computed to the optimum.
//!
//! It has no learning rate and no epochs, its result depends only on the data and the strength, and it takes about a second.
//! Its accuracy says how good the features are before anything is fine-tuned.

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

/// Upper limit of the length of a fitted probe's gradient, relative to the gradient at zero weights. With it, coefficients agree with
/// scikit-learn's to five digits.
const EXACT: f64 = 1e-6;
/// The same limit for a probe that is only scored. With it, probabilities are right to about three digits.
const ROUGH: f64 = 1e-3;

/// A linear classifier on features, at the optimum of
///
/// ```text
/// strength · Σ cross-entropy + ½ ‖weights‖²
/// ```
///
/// over standardised features (each minus its mean, divided by its standard deviation); the intercept is not penalised.
/// `strength` is scikit-learn's `C`: the smaller it is, the stronger is the penalty.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    classes: usize,
    /// The classes that occur among the images; the others have probability 0.
    present: Vec<usize>,
    width: usize,
    strength: f64,
    /// `[outputs, width]`, for features that are not standardised.
    weights: Vec<f64>,
    intercepts: Vec<f64>,
}

/// The last layer of a network: `outputs = features · weights + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Number of outputs.
    pub units: usize,
    /// `[width, units]`, the axes of a dense kernel in Keras.
    pub weights: Vec<f32>,
    /// `[units]`.
    pub bias: Vec<f32>,
}

impl Probe {
    /// Fits a probe to all images of a table.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] for images of fewer than two classes, [`InsightError::Setting`] if the strength is not positive,
    /// [`InsightError::Stopped`] if the caller has asked to stop.
    pub fn fit(table: &FeatureTable, strength: f64, watch: Watch<'_>) -> Result<Self> {
        let standard = Standardised::new(table);
        let rows: Vec<usize> = (0..table.len()).collect();
        let (probe, _) = standard.fit(&rows, strength, EXACT, None, watch)?;
        Ok(probe.unstandardised(&standard.mean, &standard.scale))
    }

    /// Chooses the strength by cross-validation, and fits a probe of this strength to all images.
    ///
    /// # Errors
    /// Those of [`Probe::fit`] and [`CrossValidation::run`].
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

    /// The probabilities of images, `[images, classes]`.
    ///
    /// # Errors
    /// [`InsightError::Count`] if the features have another width.
    pub fn probabilities(&self, features: &Matrix) -> Result<Vec<f64>> {
        if features.width() != self.width {
            let (found, expected) = (features.width(), self.width);
            return Err(InsightError::Count { what: "features per image", found, expected });
        }
        // This is computed in double precision, because features may have means that are large compared with their deviations.
        let of = |row: &[f32]| -> Vec<f64> {
            let products = self.weights.chunks_exact(self.width).map(|weights| dot(row, weights));
            let logits: Vec<f64> = products.zip(&self.intercepts).map(|(product, b)| product + b).collect();
            self.spread(&logits)
        };
        Ok(features.values().par_chunks(self.width).flat_map_iter(of).collect())
    }

    /// The probabilities of all classes, from the logits of those that occur.
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
    /// [`InsightError::Count`] if the features have another width, or the number of classes is another one.
    pub fn predict(&self, table: &FeatureTable) -> Result<Predictions> {
        if table.classes().len() != self.classes {
            let (found, expected) = (table.classes().len(), self.classes);
            return Err(InsightError::Count { what: "classes", found, expected });
        }
        Predictions::new(self.classes, table.labels(), self.probabilities(table.features())?)
    }

    /// The probe as the last layer of a network, with one unit per class, or with one unit for two classes, whose logit is that of the second
    /// class. `None` if there is no such layer, because a class has no images, or the number of units is another one.
    pub fn linear(&self, units: usize) -> Option<Linear> {
        let whole = self.present.len() == self.classes;
        if !whole || !(units == self.classes || (units == 1 && self.classes == 2)) {
            return None;
        }
        // With two units, the two logits must differ by the probe's only logit.
        let shares: &[f64] = if units == 2 { &[-0.5, 0.5] } else { &[1.0] };
        let of = |values: &[f64], stride: usize, at: usize, unit: usize| {
            (if units == self.intercepts.len() { values[unit * stride + at] } else { values[at] * shares[unit] }) as f32
        };
        let all = (0..self.width).flat_map(|at| (0..units).map(move |unit| (at, unit)));
        let weights = all.map(|(at, unit)| of(&self.weights, self.width, at, unit)).collect();
        Some(Linear { units, weights, bias: (0..units).map(|unit| of(&self.intercepts, 1, 0, unit)).collect() })
    }

    /// The same probe for features before they were standardised to `(feature - mean) / scale`.
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

/// A table whose features have been standardised, for probes of many subsets of it.
///
/// Each probe standardises them again by the rows to which it is fitted. They are standardised once before, because products of features whose
/// means are far from zero would lose digits.
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
        let matrix = Matrix::new(features.width(), values)
            .expect("standardised values are finite, and there are as many as before");
        Self { matrix, labels: table.labels(), classes: table.classes().len(), mean, scale }
    }

    /// The classes that a probe of the rows `train` predicts for the rows `test`.
    pub fn classify(&self, train: &[usize], test: &[usize], strength: f64, watch: Watch<'_>) -> Result<Vec<u32>> {
        let (probe, _) = self.fit(train, strength, ROUGH, None, watch)?;
        let probabilities = self.probabilities(&probe, test);
        Ok(probabilities.chunks_exact(self.classes).map(|row| largest(row) as u32).collect())
    }

    /// Fits a probe of some rows, for the features of the matrix. `start` may be the optimum for another strength on the same rows; the second
    /// value that is returned is the optimum for this one.
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

    /// The probabilities that a probe for the features of the matrix gives to some rows; products are computed in single precision.
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
