//! Measures each step of an image from its file to a batch: `cargo bench -p injerto-data`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use injerto_data::augment::{Augmentation, Factor, Fill, FlipMode, MixOptions, augment, generator};
use injerto_data::decode::{Orientation, Rgb, decode, decode_scaled};
use injerto_data::generated::Task;
use injerto_data::resize::{Interpolation, resize};
use injerto_data::{Loader, LoaderOptions, Origin, folder};

/// A drawn image with the size of a common photo.
fn picture() -> Rgb {
    drawn([375, 500])
}

fn drawn(size: [usize; 2]) -> Rgb {
    let dataset = Task::Flowers.dataset(1, 1, 0);
    let Origin::Drawn(drawing) = &dataset.samples[0].origin else { unreachable!("it is drawn") };
    drawing.draw(size)
}

fn jpeg(picture: &Rgb) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
    let (width, height) = (picture.width as u32, picture.height as u32);
    image::ImageEncoder::write_image(encoder, &picture.pixels, width, height, image::ExtendedColorType::Rgb8)
        .expect("encodes");
    bytes
}

fn images(criterion: &mut Criterion) {
    let picture = picture();
    let bytes = jpeg(&picture);
    let mut group = criterion.benchmark_group("decode");
    group.bench_function("jpeg 500x375", |b| b.iter(|| decode(black_box(&bytes), Orientation::Ignore)));
    let bytes = jpeg(&drawn([3024, 4032]));
    group.sample_size(20);
    group.bench_function("jpeg 4032x3024", |b| b.iter(|| decode(black_box(&bytes), Orientation::Ignore)));
    group.bench_function("jpeg 4032x3024 for 160x160", |b| {
        b.iter(|| decode_scaled(black_box(&bytes), Orientation::Ignore, [160, 160]));
    });
    group.finish();
    let mut group = criterion.benchmark_group("resize 500x375 to 160x160");
    for how in [Interpolation::Bilinear, Interpolation::Nearest, Interpolation::Bicubic, Interpolation::Area] {
        group.bench_function(format!("{how:?}").to_lowercase(), |b| {
            b.iter(|| resize(black_box(&picture), [160, 160], how, false));
        });
    }
    group.finish();
}

fn layers() -> Vec<(&'static str, Augmentation)> {
    let (factor, fill) = (Factor::Symmetric(0.2), Fill::default());
    vec![
        ("flip", Augmentation::RandomFlip { mode: FlipMode::HorizontalAndVertical }),
        ("rotation", Augmentation::RandomRotation { factor, fill }),
        ("zoom", Augmentation::RandomZoom { height_factor: factor, width_factor: None, fill }),
        ("contrast", Augmentation::RandomContrast { factor }),
        ("brightness", Augmentation::RandomBrightness { factor }),
        ("crop", Augmentation::RandomCrop { height: 128, width: 128 }),
    ]
}

fn augmentation(criterion: &mut Criterion) {
    let size = [160, 160];
    let original = resize(&picture(), size, Interpolation::Bilinear, false);
    let mut group = criterion.benchmark_group("augment 160x160");
    for (name, layer) in layers() {
        let mut random = generator(1, 2, 3);
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || original.clone(),
                |pixels| augment(&[layer], pixels, size, &mut random),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = jpeg(&picture());
    for class in ["a", "b"] {
        std::fs::create_dir(folder.path().join(class)).expect("made");
        for at in 0..64 {
            std::fs::write(folder.path().join(class).join(format!("{at}.jpg")), &bytes).expect("written");
        }
    }
    let dataset = folder::scan(folder.path()).expect("opens");
    let options = LoaderOptions {
        shuffle: Some(1),
        augment: layers().into_iter().map(|(_, layer)| layer).collect(),
        mix: MixOptions { mixup: 0.2, cutmix: 1.0 },
        seed: 1,
        ..LoaderOptions::new([160, 160], 32)
    };
    let loader = Loader::new(dataset.clone(), options.clone());
    let cached = Loader::new(dataset, LoaderOptions { cache_bytes: 1 << 30, ..options });
    let order = loader.order(0);
    let mut group = criterion.benchmark_group("128 photos of 500x375 in batches of 160x160");
    group.sample_size(20).throughput(Throughput::Elements(order.len() as u64));
    group.bench_function("plain", |b| b.iter(|| loader.batches(&order).count()));
    group.bench_function("augmented and mixed", |b| b.iter(|| loader.augmented(&order, 0).count()));
    group.bench_function("from cached pixels", |b| b.iter(|| cached.batches(&order).count()));
    group.finish();
}

criterion_group!(benches, images, augmentation, batches);
criterion_main!(benches);
