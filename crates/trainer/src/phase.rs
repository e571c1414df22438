use injerto_graph::FreezePlan;
use injerto_recipe::{BatchNorm, Callbacks, OptimizerConfig, Schedule};
use serde::{Deserialize, Serialize};

/// A stretch of training in which the same layers train with the same optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Shown in progress, history and curves.
    pub name: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// Which layers of the whole network train.
    pub plan: FreezePlan,
    /// A fresh optimiser for each phase, as Keras makes one at each `compile`.
    pub optimizer: OptimizerConfig,
    /// What batch normalisations that train do with their statistics.
    pub batch_norm: BatchNorm,
    /// How the optimiser's learning rate moves from step to step.
    #[serde(default)]
    pub schedule: Schedule,
    /// What watches the phase and steps in.
    #[serde(default)]
    pub callbacks: Callbacks,
    /// What the learning rate is multiplied by, for each layer of the whole network; empty: by 1 everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub multipliers: Vec<f64>,
}

impl Phase {
    /// A phase without anything special: frozen statistics, constant learning rate, no callbacks.
    pub fn new(name: impl Into<String>, epochs: usize, plan: FreezePlan, optimizer: OptimizerConfig) -> Self {
        Self {
            name: name.into(),
            epochs,
            plan,
            optimizer,
            batch_norm: BatchNorm::default(),
            schedule: Schedule::default(),
            callbacks: Callbacks::default(),
            multipliers: Vec::new(),
        }
    }
}
