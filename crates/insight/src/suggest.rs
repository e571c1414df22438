//! What to label next: photos of which the classifier is unsure, and which are unlike those that are labelled or already suggested.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dense::dots;
use crate::neighbours::Neighbours;
use crate::table::Matrix;
use crate::watch::Watch;
use crate::{InsightError, Result};

/// A photo that is worth a label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Row of the pool.
    pub row: usize,
    /// Entropy of its probabilities, 0 for certainty to 1 for no idea.
    pub uncertainty: f64,
    /// Cosine distance to the nearest photo that is labelled or was suggested before it.
    pub distance: f64,
}

/// Rows of the pool in the order in which they are worth a label: each time the photo with the largest product of uncertainty and
/// distance. The distance is that of k-center (Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
/// Approach", ICLR 2018), so two photos of one burst are not both suggested; the entropy keeps it from collecting outliers that the
/// classifier knows well.
///
/// `probabilities` are `[pool, classes]`.
///
/// # Errors
/// Numbers of probabilities or features that do not fit, no labelled images, the caller's wish to stop.
pub fn next(
    labelled: &Matrix,
    pool: &Matrix,
    probabilities: &[f64],
    count: usize,
    watch: Watch<'_>,
) -> Result<Vec<Suggestion>> {
    let classes = probabilities.len() / pool.len().max(1);
    if classes * pool.len() != probabilities.len() || (classes < 2 && !pool.is_empty()) {
        let expected = pool.len() * classes.max(2);
        return Err(InsightError::Count { what: "probabilities", found: probabilities.len(), expected });
    }
    if labelled.is_empty() {
        let needed = "a labelled image".to_owned();
        return Err(InsightError::TooFew { what: "a suggestion", needed, found: 0 });
    }
    let near = Neighbours::new(labelled).nearest(pool, 1, watch)?;
    let mut distances: Vec<f64> = near.iter().map(|near| 1.0 - f64::from(near[0].similarity)).collect();
    let entropy = |p: &[f64]| -> f64 {
        let part = |p: &f64| if *p > 0.0 { -p * p.ln() } else { 0.0 };
        p.iter().map(part).sum::<f64>() / (classes as f64).ln()
    };
    let uncertain: Vec<f64> = probabilities.chunks_exact(classes.max(1)).map(entropy).collect();
    let unit = pool.unit();
    let rows: Vec<&[f32]> = unit.rows().collect();
    let mut left = vec![true; pool.len()];
    let mut chosen = Vec::new();
    let total = count.min(pool.len());
    for done in 0..total {
        watch.step("suggestions", done, total)?;
        let worth = |row: usize| uncertain[row] * distances[row].max(0.0);
        let open = (0..pool.len()).filter(|&row| left[row]).rev();
        let row = open.max_by(|&a, &b| worth(a).total_cmp(&worth(b))).expect("fewer are chosen than there are");
        left[row] = false;
        chosen.push(Suggestion { row, uncertainty: uncertain[row], distance: distances[row] });
        let blocks = distances.par_chunks_mut(256).zip(rows.par_chunks(256));
        blocks.for_each(|(distances, rows)| {
            let mut products = vec![0.0; rows.len()];
            dots(rows, &[unit.row(row)], &mut products);
            let nearer = |(distance, product): (&mut f64, f32)| *distance = distance.min(1.0 - f64::from(product));
            distances.iter_mut().zip(products).for_each(nearer);
        });
    }
    watch.step("suggestions", total, total)?;
    Ok(chosen)
}
