use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{InsightError, Result};

/// The progress of a long computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is computed, as a noun such as `"probe"`.
    pub stage: &'static str,
    /// Number of steps that are done.
    pub done: usize,
    /// Number of all steps. A computation that needs fewer steps goes straight to this number when it ends.
    pub total: usize,
}

/// A listener for the progress of a computation, and a flag that stops it; both are optional.
///
/// Neither changes a result: a computation that is not stopped gives the same numbers without them.
#[derive(Clone, Copy, Default)]
pub struct Watch<'a> {
    stop: Option<&'a AtomicBool>,
    progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("stop", &self.stop).field("progress", &self.progress.is_some()).finish()
    }
}

impl<'a> Watch<'a> {
    /// A watch without listener and without flag.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same watch with a flag: the computation ends with [`InsightError::Stopped`] soon after `flag` becomes true.
    #[must_use]
    pub fn stopped_by(self, flag: &'a AtomicBool) -> Self {
        Self { stop: Some(flag), ..self }
    }

    /// The same watch with a listener, which is called after each step, by any thread.
    #[must_use]
    pub fn told_to(self, listener: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self { progress: Some(listener), ..self }
    }

    /// The same watch without its listener, for a computation that is one step of another.
    pub(crate) fn quiet(self) -> Self {
        Self { progress: None, ..self }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.stop {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(InsightError::Stopped),
            _ => Ok(()),
        }
    }

    /// Tells the listener that `done` of `total` steps of `stage` are done. Callers use it for computations of their own.
    ///
    /// # Errors
    /// [`InsightError::Stopped`] if the flag is true.
    pub fn step(&self, stage: &'static str, done: usize, total: usize) -> Result<()> {
        self.check()?;
        if let Some(listener) = self.progress {
            listener(Progress { stage, done, total });
        }
        Ok(())
    }
}

/// Counts the steps of a computation in several threads. The listener hears of every hundredth part.
pub(crate) struct Steps<'a> {
    stage: &'static str,
    done: AtomicUsize,
    total: usize,
    watch: Watch<'a>,
}

/// Number of parts of which the listener hears.
const PARTS: usize = 100;

impl<'a> Steps<'a> {
    pub(crate) fn new(stage: &'static str, total: usize, watch: Watch<'a>) -> Result<Self> {
        watch.step(stage, 0, PARTS)?;
        Ok(Self { stage, done: AtomicUsize::new(0), total, watch })
    }

    /// Counts one more step.
    pub(crate) fn one(&self) -> Result<()> {
        let before = self.done.fetch_add(1, Ordering::Relaxed);
        let part = |done: usize| done * PARTS / self.total;
        if part(before + 1) > part(before) {
            return self.watch.step(self.stage, part(before + 1), PARTS);
        }
        self.watch.check()
    }
}
