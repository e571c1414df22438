//! JPEG files of every kind against TensorFlow's pixels.

use injerto_data::decode::{Orientation, Rgb, decode, decode_scaled};
use injerto_data::generated::Task;
use injerto_data::{LoaderOptions, Origin, Sample};
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
        let bounds = if part == 1 { (0.0, 0) } else { (1.0, 24) };
        assert!(mean <= bounds.0 && most <= bounds.1, "{enough:?}: {mean:.3} in the mean, {most} at most");
    }
}

#[test]
fn every_kind_of_jpeg_is_scaled_or_decoded_whole() {
    let mut small = 0;
    for case in cases() {
        let (name, file) = (case["name"].as_str().expect("a name"), bytes(&case["file"]));
        let whole = decode(&file, Orientation::Ignore).expect("decodes");
        let image = decode_scaled(&file, Orientation::Ignore, [2, 2]).expect("decodes");
        let parts = [1, 4, 8].map(|part| [whole.height.div_ceil(part), whole.width.div_ceil(part)]);
        assert!(parts.contains(&[image.height, image.width]), "{name}: {}x{}", image.height, image.width);
        small += usize::from(image.height < whole.height);
    }
    assert!(small > 0, "none was scaled");
}

#[test]
fn a_photo_that_ends_too_early_is_no_better_when_scaled() {
    let whole = photo([64, 64]);
    for length in (1..whole.len()).step_by(7) {
        let cut = &whole[..length];
        let (usual, scaled) = (decode(cut, Orientation::Ignore), decode_scaled(cut, Orientation::Ignore, [8, 8]));
        assert_eq!(usual.is_err(), scaled.is_err(), "{length} of {} bytes: {usual:?}", whole.len());
    }
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
    let sample = Sample { origin: Origin::File(path), label: 0 };
    let usual = LoaderOptions::new([60, 80], 1);
    let scaled = LoaderOptions { scaled_decoding: true, ..usual.clone() };
    assert_ne!(usual.pixels_key(), scaled.pixels_key());
    let image = decode_scaled(&photo([480, 640]), Orientation::Ignore, [60, 80]).expect("decodes");
    let pixels: Vec<f32> = image.pixels.iter().map(|&value| f32::from(value)).collect();
    assert_eq!(scaled.load(&sample).expect("loads"), pixels);
    assert_ne!(usual.load(&sample).expect("loads"), pixels);
}
