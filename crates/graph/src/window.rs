//! Windows that slide over an image, and the rule for its border.

use serde::{Deserialize, Serialize};

/// A pooling window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WindowSpec")]
pub struct Window {
    /// `[height, width]`.
    pub pool_size: [usize; 2],
    /// `[vertical, horizontal]`. If a description leaves the strides out, they are equal to the window.
    pub strides: [usize; 2],
    /// Rule for the border.
    pub padding: Padding,
    /// Whether an average counts padding. PyTorch counts it by default; Keras never does.
    pub count_include_pad: bool,
}

#[derive(Deserialize)]
#[serde(rename = "Window", deny_unknown_fields)]
struct WindowSpec {
    pool_size: [usize; 2],
    strides: Option<[usize; 2]>,
    #[serde(default)]
    padding: Padding,
    #[serde(default)]
    count_include_pad: bool,
}

impl From<WindowSpec> for Window {
    fn from(WindowSpec { pool_size, strides, padding, count_include_pad }: WindowSpec) -> Self {
        Self { pool_size, strides: strides.unwrap_or(pool_size), padding, count_include_pad }
    }
}

/// Rule for the border of a window that slides over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "PaddingSpec", into = "PaddingSpec")]
pub enum Padding {
    /// No padding; all windows are completely inside the image.
    #[default]
    Valid,
    /// TensorFlow's rule: the output has length `ceil(input / stride)`, and an odd zero is added at the bottom or at the right.
    Same,
    /// `[[top, bottom], [left, right]]` zeros, as in PyTorch.
    Explicit([[usize; 2]; 2]),
}

impl Padding {
    /// `amount` zeros on every side, as PyTorch's `padding = amount`.
    pub fn around(amount: usize) -> Self {
        if amount == 0 { Self::Valid } else { Self::Explicit([[amount, amount], [amount, amount]]) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PaddingSpec {
    Named(PaddingName),
    Explicit([[usize; 2]; 2]),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PaddingName {
    Valid,
    Same,
}

impl From<PaddingSpec> for Padding {
    fn from(spec: PaddingSpec) -> Self {
        match spec {
            PaddingSpec::Named(PaddingName::Valid) => Self::Valid,
            PaddingSpec::Named(PaddingName::Same) => Self::Same,
            PaddingSpec::Explicit(sides) => Self::Explicit(sides),
        }
    }
}

impl From<Padding> for PaddingSpec {
    fn from(padding: Padding) -> Self {
        match padding {
            Padding::Valid => Self::Named(PaddingName::Valid),
            Padding::Same => Self::Named(PaddingName::Same),
            Padding::Explicit(sides) => Self::Explicit(sides),
        }
    }
}
