//! The answer about an image: the verdict on its probabilities, and the JSON object that `injerto predict --json` prints and
//! `injerto serve` returns.

use injerto_insight::unknown::Standing;
use serde_json::{Value, json};

use crate::Prediction;

/// The verdict on one image, by its probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict<'p> {
    /// The image shows this class.
    Sure(&'p str),
    /// The image may show several classes, which [`Prediction::chosen`] names.
    Several,
    /// The image may show several classes, and shows none.
    Nothing,
    /// No class is as probable as the threshold requires.
    Unsure,
    /// The image is unlike all that the network was trained on.
    Unknown,
}

impl<'p> Verdict<'p> {
    /// The verdict on an image. An answer that is less probable than `threshold`, a share from 0 to 1, is unsure. Where an image may have
    /// several classes, the thresholds of the prediction decide.
    pub fn of(prediction: &'p Prediction, threshold: Option<f32>) -> Self {
        if let Some(Standing { unknown: true, .. }) = prediction.standing() {
            return Self::Unknown;
        }
        if let Some(chosen) = prediction.chosen() {
            return if chosen.is_empty() { Self::Nothing } else { Self::Several };
        }
        match prediction.ranked().next() {
            Some((class, p)) if threshold.is_none_or(|threshold| p >= threshold) => Self::Sure(class),
            _ => Self::Unsure,
        }
    }

    /// The class, of a sure answer.
    pub fn class(self) -> Option<&'p str> {
        match self {
            Self::Sure(class) => Some(class),
            Self::Several | Self::Nothing | Self::Unsure | Self::Unknown => None,
        }
    }

    /// The word for it in CSV and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sure(_) | Self::Several => "sure",
            Self::Nothing => "nothing",
            Self::Unsure => "unsure",
            Self::Unknown => "unknown",
        }
    }
}

/// Which parts of a prediction an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Said {
    /// Number of classes, the most probable first; `None` for all.
    pub top: Option<usize>,
    /// Number of similar training images; `None` leaves their key out.
    pub neighbours: Option<usize>,
    /// An answer that is less probable than this share is unsure.
    pub threshold: Option<f32>,
}

impl Said {
    /// The answer for the image of this name, as an object of JSON.
    pub fn of(&self, image: &str, prediction: &Prediction) -> Value {
        let ranked = prediction.ranked().take(self.top.unwrap_or(usize::MAX));
        let classes: Vec<_> = ranked.map(|(class, p)| json!({ "class": class, "probability": p })).collect();
        let mut line = json!({ "image": image, "classes": classes });
        if let Some(Standing { unknown, distance, as_far, .. }) = prediction.standing() {
            line["unknown"] = json!(unknown);
            line["familiarity"] = json!(as_far);
            line["distance"] = json!(distance);
        }
        if let Some(count) = self.neighbours {
            let near = prediction.neighbours();
            line["neighbours"] = json!(&near[..count.min(near.len())]);
        }
        let verdict = Verdict::of(prediction, self.threshold);
        match prediction.chosen() {
            Some(_) if verdict == Verdict::Unknown => line["labels"] = Value::Null,
            Some(chosen) => line["labels"] = chosen.into_iter().map(|at| json!(prediction.classes()[at])).collect(),
            None => line["answer"] = json!(verdict.class()),
        }
        line
    }
}
