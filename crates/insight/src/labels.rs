//! Labels that look wrong: confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating
//! Uncertainty in Dataset Labels", JAIR 2021).
//!
//! For each class a threshold is the mean probability that its own images get. An image whose probability of *another* class reaches that
//! class's threshold counts as one of the other. The counts estimate how many images with the label of one class really are of another one.
//! That many images are named, those that are surest to be of the other class first.

use serde::{Deserialize, Serialize};

use crate::neighbours::{AROUND, Neighbourhood, leave_one_out};
use crate::predictions::{Predictions, largest};
use crate::table::FeatureTable;
use crate::{InsightError, Result};

/// Values that differ by less are equal.
const EQUAL: f64 = 1e-6;

/// A label that looks wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// Row of the image.
    pub row: usize,
    /// Its label.
    pub label: u32,
    /// The class that the probabilities suggest.
    pub suggested: u32,
    /// Probability of the label; the list is sorted by it.
    pub self_confidence: f64,
    /// Probability of the suggested class.
    pub confidence: f64,
}

/// Finds images of a table whose label looks wrong, by the mean of two predictions: the probe's out-of-fold probabilities and the votes of the
/// ten nearest other images. Neither has seen the image's label, and they err on different images. With 60 wrong labels among 2,000 cats and
/// dogs, the first 60 images of the list contain two to three more of them than with the probe alone; with 110 wrong labels among 3,670
/// flowers, the first 110 contain five to eight more.
///
/// # Errors
/// [`InsightError::Count`] if predictions or neighbourhood are those of other images, [`InsightError::TooFew`] for fewer than two images or
/// classes.
pub fn find(table: &FeatureTable, around: &Neighbourhood, out_of_fold: &Predictions) -> Result<Vec<Suspect>> {
    if out_of_fold.labels() != table.labels() {
        let (found, expected) = (out_of_fold.len(), table.len());
        return Err(InsightError::Count { what: "out-of-fold predictions of these images", found, expected });
    }
    let votes = leave_one_out(table, around, AROUND)?;
    let mean = |row: usize| out_of_fold.row(row).iter().zip(votes.row(row)).map(|(a, b)| (a + b) / 2.0);
    let both = (0..table.len()).flat_map(mean).collect();
    suspects(&Predictions::new(table.classes().len(), table.labels(), both)?)
}

/// Finds images whose label looks wrong; those with the least probable label come first. `predictions` must come from
/// classifiers that have not seen the images, such as [`CrossValidation::predictions`](crate::probe::CrossValidation).
///
/// It names the images that cleanlab's `find_label_issues` names with its defaults (`filter_by="prune_by_noise_rate"`,
/// `return_indices_ranked_by="self_confidence"`), in the same order.
///
/// # Errors
/// [`InsightError::TooFew`] without images, or for fewer than two classes.
pub fn suspects(predictions: &Predictions) -> Result<Vec<Suspect>> {
    let classes = predictions.classes();
    if predictions.is_empty() || classes < 2 {
        let (needed, found) = ("an image and 2 classes".to_owned(), predictions.len().min(classes));
        return Err(InsightError::TooFew { what: "a look at the labels", needed, found });
    }
    let counts = to_remove(&joint(predictions));
    let mut members = vec![Vec::new(); classes];
    predictions.labels().iter().enumerate().for_each(|(row, &label)| members[label as usize].push(row));
    let mut wrong = vec![false; predictions.len()];
    for (label, rows) in members.iter().enumerate().filter(|(_, rows)| rows.len() > 1) {
        for (other, counts) in counts.iter().enumerate().filter(|(other, _)| *other != label) {
            let margin = |row: usize| predictions.row(row)[other] - predictions.row(row)[label];
            let mut surest = rows.clone();
            surest.sort_by(|&a, &b| margin(b).total_cmp(&margin(a)));
            surest.into_iter().take(counts[label]).for_each(|row| wrong[row] = true);
        }
    }
    let found = predictions.rows().enumerate().filter(|(row, _)| wrong[*row]).filter_map(|(row, (label, p))| {
        let mut raised = p.to_vec();
        raised[label as usize] += EQUAL;
        let suggested = largest(&raised);
        let of = |class: usize| p[class];
        // If the label is still the most probable class, it does not look wrong.
        (suggested != label as usize).then(|| Suspect {
            row,
            label,
            suggested: suggested as u32,
            self_confidence: of(label as usize),
            confidence: of(suggested),
        })
    });
    let mut found: Vec<Suspect> = found.collect();
    found.sort_by(|a, b| a.self_confidence.total_cmp(&b.self_confidence));
    Ok(found)
}

/// How many images have each label (rows) and are confidently of each class (columns), scaled so that each row adds up to the number of
/// images with the label.
fn joint(predictions: &Predictions) -> Vec<Vec<usize>> {
    let classes = predictions.classes();
    let mut sums = vec![(0.0, 0_usize); classes];
    for (label, p) in predictions.rows() {
        let (sum, count) = &mut sums[label as usize];
        (*sum, *count) = (*sum + p[label as usize], *count + 1);
    }
    // A class without images has a threshold that no probability reaches.
    let threshold = |&(sum, count): &(f64, usize)| {
        if count == 0 { f64::INFINITY } else { (sum / count as f64).max(EQUAL) }
    };
    let thresholds: Vec<f64> = sums.iter().map(threshold).collect();
    let mut joint = vec![vec![0.0; classes]; classes];
    for (label, p) in predictions.rows() {
        let mut reached = (0..classes).filter(|&class| p[class] >= thresholds[class] - EQUAL);
        let (first, second) = (reached.next(), reached.next());
        if let Some(first) = first {
            let class = if second.is_some() { largest(p) } else { first };
            joint[label as usize][class] += 1.0;
        }
    }
    (0..classes).for_each(|class| joint[class][class] = f64::max(joint[class][class], 1.0));
    for (row, (_, count)) in joint.iter_mut().zip(&sums) {
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|value| *value = *value / sum * *count as f64);
    }
    let (total, images) = (joint.iter().flatten().sum::<f64>(), predictions.len() as f64);
    joint.iter_mut().flatten().for_each(|value| *value = *value / total * images);
    joint.iter().map(|row| round_to_sum(row)).collect()
}

/// How many images with each label (columns) are of each class (rows): the transposed joint, changed so that at least one image of each class
/// keeps its label.
fn to_remove(joint: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let classes = joint.len();
    let mut counts: Vec<Vec<f64>> =
        (0..classes).map(|class| joint.iter().map(|row| row[class] as f64).collect()).collect();
    let lacking: Vec<f64> = (0..classes).map(|label| f64::max(1.0 - counts[label][label], 0.0)).collect();
    let others = |label: usize| counts.iter().filter(|row| row[label] != 0.0).count().saturating_sub(1).max(1) as f64;
    let less: Vec<f64> = (0..classes).map(|label| lacking[label] / others(label)).collect();
    for (class, row) in counts.iter_mut().enumerate() {
        for (label, value) in row.iter_mut().enumerate() {
            *value = if class == label { *value + lacking[label] } else { (*value - less[label]).max(0.0).floor() };
        }
    }
    counts.iter().map(|row| round_to_sum(row)).collect()
}

/// Rounds values to whole numbers whose sum is the rounded sum of the values: where necessary, those that rounding has changed most are rounded
/// the other way. Halves are rounded to even.
fn round_to_sum(values: &[f64]) -> Vec<usize> {
    let mut whole: Vec<f64> = values.iter().map(|value| value.round_ties_even()).collect();
    let target = values.iter().sum::<f64>().round_ties_even();
    loop {
        let missing = target - whole.iter().sum::<f64>();
        if missing.abs() < 0.5 {
            break;
        }
        let mut order: Vec<usize> = (0..values.len()).collect();
        let rest = |at: usize| values[at] - whole[at];
        order.sort_by(|&a, &b| rest(a).total_cmp(&rest(b)));
        if missing > 0.0 {
            order.reverse();
        }
        let changed: Vec<usize> = order.into_iter().take(missing.abs() as usize).collect();
        changed.into_iter().for_each(|at| whole[at] += missing.signum());
    }
    whole.into_iter().map(|value| value.max(0.0) as usize).collect()
}
