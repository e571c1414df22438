use image::metadata::Orientation as Turn;
use serde::{Deserialize, Serialize};

/// What to do with an EXIF orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orientation {
    /// Leave the pixels as they are stored, as Keras does.
    #[default]
    Ignore,
    /// Turn them the way the camera was held.
    Apply,
}

/// Whether an image that is turned so has its height for a width.
pub(super) fn swaps_sides(turn: Turn) -> bool {
    matches!(turn, Turn::Rotate90 | Turn::Rotate270 | Turn::Rotate90FlipH | Turn::Rotate270FlipH)
}
