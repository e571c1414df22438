//! Images that have several classes each: from the list to the report.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{contains, injerto, run};

const EXPERIMENT: &str = r#"
name = "tags"
[data]
root = "photos"
labels = "labels.csv"
validation_split = 0.25
stratify = true
image_size = [32, 32]
batch_size = 16
[backbone]
plugin = "small_cnn"
weights = "none"
parameters = { filters = [8, 8] }
[[phases]]
epochs = 3
unfreeze = "all"
batch_norm = "update"
optimizer = { learning_rate = 0.01 }
"#;

/// Drawn flowers with labels: all but tulips are `wild`, daisies are also `white`, and the second half of the tulips is nothing.
fn folder() -> tempfile::TempDir {
    let at = tempfile::tempdir().expect("a folder");
    run(at.path(), &["generate", "flowers", "drawn", "--train", "16", "--validation", "1", "--size", "32"]).succeeds();
    fs::rename(at.path().join("drawn/train"), at.path().join("photos")).expect("moved");
    let mut list = "file_name,labels\n".to_owned();
    for class in ["daisy", "dandelion", "roses", "sunflowers", "tulips"] {
        let folder = at.path().join("photos").join(class);
        let mut names: Vec<_> = fs::read_dir(&folder).expect("there").map(|entry| entry.expect("a file")).collect();
        names.sort_by_key(std::fs::DirEntry::path);
        for (number, file) in names.iter().enumerate() {
            let labels = match class {
                "daisy" => "wild|white",
                "tulips" if number >= 8 => "",
                "tulips" => "tulip",
                _ => "wild",
            };
            list += &format!("{class}/{},{labels}\n", file.file_name().display());
        }
    }
    fs::write(at.path().join("photos/labels.csv"), list).expect("written");
    fs::write(at.path().join("tags.toml"), EXPERIMENT).expect("written");
    at
}

fn summary(run: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(run.join("summary.json")).expect("there")).expect("JSON")
}

#[test]
fn images_with_several_classes_are_trained_judged_and_shown() {
    let at = folder();
    let at = at.path();
    let text = run(at, &["train", "tags.toml", "--run-dir", "out"]).succeeds();
    contains(
        &text,
        &[
            "an image may have several classes: the column of classes holds several, with \"|\" between them; 6 of the training \
             images have none",
            "60 to train (tulip 6, white 12, wild 48), 20 to validate",
            "probe      none: an image may have several classes",
            "mean average precision",
            "the thresholds were chosen on these photos",
            "of 20 validation photos a class is wrong",
        ],
    );
    let out = at.join("out");
    let written = fs::read_to_string(out.join("experiment.toml")).expect("there");
    contains(
        &written,
        &["multi_label = true", "activation = \"sigmoid\"", "units = 3", "name = \"binary_crossentropy\""],
    );
    let found = summary(&out);
    let report = &found["multi_label"];
    assert!(found["metrics"].is_null() && found["trust"].is_null(), "these figures are of one class per image");
    assert_eq!(report["images"], 20);
    assert_eq!(report["per_class"][1]["class"], "white");
    assert_eq!(
        report["per_class"].as_array().expect("a list").iter().map(|it| &it["support"]).collect::<Vec<_>>(),
        [2, 4, 16]
    );
    let csv = fs::read_to_string(out.join("predictions.csv")).expect("there");
    assert_eq!(csv.lines().next(), Some("path,labels,predicted,tulip,white,wild"));
    assert_eq!(csv.lines().filter(|line| line.split(',').nth(1) == Some("white|wild")).count(), 4, "{csv}");
    // The page has the mistakes of each class and the counts of each, and no matrix of confusions.
    let page = fs::read_to_string(out.join("report.html")).expect("there");
    contains(&page, &["average precision", "wrongly said", "Precision over recall", "all of whose classes are right"]);
    assert!(!page.contains("Confusion matrix"));
    // The card of the model has the fields of Hugging Face, what was measured with its n, and no path of the machine.
    let card = fs::read_to_string(out.join("README.md")).expect("there");
    contains(
        &card,
        &[
            "---\n",
            "pipeline_tag: \"image-classification\"",
            "datasets: [\"photos\"]",
            "\"type\":\"mean_average_precision\"",
            "\"split\":\"validation\"",
            "(n = 20)",
            "| white | 12 | 4 | – |",
            "A photo may have several of these classes, or none: `tulip`, `white`, `wild`",
            "with new weights: nothing was learned from other images",
            "There was no test split.",
        ],
    );
    assert!(!card.contains(at.to_str().expect("UTF-8")), "{card}");
    // What is evaluated is what was trained on.
    let photos = ["evaluate", "tags.toml", "--run", "out", "--part", "validation", "--json"];
    let again = run(at, &photos).json();
    for key in ["binary_accuracy", "exact_match", "mean_average_precision", "macro", "per_class"] {
        assert_eq!(again[key], report[key], "{key}");
    }
    let table = run(at, &photos[..photos.len() - 1]).succeeds();
    contains(&table, &["20 photos: binary accuracy", "threshold      AP", "white"]);
}

#[test]
fn predictions_name_all_classes_that_reach_their_thresholds() {
    let at = folder();
    let at = at.path();
    run(at, &["train", "tags.toml", "--run-dir", "out", "--set", "phases.0.epochs=1"]).succeeds();
    let photo = fs::read_dir(at.join("photos/daisy")).expect("there").next().expect("one").expect("a file").path();
    let photo = photo.to_str().expect("UTF-8");
    let predict = |words: &[&str]| run(at, &[&["predict", photo, "--run", "out"], words].concat());
    let all = predict(&["--json", "--threshold", "0"]).json();
    assert_eq!(all["labels"].as_array().map(Vec::len), Some(3), "{all}");
    assert!(all["answer"].is_null());
    let none = predict(&["--json", "--threshold", "1"]).json();
    assert_eq!(none["labels"], serde_json::json!([]), "{none}");
    contains(&predict(&["--threshold", "1"]).succeeds(), &["nothing (", "% at most)"]);
    let csv = predict(&["--csv", "--threshold", "0"]).succeeds();
    contains(&csv, &["image,status,classes,tulip,white,wild\n", ",sure,"]);
    contains(&predict(&["--move-to", "sorted"]).fails(), &["a photo may have several classes here"]);
    // What needs one class per image says so.
    contains(&run(at, &["cv", "tags.toml"]).fails(), &["injerto cv needs images with one class each"]);
    contains(&run(at, &["suggest", "photos", "--run", "out"]).fails(), &["needs images with one class each"]);
    let weighed = run(at, &["train", "tags.toml", "--set", "loss.class_weights=balanced"]).fails();
    contains(&weighed, &["loss.class_weights weighs each image by its one class", "leave loss.class_weights out"]);
    let softmax = run(at, &["train", "tags.toml", "--set", "loss.name=categorical_crossentropy"]).fails();
    contains(&softmax, &["set loss.name = \"binary_crossentropy\""]);
    contains(
        &run(at, &["train", "tags.toml", "--set", "head.initial=probe"]).fails(),
        &["an image may have several classes"],
    );
    // Each class keeps its own sigmoid in an ONNX model, which carries the thresholds.
    run(at, &["export", "out", "tags.onnx"]).succeeds();
    let model = fs::read(at.join("tags.onnx")).expect("written");
    let has = |part: &[u8]| model.windows(part.len()).any(|bytes| bytes == part);
    assert!(has(b"thresholds") && has(b"Sigmoid") && !has(b"Softmax"));
}

#[test]
fn a_resumed_run_of_several_classes_is_the_same_run() {
    let at = folder();
    let at = at.path();
    let mixed = ["--set", "data.mixup=0.3"];
    run(at, &[&["train", "tags.toml", "--run-dir", "whole"], &mixed[..]].concat()).succeeds();
    run(at, &[&["train", "tags.toml", "--run-dir", "parts", "--set", "phases.0.epochs=1"], &mixed[..]].concat())
        .succeeds();
    let mut resumed = injerto(at);
    resumed.args(["train", "--resume", "parts", "--set", "phases.0.epochs=3"]);
    assert!(resumed.output().expect("it starts").status.success());
    let [whole, parts] = ["whole", "parts"].map(|run| summary(&at.join(run)));
    assert_eq!(parts["multi_label"], whole["multi_label"]);
    let read = |run: &str| fs::read(at.join(run).join("predictions.csv")).expect("there");
    assert_eq!(read("parts"), read("whole"));
}
