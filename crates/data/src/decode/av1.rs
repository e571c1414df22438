//! The memory that decoding an AV1 picture takes, read from its headers before any of it is decoded.
//!
//! A decoder keeps up to eight frames for others to refer to, whether or not they are shown. An image needs one frame, or one per layer
//! (AVIF 1.1 knows four), so a picture of more frames is refused, and one of several pays for each. A frame may have other sides than the
//! picture as long as it has no more pixels, and its sides are rounded up to 128: a narrow one takes more memory than its pixels explain.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use re_rav1d::include::dav1d::headers::{
    DAV1D_PIXEL_LAYOUT_I400, DAV1D_PIXEL_LAYOUT_I420, DAV1D_PIXEL_LAYOUT_I422, Dav1dSequenceHeader,
};
use re_rav1d::src::lib::dav1d_parse_sequence_header;

/// Upper limit of the frames of a picture: those of its layers.
const FRAMES: u64 = 4;

/// Bytes of the decoder, whatever the picture: its tables, and those that each frame keeps.
const DECODER: u64 = 4 << 20;

/// The sides of a frame in memory are multiples of this.
const BLOCK: u64 = 128;

/// Numbers of the kinds of parts ("open bitstream units") that a picture consists of.
const SEQUENCE_HEADER: u8 = 1;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;
const REPEATED_FRAME_HEADER: u8 = 7;

/// Upper limit of the bytes that decoding a picture takes. No frame has more pixels than `pixels`.
///
/// # Errors
/// A picture without a sound header or with more frames than layers.
pub(super) fn memory(picture: &[u8], pixels: u64) -> Result<u64, String> {
    let (mut header, mut frames) = (None, 0);
    let mut rest = picture;
    while !rest.is_empty() {
        let (kind, part, after) = split(rest).ok_or("it ends too early")?;
        match kind {
            SEQUENCE_HEADER if header.replace(part).is_some() => {
                return Err("its picture has several headers".to_owned());
            }
            FRAME_HEADER | FRAME | REPEATED_FRAME_HEADER => frames += 1,
            _ => {}
        }
        rest = after;
    }
    if frames > FRAMES {
        return Err(format!("its picture has {frames} frames, and a still image has {FRAMES} at most"));
    }
    let header = header.and_then(sequence).ok_or("its picture has no header that can be read")?;
    // A frame may state its own sides, in as many bits as the header takes for its own.
    let sides = u64::from(1_u32 << header.width_n_bits.min(16)) + u64::from(1_u32 << header.height_n_bits.min(16));
    let rounded = pixels.saturating_add(sides * (BLOCK - 1)).saturating_add(BLOCK * BLOCK);
    // Halves of a byte per pixel: luma, and two planes that have a quarter, a half or all of its values.
    let halves = match header.layout {
        DAV1D_PIXEL_LAYOUT_I400 => 2,
        DAV1D_PIXEL_LAYOUT_I420 => 3,
        DAV1D_PIXEL_LAYOUT_I422 => 4,
        _ => 6,
    };
    let values = if header.hbd > 0 { 2 * halves } else { halves };
    // Two more halves for the motion and segments of a frame, and for what its filters keep. A frame may be copied once, before its
    // width is restored or its grain is added.
    Ok(rounded.saturating_mul(values + 2).saturating_mul(frames + 1) / 2 + DECODER)
}

/// The kind of the first part, the part with its head, and what follows it.
fn split(picture: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let head = *picture.first()?;
    let (extended, sized) = (head & 4 != 0, head & 2 != 0);
    let begins = 1 + usize::from(extended);
    // Without a size, it has all that is left.
    let mut end = picture.len();
    if sized {
        let mut size = 0_u64;
        let mut last = None;
        for (at, &byte) in picture.get(begins..)?.iter().take(8).enumerate() {
            size |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                last = Some(at);
                break;
            }
        }
        end = usize::try_from(size).ok()?.checked_add(begins + last? + 1)?;
    }
    let (part, after) = picture.split_at_checked(end)?;
    Some((head >> 3 & 15, part, after))
}

/// The sequence header in a part.
fn sequence(part: &[u8]) -> Option<Dav1dSequenceHeader> {
    let mut header = MaybeUninit::<Dav1dSequenceHeader>::uninit();
    let begin = NonNull::from(part).cast();
    // SAFETY: the part lies at its own address with its own length, and there is room for a header where it goes.
    let result = unsafe { dav1d_parse_sequence_header(NonNull::new(header.as_mut_ptr()), Some(begin), part.len()) };
    // SAFETY: it is written before the function says that it succeeds, which is 0.
    (result.0 == 0).then(|| unsafe { header.assume_init() })
}
