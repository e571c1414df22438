//! The command that follows from a verdict: what the advice says, ready to type.

use injerto_config::Images;
use injerto_files::shell_word;

use crate::run::Run;
use crate::verdict::{GAP, State, Verdict};

/// The command, if the run's folder holds what it takes and a command can do what is advised.
pub fn command(run: &Run, verdict: &Verdict) -> Option<String> {
    let config = run.config()?;
    let (folder, experiment) = (shell_word(&run.folder), shell_word(&run.folder.join("experiment.toml")));
    let last = run.history.last()?;
    // The phase in which the run ended.
    let (at, phase) = config.phases.iter().enumerate().rfind(|(_, phase)| phase.name == last.phase)?;
    let gap = last.val_accuracy.map_or(0.0, |accuracy| last.accuracy - accuracy);
    let again = |set: String| Some(format!("injerto train {experiment} --set {set}"));
    let varied = !config.data.augment.is_empty() || !matches!(config.data.images, Images::Folder { .. });
    match verdict.state {
        State::Unknown if last.val_loss.is_none() => again("data.validation_split=0.2".to_owned()),
        State::Unknown | State::Improving => {
            let ran = run.history.iter().filter(|record| record.phase == phase.name).count();
            match (run.summary.is_some(), ran < phase.epochs) {
                (false, _) => Some(format!("injerto train --resume {folder}")),
                // Early stopping has ended the phase, and no number of epochs goes on with it.
                (true, true) => None,
                (true, false) => {
                    let epochs = (2 * phase.epochs).max(5);
                    Some(format!("injerto train --resume {folder} --set phases.{at}.epochs={epochs}"))
                }
            }
        }
        State::Worsening { .. } => {
            again(format!("phases.{at}.optimizer.learning_rate={}", phase.optimizer.rule.learning_rate() / 10.0))
        }
        State::Stalled | State::Guessing => Some(format!("injerto lr-find {experiment}")),
        State::Overfitting { .. } if !varied => again("data.augment=medium".to_owned()),
        State::Converged if gap > GAP && !varied => again("data.augment=medium".to_owned()),
        State::Overfitting { .. } | State::Converged => {
            let Images::Folder { root } = &config.data.images else { return None };
            let root = shell_word(root.first()?);
            // Whether more images would help, or else another backbone.
            let question = if verdict.state == State::Converged && gap <= GAP { "advise" } else { "inspect" };
            Some(format!("injerto {question} {root}"))
        }
    }
}
