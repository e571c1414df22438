//! The training loop: phases, epochs, batches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use injerto_backbones::network::{ParameterId, TrainingPass, Value, to_input};
use injerto_data::{Batch, Loader};
use injerto_graph::{FreezePlan, Operator, Split};
use injerto_losses::sample_weights;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::callbacks::Callbacks;
use crate::features::Features;
use crate::history::{Best, EpochRecord};
use crate::host::{self, put, swap_averages, tail_weights};
use crate::metrics::{Accumulator, Predictions};
use crate::observer::{Event, Observer};
use crate::optimizer::{Optimizer, OptimizerConfig, Pace, Update};
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
    /// What the network of the best epoch said of the validation images; `None` without any, or if that epoch was before a
    /// resume.
    pub predictions: Option<Predictions>,
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
        let monitors = phases.iter().flat_map(|phase| phase.callbacks.monitors()).chain([settings.best.monitor]);
        if let Some(monitor) = { monitors }.find(|monitor| monitor.needs_validation() && validation.is_none()) {
            return Err(TrainError::NothingToMonitor { monitor: monitor.name().to_owned() });
        }
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
        let (mut features, mut predictions): (Option<Cached>, Option<Predictions>) = (None, None);
        while progress.phases_done < phases.len() && !run.stopped() {
            let phase = &phases[progress.phases_done];
            let split = Split::new(run.model.network.graph(), &phase.plan);
            run.announce(phase, (progress.phases_done, phases.len()), &split);
            // The state belongs to a phase that had begun; the next begins afresh.
            let state = progress.optimizer.take().filter(|_| progress.epochs_done > 0);
            let mut optimizer = Optimizer::resume(phase.optimizer.clone(), state.unwrap_or_default());
            if features.as_ref().is_none_or(|cached| cached.crossing != split.crossing) {
                // Two phases with the same cut share their features: the layers before it have not changed.
                drop(features.take());
                features = run.cache(&split)?;
            }
            let here = progress.phases_done;
            while progress.phases_done == here {
                let begun = Begun { phase, split: &split, epoch: progress.history.len() };
                let learning_rate = progress.callbacks.learning_rate().unwrap_or(phase.optimizer.learning_rate());
                let Some(record) = run.epoch(begun, learning_rate, features.as_ref(), &mut optimizer)? else { break };
                let best = progress.best.improve(&record);
                if best {
                    predictions = run.predictions.take();
                }
                let (memory, at) = (&mut progress.callbacks, progress.epochs_done);
                let decision = phase.callbacks.epoch_ended(memory, at, &record, phase.optimizer.learning_rate());
                progress.history.push(record.clone());
                if decision.snapshot {
                    progress.snapshot = Some(tail_weights(run.model, &split));
                }
                if let Some(checkpoints) = checkpoints {
                    checkpoints.write_epoch(run.model, &progress, best)?;
                }
                let over = decision.stop || progress.epochs_done + 1 >= phase.epochs;
                match progress.snapshot.take_if(|_| over) {
                    Some(weights) => put(run.model, &weights)?,
                    // What was judged were the averages: they stay at the end, and the weights go on before.
                    None if !over => swap_averages(&mut run.model.network, &mut optimizer),
                    None => {}
                }
                progress.turn(over);
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
        let mut seconds = run.seconds;
        seconds.total = began.elapsed().as_secs_f64();
        let decode = train.decode_time() + validation.map_or(Duration::ZERO, Loader::decode_time);
        seconds.decode = decode.as_secs_f64();
        let interrupted = progress.phases_done < phases.len();
        let Progress { history, best, .. } = progress;
        Ok(Fitted { history, best, seconds, images: run.images, interrupted, predictions })
    }
}

/// Features of both sets.
struct Cached {
    crossing: Vec<usize>,
    train: Features,
    validation: Option<Features>,
}

/// A phase, and the epoch of the whole run that begins in it, from 0.
#[derive(Clone, Copy)]
struct Begun<'a> {
    phase: &'a Phase,
    split: &'a Split,
    epoch: usize,
}

/// What the steps of an epoch share.
struct Pass<'a> {
    begun: Begun<'a>,
    /// Batch normalisations that move their statistics.
    moving: Vec<usize>,
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

/// A parameter on its way through the optimiser.
struct Moved {
    id: ParameterId,
    name: String,
    values: Vec<f32>,
    gradient: Vec<f32>,
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
        begun: Begun<'_>,
        learning_rate: f64,
        cached: Option<&Cached>,
        optimizer: &mut Optimizer,
    ) -> Result<Option<EpochRecord>, TrainError> {
        let Begun { phase, split, epoch } = begun;
        let began = Instant::now();
        let graph = self.model.network.graph();
        let moving: Vec<usize> = match phase.batch_norm {
            BatchNorm::Frozen => Vec::new(),
            BatchNorm::Update => {
                let is_norm = |&at: &usize| matches!(graph.nodes()[at].operator(), Operator::BatchNormalization { .. });
                split.tail.iter().copied().filter(|&at| phase.plan.trains(at)).filter(is_norm).collect()
            }
        };
        // From seed and epoch, so that a resumed run draws what the first would have drawn.
        let random = ChaCha8Rng::seed_from_u64(self.settings.seed ^ ((epoch as u64 + 1) << 32));
        let (running, pace) = (Accumulator::default(), Pace { learning_rate, momentum: None });
        let mut pass = Pass { begun, moving, random, optimizer, learning_rate, pace, running, done: 0 };
        let train = self.train;
        let order = train.order(epoch as u64);
        self.batches(split, train, &order, cached.map(|c| &c.train), |run, total, crossing, labels| {
            run.step(&mut pass, total, crossing, labels)?;
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
        swap_averages(&mut self.model.network, optimizer);
        let validated = match self.validation {
            Some(loader) => Some(self.validate(split, loader, cached.and_then(|c| c.validation.as_ref()))?),
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

    /// One batch forward, backward, and into the optimiser.
    fn step(
        &mut self,
        pass: &mut Pass<'_>,
        steps_per_epoch: usize,
        crossing: Vec<Value>,
        labels: &[u32],
    ) -> Result<(), TrainError> {
        let began = Instant::now();
        let Begun { phase, split, epoch } = pass.begun;
        let (network, loss) = (&mut self.model.network, &self.model.card.loss);
        let graph = network.graph().clone();
        let trains = split.tail.iter().copied().filter(|&at| phase.plan.trains(at));
        let leaves = network.leaves(trains);
        let mut training =
            TrainingPass { leaves: &leaves, random: &mut pass.random, moving: &pass.moving, statistics: Vec::new() };
        let outputs = network.tail(split, crossing, Some(&mut training)).into_features();
        let statistics = training.statistics;
        let weights = self.settings.class_weights.as_deref().map(|weights| sample_weights(weights, labels));
        let weights = weights.map(|weights| Tensor::<1>::from_floats(weights.as_slice(), network.device()));
        let value = loss.forward(outputs.clone(), labels, weights)?;
        let scalar = f64::from(value.clone().inner().into_scalar::<f32>());
        let steps_per_epoch = steps_per_epoch as u64;
        let course = Course { steps_per_epoch, total: steps_per_epoch * phase.epochs as u64 };
        pass.pace = phase.schedule.pace(pass.learning_rate, pass.optimizer.state().step, course);
        if !scalar.is_finite() {
            let (epoch, batch, learning_rate) = (epoch + 1, pass.done + 1, pass.pace.learning_rate);
            return Err(TrainError::Diverged { epoch, batch, loss: scalar, learning_rate });
        }
        pass.running.add(loss, scalar, &outputs.inner(), labels);
        let mut gradients = value.backward();
        let mut moved: Vec<Moved> = Vec::with_capacity(leaves.len());
        for (id, leaf) in leaves {
            let Some(gradient) = leaf.gradient(&mut gradients) else { continue };
            let (values, gradient) = (host::values(network.get(id)), host::values(&gradient));
            moved.push(Moved { id, name: host::name(&graph, id), values, gradient });
        }
        let multiplier = |(layer, _): ParameterId| phase.multipliers.get(layer).copied().unwrap_or(1.0);
        let updates = moved.iter_mut().map(|Moved { id, name, values, gradient }| Update {
            name,
            values,
            gradient,
            multiplier: multiplier(*id),
        });
        pass.optimizer.step(pass.pace, &mut updates.collect::<Vec<_>>());
        for Moved { id, values, .. } in moved {
            let tensor = host::with_values(network.get(id), values);
            network.set(id, tensor);
        }
        statistics.into_iter().for_each(|(id, tensor): (ParameterId, _)| network.set(id, tensor));
        pass.done += 1;
        self.seconds.train += began.elapsed().as_secs_f64();
        Ok(())
    }

    fn validate(
        &mut self,
        split: &Split,
        loader: &Loader,
        features: Option<&Features>,
    ) -> Result<Accumulator, TrainError> {
        let (began, prefix) = (Instant::now(), self.seconds.prefix);
        let loss = &self.model.card.loss.clone();
        let (mut running, mut predictions) = (Accumulator::default(), Predictions::new(self.model.card.classes.len()));
        let order: Vec<usize> = (0..loader.len()).collect();
        self.batches(split, loader, &order, features, |run, _, crossing, labels| {
            let outputs = run.model.network.tail(split, crossing, None).into_features();
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
