//! ONNX models: what a run exports, and what other programs export, as a backbone.

use std::path::Path;
use std::process::Command;

use crate::handed_on::First;
use crate::{contains, run};

/// The next experiment begins with the model.
const NEXT: &str = r#"
name = "next"
[data]
generated = "flowers"
train_per_class = 4
validation_per_class = 2
image_size = [32, 32]
[backbone]
plugin = "models/first.onnx"
[[phases]]
epochs = 1
[[phases]]
epochs = 1
unfreeze = { last = 2 }
"#;

/// A folder with a run, its model, and drawn photos.
fn folder() -> tempfile::TempDir {
    let first = First { train_per_class: 8, validation_per_class: 4, preprocessing: "caffe", epochs: 2 };
    let folder = first.followed_by(NEXT);
    let at = folder.path();
    std::fs::create_dir(at.join("models")).expect("made");
    let said = run(at, &["export", "first", "models/first.onnx"]).succeeds();
    contains(&said, &["input image: float32 [batch, 32, 32, 3]", "output probabilities: float32 [batch, "]);
    folder
}

#[test]
fn an_exported_model_is_a_backbone_for_the_next_experiment() {
    let folder = folder();
    let at = folder.path();
    let summary = run(at, &["summary", "models/first.onnx"]).succeeds();
    contains(&summary, &["Conv2D", "GlobalAveragePooling2D"]);
    // The weights of the model are meant although the experiment does not say so, and the model says how it takes pixels.
    let said = run(at, &["train", "next.toml", "--run-dir", "next"]).succeeds();
    contains(&said, &["own: the weights in ", "first.onnx"]);
    assert!(!said.contains("does not say how pixels"), "{said}");
    let checks = run(at, &["plugins", "validate", "models/first.onnx"]).succeeds();
    contains(&checks, &["all its nodes are layers", "fit the graph"]);
}

#[test]
fn a_model_in_a_plugin_folder_has_the_name_of_its_file() {
    let folder = folder();
    let listing = run(folder.path(), &["--plugin-dir", "models", "plugins", "list"]).succeeds();
    contains(&listing, &["first ", "an ONNX model of ", "written by injerto", "weights: own"]);
    std::fs::write(folder.path().join("models/broken.onnx"), "no model").expect("written");
    let listing = run(folder.path(), &["--plugin-dir", "models", "plugins", "list"]).succeeds();
    contains(&listing, &["first ", "broken.onnx: it cannot be read as an ONNX model"]);
}

#[test]
fn the_python_of_the_guide_gives_the_probabilities_of_predict() {
    let python = std::env::var_os("INJERTO_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import onnx, onnxruntime, PIL"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: no Python with onnx, onnxruntime, PIL");
    }
    let folder = folder();
    let at = folder.path();
    let guide =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/onnx.md")).expect("there");
    let code = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a snippet");
    std::fs::write(at.join("snippet.py"), code).expect("written");
    run(at, &["generate", "shapes", "photos", "--train", "2", "--validation", "1", "--size", "32"]).succeeds();
    let photo = std::fs::read_dir(at.join("photos/train")).expect("there").flatten().next().expect("a class").path();
    let photo = std::fs::read_dir(photo).expect("there").flatten().next().expect("a photo").path();
    let photo = photo.display().to_string();
    let output = Command::new(&python).current_dir(at).args(["snippet.py", "models/first.onnx", &photo]).output();
    let output = output.expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let (class, probability) = said.trim().rsplit_once(' ').expect("a class and a number");
    // What is exported is the network; its calibration is kept beside the run.
    let predicted = run(at, &["predict", &photo, "--run", "first", "--uncalibrated", "--json"]).json();
    let best = &predicted.as_array().map_or(&predicted, |all| &all[0]);
    let text = best.to_string();
    contains(&text, &[class]);
    let probability: f64 = probability.parse().expect("a number");
    let near = |value: &f64| (value - probability).abs() < 1e-5;
    let numbers = text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == 'e' || c == '-'));
    assert!(numbers.filter_map(|number| number.parse().ok()).any(|value| near(&value)), "{text} for {said}");
}
