use std::sync::atomic::{AtomicBool, Ordering};

use crate::history::EpochRecord;

/// What happens during a run, for whoever shows or records it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A phase begins.
    PhaseBegan {
        /// Its name.
        name: &'a str,
        /// Its place among the phases, from 0, and how many there are.
        place: (usize, usize),
        /// Epochs that it has.
        epochs: usize,
        /// Values that train.
        trainable: usize,
        /// Values that do not.
        non_trainable: usize,
        /// Layers in the frozen prefix and in the trainable tail.
        layers: (usize, usize),
        /// Values that cross from prefix to tail per image.
        boundary: usize,
    },
    /// The frozen prefix has run over this many images; it runs once per image, not once per epoch.
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
    /// Another training of the same network begins, to compare with.
    ComparisonBegan {
        /// Its seed.
        seed: u32,
        /// Whether it begins with fresh weights instead of the backbone's.
        from_scratch: bool,
    },
    /// A training step is done.
    Batch {
        /// Epoch, from 1 over the whole run.
        epoch: usize,
        /// Steps done in this epoch.
        done: usize,
        /// Steps in this epoch.
        total: usize,
        /// Mean loss of the epoch so far.
        loss: f64,
        /// Accuracy of the epoch so far.
        accuracy: f64,
    },
    /// An epoch is over and its checkpoint is written.
    EpochEnded {
        /// What it brought.
        record: &'a EpochRecord,
        /// Whether it is the best so far.
        best: bool,
    },
    /// The learning rate has fallen, because the watched figure did not move.
    RateReduced {
        /// After this epoch.
        epoch: usize,
        /// What it is now.
        learning_rate: f64,
    },
    /// A phase ended before its last epoch, because the watched figure did not move.
    StoppedEarly {
        /// After this epoch.
        epoch: usize,
        /// Name of the phase.
        phase: &'a str,
    },
}

/// Somebody who is told what happens: a progress bar, a history file.
pub trait Observer {
    /// Something happened. An observer that can fail keeps its error until it is asked.
    fn observe(&mut self, event: &Event<'_>);
}

/// Who watches a call that takes its time: who is told what happens, and what ends it from outside. It is borrowed for that call.
pub struct Watch<'a> {
    /// Who is told.
    pub observer: &'a mut dyn Observer,
    /// Set from outside, it ends the work after the current batch.
    pub stop: &'a AtomicBool,
}

impl Watch<'_> {
    /// Whether the work is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Tells nobody.
impl Observer for () {
    fn observe(&mut self, _: &Event<'_>) {}
}

/// Tells the first, then the second.
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
