use std::sync::atomic::{AtomicBool, Ordering};

use crate::history::EpochRecord;
use crate::metrics::Answers;
use crate::plan::PhasePlan;

/// An event of a run, to be shown or recorded.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A phase begins.
    PhaseBegan {
        /// Its name.
        name: &'a str,
        /// Its place among the phases, counted from 0, and the number of phases.
        place: (usize, usize),
        /// Number of its epochs.
        epochs: usize,
        /// Number of parameter values that train.
        trainable: usize,
        /// Number of parameter values that do not train.
        non_trainable: usize,
        /// Numbers of layers in the frozen prefix and in the trainable tail.
        layers: (usize, usize),
        /// Number of values of the boundary per image.
        boundary: usize,
    },
    /// The frozen prefix has processed this many images. It runs once per image, not once per epoch.
    Prefix {
        /// Images done.
        done: usize,
        /// All images.
        total: usize,
    },
    /// The network has run over this many images, in inference and for no training: an evaluation, or advice.
    Evaluated {
        /// Images done.
        done: usize,
        /// All images.
        total: usize,
    },
    /// The knowledge of the training images has been kept with the model.
    KnowledgeKept {
        /// Images whose features are kept.
        images: usize,
        /// How long it took.
        seconds: f64,
    },
    /// Another training of the same network begins, to compare with.
    ComparisonBegan {
        /// Its seed.
        seed: u32,
        /// Whether it begins with fresh weights instead of the backbone's.
        from_scratch: bool,
    },
    /// A logistic regression was fitted to the kept features, before the first epoch.
    Probed {
        /// Share of the validation images that it predicts right.
        accuracy: f64,
        /// The 95 % interval of the accuracy.
        interval: [f64; 2],
        /// Number of validation images.
        n: usize,
        /// Seconds that it took.
        seconds: f64,
    },
    /// Something was found out about the images that the user should know; a sentence in lower case.
    Noticed {
        /// The sentence.
        what: &'a str,
    },
    /// An epoch is the best so far. Its checkpoint is written after this.
    Best {
        /// Number of the epoch, counted from 1 over the whole run.
        epoch: usize,
        /// The network's answers for the validation images.
        answers: &'a Answers,
        /// Position of each of these images in the dataset.
        images: &'a [usize],
    },
    /// A batch of training images is done.
    Batch {
        /// Epoch, counted from 1 over the whole run.
        epoch: usize,
        /// Batches done in this epoch.
        done: usize,
        /// Batches in this epoch.
        total: usize,
        /// Mean loss of the epoch so far.
        loss: f64,
        /// Accuracy of the epoch so far.
        accuracy: f64,
    },
    /// An epoch is over and its checkpoint is written.
    EpochEnded {
        /// The record of the epoch.
        record: &'a EpochRecord,
        /// Whether it is the best so far.
        best: bool,
    },
    /// The learning rate was reduced, because the monitored figure did not improve.
    RateReduced {
        /// The epoch after which it happened.
        epoch: usize,
        /// The new learning rate.
        learning_rate: f64,
    },
    /// A phase ended before its last epoch, because the monitored figure did not improve.
    StoppedEarly {
        /// The epoch after which it happened.
        epoch: usize,
        /// Name of the phase.
        phase: &'a str,
    },
}

impl<'a> Event<'a> {
    /// The event that the phase of `plan` begins. `place` is that among the phases, and the number of phases.
    pub(crate) fn phase_began(plan: &'a PhasePlan, place: (usize, usize)) -> Self {
        Self::PhaseBegan {
            name: &plan.phase.name,
            place,
            epochs: plan.phase.epochs,
            trainable: plan.trainable,
            non_trainable: plan.non_trainable,
            layers: (plan.split().prefix.len(), plan.split().tail.len()),
            boundary: plan.boundary_values,
        }
    }
}

/// Receives the events of a run, for example to draw a progress bar or to write a history file.
pub trait Observer {
    /// Receives an event. An observer that can fail keeps its error until it is asked for it.
    fn observe(&mut self, event: &Event<'_>);
}

/// The observer of a long call, and the flag that ends the call from outside. It is borrowed for that call.
pub struct Watch<'a> {
    /// The observer.
    pub observer: &'a mut dyn Observer,
    /// If set from outside, it ends the work after the current batch.
    pub stop: &'a AtomicBool,
}

impl Watch<'_> {
    /// Whether the work is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Ignores all events.
impl Observer for () {
    fn observe(&mut self, _: &Event<'_>) {}
}

/// Passes each event to the first observer, then to the second.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn observe(&mut self, event: &Event<'_>) {
        self.0.observe(event);
        self.1.observe(event);
    }
}

impl<T: Observer + ?Sized> Observer for &mut T {
    fn observe(&mut self, event: &Event<'_>) {
        (**self).observe(event);
    }
}

impl<T: Observer + ?Sized> Observer for Box<T> {
    fn observe(&mut self, event: &Event<'_>) {
        (**self).observe(event);
    }
}
