//! `[callbacks]` and `[checkpoint]`: what watches the epochs, and which of them is kept.

use injerto_recipe::{Callbacks, Curve, EarlyStopping, Metric, Mode, ReduceOnPlateau};

use crate::limits;
use crate::reader::{Field, Section, boolean, choice, integer, not_negative, number};
use crate::values::{CheckpointConfig, PhaseConfig};

const METRICS: &[(&str, Metric)] = &[
    ("val_accuracy", Metric::ValAccuracy),
    ("val_loss", Metric::ValLoss),
    ("accuracy", Metric::Accuracy),
    ("loss", Metric::Loss),
];
const MODES: &[(&str, Mode)] = &[("auto", Mode::Auto), ("max", Mode::Max), ("min", Mode::Min)];

/// `[callbacks]`.
pub(crate) fn callbacks(field: &Field<'_>, phases: &[PhaseConfig]) -> Option<Callbacks> {
    let mut s = field.section()?;
    let early_stopping = s.optional("early_stopping", early_stopping);
    let scheduled = phases.iter().position(|phase| phase.schedule.curve != Curve::Constant);
    let reduce_lr_on_plateau = s.optional("reduce_lr_on_plateau", |field| match scheduled {
        Some(phase) => {
            let message = format!("`{}` and `phases.{phase}.schedule` exclude each other", field.path);
            field.wrong(message, "both say what the learning rate is: keep one of the two".to_owned())
        }
        None => reduce_on_plateau(field),
    });
    s.finish();
    Some(Callbacks { early_stopping: early_stopping?, reduce_lr_on_plateau: reduce_lr_on_plateau? })
}

fn early_stopping(field: &Field<'_>) -> Option<EarlyStopping> {
    let mut s = field.section()?;
    let own = EarlyStopping::default();
    let monitor = s.or("monitor", own.monitor, choice(METRICS));
    let mode = s.or("mode", own.mode, mode_for(monitor));
    let patience = s.or("patience", own.patience, integer(0, limits::COUNT));
    let min_delta = s.or("min_delta", own.min_delta, not_negative());
    let baseline = s.optional("baseline", number("a number", |_| true));
    let restore_best_weights = s.or("restore_best_weights", own.restore_best_weights, boolean);
    let start_from_epoch = s.or("start_from_epoch", own.start_from_epoch, integer(0, limits::COUNT));
    s.finish();
    Some(EarlyStopping {
        monitor: monitor?,
        mode: mode?,
        patience: patience?,
        min_delta: min_delta?,
        baseline: baseline?,
        restore_best_weights: restore_best_weights?,
        start_from_epoch: start_from_epoch?,
    })
}

fn reduce_on_plateau(field: &Field<'_>) -> Option<ReduceOnPlateau> {
    let mut s = field.section()?;
    let own = ReduceOnPlateau::default();
    let monitor = s.or("monitor", own.monitor, choice(METRICS));
    let mode = s.or("mode", own.mode, mode_for(monitor));
    let factor = s.or("factor", own.factor, number("a number between 0 and 1", |factor| factor > 0.0 && factor < 1.0));
    let patience = s.or("patience", own.patience, integer(0, limits::COUNT));
    let min_delta = s.or("min_delta", own.min_delta, not_negative());
    let cooldown = s.or("cooldown", own.cooldown, integer(0, limits::COUNT));
    let min_lr = s.or("min_lr", own.min_lr, not_negative());
    s.finish();
    Some(ReduceOnPlateau {
        monitor: monitor?,
        mode: mode?,
        factor: factor?,
        patience: patience?,
        min_delta: min_delta?,
        cooldown: cooldown?,
        min_lr: min_lr?,
    })
}

/// `[checkpoint]`.
pub(crate) fn checkpoint(mut s: Section<'_>) -> Option<CheckpointConfig> {
    let monitor = s.or("monitor", Metric::ValAccuracy, choice(METRICS));
    let mode = s.or("mode", Mode::default(), mode_for(monitor));
    let save_best_only = s.or("save_best_only", true, boolean);
    s.finish();
    Some(CheckpointConfig { monitor: monitor?, mode: mode?, save_best_only: save_best_only? })
}

/// A direction that makes sense for the figure: nobody looks for the worst epoch.
fn mode_for(monitor: Option<Metric>) -> impl Fn(&Field<'_>) -> Option<Mode> {
    move |field| {
        let mode = choice(MODES)(field)?;
        match monitor.filter(|monitor| monitor.is_worse_by(mode)) {
            Some(monitor) => {
                let (name, kind) = (monitor.name(), if mode == Mode::Min { "lowest" } else { "highest" });
                let better = if mode == Mode::Min { "max" } else { "min" };
                let message = format!("`{}` would take the epoch with the {kind} {name} for the best", field.path);
                field.wrong(message, format!("set it to \"{better}\", or leave it out"))
            }
            None => Some(mode),
        }
    }
}
