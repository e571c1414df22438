use serde::Serialize;

/// What is drawn instead of read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Five kinds of flowers on varied backgrounds: a target to transfer to.
    Flowers,
    /// Ten plain figures, which the shipped backbone learnt from: a source to transfer from.
    Shapes,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 2] = [Self::Flowers, Self::Shapes];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flowers => "flowers",
            Self::Shapes => "shapes",
        }
    }

    /// Its classes, in alphabetical order.
    pub fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Flowers => &["daisy", "dandelion", "roses", "sunflowers", "tulips"],
            Self::Shapes => &["bar", "blob", "burst", "crescent", "cross", "gear", "polygon", "ring", "spiral", "star"],
        }
    }
}

/// One image, not drawn yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Drawing {
    /// What is drawn.
    pub task: Task,
    /// Position of the class.
    pub class: u32,
    /// Seed of the whole dataset.
    pub seed: u64,
    /// Which of the datasets with this seed: 0 to train on, 1 to validate by, and others.
    pub series: u32,
    /// Which image of the class.
    pub index: u32,
}
