//! The most similar images by the cosine of their features.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dense::{block, dots};
use crate::predictions::Predictions;
use crate::table::{FeatureTable, Matrix};
use crate::watch::Watch;
use crate::{InsightError, Result};

/// Rows that one thread compares at once, and with how many: products of a block fit into a core's cache.
const QUERIES: usize = 64;
const BASE: usize = 256;

/// An image that is similar to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its row.
    pub row: usize,
    /// Cosine of the two images' features: 1 for the same direction, 0 for nothing in common.
    pub similarity: f32,
}

/// Features among which neighbours are looked for.
///
/// All pairs are compared, in blocks: `2 · queries · rows · width` operations, and memory for the unit rows and for
/// one block per thread. A hundred thousand images of 1,280 features against themselves are 26 TFLOP, minutes on two
/// cores.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    unit: Matrix,
}

impl Neighbours {
    /// Among these rows.
    pub fn new(features: &Matrix) -> Self {
        Self { unit: features.unit() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.unit.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.unit.is_empty()
    }

    /// The rows, each divided by its length.
    pub fn unit(&self) -> &Matrix {
        &self.unit
    }

    /// For each query its `count` nearest rows, the nearest first; of equally near ones the first row comes first.
    ///
    /// # Errors
    /// Queries of another width; the caller's wish to stop.
    pub fn nearest(&self, queries: &Matrix, count: usize, watch: Watch<'_>) -> Result<Vec<Vec<Neighbour>>> {
        self.unit.same_width(queries)?;
        self.search(&queries.unit(), count, |_, _| true, watch)
    }

    /// The same for each of the rows themselves, without the row itself.
    ///
    /// # Errors
    /// The caller's wish to stop.
    pub fn nearest_others(&self, count: usize, watch: Watch<'_>) -> Result<Vec<Vec<Neighbour>>> {
        self.search(&self.unit, count, |query, row| query != row, watch)
    }

    /// `allowed` takes the query's number and a row.
    fn search(
        &self,
        queries: &Matrix,
        count: usize,
        allowed: impl Fn(usize, usize) -> bool + Sync,
        watch: Watch<'_>,
    ) -> Result<Vec<Vec<Neighbour>>> {
        let of_block = |first: usize| {
            watch.check()?;
            let rows = block(queries, first, QUERIES);
            let mut best = vec![Best::new(count); rows.len()];
            let mut products = vec![0.0; rows.len() * BASE];
            for from in (0..self.len()).step_by(BASE) {
                let columns = block(&self.unit, from, BASE);
                let products = &mut products[..rows.len() * columns.len()];
                dots(&rows, &columns, products);
                for (at, (best, products)) in best.iter_mut().zip(products.chunks_exact(columns.len())).enumerate() {
                    for (column, &similarity) in products.iter().enumerate() {
                        if similarity > best.limit && allowed(first + at, from + column) {
                            best.take(Neighbour { row: from + column, similarity });
                        }
                    }
                }
            }
            Ok(best.into_iter().map(|best| best.found).collect::<Vec<_>>())
        };
        let firsts: Vec<usize> = (0..queries.len()).step_by(QUERIES).collect();
        let blocks: Result<Vec<_>> = firsts.into_par_iter().map(of_block).collect();
        Ok(blocks?.into_iter().flatten().collect())
    }
}

/// The nearest so far, sorted.
#[derive(Debug, Clone)]
struct Best {
    found: Vec<Neighbour>,
    count: usize,
    /// A neighbour must be more similar than this to be taken.
    limit: f32,
}

impl Best {
    fn new(count: usize) -> Self {
        let limit = if count == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        Self { found: Vec::with_capacity(count + 1), count, limit }
    }

    fn take(&mut self, neighbour: Neighbour) {
        let place = self.found.partition_point(|other| other.similarity >= neighbour.similarity);
        self.found.insert(place, neighbour);
        self.found.truncate(self.count);
        if self.found.len() == self.count {
            self.limit = self.found.last().map_or(f32::INFINITY, |last| last.similarity);
        }
    }
}

/// What the `count` nearest of the labelled images say of each query: votes weighted by similarity, `[queries,
/// classes]`.
///
/// # Errors
/// No labelled images, queries of another width, the caller's wish to stop.
pub fn vote(labelled: &FeatureTable, queries: &Matrix, count: usize, watch: Watch<'_>) -> Result<Vec<f64>> {
    let found = Neighbours::new(labelled.features()).nearest(queries, count, watch)?;
    votes(labelled, &found, count)
}

/// What each image's `count` nearest others say of it: leave-one-out predictions. Images of its own group have no vote.
///
/// # Errors
/// Fewer than two images or groups, the caller's wish to stop.
pub fn leave_one_out(table: &FeatureTable, count: usize, watch: Watch<'_>) -> Result<Predictions> {
    let (groups, all) = (table.groups(), Neighbours::new(table.features()));
    let found = all.search(&all.unit, count, |query, row| groups[query] != groups[row], watch)?;
    Predictions::new(table.classes().len(), table.labels(), votes(table, &found, count)?)
}

fn votes(labelled: &FeatureTable, found: &[Vec<Neighbour>], count: usize) -> Result<Vec<f64>> {
    if count == 0 || found.iter().any(Vec::is_empty) {
        let needed = "one neighbour of each image".to_owned();
        return Err(InsightError::TooFew { what: "a vote of neighbours", needed, found: 0 });
    }
    let classes = labelled.classes().len();
    let mut all = Vec::with_capacity(found.len() * classes);
    for neighbours in found {
        // Opposite directions do not vote; if all are, each counts alike.
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
