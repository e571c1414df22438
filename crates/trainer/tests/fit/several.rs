//! Trains a small network on images that have several classes each.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn_tensor::Device;
use injerto_backbones::weights::Weights;
use injerto_data::augment::MixOptions;
use injerto_data::generated::Task as Drawn;
use injerto_data::{Dataset, Label, Loader, LoaderOptions};
use injerto_graph::{Activation, Builder, FreezePlan, Graph, Operator, Preprocessing, Selection};
use injerto_recipe::{BatchNorm, FeaturePrecision, Loss, Metric, Mode, OptimizerConfig, Task};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::history::{Best, EpochRecord};
use injerto_trainer::metrics::Figures;
use injerto_trainer::{
    Checkpoints, Event, Fit, Fitted, Model, ModelCard, Observer, Phase, Settings, TrainError, Watch,
};

use super::plans;

const CLASSES: [&str; 3] = ["long", "round", "sharp"];

fn graph() -> Graph {
    let mut net = Builder::new("tiny");
    let x = net.input([12, 12, 3]);
    let conv = r#"{"class": "Conv2D", "config": {"filters": 6, "kernel_size": [3, 3], "strides": [2, 2]}}"#;
    let x = net.add("conv", serde_json::from_str::<Operator>(conv).expect("an operator"), &[x]);
    let x = net.add("relu", Operator::ReLU { max_value: None, negative_slope: 0.0 }, &[x]);
    let x = net.add("flatten", Operator::Flatten {}, &[x]);
    net.add("dense", Operator::Dense { units: 3, use_bias: true, activation: Activation::Sigmoid }, &[x]);
    net.finish().expect("a graph")
}

fn model() -> Model {
    let card = ModelCard {
        backbone: None,
        backbone_layers: 3,
        preprocessing: Preprocessing::zero_to_one(),
        crop_to_aspect_ratio: false,
        interpolation: injerto_graph::Interpolation::Bilinear,
        exif_orientation: injerto_data::decode::Orientation::Ignore,
        scaled_decoding: false,
        classes: CLASSES.map(str::to_owned).to_vec(),
        loss: Loss::BinaryCrossentropy { from_logits: false, label_smoothing: 0.0 },
        thresholds: Some(vec![0.5; 3]),
        graph: graph(),
    };
    card.check().expect("a network for several classes per image");
    let weights = Weights::initialise(&card.graph, 5).expect("a little memory");
    Model::new(card, &weights, &Device::flex()).expect("they fit")
}

/// Drawn figures of four kinds: long ones, round ones, ones that are round and sharp, and ones that are nothing.
fn loader(series: u32, mixup: f64) -> Loader {
    let kinds = [vec![0], vec![1], vec![1, 2], vec![]];
    let samples = Drawn::Shapes.dataset(8, 3, series).samples.into_iter();
    let labelled = samples.filter_map(|mut sample| {
        let kind = kinds.get(sample.label.class()? as usize)?;
        sample.label = Label::several(kind.iter().copied());
        Some(sample)
    });
    let dataset = Dataset { classes: CLASSES.map(str::to_owned).to_vec(), samples: labelled.collect() };
    assert_eq!((dataset.samples.len(), dataset.counts()), (32, vec![8, 16, 8]));
    let mix = MixOptions { mixup, cutmix: 0.0 };
    let shuffle = (series == 0).then_some(9);
    Loader::new(dataset, LoaderOptions { shuffle, seed: 1, mix, ..LoaderOptions::new([12, 12], 8) })
}

/// Ends the training after this number of epochs.
struct After<'a>(Option<usize>, &'a AtomicBool);

impl Observer for After<'_> {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::EpochEnded { .. } = event {
            self.0 = self.0.map(|epochs| epochs - 1);
            self.1.store(self.0 == Some(0), Ordering::Relaxed);
        }
    }
}

/// Begins or resumes the run in `folder`, for `epochs` or to its end.
fn run(folder: &Path, kernels: bool, mixup: f64, epochs: Option<usize>) -> (Fitted, Model) {
    let (train, validation, mut model) = (loader(0, mixup), loader(1, 0.0), model());
    let cache = CacheSettings { folder: None, memory: 1 << 20, precision: FeaturePrecision::F32 };
    let best = Best::new(Metric::ValLoss, Mode::Auto);
    let settings = Settings { seed: 1, best, class_weights: None, cache, kernels, teacher: None, collective: None };
    let plan = FreezePlan::new(&graph(), &Selection::All).expect("a plan");
    let phase = Phase { batch_norm: BatchNorm::Update, ..Phase::new("all", 6, plan, OptimizerConfig::adam(0.01)) };
    let plans = plans(&[phase], &model, (&train, Some(&validation)), None, &settings);
    let checkpoints = Checkpoints::new(folder, false);
    let progress = checkpoints.resume(&mut model).expect("a checkpoint");
    let stop = AtomicBool::new(false);
    let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: Some(checkpoints) };
    let mut watch = Watch { observer: &mut After(epochs, &stop), stop: &stop };
    let fitted = fit.run(&mut model, progress, &mut watch).expect("it trains");
    (fitted, model)
}

fn timeless(fitted: &Fitted) -> Vec<EpochRecord> {
    fitted.history.iter().map(|record| EpochRecord { seconds: 0.0, ..record.clone() }).collect()
}

#[test]
fn a_network_learns_several_classes_per_image_and_keeps_their_thresholds() {
    let folder = tempfile::tempdir().expect("a folder");
    let (fitted, _) = run(folder.path(), true, 0.0, None);
    let (first, last) = (&fitted.history[0], &fitted.history[5]);
    assert!(last.loss < first.loss && last.val_loss < first.val_loss, "{first:?} {last:?}");
    let Some(Figures::MultiLabel(report)) = &fitted.report else { panic!("{:?}", fitted.report) };
    let best = &fitted.history[fitted.best.epoch - 1];
    assert_eq!((Some(report.binary_accuracy), report.loss), (best.val_accuracy, best.val_loss));
    assert_eq!(report.per_class.iter().map(|class| class.support).collect::<Vec<_>>(), [8, 16, 8]);
    assert!(report.macro_mean.f1 >= report.macro_f1_at_half, "thresholds are chosen for it: {report:?}");
    // The checkpoint of the best epoch has the thresholds, and judges by them.
    let model = Model::load(&folder.path().join(Checkpoints::BEST), &Device::flex()).expect("a checkpoint");
    let thresholds: Vec<f32> = report.per_class.iter().map(|class| class.threshold).collect();
    assert_eq!((model.card.task(), model.card.thresholds.as_ref()), (Task::MultiLabel, Some(&thresholds)));
    let stop = AtomicBool::new(false);
    let runner = model.runner(true).expect("compiled");
    let mut watch = Watch { observer: &mut (), stop: &stop };
    let again = model.card.figures(&runner, &loader(1, 0.0), &mut watch).expect("images").expect("not stopped");
    let Figures::MultiLabel(again) = again else { panic!("{again:?}") };
    assert_eq!((&again.per_class, again.micro), (&report.per_class, report.micro));
    // Labels of one class per image are sets of one, and the other way round there is nothing to choose.
    let drawn = |count: u32| Drawn::Shapes.dataset(2, 3, count);
    let one = Dataset { classes: CLASSES.map(str::to_owned).to_vec(), ..drawn(1) };
    let one = Dataset { samples: one.samples.into_iter().take(6).collect(), ..one };
    let loader_of = |dataset: Dataset| Loader::new(dataset, LoaderOptions::new([12, 12], 8));
    assert!(model.card.figures(&runner, &loader_of(one), &mut watch).is_ok());
    let card = ModelCard { thresholds: None, ..model.card };
    let error = card.figures(&runner, &loader(1, 0.0), &mut watch).expect_err("several classes");
    assert!(matches!(error, TrainError::SeveralClasses), "{error}");
}

#[test]
fn both_executors_train_several_classes_per_image_alike() {
    let [ours, burns] = [true, false].map(|kernels| {
        let folder = tempfile::tempdir().expect("a folder");
        run(folder.path(), kernels, 0.4, None).0
    });
    for (ours, burns) in ours.history.iter().zip(&burns.history) {
        assert!((ours.loss - burns.loss).abs() < 1e-4, "{ours:?} {burns:?}");
        assert!((ours.val_loss.expect("there") - burns.val_loss.expect("there")).abs() < 1e-4, "{ours:?} {burns:?}");
    }
}

#[test]
fn a_run_of_mixed_images_with_several_classes_is_resumed_bit_for_bit() {
    let [at_once, stopped] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let (whole, model) = run(at_once.path(), true, 0.4, None);
    let mut found = run(stopped.path(), true, 0.4, Some(1));
    while found.0.interrupted {
        found = run(stopped.path(), true, 0.4, Some(1));
    }
    assert_eq!(timeless(&found.0), timeless(&whole));
    assert_eq!((found.0.report, &found.1.card.thresholds), (whole.report, &model.card.thresholds));
    assert_eq!(found.1.network.weights(), model.network.weights());
}
