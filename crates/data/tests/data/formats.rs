//! Every format: what is read, what is refused, and that nothing hostile harms.

use std::fs;
use std::path::Path;

use injerto_data::decode::{Orientation, Rgb, decode, examine};
use proptest::prelude::*;

use crate::{options, write_image};

#[test]
fn every_format_decodes_by_content() {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let folder = tempfile::tempdir().expect("a folder");
    for format in [Bmp, Gif, Jpeg, Png, Tiff, WebP] {
        // The extension says nothing.
        let path = folder.path().join("picture.dat");
        write_image(&path, format);
        let image = decode(&fs::read(&path).expect("read"), Orientation::Ignore).expect("decodes");
        assert_eq!((image.height, image.width, image.pixels.len()), (9, 13, 9 * 13 * 3), "{format:?}");
        if matches!(format, Bmp | Png | Tiff | WebP) {
            assert_eq!(image.pixels[(3 * 13 + 4) * 3..][..3], [76, 81, 12], "{format:?}");
        }
    }
}

#[test]
fn colours_become_what_tensorflow_makes_of_them() {
    let png = |image: image::DynamicImage| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).expect("written");
        decode(&bytes.into_inner(), Orientation::Ignore).expect("decodes").pixels
    };
    let grey = image::GrayImage::from_pixel(1, 1, image::Luma([77]));
    assert_eq!(png(grey.into()), [77, 77, 77]);
    // Transparency is dropped, not blended.
    let clear = image::RgbaImage::from_pixel(1, 1, image::Rgba([10, 20, 30, 0]));
    assert_eq!(png(clear.into()), [10, 20, 30]);
    // Of 16 bits the upper eight stay.
    let deep = image::ImageBuffer::from_pixel(1, 1, image::Rgb([0x12ff_u16, 0x3480, 0x5600]));
    assert_eq!(png(deep.into()), [0x12, 0x34, 0x56]);
}

/// A drawn picture in each format, larger than a block of any of them.
fn encoded() -> Vec<(image::ImageFormat, Vec<u8>)> {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let picture = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8]));
    let encode = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("written");
        (format, bytes.into_inner())
    };
    [Bmp, Gif, Jpeg, Png, WebP, Tiff].map(encode).into()
}

#[test]
fn a_file_that_ends_early_is_refused_in_every_format_wherever_it_ends() {
    for (format, whole) in encoded() {
        let expected = decode(&whole, Orientation::Ignore).expect("decodes");
        for length in 0..whole.len() {
            let cut = &whole[..length];
            match decode(cut, Orientation::Ignore) {
                // What comes after the last pixel may be missing: an end marker, a checksum.
                Ok(image) => {
                    assert!(whole.len() - length <= 16, "{format:?}: {length} of {} bytes", whole.len());
                    assert_eq!(image, expected, "{format:?}: {length} of {} bytes", whole.len());
                    assert!(examine(cut).is_ok());
                }
                Err(reason) => {
                    assert!(!reason.is_empty());
                    assert_eq!(examine(cut).expect_err("the look sees it too"), reason);
                }
            }
        }
    }
}

/// A header that promises more than there is.
fn bomb(name: &str) -> Vec<u8> {
    let side = 30_000_u32;
    match name {
        "gif" => {
            let canvas = [b"GIF89a".as_slice(), &(side as u16).to_le_bytes(), &(side as u16).to_le_bytes(), &[0, 0, 0]];
            [
                &canvas.concat()[..],
                &[0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0x80, 0, 0, 0, 255, 255, 255, 2, 2, 0x44, 1, 0, 0x3b],
            ]
            .concat()
        }
        "bmp" => {
            let mut bytes = encoded().swap_remove(0).1;
            bytes[18..22].copy_from_slice(&side.to_le_bytes());
            bytes[22..26].copy_from_slice(&side.to_le_bytes());
            bytes
        }
        "png" => {
            let picture = image::GrayImage::new(side, 8_000);
            let mut bytes = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut bytes, image::ImageFormat::Png).expect("written");
            bytes.into_inner()
        }
        "jpeg" => {
            let mut bytes = encoded().swap_remove(2).1;
            let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame");
            bytes[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
            bytes
        }
        _ => unreachable!("no such bomb"),
    }
}

#[test]
fn an_image_of_too_many_pixels_is_refused_before_memory_is_asked_for() {
    for name in ["gif", "bmp", "png", "jpeg"] {
        let bytes = bomb(name);
        for said in [decode(&bytes, Orientation::Ignore).expect_err(name), examine(&bytes).expect_err(name)] {
            assert!(said.contains("is too large"), "{name}: {said}");
        }
    }
}

#[test]
fn an_image_of_few_pixels_that_needs_much_memory_is_refused() {
    // 150 million pixels are few enough; their eight bytes each are not.
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::ImageBuffer::<image::Rgba<u16>, _>::from_pixel(1, 1, image::Rgba([1, 2, 3, 4]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("written");
    let mut bytes = bytes.into_inner();
    bytes[16..24].copy_from_slice(&[0, 0, 0x27, 0x10, 0, 0, 0x3a, 0x98]);
    let sum = crc(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&sum);
    let said = decode(&bytes, Orientation::Ignore).expect_err("refused");
    assert_eq!(said, "10000x15000 is too large: decoding it takes 1573 MiB of memory");
}

#[test]
fn a_tiff_is_read_as_the_pixels_that_were_written() {
    let written = |image: image::DynamicImage| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Tiff).expect("written");
        bytes.into_inner()
    };
    let colour = image::RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 9, y as u8 * 8, 200]));
    let bytes = written(colour.clone().into());
    let found = decode(&bytes, Orientation::Apply).expect("read");
    assert_eq!(found, Rgb { height: 3, width: 5, pixels: colour.into_raw() });
    let deep = image::ImageBuffer::from_pixel(2, 1, image::Luma([0x12ff_u16]));
    assert_eq!(decode(&written(deep.into()), Orientation::Ignore).expect("read").pixels, [0x12; 6]);
    for end in 8..bytes.len() {
        assert_eq!(decode(&bytes[..end], Orientation::Ignore).is_ok(), examine(&bytes[..end]).is_ok(), "{end}");
    }
    let floats = image::Rgb32FImage::from_pixel(1, 1, image::Rgb([0.5, 0.5, 0.5]));
    let said = decode(&written(floats.into()), Orientation::Ignore).expect_err("refused");
    assert!(said.contains("floating-point numbers; save it with 8 or 16 bits"), "{said}");
}

/// A WebP file of these chunks.
fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let chunk = |(name, data): &(&[u8; 4], &[u8])| [&name[..], &(data.len() as u32).to_le_bytes(), data].concat();
    let chunks: Vec<u8> = chunks.iter().flat_map(chunk).collect();
    [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WEBP", &chunks].concat()
}

#[test]
fn a_file_that_contradicts_itself_is_refused_before_memory_is_asked_for() {
    let check = |name: &str, bytes: &[u8], expected: &str| {
        assert_eq!(decode(bytes, Orientation::Ignore).expect_err(name), expected, "{name}");
        assert_eq!(examine(bytes).expect_err(name), expected, "{name}, looked at");
    };
    let early = "it ends too early";
    let memory = "it takes more memory than its size explains";
    let gif = |frame: u8| {
        let frame = [&[0x2c, 0, 0, 0, 0, 8, 0, frame, 0, 0x80, 0, 0, 0, 255, 255, 255], &[2, 2, 0x44, 1, 0, 0x3b][..]];
        [b"GIF89a\x08\0\x08\0\0\0\0", &frame.concat()[..]].concat()
    };
    check("a GIF of 8x8 with a frame of 8x8 that is not there", &gif(8), early);
    check("a GIF of 8x8 with a frame of 8x16", &gif(16), memory);

    // A lossy WebP image of 16383x16383 on a canvas of 8x8, alone and as the frame of an animation.
    let canvas = [0, 0, 0, 0, 7, 0, 0, 7, 0, 0];
    let lossy = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f];
    let sizes = "it says that it has 8x8 pixels, and holds an image of 16383x16383";
    check("a still image", &webp(&[(b"VP8X", &canvas), (b"VP8 ", &lossy)]), sizes);
    let frame = [&[0, 0, 0, 0, 0, 0, 7, 0, 0, 7, 0, 0, 0, 0, 0, 0], &webp(&[(b"VP8 ", &lossy)])[12..]].concat();
    let animated = [2, 0, 0, 0, 7, 0, 0, 7, 0, 0];
    check("a frame", &webp(&[(b"VP8X", &animated), (b"ANIM", &[0; 6]), (b"ANMF", &frame)]), sizes);

    // EXIF data of four gigabytes, of which there are four bytes.
    let good = encoded().swap_remove(4).1;
    let mut exif = webp(&[(b"VP8X", &[8, 0, 0, 0, 39, 0, 0, 29, 0, 0])]);
    exif.extend_from_slice(&good[12..]);
    exif.extend_from_slice(b"EXIF\xf0\xff\xff\xffMM\0*");
    let size = (exif.len() as u32 - 8).to_le_bytes();
    exif[4..8].copy_from_slice(&size);
    check("EXIF data", &exif, early);
}

/// The checksum of a PNG's chunk.
fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32| (0..8).fold(sum, |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 });
    !bytes.iter().fold(!0, |sum, &byte| step(sum ^ u32::from(byte)))
}

#[test]
fn what_is_no_image_is_told_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = options([8, 8]);
    let check = |path: &Path, expected: &str| {
        let error = options.load(&path.into()).expect_err("refused").to_string();
        assert!(error.ends_with(expected), "{error:?} does not end with {expected:?}");
    };
    check(folder.path(), "not a readable image: it is a folder");
    check(&folder.path().join("none.jpg"), "not a readable image: there is no such file");
    for (name, content, expected) in [
        ("empty.jpg", b"".as_slice(), "the file is empty"),
        ("text.png", b"no image", "it is none of JPEG, PNG, GIF, BMP, WebP and TIFF"),
        ("page.jpg", b"%PDF-1.7", "it is a PDF, and none of JPEG, PNG, GIF, BMP, WebP and TIFF"),
        ("live.jpg", b"\0\0\0\x14ftypqt  ", "it is a video, and none of JPEG, PNG, GIF, BMP, WebP and TIFF"),
        (
            "._mac.jpg",
            b"\0\x05\x16\x07",
            "it is what a Mac keeps beside a file, not the file itself, and none of JPEG, PNG, GIF, BMP, WebP and TIFF",
        ),
        (
            "icon.png",
            b"<?xml version=\"1.0\"?>\n<svg/>",
            "it is an SVG drawing, and none of JPEG, PNG, GIF, BMP, WebP and TIFF",
        ),
        ("zeros.jpg", &[0; 300], "it holds only zeros: a copy of it has failed"),
        ("page.jpg", b"\n<!doctype HTML><html>", "it is a web page, not the file itself; download the file"),
        ("short.jpg", b"\xff\xd8\xff", "it ends too early"),
        (
            "phone.jpg",
            b"\0\0\0\x18ftypheic",
            "it is HEIC, which is not read: `heif-convert photo.heic photo.jpg` (libheif) converts them",
        ),
        #[cfg(not(feature = "avif"))]
        (
            "web.png",
            b"\0\0\0\x18ftypavif",
            "it is AVIF, which is not read: `avifdec photo.avif photo.png` (libavif) converts them",
        ),
        #[cfg(not(feature = "jxl"))]
        (
            "new.jpg",
            b"\xff\x0a\0",
            "it is JPEG XL, which is not read: `djxl photo.jxl photo.png` (libjxl) converts them",
        ),
        #[cfg(feature = "jxl")]
        ("new.jpg", b"\xff\x0a\0", "it ends too early"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("written");
        check(&path, expected);
    }
    // A file with a hole of a terabyte takes no room on the disk, and must take none in memory.
    let path = folder.path().join("huge.jpg");
    if fs::File::create(&path).and_then(|file| file.set_len(1 << 40)).is_ok() {
        check(&path, "it is too large: a file may have 512 MiB");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_are_errors_and_never_panics(
        kind in 0..encoded().len(),
        damages in proptest::collection::vec((0.0_f64..1.0, any::<u8>(), 0_usize..4), 1..6),
    ) {
        let (format, mut bytes) = encoded().swap_remove(kind);
        for (at, value, what) in damages {
            let at = (at * bytes.len() as f64) as usize;
            match what {
                0 => { bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= value); }
                1 => bytes.insert(at, value),
                2 => bytes.truncate(at + 1),
                _ => { bytes.drain(at..(at + usize::from(value)).min(bytes.len())); }
            }
        }
        let (decoded, seen) = (decode(&bytes, Orientation::Apply), examine(&bytes));
        prop_assert_eq!(decoded.is_ok(), seen.is_ok(), "{:?}: {:?}, but looked at {:?}", format, decoded.err(), seen);
        if let (Ok(image), Ok(seen)) = (decoded, seen) {
            prop_assert_eq!(image.pixels.len(), image.height * image.width * 3);
            prop_assert_eq!([image.height, image.width], [seen.height, seen.width].map(|side| side as usize));
        }
    }
}
