//! The most similar images by the cosine of their features.

use std::sync::Mutex;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dense::{block, dots};
use crate::pairs::{BLOCK, Packed, inverse_lengths};
use crate::predictions::Predictions;
use crate::table::{FeatureTable, Matrix};
use crate::watch::{Steps, Watch};
use crate::{InsightError, Result};

/// Number of neighbours of each image in a [`Neighbourhood`]. As many vote on a label.
pub const AROUND: usize = 10;
/// Number of queries that one thread compares at once, and of rows that it compares them with: the products fit into a core's cache.
const QUERIES: usize = 64;
const BASE: usize = 256;

/// An image that is similar to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its row.
    pub row: usize,
    /// Cosine of the features of the two images: 1 if they have the same direction, 0 if they are orthogonal.
    pub similarity: f32,
}

/// Features among which the neighbours of other images are searched. Each query is compared with each row, in blocks. This takes
/// `2 · queries · rows · width` operations, and memory for the unit rows and for one block per thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    unit: Matrix,
}

impl Neighbours {
    /// Searches among these rows.
    pub fn new(features: &Matrix) -> Self {
        Self { unit: features.unit() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.unit.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.unit.is_empty()
    }

    /// The rows, each divided by its length.
    pub fn unit(&self) -> &Matrix {
        &self.unit
    }

    /// The `count` nearest rows of each query, the nearest one first; equally near rows are in the order of their numbers.
    ///
    /// # Errors
    /// [`InsightError::Count`] if the queries have another width, [`InsightError::Stopped`] if the caller has asked to stop.
    pub fn nearest(&self, queries: &Matrix, count: usize, watch: Watch<'_>) -> Result<Vec<Vec<Neighbour>>> {
        self.unit.same_width(queries)?;
        let queries = queries.unit();
        let of_block = |first: usize| {
            watch.check()?;
            let rows = block(&queries, first, QUERIES);
            let mut best = vec![Best::new(count); rows.len()];
            let mut products = vec![0.0; rows.len() * BASE];
            for from in (0..self.len()).step_by(BASE) {
                let columns = block(&self.unit, from, BASE);
                let products = &mut products[..rows.len() * columns.len()];
                dots(&rows, &columns, products);
                for (best, products) in best.iter_mut().zip(products.chunks_exact(columns.len())) {
                    let found = products.iter().enumerate();
                    found.for_each(|(column, &similarity)| best.offer(from + column, similarity));
                }
            }
            Ok(best.into_iter().map(|best| best.found).collect::<Vec<_>>())
        };
        let firsts: Vec<usize> = (0..queries.len()).step_by(QUERIES).collect();
        let blocks: Result<Vec<_>> = firsts.into_par_iter().map(of_block).collect();
        Ok(blocks?.into_iter().flatten().collect())
    }
}

/// The nearest other images of each image of a table. All pairs are compared once, for all questions about neighbours.
///
/// The comparison in blocks takes `images² · width` operations, and memory for one packed block per thread. A hundred thousand images with 1,280
/// features take 13 teraflop.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbourhood {
    nearest: Vec<Vec<Neighbour>>,
    /// The nearest images of other groups; `None` if no image has a group with others.
    apart: Option<Vec<Vec<Neighbour>>>,
}

impl Neighbourhood {
    /// Compares all pairs, and keeps the [`AROUND`] nearest of each image.
    ///
    /// # Errors
    /// [`InsightError::Stopped`] if the caller has asked to stop.
    pub fn of(table: &FeatureTable, watch: Watch<'_>) -> Result<Self> {
        let (features, groups) = (table.features(), table.groups());
        let other = |a: usize, b: usize| groups[a] != groups[b];
        if groups.iter().max().is_some_and(|last| last + 1 < table.len()) {
            let [nearest, apart] = nearest_of(features, AROUND, [&|_, _| true, &other], watch)?;
            return Ok(Self { nearest, apart: Some(apart) });
        }
        let [nearest] = nearest_of(features, AROUND, [&|_, _| true], watch)?;
        Ok(Self { nearest, apart: None })
    }

    /// Checks that this is the neighbourhood of the table's images.
    pub(crate) fn check(&self, table: &FeatureTable) -> Result<()> {
        let (found, expected) = (self.nearest.len(), table.len());
        if found == expected {
            return Ok(());
        }
        Err(InsightError::Count { what: "neighbourhoods of these images", found, expected })
    }

    /// The nearest other images of each image, the nearest one first; equally near images are in the order of their rows.
    pub fn nearest(&self) -> &[Vec<Neighbour>] {
        &self.nearest
    }

    /// The nearest images of other groups for each image, in the same order.
    pub fn apart(&self) -> &[Vec<Neighbour>] {
        self.apart.as_ref().unwrap_or(&self.nearest)
    }
}

/// The `count` nearest other rows of each row, the nearest one first; equally near rows are in the order of their numbers. Row `b` may be a
/// neighbour of row `a` only if `allowed(a, b)`.
///
/// # Errors
/// [`InsightError::Stopped`] if the caller has asked to stop.
pub fn nearest_others(
    features: &Matrix,
    count: usize,
    allowed: impl Fn(usize, usize) -> bool + Sync,
    watch: Watch<'_>,
) -> Result<Vec<Vec<Neighbour>>> {
    nearest_of(features, count, [&allowed], watch).map(|[nearest]| nearest)
}

/// Whether a row may be a neighbour of another one.
type Allowed<'a> = &'a (dyn Fn(usize, usize) -> bool + Sync);

/// Does what [`nearest_others`] does for several conditions, and compares all pairs only once.
fn nearest_of<const N: usize>(
    features: &Matrix,
    count: usize,
    allowed: [Allowed<'_>; N],
    watch: Watch<'_>,
) -> Result<[Vec<Vec<Neighbour>>; N]> {
    let inverse = inverse_lengths(features);
    let firsts: Vec<usize> = (0..features.len()).step_by(BLOCK).collect();
    let each: [Best; N] = std::array::from_fn(|_| Best::new(count));
    let best = |&first: &usize| Mutex::new(vec![each.clone(); BLOCK.min(features.len() - first)]);
    let best: Vec<Mutex<Vec<[Best; N]>>> = firsts.iter().map(best).collect();
    let offer = |best: &mut [Best; N], row: usize, other: usize, similarity: f32| {
        for (best, allowed) in best.iter_mut().zip(allowed) {
            if similarity >= best.limit && allowed(row, other) {
                best.offer(other, similarity);
            }
        }
    };
    let steps = Steps::new("neighbours", firsts.len() * (firsts.len() + 1) / 2, watch)?;
    // The last blocks come first, because they are compared with the most others.
    firsts.par_iter().enumerate().rev().try_for_each(|(later, &first)| {
        let columns = Packed::new(features, &inverse, first);
        let mut products = vec![[0.0; BLOCK]; BLOCK];
        for (earlier, &from) in firsts[..=later].iter().enumerate() {
            let rows = block(features, from, BLOCK);
            columns.multiply(&rows, &mut products);
            let products = &mut products[..rows.len()];
            for (row, products) in products.iter_mut().enumerate() {
                products.iter_mut().for_each(|product| *product *= inverse[from + row]);
            }
            // Within a block, only the pairs above the diagonal are taken, so that each counts once.
            let begin = |row: usize| if earlier == later { row + 1 } else { 0 };
            let pairs = |row: usize| (begin(row)..columns.columns()).map(move |column| (from + row, first + column));
            {
                let mut best = lock(&best[earlier]);
                for (row, (best, products)) in best.iter_mut().zip(&*products).enumerate() {
                    for ((row, other), &similarity) in pairs(row).zip(&products[begin(row)..]) {
                        offer(best, row, other, similarity);
                    }
                }
            }
            let mut best = lock(&best[later]);
            for (row, products) in products.iter().enumerate() {
                let best = best[begin(row)..].iter_mut();
                for (((row, other), &similarity), best) in pairs(row).zip(&products[begin(row)..]).zip(best) {
                    offer(best, other, row, similarity);
                }
            }
            drop(best);
            steps.one()?;
        }
        Ok(())
    })?;
    let mut all = [const { Vec::new() }; N];
    for best in best.into_iter().flat_map(|best| best.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)) {
        all.iter_mut().zip(best).for_each(|(all, best)| all.push(best.found));
    }
    Ok(all)
}

/// Locks a mutex even if another thread has panicked: Rayon passes that thread's panic on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The nearest rows so far, the nearest one first.
#[derive(Debug, Clone)]
struct Best {
    found: Vec<Neighbour>,
    count: usize,
    /// The lowest similarity with which a row may still be taken.
    limit: f32,
}

impl Best {
    fn new(count: usize) -> Self {
        let limit = if count == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        Self { found: Vec::with_capacity(count + 1), count, limit }
    }

    /// Takes a row if it is among the nearest so far. The order in which rows are offered does not change the result.
    #[inline]
    fn offer(&mut self, row: usize, similarity: f32) {
        if similarity < self.limit {
            return;
        }
        let nearer =
            |other: &Neighbour| other.similarity > similarity || (other.similarity == similarity && other.row < row);
        let place = self.found.partition_point(nearer);
        if place == self.count {
            return;
        }
        self.found.insert(place, Neighbour { row, similarity });
        self.found.truncate(self.count);
        if self.found.len() == self.count {
            self.limit = self.found.last().map_or(f32::INFINITY, |last| last.similarity);
        }
    }
}

/// The votes of the `count` nearest labelled images of each query, weighted by similarity, `[queries, classes]`. Each row adds up to 1.
///
/// # Errors
/// [`InsightError::TooFew`] without labelled images, [`InsightError::Count`] if the queries have another width, [`InsightError::Stopped`] if the
/// caller has asked to stop.
pub fn vote(labelled: &FeatureTable, queries: &Matrix, count: usize, watch: Watch<'_>) -> Result<Vec<f64>> {
    let found = Neighbours::new(labelled.features()).nearest(queries, count, watch)?;
    votes(labelled, &found, count)
}

/// Leave-one-out predictions: the votes of the `count` nearest other images of each image (at most [`AROUND`]). Images of its own group do not
/// vote.
///
/// # Errors
/// [`InsightError::Count`] if `around` is the neighbourhood of another number of images, [`InsightError::TooFew`] for fewer than two images or
/// groups.
pub fn leave_one_out(table: &FeatureTable, around: &Neighbourhood, count: usize) -> Result<Predictions> {
    around.check(table)?;
    Predictions::new(table.classes().len(), table.labels(), votes(table, around.apart(), count)?)
}

fn votes(labelled: &FeatureTable, found: &[Vec<Neighbour>], count: usize) -> Result<Vec<f64>> {
    if count == 0 || found.iter().any(Vec::is_empty) {
        let needed = "one neighbour of each image".to_owned();
        return Err(InsightError::TooFew { what: "a vote of neighbours", needed, found: 0 });
    }
    let classes = labelled.classes().len();
    let mut all = Vec::with_capacity(found.len() * classes);
    for neighbours in found {
        let neighbours = &neighbours[..neighbours.len().min(count)];
        // Neighbours with a negative cosine do not vote; if all have one, all count equally.
        let weight = |neighbour: &Neighbour| f64::from(neighbour.similarity.max(0.0));
        let sum: f64 = neighbours.iter().map(weight).sum();
        let mut row = vec![0.0; classes];
        for neighbour in neighbours {
            let share = if sum > 0.0 { weight(neighbour) / sum } else { 1.0 / neighbours.len() as f64 };
            row[labelled.images()[neighbour.row].label as usize] += share;
        }
        all.append(&mut row);
    }
    Ok(all)
}
