//! Trainings in parts: paused between epochs, side by side on shared features, and tried with growing learning rates.

use std::sync::atomic::AtomicBool;

use burn_tensor::Device;
use injerto_graph::Selection;
use injerto_recipe::{BatchNorm, Callbacks, EarlyStopping, Metric, OptimizerConfig, Rule, Sgd};
use injerto_trainer::{Checkpoints, Fit, Model, Paused, Phase, RangeTest, Watch};

use crate::{from, loader, model, phase, plans, settings, timeless, train};

/// A head with moving averages that early stopping ends, and then a part of the backbone.
fn two_phases() -> [Phase; 2] {
    let early =
        EarlyStopping { monitor: Metric::ValLoss, patience: 1, restore_best_weights: true, ..Default::default() };
    let callbacks = Callbacks { early_stopping: Some(early), ..Callbacks::default() };
    let head = phase("head", 6, from("output"), BatchNorm::Frozen);
    let optimizer = OptimizerConfig { ema_momentum: Some(0.9), ..OptimizerConfig::adam(0.2) };
    [Phase { callbacks, optimizer, ..head }, phase("tuning", 3, from("conv_2"), BatchNorm::Update)]
}

fn fit(phases: &[Phase]) -> Fit {
    let (train, validation, settings) = (loader(6, 0), loader(3, 1), settings(1 << 20));
    let plans = plans(phases, &model(), (&train, Some(&validation)), None, &settings);
    Fit { train, validation: Some(validation), plans, settings, checkpoints: None }
}

fn watched<T>(work: impl FnOnce(&mut Watch<'_>) -> T) -> T {
    work(&mut Watch { observer: &mut (), stop: &AtomicBool::new(false) })
}

#[test]
fn a_training_that_pauses_and_is_written_down_trains_the_same_network() {
    let (phases, at) = (two_phases(), tempfile::tempdir().expect("a folder"));
    let (whole, history) = train(&phases, 1 << 20);
    assert!(history.len() > 3 && history[history.len() - 1].phase == "tuning", "{history:?}");
    for step in [1, 2] {
        let (mut paused, mut last) = (None, model());
        for epochs in (1..=history.len() + step).step_by(step) {
            // Each part begins with the network of the beginning, as in another process.
            last = model();
            let fit = fit(&phases);
            let (fitted, now) = watched(|watch| fit.run_until(epochs, paused, &mut last, None, watch)).expect("trains");
            let now: Paused = now.expect("nobody stops it");
            assert_eq!((fitted.history.len(), fitted.interrupted), (epochs.min(history.len()), false));
            let file = at.path().join("paused");
            now.save(&file).expect("written");
            paused = Some(Paused::load(&file).expect("the same"));
        }
        let paused = paused.expect("it ran");
        assert_eq!(timeless(paused.progress.history.clone()), history, "every {step}");
        assert!(paused.progress.is_complete(&phases));
        assert_eq!(last.network.weights(), whole.network.weights(), "every {step}");
        // Its checkpoints are those of a training that wrote them.
        let (ours, theirs) = (at.path().join(format!("ours-{step}")), at.path().join(format!("theirs-{step}")));
        for folder in [&ours, &theirs] {
            std::fs::create_dir(folder).expect("made");
        }
        paused.write(&model(), &Checkpoints::new(&ours, true)).expect("written");
        let fit = Fit { checkpoints: Some(Checkpoints::new(&theirs, true)), ..fit(&phases) };
        watched(|watch| fit.run(&mut model(), None, watch)).expect("trains");
        for file in [Checkpoints::BEST, Checkpoints::LAST] {
            let weights = |folder: &std::path::Path| {
                Model::load(&folder.join(file), &Device::flex()).expect("a checkpoint").network.weights()
            };
            assert_eq!(weights(&ours), weights(&theirs), "{file}, every {step}");
        }
        let state = |folder: &std::path::Path| {
            Checkpoints::new(folder, true).resume(&mut model()).expect("a checkpoint").expect("there").optimizer
        };
        assert_eq!(state(&ours), state(&theirs), "every {step}");
    }
}

#[test]
fn trainings_on_shared_features_are_those_that_each_of_them_computes_alone() {
    let head = |rate: f64| Phase {
        optimizer: OptimizerConfig::adam(rate),
        ..phase("head", 3, from("output"), BatchNorm::Frozen)
    };
    let shared = watched(|watch| fit(&[head(0.01)]).gather(&model(), watch));
    let shared = shared.expect("computed").expect("nobody stops it").shared();
    let found: Vec<_> = std::thread::scope(|scope| {
        let train = |rate: f64| {
            let (fit, mut model) = (fit(&[head(rate)]), model());
            let gathered = shared.gathered(&fit.plans[0]);
            assert!(gathered.is_some());
            let (fitted, _) = watched(|watch| fit.run_until(3, None, &mut model, gathered, watch)).expect("trains");
            (timeless(fitted.history), model.network.weights())
        };
        let threads = [0.003, 0.03].map(|rate| scope.spawn(move || train(rate)));
        threads.into_iter().map(|thread| thread.join().expect("it trains")).collect()
    });
    for (rate, (history, weights)) in [0.003, 0.03].into_iter().zip(found) {
        let (alone, expected) = super::train(&[head(rate)], 1 << 20);
        assert_eq!(history, expected, "{rate}");
        assert_eq!(weights, alone.network.weights(), "{rate}");
    }
    // A phase with another cut has other features.
    let deeper = fit(&[phase("all", 1, from("conv_2"), BatchNorm::Frozen)]);
    assert!(shared.gathered(&deeper.plans[0]).is_none());
}

#[test]
fn a_range_test_tries_rates_that_grow_until_the_loss_does() {
    let sgd = OptimizerConfig { rule: Rule::Sgd(Sgd::default()), ..OptimizerConfig::adam(1e-3) };
    let head = Phase { optimizer: sgd, ..phase("head", 1, from("output"), BatchNorm::Frozen) };
    let all = phase("all", 1, Selection::All, BatchNorm::Update);
    let test = RangeTest { low: 1e-4, high: 1e6, steps: 40, ..RangeTest::default() };
    let find = |phases: &[Phase], phase: usize| {
        let found = watched(|watch| fit(phases).range_test(phase, &test, &mut model(), watch));
        found.expect("an answer").expect("nobody stops it")
    };
    let found = find(&[head.clone(), all.clone()], 0);
    assert!(found.diverged && found.points.len() < 40, "{} steps", found.points.len());
    // 18 images in batches of five: the steps go on over the epochs.
    assert!(found.points.len() > 8, "{} steps", found.points.len());
    let factor = 1e10f64.powf(1.0 / 39.0);
    for pair in found.points.windows(2) {
        assert!((pair[1].learning_rate / pair[0].learning_rate / factor - 1.0).abs() < 1e-9, "{pair:?}");
    }
    assert!((found.points[0].learning_rate - 1e-4).abs() < 1e-12);
    assert_eq!(find(&[head.clone(), all.clone()], 0), found, "the test is that of the seed");
    // The second phase is tried after the first has trained.
    assert_ne!(find(&[head, all], 1).points[0].loss, found.points[0].loss);
}
