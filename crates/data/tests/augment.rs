//! Augmentation against Keras's numbers and definitions.

use injerto_data::Label;
use injerto_data::augment::{
    Affine, Augmentation, Change, Factor, Fill, FillMode, FlipMode, MixOptions, Sampling, augment, generator,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const GOLDEN: &str = include_str!("golden/augment.json");

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}

/// The image of `golden/augment.py`.
fn image(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * at * 7 + at * 31) % 256) as f32).collect()
}

fn of_json(value: Value) -> Augmentation {
    serde_json::from_value(value).expect("an augmentation")
}

/// The numbers that can be drawn are known from many draws.
fn drawn(augmentation: &Augmentation, size: [usize; 2]) -> Vec<Change> {
    (0..4000).map(|image| augmentation.draw(size, &mut generator(7, 0, image))).collect()
}

/// Draws fill the range from `lower` to `upper`, evenly, and never leave it.
#[track_caller]
fn check_uniform(values: &[f32], [lower, upper]: [f32; 2]) {
    let (min, max) = values.iter().fold((f32::MAX, f32::MIN), |(min, max), &x| (min.min(x), max.max(x)));
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let width = upper - lower;
    let slack = 1e-4 * width.max(1.0);
    assert!(min >= lower - slack && max <= upper + slack, "{min} to {max} leaves {lower} to {upper}");
    assert!(
        min < lower + 0.01 * width && max > upper - 0.01 * width,
        "{min} to {max} does not fill {lower} to {upper}"
    );
    assert!((mean - (lower + upper) / 2.0).abs() < 0.02 * width, "the mean of {lower} to {upper} is {mean}");
}

#[test]
fn given_changes_are_keras_changes() {
    let golden: Value = serde_json::from_str(GOLDEN).expect("JSON");
    let size = [&golden["height"], &golden["width"]].map(|x| x.as_u64().expect("a number") as usize);
    let cases = golden["cases"].as_array().expect("a list");
    for case in cases {
        let fill = || Fill {
            fill_mode: serde_json::from_value(case["fill_mode"].clone()).expect("a mode"),
            interpolation: serde_json::from_value(case["interpolation"].clone()).expect("a name"),
            fill_value: 17.0,
        };
        let given = || numbers(&case["given"]);
        let change = match case["kind"].as_str().expect("a name") {
            "flip" => {
                let mode: FlipMode = serde_json::from_value(case["given"].clone()).expect("a mode");
                Change::Flip { horizontal: mode != FlipMode::Vertical, vertical: mode != FlipMode::Horizontal }
            }
            "rotation" => Change::Affine(Affine::rotation(given()[0] * std::f32::consts::TAU, size), fill()),
            "zoom" => Change::Affine(Affine::zoom([1.0 + given()[0], 1.0 + given()[1]], size), fill()),
            "translation" => {
                let [down, right] = [given()[0] * size[0] as f32, given()[1] * size[1] as f32];
                Change::Affine(Affine::translation([down, right]), fill())
            }
            "contrast" => Change::Contrast(given()[0]),
            "brightness" => Change::Brightness(given()[0] * 255.0),
            "crop" => {
                let [top, left, rows, columns] = [0, 1, 2, 3].map(|at| given()[at] as usize);
                Change::Crop { top, left, rows, columns }
            }
            other => panic!("unknown kind {other}"),
        };
        let mut ours = image(size[0] * size[1] * 3);
        change.apply(&mut ours, size, &mut Vec::new());
        let expected = numbers(&case["value"]);
        let worst = ours.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 5e-3, "{change:?} is off by {worst}");
    }
    assert_eq!(cases.len(), 3 + 4 * 2 * 8 + 2 + 2 + 2);
}

#[test]
fn angles_zooms_and_shifts_are_drawn_from_keras_ranges() {
    let size = [80, 120];
    let affine = |value: Value| -> Vec<[f32; 6]> {
        let matrix = |change: &Change| match change {
            Change::Affine(affine, fill) => {
                assert_eq!(*fill, Fill::default());
                affine.0
            }
            other => panic!("{other:?}"),
        };
        drawn(&of_json(value), size).iter().map(matrix).collect()
    };
    let angles = |factor: Value| -> Vec<f32> {
        let matrices = affine(json!({ "name": "random_rotation", "factor": factor }));
        matrices.iter().map(|m| m[3].atan2(m[0]) / std::f32::consts::TAU).collect()
    };
    check_uniform(&angles(json!(0.2)), [-0.2, 0.2]);
    check_uniform(&angles(json!(-0.2)), [-0.2, 0.2]);
    check_uniform(&angles(json!([0.05, 0.1])), [0.05, 0.1]);
    check_uniform(&angles(json!([0.1, 0.05])), [0.05, 0.1]);

    let zooms = affine(json!({ "name": "random_zoom", "height_factor": [-0.3, -0.2] }));
    // A negative factor shows less of the image: it comes nearer.
    check_uniform(&zooms.iter().map(|m| m[4]).collect::<Vec<_>>(), [0.7, 0.8]);
    assert!(zooms.iter().all(|m| m[0] == m[4]), "without a width's factor the aspect ratio stays");
    let zooms = affine(json!({ "name": "random_zoom", "height_factor": 0.5, "width_factor": 0.1 }));
    check_uniform(&zooms.iter().map(|m| m[4]).collect::<Vec<_>>(), [0.5, 1.5]);
    check_uniform(&zooms.iter().map(|m| m[0]).collect::<Vec<_>>(), [0.9, 1.1]);

    let shifts = affine(json!({ "name": "random_translation", "height_factor": 0.1, "width_factor": [0.2, 0.3] }));
    check_uniform(&shifts.iter().map(|m| -m[5]).collect::<Vec<_>>(), [-8.0, 8.0]);
    check_uniform(&shifts.iter().map(|m| -m[2]).collect::<Vec<_>>(), [24.0, 36.0]);
}

#[test]
fn light_flips_and_crops_are_drawn_from_keras_ranges() {
    let size = [20, 30];
    let contrasts = |factor: Value| -> Vec<f32> {
        let scale = |change: &Change| match change {
            Change::Contrast(scale) => *scale,
            other => panic!("{other:?}"),
        };
        drawn(&of_json(json!({ "name": "random_contrast", "factor": factor })), size).iter().map(scale).collect()
    };
    check_uniform(&contrasts(json!(0.2)), [0.8, 1.2]);
    check_uniform(&contrasts(json!([0.1, 0.3])), [0.9, 1.3]);
    check_uniform(&contrasts(json!([0.0, 0.3])), [1.0, 1.3]);
    let brightness = |change: &Change| match change {
        Change::Brightness(delta) => *delta,
        other => panic!("{other:?}"),
    };
    let deltas = drawn(&of_json(json!({ "name": "random_brightness", "factor": [-0.2, 0.4] })), size);
    check_uniform(&deltas.iter().map(brightness).collect::<Vec<_>>(), [-51.0, 102.0]);

    for (mode, axes) in
        [("horizontal", (true, false)), ("vertical", (false, true)), ("horizontal_and_vertical", (true, true))]
    {
        let flips = drawn(&of_json(json!({ "name": "random_flip", "mode": mode })), size);
        let flipped = flips.iter().filter(|change| {
            let Change::Flip { horizontal, vertical } = change else { panic!("{change:?}") };
            assert!([(false, false), axes].contains(&(*horizontal, *vertical)), "both axes turn together");
            *horizontal || *vertical
        });
        assert!((1850..2150).contains(&flipped.count()), "half of 4000");
    }
    assert_eq!(
        of_json(json!({ "name": "random_flip" })),
        Augmentation::RandomFlip { mode: FlipMode::HorizontalAndVertical }
    );

    let crop = |rows: usize, columns: usize| -> Vec<[usize; 2]> {
        let place = |change: &Change| match *change {
            Change::Crop { top, left, rows: r, columns: c } => {
                assert_eq!((r, c), (rows, columns));
                [top, left]
            }
            other => panic!("{other:?}"),
        };
        drawn(&Augmentation::RandomCrop { height: rows, width: columns }, size).iter().map(place).collect()
    };
    let places = crop(18, 25);
    for (axis, most) in [(0, 2), (1, 5)] {
        let mut seen: Vec<usize> = places.iter().map(|place| place[axis]).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..=most).collect::<Vec<_>>());
    }
    // Not smaller both ways: the middle, as Keras computes it.
    assert!(crop(20, 15).iter().all(|place| *place == [0, 7]));
    assert!(crop(40, 40).iter().all(|place| *place == [0, 5]));
}

#[test]
fn what_is_drawn_depends_on_seed_epoch_and_image_alone() {
    let layers = [
        Augmentation::RandomFlip { mode: FlipMode::Horizontal },
        Augmentation::RandomRotation { factor: Factor::Symmetric(0.1), fill: Fill::default() },
    ];
    let run = |seed, epoch, at| {
        let mut pixels = image(8 * 8 * 3);
        augment(&layers, &mut pixels, [8, 8], &mut generator(seed, epoch, at));
        pixels
    };
    assert_eq!(run(1, 2, 3), run(1, 2, 3));
    for (seed, epoch, at) in [(2, 2, 3), (1, 3, 3), (1, 2, 4), (2, 1, 3), (3, 2, 1)] {
        assert_ne!(run(seed, epoch, at), run(1, 2, 3), "seed {seed}, epoch {epoch}, image {at}");
    }
}

#[test]
fn options_have_keras_names_and_defaults() {
    let written = |augmentation: &Augmentation| serde_json::to_value(augmentation).expect("JSON");
    let zoom = of_json(json!({ "name": "random_zoom", "height_factor": 0.2, "fill_mode": "wrap" }));
    let Augmentation::RandomZoom { height_factor, width_factor, fill } = zoom else { panic!("{zoom:?}") };
    assert_eq!((height_factor, width_factor), (Factor::Symmetric(0.2), None));
    assert_eq!((fill.fill_mode, fill.interpolation, fill.fill_value), (FillMode::Wrap, Sampling::Bilinear, 0.0));
    let all = [
        json!({ "name": "random_flip", "mode": "vertical" }),
        json!({ "name": "random_rotation", "factor": [0.1, 0.2], "fill_mode": "constant", "interpolation": "nearest", "fill_value": 9.0 }),
        json!({ "name": "random_zoom", "height_factor": 0.1, "width_factor": [0.0, 0.2], "fill_mode": "nearest", "interpolation": "bilinear", "fill_value": 0.0 }),
        json!({ "name": "random_translation", "height_factor": 0.1, "width_factor": 0.2, "fill_mode": "reflect", "interpolation": "bilinear", "fill_value": 0.0 }),
        json!({ "name": "random_contrast", "factor": 0.3 }),
        json!({ "name": "random_brightness", "factor": 0.3 }),
        json!({ "name": "random_crop", "height": 96, "width": 80 }),
    ];
    for value in all {
        assert_eq!(written(&of_json(value.clone())), value);
    }
}

/// Three pictures of one colour each, mixed.
fn mixed(options: MixOptions, batch: u64, size: [usize; 2]) -> (Vec<f32>, Vec<Label>, injerto_data::augment::Mix) {
    let length = size[0] * size[1] * 3;
    let mut pixels: Vec<f32> = [0.0, 100.0, 200.0].iter().flat_map(|&value| vec![value; length]).collect();
    let labels: Vec<Label> = [0, 2, 1].map(Label::Class).to_vec();
    let mix = options.mix(&mut pixels, &labels, size, (5, 1, batch)).expect("it is on");
    (pixels, labels, mix)
}

#[test]
fn mixup_mixes_pixels_and_labels_by_the_same_part() {
    let options = MixOptions { mixup: 0.4, cutmix: 0.0 };
    let mut parts = Vec::new();
    for batch in 0..2000 {
        let (pixels, labels, mix) = mixed(options, batch, [2, 2]);
        assert_eq!(mix.labels, [1, 2, 0], "the first with the last");
        let [p, _, q] = mix.parts[..] else { panic!("three") };
        assert!(pixels[..12].iter().all(|&x| (x - (1.0 - p) * 200.0).abs() < 1e-3));
        assert!(pixels[12..24].iter().all(|&x| x == 100.0), "the one in the middle is its own partner");
        assert!(pixels[24..].iter().all(|&x| (x - q * 200.0).abs() < 1e-3));
        let targets = mix.targets(&labels, 3);
        assert_eq!(targets[3..6], [0.0, 0.0, 1.0]);
        assert_eq!((targets[0], targets[1]), (p, 1.0 - p));
        assert!(targets.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        parts.extend([f64::from(p), f64::from(q)]);
    }
    assert_ne!(parts[0], parts[1]);
    // Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
    check_beta(&parts, 0.4);
    assert_eq!(MixOptions::default().mix(&mut [], &[], [2, 2], (0, 0, 0)), None);
}

#[test]
fn of_images_with_several_classes_each_class_is_mixed_for_itself() {
    let labels = [Label::several([0, 2]), Label::several([]), Label::several([2])];
    let mix =
        injerto_data::augment::Mix { labels: labels.iter().rev().cloned().collect(), parts: vec![0.75, 0.5, 0.25] };
    assert_eq!(mix.targets(&labels, 3), [0.75, 0.0, 1.0, 0.0, 0.0, 0.0, 0.75, 0.0, 1.0]);
}

#[track_caller]
fn check_beta(parts: &[f64], alpha: f64) {
    let count = parts.len() as f64;
    let mean = parts.iter().sum::<f64>() / count;
    let variance = parts.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
    assert!((mean - 0.5).abs() < 0.03, "alpha {alpha}: mean {mean}");
    assert!((variance / expected - 1.0).abs() < 0.08, "alpha {alpha}: variance {variance}, expected {expected}");
}

#[test]
fn parts_are_drawn_from_beta() {
    for alpha in [1e-3, 0.2, 1.0, 8.0] {
        let options = MixOptions { mixup: alpha, cutmix: 0.0 };
        let parts: Vec<f64> = (0..3000)
            .flat_map(|batch| {
                let parts = mixed(options, batch, [1, 1]).2.parts;
                [parts[0], parts[2]]
            })
            .map(f64::from)
            .collect();
        assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)));
        check_beta(&parts, alpha);
    }
}

#[test]
fn cutmix_puts_a_box_of_the_other_in_and_corrects_the_part() {
    let (size, mut parts) = ([16, 24], Vec::new());
    for batch in 0..500 {
        let (pixels, _, mix) = mixed(MixOptions { mixup: 0.0, cutmix: 1.0 }, batch, size);
        for (at, other, part) in [(0, 200.0, mix.parts[0]), (2, 0.0, mix.parts[2])] {
            let image = &pixels[at * 16 * 24 * 3..][..16 * 24 * 3];
            let inside: Vec<usize> = (0..16 * 24).filter(|pixel| image[pixel * 3] == other).collect();
            let left = 1.0 - inside.len() as f32 / (16.0 * 24.0);
            assert!((left - part).abs() < 1e-6, "{left} is left, {part} is said");
            // It is a box: its corners span as many pixels as there are.
            if let (Some(first), Some(last)) = (inside.first(), inside.last()) {
                let columns = inside.iter().map(|pixel| pixel % 24);
                let width = columns.clone().max().expect("one") - columns.min().expect("one") + 1;
                assert_eq!((last / 24 - first / 24 + 1) * width, inside.len());
            }
            parts.push(part);
        }
        assert_eq!(mix.parts[1], 1.0);
    }
    assert!(parts.iter().any(|part| *part < 0.2) && parts.iter().any(|part| *part > 0.9));
}

#[test]
fn with_both_a_coin_decides_for_the_batch() {
    let options = MixOptions { mixup: 1.0, cutmix: 1.0 };
    let boxes = (0..400).filter(|&batch| {
        let (pixels, ..) = mixed(options, batch, [8, 8]);
        pixels.iter().all(|x| [0.0, 100.0, 200.0].contains(x))
    });
    assert!((150..250).contains(&boxes.count()));
}

proptest! {
    /// No option and no size panics, and without a mode that fills, values stay in the image's range.
    #[test]
    fn nothing_panics(
        height in 0_usize..7, width in 0_usize..7, a in -1e3_f64..1e3, b in -1.0_f64..1.0,
        mode in 0_usize..4, nearest: bool, rows in 0_usize..9, columns in 0_usize..9,
    ) {
        let fill_mode = [FillMode::Reflect, FillMode::Wrap, FillMode::Constant, FillMode::Nearest][mode];
        let interpolation = if nearest { Sampling::Nearest } else { Sampling::Bilinear };
        let fill = Fill { fill_mode, interpolation, fill_value: 0.0 };
        let factor = Factor::Range([a, b]);
        let layers = [
            Augmentation::RandomRotation { factor, fill },
            Augmentation::RandomZoom { height_factor: factor, width_factor: None, fill },
            Augmentation::RandomTranslation { height_factor: factor, width_factor: Factor::Symmetric(b), fill },
            Augmentation::RandomCrop { height: rows, width: columns },
            Augmentation::RandomContrast { factor },
            Augmentation::RandomBrightness { factor },
        ];
        let original = image(height * width * 3);
        let (low, high) = original.iter().fold((f32::MAX, f32::MIN), |(l, h), &x| (l.min(x), h.max(x)));
        for (at, layer) in layers.iter().enumerate() {
            let mut pixels = original.clone();
            augment(&[*layer], &mut pixels, [height, width], &mut generator(1, 0, 0));
            prop_assert_eq!(pixels.len(), original.len());
            if at < 4 && fill_mode != FillMode::Constant {
                prop_assert!(pixels.iter().all(|&x| x >= low - 1e-2 && x <= high + 1e-2), "{:?}", layer);
            }
        }
    }
}
