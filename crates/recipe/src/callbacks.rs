use serde::{Deserialize, Serialize};

use crate::{Metric, Mode};

/// The callbacks of a phase.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Callbacks {
    /// Ends the phase once it no longer helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Lowers the learning rate once the monitored figure no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce_lr_on_plateau: Option<ReduceOnPlateau>,
}

impl Callbacks {
    /// The figures that they watch.
    pub fn monitors(&self) -> impl Iterator<Item = Metric> {
        let early = self.early_stopping.map(|early| early.monitor);
        early.into_iter().chain(self.reduce_lr_on_plateau.map(|plateau| plateau.monitor))
    }

    /// Whether the phase ends with the weights of its best epoch.
    pub fn restores(&self) -> bool {
        self.early_stopping.is_some_and(|early| early.restore_best_weights)
    }
}

/// Keras's `EarlyStopping`, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// The figure that is watched.
    pub monitor: Metric,
    /// Which direction is better.
    pub mode: Mode,
    /// Epochs without improvement after which the phase ends.
    pub patience: usize,
    /// The smallest change that counts as an improvement.
    pub min_delta: f64,
    /// If given, the count of epochs without improvement starts again only when the figure is better than this, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// Whether the phase ends with the weights of its best epoch, however it ends.
    pub restore_best_weights: bool,
    /// Epochs of the phase before this one, counted from 0, are not looked at.
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

/// Keras's `ReduceLROnPlateau`, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReduceOnPlateau {
    /// The figure that is watched.
    pub monitor: Metric,
    /// Which direction is better.
    pub mode: Mode,
    /// A reduction multiplies the learning rate by this.
    pub factor: f64,
    /// Epochs without improvement after which the learning rate is reduced.
    pub patience: usize,
    /// The smallest change that counts as an improvement.
    pub min_delta: f64,
    /// Epochs after a reduction that do not count as epochs without improvement.
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
