//! Whether a run still improves, has converged or overfits, in words with the numbers.

use injerto_trainer::history::EpochRecord;

/// A validation loss that has risen by this part above its lowest value has turned.
const RISE: f64 = 0.05;
/// A validation loss that falls by less than this part over the last third of the epochs stands still.
const FALL: f64 = 0.02;
/// Training accuracy this far above validation accuracy is worth a word.
const GAP: f64 = 0.05;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Too few epochs, or no validation images.
    Unknown,
    /// The validation loss was still falling at the end.
    Improving,
    /// The validation loss stands still.
    Converged,
    /// The validation loss rises while training goes on to improve.
    Overfitting {
        /// The first epoch after the lowest validation loss.
        since: usize,
    },
    /// It gets worse on the training images too.
    Worsening {
        /// The first epoch after the lowest validation loss.
        since: usize,
    },
}

/// What the curves say.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Where the run stands.
    pub state: State,
    /// The same in words.
    pub headline: String,
    /// The numbers that it rests on, a sentence each.
    pub evidence: Vec<String>,
    /// What to try next.
    pub advice: String,
}

/// Judges a history. `best` is the epoch that was kept, `chance` the accuracy of guessing.
pub fn verdict(history: &[EpochRecord], best: usize, chance: Option<f64>) -> Verdict {
    let validated: Vec<(&EpochRecord, f64)> =
        history.iter().filter_map(|record| Some((record, record.val_loss.filter(|loss| loss.is_finite())?))).collect();
    let mut evidence = Vec::new();
    if let Some(record) = history.iter().find(|record| record.epoch == best) {
        evidence.extend(gap_in_words("best", record));
    }
    if let Some(record) = history.last().filter(|record| record.epoch != best) {
        evidence.extend(gap_in_words("last", record));
    }
    if validated.len() < 3 {
        let (headline, advice) = if validated.is_empty() {
            ("no validation images, so nothing can be said", "hold some images out: data.validation_split = 0.2")
        } else {
            ("too few epochs to say", "train for at least three epochs")
        };
        let (headline, advice) = (headline.to_owned(), advice.to_owned());
        return Verdict { state: State::Unknown, headline, evidence, advice };
    }
    let trend = Trend::of(&validated);
    evidence.push(trend.in_words());

    let (at, lowest) =
        validated.iter().map(|(_, loss)| *loss).enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).expect("not empty");
    let after = validated.len() - 1 - at;
    // The mean of the last epochs: one bad epoch is no turn.
    let ends = &validated[validated.len() - after.clamp(1, 3)..];
    let end = ends.iter().map(|(_, loss)| loss).sum::<f64>() / ends.len() as f64;
    let last = history.last().expect("not empty");
    let gap = last.val_accuracy.map_or(0.0, |accuracy| last.accuracy - accuracy);
    let turned = after >= 2 && end > lowest * (1.0 + RISE) && end - lowest > 0.005;
    if turned {
        let (since, lowest_at) = (validated[at].0.epoch + 1, validated[at].0.epoch);
        let rise = (end / lowest - 1.0) * 100.0;
        evidence.push(format!(
            "The validation loss was lowest, {lowest:.3}, in epoch {lowest_at}; at the end it is {rise:.0} % higher."
        ));
        let then = validated[at].0;
        if last.loss < then.loss || last.accuracy > then.accuracy + 0.02 {
            return Verdict {
                state: State::Overfitting { since },
                headline: format!("overfitting since epoch {since}"),
                evidence,
                advice: overfitting_advice(best, lowest_at),
            };
        }
        return Verdict {
            state: State::Worsening { since },
            headline: format!("getting worse since epoch {since}, on the training images too"),
            evidence,
            advice: "The steps are too large for what is unfrozen: try a tenth of the learning rate, or unfreeze less."
                .to_owned(),
        };
    }
    if trend.falls() {
        let advice = if gap > GAP {
            "More epochs should still help; watch the gap, which dropout or augmentation would narrow."
        } else {
            "More epochs should still help."
        };
        let headline = "still improving when it ended".to_owned();
        return Verdict { state: State::Improving, headline, evidence, advice: advice.to_owned() };
    }
    let halfway = chance.map(|chance| chance + 0.5 * (1.0 - chance));
    let advice = if halfway.is_some_and(|halfway| last.accuracy < halfway) {
        "It has not learnt the training images either: unfreeze more layers, give the head a hidden layer, or raise the \
         learning rate."
    } else if gap > GAP {
        "More epochs will not help. The training images are known by heart better than the rest: more images, augmentation, \
         dropout or fewer unfrozen layers would narrow the gap."
    } else {
        "More epochs will not help. To go further, unfreeze more layers at a low learning rate, or take a larger backbone."
    };
    Verdict { state: State::Converged, headline: "converged".to_owned(), evidence, advice: advice.to_owned() }
}

fn overfitting_advice(best: usize, lowest: usize) -> String {
    let kept = if best <= lowest {
        "The kept weights are from before that; more epochs will not help."
    } else {
        "The kept weights are from after that: their accuracy is best, but their probabilities are overconfident; \
         checkpoint.monitor = \"val_loss\" keeps the earlier ones."
    };
    format!("{kept} More images, augmentation, dropout or fewer unfrozen layers would help.")
}

fn gap_in_words(which: &str, record: &EpochRecord) -> Option<String> {
    let (epoch, accuracy) = (record.epoch, record.val_accuracy?);
    let gap = record.accuracy - accuracy;
    let mut words = format!(
        "In the {which} epoch, {epoch}, accuracy is {:.3} in training and {accuracy:.3} in validation (gap {gap:+.3}), \
         loss {:.3} and {:.3}.",
        record.accuracy, record.loss, record.val_loss?
    );
    if gap < 0.0 {
        words += " Training figures are taken while the weights move and dropout acts, so they may lie lower.";
    }
    Some(words)
}

/// A straight line through the last third of the validation losses.
struct Trend {
    epochs: (usize, usize),
    mean: f64,
    slope: f64,
    /// How far the losses scatter around the line.
    scatter: f64,
}

impl Trend {
    fn of(validated: &[(&EpochRecord, f64)]) -> Self {
        let third = validated.len().div_ceil(3).max(3);
        // A new phase is a new start, once there is enough of it.
        let phase = &validated[validated.len() - 1].0.phase;
        let own = validated.iter().rev().take_while(|(record, _)| record.phase == *phase).count();
        let window = &validated[validated.len() - if own >= 3 { third.min(own) } else { third }..];
        let n = window.len() as f64;
        let x = |at: usize| at as f64 - (n - 1.0) / 2.0;
        let mean = window.iter().map(|(_, loss)| loss).sum::<f64>() / n;
        let square: f64 = (0..window.len()).map(|at| x(at).powi(2)).sum();
        let slope = window.iter().enumerate().map(|(at, (_, loss))| x(at) * (loss - mean)).sum::<f64>() / square;
        let rest = |(at, (_, loss)): (usize, &(&EpochRecord, f64))| (loss - mean - slope * x(at)).powi(2);
        let scatter = (window.iter().enumerate().map(rest).sum::<f64>() / n).sqrt();
        Self { epochs: (window[0].0.epoch, window[window.len() - 1].0.epoch), mean, slope, scatter }
    }

    /// Whether it falls by more than chance and by enough to matter.
    fn falls(&self) -> bool {
        let fall = -self.slope * (self.epochs.1 - self.epochs.0) as f64;
        fall > (FALL * self.mean).max(self.scatter)
    }

    fn in_words(&self) -> String {
        let (first, last) = self.epochs;
        let percent = self.slope / self.mean.max(1e-12) * 100.0;
        format!(
            "From epoch {first} to {last} the validation loss changes by {percent:+.1} % an epoch, around {:.3}.",
            self.mean
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs from (loss, accuracy, val_loss, val_accuracy).
    fn history(rows: &[(f64, f64, f64, f64)]) -> Vec<EpochRecord> {
        let record = |(at, &(loss, accuracy, val_loss, val_accuracy)): (usize, &(f64, f64, f64, f64))| EpochRecord {
            epoch: at + 1,
            phase: "head".to_owned(),
            loss,
            accuracy,
            val_loss: Some(val_loss),
            val_accuracy: Some(val_accuracy),
            learning_rate: 1e-3,
            seconds: 1.0,
        };
        rows.iter().enumerate().map(record).collect()
    }

    #[test]
    fn a_run_is_judged_by_its_validation_loss() {
        let check = |rows: &[(f64, f64, f64, f64)], best, state, word: &str| {
            let verdict = verdict(&history(rows), best, Some(0.5));
            assert_eq!(verdict.state, state, "{verdict:?}");
            assert!(verdict.advice.contains(word), "{verdict:?}");
        };
        // It falls to the end.
        let falling = [0.9, 0.7, 0.55, 0.45, 0.38, 0.33].map(|loss| (loss, 0.9, loss + 0.02, 0.88));
        check(&falling, 6, State::Improving, "should still help.");
        // It stands still, once with and once without a gap, and once far below what could be.
        let flat = [0.9, 0.5, 0.402, 0.4, 0.401, 0.4].map(|loss| (loss, 0.9, loss, 0.89));
        check(&flat, 4, State::Converged, "larger backbone");
        check(&flat.map(|row| (row.0, 0.99, row.2, row.3)), 4, State::Converged, "narrow the gap");
        check(&flat.map(|row| (row.0, 0.6, row.2, 0.6)), 4, State::Converged, "has not learnt");
        // It turns after the third epoch while training goes on.
        let turning = [(0.9, 0.9), (0.6, 0.7), (0.4, 0.6), (0.3, 0.65), (0.2, 0.7), (0.1, 0.8)];
        let turning = turning.map(|(loss, val_loss)| (loss, 0.95, val_loss, 0.8));
        check(&turning, 3, State::Overfitting { since: 4 }, "from before that");
        check(&turning, 5, State::Overfitting { since: 4 }, "overconfident");
        // Both rise.
        let rising = [0.5, 0.4, 0.6, 0.9, 1.4].map(|loss| (loss, 0.8, loss, 0.8));
        check(&rising, 2, State::Worsening { since: 3 }, "a tenth");
        // Dropout keeps the training loss high, but more and more training images are predicted right.
        let dropout =
            [(0.5, 0.6), (0.4, 0.7), (0.6, 0.8), (0.5, 0.9)].map(|(loss, accuracy)| (loss, accuracy, loss, 0.6));
        check(&dropout, 2, State::Overfitting { since: 3 }, "dropout");
        // One bad epoch at the end is no turn.
        let spike = [0.9, 0.5, 0.4, 0.4, 0.4, 0.44].map(|loss| (0.3, 0.9, loss, 0.88));
        check(&spike, 3, State::Converged, "More epochs");
    }

    #[test]
    fn the_numbers_are_in_the_words() {
        let rows = [(0.9, 0.6, 0.9, 0.58), (0.5, 0.8, 0.6, 0.75), (0.3, 0.95, 0.7, 0.74), (0.1, 0.99, 0.9, 0.73)];
        let verdict = verdict(&history(&rows), 2, None);
        assert_eq!(verdict.headline, "overfitting since epoch 3");
        let text = verdict.evidence.join("\n");
        for part in
            ["best epoch, 2", "(gap +0.050)", "last epoch, 4", "(gap +0.260)", "0.600, in epoch 2", "33 % higher"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn too_little_is_not_judged() {
        assert_eq!(verdict(&history(&[(1.0, 0.5, 1.0, 0.5); 2]), 1, None).state, State::Unknown);
        let blind: Vec<_> = history(&[(1.0, 0.5, 1.0, 0.5); 9])
            .into_iter()
            .map(|record| EpochRecord { val_loss: None, val_accuracy: None, ..record })
            .collect();
        let found = verdict(&blind, 0, None);
        assert!(found.state == State::Unknown && found.advice.contains("validation_split"), "{found:?}");
    }

    #[test]
    fn a_new_phase_begins_a_new_trend() {
        let mut epochs = history(&[(0.5, 0.9, 0.5, 0.9); 12]);
        for (at, record) in epochs.iter_mut().enumerate().skip(9) {
            record.phase = "fine-tuning".to_owned();
            record.val_loss = Some(0.5 - 0.05 * (at - 8) as f64);
        }
        let found = verdict(&epochs, 12, None);
        assert_eq!(found.state, State::Improving, "{found:?}");
        assert!(found.evidence.iter().any(|line| line.starts_with("From epoch 10 to 12")), "{found:?}");
    }
}
