//! Which vector instructions this machine has, and functions compiled once for each.

use std::sync::OnceLock;

/// The instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// What every machine of the target has.
    Plain,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    V3,
    /// AVX-512 as in x86-64-v4.
    #[cfg(target_arch = "x86_64")]
    V4,
}

impl Level {
    /// All that this machine has, the best first.
    pub(super) fn available() -> Vec<Self> {
        let mut all = Vec::with_capacity(3);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                all.push(Self::V4);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::V3);
            }
        }
        all.push(Self::Plain);
        all
    }
}

/// The best level of this machine, asked once.
pub(super) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| Level::available()[0])
}

/// `a * b + c`, rounded once where `FUSED`.
#[inline(always)]
pub(super) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `x` within limits; what is not a number stays so.
#[inline(always)]
pub(super) fn limit(x: f32, (least, most): (f32, f32)) -> f32 {
    if x < least {
        least
    } else if x > most {
        most
    } else {
        x
    }
}

/// Whether the plain level of this target multiplies and adds in one instruction.
pub(super) const PLAIN_FUSED: bool = cfg!(target_arch = "aarch64");

/// Defines a function whose body is compiled for every [`Level`] and chosen at run time. The body is an inlined function
/// with a constant `FUSED`, for [`fma`].
macro_rules! vectorised {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn v4($($arg: $ty),*) {
                $body::<true>($($arg),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn v3($($arg: $ty),*) {
                $body::<true>($($arg),*);
            }
            match crate::training::simd::level() {
                crate::training::simd::Level::Plain => {
                    $body::<{ crate::training::simd::PLAIN_FUSED }>($($arg),*);
                }
                // SAFETY: `level` has asked the processor.
                #[cfg(target_arch = "x86_64")]
                crate::training::simd::Level::V3 => unsafe { v3($($arg),*) },
                // SAFETY: `level` has asked the processor.
                #[cfg(target_arch = "x86_64")]
                crate::training::simd::Level::V4 => unsafe { v4($($arg),*) },
            }
        }
    };
}
pub(super) use vectorised;
