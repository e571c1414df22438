use injerto_insight::calibration::{Reliability, Temperature, alone_at, class_thresholds, coverage};
use injerto_insight::predictions::Predictions;
use serde_json::Value;

use crate::{golden_predictions, number};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../golden/insight_statistics.json")).unwrap()
}

#[test]
fn the_temperature_is_that_of_the_least_loss() {
    let golden = golden();
    let found = Temperature::fit(&golden_predictions(&golden["three"])).unwrap();
    assert!((found.value - number(&golden["temperature"])).abs() < 1e-4, "{found:?}");
    assert!((found.loss_after - number(&golden["loss_at_temperature"])).abs() < 1e-9, "{found:?}");
    assert!(!found.helps(), "it is near 1: {found:?}");
}

#[test]
fn an_overconfident_classifier_is_made_honest_and_predicts_the_same() {
    // The classifier's confidence is always 0.99, and it is right in three of four cases.
    let probabilities = (0..400).flat_map(|row| if row % 2 == 0 { [0.99, 0.01] } else { [0.01, 0.99] }).collect();
    let labels = (0..400_u32).map(|row| (row + u32::from(row % 8 > 5)) % 2).collect();
    let sure = Predictions::new(2, labels, probabilities).unwrap();
    let temperature = Temperature::fit(&sure).unwrap();
    let honest = temperature.apply(&sure);
    assert!(temperature.helps() && temperature.value > 2.0, "{temperature:?}");
    assert!((honest.row(0)[0] - 0.75).abs() < 1e-4);
    assert_eq!(honest.predicted(), sure.predicted());
    let (before, after) = (Reliability::of(&sure, 15), Reliability::of(&honest, 15));
    assert!((before.ece - 0.24).abs() < 1e-9 && after.ece < 1e-3, "{} {}", before.ece, after.ece);
    assert_eq!((after.bins.len(), after.bins[0].accuracy.n), (1, 400));
}

#[test]
fn the_calibration_error_is_the_mean_gap_of_confidence_and_accuracy() {
    let golden = golden();
    let found = Reliability::of(&golden_predictions(&golden["three"]), 15);
    assert!((found.ece - number(&golden["ece"])).abs() < 1e-9, "{} is not {}", found.ece, golden["ece"]);
}

#[test]
fn a_model_that_answers_only_where_it_is_sure_is_right_more_often() {
    // There are ten photos in descending order of confidence; the fourth and the last two are wrong.
    let confidence = |row: usize| 0.99 - 0.04 * row as f64;
    let probabilities = (0..10).flat_map(|row| [confidence(row), 1.0 - confidence(row)]).collect();
    let labels = (0..10).map(|row| u32::from([3, 8, 9].contains(&row))).collect();
    let predictions = Predictions::new(2, labels, probabilities).unwrap();
    let curve = coverage(&predictions);
    assert_eq!(curve.len(), 10);
    assert_eq!((curve[9].coverage, curve[9].accuracy.value, curve[9].accuracy.n), (1.0, 0.7, 10));
    let alone = alone_at(&predictions, 0.85).unwrap();
    assert_eq!((alone.coverage, alone.accuracy.value), (0.8, 0.875));
    assert_eq!(alone_at(&predictions, 0.99).unwrap().coverage, 0.3);
    let [first, second] = class_thresholds(&predictions, 0.85)[..] else { panic!("two classes") };
    let first = first.unwrap();
    assert!((first.threshold - confidence(7)).abs() < 1e-12 && first.recall.value == 1.0 && first.precision.n == 8);
    assert_eq!(second, None, "no photo is taken for the second class");
}
