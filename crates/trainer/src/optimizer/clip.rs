use std::borrow::Cow;

use injerto_recipe::Clip;

/// What all gradients together are scaled by.
pub(super) fn global<'g>(clip: Clip, gradients: impl Iterator<Item = &'g [f32]>) -> f32 {
    match clip {
        Clip::GlobalNorm(most) => shrink(most, gradients.map(square_sum).sum()),
        Clip::Norm(_) | Clip::Value(_) => 1.0,
    }
}

/// One gradient, clipped; `global` is what [`global`] says of all of them.
pub(super) fn apply(clip: Clip, gradient: &[f32], global: f32) -> Cow<'_, [f32]> {
    let scale = match clip {
        Clip::Norm(most) => shrink(most, square_sum(gradient)),
        Clip::GlobalNorm(_) => global,
        Clip::Value(most) => {
            let most = most as f32;
            return gradient.iter().map(|g| g.clamp(-most, most)).collect();
        }
    };
    if scale == 1.0 { Cow::Borrowed(gradient) } else { gradient.iter().map(|g| g * scale).collect() }
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
