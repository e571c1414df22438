//! How a run shows its progress: a bar if there is a terminal, otherwise a line now and then, and in both cases a line per epoch.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use injerto_experiment::ExperimentError;
use injerto_experiment::sweep::Told;
use injerto_files::printable;
use injerto_insight::InsightError;
use injerto_report::words::{counted, estimate, grouped};
use injerto_trainer::{Event, Observer, Watch};

use crate::output::{self, aside, note};

/// How often a log gets a line about the progress.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A bar where there is a terminal, and a line now and then where there is none. All commands show their progress with it.
struct Bar {
    bar: ProgressBar,
    /// Where there is no terminal: when the work shown began, and the last line.
    log: Option<[Instant; 2]>,
}

impl Bar {
    /// Nothing to show yet.
    fn new() -> Self {
        let now = Instant::now();
        let log = (!std::io::stderr().is_terminal()).then_some([now, now]);
        Self { bar: output::bar("", 0), log }
    }

    /// Shows `done` of `total`, beginning a new bar where the last one was about something else.
    fn show(&mut self, what: &str, done: usize, total: usize, message: String) {
        if self.bar.prefix() != what || self.bar.is_finished() {
            self.bar.finish_and_clear();
            self.bar = output::bar(what, total as u64);
            self.bar.enable_steady_tick(Duration::from_millis(250));
            self.log = self.log.map(|_| [Instant::now(); 2]);
        }
        if let Some([began, last]) = &mut self.log
            && last.elapsed() >= LOG_EVERY
            && done > 0
        {
            *last = Instant::now();
            let left = began.elapsed().as_secs_f64() * (total as f64 / done as f64 - 1.0);
            note!("{what:>12} {} of {}, {left:.0} s left", grouped(done), grouped(total));
        }
        self.bar.set_message(message);
        self.bar.set_position(done as u64);
    }

    /// Takes the bar away.
    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Counts photos that have their answers, on a terminal whose lines are not the answers themselves; in a pipe it says nothing.
pub struct Counted {
    bar: Option<Bar>,
    total: usize,
}

impl Counted {
    /// For `total` photos.
    pub fn new(total: usize) -> Self {
        let seen = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        Self { bar: (seen && total > 1).then(Bar::new), total }
    }

    /// So many have their answers.
    pub fn show(&mut self, done: usize) {
        if let Some(bar) = &mut self.bar {
            bar.show("photos", done, self.total, String::new());
        }
    }

    /// Takes the bar away, until the next [`Counted::show`].
    pub fn end(&self) {
        self.bar.iter().for_each(Bar::end);
    }
}

/// Shows the look at the images' files before training.
pub struct Looking {
    /// The bar, and the largest number of files that was reported: threads do not report in order.
    bar: Mutex<(Bar, usize)>,
}

impl Looking {
    /// Nothing to show yet.
    pub fn new() -> Self {
        Self { bar: Mutex::new((Bar::new(), 0)) }
    }

    /// So many images of so many are read; all threads may say so.
    pub fn show(&self, done: usize, all: usize) {
        let mut held = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let (bar, most) = &mut *held;
        *most = done.max(*most);
        bar.show("images", *most, all, "read".to_owned());
    }

    /// So far is a computation of `insight`.
    pub fn stage(&self, progress: &injerto_insight::Progress) {
        let mut held = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.show(progress.stage, progress.done, progress.total, String::new());
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).0.end();
    }
}

/// A flag that Ctrl-C sets; the second one ends the process at once.
pub fn on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        note!("\nstopping (Ctrl-C again stops at once)");
    })?;
    Ok(stop)
}

/// Whether work ended because of the flag of [`on_interrupt`].
pub fn interrupted(error: &anyhow::Error) -> bool {
    let stopped = |error: &InsightError| matches!(error, InsightError::Stopped);
    error.chain().any(|cause| {
        cause.downcast_ref::<InsightError>().is_some_and(stopped)
            || matches!(cause.downcast_ref(), Some(ExperimentError::Insight(error)) if stopped(error))
    })
}

/// Shows the trials of a sweep; all threads may report how far it has come.
pub struct Trials {
    /// The bar, and the largest number of trials that was reported.
    bar: Mutex<(Bar, [usize; 2])>,
}

impl Trials {
    /// Nothing to show yet.
    pub fn new() -> Self {
        Self { bar: Mutex::new((Bar::new(), [0; 2])) }
    }

    /// So far is the sweep.
    pub fn show(&self, told: Told) {
        let Told { done, total, rung: (rung, rungs), best } = told;
        let mut held = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let (bar, most) = &mut *held;
        // Threads do not report in order.
        *most = if most[0] == rung { [rung, most[1].max(done)] } else { [rung, done] };
        let best = best.map_or_else(String::new, |(value, number)| format!("best {value:.4} ({number:03})"));
        let what = if rungs > 1 { format!("rung {} of {rungs}", rung + 1) } else { "trials".to_owned() };
        bar.show(&what, most[1], total, best);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).0.end();
    }
}

/// Shows the progress of long work, and writes nothing to standard output, which belongs to the answer.
pub struct Quietly(Progress);

impl Quietly {
    /// Nothing to show yet.
    pub fn new() -> Self {
        Self(Progress::new())
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.0.end();
    }
}

impl Observer for Quietly {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Prefix { .. } | Event::Evaluated { .. } => self.0.observe(event),
            Event::Noticed { what } => output::warning(what),
            _ => {}
        }
    }
}

/// Runs long work that cannot be interrupted, such as an evaluation, with a bar.
pub fn watched<T>(
    work: impl FnOnce(&mut Watch<'_>) -> Result<Option<T>, ExperimentError>,
) -> Result<T, ExperimentError> {
    let mut progress = Progress::new();
    let done = work(&mut Watch { observer: &mut progress, stop: &AtomicBool::new(false) });
    progress.end();
    Ok(done?.expect("nobody stops it"))
}

/// A count of what is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is counted.
    pub what: String,
    pub done: usize,
    pub total: usize,
    /// A message about it.
    pub message: String,
}

impl Step {
    /// The count that an event tells of, if it tells of one.
    pub fn of(event: &Event<'_>) -> Option<Self> {
        let step = |what: &str, done: &usize, total: &usize, message: &str| {
            Some(Self { what: what.to_owned(), done: *done, total: *total, message: message.to_owned() })
        };
        match event {
            Event::Prefix { done, total } => {
                step("features", done, total, "images through the frozen prefix, once each")
            }
            Event::Evaluated { done, total } => step("images", done, total, ""),
            Event::Batch { epoch, done, total, loss, accuracy } => {
                step(&format!("epoch {epoch}"), done, total, &format!("loss {loss:.4} accuracy {accuracy:.4}"))
            }
            _ => None,
        }
    }
}

/// Shows progress on the terminal, or in a log.
pub struct Progress {
    bar: Bar,
    /// Whether a phase has begun, and when the first event about its features came: their time belongs to no epoch.
    phase_began: bool,
    features_began: Option<Instant>,
}

impl Progress {
    /// Nothing to show yet.
    pub fn new() -> Self {
        Self { bar: Bar::new(), phase_began: false, features_began: None }
    }

    /// Prints how long the features took, if they have just been finished.
    fn end_features(&mut self) {
        if let Some(began) = self.features_began.take() {
            let seconds = began.elapsed().as_secs_f64();
            self.line(&format!("features   {seconds:>6.1} s  once each, before the epochs"));
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.end();
    }

    fn line(&mut self, text: &str) {
        self.bar.end();
        aside!("{text}");
    }
}

impl Observer for Progress {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Batch { .. } => {
                self.end_features();
                self.phase_began = false;
            }
            Event::Prefix { .. } if self.phase_began => {
                self.features_began.get_or_insert_with(Instant::now);
            }
            _ => {}
        }
        if let Some(Step { what, done, total, message }) = Step::of(event) {
            self.bar.show(&what, done, total, message);
        }
        match event {
            Event::Prefix { done, total } if done == total => self.end_features(),
            Event::PhaseBegan { name, trainable, non_trainable, epochs, .. } => {
                (self.phase_began, self.features_began) = (true, None);
                self.line(&format!(
                    "{}: {}, trainable {} / non-trainable {}",
                    printable(name),
                    counted(*epochs, "epoch"),
                    grouped(*trainable),
                    grouped(*non_trainable),
                ));
            }
            Event::KnowledgeKept { images, seconds } => {
                let images = grouped(*images);
                self.line(&format!(
                    "knowledge  {seconds:>6.1} s  features of {images} training images, kept with the model"
                ));
            }
            Event::ComparisonBegan { seed, from_scratch } => {
                self.line(&format!("\nseed {seed}, {}", if *from_scratch { "from scratch" } else { "by transfer" }));
            }
            Event::EpochEnded { record, best } => {
                let validation = match (record.val_loss, record.val_accuracy) {
                    (Some(loss), Some(accuracy)) => format!("  val_loss {loss:.4}  val_accuracy {accuracy:.4}"),
                    _ => String::new(),
                };
                let best = if *best { "  *" } else { "" };
                self.line(&format!(
                    "epoch {:>3}  {:>6.1} s  loss {:.4}  accuracy {:.4}{validation}{best}",
                    record.epoch, record.seconds, record.loss, record.accuracy,
                ));
            }
            Event::Probed { accuracy, interval, n, seconds } => {
                self.end_features();
                self.phase_began = false;
                let words = estimate(*accuracy, Some(*interval), *n);
                self.line(&format!(
                    "probe      {seconds:>6.1} s  a logistic regression on the features reaches {words}"
                ));
            }
            Event::Noticed { what } => {
                self.end_features();
                self.phase_began = false;
                self.bar.end();
                output::warning(what);
            }
            Event::RateReduced { learning_rate, .. } => {
                self.line(&format!("           no progress: the learning rate is {learning_rate:e} from here"));
            }
            Event::StoppedEarly { phase, .. } => {
                self.line(&format!("           no progress: {} ends early", printable(phase)))
            }
            _ => {}
        }
    }
}
