use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{InsightError, Result};

/// How far a long computation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is computed, as a noun: `"probe"`.
    pub stage: &'static str,
    /// Steps that are done.
    pub done: usize,
    /// All steps; a computation that ends early jumps to it.
    pub total: usize,
}

/// Who is told how far a computation is, and who may stop it.
///
/// Neither changes a result: a computation that is not stopped gives the same numbers whoever watches.
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
    /// No observer, and no way to stop.
    pub fn none() -> Self {
        Self::default()
    }

    /// The computation ends with [`InsightError::Stopped`] soon after `flag` becomes true.
    #[must_use]
    pub fn stopped_by(self, flag: &'a AtomicBool) -> Self {
        Self { stop: Some(flag), ..self }
    }

    /// `listener` is called after each step, by any thread.
    #[must_use]
    pub fn told_to(self, listener: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self { progress: Some(listener), ..self }
    }

    /// The same stop flag, and no listener: for a computation that is a step of another.
    pub(crate) fn quiet(self) -> Self {
        Self { progress: None, ..self }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.stop {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(InsightError::Stopped),
            _ => Ok(()),
        }
    }

    /// Tells the listener that `done` of `total` steps of `stage` are done: for a computation of the caller's own among those of this
    /// crate.
    ///
    /// # Errors
    /// [`InsightError::Stopped`] if the caller asked to stop.
    pub fn step(&self, stage: &'static str, done: usize, total: usize) -> Result<()> {
        self.check()?;
        if let Some(listener) = self.progress {
            listener(Progress { stage, done, total });
        }
        Ok(())
    }
}

/// The steps of a computation that several threads do, told in a hundred parts.
pub(crate) struct Steps<'a> {
    stage: &'static str,
    done: AtomicUsize,
    total: usize,
    watch: Watch<'a>,
}

/// Parts of which a listener hears.
const PARTS: usize = 100;

impl<'a> Steps<'a> {
    pub(crate) fn new(stage: &'static str, total: usize, watch: Watch<'a>) -> Result<Self> {
        watch.step(stage, 0, PARTS)?;
        Ok(Self { stage, done: AtomicUsize::new(0), total, watch })
    }

    /// One more is done.
    pub(crate) fn one(&self) -> Result<()> {
        let before = self.done.fetch_add(1, Ordering::Relaxed);
        let part = |done: usize| done * PARTS / self.total;
        if part(before + 1) > part(before) {
            return self.watch.step(self.stage, part(before + 1), PARTS);
        }
        self.watch.check()
    }
}
