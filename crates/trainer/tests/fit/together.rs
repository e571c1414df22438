//! Trainings across processes, which are threads here: they train the network that one process trains on the joined batches, and a lost one
//! ends the others.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burn_tensor::Device;
use injerto_backbones::weights::Weights;
use injerto_data::augment::{Augmentation, MixOptions};
use injerto_data::{Loader, LoaderOptions};
use injerto_graph::{Graph, GraphSpec, Operator, Selection};
use injerto_recipe::{BatchNorm, Distillation};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::history::EpochRecord;
use injerto_trainer::{
    Checkpoints, Collective, Event, Fit, Fitted, Lost, Model, ModelCard, Observer, Phase, Settings, Teacher,
    TrainError, Watch,
};

use crate::{from, loader, phase, plans, settings, timeless};

/// Where threads meet that add numbers up.
#[derive(Debug, Default)]
struct Table {
    state: Mutex<State>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What each thread has brought in this round.
    brought: Vec<Option<Vec<f32>>>,
    /// Their sum, and how many threads have not taken it yet.
    sum: Option<(Vec<f32>, usize)>,
    /// Whether a thread has left.
    left: bool,
}

/// One of the threads. The others notice when it is dropped.
#[derive(Debug)]
struct Seat {
    table: Arc<Table>,
    rank: usize,
    size: usize,
}

impl Table {
    fn seats(size: usize) -> Vec<Arc<Seat>> {
        let table = Arc::new(Self::default());
        table.lock().brought = vec![None; size];
        (0..size).map(|rank| Arc::new(Seat { table: table.clone(), rank, size })).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a round to come so far, unless a thread has left.
    fn wait<'s>(
        &self,
        state: MutexGuard<'s, State>,
        until: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'s, State>, Lost> {
        let waits = |state: &mut State| !until(state) && !state.left;
        let patience = Duration::from_secs(120);
        let (state, time) =
            self.turn.wait_timeout_while(state, patience, waits).unwrap_or_else(PoisonError::into_inner);
        match until(&state) {
            true => Ok(state),
            false if time.timed_out() => Err(Lost { reason: "a thread has not come".to_owned() }),
            false => Err(Lost { reason: "a thread has left".to_owned() }),
        }
    }
}

impl Collective for Seat {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), Lost> {
        let Self { table, rank, size } = self;
        let mut state = table.wait(table.lock(), |state| state.sum.is_none() && state.brought[*rank].is_none())?;
        state.brought[*rank] = Some(values.to_vec());
        if state.brought.iter().all(Option::is_some) {
            // In the order of the ranks, so that the sum has the same bits each time.
            let mut sum = vec![0.0; values.len()];
            for brought in state.brought.iter_mut().flat_map(Option::take) {
                assert_eq!(brought.len(), sum.len(), "threads join the same thing");
                sum.iter_mut().zip(brought).for_each(|(sum, value)| *sum += value);
            }
            state.sum = Some((sum, *size));
            table.turn.notify_all();
        }
        let mut state = table.wait(state, |state| state.sum.is_some())?;
        let (sum, waiting) = state.sum.as_mut().expect("it was waited for");
        values.copy_from_slice(sum);
        *waiting -= 1;
        if *waiting == 0 {
            state.sum = None;
        }
        table.turn.notify_all();
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.lock().left = true;
        self.table.turn.notify_all();
    }
}

/// The tiny network without dropout, whose masks would be others where the images are divided.
fn model() -> Model {
    let card = crate::model().card;
    let GraphSpec { name, mut layers } = GraphSpec::from(card.graph.clone());
    for layer in &mut layers {
        if let Operator::Dropout { rate, .. } = &mut layer.operator {
            *rate = 0.0;
        }
    }
    let graph = Graph::new(GraphSpec { name, layers }).expect("holds together");
    let weights = Weights::initialise(&graph, 11).expect("a little memory");
    Model::new(ModelCard { graph, ..card }, &weights, &Device::flex()).expect("fits")
}

/// A training, which several processes may share.
#[derive(Clone)]
struct Shared {
    phases: Vec<Phase>,
    options: LoaderOptions,
    kernels: bool,
    cache: CacheSettings,
    class_weights: Option<Vec<f32>>,
    teacher: Option<std::path::PathBuf>,
}

impl Shared {
    fn new(phases: &[Phase]) -> Self {
        let (options, cache) = (loader(6, 0).options().clone(), settings(1 << 20).cache);
        Self { phases: phases.to_vec(), options, kernels: true, cache, class_weights: None, teacher: None }
    }

    fn fit(&self, collective: Option<Arc<dyn Collective>>, checkpoints: Option<Checkpoints>) -> Fit {
        let images = || Loader::new(loader(6, 0).dataset().clone(), self.options.clone());
        let (train, validation) = (images(), loader(3, 1));
        let teacher = self.teacher.clone().map(|checkpoint| Teacher {
            checkpoint,
            images: images(),
            distillation: Distillation { temperature: 2.0, alpha: 0.5 },
        });
        let settings = Settings {
            kernels: self.kernels,
            cache: self.cache.clone(),
            class_weights: self.class_weights.clone(),
            teacher,
            collective,
            ..settings(0)
        };
        let plans = plans(&self.phases, &model(), (&train, Some(&validation)), None, &settings);
        Fit { train, validation: Some(validation), plans, settings, checkpoints }
    }

    /// Trains alone.
    fn alone(&self) -> (Model, Vec<EpochRecord>) {
        let mut model = model();
        let stop = AtomicBool::new(false);
        let fitted = self.fit(None, None).run(&mut model, None, &mut Watch { observer: &mut (), stop: &stop });
        (model, timeless(fitted.expect("trains").history))
    }

    /// Trains in so many threads, of which the first writes into `folder` and all go on from what is there. `watch` observes each thread.
    fn together<O: Observer + Send>(
        &self,
        size: usize,
        folder: Option<&Path>,
        watch: impl Fn(usize, Arc<AtomicBool>) -> O + Sync,
    ) -> Vec<Result<(Fitted, Model), TrainError>> {
        std::thread::scope(|scope| {
            let train = |seat: Arc<Seat>, stop: Arc<AtomicBool>, mut observer: O| {
                let (rank, mut model) = (seat.rank, model());
                let checkpoints = folder.map(|folder| Checkpoints::new(folder, true));
                let progress = checkpoints.as_ref().and_then(|there| there.resume(&mut model).expect("can be read"));
                seat.barrier()?;
                let fit = self.fit(Some(seat), checkpoints.filter(|_| rank == 0));
                let fitted = fit.run(&mut model, progress, &mut Watch { observer: &mut observer, stop: &stop })?;
                Ok((fitted, model))
            };
            let threads: Vec<_> = Table::seats(size)
                .into_iter()
                .map(|seat| {
                    let stop = Arc::new(AtomicBool::new(false));
                    let observer = watch(seat.rank, stop.clone());
                    scope.spawn(move || train(seat, stop, observer))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
        })
    }

    /// Checks that so many threads train the network that one process trains, and say the same of it.
    #[track_caller]
    fn check(&self, size: usize) {
        let (alone, history) = self.alone();
        for trained in self.together(size, None, |_, _| ()) {
            let (fitted, model) = trained.expect("trains");
            let worst = distance(&model, &alone);
            assert!(worst < 1e-5, "{size} processes are {worst} away");
            for (ours, theirs) in fitted.history.iter().zip(&history) {
                assert!((ours.loss - theirs.loss).abs() < 1e-5 * theirs.loss.max(1.0), "{ours:?} is not {theirs:?}");
                assert_eq!((ours.accuracy, ours.val_accuracy), (theirs.accuracy, theirs.val_accuracy));
            }
            let report = fitted.report.expect("there are validation images");
            assert_eq!(report.images(), 9, "the answers of all processes are joined");
        }
    }
}

/// The largest difference between two weights.
fn distance(one: &Model, other: &Model) -> f32 {
    let (one, other) = (one.network.weights(), other.network.weights());
    let pairs = one.iter().flat_map(|(name, values)| {
        let other = other.get(name).expect("the same network").data.clone();
        values.data.clone().into_iter().zip(other)
    });
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A head, and then a part of the backbone whose normalisation stays as it is.
fn two_phases() -> [Phase; 2] {
    [phase("head", 2, from("output"), BatchNorm::Frozen), phase("tuning", 2, from("conv_2"), BatchNorm::Frozen)]
}

#[test]
fn several_processes_train_the_network_that_one_trains_on_the_joined_batches() {
    // 18 images in batches of five: the last one has three, and a process has none of it where there are four.
    let shared = Shared::new(&two_phases());
    for size in [2, 4] {
        shared.check(size);
    }
    Shared { kernels: false, ..shared.clone() }.check(2);
    let mut accumulated = two_phases();
    accumulated.iter_mut().for_each(|phase| phase.optimizer.gradient_accumulation_steps = 3);
    Shared { phases: accumulated.to_vec(), class_weights: Some(vec![1.0, 0.5, 2.0]), ..shared }.check(2);
}

/// Sums of float32 depend on their order. Where one process adds up the same parts of each batch, nothing differs.
#[test]
fn processes_train_as_one_that_adds_up_their_parts_of_each_batch_bit_for_bit() {
    let batches_of = |batch_size, steps| {
        let mut phases = two_phases();
        phases.iter_mut().for_each(|phase| phase.optimizer.gradient_accumulation_steps = steps);
        let shared = Shared::new(&phases);
        Shared { options: LoaderOptions { batch_size, ..shared.options.clone() }, ..shared }
    };
    let whole = batches_of(6, 1);
    for parts in [2, 3] {
        let (alone, history) = batches_of(6 / parts, parts).alone();
        for trained in whole.together(parts, None, |_, _| ()) {
            let (fitted, model) = trained.expect("trains");
            assert_eq!(distance(&model, &alone), 0.0, "{parts} processes");
            assert_eq!(fitted.history.len(), history.len());
        }
        // As one batch, its images are summed in another order.
        assert_ne!(distance(&whole.alone().0, &alone), 0.0, "{parts} parts");
    }
}

#[test]
fn images_that_change_in_each_epoch_and_are_mixed_are_those_of_one_process() {
    let flip: Augmentation = serde_json::from_str(r#"{"name": "random_flip"}"#).expect("one");
    let shared = Shared::new(&two_phases());
    let options = LoaderOptions { augment: vec![flip], ..shared.options.clone() };
    Shared { options: options.clone(), ..shared.clone() }.check(2);
    let mix = MixOptions { mixup: 0.4, cutmix: 0.0 };
    Shared { options: LoaderOptions { mix, ..options }, ..shared }.check(3);
}

#[test]
fn features_are_computed_in_parts_into_the_folder_that_all_share() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = CacheSettings { folder: Some(folder.path().to_owned()), ..settings(1 << 20).cache };
    Shared { cache, ..Shared::new(&two_phases()[..1]) }.check(2);
}

#[test]
fn a_teacher_teaches_each_process_its_part() {
    let at = tempfile::tempdir().expect("a folder");
    let path = at.path().join("teacher.safetensors");
    let (model, _) = Shared::new(&two_phases()).alone();
    model.save(&path, injerto_backbones::weights::Precision::F32).expect("written");
    Shared { teacher: Some(path), ..Shared::new(&two_phases()) }.check(2);
}

#[test]
fn normalisations_that_train_end_an_epoch_with_the_same_statistics_in_all_processes() {
    let shared = Shared::new(&[phase("all", 2, Selection::All, BatchNorm::Update)]);
    let trained: Vec<Model> =
        shared.together(2, None, |_, _| ()).into_iter().map(|found| found.expect("trains").1).collect();
    assert_eq!(trained[0].network.weights(), trained[1].network.weights());
    let moved = trained[0].network.weights().get("bn_2/moving_mean").expect("a parameter").data.clone();
    assert_ne!(moved, model().network.weights().get("bn_2/moving_mean").expect("a parameter").data);
}

/// Leaves, or asks to stop, in the second batch of an epoch.
struct LeaveIn {
    epoch: usize,
    stop: Arc<AtomicBool>,
    leaves: bool,
}

impl Observer for LeaveIn {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::Batch { epoch, done: 2, .. } = event
            && *epoch == self.epoch
        {
            assert!(!self.leaves, "this thread is lost");
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn who_asks_one_process_to_stop_stops_all_and_any_number_of_processes_goes_on() {
    let (shared, folder) = (Shared::new(&two_phases()), tempfile::tempdir().expect("a folder"));
    let (alone, history) = shared.alone();
    let watch = |rank, stop| LeaveIn { epoch: if rank == 1 { 2 } else { 99 }, stop, leaves: false };
    for stopped in shared.together(2, Some(folder.path()), watch) {
        let (fitted, _) = stopped.expect("it stops without an error");
        assert!(fitted.interrupted && fitted.history.len() == 1);
    }
    for resumed in shared.together(3, Some(folder.path()), |_, _| ()) {
        let (fitted, model) = resumed.expect("goes on");
        assert_eq!(fitted.history.len(), history.len());
        let worst = distance(&model, &alone);
        assert!(worst < 1e-5, "{worst}");
    }
}

#[test]
fn a_lost_process_ends_the_others_at_the_last_finished_epoch() {
    let (shared, folder) = (Shared::new(&two_phases()), tempfile::tempdir().expect("a folder"));
    let (alone, _) = shared.alone();
    // The thread that is lost gives up its seat, as a process gives up its connections.
    let seats = Table::seats(2);
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = seats
            .into_iter()
            .map(|seat| {
                let (shared, folder) = (&shared, folder.path());
                scope.spawn(move || {
                    let rank = seat.rank;
                    let stop = Arc::new(AtomicBool::new(false));
                    let mut observer =
                        LeaveIn { epoch: if rank == 1 { 3 } else { 99 }, stop: stop.clone(), leaves: true };
                    let fit = shared.fit(Some(seat), (rank == 0).then(|| Checkpoints::new(folder, true)));
                    fit.run(&mut model(), None, &mut Watch { observer: &mut observer, stop: &stop }).map(|_| ())
                })
            })
            .collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    assert!(found[1].is_err(), "the second thread is lost");
    let error =
        found[0].as_ref().expect("the first one lives").as_ref().expect_err("it cannot go on alone").to_string();
    assert!(error.contains("a thread has left") && error.contains("--resume"), "{error}");
    for resumed in shared.together(1, Some(folder.path()), |_, _| ()) {
        let (fitted, model) = resumed.expect("goes on");
        assert_eq!(fitted.history.len(), 4);
        assert!(distance(&model, &alone) < 1e-5, "{}", distance(&model, &alone));
    }
}

#[test]
fn a_batch_with_fewer_images_than_processes_is_refused() {
    for found in Shared::new(&two_phases()).together(6, None, |_, _| ()) {
        let error = found.map(|_| ()).expect_err("five images for six processes").to_string();
        assert!(error.contains("data.batch_size to 6"), "{error}");
    }
}
