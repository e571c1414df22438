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
    /// A matrix of `values`, row by row, with `width` values per row.
    ///
    /// # Errors
    /// [`InsightError::Setting`] if `width` is 0, [`InsightError::Count`] if the values do not fill rows, [`InsightError::NotFinite`] if one of
    /// them is not finite.
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

    /// Number of values in a row.
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

    /// The rows with these numbers, in the same order.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self { width: self.width, values: rows.iter().flat_map(|&row| self.row(row)).copied().collect() }
    }

    /// The matrix with each row divided by its length, so that the scalar product of two rows is their cosine. Rows of zeros stay as they are.
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
    /// It trains the network.
    Training,
    /// It serves to choose among epochs and settings.
    Validation,
    /// It serves to measure the final accuracy.
    Test,
}

/// A hash of an image's content: of the bytes of its file or of its decoded pixels, as the caller chooses.
pub type Content = [u8; 32];

/// What is known about an image, apart from its features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Path of its file, which identifies it to people.
    pub path: PathBuf,
    /// Index of its class.
    pub label: u32,
    /// What it is used for.
    pub part: Part,
    /// The set of images that it was taken with (a folder, a patient, a burst), if there is one. All images of a group are in the same fold.
    pub group: Option<String>,
    /// Hash of its content, if it is known.
    pub content: Option<Content>,
}

impl Image {
    /// A training image without group and content.
    pub fn new(path: impl Into<PathBuf>, label: u32) -> Self {
        Self { path: path.into(), label, part: Part::Training, group: None, content: None }
    }
}

/// Labelled images with a row of features each, which a backbone has computed.
///
/// Every question of this crate is asked about a table. It is always consistent: there are as many images as
/// rows, all values are finite, and each label has a class.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureTable {
    features: Matrix,
    images: Vec<Image>,
    classes: Vec<String>,
}

impl FeatureTable {
    /// A table of features, `[images, width]`, with the images in the same order.
    ///
    /// # Errors
    /// [`InsightError::Count`] if there are not as many images as rows, [`InsightError::Label`] if a label is not below the number of classes.
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

    /// The rows of the images in one part of the split, in order.
    pub fn part(&self, part: Part) -> Vec<usize> {
        (0..self.len()).filter(|&row| self.images[row].part == part).collect()
    }

    /// Number of images per class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.images.iter().for_each(|image| counts[image.label as usize] += 1);
        counts
    }

    /// A table of the images with these rows only, in the same order, with all classes.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let images = rows.iter().map(|&row| self.images[row].clone()).collect();
        Self { features: self.features.select(rows), images, classes: self.classes.clone() }
    }

    /// The number of each image's group, from 0; an image without a group is a group by itself.
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
