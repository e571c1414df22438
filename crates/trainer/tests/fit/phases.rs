//! Trains a small network in phases with schedules, callbacks, moving averages and class weights.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn_tensor::Device;
use injerto_backbones::weights::{Precision, Weights};
use injerto_data::augment::{Augmentation, FlipMode};
use injerto_data::decode::Orientation;
use injerto_data::generated::Task;
use injerto_data::{Dataset, Loader, LoaderOptions};
use injerto_graph::{Activation, Builder, FreezePlan, Graph, Operator, Preprocessing, Selection};
use injerto_kernels::inference::{Arithmetic, Unit};
use injerto_recipe::{
    BatchNorm, Callbacks, EarlyStopping, FeaturePrecision, Loss, Metric, Mode, OptimizerConfig, ReduceOnPlateau,
    Schedule, Swa,
};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::history::{Best, EpochRecord};
use injerto_trainer::metrics::{Figures, Report};
use injerto_trainer::{
    Arithmetics, Checkpoints, Event, Fit, Fitted, Model, ModelCard, Observer, Phase, Progress, Settings, TrainError,
    Watch,
};

use super::plans;

const CLASSES: usize = 3;

fn graph() -> Graph {
    let mut net = Builder::new("tiny");
    let x = net.input([12, 12, 3]);
    let conv = r#"{"class": "Conv2D", "config": {"filters": 4, "kernel_size": [3, 3], "strides": [2, 2]}}"#;
    let norm = r#"{"class": "BatchNormalization", "config": {"momentum": 0.9}}"#;
    let x = net.add("conv", serde_json::from_str::<Operator>(conv).expect("an operator"), &[x]);
    let x = net.add("norm", serde_json::from_str::<Operator>(norm).expect("an operator"), &[x]);
    let x = net.add("relu", Operator::ReLU { max_value: None, negative_slope: 0.0 }, &[x]);
    let x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    let x = net.add(
        "drop",
        serde_json::from_str::<Operator>(r#"{"class": "Dropout", "config": {"rate": 0.2}}"#).expect("one"),
        &[x],
    );
    net.add("dense", Operator::Dense { units: CLASSES, use_bias: true, activation: Activation::Softmax }, &[x]);
    net.finish().expect("a graph")
}

fn model() -> Model {
    let graph = graph();
    let card = ModelCard {
        backbone: None,
        backbone_layers: 5,
        preprocessing: Preprocessing::zero_to_one(),
        crop_to_aspect_ratio: false,
        interpolation: injerto_graph::Interpolation::Bilinear,
        exif_orientation: Orientation::Ignore,
        scaled_decoding: false,
        classes: (0..CLASSES).map(|class| format!("class {class}")).collect(),
        loss: Loss::SparseCategoricalCrossentropy { from_logits: false },
        thresholds: None,
        graph,
    };
    let weights = Weights::initialise(&card.graph, 5).expect("a little memory");
    Model::new(card, &weights, &Device::flex()).expect("they fit")
}

/// Drawn images of the first three classes.
fn loader(series: u32, shuffle: Option<u64>) -> Loader {
    let Dataset { classes, samples } = Task::Shapes.dataset(5, 3, series);
    let samples = samples
        .into_iter()
        .filter(|sample| sample.label.classes().iter().all(|&class| (class as usize) < CLASSES))
        .collect();
    let dataset = Dataset { classes: classes[..CLASSES].to_vec(), samples };
    let options = LoaderOptions { shuffle, seed: 1, ..LoaderOptions::new([12, 12], 4) };
    Loader::new(dataset, options)
}

fn phase(name: &str, epochs: usize, selection: &Selection, optimizer: &str) -> Phase {
    let plan = FreezePlan::new(&graph(), selection).expect("a plan");
    let optimizer: OptimizerConfig = serde_json::from_str(optimizer).expect("an optimiser");
    Phase { batch_norm: BatchNorm::Update, ..Phase::new(name, epochs, plan, optimizer) }
}

/// Ends the training after this number of epochs, and counts what callbacks did.
struct Watcher<'a> {
    epochs: Option<usize>,
    stop: &'a AtomicBool,
    stopped_early: usize,
    reduced: usize,
}

impl Observer for Watcher<'_> {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::EpochEnded { .. } => {
                self.epochs = self.epochs.map(|epochs| epochs - 1);
                self.stop.store(self.epochs == Some(0), Ordering::Relaxed);
            }
            Event::StoppedEarly { .. } => self.stopped_early += 1,
            Event::RateReduced { .. } => self.reduced += 1,
            _ => {}
        }
    }
}

/// Result of a run: the figures, the network, and how often callbacks ended a phase or reduced the learning rate.
struct Ran {
    fitted: Fitted,
    model: Model,
    stopped_early: usize,
    reduced: usize,
}

/// Begins or resumes the run in `folder`, for `epochs` or to its end.
fn run(phases: &[Phase], folder: &Path, class_weights: Option<Vec<f32>>, epochs: Option<usize>) -> Ran {
    let (train, validation) = (loader(0, Some(9)), loader(1, None));
    let best = Best::new(Metric::ValLoss, Mode::Auto);
    let cache = CacheSettings { folder: None, memory: 1 << 20, precision: FeaturePrecision::F32 };
    let settings = Settings { seed: 1, best, class_weights, cache, kernels: true, teacher: None, collective: None };
    let checkpoints = Checkpoints::new(folder, false);
    let mut model = model();
    let progress = checkpoints.resume(&mut model).expect("a checkpoint");
    let stop = AtomicBool::new(false);
    let mut watcher = Watcher { epochs, stop: &stop, stopped_early: 0, reduced: 0 };
    let plans = plans(phases, &model, (&train, Some(&validation)), None, &settings);
    let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: Some(checkpoints) };
    let fitted = fit.run(&mut model, progress, &mut Watch { observer: &mut watcher, stop: &stop }).expect("it trains");
    Ran { fitted, model, stopped_early: watcher.stopped_early, reduced: watcher.reduced }
}

/// The history without times.
fn timeless(fitted: &Fitted) -> Vec<EpochRecord> {
    fitted.history.iter().map(|record| EpochRecord { seconds: 0.0, ..record.clone() }).collect()
}

/// A run from beginning to end.
fn whole(phases: &[Phase]) -> Ran {
    run(phases, tempfile::tempdir().expect("a folder").path(), None, None)
}

fn early_stopping(monitor: Metric, mode: Mode, patience: usize) -> Callbacks {
    let early = EarlyStopping {
        monitor,
        mode,
        patience,
        min_delta: 0.0,
        baseline: None,
        restore_best_weights: true,
        start_from_epoch: 0,
    };
    Callbacks { early_stopping: Some(early), reduce_lr_on_plateau: None }
}

#[test]
fn a_run_that_is_stopped_after_every_epoch_ends_with_the_same_bits() {
    let schedule: Schedule =
        serde_json::from_str(r#"{"name": "cosine", "warmup": 4, "alpha": 0.1}"#).expect("a schedule");
    let plateau = ReduceOnPlateau {
        monitor: Metric::Loss,
        mode: Mode::Max,
        factor: 0.5,
        patience: 2,
        min_delta: 0.0,
        cooldown: 1,
        min_lr: 0.0,
    };
    let averaged = r#"{"name": "rmsprop", "learning_rate": 0.01, "centered": true, "ema_momentum": 0.7,
        "gradient_accumulation_steps": 3}"#;
    let phases = [
        Phase {
            callbacks: Callbacks { reduce_lr_on_plateau: Some(plateau), ..early_stopping(Metric::Loss, Mode::Max, 3) },
            ..phase("one", 6, &Selection::Last(2), r#"{"name": "adamw", "learning_rate": 0.02, "clipnorm": 1.0}"#)
        },
        Phase { schedule, ..phase("two", 3, &Selection::All, averaged) },
    ];
    let [at_once, stopped] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let weights = Some(vec![1.0, 0.5, 2.0]);
    let expected = run(&phases, at_once.path(), weights.clone(), None);
    assert!(!expected.fitted.interrupted && expected.stopped_early == 1 && expected.reduced > 0);
    let mut found = run(&phases, stopped.path(), weights.clone(), Some(1));
    let mut begun = 1;
    while found.fitted.interrupted {
        found = run(&phases, stopped.path(), weights.clone(), Some(1));
        begun += 1;
    }
    assert_eq!(begun, expected.fitted.history.len(), "one epoch each time");
    assert_eq!(found.model.network.weights(), expected.model.network.weights());
    assert_eq!(timeless(&found.fitted), timeless(&expected.fitted));
    assert_eq!((&found.fitted.best, &found.fitted.report), (&expected.fitted.best, &expected.fitted.report));
    assert!(found.fitted.seconds.train > 0.0 && found.fitted.images >= expected.fitted.images);
}

#[test]
fn a_run_that_gets_more_epochs_ends_as_one_that_was_longer_from_the_start() {
    let adam = r#"{"name": "adam", "learning_rate": 0.01}"#;
    let averaged = r#"{"name": "sgd", "learning_rate": 0.1, "momentum": 0.5, "ema_momentum": 0.7}"#;
    let plateau = ReduceOnPlateau {
        monitor: Metric::Loss,
        mode: Mode::Max,
        factor: 0.5,
        patience: 1,
        min_delta: 0.0,
        cooldown: 0,
        min_lr: 0.0,
    };
    let reduces = Callbacks { early_stopping: None, reduce_lr_on_plateau: Some(plateau) };
    // Patience does not run out, and there are weights to restore at the end of either length.
    let restores = early_stopping(Metric::ValLoss, Mode::Max, 9);
    for (optimizer, callbacks) in [
        (adam, Callbacks::default()),
        (adam, reduces),
        (adam, restores.clone()),
        (averaged, Callbacks::default()),
        (averaged, restores),
    ] {
        let phases = |epochs: usize| {
            let last = Phase { callbacks: callbacks.clone(), ..phase("two", epochs, &Selection::All, optimizer) };
            [phase("one", 1, &Selection::Last(1), adam), last]
        };
        let [longer, extended] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let expected = run(&phases(5), longer.path(), None, None);
        let first = run(&phases(2), extended.path(), None, None);
        assert!(!first.fitted.interrupted && first.fitted.history.len() == 3);
        // The run is continued to the end of a longer one, and from there in two steps.
        run(&phases(3), extended.path(), None, None);
        run(&phases(5), extended.path(), None, Some(1));
        let found = run(&phases(5), extended.path(), None, None);
        assert_eq!(timeless(&found.fitted), timeless(&expected.fitted), "{optimizer} {callbacks:?}");
        assert_eq!(found.model.network.weights(), expected.model.network.weights(), "{optimizer} {callbacks:?}");
        assert_eq!(found.fitted.report, expected.fitted.report);
    }
}

/// Trains through `phases` with batches of this size.
fn trained(phases: &[Phase], batch_size: usize, kernels: bool) -> (Model, Fitted) {
    let loader = |series, shuffle| {
        let loader = loader(series, shuffle);
        Loader::new(loader.dataset().clone(), LoaderOptions { batch_size, ..loader.options().clone() })
    };
    let (train, validation, mut model) = (loader(0, Some(9)), loader(1, None), model());
    let best = Best::new(Metric::ValLoss, Mode::Auto);
    let cache = CacheSettings { folder: None, memory: 1 << 20, precision: FeaturePrecision::F32 };
    let settings = Settings {
        seed: 1,
        best,
        class_weights: Some(vec![1.0, 0.5, 2.0]),
        cache,
        kernels,
        teacher: None,
        collective: None,
    };
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
fn phases_that_have_begun_must_not_change() {
    let adam = r#"{"name": "adam", "learning_rate": 0.01}"#;
    let phases = |epochs: [usize; 2], optimizer: &str| {
        [phase("one", epochs[0], &Selection::Last(1), adam), phase("two", epochs[1], &Selection::All, optimizer)]
    };
    let folder = tempfile::tempdir().expect("a folder");
    run(&phases([2, 3], adam), folder.path(), None, Some(3));
    let progress = Checkpoints::new(folder.path(), true).resume(&mut model()).expect("a checkpoint").expect("epochs");
    let check = |phases: &[Phase], part: &str| {
        let error = progress.lengthened(phases).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    };
    check(&phases([3, 3], adam), "phase 'one' cannot go on: it is finished, and had 2 epochs, not 3");
    check(&phases([2, 1], adam), "phase 'two' cannot go on: it has 1 epochs now, but 1 are complete");
    check(&phases([2, 3], r#"{"name": "adam", "learning_rate": 0.02}"#), "it has changed (optimizer)");
    check(&phases([2, 3], adam)[..1], "phase 'two' cannot go on: it is missing");
    let lengthened = |phases: &[Phase]| progress.lengthened(phases).expect("it goes on");
    assert_eq!(lengthened(&phases([2, 9], adam)).stretched, [""; 0]);
    let [one, two] = phases([2, 2], adam);
    lengthened(&[one, two.clone(), Phase { name: "three".to_owned(), ..two }]);
}

#[test]
fn a_phase_that_early_stopping_ended_is_over_whatever_its_length() {
    let adam = r#"{"name": "adam", "learning_rate": 0.01}"#;
    let stopped = |epochs| Phase {
        callbacks: early_stopping(Metric::Loss, Mode::Max, 2),
        ..phase("one", epochs, &Selection::All, adam)
    };
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(run(&[stopped(9)], folder.path(), None, None).stopped_early, 1);
    let progress = Checkpoints::new(folder.path(), true).resume(&mut model()).expect("a checkpoint").expect("epochs");
    assert!(progress.is_complete(&[stopped(9)]));
    let error = progress.lengthened(&[stopped(12)]).expect_err("it was stopped").to_string();
    assert!(error.contains("early stopping ended it after 3 epochs"), "{error}");
}

#[test]
fn a_longer_phase_with_a_schedule_that_is_stretched_over_it_is_reported() {
    let schedule: Schedule = serde_json::from_str(r#"{"name": "cosine"}"#).expect("a schedule");
    let falling = |epochs| Phase {
        schedule: schedule.clone(),
        ..phase("one", epochs, &Selection::All, r#"{"name": "adam", "learning_rate": 0.01}"#)
    };
    let folder = tempfile::tempdir().expect("a folder");
    run(&[falling(2)], folder.path(), None, None);
    let progress = Checkpoints::new(folder.path(), true).resume(&mut model()).expect("a checkpoint").expect("epochs");
    assert_eq!(progress.lengthened(&[falling(4)]).expect("it goes on").stretched, ["one"]);
}

#[test]
fn the_error_for_a_damaged_or_missing_checkpoint_says_what_can_be_done() {
    let phases = [phase("one", 2, &Selection::All, r#"{"name": "adam", "learning_rate": 0.01}"#)];
    let folder = tempfile::tempdir().expect("a folder");
    run(&phases, folder.path(), None, None);
    let last = folder.path().join(Checkpoints::LAST);
    let check = |parts: &[&str]| {
        let error = Checkpoints::new(folder.path(), true).resume(&mut model()).expect_err("no checkpoint").to_string();
        for part in ["last.safetensors: ", "best.safetensors", "backbone.weights"].iter().chain(parts) {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    let whole = std::fs::read(&last).expect("read");
    std::fs::write(&last, &whole[..whole.len() / 2]).expect("written");
    check(&[]);
    std::fs::write(&last, b"").expect("written");
    check(&[]);
    std::fs::remove_file(&last).expect("removed");
    std::fs::create_dir(&last).expect("made");
    check(&["it is a folder"]);
    std::fs::remove_dir(&last).expect("removed");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&last, &last).expect("a link to itself");
        check(&[]);
    }
}

#[test]
fn the_most_memory_of_a_resumed_run_is_that_of_all_its_parts() {
    let phases = [phase("one", 2, &Selection::All, r#"{"name": "sgd", "learning_rate": 0.01}"#)];
    let folder = tempfile::tempdir().expect("a folder");
    run(&phases, folder.path(), None, Some(1));
    let mut model = model();
    let mut progress =
        Checkpoints::new(folder.path(), true).resume(&mut model).expect("a checkpoint").expect("an epoch");
    let own = fit(true, &phases, &mut model.clone(), Some(progress.clone())).expect("it trains").peak_memory_bytes;
    if cfg!(target_os = "linux") {
        assert!(progress.peak_memory_bytes > 0 && own >= progress.peak_memory_bytes);
    }
    progress.peak_memory_bytes = 1 << 50;
    assert_eq!(fit(true, &phases, &mut model, Some(progress)).expect("it trains").peak_memory_bytes, 1 << 50);
}

#[test]
fn training_ends_when_it_diverges_and_the_best_epoch_stays() {
    // The first phase trains well; the learning rate of the second phase is far too large.
    let phases = |rate: &str| {
        let wild = format!(r#"{{"name": "sgd", "learning_rate": {rate}}}"#);
        let adam = r#"{"name": "adam", "learning_rate": 0.01}"#;
        [phase("one", 1, &Selection::All, adam), phase("two", 2, &Selection::All, &wild)]
    };
    for rate in ["1e30", "1e38"] {
        let folder = tempfile::tempdir().expect("a folder");
        let before = run(&phases(rate), folder.path(), None, Some(1));
        let mut model = model();
        let checkpoints = Checkpoints::new(folder.path(), true);
        let progress = checkpoints.resume(&mut model).expect("a checkpoint");
        // With Burn's operators, losses are read with a delay, but the epoch ends with an error nevertheless.
        for kernels in [true, false] {
            let mut model = model.clone();
            let error = fit(kernels, &phases(rate), &mut model, progress.clone()).expect_err("it diverges").to_string();
            for part in ["in epoch 2", "training has diverged; the earlier epochs are kept", "ten times smaller"] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        let best = Model::load(&folder.path().join(Checkpoints::BEST), &Device::flex()).expect("a checkpoint");
        assert_eq!(best.network.weights(), before.model.network.weights());
    }
}

/// Trains without checkpoints, with the project's kernels or with Burn's operators.
fn fit(kernels: bool, phases: &[Phase], model: &mut Model, progress: Option<Progress>) -> Result<Fitted, TrainError> {
    let (train, validation, stop) = (loader(0, Some(9)), loader(1, None), AtomicBool::new(false));
    let cache = CacheSettings { folder: None, memory: 1 << 20, precision: FeaturePrecision::F32 };
    let best = Best::new(Metric::ValLoss, Mode::Auto);
    let settings = Settings { seed: 1, best, class_weights: None, cache, kernels, teacher: None, collective: None };
    let plans = plans(phases, model, (&train, Some(&validation)), None, &settings);
    let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: None };
    fit.run(model, progress, &mut Watch { observer: &mut (), stop: &stop })
}

#[test]
fn a_card_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let check = |change: &dyn Fn(&mut ModelCard), part: &str| {
        let mut model = model();
        change(&mut model.card);
        model.save(&path, Precision::F32).expect("saved");
        let error = Model::load(&path, &Device::flex()).expect_err(part).to_string();
        assert!(error.contains("model.safetensors") && error.contains(part), "{error}");
    };
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    check(&|card| card.classes = named(&["a", "b"]), "2 classes and 3 unit(s)");
    check(&|card| card.classes.clear(), "0 class(es)");
    check(&|card| card.classes = named(&["a", "b", "a"]), "the name 'a' twice");
    check(&|card| card.classes = named(&["a", "", "b"]), "one without a name");
    check(&|card| card.backbone_layers = 99, "99 of 7 layers");
    check(&|card| card.preprocessing.std[1] = 0.0, "each deviation must be finite and greater than 0");
    let logits = Loss::SparseCategoricalCrossentropy { from_logits: true };
    check(&|card| card.loss = logits.clone(), "softmax already makes probabilities");
    check(&|card| card.loss = Loss::BinaryCrossentropy { from_logits: false, label_smoothing: 0.0 }, "3 classes");
}

#[test]
fn early_stopping_ends_the_phase_with_its_best_weights_and_the_next_begins() {
    // The loss falls, so the first epoch has the largest loss.
    let optimizer = r#"{"name": "adam", "learning_rate": 0.01}"#;
    let first = Phase {
        callbacks: early_stopping(Metric::Loss, Mode::Max, 2),
        ..phase("first", 9, &Selection::All, optimizer)
    };
    let folder = tempfile::tempdir().expect("a folder");
    let ran = run(std::slice::from_ref(&first), folder.path(), None, None);
    assert_eq!((ran.fitted.history.len(), ran.stopped_early, ran.fitted.interrupted), (3, 1, false));
    let best = Model::load(&folder.path().join("epoch-001.safetensors"), &Device::flex()).expect("a checkpoint");
    assert_eq!(ran.model.network.weights(), best.network.weights());
    let ran = whole(&[first, phase("second", 2, &Selection::All, optimizer)]);
    let phases: Vec<&str> = ran.fitted.history.iter().map(|record| record.phase.as_str()).collect();
    assert_eq!(phases, ["first", "first", "first", "second", "second"]);
    assert_eq!(ran.fitted.history.last().expect("epochs").epoch, 5);
}

#[test]
fn the_learning_rate_follows_the_schedule_and_the_history_has_the_last_steps() {
    let schedule: Schedule =
        serde_json::from_str(r#"{"name": "piecewise", "boundaries": [{"epochs": 1}], "values": [0.001]}"#)
            .expect("one");
    let ran = whole(&[Phase {
        schedule,
        ..phase("one", 2, &Selection::All, r#"{"name": "sgd", "learning_rate": 0.01, "momentum": 0.5}"#)
    }]);
    let rates: Vec<f64> = ran.fitted.history.iter().map(|record| record.learning_rate).collect();
    assert_eq!(rates, [0.01, 0.001]);
}

#[test]
fn a_layer_with_a_multiplier_of_zero_does_not_change() {
    let optimizer = r#"{"name": "adam", "learning_rate": 0.01}"#;
    let multipliers = (0..graph().len()).map(|layer| if layer == 1 { 0.0 } else { 1.0 }).collect();
    let ran = whole(&[Phase { multipliers, ..phase("one", 1, &Selection::All, optimizer) }]);
    let (before, after) = (model().network.weights(), ran.model.network.weights());
    assert_eq!(before.get("conv/kernel"), after.get("conv/kernel"));
    assert_ne!(before.get("dense/kernel"), after.get("dense/kernel"));
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

#[test]
fn class_weights_multiply_only_the_training_loss() {
    let still = [phase("one", 1, &Selection::Last(1), r#"{"name": "sgd", "learning_rate": 1e-12}"#)];
    let weighted = |weights: Option<Vec<f32>>| {
        run(&still, tempfile::tempdir().expect("a folder").path(), weights, None).fitted.history[0].clone()
    };
    let (plain, double) = (weighted(None), weighted(Some(vec![2.0; CLASSES])));
    assert!((double.loss - 2.0 * plain.loss).abs() < 1e-6, "{} is not twice {}", double.loss, plain.loss);
    assert_eq!((double.val_loss, double.accuracy), (plain.val_loss, plain.accuracy));
    assert_eq!(weighted(Some(vec![0.0; CLASSES])).loss, 0.0);
}

#[test]
fn the_report_is_that_of_the_best_epochs_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let phases = [phase("one", 3, &Selection::All, r#"{"name": "adam", "learning_rate": 0.01}"#)];
    let ran = run(&phases, folder.path(), None, None);
    let best = Model::load(&folder.path().join(Checkpoints::BEST), &Device::flex()).expect("a checkpoint");
    let runner = best.runner(true).expect("compiled");
    let report = best
        .card
        .figures(&runner, &loader(1, None), &mut Watch { observer: &mut (), stop: &AtomicBool::new(false) })
        .expect("images")
        .expect("not stopped");
    let one = |figures: Figures| match figures {
        Figures::MultiClass(report) => report,
        Figures::MultiLabel(_) => panic!("an image has one class"),
    };
    let (report, own): (Report, Report) = (one(report), one(ran.fitted.report.expect("there are validation images")));
    assert_eq!((own.images, &own.confusion), (15, &report.confusion));
    let record = &ran.fitted.history[ran.fitted.best.epoch - 1];
    assert_eq!(Some(own.accuracy), record.val_accuracy);
    assert!((report.loss.expect("known") - record.val_loss.expect("validated")).abs() < 1e-6);
}

/// The last event about the frozen prefix, and the last one about an evaluation.
#[derive(Default)]
struct CountWatcher {
    prefix: Option<(usize, usize)>,
    evaluated: Option<(usize, usize)>,
}

impl Observer for CountWatcher {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Prefix { done, total } => self.prefix = Some((*done, *total)),
            Event::Evaluated { done, total } => self.evaluated = Some((*done, *total)),
            _ => {}
        }
    }
}

#[test]
fn only_images_that_change_pass_the_prefix_in_every_epoch() {
    let flip = Augmentation::RandomFlip { mode: FlipMode::Horizontal };
    let (plain, validation) = (loader(0, Some(9)), loader(1, None));
    let options = LoaderOptions { augment: vec![flip], ..plain.options().clone() };
    let changing = Loader::new(plain.dataset().clone(), options);
    let last = [phase("one", 3, &Selection::Last(1), r#"{"name": "adam", "learning_rate": 0.01}"#)];
    for (train, kept) in [(&plain, 30), (&changing, 15)] {
        let cache = CacheSettings { folder: None, memory: 1 << 20, precision: FeaturePrecision::F32 };
        let best = Best::new(Metric::ValLoss, Mode::Auto);
        let settings =
            Settings { seed: 1, best, class_weights: None, cache, kernels: true, teacher: None, collective: None };
        let (mut model, mut watcher, stop) = (model(), CountWatcher::default(), AtomicBool::new(false));
        let plans = plans(&last, &model, (train, Some(&validation)), None, &settings);
        let (train, held) = (train.clone(), Some(validation.clone()));
        let fit = Fit { train, validation: held, plans, settings, checkpoints: None };
        let fitted = fit.run(&mut model, None, &mut Watch { observer: &mut watcher, stop: &stop }).expect("it trains");
        assert_eq!((watcher.prefix, watcher.evaluated), (Some((kept, kept)), None));
        // Each of three epochs looks at 30 images, whether they are computed again or kept.
        assert_eq!(fitted.images, kept + 3 * 30);
        let runner = model.runner(true).expect("compiled");
        let mut watch = Watch { observer: &mut watcher, stop: &stop };
        let (loss, _) = model.card.evaluate(&runner, &validation, &mut watch).expect("images").expect("not stopped");
        assert!((loss - fitted.history[2].val_loss.expect("validated")).abs() < 1e-6);
        assert_eq!((watcher.prefix, watcher.evaluated), (Some((kept, kept)), Some((15, 15))));
    }
}

/// Reasons why features cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
enum NoPlace {
    /// The experiment says `keep = false`, and they do not fit into memory.
    NotWanted,
    /// The folder cannot be made or written to.
    NotWritable,
    /// The folder is removed while they are computed.
    Cleared,
    /// Their segments are removed or damaged after they were computed.
    Damaged,
}

/// Changes the cache while a run computes features or trains, as a user might.
struct Meddler<'a> {
    folder: &'a Path,
    how: Option<NoPlace>,
}

impl Observer for Meddler<'_> {
    fn observe(&mut self, event: &Event<'_>) {
        let spaces = || std::fs::read_dir(self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        match (event, self.how) {
            (Event::Prefix { .. }, Some(NoPlace::Cleared)) => {
                spaces().for_each(|space| std::fs::remove_dir_all(space).expect("removed"));
            }
            (Event::Batch { epoch: 2, done: 1, .. }, Some(NoPlace::Damaged)) => {
                let parts = spaces().flat_map(|space| std::fs::read_dir(space).expect("a space").flatten());
                for part in parts.map(|entry| entry.path()) {
                    let length = part.metadata().expect("a part").len();
                    let file = std::fs::OpenOptions::new().write(true).open(part).expect("a part");
                    file.set_len(length / 3).expect("cut short");
                }
            }
            _ => {}
        }
    }
}

#[test]
fn features_that_cannot_be_cached_train_alike() {
    let flip = Augmentation::RandomFlip { mode: FlipMode::Horizontal };
    let last = [phase("one", 4, &Selection::Last(1), r#"{"name": "adam", "learning_rate": 0.01}"#)];
    for (precision, views) in
        [(FeaturePrecision::F16, Some(3)), (FeaturePrecision::F32, Some(2)), (FeaturePrecision::BF16, None)]
    {
        let trained = |how: Option<NoPlace>| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("file");
            std::fs::write(&file, "no folder").expect("written");
            let place = match how {
                Some(NoPlace::NotWanted) => None,
                Some(NoPlace::NotWritable) => Some(file),
                _ => Some(folder.path().join("cache")),
            };
            let (plain, validation) = (loader(0, Some(9)), loader(1, None));
            let augment = if views.is_some() { vec![flip] } else { Vec::new() };
            let train = Loader::new(plain.dataset().clone(), LoaderOptions { augment, ..plain.options().clone() });
            let best = Best::new(Metric::ValLoss, Mode::Auto);
            let cache = CacheSettings { folder: place, memory: 0, precision };
            let settings =
                Settings { seed: 1, best, class_weights: None, cache, kernels: true, teacher: None, collective: None };
            let (mut model, stop) = (model(), AtomicBool::new(false));
            let plans = plans(&last, &model, (&train, Some(&validation)), views, &settings);
            let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: None };
            let mut meddler = Meddler { folder: &folder.path().join("cache"), how };
            let mut watch = Watch { observer: &mut meddler, stop: &stop };
            let fitted = fit.run(&mut model, None, &mut watch).expect("it trains");
            (timeless(&fitted), model.network.weights())
        };
        let kept = trained(None);
        for how in [NoPlace::NotWanted, NoPlace::NotWritable, NoPlace::Cleared, NoPlace::Damaged] {
            assert!(trained(Some(how)) == kept, "{precision:?}, {views:?} views: {how:?}");
        }
    }
}

/// The features of one arithmetic never stand in for those of another, and those that are kept are those that are computed.
#[test]
fn a_prefix_in_bf16_has_features_of_its_own() {
    let last = [phase("one", 3, &Selection::Last(1), r#"{"name": "adam", "learning_rate": 0.01}"#)];
    let kept = tempfile::tempdir().expect("a folder");
    let trained = |arithmetic: Arithmetic, folder: Option<&Path>| {
        let (train, validation) = (loader(0, Some(9)), loader(1, None));
        let best = Best::new(Metric::ValLoss, Mode::Auto);
        let folder = folder.map(Path::to_owned);
        let cache = CacheSettings { folder, memory: 1 << 20, precision: FeaturePrecision::F32 };
        let settings =
            Settings { seed: 1, best, class_weights: None, cache, kernels: true, teacher: None, collective: None };
        let (mut model, stop) = (
            Model { arithmetic: Arithmetics { prefix: arithmetic, tail: Arithmetic::f32() }, ..model() },
            AtomicBool::new(false),
        );
        let plans = plans(&last, &model, (&train, Some(&validation)), None, &settings);
        let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: None };
        let fitted = fit.run(&mut model, None, &mut Watch { observer: &mut (), stop: &stop }).expect("it trains");
        (fitted.history.last().expect("an epoch").loss, model.network.weights())
    };
    let [single, half] = [Arithmetic::f32(), Arithmetic::Bf16(Unit::EmulatedDots)];
    let in_memory = [single, half].map(|arithmetic| trained(arithmetic, None));
    assert!(in_memory[0].1 != in_memory[1].1, "bf16 rounds");
    assert!((in_memory[0].0 - in_memory[1].0).abs() < 0.02, "{} and {}", in_memory[0].0, in_memory[1].0);
    // Each finds what the other has kept, and then what it has kept itself.
    for _ in 0..2 {
        for (arithmetic, expected) in [single, half].into_iter().zip(&in_memory) {
            assert!(trained(arithmetic, Some(kept.path())).1 == expected.1, "{arithmetic}");
        }
    }
}
