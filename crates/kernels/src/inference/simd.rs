//! Vectors of `f32` under one name: AVX-512, AVX2 with FMA, and plain arrays.
//!
//! Kernels are generic over [`Simd`], inlined into functions that switch the instructions on ([`per_isa`]), and chosen by the
//! [`Isa`](crate::isa::Isa) of a program.

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

    /// Stores the first `n` lanes, all of them if there are not as many.
    ///
    /// # Safety
    /// As the trait's.
    #[inline(always)]
    unsafe fn store_up_to(p: *mut f32, v: Self::V, n: usize) {
        // SAFETY: the caller gives the values at the pointer, and the instructions.
        unsafe { if n >= Self::LANES { Self::store(p, v) } else { Self::store_first(p, v, n) } }
    }

    /// `exp(x)` within two units in the last place, from -87 to 88; beyond them the value there.
    ///
    /// # Safety
    /// As the trait's.
    #[inline(always)]
    unsafe fn exp(x: Self::V) -> Self::V {
        // SAFETY: the caller has the instructions; there are no pointers.
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
}

/// Asks for a line of the cache that is soon written.
#[inline(always)]
pub(crate) fn prefetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every 64-bit x86 has the instruction, and it reads and writes nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Arrays of 4.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn each(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

// SAFETY of all functions: the caller gives the values at the pointers; no instructions are needed.
impl Simd for Portable {
    const LANES: usize = 4;
    type V = [f32; 4];

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 4] {
        // SAFETY: the caller gives the values at the pointer, and the instructions.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: the caller gives the values at the pointer, and the instructions.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: [f32; 4], n: usize) {
        for (i, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: the caller gives `n` values at the pointer, and the instructions.
            unsafe { *p.add(i) = x };
        }
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // Where the target has no such instruction, `mul_add` is a call for each value.
        let f = |x: f32, y: f32, z: f32| if cfg!(target_arch = "aarch64") { x.mul_add(y, z) } else { x * y + z };
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
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// 16 lanes.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    /// 8 lanes with FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    /// Writes functions that are one intrinsic each.
    macro_rules! intrinsics {
        ($v:ty; $($name:ident($($arg:ident),*) = $intrinsic:expr;)*) => {
            $(#[inline(always)]
            unsafe fn $name($($arg: $v),*) -> $v {
                // SAFETY: the caller has the instructions.
                unsafe { $intrinsic }
            })*
        };
    }

    impl Simd for Avx512 {
        const LANES: usize = 16;
        type V = __m512;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the caller has the instructions.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            // SAFETY: the caller gives the values at the pointer, and the instructions.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            // SAFETY: the caller gives the values at the pointer, and the instructions.
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, v: __m512, n: usize) {
            // SAFETY: the caller gives `n` values at the pointer, and the instructions: masked lanes are not touched.
            unsafe { _mm512_mask_storeu_ps(p, ((1_u32 << n) - 1) as __mmask16, v) }
        }
        intrinsics! { __m512;
            fma(a, b, c) = _mm512_fmadd_ps(a, b, c);
            add(a, b) = _mm512_add_ps(a, b);
            sub(a, b) = _mm512_sub_ps(a, b);
            mul(a, b) = _mm512_mul_ps(a, b);
            div(a, b) = _mm512_div_ps(a, b);
            max(a, b) = _mm512_max_ps(a, b);
            min(a, b) = _mm512_min_ps(a, b);
            round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
            exp2_whole(a) = _mm512_scalef_ps(_mm512_set1_ps(1.0), a);
        }
    }

    impl Simd for Avx2 {
        const LANES: usize = 8;
        type V = __m256;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: the caller has the instructions.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            // SAFETY: the caller gives the values at the pointer, and the instructions.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            // SAFETY: the caller gives the values at the pointer, and the instructions.
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, v: __m256, n: usize) {
            // SAFETY: the caller gives `n` values at the pointer, and the instructions: masked lanes are not touched.
            unsafe {
                let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane), v);
            }
        }
        intrinsics! { __m256;
            fma(a, b, c) = _mm256_fmadd_ps(a, b, c);
            add(a, b) = _mm256_add_ps(a, b);
            sub(a, b) = _mm256_sub_ps(a, b);
            mul(a, b) = _mm256_mul_ps(a, b);
            div(a, b) = _mm256_div_ps(a, b);
            max(a, b) = _mm256_max_ps(a, b);
            min(a, b) = _mm256_min_ps(a, b);
            round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
            exp2_whole(a) = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
                _mm256_cvtps_epi32(a),
                _mm256_set1_epi32(127),
            )));
        }
    }
}

/// Makes `pub(crate) fn NAME(isa: Isa, job: &JOB)` out of a generic `unsafe fn KERNEL<S: Simd>(job: &JOB)`, which must be
/// `#[inline(always)]`.
///
/// # Safety
/// The instructions are this machine's, and the job has the memory that the kernel wants.
macro_rules! per_isa {
    ($(#[$doc:meta])* $name:ident = $kernel:ident($job:ty)) => {
        $(#[$doc])*
        pub(crate) unsafe fn $name(isa: $crate::isa::Isa, job: &$job) {
            use $crate::inference::simd;
            $crate::isa::dispatch!(isa, (job: &$job),
                "avx512f" => {
                    // SAFETY: this body is compiled for the instructions of its vectors; the caller's job has the memory.
                    unsafe { $kernel::<simd::Avx512>(job) }
                },
                avx2 => {
                    // SAFETY: this body is compiled for the instructions of its vectors; the caller's job has the memory.
                    unsafe { $kernel::<simd::Avx2>(job) }
                },
                portable => {
                    // SAFETY: no instructions are needed; the caller's job has the memory.
                    unsafe { $kernel::<simd::Portable>(job) }
                });
        }
    };
}
pub(crate) use per_isa;
