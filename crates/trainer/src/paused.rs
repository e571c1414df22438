//! A training that pauses between two epochs and goes on later, in this process or another.

use std::collections::BTreeMap;
use std::path::Path;

use injerto_backbones::weights::{Precision, WeightFile, Weights};
use injerto_graph::Format;

use crate::checkpoint::{Checkpoints, pack, unpack};
use crate::fit::Part;
use crate::tail::{restore, weights_of};
use crate::{Fit, Fitted, Gathered, Model, Progress, TrainError, Watch};

/// Prefixes of the names of weights after the last epoch, and of those of the best epoch.
const NOW: &str = "now:";
const BEST: &str = "best:";

/// A training between two epochs. It holds the weights of those layers alone that a phase has been able to change: the others are those
/// of the model that the training began with.
#[derive(Debug, Clone)]
pub struct Paused {
    /// How far the training has come.
    pub progress: Progress,
    /// Weights after the last epoch.
    now: Weights,
    /// Weights of the best epoch.
    best: Weights,
}

impl Fit {
    /// Trains until so many epochs are complete in the whole run, or to the end of the last phase, and pauses there. It begins at the
    /// beginning, or goes on from where it paused; `model` is the one that the training began with, or the one that it left. The
    /// numbers are those of a training that never paused.
    ///
    /// The second value is `None` if `watch` was stopped.
    ///
    /// # Errors
    /// Those of [`Fit::run`].
    pub fn run_until(
        &self,
        epochs: usize,
        from: Option<Paused>,
        model: &mut Model,
        gathered: Option<Gathered>,
        watch: &mut Watch<'_>,
    ) -> Result<(Fitted, Option<Paused>), TrainError> {
        let (progress, mut best) = match from {
            Some(Paused { progress, now, best }) => {
                restore(model, &now)?;
                (Some(progress), best)
            }
            None => (None, Weights::default()),
        };
        let part = Part { until: epochs, best: Some(&mut best) };
        let (progress, fitted) = self.run_part(part, model, progress, gathered, watch)?;
        if watch.is_stopped() {
            return Ok((fitted, None));
        }
        let now = weights_of(model, &self.changed(progress.phases_done));
        Ok((Fitted { interrupted: false, ..fitted }, Some(Paused { progress, now, best })))
    }

    /// Positions of the layers that the phases up to this one can change.
    pub(crate) fn changed(&self, phase: usize) -> Vec<usize> {
        let tails = self.plans.iter().take(phase + 1).map(|plan| &plan.split().tail);
        let mut layers: Vec<usize> = tails.flatten().copied().collect();
        layers.sort_unstable();
        layers.dedup();
        layers
    }
}

impl Paused {
    /// Writes the training into a file, which appears whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let (mut weights, mut metadata) = (Weights::default(), BTreeMap::new());
        for (prefix, kept) in [(NOW, &self.now), (BEST, &self.best)] {
            for (name, values) in kept.iter() {
                weights.insert(format!("{prefix}{name}"), values.shape.clone(), values.data.clone());
            }
        }
        let optimizer = self.progress.optimizer.clone().unwrap_or_default();
        pack(&self.progress, optimizer, &mut weights, &mut metadata);
        Ok(weights.save(path, &metadata, Precision::F32)?)
    }

    /// Reads a file that [`Paused::save`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let lost = |reason: String| TrainError::Checkpoint { path: path.to_owned(), reason };
        let file = WeightFile::open_as(path, Format::Safetensors)?;
        let progress = unpack(&file, &lost)?;
        let named = |prefix: &str| -> Result<Weights, TrainError> {
            let mut weights = Weights::default();
            for (name, values) in file.named(&format!("{prefix}*"))?.iter() {
                weights.insert(&name[prefix.len()..], values.shape.clone(), values.data.clone());
            }
            Ok(weights)
        };
        let (now, best) = (named(NOW)?, named(BEST)?);
        Ok(Self { progress, now, best })
    }

    /// Writes the checkpoints of the whole network, those of the best and of the last epoch, as a training that writes them after each
    /// epoch would have left them. `model` is the one that the training began with.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write(&self, model: &Model, checkpoints: &Checkpoints) -> Result<(), TrainError> {
        let mut model = model.clone();
        if self.progress.best.epoch > 0 {
            restore(&mut model, &self.best)?;
            checkpoints.write_best(&model)?;
        }
        restore(&mut model, &self.now)?;
        checkpoints.write_last(&model, &self.progress, self.progress.optimizer.clone().unwrap_or_default())
    }
}
