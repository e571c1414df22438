//! What a folder is taken for, what of it is left out, and what a look at its files finds.

mod look;

use std::fs;
use std::path::Path;

use injerto_data::folder::{Folder, FolderWord, Grouping, Layout, Options, Reason, open};
use injerto_data::{DataError, Dataset, Origin};

/// A root with these files, all empty; a name that ends with `/` is a folder.
fn root(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for file in files {
        let path = root.path().join(file);
        let folder = if file.ends_with('/') { &path } else { path.parent().expect("a folder") };
        fs::create_dir_all(folder).expect("made");
        if !file.ends_with('/') {
            fs::write(&path, b"").expect("written");
        }
    }
    root
}

fn split(fraction: f64) -> Options {
    Options { validation_split: Some(fraction), ..Options::default() }
}

fn opened(files: &[&str], options: Options) -> Folder {
    open(root(files).path(), options).unwrap_or_else(|error| panic!("{files:?}: {error}"))
}

fn refused(files: &[&str], options: Options) -> String {
    let root = root(files);
    let error = open(root.path(), options).expect_err("refused").to_string();
    error.replace(&root.path().display().to_string(), "ROOT")
}

fn counts(dataset: &Dataset) -> Vec<(&str, usize)> {
    dataset.classes.iter().map(String::as_str).zip(dataset.counts()).collect()
}

/// Ten photos of two classes in each of these folders.
fn halves(names: &[&str]) -> Vec<String> {
    let classes = |half: &&str| {
        let half = (*half).to_owned();
        (0..10).map(move |at| format!("{half}/{}/{at}.jpg", ["cats", "dogs"][at % 2]))
    };
    names.iter().flat_map(classes).collect()
}

fn with(files: Vec<String>, more: &[&str]) -> Vec<String> {
    files.into_iter().chain(more.iter().map(|&file| file.to_owned())).collect()
}

fn strs(files: &[String]) -> Vec<&str> {
    files.iter().map(String::as_str).collect()
}

#[test]
fn sub_folders_are_classes_and_each_is_searched_in_depth() {
    let found = opened(&["cats/deep/b.PNG", "cats/z.jpg", "cats/notes.txt", "dogs/a.webp"], Options::default());
    assert_eq!((counts(&found.train), found.validation), (vec![("cats", 2), ("dogs", 1)], None));
    // The folder's own files come before those of its sub-folders.
    let Origin::File(first) = &found.train.samples[0].origin else { panic!("a file") };
    assert!(first.ends_with("cats/z.jpg"));
}

#[test]
fn a_split_that_leaves_a_side_empty_is_refused() {
    for fraction in [0.0, 1.0, -1.0, f64::NAN, 0.1] {
        let error = open(root(&["a/1.jpg", "b/1.jpg"]).path(), split(fraction)).expect_err("refused");
        assert!(matches!(error, DataError::Split { .. }), "{fraction}: {error}");
    }
    let error = open(root(&["a/1.jpg", "b/1.jpg"]).path(), split(1e-300)).expect_err("refused").to_string();
    assert!(error.starts_with("validation_split 1e-300 leaves 2 images to train"), "{error}");
}

#[test]
fn halves_go_by_many_names_in_any_case() {
    for [training, validation] in [
        ["train", "validation"],
        ["Train", "Test"],
        ["TRAINING", "Valid"],
        ["training_set", "test_set"],
        ["train", "dev"],
        ["trn", "val"],
        ["train", "Eval"],
        ["train", "hold-out"],
        ["seg_train", "seg_test"],
        ["entrenamiento", "validación"],
    ] {
        let found = opened(&strs(&halves(&[training, validation])), Options::default());
        assert_eq!(counts(&found.train), [("cats", 5), ("dogs", 5)], "{training}, {validation}");
        assert_eq!(counts(&found.validation.expect(validation)), [("cats", 5), ("dogs", 5)]);
        let (train, held) = found.inventory.halves.expect("halves");
        assert!(train.ends_with(training) && held.expect("there").ends_with(validation));
    }
}

#[test]
fn a_test_folder_beside_validation_images_is_kept_for_the_test() {
    for test in ["test", "holdout", "Test Set"] {
        let found = opened(&strs(&halves(&["train", "val", test])), Options::default());
        assert_eq!((found.train.samples.len(), found.validation.expect("there").samples.len()), (10, 10));
        assert_eq!(counts(&found.test.expect("there")), [("cats", 5), ("dogs", 5)]);
        assert!(found.inventory.test.expect("a folder").ends_with(test) && found.inventory.alone.is_empty());
    }
    // With other classes it cannot test this training, and is left alone.
    let found =
        opened(&strs(&with(halves(&["train", "val"]), &["test/cats/1.jpg", "test/cows/1.jpg"])), Options::default());
    assert_eq!((found.test, found.inventory.alone.len()), (None, 1));
    let test_split = Options { test_split: Some(0.2), ..Options::default() };
    let said = refused(&strs(&halves(&["train", "val", "test"])), test_split);
    assert!(said.starts_with("data.test_split has no effect: ROOT/test holds the images to test by"), "{said}");
    // Without labels it cannot validate either.
    for test in ["test/1.jpg", "test/unknown/1.jpg"] {
        let found = opened(&strs(&with(halves(&["train"]), &[test])), split(0.2));
        assert_eq!(found.validation.expect("split").samples.len(), 2);
        assert_eq!(found.inventory.alone.len(), 1);
        assert_eq!(opened(&strs(&with(halves(&["train"]), &[test])), Options::default()).validation, None);
    }
}

#[test]
fn a_split_divides_training_images_and_is_refused_where_there_are_others_to_validate_by() {
    let found = opened(&strs(&halves(&["train"])), split(0.2));
    assert_eq!((found.train.samples.len(), found.validation.expect("split").samples.len()), (8, 2));
    let said = refused(&strs(&halves(&["train", "val"])), split(0.2));
    assert!(said.starts_with("data.validation_split has no effect: ROOT/val holds"), "{said}");
    // Images for a test are not those to validate by, as long as there are others.
    let found = opened(&strs(&halves(&["train", "test"])), split(0.2));
    assert_eq!((found.train.samples.len(), found.test.map(|test| test.samples.len())), (8, Some(10)));
}

/// Names of the files, from the root.
fn names(root: &Path, dataset: &Dataset) -> Vec<String> {
    let name =
        |origin: &Origin| origin.path().expect("a file").strip_prefix(root).expect("inside").display().to_string();
    dataset.samples.iter().map(|sample| name(&sample.origin)).collect()
}

#[test]
fn images_for_the_test_are_taken_from_those_that_train() {
    let (files, both) = (halves(&["."]), Options { test_split: Some(0.3), ..split(0.2) });
    let root = root(&strs(&files));
    let keras = open(root.path(), split(0.2)).expect("opened");
    let found = open(root.path(), both).expect("opened");
    assert_eq!(found.validation, keras.validation);
    let [train, test] = [&found.train, &found.test.expect("a test")].map(|dataset| names(root.path(), dataset));
    assert_eq!([train, test].concat(), names(root.path(), &keras.train));
}

#[test]
fn a_stratified_split_takes_its_share_of_each_class() {
    let many: Vec<String> = (0..90).map(|at| format!("cats/{at}.jpg")).collect();
    let files = with(many, &["dogs/1.jpg", "dogs/2.jpg", "dogs/3.jpg", "dogs/4.jpg", "dogs/5.jpg", "dogs/6.jpg"]);
    let options = Options { test_split: Some(0.1), stratify: true, ..split(0.2) };
    let root = root(&strs(&files));
    let found = open(root.path(), options.clone()).expect("opened");
    assert_eq!(counts(&found.train), [("cats", 63), ("dogs", 4)]);
    assert_eq!(counts(found.validation.as_ref().expect("there")), [("cats", 18), ("dogs", 1)]);
    assert_eq!(counts(found.test.as_ref().expect("there")), [("cats", 9), ("dogs", 1)]);
    assert_eq!(open(root.path(), options.clone()).expect("opened"), found, "a seed gives the same split again");
    assert_ne!(open(root.path(), Options { seed: 1, ..options }).expect("opened").validation, found.validation);
}

/// No group stands on two sides, and a fifth of the images, more or less, validates.
fn check_groups(root: &Path, group: Grouping, groups: usize, ungrouped: usize) {
    let options = Options { group: Some(group.clone()), ..split(0.2) };
    let found = open(root, options).unwrap_or_else(|error| panic!("{group:?}: {error}"));
    let held = found.validation.expect("there");
    let of = |dataset: &Dataset| -> std::collections::BTreeSet<String> {
        dataset.samples.iter().filter_map(|sample| sample.group.as_deref().map(str::to_owned)).collect()
    };
    assert!(of(&found.train).is_disjoint(&of(&held)), "{group:?}");
    assert_eq!((of(&found.train).len() + of(&held).len(), found.inventory.ungrouped), (groups, ungrouped), "{group:?}");
    let share = held.samples.len() as f64 / (held.samples.len() + found.train.samples.len()) as f64;
    assert!((0.1..=0.3).contains(&share), "{group:?}: {share}");
}

#[test]
fn images_of_a_group_stand_on_one_side() {
    // Ten patients, each with three images of one class and one of the other; two images are of nobody.
    let patient = |number: usize| {
        let class = ["ill", "well"][number % 2];
        let other = ["well", "ill"][number % 2];
        let own = (0..3).map(move |at| format!("{class}/patient{number}/{number:02}_{at}.jpg"));
        own.chain([format!("{other}/patient{number}/{number:02}_9.jpg")])
    };
    let files = with((0..10).flat_map(patient).collect(), &["ill/x.jpg", "well/y.jpg"]);
    let root = root(&strs(&files));
    check_groups(root.path(), Grouping::Folder(FolderWord::Folder), 10, 2);
    check_groups(root.path(), Grouping::Pattern { pattern: r"^(\d+)_".to_owned() }, 10, 2);
    // A table names files by their names or by their paths; its first column is that of the files.
    let table = root.path().join("patients.csv");
    let rows: Vec<String> = (0..10)
        .flat_map(|number| [0, 1, 2, 9].map(|at| format!("{number:02}_{at}.jpg,\"Doe, {number}\"")))
        .chain(["ill/x.jpg,alone".to_owned()])
        .collect();
    fs::write(&table, format!("file,patient\n{}\n", rows.join("\n"))).expect("written");
    let csv = |column: &str| Grouping::Csv { csv: table.clone(), column: column.to_owned(), file_column: None };
    check_groups(root.path(), csv("patient"), 11, 1);
    let refused = |group| {
        let options = Options { group: Some(group), ..split(0.2) };
        open(root.path(), options).expect_err("refused").to_string()
    };
    let said = refused(csv("person"));
    assert!(
        said.starts_with("data.group: ") && said.contains("no column 'person'; the columns are file, patient"),
        "{said}"
    );
    let said = refused(Grouping::Pattern { pattern: "^never".to_owned() });
    assert_eq!(
        said,
        "data.group: the name of no image matches the pattern \"^never\"; leave the key out, or name another one"
    );
    let said = refused(Grouping::ExifSeconds { exif_seconds: 60.0 });
    assert!(said.contains("no image says when it was taken"), "{said}");
}

/// A PNG file that says when it was taken.
fn taken_at(path: &Path, time: &str) {
    // A TIFF header, and one entry: the time (0x132), 20 characters of text (2), which follow.
    let mut exif = vec![b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x32, 1, 2, 0, 20, 0, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0];
    exif.extend(time.bytes().chain([0]));
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let mut encoder = image::codecs::png::PngEncoder::new(fs::File::create(path).expect("created"));
    image::ImageEncoder::set_exif_metadata(&mut encoder, exif).expect("it can");
    image::RgbImage::new(4, 4).write_with_encoder(encoder).expect("written");
}

#[test]
fn photos_that_were_taken_within_seconds_are_a_group() {
    let root = tempfile::tempdir().expect("a folder");
    // Bursts of four photos, a second apart, over midnight and the end of a year; the bursts are minutes apart.
    for burst in 0..10 {
        for shot in 0..4 {
            let time = match burst {
                0 if shot < 2 => format!("2023:12:31 23:59:{:02}", 58 + shot),
                0 => format!("2024:01:01 00:00:{:02}", shot - 2),
                _ => format!("2024:01:01 01:{:02}:{:02}", burst * 3, shot),
            };
            taken_at(&root.path().join(format!("{}/{burst}_{shot}.png", ["cats", "dogs"][shot % 2])), &time);
        }
    }
    check_groups(root.path(), Grouping::ExifSeconds { exif_seconds: 1.0 }, 10, 0);
    let bytes = fs::read(root.path().join("cats/0_0.png")).expect("read");
    assert!(injerto_data::decode::taken(&bytes).is_some() && injerto_data::decode::taken(b"no image").is_none());
}

#[test]
fn classes_may_be_called_train_or_test() {
    let found = opened(&["bus/1.jpg", "car/1.jpg", "train/1.jpg"], Options::default());
    assert_eq!(found.train.classes, ["bus", "car", "train"]);
    let found = opened(&["exam/1.jpg", "test/1.jpg"], Options::default());
    assert_eq!(found.train.classes, ["exam", "test"]);
    let layout = Options { layout: Layout::Classes, ..Options::default() };
    let found = opened(&["bus/1.jpg", "train/steam/1.jpg", "train/diesel/2.jpg"], layout.clone());
    assert_eq!(counts(&found.train), [("bus", 1), ("train", 2)]);
    assert!(refused(&["train/1.jpg"], layout).contains("'train' is the only folder with images"));
}

#[test]
fn what_cannot_be_told_is_refused_with_what_to_do() {
    let check = |files: &[&str], expected: &[&str]| {
        let said = refused(files, Options::default());
        for part in expected {
            assert!(said.contains(part), "{files:?}: {said:?} does not say {part:?}");
        }
    };
    check(
        &strs(&halves(&["part1", "part2"])),
        &["'train' and 'validation'", "same folders (cats, dogs)", "ROOT/part1"],
    );
    check(&strs(&halves(&["learn", "check", "more"])), &["check, learn, more hold no images but the same folders"]);
    check(&strs(&halves(&["train", "check"])), &["'check' has the same classes as 'train'", "'validation'"]);
    check(
        &strs(&halves(&["data/train", "data/val"])),
        &["'data' is the only folder", "train, val", "data.root to 'ROOT/data'"],
    );
    check(&strs(&halves(&["data"])), &["'data' is the only folder", "(cats, dogs)", "data.root to 'ROOT/data'"]);
    check(&strs(&halves(&["train", "Training"])), &["each of Training, train could be"]);
    check(&strs(&halves(&["train", "val", "dev"])), &["each of dev, val could be"]);
    check(
        &strs(&with(halves(&["old"]), &["cats/1.jpg", "dogs/1.jpg"])),
        &["'old' holds no images", "cats, dogs", "move it"],
    );
    check(&["bus/1.jpg", "train/a/1.jpg", "train/b/1.jpg"], &["ROOT/train", "data.layout = \"classes\""]);
    check(&["train/1.jpg", "test/1.jpg"], &["test, train hold images, and no folders of classes"]);
    check(
        &["a/train/1.jpg", "a/val/1.jpg", "b/train/1.jpg", "b/val/1.jpg"],
        &["each of a, b is split into train, val"],
    );
    check(&["cats/1.jpg"], &["'cats' is the only folder with images"]);
    check(&["train/a/1.jpg", "val/a/1.jpg"], &["ROOT/train: there is nothing to tell apart: 'a'"]);
    check(&["1.jpg", "2.jpg"], &["no classes found", "the 2 images in it belong to none"]);
    check(
        &["train/a/1.jpg", "train/b/1.jpg", "val/b/1.jpg", "val/c/1.jpg"],
        &["only training has a; only validation has c"],
    );
    check(&["train/Cats/1.jpg", "train/b/1.jpg", "val/b/1.jpg", "val/cats/1.jpg"], &["upper and lower case alone"]);
}

#[test]
fn empty_classes_are_named_together_with_what_is_in_them() {
    let said = refused(&["a/1.jpg", "b/x.heic", "c/", "d/1.png", "e/deep/y.HEIC"], Options::default());
    assert!(said.starts_with("ROOT: no images in b, c, e, but files that end in .heic; put some in"), "{said}");
}

#[test]
fn archives_that_hold_a_half_in_a_folder_of_its_name_are_understood() {
    for names in [["seg_train/seg_train", "seg_test/seg_test"], ["train/images", "val/images"], ["train/data", "val"]] {
        let found = opened(&strs(&halves(&names)), Options::default());
        assert_eq!(counts(&found.train), [("cats", 5), ("dogs", 5)], "{names:?}");
        assert_eq!(found.validation.expect("there").samples.len(), 10);
    }
}

#[test]
fn what_file_systems_and_archives_leave_is_no_class_and_no_photo() {
    let found = opened(
        &[
            "__MACOSX/cats/._1.jpg",
            ".hidden/1.jpg",
            "@eaDir/1.jpg",
            "$RECYCLE.BIN/1.jpg",
            "System Volume Information/1.jpg",
            "lost+found/",
            ".ipynb_checkpoints/1.jpg",
            ".Trash-1000/files/1.jpg",
            "Thumbs.db",
            ".DS_Store",
            "cats/1.jpg",
            "cats/._1.jpg",
            "cats/@eaDir/1.jpg/thumb.jpg",
            "cats/.AppleDouble/1.jpg",
            "cats/Thumbs.db",
            "cats/.ipynb_checkpoints/1-checkpoint.jpg",
            "cats/.jpg",
            "dogs/1.jpg",
            "dogs/__MACOSX/1.jpg",
        ],
        Options::default(),
    );
    assert_eq!(counts(&found.train), [("cats", 1), ("dogs", 1)]);
    let left_out = |reason| found.inventory.left_out.get(&reason).map_or(0, |left| left.count);
    assert_eq!((left_out(Reason::Hidden), left_out(Reason::Service)), (8, 9));
}

#[test]
fn images_beside_the_classes_are_counted() {
    let beside = |files: &[&str]| {
        let found = opened(files, Options::default());
        found.inventory.left_out.get(&Reason::Unlabelled).map_or(0, |left| left.count)
    };
    assert_eq!(beside(&["1.jpg", "2.jpg", "a/1.jpg", "b/1.jpg"]), 2);
    assert_eq!(beside(&strs(&with(halves(&["train", "val"]), &["1.jpg", "train/x.jpg", "val/x.jpg"]))), 3);
}

#[test]
fn validation_images_of_which_none_is_read_are_an_error() {
    let files = with(halves(&["train"]), &["val/cats/1.heic", "val/dogs/1.heic"]);
    for options in [Options::default(), split(0.2)] {
        let said = refused(&strs(&files), options);
        assert!(said.contains("there are no validation images in 'val'"), "{said}");
    }
}

#[test]
fn what_is_left_out_is_counted_by_ending_and_reason() {
    let found = opened(
        &["a/1.jpg", "a/2.HEIC", "a/3.heic", "a/deep/4.heic", "b/1.jpg", "b/readme.txt", "b/IMG_7", "labels.csv"],
        Options::default(),
    );
    let left_out: Vec<_> = found.inventory.left_out.iter().map(|(reason, left)| (reason.clone(), left.count)).collect();
    let ending = |ending: &str| Reason::Ending(ending.to_owned());
    assert_eq!(left_out, [(ending(".csv"), 1), (ending(".heic"), 3), (ending(".txt"), 1), (Reason::NoEnding, 1)]);
    assert!(ending(".heic").is_image() && !ending(".txt").is_image());
}

#[cfg(unix)]
#[test]
fn links_to_images_and_classes_are_followed_and_other_links_are_counted() {
    use std::os::unix::fs::symlink;
    let elsewhere = root(&["photos/1.jpg", "photos/2.jpg", "one.png"]);
    let sides =
        root(&["train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "train/b/2.jpg", "val/a/1.jpg", "val/b/1.jpg"]);
    let root = root(&["cats/1.jpg", "dogs/1.jpg"]);
    let link = |to: &str, name: &str| symlink(elsewhere.path().join(to), root.path().join(name)).expect("linked");
    link("one.png", "cats/linked.png");
    link("nowhere.jpg", "cats/broken.jpg");
    link("photos", "cats/more");
    link("photos", "owls");
    symlink(root.path(), root.path().join("dogs/round")).expect("linked");
    let halves = tempfile::tempdir().expect("a folder");
    for (half, class) in [("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")] {
        fs::create_dir_all(halves.path().join(half)).expect("made");
        symlink(sides.path().join(half).join(class), halves.path().join(half).join(class)).expect("linked");
    }
    let linked = open(halves.path(), Options::default()).expect("opens");
    assert_eq!((linked.train.counts(), linked.validation.expect("there").counts()), (vec![2, 2], vec![1, 1]));
    let found = open(root.path(), Options::default()).expect("opens");
    assert_eq!(counts(&found.train), [("cats", 2), ("dogs", 1), ("owls", 2)]);
    let left_out: Vec<_> = found.inventory.left_out.iter().map(|(reason, left)| (reason.clone(), left.count)).collect();
    assert_eq!(left_out, [(Reason::BrokenLink, 1), (Reason::LinkedFolder, 2)]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_links_make_two_of_is_refused() {
    // Each case: what is there, and the links in it with what they lead to.
    let check = |files: &[&str], links: &[(&str, &str)]| {
        let root = root(files);
        for (name, to) in links {
            std::os::unix::fs::symlink(to, root.path().join(name)).expect("linked");
        }
        let error = open(root.path(), Options::default()).expect_err("refused");
        assert!(matches!(error, DataError::SameFolder { .. }), "{files:?}, {links:?}: {error}");
    };
    // Two classes, two sides, a class in another one, and a class that holds everything.
    check(&["cats/1.jpg"], &[("dogs", "cats")]);
    check(&["all/cats/1.jpg", "all/dogs/1.jpg", "x/1.jpg"], &[("train", "all"), ("val", "all")]);
    check(&["train/cats/1.jpg", "train/dogs/1.jpg", "val/dogs/1.jpg"], &[("val/cats", "../train/cats")]);
    check(&["cats/black/1.jpg", "dogs/1.jpg"], &[("black cats", "cats/black")]);
    check(&["cats/1.jpg", "dogs/1.jpg"], &[("up", "..")]);
    check(&["cats/1.jpg", "dogs/1.jpg"], &[("self", ".")]);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_are_kept_and_told_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let root = root(&["cats/1.jpg"]);
    for class in [b"ni\xf1o".as_slice(), b"ni\xf2o"] {
        let folder = root.path().join(OsStr::from_bytes(class));
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join(OsStr::from_bytes(b"\xe91.jpg")), b"").expect("written");
    }
    let found = open(root.path(), Options::default()).expect("opens");
    assert_eq!(counts(&found.train), [("cats", 1), ("ni\\xf1o", 1), ("ni\\xf2o", 1)]);
    assert_eq!(found.inventory.not_utf8, 2);
    // A name that is written as the other one is shown.
    fs::create_dir(root.path().join("ni\\xf1o")).expect("made");
    fs::write(root.path().join("ni\\xf1o/1.jpg"), b"").expect("written");
    let error = open(root.path(), Options::default()).expect_err("alike").to_string();
    assert!(error.contains("'ni\\xf1o': in one of them a byte is not UTF-8"), "{error}");
}

#[test]
fn a_class_is_the_same_however_its_accents_are_written() {
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    let file = |half: &str, class: &str| format!("{half}/{class}/1.jpg");
    let files = [file("train", composed), file("train", "tea"), file("val", decomposed), file("val", "tea")];
    let found = opened(&strs(&files), Options::default());
    let validation = found.validation.expect("there");
    assert_eq!(
        (&found.train.classes, &validation.classes),
        (&vec![composed.to_owned(), "tea".to_owned()], &found.train.classes)
    );
    assert_eq!(validation.counts(), [1, 1]);
    let both = [file(".", composed), file(".", decomposed), file(".", "tea")];
    let said = refused(&strs(&both), Options::default());
    assert!(said.contains("two folders are called") && said.contains("composed"), "{said}");
}

#[test]
fn an_error_about_a_thousand_classes_is_short() {
    let mut files: Vec<String> =
        (0..1000).flat_map(|at| [format!("train/{at:04}/1.jpg"), format!("val/{at:04}/1.jpg")]).collect();
    files.extend((0..100).map(|at| format!("val/new{at:03}/1.jpg")));
    let said = refused(&strs(&files), Options::default());
    assert!(
        said.ends_with(
            "only validation has new000, new001, new002, new003, new004, new005, new006, new007 … and 92 more"
        )
    );
}
