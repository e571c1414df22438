use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How gradients are kept from growing; one of Keras's three keys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// The gradient of each parameter is scaled down to a norm of at most this.
    #[serde(rename = "clipnorm")]
    Norm(f64),
    /// All gradients are scaled down together, to a norm of at most this over all of them.
    #[serde(rename = "global_clipnorm")]
    GlobalNorm(f64),
    /// Each value of a gradient is kept within this of 0.
    #[serde(rename = "clipvalue")]
    Value(f64),
}

impl Clip {
    /// Key in an experiment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Norm(_) => "clipnorm",
            Self::GlobalNorm(_) => "global_clipnorm",
            Self::Value(_) => "clipvalue",
        }
    }

    /// What all gradients together are scaled by.
    pub(super) fn global<'g>(self, gradients: impl Iterator<Item = &'g [f32]>) -> f32 {
        match self {
            Self::GlobalNorm(most) => shrink(most, gradients.map(square_sum).sum()),
            Self::Norm(_) | Self::Value(_) => 1.0,
        }
    }

    /// One gradient, clipped; `global` is what [`Clip::global`] says of all of them.
    pub(super) fn apply(self, gradient: &[f32], global: f32) -> Cow<'_, [f32]> {
        let scale = match self {
            Self::Norm(most) => shrink(most, square_sum(gradient)),
            Self::GlobalNorm(_) => global,
            Self::Value(most) => {
                let most = most as f32;
                return gradient.iter().map(|g| g.clamp(-most, most)).collect();
            }
        };
        if scale == 1.0 { Cow::Borrowed(gradient) } else { gradient.iter().map(|g| g * scale).collect() }
    }
}

/// What brings a vector with this sum of squares down to a norm of at most `most`; not a number where the norm is none.
fn shrink(most: f64, square_sum: f64) -> f32 {
    let norm = square_sum.sqrt();
    match norm.is_finite() {
        true if norm <= most => 1.0,
        true => (most / norm) as f32,
        false => f32::NAN,
    }
}

/// In double precision and a fixed order: the same bits every time.
fn square_sum(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}
