//! What Burn's operators copy from the device while they train. A copy waits for the device, and whatever stays there costs nothing.

use std::cell::Cell;
use std::sync::atomic::AtomicBool;

use injerto_data::augment::{Augmentation, FlipMode};
use injerto_data::{Loader, LoaderOptions};
use injerto_graph::Selection;
use injerto_recipe::{BatchNorm, Clip, OptimizerConfig};
use injerto_trainer::{Event, Fit, Observer, Phase, Settings, Watch};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use crate::{from, loader, model, phase, plans, settings};

thread_local! {
    /// Number of copies from the device that this thread has made.
    static COPIES: Cell<usize> = const { Cell::new(0) };
}

/// Counts copies from the device, each of which is traced.
struct Counter;

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "injerto::device"
    }

    fn event(&self, _: &tracing::Event<'_>) {
        COPIES.set(COPIES.get() + 1);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Notes how many copies each batch of training has made.
#[derive(Default)]
struct PerBatch {
    before: usize,
    copies: Vec<usize>,
}

impl Observer for PerBatch {
    fn observe(&mut self, event: &Event<'_>) {
        let now = COPIES.get();
        if let Event::Batch { done: 1.., .. } = event {
            self.copies.push(now - self.before);
        }
        self.before = now;
    }
}

/// The copies of each batch of an epoch of 36, whose images change in every epoch if `augmented`.
fn copies(optimizer: OptimizerConfig, selection: Selection, augmented: bool) -> Vec<usize> {
    let (plain, validation, stop) = (loader(60, 0), loader(1, 1), AtomicBool::new(false));
    let augment = if augmented { vec![Augmentation::RandomFlip { mode: FlipMode::Horizontal }] } else { Vec::new() };
    let train = Loader::new(plain.dataset().clone(), LoaderOptions { augment, ..plain.options().clone() });
    let (mut model, settings) = (model(), Settings { kernels: false, ..settings(1 << 20) });
    let phases = [Phase { optimizer, ..phase("one", 1, selection, BatchNorm::Update) }];
    let plans = plans(&phases, &model, (&train, Some(&validation)), None, &settings);
    let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: None };
    let mut counted = PerBatch::default();
    fit.run(&mut model, None, &mut Watch { observer: &mut counted, stop: &stop }).expect("trains");
    counted.copies
}

/// Parameters, gradients, running statistics, moments and averages stay on the device, whatever the optimiser does with them, and so
/// does the boundary between a prefix and a tail that run one after the other.
#[test]
fn a_step_on_a_device_copies_nothing_to_the_host_but_every_sixteenth_the_losses_and_outputs_since() {
    // For all threads: of a place where tests on other threads were first, a subscriber of this thread alone might never hear.
    tracing::subscriber::set_global_default(Counter).expect("no other test needs one");
    tracing::callsite::rebuild_interest_cache();
    // Losses and outputs of several steps are one copy each. Those of the last four are read when the epoch ends.
    let expected: Vec<usize> = (1..=36).map(|batch| if batch % 16 == 0 { 2 } else { 0 }).collect();
    let everything = OptimizerConfig {
        clip: Some(Clip::GlobalNorm(0.5)),
        ema_momentum: Some(0.9),
        gradient_accumulation_steps: 3,
        ..OptimizerConfig::adam(1e-3)
    };
    for optimizer in [OptimizerConfig::adam(1e-3), everything] {
        for (selection, augmented) in
            [(Selection::All, false), (from("conv_2"), false), (from("conv_2"), true), (from("output"), true)]
        {
            let found = copies(optimizer.clone(), selection.clone(), augmented);
            // The event of a batch follows its step, so the batch of the last epoch's end is not among them.
            assert_eq!(found, expected, "{optimizer:?}, {selection:?}, augmented: {augmented}");
        }
    }
}
