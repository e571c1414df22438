//! Trainings with a teacher: on kept features and on images that change, with both executors, and in parts.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use injerto_backbones::weights::Precision;
use injerto_data::augment::{Augmentation, MixOptions};
use injerto_data::{Loader, LoaderOptions};
use injerto_graph::Selection;
use injerto_recipe::{BatchNorm, Distillation, Loss};
use injerto_trainer::history::EpochRecord;
use injerto_trainer::{Checkpoints, Fit, Model, Phase, Settings, Teacher, TrainError, Watch};

use crate::{StopAfter, from, loader, model, phase, plans, settings, timeless, train};

/// A teacher: the tiny network after training, which calls each class by the name of the next one.
fn teacher(at: &Path) -> PathBuf {
    let (mut model, _) = train(&[phase("all", 12, Selection::All, BatchNorm::Update)], 0);
    model.card.classes.rotate_left(1);
    let path = at.join("teacher.safetensors");
    model.save(&path, Precision::F32).expect("written");
    path
}

/// How a training is taught.
struct Lesson<'a> {
    teacher: &'a Path,
    alpha: f64,
    options: LoaderOptions,
    views: Option<usize>,
    memory: usize,
    kernels: bool,
}

impl<'a> Lesson<'a> {
    fn new(teacher: &'a Path) -> Self {
        let options = loader(6, 0).options().clone();
        Self { teacher, alpha: 0.3, options, views: None, memory: 1 << 20, kernels: true }
    }

    fn fit(&self, phases: &[Phase], checkpoints: Option<Checkpoints>) -> Fit {
        let images = |options: &LoaderOptions| Loader::new(loader(6, 0).dataset().clone(), options.clone());
        let (train, validation) = (images(&self.options), loader(3, 1));
        let distillation = Distillation { temperature: 2.0, alpha: self.alpha };
        let teacher = Teacher { checkpoint: self.teacher.to_owned(), images: images(&self.options), distillation };
        let settings = Settings { teacher: Some(teacher), kernels: self.kernels, ..settings(self.memory) };
        let plans = plans(phases, &model(), (&train, Some(&validation)), self.views, &settings);
        Fit { train, validation: Some(validation), plans, settings, checkpoints }
    }

    fn train(&self, phases: &[Phase]) -> (Model, Vec<EpochRecord>) {
        let mut model = model();
        let stop = AtomicBool::new(false);
        let mut watch = Watch { observer: &mut (), stop: &stop };
        let fitted = self.fit(phases, None).run(&mut model, None, &mut watch).expect("trains");
        (model, timeless(fitted.history))
    }
}

/// A head, and then everything.
fn two_phases() -> [Phase; 2] {
    [phase("head", 2, from("output"), BatchNorm::Frozen), phase("all", 2, Selection::All, BatchNorm::Update)]
}

#[test]
fn without_labels_a_student_says_what_its_teacher_says() {
    let at = tempfile::tempdir().expect("a folder");
    let teacher = teacher(at.path());
    let phases = [phase("all", 30, Selection::All, BatchNorm::Update)];
    // The teacher calls each class by the name of the next one, and so does a student that learns from it alone.
    let (_, history) = Lesson { alpha: 0.0, ..Lesson::new(&teacher) }.train(&phases);
    let (_, untaught) = train(&phases, 1 << 20);
    let (first, last) = (&history[0], &history[29]);
    assert!(last.accuracy < 0.3 && untaught[29].accuracy > 0.9, "{last:?}, {:?}", untaught[29]);
    assert!(last.loss < 0.5 * first.loss, "{first:?}, {last:?}");
}

#[test]
fn a_teacher_that_counts_nothing_changes_no_bit() {
    let at = tempfile::tempdir().expect("a folder");
    let teacher = teacher(at.path());
    let (taught, _) = Lesson { alpha: 1.0, ..Lesson::new(&teacher) }.train(&two_phases());
    let (alone, _) = train(&two_phases(), 1 << 20);
    assert_eq!(taught.network.weights(), alone.network.weights());
}

#[test]
fn logits_kept_and_logits_computed_again_teach_alike() {
    let at = tempfile::tempdir().expect("a folder");
    let teacher = teacher(at.path());
    let flip: Augmentation = serde_json::from_str(r#"{"name": "random_flip"}"#).expect("one");
    let changed = LoaderOptions { augment: vec![flip], ..loader(6, 0).options().clone() };
    for (options, views) in [(loader(6, 0).options().clone(), None), (changed, Some(2))] {
        let lesson = Lesson { options, views, ..Lesson::new(&teacher) };
        let (kept, history) = lesson.train(&two_phases());
        let (computed, again) = Lesson { memory: 0, ..lesson }.train(&two_phases());
        assert_eq!(history, again, "{views:?}");
        assert_eq!(kept.network.weights(), computed.network.weights(), "{views:?}");
    }
}

#[test]
fn kernels_and_burns_operators_are_taught_alike_also_on_mixed_images() {
    let at = tempfile::tempdir().expect("a folder");
    let teacher = teacher(at.path());
    let mixed = LoaderOptions { mix: MixOptions { mixup: 0.4, cutmix: 0.0 }, ..loader(6, 0).options().clone() };
    for options in [loader(6, 0).options().clone(), mixed] {
        let lesson = Lesson { options, ..Lesson::new(&teacher) };
        let (_, ours) = lesson.train(&two_phases());
        let (_, burns) = Lesson { kernels: false, ..lesson }.train(&two_phases());
        for (ours, burns) in ours.iter().zip(&burns) {
            assert!((ours.loss - burns.loss).abs() < 2e-3 * burns.loss, "{ours:?} is not {burns:?}");
        }
    }
}

#[test]
fn a_taught_run_that_was_stopped_goes_on_with_the_same_bits() {
    let at = tempfile::tempdir().expect("a folder");
    let teacher = teacher(at.path());
    let lesson = Lesson::new(&teacher);
    let (whole, history) = lesson.train(&two_phases());
    let run = |epochs: usize| {
        let checkpoints = Checkpoints::new(at.path(), true);
        let mut model = model();
        let progress = checkpoints.resume(&mut model).expect("can be read");
        let stop = AtomicBool::new(false);
        let mut watch = Watch { observer: &mut StopAfter { epochs, stop: &stop }, stop: &stop };
        let fitted = lesson.fit(&two_phases(), Some(checkpoints)).run(&mut model, progress, &mut watch);
        (fitted.expect("trains"), model)
    };
    assert!(run(1).0.interrupted && run(3).0.interrupted);
    let (fitted, resumed) = run(usize::MAX);
    assert_eq!(timeless(fitted.history), history);
    assert_eq!(resumed.network.weights(), whole.network.weights());
}

#[test]
fn a_teacher_of_other_classes_is_refused() {
    let at = tempfile::tempdir().expect("a folder");
    let (mut model, path) = (model(), at.path().join("teacher.safetensors"));
    model.card.classes[0] = "another".to_owned();
    model.card.loss = Loss::SparseCategoricalCrossentropy { from_logits: true };
    model.save(&path, Precision::F32).expect("written");
    let stop = AtomicBool::new(false);
    let mut watch = Watch { observer: &mut (), stop: &stop };
    let found = Lesson::new(&path).fit(&two_phases(), None).run(&mut crate::model(), None, &mut watch);
    assert!(matches!(found, Err(TrainError::Teacher { .. })), "{found:?}");
}
