//! Features that are kept, or cannot be.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn_tensor::FloatDType;
use injerto_data::augment::{Augmentation, FlipMode};
use injerto_data::{Loader, LoaderOptions};
use injerto_graph::Selection;
use injerto_kernels::inference::{Arithmetic, Unit};
use injerto_recipe::FeaturePrecision;
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::{Arithmetics, Event, Fit, Model, Observer, Settings, Watch};

use super::{loader, model, phase, settings, timeless};
use crate::plans;

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
        let settings = settings();
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
            let cache = CacheSettings { folder: place, memory: 0, precision };
            let settings = Settings { cache, ..settings() };
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
fn a_prefix_in_another_format_has_features_of_its_own() {
    let last = [phase("one", 3, &Selection::Last(1), r#"{"name": "adam", "learning_rate": 0.01}"#)];
    let by_kernels = |prefix| Arithmetics::Kernels { prefix, tail: Arithmetic::f32() };
    let by_operators = |prefix| Arithmetics::Operators { prefix };
    for (kernels, formats) in [
        (true, [Arithmetic::f32(), Arithmetic::Bf16(Unit::EmulatedDots)].map(by_kernels)),
        (false, [FloatDType::F32, FloatDType::F16].map(by_operators)),
    ] {
        let kept = tempfile::tempdir().expect("a folder");
        let trained = |arithmetic: Arithmetics, folder: Option<&Path>| {
            let (train, validation) = (loader(0, Some(9)), loader(1, None));
            let cache = CacheSettings { folder: folder.map(Path::to_owned), ..settings().cache };
            let settings = Settings { cache, kernels, ..settings() };
            let (mut model, stop) = (Model { arithmetic: Some(arithmetic), ..model() }, AtomicBool::new(false));
            let plans = plans(&last, &model, (&train, Some(&validation)), None, &settings);
            let fit = Fit { train, validation: Some(validation), plans, settings, checkpoints: None };
            let fitted = fit.run(&mut model, None, &mut Watch { observer: &mut (), stop: &stop }).expect("it trains");
            (fitted.history.last().expect("an epoch").loss, model.network.weights())
        };
        let in_memory = formats.map(|arithmetic| trained(arithmetic, None));
        assert!(in_memory[0].1 != in_memory[1].1, "{:?} rounds", formats[1]);
        assert!((in_memory[0].0 - in_memory[1].0).abs() < 0.02, "{} and {}", in_memory[0].0, in_memory[1].0);
        // Each finds what the other has kept, and then what it has kept itself.
        for _ in 0..2 {
            for (arithmetic, expected) in formats.into_iter().zip(&in_memory) {
                assert!(trained(arithmetic, Some(kept.path())).1 == expected.1, "{arithmetic:?}");
            }
        }
    }
}
