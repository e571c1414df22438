//! The verdict on a run: whether it still improves, has converged or overfits, in words and with the numbers.

use injerto_experiment::Summary;
use injerto_insight::stats::{LEVEL, wilson};
use injerto_trainer::history::EpochRecord;
use injerto_trainer::metrics::ClassFigures;

use crate::words::change;

/// If the validation loss is above its lowest value by more than this share, it has started to rise.
const RISE: f64 = 0.05;
/// If the validation loss falls by less than this share over the last third of the epochs, it is constant.
const FALL: f64 = 0.02;
/// If the training accuracy is above the validation accuracy by more than this, the advice mentions the gap.
pub(crate) const GAP: f64 = 0.05;

/// If the training loss is more than this multiple of the loss of guessing, training has diverged.
const LOST: f64 = 1.5;

/// Accuracy and loss of guessing. A run that does no better has learned nothing, even if its curves are flat at the end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Guessing {
    /// Accuracy of always predicting the most frequent class.
    pub accuracy: Option<f64>,
    /// Cross entropy of predicting the same probability for each class, in nats.
    pub loss: Option<f64>,
    /// Number of validation images, from which the confidence interval of an accuracy follows.
    pub images: Option<usize>,
}

impl Guessing {
    /// Guessing among `classes` classes. `images` are the validation images per class; empty if they are unknown.
    pub fn new(classes: Option<usize>, images: &[usize]) -> Self {
        let total: usize = images.iter().sum();
        let even = classes.map(|classes| 1.0 / classes.max(1) as f64);
        let most = images.iter().max().filter(|_| total > 0).map(|&most| most as f64 / total as f64);
        let loss = classes.map(|classes| (classes.max(2) as f64).ln());
        Self { accuracy: most.or(even), loss, images: (total > 0).then_some(total) }
    }

    /// Guessing the validation images of a run. Where an image may have several classes, each is guessed for itself: by the more frequent answer,
    /// or with a probability of one half.
    pub fn of(summary: &Summary) -> Self {
        let Some(report) = &summary.multi_label else {
            let validation = summary.images.as_ref().map_or(&[][..], |images| &images.validation);
            return Self::new(Some(summary.classes.len()), validation);
        };
        let share = |class: &ClassFigures| class.support as f64 / report.images.max(1) as f64;
        let most = report.per_class.iter().map(|class| share(class).max(1.0 - share(class))).sum::<f64>();
        let accuracy = Some(most / report.per_class.len().max(1) as f64);
        Self { accuracy, loss: Some(std::f64::consts::LN_2), images: Some(report.images) }
    }

    /// The 95 % confidence interval of an accuracy (Wilson, 1927); `None` if the number of validation images is unknown.
    pub fn interval(&self, accuracy: f64) -> Option<(f64, f64)> {
        let [low, high] = wilson(accuracy, self.images?, LEVEL);
        Some((low, high))
    }

    /// Whether guessing is enough to explain an accuracy: it lies in the accuracy's confidence interval or above.
    fn is_enough_for(&self, accuracy: f64) -> bool {
        let lowest = self.interval(accuracy).map_or(accuracy, |(lowest, _)| lowest);
        self.accuracy.is_some_and(|guessed| lowest <= guessed)
    }

    /// Whether an accuracy is closer to that of guessing than to 1.
    fn is_near(&self, accuracy: f64) -> bool {
        self.accuracy.is_some_and(|guessed| accuracy < guessed + 0.5 * (1.0 - guessed))
    }
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There are too few epochs or no validation images.
    Unknown,
    /// The validation loss was still falling at the end.
    Improving,
    /// The validation loss is constant, and the accuracy is closer to 1 than to that of guessing.
    Converged,
    /// The validation loss is constant, and the accuracy is closer to that of guessing than to 1.
    Stalled,
    /// The validation loss is constant, and guessing would reach the same accuracy.
    Guessing,
    /// The validation loss rises while the training figures improve.
    Overfitting {
        /// The first epoch after the lowest validation loss.
        since: usize,
    },
    /// The validation loss rises, and the training figures get worse too.
    Worsening {
        /// The first epoch after the lowest validation loss.
        since: usize,
    },
}

/// The judgement of a run's learning curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The state of the run.
    pub state: State,
    /// The state in words.
    pub headline: String,
    /// The numbers that the judgement rests on, one sentence each.
    pub evidence: Vec<String>,
    /// Advice on what to try next.
    pub advice: String,
}

/// Judges the history of a run. `best` is the number of the epoch that was kept.
pub fn verdict(history: &[EpochRecord], best: usize, guessing: &Guessing) -> Verdict {
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
            ("no validation images, so no verdict", "Hold some images out: data.validation_split = 0.2.")
        } else {
            ("too few epochs for a verdict", "Train for at least three epochs.")
        };
        let (headline, advice) = (headline.to_owned(), advice.to_owned());
        return Verdict { state: State::Unknown, headline, evidence, advice };
    }
    let trend = Trend::of(&validated);
    evidence.push(trend.in_words());
    let last = history.last().expect("not empty");
    let gap = last.val_accuracy.map_or(0.0, |accuracy| last.accuracy - accuracy);
    let kept = history.iter().find(|record| record.epoch == best).unwrap_or(last);
    let judged = turned(&validated, last, best, &mut evidence)
        .or_else(|| trend.falls().then(|| improving(gap)))
        .unwrap_or_else(|| settled(kept, last, guessing, gap, &mut evidence));
    let (state, headline, advice) = judged;
    Verdict { state, headline, evidence, advice }
}

/// State, headline and advice of a verdict.
type Judged = (State, String, String);

/// The judgement if the validation loss has risen since its lowest value; `None` if it has not.
fn turned(
    validated: &[(&EpochRecord, f64)],
    last: &EpochRecord,
    best: usize,
    evidence: &mut Vec<String>,
) -> Option<Judged> {
    let losses = validated.iter().map(|(_, loss)| *loss).enumerate();
    let (at, lowest) = losses.min_by(|a, b| a.1.total_cmp(&b.1))?;
    let after = validated.len() - 1 - at;
    // The mean of the last epochs is compared, because a single bad epoch does not count as a rise.
    let ends = &validated[validated.len() - after.clamp(1, 3)..];
    let end = ends.iter().map(|(_, loss)| loss).sum::<f64>() / ends.len() as f64;
    if after < 2 || end <= lowest * (1.0 + RISE) || end - lowest <= 0.005 {
        return None;
    }
    let then = validated[at].0;
    let (since, lowest_at) = (then.epoch + 1, then.epoch);
    let rise = (end / lowest - 1.0) * 100.0;
    evidence.push(format!(
        "The validation loss was lowest, {lowest:.3}, in epoch {lowest_at}; at the end it is {rise:.0} % higher."
    ));
    Some(if last.loss < then.loss || last.accuracy > then.accuracy + 0.02 {
        let headline = format!("overfitting since epoch {since}");
        (State::Overfitting { since }, headline, overfitting_advice(best, lowest_at))
    } else {
        let headline = format!("getting worse since epoch {since}, on the training images too");
        let advice =
            "The steps are too large for what is unfrozen: try a tenth of the learning rate, or unfreeze less.";
        (State::Worsening { since }, headline, advice.to_owned())
    })
}

/// The judgement if the validation loss still falls.
fn improving(gap: f64) -> Judged {
    let advice = if gap > GAP {
        "More epochs should still help; watch the gap, which dropout or augmentation would narrow."
    } else {
        "More epochs should still help."
    };
    (State::Improving, "still improving when it ended".to_owned(), advice.to_owned())
}

/// The judgement if the validation loss is constant.
fn settled(
    kept: &EpochRecord,
    last: &EpochRecord,
    guessing: &Guessing,
    gap: f64,
    evidence: &mut Vec<String>,
) -> Judged {
    let (state, headline) = match kept.val_accuracy.unwrap_or(kept.accuracy) {
        accuracy if guessing.is_enough_for(accuracy) => {
            if let (Some(guessed), Some((low, high))) = (guessing.accuracy, guessing.interval(accuracy)) {
                evidence.push(format!(
                    "Always predicting the most frequent class would reach an accuracy of {guessed:.3}; the 95 % interval \
                     of the best epoch's accuracy is {low:.3} to {high:.3}."
                ));
            }
            (State::Guessing, format!("no better than guessing, at {accuracy:.3}"))
        }
        accuracy if guessing.is_near(accuracy) => (State::Stalled, format!("standing still at {accuracy:.3}")),
        _ => (State::Converged, "converged".to_owned()),
    };
    // A training loss above that of guessing means that too large steps have moved the weights far away.
    let lost = guessing.loss.filter(|loss| last.loss > LOST * loss);
    let advice = if let Some(loss) = lost {
        evidence.push(format!("The training loss, {:.3}, is higher than that of guessing, {loss:.3}.", last.loss));
        "The steps are too large: try a tenth of the learning rate."
    } else if guessing.is_near(last.accuracy) {
        "The network has not learnt the training images either: unfreeze more layers, give the head a hidden layer, or \
         raise the learning rate."
    } else if gap > GAP {
        "More epochs will not help. The network does better on the training images than on others: more images, augmentation, \
         dropout or fewer unfrozen layers would narrow the gap."
    } else {
        "More epochs will not help. To go further, unfreeze more layers at a low learning rate, or take a larger backbone."
    };
    (state, headline, advice.to_owned())
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
        words += " Training figures are measured with dropout and while the weights change, so they may be lower.";
    }
    Some(words)
}

/// A straight line through the last third of the validation losses.
struct Trend {
    epochs: (usize, usize),
    mean: f64,
    slope: f64,
    /// Standard deviation of the losses from the line.
    scatter: f64,
}

impl Trend {
    fn of(validated: &[(&EpochRecord, f64)]) -> Self {
        let third = validated.len().div_ceil(3).max(3);
        // The line covers the last phase only, if that has at least three epochs.
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

    /// Whether the loss falls by more than its scatter, and by more than the share [`FALL`].
    fn falls(&self) -> bool {
        let fall = -self.slope * (self.epochs.1 - self.epochs.0) as f64;
        fall > (FALL * self.mean).max(self.scatter)
    }

    fn in_words(&self) -> String {
        let (first, last) = self.epochs;
        let per_epoch = change(self.slope / self.mean.max(1e-12));
        format!(
            "From epoch {first} to {last} the validation loss changes by {per_epoch} per epoch, around {:.3}.",
            self.mean
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history with one epoch per row of loss, accuracy, val_loss and val_accuracy.
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
            let verdict = verdict(&history(rows), best, &Guessing::new(Some(2), &[50, 50]));
            assert_eq!(verdict.state, state, "{verdict:?}");
            assert!(verdict.advice.contains(word), "{verdict:?}");
        };
        // The validation loss falls until the end.
        let falling = [0.9, 0.7, 0.55, 0.45, 0.38, 0.33].map(|loss| (loss, 0.9, loss + 0.02, 0.88));
        check(&falling, 6, State::Improving, "should still help.");
        // The validation loss is constant: without a gap, with a gap, and at a low accuracy.
        let flat = [0.9, 0.5, 0.402, 0.4, 0.401, 0.4].map(|loss| (loss, 0.9, loss, 0.89));
        check(&flat, 4, State::Converged, "larger backbone");
        check(&flat.map(|row| (row.0, 0.99, row.2, row.3)), 4, State::Converged, "narrow the gap");
        check(&flat.map(|row| (row.0, 0.7, row.2, 0.7)), 4, State::Stalled, "has not learnt");
        // The validation loss rises after the second epoch while the training loss falls.
        let turning = [(0.9, 0.9), (0.6, 0.7), (0.4, 0.6), (0.3, 0.65), (0.2, 0.7), (0.1, 0.8)];
        let turning = turning.map(|(loss, val_loss)| (loss, 0.95, val_loss, 0.8));
        check(&turning, 3, State::Overfitting { since: 4 }, "from before that");
        check(&turning, 5, State::Overfitting { since: 4 }, "overconfident");
        // Both losses rise.
        let rising = [0.5, 0.4, 0.6, 0.9, 1.4].map(|loss| (loss, 0.8, loss, 0.8));
        check(&rising, 2, State::Worsening { since: 3 }, "a tenth");
        // Dropout keeps the training loss high, but more and more training images are predicted right.
        let dropout =
            [(0.5, 0.6), (0.4, 0.7), (0.6, 0.8), (0.5, 0.9)].map(|(loss, accuracy)| (loss, accuracy, loss, 0.6));
        check(&dropout, 2, State::Overfitting { since: 3 }, "dropout");
        // A single bad epoch at the end does not count as a rise.
        let spike = [0.9, 0.5, 0.4, 0.4, 0.4, 0.44].map(|loss| (0.3, 0.9, loss, 0.88));
        check(&spike, 3, State::Converged, "More epochs");
    }

    #[test]
    fn a_run_that_stands_still_is_compared_with_guessing() {
        let check = |accuracy: f64, loss: f64, guessing: Guessing, state: State, advice: &str| {
            let rows = [1.1, 1.0, 1.01, 1.0, 1.01, 1.0].map(|part| (part * loss, accuracy, part * loss, accuracy));
            let verdict = verdict(&history(&rows), 4, &guessing);
            assert_eq!(verdict.state, state, "{verdict:?}");
            assert!(verdict.advice.contains(advice), "{verdict:?}");
        };
        let four = |images: usize| Guessing::new(Some(4), &[images; 4]);
        // An accuracy of 0.36 for four classes may be chance on 40 images, but not on 4,000; it is low in both cases.
        check(0.36, 1.3, four(10), State::Guessing, "raise the learning rate");
        check(0.36, 1.3, four(1000), State::Stalled, "raise the learning rate");
        check(0.9, 0.4, four(10), State::Converged, "larger backbone");
        // Nine of ten images are of one class, so guessing reaches 0.9.
        check(0.9, 0.4, Guessing::new(Some(2), &[90, 10]), State::Guessing, "learnt");
        // The loss is at its upper limit, where only large steps can have moved it.
        check(0.5, 8.06, Guessing::new(Some(2), &[50, 50]), State::Guessing, "a tenth of the learning rate");
    }

    #[test]
    fn the_interval_of_an_accuracy_is_wilsons() {
        // Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001), formula 4, for 8 of 10.
        let (low, high) = Guessing::new(Some(2), &[5, 5]).interval(0.8).expect("ten images");
        assert!((low - 0.490_2).abs() < 1e-4 && (high - 0.943_3).abs() < 1e-4, "{low} to {high}");
    }

    #[test]
    fn the_numbers_are_in_the_words() {
        let rows = [(0.9, 0.6, 0.9, 0.58), (0.5, 0.8, 0.6, 0.75), (0.3, 0.95, 0.7, 0.74), (0.1, 0.99, 0.9, 0.73)];
        let verdict = verdict(&history(&rows), 2, &Guessing::default());
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
        assert_eq!(verdict(&history(&[(1.0, 0.5, 1.0, 0.5); 2]), 1, &Guessing::default()).state, State::Unknown);
        let blind: Vec<_> = history(&[(1.0, 0.5, 1.0, 0.5); 9])
            .into_iter()
            .map(|record| EpochRecord { val_loss: None, val_accuracy: None, ..record })
            .collect();
        let found = verdict(&blind, 0, &Guessing::default());
        assert!(found.state == State::Unknown && found.advice.contains("validation_split"), "{found:?}");
    }

    #[test]
    fn a_new_phase_begins_a_new_trend() {
        let mut epochs = history(&[(0.5, 0.9, 0.5, 0.9); 12]);
        for (at, record) in epochs.iter_mut().enumerate().skip(9) {
            record.phase = "fine-tuning".to_owned();
            record.val_loss = Some(0.5 - 0.05 * (at - 8) as f64);
        }
        let found = verdict(&epochs, 12, &Guessing::default());
        assert_eq!(found.state, State::Improving, "{found:?}");
        assert!(found.evidence.iter().any(|line| line.starts_with("From epoch 10 to 12")), "{found:?}");
    }
}
