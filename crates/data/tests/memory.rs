//! Memory is bounded by the batches that wait, not by the number of images. One test alone, since it measures the whole process.

#![cfg(target_os = "linux")]

use injerto_data::augment::{Augmentation, Factor, Fill, MixOptions};
use injerto_data::decode::Rgb;
use injerto_data::generated::Task;
use injerto_data::{Loader, LoaderOptions};

/// The most memory that this process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("kilobytes") * 1024
}

#[test]
fn the_peak_does_not_grow_with_the_number_of_images() {
    let pass = |per_class: usize| {
        let options = LoaderOptions {
            shuffle: Some(1),
            augment: vec![Augmentation::RandomRotation { factor: Factor::Symmetric(0.1), fill: Fill::default() }],
            mix: MixOptions { mixup: 0.2, cutmix: 0.0 },
            seed: 1,
            ..LoaderOptions::new([32, 32], 32)
        };
        let loader = Loader::new(Task::Shapes.dataset(per_class, 1, 0), options);
        loader.augmented(&loader.order(0), 0).map(|batch| batch.expect("a batch").labels.len()).sum::<usize>()
    };
    // The same without a dataset: each image is made when it is asked for, and is larger than what is left of it.
    let stream = |count: usize| {
        let images = (0..count).map(|at| Rgb { height: 64, width: 64, pixels: vec![at as u8; 64 * 64 * 3] });
        let decoded = LoaderOptions::new([32, 32], 32).stream(images);
        decoded.map(|decoded| decoded.expect("a batch").images.len()).sum::<usize>()
    };
    assert_eq!((pass(100), stream(1_000)), (1_000, 1_000));
    let before = peak();
    assert_eq!((pass(1_000), stream(10_000)), (10_000, 10_000));
    let (grown, pixels) = (peak() - before, 10_000 * 32 * 32 * 3 * size_of::<f32>());
    assert!(grown < pixels / 10, "the peak grew by {grown} bytes over {pixels} bytes of pixels");
}
