use std::fmt;

use serde::{Deserialize, Serialize};

/// Shape of one sample: `[height, width, channels]` or `[features]`, without the batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    /// Number of values.
    pub fn count(&self) -> usize {
        self.0.iter().product()
    }

    /// `[height, width, channels]`, if the shape is that of an image.
    pub fn image(&self) -> Option<[usize; 3]> {
        self.0.as_slice().try_into().ok()
    }

    /// Length of the last axis.
    pub fn channels(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "[{}]", sides.join(", "))
    }
}
