//! The validation images that a run's best epoch judged, the sides of all images, and the copies among them.

use std::path::Path;

use injerto_config::{Config, Images};
use injerto_experiment::RunFolder;
use injerto_files::csv;
use injerto_insight::predictions::Predictions;

/// The best epoch's prediction for each validation image: the content of `predictions.csv`.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Names of the classes, as the file writes them.
    pub classes: Vec<String>,
    /// Path of each image below the root, as the file writes it.
    pub paths: Vec<String>,
    /// The class that was predicted for each image.
    pub predicted: Vec<usize>,
    /// Labels and probabilities.
    pub predictions: Predictions,
}

impl Judged {
    /// Reads the file in the folder of a run; `None` if it is missing or damaged, or if it names no image.
    pub(crate) fn load(folder: &Path) -> Option<Self> {
        let mut rows = rows(folder, RunFolder::PREDICTIONS)?.into_iter();
        let classes = rows.next()?.get(3..)?.to_vec();
        let place = |class: &String| classes.iter().position(|known| known == class);
        let (mut paths, mut predicted, mut labels, mut probabilities) = (vec![], vec![], vec![], vec![]);
        for row in rows {
            let [path, label, said] = row.get(..3)? else { return None };
            labels.push(u32::try_from(place(label)?).ok()?);
            predicted.push(place(said)?);
            paths.push(path.clone());
            for value in &row[3..] {
                probabilities.push(value.parse::<f64>().ok().filter(|value| value.is_finite())?);
            }
        }
        let predictions = Predictions::new(classes.len(), labels, probabilities).ok()?;
        (!paths.is_empty()).then_some(Self { classes, paths, predicted, predictions })
    }

    /// Label of an image.
    pub fn label(&self, row: usize) -> usize {
        self.predictions.labels()[row] as usize
    }

    /// Whether the predicted class of an image is its label.
    pub fn is_right(&self, row: usize) -> bool {
        self.label(row) == self.predicted[row]
    }

    /// Probability of the predicted class of an image.
    pub fn confidence(&self, row: usize) -> f64 {
        self.predictions.row(row)[self.predicted[row]]
    }

    /// How much more probable the most probable class of an image is than the second.
    pub fn margin(&self, row: usize) -> f64 {
        let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for &value in self.predictions.row(row) {
            if value > first {
                (first, second) = (value, first);
            } else if value > second {
                second = value;
            }
        }
        first - second
    }

    /// The images for which `of` is true, those with the largest `by` first.
    pub fn ranked(&self, of: impl Fn(usize) -> bool, by: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut rows: Vec<(f64, usize)> =
            (0..self.paths.len()).filter(|&row| of(row)).map(|row| (by(row), row)).collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// An image of a run: a line of `split.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Path below the root, as the file writes it.
    pub path: String,
    /// Its class.
    pub class: String,
    /// Its side: `train`, `validation` or `test`.
    pub side: String,
}

/// Two photos that show one picture: a line of `leaks.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Both photos, with their sides before any was moved.
    pub photos: [Placed; 2],
    /// Whether the files are equal.
    pub exact: bool,
    /// Cosine of their features.
    pub similarity: f64,
    /// What separates them: `split`, `class` or `none`.
    pub across: String,
}

/// The images of a run; empty if the file is missing or damaged.
pub(crate) fn placed(folder: &Path) -> Vec<Placed> {
    let placed = |row: Vec<String>| {
        let [path, class, side, ..] = <[String; 4]>::try_from(row).ok()?;
        Some(Placed { path, class, side })
    };
    let rows = rows(folder, RunFolder::SPLIT).unwrap_or_default();
    rows.into_iter().skip(1).map(placed).collect::<Option<_>>().unwrap_or_default()
}

/// The copies among the images of a run, the worst first; empty if there are none, or if the file is damaged.
pub(crate) fn pairs(folder: &Path) -> Vec<Pair> {
    let pair = |row: Vec<String>| {
        let [a, b, kind, similarity, across, a_side, b_side, a_class, b_class] = <[String; 9]>::try_from(row).ok()?;
        let (exact, similarity) = (kind == "exact", similarity.parse().ok()?);
        let one = Placed { path: a, class: a_class, side: a_side };
        let other = Placed { path: b, class: b_class, side: b_side };
        Some(Pair { photos: [one, other], exact, similarity, across })
    };
    let rows = rows(folder, RunFolder::LEAKS).unwrap_or_default();
    rows.into_iter().skip(1).map(pair).collect::<Option<_>>().unwrap_or_default()
}

/// The folder of the images that a run was trained on, as its experiment names it; `None` if the images were drawn.
pub(crate) fn root(config: &Config) -> Option<std::path::PathBuf> {
    match &config.data.images {
        Images::Folder { root } => root.iter().find(|root| root.is_dir()).or(root.first()).cloned(),
        Images::Drawn { .. } | Images::Features { .. } => None,
    }
}

fn rows(folder: &Path, name: &str) -> Option<Vec<Vec<String>>> {
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    Some(csv::lines(&text).ok()?.into_iter().map(|(_, row)| row).collect())
}
