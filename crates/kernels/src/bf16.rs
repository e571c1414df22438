//! The number format bf16, half as wide as `f32`.

/// A number in bf16 (brain floating point): the sign, the 8 bits of exponent and the first 7 bits of fraction of an `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    pub(crate) const ZERO: Self = Self(0);

    /// The nearest number to `x`; of two that are equally near, the one whose last bit is 0. A value that is too large becomes infinite, and
    /// NaN stays NaN. A subnormal `f32` becomes zero, as it does when processors round to this format.
    #[inline(always)]
    pub fn round(x: f32) -> Self {
        let bits = x.to_bits();
        if bits & 0x7f80_0000 == 0 {
            return Self((bits >> 16) as u16 & 0x8000);
        }
        if x.is_nan() {
            // The first bit of the fraction is set: if all other bits of a NaN's payload were cut off, it would become infinite.
            return Self((bits >> 16) as u16 | 0x40);
        }
        Self(((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    }

    /// The number as `f32`, which has room for all of it.
    #[inline(always)]
    pub fn value(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// Its bits.
    #[inline(always)]
    pub fn to_bits(self) -> u16 {
        self.0
    }

    /// The number with these bits.
    #[inline(always)]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

/// Memory for values of `f32` as memory for twice as many numbers of bf16.
pub(crate) fn as_halves(slots: &mut [f32]) -> &mut [Bf16] {
    // SAFETY: a `Bf16` takes half of the bytes of an `f32` and needs less alignment; every pattern of bits is a valid value of both types, and
    // the new slice borrows the old one.
    unsafe { std::slice::from_raw_parts_mut(slots.as_mut_ptr().cast(), 2 * slots.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_takes_the_nearest_and_of_two_the_even_one() {
        let round = |bits: u32| Bf16::round(f32::from_bits(bits)).to_bits();
        assert_eq!(round(0x3f80_0000), 0x3f80);
        assert_eq!(round(0x3f80_7fff), 0x3f80, "below the middle");
        assert_eq!(round(0x3f80_8000), 0x3f80, "the middle, and the lower one is even");
        assert_eq!(round(0x3f81_8000), 0x3f82, "the middle, and the upper one is even");
        assert_eq!(round(0xbf80_8001), 0xbf81, "above the middle");
        assert_eq!(round(0x7f7f_ffff), 0x7f80, "too large a number is infinite");
        assert_eq!(round(0xff80_0000), 0xff80);
        assert_eq!(round(0x0080_0000), 0x0080, "the smallest number with a whole fraction is not lost");
        assert_eq!(round(0x807f_ffff), 0x8000, "below it there is only zero");
        for nan in [0x7f80_0001, 0x7fc0_0000, 0xffff_ffff] {
            assert!(Bf16::round(f32::from_bits(nan)).value().is_nan());
        }
        for bits in (0..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 }) {
            let number = Bf16::from_bits(bits);
            let none = number.value().is_nan() || number.value().is_subnormal();
            assert!(none || Bf16::round(number.value()) == number, "{bits:#x}");
        }
    }
}
