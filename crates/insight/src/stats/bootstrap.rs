use rayon::prelude::*;

use super::{LEVEL, quantile};
use crate::random::Random;

/// Intervals for statistics without a formula for them: the statistic is computed many times on images that are drawn with
/// replacement (Efron, "Bootstrap Methods", 1979), and the interval lies between two percentiles of the results (percentile
/// method).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Bootstrap {
    /// Two thousand resamples, with which another seed changes a limit by less than a twentieth of the interval.
    pub fn new(seed: u64) -> Self {
        Self { resamples: 2000, seed }
    }

    /// The interval at [`LEVEL`] of a statistic of `n` images. The function gets the numbers of images, some of them repeatedly. `None`
    /// if the statistic has no value in at least half of the resamples (for example, the area under a curve without images of both
    /// classes).
    pub fn interval(&self, n: usize, statistic: impl Fn(&[usize]) -> Option<f64> + Sync) -> Option<[f64; 2]> {
        self.draw(n, |random| statistic(&(0..n).map(|_| random.below(n)).collect::<Vec<_>>()))
    }

    /// The interval if images of a group are alike, so that whole groups are drawn. `groups` has the numbers of the images
    /// of each group.
    pub fn interval_of_groups(
        &self,
        groups: &[Vec<usize>],
        statistic: impl Fn(&[usize]) -> Option<f64> + Sync,
    ) -> Option<[f64; 2]> {
        let count = groups.len();
        self.draw(count, |random| {
            let drawn = (0..count).flat_map(|_| &groups[random.below(count)]).copied();
            statistic(&drawn.collect::<Vec<_>>())
        })
    }

    fn draw(&self, n: usize, value: impl Fn(&mut Random) -> Option<f64> + Sync) -> Option<[f64; 2]> {
        if n == 0 {
            return None;
        }
        let one = |resample: usize| value(&mut Random::new(self.seed, resample as u64 + 1));
        let mut values: Vec<f64> = (0..self.resamples).into_par_iter().filter_map(one).collect();
        if values.len() * 2 <= self.resamples {
            return None;
        }
        values.sort_by(f64::total_cmp);
        Some([(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0].map(|share| quantile(&values, share)))
    }
}
