//! Networks that say what is on images: a trained one ([`Predictor`]); `evaluate` has a backbone's own.

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

/// What a network says of one image.
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

    /// Probability of each class, in the same order.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// Positions of the classes, the most probable first; of equally probable ones, the earlier first.
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

/// A compiled network, how images are read for it, and what its outputs mean.
#[derive(Debug)]
pub(crate) struct Answering {
    pub runner: Runner,
    pub options: LoaderOptions,
    pub classes: Arc<[String]>,
    /// What makes probabilities of the outputs; `None` where they are probabilities.
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

    /// What the network says of images that have been decoded.
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

/// Images in a batch that is predicted: as many as fit into this many bytes of pixels, but at most [`MOST_IMAGES`].
const BATCH_BYTES: usize = 64 << 20;
const MOST_IMAGES: usize = 32;

/// Images of this size that are predicted together.
pub(crate) fn batch_size([height, width]: [usize; 2]) -> usize {
    (BATCH_BYTES / (height * width * 3 * size_of::<f32>()).max(1)).clamp(1, MOST_IMAGES)
}

/// What a network says of images: one answer per image, in the order of the images.
///
/// An image that cannot be read is an error in its own place ([`DataError::Corrupt`](injerto_data::DataError::Corrupt)). After any
/// other error there is nothing more.
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

/// A trained network that names what is on images, and says how well it does. It needs its checkpoint alone: neither plugin
/// nor experiment. It is owned and can be used from several threads at once.
#[derive(Debug)]
pub struct Predictor {
    card: ModelCard,
    network: Answering,
}

/// How well a network tells the photos of a folder apart, and what of the folder it was not asked about.
#[derive(Debug)]
pub struct FolderEvaluation {
    /// How well.
    pub report: Report,
    /// What was left out of the folder.
    pub inventory: Inventory,
    /// What was seen of the photos' files.
    pub looked: Looked,
    /// What is done with photos that the camera was turned for.
    pub orientation: Orientation,
}

impl Predictor {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// A file that is no checkpoint, a device that is not there.
    pub fn load(checkpoint: &Path, on: injerto_config::Device) -> Result<Self, ExperimentError> {
        Self::new(Model::load(checkpoint, &device(on)?)?, on)
    }

    /// A network that is at hand; `on` is the device that it is on.
    ///
    /// # Errors
    /// The kernels cannot compile the network.
    pub fn new(model: Model, on: injerto_config::Device) -> Result<Self, ExperimentError> {
        let Model { network, card } = model;
        let options = pixels(&card, batch_size(card.image_size()));
        let runner = Runner::new(network, card.preprocessing.clone(), on.has_kernels())?;
        let (classes, loss) = (card.classes.as_slice().into(), Some(card.loss.clone()));
        Ok(Self { card, network: Answering { runner, options, classes, loss } })
    }

    /// What is on each image: files ([`PathBuf`](std::path::PathBuf)), the content of files (`Vec<u8>`, `Arc<[u8]>`), pixels
    /// ([`Rgb`](injerto_data::decode::Rgb)) or any [`Origin`].
    ///
    /// Images are decoded by all cores and ahead of use, and run through the network in batches. They are taken from the iterator, by
    /// another thread, as they are wanted: however many come, only a few batches of them are in memory.
    pub fn predict<I>(&self, images: I) -> Predictions<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        self.network.predict(images)
    }

    /// How well it tells the photos of a folder with one sub-folder per class apart; `None` if it was stopped. The classes may be
    /// some of those that it was trained for. Every file is looked at first; with [`OnCorrupt::Skip`], those that are no
    /// images are left out and listed.
    ///
    /// # Errors
    /// A folder that cannot be read or has no photos, a class that the network does not know, files that are no images.
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
                // A Mac writes accents otherwise, and it is the same class.
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
