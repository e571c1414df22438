use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use injerto_insight::folds::Folds;
use injerto_insight::neighbours::{Neighbourhood, Neighbours, leave_one_out, nearest_others};
use injerto_insight::probe::{CrossValidation, Probe, Strengths};
use injerto_insight::{InsightError, Matrix, Watch};
use serde_json::Value;

use crate::{close, count, noise, number, numbers, table, waves, with_images};

fn none() -> Watch<'static> {
    Watch::none()
}

#[test]
fn coefficients_and_probabilities_equal_scikit_learn() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../../golden/insight_probe.json")).unwrap();
    for case in &cases {
        let table = waves(count(&case["rows"]), count(&case["width"]), count(&case["classes"]));
        let probe = Probe::fit(&table, number(&case["strength"]), none()).unwrap();
        let found = probe.predict(&table).unwrap();
        let expected = numbers(&case["probabilities"]);
        let first: Vec<f64> = (0..12).flat_map(|row| found.row(row)).copied().collect();
        close(&first, &expected, 1e-4);
        let units = if probe.classes() == 2 { 1 } else { probe.classes() };
        let linear = probe.linear(units).unwrap();
        // The first axis of weights is the class in scikit-learn, and the feature in Keras.
        let width = table.features().width();
        let weights = |unit: usize| (0..width).map(move |at| (unit, at));
        let all = (0..units).flat_map(weights).map(|(unit, at)| f64::from(linear.weights[at * units + unit]));
        close(&all.collect::<Vec<_>>(), &numbers(&case["coefficients"]), 1e-4);
        let bias: Vec<f64> = linear.bias.iter().map(|&bias| f64::from(bias)).collect();
        close(&bias, &numbers(&case["intercepts"]), 2e-4);
        assert!((found.accuracy().value - number(&case["accuracy"])).abs() < 1e-9);
    }
}

#[test]
fn a_probe_is_a_dense_layer_that_gives_the_same_probabilities() {
    let check = |classes: usize, units: usize| {
        let table = waves(60, 7, classes);
        let probe = Probe::fit(&table, 0.3, none()).unwrap();
        let layer = probe.linear(units).unwrap();
        let expected = probe.probabilities(table.features()).unwrap();
        for (row, expected) in table.features().rows().zip(expected.chunks_exact(classes)) {
            let logit = |unit: usize| {
                let products = row.iter().enumerate().map(|(at, x)| x * layer.weights[at * units + unit]);
                f64::from(products.sum::<f32>() + layer.bias[unit])
            };
            let powers: Vec<f64> =
                if units == 1 { vec![1.0, logit(0).exp()] } else { (0..units).map(|unit| logit(unit).exp()).collect() };
            let sum: f64 = powers.iter().sum();
            close(&powers.iter().map(|power| power / sum).collect::<Vec<_>>(), expected, 1e-5);
        }
    };
    check(2, 1);
    check(2, 2);
    check(3, 3);
    assert_eq!(Probe::fit(&waves(60, 7, 3), 0.3, none()).unwrap().linear(1), None);
}

#[test]
fn a_class_without_images_gets_no_probability_and_no_layer() {
    let table = with_images(&waves(60, 7, 3), |_, image| image.label = image.label.min(1) * 2);
    let probe = Probe::fit(&table, 0.3, none()).unwrap();
    let found = probe.predict(&table).unwrap();
    assert!(found.rows().all(|(_, row)| row[1] == 0.0 && (row[0] + row[2] - 1.0).abs() < 1e-9));
    assert_eq!(probe.linear(3), None);
    let one = with_images(&table, |_, image| image.label = 0);
    let error = Probe::fit(&one, 0.3, none()).unwrap_err().to_string();
    assert_eq!(error, "a probe needs at least images of 2 classes, and there are 1");
}

#[test]
fn features_that_do_not_vary_or_lie_far_from_zero_change_nothing() {
    let plain = waves(80, 5, 2);
    let moved = table(80, 7, 2, |row, column| match column {
        0..5 => f64::from(plain.features().row(row)[column]),
        5 => 1e6,
        _ => 0.0,
    });
    let probabilities = |table| Probe::fit(table, 1.0, none()).unwrap().probabilities(table.features()).unwrap();
    close(&probabilities(&moved), &probabilities(&plain), 1e-5);
}

#[test]
fn cross_validation_chooses_a_strength_and_judges_each_image_by_a_probe_that_has_not_seen_it() {
    // The features do not depend on the classes, so only a probe that has seen an image can know its label.
    let noise = table(90, 40, 3, noise);
    let seen = Probe::fit(&noise, 10.0, none()).unwrap().predict(&noise).unwrap().accuracy();
    let unseen = CrossValidation::run(&noise, Folds::new(5, 1), &Strengths::new(vec![10.0]).unwrap(), none()).unwrap();
    assert!(seen.value > 0.8 && unseen.accuracy.mean < 0.6, "{seen:?}, {:?}", unseen.accuracy);
    let found = CrossValidation::run(&noise, Folds::new(5, 1), &Strengths::default(), none()).unwrap();
    assert_eq!(found.strength, 1e-5, "on noise, the strongest penalty is the best");

    let found = CrossValidation::run(&waves(150, 12, 3), Folds::new(5, 1), &Strengths::default(), none()).unwrap();
    assert!(found.accuracy.mean > 0.8 && found.strength > 1e-4, "{:?} at {}", found.accuracy, found.strength);
    assert_eq!((found.folds.len(), found.accuracy.n), (5, 150));
    assert!(found.folds.iter().all(|fold| fold.accuracy.n == 30));
    let mean = found.folds.iter().map(|fold| fold.accuracy.value).sum::<f64>() / 5.0;
    assert!((found.accuracy.mean - mean).abs() < 1e-12 && (found.predictions.accuracy().value - mean).abs() < 1e-9);
    let [low, high] = found.accuracy.interval;
    assert!(low < mean && mean < high);
}

#[test]
fn results_are_the_same_bit_for_bit_on_any_number_of_threads() {
    let table = waves(300, 33, 4);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (probe, validation) = Probe::choose(&table, Folds { count: 4, repeats: 2, seed: 5 }, none()).unwrap();
            (probe, validation.predictions, validation.strength)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

#[test]
fn a_watched_run_tells_how_far_it_is_and_ends_soon_after_it_is_told_to_stop() {
    let table = waves(150, 12, 3);
    let steps = Mutex::new(Vec::new());
    let listener = |progress: injerto_insight::Progress| steps.lock().unwrap().push((progress.done, progress.total));
    let watched = Probe::choose(&table, Folds::new(3, 1), none().told_to(&listener)).unwrap();
    let steps = steps.into_inner().unwrap();
    assert!(steps.is_sorted() && steps.first() == Some(&(0, 13)) && steps.last() == Some(&(13, 13)), "{steps:?}");
    assert!(watched.0 == Probe::choose(&table, Folds::new(3, 1), none()).unwrap().0, "watching changes nothing");

    let stop = AtomicBool::new(false);
    let listener = |progress: injerto_insight::Progress| stop.store(progress.done == 2, Ordering::Relaxed);
    let stopped = Probe::choose(&table, Folds::new(3, 1), none().stopped_by(&stop).told_to(&listener));
    assert_eq!(stopped.unwrap_err(), InsightError::Stopped);
}

#[test]
fn neighbours_are_those_of_the_largest_cosine() {
    let table = waves(70, 9, 2);
    let found = nearest_others(table.features(), 3, |_, _| true, none()).unwrap();
    for (query, found) in found.iter().enumerate() {
        let cosine = |other: usize| {
            let (a, b) = (table.features().row(query), table.features().row(other));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let mut others: Vec<usize> = (0..70).filter(|&other| other != query).collect();
        others.sort_by(|&a, &b| cosine(b).total_cmp(&cosine(a)));
        assert_eq!(found.iter().map(|it| it.row).collect::<Vec<_>>(), others[..3], "of {query}");
        assert!(found.iter().all(|it| (f64::from(it.similarity) - cosine(it.row)).abs() < 1e-5));
    }
    let error = Neighbours::new(table.features()).nearest(&Matrix::new(2, vec![1.0; 4]).unwrap(), 1, none());
    assert_eq!(error.unwrap_err().to_string(), "there are 2 features per image, but 9 are expected");
}

#[test]
fn all_pairs_of_many_images_give_the_neighbours_that_each_query_finds_alone() {
    // The rows are two blocks and a rest; every fifth row equals the one before it, so that many rows are equally near.
    let table = table(431, 37, 3, |row, column| noise(row - usize::from(row % 5 == 4), column));
    let found = nearest_others(table.features(), 4, |a, b| a % 7 != b % 7, none()).unwrap();
    let one_by_one = Neighbours::new(table.features()).nearest(table.features(), 431, none()).unwrap();
    for (query, (found, all)) in found.iter().zip(one_by_one).enumerate() {
        let expected = all.iter().filter(|it| it.row % 7 != query % 7).take(4);
        let close = found.iter().zip(expected).all(|(a, b)| (a.similarity - b.similarity).abs() < 1e-6);
        assert!(found.len() == 4 && close, "of {query}");
        let ordered = found.is_sorted_by(|a, b| (b.similarity, a.row) < (a.similarity, b.row));
        assert!(ordered, "equally near ones in the order of rows: {found:?}");
    }
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let again = alone.install(|| nearest_others(table.features(), 4, |a, b| a % 7 != b % 7, none()).unwrap());
    assert_eq!(found, again, "the number of threads changes nothing");
}

#[test]
fn images_of_a_burst_do_not_vote_for_each_other() {
    // Rows come in equal pairs with random labels, so only the other row of its pair knows a row's label.
    let twins = table(80, 6, 2, |row, column| noise(row / 2, column));
    let twins = with_images(&twins, |row, image| image.label = u32::from(noise(row / 2, 99) > 0.0));
    let alone = leave_one_out(&twins, &Neighbourhood::of(&twins, none()).unwrap(), 1).unwrap().accuracy().value;
    let grouped = with_images(&twins, |row, image| image.group = Some(format!("burst {}", row / 2)));
    let apart = leave_one_out(&grouped, &Neighbourhood::of(&grouped, none()).unwrap(), 1).unwrap().accuracy().value;
    assert!(alone == 1.0 && apart < 0.8, "{alone}, {apart}");
}
