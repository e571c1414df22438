//! What a loader makes of an order: augmented epochs, views, mixed batches, cached pixels. What a stream makes of images.

use std::fs;

use injerto_data::augment::{Augmentation, Factor, Fill, FlipMode, MixOptions, augment, generator};
use injerto_data::decode::{Orientation, Rgb, decode};
use injerto_data::generated::{Task, export};
use injerto_data::resize::center_crop;
use injerto_data::{
    Batch, Batches, ClassSampling, DataError, Dataset, Loader, LoaderOptions, OnCorrupt, Origin, Sample, folder,
};

const SIZE: [usize; 2] = [12, 10];
const VALUES: usize = 12 * 10 * 3;

fn options(batch_size: usize) -> LoaderOptions {
    LoaderOptions {
        augment: vec![
            Augmentation::RandomFlip { mode: FlipMode::Horizontal },
            Augmentation::RandomRotation { factor: Factor::Symmetric(0.1), fill: Fill::default() },
        ],
        seed: 3,
        ..LoaderOptions::new(SIZE, batch_size)
    }
}

fn drawn(options: LoaderOptions) -> Loader {
    Loader::new(Task::Shapes.dataset(2, 1, 0), options)
}

fn all(batches: Batches) -> Vec<Batch> {
    batches.collect::<Result<_, _>>().expect("batches")
}

/// Image, view and pixels of every place.
fn rows(batches: &[Batch]) -> Vec<(usize, u32, Vec<f32>)> {
    let row = |batch: &Batch| -> Vec<(usize, u32, Vec<f32>)> {
        let pixels = batch.pixels.chunks_exact(VALUES).map(<[f32]>::to_vec);
        let places = batch.indices.iter().copied().zip(batch.views.iter().copied());
        assert_eq!(batch.pixels.len(), batch.labels.len() * VALUES);
        places.zip(pixels).map(|((index, view), pixels)| (index, view, pixels)).collect()
    };
    batches.iter().flat_map(row).collect()
}

#[test]
fn augmentation_depends_neither_on_order_nor_on_batches() {
    let order: Vec<usize> = (0..20).collect();
    let backwards: Vec<usize> = (0..20).rev().collect();
    let (a, b) = (drawn(options(4)), drawn(options(7)));
    let forwards = rows(&all(a.augmented(&order, 5)));
    let mut other = rows(&all(b.augmented(&backwards, 5)));
    other.reverse();
    assert_eq!(forwards, other);
    assert_ne!(forwards, rows(&all(a.augmented(&order, 6))), "another epoch");

    // It is the plain image, changed with the generator of seed, epoch and image.
    let plain = rows(&all(a.batches(&order)));
    for ((index, _, mut pixels), (_, _, changed)) in plain.into_iter().zip(forwards) {
        assert_ne!(pixels, changed);
        augment(&options(1).augment, &mut pixels, SIZE, &mut generator(3, 5, index as u64));
        assert_eq!(pixels, changed);
    }
    let nothing = drawn(LoaderOptions { augment: Vec::new(), ..options(4) });
    assert_eq!(all(nothing.augmented(&order, 1)), all(nothing.batches(&order)));
}

/// A loader of drawn images with so many images per class.
fn uneven(counts: &[usize], sampling: ClassSampling, shuffle: Option<u64>) -> Loader {
    let most = counts.iter().copied().max().unwrap_or(0);
    let Dataset { classes, mut samples } = Task::Shapes.dataset(most, 1, 0);
    let mut left = counts.to_vec();
    samples.retain(|sample| {
        left.get_mut(sample.label.classes()[0] as usize).is_some_and(|left| {
            left.checked_sub(1).is_some_and(|less| {
                *left = less;
                true
            })
        })
    });
    Loader::new(Dataset { classes, samples }, LoaderOptions { sampling, shuffle, ..options(4) })
}

/// Number of places that each class has in an epoch.
fn of_each_class(loader: &Loader, epoch: u64) -> Vec<usize> {
    let mut counts = vec![0; loader.dataset().classes.len()];
    for image in loader.order(epoch) {
        counts[loader.dataset().samples[image].label.classes()[0] as usize] += 1;
    }
    counts
}

#[test]
fn balanced_epochs_have_every_class_equally_often() {
    let loader = uneven(&[14, 2, 5], ClassSampling::Balanced, Some(1));
    let classes = loader.dataset().classes.len();
    for epoch in 0..5 {
        let mut counts = of_each_class(&loader, epoch);
        counts.truncate(3);
        assert_eq!(counts, [7, 7, 7], "epoch {epoch} of {classes} classes");
        // No image of a class comes again before all others have come.
        let order = loader.order(epoch);
        let times = |image: usize| order.iter().filter(|&&other| other == image).count();
        for (image, sample) in loader.dataset().samples.iter().enumerate() {
            let expected = [0..2, 3..5, 1..3][sample.label.classes()[0] as usize].clone();
            assert!(expected.contains(&times(image)), "image {image} comes {} times", times(image));
        }
    }
    // It is the same order for the same seed and epoch alone.
    assert_eq!(loader.order(3), uneven(&[14, 2, 5], ClassSampling::Balanced, Some(1)).order(3));
    assert_ne!(loader.order(3), loader.order(4));
    assert_ne!(loader.order(3), uneven(&[14, 2, 5], ClassSampling::Balanced, Some(2)).order(3));
    // Every image of the largest class comes in some epoch.
    let seen: std::collections::BTreeSet<usize> = (0..20).flat_map(|epoch| loader.order(epoch)).collect();
    assert_eq!(seen.len(), 21);
}

#[test]
fn places_that_cannot_be_divided_evenly_go_to_other_classes_in_each_epoch() {
    let loader = uneven(&[9, 1, 1], ClassSampling::Balanced, Some(1));
    let mut favoured = [0; 3];
    for epoch in 0..60 {
        let counts = of_each_class(&loader, epoch);
        assert!(counts[..3].iter().all(|count| [3, 4].contains(count)) && counts.iter().sum::<usize>() == 11);
        favoured.iter_mut().zip(counts).for_each(|(times, count)| *times += usize::from(count == 4));
    }
    assert!(favoured.iter().all(|times| (25..55).contains(times)), "{favoured:?}");
    assert_eq!(uneven(&[9, 1, 1], ClassSampling::Balanced, None).order(0), (0..11).collect::<Vec<_>>());
    assert_eq!(of_each_class(&uneven(&[9, 1, 1], ClassSampling::Natural, Some(1)), 0)[..3], [9, 1, 1]);
}

#[test]
fn an_image_that_comes_again_in_an_epoch_is_changed_anew() {
    let loader = drawn(options(4));
    let rows = self::rows(&all(loader.augmented(&[3, 5, 3, 3], 2)));
    let [first, _, second, third] = &rows[..] else { panic!("four") };
    assert!(first.0 == 3 && second.0 == 3 && third.0 == 3);
    assert!(first.2 != second.2 && second.2 != third.2 && first.2 != third.2);
    // A view of an image is the same however often it comes.
    let again = self::rows(&all(loader.view(&[3, 5, 3], 2)));
    assert_eq!([&again[0].2, &again[1].2, &again[2].2], [&first.2, &rows[1].2, &first.2]);
}

#[test]
fn views_are_the_first_epochs_image_by_image() {
    let loader = drawn(options(5));
    let order = [7, 0, 12, 3];
    let views = rows(&all(loader.views(&order, 3)));
    let places: Vec<_> = views.iter().map(|(index, view, _)| (*index, *view)).collect();
    let expected: Vec<_> = order.iter().flat_map(|&index| (0..3).map(move |view| (index, view))).collect();
    assert_eq!(places, expected);
    for epoch in 0..3 {
        let augmented = rows(&all(loader.augmented(&order, epoch as u64)));
        for (at, (_, _, pixels)) in augmented.iter().enumerate() {
            assert_eq!(*pixels, views[at * 3 + epoch].2, "image {at}, view {epoch}");
        }
    }
    assert!(all(loader.views(&order, 0)).is_empty());
}

#[test]
fn only_augmented_batches_are_mixed() {
    let mix = MixOptions { mixup: 0.5, cutmix: 0.0 };
    let loader = drawn(LoaderOptions { mix, augment: Vec::new(), ..options(4) });
    let order: Vec<usize> = (0..10).collect();
    let plain = all(loader.batches(&order));
    assert!(plain.iter().chain(&all(loader.views(&order, 2))).all(|batch| batch.mix.is_none()));
    let mixed = all(loader.augmented(&order, 0));
    for (plain, mixed) in plain.iter().zip(&mixed) {
        assert_eq!(plain.labels, mixed.labels);
        let mix = mixed.mix.as_ref().expect("mixed");
        let count = plain.labels.len();
        for at in 0..count {
            let image = |at: usize| &plain.pixels[at * VALUES..(at + 1) * VALUES];
            let (own, other, part) = (image(at), image(count - 1 - at), mix.parts[at]);
            assert_eq!(mix.labels[at], plain.labels[count - 1 - at]);
            let expected = own.iter().zip(other).map(|(x, y)| part * x + (1.0 - part) * y);
            let worst = expected.zip(&mixed.pixels[at * VALUES..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3);
        }
    }
    assert_eq!(all(loader.augmented(&order, 0)), mixed);
    assert_ne!(all(loader.augmented(&order, 1)), mixed);
}

#[test]
fn a_bad_file_leaves_no_gap_among_views() {
    let root = tempfile::tempdir().expect("a folder");
    export(&Task::Flowers.dataset(1, 5, 0), root.path(), [16, 16]).expect("written");
    let dataset = folder::scan(root.path()).expect("opens");
    let Origin::File(second) = &dataset.samples[1].origin else { panic!("a file") };
    fs::write(second, b"no image").expect("written");
    let loader = Loader::new(dataset, LoaderOptions { on_corrupt: OnCorrupt::Skip, ..options(4) });
    let found = rows(&all(loader.views(&[0, 1, 2], 2)));
    assert_eq!(found.iter().map(|row| (row.0, row.1)).collect::<Vec<_>>(), [(0, 0), (0, 1), (2, 0), (2, 1)]);
    assert_eq!(found[2..], rows(&all(loader.views(&[2], 2))));
    assert_eq!(loader.skipped().len(), 1);
}

#[test]
fn cached_pixels_are_the_same_and_bounded() {
    let root = tempfile::tempdir().expect("a folder");
    export(&Task::Flowers.dataset(1, 5, 0), root.path(), [16, 16]).expect("written");
    let dataset = folder::scan(root.path()).expect("opens");
    let order = [0, 1, 2, 3, 4];
    let room_for_three = 3 * VALUES * size_of::<f32>() + 1;
    let loader = Loader::new(dataset.clone(), LoaderOptions { cache_bytes: room_for_three, ..options(1) });
    let fresh = Loader::new(dataset.clone(), options(1));
    let expected = all(fresh.augmented(&order, 1));
    all(loader.augmented(&order, 0));
    assert_eq!(all(loader.augmented(&order, 1)), expected, "what is cached is not augmented");
    // Without its files, what was kept is all there is.
    fs::remove_dir_all(root.path()).expect("removed");
    assert_eq!(all(loader.augmented(&order[..3], 1)), expected[..3]);
    let gone = loader.batches(&order).find_map(Result::err).expect("an error");
    assert!(matches!(gone, DataError::Corrupt { .. }), "{gone}");
}

/// One image as a file, as the bytes of that file, and as its pixels.
fn in_every_form(folder: &std::path::Path) -> [Origin; 3] {
    export(&Task::Flowers.dataset(1, 5, 0), folder, [20, 30]).expect("written");
    let path = folder.join("daisy/00000.png");
    let bytes = fs::read(&path).expect("read");
    let pixels = decode(&bytes, Orientation::Ignore).expect("decodes");
    [path.into(), bytes.into(), pixels.into()]
}

#[test]
fn a_file_its_bytes_and_its_pixels_are_one_image() {
    let root = tempfile::tempdir().expect("a folder");
    let forms = in_every_form(root.path());
    let samples = forms.clone().map(|origin| Sample::new(origin, 0)).to_vec();
    let dataset = injerto_data::Dataset { classes: vec!["daisy".to_owned()], samples };
    for options in [
        options(3),
        LoaderOptions { crop_to_aspect_ratio: true, ..options(3) },
        LoaderOptions { center_crop: Some(0.8), ..options(3) },
    ] {
        let expected = options.load(&forms[0]).expect("loads").repeat(3);
        let loader = Loader::new(dataset.clone(), options.clone());
        assert_eq!(all(loader.batches(&[0, 1, 2]))[0].pixels, expected);
        let streamed: Vec<_> = options.stream(forms.clone()).map(|decoded| decoded.expect("decoded").pixels).collect();
        assert_eq!(streamed, [expected]);
    }
}

#[test]
fn the_middle_of_an_image_is_cut_out_before_it_is_resized() {
    let root = tempfile::tempdir().expect("a folder");
    let [_, _, pixels] = in_every_form(root.path());
    let Origin::Pixels(image) = &pixels else { panic!("pixels") };
    let middle = LoaderOptions { center_crop: Some(0.5), ..options(1) };
    assert_eq!(middle.load(&pixels).expect("loads"), options(1).load(&center_crop(image, 0.5).into()).expect("loads"));
    assert_ne!(middle.pixels_key(), options(1).pixels_key(), "features of the middle are not those of the whole");
}

#[test]
fn each_image_of_a_stream_has_its_own_answer_in_its_own_place() {
    let root = tempfile::tempdir().expect("a folder");
    let [file, bytes, pixels] = in_every_form(root.path());
    let expected = options(1).load(&file).expect("loads");
    let text: Origin = b"no image".to_vec().into();
    let wrong: Origin = Rgb { height: 2, width: 2, pixels: vec![1, 2, 3] }.into();
    let absent: Origin = root.path().join("none.jpg").into();
    let images = [text, file.clone(), wrong, bytes, pixels, absent, file];
    let (mut answers, mut read) = (Vec::new(), Vec::new());
    for decoded in options(2).stream(images) {
        let decoded = decoded.expect("a batch goes on whatever its images are");
        read.extend(decoded.pixels);
        answers.extend(decoded.images.into_iter().map(|answer| answer.map_err(|error| error.to_string())));
    }
    assert_eq!(read, expected.repeat(4));
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false, true, true, false, true]);
    let errors: Vec<String> = answers.into_iter().filter_map(Result::err).collect();
    for (error, parts) in errors.iter().zip([
        ["an image of 8 bytes in memory: not a readable image", "none of JPEG, PNG"],
        ["an image of 2 x 2 pixels in memory", "3 values are not those of 2 x 2 pixels"],
        ["none.jpg", "there is no such file"],
    ]) {
        parts.iter().for_each(|part| assert!(error.contains(part), "{error:?} does not say {part:?}"));
    }
}

#[test]
fn a_stream_takes_images_as_they_are_wanted() {
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = taken.clone();
    let endless = std::iter::repeat_with(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Rgb { height: 1, width: 1, pixels: vec![1, 2, 3] }
    });
    let mut stream = options(5).stream(endless);
    for _ in 0..3 {
        assert_eq!(stream.next().expect("more").expect("decoded").images.len(), 5);
    }
    drop(stream);
    // Three that were used, two that wait, and one under way.
    assert!(taken.load(std::sync::atomic::Ordering::SeqCst) <= 6 * 5, "{taken:?} images were taken");
}
