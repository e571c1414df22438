//! What the dashboard shows: how far a training is.

use std::time::Instant;

use injerto_files::printable;
use injerto_report::words::grouped;
use injerto_report::{Stage, UnderWay, ahead, kept, plan as words};
use injerto_trainer::history::EpochRecord;
use injerto_trainer::{Event, Observer, PhasePlan};

use crate::progress::Step;

/// The state of a training as its events tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// Name of the experiment.
    pub title: String,
    /// The folder of the run, as it is shown.
    pub folder: String,
    /// The phases, and what is decided about each of them, in lines.
    pub phases: Vec<(Stage, Vec<String>)>,
    /// The finished epochs.
    pub history: Vec<EpochRecord>,
    /// The best epoch.
    pub best: Option<usize>,
    /// What is counted at the moment.
    pub step: Option<Step>,
    /// The epoch under way.
    pub epoch: Option<Current>,
    /// Place of the phase under way, if one has begun.
    phase: Option<usize>,
    /// Another training of the same network that is under way, to compare with.
    comparison: Option<String>,
    /// Whether the phases are shown instead of the last lines of output.
    pub shows_phases: bool,
    /// Whether the training ends after the current batch.
    pub stopping: bool,
}

/// The epoch under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// Its number, counted from 1 over the whole run.
    pub number: usize,
    /// Which share of its batches is done.
    pub share: f64,
    pub loss: f64,
    pub accuracy: f64,
    /// When the first event about its batches came, and the share that was done then.
    began: (Instant, f64),
}

impl Board {
    /// A training with these phases, after these finished epochs.
    pub fn new(title: &str, folder: String, plans: &[PhasePlan], history: Vec<EpochRecord>) -> Self {
        let phase = |plan: &PhasePlan| {
            let trained =
                format!("trainable {} / non-trainable {}", grouped(plan.trainable), grouped(plan.non_trainable));
            let lines = [trained, words::parts(plan), words::cut(plan)].into_iter().chain(words::keeps(plan));
            (Stage::of(&plan.phase), lines.collect())
        };
        Self {
            title: title.to_owned(),
            folder,
            phases: plans.iter().map(phase).collect(),
            history,
            best: None,
            step: None,
            epoch: None,
            phase: None,
            comparison: None,
            shows_phases: false,
            stopping: false,
        }
    }

    /// Shows the phases instead of the last lines of output, or the other way round.
    pub fn turn(&mut self) {
        self.shows_phases = !self.shows_phases;
    }

    /// What is under way and how long it will take, or what is kept of a training that ends.
    pub fn words(&self) -> String {
        if self.stopping {
            return format!("stopping after this batch; {}", kept(self.history.len()));
        }
        if let Some(words) = &self.comparison {
            return words.clone();
        }
        let stages: Vec<Stage> = self.phases.iter().map(|(stage, _)| stage.clone()).collect();
        let epoch = self.epoch.as_ref().map(|epoch| {
            let (began, before) = epoch.began;
            // The time before the first event about its batches is unknown.
            let seen = epoch.share - before;
            let spent = began.elapsed().as_secs_f64() * if seen > 0.0 { epoch.share / seen } else { 0.0 };
            (epoch.share, spent)
        });
        printable(&ahead(&stages, &self.history, self.phase.map(|phase| UnderWay { phase, epoch }))).to_string()
    }

    /// Epochs of the whole plan.
    pub fn epochs(&self) -> usize {
        self.phases.iter().map(|(stage, _)| stage.epochs).sum()
    }

    /// Epochs after which a phase ended that is followed by another one.
    pub fn borders(&self) -> Vec<usize> {
        self.history.windows(2).filter(|pair| pair[0].phase != pair[1].phase).map(|pair| pair[0].epoch).collect()
    }
}

impl Observer for Board {
    fn observe(&mut self, event: &Event<'_>) {
        if let Some(step) = Step::of(event) {
            self.step = Some(step);
        }
        match event {
            Event::ComparisonBegan { seed, from_scratch } => {
                let how = if *from_scratch { "from scratch" } else { "by transfer" };
                self.comparison = Some(format!("to compare with: seed {seed}, {how}"));
            }
            // What follows belongs to another training, and not to the curves of this one.
            _ if self.comparison.is_some() => {}
            Event::PhaseBegan { place: (at, _), .. } => (self.phase, self.epoch) = (Some(*at), None),
            Event::Batch { epoch, done, total, loss, accuracy } => {
                let share = *done as f64 / (*total).max(1) as f64;
                let same = self.epoch.take().filter(|current| current.number == *epoch);
                let began = same.map_or_else(|| (Instant::now(), share), |current| current.began);
                self.epoch = Some(Current { number: *epoch, share, loss: *loss, accuracy: *accuracy, began });
            }
            Event::EpochEnded { record, best } => {
                self.history.retain(|earlier| earlier.epoch < record.epoch);
                self.history.push((*record).clone());
                self.epoch = None;
                if *best {
                    self.best = Some(record.epoch);
                }
            }
            _ => {}
        }
    }
}
