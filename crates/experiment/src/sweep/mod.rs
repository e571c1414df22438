//! Many experiments on the same images: each image passes through a backbone once, and each trial trains on the kept features.
//!
//! A [`Sweep`] is prepared from experiments that differ in any keys. Experiments with the same images, the same split and the same backbone
//! share one ground: the images are examined once, and the backbone's parameters are on the device once. Trials whose first phase keeps the
//! same outputs of the same layers share these features in memory. Where a trial trains a head alone, several run at once, one per core;
//! the numbers are those of the experiment alone, bit for bit.
//!
//! Each trial leaves the folder of a run without a network and without a report. The best one becomes a whole run. A sweep that was stopped
//! goes on if it is started again with the same folder: finished trials are not trained again, even if the sweep has more trials by then.

mod ground;
pub mod halving;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_config::{Config, Initial};
use injerto_files::{Lock, LockError};
use injerto_trainer::Watch;
use injerto_trainer::history::Best;

pub use trial::Trial;

use crate::anchored::anchored;
use crate::gallery::Gallery;
use crate::source::settle;
use crate::{ExperimentError, Prepared, Summary, device};
use ground::{Ground, Shared, features, is_head_alone};
use trial::Planned;

/// An experiment that is to be tried.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What it sets, each as `KEY=VALUE`.
    pub sets: Vec<String>,
    /// The experiment with it.
    pub config: Config,
}

/// How the trials of a sweep are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether successive halving ends most trials after few epochs.
    pub halving: bool,
    /// Trials that run at the same time; `None`: one per core where they train heads alone, and else one.
    pub jobs: Option<usize>,
}

/// How far a sweep has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// Trials that have come to the end of the rung.
    pub done: usize,
    /// Trials of the rung.
    pub total: usize,
    /// Number of the rung, counted from 0, and number of rungs.
    pub rung: (usize, usize),
    /// The best value of the monitored figure so far, and the trial that reached it.
    pub best: Option<(f64, usize)>,
}

/// A sweep whose experiments have been checked, in a folder of its own.
pub struct Sweep {
    folder: PathBuf,
    _lock: Lock,
    options: Options,
    grounds: Vec<Ground>,
    trials: Vec<Planned>,
    /// Seconds that trials have taken.
    seconds: f64,
}

/// What a sweep has found.
#[derive(Debug)]
pub struct Found {
    /// The trials that were trained, in the order in which they were asked for.
    pub trials: Vec<Trial>,
    /// Number of trials that were asked for.
    pub asked: usize,
    /// Number of trials that an earlier sweep had finished.
    pub known: usize,
    /// Seconds in which the others were trained, without the features and without what makes the best one a whole run.
    pub seconds: f64,
    /// The best trial, and the summary of its run; `None` if the sweep was stopped or if all trials failed.
    pub best: Option<(usize, Box<Summary>)>,
    /// Whether it was stopped.
    pub interrupted: bool,
}

impl Sweep {
    /// Name of the file with all trials as a table, and as JSON.
    pub const CSV: &str = "sweep.csv";
    /// The same as JSON.
    pub const JSON: &str = "sweep.json";

    /// Prepares all experiments, so that a mistake in one of them is reported before the first one trains. `folder` is created; trials that
    /// it holds already are found again. While images are read, `looking` is called with the number of files that are done and of all.
    ///
    /// # Errors
    /// [`ExperimentError`] for the first experiment with a part that is missing or does not fit.
    pub fn prepare(
        folder: &Path,
        asked: Vec<Asked>,
        options: Options,
        catalog: &mut Catalog,
        cache: &Cache,
        looking: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, ExperimentError> {
        let (mut grounds, mut trials): (Vec<Ground>, Vec<Planned>) = (Vec::new(), Vec::new());
        let mut known = BTreeSet::new();
        for Asked { sets, config } in asked {
            let config = Config { sweep: None, transfer_gain: None, ..config };
            let mut plan = || {
                let ground = match grounds.iter().position(|ground| ground.bears(&config)) {
                    Some(ground) => ground,
                    None => {
                        let base = based(&grounds, &config, catalog, cache, looking)?;
                        grounds.push(Ground::new(base, &config, &device(config.device)?)?);
                        grounds.len() - 1
                    }
                };
                let prepared = grounds[ground].base.with(config.clone())?;
                prepared.check_folder(folder)?;
                let experiment = anchored(&prepared.config).to_toml();
                Ok(Planned {
                    number: 0,
                    sets: sets.clone(),
                    ground,
                    features: features(&prepared),
                    is_head_alone: is_head_alone(&prepared),
                    epochs: prepared.plan.phases.iter().map(|plan| plan.phase.epochs).sum(),
                    experiment,
                    folder: PathBuf::new(),
                    done: None,
                    config: config.clone(),
                })
            };
            let planned = plan().map_err(|source: ExperimentError| match sets.is_empty() {
                true => source,
                false => ExperimentError::Trial { sets: sets.join(" "), source: Box::new(source) },
            })?;
            // Two trials of the same experiment are one.
            if known.insert(planned.experiment.clone()) {
                trials.push(planned);
            }
        }
        // Of a sweep that cannot begin, nothing is left.
        std::fs::create_dir_all(folder).map_err(|source| ExperimentError::Io { path: folder.to_owned(), source })?;
        let lock = Lock::take(folder).map_err(|error| match error {
            LockError::Taken => ExperimentError::BusySweep { path: folder.to_owned() },
            LockError::Io { path, source } => ExperimentError::Io { path, source },
        })?;
        let mut places = Places::of(folder)?;
        for trial in &mut trials {
            (trial.number, trial.folder) = places.place(&trial.experiment);
        }
        Ok(Self { folder: folder.to_owned(), _lock: lock, options, grounds, trials, seconds: 0.0 })
    }

    /// The first experiment of each ground: the images and the backbone of some trials.
    pub fn grounds(&self) -> impl Iterator<Item = &Prepared> {
        self.grounds.iter().map(|ground| &ground.base)
    }

    /// Number of different trials.
    pub fn len(&self) -> usize {
        self.trials.len()
    }

    /// Whether there is nothing to try.
    pub fn is_empty(&self) -> bool {
        self.trials.is_empty()
    }

    /// Folder of the sweep.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder of the trial with this number.
    pub fn folder_of(&self, number: usize) -> PathBuf {
        self.folder.join(Places::name(number))
    }

    /// Trains all trials that are not finished, and makes the best one a whole run. The observer of `watch` hears of features, and of
    /// that run; `told` hears of trials, from several threads.
    ///
    /// # Errors
    /// [`ExperimentError`] if images cannot be read, or files cannot be written. A trial that diverges is no error of the sweep.
    pub fn run(mut self, watch: &mut Watch<'_>, told: &(dyn Fn(Told) + Sync)) -> Result<Found, ExperimentError> {
        self.grounds.iter_mut().for_each(Ground::note);
        self.find();
        for at in 0..self.grounds.len() {
            // Copies that change nothing are reported once.
            let is_known = self.trials.iter().all(|trial| trial.ground != at || trial.done.is_some());
            let ground = &mut self.grounds[at];
            if (ground.moves_copies() || !is_known) && !ground.settle(&self.folder, watch)? {
                return Ok(self.found(0, None, true));
            }
        }
        self.find();
        let rungs = match self.options.halving {
            true => halving::rungs(self.trials.len(), self.trials.iter().map(|trial| trial.epochs).min().unwrap_or(1)),
            false => 1,
        };
        let (mut alive, mut known): (Vec<usize>, usize) = ((0..self.trials.len()).collect(), 0);
        for rung in 0..rungs {
            let budget = |trial: &Planned| halving::budget(trial.epochs, rung, rungs);
            let (done, pending): (Vec<usize>, Vec<usize>) = alive.iter().partition(|&&at| {
                let trial = &self.trials[at];
                trial.done.as_ref().is_some_and(|done| done.has(budget(trial)))
            });
            known += if rung == 0 { done.len() } else { 0 };
            if !self.rung((rung, rungs), done.len(), pending, &budget, watch, told)? {
                return Ok(self.found(known, None, true));
            }
            if rung + 1 < rungs {
                self.rank(&mut alive, &budget);
                alive.truncate(halving::size(self.trials.len(), rung + 1));
            }
        }
        self.rank(&mut alive, &|trial| trial.epochs);
        let best = alive.first().copied().filter(|&at| self.trials[at].best(usize::MAX).epoch > 0);
        let Some(best) = best else { return Ok(self.found(known, None, false)) };
        let trial = &self.trials[best];
        let Some(summary) = trial.crown(&self.grounds[trial.ground], watch)? else {
            return Ok(self.found(known, None, true));
        };
        self.trials.iter().for_each(Planned::end);
        let number = trial.number;
        Ok(self.found(known, Some((number, Box::new(summary))), false))
    }

    /// Finds what earlier sweeps have finished.
    fn find(&mut self) {
        let Self { grounds, trials, .. } = self;
        trials.iter_mut().for_each(|trial| trial.find(&grounds[trial.ground].data));
    }

    /// Trains trials up to the end of a rung. Returns whether it was not stopped.
    fn rung(
        &mut self,
        rung: (usize, usize),
        done: usize,
        pending: Vec<usize>,
        budget: &(dyn Fn(&Planned) -> usize + Sync),
        watch: &mut Watch<'_>,
        told: &(dyn Fn(Told) + Sync),
    ) -> Result<bool, ExperimentError> {
        let total = done + pending.len();
        let mut groups: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
        for at in pending {
            let trial = &self.trials[at];
            groups.entry((trial.ground, trial.features.clone())).or_default().push(at);
        }
        let progress = Mutex::new((done, self.best_so_far()));
        let tell = |trial: Option<&Trial>| {
            let mut held = progress.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(trial) = trial {
                held.0 += 1;
                let best = trial.best_within(usize::MAX);
                if held.1.as_ref().is_none_or(|(before, _)| is_better(&best, before)) && best.epoch > 0 {
                    held.1 = Some((best, trial.number));
                }
            }
            let best = held.1.as_ref().and_then(|(best, number)| Some((best.value?, *number)));
            told(Told { done: held.0, total, rung, best });
        };
        for ((ground, _), members) in groups {
            let ground = &self.grounds[ground];
            let first = ground.base.with(self.trials[members[0]].config.clone())?;
            let from_probe = members.iter().any(|&at| self.trials[at].config.head.initial == Initial::Probe);
            let Some(shared) = ground.share(&first, from_probe, watch)? else { return Ok(false) };
            drop(first);
            tell(None);
            let members: Vec<(usize, &Planned)> = members.into_iter().map(|at| (at, &self.trials[at])).collect();
            let began = Instant::now();
            let trained = train(&members, self.options.jobs, ground, &shared, budget, watch.stop, &tell);
            self.seconds += began.elapsed().as_secs_f64();
            let mut stopped = false;
            let places: Vec<usize> = members.iter().map(|(at, _)| *at).collect();
            for (at, trained) in places.into_iter().zip(trained) {
                match trained.transpose()?.flatten() {
                    Some(trial) => self.trials[at].done = Some(trial),
                    None => stopped = true,
                }
            }
            if stopped {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts the trials in the order of what they have reached at the end of the rung; of equals, the one that was asked for first.
    fn rank(&self, alive: &mut [usize], budget: &dyn Fn(&Planned) -> usize) {
        let best = |at: usize| self.trials[at].best(budget(&self.trials[at]));
        alive.sort_by(|&a, &b| match (is_better(&best(a), &best(b)), is_better(&best(b), &best(a))) {
            (true, _) => std::cmp::Ordering::Less,
            (_, true) => std::cmp::Ordering::Greater,
            _ => a.cmp(&b),
        });
    }

    fn best_so_far(&self) -> Option<(Best, usize)> {
        let mut all: Vec<usize> = (0..self.trials.len()).collect();
        self.rank(&mut all, &|_| usize::MAX);
        let first = &self.trials[*all.first()?];
        Some((first.best(usize::MAX), first.number)).filter(|(best, _)| best.epoch > 0)
    }

    fn found(&self, known: usize, best: Option<(usize, Box<Summary>)>, interrupted: bool) -> Found {
        let trials = self.trials.iter().filter_map(|trial| trial.done.clone()).collect();
        Found { trials, asked: self.trials.len(), known, seconds: self.seconds, best, interrupted }
    }
}

impl Trial {
    /// The better trial first: by the figure that decides in the best epoch, then by the loss, then by the number.
    pub fn compared(&self, other: &Self) -> std::cmp::Ordering {
        let best = |trial: &Self| Best {
            value: trial.value,
            loss: trial.loss,
            epoch: trial.best_epoch,
            ..Best::new(trial.monitor, trial.mode)
        };
        let (own, theirs) = (best(self), best(other));
        match (is_better(&own, &theirs), is_better(&theirs, &own)) {
            (true, _) => std::cmp::Ordering::Less,
            (_, true) => std::cmp::Ordering::Greater,
            _ => self.number.cmp(&other.number),
        }
    }
}

impl Planned {
    /// The best among the first epochs; without epochs, none.
    fn best(&self, epochs: usize) -> Best {
        let checkpoint = &self.config.checkpoint;
        let none = || Best::new(checkpoint.monitor, checkpoint.mode);
        self.done.as_ref().map_or_else(none, |done| done.best_within(epochs))
    }
}

/// Whether an epoch of one trial is better than one of another, by the first one's figure: by its value, and where values are equal by
/// the loss.
fn is_better(a: &Best, b: &Best) -> bool {
    let larger = a.monitor.larger_is_better(a.mode);
    match (a.value, b.value) {
        (Some(value), Some(other)) if value == other => a.loss < b.loss,
        (Some(value), Some(other)) => (value > other) == larger,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// The first experiment of a ground, on the images of another ground where they are the same.
fn based(
    grounds: &[Ground],
    config: &Config,
    catalog: &mut Catalog,
    cache: &Cache,
    looking: &(dyn Fn(usize, usize) + Sync),
) -> Result<Prepared, ExperimentError> {
    let Some(other) = grounds.iter().find(|ground| ground.has_images_of(config)) else {
        return Prepared::watched(config.clone(), catalog, cache, looking);
    };
    let (gallery, mut config) = (Gallery::of(&other.base), config.clone());
    if let Some(root) = &gallery.root {
        settle(&mut config, root);
    }
    Prepared::on(&gallery, config, catalog, cache)
}

/// Trains trials that share their features, as many at once as is worthwhile. A place is `None` if no trial was begun there.
fn train(
    trials: &[(usize, &Planned)],
    jobs: Option<usize>,
    ground: &Ground,
    shared: &Shared,
    budget: &(dyn Fn(&Planned) -> usize + Sync),
    stop: &AtomicBool,
    tell: &(dyn Fn(Option<&Trial>) + Sync),
) -> Vec<Option<Result<Option<Trial>, ExperimentError>>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // A network that trains layers of its backbone has work for all cores.
    let pays = trials.iter().all(|(_, trial)| trial.is_head_alone);
    let jobs = jobs.unwrap_or(if pays { cores } else { 1 }).min(trials.len()).max(1);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(trials.iter().map(|_| None).collect::<Vec<_>>());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= trials.len() || stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed) {
                return;
            }
            let trial = trials[at].1;
            let trained = trial.train(budget(trial), ground, shared, stop);
            match &trained {
                Ok(Some(trial)) => tell(Some(trial)),
                Ok(None) => {}
                Err(_) => failed.store(true, Ordering::Relaxed),
            }
            done.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(trained);
        }
    };
    if jobs == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    // Each trial has its share of the cores for itself, so that it never waits for another's work.
                    match rayon::ThreadPoolBuilder::new().num_threads((cores / jobs).max(1)).build() {
                        Ok(pool) => pool.install(work),
                        Err(_) => work(),
                    }
                });
            }
        });
    }
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The folders of the trials: a number each, which an experiment keeps when the sweep is repeated.
struct Places {
    folder: PathBuf,
    /// Number by the text of the experiment.
    known: BTreeMap<String, usize>,
    next: usize,
}

impl Places {
    fn of(folder: &Path) -> Result<Self, ExperimentError> {
        let io = |source| ExperimentError::Io { path: folder.to_owned(), source };
        let (mut known, mut next) = (BTreeMap::new(), 1);
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let Some(number) = path.file_name().and_then(|name| name.to_str()?.parse::<usize>().ok()) else { continue };
            next = next.max(number + 1);
            if let Ok(text) = std::fs::read_to_string(path.join(crate::RunFolder::EXPERIMENT)) {
                known.insert(text, number);
            }
        }
        Ok(Self { folder: folder.to_owned(), known, next })
    }

    fn name(number: usize) -> String {
        format!("{number:03}")
    }

    /// Number and folder of the trial with this experiment.
    fn place(&mut self, experiment: &str) -> (usize, PathBuf) {
        let number = *self.known.entry(experiment.to_owned()).or_insert_with(|| {
            self.next += 1;
            self.next - 1
        });
        (number, self.folder.join(Self::name(number)))
    }
}
