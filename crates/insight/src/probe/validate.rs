use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ROUGH, Standardised};
use crate::folds::Folds;
use crate::predictions::Predictions;
use crate::stats::{Bootstrap, Estimate, LEVEL, mean_and_sd, wilson};
use crate::table::FeatureTable;
use crate::watch::Watch;
use crate::{InsightError, Result};

/// Strengths among which cross-validation chooses, in ascending order. A small strength means a strong penalty.
#[derive(Debug, Clone, PartialEq)]
pub struct Strengths(Vec<f64>);

impl Default for Strengths {
    /// Half decades from 1e-5 to 10. For standardised, pooled features of a backbone, the best strength is usually near 1e-3.
    fn default() -> Self {
        Self((-10..=2).map(|half| 10_f64.powf(f64::from(half) / 2.0)).collect())
    }
}

impl Strengths {
    /// A list of strengths, which is sorted.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] if the list is empty, [`InsightError::Setting`] if a strength is not positive.
    pub fn new(mut strengths: Vec<f64>) -> Result<Self> {
        if strengths.is_empty() {
            return Err(InsightError::TooFew { what: "a cross-validation", needed: "one strength".into(), found: 0 });
        }
        match strengths.iter().find(|strength| !(**strength > 0.0 && strength.is_finite())) {
            Some(&found) => Err(InsightError::Setting { name: "a strength", found, expected: "above 0" }),
            None => {
                strengths.sort_by(f64::total_cmp);
                Ok(Self(strengths))
            }
        }
    }
}

/// A strength, and how well probes of this strength classified images that they had not seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Strength.
    pub strength: f64,
    /// Mean cross-entropy, which decides the choice: unlike accuracy, it changes with every probability.
    pub loss: f64,
    /// Share of images that were classified correctly.
    pub accuracy: f64,
}

/// The accuracy of a probe on one fold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FoldScore {
    /// Number of the division, from 0.
    pub repeat: usize,
    /// Number of the fold, from 0.
    pub fold: usize,
    /// Accuracy on the fold's images.
    pub accuracy: Estimate,
}

/// The mean accuracy over folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Standard deviation over the folds.
    pub sd: f64,
    /// Interval of the accuracy on images like these, for a probe that is fitted to as many images as those of one fold. It is Wilson's
    /// interval, for which each image counts once with any number of divisions. If images have groups, it comes from a bootstrap that resamples
    /// groups, because the images of a group say little more than one image.
    pub interval: [f64; 2],
    /// Number of images.
    pub n: usize,
}

/// The result of a cross-validation, in which each probe is judged on images that it has not seen.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossValidation {
    /// The chosen strength, with which the predictions and accuracies below were computed. It is the smallest one whose loss is within one standard
    /// error of the lowest loss (Breiman and others, "Classification and Regression Trees", 1984), because larger ones are not clearly better.
    pub strength: f64,
    /// All strengths that were tried, in ascending order.
    pub tried: Vec<Tried>,
    /// For each image, the probabilities of the probe that had not seen it; with several divisions, their mean.
    pub predictions: Predictions,
    /// The folds, division by division.
    pub folds: Vec<FoldScore>,
    /// Mean over all folds.
    pub accuracy: Mean,
}

/// One fold, for which probes of all strengths are fitted one after the other.
struct Path {
    train: Vec<usize>,
    test: Vec<usize>,
    point: Option<Vec<f64>>,
    /// Probabilities of `test`.
    probabilities: Vec<f64>,
}

impl CrossValidation {
    /// Divides the images of a table into folds, and judges a probe on each fold that was fitted to the other folds. Features are
    /// standardised by the images to which a probe is fitted. All folds have the same strength. It is chosen on the same images, but as it is
    /// one number, this changes the accuracy by far less than the width of its interval.
    ///
    /// # Errors
    /// [`InsightError::TooFew`] for fewer images or groups than folds, or images of one class only, [`InsightError::Setting`] for fewer than two
    /// folds, [`InsightError::Stopped`] if the caller has asked to stop.
    pub fn run(table: &FeatureTable, folds: Folds, strengths: &Strengths, watch: Watch<'_>) -> Result<Self> {
        let deals = folds.deal(table)?;
        let rows: Vec<usize> = (0..table.len()).collect();
        let standard = Standardised::new(table);
        let path = |fold_of: &[usize], fold: usize| {
            let side = |inside: bool| rows.iter().copied().filter(|&row| (fold_of[row] == fold) == inside).collect();
            Path { train: side(false), test: side(true), point: None, probabilities: Vec::new() }
        };
        let paths = deals.iter().flat_map(|fold_of| (0..folds.count).map(move |fold| (fold_of, fold)));
        let mut paths: Vec<Path> = paths.map(|(fold_of, fold)| path(fold_of, fold)).collect();
        let (mut tried, mut kept): (Vec<Score>, Vec<Vec<Vec<f64>>>) = (Vec::new(), Vec::new());
        let (labels, classes, total) = (table.labels(), table.classes().len(), strengths.0.len());
        let least = |tried: &[Score]| (0..tried.len()).min_by(|&a, &b| tried[a].loss.total_cmp(&tried[b].loss));
        for (done, &strength) in strengths.0.iter().enumerate() {
            watch.step("probe", done, total)?;
            paths.par_iter_mut().try_for_each(|path| path.go_on(&standard, strength, watch))?;
            tried.push(score(&paths, &labels, classes, strength));
            kept.push(paths.iter().map(|path| path.probabilities.clone()).collect());
            // The loss first falls and then rises with the strength, and the largest strengths take longest, so the search ends when it rises.
            if least(&tried).is_some_and(|best| best < done) {
                break;
            }
        }
        watch.step("probe", total, total)?;
        let best = &tried[least(&tried).expect("there is at least one strength")];
        let limit = best.loss + best.error;
        let chosen = tried.iter().position(|tried| tried.loss <= limit).expect("the best is within the limit");
        paths.iter_mut().zip(kept.swap_remove(chosen)).for_each(|(path, of_fold)| path.probabilities = of_fold);
        let tried: Vec<Tried> = tried.into_iter().map(|score| score.tried).collect();
        Self::summed_up(table, &paths, folds, tried[chosen].strength, tried)
    }

    fn summed_up(table: &FeatureTable, paths: &[Path], folds: Folds, strength: f64, tried: Vec<Tried>) -> Result<Self> {
        let (labels, classes) = (table.labels(), table.classes().len());
        let repeats = paths.len() / folds.count;
        let mut means = vec![0.0; table.len() * classes];
        let mut right = vec![0.0; table.len()];
        let mut scores = Vec::with_capacity(paths.len());
        for (at, path) in paths.iter().enumerate() {
            let mut hits = 0;
            for (&row, probabilities) in path.test.iter().zip(path.probabilities.chunks_exact(classes)) {
                let hit = crate::predictions::largest(probabilities) == labels[row] as usize;
                hits += usize::from(hit);
                right[row] += f64::from(u8::from(hit)) / repeats as f64;
                let mean = &mut means[row * classes..][..classes];
                mean.iter_mut().zip(probabilities).for_each(|(mean, p)| *mean += p / repeats as f64);
            }
            let accuracy = Estimate::share(hits, path.test.len());
            scores.push(FoldScore { repeat: at / folds.count, fold: at % folds.count, accuracy });
        }
        let (mean, sd) = mean_and_sd(&scores.iter().map(|score| score.accuracy.value).collect::<Vec<_>>());
        let n = table.len();
        let interval = grouped_interval(table, &right, folds.seed)
            .unwrap_or_else(|| wilson(right.iter().sum::<f64>() / n as f64, n, LEVEL));
        let predictions = Predictions::new(classes, labels, means)?;
        Ok(Self { strength, tried, predictions, folds: scores, accuracy: Mean { mean, sd, interval, n } })
    }
}

/// The interval of a mean over images with groups; `None` if no image has a group with others.
fn grouped_interval(table: &FeatureTable, values: &[f64], seed: u64) -> Option<[f64; 2]> {
    let group_of = table.groups();
    let count = group_of.iter().max().map_or(0, |last| last + 1);
    if count == table.len() {
        return None;
    }
    let mut groups = vec![Vec::new(); count];
    group_of.iter().enumerate().for_each(|(row, &group)| groups[group].push(row));
    let mean = |rows: &[usize]| Some(rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64);
    Bootstrap::new(seed).interval_of_groups(&groups, mean)
}

impl Path {
    /// Finds the optimum for the next strength, starting from that of the last one.
    fn go_on(&mut self, table: &Standardised, strength: f64, watch: Watch<'_>) -> Result<()> {
        let (probe, point) = table.fit(&self.train, strength, ROUGH, self.point.take(), watch)?;
        self.probabilities = table.probabilities(&probe, &self.test);
        self.point = Some(point);
        Ok(())
    }
}

/// The score of a strength in a cross-validation.
struct Score {
    tried: Tried,
    loss: f64,
    /// Standard error of the loss.
    error: f64,
}

fn score(paths: &[Path], labels: &[u32], classes: usize, strength: f64) -> Score {
    let mut losses = Vec::new();
    let mut right = 0_u32;
    for path in paths {
        for (&row, probabilities) in path.test.iter().zip(path.probabilities.chunks_exact(classes)) {
            let label = labels[row] as usize;
            losses.push(-probabilities[label].max(1e-15).ln());
            right += u32::from(crate::predictions::largest(probabilities) == label);
        }
    }
    let (loss, sd) = mean_and_sd(&losses);
    // With several divisions, each image still counts once.
    let error = sd / (labels.len() as f64).sqrt();
    let accuracy = f64::from(right) / losses.len().max(1) as f64;
    Score { tried: Tried { strength, loss, accuracy }, loss, error }
}
