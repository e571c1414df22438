//! `injerto predict` on many photos, and `injerto evaluate` on labels in all forms.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::train::folder;
use crate::{Ran, contains, injerto, run};

/// A run in `out`, and ten drawn photos in `new`, two per class.
fn trained() -> tempfile::TempDir {
    let at = folder();
    run(at.path(), &["train", "tiny.toml", "--run-dir", "out"]).succeeds();
    run(at.path(), &["generate", "flowers", "drawn", "--train", "2", "--validation", "2", "--size", "32"]).succeeds();
    fs::rename(at.path().join("drawn/train"), at.path().join("new")).expect("moved");
    at
}

fn predict(at: &Path, words: &[&str]) -> Ran {
    run(at, &[&["predict", "--run", "out"], words].concat())
}

/// All files in a folder, at every depth.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What comes of words on standard input.
fn piped(at: &Path, words: &[&str], input: &[u8]) -> String {
    let mut command = injerto(at);
    command.args(["predict", "--run", "out"]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn folders_patterns_and_standard_input_name_photos() {
    let at = trained();
    let at = at.path();
    let lines = |words: &[&str]| -> Vec<String> {
        predict(at, words)
            .succeeds()
            .lines()
            .map(|line| line.split(':').next().unwrap_or_default().to_owned())
            .collect()
    };
    let all: Vec<String> =
        files(&at.join("new")).iter().map(|path| path.strip_prefix(at).expect("in it").display().to_string()).collect();
    assert_eq!(all.len(), 10);
    assert_eq!(lines(&["new"]), all);
    assert_eq!(lines(&["new/**/*.png"]), all);
    assert_eq!(lines(&["new/*"]), all);
    let first = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    assert_eq!(piped(at, &["-"], all.join("\n").as_bytes()).lines().map(first).collect::<Vec<_>>(), all);
    assert_eq!(piped(at, &["-"], all.join("\0").as_bytes()).lines().map(first).collect::<Vec<_>>(), all);
    let image = fs::read(at.join(&all[0])).expect("readable");
    contains(&piped(at, &["-"], &image), &["-: ", " %"]);
    // The answers of a photo are the same however it is named.
    let one = predict(at, &[&all[0], "--json"]).json();
    let piped: Value = serde_json::from_str(&piped(at, &["-", "--json"], &image)).expect("JSON");
    assert_eq!(one["classes"], piped["classes"]);
    contains(&predict(at, &["none/*.jpg"]).fails(), &["no file fits this pattern"]);
    fs::create_dir(at.join("empty")).expect("made");
    contains(&predict(at, &["empty"]).fails(), &["empty: there are no photos in this folder"]);
    // In a pipe there is no progress: the notes are a line for all photos.
    let ran = predict(at, &["new"]);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    contains(&ran.err, &["10 photos in "]);
    assert_eq!(predict(at, &["new", "--quiet"]).err, "");
}

#[test]
fn answers_are_a_table_lines_of_json_or_csv_of_as_many_classes_as_are_wanted() {
    let at = trained();
    let at = at.path();
    let csv = predict(at, &["new", "--csv", "--top", "2"]).succeeds();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["image", "status", "class", "probability", "class_2", "probability_2"]);
    assert!(rows.len() == 11 && rows.iter().all(|row| row.len() == 6), "{csv}");
    let json = predict(at, &["new", "--json", "--top", "2"]).succeeds();
    for (line, row) in json.lines().zip(&rows[1..]) {
        let line: Value = serde_json::from_str(line).expect("one object per line");
        assert_eq!((line["image"].as_str(), line["classes"][1]["class"].as_str()), (Some(row[0]), Some(row[4])));
        assert_eq!(line["classes"].as_array().map(Vec::len), Some(2));
    }
    let table = predict(at, &["new", "--top", "1"]).succeeds();
    let column = |line: &str| line.find('%').expect("a probability");
    assert!(
        table.lines().count() == 10 && table.lines().all(|line| line.matches('%').count() == 1 && column(line) > 0)
    );
    // With a threshold that no answer reaches, none is given.
    let unsure = predict(at, &["new", "--threshold", "1", "--uncalibrated", "--json"]).succeeds();
    for line in unsure.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
        let sure = line["classes"][0]["probability"].as_f64() >= Some(1.0) && line["unknown"] != true;
        assert_eq!(line["answer"].is_string(), sure, "{line}");
    }
    assert_eq!(predict(at, &["new", "--threshold", "2"]).code, Some(2));
}

#[test]
fn photos_are_sorted_into_folders_by_class_and_nothing_is_overwritten() {
    let at = trained();
    let at = at.path();
    let before = files(&at.join("new"));
    let contents = |files: &[PathBuf]| {
        let mut contents: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("readable")).collect();
        contents.sort();
        contents
    };
    let all = contents(&before);
    // Links first: the photos stay. A second time makes no second link, and links are no photos to sort.
    predict(at, &["new", "--link-to", "new/linked"]).succeeds();
    let linked = files(&at.join("new/linked"));
    predict(at, &["new", "--link-to", "new/linked"]).succeeds();
    assert_eq!(files(&at.join("new/linked")), linked);
    assert!(before.iter().all(|file| file.is_file()));
    fs::remove_dir_all(at.join("new/linked")).expect("removed");
    // Photos of several folders have the same names, and all of them are there afterwards.
    let said = predict(at, &["new", "--move-to", "sorted", "--json"]).succeeds();
    let mut moved = 0;
    for line in said.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
        let (from, to) = (at.join(line["image"].as_str().expect("a path")), line["moved_to"].as_str());
        assert_eq!(to.is_some(), line["answer"].is_string(), "{line}");
        assert_eq!(from.exists(), to.is_none(), "{line}");
        if let Some(to) = to {
            contains(to, &[&format!("sorted/{}/", line["answer"].as_str().expect("a class"))]);
            moved += 1;
        }
    }
    let after = [files(&at.join("new")), files(&at.join("sorted"))].concat();
    assert_eq!(contents(&after), all);
    assert!(moved > 0 && files(&at.join("sorted")).len() == moved);
}

#[test]
fn photos_are_evaluated_with_labels_in_all_the_forms_that_training_takes() {
    let at = folder();
    let at = at.path();
    run(at, &["generate", "flowers", "drawn", "--train", "8", "--validation", "3", "--size", "32"]).succeeds();
    run(at, &["new", "drawn", "--backbone", "small_cnn", "--epochs", "1", "--set", "data.image_size=[32,32]"])
        .succeeds();
    run(at, &["train", "drawn.toml", "--run-dir", "out"]).succeeds();
    let evaluate = |words: &[&str]| run(at, &[&["evaluate"], words, &["--run", "out", "--json"]].concat());
    let images = |words: &[&str]| evaluate(words).json()["images"].as_u64();
    assert_eq!(images(&["drawn/validation"]), Some(15));
    assert_eq!(images(&["drawn"]), Some(15));
    assert_eq!(images(&["drawn", "--part", "train"]), Some(40));
    assert_eq!(images(&["drawn.toml"]), Some(15));
    assert_eq!(images(&["drawn/train", "--set", "data.validation_split=0.25"]), Some(10));
    assert_eq!(evaluate(&["drawn"]).json(), evaluate(&["drawn/validation"]).json());
    contains(&evaluate(&["drawn", "--part", "test"]).fails(), &["there are no test images"]);
}

/// Replaces values of a checkpoint, and takes out the checksum, which no longer fits.
fn with_values(checkpoint: &Path, value_of: &dyn Fn(&str) -> Option<f32>) -> Vec<u8> {
    let bytes = fs::read(checkpoint).expect("a checkpoint");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&rest[..length]).expect("a header");
    let mut values = rest[length..].to_vec();
    header["__metadata__"].as_object_mut().expect("metadata").remove("injerto.sha256");
    for (name, about) in header.as_object().expect("a table") {
        let Some(value) = value_of(name) else { continue };
        let place = |at: usize| about["data_offsets"][at].as_u64().expect("a place") as usize;
        values[place(0)..place(1)].as_chunks_mut().0.iter_mut().for_each(|bytes| *bytes = value.to_le_bytes());
    }
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &values].concat()
}

#[test]
fn outputs_that_are_no_numbers_are_no_answer() {
    let at = trained();
    let huge = |name: &str| match name {
        "batch_normalization_3/gamma" => Some(3e38),
        "dense/kernel" => Some(-3e38),
        _ => None,
    };
    let huge = with_values(&at.path().join("out/best.safetensors"), &huge);
    fs::write(at.path().join("huge.safetensors"), huge).expect("written");
    for photos in [["--json", "new"], ["--csv", "new"], ["--quiet", "new"]] {
        let said = run(at.path(), &[&["predict", "--run", "huge.safetensors"], &photos[..]].concat());
        assert_eq!(said.out.matches("NaN").count() + said.out.matches("null").count(), 0, "{}", said.out);
        contains(&said.fails(), &[".png: the network's outputs are infinite or not a number", "another checkpoint"]);
    }
    let said = run(at.path(), &["predict", "new", "--run", "huge.safetensors"]).fails();
    contains(&said, &["s: 10 without an answer"]);
    let said = run(at.path(), &["evaluate", "new", "--run", "huge.safetensors"]).fails();
    contains(&said, &["the network's outputs are infinite or not a number"]);
}

/// The root of a negative variance is no number, which an activation turns into 0, and so into an answer that looks like any other.
#[test]
fn a_checkpoint_with_a_negative_variance_gives_no_answer() {
    let at = trained();
    let changed = with_values(&at.path().join("out/best.safetensors"), &|name| {
        (name == "batch_normalization/moving_variance").then_some(-5.0)
    });
    fs::write(at.path().join("changed.safetensors"), changed).expect("written");
    let said = run(at.path(), &["predict", "new", "--run", "changed.safetensors"]).fails();
    let expected = "the weights are damaged: 'batch_normalization/moving_variance' holds negative values";
    contains(&said, &["changed.safetensors: ", expected]);
}
