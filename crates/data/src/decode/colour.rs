//! From luma and chroma to red, green and blue (ITU-T T.871, section 7), in 14 fractional bits.

use super::avx2::Avx2;
use super::weights::{BITS, BLUE, GREEN, HALF, RED};

/// Pixels that are made at once where the processor can.
const AT_ONCE: usize = 16;

/// A pixel.
#[inline(always)]
fn pixel(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let luma = (i32::from(y) << BITS) + HALF;
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    let value = |sum: i32| (sum >> BITS).clamp(0, 255) as u8;
    [value(luma + cr * RED), value(luma + cr * GREEN[1] + cb * GREEN[0]), value(luma + cb * BLUE)]
}

/// Makes pixels of `y`, `cb` and `cr`, as far as each of the four goes.
#[inline(always)]
pub(super) fn row(avx2: Option<Avx2>, y: &[u8], cb: &[u8], cr: &[u8], pixels: &mut [[u8; 3]]) {
    let at_once = avx2.map_or(0, |_| pixels.len().min(y.len()).min(cb.len()).min(cr.len()) / AT_ONCE);
    if let Some(avx2) = avx2 {
        let planes = [y, cb, cr].map(|plane| plane.as_chunks::<AT_ONCE>().0);
        let to = pixels.as_flattened_mut().as_chunks_mut::<{ AT_ONCE * 3 }>().0;
        for (((to, y), cb), cr) in to.iter_mut().zip(planes[0]).zip(planes[1]).zip(planes[2]) {
            *to = avx2.colours(y, cb, cr);
        }
    }
    let from = at_once * AT_ONCE;
    let rest = y[from..].iter().zip(&cb[from..]).zip(&cr[from..]);
    pixels[from..].iter_mut().zip(rest).for_each(|(to, ((&y, &cb), &cr))| *to = pixel(y, cb, cr));
}
