//! The trials of a sweep, judged: the best one, those that cannot be told apart from it, and the Pareto front of accuracy against cost.

use std::collections::BTreeSet;
use std::path::Path;

use injerto_experiment::sweep::Trial;
use injerto_files::csv;
use injerto_insight::stats::Estimate;
use serde_json::{Value, json};

use crate::paired::Answers;

/// A trial, and how it compares with the others.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The trial.
    pub trial: Trial,
    /// Whether McNemar's exact test cannot tell it apart from the best at 5 %; `None` if they judged no photo in common.
    pub like_best: Option<bool>,
    /// Whether no other trial is as accurate and as quick, and better in one of the two.
    pub quickest: bool,
    /// Whether no other trial is as accurate and as small, and better in one of the two.
    pub smallest: bool,
}

/// The trials of a sweep, the best first.
#[derive(Debug, Clone)]
pub struct Standings {
    /// The trials.
    pub rows: Vec<Standing>,
    /// The keys that the trials set, in the order in which they were written.
    pub keys: Vec<String>,
}

impl Standings {
    /// Judges trials by what they have recorded and, photo by photo, by the predictions in their folders. `folder_of` finds these by the
    /// number of the trial.
    pub fn of(trials: &[Trial], folder_of: &dyn Fn(usize) -> std::path::PathBuf) -> Self {
        let mut trials = trials.to_vec();
        trials.sort_by(Trial::compared);
        let mut keys: Vec<String> = Vec::new();
        for (key, _) in trials.iter().flat_map(|trial| &trial.sets) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        // The keys of one trial stand in the order in which they were written.
        if let Some(order) = trials.iter().map(|trial| &trial.sets).max_by_key(|sets| sets.len()) {
            keys.sort_by_key(|key| order.iter().position(|(own, _)| own == key).unwrap_or(usize::MAX));
        }
        let quickest = front(&trials, |trial| trial.seconds);
        let smallest = front(&trials, |trial| trial.parameters as f64);
        let best = trials.first().and_then(|best| answers(best, folder_of));
        let row = |(at, trial): (usize, Trial)| {
            let like_best = match at {
                0 => best.is_some().then_some(true),
                _ => best
                    .as_ref()
                    .zip(answers(&trial, folder_of))
                    .and_then(|(best, own)| Some(!best.beside(&own)?.distinguishable())),
            };
            Standing { like_best, quickest: quickest.contains(&at), smallest: smallest.contains(&at), trial }
        };
        Self { rows: trials.into_iter().enumerate().map(row).collect(), keys }
    }

    /// Numbers of the trials that cannot be told apart from the best one, without the best one.
    pub fn like_best(&self) -> Vec<usize> {
        let like = self.rows.iter().skip(1).filter(|row| row.like_best == Some(true));
        like.map(|row| row.trial.number).collect()
    }

    /// Whether the networks of the trials have different sizes.
    pub fn differ_in_size(&self) -> bool {
        self.rows.iter().map(|row| row.trial.parameters).collect::<BTreeSet<_>>().len() > 1
    }

    /// A table with a line per trial, the best first.
    pub fn to_csv(&self) -> String {
        let before = ["rank", "trial"];
        let after = [
            "accuracy",
            "low",
            "high",
            "n",
            "loss",
            "monitor",
            "value",
            "best_epoch",
            "epochs",
            "of_epochs",
            "parameters",
            "trainable",
            "seconds",
            "like_best",
            "quickest",
            "smallest",
            "failed",
        ];
        let keys = self.keys.iter().map(String::as_str);
        let mut text = csv::line(before.into_iter().chain(keys).chain(after)) + "\n";
        for (rank, row) in (1..).zip(&self.rows) {
            let Standing { trial, like_best, quickest, smallest } = row;
            let own =
                |key: &String| trial.sets.iter().find(|(own, _)| own == key).map_or("", |(_, value)| value.as_str());
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            let interval = trial.accuracy.map(|it| it.interval);
            let mut fields = vec![rank.to_string(), trial.number.to_string()];
            fields.extend(self.keys.iter().map(|key| own(key).to_owned()));
            fields.extend([
                number(trial.accuracy.map(|it| it.value)),
                number(interval.map(|it| it[0])),
                number(interval.map(|it| it[1])),
                trial.accuracy.map_or_else(String::new, |it| it.n.to_string()),
                number(trial.loss),
                trial.monitor.name().to_owned(),
                number(trial.value),
                trial.best_epoch.to_string(),
                trial.history.len().to_string(),
                trial.of_epochs.to_string(),
                trial.parameters.to_string(),
                trial.trainable.to_string(),
                format!("{:.3}", trial.seconds),
                like_best.map_or_else(String::new, |like| like.to_string()),
                quickest.to_string(),
                smallest.to_string(),
                trial.failed.clone().unwrap_or_default(),
            ]);
            text += &csv::line(fields.iter().map(String::as_str));
            text.push('\n');
        }
        text
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let row = |(rank, row): (usize, &Standing)| {
            let Standing { trial, like_best, quickest, smallest } = row;
            let sets: serde_json::Map<String, Value> =
                trial.sets.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
            json!({
                "rank": rank,
                "trial": trial.number,
                "sets": sets,
                "accuracy": trial.accuracy,
                "loss": trial.loss,
                "monitor": trial.monitor.name(),
                "value": trial.value,
                "best_epoch": trial.best_epoch,
                "epochs": trial.history.len(),
                "of_epochs": trial.of_epochs,
                "parameters": trial.parameters,
                "trainable": trial.trainable,
                "seconds": trial.seconds,
                "like_best": like_best,
                "quickest": quickest,
                "smallest": smallest,
                "failed": trial.failed,
            })
        };
        Value::Array((1..).zip(&self.rows).map(row).collect())
    }
}

/// A trial's predictions for the validation photos.
fn answers(trial: &Trial, folder_of: &dyn Fn(usize) -> std::path::PathBuf) -> Option<Answers> {
    let folder: &Path = &folder_of(trial.number);
    trial.accuracy.and_then(|_| Answers::load(folder))
}

/// Places of the trials of which none is beaten: no other is as accurate and costs as little, and is better in one of the two. Of those that
/// are equal in both, the first stands for all.
fn front(trials: &[Trial], cost: impl Fn(&Trial) -> f64) -> Vec<usize> {
    let points: Vec<(usize, f64, f64)> = (0..)
        .zip(trials)
        .filter_map(|(at, trial)| trial.accuracy.map(|Estimate { value, .. }| (at, value, cost(trial))))
        .collect();
    let beaten = |&(at, value, cost): &(usize, f64, f64)| {
        points
            .iter()
            .any(|&(place, other, less)| other >= value && less <= cost && (other > value || less < cost || place < at))
    };
    points.iter().filter(|point| !beaten(point)).map(|(at, ..)| *at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trial of 100 photos, of which it predicts the first ones right.
    fn trial(number: usize, right: usize, parameters: usize, seconds: f64) -> Value {
        json!({
            "number": number, "sets": [["head.dropout", format!("0.{number}")]], "of_epochs": 2, "complete": true,
            "monitor": "val_accuracy", "mode": "auto", "best_epoch": 1, "value": right as f64 / 100.0,
            "accuracy": Estimate::share(right, 100), "loss": 0.5, "parameters": parameters, "trainable": 3,
            "seconds": seconds, "history": [], "data": "",
        })
    }

    #[test]
    fn trials_stand_in_order_with_those_that_are_as_good_and_those_that_nothing_beats() {
        let at = tempfile::tempdir().expect("a folder");
        let figures = [(1, 90, 500, 3.0), (2, 95, 900, 2.0), (3, 60, 100, 1.0), (4, 60, 100, 4.0)];
        let trials: Vec<Trial> = figures
            .iter()
            .map(|&(number, right, parameters, seconds)| {
                let said = |photo: usize| if photo < right { "cats" } else { "dogs" };
                let lines: String = (0..100).map(|photo| format!("{photo}.jpg,cats,{}\n", said(photo))).collect();
                let folder = at.path().join(number.to_string());
                std::fs::create_dir(&folder).expect("made");
                std::fs::write(folder.join("predictions.csv"), format!("path,label,predicted\n{lines}"))
                    .expect("written");
                serde_json::from_value(trial(number, right, parameters, seconds)).expect("a trial")
            })
            .collect();
        let found = Standings::of(&trials, &|number| at.path().join(number.to_string()));
        let numbers: Vec<usize> = found.rows.iter().map(|row| row.trial.number).collect();
        assert_eq!(numbers, [2, 1, 3, 4]);
        // Five photos of difference are chance (p = 0.06), and thirty-five are not.
        assert_eq!(found.like_best(), [1]);
        let marks = |mark: fn(&Standing) -> bool| -> Vec<usize> {
            found.rows.iter().filter(|row| mark(row)).map(|row| row.trial.number).collect()
        };
        assert_eq!((marks(|row| row.smallest), marks(|row| row.quickest)), (vec![2, 1, 3], vec![2, 3]));
        let table = found.to_csv();
        let second = table.lines().nth(2).expect("a line");
        assert!(table.starts_with("rank,trial,head.dropout,accuracy,low,high,n,"), "{table}");
        assert!(second.starts_with("2,1,0.1,0.9,0.8") && second.contains(",true,false,true,"), "{second}");
        assert_eq!(found.to_json()[0]["sets"]["head.dropout"], "0.2");
        assert!(found.differ_in_size());
    }
}
