use std::path::PathBuf;

use crate::generated::Drawing;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// Drawn when it is wanted.
    Drawn(Drawing),
}

/// An image and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where it comes from.
    pub origin: Origin,
    /// Position of its class.
    pub label: u32,
}

/// Labelled images, none of them read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Names of the classes; a label is a position in this list.
    pub classes: Vec<String>,
    /// The images.
    pub samples: Vec<Sample>,
}

impl Dataset {
    /// Number of images of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.samples.iter().for_each(|sample| counts[sample.label as usize] += 1);
        counts
    }
}
