//! The training loop: phases, epochs, batches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Tensor, TensorData};
use injerto_data::augment::Mix;
use injerto_data::{Batch, Batches, Loader, Skipped};
use injerto_graph::{FreezePlan, Split};
use injerto_losses::sample_weights;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::cache::{CacheSettings, Features, Space};
use crate::callbacks::Callbacks;
use crate::engine::{Engine, Step};
use crate::history::{Best, EpochRecord};
use crate::host::{put, swap_averages, tail_weights};
use crate::metrics::{Accumulator, Predictions, Report};
use crate::observer::{Event, Observer};
use crate::optimizer::{Optimizer, OptimizerConfig, Pace};
use crate::plan::{Kept, PhasePlan};
use crate::schedule::{Course, Schedule};
use crate::{Checkpoints, Model, Progress, TrainError};

/// A stretch of training in which the same layers train with the same optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Shown in progress, history and curves.
    pub name: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// Which layers of the whole network train.
    pub plan: FreezePlan,
    /// A fresh optimiser for each phase, as Keras makes one at each `compile`.
    pub optimizer: OptimizerConfig,
    /// What batch normalisations that train do with their statistics.
    pub batch_norm: BatchNorm,
    /// How the optimiser's learning rate moves from step to step.
    #[serde(default)]
    pub schedule: Schedule,
    /// What watches the phase and steps in.
    #[serde(default)]
    pub callbacks: Callbacks,
    /// What the learning rate is multiplied by, for each layer of the whole network; empty: by 1 everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub multipliers: Vec<f64>,
}

impl Phase {
    /// A phase without anything special: frozen statistics, constant learning rate, no callbacks.
    pub fn new(name: impl Into<String>, epochs: usize, plan: FreezePlan, optimizer: OptimizerConfig) -> Self {
        Self {
            name: name.into(),
            epochs,
            plan,
            optimizer,
            batch_norm: BatchNorm::Frozen,
            schedule: Schedule::default(),
            callbacks: Callbacks::default(),
            multipliers: Vec::new(),
        }
    }
}

/// What a batch normalisation that trains does with its moving statistics. A frozen one always uses them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// Uses them as they are, while gamma and beta train: Keras's `base_model(x, training=False)`.
    #[default]
    Frozen,
    /// Normalises by the batch and moves them, as training from scratch must.
    Update,
}

/// How to train, beside what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of dropout's masks; the order of the images is the loader's affair.
    pub seed: u64,
    /// What the best checkpoint is judged by.
    pub best: Best,
    /// What the loss of a training image of each class is multiplied by; `None`: by 1. The mean is still over the batch.
    pub class_weights: Option<Vec<f32>>,
    /// Whether and how features of the frozen prefix are kept.
    pub cache: CacheSettings,
    /// Compute with the project's kernels instead of Burn's operators; for networks on the CPU.
    pub kernels: bool,
}

/// Where the seconds went.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Wall-clock time of the whole.
    pub total: f64,
    /// Reading, decoding and resizing, added over all threads; it overlaps with the rest.
    pub decode: f64,
    /// The frozen prefix.
    pub prefix: f64,
    /// Training steps.
    pub train: f64,
    /// Validation.
    pub validate: f64,
}

impl Seconds {
    /// These and those.
    fn plus(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            decode: self.decode + other.decode,
            prefix: self.prefix + other.prefix,
            train: self.train + other.train,
            validate: self.validate + other.validate,
        }
    }
}

/// What training brought, with all that came before a resume.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// One record an epoch.
    pub history: Vec<EpochRecord>,
    /// The best epoch.
    pub best: Best,
    /// Where the seconds went.
    pub seconds: Seconds,
    /// Images that went through the network, each counted once a pass.
    pub images: usize,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Files that were left out, fit to be printed, with the reason.
    pub skipped: Vec<(String, String)>,
    /// What the network of the best epoch said of the validation images; `None` without any.
    pub report: Option<Report>,
}

/// Whether all that a run watches is there to be watched.
///
/// # Errors
/// A figure of validation images where there are none.
pub fn check_monitors(phases: &[Phase], best: &Best, validates: bool) -> Result<(), TrainError> {
    let mut monitors = phases.iter().flat_map(|phase| phase.callbacks.monitors()).chain([best.monitor]);
    match monitors.find(|monitor| monitor.needs_validation() && !validates) {
        Some(monitor) => Err(TrainError::NothingToMonitor { monitor: monitor.name().to_owned() }),
        None => Ok(()),
    }
}

/// Whether every phase can be compiled, before the first of them trains.
///
/// # Errors
/// A network that the kernels cannot compile.
pub fn check_compiles(model: &Model, plans: &[PhasePlan], kernels: bool) -> Result<(), TrainError> {
    for plan in plans {
        Engine::new(kernels, model, plan.split(), &|layer| plan.trains(layer), &plan.updates_statistics())?;
    }
    Ok(())
}

/// A training that has not begun.
pub struct Fit<'a> {
    /// Images to learn from.
    pub train: &'a Loader,
    /// Images to judge by after each epoch.
    pub validation: Option<&'a Loader>,
    /// One after the other, made for this model and these images.
    pub plans: &'a [PhasePlan],
    /// How.
    pub settings: &'a Settings,
    /// Where each epoch's files go; `None` keeps nothing.
    pub checkpoints: Option<&'a Checkpoints>,
    /// Who is told.
    pub observer: &'a mut dyn Observer,
    /// Set from outside, it ends the training after the current batch.
    pub stop: &'a AtomicBool,
}

impl Fit<'_> {
    /// Trains `model` through all phases; at the end it holds the weights of the last epoch (the best ones are in the
    /// checkpoint).
    ///
    /// A run that was stopped or killed goes on from the `progress` that [`Checkpoints::resume`] gives, with the same
    /// numbers as if it had never stopped.
    ///
    /// # Errors
    /// Images, weights or loss that do not fit; divergence; files that cannot be written.
    pub fn run(self, model: &mut Model, progress: Option<Progress>) -> Result<Fitted, TrainError> {
        let Self { train, validation, plans, settings, checkpoints, observer, stop } = self;
        let phases: Vec<Phase> = plans.iter().map(|plan| plan.phase.clone()).collect();
        check_monitors(&phases, &settings.best, validation.is_some())?;
        let began = Instant::now();
        let mut run = Run {
            model,
            train,
            validation,
            settings,
            observer,
            stop,
            seconds: Seconds::default(),
            images: 0,
            predictions: None,
        };
        let mut progress = progress.unwrap_or_else(|| Progress::new(settings.best.clone()));
        let mut reopened = progress.go_on_with(&phases)?;
        let (seconds_before, images_before) = (progress.seconds, progress.images);
        let spent = |run: &Run<'_>| {
            let decode = train.decode_time() + validation.map_or(Duration::ZERO, Loader::decode_time);
            let (total, decode) = (began.elapsed().as_secs_f64(), decode.as_secs_f64());
            seconds_before.plus(Seconds { total, decode, ..run.seconds })
        };
        let mut features: Option<Cached> = None;
        while progress.phases_done < plans.len() && !run.stopped() {
            let plan = &plans[progress.phases_done];
            let (phase, split) = (&plan.phase, plan.split());
            run.announce(plan, (progress.phases_done, plans.len()));
            // The state belongs to a phase that had begun; the next begins afresh.
            let state = progress.optimizer.take().filter(|_| progress.epochs_done > 0);
            let mut optimizer = Optimizer::resume(phase.optimizer.clone(), state.unwrap_or_default());
            if std::mem::take(&mut reopened) {
                // The end of the phase is undone: the weights to go back to, and the averages in place of the weights.
                if let Some(left) = progress.left.take() {
                    progress.snapshot = Some(tail_weights(run.model, split));
                    put(run.model, &left)?;
                }
                swap_averages(&mut run.model.network, &mut optimizer);
            }
            let moving = plan.updates_statistics();
            let mut engine = Engine::new(settings.kernels, run.model, split, &|layer| plan.trains(layer), &moving)?;
            if features.as_ref().is_none_or(|cached| cached.crossing != split.crossing) {
                // Two phases with the same cut share their features: the layers before it have not changed.
                drop(features.take());
                features = Some(run.cache(plan, &engine)?);
            }
            let here = progress.phases_done;
            while progress.phases_done == here {
                let begun = Begun { plan, split, moving: &moving, epoch: progress.history.len() };
                let learning_rate = progress.callbacks.learning_rate().unwrap_or(phase.optimizer.learning_rate());
                let state = (&mut engine, &mut optimizer);
                let Some(record) = run.epoch(begun, learning_rate, features.as_ref(), state)? else { break };
                let best = progress.best.improve(&record);
                if best {
                    let said = run.predictions.take();
                    let report = said.and_then(|said| Report::new(&said, &run.model.card.classes));
                    progress.report = report.map(|report| Report { loss: record.val_loss, ..report });
                }
                let (memory, at) = (&mut progress.callbacks, progress.epochs_done);
                let decision = phase.callbacks.epoch_ended(memory, at, &record, phase.optimizer.learning_rate());
                progress.history.push(record.clone());
                if decision.snapshot {
                    progress.snapshot = Some(tail_weights(run.model, split));
                }
                if let Some(checkpoints) = checkpoints {
                    checkpoints.write_epoch(run.model, &progress, best)?;
                }
                let over = decision.stop || progress.epochs_done + 1 >= phase.epochs;
                progress.left = None;
                match progress.snapshot.take_if(|_| over) {
                    Some(weights) => {
                        progress.left = Some(tail_weights(run.model, split));
                        put(run.model, &weights)?;
                    }
                    // What was judged were the averages: they stay at the end, and the weights go on before.
                    None if !over => drop(swap_averages(&mut run.model.network, &mut optimizer)),
                    None => {}
                }
                progress.turn(over, decision.stop);
                progress.seconds = spent(&run);
                progress.images = images_before + run.images;
                take_skipped(&mut progress.skipped, train, validation);
                if let Some(checkpoints) = checkpoints {
                    checkpoints.write_last(run.model, &progress, &mut optimizer)?;
                }
                run.observer.observe(&Event::EpochEnded { record: &record, best });
                if let Some(learning_rate) = progress.callbacks.learning_rate().filter(|_| decision.reduced) {
                    run.observer.observe(&Event::RateReduced { epoch: record.epoch, learning_rate });
                }
                if decision.stop {
                    run.observer.observe(&Event::StoppedEarly { epoch: record.epoch, phase: &phase.name });
                }
            }
        }
        take_skipped(&mut progress.skipped, train, validation);
        let (seconds, images) = (spent(&run), images_before + run.images);
        let interrupted = progress.phases_done < plans.len();
        let Progress { history, best, report, skipped, .. } = progress;
        Ok(Fitted { history, best, seconds, images, interrupted, skipped, report })
    }
}

/// Adds the files that the loaders have left out to those that are known.
fn take_skipped(known: &mut Vec<(String, String)>, train: &Loader, validation: Option<&Loader>) {
    let found = train.skipped().into_iter().chain(validation.iter().flat_map(|loader| loader.skipped()));
    for Skipped { path, reason } in found {
        let entry = (injerto_files::to_text(path.as_os_str()).into_owned(), reason);
        if !known.contains(&entry) {
            known.push(entry);
        }
    }
}

/// The images whose features are kept, and how many random views of each.
fn kept(loader: Option<&Loader>, kept: Kept) -> Option<(&Loader, Option<usize>)> {
    match kept {
        Kept::Features { views, .. } => loader.map(|loader| (loader, views)),
        Kept::Nothing(_) => None,
    }
}

/// Features of the sets that are looked at unchanged more than once.
struct Cached {
    crossing: Vec<usize>,
    train: Option<Features>,
    validation: Option<Features>,
}

/// A phase, and the epoch of the whole run that begins in it, from 0.
#[derive(Clone, Copy)]
struct Begun<'a> {
    plan: &'a PhasePlan,
    split: &'a Split,
    /// Batch normalisations that move their statistics.
    moving: &'a [usize],
    epoch: usize,
}

/// Images to go over: in a new order each training epoch, changed by augmentation; in their own order to validate.
#[derive(Clone, Copy)]
struct Set<'a> {
    loader: &'a Loader,
    /// `None` to validate.
    epoch: Option<u64>,
    features: Option<&'a Features>,
}

/// What a batch is meant to be.
#[derive(Clone, Copy)]
struct Targets<'a> {
    labels: &'a [u32],
    mix: Option<&'a Mix>,
}

/// What the steps of an epoch share.
struct Pass<'a> {
    begun: Begun<'a>,
    random: ChaCha8Rng,
    optimizer: &'a mut Optimizer,
    /// What the schedule starts from.
    learning_rate: f64,
    /// Of the last step.
    pace: Pace,
    running: Accumulator,
    /// Steps.
    done: usize,
}

/// One run's borrowed parts and counters.
struct Run<'a> {
    model: &'a mut Model,
    train: &'a Loader,
    validation: Option<&'a Loader>,
    settings: &'a Settings,
    observer: &'a mut dyn Observer,
    stop: &'a AtomicBool,
    seconds: Seconds,
    images: usize,
    /// Of the last validation.
    predictions: Option<Predictions>,
}

impl Run<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn announce(&mut self, plan: &PhasePlan, place: (usize, usize)) {
        self.observer.observe(&Event::PhaseBegan {
            name: &plan.phase.name,
            place,
            epochs: plan.phase.epochs,
            trainable: plan.trainable,
            non_trainable: plan.non_trainable,
            layers: (plan.split().prefix.len(), plan.split().tail.len()),
            crossing: plan.boundary_values,
        });
    }

    /// Features of all images that the plan keeps; fewer if the run was stopped.
    fn cache(&mut self, plan: &PhasePlan, engine: &Engine) -> Result<Cached, TrainError> {
        let split = plan.split();
        let mut cached = Cached { crossing: split.crossing.clone(), train: None, validation: None };
        let train = kept(Some(self.train), plan.keeps.training);
        let validation = kept(self.validation, plan.keeps.validation);
        let (mut before, total) = (0, [train, validation].iter().flatten().map(|(loader, _)| loader.len()).sum());
        let mut all = |run: &mut Self, loader: &Loader, views: Option<usize>| {
            let card = &run.model.card;
            let (settings, network) = (&run.settings.cache, &run.model.network);
            let kernels = engine.identity();
            let space = Space::new(settings, network, split, &card.preprocessing, loader.options(), &kernels);
            let (observer, stop) = (&mut *run.observer, run.stop);
            let (model, seconds, images) = (&*run.model, &mut run.seconds, &mut run.images);
            let mut compute = |batch: &Batch| prefix(engine, model, split, batch, seconds, images);
            let mut tell = |done: usize| {
                observer.observe(&Event::Prefix { done: before + done, total });
                !stop.load(Ordering::Relaxed)
            };
            let features = Features::gather_all(space, loader, views, &mut compute, &mut tell);
            before += loader.len();
            features
        };
        for (set, features) in [(train, &mut cached.train), (validation, &mut cached.validation)] {
            let Some((loader, views)) = set.filter(|_| !self.stopped()) else { continue };
            *features = all(self, loader, views)?;
        }
        Ok(cached)
    }

    /// Calls `each` with the number of batches, then the tail's input and targets of every batch of `set`; stops early where
    /// `each` says so.
    fn batches(
        &mut self,
        split: &Split,
        set: Set<'_>,
        engine: &mut Engine,
        mut each: impl FnMut(&mut Self, &mut Engine, usize, Vec<Vec<f32>>, Targets<'_>) -> Result<bool, TrainError>,
    ) -> Result<(), TrainError> {
        let Set { loader, epoch, features } = set;
        let order = epoch.map_or_else(|| (0..loader.len()).collect(), |epoch| loader.order(epoch));
        let order = match features {
            Some(features) => features.usable(&order),
            None => order,
        };
        let total = order.len().div_ceil(loader.batch_size());
        if let Some(features) = features.filter(|features| features.are_kept()) {
            for images in order.chunks(loader.batch_size()) {
                let (crossing, labels) = match features.gather(images, epoch.unwrap_or(0)) {
                    Ok(found) => found,
                    // A part that was sound when it was looked at has been damaged or taken away.
                    Err(error) => {
                        tracing::warn!("{error}; the features of these images are computed again");
                        self.again(engine, split, loader, features, images, epoch)?
                    }
                };
                self.images += labels.len();
                if !each(self, engine, total, crossing, Targets { labels: &labels, mix: None })? {
                    break;
                }
            }
            return Ok(());
        }
        for batch in images_of(loader, &order, epoch, features) {
            let batch = batch?;
            if batch.labels.is_empty() {
                continue;
            }
            let mut crossing = prefix(engine, self.model, split, &batch, &mut self.seconds, &mut self.images)?;
            if let Some(features) = features {
                features.round(&mut crossing);
            }
            let targets = Targets { labels: &batch.labels, mix: batch.mix.as_ref() };
            if !each(self, engine, total, crossing, targets)? {
                break;
            }
        }
        Ok(())
    }

    /// The features of a batch and its labels, computed as if they had never been kept.
    fn again(
        &mut self,
        engine: &Engine,
        split: &Split,
        loader: &Loader,
        features: &Features,
        images: &[usize],
        epoch: Option<u64>,
    ) -> Result<(Vec<Vec<f32>>, Vec<u32>), TrainError> {
        let subset = if epoch.is_some() { "training" } else { "validation" };
        let batch = images_of(loader, images, epoch, Some(features)).next();
        let batch = batch.ok_or(TrainError::NoImages { subset })??;
        let mut crossing = prefix(engine, self.model, split, &batch, &mut self.seconds, &mut 0)?;
        features.round(&mut crossing);
        Ok((crossing, batch.labels))
    }

    /// One pass over the training images and one over the validation images; `None` if it was stopped on the way.
    fn epoch(
        &mut self,
        begun: Begun<'_>,
        learning_rate: f64,
        cached: Option<&Cached>,
        (engine, optimizer): (&mut Engine, &mut Optimizer),
    ) -> Result<Option<EpochRecord>, TrainError> {
        let Begun { plan, split, epoch, .. } = begun;
        let began = Instant::now();
        // From seed and epoch, so that a resumed run draws what the first would have drawn.
        let random = ChaCha8Rng::seed_from_u64(self.settings.seed ^ ((epoch as u64 + 1) << 32));
        let (running, pace) = (Accumulator::default(), Pace { learning_rate, momentum: None });
        let mut pass = Pass { begun, random, optimizer, learning_rate, pace, running, done: 0 };
        engine.load(&self.model.network, split)?;
        let set =
            Set { loader: self.train, epoch: Some(epoch as u64), features: cached.and_then(|c| c.train.as_ref()) };
        self.batches(split, set, engine, |run, engine, total, crossing, targets| {
            run.step(&mut pass, engine, total, crossing, targets)?;
            let (done, loss, accuracy) = (pass.done, pass.running.loss(), pass.running.accuracy());
            run.observer.observe(&Event::Batch { epoch: epoch + 1, done, total, loss, accuracy });
            Ok(!run.stopped())
        })?;
        if self.stopped() {
            return Ok(None);
        }
        let Pass { pace: Pace { learning_rate, .. }, running, .. } = pass;
        if running.count() == 0 {
            return Err(TrainError::NoImages { subset: "training" });
        }
        engine.store(&mut self.model.network);
        let diverged = |what: String| TrainError::Diverged { epoch: epoch + 1, batch: None, what, learning_rate };
        if let Some(layer) = broken_layer(self.model, split) {
            return Err(diverged(format!("the weights of layer '{layer}' became infinite or not a number")));
        }
        if swap_averages(&mut self.model.network, optimizer) {
            engine.load(&self.model.network, split)?;
        }
        let validated = match self.validation {
            Some(loader) => {
                let features = cached.and_then(|c| c.validation.as_ref());
                Some(self.validate(split, Set { loader, epoch: None, features }, engine)?)
            }
            None => None,
        };
        if self.stopped() {
            return Ok(None);
        }
        if let Some(validated) = validated.as_ref().filter(|validated| !validated.is_finite()) {
            let what = match validated.loss() {
                loss if loss.is_finite() => "the network's outputs became infinite or not a number".to_owned(),
                loss => format!("the validation loss became {loss}"),
            };
            return Err(diverged(what));
        }
        Ok(Some(EpochRecord {
            epoch: epoch + 1,
            phase: plan.phase.name.clone(),
            loss: running.loss(),
            accuracy: running.accuracy(),
            val_loss: validated.as_ref().map(Accumulator::loss),
            val_accuracy: validated.as_ref().map(Accumulator::accuracy),
            learning_rate,
            seconds: began.elapsed().as_secs_f64(),
        }))
    }

    /// One batch forward, backward, and into the optimiser.
    fn step(
        &mut self,
        pass: &mut Pass<'_>,
        engine: &mut Engine,
        steps_per_epoch: usize,
        crossing: Vec<Vec<f32>>,
        targets: Targets<'_>,
    ) -> Result<(), TrainError> {
        let began = Instant::now();
        let Pass { begun: Begun { plan, split, moving, epoch }, random, optimizer, .. } = pass;
        let (card, device) = (&self.model.card, self.model.network.device().clone());
        let (loss, labels, epoch) = (&card.loss, targets.labels, *epoch);
        let steps_per_epoch = steps_per_epoch as u64;
        let course = Course { steps_per_epoch, total: steps_per_epoch * plan.phase.epochs as u64 };
        let pace = plan.phase.schedule.pace(pass.learning_rate, optimizer.state().step, course);
        let weights = self.settings.class_weights.as_deref().map(|weights| sample_weights(weights, labels));
        let (running, batch) = (&mut pass.running, pass.done + 1);
        let mut loss_of = |outputs: Tensor<2>| {
            let weights = weights.as_ref().map(|weights| Tensor::<1>::from_floats(weights.as_slice(), &device));
            let value = match targets.mix {
                Some(mix) => {
                    let (rows, classes) = (labels.len(), card.classes.len());
                    let soft = TensorData::new(mix.targets(labels, classes), [rows, classes]);
                    loss.forward_soft(outputs.clone(), Tensor::<2>::from_data(soft, &device), weights)?
                }
                None => loss.forward(outputs.clone(), labels, weights)?,
            };
            let scalar = f64::from(value.clone().inner().into_scalar::<f32>());
            running.add(loss, scalar, &outputs.inner(), labels);
            if running.is_finite() {
                return Ok(value);
            }
            let what = match scalar.is_finite() {
                true => "the network's outputs became infinite or not a number".to_owned(),
                false => format!("the loss became {scalar}"),
            };
            let (batch, learning_rate) = (Some(batch), pace.learning_rate);
            Err(TrainError::Diverged { epoch: epoch + 1, batch, what, learning_rate })
        };
        let step = Step {
            split,
            trains: &|layer| plan.trains(layer),
            multiplier: &|layer| plan.layers[layer].learning_rate_multiplier,
            crossing,
            batch: labels.len(),
            moving,
            random,
        };
        engine.step(&mut self.model.network, step, &mut loss_of, &mut |updates| optimizer.step(pace, updates))?;
        pass.pace = pace;
        pass.done += 1;
        self.seconds.train += began.elapsed().as_secs_f64();
        Ok(())
    }

    fn validate(&mut self, split: &Split, set: Set<'_>, engine: &mut Engine) -> Result<Accumulator, TrainError> {
        let (began, prefix) = (Instant::now(), self.seconds.prefix);
        let loss = &self.model.card.loss.clone();
        let (mut running, mut predictions) = (Accumulator::default(), Predictions::new(self.model.card.classes.len()));
        self.batches(split, set, engine, |run, engine, _, crossing, Targets { labels, .. }| {
            let outputs = engine.forward(&run.model.network, split, crossing, labels.len())?;
            let value = loss.forward(outputs.clone(), labels, None)?;
            running.add(loss, f64::from(value.into_scalar::<f32>()), &outputs, labels);
            predictions.take(loss, outputs, labels);
            Ok(!run.stopped())
        })?;
        if running.count() == 0 && !self.stopped() {
            return Err(TrainError::NoImages { subset: "validation" });
        }
        self.predictions = Some(predictions);
        self.seconds.validate += began.elapsed().as_secs_f64() - (self.seconds.prefix - prefix);
        Ok(running)
    }
}

/// Name of a layer of the tail with a weight that is no number.
fn broken_layer(model: &Model, split: &Split) -> Option<String> {
    let all = model.network.parameters_of(&split.tail);
    let broken = all.into_iter().find(|(_, values)| values.iter().any(|value| !value.is_finite()));
    broken.map(|(id, _)| model.network.graph().nodes()[id.layer()].name().to_owned())
}

/// Batches of these images: changed as in this training epoch, or, where `features` stand for a few views of each, as in
/// the view that is the epoch's.
fn images_of(loader: &Loader, order: &[usize], epoch: Option<u64>, features: Option<&Features>) -> Batches {
    match epoch {
        Some(epoch) => loader.augmented(order, features.map_or(epoch, |features| features.view(epoch))),
        None => loader.batches(order),
    }
}

/// What crosses from the prefix for a batch, one vector a tensor, channels last.
fn prefix(
    engine: &Engine,
    model: &Model,
    split: &Split,
    batch: &Batch,
    seconds: &mut Seconds,
    images: &mut usize,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let began = Instant::now();
    let crossing = engine.prefix(model, split, batch)?;
    seconds.prefix += began.elapsed().as_secs_f64();
    *images += batch.labels.len();
    Ok(crossing)
}
