//! The division of images into folds, so that each image is judged by a classifier that has not seen it.

use crate::random::Random;
use crate::table::FeatureTable;
use crate::{InsightError, Result};

/// How images are divided into folds: each class is divided equally (the folds are stratified), all images of a group are in one fold, and the
/// division follows from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folds {
    /// Number of folds of one division.
    pub count: usize,
    /// Number of divisions.
    pub repeats: usize,
    /// Seed of the divisions.
    pub seed: u64,
}

impl Folds {
    /// One division into `count` folds.
    pub fn new(count: usize, seed: u64) -> Self {
        Self { count, repeats: 1, seed }
    }

    /// The fold of each image, for each division.
    ///
    /// Groups are assigned one by one, large groups first, each to the fold in which its classes are rarest. This keeps the sum of squared
    /// shares small, over all folds and classes, as scikit-learn's `StratifiedGroupKFold` keeps their deviation small. An image without a
    /// group is a group by itself; without groups, the numbers of images of a class in two folds differ by at most one.
    ///
    /// # Errors
    /// [`InsightError::Setting`] for fewer than two folds, [`InsightError::TooFew`] for fewer groups than folds.
    pub fn deal(&self, table: &FeatureTable) -> Result<Vec<Vec<usize>>> {
        if self.count < 2 {
            let found = self.count as f64;
            return Err(InsightError::Setting { name: "the number of folds", found, expected: "at least 2" });
        }
        let groups = table.groups();
        let (labels, counts) = (table.labels(), table.counts());
        let found = groups.iter().max().map_or(0, |last| last + 1);
        if found < self.count {
            let needed = format!("{} images or groups", self.count);
            return Err(InsightError::TooFew { what: "dealing images into folds", needed, found });
        }
        let mut members = vec![Vec::new(); found];
        groups.iter().enumerate().for_each(|(row, &group)| members[group].push(row));
        let one = |repeat: usize| {
            let mut order: Vec<&Vec<usize>> = members.iter().collect();
            Random::new(self.seed, repeat as u64).shuffle(&mut order);
            // Large groups come first, so that small ones can balance the folds afterwards.
            order.sort_by_key(|group| std::cmp::Reverse(group.len()));
            deal(&order, &labels, &counts, self.count)
        };
        Ok((0..self.repeats.max(1)).map(one).collect())
    }
}

fn deal(groups: &[&Vec<usize>], labels: &[u32], counts: &[usize], folds: usize) -> Vec<usize> {
    let mut fold_of = vec![0; labels.len()];
    let mut inside = vec![vec![0_usize; counts.len()]; folds];
    let mut sizes = vec![0_usize; folds];
    for group in groups {
        // The increase of the sum of squared shares, without the part that is equal for all folds.
        let growth = |fold: usize| -> f64 {
            let of = |&row: &usize| {
                let class = labels[row] as usize;
                inside[fold][class] as f64 / (counts[class] as f64).powi(2)
            };
            group.iter().map(of).sum()
        };
        let worse = |a: &usize, b: &usize| growth(*a).total_cmp(&growth(*b)).then(sizes[*a].cmp(&sizes[*b]));
        let best = (0..folds).min_by(worse).expect("there are at least two folds");
        for &row in *group {
            fold_of[row] = best;
            inside[best][labels[row] as usize] += 1;
        }
        sizes[best] += group.len();
    }
    fold_of
}
