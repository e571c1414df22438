//! Content of `plan.json`: what is decided before the first batch.

use std::fmt;

use injerto_trainer::{PhasePlan, Said};
use serde::{Deserialize, Serialize};

use crate::RunFolder;
use crate::teach::Taught;

/// Content of `plan.json`: the phases as they are resolved before the first batch. Training follows this plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The phases, in order.
    pub phases: Vec<PhasePlan>,
    /// What is asked about the features before the first epoch. Plans of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insight: Option<Questions>,
    /// The run that teaches, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Taught>,
    /// The arithmetic of prefix and tail; `None` if the project's kernels do not compute them. Plans of earlier versions do not say
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<Said>,
}

impl Plan {
    /// Name of its file in a run's folder.
    pub const FILE: &str = RunFolder::PLAN;

    /// The plan as the JSON of its file.
    pub fn to_json(&self) -> String {
        crate::json::pretty(self)
    }
}

/// What is asked about the features of the first phase before its first epoch. The features are those that the phase keeps, so that no
/// image passes through the network for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Questions {
    /// What a logistic regression reaches on them.
    pub probe: Asked,
    /// Which photos are nearly the same. Photos that are exactly the same need no features.
    pub near_copies: Asked,
}

/// Whether a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// It is.
    Yes,
    /// It is not, for this reason.
    No(Why),
}

/// Why a question about the features is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The experiment does not want it.
    Off,
    /// Drawn images have no copies.
    Drawn,
    /// The first phase trains layers of the backbone, so that the backbone's output is not kept.
    Trained,
    /// Training images change in every epoch.
    Changing,
    /// Features are not stored.
    NotKept,
    /// The features that are kept are those of an earlier layer.
    Earlier,
    /// An image has too many features.
    Wide,
    /// There are too many images to compare each with each.
    Many,
    /// There are too many classes for a fit in seconds.
    Classes,
    /// An image may have several classes, and the probe gives it one.
    SeveralClasses,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "the experiment does not ask for it",
            Self::Drawn => "the images are drawn",
            Self::Trained => "the first phase trains layers of the backbone, so that its output is not kept",
            Self::Changing => "the training images change in every epoch, so that their features are not kept",
            Self::NotKept => "the features are not stored",
            Self::Earlier => "the features are kept at a layer before the backbone's end",
            Self::Wide => "the head does not pool, so that an image has too many features",
            Self::Many => "there are too many images to compare each with each",
            Self::Classes => "there are too many classes for a fit in seconds",
            Self::SeveralClasses => "an image may have several classes, and the probe gives it one",
        })
    }
}
