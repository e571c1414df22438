//! The three benefits of transfer (Torrey and Shavlik, "Transfer Learning", 2009): a higher start, a higher slope, a
//! higher asymptote.

use serde::{Deserialize, Serialize};

/// Start, slope and asymptote of a learning curve, or the differences of these between two curves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Validation accuracy after the first epoch.
    pub start: f64,
    /// Accuracy gained per epoch on the way from chance to the target. The target lies at 95 % of the way from chance to the
    /// lower one of the compared asymptotes.
    pub slope: f64,
    /// Mean validation accuracy of the last quarter of the epochs.
    pub asymptote: f64,
}

/// Gain of transfer over training from scratch, averaged over several seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Mean difference of the starts: with transfer minus from scratch.
    pub start: f64,
    /// Mean difference of the slopes, in accuracy per epoch.
    pub slope: f64,
    /// Mean difference of the asymptotes.
    pub asymptote: f64,
    /// The seeds.
    pub seeds: Vec<u32>,
    /// Mean validation accuracy with transfer, one value per epoch.
    pub transfer: Vec<f64>,
    /// Mean validation accuracy from scratch, one value per epoch.
    pub scratch: Vec<f64>,
}

/// A seed, with its curves of validation accuracy with transfer and from scratch.
pub type Pair = (u32, Vec<f64>, Vec<f64>);

/// Compares curves of validation accuracy, one pair per seed. The accuracy of chance is 1 / `classes`.
///
/// # Panics
/// If a curve is empty.
pub fn compare(pairs: &[Pair], classes: usize) -> Gain {
    let chance = 1.0 / classes as f64;
    let mut sums = [0.0; 3];
    for (_, transfer, scratch) in pairs {
        let target = chance + 0.95 * (asymptote(transfer).min(asymptote(scratch)) - chance);
        let (a, b) = (measure(transfer, chance, target), measure(scratch, chance, target));
        let parts = [a.start - b.start, a.slope - b.slope, a.asymptote - b.asymptote];
        sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part / pairs.len() as f64);
    }
    let mean = |curve: fn(&Pair) -> &Vec<f64>| -> Vec<f64> {
        let epochs = pairs.iter().map(|pair| curve(pair).len()).min().unwrap_or(0);
        let at = |epoch: usize| pairs.iter().map(|pair| curve(pair)[epoch]).sum::<f64>() / pairs.len() as f64;
        (0..epochs).map(at).collect()
    };
    Gain {
        start: sums[0],
        slope: sums[1],
        asymptote: sums[2],
        seeds: pairs.iter().map(|pair| pair.0).collect(),
        transfer: mean(|pair| &pair.1),
        scratch: mean(|pair| &pair.2),
    }
}

/// Start, slope and asymptote of one curve on its way from `chance` to `target`.
///
/// The epoch at which the curve crosses the target is interpolated linearly; before the first epoch, the accuracy is
/// chance. The slope of a curve that never reaches the target is measured up to its highest point.
pub fn measure(curve: &[f64], chance: f64, target: f64) -> Curve {
    let mut slope = None;
    let mut before = chance;
    for (epoch, &accuracy) in curve.iter().enumerate() {
        if accuracy >= target && slope.is_none() {
            let part = if accuracy > before { (target - before) / (accuracy - before) } else { 1.0 };
            slope = Some((target - chance) / (epoch as f64 + part.clamp(1e-3, 1.0)));
        }
        before = accuracy;
    }
    let highest = || {
        let (at, top) =
            curve.iter().enumerate().fold((0, chance), |best, (at, &x)| if x > best.1 { (at, x) } else { best });
        (top - chance) / (at + 1) as f64
    };
    Curve { start: curve[0], slope: slope.unwrap_or_else(highest), asymptote: asymptote(curve) }
}

fn asymptote(curve: &[f64]) -> f64 {
    let last = &curve[curve.len() - curve.len().div_ceil(4)..];
    last.iter().sum::<f64>() / last.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_measured_by_start_slope_and_asymptote() {
        let check = |curve: &[f64], start: f64, slope: f64, asymptote: f64| {
            let found = measure(curve, 0.2, 0.8);
            for (a, b) in [(found.start, start), (found.slope, slope), (found.asymptote, asymptote)] {
                assert!((a - b).abs() < 1e-9, "{curve:?}: {found:?}");
            }
        };
        // The target lies on the line from chance to the first epoch, three quarters of the way.
        check(&[1.0, 1.0, 1.0, 0.9], 1.0, 0.6 / 0.75, 0.9);
        check(&[0.2, 0.6, 1.0, 1.0], 0.2, 0.6 / 2.5, 1.0);
        // The curve never reaches the target; it is 0.4 above chance after three epochs.
        check(&[0.2, 0.4, 0.6, 0.5], 0.2, 0.4 / 3.0, 0.5);
    }

    #[test]
    fn the_gain_is_the_mean_difference_over_the_seeds() {
        let (good, bad) = (vec![0.8, 0.9, 0.9, 0.9], vec![0.3, 0.5, 0.6, 0.7]);
        let gain = compare(&[(1, good.clone(), bad.clone()), (2, bad.clone(), good.clone())], 5);
        assert!(gain.start.abs() < 1e-12 && gain.slope.abs() < 1e-12 && gain.asymptote.abs() < 1e-12, "{gain:?}");
        let gain = compare(&[(1, good, bad)], 5);
        assert!(
            (gain.start - 0.5).abs() < 1e-12 && gain.slope > 0.0 && (gain.asymptote - 0.2).abs() < 1e-12,
            "{gain:?}"
        );
    }
}
