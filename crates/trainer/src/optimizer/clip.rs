use std::borrow::Cow;

use injerto_recipe::Clip;

/// The factor that scales every gradient: less than 1 if the norm of all gradients together is above the limit.
pub(super) fn global<'g>(clip: Clip, gradients: impl Iterator<Item = &'g [f32]>) -> f32 {
    match clip {
        Clip::GlobalNorm(most) => shrink(most, gradients.map(square_sum).sum()),
        Clip::Norm(_) | Clip::Value(_) => 1.0,
    }
}

/// One gradient after clipping. `global` is the factor that [`global`] returns for all gradients.
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

/// The factor that reduces the norm of a vector with this sum of squares to at most `most`. NaN if the norm is not finite.
fn shrink(most: f64, square_sum: f64) -> f32 {
    let norm = square_sum.sqrt();
    match norm.is_finite() {
        true if norm <= most => 1.0,
        true => (most / norm) as f32,
        false => f32::NAN,
    }
}

/// Sum of squares in double precision and in a fixed order, so that equal inputs give equal bits.
fn square_sum(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}
