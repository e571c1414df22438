//! What a run leaves for other programs: the model card, MLflow's file store, and the schema for editors.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::train::folder;
use crate::{contains, run};

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
}

#[test]
fn a_run_leaves_a_model_card_and_goes_into_a_store_of_mlflow() {
    let at = folder();
    let at = at.path();
    run(at, &["train", "tiny.toml", "--run-dir", "out"]).succeeds();
    let card = fs::read_to_string(at.join("out/README.md")).expect("there");
    contains(
        &card,
        &["library_name: \"injerto\"", "\"type\":\"accuracy\"", "95 % interval", "## Limits", "## Training data"],
    );
    contains(
        &card,
        &["The images were drawn, and say nothing of photos.", "Each photo has one of these classes: `daisy`"],
    );
    assert!(!card.contains(at.to_str().expect("UTF-8")), "{card}");
    let text = run(at, &["export", "out", "--mlflow", "mlruns"]).succeeds();
    contains(&text, &["mlflow ui --backend-store-uri mlruns"]);
    // A run that is written again is the same run.
    run(at, &["export", "out", "--mlflow", "mlruns"]).succeeds();
    let [experiment] = &entries(&at.join("mlruns"))[..] else { panic!("one experiment") };
    let inside = entries(experiment);
    let [run_folder, meta] = &inside[..] else { panic!("{inside:?}") };
    contains(&fs::read_to_string(meta).expect("text"), &["name: \"tiny\"\n", "lifecycle_stage: \"active\"\n"]);
    let read = |name: &str| fs::read_to_string(run_folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let id = run_folder.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    contains(&read("meta.yaml"), &[&format!("run_id: \"{id}\"\n"), "run_name: \"out\"\n", "status: 3\n"]);
    assert_eq!(read("params/phases.0.epochs"), "2");
    assert_eq!(read("tags/mlflow.runName"), "out");
    // A line per epoch: time in milliseconds, value, step.
    let history = fs::read_to_string(at.join("out/history.jsonl")).expect("there");
    let lines = read("metrics/val_accuracy");
    assert_eq!(lines.lines().count(), history.lines().count());
    for (line, record) in lines.lines().zip(history.lines()) {
        let record: Value = serde_json::from_str(record).expect("JSON");
        let [time, value, step] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(time.parse::<u64>().is_ok_and(|time| time > 1_600_000_000_000), "{line}");
        assert_eq!(
            (value.parse::<f64>().ok(), step.parse::<u64>().ok()),
            (record["val_accuracy"].as_f64(), record["epoch"].as_u64())
        );
    }
    for name in ["README.md", "report.html", "summary.json", "best.safetensors"] {
        assert!(run_folder.join("artifacts").join(name).is_file(), "{name}");
    }
    contains(&run(at, &["export", "nowhere", "--mlflow", "mlruns"]).fails(), &["nowhere/summary.json"]);
}

#[test]
fn a_new_experiment_names_the_schema_that_injerto_prints() {
    let at = tempfile::tempdir().expect("a folder");
    let schema = run(at.path(), &["schema"]).json();
    assert_eq!(schema["properties"]["data"]["properties"]["batch_size"]["default"], 32);
    run(at.path(), &["generate", "flowers", "drawn", "--train", "2", "--validation", "1", "--size", "32"]).succeeds();
    run(at.path(), &["new", "drawn", "--backbone", "small_cnn"]).succeeds();
    let text = fs::read_to_string(at.path().join("drawn.toml")).expect("written");
    assert!(text.starts_with("#:schema ./experiment.schema.json\n"), "{text}");
}
