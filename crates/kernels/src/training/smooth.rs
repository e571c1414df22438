//! Smooth functions that are computed with vectors, either by themselves or while the layer before them writes its output.

use injerto_graph::Activation;

use crate::simd::{Simd, vectorised};

/// A function whose derivative is computed with little additional work.
#[derive(Debug, Clone, Copy)]
pub(super) enum Smooth {
    /// GELU.
    Gelu,
    /// The approximation of GELU by a hyperbolic tangent.
    GeluTanh,
}

impl Smooth {
    /// The function of an activation, if it is one of these.
    pub(super) fn of(activation: Activation) -> Option<Self> {
        match activation {
            Activation::Gelu => Some(Self::Gelu),
            Activation::GeluTanh => Some(Self::GeluTanh),
            _ => None,
        }
    }

    /// `f(x)`.
    ///
    /// # Safety
    /// The instructions of `S` are there.
    #[inline(always)]
    unsafe fn value<S: Simd>(self, x: S::V) -> S::V {
        // SAFETY: the instructions of `S` are there, which is all that both require.
        unsafe {
            match self {
                Self::Gelu => S::gelu(x),
                Self::GeluTanh => S::gelu_tanh(x),
            }
        }
    }

    /// The derivative of `f` at `x`.
    ///
    /// # Safety
    /// The instructions of `S` are there.
    #[inline(always)]
    unsafe fn slope<S: Simd>(self, x: S::V) -> S::V {
        // SAFETY: the instructions of `S` are there, which is all that both require.
        unsafe {
            match self {
                Self::Gelu => S::gelu_slope(x),
                Self::GeluTanh => S::gelu_tanh_slope(x),
            }
        }
    }
}

vectorised! {
    /// `y = f(x)`.
    pub(super) fn forward(f: Smooth, x: &[f32], y: &mut [f32]) => forward_body::<S>
}

#[inline(always)]
unsafe fn forward_body<S: Simd>(f: Smooth, x: &[f32], y: &mut [f32]) {
    let length = x.len().min(y.len());
    for at in (0..length).step_by(S::LANES) {
        let count = length - at;
        // SAFETY: both slices have `count` values from `at` on, and no more are read or written; the instructions of `S` are there.
        unsafe {
            let x = S::load_up_to(x.as_ptr().add(at), count);
            S::store_up_to(y.as_mut_ptr().add(at), f.value::<S>(x), count);
        }
    }
}

vectorised! {
    /// `dx (+)= dy * f'(x)`.
    pub(super) fn backward(f: Smooth, dy: &[f32], x: &[f32], accumulate: bool, dx: &mut [f32]) => backward_body::<S>
}

#[inline(always)]
unsafe fn backward_body<S: Simd>(f: Smooth, dy: &[f32], x: &[f32], accumulate: bool, dx: &mut [f32]) {
    let length = x.len().min(dx.len()).min(dy.len());
    for at in (0..length).step_by(S::LANES) {
        let count = length - at;
        // SAFETY: all slices have `count` values from `at` on, and no more are read or written; the instructions of `S` are there.
        unsafe {
            let to = dx.as_mut_ptr().add(at);
            let (dy, x) = (S::load_up_to(dy.as_ptr().add(at), count), S::load_up_to(x.as_ptr().add(at), count));
            let before = if accumulate { S::load_up_to(to, count) } else { S::splat(0.0) };
            S::store_up_to(to, S::fma(dy, f.slope::<S>(x), before), count);
        }
    }
}

vectorised! {
    /// `y = f(y)`, and `slopes = f'(y)` of the old `y` if `slopes` is given.
    pub(super) fn finish(f: Smooth, y: &mut [f32], slopes: Option<&mut [f32]>) => finish_body::<S>
}

#[inline(always)]
unsafe fn finish_body<S: Simd>(f: Smooth, y: &mut [f32], slopes: Option<&mut [f32]>) {
    let Some(slopes) = slopes else {
        for at in (0..y.len()).step_by(S::LANES) {
            let count = y.len() - at;
            // SAFETY: the slice has `count` values from `at` on, and no more are read or written; the instructions of `S` are there.
            unsafe {
                let y = y.as_mut_ptr().add(at);
                S::store_up_to(y, f.value::<S>(S::load_up_to(y, count)), count);
            }
        }
        return;
    };
    let length = y.len().min(slopes.len());
    for at in (0..length).step_by(S::LANES) {
        let count = length - at;
        // SAFETY: both slices have `count` values from `at` on, and no more are read or written; the instructions of `S` are there.
        unsafe {
            let (y, slopes) = (y.as_mut_ptr().add(at), slopes.as_mut_ptr().add(at));
            let x = S::load_up_to(y, count);
            S::store_up_to(slopes, f.slope::<S>(x), count);
            S::store_up_to(y, f.value::<S>(x), count);
        }
    }
}
