//! Loops that the compiler turns into vectors, compiled once for each kind of instructions.

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

/// Whether this target multiplies and adds in one instruction without more being asked for.
pub(super) const PLAIN_FUSED: bool = cfg!(target_arch = "aarch64");

/// Defines a function whose body is compiled for every [`Isa`](crate::isa::Isa) and chosen by its first argument, which must come
/// from [`Isa::for_loops`](crate::isa::Isa::for_loops). The body is an inlined function with a constant `FUSED`, for [`fma`].
macro_rules! vectorised {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name(isa: crate::isa::Isa, $($arg: $ty),*) {
            // A program's `Isa` is one that this machine has, and comes from `for_loops`: that is what `dispatch` wants.
            crate::isa::dispatch!(isa, ($($arg: $ty),*),
                "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma" => $body::<true>($($arg),*),
                avx2 => $body::<true>($($arg),*),
                portable => $body::<{ crate::training::simd::PLAIN_FUSED }>($($arg),*));
        }
    };
}
pub(super) use vectorised;
