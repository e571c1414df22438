//! Vectors of x86: AVX-512, with and without instructions for bf16, and AVX2 with FMA.

use std::arch::x86_64::*;

use super::Simd;
use crate::bf16::Bf16;

/// 16 lanes, with or without instructions that round to bf16.
#[derive(Clone, Copy)]
pub(crate) struct Sixteen<const ROUNDS: bool>;

/// 16 lanes.
pub(crate) type Avx512 = Sixteen<false>;

/// 16 lanes, and instructions for bf16, bytes and words.
pub(crate) type Avx512Bf16 = Sixteen<true>;

/// 8 lanes with FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Defines functions that call one intrinsic each.
macro_rules! intrinsics {
    ($v:ty; $($name:ident($($arg:ident),*) = $intrinsic:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($arg: $v),*) -> $v {
            // SAFETY: the type's instructions are there, which is all that the intrinsic requires.
            unsafe { $intrinsic }
        })*
    };
}

/// The bits of a pair of bf16 that hold the number at the odd place.
const UPPER: i32 = 0xffff_0000_u32 as i32;

/// For each of 32 interleaved numbers, its place in a vector that holds the 16 even ones first and then the 16 odd ones.
static ZIPPED: [u16; 32] = {
    let mut places = [0; 32];
    let mut at = 0;
    while at < 32 {
        places[at] = (at % 2 * 16 + at / 2) as u16;
        at += 1;
    }
    places
};

/// Rounds to bf16 as [`Bf16::round`] does. The results are in the upper halves of the 32-bit lanes; the lower halves are arbitrary.
///
/// # Safety
/// The instructions of AVX-512 are there.
#[inline(always)]
unsafe fn near(v: __m512) -> __m512i {
    // SAFETY: the instructions are there, which is all that the intrinsics require.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let near = _mm512_add_epi32(bits, _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff)));
        let none = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let near = _mm512_mask_or_epi32(near, none, bits, _mm512_set1_epi32(0x40_0000));
        // Of zeros and subnormals, only the sign is left.
        let small = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f80_0000));
        _mm512_mask_and_epi32(near, small, bits, _mm512_set1_epi32(i32::MIN))
    }
}

/// Rounds two vectors and interleaves them to 32 numbers of bf16.
///
/// # Safety
/// The instructions of [`Sixteen`] are there.
#[inline(always)]
unsafe fn pair<const ROUNDS: bool>([even, odd]: [__m512; 2]) -> __m512i {
    // SAFETY: the instructions are there, and 32 places lie at the address.
    unsafe {
        if ROUNDS {
            // The instruction puts the even numbers before the odd ones; the permutation interleaves them.
            let halves = _mm512_cvtne2ps_pbh(odd, even);
            let places = _mm512_loadu_si512((&raw const ZIPPED).cast());
            return _mm512_permutexvar_epi16(places, std::mem::transmute::<__m512bh, __m512i>(halves));
        }
        let upper = _mm512_and_si512(near(odd), _mm512_set1_epi32(UPPER));
        _mm512_or_si512(_mm512_srli_epi32::<16>(near(even)), upper)
    }
}

/// Stores the first `n` of 32 numbers.
///
/// # Safety
/// The instructions of AVX-512 are there, and there is room for `n` numbers at the pointer.
#[inline(always)]
unsafe fn store_halves(p: *mut Bf16, all: __m512i, n: usize) {
    // SAFETY: there is room for what is stored; the instructions are there.
    unsafe {
        if n >= 32 {
            return _mm512_storeu_si512(p.cast(), all);
        }
        _mm512_mask_storeu_epi32(p.cast(), ((1_u32 << (n / 2)) - 1) as __mmask16, all);
        if n % 2 == 1 {
            let mut pairs = [0_u32; 16];
            _mm512_storeu_si512(pairs.as_mut_ptr().cast(), all);
            *p.add(n - 1) = Bf16::from_bits(pairs[n / 2] as u16);
        }
    }
}

impl<const ROUNDS: bool> Simd for Sixteen<ROUNDS> {
    const LANES: usize = 16;
    type V = __m512;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: the type's instructions are there.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: `LANES` values lie at the pointer; the type's instructions are there.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        // SAFETY: `LANES` values lie at the pointer; the type's instructions are there.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> __m512 {
        // SAFETY: `n` values lie at the pointer, and lanes that are masked out are not touched; the type's instructions are there.
        unsafe { _mm512_maskz_loadu_ps(((1_u32 << n) - 1) as __mmask16, p) }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: __m512, n: usize) {
        // SAFETY: `n` values lie at the pointer, and lanes that are masked out are not touched; the type's instructions are there.
        unsafe { _mm512_mask_storeu_ps(p, ((1_u32 << n) - 1) as __mmask16, v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const Bf16) -> __m512 {
        // SAFETY: `LANES` numbers lie at the pointer; the type's instructions are there.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut Bf16, v: __m512, n: usize) {
        // SAFETY: there is room for `n` numbers at the pointer, and lanes that are masked out are not touched; the type's instructions
        // are there.
        unsafe {
            if ROUNDS && n >= 16 {
                let halves: __m256bh = _mm512_cvtneps_pbh(v);
                return _mm256_storeu_si256(p.cast(), std::mem::transmute::<__m256bh, __m256i>(halves));
            }
            let halves = _mm512_srli_epi32::<16>(near(v));
            match n {
                16.. => _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(halves)),
                n => _mm512_mask_cvtepi32_storeu_epi16(p.cast(), ((1_u32 << n) - 1) as __mmask16, halves),
            }
        }
    }
    #[inline(always)]
    unsafe fn load_two_bf16(p: *const Bf16) -> [__m512; 2] {
        // SAFETY: `2 * LANES` numbers lie at the pointer; the type's instructions are there.
        unsafe {
            let both = _mm512_loadu_si512(p.cast());
            let odd = _mm512_and_si512(both, _mm512_set1_epi32(UPPER));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(both)), _mm512_castsi512_ps(odd)]
        }
    }
    #[inline(always)]
    unsafe fn store_two_bf16(p: *mut Bf16, v: [__m512; 2], n: usize) {
        // SAFETY: there is room for `n` numbers at the pointer; the type's instructions are there.
        unsafe { store_halves(p, pair::<ROUNDS>(v), n) }
    }
    #[inline(always)]
    unsafe fn store_two_rectified(p: *mut Bf16, v: [__m512; 2], most: Bf16, n: usize) {
        const { assert!(ROUNDS, "words are compared by instructions that come with those for bf16") };
        // SAFETY: there is room for `n` numbers at the pointer; the type's instructions are there.
        unsafe {
            let most = _mm512_set1_epi16(most.to_bits().cast_signed());
            let halves = _mm512_max_epi16(pair::<ROUNDS>(v), _mm512_setzero_si512());
            store_halves(p, _mm512_min_epi16(halves, most), n);
        }
    }
    #[inline(always)]
    unsafe fn join_bf16(from: impl Iterator<Item = *const Bf16>, run: usize, to: *mut Bf16) {
        const { assert!(ROUNDS, "words are masked by instructions that come with those for bf16") };
        // SAFETY: numbers that are masked out are not touched, and `run` of them lie at each place; there is room for 32 numbers; the
        // instructions for bytes and words are there where those for bf16 are.
        unsafe {
            let mut all = _mm512_setzero_si512();
            for (place, from) in from.enumerate() {
                let mask = ((1_u64 << run) - 1) << (place * run);
                // The address is shifted back so that the run is loaded into its own lanes.
                let from = from.wrapping_sub(place * run);
                all = _mm512_mask_loadu_epi16(all, mask as __mmask32, from.cast());
            }
            _mm512_storeu_si512(to.cast(), all);
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: __m512, b: __m512) -> [__m512; 2] {
        // SAFETY: the type's instructions are there.
        unsafe {
            let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
            [_mm512_permutex2var_ps(a, first, b), _mm512_permutex2var_ps(a, second, b)]
        }
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
        // SAFETY: the type's instructions are there.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        // SAFETY: `LANES` values lie at the pointer; the type's instructions are there.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        // SAFETY: `LANES` values lie at the pointer; the type's instructions are there.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> __m256 {
        // SAFETY: `n` values lie at the pointer, and lanes that are masked out are not touched; the type's instructions are there.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane))
        }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: __m256, n: usize) {
        // SAFETY: `n` values lie at the pointer, and lanes that are masked out are not touched; the type's instructions are there.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane), v);
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: __m256, b: __m256) -> [__m256; 2] {
        // SAFETY: the type's instructions are there.
        unsafe {
            // The instructions interleave each half of a vector by itself.
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
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
