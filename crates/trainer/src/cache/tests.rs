use std::fs;
use std::path::Path;

use injerto_data::generated::Task;
use injerto_data::{Batch, Dataset, Loader, LoaderOptions, OnCorrupt, Origin};

use crate::boundary::Boundary;

use super::segment::{Header, decode, encode};
use super::*;

/// Drawn images of ten classes.
fn images(per_class: usize) -> Dataset {
    Task::Shapes.dataset(per_class, 1, 0)
}

fn loader(dataset: Dataset) -> Loader {
    let options = LoaderOptions { on_corrupt: OnCorrupt::Skip, seed: 1, ..LoaderOptions::new([8, 8], 4) };
    Loader::new(dataset, options)
}

fn namespace(folder: Option<&Path>, memory: usize) -> Namespace {
    let (namespace, network) = ("namespace".to_owned(), "net".to_owned());
    let header = Header { namespace, network, shapes: vec![vec![2], vec![1, 1, 3]], precision: FeaturePrecision::F32 };
    Namespace { header, folder: folder.map(|folder| folder.join("namespace")), memory }
}

/// Features that identify their image: five values, beginning with the first pixel.
fn values(batch: &Batch) -> Vec<Vec<f32>> {
    let of = |image: usize, at: usize| batch.pixels[image * 192 + at];
    let count = batch.labels.len();
    let two = (0..count).flat_map(|image| [of(image, 0), of(image, 1)]).collect();
    let three = (0..count).flat_map(|image| [of(image, 2), of(image, 3), of(image, 4)]).collect();
    vec![two, three]
}

/// All features, and the number of images that were computed for them.
fn all(namespace: Namespace, loader: &Loader) -> (Option<Features>, usize) {
    let mut computed = 0;
    let mut compute = |batch: &Batch| {
        computed += batch.labels.len();
        Ok(Boundary::Host(values(batch)))
    };
    let features = Features::gather_all(namespace, loader, None, &mut compute, &mut |_| true).expect("computed");
    (features, computed)
}

fn check(features: &Features, loader: &Loader) {
    let order: Vec<usize> = (0..loader.len()).rev().collect();
    assert_eq!(features.usable(&order), order);
    let (blocks, labels) = features.gather(&order, 0).expect("read");
    let expected: Vec<Batch> = loader.batches(&order).collect::<Result<_, _>>().expect("batches");
    let expected: Vec<Vec<Vec<f32>>> = expected.iter().map(values).collect();
    for (at, block) in blocks.iter().enumerate() {
        let whole: Vec<f32> = expected.iter().flat_map(|batch| batch[at].clone()).collect();
        assert_eq!(block, &whole);
    }
    let own: Vec<_> = order.iter().map(|&image| loader.dataset().samples[image].label.clone()).collect();
    assert_eq!(labels, own);
}

fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder.join("namespace")).expect("a namespace").flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn an_image_is_computed_once_for_all_runs() {
    for memory in [0, 1 << 20] {
        let folder = tempfile::tempdir().expect("a folder");
        let small = loader(images(2));
        for expected in [20, 0] {
            let (features, computed) = all(namespace(Some(folder.path()), memory), &small);
            assert_eq!(computed, expected);
            check(&features.expect("kept"), &small);
        }
        // Only the new images of a dataset are computed; order, labels and names do not matter.
        let mut grown = images(3);
        grown.samples.reverse();
        let grown = loader(grown);
        let (features, computed) = all(namespace(Some(folder.path()), memory), &grown);
        assert_eq!(computed, 10);
        check(&features.expect("kept"), &grown);
        assert_eq!(list(folder.path()).expect("listed")[0].images, 30);
    }
}

#[test]
fn features_that_were_computed_before_a_stop_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let loader = loader(images(2));
    let mut compute = |batch: &Batch| Ok(Boundary::Host(values(batch)));
    let stopped =
        Features::gather_all(namespace(Some(folder.path()), 0), &loader, None, &mut compute, &mut |done| done < 8);
    assert!(stopped.expect("stopped").is_none());
    assert_eq!(all(namespace(Some(folder.path()), 0), &loader).1, 12);
}

#[test]
fn a_damaged_segment_is_removed_and_computed_again() {
    for memory in [0, 1 << 20] {
        // The damage is in the header, in a row, in the index or in the footer, or the file is cut short.
        for place in [20, 200, 700, usize::MAX, 0] {
            let folder = tempfile::tempdir().expect("a folder");
            let loader = loader(images(2));
            all(namespace(Some(folder.path()), memory), &loader);
            let segment = segments(folder.path()).remove(0);
            let mut bytes = fs::read(&segment).expect("read");
            match place {
                0 => bytes.truncate(300),
                usize::MAX => *bytes.last_mut().expect("not empty") ^= 1,
                at => bytes[at] ^= 1,
            }
            fs::write(&segment, bytes).expect("written");
            let (features, computed) = all(namespace(Some(folder.path()), memory), &loader);
            assert_eq!(computed, 20, "byte {place}");
            check(&features.expect("kept"), &loader);
            assert!(!segment.exists(), "byte {place}");
            assert_eq!(all(namespace(Some(folder.path()), memory), &loader).1, 0);
        }
    }
}

#[test]
fn without_a_folder_features_are_kept_in_memory_or_not_at_all() {
    let loader = loader(images(2));
    let (features, computed) = all(namespace(None, 400), &loader);
    assert_eq!(computed, 20);
    check(&features.expect("they fit"), &loader);
    assert!(!all(namespace(None, 399), &loader).0.expect("nobody stops it").are_kept());
}

#[test]
fn a_folder_that_cannot_be_written_does_not_end_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, b"not a folder").expect("written");
    let loader = loader(images(2));
    check(&all(namespace(Some(&file), 1 << 20), &loader).0.expect("in memory"), &loader);
    assert!(!all(namespace(Some(&file), 0), &loader).0.expect("nobody stops it").are_kept());
}

#[test]
fn features_without_a_place_are_those_of_the_images_that_can_be_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dataset = images(1);
    let broken = folder.path().join("broken.png");
    fs::write(&broken, b"no image").expect("written");
    dataset.samples[3].origin = Origin::File(broken);
    let loader = loader(dataset);
    let features = all(namespace(None, 0), &loader).0.expect("nobody stops it");
    assert_eq!(features.usable(&[5, 3, 1]), [5, 1]);
    assert_eq!(loader.skipped().len(), 1);
    let values = features.round(Boundary::Host(vec![vec![0.1_f32, 1.0, 1e-9]]));
    assert_eq!(*values.on_host(), [[0.1, 1.0, 1e-9]], "single precision is not rounded");
}

/// Writes a segment with this header, a valid checksum, and `rows` empty rows.
fn crafted(folder: &Path, header: &str, rows: u64) {
    fs::create_dir_all(folder.join("namespace")).expect("made");
    let mut bytes = b"INJFEAT1".to_vec();
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.to_le_bytes());
    bytes.extend(crc32fast::hash(header.as_bytes()).to_le_bytes());
    bytes.extend(b"INJFEND1");
    fs::write(folder.join("namespace/crafted.features"), bytes).expect("written");
}

#[test]
fn a_segment_with_impossible_sizes_counts_as_damaged() {
    let max = usize::MAX;
    for shapes in [format!("[[{max}, {max}]]"), format!("[[{max}], [1]]"), format!("[[{}]]", max / 4), "[]".to_owned()]
    {
        for rows in [0, 1, 1 << 60, u64::MAX] {
            let folder = tempfile::tempdir().expect("a folder");
            let header =
                format!(r#"{{"space": "namespace", "network": "net", "shapes": {shapes}, "precision": "f32"}}"#);
            crafted(folder.path(), &header, rows);
            assert_eq!(list(folder.path()).expect("listed")[0].images, 0, "{shapes} {rows}");
            let loader = loader(images(1));
            check(&all(namespace(Some(folder.path()), 1 << 20), &loader).0.expect("computed"), &loader);
        }
    }
}

#[test]
fn an_unfinished_file_of_a_killed_process_is_neither_counted_nor_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    all(namespace(Some(folder.path()), 0), &loader(images(1)));
    let before = list(folder.path()).expect("listed")[0].bytes;
    let left = |name: &str, age: u64| {
        let path = folder.path().join("namespace").join(name);
        fs::write(&path, vec![0; 1000]).expect("written");
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        fs::File::options().write(true).open(&path).expect("open").set_modified(then).expect("aged");
        path
    };
    let [old, young] = [left(".partial-old", 2 * 24 * 3600), left(".partial-young", 60)];
    assert_eq!(list(folder.path()).expect("listed")[0].bytes, before);
    prune(folder.path(), None, Some(1 << 40)).expect("pruned");
    // A process may still be writing the younger file.
    assert!(!old.exists() && young.exists());
    let old = left(".partial-old", 2 * 24 * 3600);
    all(namespace(Some(folder.path()), 0), &loader(images(1)));
    assert!(!old.exists(), "the next run removes it too");
}

#[test]
fn concurrent_runs_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let loader = loader(images(2));
                check(&all(namespace(Some(folder.path()), 0), &loader).0.expect("kept"), &loader);
            });
        }
    });
    assert_eq!(all(namespace(Some(folder.path()), 0), &loader(images(2))).1, 0);
}

#[test]
fn half_precision_rounds_to_its_digits() {
    for precision in [FeaturePrecision::F16, FeaturePrecision::BF16, FeaturePrecision::F32] {
        let values = [0.0, 1.0, -2.5, 1e-3, 100.0];
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        encode(precision, &values, &mut bytes);
        decode(precision, &bytes, &mut back);
        assert_eq!(bytes.len(), 5 * precision.bytes());
        for (a, b) in values.iter().zip(back) {
            let digits = if precision == FeaturePrecision::BF16 { 4e-3 } else { 5e-4 };
            assert!((a - b).abs() <= digits * a.abs(), "{precision:?}: {a} became {b}");
        }
    }
}

#[test]
fn old_and_large_namespaces_are_pruned() {
    let folder = tempfile::tempdir().expect("a folder");
    all(namespace(Some(folder.path()), 0), &loader(images(2)));
    assert!(prune(folder.path(), None, Some(1 << 20)).expect("pruned").is_empty());
    assert!(prune(folder.path(), Some(std::time::Duration::from_secs(3600)), None).expect("pruned").is_empty());
    assert_eq!(clear(folder.path()).expect("cleared").len(), 1);
    assert!(list(folder.path()).expect("listed").is_empty());
    assert!(list(&folder.path().join("nowhere")).expect("an empty cache").is_empty());
}

#[test]
fn each_view_is_kept_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let flip = serde_json::from_str(r#"{"name": "random_brightness", "factor": 0.5}"#).expect("an augmentation");
    let plain = loader(images(1));
    let options = LoaderOptions { augment: vec![flip], ..plain.options().clone() };
    let changing = Loader::new(images(1), options);
    let mut computed = 0;
    let mut all_views = |views: usize| {
        let mut compute = |batch: &Batch| {
            computed += batch.labels.len();
            Ok(Boundary::Host(values(batch)))
        };
        let namespace = namespace(Some(folder.path()), 0);
        Features::gather_all(namespace, &changing, Some(views), &mut compute, &mut |_| true)
            .expect("computed")
            .expect("kept")
    };
    let features = all_views(3);
    let order: Vec<usize> = (0..10).collect();
    let of_epoch = |epoch| features.gather(&order, epoch).expect("read").0;
    assert_eq!(of_epoch(1), of_epoch(4));
    assert!(of_epoch(0) != of_epoch(1) && of_epoch(1) != of_epoch(2));
    all_views(3);
    assert_eq!(computed, 30, "each view is computed once");
}

#[test]
fn numbers_of_pixels_are_kept_by_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = CacheSettings {
        folder: Some(folder.path().to_owned()),
        memory: 0,
        precision: injerto_recipe::FeaturePrecision::F16,
    };
    let (few, many) = (images(1), images(2));
    let pixels = loader(few.clone()).options().clone();
    let open = |name: &str, dataset: &Dataset| PixelRows::open(&settings, name, 2, dataset, &pixels);
    let mut rows = open("brightness 1", &few);
    assert_eq!(rows.missing().len(), few.samples.len());
    // Numbers that half precision would round.
    (0..few.samples.len()).for_each(|image| rows.put(image, vec![image as f32 + 0.001, -1.0]));
    assert!(rows.keep().iter().all(Option::is_some));
    // A larger dataset that holds these images finds their numbers, wherever they stand in it.
    let prints = few.fingerprints();
    let rows = open("brightness 1", &many);
    assert_eq!(rows.missing().len(), many.samples.len() - few.samples.len());
    for (print, row) in many.fingerprints().into_iter().zip(rows.keep()) {
        let image = prints.iter().position(|known| *known == print);
        assert_eq!(row, image.map(|image| vec![image as f32 + 0.001, -1.0]));
    }
    assert_eq!(open("brightness 2", &few).missing().len(), few.samples.len(), "they are computed otherwise");
    // A damaged file costs a second computation, and nothing else.
    for namespace in fs::read_dir(folder.path()).expect("listed").flatten() {
        for segment in fs::read_dir(namespace.path()).expect("listed").flatten() {
            fs::write(segment.path(), b"damaged").expect("written");
        }
    }
    assert_eq!(open("brightness 1", &few).missing().len(), few.samples.len());
}
