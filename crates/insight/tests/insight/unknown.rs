use injerto_insight::unknown::Known;
use injerto_insight::{Matrix, Watch};

use crate::{noise, table};

fn around(directions: [usize; 2], rows: usize, seed: usize) -> Matrix {
    let far = move |row: usize, column: usize| if column == directions[row % 2] { 4.0 } else { 0.0 };
    table(rows, 12, 2, |row, column| noise(seed + row, column).abs() + far(row, column)).features().clone()
}

#[test]
fn photos_like_those_of_training_are_known_and_others_are_not() {
    let (training, validation) = (around([0, 1], 200, 0), around([0, 1], 100, 5000));
    let known = Known::fit(&training, &validation, 0.95, Watch::none()).unwrap();
    let unknown = |photos: &Matrix| known.judge(photos, Watch::none()).unwrap().iter().filter(|it| it.unknown).count();
    assert_eq!(unknown(&validation), 5, "one in twenty of the validation photos");
    assert!(unknown(&around([0, 1], 100, 90_000)) < 15);
    assert!(unknown(&around([6, 7], 100, 0)) >= 99);
    let foreign = &known.judge(&around([6, 7], 1, 0), Watch::none()).unwrap()[0];
    assert!(foreign.as_far < 0.01 && foreign.nearest.len() == 10, "{foreign:?}");
}

#[test]
fn a_threshold_that_was_kept_judges_as_before() {
    let (training, validation) = (around([0, 1], 60, 0), around([0, 1], 30, 5000));
    let known = Known::fit(&training, &validation, 0.9, Watch::none()).unwrap();
    let text = serde_json::to_string(known.threshold()).unwrap();
    let restored = Known::restore(&training, serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(restored, known);
}

#[test]
fn drift_is_seen_in_a_folder_of_new_photos() {
    let (training, validation) = (around([0, 1], 200, 0), around([0, 1], 100, 5000));
    let known = Known::fit(&training, &validation, 0.95, Watch::none()).unwrap();
    let like = known.drift(&around([0, 1], 100, 90_000), Watch::none()).unwrap();
    assert!(!like.drifted && (like.farther - 0.5).abs() < 0.15, "{like:?}");
    let unlike = known.drift(&around([0, 7], 100, 90_000), Watch::none()).unwrap();
    assert!(unlike.drifted && unlike.unknown.value > 0.4, "{unlike:?}");
    let error = Known::fit(&training, &validation, 1.5, Watch::none()).unwrap_err().to_string();
    assert_eq!(error, "the share that stays known is 1.5, but it must be between 0 and 1");
}
