//! The history: one record per epoch, and the best epoch.

use std::fmt::Write as _;

use injerto_recipe::{Metric, Mode};
use serde::{Deserialize, Serialize};

/// Record of an epoch: the figures of Keras's `History`, its place in the run, and its duration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, counted from 1 over the whole run, so that all phases form one curve.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Mean loss over the training images, in training mode and while the weights change.
    pub loss: f64,
    /// Share of the training images that are predicted right, measured in the same way.
    pub accuracy: f64,
    /// Mean loss over the validation images after the epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub val_loss: Option<f64>,
    /// Share of the validation images that are predicted right after the epoch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub val_accuracy: Option<f64>,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// Wall-clock seconds, including validation.
    pub seconds: f64,
}

/// The columns of `history.csv`.
pub const CSV_HEADER: &str = "epoch,phase,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds";

impl EpochRecord {
    /// Whether every figure is a finite number. Otherwise training has diverged: the epoch is never the best, and the run ends with it.
    pub fn is_finite(&self) -> bool {
        let figures = [Some(self.loss), Some(self.accuracy), self.val_loss, self.val_accuracy];
        figures.into_iter().flatten().all(f64::is_finite)
    }

    /// The value of a figure, if the run has it.
    pub fn figure(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Loss => Some(self.loss),
            Metric::Accuracy => Some(self.accuracy),
            Metric::ValLoss => self.val_loss,
            Metric::ValAccuracy => self.val_accuracy,
        }
    }

    /// A line of `history.csv`, without the line break. Figures that the run does not have are empty.
    pub fn to_csv(&self) -> String {
        let phase = injerto_files::csv::field(&self.phase);
        let mut line = format!("{},{phase},{},{}", self.epoch, self.loss, self.accuracy);
        for value in [self.val_loss, self.val_accuracy] {
            let _ = match value {
                Some(value) => write!(line, ",{value}"),
                None => write!(line, ","),
            };
        }
        let _ = write!(line, ",{},{:.3}", self.learning_rate, self.seconds);
        line
    }
}

/// The best epoch so far, by a monitored figure. It is kept over phases and resumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The monitored figure.
    pub monitor: Metric,
    /// Whether larger or smaller values are better.
    pub mode: Mode,
    /// The best value so far.
    #[serde(with = "crate::exact")]
    pub value: Option<f64>,
    /// Loss of the best epoch, which decides between epochs with the same value.
    #[serde(default, with = "crate::exact")]
    pub loss: Option<f64>,
    /// Number of the best epoch; 0 before the first epoch.
    pub epoch: usize,
}

impl Best {
    /// The state before the first epoch.
    pub fn new(monitor: Metric, mode: Mode) -> Self {
        Self { monitor, mode, value: None, loss: None, epoch: 0 }
    }

    /// Considers an epoch, and returns whether it is the best so far.
    ///
    /// Of several epochs with the same value, the one with the lowest validation loss is the best (without validation images, the one with
    /// the lowest training loss), and among equal losses the first one. Keras keeps the first epoch whatever its loss. But accuracies of
    /// a few hundred images are often equal, while the loss still distinguishes the epochs.
    ///
    /// An epoch with a figure that is not a number is never the best.
    pub fn improve(&mut self, record: &EpochRecord) -> bool {
        let Some(value) = record.figure(self.monitor).filter(|_| record.is_finite()) else { return false };
        let loss = record.val_loss.unwrap_or(record.loss);
        let larger = self.monitor.larger_is_better(self.mode);
        let better = self.value.is_none_or(|best| match value == best {
            true => self.loss.is_some_and(|lowest| loss < lowest),
            false => (value > best) == larger,
        });
        if better {
            (self.value, self.loss, self.epoch) = (Some(value), Some(loss), record.epoch);
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize, val_loss: f64, val_accuracy: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            phase: "head, frozen".to_owned(),
            loss: 0.5,
            accuracy: 0.75,
            val_loss: Some(val_loss),
            val_accuracy: Some(val_accuracy),
            learning_rate: 1e-3,
            seconds: 1.0,
        }
    }

    #[test]
    fn the_best_epoch_is_kept_and_a_tie_goes_to_the_lower_loss() {
        let epochs = [record(1, 0.5, 0.8), record(2, 0.6, 0.9), record(3, 0.4, 0.9), record(4, 0.4, 0.9)];
        let check = |monitor, mode, expected: [bool; 4], at| {
            let mut best = Best::new(monitor, mode);
            assert_eq!(epochs.each_ref().map(|epoch| best.improve(epoch)), expected);
            assert_eq!(best.epoch, at);
        };
        check(Metric::ValAccuracy, Mode::Auto, [true, true, true, false], 3);
        check(Metric::ValLoss, Mode::Auto, [true, false, true, false], 3);
        check(Metric::ValLoss, Mode::Max, [true, true, false, false], 2);
        // All epochs have the same training figures, so the validation loss decides.
        check(Metric::Accuracy, Mode::Auto, [true, false, true, false], 3);
    }

    #[test]
    fn without_validation_images_a_tie_goes_to_the_lower_training_loss() {
        let mut best = Best::new(Metric::Accuracy, Mode::Auto);
        let epochs = [0.5, 0.6, 0.4].map(|loss| EpochRecord { loss, val_loss: None, ..record(1, 0.0, 0.5) });
        assert_eq!(epochs.each_ref().map(|epoch| best.improve(epoch)), [true, false, true]);
    }

    #[test]
    fn an_epoch_with_a_figure_that_is_not_a_number_is_never_the_best() {
        let check = |monitor, epoch: &EpochRecord| {
            let mut best = Best::new(monitor, Mode::Auto);
            assert!(!best.improve(epoch) && best.value.is_none(), "{monitor:?} of {epoch:?}");
        };
        for monitor in [Metric::Loss, Metric::Accuracy, Metric::ValLoss, Metric::ValAccuracy] {
            for wrong in [f64::NAN, f64::INFINITY] {
                check(monitor, &record(1, wrong, 0.5));
                check(monitor, &EpochRecord { loss: wrong, ..record(1, 0.5, 0.5) });
            }
        }
    }

    #[test]
    fn a_line_of_csv_has_the_columns_of_the_header() {
        let line = EpochRecord { val_loss: None, ..record(1, 0.0, 0.5) }.to_csv();
        assert_eq!(line, "1,\"head, frozen\",0.5,0.75,,0.5,0.001,1.000");
        assert_eq!(CSV_HEADER.split(',').count(), 8);
    }
}
