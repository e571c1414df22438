//! One pass over the training images or over the validation images.

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use injerto_losses::{Loss, sample_weights};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::TrainError;
use crate::executor::Executor;
use crate::feed::{Feed, Portion};
use crate::metrics::{Accumulator, Predictions};
use crate::optimizer::StepSize;
use crate::plan::PhasePlan;
use crate::schedule::StepCount;

/// What outputs are judged by.
#[derive(Clone)]
pub(crate) struct Judge {
    pub(crate) loss: Loss,
    /// Number of classes.
    pub(crate) classes: usize,
    /// Where outputs are.
    pub(crate) device: Device,
    /// What the loss of a training image of each class is multiplied by; `None`: by 1.
    pub(crate) class_weights: Option<Vec<f32>>,
}

/// The steps of an epoch.
pub(crate) struct TrainingEpoch<'a> {
    plan: &'a PhasePlan,
    judge: &'a Judge,
    /// Of the whole run, from 0.
    epoch: usize,
    /// What the schedule starts from.
    learning_rate: f64,
    /// For each step of dropout's masks.
    random: ChaCha8Rng,
    steps_per_epoch: u64,
    /// Of the last step.
    pub(crate) size: StepSize,
    /// Mean loss and accuracy so far.
    pub(crate) running: Accumulator,
    /// Steps done.
    pub(crate) done: usize,
    /// Seconds in steps.
    pub(crate) seconds: f64,
}

impl<'a> TrainingEpoch<'a> {
    /// Epoch number `epoch` of the whole run, from 0, with `steps` steps that start from `learning_rate`.
    pub(crate) fn new(
        plan: &'a PhasePlan,
        judge: &'a Judge,
        seed: u64,
        epoch: usize,
        steps: usize,
        learning_rate: f64,
    ) -> Self {
        Self {
            plan,
            judge,
            epoch,
            learning_rate,
            // From seed and epoch, so that a resumed run draws what the first would have drawn.
            random: ChaCha8Rng::seed_from_u64(seed ^ ((epoch as u64 + 1) << 32)),
            steps_per_epoch: steps as u64,
            size: StepSize { learning_rate, momentum: None },
            running: Accumulator::default(),
            done: 0,
            seconds: 0.0,
        }
    }

    /// One batch forward, backward, and into the optimiser.
    pub(crate) fn step(&mut self, executor: &mut dyn Executor, portion: &Portion) -> Result<(), TrainError> {
        let began = Instant::now();
        let Judge { loss, classes, device, class_weights } = self.judge;
        let labels = portion.labels.as_slice();
        let count = StepCount {
            steps_per_epoch: self.steps_per_epoch,
            total: self.steps_per_epoch * self.plan.phase.epochs as u64,
        };
        let size = self.plan.phase.schedule.step_size(self.learning_rate, executor.optimizer().steps(), count);
        let weights = class_weights.as_deref().map(|weights| sample_weights(weights, labels));
        let (running, epoch, batch) = (&mut self.running, self.epoch + 1, self.done + 1);
        let mut loss_of = |outputs: Tensor<2>| {
            let weights = weights.as_ref().map(|weights| Tensor::<1>::from_floats(weights.as_slice(), device));
            let value = match &portion.mix {
                Some(mix) => {
                    let soft = TensorData::new(mix.targets(labels, *classes), [labels.len(), *classes]);
                    loss.forward_soft(outputs.clone(), Tensor::<2>::from_data(soft, device), weights)?
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
            Err(TrainError::Diverged { epoch, batch: Some(batch), what, learning_rate: size.learning_rate })
        };
        executor.step(&portion.boundary, labels.len(), &mut loss_of, size, &mut self.random)?;
        self.size = size;
        self.done += 1;
        self.seconds += began.elapsed().as_secs_f64();
        Ok(())
    }
}

/// What the network says of the validation images, batch by batch, until `go_on` says no.
pub(crate) fn validate(
    judge: &Judge,
    feed: &mut Feed<'_>,
    executor: &mut dyn Executor,
    go_on: &dyn Fn() -> bool,
) -> Result<(Accumulator, Predictions), TrainError> {
    let loss = &judge.loss;
    let (mut running, mut predictions) = (Accumulator::default(), Predictions::new(judge.classes));
    while let Some(Portion { boundary, labels, .. }) = feed.next(executor)? {
        let outputs = executor.forward(&boundary, labels.len())?;
        let value = loss.forward(outputs.clone(), &labels, None)?;
        running.add(loss, f64::from(value.into_scalar::<f32>()), &outputs, &labels);
        predictions.take(loss, outputs, &labels);
        if !go_on() {
            break;
        }
    }
    if running.count() == 0 && go_on() {
        return Err(TrainError::NoImages { subset: "validation" });
    }
    Ok((running, predictions))
}
