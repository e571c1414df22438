//! Classification of images by a trained network ([`Predictor`]). The module `evaluate` does the same with a backbone's own
//! classifier.

use std::path::Path;
use std::sync::Arc;
use std::vec;

use injerto_data::decode::Orientation;
use injerto_data::folder::{self, Inventory};
use injerto_data::look::Looked;
use injerto_data::{Batches, Decoded, Loader, LoaderOptions, OnCorrupt, Origin};
use injerto_losses::CrossEntropy as _;
use injerto_recipe::Loss;
use injerto_trainer::metrics::Report;
use injerto_trainer::{Model, ModelCard, Runner, Watch};

use crate::prepare::pixels;
use crate::{ExperimentError, device};

/// A network's class probabilities for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    classes: Arc<[String]>,
    probabilities: Vec<f32>,
}

impl Prediction {
    /// Names of the classes, in the order of the network's outputs.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Probability of each class, in the order of [`Prediction::classes`].
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// Positions of the classes, the most probable first. Equally probable classes keep their order.
    pub fn ranking(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.probabilities.len()).collect();
        order.sort_by(|&a, &b| self.probabilities[b].total_cmp(&self.probabilities[a]));
        order
    }

    /// Classes with their probabilities, the most probable first.
    pub fn ranked(&self) -> impl Iterator<Item = (&str, f32)> {
        self.ranking().into_iter().map(|at| (self.classes[at].as_str(), self.probabilities[at]))
    }
}

/// A compiled network with the options for reading its images and the meaning of its outputs.
#[derive(Debug)]
pub(crate) struct Answering {
    pub runner: Runner,
    pub options: LoaderOptions,
    pub classes: Arc<[String]>,
    /// The loss that turns outputs into probabilities; `None` if the outputs are probabilities already.
    pub loss: Option<Loss>,
}

impl Answering {
    pub fn predict<I>(&self, images: I) -> Predictions<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        Predictions { network: self, decoded: Some(self.options.stream(images)), ready: Vec::new().into_iter() }
    }

    /// Predictions for decoded images, one result per image.
    fn answers(
        &self,
        Decoded { pixels, images }: Decoded,
    ) -> Result<Vec<Result<Prediction, ExperimentError>>, ExperimentError> {
        let readable = images.iter().filter(|image| image.is_ok()).count();
        let probabilities = match (&self.loss, readable) {
            (_, 0) => Vec::new(),
            (None, readable) => self.runner.values(&pixels, readable)?.swap_remove(0),
            (Some(loss), readable) => {
                loss.probabilities(self.runner.outputs(&pixels, readable)?).into_data().iter::<f32>().collect()
            }
        };
        let mut rows = probabilities.chunks_exact(self.classes.len().max(1));
        let mut answer = |image: Result<(), _>| {
            image?;
            let probabilities = rows.next().expect("there is a row for each image that was read").to_vec();
            Ok(Prediction { classes: self.classes.clone(), probabilities })
        };
        Ok(images.into_iter().map(&mut answer).collect())
    }
}

/// Upper limit of the pixels of one batch, in bytes.
const BATCH_BYTES: usize = 64 << 20;
/// Upper limit of the images of one batch.
const MOST_IMAGES: usize = 32;

/// Number of images of this size that run through the network together; at least 1.
pub(crate) fn batch_size([height, width]: [usize; 2]) -> usize {
    (BATCH_BYTES / (height * width * 3 * size_of::<f32>()).max(1)).clamp(1, MOST_IMAGES)
}

/// A network's answers: one per image, in the order of the images.
///
/// An image that cannot be read gives an error in its place ([`DataError::Corrupt`](injerto_data::DataError::Corrupt)). Any
/// other error ends the iterator.
#[derive(Debug)]
pub struct Predictions<'p> {
    network: &'p Answering,
    decoded: Option<Batches<Decoded>>,
    ready: vec::IntoIter<Result<Prediction, ExperimentError>>,
}

impl Iterator for Predictions<'_> {
    type Item = Result<Prediction, ExperimentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(answer) = self.ready.next() {
                return Some(answer);
            }
            let decoded = self.decoded.as_mut()?.next()?;
            match decoded.map_err(ExperimentError::from).and_then(|decoded| self.network.answers(decoded)) {
                Ok(answers) => self.ready = answers.into_iter(),
                Err(error) => {
                    self.decoded = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// A trained network that classifies images and can be evaluated on labelled ones. It needs its checkpoint only, neither plugin
/// nor experiment. It owns its data and can be used by several threads at once.
#[derive(Debug)]
pub struct Predictor {
    card: ModelCard,
    network: Answering,
}

/// Result of evaluating a network on the photos of a folder.
#[derive(Debug)]
pub struct FolderEvaluation {
    /// Accuracy and per-class figures of the photos.
    pub report: Report,
    /// Files and folders that were left out.
    pub inventory: Inventory,
    /// Findings of the first look at the photos' files: unreadable ones, and those taken with the camera turned.
    pub looked: Looked,
    /// Treatment of photos that were taken with the camera turned.
    pub orientation: Orientation,
}

impl Predictor {
    /// Loads a checkpoint onto the device `on`.
    ///
    /// # Errors
    /// [`ExperimentError`] if the file is not a checkpoint, or if the device is not available.
    pub fn load(checkpoint: &Path, on: injerto_config::Device) -> Result<Self, ExperimentError> {
        Self::new(Model::load(checkpoint, &device(on)?)?, on)
    }

    /// Compiles a model that is already loaded; `on` is the device that holds its weights.
    ///
    /// # Errors
    /// [`ExperimentError`] if the kernels cannot compile the network.
    pub fn new(model: Model, on: injerto_config::Device) -> Result<Self, ExperimentError> {
        let Model { network, card } = model;
        let options = pixels(&card, batch_size(card.image_size()));
        let runner = Runner::new(network, card.preprocessing.clone(), on.has_kernels())?;
        let (classes, loss) = (card.classes.as_slice().into(), Some(card.loss.clone()));
        Ok(Self { card, network: Answering { runner, options, classes, loss } })
    }

    /// Classifies images. Each image is the path of a file ([`PathBuf`](std::path::PathBuf)), the content of a file (`Vec<u8>`,
    /// `Arc<[u8]>`), decoded pixels ([`Rgb`](injerto_data::decode::Rgb)) or any other [`Origin`].
    ///
    /// All cores decode images ahead of use, and the network processes them in batches. Another thread takes images from the
    /// iterator as they are needed, so that only a few batches are in memory at any time.
    pub fn predict<I>(&self, images: I) -> Predictions<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        self.network.predict(images)
    }

    /// Evaluates the network on a folder with one sub-folder per class. Returns `None` if `watch` was stopped. The classes may
    /// be a part of those that the network was trained for. Every file is read beforehand; with [`OnCorrupt::Skip`], files that
    /// are not images are left out and listed.
    ///
    /// # Errors
    /// [`ExperimentError`] if the folder cannot be read or has no photos, if the network does not know a class, or if files
    /// are not images.
    pub fn evaluate(
        &self,
        root: &Path,
        on_corrupt: OnCorrupt,
        watch: &mut Watch<'_>,
    ) -> Result<Option<FolderEvaluation>, ExperimentError> {
        let mut found = folder::classes(root)?;
        let known = &self.card.classes;
        let labels: Vec<u32> = found
            .train
            .classes
            .iter()
            .map(|class| {
                // macOS may write accents as characters of their own; it is the same class.
                let same = |known: &String| folder::composed(known) == folder::composed(class);
                let at = known.iter().position(same);
                at.map(|at| at as u32)
                    .ok_or_else(|| ExperimentError::UnknownClass { class: class.clone(), known: known.clone() })
            })
            .collect::<Result<_, _>>()?;
        let looked = found.look(on_corrupt, None, &|_| {})?;
        let mut dataset = found.train;
        dataset.samples.iter_mut().for_each(|sample| sample.label = labels[sample.label as usize]);
        dataset.classes.clone_from(known);
        let loader = Loader::new(dataset, self.network.options.clone());
        let report = self.card.report(&self.network.runner, &loader, watch)?;
        let (inventory, orientation) = (found.inventory, self.network.options.orientation);
        Ok(report.map(|report| FolderEvaluation { report, inventory, looked, orientation }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_earlier_class() {
        let classes = ["a", "b", "c", "d"].map(str::to_owned);
        let prediction = Prediction { classes: classes.into(), probabilities: vec![0.1, 0.4, 0.4, 0.1] };
        assert_eq!(prediction.ranking(), [1, 2, 0, 3]);
        assert_eq!(prediction.ranked().next(), Some(("b", 0.4)));
    }

    #[test]
    fn images_that_are_predicted_together_are_bounded_in_number_and_bytes() {
        let check = |size: [usize; 2], expected: usize| assert_eq!(batch_size(size), expected, "{size:?}");
        check([160, 160], 32);
        check([299, 299], 32);
        check([1024, 1024], 5);
        check([8192, 8192], 1);
    }
}
