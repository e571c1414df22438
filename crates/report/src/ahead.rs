//! What is under way in a training, and how long it will take.

use injerto_trainer::Phase;
use injerto_trainer::history::EpochRecord;

use crate::words::{counted, duration};

/// A phase as far as the time that it takes is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Number of its epochs.
    pub epochs: usize,
}

impl Stage {
    /// That of a planned phase.
    pub fn of(phase: &Phase) -> Self {
        Self { name: phase.name.clone(), epochs: phase.epochs }
    }
}

/// How far the phase under way is, as an observer of the training knows it. A caller that has only the finished epochs leaves it out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnderWay {
    /// Place of the phase, counted from 0.
    pub phase: usize,
    /// The share of its epoch that is done, and in how many seconds; 0 if that is unknown.
    pub epoch: Option<(f64, f64)>,
}

/// The epoch under way, the time left in its phase, and the phases to come, in a sentence.
pub fn ahead(stages: &[Stage], history: &[EpochRecord], now: Option<UnderWay>) -> String {
    let at = now.map_or_else(|| last_begun(stages, history), |now| now.phase);
    let Some(Stage { name, epochs }) = stages.get(at) else { return "training".to_owned() };
    let own: Vec<f64> = history.iter().filter(|record| record.phase == *name).map(|record| record.seconds).collect();
    let later = stages.get(at + 1..).unwrap_or_default();
    let left = epochs.saturating_sub(own.len());
    if left == 0 {
        return match later.first() {
            Some(next) => format!("{} begins, {}", next.name, counted(next.epochs, "epoch")),
            None => "all epochs are finished; the results are written".to_owned(),
        };
    }
    // The first epoch of a phase may compute what the later ones read.
    let typical = if own.len() > 1 { &own[1..] } else { &own[..] };
    let (share, spent) = now.and_then(|now| now.epoch).unwrap_or_default();
    let per_epoch = match typical.len() {
        0 => (share > 0.0 && spent > 0.0).then(|| spent / share),
        n => Some(typical.iter().sum::<f64>() / n as f64),
    };
    let time = per_epoch.map_or_else(String::new, |seconds| {
        format!(", about {} left", duration(seconds * (left as f64 - share).max(0.0)))
    });
    let then: Vec<String> =
        later.iter().map(|stage| format!("{} ({})", stage.name, counted(stage.epochs, "epoch"))).collect();
    let then = if then.is_empty() { String::new() } else { format!("; then {}", then.join(", ")) };
    format!("{name}: epoch {} of {epochs} is under way{time}{then}", own.len() + 1)
}

/// The phase of the last finished epoch. A phase that ended early has a record of a later phase after it.
fn last_begun(stages: &[Stage], history: &[EpochRecord]) -> usize {
    let last = history.last().map_or("", |record| record.phase.as_str());
    stages.iter().position(|stage| stage.name == last).unwrap_or(0)
}

/// What remains of a training that is stopped now, after so many finished epochs.
pub fn kept(epochs: usize) -> String {
    match epochs {
        0 => "no epoch is finished yet, so there is nothing to keep".to_owned(),
        1 => "the 1 finished epoch is kept".to_owned(),
        _ => format!("all {} are kept", counted(epochs, "finished epoch")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(phases: &[(&str, &[f64])]) -> Vec<EpochRecord> {
        let all = phases.iter().flat_map(|(phase, seconds)| seconds.iter().map(move |seconds| (*phase, *seconds)));
        let record = |(at, (phase, seconds)): (usize, (&str, f64))| EpochRecord {
            epoch: at + 1,
            phase: phase.to_owned(),
            loss: 1.0,
            accuracy: 0.5,
            val_loss: None,
            val_accuracy: None,
            learning_rate: 0.1,
            seconds,
        };
        all.enumerate().map(record).collect()
    }

    #[test]
    fn the_time_left_is_that_of_the_later_epochs_of_the_phase() {
        let stages = [("head", 3), ("tail", 5)].map(|(name, epochs)| Stage { name: name.to_owned(), epochs });
        let check = |phases: &[(&str, &[f64])], now: Option<UnderWay>, expected: &str| {
            assert_eq!(ahead(&stages, &epochs(phases), now), expected);
        };
        check(
            &[("head", &[60.0])],
            None,
            "head: epoch 2 of 3 is under way, about 2 min 0 s left; then tail (5 epochs)",
        );
        check(
            &[("head", &[60.0, 2.0])],
            None,
            "head: epoch 3 of 3 is under way, about 2.0 s left; then tail (5 epochs)",
        );
        check(&[("head", &[60.0, 2.0, 2.0])], None, "tail begins, 5 epochs");
        check(&[("head", &[60.0]), ("tail", &[9.0; 5])], None, "all epochs are finished; the results are written");
    }

    #[test]
    fn whoever_hears_of_each_batch_knows_more() {
        let stages = [("head", 2), ("tail", 4)].map(|(name, epochs)| Stage { name: name.to_owned(), epochs });
        let check = |phases: &[(&str, &[f64])], phase: usize, epoch: Option<(f64, f64)>, expected: &str| {
            assert_eq!(ahead(&stages, &epochs(phases), Some(UnderWay { phase, epoch })), expected);
        };
        check(&[], 0, None, "head: epoch 1 of 2 is under way; then tail (4 epochs)");
        check(&[], 0, Some((0.25, 5.0)), "head: epoch 1 of 2 is under way, about 35 s left; then tail (4 epochs)");
        // The first phase ended early.
        check(&[("head", &[20.0])], 1, None, "tail: epoch 1 of 4 is under way");
        check(
            &[("head", &[20.0]), ("tail", &[9.0, 8.0])],
            1,
            Some((0.5, 3.0)),
            "tail: epoch 3 of 4 is under way, about 12 s left",
        );
    }

    #[test]
    fn what_is_kept_is_counted() {
        assert_eq!(
            [0, 1, 12].map(kept),
            [
                "no epoch is finished yet, so there is nothing to keep",
                "the 1 finished epoch is kept",
                "all 12 finished epochs are kept"
            ]
        );
    }
}
