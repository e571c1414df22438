//! JPEG files of every kind against TensorFlow's pixels.

use injerto_data::decode::{Orientation, decode};
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
