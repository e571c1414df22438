//! JPEG files of every kind against TensorFlow's pixels.

use injerto_data::decode::{Orientation, Rgb, decode, decode_scaled, examine};
use injerto_data::generated::Task;
use injerto_data::resize::{self, Interpolation};
use injerto_data::{LoaderOptions, Origin};
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hexadecimal digits");
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("two digits")).collect()
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

/// Mean and greatest difference of two images.
fn differences(ours: &[u8], theirs: &[u8]) -> (f64, u8) {
    assert_eq!(ours.len(), theirs.len());
    let each = || ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b));
    (each().map(f64::from).sum::<f64>() / ours.len() as f64, each().max().unwrap_or(0))
}

fn cases() -> Vec<Value> {
    let golden: Value = serde_json::from_str(include_str!("golden/jpeg.json")).expect("JSON");
    golden["cases"].as_array().expect("a list").clone()
}

#[test]
fn every_kind_of_jpeg_decodes_as_in_tensorflow() {
    for case in cases() {
        let name = case["name"].as_str().expect("a name");
        let image = decode(&bytes(&case["file"]), Orientation::Ignore).expect("decodes");
        assert_eq!((image.height, image.width), (number(&case["height"]), number(&case["width"])), "{name}");
        // With the accurate cosine transform it is rounding; TensorFlow's default is the fast one, which is less exact.
        for (value, mean_bound, most_bound) in [("accurate", 0.6, 3), ("value", 1.5, 6)] {
            let (mean, most) = differences(&image.pixels, &bytes(&case[value]));
            assert!(mean < mean_bound && most <= most_bound, "{name}, {value}: {mean:.3} in the mean, {most} at most");
        }
    }
}

#[test]
fn an_exif_orientation_is_applied_when_asked_for() {
    let mut seen = 0;
    for case in cases().iter().filter(|case| !case["upright"].is_null()) {
        let upright = &case["upright"];
        let image = decode(&bytes(&case["file"]), Orientation::Apply).expect("decodes");
        assert_eq!((image.height, image.width), (number(&upright["height"]), number(&upright["width"])));
        let (mean, most) = differences(&image.pixels, &bytes(&upright["value"]));
        assert!(mean < 0.5 && most <= 2, "{} differs by {mean:.3} in the mean, by {most} at most", case["name"]);
        seen += 1;
    }
    assert_eq!(seen, 4);
}

/// The pixels of the decoder that reads every kind of JPEG.
fn by_another_decoder(bytes: &[u8]) -> Vec<u8> {
    image::load_from_memory(bytes).expect("decodes").to_rgb8().into_raw()
}

#[test]
fn files_of_the_common_kind_have_the_pixels_of_the_decoder_for_all_kinds() {
    // Four components are never drawn here, and without Adobe's mark the other decoder makes a negative of them.
    let small =
        cases().into_iter().filter(|case| case["name"] != "cmyk without Adobe's mark").map(|case| bytes(&case["file"]));
    let sizes = [[1, 1], [7, 9], [8, 8], [16, 17], [40, 33], [480, 640]];
    let mut seen = 0;
    for file in small.chain(sizes.map(photo)).chain(sizes.map(grey)) {
        let image = decode(&file, Orientation::Ignore).expect("decodes");
        seen += 1;
        assert_eq!(
            differences(&image.pixels, &by_another_decoder(&file)),
            (0.0, 0),
            "{}x{}",
            image.width,
            image.height
        );
    }
    assert!(seen > 10, "{seen}");
}

/// The first files of each of the folders of real photos.
fn real(count: usize) -> Vec<Vec<u8>> {
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folders = ["imagenet_sample", "flower_photos/roses", "cats_and_dogs_filtered/train/cats"];
    let mut files = Vec::new();
    for folder in folders.map(|folder| shared.join(folder)) {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} is missing", folder.display());
            eprintln!("skipped: {} is missing", folder.display());
            continue;
        };
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        files.extend(paths.iter().take(count).map(|path| std::fs::read(path).expect("it can be read")));
    }
    files
}

#[test]
fn real_photos_have_the_pixels_of_the_decoder_for_all_kinds() {
    for file in real(40) {
        let image = decode(&file, Orientation::Ignore).expect("decodes");
        assert!(image.pixels == by_another_decoder(&file), "{}x{}", image.width, image.height);
    }
}

#[test]
fn only_what_resizing_looks_at_is_decoded_and_the_values_are_those_of_the_whole_photo() {
    let all = [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Bicubic, Interpolation::Area];
    let files =
        cases().into_iter().map(|case| bytes(&case["file"])).chain([photo([150, 203]), grey([64, 90])]).chain(real(4));
    for file in files {
        for (at, orientation) in [Orientation::Ignore, Orientation::Apply].into_iter().enumerate() {
            let whole = decode(&file, orientation).expect("decodes");
            for (interpolation, size) in all.into_iter().zip([[5, 8], [24, 20], [31, 64], [13, 10]]) {
                for crop_to_aspect_ratio in [false, true] {
                    let center_crop = (at == 0).then_some(0.875);
                    let options = LoaderOptions {
                        interpolation,
                        orientation,
                        crop_to_aspect_ratio,
                        center_crop,
                        ..LoaderOptions::new(size, 1)
                    };
                    let cut = center_crop.map_or(whole.clone(), |share| resize::center_crop(&whole, share));
                    let expected = resize::resize(&cut, size, interpolation, crop_to_aspect_ratio);
                    let pixels = options.load(&file.clone().into()).expect("loads");
                    assert!(pixels == expected, "{interpolation:?} {size:?} of {}x{}", whole.width, whole.height);
                }
            }
        }
    }
}

fn grey([height, width]: [usize; 2]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels: Vec<u8> = (0..height * width).map(|at| (at * at / 7 % 251) as u8).collect();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 85);
    image::ImageEncoder::write_image(encoder, &pixels, width as u32, height as u32, image::ExtendedColorType::L8)
        .expect("encodes");
    bytes
}

/// A drawn picture as a camera would store it.
fn photo([height, width]: [usize; 2]) -> Vec<u8> {
    let Origin::Drawn(drawing) = &Task::Flowers.dataset(1, 1, 0).samples[0].origin else { unreachable!("drawn") };
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    let (pixels, colours) = (drawing.draw([height, width]).pixels, image::ExtendedColorType::Rgb8);
    image::ImageEncoder::write_image(encoder, &pixels, width as u32, height as u32, colours).expect("encodes");
    bytes
}

/// The mean of each square of `side` pixels.
fn means(image: &Rgb, side: usize) -> Vec<u8> {
    let mean = |y: usize, x: usize, channel: usize| {
        let each = (0..side * side).map(|at| {
            let (y, x) = (y * side + at / side, x * side + at % side);
            f64::from(image.pixels[(y * image.width + x) * 3 + channel])
        });
        (each.sum::<f64>() / (side * side) as f64).round() as u8
    };
    let places = (0..image.height / side).flat_map(|y| (0..image.width / side).map(move |x| (y, x)));
    places.flat_map(|(y, x)| [0, 1, 2].map(|channel| mean(y, x, channel))).collect()
}

#[test]
fn a_scaled_photo_is_the_mean_of_what_each_pixel_covers() {
    let bytes = photo([480, 640]);
    let whole = decode(&bytes, Orientation::Ignore).expect("decodes");
    // The most that suffices in both directions: an eighth, a quarter, and from half the size on the whole.
    for (enough, part) in [([60, 80], 8), ([40, 30], 8), ([61, 80], 4), ([120, 160], 4), ([121, 1], 1), ([480, 640], 1)]
    {
        let image = decode_scaled(&bytes, Orientation::Ignore, enough).expect("decodes");
        assert_eq!([image.height, image.width], [480 / part, 640 / part], "{enough:?}");
        let (mean, most) = differences(&image.pixels, &means(&whole, part));
        // Luma and chroma are rounded by themselves, and at hard edges a pixel's colour lies outside of what can be shown.
        let bounds = if part == 1 { (0.0, 0) } else { (0.6, 24) };
        assert!(mean <= bounds.0 && most <= bounds.1, "{enough:?}: {mean:.3} in the mean, {most} at most");
    }
}

#[test]
fn a_scaled_grey_photo_is_the_mean_of_its_blocks_to_a_rounding() {
    let bytes = grey([96, 160]);
    let whole = decode(&bytes, Orientation::Ignore).expect("decodes");
    for (enough, part) in [([12, 20], 8), ([24, 40], 4)] {
        let image = decode_scaled(&bytes, Orientation::Ignore, enough).expect("decodes");
        let (mean, most) = differences(&image.pixels, &means(&whole, part));
        assert!(mean < 0.2 && most <= 1, "{part}: {mean:.3} in the mean, {most} at most");
    }
}

#[test]
fn a_file_that_is_no_jpeg_is_scaled_by_the_same_means() {
    let picture = decode(&photo([96, 160]), Orientation::Ignore).expect("decodes");
    let mut png = Vec::new();
    let buffer = image::RgbImage::from_raw(160, 96, picture.pixels.clone()).expect("a buffer");
    buffer.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).expect("encodes");
    for (enough, part) in [([12, 20], 8), ([20, 40], 4), ([49, 10], 1)] {
        let image = decode_scaled(&png, Orientation::Ignore, enough).expect("decodes");
        assert_eq!([image.height, image.width], [96 / part, 160 / part]);
        assert!(differences(&image.pixels, &means(&picture, part)).1 <= usize::from(part > 1) as u8);
    }
}

#[test]
fn every_kind_of_jpeg_is_scaled() {
    for case in cases() {
        let (name, file) = (case["name"].as_str().expect("a name"), bytes(&case["file"]));
        let whole = decode(&file, Orientation::Ignore).expect("decodes");
        let image = decode_scaled(&file, Orientation::Ignore, [2, 2]).expect("decodes");
        assert_eq!([image.height, image.width], [whole.height.div_ceil(8), whole.width.div_ceil(8)], "{name}");
    }
}

/// What both ways of decoding, and the look beforehand, say of a file.
fn refusals(bytes: &[u8]) -> [Option<String>; 3] {
    let (usual, scaled) =
        (decode(bytes, Orientation::Ignore).err(), decode_scaled(bytes, Orientation::Ignore, [2, 2]).err());
    [usual, scaled, examine(bytes).err()]
}

/// Where the data of the last scan begins, and where the end marker is.
fn last_scan(bytes: &[u8]) -> (usize, usize) {
    let scan = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).expect("a scan");
    (scan + 2, bytes.windows(2).rposition(|pair| pair == [0xff, 0xd9]).expect("an end"))
}

#[test]
fn every_kind_of_jpeg_that_ends_early_is_refused_wherever_it_ends() {
    let mut files: Vec<(String, Vec<u8>)> =
        cases().iter().map(|case| (case["name"].as_str().expect("a name").to_owned(), bytes(&case["file"]))).collect();
    files.push(("photo".to_owned(), photo([64, 64])));
    for (name, whole) in files {
        assert_eq!(refusals(&whole), [None, None, None], "{name}");
        let (_, end) = last_scan(&whole);
        for length in 1..end {
            let cut = &whole[..length];
            assert!(refusals(cut).iter().all(Option::is_some), "{name}: {length} of {} bytes", whole.len());
        }
        // All pixels are there without the end marker.
        for length in end..=whole.len() {
            assert_eq!(refusals(&whole[..length]), [None, None, None], "{name}: {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn half_the_data_with_an_end_marker_after_it_is_refused_all_the_same() {
    for case in cases() {
        let (name, whole) = (case["name"].as_str().expect("a name"), bytes(&case["file"]));
        let (scan, end) = last_scan(&whole);
        let mut mended = whole[..(scan + end) / 2].to_vec();
        mended.extend([0xff, 0xd9]);
        assert!(refusals(&mended).iter().all(Option::is_some), "{name}");
        // A download that made room for the whole file, and got half of it.
        let mut filled = whole.clone();
        filled[(scan + end) / 2..].fill(0);
        assert!(refusals(&filled).iter().all(Option::is_some), "{name}, filled with zeros");
    }
}

/// A grey picture of five blocks, one after each restart marker.
fn restarting() -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
    image::ImageEncoder::write_image(encoder, &[128; 40 * 8], 40, 8, image::ExtendedColorType::L8).expect("encodes");
    let (scan, _) = last_scan(&bytes);
    let header = usize::from(u16::from_be_bytes([bytes[scan], bytes[scan + 1]]));
    let interval = [0xff, 0xdd, 0, 4, 0, 1];
    // A block of zeros: no change of the mean, no coefficients, filled up with ones.
    let blocks = [0x2b, 0xff, 0xd0, 0x2b, 0xff, 0xd1, 0x2b, 0xff, 0xd2, 0x2b, 0xff, 0xd3, 0x2b, 0xff, 0xd9];
    [&bytes[..scan - 2], &interval, &bytes[scan - 2..scan + header], &blocks].concat()
}

#[test]
fn restart_markers_are_no_end_and_what_is_missing_between_them_is_missed() {
    let whole = restarting();
    assert_eq!(decode(&whole, Orientation::Ignore).expect("decodes").pixels, vec![128; 40 * 8 * 3]);
    assert_eq!(refusals(&whole), [None, None, None]);
    for length in 1..whole.len() - 2 {
        assert!(refusals(&whole[..length]).iter().all(Option::is_some), "{length} of {} bytes", whole.len());
    }
    // Without one of the blocks, with and without its marker.
    let data = whole.len() - 15;
    for gap in [data + 3..data + 6, data + 3..data + 4] {
        let mut damaged = whole.clone();
        damaged.drain(gap.clone());
        assert!(refusals(&damaged).iter().all(Option::is_some), "without {gap:?}");
    }
    // Two markers later in the count than it should be, as where two parts were lost.
    let mut later = whole.clone();
    later[data + 2] += 2;
    assert_eq!(refusals(&later), [(); 3].map(|()| Some("a part of its pixel data is missing".to_owned())));
}

#[test]
fn rare_kinds_of_jpeg_are_refused_with_their_kind() {
    let whole = photo([16, 16]);
    let frame = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame");
    let kinds = [
        (1, 0xc3, "a lossless one"),
        (1, 0xc5, "a hierarchical one"),
        (1, 0xc9, "one with arithmetic codes"),
        (1, 0xca, "one with arithmetic codes"),
        (4, 12, "one with 12 bits per channel"),
    ];
    for (at, byte, kind) in kinds {
        let mut other = whole.clone();
        other[frame + at] = byte;
        let reason = format!("it is a JPEG of a kind that is not read, {kind}: save it as a usual JPEG, or as PNG");
        assert_eq!(refusals(&other), [(); 3].map(|()| Some(reason.clone())));
    }
}

#[test]
fn what_stands_after_the_end_does_not_matter() {
    for case in cases() {
        let whole = bytes(&case["file"]);
        let expected = decode(&whole, Orientation::Ignore).expect("decodes");
        // A second picture, as in panoramas and in photos of high dynamic range, and rubbish that looks like markers.
        for tail in [whole.clone(), vec![0; 300], vec![0xff; 5], vec![0xff, 0xda, 0, 1], b"...".to_vec()] {
            let long = [whole.clone(), tail].concat();
            assert_eq!(decode(&long, Orientation::Ignore).expect("decodes"), expected, "{}", case["name"]);
            assert_eq!(refusals(&long), [None, None, None], "{}", case["name"]);
        }
    }
}

#[test]
fn a_thumbnail_in_the_exif_data_is_not_taken_for_the_photo() {
    let (whole, small) = (photo([64, 64]), photo([16, 16]));
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0".to_vec();
    exif.extend(&small);
    let length = u16::try_from(exif.len() + 2).expect("it is small").to_be_bytes();
    let with = [&whole[..2], &[0xff, 0xe1], &length, &exif, &whole[2..]].concat();
    assert_eq!(decode(&with, Orientation::Ignore), decode(&whole, Orientation::Ignore));
    // The thumbnail has an end marker; that does not make the photo whole.
    let cut = &with[..with.len() - whole.len() / 3];
    assert!(refusals(cut).iter().all(Option::is_some));
}

#[test]
fn a_scaled_photo_that_lies_on_its_side_is_large_enough_when_it_stands() {
    let case = cases().into_iter().find(|case| {
        let upright = &case["upright"];
        !upright.is_null() && upright["height"] == case["width"] && case["height"] != case["width"]
    });
    let case = case.expect("one is turned");
    let (height, width) = (number(&case["upright"]["height"]), number(&case["upright"]["width"]));
    let enough = [height.div_ceil(4), width.div_ceil(4)];
    let image = decode_scaled(&bytes(&case["file"]), Orientation::Apply, enough).expect("decodes");
    assert_eq!([image.height, image.width], enough);
}

#[test]
fn a_loader_scales_when_asked_to_and_says_so_in_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("photo.jpg");
    std::fs::write(&path, photo([480, 640])).expect("written");
    let file = Origin::File(path);
    let usual = LoaderOptions::new([60, 80], 1);
    let scaled = LoaderOptions { scaled_decoding: true, ..usual.clone() };
    assert_ne!(usual.pixels_key(), scaled.pixels_key());
    let image = decode_scaled(&photo([480, 640]), Orientation::Ignore, [60, 80]).expect("decodes");
    let pixels: Vec<f32> = image.pixels.iter().map(|&value| f32::from(value)).collect();
    assert_eq!(scaled.load(&file).expect("loads"), pixels);
    assert_ne!(usual.load(&file).expect("loads"), pixels);
}
