//! Photos that occur more than once. Copies in two parts of the split inflate the accuracy; if copies have different labels, one label is wrong.

use std::collections::{BTreeSet, HashMap};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::neighbours::{Neighbour, Neighbourhood};
use crate::picture::{Agreement, Picture};
use crate::table::{FeatureTable, Image, Part};
use crate::watch::Watch;

/// Number of neighbours of each image that may be copies of it.
const NEIGHBOURS: usize = 8;
/// The distance to this neighbour (counted from 0) measures how far apart images of the dataset are. It is not the nearest one, which may be
/// a copy.
const TYPICAL: usize = 4;

/// How two photos were found to be copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Their [`Content`](crate::Content) is equal.
    Exact,
    /// They show the same picture, which may be rescaled, compressed again, mirrored or cropped.
    Near,
}

/// What differs between two copies of a photo, the worst case first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Across {
    /// They are in different parts of the split.
    Split,
    /// They have different labels.
    Class,
    /// Neither part nor label differs.
    None,
}

/// Two images of a table that are one picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// Row of the first image.
    pub a: usize,
    /// Row of the second image, greater than `a`.
    pub b: usize,
    /// How the pair was found.
    pub kind: Kind,
    /// Whether they are in different parts of the split.
    pub across_split: bool,
    /// Whether they have different labels.
    pub across_class: bool,
    /// Cosine of their features.
    pub similarity: f32,
    /// Correlation of their edges and textures in the placement in which they agree best ([`Agreement`]); `None` if their pixels were not
    /// compared.
    pub correlation: Option<f64>,
    /// Whether one of them is the other mirrored.
    pub mirrored: bool,
}

impl Leak {
    /// What differs between the two; the part of the split comes before the label.
    pub fn across(&self) -> Across {
        match (self.across_split, self.across_class) {
            (true, _) => Across::Split,
            (false, true) => Across::Class,
            (false, false) => Across::None,
        }
    }
}

/// The limits from which on two images count as copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The pixels of a pair are compared if its distance (1 - cosine) is at most this part of the dataset's typical
    /// distance, which is the median of the distances to the fifth neighbour.
    pub candidate: f64,
    /// A pair is a copy if its edges and textures correlate at least this much (see [`Agreement`]).
    pub correlation: f64,
    /// Without pixels, a pair is a copy if its distance is at most this part of the typical distance.
    pub without_pixels: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { candidate: 0.5, correlation: 0.9, without_pixels: 0.1 }
    }
}

/// Finds the pairs of images that show the same picture. Pairs in different parts of the split come first, then those with different labels,
/// then the others; within these, exact copies come before near ones, and more similar pairs before less similar ones.
///
/// `around` is the neighbourhood of the table's images. `picture` gives the pixels of a row, and is called only for rows that have a near
/// neighbour; if it gives `None`, pairs with that row are judged by their features alone.
///
/// # Errors
/// [`InsightError::Count`](crate::InsightError::Count) if `around` is the neighbourhood of another number of images,
/// [`InsightError::Stopped`](crate::InsightError::Stopped) if the caller has asked to stop.
pub fn find(
    table: &FeatureTable,
    around: &Neighbourhood,
    limits: Limits,
    picture: impl Fn(usize) -> Option<Picture> + Sync,
    watch: Watch<'_>,
) -> Result<Vec<Leak>> {
    around.check(table)?;
    watch.step("copies", 0, 1)?;
    let near: Vec<&[Neighbour]> = around.nearest().iter().map(|near| &near[..near.len().min(NEIGHBOURS)]).collect();
    let typical = typical_distance(&near);
    let exact = exact_pairs(table.images());
    let distance = |neighbour: &Neighbour| 1.0 - f64::from(neighbour.similarity);
    let candidates: BTreeSet<(usize, usize)> = (0..table.len())
        .flat_map(|row| near[row].iter().map(move |neighbour| (row, neighbour)))
        .filter(|(_, neighbour)| distance(neighbour) <= limits.candidate * typical)
        .map(|(row, neighbour)| (row.min(neighbour.row), row.max(neighbour.row)))
        .filter(|pair| !exact.contains(pair))
        .collect();
    let rows: BTreeSet<usize> = candidates.iter().flat_map(|&(a, b)| [a, b]).collect();
    let rows: Vec<usize> = rows.into_iter().collect();
    let pictures: Vec<Option<Picture>> = rows.par_iter().map(|&row| picture(row)).collect();
    let of = |row: usize| rows.binary_search(&row).ok().and_then(|at| pictures[at].as_ref());
    let unit_cosine = |a: usize, b: usize| cosine(table.features().row(a), table.features().row(b));
    let judged = |&(a, b): &(usize, usize)| -> Result<Option<Leak>> {
        watch.check()?;
        let similarity = unit_cosine(a, b);
        let agreement = of(a).zip(of(b)).map(|(one, other)| one.agreement(other));
        let copy = match agreement {
            Some(Agreement { correlation, .. }) => correlation >= limits.correlation,
            None => 1.0 - f64::from(similarity) <= limits.without_pixels * typical,
        };
        Ok(copy.then(|| leak(table.images(), (a, b), Kind::Near, similarity, agreement)))
    };
    let candidates: Vec<(usize, usize)> = candidates.into_iter().collect();
    let near: Result<Vec<Option<Leak>>> = candidates.par_iter().map(judged).collect();
    let exact = exact.iter().map(|&(a, b)| leak(table.images(), (a, b), Kind::Exact, unit_cosine(a, b), None));
    let mut leaks: Vec<Leak> = exact.chain(near?.into_iter().flatten()).collect();
    rank(&mut leaks);
    watch.step("copies", 1, 1)?;
    Ok(leaks)
}

/// The pairs of equal content, ranked as [`find`] ranks them. No features are needed for them.
pub fn exact(images: &[Image]) -> Vec<Leak> {
    let pairs = exact_pairs(images).into_iter();
    let mut leaks: Vec<Leak> = pairs.map(|pair| leak(images, pair, Kind::Exact, 1.0, None)).collect();
    rank(&mut leaks);
    leaks
}

fn rank(leaks: &mut [Leak]) {
    leaks.sort_by(|a, b| {
        let rank = |leak: &Leak| (leak.across(), leak.kind);
        rank(a).cmp(&rank(b)).then(b.similarity.total_cmp(&a.similarity)).then((a.a, a.b).cmp(&(b.a, b.b)))
    });
}

/// The rows that must be moved to another part so that no picture is in two parts of the split, each with its new part. Copies of a picture,
/// and copies of these copies, are moved to training if one of them trains, and otherwise to validation if one of them is there.
pub fn moves(images: &[Image], leaks: &[Leak]) -> Vec<(usize, Part)> {
    let mut root: Vec<usize> = (0..images.len()).collect();
    fn find(root: &mut [usize], mut row: usize) -> usize {
        while root[row] != row {
            root[row] = root[root[row]];
            row = root[row];
        }
        row
    }
    for leak in leaks {
        let (a, b) = (find(&mut root, leak.a), find(&mut root, leak.b));
        root[a.max(b)] = a.min(b);
    }
    // The new part is the first one among all copies of a picture: training, if one of them trains.
    let mut target: HashMap<usize, Part> = HashMap::new();
    for (row, image) in images.iter().enumerate() {
        let part = image.part;
        target.entry(find(&mut root, row)).and_modify(|target| *target = part.min(*target)).or_insert(part);
    }
    let to = |row: usize| target[&find(&mut root, row)];
    let all: Vec<Part> = (0..images.len()).map(to).collect();
    all.into_iter().enumerate().filter(|&(row, part)| images[row].part != part).collect()
}

/// The median over images of the distance to the fifth neighbour, or to the farthest one if there are fewer.
fn typical_distance(near: &[&[Neighbour]]) -> f64 {
    let of = |neighbours: &&[Neighbour]| neighbours.get(TYPICAL).or(neighbours.last()).copied();
    let mut distances: Vec<f64> = near.iter().filter_map(of).map(|it| 1.0 - f64::from(it.similarity)).collect();
    distances.sort_by(f64::total_cmp);
    if distances.is_empty() { 0.0 } else { crate::stats::quantile(&distances, 0.5) }
}

/// The pairs of equal content. Each of many copies is paired with the next one, and also with the first one of each other part and label. So a
/// hundred copies do not give five thousand pairs.
fn exact_pairs(images: &[Image]) -> BTreeSet<(usize, usize)> {
    let mut known: HashMap<_, Vec<usize>> = HashMap::new();
    for (row, image) in images.iter().enumerate() {
        if let Some(content) = image.content {
            known.entry(content).or_default().push(row);
        }
    }
    let mut pairs = BTreeSet::new();
    for rows in known.values() {
        pairs.extend(rows.windows(2).map(|pair| (pair[0], pair[1])));
        let side = |row: usize| (images[row].part, images[row].label);
        let firsts: HashMap<_, usize> = rows.iter().rev().map(|&row| (side(row), row)).collect();
        let across = rows.iter().flat_map(|&row| firsts.iter().map(move |(of, first)| (row, *of, *first)));
        pairs.extend(
            across.filter(|&(row, of, _)| side(row) != of).map(|(row, _, first)| (row.min(first), row.max(first))),
        );
    }
    pairs
}

fn leak(images: &[Image], (a, b): (usize, usize), kind: Kind, similarity: f32, agreement: Option<Agreement>) -> Leak {
    let (one, other) = (&images[a], &images[b]);
    let (across_split, across_class) = (one.part != other.part, one.label != other.label);
    let correlation = agreement.map(|agreement| agreement.correlation);
    let mirrored = agreement.is_some_and(|agreement| agreement.mirrored);
    Leak { a, b, kind, across_split, across_class, similarity, correlation, mirrored }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}
