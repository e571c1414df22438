use injerto_insight::Watch;
use injerto_insight::folds::Folds;
use injerto_insight::labels::{find, suspects};
use injerto_insight::neighbours::Neighbourhood;
use injerto_insight::predictions::Predictions;
use injerto_insight::probe::{CrossValidation, Strengths};
use serde_json::Value;

use crate::{golden_predictions, noise, numbers, table, with_images};

#[test]
fn suspects_and_their_order_equal_cleanlab() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../../golden/insight_labels.json")).unwrap();
    for case in &cases {
        let found: Vec<usize> = suspects(&golden_predictions(case)).unwrap().iter().map(|it| it.row).collect();
        let expected: Vec<usize> = numbers(&case["issues"]).into_iter().map(|row| row as usize).collect();
        assert!(!expected.is_empty());
        assert_eq!(found, expected);
    }
}

#[test]
fn wrong_labels_are_found_with_what_they_should_be() {
    // The classes are three directions with some noise; every twentieth image has the label of another class.
    let clean = table(300, 8, 3, |row, column| 2.0 + noise(row, column) + if column == row % 3 { 2.0 } else { 0.0 });
    let is_wrong = |row: usize| row % 20 == 7;
    let wrong = with_images(&clean, |row, image| image.label = (image.label + u32::from(is_wrong(row))) % 3);
    let validation = CrossValidation::run(&wrong, Folds::new(5, 1), &Strengths::default(), Watch::none()).unwrap();
    let around = Neighbourhood::of(&wrong, Watch::none()).unwrap();
    let found = find(&wrong, &around, &validation.predictions).unwrap();
    let hits = found.iter().take(15).filter(|it| is_wrong(it.row)).count();
    assert!(hits >= 14, "{hits} of 15");
    for suspect in found.iter().filter(|it| is_wrong(it.row)) {
        assert_eq!(suspect.suggested as usize, suspect.row % 3);
    }
    assert!(found.is_sorted_by(|a, b| a.self_confidence <= b.self_confidence));
    let other = Predictions::new(3, vec![0], vec![1.0, 0.0, 0.0]).unwrap();
    let error = find(&wrong, &around, &other).unwrap_err().to_string();
    assert_eq!(error, "there are 1 out-of-fold predictions of these images, but 300 are expected");
}

#[test]
fn a_class_without_images_and_a_class_with_one_are_borne() {
    let probabilities = [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0]].concat();
    let found = suspects(&Predictions::new(3, vec![0, 0, 0, 1], probabilities).unwrap()).unwrap();
    assert!(found.iter().all(|it| it.row == 1), "{found:?}");
    assert!(suspects(&Predictions::new(3, vec![], vec![]).unwrap()).is_err());
}
