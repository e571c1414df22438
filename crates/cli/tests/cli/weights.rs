//! Weights between one experiment and the next, as users hand them on.

use std::path::Path;

use crate::handed_on::First;
use crate::{contains, run};

/// The next experiment, which says nothing but the file.
const NEXT: &str = r#"
name = "next"
[data]
generated = "flowers"
train_per_class = 4
validation_per_class = 2
image_size = [48, 48]
[backbone]
plugin = "small_cnn"
weights = "handed.on"
[[phases]]
epochs = 2
"#;

/// A folder with a run of the first experiment, and the next one's file.
fn folder() -> tempfile::TempDir {
    let first = First { train_per_class: 4, validation_per_class: 2, preprocessing: "minus_one_to_one", epochs: 1 };
    first.followed_by(NEXT)
}

#[test]
fn what_a_run_leaves_brings_its_parameters_and_scaling_to_the_next() {
    let at = folder();
    let export = |file: &str, more: &[&str]| {
        run(at.path(), &[&["export", "first", file], more].concat()).succeeds();
    };
    export("whole.safetensors", &[]);
    export("backbone.safetensors", &["--backbone"]);
    export("half.safetensors", &["--backbone", "--precision", "f16"]);
    for own in ["first/best.safetensors", "first/last.safetensors", "first/knowledge.safetensors"] {
        let error = run(at.path(), &["export", "first", own, "--backbone"]).fails();
        contains(&error, &[&format!("{own}: a run keeps its own weights there")]);
    }
    let said = run(at.path(), &["export", "first", "json.onnx", "--json"]).json();
    assert_eq!((&said["file"], &said["image_size"]), (&"json.onnx".into(), &serde_json::json!([32, 32])));
    let said = run(at.path(), &["export", "first", "json.safetensors", "--json"]).json();
    assert!(said["values"].as_u64().is_some_and(|values| values > 100) && said["classes"].is_array(), "{said}");
    let files = [
        "whole.safetensors",
        "backbone.safetensors",
        "half.safetensors",
        "first/best.safetensors",
        "first/last.safetensors",
    ];
    for file in files {
        std::fs::copy(at.path().join(file), at.path().join("handed.on")).expect("copied");
        let plan = run(at.path(), &["train", "next.toml", "--dry-run"]).succeeds();
        contains(&plan, &["weights    handed.on: a file of injerto, with filters = [4,8]\n"]);
        let set = "backbone.parameters={filters=[8,16]}";
        let error = run(at.path(), &["train", "next.toml", "--dry-run", "--set", set]).fails();
        contains(&error, &["need backbone.parameters.filters = [4,8], but it is set to [8,16]"]);
        let run_dir = format!("next-{}", file.replace('/', "-"));
        run(at.path(), &["train", "next.toml", "--run-dir", &run_dir]).succeeds();
        let card = std::fs::read(at.path().join(run_dir).join("best.safetensors")).expect("a checkpoint");
        let text = String::from_utf8_lossy(&card);
        assert!(text.contains(r#"\"mean\":[1.0,1.0,1.0]"#), "{file}: the scaling of the first run");
    }
}

#[test]
fn a_run_goes_on_without_the_file_that_it_began_with() {
    let at = folder();
    std::fs::copy(at.path().join("first/best.safetensors"), at.path().join("handed.on")).expect("copied");
    run(at.path(), &["train", "next.toml", "--run-dir", "next"]).succeeds();
    std::fs::remove_file(at.path().join("handed.on")).expect("removed");
    let ran = run(at.path(), &["train", "--resume", "next"]);
    contains(
        &ran.err,
        &[
            "warning: no weights '",
            "handed.on' for this backbone: it is not a file; the run goes on with the backbone's weights of ",
        ],
    );
    ran.succeeds();
    contains(
        &run(at.path(), &["train", "next.toml"]).fails(),
        &["no weights 'handed.on' for this backbone: it is not a file"],
    );
}

/// Changes one bit in the middle of a file's numbers.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_damaged_checkpoint_is_refused_wherever_it_is_used() {
    let at = folder();
    damage(&at.path().join("first/best.safetensors"));
    damage(&at.path().join("first/last.safetensors"));
    std::fs::copy(at.path().join("first/best.safetensors"), at.path().join("handed.on")).expect("copied");
    std::fs::write(at.path().join("x.png"), "").expect("written");
    let commands: [&[&str]; 4] = [
        &["predict", "x.png", "--run", "first"],
        &["train", "--resume", "first"],
        &["export", "first", "x.safetensors"],
        &["train", "next.toml", "--dry-run"],
    ];
    for command in commands {
        let error = run(at.path(), command).fails();
        contains(&error, &[" is damaged: its checksum is ", "restore a copy"]);
    }
}

#[test]
fn pixels_scaled_differently_than_in_training_are_reported_before_training() {
    let at = tempfile::tempdir().expect("a folder");
    let text = NEXT.replace("handed.on", "shapes").replace("flowers", "shapes").replace("48", "32");
    std::fs::write(at.path().join("shapes.toml"), text).expect("written");
    let dry = |set: &[&str]| run(at.path(), &[&["train", "shapes.toml", "--dry-run"], set].concat());
    for right in [&[][..], &["--set", "backbone.preprocessing=zero_to_one"]] {
        let ran = dry(right);
        assert!(!ran.err.contains("scaled differently"), "{}", ran.err);
    }
    for wrong in ["caffe", "none", "imagenet"] {
        let ran = dry(&["--set", &format!("backbone.preprocessing={wrong}")]);
        contains(
            &ran.err,
            &["warning: the weights were probably trained on pixels that were scaled differently", "zero_to_one"],
        );
    }
}
