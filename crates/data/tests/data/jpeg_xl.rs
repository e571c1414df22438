//! Files that `golden/jxl_values.py` wrote.

use injerto_data::decode::{Examined, Format, Orientation, decode, examine};

const LOSSLESS: &[u8] = include_bytes!("../../../../golden/jxl_lossless.jxl");
const LOSSY: &[u8] = include_bytes!("../../../../golden/jxl_lossy.jxl");
const CLEAR: &[u8] = include_bytes!("../../../../golden/jxl_clear.jxl");
const GREY: &[u8] = include_bytes!("../../../../golden/jxl_grey.jxl");

fn pixels(bytes: &[u8]) -> Vec<u8> {
    let image = decode(bytes, Orientation::Apply).expect("it is an image");
    assert_eq!([image.height, image.width], [16, 24]);
    image.pixels
}

/// What was stored.
fn stored() -> Vec<u8> {
    (0..16_u8).flat_map(|y| (0..24_u8).flat_map(move |x| [10 * x, 15 * y, 6 * (x + y)])).collect()
}

#[test]
fn pixels_are_those_that_were_stored() {
    assert_eq!(pixels(LOSSLESS), stored());
    assert_eq!(pixels(CLEAR), stored(), "transparency is dropped");
    let far = pixels(LOSSY).iter().zip(stored()).map(|(a, b)| a.abs_diff(b)).max();
    assert!(far < Some(20), "{far:?}");
    // Pillow's luma: (19595 r + 38470 g + 7471 b + 32768) / 65536.
    let luma =
        |p: &[u8]| (19_595 * u32::from(p[0]) + 38_470 * u32::from(p[1]) + 7_471 * u32::from(p[2]) + 32_768) >> 16;
    let grey: Vec<u8> = stored().chunks_exact(3).flat_map(|pixel| [luma(pixel) as u8; 3]).collect();
    assert_eq!(pixels(GREY), grey);
}

#[test]
fn it_is_turned_by_its_own_stream_and_never_by_exif() {
    let seen = Examined { format: Format::Jxl, width: 24, height: 16, turned: false };
    assert_eq!(examine(LOSSLESS), Ok(seen));
}

#[test]
fn a_file_that_ends_early_or_is_damaged_is_an_error() {
    for whole in [LOSSLESS, LOSSY, CLEAR, GREY] {
        for end in 0..whole.len() {
            let error = decode(&whole[..end], Orientation::Ignore).expect_err("not all is there");
            assert!(end < 12 || !error.contains("failed"), "{end}: {error}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 1 << (at % 8);
            // A damaged image may have other pixels; it may not end the program, or take all of its memory.
            let _ = decode(&damaged, Orientation::Ignore);
        }
    }
}
