//! The probe of a run: what a logistic regression on the kept features reaches, before the first epoch.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use burn_tensor::Device;
use injerto_data::{Combinations, Dataset};
use injerto_insight::folds::Folds;
use injerto_insight::more::LearningCurve;
use injerto_insight::probe::{Linear, Probe};
use injerto_insight::stats::Estimate;
use injerto_insight::{FeatureTable, InsightError, Matrix, Part, Watch as Look};
use injerto_trainer::{Gathered, KeptRows, Model};

use crate::features::image;
use crate::inspect::MorePhotos;
use crate::questions::{RowShape, fitted};
use crate::summary::ProbeSummary;
use crate::{ExperimentError, Prepared};

/// Folds of the cross-validation that chooses the strength.
const FOLDS: usize = 5;
/// Images that are judged at a time.
const CHUNK: usize = 4096;

/// Number of images whose features are compared by [`alike`].
const MOST_ALIKE: usize = 32;

/// The rows of some images of a dataset as a table.
pub(crate) fn table(
    (dataset, labels): (&Dataset, &Combinations),
    rows: KeptRows<'_>,
    images: &[usize],
    shape: &RowShape,
    part: Part,
) -> Result<FeatureTable, ExperimentError> {
    let mut values = Vec::with_capacity(images.len() * shape.width());
    for images in images.chunks(CHUNK) {
        let block = rows.values(images)?.swap_remove(0);
        block.chunks_exact(shape.values).for_each(|image| values.extend(shape.row(image)));
    }
    let image = |&at: &usize| image(dataset, at, part, labels);
    let images = images.iter().map(image).collect();
    Ok(FeatureTable::new(Matrix::new(shape.width(), values)?, images, labels.names().to_vec())?)
}

/// A warning about features that are equal for the first training images, so that nothing can be learned from them; `None` if they
/// differ, or if the first phase keeps none.
pub(crate) fn alike(prepared: &Prepared, gathered: &Gathered) -> Result<Option<String>, ExperimentError> {
    let Some(rows) = gathered.training() else { return Ok(None) };
    let mut images = rows.images(prepared.train.samples.len());
    images.truncate(MOST_ALIKE);
    if images.len() < 2 {
        return Ok(None);
    }
    let are_equal = |block: &Vec<f32>| {
        let mut each = block.chunks_exact((block.len() / images.len()).max(1));
        let first = each.next();
        each.all(|row| Some(row) == first)
    };
    Ok(rows.values(&images)?.iter().all(are_equal).then(|| {
        format!(
            "the features of the first {} training images are equal, so that nothing can be learned from them: the weights of \
             the backbone are zeros or damaged (backbone.weights), or the images are equal",
            images.len()
        )
    }))
}

/// The training images that the probe is fitted to; `None` if there are none.
fn training(
    prepared: &Prepared,
    labels: &Combinations,
    shape: &RowShape,
    gathered: &Gathered,
) -> Result<Option<FeatureTable>, ExperimentError> {
    let Some(rows) = gathered.training() else { return Ok(None) };
    let usable = rows.images(prepared.train.samples.len());
    let most = fitted(usable.len(), prepared.train.classes.len());
    let taken: Vec<usize> = (0..most).map(|at| usable[at * usable.len() / most]).collect();
    Ok(Some(table((&prepared.train, labels), rows, &taken, shape, Part::Training)?))
}

/// How training images are held out in turn. Of fewer than two, nothing can be held out, which is an error when they are dealt.
fn folds(prepared: &Prepared, training: &FeatureTable) -> Folds {
    Folds::new(FOLDS.min(training.len()).max(2), u64::from(prepared.config.seed))
}

/// What more training images would bring, by a probe of this strength on growing parts of those that there are. `None` if it was stopped.
///
/// # Errors
/// [`ExperimentError::Insight`] if there are too few images.
pub(crate) fn more_photos(
    prepared: &Prepared,
    shape: &RowShape,
    gathered: &Gathered,
    strength: f64,
    stop: &AtomicBool,
) -> Result<Option<MorePhotos>, ExperimentError> {
    let labels = Combinations::of([&prepared.train]);
    let Some(training) = training(prepared, &labels, shape, gathered)? else { return Ok(None) };
    let folds = folds(prepared, &training);
    match LearningCurve::measure(&training, folds, strength, Look::none().stopped_by(stop)) {
        Ok(curve) => Ok(Some(MorePhotos::new(&curve))),
        Err(InsightError::Stopped) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Fits the probe to the training images and judges it by the validation images. `None` if it was stopped.
///
/// # Errors
/// [`ExperimentError::Insight`] if there are too few images or classes.
pub(crate) fn probe(
    prepared: &Prepared,
    shape: &RowShape,
    gathered: &Gathered,
    stop: &AtomicBool,
) -> Result<Option<(ProbeSummary, Probe)>, ExperimentError> {
    let began = Instant::now();
    let labels = Combinations::of([&prepared.train]);
    let Some(training) = training(prepared, &labels, shape, gathered)? else { return Ok(None) };
    let folds = folds(prepared, &training);
    let (probe, validation) = match Probe::choose(&training, folds, Look::none().stopped_by(stop)) {
        Err(InsightError::Stopped) => return Ok(None),
        found => found?,
    };
    let accuracy = match (&prepared.validation, gathered.validation()) {
        (Some(dataset), Some(rows)) => {
            let usable = rows.images(dataset.samples.len());
            let mut right = 0;
            for images in usable.chunks(CHUNK) {
                let predictions = probe.predict(&table((dataset, &labels), rows, images, shape, Part::Validation)?)?;
                right += predictions.right().into_iter().filter(|right| *right).count();
            }
            Estimate::share(right, usable.len())
        }
        _ => {
            let mean = validation.accuracy;
            Estimate { value: mean.mean, interval: mean.interval, n: mean.n }
        }
    };
    let Estimate { value, interval, n } = accuracy;
    let (seconds, strength) = (began.elapsed().as_secs_f64(), probe.strength());
    Ok(Some((ProbeSummary { accuracy: value, interval, n, images: training.len(), seconds, strength }, probe)))
}

/// The probe as the output layer of an experiment's network.
///
/// # Errors
/// [`ExperimentError::NoProbe`] if a class has no training images.
pub(crate) fn output_layer(prepared: &Prepared, probe: &Probe) -> Result<Linear, ExperimentError> {
    let units = prepared.config.head.units.unwrap_or(prepared.card.classes.len());
    let reason = || "a class has no training images, so that the probe does not know it".to_owned();
    probe.linear(units).ok_or_else(|| ExperimentError::NoProbe { reason: reason() })
}

/// Puts the probe into the output layer of a model.
///
/// # Errors
/// The weights cannot be put on the device.
pub(crate) fn start_from(model: &mut Model, layer: &Linear, device: &Device) -> Result<(), ExperimentError> {
    let graph = &model.card.graph;
    let mut weights = model.network.weights();
    for (id, values) in graph.parameters_of(&[graph.len() - 1]).zip([&layer.weights, &layer.bias]) {
        let name = graph.parameter_name(id);
        let shape = weights.get(&name).expect("an output layer has a kernel and a bias").shape.clone();
        weights.insert(name, shape, values.clone());
    }
    *model = Model { arithmetic: model.arithmetic, ..Model::new(model.card.clone(), &weights, device)? };
    Ok(())
}
