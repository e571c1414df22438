//! The data crate against Keras's and TensorFlow's numbers, real photos and bad files.

#[cfg(feature = "avif")]
mod avif;
mod formats;
#[cfg(feature = "jxl")]
mod jpeg_xl;

use std::fs;
use std::path::{Path, PathBuf};

use injerto_data::decode::Rgb;
use injerto_data::generated::{Task, export};
use injerto_data::resize::{Interpolation, center_crop, resize};
use injerto_data::{Loader, LoaderOptions, OnCorrupt, Origin, folder};
use serde_json::Value;

/// A file or folder of `../shared`, or a word that the test is skipped (in CI it must be there).
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} is missing", path.display());
    eprintln!("skipped: {} is missing", path.display());
    None
}

fn golden(text: &str) -> Value {
    serde_json::from_str(text).expect("golden files are JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().expect("a number")],
    }
}

fn options(size: [usize; 2]) -> LoaderOptions {
    LoaderOptions::new(size, 4)
}

/// A small picture as a file.
fn write_image(path: &Path, format: image::ImageFormat) {
    let picture = image::RgbImage::from_fn(13, 9, |x, y| image::Rgb([(x * 19) as u8, (y * 27) as u8, (x * y) as u8]));
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    picture.save_with_format(path, format).expect("written");
}

#[test]
fn the_part_of_an_image_that_is_seen_is_the_part_that_is_read() {
    let check = |crop_to_aspect_ratio, center_crop, expected: [usize; 4]| {
        let options = LoaderOptions { crop_to_aspect_ratio, center_crop, ..options([4, 8]) };
        assert_eq!(options.seen([30, 40]), expected);
        // Grey outside of that part, and white inside.
        let [top, left, height, width] = expected;
        let inside = |y: usize, x: usize| (top..top + height).contains(&y) && (left..left + width).contains(&x);
        let level = |at: usize| if inside(at / 40, at % 40) { 255 } else { 90 };
        let image = Rgb { height: 30, width: 40, pixels: (0..1200).flat_map(|at| [level(at); 3]).collect() };
        let pixels = options.load(&Origin::from(image)).expect("pixels");
        assert!(pixels.iter().all(|value| *value == 255.0), "{pixels:?}");
    };
    check(false, None, [0, 0, 30, 40]);
    check(true, None, [5, 0, 20, 40]);
    check(false, Some(0.5), [8, 12, 15, 15]);
    check(true, Some(0.5), [12, 12, 7, 15]);
}

#[test]
fn resizing_is_tensorflows() {
    let cases = golden(include_str!("../../../../golden/tf_resize.json"));
    for case in cases.as_array().expect("a list") {
        let rows = case["image"].as_array().expect("rows");
        let width = rows[0].as_array().expect("pixels").len();
        let pixels = numbers(&case["image"]).into_iter().map(|x| x as u8).collect();
        let image = Rgb { height: rows.len(), width, pixels };
        let size = numbers(&case["size"]).iter().map(|&x| x as usize).collect::<Vec<_>>();
        let (how, crop) = match case["method"].as_str().expect("a name") {
            "bilinear" => (Interpolation::Bilinear, false),
            "nearest" => (Interpolation::Nearest, false),
            "bicubic" => (Interpolation::Bicubic, false),
            "area" => (Interpolation::Area, false),
            "crop_to_aspect_ratio" => (Interpolation::Bilinear, true),
            other => panic!("unknown method {other}"),
        };
        let ours = resize(&image, [size[0], size[1]], how, crop);
        let expected = numbers(&case["value"]);
        assert_eq!(ours.len(), expected.len());
        let worst = ours.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-3, "{} to {size:?}: off by {worst}", case["method"]);
    }
}

#[test]
fn the_split_is_keras_split() {
    let cases = golden(include_str!("../../../../golden/keras_split.json"));
    for case in cases.as_array().expect("a list") {
        let root = tempfile::tempdir().expect("a folder");
        for (class, count) in case["classes"].as_object().expect("a table") {
            let folder = root.path().join(class);
            fs::create_dir(&folder).expect("made");
            for i in 0..count.as_u64().expect("a number") {
                fs::write(folder.join(format!("{:03}.png", (i * 7919) % 1000)), b"").expect("written");
            }
        }
        let seed = case["seed"].as_u64().expect("a number") as u32;
        let options =
            folder::Options { validation_split: case["validation_split"].as_f64(), seed, ..Default::default() };
        let found = folder::open(root.path(), options).expect("splits");
        for (subset, dataset) in [("training", found.train), ("validation", found.validation.expect("there"))] {
            let names = case["class_names"].as_array().expect("a list");
            assert_eq!(names, &dataset.classes.iter().map(|c| Value::from(c.as_str())).collect::<Vec<_>>());
            let mut files: Vec<String> = Vec::new();
            for sample in &dataset.samples {
                let Origin::File(path) = &sample.origin else { panic!("a file") };
                let relative = path.strip_prefix(root.path()).expect("below the root").to_str().expect("text");
                assert_eq!(relative.split('/').next(), Some(&*sample.label.name(&dataset.classes)));
                files.push(relative.to_owned());
            }
            files.sort();
            let expected: Vec<&str> =
                case[subset].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
            assert_eq!(files, expected, "{subset}, seed {seed}");
        }
    }
}

#[test]
fn a_bad_file_stops_the_work_or_is_skipped_and_listed() {
    let root = tempfile::tempdir().expect("a folder");
    for file in ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.png"] {
        write_image(&root.path().join(file), image::ImageFormat::Png);
    }
    fs::write(root.path().join("a/2.png"), b"").expect("written");
    let whole = fs::read(root.path().join("b/1.png")).expect("read");
    fs::write(root.path().join("b/1.png"), &whole[..whole.len() / 2]).expect("written");

    let dataset = folder::scan(root.path()).expect("opens");
    let strict = Loader::new(dataset.clone(), options([8, 8]));
    let error = strict.batches(&[0, 1, 2]).find_map(Result::err).expect("an error").to_string();
    assert!(error.contains("2.png") && error.contains("the file is empty"), "{error}");

    let lenient = Loader::new(dataset, LoaderOptions { on_corrupt: OnCorrupt::Skip, ..options([8, 8]) });
    for _ in 0..2 {
        let batches: Vec<_> = lenient.batches(&lenient.order(0)).collect::<Result<_, _>>().expect("batches");
        let kept: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
        assert_eq!(kept, [0, 3, 4]);
        assert_eq!(batches[0].labels, [0, 1]);
        assert_eq!(batches[0].pixels.len(), 2 * 8 * 8 * 3);
    }
    let skipped = lenient.skipped();
    let names: Vec<_> =
        skipped.iter().map(|s| s.origin.path().expect("a file").file_name().expect("a name").to_owned()).collect();
    assert_eq!(names, ["2.png", "1.png"], "each is listed once");
}

#[test]
fn orders_depend_on_seed_and_epoch_alone_and_hold_every_image_once() {
    let loader = |shuffle| {
        let dataset = Task::Flowers.dataset(8, 1, 0);
        Loader::new(dataset, LoaderOptions { shuffle, ..options([8, 8]) })
    };
    let shuffled = loader(Some(7));
    assert_eq!(shuffled.order(3), loader(Some(7)).order(3));
    assert_ne!(shuffled.order(3), shuffled.order(4));
    assert_ne!(shuffled.order(3), loader(Some(8)).order(3));
    let mut all = shuffled.order(3);
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    assert_eq!(loader(None).order(5), (0..40).collect::<Vec<_>>());
}

#[test]
fn batches_come_in_order_and_can_be_left_early() {
    let dataset = Task::Shapes.dataset(3, 1, 0);
    let loader = Loader::new(dataset, options([16, 16]));
    let order: Vec<usize> = (0..30).rev().collect();
    let batches: Vec<_> = loader.batches(&order).collect::<Result<_, _>>().expect("batches");
    assert_eq!(batches.iter().map(|batch| batch.labels.len()).collect::<Vec<_>>(), [4, 4, 4, 4, 4, 4, 4, 2]);
    assert_eq!(batches.iter().flat_map(|batch| batch.indices.clone()).collect::<Vec<_>>(), order);
    assert!(loader.decode_time().as_nanos() > 0);
    let mut some = loader.batches(&order);
    some.next().expect("one").expect("good");
    drop(some);
}

#[test]
fn drawings_depend_on_nothing_but_themselves() {
    for task in Task::ALL {
        let dataset = task.dataset(4, 123, 0);
        let draw = |dataset: &injerto_data::Dataset| -> Vec<Rgb> {
            let one = |sample: &injerto_data::Sample| match &sample.origin {
                Origin::Drawn(drawing) => drawing.draw([32, 48]),
                _ => panic!("drawn"),
            };
            dataset.samples.iter().map(one).collect()
        };
        let images = draw(&dataset);
        assert_eq!(images, draw(&task.dataset(4, 123, 0)));
        // No image comes twice, in this series or in another.
        let others = draw(&task.dataset(4, 123, 1)).into_iter().chain(draw(&task.dataset(4, 124, 0)));
        let mut all: Vec<Vec<u8>> = images.into_iter().chain(others).map(|image| image.pixels).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        let mut sorted = task.classes().to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, task.classes());
    }
}

#[test]
fn an_exported_dataset_reads_back_as_the_same_images() {
    let root = tempfile::tempdir().expect("a folder");
    let drawn = Task::Flowers.dataset(2, 5, 0);
    export(&drawn, root.path(), [24, 24]).expect("written");
    let read = folder::scan(root.path()).expect("opens");
    assert_eq!((&read.classes, read.counts()), (&drawn.classes, drawn.counts()));
    let how = options([24, 24]);
    for (a, b) in drawn.samples.iter().zip(&read.samples) {
        assert_eq!(how.load(&a.origin).expect("drawn"), how.load(&b.origin).expect("read"));
    }
}

#[test]
fn the_central_square_is_cut() {
    let image = Rgb { height: 4, width: 8, pixels: (0..96).collect() };
    let square = center_crop(&image, 0.5);
    assert_eq!((square.height, square.width), (2, 2));
    assert_eq!(square.pixels[..3], image.pixels[(8 + 3) * 3..][..3]);
}

#[test]
fn all_real_photos_decode() {
    let check = |root: &str, counts: &[usize]| {
        let Some(root) = shared(root) else { return };
        let folder::Folder { train: training, validation, .. } =
            folder::open(&root, folder::Options::default()).expect("opens");
        let all =
            validation.iter().fold(training.counts(), |a, b| a.iter().zip(b.counts()).map(|(a, b)| a + b).collect());
        assert_eq!(all, counts);
        for dataset in [Some(training), validation].into_iter().flatten() {
            let loader = Loader::new(dataset, LoaderOptions { batch_size: 32, ..options([64, 64]) });
            for batch in loader.batches(&loader.order(0)) {
                assert!(batch.expect("decodes").pixels.iter().all(|x| (0.0..=255.0).contains(x)));
            }
        }
    };
    check("data/cats_and_dogs_filtered", &[1500, 1500]);
    check("data/flower_photos", &[633, 898, 641, 699, 799]);
}
