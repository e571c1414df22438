//! Trains a tiny network on drawn images: it learns, it resumes where it stopped, and it does not change frozen parameters.

mod device;
mod parts;
mod phases;
mod plan;
mod several;
mod taught;
mod together;
mod torch;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn_tensor::Device;
use injerto_backbones::weights::Weights;
use injerto_data::decode::Orientation;
use injerto_data::generated::Task;
use injerto_data::{Dataset, Loader, LoaderOptions};
use injerto_graph::layers::Conv2D;
use injerto_graph::{
    Activation, Builder, FreezePlan, Graph, Interpolation, LayerRef, Operator, Preprocessing, Selection,
};
use injerto_kernels::inference::{Arithmetic, Unit};
use injerto_recipe::{BatchNorm, FeaturePrecision, Loss, Metric, Mode, OptimizerConfig};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::history::{Best, EpochRecord};
use injerto_trainer::metrics::Answers;
use injerto_trainer::{
    Arithmetics, Checkpoints, Event, Feeding, Fit, Fitted, Model, ModelCard, Observer, Phase, PhasePlan, Settings,
    Watch,
};

const CLASSES: u32 = 3;

/// Two convolutions with batch normalisation, dropout and a dense layer.
fn graph() -> Graph {
    let conv = |filters, strides| Conv2D::new(filters, 3).strides(strides).same().use_bias(false);
    let bn = || Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center: true, scale: true };
    let relu = || Operator::ReLU { max_value: None, negative_slope: 0.0 };
    let mut net = Builder::new("tiny");
    let x = net.input([12, 12, 3]);
    let x = net.add("conv_1", conv(8, 2), &[x]);
    let x = net.add("bn_1", bn(), &[x]);
    let x = net.add("relu_1", relu(), &[x]);
    let x = net.add("conv_2", conv(8, 2), &[x]);
    let x = net.add("bn_2", bn(), &[x]);
    let x = net.add("relu_2", relu(), &[x]);
    let x = net.add("flatten", Operator::Flatten {}, &[x]);
    let x = net.add("dropout", Operator::Dropout { rate: 0.1, per_sample: false }, &[x]);
    let dense = Operator::Dense { units: CLASSES as usize, use_bias: true, activation: Activation::Linear };
    net.add("output", dense, &[x]);
    net.finish().expect("holds together")
}

fn model() -> Model {
    let graph = graph();
    let weights = Weights::initialise(&graph, 11).expect("a little memory");
    let card = ModelCard {
        backbone: None,
        backbone_layers: 7,
        preprocessing: Preprocessing::minus_one_to_one(),
        crop_to_aspect_ratio: false,
        interpolation: Interpolation::Bilinear,
        exif_orientation: Orientation::Ignore,
        scaled_decoding: false,
        classes: Task::Flowers.classes()[..CLASSES as usize].iter().map(|class| (*class).to_owned()).collect(),
        loss: Loss::SparseCategoricalCrossentropy { from_logits: true },
        thresholds: None,
        graph,
    };
    Model::new(card, &weights, &Device::flex()).expect("fits")
}

fn loader(per_class: usize, series: u32) -> Loader {
    let Dataset { mut classes, mut samples } = Task::Flowers.dataset(per_class, 5, series);
    classes.truncate(CLASSES as usize);
    samples.retain(|sample| sample.label.class().is_some_and(|class| class < CLASSES));
    let options = LoaderOptions { shuffle: Some(9), seed: 1, ..LoaderOptions::new([12, 12], 5) };
    Loader::new(Dataset { classes, samples }, options)
}

fn phase(name: &str, epochs: usize, selection: Selection, batch_norm: BatchNorm) -> Phase {
    let plan = FreezePlan::new(&graph(), &selection).expect("fits");
    Phase { batch_norm, ..Phase::new(name, epochs, plan, OptimizerConfig::adam(1e-2)) }
}

fn settings(feature_budget: usize) -> Settings {
    let cache = CacheSettings { folder: None, memory: feature_budget, precision: FeaturePrecision::F32 };
    Settings {
        seed: 3,
        best: Best::new(Metric::ValLoss, Mode::Auto),
        class_weights: None,
        cache,
        kernels: true,
        teacher: None,
        collective: None,
    }
}

fn from(layer: &str) -> Selection {
    Selection::FromLayer(LayerRef::Name(layer.to_owned()))
}

/// Stops a run after this number of epochs, as Ctrl-C would.
struct StopAfter<'a> {
    epochs: usize,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::Batch { epoch, done, .. } = event
            && *epoch > self.epochs
            && *done == 2
        {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// The plans of `phases` for `model` and these images.
fn plans(
    phases: &[Phase],
    model: &Model,
    images: (&Loader, Option<&Loader>),
    views: Option<usize>,
    settings: &Settings,
) -> Vec<PhasePlan> {
    let feeding = Feeding::new(images.0, images.1, views, &settings.cache);
    let (graph, backbone_layers) = (&model.card.graph, model.card.backbone_layers);
    phases.iter().map(|phase| PhasePlan::resolve(phase, graph, backbone_layers, &feeding)).collect()
}

/// Runs `phases` on `model`, from the checkpoint in `folder` if there is one, and stops in the epoch after `epochs`.
fn run(model: &mut Model, phases: &[Phase], budget: usize, folder: Option<&Path>, epochs: usize) -> Fitted {
    let checkpoints = folder.map(|folder| Checkpoints::new(folder, true));
    let progress = checkpoints.as_ref().and_then(|checkpoints| checkpoints.resume(model).expect("can be read"));
    let stop = AtomicBool::new(false);
    let (train, validation, settings) = (loader(6, 0), loader(3, 1), settings(budget));
    let plans = plans(phases, model, (&train, Some(&validation)), None, &settings);
    let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints };
    let mut watch = Watch { observer: &mut StopAfter { epochs, stop: &stop }, stop: &stop };
    fit.run(model, progress, &mut watch).expect("trains")
}

/// Runs all of `phases` on a new model.
fn train(phases: &[Phase], budget: usize) -> (Model, Vec<EpochRecord>) {
    let mut model = model();
    let fitted = run(&mut model, phases, budget, None, usize::MAX);
    assert!(!fitted.interrupted);
    (model, timeless(fitted.history))
}

/// Records without times.
fn timeless(records: Vec<EpochRecord>) -> Vec<EpochRecord> {
    records.into_iter().map(|record| EpochRecord { seconds: 0.0, ..record }).collect()
}

/// Whether a parameter is unchanged by training, bit for bit.
fn untouched(model: &Model, parameter: &str) -> bool {
    let (new, old) = (model.network.weights(), self::model().network.weights());
    new.get(parameter).expect("a parameter") == old.get(parameter).expect("a parameter")
}

#[test]
fn a_tiny_network_learns_its_images_by_heart() {
    let (model, history) = train(&[phase("all", 30, Selection::All, BatchNorm::Update)], 0);
    let (first, last) = (&history[0], &history[29]);
    assert!(last.accuracy >= 0.9 && last.loss < 0.5 * first.loss, "{first:?}, {last:?}");
    assert!(!untouched(&model, "conv_1/kernel"));
}

#[test]
fn a_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let phases =
        [phase("head", 2, from("output"), BatchNorm::Frozen), phase("tuning", 3, from("conv_2"), BatchNorm::Update)];
    for (arithmetic, all) in [
        (Arithmetic::f32(), vec![vec![1], vec![2], vec![1, 3], vec![4]]),
        (Arithmetic::Bf16(Unit::EmulatedTiles), vec![vec![1, 3]]),
    ] {
        let model =
            || Model { arithmetic: Some(Arithmetics::Kernels { prefix: arithmetic, tail: arithmetic }), ..model() };
        let mut whole = model();
        let history = timeless(run(&mut whole, &phases, 1 << 20, None, usize::MAX).history);
        for stops in all {
            let folder = tempfile::tempdir().expect("a folder");
            for &epochs in &stops {
                let stopped = run(&mut model(), &phases, 1 << 20, Some(folder.path()), epochs);
                assert!(stopped.interrupted && stopped.history.len() == epochs, "{arithmetic}: {stops:?}");
            }
            let mut resumed = model();
            let fitted = run(&mut resumed, &phases, 1 << 20, Some(folder.path()), usize::MAX);
            assert_eq!(timeless(fitted.history), history, "{arithmetic}: {stops:?}");
            assert_eq!(resumed.network.weights(), whole.network.weights(), "{arithmetic}: {stops:?}");
        }
    }
}

#[test]
fn features_kept_and_features_computed_again_train_alike() {
    for selection in [from("output"), from("relu_2"), from("bn_2"), from("conv_2")] {
        let phases = [phase("phase", 2, selection.clone(), BatchNorm::Frozen)];
        let (kept, with) = train(&phases, 1 << 20);
        let (computed, without) = train(&phases, 0);
        assert_eq!(with, without, "{selection:?}");
        assert_eq!(kept.network.weights(), computed.network.weights(), "{selection:?}");
    }
}

/// Counts the images that pass through the prefix and the phases that begin, and keeps what the best epoch said.
#[derive(Default)]
struct Heard {
    phases: usize,
    features: usize,
    best: Option<(usize, f64, Vec<usize>)>,
}

impl Observer for Heard {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::PhaseBegan { .. } => self.phases += 1,
            Event::Prefix { done, .. } => self.features = self.features.max(*done),
            Event::Best { epoch, answers: Answers::MultiClass(predictions), images } => {
                self.best = Some((*epoch, predictions.accuracy(), images.to_vec()));
            }
            _ => {}
        }
    }
}

#[test]
fn features_that_were_gathered_before_train_the_same_network() {
    let phases =
        [phase("head", 2, from("output"), BatchNorm::Frozen), phase("all", 1, Selection::All, BatchNorm::Update)];
    let (whole, history) = train(&phases, 1 << 20);
    let mut model = model();
    let (stop, mut heard) = (AtomicBool::new(false), Heard::default());
    let (train, validation, settings) = (loader(6, 0), loader(3, 1), settings(1 << 20));
    let plans = plans(&phases, &model, (&train, Some(&validation)), None, &settings);
    let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: None };
    let mut watch = Watch { observer: &mut heard, stop: &stop };
    let gathered = fit.gather(&model, &mut watch).expect("computed").expect("nobody stops it");
    // A row per image, in the order of the dataset: the output of `flatten`, 3 x 3 x 8 values.
    let rows = gathered.validation().expect("kept");
    assert_eq!(rows.images(9), (0..9).collect::<Vec<_>>());
    let both = rows.values(&[7, 2]).expect("held in memory").swap_remove(0);
    assert_eq!(both[72..], rows.values(&[2]).expect("held in memory")[0][..]);
    assert_eq!(gathered.training().expect("kept").images(18).len(), 18);
    let fitted = fit.run_on(&mut model, None, Some(gathered), &mut watch).expect("trains");
    assert_eq!(timeless(fitted.history), history);
    assert_eq!(model.network.weights(), whole.network.weights());
    assert_eq!((heard.phases, heard.features), (2, 27), "each phase begins once");
    // The best epoch says what it predicts for each validation image.
    let (epoch, accuracy, images) = heard.best.expect("an epoch is the best");
    assert_eq!((epoch, images), (fitted.best.epoch, (0..9).collect()));
    assert_eq!(Some(accuracy), history[epoch - 1].val_accuracy);
}

#[test]
fn only_parameters_that_train_change() {
    let (model, _) = train(&[phase("tuning", 1, from("conv_2"), BatchNorm::Frozen)], 1 << 20);
    for parameter in ["conv_1/kernel", "bn_1/gamma", "bn_1/beta", "bn_1/moving_mean", "bn_1/moving_variance"] {
        assert!(untouched(&model, parameter), "{parameter} is frozen");
    }
    for parameter in ["conv_2/kernel", "bn_2/gamma", "bn_2/beta", "output/kernel", "output/bias"] {
        assert!(!untouched(&model, parameter), "{parameter} trains");
    }
    // As with Keras's `training=False`, gamma and beta train, and the statistics stay.
    for parameter in ["bn_2/moving_mean", "bn_2/moving_variance"] {
        assert!(untouched(&model, parameter), "{parameter} moved");
    }
}

#[test]
fn update_changes_the_statistics_of_layers_that_train() {
    let (model, _) = train(&[phase("tuning", 1, from("conv_2"), BatchNorm::Update)], 1 << 20);
    for parameter in ["bn_2/moving_mean", "bn_2/moving_variance"] {
        assert!(!untouched(&model, parameter), "{parameter} stayed");
    }
    for parameter in ["bn_1/moving_mean", "bn_1/moving_variance"] {
        assert!(untouched(&model, parameter), "{parameter} is frozen");
    }
}

#[test]
fn kernels_train_like_burns_operators() {
    let phases =
        [phase("head", 1, from("output"), BatchNorm::Frozen), phase("tuning", 2, from("conv_2"), BatchNorm::Update)];
    let (ours, ours_history) = train(&phases, 1 << 20);
    let mut burns = model();
    let stop = AtomicBool::new(false);
    let settings = Settings { kernels: false, ..settings(1 << 20) };
    let (train, validation) = (loader(6, 0), loader(3, 1));
    let plans = plans(&phases, &burns, (&train, Some(&validation)), None, &settings);
    let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: None };
    let fitted = fit.run(&mut burns, None, &mut Watch { observer: &mut (), stop: &stop }).expect("trains");
    for (a, b) in ours_history.iter().zip(&fitted.history) {
        assert!((a.loss - b.loss).abs() < 1e-3 * b.loss, "{a:?} is not {b:?}");
        assert_eq!(a.val_accuracy, b.val_accuracy, "{a:?} is not {b:?}");
    }
    let (ours, burns) = (ours.network.weights(), burns.network.weights());
    for (name, values) in ours.iter() {
        let other = &burns.get(name).expect("the same network").data;
        let worst = values.data.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-3, "{name} differs by {worst}");
    }
}

#[test]
fn a_head_answers_from_extracted_features_as_the_whole_network_does_from_pixels() {
    let (model, loader, stop) = (model(), loader(6, 0), AtomicBool::new(false));
    let layer = model.card.head_input();
    assert_eq!(model.card.graph.nodes()[layer].name(), "relu_2", "the head begins with flattening");
    let cache = settings(1 << 20).cache;
    for kernels in [true, false] {
        let mut watch = Watch { observer: &mut (), stop: &stop };
        let found = model.extract(layer, &loader, &cache, kernels, &mut watch).expect("readable").expect("not stopped");
        assert_eq!(found.images.len(), 18);
        let ours = model.classify(layer, &found.values, kernels).expect("it holds together");
        let runner = model.runner(kernels).expect("it compiles");
        let (_, theirs) = model.card.evaluate(&runner, &loader, &mut watch).expect("readable").expect("not stopped");
        let Answers::MultiClass(theirs) = theirs else { panic!("an image has one class") };
        let theirs: Vec<f32> = theirs.rows().flat_map(|(row, ..)| row.to_vec()).collect();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!((ours - theirs).abs() < 1e-6, "{ours} is not {theirs}");
        }
    }
}

#[test]
fn features_of_a_tuned_network_are_computed_from_those_that_training_has_kept() {
    let (mut model, folder, stop) = (model(), tempfile::tempdir().expect("a folder"), AtomicBool::new(false));
    let phases = [phase("tune", 1, from("conv_2"), BatchNorm::Frozen)];
    let (train, mut settings) = (loader(6, 0), settings(1 << 20));
    settings.cache.folder = Some(folder.path().to_owned());
    let plans = plans(&phases, &model, (&train, None), None, &settings);
    let (split, layer) = (plans[0].split().clone(), model.card.head_input());
    assert!(split.boundary[0] < layer, "the cut is before the layer");
    settings.best = Best::new(Metric::Loss, Mode::Auto);
    let cache = settings.cache.clone();
    let fit = Fit { train, validation: None, plans, settings, checkpoints: None };
    let mut watch = Watch { observer: &mut (), stop: &stop };
    fit.run(&mut model, None, &mut watch).expect("trains");
    let again = loader(6, 0);
    let ours = model.extract_from(&split, layer, &again, &cache, &mut watch).expect("readable").expect("not stopped");
    let nowhere = CacheSettings { folder: None, ..cache };
    let theirs = model.extract(layer, &again, &nowhere, true, &mut watch).expect("readable").expect("not stopped");
    assert_eq!((&ours.images, ours.values.len()), (&theirs.images, 18 * 3 * 3 * 8));
    for (ours, theirs) in ours.values.iter().zip(&theirs.values) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} is not {theirs}");
    }
}
