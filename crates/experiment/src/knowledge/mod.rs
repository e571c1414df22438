//! What a run keeps with its model ([`Knowledge`]): the training images as the network sees them, the distance from which on an image is
//! unlike all of them, and how probabilities are calibrated.

mod calibration;
mod file;
mod learn;

use std::path::Path;

use injerto_data::Label;
use injerto_insight::calibration::Temperature;
use injerto_insight::neighbours::Neighbours;
use injerto_insight::unknown::Threshold;
use injerto_insight::{Matrix, Watch};
use injerto_trainer::ModelCard;
use serde::{Deserialize, Serialize};

use crate::{ExperimentError, RunFolder};

pub use calibration::{Alone, Calibration, ClassPrecision};
pub(crate) use file::Found;
pub(crate) use learn::learn;

pub use crate::summary::KnowledgeSummary;

/// What a run keeps with its model, in `knowledge.safetensors` beside the checkpoint.
///
/// Features are the output of the layer that the head learns from ([`ModelCard::head_input`]), averaged over height and width
/// where it has these, and divided by their length. They are those of the network of the best epoch, fine-tuned layers
/// included. Of very many training images a part is kept, evenly per class.
#[derive(Debug, Clone, PartialEq)]
pub struct Knowledge {
    /// What the file says beside the features.
    facts: Facts,
    images: Neighbours,
}

/// What the file says in its metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Facts {
    /// Checksum of the checkpoint that all of this belongs to.
    checkpoint: String,
    /// Name of the layer whose output the features are.
    layer: String,
    /// Names of the classes.
    classes: Vec<String>,
    /// Number of training images, of which those in `paths` are kept.
    training_images: usize,
    /// Path of each image, below the folder of the images.
    paths: Vec<String>,
    /// What each image shows.
    labels: Vec<Label>,
    /// The distance from which on an image is unknown; `None` if there were no validation images.
    threshold: Option<Threshold>,
    /// The temperature of the probabilities; `None` if none was fitted, or if it did not help.
    temperature: Option<Temperature>,
}

/// A training image that resembles another image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similar {
    /// Its path below the folder of the training images, as text that [`injerto_files::from_text`] reads.
    pub path: String,
    /// Name of its class, or of its classes with `|` between them.
    pub label: String,
    /// Cosine of the two images' features: 1 for the same direction, 0 for nothing in common.
    pub similarity: f32,
}

impl Knowledge {
    /// Name of its file in a run's folder.
    pub const FILE: &str = RunFolder::KNOWLEDGE;

    /// Number of training images whose features are kept.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none; a file is never read as such.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Number of training images, of which [`Knowledge::len`] are kept.
    pub fn training_images(&self) -> usize {
        self.facts.training_images
    }

    /// Features of the training images, each row of length 1, in the order of [`Knowledge::image`].
    pub fn features(&self) -> &Matrix {
        self.images.unit()
    }

    /// Path and label of a training image.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, row: usize) -> (&str, &Label) {
        (&self.facts.paths[row], &self.facts.labels[row])
    }

    /// The distance from which on an image is unknown; `None` if the run had no validation images.
    pub fn threshold(&self) -> Option<&Threshold> {
        self.facts.threshold.as_ref()
    }

    /// The temperature of the probabilities; `None` if they are best left as they are.
    pub fn temperature(&self) -> Option<&Temperature> {
        self.facts.temperature.as_ref()
    }

    /// The training images that resemble each row of features most, the most similar first.
    ///
    /// # Errors
    /// Features of another width.
    pub(crate) fn nearest(
        &self,
        features: &Matrix,
        count: usize,
    ) -> Result<Vec<Vec<injerto_insight::neighbours::Neighbour>>, ExperimentError> {
        Ok(self.images.nearest(features, count, Watch::none())?)
    }

    /// A training image that was found among the [nearest](Knowledge::nearest).
    pub(crate) fn similar(&self, found: &injerto_insight::neighbours::Neighbour) -> Similar {
        let (path, label) = self.image(found.row);
        let label = label.name(&self.facts.classes).into_owned();
        Similar { path: path.to_owned(), label, similarity: found.similarity }
    }

    /// Checks that this was kept with the model of `card`, whose file has this checksum.
    fn check_fit(&self, path: &Path, card: &ModelCard) -> Result<(), ExperimentError> {
        let node = &card.graph.nodes()[card.head_input()];
        let damaged = |reason: String| Err(ExperimentError::Knowledge { path: path.to_owned(), reason });
        if self.facts.layer != node.name() || self.features().width() != node.shape.channels() {
            let (found, width) = (injerto_files::printable(&self.facts.layer), self.features().width());
            return damaged(format!("it holds {width} features of layer '{found}', which the model does not have"));
        }
        if self.facts.classes != card.classes {
            return damaged("its classes are not those of the model".to_owned());
        }
        Ok(())
    }
}

/// Layer and width of the features that are kept of images: see [`Knowledge`].
#[derive(Debug)]
pub(crate) struct Boundary {
    /// Position of the layer.
    pub layer: usize,
    /// Number of its values per image.
    pub values: usize,
    /// Number of features per image, after averaging over height and width.
    pub width: usize,
}

impl Boundary {
    pub fn of(card: &ModelCard) -> Self {
        let layer = card.head_input();
        let shape = &card.graph.nodes()[layer].shape;
        Self { layer, values: shape.count(), width: shape.channels() }
    }

    /// Features of the images whose outputs of the layer are `values`, row by row.
    pub fn features(&self, values: &[f32]) -> Result<Matrix, ExperimentError> {
        let rows =
            values.chunks_exact(self.values).flat_map(|image| crate::advise::pooled(image, self.width)).collect();
        Ok(Matrix::new(self.width, rows)?)
    }
}
