//! `injerto inspect`, `data apply` and `advise` over all backbones.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{Ran, contains, injerto, run};

const BACKBONE: [&str; 6] = ["--backbone", "small_cnn", "--weights", "shapes", "--set", "data.image_size=[64,64]"];

/// Drawn figures in folders, ten classes of 40 images, with what is wrong with them: `wrong` labels, a copy under another class, and a file
/// that is no image.
fn photos(at: &Path, wrong: usize) -> Vec<String> {
    run(at, &["generate", "shapes", "drawn", "--train", "40", "--validation", "1", "--size", "64"]).succeeds();
    fs::rename(at.join("drawn/train"), at.join("photos")).expect("moved");
    let mut classes: Vec<String> = fs::read_dir(at.join("photos"))
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    classes.sort();
    let mut moved = Vec::new();
    for number in 0..wrong {
        let (from, to) = (&classes[number % classes.len()], &classes[(number + 3) % classes.len()]);
        let mut files: Vec<_> = fs::read_dir(at.join("photos").join(from))
            .expect("readable")
            .map(|it| it.expect("an entry").path())
            .collect();
        files.sort();
        let name = format!("wrong-{number}.png");
        fs::rename(&files[0], at.join("photos").join(to).join(&name)).expect("moved");
        moved.push(format!("photos/{to}/{name}"));
    }
    moved
}

/// The JSON without what a clock says.
fn timeless(ran: Ran) -> Value {
    let mut found = ran.json();
    assert!(found.as_object_mut().expect("an object").shift_remove("seconds").is_some_and(|it| it.is_number()));
    found
}

fn paths(findings: &Value, key: &str) -> Vec<String> {
    let findings = findings.as_array().expect("a list");
    findings.iter().map(|it| it[key].as_str().expect("a path").to_owned()).collect()
}

#[test]
fn wrong_labels_and_copies_are_found_and_the_labels_put_right_and_back() {
    let at = tempfile::tempdir().expect("a folder");
    let wrong = photos(at.path(), 2);
    let root = at.path().join("photos");
    let classes: Vec<_> = fs::read_dir(&root).expect("readable").map(|it| it.expect("an entry").path()).collect();
    let first = fs::read_dir(&classes[0]).expect("readable").next().expect("an image").expect("an entry").path();
    fs::copy(&first, classes[1].join("copy.png")).expect("copied");
    fs::write(classes[2].join("broken.jpg"), "no image").expect("written");

    let inspect = |more: &[&str]| run(at.path(), &[&["inspect", "photos"], &BACKBONE[..], more].concat());
    let found = timeless(inspect(&["--json"]));
    assert_eq!((found["images"].as_u64(), found["probe"]["n"].as_u64()), (Some(401), Some(401)));
    assert_eq!(found["probe"]["folds"], 5);
    let limits: [f64; 2] = serde_json::from_value(found["probe"]["interval"].clone()).expect("two numbers");
    let accuracy = found["probe"]["accuracy"].as_f64().expect("a number");
    assert!(limits[0] < accuracy && accuracy < limits[1] && accuracy > 0.8, "{accuracy}: {limits:?}");
    let named = paths(&found["labels"], "path");
    let is_wrong = |path: &String| wrong.iter().any(|wrong| path.ends_with(wrong));
    assert!(named[..2].iter().all(is_wrong), "{named:?} of {wrong:?}");
    assert!(named.len() <= 15, "{named:?}");
    let leak = &found["leaks"][0];
    assert_eq!((leak["kind"].as_str(), leak["across"].as_str()), (Some("exact"), Some("class")));
    assert!([&leak["a"], &leak["b"]].iter().any(|path| path.as_str().is_some_and(|path| path.ends_with("copy.png"))));
    contains(&found["health"]["unreadable"][0]["path"].to_string(), &["broken.jpg"]);
    assert!(found["more_photos"]["doubled"]["value"].is_number() && found["unanswered"] == serde_json::json!([]));
    // The same again from what is kept, and from another seed other folds.
    assert_eq!(timeless(inspect(&["--json"])), found);
    assert_ne!(timeless(inspect(&["--json", "--set", "seed=7"]))["more_photos"], found["more_photos"]);

    let said = inspect(&["--moves", "moves.csv", "--html", "page.html"]).succeeds();
    contains(
        &said,
        &["probe ", "labels look wrong", "broken.jpg", "under two classes", "injerto data apply moves.csv"],
    );
    let page = fs::read_to_string(at.path().join("page.html")).expect("it is there");
    contains(&page, &["<!doctype html>", "data:image/jpeg;base64,", "Labels that look wrong"]);
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
    let list = fs::read_to_string(at.path().join("moves.csv")).expect("it is there");
    assert_eq!(list.lines().count(), named.len() + 1, "{list}");
    contains(&run(at.path(), &["data", "apply", "moves.csv"]).succeeds(), &["files moved", "--undo"]);
    assert!(wrong.iter().all(|path| !at.path().join(path).exists()));
    let better = timeless(inspect(&["--json"]));
    assert!(better["probe"]["accuracy"].as_f64() > Some(accuracy), "{}", better["probe"]);
    contains(&run(at.path(), &["data", "apply", "moves.csv"]).fails(), &["applied already"]);
    contains(&run(at.path(), &["data", "apply", "moves.csv", "--undo"]).succeeds(), &["files moved back"]);
    assert!(wrong.iter().all(|path| at.path().join(path).exists()));
    assert_eq!(timeless(inspect(&["--json"])), found);
}

#[test]
fn a_list_outside_of_the_images_names_their_folder() {
    let at = tempfile::tempdir().expect("a folder");
    let wrong = photos(at.path(), 2);
    fs::create_dir(at.path().join("lists")).expect("made");
    let inspect = [&["inspect", "photos", "--moves", "lists/moves.csv"], &BACKBONE[..]].concat();
    contains(&run(at.path(), &inspect).succeeds(), &["injerto data apply lists/moves.csv --root ", "/photos\n"]);
    contains(&run(at.path(), &["data", "apply", "lists/moves.csv"]).fails(), &["there is no such file", "--root"]);
    run(at.path(), &["data", "apply", "lists/moves.csv", "--root", "photos"]).succeeds();
    assert!(wrong.iter().all(|path| !at.path().join(path).exists()));
}

/// Nothing can be fetched: there is no client for Python's packages, and an address is refused at once.
pub fn offline(at: &Path, arguments: &[&str]) -> Ran {
    let mut command = injerto(at);
    command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("PATH", "");
    let output = command.args(arguments).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn without_weights_and_network_files_and_exact_copies_are_looked_at() {
    let at = tempfile::tempdir().expect("a folder");
    photos(at.path(), 1);
    let root = at.path().join("photos");
    let class = fs::read_dir(&root).expect("readable").next().expect("a class").expect("an entry").path();
    let first = fs::read_dir(&class).expect("readable").next().expect("an image").expect("an entry").path();
    fs::copy(&first, class.join("copy.png")).expect("copied");
    let ran = offline(at.path(), &["inspect", "photos"]);
    contains(&ran.err, &["no weights are at hand"]);
    contains(
        &ran.succeeds(),
        &["backbone   none whose weights are at hand", "1 pair of photos is one picture", "within one class"],
    );
    let found = offline(at.path(), &["inspect", "photos", "--json"]).json();
    assert_eq!((found["backbone"].clone(), found["probe"].clone()), (Value::Null, Value::Null));
    assert_eq!((found["leaks"].as_array().map(Vec::len), found["health"]["n"].as_u64()), (Some(1), Some(401)));
    contains(&found["unanswered"].to_string(), &["probe", "near copies", "labels"]);
}

#[test]
fn new_photos_are_compared_with_those_of_a_run() {
    let at = tempfile::tempdir().expect("a folder");
    photos(at.path(), 0);
    run(at.path(), &[&["advise", "photos", "--out", "my.toml"], &BACKBONE[..]].concat()).succeeds();
    run(at.path(), &["train", "my.toml", "--run-dir", "run", "--set", "phases.0.epochs=1"]).succeeds();
    run(
        at.path(),
        &["generate", "shapes", "others", "--train", "6", "--validation", "1", "--size", "64", "--seed", "9"],
    )
    .succeeds();
    // Ramps of colour, without classes.
    fs::create_dir(at.path().join("ramps")).expect("made");
    for number in 0..20_u8 {
        let pixel = |x: u32, y: u32| image::Rgb([x as u8 * 4, y as u8 * 4, number * 12]);
        image::RgbImage::from_fn(64, 64, pixel).save(at.path().join(format!("ramps/{number}.png"))).expect("written");
    }
    let drift = |folder: &str| run(at.path(), &["inspect", folder, "--run", "run", "--json"]).json()["drift"].clone();
    let strange = drift("ramps");
    assert_eq!((strange["drifted"].as_bool(), strange["unknown"]["n"].as_u64()), (Some(true), Some(20)), "{strange}");
    assert!(strange["unknown"]["value"].as_f64() > Some(0.9), "{strange}");
    let alike = drift("others/train");
    assert!(alike["unknown"]["value"].as_f64() < Some(0.3) && alike["unknown"]["n"] == 60, "{alike}");
    assert_eq!(drift("photos")["trained"], 400);
    contains(
        &run(at.path(), &["inspect", "ramps", "--run", "run"]).succeeds(),
        &["20 images without labels", "drift "],
    );
}

#[test]
fn backbones_at_hand_are_ranked_and_the_best_becomes_an_experiment() {
    let at = tempfile::tempdir().expect("a folder");
    photos(at.path(), 0);
    let found = run(at.path(), &["advise", "photos", "--json", "--set", "data.image_size=[64,64]"]).json();
    let backbones = found["backbones"].as_array().expect("a list");
    assert_eq!((backbones.len(), backbones[0]["backbone"].as_str()), (1, Some("small_cnn")), "{backbones:?}");
    assert!(backbones[0]["images_per_second"].as_f64() > Some(0.0) && backbones[0]["pareto"] == true);
    let said = run(at.path(), &["advise", "photos", "--out", "my.toml", "--set", "data.image_size=[64,64]"]).succeeds();
    contains(&said, &["small_cnn", "images/s", "strategy ", "injerto train my.toml"]);
    run(at.path(), &["train", "my.toml", "--dry-run"]).succeeds();
}
