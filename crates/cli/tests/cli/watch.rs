//! `injerto watch`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{contains, run};

const BACKBONE: [&str; 6] = ["--backbone", "small_cnn", "--weights", "shapes", "--set", "data.image_size=[64,64]"];

/// Drawn figures in folders, 20 images per class.
fn photos(at: &Path) -> Vec<PathBuf> {
    run(at, &["generate", "shapes", "drawn", "--train", "20", "--validation", "1", "--size", "64"]).succeeds();
    fs::rename(at.join("drawn/train"), at.join("photos")).expect("moved");
    let entries = fs::read_dir(at.join("photos")).expect("readable");
    let mut classes: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    classes.sort();
    classes
}

fn first(class: &Path) -> PathBuf {
    fs::read_dir(class).expect("readable").map(|entry| entry.expect("an entry").path()).min().expect("a photo")
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn a_folder_is_judged_once_with_guesses_for_unsorted_photos() {
    let at = tempfile::tempdir().expect("a folder");
    let classes = photos(at.path());
    let watch = |more: &[&str]| run(at.path(), &[&["watch", "photos", "--once"], &BACKBONE[..], more].concat());
    // A photo without a class, one in the wrong folder, and a file that is half there.
    fs::create_dir(at.path().join("photos/unsorted")).expect("made");
    fs::rename(first(&classes[0]), at.path().join("photos/unsorted/new.png")).expect("moved");
    fs::rename(first(&classes[1]), classes[2].join("wrong.png")).expect("moved");
    fs::write(classes[3].join("half.png"), [0x89, b'P']).expect("written");
    let found = watch(&["--json"]).json();
    assert_eq!((&found["photos"], &found["changes"]), (&Value::from(199), &Value::Null));
    assert!(found["accuracy"]["mean"].as_f64().expect("a number") > 0.5, "{found}");
    assert_eq!(found["unsorted"][0]["class"], name(&classes[0]), "{}", found["unsorted"]);
    let wrong = |it: &Value| it["path"].as_str().is_some_and(|path| path.ends_with("wrong.png"));
    assert!(found["labels"].as_array().expect("a list").iter().any(wrong), "{}", found["labels"]);
    assert!(found["unreadable"][0].as_str().expect("a path").ends_with("half.png"));
    let said = watch(&[]).succeeds();
    contains(
        &said,
        &["photos     199 (", "accuracy   0.", "n = 199)", "unsorted   1 photo", "look at    ", "unreadable 1 file"],
    );
    // One class is not enough for an answer, and no error.
    fs::create_dir(at.path().join("few")).expect("made");
    fs::rename(&classes[4], at.path().join("few/only")).expect("moved");
    let few = run(at.path(), &[&["watch", "few", "--once"], &BACKBONE[..]].concat()).succeeds();
    contains(&few, &["accuracy   none yet: two classes with photos are needed, and there are 1"]);
    contains(&run(at.path(), &["watch", "nowhere"]).fails(), &["nowhere: there is no such folder"]);
}

#[cfg(unix)]
#[test]
fn new_removed_and_moved_photos_are_answered_until_it_is_interrupted() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use crate::injerto;

    let at = tempfile::tempdir().expect("a folder");
    let classes = photos(at.path());
    let mut watching = injerto(at.path());
    watching.args(["watch", "photos", "--json", "--interval", "0.2"]).args(BACKBONE);
    let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
    let mut answer =
        || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("UTF-8")).expect("JSON") };
    assert_eq!(answer()["photos"], 200);
    // However the moves fall between two looks, the answers add up to them.
    let gone = first(&classes[0]);
    fs::rename(&gone, classes[0].join("renamed.png")).expect("moved");
    let moved = first(&classes[1]);
    fs::rename(&moved, classes[2].join("moved.png")).expect("moved");
    let (mut places, mut photos) = (Vec::new(), 0);
    while places.len() < 2 {
        let found = answer();
        photos = found["photos"].as_u64().expect("a number");
        for pair in found["changes"]["moved"].as_array().expect("a list") {
            places.push(name(Path::new(pair[1].as_str().expect("a path"))));
        }
    }
    places.sort();
    assert_eq!((places, photos), (vec!["moved.png".to_owned(), "renamed.png".to_owned()], 200));
    let pid = watching.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("it runs").success());
    assert_eq!(watching.wait().expect("it ends").code(), Some(130));
}
