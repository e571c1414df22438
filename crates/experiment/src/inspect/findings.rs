//! Findings as data. Images are named by their paths, so that a finding can be shown without anything else; the names of the fields are
//! those of the JSON.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use injerto_data::look::Looked;
use injerto_files::to_text;
use injerto_insight::health::{Health, Photo, Range, Shortcut};
use injerto_insight::labels::Suspect;
use injerto_insight::leaks::{Across, Kind, Leak};
use injerto_insight::more::{LearningCurve, Point, PowerLaw};
use injerto_insight::probe::CrossValidation;
use injerto_insight::stats::{Baselines, Estimate};
use injerto_insight::{FeatureTable, Image, unknown};
use serde::{Deserialize, Serialize, Serializer};

/// Everything that was found about images before any training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Images that were looked at; files that are no readable images are not among them.
    pub images: usize,
    /// The classes, with their images.
    pub classes: Vec<ClassCount>,
    /// The backbone that made the features; `None` if there was none.
    pub backbone: Option<Backbone>,
    /// How well a linear probe tells the classes apart.
    pub probe: Option<Probe>,
    /// Photos that are there more than once, the worst first.
    pub leaks: Vec<LeakFound>,
    /// Labels that look wrong, the surest first.
    pub labels: Vec<SuspectFound>,
    /// What is odd about the files.
    pub health: HealthCard,
    /// Whether more photos would help.
    pub more_photos: Option<MorePhotos>,
    /// Whether the photos are like those of a training; `None` if this was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Questions without an answer.
    pub unanswered: Vec<Unanswered>,
    /// Time that the questions took, without reading images and computing features.
    pub seconds: f64,
}

/// A class and the number of its images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Name.
    pub name: String,
    /// Images of all parts.
    pub images: usize,
}

/// The backbone that made the features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backbone {
    /// Name of the backbone.
    pub name: String,
    /// Its weights, in words.
    pub weights: String,
    /// Height and width of the images that it saw; `None` where its features do not say so.
    pub image_size: Option<[usize; 2]>,
    /// Features per image.
    pub features: usize,
}

/// What a logistic regression on the features reaches on images that it has not seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// Share of images whose labels it predicts.
    pub accuracy: f64,
    /// Interval of 95 % for the accuracy.
    pub interval: [f64; 2],
    /// Images.
    pub n: usize,
    /// Folds of the cross-validation.
    pub folds: usize,
    /// What guessing reaches.
    pub baselines: Baselines,
}

impl Probe {
    pub(super) fn new(found: &CrossValidation, table: &FeatureTable) -> Self {
        let accuracy = &found.accuracy;
        let baselines = Baselines::of(&table.counts());
        let (interval, n) = (accuracy.interval, accuracy.n);
        Self { accuracy: accuracy.mean, interval, n, folds: found.folds.len(), baselines }
    }
}

/// Two images that are one picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeakFound {
    /// The one.
    #[serde(serialize_with = "text")]
    pub a: PathBuf,
    /// The other.
    #[serde(serialize_with = "text")]
    pub b: PathBuf,
    /// How sure it is.
    pub kind: Kind,
    /// Cosine of their features.
    pub similarity: f32,
    /// What separates the two images: the split, or else their classes.
    pub across: Across,
    /// Whether one is the other mirrored.
    pub mirrored: bool,
}

impl LeakFound {
    pub(super) fn new(leak: &Leak, images: &[Image]) -> Self {
        let path = |row: usize| images[row].path.clone();
        let Leak { a, b, kind, similarity, mirrored, .. } = *leak;
        Self { a: path(a), b: path(b), kind, similarity, across: leak.across(), mirrored }
    }
}

/// A label that looks wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuspectFound {
    /// The image.
    #[serde(serialize_with = "text")]
    pub path: PathBuf,
    /// Its class.
    pub label: String,
    /// The class that it seems to be of.
    pub suggested: String,
    /// Probability of the suggested class.
    pub confidence: f64,
    /// Probability of the label.
    pub self_confidence: f64,
}

impl SuspectFound {
    pub(crate) fn new(suspect: &Suspect, table: &FeatureTable) -> Self {
        let class = |class: u32| table.classes()[class as usize].clone();
        Self {
            path: table.path(suspect.row).to_owned(),
            label: class(suspect.label),
            suggested: class(suspect.suggested),
            confidence: suspect.confidence,
            self_confidence: suspect.self_confidence,
        }
    }
}

/// A file that is no readable image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The file.
    #[serde(serialize_with = "text")]
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What is odd about the files; see [`Health`]. Lists are ranked, the oddest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthCard {
    /// Photos that were measured.
    pub n: usize,
    /// Photos of the largest class per photo of the smallest.
    pub imbalance: Option<f64>,
    /// Name of the largest class.
    pub largest_class: String,
    /// Widths in pixels.
    pub width: Option<Range>,
    /// Heights in pixels.
    pub height: Option<Range>,
    /// Width divided by height.
    pub aspect: Option<Range>,
    /// Brightness, 0 to 255.
    pub brightness: Option<Range>,
    /// Photos per format.
    pub formats: std::collections::BTreeMap<String, usize>,
    /// Photos that EXIF data turn.
    #[serde(serialize_with = "texts")]
    pub turned: Vec<PathBuf>,
    /// Photos that are nearly black.
    #[serde(serialize_with = "texts")]
    pub dark: Vec<PathBuf>,
    /// Photos that are nearly white.
    #[serde(serialize_with = "texts")]
    pub bright: Vec<PathBuf>,
    /// Photos in which nothing is sharp, beside the others.
    #[serde(serialize_with = "texts")]
    pub blurred: Vec<PathBuf>,
    /// Grey photos where most are coloured.
    #[serde(serialize_with = "texts")]
    pub grey: Vec<PathBuf>,
    /// Files that are no readable images.
    pub unreadable: Vec<Unreadable>,
    /// How well light, size, file, sharpness or colour alone predict the class, the best first.
    pub shortcuts: Vec<Shortcut>,
}

impl HealthCard {
    pub(super) fn new(
        health: &Health,
        shortcuts: Vec<Shortcut>,
        photos: &[(Image, Photo)],
        classes: &[String],
        looked: &Looked,
    ) -> Self {
        let paths = |rows: &[usize]| rows.iter().map(|&row| photos[row].0.path.clone()).collect();
        let unreadable = looked
            .unreadable
            .iter()
            .map(|skipped| Unreadable { path: crate::features::name(&skipped.origin), reason: skipped.reason.clone() });
        Self {
            n: health.n,
            imbalance: health.imbalance,
            largest_class: classes.get(health.baselines.majority_class).cloned().unwrap_or_default(),
            width: health.width,
            height: health.height,
            aspect: health.aspect,
            brightness: health.brightness,
            formats: health.formats.clone(),
            turned: paths(&health.turned),
            dark: paths(&health.dark),
            bright: paths(&health.bright),
            blurred: paths(&health.blurred),
            grey: paths(&health.grey),
            unreadable: unreadable.collect(),
            shortcuts,
        }
    }
}

/// Accuracy of a probe over the number of training images, and how it is likely to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MorePhotos {
    /// What was measured, from few images to many.
    pub points: Vec<Point>,
    /// Fitted to the points.
    pub law: PowerLaw,
    /// Training images of the last point.
    pub images: f64,
    /// Accuracy to be expected with twice as many.
    pub doubled: Estimate,
    /// What the doubled photos would gain over the last point's law.
    pub gain: f64,
}

impl MorePhotos {
    pub(crate) fn new(curve: &LearningCurve) -> Self {
        let images = curve.points.last().map_or(0.0, |point| point.images);
        let doubled = curve.foretell(2.0 * images);
        let gain = doubled.value - curve.foretell(images).value;
        Self { points: curve.points.clone(), law: curve.law, images, doubled, gain }
    }
}

/// Whether photos are like those of a training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// How many are unknown, and how far they are.
    #[serde(flatten)]
    pub drift: unknown::Drift,
    /// Images of the training, validation included.
    pub known: usize,
    /// New photos that are among the training's images, byte by byte: they say nothing of drift.
    pub trained: usize,
    /// The new photos that are unknown, the farthest first; fifty at most.
    pub strangers: Vec<Stranger>,
}

/// A photo that is unlike those of training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stranger {
    /// The photo.
    #[serde(serialize_with = "text")]
    pub path: PathBuf,
    /// Mean cosine distance to the nearest training images.
    pub distance: f64,
}

/// A question that the images cannot answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The question.
    pub question: String,
    /// Why there is no answer.
    pub reason: String,
}

/// How many images of `new` are among those of `known`, by content.
pub(super) fn seen(known: &[Image], new: &[Image]) -> usize {
    let contents: HashSet<_> = known.iter().filter_map(|image| image.content).collect();
    new.iter().filter(|image| image.content.is_some_and(|content| contents.contains(&content))).count()
}

fn text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_text(path.as_os_str()))
}

fn texts<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| to_text(path.as_os_str()).into_owned()))
}
