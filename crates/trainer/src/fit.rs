//! The training loop over phases and epochs.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use injerto_backbones::weights::Weights;
use injerto_data::{Loader, Skipped};
use injerto_files::memory;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::executor::{self, Executor};
use crate::feed::{Feed, KeptFeatures, Spent};
use crate::fitted::{Fitted, Seconds};
use crate::gathered::Gathered;
use crate::history::EpochRecord;
use crate::metrics::{Accumulator, Answers, Figures};
use crate::observer::{Event, Observer, Watch};
use crate::pass::{Judge, TrainingEpoch, Validated, validate};
use crate::plan::PhasePlan;
use crate::settings::{Settings, check_monitors};
use crate::statistics::{average, renew};
use crate::tail::{restore, tail_weights, weights_of};
use crate::teacher::{Lessons, TaughtFeed};
use crate::{Checkpoints, Model, Phase, Progress, TrainError};

/// A training that has not begun yet: what to train on, through which phases, and how. It is owned, so that a caller can keep it and send
/// it to another thread.
#[derive(Debug, Clone)]
pub struct Fit {
    /// Training images.
    pub train: Loader,
    /// Validation images, which are used after each epoch.
    pub validation: Option<Loader>,
    /// The phases in order, planned for this model and these images.
    pub plans: Vec<PhasePlan>,
    /// Settings of the training.
    pub settings: Settings,
    /// The place of each epoch's files; `None` writes no files.
    pub checkpoints: Option<Checkpoints>,
}

impl Fit {
    /// Trains `model` through all phases. At the end, the model has the weights of the last epoch; those of the best epoch are in the
    /// checkpoint.
    ///
    /// A run that was stopped or killed goes on from the `progress` that [`Checkpoints::resume`] returns, with the same
    /// numbers as if it had never stopped.
    ///
    /// # Errors
    /// Images, weights or loss do not fit; training diverges; or files cannot be written.
    pub fn run(
        &self,
        model: &mut Model,
        progress: Option<Progress>,
        watch: &mut Watch<'_>,
    ) -> Result<Fitted, TrainError> {
        self.run_on(model, progress, None, watch)
    }

    /// The same with the features of the first phase, which [`Fit::gather`] has gathered.
    ///
    /// # Errors
    /// Those of [`Fit::run`].
    pub fn run_on(
        &self,
        model: &mut Model,
        progress: Option<Progress>,
        gathered: Option<Gathered>,
        watch: &mut Watch<'_>,
    ) -> Result<Fitted, TrainError> {
        Ok(self.run_part(Part::whole(), model, progress, gathered, watch)?.1)
    }

    /// Trains a part of the run, and returns how far the run has come.
    pub(crate) fn run_part(
        &self,
        part: Part<'_>,
        model: &mut Model,
        progress: Option<Progress>,
        gathered: Option<Gathered>,
        watch: &mut Watch<'_>,
    ) -> Result<(Progress, Fitted), TrainError> {
        let Self { train, plans, settings, .. } = self;
        let (validation, checkpoints) = (self.validation.as_ref(), self.checkpoints.as_ref());
        let Watch { observer, stop } = watch;
        let phases: Vec<Phase> = plans.iter().map(|plan| plan.phase.clone()).collect();
        check_monitors(&phases, &settings.best, validation.is_some())?;
        settings.peers().check(train.batch_size())?;
        let judge = Judge {
            loss: model.card.loss.clone(),
            task: model.card.task(),
            classes: model.card.classes.len(),
            class_weights: settings.class_weights.clone(),
        };
        let mut progress = progress.unwrap_or_else(|| Progress::new(settings.best.clone()));
        let mut reopened = progress.go_on_with(&phases)?;
        let before = (progress.seconds, progress.images);
        let (seconds, images, began) = (Seconds::default(), 0, Instant::now());
        let mut run = Run {
            model,
            train,
            validation,
            settings,
            judge,
            observer: &mut **observer,
            stop,
            seconds,
            images,
            began,
            before,
            best: part.best,
            changed: Vec::new(),
            lessons: None,
        };
        let is_paused = |progress: &Progress| progress.history.len() >= part.until;
        let mut features: Option<KeptFeatures> = None;
        let (mut ready, mut announced) = (None, false);
        if let Some(gathered) = gathered {
            run.count(gathered.spent);
            run.began = gathered.began;
            (features, ready, announced) = (Some(gathered.kept), gathered.executor, true);
        }
        while progress.phases_done < plans.len() && !run.stopped()? && !is_paused(&progress) {
            let plan = &plans[progress.phases_done];
            if !std::mem::take(&mut announced) {
                run.observer.observe(&Event::phase_began(plan, (progress.phases_done, plans.len())));
            }
            let mut executor = run.executor(plan, &mut progress, ready.take(), std::mem::take(&mut reopened))?;
            if features.as_ref().is_none_or(|kept| !kept.are_of(plan)) {
                drop(features.take());
                features = Some(run.gather(plan, executor.as_ref())?);
            }
            run.begin_together(plan, executor.as_mut())?;
            run.prepare_lessons(plan)?;
            let here = progress.phases_done;
            run.changed = if run.best.is_some() { self.changed(here) } else { Vec::new() };
            while progress.phases_done == here && !is_paused(&progress) {
                if !run.epoch(plan, &mut progress, features.as_ref(), executor.as_mut(), checkpoints)? {
                    break;
                }
            }
            if run.best.is_some() && !run.stopped()? {
                progress.optimizer = Some(executor.optimizer_state());
            }
        }
        take_skipped(&mut progress.skipped, train, validation);
        if let Some(why) = std::iter::once(train).chain(validation).find_map(|loader| loader.kept().stopped) {
            tracing::warn!("not all decoded photos were kept for later epochs, which decode them again: {why}");
        }
        let ((seconds, images), interrupted) = (run.spent(), progress.phases_done < plans.len());
        let fitted = Fitted {
            history: progress.history.clone(),
            best: progress.best.clone(),
            seconds,
            images,
            peak_memory_bytes: progress.peak_memory_bytes.max(memory::peak()),
            interrupted,
            skipped: progress.skipped.clone(),
            report: progress.report.clone(),
        };
        Ok((progress, fitted))
    }
}

/// The part of a run that is trained in one call.
pub(crate) struct Part<'a> {
    /// Number of complete epochs of the whole run after which it pauses.
    pub(crate) until: usize,
    /// Where the weights of the best epoch are kept: of the layers that a phase has been able to change.
    pub(crate) best: Option<&'a mut Weights>,
}

impl Part<'_> {
    /// All epochs, of which the checkpoints alone keep the weights.
    fn whole() -> Self {
        Self { until: usize::MAX, best: None }
    }
}

/// Adds the files that the loaders have left out to the known ones.
fn take_skipped(known: &mut Vec<(String, String)>, train: &Loader, validation: Option<&Loader>) {
    let found = train.skipped().into_iter().chain(validation.iter().flat_map(|loader| loader.skipped()));
    for Skipped { origin, reason } in found {
        let entry = (origin.name().into_owned(), reason);
        if !known.contains(&entry) {
            known.push(entry);
        }
    }
}

/// The borrowed parts and the counters of a run.
struct Run<'a> {
    model: &'a mut Model,
    train: &'a Loader,
    validation: Option<&'a Loader>,
    settings: &'a Settings,
    judge: Judge,
    observer: &'a mut dyn Observer,
    stop: &'a AtomicBool,
    /// Seconds and images of this part of the run.
    seconds: Seconds,
    images: usize,
    began: Instant,
    /// Seconds and images of the parts before a resume.
    before: (Seconds, usize),
    /// Where the weights of the best epoch are kept, and the layers that these are.
    best: Option<&'a mut Weights>,
    changed: Vec<usize>,
    /// The teacher, from the first phase on that is trained.
    lessons: Option<Lessons>,
}

impl Run<'_> {
    /// Whether one of the processes was asked to stop.
    fn stopped(&self) -> Result<bool, TrainError> {
        self.settings.peers().stopped(self.stop)
    }

    /// The executor of a phase: `ready`, or a new one with the state at which `progress` stands. A phase that had ended is `reopened` if it
    /// has more epochs now.
    fn executor(
        &mut self,
        plan: &PhasePlan,
        progress: &mut Progress,
        ready: Option<Box<dyn Executor>>,
        reopened: bool,
    ) -> Result<Box<dyn Executor>, TrainError> {
        if let Some(left) = progress.left.take_if(|_| reopened) {
            // The end of the phase is undone, and these are the weights to restore at its new end.
            progress.snapshot = Some(tail_weights(self.model, plan.split()));
            restore(self.model, &left)?;
        }
        // The state belongs to a phase that had begun. The next phase has a new optimiser.
        let state = progress.optimizer.take().filter(|_| progress.epochs_done > 0);
        let mut executor = match ready {
            Some(executor) => executor,
            None => executor::build(self.settings.kernels, self.model, plan, state.unwrap_or_default())?,
        };
        if reopened && executor.swap_averages() {
            // At the end of a phase, the moving averages replace the weights.
            executor.store(&mut self.model.network);
        }
        Ok(executor)
    }

    /// Begins a phase in all processes with the weights of process 0.
    fn begin_together(&self, plan: &PhasePlan, executor: &mut dyn Executor) -> Result<(), TrainError> {
        let peers = self.settings.peers();
        if peers.is_alone() {
            return Ok(());
        }
        executor.sum_gradients();
        for id in self.model.network.graph().parameters_of(&plan.split().tail) {
            let mut values = executor.values(id);
            peers.broadcast(&mut values)?;
            executor.set_values(id, &values);
        }
        Ok(())
    }

    /// Seconds and images of the whole run so far.
    fn spent(&self) -> (Seconds, usize) {
        let decode = self.train.decode_time() + self.validation.map_or(Duration::ZERO, Loader::decode_time);
        let (total, decode) = (self.began.elapsed().as_secs_f64(), decode.as_secs_f64());
        (self.before.0.plus(Seconds { total, decode, ..self.seconds }), self.before.1 + self.images)
    }

    fn count(&mut self, spent: Spent) {
        self.seconds.prefix += spent.prefix;
        self.images += spent.images;
    }

    /// Computes or finds the features that the plan keeps; fewer if the run was stopped.
    fn gather(&mut self, plan: &PhasePlan, executor: &dyn Executor) -> Result<KeptFeatures, TrainError> {
        let mut spent = Spent::default();
        let Self { train, validation, settings, observer, stop, .. } = self;
        let (images, prefix, ends) = ((*train, *validation), executor.prefix(), (*stop, settings.peers()));
        let features = KeptFeatures::gather(plan, images, prefix, &settings.cache, *observer, ends, &mut spent)?;
        self.count(spent);
        Ok(features)
    }

    /// Gets the teacher ready for a phase, if there is one.
    fn prepare_lessons(&mut self, plan: &PhasePlan) -> Result<(), TrainError> {
        if self.lessons.is_none() {
            self.lessons = self.settings.lessons(self.model)?;
        }
        let mut spent = Spent::default();
        if let Some(lessons) = &mut self.lessons {
            lessons.gather(plan, self.observer, self.stop, &mut spent)?;
        }
        self.count(spent);
        Ok(())
    }

    /// Runs one epoch and everything that follows from it: best weights, callbacks, checkpoints. Returns whether the epoch is complete.
    fn epoch(
        &mut self,
        plan: &PhasePlan,
        progress: &mut Progress,
        features: Option<&KeptFeatures>,
        executor: &mut dyn Executor,
        checkpoints: Option<&Checkpoints>,
    ) -> Result<bool, TrainError> {
        let (phase, split) = (&plan.phase, plan.split());
        let learning_rate = progress.callbacks.learning_rate().unwrap_or(phase.optimizer.rule.learning_rate());
        let epoch = progress.history.len();
        let place = (epoch, progress.epochs_done);
        let Some((record, validated)) = self.passes(plan, place, learning_rate, features, executor)? else {
            return Ok(false);
        };
        let best = progress.best.improve(&record);
        if best {
            if let Some(Answers::MultiLabel(predictions)) = validated.as_ref().map(|it| &it.answers) {
                self.model.card.thresholds = Some(predictions.best_thresholds());
            }
            let card = &self.model.card;
            progress.report = validated.as_ref().and_then(|it| Figures::new(&it.answers, card, record.val_loss));
            if let Some(Validated { answers, images, .. }) = &validated {
                self.observer.observe(&Event::Best { epoch: record.epoch, answers, images });
            }
        }
        let (memory, at) = (&mut progress.callbacks, progress.epochs_done);
        let decision = memory.epoch_ended(&phase.callbacks, at, &record, phase.optimizer.rule.learning_rate());
        progress.history.push(record.clone());
        executor.store(&mut self.model.network);
        if let Some(kept) = self.best.as_deref_mut().filter(|_| best) {
            *kept = weights_of(self.model, &self.changed);
        }
        if decision.snapshot {
            progress.snapshot = Some(tail_weights(self.model, split));
        }
        if let Some(checkpoints) = checkpoints {
            checkpoints.write_epoch(self.model, progress, best)?;
        }
        let over = decision.stop || progress.epochs_done + 1 >= phase.epochs;
        progress.left = None;
        match progress.snapshot.take_if(|_| over) {
            Some(weights) => {
                progress.left = Some(tail_weights(self.model, split));
                restore(self.model, &weights)?;
            }
            // Validation used the moving averages. Before the next epoch the raw weights are put back; after the last epoch the
            // averages stay.
            None if !over && executor.swap_averages() => executor.store(&mut self.model.network),
            None => {}
        }
        progress.advance(over, decision.stop);
        (progress.seconds, progress.images) = self.spent();
        progress.peak_memory_bytes = progress.peak_memory_bytes.max(memory::peak());
        take_skipped(&mut progress.skipped, self.train, self.validation);
        if let Some(checkpoints) = checkpoints {
            checkpoints.write_last(self.model, progress, executor.optimizer_state())?;
        }
        self.observer.observe(&Event::EpochEnded { record: &record, best });
        if let Some(learning_rate) = progress.callbacks.learning_rate().filter(|_| decision.reduced) {
            self.observer.observe(&Event::RateReduced { epoch: record.epoch, learning_rate });
        }
        if decision.stop {
            self.observer.observe(&Event::StoppedEarly { epoch: record.epoch, phase: &phase.name });
        }
        Ok(true)
    }

    /// Runs one pass over the training images and one over the validation images; `None` if it was stopped meanwhile. After it, the
    /// executor has the weights that were validated. `epoch` counts from 0 over the whole run, and `of_phase` in the phase.
    fn passes(
        &mut self,
        plan: &PhasePlan,
        (epoch, of_phase): (usize, usize),
        learning_rate: f64,
        features: Option<&KeptFeatures>,
        executor: &mut dyn Executor,
    ) -> Result<Option<(EpochRecord, Option<Validated>)>, TrainError> {
        let began = Instant::now();
        let (judge, peers) = (self.judge.clone(), self.settings.peers());
        let kept = features.and_then(|features| features.training.as_deref());
        let lessons = self.lessons.as_ref();
        let mut feed = TaughtFeed::new(self.train, epoch as u64, kept, peers.part(), lessons);
        let total = feed.batches();
        let mut pass = TrainingEpoch::new(plan, &judge, self.settings.seed, epoch, total, learning_rate, peers);
        while let Some((portion, answer)) = feed.next(executor.prefix())? {
            pass.step(executor, portion, answer)?;
            let (done, loss, accuracy) = (pass.done, pass.running.loss(), pass.running.accuracy());
            self.observer.observe(&Event::Batch { epoch: epoch + 1, done, total, loss, accuracy });
            if self.stopped()? {
                break;
            }
        }
        pass.finish(executor)?;
        let (spent, seconds, running, learning_rate) =
            (feed.spent(), pass.seconds, pass.running, pass.size.learning_rate);
        self.count(spent);
        self.seconds.train += seconds;
        if self.stopped()? {
            return Ok(None);
        }
        if running.count() == 0 {
            return Err(TrainError::NoImages { subset: "training" });
        }
        let diverged = |what: String| TrainError::Diverged { epoch: epoch + 1, batch: None, what, learning_rate };
        average((plan, self.model.network.graph()), executor, peers)?;
        if let Some(layer) = executor.broken_layer() {
            let layer = self.model.network.graph().nodes()[layer].name();
            return Err(diverged(format!("the weights of layer '{layer}' became infinite or not a number")));
        }
        let averaged = plan.phase.swa.and_then(|swa| swa.before(of_phase));
        if let Some(before) = averaged {
            executor.average(before);
        }
        executor.swap_averages();
        if averaged.is_some() && !plan.updates_statistics().is_empty() {
            // The running statistics are those of the last weights, and not of their mean.
            let (mut feed, stop, started) =
                (Feed::new(self.train, Some(epoch as u64), kept, peers.part()), self.stop, Instant::now());
            let graph = self.model.network.graph();
            let mut random = ChaCha8Rng::seed_from_u64(!self.settings.seed ^ ((epoch as u64 + 1) << 32));
            renew((plan, graph), &mut feed, executor, &mut random, stop, peers)?;
            self.seconds.train += started.elapsed().as_secs_f64() - feed.spent().prefix;
            self.count(feed.spent());
        }
        let validated = match self.validation {
            Some(loader) => {
                let kept = features.and_then(|features| features.validation.as_deref());
                let (started, stop) = (Instant::now(), self.stop);
                let mut feed = Feed::new(loader, None, kept, peers.part());
                let found = validate(&judge, &mut feed, executor, stop, peers)?;
                self.seconds.validate += started.elapsed().as_secs_f64() - feed.spent().prefix;
                self.count(feed.spent());
                Some(found)
            }
            None => None,
        };
        if self.stopped()? {
            return Ok(None);
        }
        let figures = validated.as_ref().map(|validated| &validated.figures);
        if let Some(figures) = figures.filter(|figures| !figures.is_finite()) {
            let what = match figures.loss() {
                loss if loss.is_finite() => "the network's outputs became infinite or not a number".to_owned(),
                loss => format!("the validation loss became {loss}"),
            };
            return Err(diverged(what));
        }
        let record = EpochRecord {
            epoch: epoch + 1,
            phase: plan.phase.name.clone(),
            loss: running.loss(),
            accuracy: running.accuracy(),
            val_loss: figures.map(Accumulator::loss),
            val_accuracy: figures.map(Accumulator::accuracy),
            learning_rate,
            seconds: began.elapsed().as_secs_f64(),
        };
        Ok(Some((record, validated)))
    }
}
