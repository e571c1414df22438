use injerto_insight::stats::{Baselines, Bootstrap, Estimate, LEVEL, Paired, wilson};
use serde_json::Value;

use crate::{count, golden_predictions, number, numbers};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../golden/insight_statistics.json")).unwrap()
}

#[test]
fn wilson_intervals_equal_scipy() {
    for case in golden()["wilson"].as_array().unwrap() {
        let (right, n) = (count(&case["right"]), count(&case["n"]));
        crate::close(&Estimate::share(right, n).interval, &numbers(&case["interval"]), 1e-9);
    }
    assert_eq!(wilson(0.5, 0, LEVEL), [0.0, 1.0], "of no images, nothing is known");
}

#[test]
fn mcnemar_equals_scipys_exact_binomial_test() {
    for case in golden()["mcnemar"].as_array().unwrap() {
        let (only_first, only_second) = (count(&case["first"]), count(&case["second"]));
        let paired = Paired { both: 900, only_first, only_second, neither: 30 };
        let expected = number(&case["p"]);
        assert!(
            (paired.p_value() - expected).abs() < 1e-9 * expected.max(1e-3),
            "{} is not {expected}",
            paired.p_value()
        );
        assert_eq!(paired.distinguishable(), expected < 0.05);
    }
}

#[test]
fn f1_area_and_loss_equal_scikit_learn() {
    let golden = golden();
    let (three, two) = (golden_predictions(&golden["three"]), golden_predictions(&golden["two"]));
    let bootstrap = Bootstrap { resamples: 200, seed: 1 };
    let check = |found: Option<Estimate>, expected: &Value| {
        let Estimate { value, interval: [low, high], .. } = found.unwrap();
        assert!((value - number(expected)).abs() < 1e-9, "{value} is not {expected}");
        assert!(low < value && value < high && high - low < 0.3);
    };
    check(three.macro_f1(bootstrap), &golden["macro_f1"]);
    check(three.roc_auc(bootstrap), &golden["auc_of_three"]);
    check(two.roc_auc(bootstrap), &golden["auc_of_two"]);
    assert!((three.log_loss() - number(&golden["log_loss"])).abs() < 1e-9);
}

#[test]
fn the_bootstrap_of_a_share_agrees_with_wilson() {
    let right = |rows: &[usize]| Some(rows.iter().filter(|&&row| row < 800).count() as f64 / rows.len() as f64);
    let found = Bootstrap::new(7).interval(1000, right).unwrap();
    crate::close(&found, &wilson(0.8, 1000, LEVEL), 0.004);
    assert_eq!(Some(found), Bootstrap::new(7).interval(1000, right), "from the same seed");
    let never = Bootstrap::new(7).interval(10, |_| None);
    assert_eq!(never, None);
}

#[test]
fn two_classifiers_differ_by_the_images_on_which_one_of_them_is_right() {
    let first: Vec<bool> = (0..1000).map(|image| image >= 26).collect();
    let second: Vec<bool> = (0..1000).map(|image| !(10..46).contains(&image)).collect();
    let paired = Paired::new(&first, &second).unwrap();
    assert_eq!(paired, Paired { both: 954, only_first: 20, only_second: 10, neither: 16 });
    let difference = paired.difference(Bootstrap::new(1));
    let [low, high] = difference.interval;
    assert!((difference.value - 0.01).abs() < 1e-12 && low < 0.0 && 0.0 < high, "{difference:?}");
    assert!(!paired.distinguishable());
    assert_eq!(
        Paired::new(&[true], &[]).unwrap_err().to_string(),
        "there are 0 answers of the second classifier, but 1 are expected"
    );
}

#[test]
fn so_many_photos_tell_two_classifiers_apart_in_four_of_five_trials() {
    let paired = Paired { both: 954, only_first: 20, only_second: 10, neither: 16 };
    let needed = paired.photos_needed(0.8).unwrap();
    assert!((2000..2800).contains(&needed), "{needed}");
    // Each trial has this number of photos; only the first classifier is right on 2 % of them, and only the second one on 1 %.
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut trial = || {
        let mut drawn = Paired { both: 0, only_first: 0, only_second: 0, neither: 0 };
        for _ in 0..needed {
            match uniform() {
                x if x < 0.02 => drawn.only_first += 1,
                x if x < 0.03 => drawn.only_second += 1,
                _ => drawn.both += 1,
            }
        }
        drawn.distinguishable()
    };
    let told = (0..300).filter(|_| trial()).count() as f64 / 300.0;
    assert!((told - 0.8).abs() < 0.08, "{told}");
    assert_eq!(Paired { only_first: 10, only_second: 10, ..paired }.photos_needed(0.8), None);
}

#[test]
fn guessing_is_the_measure_of_every_accuracy() {
    let found = Baselines::of(&[20, 50, 50, 0]);
    assert_eq!(found, Baselines { chance: 0.25, majority: 50.0 / 120.0, majority_class: 1, n: 120 });
}
