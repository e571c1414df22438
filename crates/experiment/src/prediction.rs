//! A network's prediction for one image ([`Prediction`]), and how it is computed.

use std::sync::Arc;

use injerto_data::augment::test_views;
use injerto_data::{LoaderOptions, Origin};
use injerto_insight::calibration::Temperature;
use injerto_insight::neighbours::Neighbour;
use injerto_insight::unknown::Standing;
use injerto_losses::{CrossEntropy as _, Outputs};
use injerto_recipe::Loss;
use injerto_trainer::Runner;

use crate::ExperimentError;
use crate::knowledge::{Boundary, Knowledge, Similar};
use crate::one_each::{Answer, OneEach};

/// A network's class probabilities for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    classes: Arc<[String]>,
    probabilities: Vec<f32>,
    /// The thresholds of the classes, where an image may have several.
    thresholds: Option<Arc<[f32]>>,
    judged: Judged,
}

/// How an image stands to the training images; nothing if nothing is known of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Judged {
    pub standing: Option<Standing>,
    pub neighbours: Vec<Similar>,
}

impl Prediction {
    pub(crate) fn new(
        classes: Arc<[String]>,
        probabilities: Vec<f32>,
        thresholds: Option<Arc<[f32]>>,
        judged: Judged,
    ) -> Self {
        Self { classes, probabilities, thresholds, judged }
    }

    /// Names of the classes, in the order of the network's outputs.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Probability of each class, in the order of [`Prediction::classes`].
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// The probability of each class from which on an image has it; `None` if an image has one class, which is the most probable one.
    pub fn thresholds(&self) -> Option<&[f32]> {
        self.thresholds.as_deref()
    }

    /// Where an image may have several classes: the positions of those that reach their threshold, the most probable first.
    pub fn chosen(&self) -> Option<Vec<usize>> {
        let thresholds = self.thresholds()?;
        Some(self.ranking().into_iter().filter(|&at| self.probabilities[at] >= thresholds[at]).collect())
    }

    /// Whether the image is unlike all training images, and how far from them it is; `None` if that is not known of the network
    /// ([`Predictor::knowledge`](crate::Predictor::knowledge)).
    pub fn standing(&self) -> Option<&Standing> {
        self.judged.standing.as_ref()
    }

    /// The training images that resemble it most, the most similar first, as many as [`Predictor::set_neighbours`](crate::Predictor::set_neighbours) says.
    pub fn neighbours(&self) -> &[Similar] {
        &self.judged.neighbours
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
    /// Number of views of each image whose probabilities are averaged ([`test_views`]).
    pub views: usize,
    pub classes: Arc<[String]>,
    /// The loss that turns outputs into probabilities; `None` if the outputs are probabilities already.
    pub loss: Option<Loss>,
    /// The thresholds of the classes, where an image may have several.
    pub thresholds: Option<Arc<[f32]>>,
    /// What is known of the images that the network was trained on. The runner then returns the output of its boundary after
    /// that of the last layer.
    pub known: Option<Known>,
}

/// What is known of the images that a network was trained on, and what is wanted of it.
#[derive(Debug)]
pub(crate) struct Known {
    pub knowledge: Knowledge,
    pub boundary: Boundary,
    pub neighbours: usize,
    pub calibrated: bool,
}

impl Known {
    /// How the images with these outputs of the boundary stand to the training images, one entry per image.
    pub fn judge(&self, values: &[f32]) -> Result<Vec<Judged>, ExperimentError> {
        let (knowledge, threshold) = (&self.knowledge, self.knowledge.threshold());
        let count = self.neighbours.max(threshold.map_or(0, |threshold| threshold.neighbours));
        let judged = |nearest: Vec<Neighbour>| {
            let neighbours = nearest.iter().take(self.neighbours).map(|near| knowledge.similar(near)).collect();
            Judged { standing: threshold.map(|threshold| threshold.standing(nearest)), neighbours }
        };
        let found = knowledge.nearest(&self.boundary.features(values)?, count)?;
        Ok(found.into_iter().map(judged).collect())
    }

    /// Probabilities of one image as they are reported.
    pub fn said(&self, probabilities: &[f32]) -> Vec<f32> {
        at_temperature(probabilities, self.temperature())
    }

    /// The temperature by which probabilities are calibrated, if they are.
    fn temperature(&self) -> Option<&Temperature> {
        self.knowledge.temperature().filter(|_| self.calibrated)
    }
}

/// Probabilities of one image at a temperature, if there is one.
pub(crate) fn at_temperature(probabilities: &[f32], temperature: Option<&Temperature>) -> Vec<f32> {
    match temperature {
        Some(temperature) => {
            let own: Vec<f64> = probabilities.iter().copied().map(f64::from).collect();
            temperature.of(&own).into_iter().map(|p| p as f32).collect()
        }
        None => probabilities.to_vec(),
    }
}

impl Answering {
    /// The temperature by which probabilities are calibrated, if they are.
    pub fn temperature(&self) -> Option<Temperature> {
        self.known.as_ref().and_then(Known::temperature).copied()
    }

    pub fn predict<I>(&self, images: I) -> Predictions<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        Predictions { network: self, images: OneEach::new(self.options.stream(images)) }
    }

    /// The network's own probabilities of this number of images, as the mean over their views, and what its boundary puts out for the
    /// images themselves; nothing if nothing is known of the images that it was trained on.
    pub fn look(&self, pixels: &[f32], images: usize) -> Result<(Vec<f32>, Vec<f32>), ExperimentError> {
        if images == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        let (mut probabilities, boundary) = self.glance(pixels, images)?;
        let size = self.options.image_size;
        let views = test_views(size, self.views);
        let mut scratch = Vec::new();
        for changes in &views[1..] {
            let mut view = pixels.to_vec();
            for image in view.chunks_exact_mut(size[0] * size[1] * 3) {
                changes.iter().for_each(|change| change.apply(image, size, &mut scratch));
            }
            let (more, _) = self.glance(&view, images)?;
            probabilities.iter_mut().zip(more).for_each(|(sum, p)| *sum += p);
        }
        if views.len() > 1 {
            probabilities.iter_mut().for_each(|sum| *sum /= views.len() as f32);
        }
        Ok((probabilities, boundary))
    }

    /// What the network says of these pixels.
    fn glance(&self, pixels: &[f32], images: usize) -> Result<(Vec<f32>, Vec<f32>), ExperimentError> {
        let mut values = self.runner.values(pixels, images)?.into_iter();
        let outputs = values.next().expect("the last layer is always wanted");
        let probabilities = match &self.loss {
            None => outputs,
            Some(loss) => loss.probabilities(Outputs::new(&outputs, outputs.len() / images)),
        };
        Ok((probabilities, values.next().unwrap_or_default()))
    }

    /// Predictions for this number of images.
    fn answers(&self, pixels: &[f32], images: usize) -> Result<Vec<Answer<Prediction>>, ExperimentError> {
        let (probabilities, boundary) = self.look(pixels, images)?;
        let standings = match (&self.known, images) {
            (Some(known), 1..) => known.judge(&boundary)?,
            _ => Vec::new(),
        };
        let mut standings = standings.into_iter();
        let answer = |row: &[f32]| {
            let judged = standings.next().unwrap_or_default();
            if !row.iter().all(|p| p.is_finite()) {
                return Err(ExperimentError::NoAnswer);
            }
            let probabilities = self.known.as_ref().map_or_else(|| row.to_vec(), |known| known.said(row));
            let thresholds = self.thresholds.clone();
            Ok(Prediction { classes: self.classes.clone(), probabilities, thresholds, judged })
        };
        Ok(probabilities.chunks_exact(self.classes.len().max(1)).map(answer).collect())
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
/// An image that cannot be read gives an error in its place ([`DataError::Corrupt`](injerto_data::DataError::Corrupt)), and so does
/// one for which the network puts out no numbers ([`ExperimentError::NoAnswer`]). Any other error ends the iterator.
#[derive(Debug)]
pub struct Predictions<'p> {
    network: &'p Answering,
    images: OneEach<Prediction>,
}

impl Iterator for Predictions<'_> {
    type Item = Result<Prediction, ExperimentError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.images.next(|pixels, images| self.network.answers(pixels, images)).map(Result::flatten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_earlier_class() {
        let classes = ["a", "b", "c", "d"].map(str::to_owned);
        let probabilities = vec![0.1, 0.4, 0.4, 0.1];
        let prediction =
            Prediction { classes: classes.into(), probabilities, thresholds: None, judged: Judged::default() };
        assert_eq!(prediction.ranking(), [1, 2, 0, 3]);
        assert_eq!(prediction.ranked().next(), Some(("b", 0.4)));
    }

    #[test]
    fn an_image_has_the_classes_that_reach_their_thresholds() {
        let classes = ["a", "b", "c"].map(str::to_owned);
        let chosen = |probabilities: [f32; 3], thresholds: Option<[f32; 3]>| {
            let thresholds = thresholds.map(|thresholds| thresholds.as_slice().into());
            let (probabilities, judged) = (probabilities.to_vec(), Judged::default());
            Prediction { classes: classes.clone().into(), probabilities, thresholds, judged }.chosen()
        };
        assert_eq!(chosen([0.3, 0.9, 0.25], Some([0.5, 0.5, 0.25])), Some(vec![1, 2]));
        assert_eq!(chosen([0.3, 0.4, 0.2], Some([0.5; 3])), Some(vec![]), "none is an answer");
        assert_eq!(chosen([0.3, 0.4, 0.3], None), None, "an image has one class");
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
