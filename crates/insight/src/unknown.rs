//! Out-of-distribution detection: whether a photo is like any training image.
//!
//! The measure is the mean cosine distance to the ten nearest training images (Sun and others, "Out-of-Distribution
//! Detection with Deep Nearest Neighbors", ICML 2022). It was chosen by a measurement on pooled MobileNetV2 features of photos at 160×160, with
//! a threshold that keeps 95 % of the validation photos known. The table shows the share of foreign photos that are called unknown:
//!
//! | known | foreign | 1 neighbour | **10 neighbours** | 10, centred | Mahalanobis, tied covariance |
//! |---|---|---|---|---|---|
//! | 2,000 cats and dogs | 3,670 flowers | 0.996 | **0.999** | 0.959 | 0.741 |
//! | 2,000 cats and dogs | 500 of ImageNet | 0.862 | **0.880** | 0.844 | 0.852 |
//! | 2,936 flowers | 1,000 cats and dogs | 0.868 | **0.995** | 0.936 | 0.971 |
//! | 2,936 flowers | 500 of ImageNet | 0.856 | **0.866** | 0.740 | 0.866 |
//!
//! (Some dozens of the 500 photos of ImageNet show dogs, cats and flowers, and are rightly known.)

use serde::{Deserialize, Serialize};

use crate::neighbours::{Neighbour, Neighbours};
use crate::stats::{Estimate, quantile};
use crate::table::Matrix;
use crate::watch::Watch;
use crate::{InsightError, Result};

/// Number of neighbours whose mean distance counts.
const NEIGHBOURS: usize = 10;
/// The distances of the validation photos are kept as this number of quantiles plus one.
const KEPT: usize = 200;

/// The distance from which on a photo is unknown, and the distances of the validation photos. A model keeps it beside its training features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Number of neighbours whose mean distance counts.
    pub neighbours: usize,
    /// Share of validation photos that count as known.
    pub keep: f64,
    /// A photo is unknown if its distance is larger.
    pub distance: f64,
    /// Number of validation photos.
    pub n: usize,
    /// Their distances as equally spaced quantiles, from the smallest to the largest.
    pub quantiles: Vec<f64>,
}

/// The training images of a model with a threshold, by which other photos are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    training: Neighbours,
    threshold: Threshold,
}

/// How far a photo is from the training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether it is farther than the threshold.
    pub unknown: bool,
    /// Mean cosine distance to the nearest training images.
    pub distance: f64,
    /// Share of the validation photos that are at least as far. The smaller it is, the more certain it is that the photo is unknown.
    pub as_far: f64,
    /// The nearest training images, the nearest one first.
    pub nearest: Vec<Neighbour>,
}

/// Whether new photos differ, as a whole, from the training images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Share of the new photos that are unknown.
    pub unknown: Estimate,
    /// Share of photos like the validation photos that would be unknown.
    pub expected: f64,
    /// The probability that a new photo is farther from the training images than a validation photo; 0.5 if there is no drift.
    pub farther: f64,
    /// Whether the interval of `unknown` lies above `expected`.
    pub drifted: bool,
}

impl Threshold {
    /// Judges a photo by its nearest training images, the nearest one first. The first [`Threshold::neighbours`] of them count.
    pub fn standing(&self, nearest: Vec<Neighbour>) -> Standing {
        let distance = mean_distance(&nearest[..nearest.len().min(self.neighbours)]);
        let nearer = self.quantiles.partition_point(|quantile| *quantile < distance);
        let as_far = 1.0 - nearer as f64 / self.quantiles.len() as f64;
        Standing { unknown: distance > self.distance, distance, as_far, nearest }
    }

    /// Whether photos can be judged by it: the number of neighbours is positive, all numbers are finite, and the quantiles ascend. A threshold
    /// that was read from a file may be damaged.
    pub fn is_sound(&self) -> bool {
        let numbers = self.quantiles.iter().chain([&self.distance]);
        let finite = numbers.clone().all(|number| number.is_finite()) && (0.0..=1.0).contains(&self.keep);
        finite && self.neighbours > 0 && !self.quantiles.is_empty() && self.quantiles.is_sorted()
    }
}

impl Known {
    /// Finds the threshold at which a share of `keep` (usually 0.95) of the validation photos counts as known.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] without training or validation images, [`InsightError::Count`] for features of different widths,
    /// [`InsightError::Setting`] if `keep` is not between 0 and 1, [`InsightError::Stopped`] if the caller has asked to stop.
    pub fn fit(training: &Matrix, validation: &Matrix, keep: f64, watch: Watch<'_>) -> Result<Self> {
        if !(0.0..=1.0).contains(&keep) {
            let expected = "between 0 and 1";
            return Err(InsightError::Setting { name: "the share that stays known", found: keep, expected });
        }
        if training.is_empty() || validation.is_empty() {
            let needed = "a training image and a validation image".to_owned();
            return Err(InsightError::TooFew { what: "a threshold for the unknown", needed, found: 0 });
        }
        let training = Neighbours::new(training);
        let found = training.nearest(validation, NEIGHBOURS, watch)?;
        let mut distances: Vec<f64> = found.iter().map(|near| mean_distance(near)).collect();
        distances.sort_by(f64::total_cmp);
        let quantiles = (0..=KEPT).map(|at| quantile(&distances, at as f64 / KEPT as f64)).collect();
        let (distance, n) = (quantile(&distances, keep), distances.len());
        Ok(Self { training, threshold: Threshold { neighbours: NEIGHBOURS, keep, distance, n, quantiles } })
    }

    /// Restores it from training features and a threshold that was kept.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] without training images, or if the threshold is not [sound](Threshold::is_sound).
    pub fn restore(training: &Matrix, threshold: Threshold) -> Result<Self> {
        if training.is_empty() || !threshold.is_sound() {
            let needed = "training images, neighbours, and quantiles in ascending order".to_owned();
            return Err(InsightError::TooFew { what: "a kept threshold for the unknown", needed, found: 0 });
        }
        Ok(Self { training: Neighbours::new(training), threshold })
    }

    /// The threshold, to be kept beside the training features.
    pub fn threshold(&self) -> &Threshold {
        &self.threshold
    }

    /// Judges each photo by its features.
    ///
    /// # Errors
    /// [`InsightError::Count`] for features of another width, [`InsightError::Stopped`] if the caller has asked to stop.
    pub fn judge(&self, photos: &Matrix, watch: Watch<'_>) -> Result<Vec<Standing>> {
        let found = self.training.nearest(photos, self.threshold.neighbours, watch)?;
        Ok(found.into_iter().map(|nearest| self.threshold.standing(nearest)).collect())
    }

    /// Tests whether photos, as a whole, differ from the training images.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] without photos, and the errors of [`Known::judge`].
    pub fn drift(&self, photos: &Matrix, watch: Watch<'_>) -> Result<Drift> {
        if photos.is_empty() {
            let needed = "a photo".to_owned();
            return Err(InsightError::TooFew { what: "a look for drift", needed, found: 0 });
        }
        let standings = self.judge(photos, watch)?;
        let unknown = Estimate::share(standings.iter().filter(|it| it.unknown).count(), standings.len());
        let farther = standings.iter().map(|it| 1.0 - it.as_far).sum::<f64>() / standings.len() as f64;
        let expected = 1.0 - self.threshold.keep;
        Ok(Drift { unknown, expected, farther, drifted: unknown.interval[0] > expected })
    }
}

fn mean_distance(near: &[Neighbour]) -> f64 {
    near.iter().map(|it| 1.0 - f64::from(it.similarity)).sum::<f64>() / near.len().max(1) as f64
}
