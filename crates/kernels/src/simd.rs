//! Vectors of `f32` under one name: AVX-512, AVX2 with FMA, and plain arrays; and loops that the compiler turns into vectors.
//!
//! Kernels are either generic over [`Simd`] and made into functions for each instruction set by [`per_isa`], or are loops over
//! slices and made by [`vectorised`]. Both are chosen by the proof that the machine has the instructions ([`Present`] and
//! [`ForLoops`]).
//!
//! [`Present`]: crate::isa::Present
//! [`ForLoops`]: crate::isa::ForLoops

use crate::element::Bf16;

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
    /// To the nearest whole number.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2 to a whole number from -126 to 127.
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

    /// Loads `2 * LANES` numbers of bf16: those at even places, and those at odd ones. Both lie in the same 32 bits, so that one load and an
    /// operation each are all that it takes.
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

    /// Rounds two vectors, whose numbers belong at even places and at odd ones, and stores the first `n` numbers, `n <= 2 * LANES`.
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

    /// Rounds two vectors as [`Simd::store_two_bf16`] does, and stores what is negative as zero and what is greater than `most` as `most`,
    /// which is positive. The bits of positive numbers are ordered as the numbers are, and those of negative ones are negative as whole numbers.
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

    /// Writes 32 numbers of bf16: `run` from each of these places, one after the other, and zeros after them.
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

    /// Loads the first `n` lanes, all of them if there are not as many.
    ///
    /// # Safety
    /// The instructions of the type are there, and `n` values (or a vector of them) lie at the pointer.
    #[inline(always)]
    unsafe fn load_up_to(p: *const f32, n: usize) -> Self::V {
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the type's instructions are there.
        unsafe { if n >= Self::LANES { Self::load(p) } else { Self::load_first(p, n) } }
    }

    /// Stores the first `n` lanes, all of them if there are not as many.
    ///
    /// # Safety
    /// The instructions of the type are there, and `n` values (or a vector of them) lie at the pointer.
    #[inline(always)]
    unsafe fn store_up_to(p: *mut f32, v: Self::V, n: usize) {
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the type's instructions are there.
        unsafe { if n >= Self::LANES { Self::store(p, v) } else { Self::store_first(p, v, n) } }
    }

    /// Loads a vector of a slice.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn from_slice(values: &[f32], at: usize) -> Self::V {
        let values = &values[at..at + Self::LANES];
        // SAFETY: the slice has been cut to as many values as a vector has; the type's instructions are there.
        unsafe { Self::load(values.as_ptr()) }
    }

    /// Stores a vector into a slice.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn to_slice(values: &mut [f32], at: usize, v: Self::V) {
        let values = &mut values[at..at + Self::LANES];
        // SAFETY: the slice has been cut to as many values as a vector has; the type's instructions are there.
        unsafe { Self::store(values.as_mut_ptr(), v) }
    }

    /// The sum of the lanes, the first one first.
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

    /// `exp(x)` within two units in the last place, from -87 to 88; beyond them the value there.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn exp(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which all these functions want; there are no pointers.
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

    /// The upper tail of the standard normal distribution from `|x|` on, and its density at `x` without the factor `1 / sqrt(2 pi)`.
    ///
    /// The tail is formula 7.1.26 of Abramowitz and Stegun's Handbook of Mathematical Functions (1964) for `erfc(|x| / sqrt(2)) / 2`, whose
    /// error is below 7.5e-8.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn normal_tail(x: Self::V) -> (Self::V, Self::V) {
        // SAFETY: the type's instructions are there, which all these functions want; there are no pointers.
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

    /// GELU: `x * (1 - tail)` where x is positive, and `x * tail` elsewhere.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn gelu(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which all these functions want; there are no pointers.
        unsafe {
            let (tail, _) = Self::normal_tail(x);
            let zero = Self::splat(0.0);
            let below = Self::min(x, Self::mul(x, Self::splat(-1.0)));
            Self::fma(below, tail, Self::max(x, zero))
        }
    }

    /// The slope of [`Simd::gelu`]: the distribution function plus `x` times the density.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn gelu_slope(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which all these functions want; there are no pointers.
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
        // SAFETY: the type's instructions are there, which all these functions want; there are no pointers.
        unsafe { Self::div(Self::splat(1.0), Self::add(Self::splat(1.0), Self::exp(Self::mul(x, Self::splat(-1.0))))) }
    }

    /// GELU by a hyperbolic tangent, which is `x * sigmoid(2 u)` with `u = sqrt(2 / pi) * (x + 0.044715 x^3)`.
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn gelu_tanh(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which all these functions want; there are no pointers.
        unsafe {
            let square = Self::mul(x, x);
            let double = Self::fma(square, Self::splat(0.071_354_814), Self::splat(1.595_769_2));
            Self::mul(x, Self::sigmoid(Self::mul(x, double)))
        }
    }

    /// The slope of [`Simd::gelu_tanh`].
    ///
    /// # Safety
    /// The instructions of the type are there.
    #[inline(always)]
    unsafe fn gelu_tanh_slope(x: Self::V) -> Self::V {
        // SAFETY: the type's instructions are there, which all these functions want; there are no pointers.
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

/// The first cache, for [`prefetch`], as the processor's instruction numbers them.
pub(crate) const FIRST_CACHE: i32 = 3;
/// The second cache.
pub(crate) const SECOND_CACHE: i32 = 2;

/// Asks for the line of these values in a cache, [`FIRST_CACHE`] or [`SECOND_CACHE`].
#[inline(always)]
pub(crate) fn prefetch<const CACHE: i32>(p: *const f32) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every 64-bit x86 has the instruction, and it reads and writes nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<CACHE>(p.cast());
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = p;
}

/// Arrays of 4.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn each(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Simd for Portable {
    const LANES: usize = 4;
    type V = [f32; 4];

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 4] {
        // SAFETY: `LANES` values lie at the pointer; unaligned is what it may be.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: `LANES` values lie at the pointer; unaligned is what it may be.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> [f32; 4] {
        // SAFETY: `n` values lie at the pointer, and no lane from there on is read.
        std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: [f32; 4], n: usize) {
        for (i, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: `n` values lie at the pointer, and `i` is less.
            unsafe { *p.add(i) = x };
        }
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        let f = fma::<PLAIN_FUSED>;
        [f(a[0], b[0], c[0]), f(a[1], b[1], c[1]), f(a[2], b[2], c[2]), f(a[3], b[3], c[3])]
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| x / y)
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    unsafe fn round(a: [f32; 4]) -> [f32; 4] {
        a.map(|x| x.round_ties_even())
    }
    #[inline(always)]
    unsafe fn exp2_whole(a: [f32; 4]) -> [f32; 4] {
        a.map(|x| f32::from_bits(((x as i32 + 127) as u32) << 23))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, Avx512Bf16};

#[cfg(target_arch = "x86_64")]
mod x86;

/// Makes `unsafe fn NAME(isa: Present, job: &JOB)` out of a generic `unsafe fn KERNEL<S: Simd>(job: &JOB)`, or of one with a number
/// format as its second type (`KERNEL::<S, f32>`), which must be `#[inline(always)]`.
///
/// # Safety
/// The job has the memory that the kernel wants.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis $name:ident = $kernel:ident$(::<S, $element:ty>)?($job:ty)) => {
        $(#[$doc])*
        $vis unsafe fn $name(isa: $crate::isa::Present, job: &$job) {
            use $crate::simd;
            $crate::isa::dispatch!(isa.isa(), (job: &$job),
                "avx512f" => {
                    // SAFETY: this body is compiled for the instructions of its vectors; the job has the memory.
                    unsafe { $kernel::<simd::Avx512 $(, $element)?>(job) }
                },
                avx2 => {
                    // SAFETY: this body is compiled for the instructions of its vectors; the job has the memory.
                    unsafe { $kernel::<simd::Avx2 $(, $element)?>(job) }
                },
                portable => {
                    // SAFETY: arrays need no instructions; the job has the memory.
                    unsafe { $kernel::<simd::Portable $(, $element)?>(job) }
                });
        }
    };
}
pub(crate) use per_isa;

/// Makes `unsafe fn NAME(isa: Present, job: &JOB)` as [`per_isa`] does, for jobs on values in bf16: vectors with the processor's own
/// rounding, or arrays. Where there is no AVX-512 with bf16 there is no unit that multiplies it either, and arrays serve whoever emulates one.
///
/// # Safety
/// The job has the memory that the kernel wants.
macro_rules! wide_or_portable {
    ($(#[$doc:meta])* $vis:vis $name:ident = $kernel:ident::<S, Bf16>($job:ty)) => {
        $(#[$doc])*
        $vis unsafe fn $name(isa: $crate::isa::Present, job: &$job) {
            use $crate::simd;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
            unsafe fn wide(job: &$job) {
                // SAFETY: this body is compiled for the instructions of its vectors; the job has the memory.
                unsafe { $kernel::<simd::Avx512Bf16, $crate::element::Bf16>(job) }
            }
            #[cfg(target_arch = "x86_64")]
            if isa.has_bf16() {
                // SAFETY: the machine has these instructions; the job has the memory.
                return unsafe { wide(job) };
            }
            let _ = isa;
            // SAFETY: arrays need no instructions; the job has the memory.
            unsafe { $kernel::<simd::Portable, $crate::element::Bf16>(job) }
        }
    };
}
pub(crate) use wide_or_portable;

/// `a * b + c`, rounded once where `FUSED`.
#[inline(always)]
pub(crate) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Where the target has no such instruction, `mul_add` is a call for each value.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `x` within limits; what is not a number stays so.
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

/// Whether this target multiplies and adds in one instruction without more being asked for.
pub(crate) const PLAIN_FUSED: bool = cfg!(target_arch = "aarch64");

/// Defines a function whose body is compiled for every instruction set and chosen by its first argument, a
/// [`ForLoops`](crate::isa::ForLoops). The body is an inlined function over slices: a safe one with a constant `FUSED`, for
/// [`fma`], or (`body::<S>`) one over vectors that is unsafe because it wants their instructions, and for nothing else. `body::<S, Bf16>` is
/// compiled for the processor's own rounding too.
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident::<S, Bf16>) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::ForLoops, $($arg: $ty),*) {
            use $crate::simd;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn rounding($($arg: $ty),*) {
                // SAFETY: this function is compiled for the instructions of the vectors, and the body wants no more.
                unsafe { $body::<simd::Avx512Bf16>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            if isa.vectors().has_bf16() {
                // SAFETY: the machine has these instructions: `ForLoops` stands for all but the last, which has been asked for.
                return unsafe { rounding($($arg),*) };
            }
            $crate::simd::vectorised! { fn other($($arg: $ty),*) => $body::<S> }
            other(isa, $($arg),*);
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident::<S>) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::ForLoops, $($arg: $ty),*) {
            use $crate::simd;
            $crate::isa::dispatch!(isa.isa(), ($($arg: $ty),*),
                "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma" => {
                    // SAFETY: this function is compiled for the instructions of the vectors, and the body wants no more.
                    unsafe { $body::<simd::Avx512>($($arg),*) }
                },
                avx2 => {
                    // SAFETY: this function is compiled for the instructions of the vectors, and the body wants no more.
                    unsafe { $body::<simd::Avx2>($($arg),*) }
                },
                portable => {
                    // SAFETY: arrays need no instructions, and the body wants no more.
                    unsafe { $body::<simd::Portable>($($arg),*) }
                });
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) => $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::ForLoops, $($arg: $ty),*) {
            $crate::isa::dispatch!(isa.isa(), ($($arg: $ty),*),
                "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma" => $body::<true>($($arg),*),
                avx2 => $body::<true>($($arg),*),
                portable => $body::<{ $crate::simd::PLAIN_FUSED }>($($arg),*));
        }
    };
}
pub(crate) use vectorised;
