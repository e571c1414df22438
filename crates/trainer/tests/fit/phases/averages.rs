//! Gradients of several batches, and averages of weights, moving ones and those over epochs.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn_tensor::Device;
use injerto_backbones::weights::Weights;
use injerto_data::{Loader, LoaderOptions};
use injerto_graph::Selection;
use injerto_recipe::{BatchNorm, Schedule, Swa};
use injerto_trainer::{Fit, Fitted, Model, Phase, Settings, Watch};

use super::{Watcher, loader, model, phase, run, settings, timeless, whole};
use crate::plans;

/// Trains through `phases` with batches of this size.
fn trained(phases: &[Phase], batch_size: usize, kernels: bool) -> (Model, Fitted) {
    let loader = |series, shuffle| {
        let loader = loader(series, shuffle);
        Loader::new(loader.dataset().clone(), LoaderOptions { batch_size, ..loader.options().clone() })
    };
    let (train, validation, mut model) = (loader(0, Some(9)), loader(1, None), model());
    let settings = Settings { class_weights: Some(vec![1.0, 0.5, 2.0]), kernels, ..settings() };
    let plans = plans(phases, &model, (&train, Some(&validation)), None, &settings);
    let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: None };
    let stop = AtomicBool::new(false);
    let mut watcher = Watcher { epochs: None, stop: &stop, stopped_early: 0, reduced: 0 };
    let fitted = fit.run(&mut model, None, &mut Watch { observer: &mut watcher, stop: &stop }).expect("it trains");
    (model, fitted)
}

/// Trains the last layer for three epochs with batches of this size, `joined` of them to a step.
fn accumulated(batch_size: usize, joined: usize, kernels: bool) -> (Model, Fitted) {
    let optimizer = format!(
        r#"{{"name": "adam", "learning_rate": 0.05, "global_clipnorm": 0.5, "gradient_accumulation_steps": {joined}}}"#
    );
    let schedule: Schedule = serde_json::from_str(r#"{"name": "cosine", "warmup": 2}"#).expect("a schedule");
    trained(&[Phase { schedule, ..phase("one", 3, &Selection::Last(1), &optimizer) }], batch_size, kernels)
}

#[test]
fn accumulated_gradients_train_as_one_large_batch_does() {
    for kernels in [true, false] {
        // Fifteen images: four, four, four and three are eight and seven.
        let (expected, at_once) = accumulated(8, 1, kernels);
        let (found, in_parts) = accumulated(4, 2, kernels);
        let (other, _) = accumulated(4, 1, kernels);
        let farthest = |model: &Model| {
            let (all, expected) = (model.network.weights(), expected.network.weights());
            let values = expected.iter().flat_map(|(name, values)| {
                let found = &all.get(name).expect("the same network").data;
                values.data.iter().zip(found).map(|(a, b)| (a - b).abs()).collect::<Vec<f32>>()
            });
            values.fold(0.0, f32::max)
        };
        assert!(farthest(&found) < 1e-5, "kernels {kernels}: {}", farthest(&found));
        assert!(farthest(&other) > 1e-3, "small batches train otherwise");
        for (a, b) in at_once.history.iter().zip(&in_parts.history) {
            assert_eq!((a.accuracy, a.learning_rate), (b.accuracy, b.learning_rate), "the schedule counts steps");
            assert!((a.loss - b.loss).abs() < 1e-5 && a.val_accuracy == b.val_accuracy);
        }
    }
}

/// The weights at the end of an epoch, of which `run` keeps a file each.
fn of_epoch(folder: &Path, epoch: usize) -> Weights {
    let path = folder.join(format!("epoch-{epoch:03}.safetensors"));
    Model::load(&path, &Device::flex()).expect("a checkpoint").network.weights()
}

#[test]
fn stochastic_weight_averaging_judges_epochs_by_the_mean_of_their_weights() {
    let sgd = r#"{"name": "sgd", "learning_rate": 0.1, "momentum": 0.5}"#;
    // No statistics move, so that the weights of both runs are the same until an average is judged.
    let frozen = |epochs: usize, swa: Option<Swa>| {
        [Phase { swa, batch_norm: BatchNorm::Frozen, ..phase("one", epochs, &Selection::All, sgd) }]
    };
    let [plain, averaged, stopped] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let swa = Some(Swa { start_epoch: 3 });
    let raw = run(&frozen(5, None), plain.path(), None, None);
    let mean = run(&frozen(5, swa), averaged.path(), None, None);
    for (a, b) in raw.fitted.history.iter().zip(&mean.fitted.history) {
        assert_eq!((a.loss, a.accuracy), (b.loss, b.accuracy), "training goes on with the last weights");
        assert_eq!(a.val_loss == b.val_loss, a.epoch <= 3, "from the second weights on, a mean is judged");
    }
    for last in [3, 4, 5] {
        let weights: Vec<Weights> = (3..=last).map(|epoch| of_epoch(plain.path(), epoch)).collect();
        for (name, found) in of_epoch(averaged.path(), last).iter() {
            for (at, found) in found.data.iter().enumerate() {
                let each = weights.iter().map(|weights| weights.get(name).expect("the same network").data[at]);
                let expected = each.sum::<f32>() / weights.len() as f32;
                assert!((found - expected).abs() < 1e-6, "{name} after epoch {last}: {found} is not {expected}");
            }
        }
    }
    assert_eq!(mean.model.network.weights(), of_epoch(averaged.path(), 5), "the mean stays");
    // A run that is stopped in between, and one that gets more epochs, end with the same bits.
    let moving = |epochs: usize| [Phase { swa, ..phase("one", epochs, &Selection::All, sgd) }];
    let expected = whole(&moving(6));
    run(&moving(4), stopped.path(), None, Some(3));
    run(&moving(4), stopped.path(), None, None);
    let found = run(&moving(6), stopped.path(), None, None);
    assert_eq!(timeless(&found.fitted), timeless(&expected.fitted));
    assert_eq!(found.model.network.weights(), expected.model.network.weights());
}

#[test]
fn the_running_statistics_of_averaged_weights_are_the_mean_over_the_batches() {
    // With a learning rate of next to nothing the weights stay, and so does what the normalisation gets. All images together have the
    // mean of their batches, to which the usual moving average comes in many epochs.
    let still = r#"{"name": "sgd", "learning_rate": 1e-12}"#;
    let phases = [Phase { swa: Some(Swa { start_epoch: 1 }), ..phase("one", 2, &Selection::All, still) }];
    for kernels in [true, false] {
        let statistics = |phases: &[Phase], batch_size: usize, name: &str| {
            let weights = trained(phases, batch_size, kernels).0.network.weights();
            weights.get(name).expect("a statistic").data.clone()
        };
        let found = statistics(&phases, 4, "norm/moving_mean");
        let expected = statistics(&[phase("one", 120, &Selection::All, still)], 15, "norm/moving_mean");
        let usual = statistics(&[phase("one", 2, &Selection::All, still)], 4, "norm/moving_mean");
        let farthest = |a: &[f32]| a.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(farthest(&found) < 1e-4, "kernels {kernels}: {found:?} is not {expected:?}");
        assert!(farthest(&usual) > 1e-3, "the usual moving average has not come there");
        // With all images in one batch, the variances are the same too.
        let found = statistics(&phases, 15, "norm/moving_variance");
        let expected = statistics(&[phase("one", 120, &Selection::All, still)], 15, "norm/moving_variance");
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4 * b.abs().max(1.0);
        assert!(found.iter().zip(&expected).all(near), "kernels {kernels}: {found:?} is not {expected:?}");
    }
}

#[test]
fn averages_replace_the_weights_at_the_end() {
    let optimizer = |rest: &str| format!(r#"{{"name": "sgd", "learning_rate": 0.1{rest}}}"#);
    let plain = whole(&[phase("one", 2, &Selection::All, &optimizer(""))]);
    // With a momentum of zero, the averages are the weights themselves.
    let same = whole(&[phase("one", 2, &Selection::All, &optimizer(r#", "ema_momentum": 0.0"#))]);
    assert_eq!(plain.model.network.weights(), same.model.network.weights());
    let slow = whole(&[phase("one", 2, &Selection::All, &optimizer(r#", "ema_momentum": 0.99"#))]);
    assert_ne!(plain.model.network.weights(), slow.model.network.weights());
    // Training does not use the averages, but validation does.
    assert_eq!(plain.fitted.history[1].loss, slow.fitted.history[1].loss);
    assert_ne!(plain.fitted.history[1].val_loss, slow.fitted.history[1].val_loss);
}
