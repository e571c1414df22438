use std::path::{Path, PathBuf};
use std::time::Instant;

use burn_tensor::Device;
use injerto_backbones::weights::Precision;
use injerto_data::{Combinations, Dataset, Loader, LoaderOptions, Origin, Sample};
use injerto_files::to_text;
use injerto_insight::neighbours::Neighbours;
use injerto_insight::predictions::Predictions;
use injerto_insight::unknown::Known;
use injerto_insight::{InsightError, Matrix};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::plan::{Keeps, Kept};
use injerto_trainer::{Checkpoints, Event, Extracted, Fitted, Model, PhasePlan, Watch};

use super::{Boundary, Calibration, Facts, Knowledge};
use crate::reading::pixels;
use crate::source::root;
use crate::summary::KnowledgeSummary;
use crate::{ExperimentError, Prepared, RunFolder};

/// Upper limit of the training images that are kept. Of more, this many are taken, evenly per class.
const MOST: usize = 20_000;
/// Upper limit of their features on the disk, in bytes.
const BYTES: usize = 64 << 20;
/// Upper limit of the validation images that threshold and temperature rest on.
const JUDGES: usize = 5_000;
/// Upper limit of the values that are held while features are computed, in bytes. A head that flattens has very many.
const WORKING: usize = 512 << 20;
/// Images of a class that are kept in any case, if it has so many.
const PER_CLASS: usize = 10;
/// Share of the validation images that stay known.
const KEEP: f64 = 0.95;

/// Finds out what is kept with the model of the best epoch, and writes [`Calibration::FILE`] and then [`Knowledge::FILE`] into
/// the run's folder. Returns `None` if it was stopped, in which case neither file exists.
///
/// Features of a backbone that did not train are those that training has kept. Those of a fine-tuned one are computed here,
/// once per image.
pub(crate) fn learn(
    prepared: &Prepared,
    fitted: &Fitted,
    device: &Device,
    folder: &RunFolder,
    watch: &mut Watch<'_>,
) -> Result<Option<KnowledgeSummary>, ExperimentError> {
    let began = Instant::now();
    let best = folder.path().join(Checkpoints::BEST);
    let (model, mut checksum) = Model::open(&best, device)?;
    if checksum.is_none() {
        // An old version has written it.
        model.save(&best, Precision::F32)?;
        checksum = Model::open(&best, device)?.1;
    }
    // The features are those of the training, which may be kept.
    let model = Model { arithmetic: prepared.arithmetic(), ..model };
    let checkpoint = checksum.expect("a file that was saved has a checksum");
    let boundary = Boundary::of(&model.card);
    let mut look = Look { prepared, model: &model, boundary: &boundary, fitted, watch };
    let Some((training, _)) = look.at(&prepared.train, MOST.min(BYTES / 2 / boundary.width), |keeps| keeps.training)?
    else {
        return Ok(None);
    };
    let validation = match &prepared.validation {
        Some(dataset) => match look.at(dataset, JUDGES, |keeps| keeps.validation)? {
            Some(seen) => Some(seen),
            None => return Ok(None),
        },
        None => None,
    };
    // The features are judged as the file stores them, in 16 bits.
    let rounded = training.features.unit().values().iter().map(|&x| half::f16::from_f32(x).to_f32()).collect();
    let features = Matrix::new(boundary.width, rounded)?;
    let (mut threshold, mut calibration) = (None, None);
    if let Some((seen, values)) = &validation {
        let stop = injerto_insight::Watch::none().stopped_by(watch.stop);
        threshold = match Known::fit(&features, &seen.features, KEEP, stop) {
            Ok(known) => Some(known.threshold().clone()),
            Err(InsightError::Stopped) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A temperature belongs to probabilities that exclude each other, so where an image may have several classes there is none.
        let labels: Option<Vec<u32>> = seen.samples.iter().map(|sample| sample.label.class()).collect();
        if let Some(labels) = labels {
            let probabilities = model.classify(boundary.layer, values, prepared.config.uses_kernels())?;
            let probabilities = probabilities.into_iter().map(f64::from).collect();
            let predictions = Predictions::new(model.card.classes.len(), labels, probabilities)?;
            calibration = Some(Calibration::of(&predictions, &model.card.classes)?);
        }
    }
    let root = root(&prepared.config).map(Path::to_owned);
    let facts = Facts {
        checkpoint,
        layer: model.card.graph.nodes()[boundary.layer].name().to_owned(),
        classes: model.card.classes.clone(),
        training_images: prepared.train.samples.len(),
        paths: training.samples.iter().map(|sample| below(root.as_ref(), sample)).collect(),
        labels: training.samples.iter().map(|sample| sample.label.clone()).collect(),
        threshold,
        temperature: calibration.as_ref().and_then(Calibration::applied_temperature),
    };
    let knowledge = Knowledge { facts, images: Neighbours::new(&features) };
    if let Some(calibration) = &calibration {
        folder.write(Calibration::FILE, &crate::json::pretty(calibration))?;
    }
    knowledge.save(&folder.path().join(Knowledge::FILE))?;
    let (images, training_images) = (knowledge.len(), knowledge.training_images());
    watch.observer.observe(&Event::KnowledgeKept { images, seconds: began.elapsed().as_secs_f64() });
    Ok(Some(KnowledgeSummary {
        images,
        training_images,
        validation_images: validation.map_or(0, |(seen, _)| seen.samples.len()),
        temperature: calibration.as_ref().and_then(|calibration| calibration.temperature),
        calibrated: calibration.as_ref().is_some_and(|calibration| calibration.applied),
        alone: calibration.as_ref().and_then(Calibration::sure),
    }))
}

/// Path of an image below the folder of all images, or what it is.
fn below(root: Option<&PathBuf>, sample: &Sample) -> String {
    match (&sample.origin, root) {
        (Origin::File(path), Some(root)) => to_text(path.strip_prefix(root).unwrap_or(path).as_os_str()).into_owned(),
        (origin, _) => origin.name().into_owned(),
    }
}

/// Images as the network sees them.
struct Seen {
    samples: Vec<Sample>,
    features: Matrix,
}

/// The network of the best epoch, looking at images.
struct Look<'a, 'w> {
    prepared: &'a Prepared,
    model: &'a Model,
    boundary: &'a Boundary,
    fitted: &'a Fitted,
    watch: &'a mut Watch<'w>,
}

impl<'a> Look<'a, '_> {
    /// At most `limit` images of a dataset, evenly per class, with their features and the outputs of the boundary; `None` if it
    /// was stopped. `kept` says which features of the dataset a phase has kept.
    fn at(
        &mut self,
        dataset: &Dataset,
        limit: usize,
        kept: fn(&Keeps) -> Kept,
    ) -> Result<Option<(Seen, Vec<f32>)>, ExperimentError> {
        let (prepared, model, boundary) = (self.prepared, self.model, self.boundary);
        let limit = limit.min(WORKING / size_of::<f32>() / boundary.values).max(1);
        let kinds = Combinations::of([dataset]);
        let labels: Vec<u32> = dataset.samples.iter().map(|sample| kinds.place(&sample.label)).collect();
        let chosen = evenly(&labels, kinds.names().len(), limit);
        let samples: Vec<Sample> = chosen.into_iter().map(|at| dataset.samples[at].clone()).collect();
        let config = &prepared.config;
        let options =
            LoaderOptions { on_corrupt: config.data.on_corrupt, ..pixels(&model.card, config.data.batch_size) };
        let loader = Loader::new(Dataset { classes: dataset.classes.clone(), samples }, options);
        let cache = prepared.cache();
        let (tuned, kernels) = (self.is_tuned(), config.uses_kernels());
        let plain = |plan: &&PhasePlan| matches!(kept(&plan.keeps), Kept::Features { views: None, .. });
        let found = match self.best_phase().filter(plain) {
            // The layers before the cut have been computed for training.
            Some(plan) if tuned && kernels && cache.folder.is_some() => {
                model.extract_from(plan.split(), boundary.layer, &loader, &cache, self.watch)?
            }
            _ => {
                // Features of a network that exists once are of no use to other runs.
                let folder = cache.folder.clone().filter(|_| !tuned);
                let cache = CacheSettings { folder, memory: usize::MAX, ..cache };
                model.extract(boundary.layer, &loader, &cache, kernels, self.watch)?
            }
        };
        let Some(Extracted { images, values }) = found else { return Ok(None) };
        let samples = images.into_iter().map(|at| loader.dataset().samples[at].clone()).collect();
        Ok(Some((Seen { samples, features: boundary.features(&values)? }, values)))
    }

    /// The phase of the best epoch.
    fn best_phase(&self) -> Option<&'a PhasePlan> {
        let record = self.fitted.history.get(self.fitted.best.epoch.checked_sub(1)?)?;
        self.prepared.plan.phases.iter().find(|plan| plan.phase.name == record.phase)
    }

    /// Whether a layer of the backbone had trained by the end of the best epoch.
    fn is_tuned(&self) -> bool {
        let best = self.best_phase().map(|plan| &plan.phase.name);
        let phases = &self.prepared.plan.phases;
        let until_best =
            phases.iter().position(|plan| Some(&plan.phase.name) == best).map_or(phases.len(), |at| at + 1);
        let mut layers =
            phases[..until_best].iter().flat_map(|plan| plan.layers.iter().take(self.model.card.backbone_layers));
        layers.any(|layer| layer.trains)
    }
}

/// Positions of at most about `limit` images, in order: of each class the same share, evenly spaced over its images, and at
/// least [`PER_CLASS`] where it has so many.
fn evenly(labels: &[u32], classes: usize, limit: usize) -> Vec<usize> {
    if labels.len() <= limit {
        return (0..labels.len()).collect();
    }
    let mut of_class = vec![Vec::new(); classes];
    labels.iter().enumerate().for_each(|(at, &label)| of_class[label as usize].push(at));
    let share = |count: usize| (count * limit / labels.len()).max(PER_CLASS.min(limit)).min(count);
    let spaced = |own: &Vec<usize>| -> Vec<usize> {
        let taken = share(own.len());
        (0..taken).map(|at| own[at * own.len() / taken]).collect()
    };
    let mut chosen: Vec<usize> = of_class.iter().flat_map(spaced).collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_images_as_large_a_share_is_kept_of_each_class() {
        let labels: Vec<u32> = (0..10_000).map(|at| u32::from(at % 4 == 0) + u32::from(at % 1000 == 0)).collect();
        let count = |chosen: &[usize], class: u32| chosen.iter().filter(|at| labels[**at] == class).count();
        assert_eq!(evenly(&labels, 3, 10_000), (0..10_000).collect::<Vec<_>>());
        let chosen = evenly(&labels, 3, 1000);
        assert_eq!([0, 1, 2].map(|class| count(&chosen, class)), [750, 249, 10], "all ten of the rare class");
        assert!(chosen.is_sorted() && chosen.last().is_some_and(|last| *last > 9900), "from all over the class");
    }
}
