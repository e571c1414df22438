//! The settings of a training, and what is checked before it.

use std::sync::Arc;

use crate::cache::CacheSettings;
use crate::collective::{Collective, Peers};
use crate::executor;
use crate::history::Best;
use crate::optimizer::OptimizerState;
use crate::plan::PhasePlan;
use crate::teacher::{Lessons, Teacher};
use crate::{Model, Phase, TrainError};

/// Settings of a training.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seed of dropout's masks. The loader has its own seed for the order of the images.
    pub seed: u64,
    /// The figure that decides which checkpoint is the best.
    pub best: Best,
    /// Weight per class, which multiplies the loss of a training image; `None` means 1. The mean is still taken over the batch.
    pub class_weights: Option<Vec<f32>>,
    /// Whether and how features of the frozen prefix are kept.
    pub cache: CacheSettings,
    /// Whether to compute with the project's kernels instead of Burn's operators; only for networks on the CPU.
    pub kernels: bool,
    /// A trained network that teaches this one.
    pub teacher: Option<Teacher>,
    /// The processes that train this network together; each has the same model, plan and images.
    pub collective: Option<Arc<dyn Collective>>,
}

/// Checks that the run has all monitored figures.
///
/// # Errors
/// A monitored figure needs validation images, and there are none.
pub fn check_monitors(phases: &[Phase], best: &Best, validates: bool) -> Result<(), TrainError> {
    let mut monitors = phases.iter().flat_map(|phase| phase.callbacks.monitors()).chain([best.monitor]);
    match monitors.find(|monitor| monitor.needs_validation() && !validates) {
        Some(monitor) => Err(TrainError::NothingToMonitor { monitor: monitor.name().to_owned() }),
        None => Ok(()),
    }
}

/// Checks, before the first phase trains, that every phase can be compiled, and the teacher if there is one.
///
/// # Errors
/// The kernels cannot compile a network, or the teacher cannot be read.
pub fn check_compiles(model: &Model, plans: &[PhasePlan], settings: &Settings) -> Result<(), TrainError> {
    for plan in plans {
        executor::build(settings.kernels, model, plan, OptimizerState::default())?.prefix().program()?;
    }
    settings.lessons(model)?.map_or(Ok(()), |lessons| lessons.check_compiles())
}

impl Settings {
    /// The processes that train together.
    pub(crate) fn peers(&self) -> Peers<'_> {
        Peers::new(self.collective.as_deref())
    }

    /// The teacher of `model`, read from its checkpoint, if there is one.
    pub(crate) fn lessons(&self, model: &Model) -> Result<Option<Lessons>, TrainError> {
        let teacher = self.teacher.as_ref();
        teacher.map(|teacher| Lessons::new(teacher, model, &self.cache, self.kernels)).transpose()
    }
}
