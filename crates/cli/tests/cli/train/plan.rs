//! What is said before anything is trained: the plan, what was found, and what does not fit.

use serde_json::Value;

use super::{TINY, folder};
use crate::{contains, run};

#[test]
fn mistakes_in_the_file_are_shown_with_line_and_fix() {
    let at = folder();
    let check = |from: &str, to: &str, parts: &[&str]| {
        std::fs::write(at.path().join("bad.toml"), TINY.replacen(from, to, 1)).expect("written");
        contains(&run(at.path(), &["train", "bad.toml", "--run-dir", "out"]).fails(), parts);
        assert!(!at.path().join("out").exists(), "nothing is left of an experiment that did not begin");
    };
    check("batch_size", "batchsize", &["bad.toml:10:1: unknown key `batchsize`", "did you mean `batch_size`?"]);
    check("epochs = 2", "epochs = \"two\"", &["bad.toml:22:10: ", "phases.0.epochs", "^^^^^"]);
    check("seed = 7", "seed = ", &["bad.toml:3:"]);
    check("\"small_cnn\"", "\"small_cn\"", &["no backbone 'small_cn'; did you mean 'small_cnn'?", "searched:"]);
    check("filters = [4, 8]", "filter = [4]", &["backbone 'small_cnn' has no parameter 'filter' (it has: "]);
    check("\"none\"", "\"imagenet\"", &["no weights 'imagenet' for this backbone", "none "]);
    check("unfreeze = \"all\"", "unfreeze = { from_layer = \"conv\" }", &["no layer 'conv' in 'small_cnn'"]);
    contains(&run(at.path(), &["train", "none.toml"]).fails(), &["none.toml"]);
}

#[test]
fn what_a_dry_run_plans_is_what_a_run_trains_from() {
    let at = folder();
    let half =
        ["--set", "cache.precision=f16", "--set", "phases.1.epochs=1", "--set", "phases.1.unfreeze={ last = 2 }"];
    let text = run(at.path(), &[&["train", "tiny.toml", "--dry-run", "--json"], &half[..]].concat()).succeeds();
    run(at.path(), &[&["train", "tiny.toml", "--run-dir", "run"], &half[..]].concat()).succeeds();
    let written = std::fs::read_to_string(at.path().join("run/plan.json")).expect("a plan");
    assert_eq!(text.trim_end(), written.trim_end());
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    let phases = plan["phases"].as_array().expect("a list");
    assert_eq!(
        phases.iter().map(|phase| phase["phase"]["name"].as_str()).collect::<Vec<_>>(),
        [Some("head"), Some("all")]
    );
    // The other text says the same in words, and so does the report.
    let words = run(at.path(), &[&["train", "tiny.toml", "--dry-run"], &half[..]].concat()).succeeds();
    let report = std::fs::read_to_string(at.path().join("run/report.html")).expect("a report");
    for phase in phases {
        let cut = phase["cut"]["before"].as_str().expect("something trains");
        contains(&words, &[&format!("cut before {cut}: "), " per image"]);
        contains(&report, &[&format!("cut before {cut}: "), " per image"]);
        let values = phase["boundary_values"].as_u64().expect("a number");
        assert_eq!(phase["cut"]["bytes"].as_u64(), Some(2 * values), "half precision takes two bytes a value");
    }
    let alone = run(at.path(), &["train", "tiny.toml", "--json"]);
    assert_eq!(alone.code, Some(2), "a run has no words as JSON");
    contains(&alone.err, &["--dry-run"]);
}

#[test]
fn set_overrides_any_key_and_a_dry_run_leaves_nothing() {
    let at = folder();
    let set = ["--set", "phases.0.epochs=9", "--set", "data.batch_size=5"];
    let text = run(at.path(), &[&["train", "tiny.toml", "--dry-run"], &set[..]].concat()).succeeds();
    contains(
        &text,
        &[
            "experiment tiny (seed 7, device flex)\n",
            "images     60 to train",
            "backbone   small_cnn at 32x32",
            "phase 1    head: 9 epochs, trainable 45 / non-trainable ",
            "batch_size = 5",
            "epochs = 9",
        ],
    );
    // What it prints is the experiment again, with every default.
    let resolved = text.split_once("# The experiment, with every default\n").expect("the experiment").1;
    std::fs::write(at.path().join("again.toml"), resolved).expect("written");
    let again = run(at.path(), &["train", "again.toml", "--dry-run"]).succeeds();
    assert_eq!(again, text);
    assert!(!at.path().join("runs").exists() && !at.path().join("home").exists());
    let bad = run(at.path(), &["train", "tiny.toml", "--dry-run", "--set", "data.batch_siz=5"]);
    contains(&bad.fails(), &["--set", "data.batch_siz", "did you mean `batch_size`?"]);
    let bad = run(at.path(), &["train", "tiny.toml", "--dry-run", "--set", "seed"]);
    contains(&bad.fails(), &["--set", "seed"]);
}

#[test]
fn a_head_and_a_loss_that_do_not_belong_together_are_refused_before_training() {
    let at = folder();
    let check = |set: &[&str], parts: &[&str]| {
        let set = set.iter().flat_map(|set| ["--set", *set]);
        let arguments: Vec<&str> = ["train", "tiny.toml", "--run-dir", "out"].into_iter().chain(set).collect();
        let ran = run(at.path(), &arguments);
        assert!(!ran.out.contains("epoch   1"), "{}", ran.out);
        contains(&ran.fails(), parts);
        assert!(!at.path().join("out").exists());
    };
    check(
        &["loss.name=\"binary_crossentropy\"", "head.activation=\"sigmoid\"", "head.units=1"],
        &["there are 5 classes and 1 unit(s): set loss.name = \"sparse_categorical_crossentropy\""],
    );
    check(&["head.activation=\"sigmoid\""], &["does not go with a sigmoid output: set head.activation = \"softmax\""]);
    check(
        &["head.activation=\"softmax\"", "loss.from_logits=true"],
        &["softmax already makes probabilities: set loss.from_logits = false, or head.activation = \"linear\""],
    );
    check(&["head.units=3"], &["5 classes and 3 unit(s): set head.units = 5"]);
}

#[test]
fn folders_that_are_missing_or_taken_are_named() {
    let at = folder();
    let text = TINY.replace("generated = \"flowers\"", "root = [\"here\", \"there\"]");
    let text = text.replace("train_per_class = 12\nvalidation_per_class = 4\n", "");
    std::fs::write(at.path().join("photos.toml"), text).expect("written");
    let error = run(at.path(), &["train", "photos.toml"]).fails();
    let searched = "data.root: none of these folders exists: here, data/here, there, data/there\n";
    contains(&error, &[searched, "--set data.root=FOLDER"]);
    std::fs::write(at.path().join("there"), "an archive").expect("written");
    contains(&run(at.path(), &["train", "photos.toml"]).fails(), &["there is a file: if it is an archive, unpack it"]);
    let error = run(at.path(), &["train", "photos.toml", "--set", "data.root=~/photos"]).fails();
    contains(&error, &["`~` is not replaced in a path: write the home folder's path"]);
    std::fs::create_dir(at.path().join("taken")).expect("made");
    std::fs::write(at.path().join("taken/experiment.toml"), "name = \"other\"").expect("written");
    let error = run(at.path(), &["train", "tiny.toml", "--run-dir", "taken"]).fails();
    contains(&error, &["taken: there is a run in this folder already", "--resume"]);
    assert_eq!(std::fs::read_dir(at.path().join("taken")).expect("readable").count(), 1);
    contains(&run(at.path(), &["train", "--resume", "nowhere"]).fails(), &["nowhere", "this is not a run's folder"]);
}

#[test]
fn the_plan_says_what_was_found_and_what_was_left_out() {
    let at = folder();
    run(at.path(), &["generate", "flowers", "photos", "--train", "4", "--validation", "2", "--size", "40"]).succeeds();
    let text =
        TINY.replace("generated = \"flowers\"\ntrain_per_class = 12\nvalidation_per_class = 4", "root = \"photos\"");
    std::fs::write(at.path().join("photos.toml"), text).expect("written");
    let write = |name: &str, bytes: &[u8]| {
        let path = at.path().join("photos").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    write("__MACOSX/train/roses/._1.jpg", b"");
    write("train/roses/.DS_Store", b"");
    write("train/roses/1.HEIC", b"");
    write("train/roses/2.heic", b"");
    write("train/tulips/broken.jpg", b"\xff\xd8\xff\xe0 a photo once");
    write("train/tulips/text\u{1b}[31m.jpg", b"no photo");
    write("test/1.jpg", b"");
    let dry = |set: &[&str]| {
        let set = set.iter().flat_map(|&set| ["--set", set]);
        let arguments: Vec<&str> = ["train", "photos.toml", "--dry-run"].into_iter().chain(set).collect();
        run(at.path(), &arguments)
    };
    let error = dry(&[]).fails();
    contains(
        &error,
        &[
            "2 of 32 files are not readable images:\n",
            "photos/train/tulips/broken.jpg: it ends too early\n",
            "text\\u{1b}[31m.jpg: it is none of JPEG",
            "set data.on_corrupt = \"skip\"",
        ],
    );
    let skipping = dry(&["data.on_corrupt=skip"]);
    contains(
        &skipping.err,
        &["warning: images that are not read: 2 .heic (the first is photos/train/roses/1.HEIC); convert them to .bmp"],
    );
    contains(
        &skipping.succeeds(),
        &[
            "images     20 to train (",
            "tulips 4), 10 to validate",
            "training images from photos/train, validation images from photos/validation",
            "photos/test is not used (1 images)",
            "left out   2 .heic, 1 hidden file or folder, 1 file or folder of the system",
            "skipped    2 of 32 files are not readable images:\n           photos/train/tulips/broken.jpg: it ends",
        ],
    );
    let error = dry(&["data.on_corrupt=skip", "data.validation_split=0.2"]).fails();
    contains(&error, &["data.validation_split has no effect: photos/validation holds the images to validate by"]);
    let error = dry(&["data.root=."]).fails();
    contains(
        &error,
        &["'photos' is the only folder with images", "(test, train, validation)", "data.root to './photos'"],
    );
    let run_of = ["train", "photos.toml", "--run-dir", "out", "--set", "data.on_corrupt=skip"];
    contains(&run(at.path(), &run_of).succeeds(), &["2 file(s) left out:\n  photos/train/tulips/broken.jpg: it ends"]);
    let summary: Value =
        serde_json::from_str(&std::fs::read_to_string(at.path().join("out/summary.json")).expect("there"))
            .expect("JSON");
    assert_eq!(summary["images"]["train"], serde_json::json!([4, 4, 4, 4, 4]));
    assert_eq!(summary["skipped"].as_array().expect("a list").len(), 2);
    contains(
        &run(at.path(), &["predict", "photos/train", "--run", "out"]).fails(),
        &["photos/train/tulips/broken.jpg: not a readable image: it ends"],
    );
}
