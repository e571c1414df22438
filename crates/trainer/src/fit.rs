//! The training loop: phases, epochs, batches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use injerto_backbones::network::{Network, ParameterId, ParameterTensor, TrainingPass, Value, to_input};
use injerto_data::{Batch, Loader};
use injerto_graph::{CutOptions, FreezePlan, Operator, Split};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::cache::{CacheSettings, Features, Space};
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
    /// Whether and how features of the frozen prefix are kept.
    pub cache: CacheSettings,
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
        while progress.phases_done < phases.len() && !run.stopped() {
            let phase = &phases[progress.phases_done];
            let split = Split::planned(run.model.network.graph(), &phase.plan, CutOptions::default());
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
                let epoch = progress.history.len();
                let Some(record) = run.epoch(epoch, phase, &split, features.as_ref(), &mut optimizer)? else { break };
                let best = progress.best.improve(&record);
                progress.record(record, phase.epochs);
                if let Some(checkpoints) = checkpoints {
                    checkpoints.write_epoch(run.model, &progress, best)?;
                    checkpoints.write_last(run.model, &progress, &optimizer)?;
                }
                let record = &progress.history[progress.history.len() - 1];
                run.observer.observe(&Event::EpochEnded { record, best });
            }
        }
        let mut seconds = run.seconds;
        seconds.total = began.elapsed().as_secs_f64();
        let decode = train.decode_time() + validation.map_or(Duration::ZERO, Loader::decode_time);
        seconds.decode = decode.as_secs_f64();
        let interrupted = progress.phases_done < phases.len();
        Ok(Fitted { history: progress.history, best: progress.best, seconds, images: run.images, interrupted })
    }
}

/// Features of both sets.
struct Cached {
    crossing: Vec<usize>,
    train: Features,
    validation: Option<Features>,
}

/// What the steps of an epoch share.
struct Pass<'a> {
    epoch: usize,
    phase: &'a Phase,
    split: &'a Split,
    /// Batch normalisations that move their statistics.
    moving: Vec<usize>,
    random: ChaCha8Rng,
    optimizer: &'a mut Optimizer,
    /// Of the last step.
    learning_rate: f64,
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

    /// Features of all images, if the prefix does anything and they can be kept; `None` also if the run was stopped.
    fn cache(&mut self, split: &Split) -> Result<Option<Cached>, TrainError> {
        if split.prefix.len() < 2 {
            return Ok(None);
        }
        let total = self.train.len() + self.validation.map_or(0, Loader::len);
        let mut before = 0;
        let mut all = |run: &mut Self, loader: &Loader| {
            let card = &run.model.card;
            let (settings, network) = (&run.settings.cache, &run.model.network);
            let space = Space::new(settings, network, split, &card.preprocessing, loader.options(), "burn");
            let (observer, stop) = (&mut *run.observer, run.stop);
            let (model, seconds, images) = (&*run.model, &mut run.seconds, &mut run.images);
            let mut compute = |batch: &Batch| Ok(prefix(model, split, batch, seconds, images));
            let mut tell = |done: usize| {
                observer.observe(&Event::Prefix { done: before + done, total });
                !stop.load(Ordering::Relaxed)
            };
            let features = Features::gather_all(space, loader, &mut compute, &mut tell);
            before += loader.len();
            features
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

    /// Calls `each` with the number of batches, then the tail's input and labels of every batch in `order`, from the
    /// features where there are some; stops early where `each` says so.
    fn batches(
        &mut self,
        split: &Split,
        loader: &Loader,
        order: &[usize],
        features: Option<&Features>,
        mut each: impl FnMut(&mut Self, usize, Vec<Vec<f32>>, &[u32]) -> Result<bool, TrainError>,
    ) -> Result<(), TrainError> {
        match features {
            Some(features) => {
                let order = features.usable(order);
                let total = order.len().div_ceil(loader.batch_size());
                for images in order.chunks(loader.batch_size()) {
                    let (crossing, labels) = features.gather(images)?;
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
                    let crossing = prefix(self.model, split, &batch, &mut self.seconds, &mut self.images);
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
        let graph = self.model.network.graph();
        // A normalisation in the head is new, and its statistics with it.
        let moves = |at: usize| phase.batch_norm == BatchNorm::Update || at >= self.model.card.backbone_layers;
        let is_norm = |at: usize| matches!(graph.nodes()[at].operator(), Operator::BatchNormalization { .. });
        let moving =
            split.tail.iter().copied().filter(|&at| phase.plan.trains(at) && is_norm(at) && moves(at)).collect();
        // From seed and epoch, so that a resumed run draws what the first would have drawn.
        let random = ChaCha8Rng::seed_from_u64(self.settings.seed ^ ((epoch as u64 + 1) << 32));
        let learning_rate = optimizer.learning_rate();
        let running = Accumulator::default();
        let mut pass = Pass { epoch, phase, split, moving, random, optimizer, learning_rate, running, done: 0 };
        let train = self.train;
        let order = train.order(epoch as u64);
        self.batches(split, train, &order, cached.map(|c| &c.train), |run, total, crossing, labels| {
            run.step(&mut pass, crossing, labels)?;
            let (done, loss, accuracy) = (pass.done, pass.running.loss(), pass.running.accuracy());
            run.observer.observe(&Event::Batch { epoch: epoch + 1, done, total, loss, accuracy });
            Ok(!run.stopped())
        })?;
        if self.stopped() {
            return Ok(None);
        }
        let Pass { learning_rate, running, .. } = pass;
        if running.count() == 0 {
            return Err(TrainError::NoImages { subset: "training" });
        }
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
    fn step(&mut self, pass: &mut Pass<'_>, crossing: Vec<Vec<f32>>, labels: &[u32]) -> Result<(), TrainError> {
        let began = Instant::now();
        let (network, loss) = (&mut self.model.network, &self.model.card.loss);
        let graph = network.graph().clone();
        let trains = pass.split.tail.iter().copied().filter(|&at| pass.phase.plan.trains(at));
        let leaves = network.leaves(trains);
        let mut training =
            TrainingPass { leaves: &leaves, random: &mut pass.random, moving: &pass.moving, statistics: Vec::new() };
        let crossing = values(network, pass.split, crossing, labels.len());
        let outputs = network.tail(pass.split, crossing, Some(&mut training)).into_features();
        let statistics = training.statistics;
        let value = loss.forward(outputs.clone(), labels, None)?;
        let scalar = f64::from(value.clone().inner().into_scalar::<f32>());
        let learning_rate = pass.learning_rate;
        if !scalar.is_finite() {
            let (epoch, batch) = (pass.epoch + 1, pass.done + 1);
            return Err(TrainError::Diverged { epoch, batch, loss: scalar, learning_rate });
        }
        pass.running.add(loss, scalar, &outputs.inner(), labels);
        let mut gradients = value.backward();
        pass.optimizer.begin_step();
        for ((layer, at), leaf) in leaves {
            let Some(gradient) = leaf.gradient(&mut gradients) else { continue };
            let node = &graph.nodes()[layer];
            let name = format!("{}/{}", node.name(), node.parameters[at].name());
            let updated = step_parameter(pass.optimizer, &name, leaf, gradient, learning_rate);
            network.set((layer, at), updated);
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
        let mut running = Accumulator::default();
        let order: Vec<usize> = (0..loader.len()).collect();
        self.batches(split, loader, &order, features, |run, _, crossing, labels| {
            let network = &run.model.network;
            let crossing = values(network, split, crossing, labels.len());
            let outputs = network.tail(split, crossing, None).into_features();
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

/// What crosses from the prefix for a batch, one vector a tensor, channels last.
fn prefix(model: &Model, split: &Split, batch: &Batch, seconds: &mut Seconds, images: &mut usize) -> Vec<Vec<f32>> {
    let began = Instant::now();
    let [height, width] = model.card.image_size();
    let size = [batch.labels.len(), height, width];
    let input = to_input(&batch.pixels, size, &model.card.preprocessing, model.network.device());
    let crossing = model.network.prefix(split, input).iter().map(Value::to_host).collect();
    seconds.prefix += began.elapsed().as_secs_f64();
    *images += batch.labels.len();
    crossing
}

/// What crossed, on the network's device.
fn values(network: &Network, split: &Split, crossing: Vec<Vec<f32>>, batch: usize) -> Vec<Value> {
    let shape = |&at: &usize| &network.graph().nodes()[at].shape.0;
    let shapes = split.crossing.iter().map(shape);
    shapes.zip(crossing).map(|(shape, values)| Value::from_host(values, batch, shape, network.device())).collect()
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
