use injerto_graph::FreezePlan;
use injerto_recipe::{BatchNorm, Callbacks, OptimizerConfig, Schedule, Swa};
use serde::{Deserialize, Serialize};

/// Consecutive epochs in which the same layers train with the same optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Name, which is shown in progress, history and curves.
    pub name: String,
    /// Number of passes over the training images.
    pub epochs: usize,
    /// The layers of the whole network that train.
    pub plan: FreezePlan,
    /// Optimiser. Each phase has a new one, as after each `compile` of Keras.
    pub optimizer: OptimizerConfig,
    /// Treatment of the running statistics in batch normalisations that train.
    pub batch_norm: BatchNorm,
    /// How the learning rate changes from step to step.
    #[serde(default)]
    pub schedule: Schedule,
    /// Callbacks of the phase.
    #[serde(default)]
    pub callbacks: Callbacks,
    /// Multiplier of the learning rate for each layer of the whole network. If it is empty, all multipliers are 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub multipliers: Vec<f64>,
    /// Whether epochs are judged by a mean of weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swa: Option<Swa>,
}

impl Phase {
    /// A phase with frozen statistics, a constant learning rate and no callbacks.
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
            swa: None,
        }
    }
}
