//! The look at every file before training.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use injerto_data::OnCorrupt;
use injerto_data::folder::{Folder, Options, images, named, open, scan};
use injerto_data::look::Verdicts;

use crate::root;

fn picture(path: &Path) {
    let picture = image::RgbImage::from_fn(20, 16, |x, y| image::Rgb([(x * 9) as u8, (y * 9) as u8, 7]));
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    picture.save(path).expect("written");
}

/// Three photos of each of two classes; `a/2.jpg` is cut short and `b/1.jpg` is a text.
fn photos() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for class in ["a", "b"] {
        (1..=3).for_each(|at| picture(&root.path().join(format!("{class}/{at}.jpg"))));
    }
    let cut = root.path().join("a/2.jpg");
    let whole = fs::read(&cut).expect("read");
    fs::write(&cut, &whole[..whole.len() - 20]).expect("written");
    fs::write(root.path().join("b/1.jpg"), "no photo").expect("written");
    root
}

fn nothing(_: usize) {}

#[test]
fn all_files_that_are_no_images_are_listed_together() {
    let root = photos();
    let mut folder = open(root.path(), Options::default()).expect("opens");
    let seen = AtomicUsize::new(0);
    let progress = |done: usize| {
        seen.fetch_max(done, Ordering::Relaxed);
    };
    let said = folder.look(OnCorrupt::Error, None, &progress).expect_err("two are bad").to_string();
    assert_eq!(seen.into_inner(), 6);
    for part in ["2 of 6 files", "a/2.jpg: it ends too early", "b/1.jpg: it is none of", "data.on_corrupt = \"skip\""] {
        assert!(said.contains(part), "{said:?} does not say {part:?}");
    }
}

#[test]
fn skipped_files_are_in_no_count() {
    let root = photos();
    let mut folder = open(root.path(), Options::default()).expect("opens");
    let looked = folder.look(OnCorrupt::Skip, None, &nothing).expect("looked");
    assert_eq!((looked.files, looked.unreadable.len(), folder.train.counts()), (6, 2, vec![2, 2]));
}

#[test]
fn a_class_of_which_nothing_can_be_read_is_an_error() {
    let root = photos();
    (1..=3).for_each(|at| fs::write(root.path().join(format!("b/{at}.jpg")), "no photo").expect("written"));
    let mut folder = open(root.path(), Options::default()).expect("opens");
    let said = folder.look(OnCorrupt::Skip, None, &nothing).expect_err("nothing is left of b").to_string();
    assert!(said.starts_with("no readable images in b:"), "{said}");
}

/// A look at these photos says what their contents are known by, so that nobody has to read them again for it: neither after
/// the look that reads them nor after one that remembers.
fn contents_are_handed_on(root: &Path, verdicts: &Verdicts) {
    for verdicts in [None, Some(verdicts)] {
        let mut folder = open(root, Options::default()).expect("opens");
        let unread = folder.train.clone();
        folder.look(OnCorrupt::Skip, verdicts, &nothing).expect("looked");
        assert!(folder.train.samples.iter().all(|sample| !unread.samples.contains(sample)), "each knows its content");
        assert_eq!(folder.train.fingerprints(), scan_good(root).fingerprints());
    }
}

/// The photos that can be read, which nobody has looked at.
fn scan_good(root: &Path) -> injerto_data::Dataset {
    let mut photos = scan(root).expect("opens");
    photos.samples.retain(|sample| !["a/2.jpg", "b/1.jpg"].iter().any(|bad| sample.origin.name().ends_with(bad)));
    photos
}

#[test]
fn what_was_seen_is_remembered_until_a_file_changes() {
    let (root, cache) = (photos(), tempfile::tempdir().expect("a folder"));
    let verdicts = Verdicts::new(cache.path(), root.path());
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let look = || {
        let mut folder = open(root.path(), Options::default()).expect("opens");
        folder.look(OnCorrupt::Skip, Some(&verdicts), &nothing).expect("looked").unreadable.len()
    };
    // What was written a moment ago is not remembered.
    assert_eq!(look(), 2);
    assert_eq!(fs::read_dir(cache.path()).expect("read").count(), 0);
    let entry = |name: &str| root.path().join(name);
    let age = |name: &str| fs::File::options().write(true).open(entry(name)).and_then(|file| file.set_modified(old));
    ["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"].iter().for_each(|name| age(name).expect("set"));
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    assert_eq!((look(), look()), (2, 2));
    assert_eq!(fs::read_dir(cache.path()).expect("read").count(), 1);
    contents_are_handed_on(root.path(), &verdicts);
    // The same size and the same time of writing: the time of the change still tells.
    let (length, damaged) = (fs::metadata(entry("a/1.jpg")).expect("there").len(), entry("a/1.jpg"));
    fs::write(&damaged, vec![0; length as usize]).expect("written");
    age("a/1.jpg").expect("set");
    assert_eq!(look(), 3);
    // A memory that was damaged is none.
    let kept = fs::read_dir(cache.path()).expect("read").next().expect("one").expect("there").path();
    let text = fs::read_to_string(&kept).expect("read").replace(" no ", " yes ");
    fs::write(&kept, text).expect("written");
    assert_eq!(look(), 3);
}

#[test]
fn names_alone_say_what_the_folder_with_these_files_says() {
    let check = |files: &[&str]| {
        let folder = root(files);
        let (found, left_out) = images(folder.path()).expect("a folder");
        let (named, named_out, parts) = named(folder.path(), files);
        assert_eq!((&found, &left_out), (&named, &named_out));
        match open(folder.path(), Options::default()) {
            Ok(Folder { train, validation, test, .. }) => {
                assert_eq!(parts, std::iter::once(train).chain(validation).chain(test).collect::<Vec<_>>());
            }
            Err(_) => assert_eq!(parts, []),
        }
    };
    check(&["cats/b.jpg", "cats/deep/a.PNG", "dogs/1.jpg", "dogs/.hidden.jpg", "readme.txt", "Thumbs.db"]);
    check(&["train/cats/1.jpg", "train/dogs/2.jpg", "val/cats/3.jpg", "val/dogs/4.jpg", "__MACOSX/x.jpg"]);
    check(&["a-b/1.jpg", "a/b/2.jpg", "a/c.jpg", "photo.heic"]);
    check(&["1.jpg", "2.jpg"]);
}
