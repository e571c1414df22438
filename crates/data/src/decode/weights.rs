//! The weights from luma and chroma to red, green and blue (ITU-T T.871, section 7), in 14 fractional bits.

/// Fractional bits of the weights.
pub(super) const BITS: u32 = 14;

/// What is added before they are dropped.
pub(super) const HALF: i32 = (1 << (BITS - 1)) - 1;

/// Weight of Cr in red.
pub(super) const RED: i32 = 22_970;
/// Weights of Cb and Cr in green.
pub(super) const GREEN: [i32; 2] = [-5_638, -11_700];
/// Weight of Cb in blue.
pub(super) const BLUE: i32 = 29_032;
