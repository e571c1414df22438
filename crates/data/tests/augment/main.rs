//! Augmentation against the numbers and definitions of Keras and torchvision.

mod mix;

use injerto_data::augment::{
    Affine, Augmentation, Change, ErasedWith, Factor, Fill, FillMode, FlipMode, MOST_VIEWS, Operation, Policy, Preset,
    Sampling, Tone, augment, generator, test_views,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const GOLDEN: &str = include_str!("../golden/augment.json");

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
    (0..4000).flat_map(|image| augmentation.draw(size, &mut generator(7, 0, image))).collect()
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

/// An operation by torchvision's name.
fn operation(name: &str) -> Operation {
    let found = Operation::ALL.into_iter().find(|operation| format!("{operation:?}") == name);
    found.unwrap_or_else(|| panic!("no operation {name}"))
}

#[test]
fn given_changes_are_torchvision_changes() {
    let golden: Value = serde_json::from_str(include_str!("../golden/torchvision_augment.json")).expect("JSON");
    let [height, width, stride, bins] =
        ["height", "width", "stride", "bins"].map(|key| golden[key].as_u64().expect("a number") as usize);
    let size = [height, width];
    let fill = Fill { fill_mode: FillMode::Constant, interpolation: Sampling::Nearest, fill_value: 0.0 };
    let cases = golden["cases"].as_array().expect("a list");
    let mut seen = 0;
    for case in cases {
        let given = || case["given"].as_f64().expect("a number") as f32;
        let change = if let Some(tone) = case["tone"].as_str() {
            Some(Change::Tone(match tone {
                "brightness" => Tone::Brightness(given()),
                "contrast" => Tone::Contrast(given()),
                "saturation" => Tone::Saturation(given()),
                "hue" => Tone::Hue(given()),
                other => panic!("no tone {other}"),
            }))
        } else if let Some(policy) = case["policy"].as_str() {
            let policy = if policy == "rand_augment" { Policy::RandAugment } else { Policy::TrivialAugmentWide };
            let strength = case["bin"].as_f64().expect("a number") / (bins - 1) as f64;
            let backwards = case["backwards"].as_bool().expect("given");
            policy.change(operation(case["operation"].as_str().expect("a name")), strength, backwards, size, fill)
        } else {
            let [top, left, rows, columns] =
                [0, 1, 2, 3].map(|at| case["crop"][at].as_u64().expect("a number") as usize);
            Some(Change::Crop { top, left, rows, columns })
        };
        let mut pixels = image(height * width * 3);
        if let Some(change) = &change {
            change.apply(&mut pixels, size, &mut Vec::new());
        }
        let ours: Vec<f32> = pixels.into_iter().step_by(stride).collect();
        let expected = numbers(&case["value"]);
        assert_eq!(ours.len(), expected.len());
        let worst = ours.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-2, "{} {change:?} is off by {worst}", case["operation"]);
        seen += 1;
    }
    assert_eq!(seen, 9 + 4 + 3 + 106);
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

/// Boxes by their places and sides: top, left, rows, columns.
fn boxes(augmentation: &Augmentation, size: [usize; 2]) -> Vec<[usize; 4]> {
    let place = |change: &Change| match *change {
        Change::Crop { top, left, rows, columns } | Change::Erase { top, left, rows, columns, .. } => {
            [top, left, rows, columns]
        }
        other => panic!("{other:?}"),
    };
    drawn(augmentation, size).iter().map(place).collect()
}

#[test]
fn crops_and_erased_boxes_have_the_areas_and_aspect_ratios_of_torchvision() {
    let size = [40_000, 40_000];
    let area = |[_, _, rows, columns]: &[usize; 4]| (*rows as f32 / 4e4) * (*columns as f32 / 4e4);
    let inside = |[top, left, rows, columns]: &[usize; 4]| top + rows <= 40_000 && left + columns <= 40_000;
    let crops = boxes(&of_json(json!({ "name": "random_resized_crop", "scale": [0.1, 0.5] })), size);
    assert!(crops.len() == 4000 && crops.iter().all(inside));
    check_uniform(&crops.iter().map(area).collect::<Vec<_>>(), [0.1, 0.5]);
    let ratios: Vec<f32> = crops.iter().map(|place| (place[3] as f32 / place[2] as f32).ln()).collect();
    check_uniform(&ratios, [0.75_f32.ln(), (4.0_f32 / 3.0).ln()]);

    let erased = boxes(&of_json(json!({ "name": "random_erasing", "p": 0.25 })), size);
    assert!((850..1150).contains(&erased.len()), "a box in a quarter of 4000 images, and not in {}", erased.len());
    assert!(erased.iter().all(inside));
    let ratios = erased.iter().map(|place| place[2] as f32 / place[3] as f32);
    let (least, most) = ratios.fold((f32::MAX, 0.0_f32), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
    assert!((0.29..0.32).contains(&least) && (3.1..3.4).contains(&most), "{least} to {most}");
    let areas: Vec<f32> = erased.iter().map(area).collect();
    assert!(areas.iter().all(|area| (0.019..0.331).contains(area)));

    // If no piece of the image has such an aspect ratio, the largest one in the middle is taken.
    let long = boxes(&of_json(json!({ "name": "random_resized_crop", "scale": [1.0, 1.0] })), [10, 100]);
    assert!(long.iter().all(|place| *place == [0, 43, 10, 13]));
}

#[test]
fn an_erased_box_is_painted_and_nothing_else() {
    let erase = |value: ErasedWith, seed: u64| {
        let mut pixels = vec![100.5; 6 * 5 * 3];
        let erase = Change::Erase { top: 1, left: 2, rows: 3, columns: 2, value, seed };
        erase.apply(&mut pixels, [6, 5], &mut Vec::new());
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (at, &x) in pixels.iter().enumerate() {
            let (y, column) = (at / 15, at / 3 % 5);
            if (1..4).contains(&y) && (2..4).contains(&column) { inside.push(x) } else { outside.push(x) }
        }
        assert!(outside.iter().all(|&x| x == 100.5));
        inside
    };
    assert_eq!(erase(ErasedWith::Value(7.0), 1), [7.0; 18]);
    let noise = erase(ErasedWith::Random, 1);
    assert!(noise.iter().all(|x| x.fract() == 0.0 && (0.0..256.0).contains(x)));
    assert_eq!(erase(ErasedWith::Random, 1), noise);
    assert_ne!(erase(ErasedWith::Random, 2), noise);
}

#[test]
fn colours_are_jittered_by_torchvision_ranges_in_random_order() {
    let jitter = of_json(json!({ "name": "color_jitter", "brightness": 0.4, "saturation": [0.9, 1.5], "hue": 0.1 }));
    let changes = drawn(&jitter, [4, 4]);
    assert_eq!(changes.len(), 3 * 4000, "the contrast stays");
    let of = |pick: fn(&Change) -> Option<f32>| -> Vec<f32> { changes.iter().filter_map(pick).collect() };
    check_uniform(
        &of(|change| if let Change::Tone(Tone::Brightness(x)) = change { Some(*x) } else { None }),
        [0.6, 1.4],
    );
    check_uniform(
        &of(|change| if let Change::Tone(Tone::Saturation(x)) = change { Some(*x) } else { None }),
        [0.9, 1.5],
    );
    check_uniform(&of(|change| if let Change::Tone(Tone::Hue(x)) = change { Some(*x) } else { None }), [-0.1, 0.1]);
    let first = changes.chunks(3).filter(|three| matches!(three[0], Change::Tone(Tone::Hue(_)))).count();
    assert!((1200..1470).contains(&first), "the hue is the first of three changes in a third of 4000 images");
    let strong = of_json(json!({ "name": "color_jitter", "contrast": 3.0 }));
    assert!(drawn(&strong, [4, 4]).iter().all(|change| matches!(change, Change::Tone(Tone::Contrast(0.0..=4.0)))));
}

#[test]
fn policies_draw_every_operation_equally_often() {
    // All changes of one image by two operations, of which the identity makes none.
    let changes = drawn(&of_json(json!({ "name": "rand_augment", "num_ops": 2, "magnitude": 9 })), [40, 40]);
    let expected = 2.0 * 4000.0 * 13.0 / 14.0;
    assert!((changes.len() as f64 / expected - 1.0).abs() < 0.02, "{} changes", changes.len());
    let turns: Vec<f32> = changes
        .iter()
        .filter_map(|change| {
            if let Change::Affine(affine, _) = change {
                let [a0, _, _, b0, ..] = affine.0;
                (a0 != 1.0).then(|| b0.atan2(a0).to_degrees())
            } else {
                None
            }
        })
        .collect();
    assert!((450..700).contains(&turns.len()), "{} turns", turns.len());
    // Strength 9 of 0 to 30 is nine degrees, either way.
    assert!(turns.iter().all(|turn| (turn.abs() - 9.0).abs() < 1e-4));
    assert!(turns.iter().any(|turn| *turn > 0.0) && turns.iter().any(|turn| *turn < 0.0));

    let trivial = of_json(json!({ "name": "trivial_augment_wide" }));
    let counts: Vec<usize> = (0..200).map(|image| trivial.draw([40, 40], &mut generator(1, 0, image)).len()).collect();
    assert!(counts.iter().all(|&count| count <= 1) && counts.contains(&0) && counts.contains(&1));
    let bits: Vec<u32> = drawn(&trivial, [40, 40])
        .iter()
        .filter_map(|change| match change {
            Change::Tone(Tone::Posterize(bits)) => Some(*bits),
            _ => None,
        })
        .collect();
    assert_eq!((bits.iter().min(), bits.iter().max()), (Some(&2), Some(&8)));
}

#[test]
fn presets_change_more_and_more() {
    let distance = |preset: Preset| -> f64 {
        let (size, original) = ([32, 32], image(32 * 32 * 3));
        let layers = preset.augmentations();
        let one = |at: u64| {
            let mut pixels = original.clone();
            augment(&layers, &mut pixels, size, &mut generator(1, 0, at));
            assert!(pixels.iter().all(|x| (0.0..=255.0).contains(x)), "{preset:?}");
            // Means of columns, because neighbouring pixels of this image have nothing in common.
            let mean = |pixels: &[f32], column: usize| pixels.iter().skip(column).step_by(96).sum::<f32>() / 32.0;
            (0..96).map(|column| f64::from((mean(&pixels, column) - mean(&original, column)).abs())).sum::<f64>()
        };
        (0..200).map(one).sum::<f64>()
    };
    let [light, medium, strong] = Preset::ALL.map(distance);
    assert!(0.0 < light && light < medium && medium < strong, "{light}, {medium}, {strong}");
}

#[test]
fn the_views_for_a_test_are_the_image_and_pieces_of_it_each_with_its_mirror_image() {
    let views = test_views([16, 24], MOST_VIEWS + 5);
    assert_eq!(views.len(), MOST_VIEWS);
    let mirror = Change::Flip { horizontal: true, vertical: false };
    for (at, pair) in views.chunks(2).enumerate() {
        assert_eq!(pair[1].split_last(), Some((&mirror, &pair[0][..])), "view {at}");
        match pair[0][..] {
            [] => assert_eq!(at, 0),
            [Change::Crop { top, left, rows, columns }] => {
                assert_eq!((rows, columns), (14, 21));
                assert_eq!([top, left], [[1, 1], [0, 0], [0, 3], [2, 0], [2, 3]][at - 1]);
            }
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!(test_views([16, 24], 0), [Vec::new()]);
    assert_eq!(test_views([16, 24], 3)[..], views[..3]);
    assert_eq!(test_views([1, 1], 12).len(), 12);
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
        json!({ "name": "random_resized_crop", "scale": [0.08, 1.0], "ratio": [0.75, 1.25] }),
        json!({ "name": "color_jitter", "brightness": 0.4, "hue": [-0.1, 0.2] }),
        json!({ "name": "random_erasing", "p": 0.5, "scale": [0.02, 0.33], "ratio": [0.3, 3.3], "value": "random" }),
        json!({ "name": "random_erasing", "p": 0.5, "scale": [0.02, 0.33], "ratio": [0.3, 3.3], "value": 124.0 }),
        json!({ "name": "rand_augment", "num_ops": 2, "magnitude": 9, "num_magnitude_bins": 31, "interpolation": "nearest", "fill_value": 0.0 }),
        json!({ "name": "trivial_augment_wide", "num_magnitude_bins": 31, "interpolation": "bilinear", "fill_value": 8.0 }),
    ];
    for value in all {
        assert_eq!(written(&of_json(value.clone())), value);
    }
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
            Augmentation::RandomResizedCrop { scale: [b.abs(), 1.0], ratio: [0.1, a.abs() + 0.1] },
            Augmentation::ColorJitter {
                brightness: Some(factor), contrast: Some(factor), saturation: Some(factor), hue: Some(factor),
            },
            Augmentation::RandomErasing {
                p: 1.0, scale: [b.abs(), 1.0], ratio: [0.1, a.abs() + 0.1], value: ErasedWith::Random,
            },
            Augmentation::RandAugment {
                num_ops: 3, magnitude: rows, num_magnitude_bins: columns, interpolation, fill_value: 3.0,
            },
            Augmentation::TrivialAugmentWide { num_magnitude_bins: columns, interpolation, fill_value: 0.0 },
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
