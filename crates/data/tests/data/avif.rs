//! Files that `golden/avif_values.py` wrote, and what libavif makes of them.

use injerto_data::decode::{Examined, Format, Orientation, decode, examine};

const FILES: [(&str, &[u8]); 6] = [
    ("420", include_bytes!("../../../../golden/avif_420.avif")),
    ("422_limited", include_bytes!("../../../../golden/avif_422_limited.avif")),
    ("444", include_bytes!("../../../../golden/avif_444.avif")),
    ("grey", include_bytes!("../../../../golden/avif_grey.avif")),
    ("clear", include_bytes!("../../../../golden/avif_clear.avif")),
    ("turned", include_bytes!("../../../../golden/avif_turned.avif")),
];

#[test]
fn pixels_are_those_of_libavif() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../../golden/avif.json")).expect("golden values are JSON");
    for (name, bytes) in FILES {
        let image = decode(bytes, Orientation::Ignore).expect(name);
        assert_eq!(serde_json::json!([image.height, image.width]), golden[name]["size"], "{name}");
        let pixels: Vec<u8> = serde_json::from_value(golden[name]["pixels"].clone()).expect("bytes");
        let far = image.pixels.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max();
        // libavif computes with whole numbers.
        assert!(image.pixels.len() == pixels.len() && far <= Some(3), "{name}: {far:?}");
    }
}

#[test]
fn it_is_turned_by_its_own_boxes_and_never_by_exif() {
    let seen = Examined { format: Format::Avif, width: 16, height: 24, turned: false };
    assert_eq!(examine(FILES[5].1), Ok(seen));
    assert_eq!(decode(FILES[5].1, Orientation::Apply), decode(FILES[5].1, Orientation::Ignore));
}

#[test]
fn a_file_that_ends_early_or_is_damaged_is_an_error() {
    for (name, whole) in FILES {
        // Transparency, which may lie last, is dropped.
        let ends = if name == "clear" { whole.len() / 2 } else { whole.len() };
        for end in (0..ends).step_by(7) {
            decode(&whole[..end], Orientation::Ignore).expect_err("not all is there");
        }
        for at in (0..whole.len()).step_by(5) {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 1 << (at % 8);
            // A damaged image may have other pixels; it may not end the program, or take all of its memory.
            let _ = decode(&damaged, Orientation::Ignore);
        }
    }
}
