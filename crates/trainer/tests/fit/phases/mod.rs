//! Trains a small network in phases with schedules, callbacks, moving averages and class weights.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn_tensor::Device;
use injerto_backbones::weights::{Precision, Weights};
use injerto_data::decode::Orientation;
use injerto_data::generated::Task;
use injerto_data::{Dataset, Loader, LoaderOptions};
use injerto_graph::{Activation, Builder, FreezePlan, Graph, Operator, Preprocessing, Selection};
use injerto_recipe::{BatchNorm, Callbacks, EarlyStopping, Loss, Metric, Mode, OptimizerConfig, Schedule};
use injerto_trainer::history::EpochRecord;
use injerto_trainer::metrics::{Figures, Report};
use injerto_trainer::{
    Checkpoints, Event, Fit, Fitted, Model, ModelCard, Observer, Phase, Progress, Settings, TrainError, Watch,
};

use super::plans;

mod averages;
mod features;
mod resumed;

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

/// Settings without a cache on disk.
fn settings() -> Settings {
    Settings { seed: 1, ..super::settings(1 << 20) }
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
    let settings = Settings { class_weights, ..settings() };
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
    let settings = Settings { kernels, ..settings() };
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
