use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{InsightError, Result};

/// Rows of equally many finite values: `[images, width]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    width: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// `values` row by row, `width` to a row.
    ///
    /// # Errors
    /// Values that do not fill rows, or that are not finite.
    pub fn new(width: usize, values: Vec<f32>) -> Result<Self> {
        if width == 0 {
            let expected = "at least 1";
            return Err(InsightError::Setting { name: "the number of features per image", found: 0.0, expected });
        }
        if !values.len().is_multiple_of(width) {
            let expected = values.len() / width * width;
            return Err(InsightError::Count { what: "values in rows", found: values.len(), expected });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(InsightError::NotFinite { row: at / width }),
            None => Ok(Self { width, values }),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// A row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// All rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// The named rows, in the order in which they are named.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self { width: self.width, values: rows.iter().flat_map(|&row| self.row(row)).copied().collect() }
    }

    /// Each row divided by its length, so that the product of two is their cosine. A row of zeros stays.
    #[must_use]
    pub fn unit(&self) -> Self {
        let mut values = self.values.clone();
        for row in values.chunks_exact_mut(self.width) {
            let length = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
            }
        }
        Self { width: self.width, values }
    }

    pub(crate) fn same_width(&self, other: &Self) -> Result<()> {
        if self.width == other.width {
            return Ok(());
        }
        Err(InsightError::Count { what: "features per image", found: other.width, expected: self.width })
    }
}

/// What an image is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Training.
    Training,
    /// Choosing among epochs and settings.
    Validation,
    /// The number at the end.
    Test,
}

/// A hash of what an image shows: of the file's bytes or of the decoded pixels, whichever the caller compares by.
pub type Content = [u8; 32];

/// An image whose features are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it lies; findings name it by this.
    pub path: PathBuf,
    /// Index of its class.
    pub label: u32,
    /// What it is used for.
    pub part: Part,
    /// What it was taken together with (a folder, a patient, a burst). Images of one group never stand on two sides
    /// of a fold.
    pub group: Option<String>,
    /// Hash of its content, where it is known.
    pub content: Option<Content>,
}

impl Image {
    /// A training image without group and content.
    pub fn new(path: impl Into<PathBuf>, label: u32) -> Self {
        Self { path: path.into(), label, part: Part::Training, group: None, content: None }
    }
}

/// What a backbone says of labelled images: a row of features per image, and all that is known of the image.
///
/// Every question of this crate is asked about one. It holds together by construction: there are as many images as
/// rows, all values are finite, and each label has a class.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureTable {
    features: Matrix,
    images: Vec<Image>,
    classes: Vec<String>,
}

impl FeatureTable {
    /// # Errors
    /// As many images as rows are expected, and labels below the number of classes.
    pub fn new(features: Matrix, images: Vec<Image>, classes: Vec<String>) -> Result<Self> {
        if images.len() != features.len() {
            return Err(InsightError::Count { what: "images", found: images.len(), expected: features.len() });
        }
        match images.iter().find(|image| image.label as usize >= classes.len()) {
            Some(Image { path, label, .. }) => {
                Err(InsightError::Label { path: path.clone(), label: *label, classes: classes.len() })
            }
            None => Ok(Self { features, images, classes }),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Features, `[images, width]`.
    pub fn features(&self) -> &Matrix {
        &self.features
    }

    /// The images, in the order of the rows.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Path of an image.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn path(&self, row: usize) -> &Path {
        &self.images[row].path
    }

    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Label of each image.
    pub fn labels(&self) -> Vec<u32> {
        self.images.iter().map(|image| image.label).collect()
    }

    /// Rows of one part, in order.
    pub fn part(&self, part: Part) -> Vec<usize> {
        (0..self.len()).filter(|&row| self.images[row].part == part).collect()
    }

    /// Number of images per class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.images.iter().for_each(|image| counts[image.label as usize] += 1);
        counts
    }

    /// The named images alone, with all classes.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let images = rows.iter().map(|&row| self.images[row].clone()).collect();
        Self { features: self.features.select(rows), images, classes: self.classes.clone() }
    }

    /// Number of each image's group, from 0; an image without a group is one of its own.
    pub(crate) fn groups(&self) -> Vec<usize> {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut next = 0;
        let mut groups = Vec::with_capacity(self.len());
        for image in &self.images {
            let group = match image.group.as_deref() {
                Some(name) => *known.entry(name).or_insert(next),
                None => next,
            };
            next += usize::from(group == next);
            groups.push(group);
        }
        groups
    }
}
