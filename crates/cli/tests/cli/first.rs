//! `injerto train FOLDER` and `injerto new`: an experiment for which nobody has written a file.

use std::fs;
use std::path::Path;

use crate::inspect::offline;
use crate::train::history;
use crate::{contains, run};

/// Drawn flowers of five classes with so many images each, in `photos`.
fn photos(at: &Path, each: &str) {
    run(at, &["generate", "flowers", "drawn", "--train", each, "--validation", "2", "--size", "40"]).succeeds();
    fs::rename(at.join("drawn/train"), at.join("photos")).expect("moved");
}

#[test]
fn a_folder_is_trained_in_one_line_and_leaves_the_experiment_to_change() {
    let at = tempfile::tempdir().expect("a folder");
    photos(at.path(), "10");
    let ran = offline(at.path(), &["train", "photos/", "--epochs", "1", "--set", "seed=7", "--run-dir", "first"]);
    // Without weights and without a network it says what it does instead.
    contains(&ran.err, &["no weights are at hand", "A small network is trained from scratch instead"]);
    let said = ran.succeeds();
    contains(&said, &["validation_split = 0.2", "plugin = \"small_cnn\"", "This is photos.toml", "40 to train"]);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    contains(last[0], &["use it     injerto predict PHOTO --run first"]);
    contains(last[1], &["look at    first/report.html"]);
    contains(&last[2..].join("\n"), &["best val_accuracy 0.", " of 10 validation photos "]);

    // The file that was written trains the same network.
    run(at.path(), &["train", "photos.toml", "--run-dir", "again"]).succeeds();
    assert_eq!(history(&at.path().join("again")), history(&at.path().join("first")));
    assert_eq!(history(&at.path().join("first")).len(), 1);
    // Another run writes another file, and a dry run none.
    let dry = ["train", "photos", "--backbone", "small_cnn", "--dry-run"];
    contains(&run(at.path(), &dry).succeeds(), &["plugin = \"small_cnn\"", "phase 1    from-scratch: 40 epochs"]);
    assert!(!at.path().join("photos-2.toml").exists());
    run(at.path(), &["train", "photos", "--backbone", "small_cnn", "--epochs", "1", "--run-dir", "third"]).succeeds();
    assert!(at.path().join("photos-2.toml").exists());
}

#[test]
fn a_folder_that_is_not_here_is_looked_for_where_an_experiment_looks_for_it() {
    let at = tempfile::tempdir().expect("a folder");
    photos(at.path(), "4");
    fs::create_dir(at.path().join("data")).expect("made");
    fs::rename(at.path().join("photos"), at.path().join("data/photos")).expect("moved");
    for command in [&["new", "photos", "--backbone", "small_cnn", "--out", "-"][..], &["inspect", "photos"]] {
        contains(&offline(at.path(), command).succeeds(), &["data/photos"]);
    }
    contains(&run(at.path(), &["new", "nowhere"]).fails(), &["nowhere: no such folder"]);
}

#[test]
fn an_experiment_for_a_folder_is_written_with_its_reasons_and_never_over_another() {
    let at = tempfile::tempdir().expect("a folder");
    photos(at.path(), "4");
    let new = |more: &[&str]| run(at.path(), &[&["new", "photos"], more].concat());
    let ran = new(&["--backbone", "mobilenet_v2", "--fine-tune", "100", "--name", "mine"]);
    contains(&ran.err, &["the weights 'imagenet' of mobilenet_v2 are fetched when the experiment is trained"]);
    contains(&ran.succeeds(), &["wrote mine.toml", "injerto train mine.toml --dry-run"]);
    let text = fs::read_to_string(at.path().join("mine.toml")).expect("written");
    contains(
        &text,
        &[
            "name = \"mine\"",
            "root = \"photos\"",
            "image_size = [224, 224]            # that of the backbone's weights",
            "unfreeze = { from_layer = 100 }",
        ],
    );
    // Under its own name the next one gets a number, and a file that is named is not overwritten.
    contains(&new(&["--backbone", "small_cnn", "--name", "mine"]).succeeds(), &["wrote mine-2.toml"]);
    contains(&new(&["--backbone", "small_cnn", "--out", "mine.toml"]).fails(), &["mine.toml is there already"]);
    assert_eq!(fs::read_to_string(at.path().join("mine.toml")).expect("there"), text);
}

#[test]
fn what_the_folder_and_the_command_line_say_stands_in_the_experiment() {
    let at = tempfile::tempdir().expect("a folder");
    photos(at.path(), "8");
    let new = |folder: &str, more: &[&str]| {
        let all = [&["new", folder, "--backbone", "small_cnn", "--out", "-"], more].concat();
        run(at.path(), &all).succeeds()
    };
    let sets = ["--set", "data.batch_size=4", "--set", "phases.0.optimizer=sgd", "--set", "data.image_size=[32,32]"];
    let text = new("photos", &sets);
    contains(
        &text,
        &["batch_size = 4\n", "optimizer = \"sgd\"\n", "image_size = [32, 32]\n", "validation_split = 0.2"],
    );
    // Where the folder holds validation images, none are held out.
    run(at.path(), &["generate", "flowers", "halves", "--train", "2", "--validation", "2", "--size", "32"]).succeeds();
    let text = new("halves", &[]);
    assert!(!text.contains("validation_split"), "{text}");
    contains(&text, &["early_stopping = "]);
    // Classes of very different sizes are weighed.
    for entry in fs::read_dir(at.path().join("photos")).expect("there").take(1) {
        let class = entry.expect("an entry").path();
        for entry in fs::read_dir(class).expect("there").skip(1) {
            fs::remove_file(entry.expect("an entry").path()).expect("removed");
        }
    }
    contains(&new("photos", &[]), &["class_weights = \"balanced\""]);
    // What is wrong with a setting is said of the setting.
    let wrong = ["new", "photos", "--backbone", "small_cnn", "--set", "data.batchsize=4"];
    contains(&run(at.path(), &wrong).fails(), &["--set", "unknown key `batchsize`"]);
    let nothing = ["new", "photos", "--backbone", "small_cnn", "--fine-tune", "3"];
    contains(&run(at.path(), &nothing).fails(), &["--fine-tune: small_cnn has no weights to fine-tune"]);
    let written = ["train", "mine.toml", "--epochs", "3"];
    contains(&run(at.path(), &written).fails(), &["--epochs goes with a folder of images"]);
}
