use serde::{Deserialize, Serialize};

use crate::{Metric, Mode};

/// The callbacks of a phase.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Callbacks {
    /// Ends the phase when the monitored metric no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Reduces the learning rate when the monitored metric no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce_lr_on_plateau: Option<ReduceOnPlateau>,
}

impl Callbacks {
    /// The monitored metrics.
    pub fn monitors(&self) -> impl Iterator<Item = Metric> {
        let early = self.early_stopping.map(|early| early.monitor);
        early.into_iter().chain(self.reduce_lr_on_plateau.map(|plateau| plateau.monitor))
    }

    /// Whether the best weights are restored at the end of the phase.
    pub fn restores(&self) -> bool {
        self.early_stopping.is_some_and(|early| early.restore_best_weights)
    }
}

/// Options of Keras's `EarlyStopping`, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// The monitored metric.
    pub monitor: Metric,
    /// Whether larger or smaller values are better.
    pub mode: Mode,
    /// Epochs without improvement after which the phase ends.
    pub patience: usize,
    /// The smallest change that counts as an improvement.
    pub min_delta: f64,
    /// If given, patience begins again only if the metric is also better than this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// Whether the phase ends with the weights of its best epoch, in whatever way it ends.
    pub restore_best_weights: bool,
    /// The first epoch of the phase, counted from 0, that the callback takes into account.
    pub start_from_epoch: usize,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self {
            monitor: Metric::ValLoss,
            mode: Mode::Auto,
            patience: 0,
            min_delta: 0.0,
            baseline: None,
            restore_best_weights: false,
            start_from_epoch: 0,
        }
    }
}

/// Options of Keras's `ReduceLROnPlateau`, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReduceOnPlateau {
    /// The monitored metric.
    pub monitor: Metric,
    /// Whether larger or smaller values are better.
    pub mode: Mode,
    /// Factor by which the learning rate is multiplied.
    pub factor: f64,
    /// Number of epochs without improvement after which the learning rate is reduced.
    pub patience: usize,
    /// The smallest change that counts as an improvement.
    pub min_delta: f64,
    /// Number of epochs after a reduction in which epochs without improvement are not counted.
    pub cooldown: usize,
    /// Lower limit of the learning rate.
    pub min_lr: f64,
}

impl Default for ReduceOnPlateau {
    fn default() -> Self {
        Self {
            monitor: Metric::ValLoss,
            mode: Mode::Auto,
            factor: 0.1,
            patience: 10,
            min_delta: 1e-4,
            cooldown: 0,
            min_lr: 0.0,
        }
    }
}
