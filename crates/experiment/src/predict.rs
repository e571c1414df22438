//! Classification of images by a trained network ([`Predictor`]). The module `evaluate` does the same with a backbone's own
//! classifier.

use std::path::Path;
use std::sync::Arc;
use std::vec;

use injerto_data::augment::MOST_VIEWS;
use injerto_data::decode::Orientation;
use injerto_data::folder::{self, Folder, Inventory};
use injerto_data::look::Looked;
use injerto_data::{Dataset, Label, Loader, OnCorrupt, Origin};
use injerto_insight::calibration::Reliability;
use injerto_insight::stats::Estimate;
use injerto_trainer::metrics::{self, Answers, Figures, Report};
use injerto_trainer::{Event, Model, ModelCard, Runner, Watch};
use serde::Serialize;

use crate::knowledge::{Boundary, Found, Knowledge};
pub(crate) use crate::prediction::{Answering, Judged, Known, Prediction, Predictions, at_temperature, batch_size};
use crate::reading::pixels;
use crate::{ExperimentError, device};

/// A trained network that classifies images and can be evaluated on labelled ones. It needs its checkpoint only, neither plugin
/// nor experiment. It owns its data and can be used by several threads at once.
///
/// If the run's knowledge of its images lies beside the checkpoint ([`Knowledge`]), the network also says which images are
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
        Model { network, card, arithmetic: None }
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

    /// Probabilities of one image as they are reported.
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
