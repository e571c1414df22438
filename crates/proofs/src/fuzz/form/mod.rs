//! Changes within the form of a file: what encloses the change (lengths, brackets, checksums) is right again afterwards, so that
//! the change reaches the code after the first check.

#[cfg(any(feature = "avif", feature = "jxl"))]
mod boxes;
mod json;
mod png;
mod protobuf;
mod safetensors;
mod segment;
mod zip;

use super::mutate::{Random, alter};

#[cfg(any(feature = "avif", feature = "jxl"))]
pub use boxes::boxes;
pub use json::{json, toml};
pub use png::png;
pub use protobuf::protobuf;
pub use safetensors::safetensors;
pub use segment::segment;
pub use zip::zip;

/// Changes an input within its form; `None` if the input does not have this form.
pub type Form = fn(&[u8], &mut Random) -> Option<Vec<u8>>;

/// Of files in which nothing encloses anything else, or without a form that is known here.
pub fn bytes(_: &[u8], _: &mut Random) -> Option<Vec<u8>> {
    None
}

/// How many things are changed: mostly one, at most three.
fn few(random: &mut Random) -> usize {
    1 + random.below(3).min(random.below(3)).min(random.below(3))
}

/// Changes some bytes of a part whose length stays, so that what refers to places after it stays true.
fn alter_in_place(part: &mut Vec<u8>, random: &mut Random) {
    let length = part.len();
    alter(part, random);
    part.resize(length, 0);
}

/// Drops, repeats or exchanges items of a list.
fn shuffle<T: Clone>(items: &mut Vec<T>, random: &mut Random) {
    if items.is_empty() {
        return;
    }
    let (at, other) = (random.below(items.len()), random.below(items.len()));
    match random.below(3) {
        0 => drop(items.remove(at)),
        1 => items.insert(other, items[at].clone()),
        _ => items.swap(at, other),
    }
}

/// Splits off the first `length` bytes, and moves on.
fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (first, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use injerto_backbones::weights::WeightFile;

    use super::*;
    use crate::fuzz::seeds;

    /// Changes `good` a hundred times, and checks that `fits` holds for most of what comes out and that most of it differs.
    fn check(form: Form, good: &[u8], fits: impl Fn(&[u8]) -> bool) {
        let made: Vec<_> = (0..100).map(|number| form(good, &mut Random::new(1, number))).collect();
        let made: Vec<Vec<u8>> = made.into_iter().flatten().collect();
        assert!(made.len() >= 90, "{} of 100 are changed", made.len());
        assert!(made.iter().filter(|bytes| bytes.as_slice() != good).count() >= 60);
        let fitting = made.iter().filter(|bytes| fits(bytes)).count();
        assert!(fitting >= 80, "{fitting} of {} have the form", made.len());
        assert!(form(b"something else", &mut Random::new(1, 1)).is_none());
    }

    #[test]
    fn what_is_changed_within_json_is_json() {
        check(json, &seeds::graphs()[1], |bytes| serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
    }

    #[test]
    fn the_checksums_of_a_changed_png_are_right() {
        let is_whole = |bytes: &[u8]| {
            let mut rest = &bytes[8..];
            while let [a, b, c, d, ..] = *rest {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                let sum = crc32fast::hash(&rest[4..8 + length]);
                assert_eq!(sum.to_be_bytes(), rest[8 + length..12 + length]);
                rest = &rest[12 + length..];
            }
            true
        };
        check(png, &seeds::pictures(image::ImageFormat::Png).expect("pictures")[0], is_whole);
    }

    #[test]
    #[cfg(feature = "avif")]
    fn the_boxes_of_a_changed_avif_fill_it() {
        check(boxes, &seeds::avif()[0], |bytes| boxes(bytes, &mut Random::new(1, 1)).is_some());
    }

    #[test]
    fn a_changed_archive_can_be_opened() {
        let opens = |bytes: &[u8]| ::zip::ZipArchive::new(std::io::Cursor::new(bytes)).is_ok();
        check(zip, &seeds::pickles().expect("a pickle")[0], opens);
    }

    #[test]
    fn a_changed_message_of_protobuf_can_be_taken_apart_again() {
        let good = include_bytes!("../../../../../golden/onnx_small_cnn.onnx");
        check(protobuf, good, |bytes| protobuf(bytes, &mut Random::new(1, 1)).is_some());
    }

    #[test]
    fn the_checksum_of_changed_weights_fits_their_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = seeds::safetensors(folder.path()).expect("weights").remove(0);
        let path = folder.path().join("changed.safetensors");
        let is_damaged = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("a file");
            WeightFile::open(&path, &[]).is_err_and(|error| error.to_string().contains("checksum"))
        };
        let mut flipped = good.clone();
        *flipped.last_mut().expect("values") ^= 1;
        assert!(is_damaged(&flipped));
        check(safetensors, &good, |bytes| !is_damaged(bytes));
    }

    #[test]
    fn the_checksums_of_a_changed_segment_fit_its_content() {
        let header = br#"{"space":"0","network":"n","shapes":[[2]],"precision":"f32"}"#;
        let row = [0_u8; 8];
        let index = [&[7; 32][..], &crc32fast::hash(&row).to_le_bytes()].concat();
        let sum = crc32fast::hash(&[&header[..], &index].concat()).to_le_bytes();
        let length = (header.len() as u64).to_le_bytes();
        let count = 1_u64.to_le_bytes();
        let good = [b"INJFEAT1", &length[..], header, &row, &index, &count, &sum, b"INJFEND1"].concat();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("changed.features");
        let refusal = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("a file");
            injerto_trainer::cache::verify(&path).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refusal(&good), "");
        check(segment, &good, |bytes| !refusal(bytes).contains("damaged"));
    }
}
