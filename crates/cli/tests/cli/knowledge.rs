//! What a run keeps with its model, and what `predict`, `evaluate` and `suggest` say with it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::train::{TINY, folder};
use crate::{contains, run};

/// A run on drawn photos, in `out`, of which a quarter validates: 80 photos of five kinds of flower in `photos/`.
pub fn trained(at: &Path, more: &[&str]) -> String {
    run(at, &["generate", "flowers", "drawn", "--train", "16", "--validation", "2", "--size", "40"]).succeeds();
    std::fs::rename(at.join("drawn/train"), at.join("photos")).expect("renamed");
    let drawn = "generated = \"flowers\"\ntrain_per_class = 12\nvalidation_per_class = 4";
    let text = TINY.replace(drawn, "root = \"photos\"\nvalidation_split = 0.25");
    std::fs::write(at.join("photos.toml"), text).expect("written");
    run(at, &[&["train", "photos.toml", "--run-dir", "out"], more].concat()).succeeds()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON")
}

/// Photos of the training side, by path below `photos`, with their class.
pub fn training_photos(at: &Path) -> Vec<(String, String)> {
    let split = std::fs::read_to_string(at.join("out/split.csv")).expect("there");
    let fields = split.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let training = fields.filter(|fields| fields[2] == "train");
    training.map(|fields| (fields[0].to_owned(), fields[1].to_owned())).collect()
}

#[test]
fn a_run_keeps_its_training_photos_and_predict_finds_them() {
    let at = folder();
    let at = at.path();
    let told = trained(at, &[]);
    contains(&told, &["features of 60 training images, kept with the model", "validation photos"]);
    let summary = json(&at.join("out/summary.json"));
    let kept = &summary["knowledge"];
    assert_eq!(
        (&kept["images"], &kept["training_images"], &kept["validation_images"]),
        (&60.into(), &60.into(), &20.into())
    );
    assert!(summary["seconds"]["knowledge"].as_f64().is_some_and(|seconds| seconds > 0.0), "{summary}");

    // Each training photo is its own nearest neighbour, under its own class.
    let training = training_photos(at);
    let files: Vec<String> = training.iter().map(|(path, _)| format!("photos/{path}")).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let predict = |more: &[&str]| run(at, &[&["predict", "--run", "out"], more, &files].concat()).succeeds();
    let lines: Vec<Value> =
        predict(&["--json", "--neighbours=3"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut known = 0;
    for (line, (path, class)) in lines.iter().zip(&training) {
        let near = line["neighbours"].as_array().expect("a list");
        let similarity = |near: &Value| near["similarity"].as_f64().expect("a number");
        assert_eq!(
            (near.len(), &near[0]["path"], &near[0]["label"]),
            (3, &path.as_str().into(), &class.as_str().into())
        );
        assert!(similarity(&near[0]) > 0.9999 && near.is_sorted_by(|a, b| similarity(a) >= similarity(b)), "{line}");
        let familiarity = line["familiarity"].as_f64().expect("a number");
        assert_eq!(line["unknown"].as_bool().expect("a word"), familiarity < 0.05, "{line}");
        known += usize::from(line["unknown"] == false);
    }
    assert!(known >= 57, "{known} of 60 training photos are known");
    let table = predict(&["--neighbours"]);
    for (path, class) in &training {
        contains(&table, &[&format!("\n  1.000  {class}  {path}\n")]);
    }
    assert_eq!(table.lines().count(), 60 * 6);
    assert_eq!(predict(&["--json"]).lines().filter(|line| line.contains("neighbours")).count(), 0);
}

#[test]
fn photos_that_are_like_nothing_in_training_are_unknown() {
    let at = folder();
    let at = at.path();
    trained(at, &[]);
    let evaluate = |more: &[&str]| run(at, &[&["evaluate", "photos", "--run", "out"], more].concat());
    let found = evaluate(&["--json"]).json();
    assert!(found["unknown"]["value"].as_f64().is_some_and(|share| share < 0.1), "{found}");
    assert_eq!(found["unknown"]["n"], 80);
    contains(
        &evaluate(&[]).succeeds(),
        &["unknown: ", " % of 80 photos are unlike all training photos (95 % interval "],
    );
    // A blank sheet is no flower, whatever the probabilities say.
    let blank = image::RgbImage::from_pixel(40, 40, image::Rgb([0, 0, 255]));
    blank.save(at.join("blank.png")).expect("written");
    let said = run(at, &["predict", "blank.png", "--run", "out"]).succeeds();
    contains(
        &said,
        &[
            "blank.png: unknown (farther from the training photos than ",
            "20 validation photos); among the known classes, ",
        ],
    );
    let json = run(at, &["predict", "blank.png", "--run", "out", "--json"]).json();
    assert_eq!(json["unknown"], true);
}

#[test]
fn a_model_without_what_its_run_has_kept_predicts_as_before_and_a_resumed_run_keeps_it() {
    let at = folder();
    let at = at.path();
    trained(at, &["--set", "insight.knowledge=false"]);
    let out = at.join("out");
    let (kept, calibration) = (out.join("knowledge.safetensors"), out.join("calibration.json"));
    assert!(!kept.exists() && !calibration.exists());
    let photo = format!("photos/{}", training_photos(at)[0].0);
    let predict = |run_dir: &str, more: &[&str]| run(at, &[&["predict", &photo, "--run", run_dir], more].concat());
    let before: Value = predict("out", &["--json"]).json();
    assert!(before.get("unknown").is_none() && before.get("neighbours").is_none(), "{before}");
    let error = predict("out", &["--neighbours"]).fails();
    contains(&error, &["nothing is kept with this model", "no knowledge.safetensors beside", "train --resume"]);
    contains(&run(at, &["suggest", "photos", "--run", "out"]).fails(), &["nothing is kept with this model"]);

    // The finished run is asked for it: it trains nothing, and keeps it.
    let best = std::fs::read(out.join("best.safetensors")).expect("there");
    run(at, &["train", "--resume", "out", "--set", "insight.knowledge=true"]).succeeds();
    assert!(std::fs::read(out.join("best.safetensors")).expect("there") == best);
    let whole = std::fs::read(&kept).expect("it is there now");
    assert!(calibration.is_file());
    let after: Value = predict("out", &["--json", "--uncalibrated"]).json();
    assert_eq!(after["classes"], before["classes"], "the network's own probabilities are the same to the last bit");
    assert!(after["unknown"].is_boolean());
    // What is there is left as it is; what a killed process has not written is written again, the same.
    run(at, &["train", "--resume", "out"]).succeeds();
    std::fs::remove_file(&kept).expect("removed");
    std::fs::remove_file(out.join("summary.json")).expect("removed");
    run(at, &["train", "--resume", "out"]).succeeds();
    assert!(std::fs::read(&kept).expect("there") == whole);
    assert_eq!(json(&out.join("summary.json"))["knowledge"]["images"], 60);

    // It belongs to one checkpoint.
    let last = predict("out/last.safetensors", &["--json"]).json();
    assert!(last.get("unknown").is_none(), "{last}");
    contains(&predict("out/last.safetensors", &["--neighbours"]).fails(), &["belongs to another checkpoint"]);
    let mut damaged = whole.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    std::fs::write(&kept, damaged).expect("written");
    contains(&predict("out", &[]).fails(), &["knowledge.safetensors: ", "checksum", "delete the file"]);

    // A further epoch makes another model, and what was kept is that model's.
    std::fs::write(&kept, &whole).expect("written");
    run(at, &["train", "--resume", "out", "--set", "phases.1.epochs=5"]).succeeds();
    let again: Value = predict("out", &["--json", "--neighbours=1"]).json();
    assert_eq!(again["neighbours"][0]["path"], photo.strip_prefix("photos/").expect("below it"));
}

#[test]
fn what_can_be_left_to_the_model_is_in_the_report() {
    let at = folder();
    let at = at.path();
    trained(at, &[]);
    let found = json(&at.join("out/calibration.json"));
    assert_eq!(found["images"], 20);
    let metrics = &json(&at.join("out/summary.json"))["metrics"];
    let last = found["coverage"].as_array().expect("a list").last().expect("not empty").clone();
    assert_eq!(
        (&last["coverage"], &last["accuracy"]["value"]),
        (&1.0.into(), &metrics["accuracy"]),
        "all are answered"
    );
    let [ours, theirs] = [&found["reliability"]["ece"], &metrics["ece"]].map(|ece| ece.as_f64().expect("a number"));
    assert!((ours - theirs).abs() < 1e-6, "{ours} is not {theirs}: these are the predictions of the best epoch");
    let page = std::fs::read_to_string(at.join("out/report.html")).expect("there");
    contains(&page, &["What can be left to the model", "Share that is right", "Where the model answers alone"]);
}

#[test]
fn photos_to_label_next_are_new_and_differ_from_each_other() {
    let at = folder();
    let at = at.path();
    trained(at, &[]);
    // Two new photos of each class, one of them twice, one that was trained on, and one that is none.
    let new = at.join("drawn/validation");
    let photos = |folder: &Path| -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(folder).expect("there").flatten().map(|entry| entry.path()).collect();
        files.sort();
        files
    };
    let roses = photos(&new.join("roses"));
    std::fs::copy(&roses[0], new.join("roses/twice.png")).expect("copied");
    let old = &training_photos(at)[0].0;
    std::fs::copy(at.join("photos").join(old), new.join("tulips/old.png")).expect("copied");
    std::fs::write(new.join("tulips/broken.png"), b"no image").expect("written");
    let suggest = |more: &[&str]| run(at, &[&["suggest", "drawn/validation", "--run", "out"], more].concat());
    let ran = suggest(&["--count", "12", "--json"]);
    contains(&ran.err, &["1 files that are not readable images", "broken.png"]);
    let found = ran.json();
    assert_eq!((&found["photos"], found["skipped"].as_array().map(Vec::len)), (&12.into(), Some(1)));
    let suggested = found["suggested"].as_array().expect("a list");
    let distance = |photo: &Value| photo["distance"].as_f64().expect("a number");
    let path = |photo: &Value| photo["path"].as_str().expect("text").to_owned();
    assert_eq!(suggested.len(), 12);
    // Whichever of the copies comes second, and the photo that was trained on, say nothing new: they come last, as does the
    // loneliest photo, which stands for no other.
    let (first, last) = suggested.split_at(9);
    assert!(first.iter().all(|photo| distance(photo) > 1e-6), "{found}");
    let nothing_new: Vec<&Value> = last.iter().filter(|photo| distance(photo) < 1e-6).collect();
    assert_eq!(nothing_new.len(), 2, "{found}");
    assert!(nothing_new.iter().any(|photo| path(photo).ends_with("old.png")), "{found}");
    let csv = suggest(&["--count", "3", "--csv"]).succeeds();
    assert_eq!(csv.lines().next(), Some("path,predicted,probability,uncertainty,typicality,distance"));
    let first: Vec<String> =
        csv.lines().skip(1).map(|line| line.split(',').next().expect("a field").to_owned()).collect();
    assert_eq!(first, suggested[..3].iter().map(path).collect::<Vec<_>>());
    contains(&suggest(&["--count", "1"]).succeeds(), &["1 of 12 photos, in the order", &first[0]]);
}
