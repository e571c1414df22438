//! Feeds a tail, either with kept features or with fresh batches that have passed through the prefix.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use injerto_data::augment::Mix;
use injerto_data::{Batch, Batches, Dataset, Label, Loader, Part};

use crate::boundary::Boundary;
use crate::cache::{CacheSettings, Features};
use crate::collective::Peers;
use crate::plan::{Kept, PhasePlan};
use crate::prefix::Prefix;
use crate::{Event, Observer, TrainError};

/// A batch for the tail.
pub(crate) struct Portion {
    /// Values of the boundary.
    pub(crate) boundary: Boundary,
    /// Positions in the dataset of the images of the batch, in all processes and whether they can be read or not.
    pub(crate) batch: Vec<usize>,
    /// Position in the dataset of each image that is this process's.
    pub(crate) images: Vec<usize>,
    /// What each image shows.
    pub(crate) labels: Vec<Label>,
    /// How the images were mixed, if they were.
    pub(crate) mix: Option<Mix>,
}

/// Cost of feeding so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Number of images that passed through the network.
    pub(crate) images: usize,
    /// Seconds spent in the prefix.
    pub(crate) prefix: f64,
}

impl Spent {
    /// Runs the prefix on a batch, and returns the values of the boundary.
    fn prefix(&mut self, prefix: &Prefix, batch: &Batch) -> Result<Boundary, TrainError> {
        let began = Instant::now();
        let boundary = prefix.run(batch)?;
        self.prefix += began.elapsed().as_secs_f64();
        self.images += batch.labels.len();
        Ok(boundary)
    }

    /// The same for a teacher, whose images do not count: they are those of the student.
    pub(crate) fn teacher(&mut self, prefix: &Prefix, batch: &Batch) -> Result<Boundary, TrainError> {
        let images = self.images;
        let boundary = self.prefix(prefix, batch);
        self.images = images;
        boundary
    }
}

/// The features that a plan keeps. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct KeptFeatures {
    /// The layers whose outputs are kept.
    boundary: Vec<usize>,
    pub(crate) training: Option<Arc<Features>>,
    pub(crate) validation: Option<Arc<Features>>,
}

impl KeptFeatures {
    /// Computes or finds the features that `plan` keeps; fewer if `stop` was set meanwhile.
    pub(crate) fn gather(
        plan: &PhasePlan,
        (train, validation): (&Loader, Option<&Loader>),
        prefix: &Prefix,
        settings: &CacheSettings,
        observer: &mut dyn Observer,
        (stop, peers): (&AtomicBool, Peers<'_>),
        spent: &mut Spent,
    ) -> Result<Self, TrainError> {
        let sets = [kept(Some(train), plan.keeps.training), kept(validation, plan.keeps.validation)];
        let total = sets.iter().flatten().map(|(loader, _)| loader.len()).sum();
        if !peers.is_alone() {
            share(&sets, prefix, settings, stop, spent, peers)?;
        }
        let (mut before, mut found) = (0, [None, None]);
        for (set, features) in sets.into_iter().zip(&mut found) {
            let Some((loader, views)) = set.filter(|_| !stop.load(Ordering::Relaxed)) else { continue };
            let mut compute = |batch: &Batch| spent.prefix(prefix, batch);
            let mut progress = |done: usize| {
                observer.observe(&Event::Prefix { done: before + done, total });
                !stop.load(Ordering::Relaxed)
            };
            *features = prefix.gather(loader, views, settings, &mut compute, &mut progress)?.map(Arc::new);
            before += loader.len();
        }
        let [training, validation] = found;
        Ok(Self { boundary: plan.split().boundary.clone(), training, validation })
    }

    /// Whether `plan` keeps the same features. Two phases with the same cut share their features, because the layers before the cut have
    /// not changed.
    pub(crate) fn are_of(&self, plan: &PhasePlan) -> bool {
        self.boundary == plan.split().boundary
    }
}

/// Computes this process's part of the features into the folder that all processes share, where there is one, and waits for the others:
/// then each of them finds all features there.
fn share(
    sets: &[Option<(&Loader, Option<usize>)>],
    prefix: &Prefix,
    settings: &CacheSettings,
    stop: &AtomicBool,
    spent: &mut Spent,
    peers: Peers<'_>,
) -> Result<(), TrainError> {
    let settings = CacheSettings { memory: 0, ..settings.clone() };
    for &(loader, views) in sets.iter().flatten() {
        // Views are drawn by the place of an image in the whole dataset.
        if views.is_none() && settings.folder.is_some() {
            let Dataset { classes, samples } = loader.dataset();
            let samples = samples[peers.part().of(samples.len())].to_vec();
            let part = Loader::new(Dataset { classes: classes.clone(), samples }, loader.options().clone());
            let mut compute = |batch: &Batch| spent.prefix(prefix, batch);
            prefix.gather(&part, None, &settings, &mut compute, &mut |_| !stop.load(Ordering::Relaxed))?;
        }
    }
    peers.barrier()
}

/// The images whose features are kept, and the number of random views per image.
fn kept(loader: Option<&Loader>, kept: Kept) -> Option<(&Loader, Option<usize>)> {
    match kept {
        Kept::Features { views, .. } => loader.map(|loader| (loader, views)),
        Kept::Nothing(_) => None,
    }
}

/// One pass over a set of images, batch by batch. Each training epoch has a new order; validation keeps the order of the images.
pub(crate) struct Feed<'a> {
    loader: &'a Loader,
    /// Images of all batches, and the position of the next batch.
    order: Vec<usize>,
    at: usize,
    /// What this process takes of each batch.
    part: Part,
    /// Training epoch; `None` for validation.
    epoch: Option<u64>,
    features: Option<&'a Features>,
    source: Source,
    /// Number of batches, if no image is left out.
    pub(crate) batches: usize,
    spent: Spent,
}

enum Source {
    /// Kept features.
    Kept,
    Fresh(Batches),
}

impl<'a> Feed<'a> {
    /// Starts a pass over the images of `loader`. `epoch` is the training epoch, counted from 0 over the whole run, or `None` for
    /// validation. Of each batch, `part` comes, also where it is empty.
    pub(crate) fn new(loader: &'a Loader, epoch: Option<u64>, features: Option<&'a Features>, part: Part) -> Self {
        let order = epoch.map_or_else(|| (0..loader.len()).collect(), |epoch| loader.order(epoch));
        let order = match features {
            Some(features) => features.usable(&order),
            None => order,
        };
        let batches = order.len().div_ceil(loader.batch_size());
        let source = match features.is_some_and(Features::are_kept) {
            true => Source::Kept,
            false => Source::Fresh(images_of(&loader.part(part), &order, epoch, features)),
        };
        Self { loader, order, at: 0, part, epoch, features, source, batches, spent: Spent::default() }
    }

    /// The loader of the images.
    pub(crate) fn loader(&self) -> &'a Loader {
        self.loader
    }

    /// Cost of the pass so far.
    pub(crate) fn spent(&self) -> Spent {
        self.spent
    }

    /// Returns the batch of these images, which is the next one unless features are kept; `None` if the next one has others.
    pub(crate) fn of(&mut self, images: &[usize], prefix: &Prefix) -> Result<Option<Portion>, TrainError> {
        match (&self.source, self.features) {
            (Source::Kept, Some(features)) => self.kept(features, images.to_vec(), images, prefix).map(Some),
            _ => Ok(self.next(prefix)?.filter(|portion| portion.images == images)),
        }
    }

    /// Returns the next batch, or `None` after the last one. Its images pass `prefix` unless their features are kept.
    pub(crate) fn next(&mut self, prefix: &Prefix) -> Result<Option<Portion>, TrainError> {
        while self.at < self.order.len() {
            let batch = self.order[self.at..self.order.len().min(self.at + self.loader.batch_size())].to_vec();
            self.at += batch.len();
            let portion = match (&mut self.source, self.features) {
                (Source::Kept, Some(features)) => {
                    let own = batch[self.part.of(batch.len())].to_vec();
                    self.kept(features, batch, &own, prefix)?
                }
                (Source::Fresh(batches), features) => {
                    let Some(found) = batches.next() else { return Ok(None) };
                    let found = found?;
                    let boundary = match found.labels.is_empty() {
                        true => Boundary::Host(Vec::new()),
                        false => self.spent.prefix(prefix, &found)?,
                    };
                    let boundary = match features {
                        Some(features) => features.round(boundary),
                        None => boundary,
                    };
                    let Batch { indices, labels, mix, .. } = found;
                    Portion { boundary, batch, images: indices, labels, mix }
                }
                (Source::Kept, None) => unreachable!("kept features are there"),
            };
            // Other processes may have images of a batch that has none here.
            if !portion.images.is_empty() || !self.part.is_whole() {
                return Ok(Some(portion));
            }
        }
        Ok(None)
    }

    /// The images `own` of a batch, from kept features.
    fn kept(
        &mut self,
        features: &Features,
        batch: Vec<usize>,
        own: &[usize],
        prefix: &Prefix,
    ) -> Result<Portion, TrainError> {
        let (boundary, images, labels) = match features.gather(own, self.epoch.unwrap_or(0)) {
            Ok((boundary, labels)) => (Boundary::Host(boundary), own.to_vec(), labels),
            // A segment that was valid when it was opened has been damaged or removed meanwhile.
            Err(error) => {
                tracing::warn!("{error}; the features of these images are computed again");
                let subset = if self.epoch.is_some() { "training" } else { "validation" };
                let batch = images_of(self.loader, own, self.epoch, self.features).next();
                let batch = batch.ok_or(TrainError::NoImages { subset })??;
                let boundary = self.spent.prefix(prefix, &batch)?;
                self.spent.images -= batch.labels.len();
                (features.round(boundary), batch.indices, batch.labels)
            }
        };
        self.spent.images += labels.len();
        Ok(Portion { boundary, batch, images, labels, mix: None })
    }
}

/// Batches of these images, changed as in this training epoch. If `features` keep a few views per image, they are changed as in the
/// view that belongs to the epoch.
fn images_of(loader: &Loader, order: &[usize], epoch: Option<u64>, features: Option<&Features>) -> Batches {
    match (epoch, features) {
        (Some(epoch), Some(features)) => loader.view(order, features.view(epoch)),
        (Some(epoch), None) => loader.augmented(order, epoch),
        (None, _) => loader.batches(order),
    }
}
