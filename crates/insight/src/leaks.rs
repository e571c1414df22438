//! Photos that are there more than once. On both sides of a split they inflate the accuracy; in two classes, one of the labels is wrong.

use std::collections::{BTreeSet, HashMap};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::neighbours::{Neighbour, Neighbourhood};
use crate::picture::{Agreement, Picture};
use crate::table::{FeatureTable, Image, Part};
use crate::watch::Watch;

/// Neighbours of each image that are looked at.
const NEIGHBOURS: usize = 8;
/// The distance to this neighbour (from 0) says how far images of this dataset are from each other. It is not the
/// nearest, which may be a copy.
const TYPICAL: usize = 4;

/// How sure it is that two photos are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Their content is the same, byte by byte.
    Exact,
    /// They show the same picture: rescaled, compressed again, mirrored, cropped.
    Near,
}

/// What separates two copies of a photo, the worse first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Across {
    /// One trains, the other validates.
    Split,
    /// They have different labels.
    Class,
    /// Neither the split nor a label separates them.
    None,
}

/// Two images of a table that are one picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// Row of the one.
    pub a: usize,
    /// Row of the other, above `a`.
    pub b: usize,
    /// How sure it is.
    pub kind: Kind,
    /// Whether they are in different parts of the split.
    pub across_split: bool,
    /// Whether they have different labels.
    pub across_class: bool,
    /// Cosine of their features.
    pub similarity: f32,
    /// Correlation of their edges and textures where they agree best, if pixels were compared.
    pub correlation: Option<f64>,
    /// Whether one of them is the other mirrored.
    pub mirrored: bool,
}

impl Leak {
    /// What separates the pair, the worse first.
    pub fn across(&self) -> Across {
        match (self.across_split, self.across_class) {
            (true, _) => Across::Split,
            (false, true) => Across::Class,
            (false, false) => Across::None,
        }
    }
}

/// The limits of nearness.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Pairs are compared pixel by pixel if their distance (1 - cosine) is at most this part of the dataset's typical
    /// distance, the median of the distances to the fifth neighbour.
    pub candidate: f64,
    /// A pair is a copy if its edges and textures correlate at least this much (see [`Agreement`]).
    pub correlation: f64,
    /// Without pixels, a pair is called a copy up to this part of the typical distance.
    pub without_pixels: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { candidate: 0.5, correlation: 0.9, without_pixels: 0.1 }
    }
}

/// Finds every pair of images that show one picture, the worst first: across the split, then across classes, then the
/// others; exact copies before near ones, similar ones before less similar ones.
///
/// `around` is the neighbourhood of the table's images. `picture` gives the pixels of a row, and is asked only for rows that have a near neighbour; `None` means that a
/// pair with that row is judged by features alone.
///
/// # Errors
/// The neighbourhood of other images; the caller's wish to stop.
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

/// The pairs of equal content alone, ranked as [`find`] ranks them: what can be said without features.
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

/// Rows of validation and test that are to be moved to training, so that no picture stands on two sides of the split:
/// all whose picture, or a copy of a copy of it, trains. Pictures that are in validation and test only are moved to
/// validation.
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
    // The first part among all copies of a picture: training, if one of them trains.
    let mut target: HashMap<usize, Part> = HashMap::new();
    for (row, image) in images.iter().enumerate() {
        let part = image.part;
        target.entry(find(&mut root, row)).and_modify(|target| *target = part.min(*target)).or_insert(part);
    }
    let to = |row: usize| target[&find(&mut root, row)];
    let all: Vec<Part> = (0..images.len()).map(to).collect();
    all.into_iter().enumerate().filter(|&(row, part)| images[row].part != part).collect()
}

/// Median over images of the distance to the fifth neighbour, or to the farthest of fewer.
fn typical_distance(near: &[&[Neighbour]]) -> f64 {
    let of = |neighbours: &&[Neighbour]| neighbours.get(TYPICAL).or(neighbours.last()).copied();
    let mut distances: Vec<f64> = near.iter().filter_map(of).map(|it| 1.0 - f64::from(it.similarity)).collect();
    distances.sort_by(f64::total_cmp);
    if distances.is_empty() { 0.0 } else { crate::stats::quantile(&distances, 0.5) }
}

/// Pairs of equal content. Of many copies each is paired with the next, and additionally each that stands on the
/// other side of something with the first there, so that a hundred copies are not five thousand pairs.
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
