//! The present state of a run: one thread watches its folder, and tells the page when something has changed.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use injerto_experiment::RunFolder;
use injerto_files::Lock;
use injerto_report::words::counted;
use injerto_report::{ReportError, Run, Stage, ahead, kept};
use injerto_trainer::history::EpochRecord;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::model::{Model, Slot};

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A process trains.
    Training,
    /// It was asked to stop, and ends after the current batch.
    Stopping,
    /// It was stopped or killed before its end, and can go on.
    Stopped,
    /// It is complete.
    Finished,
    /// There is no run, but a checkpoint alone.
    Checkpoint,
}

impl State {
    /// The word for it in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// The state of a run that is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Live {
    /// Name of the experiment.
    pub name: String,
    pub state: State,
    /// Finished epochs, and those of the plan.
    pub epochs: (usize, Option<usize>),
    /// What is under way and how long it will take, in a sentence.
    pub words: String,
    /// The finished epochs.
    pub history: Vec<EpochRecord>,
    /// Tiles, curves and verdict, as HTML; empty before the first epoch is finished.
    pub html: String,
    /// The classes of the network; `None` before there is one.
    pub classes: Option<Vec<String>>,
    /// Whether the network knows its training photos.
    pub knows: bool,
}

impl Live {
    /// As the object that `GET /run` answers.
    pub fn json(&self) -> Value {
        let Self { name, state, epochs: (done, all), words, history, .. } = self;
        json!({ "name": name, "state": state.name(), "epochs_done": done, "epochs": all, "words": words, "history": history })
    }

    /// As an event of the page.
    pub fn event(&self) -> String {
        let Self { state, words, html, classes, knows, .. } = self;
        let data = json!({ "state": state.name(), "words": words, "html": html, "classes": classes, "knows": knows });
        // JSON has no line breaks of its own, which would end the field.
        format!("event: run\ndata: {data}\n\n")
    }

    /// Reads the state of a run, or of a checkpoint alone.
    fn of(slot: &Slot) -> Self {
        let model = slot.get();
        let bare = |name: String, state, words: &str| Self {
            name,
            state,
            epochs: (0, None),
            words: words.to_owned(),
            history: Vec::new(),
            html: String::new(),
            classes: model.as_ref().map(|model| model.predictor.classes().to_vec()),
            knows: model.as_ref().is_some_and(|model| model.predictor.knowledge().is_ok()),
        };
        let Some(folder) = &slot.run else {
            return bare("checkpoint".to_owned(), State::Checkpoint, "a checkpoint without its run's folder");
        };
        let run = Run::load(folder);
        let state = state(folder, run.as_ref().ok());
        match run {
            Ok(run) => {
                let all = run.plan.as_ref().map(|plan| plan.phases.iter().map(|phase| phase.phase.epochs).sum());
                let (words, html) = (
                    words(&run, state),
                    injerto_report::live(&run, matches!(state, State::Training | State::Stopping)),
                );
                let epochs = (run.history.len(), all);
                Self { epochs, words, history: run.history, html, ..bare(run.name, state, "") }
            }
            Err(error) => {
                let words = match (&error, state) {
                    (ReportError::NothingToDraw { .. }, State::Training | State::Stopping) => {
                        "the first epoch is under way; its curves come when it is finished"
                    }
                    (ReportError::NothingToDraw { .. }, _) => "no epoch of this run was finished",
                    _ => {
                        tracing::warn!("the run cannot be shown: {error}");
                        "the files of this run cannot be read"
                    }
                };
                let name = folder.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
                bare(name, state, words)
            }
        }
    }
}

/// How far the training in a folder is.
pub(crate) fn state(folder: &Path, run: Option<&Run>) -> State {
    if Lock::is_taken(folder) {
        let asked = folder.join(RunFolder::STOP).symlink_metadata().is_ok();
        return if asked { State::Stopping } else { State::Training };
    }
    let finished = run.and_then(|run| run.summary.as_ref()).is_some_and(|summary| !summary.interrupted);
    if finished { State::Finished } else { State::Stopped }
}

/// What is under way, and how long it will take.
fn words(run: &Run, state: State) -> String {
    let (done, kept) = (run.history.len(), kept(run.history.len()));
    match state {
        State::Training => {
            let plans = run.plan.iter().flat_map(|plan| &plan.phases);
            let stages: Vec<Stage> = plans.map(|plan| Stage::of(&plan.phase)).collect();
            ahead(&stages, &run.history, None)
        }
        State::Stopping => format!("stopping after this batch; {kept}"),
        State::Stopped => format!("stopped before its end; {kept}, and injerto train --resume goes on"),
        State::Finished => format!("finished after {}", counted(done, "epoch")),
        State::Checkpoint => String::new(),
    }
}

/// The thread that looks at the folder.
#[derive(Debug)]
pub(crate) struct Watcher {
    thread: Option<JoinHandle<()>>,
    /// What it has seen last.
    pub seen: watch::Receiver<Arc<Live>>,
}

impl Watcher {
    /// Looks at the folder of `slot` until `stop` is set, and reloads the network when its checkpoint has changed.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(slot: &Arc<Slot>, stop: watch::Receiver<bool>) -> std::io::Result<Self> {
        let (tell, seen) = watch::channel(Arc::new(Live::of(slot)));
        let slot = slot.clone();
        let look = move || {
            let mut before = None;
            while !*stop.borrow() && slot.run.is_some() {
                slot.refresh();
                let now = Seen::of(&slot);
                if before.as_ref() != Some(&now) {
                    let live = Arc::new(Live::of(&slot));
                    tell.send_if_modified(|told| {
                        let changed = **told != *live;
                        *told = live;
                        changed
                    });
                    before = Some(now);
                }
                thread::sleep(EVERY);
            }
            // Dropping the sender ends all streams of events.
        };
        Ok(Self { thread: Some(thread::Builder::new().name("watch".to_owned()).spawn(look)?), seen })
    }

    /// Waits for the thread, which was told to stop.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The signs that a run has changed: its files, its network, whether a process trains, and whether it was asked to stop.
#[derive(Debug)]
struct Seen([Option<(SystemTime, u64)>; 3], Option<Arc<Model>>, [bool; 2]);

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.1, &other.1) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same && self.0 == other.0 && self.2 == other.2
    }
}

impl Seen {
    fn of(slot: &Slot) -> Option<Self> {
        let folder = slot.run.as_ref()?;
        let of = |name| {
            let file = folder.join(name).metadata().ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        let asked = folder.join(RunFolder::STOP).symlink_metadata().is_ok();
        let files = ["history.jsonl", "summary.json", "plan.json"].map(of);
        Some(Self(files, slot.get(), [Lock::is_taken(folder), asked]))
    }
}
