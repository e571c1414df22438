//! One pass over the training images or the validation images.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use injerto_losses::{CrossEntropy as _, Outputs, sample_weights};
use injerto_recipe::{Loss, StepCount, StepSize, Task};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::TrainError;
use crate::collective::{Peers, Said};
use crate::executor::{Aim, Executor, Reading};
use crate::feed::{Feed, Portion};
use crate::metrics::{Accumulator, Answers};
use crate::plan::PhasePlan;
use crate::teacher::Answer;
use crate::wanted::Wanted;

/// The targets by which outputs are judged.
#[derive(Clone)]
pub(crate) struct Judge {
    pub(crate) loss: Loss,
    /// How many classes an image may have.
    pub(crate) task: Task,
    /// Number of classes.
    pub(crate) classes: usize,
    /// Weight per class, which multiplies the loss of a training image; `None` means 1.
    pub(crate) class_weights: Option<Vec<f32>>,
}

impl Judge {
    /// Number of the network's outputs.
    fn units(&self) -> usize {
        if self.loss.is_binary() && self.task == Task::MultiClass { 1 } else { self.classes }
    }
}

/// A batch whose loss and outputs the executor still has.
struct Unread {
    /// Number of the batch in its epoch, counted from 1.
    batch: usize,
    wanted: Wanted,
    images: usize,
    learning_rate: f64,
}

/// The steps of an epoch.
pub(crate) struct TrainingEpoch<'a> {
    plan: &'a PhasePlan,
    judge: &'a Judge,
    /// Epoch, counted from 0 over the whole run.
    epoch: usize,
    /// Learning rate from which the schedule starts.
    learning_rate: f64,
    /// Random numbers of dropout's masks.
    random: ChaCha8Rng,
    steps_per_epoch: u64,
    /// Learning rate and momentum of the last step.
    pub(crate) size: StepSize,
    /// Mean loss and accuracy of the batches that have been read.
    pub(crate) running: Accumulator,
    /// Batches whose losses and outputs have not been read, because reading them would wait for the device.
    unread: Vec<Unread>,
    /// Loss of the batch that was read last.
    pub(crate) last: f64,
    /// Number of batches done.
    pub(crate) done: usize,
    /// Number of batches whose gradients wait for a step.
    waiting: usize,
    /// Seconds spent in steps.
    pub(crate) seconds: f64,
    /// The processes that train together.
    peers: Peers<'a>,
}

impl<'a> TrainingEpoch<'a> {
    /// Starts epoch number `epoch`, counted from 0 over the whole run. The schedule starts from `learning_rate`.
    pub(crate) fn new(
        plan: &'a PhasePlan,
        judge: &'a Judge,
        seed: u64,
        epoch: usize,
        batches: usize,
        learning_rate: f64,
        peers: Peers<'a>,
    ) -> Self {
        Self {
            plan,
            judge,
            epoch,
            learning_rate,
            // The generator depends on seed and epoch, so that a resumed run draws the same numbers; and on the process, because each has
            // images of its own.
            random: ChaCha8Rng::seed_from_u64(seed ^ ((epoch as u64 + 1) << 32) ^ (peers.rank() << 48)),
            steps_per_epoch: batches.div_ceil(plan.phase.optimizer.gradient_accumulation_steps.max(1)) as u64,
            size: StepSize { learning_rate, momentum: None },
            running: Accumulator::default(),
            unread: Vec::new(),
            last: 0.0,
            done: 0,
            waiting: 0,
            seconds: 0.0,
            peers,
        }
    }

    /// Runs one batch, for which the teacher's answers are `teacher`, forward and backward, and updates the parameters if as many batches
    /// wait as a step takes together.
    pub(crate) fn step(
        &mut self,
        executor: &mut dyn Executor,
        portion: Portion,
        teacher: Option<Answer>,
    ) -> Result<(), TrainError> {
        let began = Instant::now();
        let Judge { loss, task, classes, class_weights } = self.judge;
        let Portion { boundary, labels, mix, .. } = portion;
        let count = StepCount {
            steps_per_epoch: self.steps_per_epoch,
            total: self.steps_per_epoch * self.plan.phase.epochs as u64,
        };
        let size = self.plan.phase.schedule.step_size(self.learning_rate, executor.steps(), count);
        let wanted = Wanted::new(*task, *classes, &labels)?;
        let weights = match (class_weights, &wanted) {
            (Some(weights), Wanted::Classes(labels)) => Some(sample_weights(weights, labels)),
            (_, Wanted::Sets(_)) | (None, _) => None,
        };
        let mixed = mix.map(|mix| mix.targets(&labels, *classes));
        let aim = Aim {
            loss,
            targets: wanted.targets(mixed.as_deref()),
            weights: weights.as_deref(),
            teacher: teacher.as_ref(),
        };
        if !labels.is_empty() {
            executor.gradient(&boundary, labels.len(), &aim, &mut self.random)?;
        }
        self.size = size;
        self.done += 1;
        self.waiting += 1;
        if self.waiting >= self.plan.phase.optimizer.gradient_accumulation_steps {
            self.update(executor)?;
        }
        self.unread.push(Unread { batch: self.done, wanted, images: labels.len(), learning_rate: size.learning_rate });
        if self.unread.len() >= executor.steps_between_readings() {
            self.read(executor)?;
        }
        self.seconds += began.elapsed().as_secs_f64();
        Ok(())
    }

    /// Takes the last step of the epoch if batches still wait for one, and reads what has not been read.
    ///
    /// # Errors
    /// Those of [`TrainingEpoch::read`].
    pub(crate) fn finish(&mut self, executor: &mut dyn Executor) -> Result<(), TrainError> {
        if self.waiting > 0 {
            self.update(executor)?;
        }
        self.read(executor)
    }

    fn update(&mut self, executor: &mut dyn Executor) -> Result<(), TrainError> {
        if !self.peers.is_alone() {
            executor.join(self.peers)?;
        }
        executor.update(self.size);
        self.waiting = 0;
        Ok(())
    }

    /// Reads the losses and outputs of the batches that have not been read.
    ///
    /// # Errors
    /// The loss or an output of a batch is infinite or not a number.
    pub(crate) fn read(&mut self, executor: &mut dyn Executor) -> Result<(), TrainError> {
        let mut readings = executor.readings().into_iter();
        for Unread { batch, wanted, images, learning_rate } in self.unread.drain(..) {
            let (mut own, mut scalar) = (Accumulator::default(), 0.0);
            // A process without images of a batch has no reading of it.
            if let Some(Reading { loss, outputs }) = (images > 0).then(|| readings.next()).flatten() {
                scalar = loss;
                let outputs = Outputs::new(&outputs, outputs.len() / images);
                own.add(&self.judge.loss, scalar, outputs, wanted.targets(None));
            }
            if !self.peers.is_alone() {
                own = own.joined(self.peers)?;
                scalar = own.loss();
            }
            self.last = scalar;
            self.running.merge(&own);
            if !self.running.is_finite() {
                let what = match scalar.is_finite() {
                    true => "the network's outputs became infinite or not a number".to_owned(),
                    false => format!("the loss became {scalar}"),
                };
                return Err(TrainError::Diverged { epoch: self.epoch + 1, batch: Some(batch), what, learning_rate });
            }
        }
        Ok(())
    }
}

/// The result of a pass over the validation images.
pub(crate) struct Validated {
    /// Mean loss and accuracy.
    pub(crate) figures: Accumulator,
    /// The network's answer for each image.
    pub(crate) answers: Answers,
    /// Position of each image in the dataset, in the order of the predictions.
    pub(crate) images: Vec<usize>,
}

/// Runs the validation images through the network, batch by batch, until it is stopped. Each process gets the answers of all processes.
pub(crate) fn validate(
    judge: &Judge,
    feed: &mut Feed<'_>,
    executor: &mut dyn Executor,
    stop: &AtomicBool,
    peers: Peers<'_>,
) -> Result<Validated, TrainError> {
    let loss = &judge.loss;
    let (mut running, mut answers) = (Accumulator::default(), Answers::new(judge.task, judge.classes));
    let mut judged = Vec::new();
    let (mut stopped, dataset) = (false, feed.loader().dataset());
    while let Some(Portion { boundary, batch, images, labels, .. }) = feed.next(executor.prefix())? {
        let outputs = if labels.is_empty() { Vec::new() } else { executor.forward(&boundary, labels.len())? };
        let said = Said { images, labels, outputs };
        let Said { images, labels, outputs } = peers.join(said, &batch, dataset, judge.units())?;
        if labels.is_empty() {
            continue;
        }
        let outputs = Outputs::new(&outputs, outputs.len() / labels.len());
        let wanted = Wanted::new(judge.task, judge.classes, &labels)?;
        let targets = wanted.targets(None);
        running.add(loss, loss.value(outputs, targets, None)?, outputs, targets);
        answers.take(loss, outputs, &wanted);
        judged.extend(images);
        stopped = peers.stopped(stop)?;
        if stopped {
            break;
        }
    }
    if running.count() == 0 && !stopped {
        return Err(TrainError::NoImages { subset: "validation" });
    }
    Ok(Validated { figures: running, answers, images: judged })
}
