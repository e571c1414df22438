//! `injerto cv`.

use serde_json::Value;

use crate::train::folder;
use crate::{contains, run};

/// The accuracy is that of the predictions that are written beside it, features are kept, and a seed gives the same numbers again.
#[test]
fn every_image_is_judged_by_a_classifier_that_has_not_seen_it() {
    let at = folder();
    let cv = |more: &[&str]| run(at.path(), &[&["cv", "tiny.toml", "--folds", "4"], more].concat());
    let shown = cv(&["--predictions", "out_of_fold.csv"]).succeeds();
    contains(&shown, &["80 images of 5 classes, ", "  fold  4  ", "n = 20)", "accuracy   ", "0.2000 by chance"]);
    let table = std::fs::read_to_string(at.path().join("out_of_fold.csv")).expect("it is there");
    // From the end, because a path may contain commas: five probabilities, the prediction, the label, the path.
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.rsplitn(8, ',').collect()).collect();
    assert_eq!((rows.len(), rows[0].len()), (80, 8), "{table}");
    let right = rows.iter().filter(|row| row[5] == row[6]).count();
    let found = cv(&["--json"]).json();
    let accuracy = found["accuracy"]["mean"].as_f64().expect("a number");
    assert!((accuracy - right as f64 / 80.0).abs() < 1e-9, "{accuracy} is not {right} of 80");
    assert_eq!(found["folds"].as_array().map(Vec::len), Some(4));
    let limits: Vec<f64> = serde_json::from_value(found["accuracy"]["interval"].clone()).expect("two numbers");
    assert!(limits[0] < accuracy && accuracy < limits[1], "{limits:?}");
    assert_eq!(cv(&["--json"]).json(), found);
    let other: Value = cv(&["--json", "--set", "seed=8"]).json();
    assert_ne!(other["folds"], found["folds"]);
    contains(
        &run(at.path(), &["cv", "tiny.toml", "--folds", "100"]).fails(),
        &["dealing images into folds needs at least 100 images or groups, and there are 80"],
    );
}
