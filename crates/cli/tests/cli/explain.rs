//! `injerto explain`: where a trained network looks, as pictures, words and JSON.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::train::{TINY, folder};
use crate::{contains, run};

/// A run on drawn photos, in `out`, and photos of its classes in `photos/`.
fn trained(at: &Path) -> String {
    run(at, &["generate", "flowers", "drawn", "--train", "8", "--validation", "1", "--size", "40"]).succeeds();
    fs::rename(at.join("drawn/train"), at.join("photos")).expect("renamed");
    fs::write(at.join("tiny.toml"), TINY).expect("written");
    run(at, &["train", "tiny.toml", "--run-dir", "out"]).succeeds();
    let class = fs::read_dir(at.join("photos")).expect("readable").next().expect("a class").expect("an entry");
    class.file_name().into_string().expect("UTF-8")
}

#[test]
fn a_network_shows_what_its_answer_rests_on() {
    let at = folder();
    let at = at.path();
    let class = trained(at);
    let folder = format!("photos/{class}");
    let said = run(at, &["explain", "out", &folder, "--out", "why"]).succeeds();
    contains(&said, &[&format!("(truth {class})"), "what speaks for ", "Grad-CAM of ", "% of the photo", "why/"]);
    let pictures: Vec<_> = fs::read_dir(at.join("why")).expect("made").map(|it| it.expect("an entry").path()).collect();
    assert_eq!(pictures.len(), 8, "one picture per photo");
    let picture = image::open(&pictures[0]).expect("a PNG");
    assert!(picture.width() > 1200 && picture.height() > 640, "{}x{}", picture.width(), picture.height());

    // JSON has the map, and a class that was asked for; nothing is written.
    let photo = fs::read_dir(at.join(&folder)).expect("readable").next().expect("a photo").expect("an entry").path();
    let photo = photo.to_str().expect("UTF-8");
    let json = |more: &[&str]| run(at, &[&["explain", "out", photo, "--json"], more].concat()).json();
    let found = json(&["--class", &class]);
    assert_eq!((found["class"].as_str(), found["truth"].as_str()), (Some(&*class), Some(&*class)));
    assert_eq!((&found["method"], &found["seen"]), (&"grad-cam".into(), &serde_json::json!([0.0, 0.0, 1.0, 1.0])));
    let map = &found["map"];
    let values: Vec<f64> = serde_json::from_value(map["values"].clone()).expect("numbers");
    assert_eq!(Some(values.len() as u64), map["rows"].as_u64().zip(map["columns"].as_u64()).map(|(a, b)| a * b));
    assert!(values.iter().all(|value| (0.0..=1.0).contains(value)), "{values:?}");
    assert!(!at.join("explained").exists());
    let covered = json(&["--method", "occlusion"]);
    assert_eq!((&covered["method"], &covered["layer"]), (&"occlusion".into(), &Value::Null));
    assert_eq!(covered["map"]["rows"], 8);
}

#[test]
fn what_cannot_be_explained_is_said() {
    let at = folder();
    let at = at.path();
    trained(at);
    let fails = |arguments: &[&str], parts: &[&str]| {
        contains(&run(at, &[&["explain", "out"], arguments].concat()).fails(), parts);
    };
    fails(&["photos", "--class", "cactus"], &["does not know the class 'cactus'", "it was trained for"]);
    fails(&["photos", "--layer", "nothing"], &["no layer", "'nothing'"]);
    fails(&["photos", "--method", "rollout"], &["no map", "has no attention; occlusion suits every network"]);
    fs::write(at.join("broken.jpg"), "no image").expect("written");
    fails(&["broken.jpg"], &["broken.jpg"]);
    let wrong = run(at, &["explain", "out", "photos", "--method", "guess"]);
    assert_eq!(wrong.code, Some(2));
    contains(&wrong.err, &["expected one of grad-cam, occlusion, rollout, auto"]);
}
