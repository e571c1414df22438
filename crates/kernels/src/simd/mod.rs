//! One trait for the vectors of AVX-512, of AVX2 with FMA, and plain arrays; and loops that the compiler turns into vectors.
//!
//! Kernels are either generic over [`Simd`], and [`per_isa`] makes one function for each instruction set of them; or they are loops over
//! slices, of which [`vectorised`] does the same. The function that runs is chosen by a proof that the machine has the instructions
//! ([`Present`] and [`ForLoops`]).
//!
//! [`Present`]: crate::isa::Present
//! [`ForLoops`]: crate::isa::ForLoops

mod compiled;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use compiled::{per_isa, vectorised, wide_or_portable};
pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, Avx512Bf16};

use crate::bf16::Bf16;

/// A vector of `f32`.
///
/// # Safety
/// All functions need the instructions of the type; loads and stores need `LANES` (or `n`) values at the pointer.
pub(crate) trait Simd: Copy {
    /// `f32`s in a vector.
    const LANES: usize;
    /// The vector.
    type V: Copy;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Loads the first `n` lanes, `n < LANES`; the others are zeros.
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V;
    /// Stores the first `n` lanes, `n < LANES`.
    unsafe fn store_first(p: *mut f32, v: Self::V, n: usize);
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Rounds to the nearest whole number.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2 to the power of a whole number from -126 to 127.
    unsafe fn exp2_whole(a: Self::V) -> Self::V;

    /// Loads `LANES` numbers of bf16.
    ///
    /// # Safety
    /// The instructions of the type are there, and `LANES` numbers lie at the pointer.
    #[inline(always)]
    unsafe fn load_bf16(p: *const Bf16) -> Self::V {
        let mut lanes = [0.0; 16];
        // SAFETY: `LANES` numbers lie at the pointer; the array has room for the widest vector; the type's instructions are there.
        unsafe {
            for (at, lane) in lanes.iter_mut().enumerate().take(Self::LANES) {
                *lane = (*p.add(at)).value();
            }
            Self::load(lanes.as_ptr())
        }
    }

    /// Rounds the first `n` lanes to bf16 (see [`Bf16::round`]) and stores them, `n <= LANES`.
    ///
    /// # Safety
    /// The instructions of the type are there, and there is room for `n` numbers at the pointer.
    #[inline(always)]
    unsafe fn store_bf16(p: *mut Bf16, v: Self::V, n: usize) {
        let mut lanes = [0.0; 16];
        // SAFETY: the array has room for the widest vector, and `n` numbers for the pointer; the type's instructions are there.
        unsafe {
            Self::store(lanes.as_mut_ptr(), v);
            for (at, lane) in lanes.into_iter().enumerate().take(n) {
                *p.add(at) = Bf16::round(lane);
            }
        }
    }

    /// Loads `2 * LANES` numbers of bf16: a vector of those at even places, and one of those at odd places. Two neighbours lie in the same 32
    /// bits, so this takes one load, and then one operation for each vector.
    ///
    /// # Safety
    /// The instructions of the type are there, and `2 * LANES` numbers lie at the pointer.
    #[inline(always)]
    unsafe fn load_two_bf16(p: *const Bf16) -> [Self::V; 2] {
        [0, 1].map(|odd| {
            let mut lanes = [0.0; 16];
            // SAFETY: `2 * LANES` numbers lie at the pointer; the array has room for the widest vector; the type's instructions are there.
            unsafe {
                for (at, lane) in lanes.iter_mut().enumerate().take(Self::LANES) {
                    *lane = (*p.add(2 * at + odd)).value();
                }
                Self::load(lanes.as_ptr())
            }
        })
    }

    /// Rounds two vectors, interleaves them (the first vector's numbers go to even places, the second's to odd places), and stores the first
    /// `n` numbers, `n <= 2 * LANES`.
    ///
    /// # Safety
    /// The instructions of the type are there, and there is room for `n` numbers at the pointer.
    #[inline(always)]
    unsafe fn store_two_bf16(p: *mut Bf16, v: [Self::V; 2], n: usize) {
        for (odd, v) in v.into_iter().enumerate() {
            let mut lanes = [0.0; 16];
            // SAFETY: the array has room for the widest vector, and `n` numbers for the pointer; the type's instructions are there.
            unsafe {
                Self::store(lanes.as_mut_ptr(), v);
                for at in (odd..n).step_by(2) {
                    *p.add(at) = Bf16::round(lanes[at / 2]);
                }
            }
        }
    }

    /// Rounds two vectors as [`Simd::store_two_bf16`] does, and clips them to the range from 0 to `most`, which is positive. The bits of
    /// positive numbers are in the order of the numbers, and those of negative numbers are negative integers, so integers can be compared.
    ///
    /// # Safety
    /// Those of [`Simd::store_two_bf16`].
    #[inline(always)]
    unsafe fn store_two_rectified(p: *mut Bf16, v: [Self::V; 2], most: Bf16, n: usize) {
        // SAFETY: there is room for `n` numbers, which are written before they are read; the type's instructions are there.
        unsafe {
            Self::store_two_bf16(p, v, n);
            for at in 0..n {
                let bits = (*p.add(at)).to_bits().cast_signed();
                *p.add(at) = Bf16::from_bits(bits.clamp(0, most.to_bits().cast_signed()).cast_unsigned());
            }
        }
    }

    /// Writes 32 numbers of bf16: `run` numbers from each of these addresses, one run after the other, and then zeros.
    ///
    /// # Safety
    /// The instructions of the type are there; `run` numbers lie at each place, at most 32 in all, and there is room for 32 at the pointer.
    #[inline(always)]
    unsafe fn join_bf16(from: impl Iterator<Item = *const Bf16>, run: usize, to: *mut Bf16) {
        let mut all = [Bf16::default(); 32];
        let places = from.flat_map(|from| (0..run).map(move |at| from.wrapping_add(at)));
        for (to, from) in all.iter_mut().zip(places) {
            // SAFETY: `run` numbers lie at each place.
            *to = unsafe { *from };
        }
        // SAFETY: there is room for 32 numbers; unaligned is what they may be.
        unsafe { to.cast::<[Bf16; 32]>().write_unaligned(all) };
    }

    /// Interleaves the first halves of two vectors, and their second halves.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        let (mut from, mut to) = ([0.0; 32], [0.0; 32]);
        // SAFETY: the arrays have room for two of the widest vectors; the type's instructions are there.
        unsafe {
            Self::store(from.as_mut_ptr(), a);
            Self::store(from.as_mut_ptr().add(Self::LANES), b);
            for at in 0..Self::LANES {
                (to[2 * at], to[2 * at + 1]) = (from[at], from[Self::LANES + at]);
            }
            [Self::load(to.as_ptr()), Self::load(to.as_ptr().add(Self::LANES))]
        }
    }

    /// Loads the first `n` lanes, or all of them if they are fewer than `n`.
    ///
    /// # Safety
    /// The instructions of the type are there, and `n` values (or a vector of them) lie at the pointer.
    #[inline(always)]
    unsafe fn load_up_to(p: *const f32, n: usize) -> Self::V {
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the type's instructions are there.
        unsafe { if n >= Self::LANES { Self::load(p) } else { Self::load_first(p, n) } }
    }

    /// Stores the first `n` lanes, or all of them if they are fewer than `n`.
    ///
    /// # Safety
    /// The instructions of the type are there, and `n` values (or a vector of them) lie at the pointer.
    #[inline(always)]
    unsafe fn store_up_to(p: *mut f32, v: Self::V, n: usize) {
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the type's instructions are there.
        unsafe { if n >= Self::LANES { Self::store(p, v) } else { Self::store_first(p, v, n) } }
    }

    /// Loads the vector that begins at place `at` of a slice.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn from_slice(values: &[f32], at: usize) -> Self::V {
        let values = &values[at..at + Self::LANES];
        // SAFETY: the slice has been cut to as many values as a vector has; the type's instructions are there.
        unsafe { Self::load(values.as_ptr()) }
    }

    /// Stores a vector to place `at` of a slice and those after it.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn to_slice(values: &mut [f32], at: usize, v: Self::V) {
        let values = &mut values[at..at + Self::LANES];
        // SAFETY: the slice has been cut to as many values as a vector has; the type's instructions are there.
        unsafe { Self::store(values.as_mut_ptr(), v) }
    }

    /// The sum of the lanes, added up from the first to the last.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        let mut lanes = [0.0; 16];
        // SAFETY: there are as many values as the widest vector has lanes; the type's instructions are there.
        unsafe { Self::to_slice(&mut lanes, 0, v) };
        lanes.into_iter().sum()
    }

    /// `exp(x)` within two units in the last place for `x` from -87 to 88; a smaller or larger `x` counts as the nearer of these two.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn exp(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which is all that these functions require; there are no pointers.
        unsafe {
            let x = Self::max(Self::min(x, Self::splat(88.0)), Self::splat(-87.0));
            let n = Self::round(Self::mul(x, Self::splat(std::f32::consts::LOG2_E)));
            // ln 2 in two parts, the first with few bits, so that the difference is exact.
            let r = Self::fma(n, Self::splat(-0.693_359_4), x);
            let r = Self::fma(n, Self::splat(2.121_944_4e-4), r);
            let mut sum = Self::splat(1.0 / 5040.0);
            for term in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
                sum = Self::fma(sum, r, Self::splat(term));
            }
            Self::mul(sum, Self::exp2_whole(n))
        }
    }

    /// The probability that a standard normal variable exceeds `|x|`, and its density at `x` without the factor `1 / sqrt(2 pi)`.
    ///
    /// The tail is formula 7.1.26 of Abramowitz and Stegun's Handbook of Mathematical Functions (1964) for `erfc(|x| / sqrt(2)) / 2`, whose
    /// error is below 7.5e-8.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn normal_tail(x: Self::V) -> (Self::V, Self::V) {
        // SAFETY: the type's instructions are there, which is all that these functions require; there are no pointers.
        unsafe {
            let density = Self::exp(Self::mul(Self::mul(x, x), Self::splat(-0.5)));
            let size = Self::max(x, Self::mul(x, Self::splat(-1.0)));
            // 0.3275911 / sqrt(2)
            let t = Self::div(Self::splat(1.0), Self::fma(size, Self::splat(0.231_641_9), Self::splat(1.0)));
            let mut sum = Self::splat(1.061_405_4 / 2.0);
            for term in [-1.453_152 / 2.0, 1.421_413_7 / 2.0, -0.284_496_74 / 2.0, 0.254_829_6 / 2.0] {
                sum = Self::fma(sum, t, Self::splat(term));
            }
            (Self::mul(Self::mul(sum, t), density), density)
        }
    }

    /// GELU: `x * (1 - tail)` where `x` is positive, and `x * tail` elsewhere.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn gelu(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which is all that these functions require; there are no pointers.
        unsafe {
            let (tail, _) = Self::normal_tail(x);
            let zero = Self::splat(0.0);
            let below = Self::min(x, Self::mul(x, Self::splat(-1.0)));
            Self::fma(below, tail, Self::max(x, zero))
        }
    }

    /// The derivative of [`Simd::gelu`]: the distribution function plus `x` times the density.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn gelu_slope(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which is all that these functions require; there are no pointers.
        unsafe {
            let (tail, density) = Self::normal_tail(x);
            // 1 - tail where x is positive, tail elsewhere: the sign comes from x / |x|, and at 0 both are 1/2.
            let huge = Self::mul(x, Self::splat(1e30));
            let sign = Self::max(Self::min(huge, Self::splat(1.0)), Self::splat(-1.0));
            let half = Self::splat(0.5);
            let below = Self::fma(sign, Self::sub(half, tail), half);
            // 1 / sqrt(2 pi)
            Self::fma(Self::mul(x, density), Self::splat(0.398_942_3), below)
        }
    }

    /// `1 / (1 + exp(-x))`.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn sigmoid(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which is all that these functions require; there are no pointers.
        unsafe { Self::div(Self::splat(1.0), Self::add(Self::splat(1.0), Self::exp(Self::mul(x, Self::splat(-1.0))))) }
    }

    /// The approximation of GELU by a hyperbolic tangent, which equals `x * sigmoid(2 u)` with `u = sqrt(2 / pi) * (x + 0.044715 x^3)`.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn gelu_tanh(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which is all that these functions require; there are no pointers.
        unsafe {
            let square = Self::mul(x, x);
            let double = Self::fma(square, Self::splat(0.071_354_814), Self::splat(1.595_769_2));
            Self::mul(x, Self::sigmoid(Self::mul(x, double)))
        }
    }

    /// The derivative of [`Simd::gelu_tanh`].
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn gelu_tanh_slope(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which is all that these functions require; there are no pointers.
        unsafe {
            let (square, one) = (Self::mul(x, x), Self::splat(1.0));
            let double = Self::fma(square, Self::splat(0.071_354_814), Self::splat(1.595_769_2));
            let share = Self::sigmoid(Self::mul(x, double));
            let slope = Self::fma(square, Self::splat(3.0 * 0.071_354_814), Self::splat(1.595_769_2));
            let rest = Self::mul(Self::mul(x, slope), Self::sub(one, share));
            Self::fma(share, rest, share)
        }
    }
}

/// The number of the first-level cache in the processor's prefetch instruction, for [`prefetch`].
pub(crate) const FIRST_CACHE: i32 = 3;
/// The number of the second-level cache.
pub(crate) const SECOND_CACHE: i32 = 2;

/// Asks the processor to load the cache line at this address into a cache, [`FIRST_CACHE`] or [`SECOND_CACHE`].
#[inline(always)]
pub(crate) fn prefetch<const CACHE: i32>(p: *const f32) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every 64-bit x86 has the instruction, and it accesses no memory, so that any address is allowed.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<CACHE>(p.cast());
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = p;
}

/// `a * b + c`, rounded once if `FUSED`.
#[inline(always)]
pub(crate) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Where the target has no such instruction, `mul_add` is a call for each value.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `x` within limits; NaN stays NaN.
#[inline(always)]
pub(crate) fn limit(x: f32, (least, most): (f32, f32)) -> f32 {
    if x < least {
        least
    } else if x > most {
        most
    } else {
        x
    }
}

/// Whether every machine of this target multiplies and adds in one instruction.
pub(crate) const PLAIN_FUSED: bool = cfg!(target_arch = "aarch64");
