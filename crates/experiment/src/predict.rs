//! Classification of images by a trained network ([`Predictor`]). The module `evaluate` does the same with a backbone's own
//! classifier.

use std::path::Path;
use std::sync::Arc;
use std::vec;

use injerto_data::augment::{MOST_VIEWS, test_views};
use injerto_data::decode::Orientation;
use injerto_data::folder::{self, Folder, Inventory};
use injerto_data::look::Looked;
use injerto_data::{Batches, Dataset, Decoded, Label, Loader, LoaderOptions, OnCorrupt, Origin};
use injerto_insight::calibration::{Reliability, Temperature};
use injerto_insight::neighbours::Neighbour;
use injerto_insight::stats::Estimate;
use injerto_insight::unknown::Standing;
use injerto_losses::{CrossEntropy as _, Outputs};
use injerto_recipe::Loss;
use injerto_trainer::metrics::{self, Answers, Figures, Report};
use injerto_trainer::{Arithmetic, Event, Model, ModelCard, Runner, Watch};
use serde::Serialize;

use crate::knowledge::{Boundary, Found, Knowledge, Similar};
use crate::prepare::pixels;
use crate::{ExperimentError, device};

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
    /// ([`Predictor::knowledge`]).
    pub fn standing(&self) -> Option<&Standing> {
        self.judged.standing.as_ref()
    }

    /// The training images that resemble it most, the most similar first, as many as [`Predictor::set_neighbours`] says.
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
    neighbours: usize,
    calibrated: bool,
}

impl Known {
    /// How the images with these outputs of the boundary stand to the training images, one entry per image.
    fn judge(&self, values: &[f32]) -> Result<Vec<Judged>, ExperimentError> {
        let (knowledge, threshold) = (&self.knowledge, self.knowledge.threshold());
        let count = self.neighbours.max(threshold.map_or(0, |threshold| threshold.neighbours));
        let judged = |nearest: Vec<Neighbour>| {
            let neighbours = nearest.iter().take(self.neighbours).map(|near| knowledge.similar(near)).collect();
            Judged { standing: threshold.map(|threshold| threshold.standing(nearest)), neighbours }
        };
        let found = knowledge.nearest(&self.boundary.features(values)?, count)?;
        Ok(found.into_iter().map(judged).collect())
    }

    /// Probabilities of one image as they are to be said.
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
        Predictions { network: self, decoded: Some(self.options.stream(images)), ready: Vec::new().into_iter() }
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

    /// Predictions for decoded images, one result per image.
    fn answers(
        &self,
        Decoded { pixels, images }: Decoded,
    ) -> Result<Vec<Result<Prediction, ExperimentError>>, ExperimentError> {
        let readable = images.iter().filter(|image| image.is_ok()).count();
        let (probabilities, boundary) = self.look(&pixels, readable)?;
        let standings = match (&self.known, readable) {
            (Some(known), 1..) => known.judge(&boundary)?,
            _ => Vec::new(),
        };
        let mut rows = probabilities.chunks_exact(self.classes.len().max(1));
        let mut standings = standings.into_iter();
        let mut answer = |image: Result<(), _>| {
            image?;
            let row = rows.next().expect("there is a row for each image that was read");
            let judged = standings.next().unwrap_or_default();
            if !row.iter().all(|p| p.is_finite()) {
                return Err(ExperimentError::NoAnswer);
            }
            let probabilities = self.known.as_ref().map_or_else(|| row.to_vec(), |known| known.said(row));
            let thresholds = self.thresholds.clone();
            Ok(Prediction { classes: self.classes.clone(), probabilities, thresholds, judged })
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
/// An image that cannot be read gives an error in its place ([`DataError::Corrupt`](injerto_data::DataError::Corrupt)), and so does
/// one for which the network puts out no numbers ([`ExperimentError::NoAnswer`]). Any other error ends the iterator.
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
///
/// If what the run knows of its images lies beside the checkpoint ([`Knowledge`]), the network also says which images are
/// unlike all of them ([`Prediction::standing`]) and which of them resemble an image most ([`Prediction::neighbours`]), and its
/// probabilities are calibrated.
#[derive(Debug)]
pub struct Predictor {
    pub(crate) card: ModelCard,
    pub(crate) network: Answering,
    /// Why nothing is known of the training images.
    unknowing: String,
}

/// Labelled images, as an evaluation reads them.
pub(crate) struct Labelled {
    /// The images, with labels that are positions of the known classes.
    pub dataset: Dataset,
    pub inventory: Inventory,
    pub looked: Looked,
}

impl Labelled {
    /// The training images of `found`, whose classes must be among the known ones. `several` says whether an image may have several.
    pub fn new(
        known: &[String],
        several: bool,
        mut found: Folder,
        on_corrupt: OnCorrupt,
    ) -> Result<Self, ExperimentError> {
        let place = |class: &String| {
            // macOS may write accents as characters of their own; it is the same class.
            let same = |known: &String| folder::composed(known) == folder::composed(class);
            let at = known.iter().position(same).map(|at| at as u32);
            at.ok_or_else(|| ExperimentError::UnknownClass { class: class.clone(), known: known.to_vec() })
        };
        let labels: Vec<u32> = found.train.classes.iter().map(place).collect::<Result<_, _>>()?;
        let looked = found.look(on_corrupt, None, &|_| {})?;
        let mut dataset = found.train;
        for sample in &mut dataset.samples {
            let label = sample.label.moved(&labels);
            sample.label = if several { Label::several(label.classes().iter().copied()) } else { label };
        }
        dataset.classes = known.to_vec();
        Ok(Self { dataset, inventory: found.inventory, looked })
    }
}

/// What a network says of labelled images.
pub(crate) struct Told {
    pub answers: Answers,
    pub loss: f64,
    /// Whether each image is unknown; nothing if that is not known of the network.
    pub standings: Vec<bool>,
}

impl Told {
    /// The same, if all probabilities are numbers.
    fn checked(self) -> Result<Self, ExperimentError> {
        let finite = self.answers.probabilities().into_iter().flatten().all(|p| p.is_finite());
        if finite { Ok(self) } else { Err(ExperimentError::NoAnswer) }
    }
}

/// Result of evaluating a network on the photos of a folder.
#[derive(Debug)]
pub struct FolderEvaluation {
    /// Accuracy and per-class figures of the photos, by the network's own probabilities, as during training.
    pub figures: Figures,
    /// Share of the photos that are unlike all training images; `None` if that is not known of the network.
    pub unknown: Option<Estimate>,
    /// Figures of the probabilities that predictions have; `None` if these are the network's own.
    pub calibrated: Option<Calibrated>,
    /// Files and folders that were left out.
    pub inventory: Inventory,
    /// Findings of the first look at the photos' files: unreadable ones, and those taken with the camera turned.
    pub looked: Looked,
    /// Treatment of photos that were taken with the camera turned.
    pub orientation: Orientation,
}

/// Figures of calibrated probabilities. Accuracy is that of the network's own probabilities: the order of the classes is the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Calibrated {
    /// The temperature.
    pub temperature: f64,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Expected calibration error over [`Report::BINS`] bins.
    pub ece: f64,
}

impl Predictor {
    /// Loads a checkpoint onto the device `on`, with what the run knows of its images if that lies beside it.
    ///
    /// # Errors
    /// [`ExperimentError`] if the file is not a checkpoint, if the device is not available, or if what lies beside it is
    /// damaged.
    pub fn load(checkpoint: &Path, on: injerto_config::Device) -> Result<Self, ExperimentError> {
        let (model, checksum) = Model::open(checkpoint, &device(on)?)?;
        let found = Knowledge::beside(checkpoint, checksum.as_deref(), &model.card)?;
        Self::knowing(model, found, on)
    }

    /// Compiles a model that is already loaded; `on` is the device that holds its weights. Nothing is known of the images that
    /// it was trained on.
    ///
    /// # Errors
    /// [`ExperimentError`] if the kernels cannot compile the network.
    pub fn new(model: Model, on: injerto_config::Device) -> Result<Self, ExperimentError> {
        Self::knowing(model, Found::Nothing("it was not loaded from a run's folder".to_owned()), on)
    }

    fn knowing(model: Model, found: Found, on: injerto_config::Device) -> Result<Self, ExperimentError> {
        let Model { network, card, .. } = model;
        let (known, unknowing) = match found {
            Found::Kept(knowledge) => {
                let boundary = Boundary::of(&card);
                (Some(Known { knowledge: *knowledge, boundary, neighbours: 0, calibrated: true }), String::new())
            }
            Found::Nothing(reason) => (None, reason),
        };
        let options = pixels(&card, batch_size(card.image_size()));
        let mut wanted = vec![card.graph.len() - 1];
        wanted.extend(known.as_ref().map(|known| known.boundary.layer));
        let runner = Runner::at(network, card.preprocessing.clone(), wanted, on.has_kernels())?;
        let (classes, loss) = (card.classes.as_slice().into(), Some(card.loss.clone()));
        let thresholds = card.thresholds.as_deref().map(Arc::from);
        let network = Answering { runner, options, views: 1, classes, loss, thresholds, known };
        Ok(Self { card, network, unknowing })
    }

    /// Names of the classes, in the order of the network's outputs.
    pub fn classes(&self) -> &[String] {
        &self.card.classes
    }

    /// The model.
    pub fn model(&self) -> Model {
        let (network, card) = (self.network.runner.network().clone(), self.card.clone());
        Model { network, card, arithmetic: Arithmetic::f32() }
    }

    /// The card of the model.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Where an image may have several classes: the probability of each class from which on an image has it.
    pub fn thresholds(&self) -> Option<&[f32]> {
        self.network.thresholds.as_deref()
    }

    /// Sets one threshold for all classes, where an image may have several.
    pub fn set_threshold(&mut self, threshold: f32) {
        if let Some(thresholds) = &mut self.network.thresholds {
            *thresholds = vec![threshold; thresholds.len()].into();
            self.card.thresholds = Some(thresholds.to_vec());
        }
    }

    /// What the run knows of its images.
    ///
    /// # Errors
    /// [`ExperimentError::NothingKept`] with the reason, if nothing is known.
    pub fn knowledge(&self) -> Result<&Knowledge, ExperimentError> {
        let nothing = || ExperimentError::NothingKept { reason: self.unknowing.clone() };
        self.network.known.as_ref().map(|known| &known.knowledge).ok_or_else(nothing)
    }

    /// Sets the number of [similar training images](Prediction::neighbours) that each prediction has; 0 at first.
    ///
    /// # Errors
    /// [`ExperimentError::NothingKept`] if nothing is known of the training images.
    pub fn set_neighbours(&mut self, count: usize) -> Result<(), ExperimentError> {
        self.knowledge()?;
        if let Some(known) = &mut self.network.known {
            known.neighbours = count;
        }
        Ok(())
    }

    /// Sets whether probabilities are calibrated by the temperature of the run, if it has one. They are at first.
    pub fn set_calibrated(&mut self, calibrated: bool) {
        if let Some(known) = &mut self.network.known {
            known.calibrated = calibrated;
        }
    }

    /// Sets the number of views of each image whose probabilities are averaged: test-time augmentation with
    /// [`test_views`](injerto_data::augment::test_views). At first there is one, the image itself.
    pub fn set_views(&mut self, views: usize) {
        self.network.views = views.clamp(1, MOST_VIEWS);
    }

    /// Probabilities of one image as they are to be said.
    pub(crate) fn said(&self, own: &[f32]) -> Vec<f32> {
        self.network.known.as_ref().map_or_else(|| own.to_vec(), |known| known.said(own))
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
        self.evaluate_images(folder::classes(root)?, on_corrupt, watch)
    }

    /// Evaluates the network on the training images of `found`, as [`Predictor::evaluate`] does on those of a folder.
    ///
    /// # Errors
    /// [`ExperimentError`] if there are no images, if the network does not know a class, or if files are not images.
    pub fn evaluate_images(
        &self,
        found: Folder,
        on_corrupt: OnCorrupt,
        watch: &mut Watch<'_>,
    ) -> Result<Option<FolderEvaluation>, ExperimentError> {
        let known = &self.card.classes;
        let several = self.thresholds().is_some();
        let Labelled { dataset, inventory, looked } = Labelled::new(known, several, found, on_corrupt)?;
        let Some(Told { answers, loss, standings }) = self.tell(dataset, watch)? else { return Ok(None) };
        let figures = Figures::new(&answers, &self.card, Some(loss)).expect("an evaluation without images is an error");
        let orientation = self.network.options.orientation;
        let unknown = standings.iter().filter(|unknown| **unknown).count();
        let unknown = (!standings.is_empty()).then(|| Estimate::share(unknown, standings.len()));
        let calibrated = match &answers {
            Answers::MultiClass(predictions) => self.calibrated(predictions)?,
            Answers::MultiLabel(_) => None,
        };
        Ok(Some(FolderEvaluation { figures, unknown, calibrated, inventory, looked, orientation }))
    }

    /// What the network says of images whose labels are positions of its classes; `None` if `watch` was stopped.
    pub(crate) fn tell(&self, dataset: Dataset, watch: &mut Watch<'_>) -> Result<Option<Told>, ExperimentError> {
        let network = &self.network;
        let loader = Loader::new(dataset, network.options.clone());
        let mut standings = Vec::new();
        let mut judge = |boundary: Option<&Vec<f32>>| -> Result<(), ExperimentError> {
            if let (Some(known), Some(values)) = (&network.known, boundary) {
                let judged = known.judge(values)?;
                standings.extend(judged.iter().filter_map(|judged| judged.standing.as_ref()).map(|it| it.unknown));
            }
            Ok(())
        };
        if network.views == 1 {
            let found = self.card.evaluate_seeing(&network.runner, &loader, watch, |values| judge(values.first()))?;
            return found.map(|(loss, answers)| Told { answers, loss, standings }.checked()).transpose();
        }
        let (mut probabilities, mut labels, mut done, total) = (Vec::new(), Vec::new(), 0, loader.len());
        for batch in loader.batches(&(0..total).collect::<Vec<_>>()) {
            let batch = batch?;
            if watch.is_stopped() {
                return Ok(None);
            }
            let (own, boundary) = network.look(&batch.pixels, batch.labels.len())?;
            judge((!batch.labels.is_empty()).then_some(&boundary))?;
            probabilities.extend(own);
            labels.extend(batch.labels);
            done = (done + loader.batch_size()).min(total);
            watch.observer.observe(&Event::Evaluated { done, total });
        }
        let (loss, answers) = Answers::together(self.card.task(), self.card.classes.len(), &probabilities, &labels)?;
        Told { answers, loss, standings }.checked().map(Some)
    }

    /// Figures of calibrated probabilities, if predictions have them.
    fn calibrated(&self, own: &metrics::Predictions) -> Result<Option<Calibrated>, ExperimentError> {
        let Some(known) = self.network.known.as_ref().filter(|known| known.calibrated) else { return Ok(None) };
        let Some(temperature) = known.knowledge.temperature() else { return Ok(None) };
        let labels = own.rows().map(|(_, _, label)| label).collect();
        let probabilities = own.rows().flat_map(|(row, ..)| row.iter().copied().map(f64::from)).collect();
        let scaled =
            temperature.apply(&injerto_insight::predictions::Predictions::new(own.classes(), labels, probabilities)?);
        let ece = Reliability::of(&scaled, Report::BINS).ece;
        Ok(Some(Calibrated { temperature: temperature.value, loss: scaled.log_loss(), ece }))
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
