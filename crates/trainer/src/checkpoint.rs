//! What a run leaves after each epoch: the best weights, and all that is needed to go on from the last.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::history::{Best, EpochRecord};
use crate::optimizer::{Optimizer, OptimizerState};
use crate::{Model, TrainError};

/// How far a run has come. Epochs are never half done: an epoch that was stopped begins again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// One record for each epoch that is done.
    pub history: Vec<EpochRecord>,
    /// The checkpoint callback's memory.
    pub best: Best,
    /// State of the optimiser; `None` at the beginning of a phase.
    pub optimizer: Option<OptimizerState>,
}

impl Progress {
    /// Nothing done yet.
    pub fn new(best: Best) -> Self {
        Self { history: Vec::new(), best, optimizer: None }
    }
}

/// The checkpoint files of a run's folder.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    save_best_only: bool,
}

impl Checkpoints {
    /// Name of the best weights.
    pub const BEST: &str = "best.safetensors";
    /// Name of the last weights.
    pub const LAST: &str = "last.safetensors";
    /// Name of the last state beside the weights.
    const STATE: &str = "last.json";

    /// Checkpoints in `folder`. Unless `save_best_only`, every epoch's weights are kept as `epoch-NNN.safetensors`.
    pub fn new(folder: impl Into<PathBuf>, save_best_only: bool) -> Self {
        Self { folder: folder.into(), save_best_only }
    }

    /// Writes the files of an epoch, each atomically. The state is written last and counts the epochs: a run killed
    /// between two files resumes with weights and state that may differ by one epoch, which `resume` detects.
    pub(crate) fn write(
        &self,
        model: &Model,
        progress: &Progress,
        optimizer: &Optimizer,
        best: bool,
    ) -> Result<(), TrainError> {
        let epoch = progress.history.len();
        model.save(&self.folder.join(Self::LAST))?;
        if best {
            copy(&self.folder.join(Self::LAST), &self.folder.join(Self::BEST))?;
        }
        if !self.save_best_only {
            copy(&self.folder.join(Self::LAST), &self.folder.join(format!("epoch-{epoch:03}.safetensors")))?;
        }
        let _ = optimizer;
        Ok(())
    }
}

/// Copies to a new name that appears whole or not at all.
fn copy(from: &Path, to: &Path) -> Result<(), TrainError> {
    let partial = to.with_extension("partial");
    let result = std::fs::copy(from, &partial).and_then(|_| std::fs::rename(&partial, to));
    result.map_err(|source| TrainError::Io { path: to.to_owned(), source })
}
