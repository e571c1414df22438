//! Splits: which images train, which validate, and which are kept for the test.

use std::collections::HashMap;
use std::sync::Arc;

use rand_mt::Mt;

use super::iterative::iterative;
use crate::{DataError, Dataset, Sample};

/// Shares of the images that are held out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    pub validation: Option<f64>,
    pub test: Option<f64>,
}

/// What the images are dealt into: training, validation and test images.
type Parts = (Dataset, Option<Dataset>, Option<Dataset>);

impl Shares {
    /// Whether anything is held out.
    pub fn is_some(self) -> bool {
        self.validation.is_some() || self.test.is_some()
    }

    /// What is held out, with its name.
    fn each(self) -> [(&'static str, Option<f64>); 2] {
        [("validation", self.validation), ("test", self.test)]
    }
}

/// Splits a dataset into training and validation images, as Keras does with this `seed`: the images are shuffled by NumPy's
/// generator, and the last `int(fraction * n)` of them are for validation.
///
/// # Errors
/// [`DataError::Split`] if one side would be empty.
pub fn split(dataset: Dataset, fraction: f64, seed: u32) -> Result<(Dataset, Dataset), DataError> {
    let shares = Shares { validation: Some(fraction), test: None };
    let (train, validation, _) = divide(dataset, shares, false, seed)?;
    Ok((train, validation.expect("a share is held out")))
}

/// The same, with an even share of each class in both if `stratify` says so.
///
/// # Errors
/// [`DataError::Split`] if one side would be empty.
pub fn split_evenly(
    dataset: Dataset,
    fraction: f64,
    stratify: bool,
    seed: u32,
) -> Result<(Dataset, Dataset), DataError> {
    let shares = Shares { validation: Some(fraction), test: None };
    let (train, validation, _) = divide(dataset, shares, stratify, seed)?;
    Ok((train, validation.expect("a share is held out")))
}

/// Splits a dataset: as Keras does, with the test images before the validation images at the end of the shuffled list; or, if
/// classes are to be divided evenly or images have groups, by dealing.
pub(super) fn divide(dataset: Dataset, shares: Shares, stratify: bool, seed: u32) -> Result<Parts, DataError> {
    let Dataset { classes, mut samples } = dataset;
    let (n, is_grouped) = (samples.len(), samples.iter().any(|sample| sample.group.is_some()));
    shuffle(&mut samples, seed);
    let [validation, test] = match stratify || is_grouped {
        true => deal(&mut samples, shares, stratify.then_some(classes.len())),
        false => shares.each().map(|(_, share)| {
            let held = (share.unwrap_or(0.0) * n as f64) as usize;
            samples.split_off(samples.len().saturating_sub(held))
        }),
    };
    let whole = |fraction: f64| fraction > 0.0 && fraction < 1.0;
    for ((part, share), held) in shares.each().into_iter().zip([&validation, &test]) {
        let Some(fraction) = share else { continue };
        if !whole(fraction) || held.is_empty() || samples.is_empty() {
            return Err(DataError::Split { part, fraction, training: samples.len(), held: held.len() });
        }
    }
    let held = |share: Option<f64>, samples| share.map(|_| Dataset { classes: classes.clone(), samples });
    let (validation, test) = (held(shares.validation, validation), held(shares.test, test));
    Ok((Dataset { classes, samples }, validation, test))
}

/// Deals images one after the other, and those of a group together, the large groups first: each to the part whose share of its
/// class is largest beside what it has (the method of Sainte-Laguë, so that each part's number is rounded, not cut). With
/// `classes`, each class is counted for itself; images of several classes are dealt by [`iterative`]. The validation and the test images are returned; all keep their order.
fn deal(samples: &mut Vec<Sample>, shares: Shares, classes: Option<usize>) -> [Vec<Sample>; 2] {
    let held = shares.each().map(|(_, share)| share.unwrap_or(0.0));
    let shares = [1.0 - held[0] - held[1], held[0], held[1]];
    let mut known: HashMap<Arc<str>, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        let own = groups.len();
        let group = sample.group.as_ref().map_or(own, |name| *known.entry(name.clone()).or_insert(own));
        if group == own {
            groups.push(Vec::new());
        }
        groups[group].push(at);
    }
    // The sort keeps the shuffled order of groups of one size.
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let part_of = match classes {
        Some(classes) if samples.iter().any(|sample| sample.label.class().is_none()) => {
            iterative(&groups, samples, classes, shares)
        }
        _ => one_by_one(groups, samples, classes, shares),
    };
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for (sample, part) in std::mem::take(samples).into_iter().zip(part_of) {
        parts[part].push(sample);
    }
    let [training, validation, test] = parts;
    *samples = training;
    [validation, test]
}

/// The part of each image, where images have one class each, or where classes do not count.
fn one_by_one(groups: Vec<Vec<usize>>, samples: &[Sample], classes: Option<usize>, shares: [f64; 3]) -> Vec<usize> {
    let class = |at: usize| samples[at].label.class().filter(|_| classes.is_some()).map_or(0, |class| class as usize);
    let mut counts = vec![[0_usize; 3]; classes.unwrap_or(1)];
    let mut part_of = vec![0; samples.len()];
    for group in groups {
        let claim = |part: usize| -> f64 {
            group.iter().map(|&at| shares[part] / (2 * counts[class(at)][part] + 1) as f64).sum()
        };
        let claims = [0, 1, 2].map(claim);
        let part = (1..3).fold(0, |best, part| if claims[part] > claims[best] { part } else { best });
        for at in group {
            counts[class(at)][part] += 1;
            part_of[at] = part;
        }
    }
    part_of
}

/// `numpy.random.RandomState(seed).shuffle`: the shuffle of Fisher and Yates from the end. Each number is drawn with a bit
/// mask, and drawn again while it is too large.
fn shuffle<T>(items: &mut [T], seed: u32) {
    let mut random = Mt::new(seed);
    for last in (1..items.len()).rev() {
        let mask = (last as u32 + 1).next_power_of_two().wrapping_sub(1).max(last as u32);
        let pick = loop {
            let draw = random.next_u32() & mask;
            if draw as usize <= last {
                break draw as usize;
            }
        };
        items.swap(last, pick);
    }
}
