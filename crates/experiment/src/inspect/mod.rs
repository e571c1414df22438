//! What can be found out about images before any training: whether photos are there more than once, which labels look wrong, how well a
//! probe tells the classes apart and whether more photos would help, what is odd about the files, and whether new photos are like those of
//! training.
//!
//! A [`Survey`] is all that is computed from pixels: the facts of each photo and, with a backbone, its features; both are kept.
//! [`Survey::inspect`] asks all questions about it and gives an [`Inspection`], findings as data that name images by their paths. It
//! serialises to the JSON that `injerto inspect --json` prints. [`backbone`] finds backbones whose weights are at hand and compares
//! them, and [`relabel`] makes moves of the labels that look wrong.

pub mod backbone;
mod findings;
mod photos;
mod relabel;

use std::time::Instant;

use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_data::LoaderOptions;
use injerto_data::decode::decode;
use injerto_insight::folds::Folds;
use injerto_insight::health::{Health, Photo, shortcuts};
use injerto_insight::leaks::{self, Limits};
use injerto_insight::more::LearningCurve;
use injerto_insight::neighbours::Neighbourhood;
use injerto_insight::picture::Picture;
use injerto_insight::probe::{CrossValidation, Strengths};
use injerto_insight::unknown::Known;
use injerto_insight::{FeatureTable, Image, InsightError, Part, labels};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::{Model, Watch};

pub use findings::{
    Backbone, ClassCount, Drift, HealthCard, Inspection, LeakFound, MorePhotos, Probe, Stranger, SuspectFound,
    Unanswered, Unreadable,
};
pub use relabel::relabel;

use crate::gallery::Gallery;
use crate::{ExperimentError, Knowledge, Prepared, features};
use findings::seen;
use photos::{Measured, measured};

/// Folds of the cross-validation, unless the caller says otherwise.
pub const FOLDS: usize = 5;

/// Share of the photos like those of training that stay known.
const KEEP: f64 = 0.95;

/// If there are no validation images, one of this many training images is held out, to see how far known photos are.
const HELD_OUT: usize = 5;

/// New photos that are named as unlike those of training, at most.
const STRANGERS: usize = 50;

/// What is computed from the pixels of a gallery.
#[derive(Debug)]
pub struct Survey {
    /// The images.
    pub gallery: Gallery,
    /// Features, where there is a backbone.
    pub table: Option<FeatureTable>,
    backbone: Option<Backbone>,
    photos: Vec<(Image, Photo)>,
    seed: u64,
    orientation: injerto_data::decode::Orientation,
}

impl Survey {
    /// Features and facts of the images of a gallery, by the backbone of an experiment, whose own images need not be these. `None` if it was
    /// stopped; what is done by then is kept.
    ///
    /// # Errors
    /// Images that cannot be read, weights that cannot be put on the device.
    pub fn with(
        prepared: &Prepared,
        gallery: Gallery,
        device: &burn_tensor::Device,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Self>, ExperimentError> {
        Self::seen_by(&prepared.model(prepared.config.seed, device)?, prepared, gallery, watch)
    }

    /// The same by a trained model of an experiment, whose features are those of its best epoch, fine-tuned layers included. `None` if it
    /// was stopped; what is done by then is kept.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn seen_by(
        model: &Model,
        prepared: &Prepared,
        gallery: Gallery,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Self>, ExperimentError> {
        let (pixels, cache) = (prepared.feature_pixels(), prepared.feature_cache());
        let mut measured: Vec<Measured<'_>> =
            gallery.sets().into_iter().map(|(dataset, part)| Measured::open(dataset, part, &pixels, &cache)).collect();
        let table = prepared.features_of(model, &gallery, watch, &mut |set, batch| measured[set].see(batch))?;
        let Some(table) = table else { return Ok(None) };
        let Some(photos) = self::measured(measured, &gallery.combinations(), watch)? else { return Ok(None) };
        let backbone = Backbone {
            name: prepared.config.backbone.plugin.clone(),
            weights: prepared.origin.clone(),
            image_size: Some(prepared.card.image_size()),
            features: table.features().width(),
        };
        let (seed, orientation) = (u64::from(prepared.config.seed), pixels.orientation);
        Ok(Some(Self { table: Some(table), backbone: Some(backbone), photos, seed, orientation, gallery }))
    }

    /// The facts of the images of a gallery alone, for which no backbone is needed. `None` if it was stopped.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn without(
        config: &Config,
        gallery: Gallery,
        cache: &Cache,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Self>, ExperimentError> {
        let data = &config.data;
        let pixels = LoaderOptions {
            interpolation: data.interpolation.unwrap_or_default(),
            crop_to_aspect_ratio: data.crop_to_aspect_ratio,
            orientation: data.exif_orientation,
            scaled_decoding: data.scaled_decoding,
            on_corrupt: data.on_corrupt,
            ..LoaderOptions::new(data.image_size.unwrap_or(photos::SIZE), data.batch_size)
        };
        let cache = CacheSettings {
            folder: config.cache.keep.then(|| cache.features()),
            memory: usize::MAX,
            precision: config.cache.precision,
        };
        let sets = gallery.sets();
        let measured = sets.into_iter().map(|(dataset, part)| Measured::open(dataset, part, &pixels, &cache)).collect();
        let Some(photos) = self::measured(measured, &gallery.combinations(), watch)? else { return Ok(None) };
        let (seed, orientation) = (u64::from(config.seed), pixels.orientation);
        Ok(Some(Self { table: None, backbone: None, photos, seed, orientation, gallery }))
    }

    /// Features that `injerto features` has computed, and the number of photos that have none or no label. No photo is opened, so that
    /// nothing is known of the files.
    ///
    /// # Errors
    /// Those of [`gathered::table`](crate::gathered::table).
    #[cfg(feature = "shards")]
    pub fn of_features(
        gathered: &injerto_shards::Gathered,
        seed: u64,
    ) -> Result<(Self, crate::gathered::Unused), ExperimentError> {
        let (table, unused) = crate::gathered::table(gathered)?;
        let folder = injerto_data::folder::Folder {
            train: crate::gathered::dataset(gathered)?.0,
            validation: None,
            test: None,
            inventory: injerto_data::folder::Inventory::default(),
        };
        let gallery = Gallery::given(folder);
        let backbone = gathered.about().map(|about| Backbone {
            name: about.name.clone(),
            weights: about.model.get(..12).unwrap_or(&about.model).to_owned(),
            image_size: about.image_size,
            features: table.features().width(),
        });
        let orientation = injerto_data::decode::Orientation::default();
        Ok((Self { gallery, table: Some(table), backbone, photos: Vec::new(), seed, orientation }, unused))
    }

    /// Asks everything that the images can answer, the quick questions first. A question that they cannot answer (too few images, one class,
    /// no features) is named in [`Inspection::unanswered`] with the reason.
    ///
    /// `watch` is told of each stage. The answers follow from the images and the seed alone.
    ///
    /// # Errors
    /// [`InsightError::Stopped`], as an [`ExperimentError`].
    pub fn inspect(&self, watch: injerto_insight::Watch<'_>) -> Result<Inspection, ExperimentError> {
        let began = Instant::now();
        let classes = &self.gallery.folder.train.classes;
        let several = self.gallery.folder.train.is_multi_label();
        let labelled = classes.len() > 1 && !several;
        let labels_of = self.gallery.combinations();
        let folds = Folds::new(FOLDS, self.seed);
        let mut answers = Answers::default();
        let photos: Vec<Photo> = self.photos.iter().map(|(_, photo)| photo.clone()).collect();
        let health = Health::of(&photos, labels_of.names().len())?;
        let measured = !photos.is_empty();
        if !measured {
            ["files", "shortcuts"].iter().for_each(|it| answers.none(it, "no photo was opened"));
        }
        let found = match labelled && measured {
            true => answers.ask("shortcuts", || shortcuts(&photos, classes, folds, watch))?,
            false => None,
        };
        let health =
            HealthCard::new(&health, found.unwrap_or_default(), &self.photos, labels_of.names(), &self.gallery.looked);
        let around = self.table.as_ref().map(|table| Neighbourhood::of(table, watch)).transpose()?;
        let known = self.table.as_ref().zip(around.as_ref());
        let leaks = match known {
            Some((table, around)) => {
                let found = leaks::find(table, around, Limits::default(), |row| self.picture(table, row), watch)?;
                found.iter().map(|leak| LeakFound::new(leak, table.images())).collect()
            }
            None => {
                let images = features::images(self.gallery.sets(), &labels_of);
                leaks::exact(&images).iter().map(|leak| LeakFound::new(leak, &images)).collect::<Vec<_>>()
            }
        };
        let (mut probe, mut suspects, mut more) = (None, Vec::new(), None);
        if let Some((table, around)) = known.filter(|_| labelled) {
            let validation =
                answers.ask("probe", || CrossValidation::run(table, folds, &Strengths::default(), watch))?;
            if let Some(validation) = validation {
                let found = answers.ask("labels", || labels::find(table, around, &validation.predictions))?;
                suspects = found.iter().flatten().map(|suspect| SuspectFound::new(suspect, table)).collect();
                let curve =
                    answers.ask("more_photos", || LearningCurve::measure(table, folds, validation.strength, watch))?;
                more = curve.map(|curve| MorePhotos::new(&curve));
                probe = Some(Probe::new(&validation, table));
            }
        }
        if self.table.is_none() {
            let reason = "there is no backbone whose weights are at hand";
            ["probe", "near copies", "labels", "more_photos"]
                .iter()
                .for_each(|question| answers.none(question, reason));
        } else if !labelled {
            let reason = match several {
                true => "an image may have several classes",
                false => "the images have no labels",
            };
            ["probe", "labels", "more_photos"].iter().for_each(|question| answers.none(question, reason));
        }
        let counts = |class: usize| self.gallery.sets().iter().map(|(set, _)| set.counts()[class]).sum();
        Ok(Inspection {
            images: self.table.as_ref().map_or(self.photos.len(), FeatureTable::len),
            classes: (0..)
                .zip(classes)
                .map(|(at, name)| ClassCount { name: name.clone(), images: counts(at) })
                .collect(),
            backbone: self.backbone.clone(),
            probe,
            leaks,
            labels: suspects,
            health,
            more_photos: more,
            drift: None,
            unanswered: answers.unanswered,
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    /// Whether the photos of this survey are like those that `known` was trained on, which the same backbone has seen. The threshold is the
    /// distance within which 95 % of the validation images lie; if there are none, every fifth training image is held out for it.
    ///
    /// # Errors
    /// Surveys without features, or by different backbones; the caller's wish to stop.
    pub fn drift(
        &self,
        known: &FeatureTable,
        watch: injerto_insight::Watch<'_>,
    ) -> Result<Option<Drift>, ExperimentError> {
        let Some(table) = &self.table else { return Ok(None) };
        let (mut training, mut held) = (known.part(Part::Training), known.part(Part::Validation));
        if held.is_empty() {
            (held, training) = training.into_iter().partition(|row| row % HELD_OUT == 0);
        }
        let rows = |rows: &[usize]| known.features().select(rows);
        let limit = Known::fit(&rows(&training), &rows(&held), KEEP, watch)?;
        let known = (known.images(), training.len() + held.len());
        Ok(Some(self.drift_by(table, &limit, known, watch)?))
    }

    /// The same by what a run has kept, for a survey [by its model](Survey::seen_by); nothing of the training images is computed again.
    /// `known` are the images that the run knew. `None` if the run kept no threshold, or the survey has no features.
    ///
    /// # Errors
    /// A survey by another model; the caller's wish to stop.
    pub fn drift_from(
        &self,
        knowledge: &Knowledge,
        known: &Gallery,
        watch: injerto_insight::Watch<'_>,
    ) -> Result<Option<Drift>, ExperimentError> {
        let Some((table, threshold)) = self.table.as_ref().zip(knowledge.threshold()) else { return Ok(None) };
        let limit = Known::restore(knowledge.features(), threshold.clone())?;
        let images = features::images(known.sets(), &known.combinations());
        Ok(Some(self.drift_by(table, &limit, (&images, images.len()), watch)?))
    }

    fn drift_by(
        &self,
        table: &FeatureTable,
        limit: &Known,
        (known, count): (&[Image], usize),
        watch: injerto_insight::Watch<'_>,
    ) -> Result<Drift, ExperimentError> {
        let drift = limit.drift(table.features(), watch)?;
        let mut strangers: Vec<Stranger> = (0..)
            .zip(limit.judge(table.features(), watch)?)
            .filter(|(_, standing)| standing.unknown)
            .map(|(row, standing)| Stranger { path: table.path(row).to_owned(), distance: standing.distance })
            .collect();
        strangers.sort_by(|a, b| b.distance.total_cmp(&a.distance).then_with(|| a.path.cmp(&b.path)));
        strangers.truncate(STRANGERS);
        let trained = seen(known, table.images());
        Ok(Drift { drift, known: count, trained, strangers })
    }

    /// The pixels of an image, for a comparison with another.
    fn picture(&self, table: &FeatureTable, row: usize) -> Option<Picture> {
        let path = table.path(row);
        if !path.is_file() {
            return None;
        }
        let image = decode(&injerto_data::read(path).ok()?, self.orientation).ok()?;
        Picture::new(image.width, image.height, &image.pixels).ok()
    }
}

/// Questions that could not be answered.
#[derive(Debug, Default)]
struct Answers {
    unanswered: Vec<Unanswered>,
}

impl Answers {
    /// The answer to a question, unless the images cannot give one.
    fn ask<T>(
        &mut self,
        question: &str,
        answer: impl FnOnce() -> injerto_insight::Result<T>,
    ) -> Result<Option<T>, ExperimentError> {
        match answer() {
            Ok(answer) => Ok(Some(answer)),
            Err(InsightError::Stopped) => Err(InsightError::Stopped.into()),
            Err(reason) => {
                self.none(question, &reason.to_string());
                Ok(None)
            }
        }
    }

    fn none(&mut self, question: &str, reason: &str) {
        self.unanswered.push(Unanswered { question: question.to_owned(), reason: reason.to_owned() });
    }
}
