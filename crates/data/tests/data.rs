//! The data crate against Keras's and TensorFlow's numbers, real photos and bad files.

use std::fs;
use std::path::{Path, PathBuf};

use injerto_data::decode::{Orientation, Rgb, decode, examine};
use injerto_data::generated::{Task, export};
use injerto_data::resize::{Interpolation, center_crop, resize};
use injerto_data::{Loader, LoaderOptions, OnCorrupt, Origin, folder};
use proptest::prelude::*;
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
    let cases = golden(include_str!("../../../golden/tf_resize.json"));
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
    let cases = golden(include_str!("../../../golden/keras_split.json"));
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

/// Files that `golden/avif_values.py` wrote, and what libavif makes of them.
#[cfg(feature = "avif")]
mod avif {
    use injerto_data::decode::{Examined, Format, Orientation, decode, examine};

    const FILES: [(&str, &[u8]); 6] = [
        ("420", include_bytes!("../../../golden/avif_420.avif")),
        ("422_limited", include_bytes!("../../../golden/avif_422_limited.avif")),
        ("444", include_bytes!("../../../golden/avif_444.avif")),
        ("grey", include_bytes!("../../../golden/avif_grey.avif")),
        ("clear", include_bytes!("../../../golden/avif_clear.avif")),
        ("turned", include_bytes!("../../../golden/avif_turned.avif")),
    ];

    #[test]
    fn pixels_are_those_of_libavif() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../golden/avif.json")).expect("golden values are JSON");
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
}

/// Files that `golden/jxl_values.py` wrote.
#[cfg(feature = "jxl")]
mod jpeg_xl {
    use injerto_data::decode::{Examined, Format, Orientation, decode, examine};

    const LOSSLESS: &[u8] = include_bytes!("../../../golden/jxl_lossless.jxl");
    const LOSSY: &[u8] = include_bytes!("../../../golden/jxl_lossy.jxl");
    const CLEAR: &[u8] = include_bytes!("../../../golden/jxl_clear.jxl");
    const GREY: &[u8] = include_bytes!("../../../golden/jxl_grey.jxl");

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
}
