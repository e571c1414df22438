//! Tests the losses against Keras and with extreme outputs, and the messages for a loss that does not fit.

#![expect(clippy::disallowed_methods, reason = "there is no network here, which has the function for it")]

use burn_tensor::{Device, Tensor, TensorData};
use injerto_losses::tensor::{TensorCrossEntropy as _, binary_crossentropy, categorical_crossentropy};
use injerto_losses::{CrossEntropy as _, LossError, Outputs, Targets};
use injerto_recipe::{Focus, Loss, LossName};
use proptest::prelude::*;
use serde_json::Value;

/// Rows as a tensor that gets a gradient.
fn leaf(rows: &[Vec<f32>]) -> Tensor<2> {
    let sides = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), sides), &Device::flex().autodiff()).require_grad()
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Value and gradient of a loss, by formulas.
fn value_and_gradient(loss: &Loss, outputs: &[Vec<f32>], labels: &[u32]) -> (f32, Vec<f32>) {
    let values = outputs.concat();
    let found = loss.gradient(Outputs::new(&values, outputs[0].len()), Targets::Labels(labels), None);
    let (value, gradient) = found.expect("fits");
    (value as f32, gradient)
}

/// Value and gradient of a loss, by Burn's tensors.
fn on_tensors(loss: &Loss, outputs: &[Vec<f32>], labels: &[u32]) -> (f32, Vec<f32>) {
    let outputs = leaf(outputs);
    let value = loss.forward(outputs.clone(), Targets::Labels(labels), None).expect("fits");
    let mut gradients = value.backward();
    (value.inner().into_scalar::<f32>(), host(outputs.grad_remove(&mut gradients).expect("reaches the outputs")))
}

/// Every loss, from logits and from probabilities.
fn losses() -> Vec<Loss> {
    LossName::ALL.into_iter().flat_map(|name| [name.with(true, 0.0), name.with(false, 0.0)]).collect()
}

fn golden() -> Vec<Value> {
    let parse = |text| serde_json::from_str::<Vec<Value>>(text).expect("golden files are JSON");
    let mut all = parse(include_str!("../../../golden/keras_losses.json"));
    all.extend(parse(include_str!("golden/focal.json")));
    all
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    serde_json::from_value(value.clone()).expect("rows of numbers")
}

/// Keras's labels as class indices. They are one column of 0 and 1, one-hot rows, or already indices.
fn labels(value: &Value) -> Vec<u32> {
    if value[0].is_number() {
        return serde_json::from_value(value.clone()).expect("indices");
    }
    let index = |row: &Vec<f32>| match row[..] {
        [only] => only as u32,
        _ => row.iter().position(|&y| y == 1.0).expect("one-hot") as u32,
    };
    rows(value).iter().map(index).collect()
}

#[test]
fn values_and_gradients_are_those_of_keras() {
    let cases = golden();
    assert!(cases.len() >= 16 + 17);
    for (at, case) in cases.iter().enumerate() {
        let from_logits = case["options"]["from_logits"].as_bool().expect("given");
        let label_smoothing = case["options"]["label_smoothing"].as_f64().unwrap_or(0.0);
        let loss = match case["loss"].as_str().expect("a name") {
            "BinaryCrossentropy" => Loss::BinaryCrossentropy { from_logits, label_smoothing },
            "CategoricalCrossentropy" => Loss::CategoricalCrossentropy { from_logits, label_smoothing },
            "SparseCategoricalCrossentropy" => Loss::SparseCategoricalCrossentropy { from_logits },
            name @ ("BinaryFocalCrossentropy" | "CategoricalFocalCrossentropy") => {
                let own = Focus::default();
                let number = |key: &str, own| case["options"][key].as_f64().unwrap_or(own);
                let apply_class_balancing = case["options"]["apply_class_balancing"].as_bool().unwrap_or(false);
                let focus = Focus {
                    gamma: number("gamma", own.gamma),
                    alpha: number("alpha", own.alpha),
                    apply_class_balancing,
                };
                let binary = name == "BinaryFocalCrossentropy";
                let name =
                    if binary { LossName::BinaryFocalCrossentropy } else { LossName::CategoricalFocalCrossentropy };
                name.focused(from_logits, label_smoothing, focus)
            }
            other => panic!("no loss {other}"),
        };
        for compute in [value_and_gradient, on_tensors] {
            let (value, gradient) = compute(&loss, &rows(&case["y_pred"]), &labels(&case["y_true"]));
            let expected = case["value"].as_f64().expect("a number");
            let near = |ours: f32, keras: f64| (f64::from(ours) - keras).abs() <= 1e-6 + 2e-5 * keras.abs();
            assert!(near(value, expected), "case {at}, {loss:?}: {value} is not {expected}");
            let expected = rows(&case["grad"]).concat();
            assert_eq!(gradient.len(), expected.len());
            for (place, (&ours, &keras)) in gradient.iter().zip(&expected).enumerate() {
                assert!(near(ours, keras.into()), "case {at}, {loss:?}, gradient {place}: {ours} is not {keras}");
            }
        }
    }
}

#[test]
fn a_row_of_targets_need_not_be_one_hot() {
    let outputs = [vec![0.2, 0.5, 0.3]];
    let targets = Tensor::<2>::from_data([[0.5, 0.25, 0.25]], &Device::flex());
    let value = host(categorical_crossentropy(leaf(&outputs).inner(), targets.clone(), false, 0.0))[0];
    let expected = -(0.5 * 0.2_f32.ln() + 0.25 * 0.5_f32.ln() + 0.25 * 0.3_f32.ln());
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
    // Several units of a binary loss are averaged.
    let value = host(binary_crossentropy(leaf(&outputs).inner(), targets, false, 0.0))[0];
    let one = |y: f32, p: f32| -(y * p.ln() + (1.0 - y) * (1.0 - p).ln());
    let expected = (one(0.5, 0.2) + one(0.25, 0.5) + one(0.25, 0.3)) / 3.0;
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}

#[test]
fn sample_weights_multiply_before_a_mean_over_the_batch() {
    let loss = Loss::SparseCategoricalCrossentropy { from_logits: true };
    let outputs = [vec![1.0, -1.0], vec![0.5, 2.0], vec![0.0, 0.0]];
    let labels = [0, 0, 1];
    let alone = |row: usize| value_and_gradient(&loss, &outputs[row..=row], &labels[row..=row]).0;
    let weights = Some(&[2.0, 0.0, 1.0][..]);
    let expected = (2.0 * alone(0) + alone(2)) / 3.0;
    let on_tensors = loss.forward(leaf(&outputs).inner(), Targets::Labels(&labels), weights).expect("fits");
    let values = outputs.concat();
    let by_rows = loss.value(Outputs::new(&values, 2), Targets::Labels(&labels), weights).expect("fits");
    for value in [on_tensors.into_scalar::<f32>(), by_rows as f32] {
        assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
    }
}

/// The reason why labels do not fit, which must be the same on tensors.
#[track_caller]
fn refusal(loss: &Loss, outputs: &[Vec<f32>], labels: &[u32]) -> LossError {
    let values = outputs.concat();
    let targets = Targets::Labels(labels);
    let error = loss.value(Outputs::new(&values, outputs[0].len()), targets, None).expect_err("they do not fit");
    assert_eq!(loss.forward(leaf(outputs), targets, None).expect_err("they do not fit"), error);
    error
}

#[test]
fn labels_that_do_not_fit_the_outputs_are_refused() {
    for loss in losses() {
        let three = [vec![0.2, 0.3, 0.5], vec![0.6, 0.2, 0.2]];
        let error = refusal(&loss, &three, &[0]);
        assert_eq!(error, LossError::Batch { outputs: 2, labels: 1 });
        assert_eq!(error.to_string(), "2 outputs but 1 labels");
        let error = refusal(&loss, &three, &[0, 3]);
        assert_eq!(error, LossError::Label { label: 3, units: 3 });
        assert_eq!(error.to_string(), "label 3 does not fit 3 output unit(s)");
    }
    let binary = Loss::BinaryCrossentropy { from_logits: false, label_smoothing: 0.0 };
    assert!(binary.value(Outputs::new(&[0.5], 1), Targets::Labels(&[1]), None).is_ok());
    // One unit tells two classes apart.
    assert_eq!(refusal(&binary, &[vec![0.5]], &[2]), LossError::Label { label: 2, units: 1 });
}

/// A loss as the TOML names it.
fn loss(name: &str, from_logits: bool) -> Loss {
    serde_json::from_value(serde_json::json!({"name": name, "from_logits": from_logits})).expect("a loss")
}

#[test]
fn probabilities_and_predictions() {
    let one = Outputs::new(&[0.0, 2.0, -2.0], 1);
    let binary = loss("binary_crossentropy", true);
    assert_eq!(binary.predictions(one), [0, 1, 0]);
    assert_eq!(loss("binary_crossentropy", false).predictions(Outputs::new(&[0.5, 1.0, 0.0], 1)), [0, 1, 0]);
    let probabilities = binary.probabilities(one);
    for (row, expected) in probabilities.chunks(2).zip([0.5, 0.880_797, 0.119_203]) {
        assert!((row[1] - expected).abs() < 1e-6 && (row[0] + row[1] - 1.0).abs() < 1e-6, "{row:?}");
    }
    let three = Outputs::new(&[1.0, 3.0, 2.0, 5.0, 5.0, 0.0], 3);
    let sparse = loss("sparse_categorical_crossentropy", true);
    // Of equal outputs the first one counts, as in argmax.
    assert_eq!(sparse.predictions(three), [1, 0]);
    let probabilities = sparse.probabilities(three);
    assert!(probabilities.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6), "{probabilities:?}");
}

proptest! {
    #[test]
    fn extreme_outputs_stay_finite(
        logits in prop::collection::vec(
            prop_oneof![-20.0_f32..20.0, Just(0.0), Just(1e4), Just(-1e4), Just(1e30), Just(-1e30)],
            6,
        ),
        label in 0_u32..2,
    ) {
        let two: Vec<Vec<f32>> = logits.chunks(2).map(<[f32]>::to_vec).collect();
        let one: Vec<Vec<f32>> = logits.chunks(1).map(<[f32]>::to_vec).collect();
        for loss in losses() {
            let binary = loss.is_binary();
            let mut outputs = if binary { one.clone() } else { two.clone() };
            if !loss.from_logits() {
                // The sigmoid or softmax of such logits is often exactly 0 or 1.
                let probability = |z: f32| 1.0 / (1.0 + (-z).exp());
                for row in &mut outputs {
                    match row[..] {
                        [z] => *row = vec![probability(z)],
                        _ => *row = vec![probability(row[0] - row[1]), probability(row[1] - row[0])],
                    }
                }
            }
            let labels = vec![label; outputs.len()];
            for compute in [value_and_gradient, on_tensors] {
                let (value, gradient) = compute(&loss, &outputs, &labels);
                prop_assert!(value.is_finite() && value >= 0.0, "{loss:?} of {outputs:?} is {value}");
                prop_assert!(gradient.iter().all(|g| g.is_finite()), "{loss:?} of {outputs:?}: gradient {gradient:?}");
            }
        }
    }

    #[test]
    fn gradients_are_the_slope_of_the_loss(logits in prop::collection::vec(-3.0_f32..3.0, 4), label in 0_u32..2) {
        let loss = Loss::CategoricalCrossentropy { from_logits: true, label_smoothing: 0.1 };
        let outputs: Vec<Vec<f32>> = logits.chunks(2).map(<[f32]>::to_vec).collect();
        let labels = [label, 1 - label];
        let (_, gradient) = value_and_gradient(&loss, &outputs, &labels);
        for at in 0..4 {
            let moved = |by: f32| {
                let mut outputs = outputs.clone();
                outputs[at / 2][at % 2] += by;
                value_and_gradient(&loss, &outputs, &labels).0
            };
            let slope = (moved(0.01) - moved(-0.01)) / 0.02;
            prop_assert!((slope - gradient[at]).abs() < 1e-3, "{at}: {slope}, {}", gradient[at]);
        }
    }
}
