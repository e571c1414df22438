//! The number formats in which values are stored between the steps of a program. Arithmetic is in `f32` with each of them.

use crate::bf16::Bf16;
use crate::simd::Simd;

/// A format in which values are stored: vectors of it are loaded as `f32`, and rounded when they are stored. If all bits are zero, the
/// number is 0.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// The nearest number of the format.
    fn of(x: f32) -> Self;

    /// The number as `f32`.
    fn get(self) -> f32;

    /// Loads a vector.
    ///
    /// # Safety
    /// The instructions of `S` are there, and a vector of values lies at the pointer.
    unsafe fn load<S: Simd>(p: *const Self) -> S::V;

    /// Loads `N` vectors of consecutive values in the format's own order: `f32` has `N = 1`, and bf16 has `N = 2`, a vector of the
    /// values at even places and one of those at odd places.
    ///
    /// # Safety
    /// The instructions of `S` are there, and `N` vectors of values lie at the pointer.
    unsafe fn load_all<S: Simd, const N: usize>(p: *const Self) -> [S::V; N];

    /// Stores the first `n` values of vectors in the order of [`Element::load_all`], or all of them if they are fewer than `n`.
    ///
    /// # Safety
    /// The instructions of `S` are there, and `n` values (or `N` vectors of them) lie at the pointer.
    unsafe fn store_all<S: Simd, const N: usize>(p: *mut Self, v: [S::V; N], n: usize);

    /// Whether [`Element::store_limited`] accepts these limits.
    fn limits(low: f32, high: f32) -> bool;

    /// Clips values to `limits`, and stores them as [`Element::store_all`] does.
    ///
    /// # Safety
    /// Those of [`Element::store_all`].
    unsafe fn store_limited<S: Simd, const N: usize>(p: *mut Self, v: [S::V; N], limits: (f32, f32), n: usize);

    /// Loads the first `n` lanes, or all of them if they are fewer than `n`; the other lanes are zeros.
    ///
    /// # Safety
    /// The instructions of `S` are there, and `n` values (or a vector of them) lie at the pointer.
    unsafe fn load_up_to<S: Simd>(p: *const Self, n: usize) -> S::V;

    /// Stores the first `n` lanes, or all of them if they are fewer than `n`.
    ///
    /// # Safety
    /// The instructions of `S` are there, and `n` values (or a vector of them) lie at the pointer.
    unsafe fn store_up_to<S: Simd>(p: *mut Self, v: S::V, n: usize);
}

impl Element for f32 {
    #[inline(always)]
    fn of(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn get(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: a vector lies at the pointer; the instructions of `S` are there.
        unsafe { S::load(p) }
    }

    #[inline(always)]
    unsafe fn load_all<S: Simd, const N: usize>(p: *const Self) -> [S::V; N] {
        const { assert!(N == 1) };
        // SAFETY: a vector lies at the pointer; the instructions of `S` are there.
        unsafe { [S::load(p); N] }
    }

    #[inline(always)]
    unsafe fn store_all<S: Simd, const N: usize>(p: *mut Self, v: [S::V; N], n: usize) {
        const { assert!(N == 1) };
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the instructions of `S` are there.
        unsafe { S::store_up_to(p, v[0], n) }
    }

    #[inline(always)]
    fn limits(_: f32, _: f32) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn store_limited<S: Simd, const N: usize>(p: *mut Self, v: [S::V; N], (low, high): (f32, f32), n: usize) {
        const { assert!(N == 1) };
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the instructions of `S` are there.
        unsafe { S::store_up_to(p, S::min(S::max(v[0], S::splat(low)), S::splat(high)), n) }
    }

    #[inline(always)]
    unsafe fn load_up_to<S: Simd>(p: *const Self, n: usize) -> S::V {
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the instructions of `S` are there.
        unsafe { S::load_up_to(p, n) }
    }

    #[inline(always)]
    unsafe fn store_up_to<S: Simd>(p: *mut Self, v: S::V, n: usize) {
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the instructions of `S` are there.
        unsafe { S::store_up_to(p, v, n) }
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn of(x: f32) -> Self {
        Self::round(x)
    }

    #[inline(always)]
    fn get(self) -> f32 {
        self.value()
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: a vector lies at the pointer; the instructions of `S` are there.
        unsafe { S::load_bf16(p) }
    }

    #[inline(always)]
    unsafe fn load_all<S: Simd, const N: usize>(p: *const Self) -> [S::V; N] {
        const { assert!(N == 2) };
        // SAFETY: two vectors lie at the pointer; the instructions of `S` are there.
        let both = unsafe { S::load_two_bf16(p) };
        let mut all = [both[0]; N];
        all[1] = both[1];
        all
    }

    #[inline(always)]
    unsafe fn store_all<S: Simd, const N: usize>(p: *mut Self, v: [S::V; N], n: usize) {
        const { assert!(N == 2) };
        // SAFETY: `n` values, or two whole vectors of them, lie at the pointer; the instructions of `S` are there.
        unsafe { S::store_two_bf16(p, [v[0], v[1]], n.min(2 * S::LANES)) }
    }

    #[inline(always)]
    fn limits(low: f32, high: f32) -> bool {
        low == 0.0 && high > 0.0 && Self::round(high).value() == high
    }

    #[inline(always)]
    unsafe fn store_limited<S: Simd, const N: usize>(p: *mut Self, v: [S::V; N], (_, high): (f32, f32), n: usize) {
        const { assert!(N == 2) };
        // SAFETY: `n` values, or two whole vectors of them, lie at the pointer; the instructions of `S` are there.
        unsafe { S::store_two_rectified(p, [v[0], v[1]], Self::round(high), n.min(2 * S::LANES)) }
    }

    #[inline(always)]
    unsafe fn load_up_to<S: Simd>(p: *const Self, n: usize) -> S::V {
        if n >= S::LANES {
            // SAFETY: a whole vector lies at the pointer; the instructions of `S` are there.
            return unsafe { S::load_bf16(p) };
        }
        let mut lanes = [Self::default(); 16];
        // SAFETY: `n` values lie at the pointer, and the array has room for a vector of any kind; the instructions of `S` are there.
        unsafe {
            for (at, lane) in lanes.iter_mut().enumerate().take(n) {
                *lane = *p.add(at);
            }
            S::load_bf16(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store_up_to<S: Simd>(p: *mut Self, v: S::V, n: usize) {
        // SAFETY: `n` values, or a whole vector of them, lie at the pointer; the instructions of `S` are there.
        unsafe { S::store_bf16(p, v, n.min(S::LANES)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::{per_isa, wide_or_portable};

    struct Copy<'a> {
        from: &'a [f32],
        to: &'a mut [Bf16],
        back: &'a mut [f32],
    }

    per_isa! {
        /// Rounds vectors and loads them again.
        copy = copy_kernel(std::cell::RefCell<Copy<'_>>)
    }

    #[inline(always)]
    unsafe fn copy_kernel<S: Simd>(job: &std::cell::RefCell<Copy<'_>>) {
        let Copy { from, to, back } = &mut *job.borrow_mut();
        for at in (0..from.len()).step_by(S::LANES) {
            let count = from.len() - at;
            // SAFETY: all three have `count` values from here on, of which no more are touched; the instructions of `S` are there.
            unsafe {
                Bf16::store_up_to::<S>(
                    to.as_mut_ptr().add(at),
                    f32::load_up_to::<S>(from.as_ptr().add(at), count),
                    count,
                );
                let loaded = Bf16::load_up_to::<S>(to.as_ptr().add(at), count);
                f32::store_up_to::<S>(back.as_mut_ptr().add(at), loaded, count);
            }
        }
    }

    wide_or_portable! {
        /// Rounds two vectors at once, even and odd places, and loads them again.
        copy_two = copy_two_kernel::<S, Bf16>(std::cell::RefCell<Copy<'_>>)
    }

    #[inline(always)]
    unsafe fn copy_two_kernel<S: Simd, T: Element>(job: &std::cell::RefCell<Copy<'_>>) {
        let Copy { from, to, back } = &mut *job.borrow_mut();
        for at in (0..from.len()).step_by(2 * S::LANES) {
            let count = (from.len() - at).min(2 * S::LANES);
            let (mut even, mut odd, mut both) = ([0.0; 16], [0.0; 16], [Bf16::default(); 32]);
            for (place, value) in from[at..at + count].iter().enumerate() {
                [&mut even, &mut odd][place % 2][place / 2] = *value;
            }
            // SAFETY: `to` has `count` values from here on, the arrays two vectors of any kind; the instructions of `S` are there.
            unsafe {
                let values = [S::load(even.as_ptr()), S::load(odd.as_ptr())];
                S::store_two_bf16(to.as_mut_ptr().add(at), values, count);
                both[..count].copy_from_slice(&to[at..at + count]);
                let [first, second] = S::load_two_bf16(both.as_ptr());
                S::store(even.as_mut_ptr(), first);
                S::store(odd.as_mut_ptr(), second);
            }
            for (place, value) in back[at..at + count].iter_mut().enumerate() {
                *value = [even, odd][place % 2][place / 2];
            }
        }
    }

    #[test]
    fn vectors_round_as_single_numbers_do() {
        let special = [f32::NAN, f32::INFINITY, -0.0, f32::MAX, f32::MIN_POSITIVE / 4.0, 1.003_906_3, 1.011_718_8];
        let value = |at: u32| f32::from_bits(at.wrapping_mul(2_654_435_761));
        for isa in Isa::available() {
            for (count, two) in
                [1, 2, 15, 16, 37, 63, 200].into_iter().flat_map(|count| [(count, false), (count, true)])
            {
                let from: Vec<f32> = special.into_iter().chain((0..).map(value)).take(count).collect();
                let (mut to, mut back) = (vec![Bf16::default(); count], vec![0.0; count]);
                let job = std::cell::RefCell::new(Copy { from: &from, to: &mut to, back: &mut back });
                let isa = isa.present().expect("it is available");
                // SAFETY: the slices are equally long.
                unsafe { if two { copy_two(isa, &job) } else { copy(isa, &job) } };
                for ((from, to), back) in from.iter().zip(&to).zip(&back) {
                    assert_eq!(*to, Bf16::round(*from), "{isa:?}: {from}");
                    let specified = injerto_reference::bf16(f64::from(*from));
                    assert!(specified.is_nan() || f64::from(to.value()) == specified, "{isa:?}: {from}");
                    assert!(back.is_nan() || back.to_bits() == to.value().to_bits(), "{isa:?}: {from}");
                }
            }
        }
    }
}
