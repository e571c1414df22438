//! Questions whose answers are known: golden values of scikit-learn, SciPy and cleanlab (`golden/insight_values.py`), and
//! tables that are made so that the answer follows from their construction.

mod calibration;
mod copies;
mod folds;
mod growth;
mod health;
mod labels;
mod probe;
mod statistics;
mod unknown;

use injerto_insight::predictions::Predictions;
use injerto_insight::{FeatureTable, Image, Matrix};
use serde_json::Value;

fn classes(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

/// A table whose features are `feature(row, column)`, computed in double precision; the labels of the rows cycle through the classes.
fn table(rows: usize, width: usize, count: usize, feature: impl Fn(usize, usize) -> f64) -> FeatureTable {
    let all = (0..rows).flat_map(|row| (0..width).map(move |column| (row, column)));
    let values = all.map(|(row, column)| feature(row, column) as f32).collect();
    let images = (0..rows).map(|row| Image::new(format!("{row}.jpg"), (row % count) as u32)).collect();
    FeatureTable::new(Matrix::new(width, values).unwrap(), images, classes(count)).unwrap()
}

/// A number between -1 and 1 that is independent of the numbers of other places.
fn noise(row: usize, column: usize) -> f64 {
    let mut bits = (row as u64) << 32 | column as u64;
    // These operations are the finaliser of SplitMix64.
    bits = (bits ^ (bits >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// The features of `golden/insight_values.py`.
fn waves(rows: usize, width: usize, count: usize) -> FeatureTable {
    table(rows, width, count, |row, column| {
        let (i, j, label) = (row as f64, column as f64, (row % count) as f64);
        let noise = (0.7 * i * (j + 1.3) + 0.31 * j * j).sin();
        let signal = if j < width as f64 / 2.0 { 0.8 * (2.1 * label + 1.7 * j).cos() } else { 0.0 };
        (noise + signal) * (1.0 + j % 5.0) + 3.0 * (j % 4.0)
    })
}

/// The table with other labels, groups or parts.
fn with_images(table: &FeatureTable, change: impl Fn(usize, &mut Image)) -> FeatureTable {
    let mut images = table.images().to_vec();
    images.iter_mut().enumerate().for_each(|(row, image)| change(row, image));
    FeatureTable::new(table.features().clone(), images, table.classes().to_vec()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap()],
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn golden_predictions(value: &Value) -> Predictions {
    let labels: Vec<u32> = numbers(&value["labels"]).into_iter().map(|label| label as u32).collect();
    let probabilities = numbers(&value["probabilities"]);
    Predictions::new(probabilities.len() / labels.len(), labels, probabilities).unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "number {at}: {found} is not {expected}");
    }
}

#[test]
fn a_table_holds_together_or_is_refused_with_the_reason() {
    let message = |rows: usize, label: u32| {
        let features = Matrix::new(2, vec![0.0; rows * 2]).unwrap();
        FeatureTable::new(features, vec![Image::new("a/b.jpg", label)], classes(2)).unwrap_err().to_string()
    };
    assert_eq!(message(3, 0), "there are 1 images, but 3 are expected");
    assert_eq!(message(1, 2), "the label of a/b.jpg is 2, but there are 2 classes");
    let error = Matrix::new(2, vec![0.0, 1.0, 2.0, f32::NAN]).unwrap_err().to_string();
    assert_eq!(
        error,
        "row 1 of the features holds a value that is not finite; compute the features of this image again"
    );
    assert_eq!(Matrix::new(2, vec![0.0; 5]).unwrap_err().to_string(), "there are 5 values in rows, but 4 are expected");
}
