use serde::{Deserialize, Serialize};

/// How many classes an image may have. The names are scikit-learn's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Exactly one of several classes.
    #[default]
    MultiClass,
    /// Any number of classes, also none: each is a decision of its own.
    MultiLabel,
}
