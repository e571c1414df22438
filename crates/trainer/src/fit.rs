//! The training loop: phases, epochs, batches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use injerto_backbones::network::{ParameterId, ParameterTensor, TrainingPass, Value, to_input};
use injerto_data::{Batch, Loader};
use injerto_graph::{CutOptions, FreezePlan, Operator, Split};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::features::Features;
use crate::history::{Best, EpochRecord};
use crate::metrics::Accumulator;
use crate::observer::{Event, Observer};
use crate::optimizer::{Optimizer, OptimizerConfig};
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
    /// Features of the frozen prefix are kept in memory up to this many bytes; beyond it the prefix runs every epoch.
    pub feature_budget: usize,
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

/// What training brought.
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
}

/// A training that has not begun.
pub struct Fit<'a> {
    /// Images to learn from.
    pub train: &'a Loader,
    /// Images to judge by after each epoch.
    pub validation: Option<&'a Loader>,
    /// One after the other.
    pub phases: &'a [Phase],
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
        let Self { train, validation, phases, settings, checkpoints, observer, stop } = self;
        if settings.best.monitor.needs_validation() && validation.is_none() {
            return Err(TrainError::NothingToMonitor { monitor: settings.best.monitor.name().to_owned() });
        }
        let began = Instant::now();
        let mut run =
            Run { model, train, validation, settings, observer, stop, seconds: Seconds::default(), images: 0 };
        let mut progress = progress.unwrap_or_else(|| Progress::new(settings.best.clone()));
        let mut features: Option<Cached> = None;
        let mut finished = 0;
        for (place, phase) in phases.iter().enumerate() {
            let epochs = finished..finished + phase.epochs;
            finished = epochs.end;
            if progress.history.len() >= finished || run.stopped() {
                continue;
            }
            let split = Split::planned(run.model.network.graph(), &phase.plan, CutOptions::default());
            run.announce(phase, (place, phases.len()), &split);
            // The state belongs to a phase that had begun; the next begins afresh.
            let state = progress.optimizer.take().filter(|_| progress.history.len() > epochs.start);
            let mut optimizer = Optimizer::resume(phase.optimizer.clone(), state.unwrap_or_default());
            if features.as_ref().is_none_or(|cached| cached.crossing != split.crossing) {
                // Two phases with the same cut share their features: the layers before it have not changed.
                drop(features.take());
                features = run.cache(&split)?;
            }
            for epoch in epochs.start.max(progress.history.len())..epochs.end {
                let Some(record) = run.epoch(epoch, phase, &split, features.as_ref(), &mut optimizer)? else { break };
                let best = progress.best.improve(&record);
                progress.history.push(record);
                if let Some(checkpoints) = checkpoints {
                    checkpoints.write(run.model, &progress, &optimizer, best)?;
                }
                let record = &progress.history[progress.history.len() - 1];
                run.observer.observe(&Event::EpochEnded { record, best });
            }
        }
        let mut seconds = run.seconds;
        seconds.total = began.elapsed().as_secs_f64();
        let decode = train.decode_time() + validation.map_or(Duration::ZERO, Loader::decode_time);
        seconds.decode = decode.as_secs_f64();
        let interrupted = progress.history.len() < finished;
        Ok(Fitted { history: progress.history, best: progress.best, seconds, images: run.images, interrupted })
    }
}

/// Features of both sets.
struct Cached {
    crossing: Vec<usize>,
    train: Features,
    validation: Option<Features>,
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
}

impl Run<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn announce(&mut self, phase: &Phase, place: (usize, usize), split: &Split) {
        let graph = self.model.network.graph();
        let (trainable, non_trainable) = phase.plan.counts(graph);
        self.observer.observe(&Event::PhaseBegan {
            name: &phase.name,
            place,
            epochs: phase.epochs,
            trainable,
            non_trainable,
            layers: (split.prefix.len(), split.tail.len()),
            crossing: split.crossing_values(graph),
        });
    }

    /// Runs the prefix over all images, if it does anything and its output fits the budget; `None` also if it was stopped.
    fn cache(&mut self, split: &Split) -> Result<Option<Cached>, TrainError> {
        let graph = self.model.network.graph().clone();
        let shapes: Vec<Vec<usize>> = split.crossing.iter().map(|&at| graph.nodes()[at].shape.0.clone()).collect();
        let total = self.train.len() + self.validation.map_or(0, Loader::len);
        if split.prefix.len() < 2 || Features::bytes_per_image(&shapes) * total > self.settings.feature_budget {
            return Ok(None);
        }
        let mut done = 0;
        let mut all = |run: &mut Self, loader: &Loader| -> Result<Option<Features>, TrainError> {
            let mut features = Features::new(shapes.clone(), loader.len());
            let order: Vec<usize> = (0..loader.len()).collect();
            for batch in loader.batches(&order) {
                let batch = batch?;
                let crossing = run.prefix(split, &batch);
                features.push(&batch.indices, &batch.labels, &crossing);
                done = (done + loader.batch_size()).min(total);
                run.observer.observe(&Event::Prefix { done, total });
                if run.stopped() {
                    return Ok(None);
                }
            }
            Ok(Some(features))
        };
        let Some(train) = all(self, self.train)? else { return Ok(None) };
        let validation = match self.validation {
            Some(loader) => match all(self, loader)? {
                Some(features) => Some(features),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Cached { crossing: split.crossing.clone(), train, validation }))
    }

    fn prefix(&mut self, split: &Split, batch: &Batch) -> Vec<Value> {
        let began = Instant::now();
        let network = &self.model.network;
        let [height, width] = self.model.card.image_size();
        let size = [batch.labels.len(), height, width];
        let input = to_input(&batch.pixels, size, &self.model.card.preprocessing, network.device());
        let crossing = network.prefix(split, input);
        self.seconds.prefix += began.elapsed().as_secs_f64();
        self.images += batch.labels.len();
        crossing
    }

    /// Calls `each` with the number of batches, then the tail's input and labels of every batch in `order`, from the
    /// features where there are some; stops early where `each` says so.
    fn batches(
        &mut self,
        split: &Split,
        loader: &Loader,
        order: &[usize],
        features: Option<&Features>,
        mut each: impl FnMut(&mut Self, usize, Vec<Value>, &[u32]) -> Result<bool, TrainError>,
    ) -> Result<(), TrainError> {
        match features {
            Some(features) => {
                let order = features.usable(order);
                let total = order.len().div_ceil(loader.batch_size());
                for images in order.chunks(loader.batch_size()) {
                    let (crossing, labels) = features.gather(images, self.model.network.device());
                    self.images += labels.len();
                    if !each(self, total, crossing, &labels)? {
                        break;
                    }
                }
            }
            None => {
                let total = order.len().div_ceil(loader.batch_size());
                for batch in loader.batches(order) {
                    let batch = batch?;
                    if batch.labels.is_empty() {
                        continue;
                    }
                    let crossing = self.prefix(split, &batch);
                    if !each(self, total, crossing, &batch.labels)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// One pass over the training images and one over the validation images; `None` if it was stopped on the way.
    fn epoch(
        &mut self,
        epoch: usize,
        phase: &Phase,
        split: &Split,
        cached: Option<&Cached>,
        optimizer: &mut Optimizer,
    ) -> Result<Option<EpochRecord>, TrainError> {
        let began = Instant::now();
        let loss = self.model.card.loss.clone();
        let graph = self.model.network.graph().clone();
        let trains = |layer: &usize| phase.plan.trains(*layer);
        let moving: Vec<usize> = match phase.batch_norm {
            BatchNorm::Frozen => Vec::new(),
            BatchNorm::Update => {
                let is_norm = |&at: &usize| matches!(graph.nodes()[at].operator(), Operator::BatchNormalization { .. });
                split.tail.iter().copied().filter(trains).filter(is_norm).collect()
            }
        };
        // From seed and epoch, so that a resumed run draws what the first would have drawn.
        let mut random = ChaCha8Rng::seed_from_u64(self.settings.seed ^ ((epoch as u64 + 1) << 32));
        let learning_rate = optimizer.learning_rate();
        let (train, mut running, mut done) = (self.train, Accumulator::default(), 0);
        let order = train.order(epoch as u64);
        self.batches(split, train, &order, cached.map(|c| &c.train), |run, total, crossing, labels| {
            let step = Instant::now();
            let leaves = run.model.network.leaves(split.tail.iter().copied().filter(trains));
            let mut pass =
                TrainingPass { leaves: &leaves, random: &mut random, moving: &moving, statistics: Vec::new() };
            let outputs = run.model.network.tail(split, crossing, Some(&mut pass)).into_features();
            let statistics = pass.statistics;
            let value = loss.forward(outputs.clone(), labels, None)?;
            let scalar = f64::from(value.clone().inner().into_scalar::<f32>());
            if !scalar.is_finite() {
                return Err(TrainError::Diverged { epoch: epoch + 1, batch: done + 1, loss: scalar, learning_rate });
            }
            running.add(&loss, scalar, &outputs.inner(), labels);
            let mut gradients = value.backward();
            optimizer.begin_step();
            for ((layer, at), leaf) in leaves {
                let Some(gradient) = leaf.gradient(&mut gradients) else { continue };
                let node = &graph.nodes()[layer];
                let name = format!("{}/{}", node.name(), node.parameters[at].name());
                let updated = step_parameter(optimizer, &name, leaf, gradient, learning_rate);
                run.model.network.set((layer, at), updated);
            }
            statistics.into_iter().for_each(|(id, tensor): (ParameterId, _)| run.model.network.set(id, tensor));
            done += 1;
            run.seconds.train += step.elapsed().as_secs_f64();
            let (loss, accuracy) = (running.loss(), running.accuracy());
            run.observer.observe(&Event::Batch { epoch: epoch + 1, done, total, loss, accuracy });
            Ok(!run.stopped())
        })?;
        if self.stopped() {
            return Ok(None);
        }
        if running.count() == 0 {
            return Err(TrainError::NoImages { subset: "training" });
        }
        let validated = match self.validation {
            Some(loader) => Some(self.validate(split, loader, cached.and_then(|c| c.validation.as_ref()), &loss)?),
            None => None,
        };
        if self.stopped() {
            return Ok(None);
        }
        Ok(Some(EpochRecord {
            epoch: epoch + 1,
            phase: phase.name.clone(),
            loss: running.loss(),
            accuracy: running.accuracy(),
            val_loss: validated.as_ref().map(Accumulator::loss),
            val_accuracy: validated.as_ref().map(Accumulator::accuracy),
            learning_rate,
            seconds: began.elapsed().as_secs_f64(),
        }))
    }

    fn validate(
        &mut self,
        split: &Split,
        loader: &Loader,
        features: Option<&Features>,
        loss: &injerto_losses::Loss,
    ) -> Result<Accumulator, TrainError> {
        let (began, prefix) = (Instant::now(), self.seconds.prefix);
        let mut running = Accumulator::default();
        let order: Vec<usize> = (0..loader.len()).collect();
        self.batches(split, loader, &order, features, |run, _, crossing, labels| {
            let outputs = run.model.network.tail(split, crossing, None).into_features();
            let value = loss.forward(outputs.clone(), labels, None)?;
            running.add(loss, f64::from(value.into_scalar::<f32>()), &outputs, labels);
            Ok(!run.stopped())
        })?;
        if running.count() == 0 && !self.stopped() {
            return Err(TrainError::NoImages { subset: "validation" });
        }
        self.seconds.validate += began.elapsed().as_secs_f64() - (self.seconds.prefix - prefix);
        Ok(running)
    }
}

fn step_parameter(
    optimizer: &mut Optimizer,
    name: &str,
    value: ParameterTensor,
    gradient: ParameterTensor,
    learning_rate: f64,
) -> ParameterTensor {
    use ParameterTensor::{Kernel, Matrix, Vector};
    match (value, gradient) {
        (Vector(value), Vector(gradient)) => Vector(optimizer.update(name, value.inner(), gradient, learning_rate)),
        (Matrix(value), Matrix(gradient)) => Matrix(optimizer.update(name, value.inner(), gradient, learning_rate)),
        (Kernel(value), Kernel(gradient)) => Kernel(optimizer.update(name, value.inner(), gradient, learning_rate)),
        _ => unreachable!("a gradient has its parameter's rank"),
    }
}
