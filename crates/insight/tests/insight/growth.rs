use injerto_insight::folds::Folds;
use injerto_insight::more::{LearningCurve, PowerLaw};
use injerto_insight::{FeatureTable, Image, Matrix, Watch, logme, suggest};
use serde_json::Value;

use crate::{count, noise, number, numbers, table, waves};

fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_power_law_equals_scipys_fit() {
    let golden = &golden(include_str!("../../../../golden/insight_statistics.json"))["power_law"];
    let [images, errors, weights] = ["images", "errors", "weights"].map(|key| numbers(&golden[key]));
    let law = PowerLaw::fit(&images, &errors, &weights).unwrap();
    for (found, key) in [(law.floor, "floor"), (law.scale, "scale"), (law.exponent, "exponent")] {
        let expected = number(&golden[key]);
        assert!((found - expected).abs() < 1e-3 * expected, "{key}: {found} is not {expected}");
    }
    assert!(PowerLaw::fit(&[1.0, 2.0], &[0.1, 0.2], &[1.0, 1.0]).is_err());
}

#[test]
fn a_law_is_found_in_points_that_follow_it_and_none_of_its_parts_is_negative() {
    let images: Vec<f64> = [50.0, 100.0, 200.0, 400.0, 800.0].to_vec();
    let check = |floor: f64, scale: f64, exponent: f64| {
        let errors: Vec<f64> = images.iter().map(|n| floor + scale * n.powf(-exponent)).collect();
        let law = PowerLaw::fit(&images, &errors, &[1.0; 5]).unwrap();
        assert!((law.error(3200.0) - floor - scale * 3200_f64.powf(-exponent)).abs() < 1e-5, "{law:?}");
    };
    check(0.05, 2.0, 0.7);
    check(0.0, 1.0, 0.5);
    check(0.1, 0.0, 1.0);
    let rising = PowerLaw::fit(&images, &[0.1, 0.11, 0.12, 0.13, 0.14], &[1.0; 5]).unwrap();
    assert!(rising.scale == 0.0 && (rising.floor - 0.12).abs() < 1e-9, "{rising:?}");
}

#[test]
fn more_photos_help_where_there_is_more_to_learn() {
    // There are many weak features, so a probe of few images makes many errors.
    let hard = table(400, 60, 2, |row, column| noise(row, column) + if row % 2 == column % 2 { 0.12 } else { -0.12 });
    let curve = LearningCurve::measure(&hard, Folds::new(5, 1), 0.01, Watch::none()).unwrap();
    let (first, last) = (curve.points[0], *curve.points.last().unwrap());
    assert_eq!((first.images, last.images, last.accuracy.n), (32.0, 320.0, 400));
    assert!(last.accuracy.value > first.accuracy.value + 0.05, "{:?}", curve.points);
    let told = curve.foretell(1000.0);
    let [low, high] = told.interval;
    assert!(told.value >= curve.foretell(320.0).value && low <= told.value && told.value <= high, "{told:?}");
    assert!(curve.images_for(1.0).is_none() || curve.law.floor == 0.0);
    assert_eq!(curve, LearningCurve::measure(&hard, Folds::new(5, 1), 0.01, Watch::none()).unwrap());
}

#[test]
fn logme_equals_what_singular_values_give() {
    let cases = golden(include_str!("../../../../golden/insight_logme.json"));
    for case in cases.as_array().unwrap() {
        let table = waves(count(&case["rows"]), count(&case["width"]), count(&case["classes"]));
        let (found, expected) = (logme(&table).unwrap(), number(&case["logme"]));
        assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
    }
}

#[test]
fn features_that_tell_classes_apart_score_higher() {
    let of = |signal: f64| {
        let table = table(60, 5, 3, |row, column| noise(row, column) + if row % 3 == column { signal } else { 0.0 });
        logme(&table).unwrap()
    };
    let scores = [0.0, 1.0, 3.0, 10.0].map(of);
    assert!(scores.is_sorted_by(|a, b| a < b), "{scores:?}");
}

#[test]
fn suggestions_are_uncertain_typical_and_unlike_each_other() {
    let at = |degrees: f64| [degrees.to_radians().cos() as f32, degrees.to_radians().sin() as f32];
    let matrix = |degrees: &[f64]| Matrix::new(2, degrees.iter().flat_map(|&it| at(it)).collect()).unwrap();
    // Twelve photos lie around 60 degrees, twelve around 20, and one by itself at 170.
    let crowd = |middle: f64| (0..12).map(move |photo| middle + f64::from(photo) / 4.0);
    let degrees: Vec<f64> = crowd(60.0).chain(crowd(20.0)).chain([170.0]).collect();
    let (labelled, pool) = (matrix(&[0.0]), matrix(&degrees));
    let next = |probabilities: &[f64], count: usize| {
        suggest::next(&labelled, &pool, probabilities, count, Watch::none()).unwrap()
    };
    let unsure = [0.5, 0.5].repeat(25);
    let found = next(&unsure, 2);
    assert!(found[0].row < 12 && (12..24).contains(&found[1].row), "one of each crowd: {found:?}");
    assert!(found.iter().all(|it| it.uncertainty == 1.0 && it.typicality > 0.9));
    let all = next(&unsure, 99);
    assert_eq!((all.len(), all[24].row, all[24].typicality), (25, 24, 0.0), "the photo that lies by itself comes last");
    // The classifier is sure of the first crowd.
    let sure = [[1.0, 0.0].repeat(12), [0.6, 0.4].repeat(13)].concat();
    assert!((12..24).contains(&next(&sure, 1)[0].row) && (next(&sure, 1)[0].uncertainty - 0.8).abs() < 1e-9);
    assert!(suggest::next(&labelled, &pool, &unsure[1..], 3, Watch::none()).is_err());
}

#[test]
fn the_score_is_the_evidence_worked_out_directly() {
    // With one feature, the posterior is one-dimensional; for four images, the evidence is the density of a four-dimensional Gaussian.
    let (f, labels) = ([0.5_f64, 1.0, -0.7, 0.2], [1_u32, 1, 0, 0]);
    let features: Vec<f32> = f.iter().map(|&x| x as f32).collect();
    let images = labels.map(|label| Image::new("photo", label)).to_vec();
    let table = FeatureTable::new(Matrix::new(1, features).unwrap(), images, vec!["a".into(), "b".into()]).unwrap();
    let found = logme(&table).unwrap();
    // The expected value is the logarithm of the density of y under N(0, I/beta + f fᵀ/alpha), at the best alpha and beta of a fine grid.
    let density = |y: [f64; 4], alpha: f64, beta: f64| {
        let (yy, fy, ff) = (
            y.iter().map(|y| y * y).sum::<f64>(),
            y.iter().zip(f).map(|(y, f)| y * f).sum::<f64>(),
            f.iter().map(|f| f * f).sum::<f64>(),
        );
        let determinant = (1.0 + beta / alpha * ff).ln() - 4.0 * beta.ln();
        let form = beta * yy - beta * beta * fy * fy / (alpha + beta * ff);
        -0.5 * (4.0 * (2.0 * std::f64::consts::PI).ln() + determinant + form)
    };
    let best = |y: [f64; 4]| {
        let grid = |i: i32| 10_f64.powf(f64::from(i) / 40.0);
        let all = (-160..=400).flat_map(|a| (-80..=80).map(move |b| (a, b)));
        all.map(|(a, b)| density(y, grid(a), grid(b))).fold(f64::NEG_INFINITY, f64::max) / 4.0
    };
    let expected = (best([0.0, 0.0, 1.0, 1.0]) + best([1.0, 1.0, 0.0, 0.0])) / 2.0;
    assert!((found - expected).abs() < 5e-3, "{found} is not {expected}");
}
