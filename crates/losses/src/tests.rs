//! Soft targets and class weights have Keras's values and gradients, and a teacher's answers have PyTorch's.

#![expect(clippy::disallowed_methods, reason = "there is no network here, which has the function for it")]

use burn_tensor::{Device, Tensor, TensorData};
use injerto_recipe::{Distillation, Loss};
use serde_json::Value;

use super::*;
use crate::tensor::TensorCrossEntropy as _;

/// Rows of numbers, one after the other, and the number of columns.
fn rows(value: &Value) -> (Vec<f32>, usize) {
    let rows: Vec<Vec<f32>> = serde_json::from_value(value.clone()).expect("rows of numbers");
    (rows.concat(), rows[0].len())
}

#[track_caller]
fn close(ours: f32, theirs: &Value, what: &dyn std::fmt::Debug) {
    close_to(ours, theirs, 2e-6, what);
}

#[track_caller]
fn close_to(ours: f32, theirs: &Value, tolerance: f32, what: &dyn std::fmt::Debug) {
    let theirs = theirs.as_f64().expect("a number") as f32;
    assert!((ours - theirs).abs() < tolerance * theirs.abs().max(1.0), "{what:?}: {ours} is not {theirs}");
}

/// Checks value and gradient on the host and on tensors.
#[track_caller]
fn check(loss: &Loss, (outputs, units): (&[f32], usize), targets: Targets<'_>, weights: Option<&[f32]>, case: &Value) {
    let device = Device::flex().autodiff();
    let (value, gradient) = loss.gradient(Outputs::new(outputs, units), targets, weights).expect("they fit");
    let shape = [outputs.len() / units, units];
    let leaf = Tensor::<2>::from_data(TensorData::new(outputs.to_vec(), shape), &device).require_grad();
    let on_tensors = loss.forward(leaf.clone(), targets, weights).expect("they fit");
    let gradient_on_tensors = leaf.grad(&on_tensors.backward()).expect("a gradient").into_data();
    close(value as f32, &case["value"], loss);
    close(on_tensors.inner().into_scalar::<f32>(), &case["value"], loss);
    let keras = case["gradient"].as_array().expect("rows").iter().flat_map(|row| row.as_array().expect("a row"));
    for ((ours, on_tensors), keras) in gradient.iter().zip(gradient_on_tensors.iter::<f32>()).zip(keras) {
        close(*ours, keras, loss);
        close(on_tensors, keras, loss);
    }
}

#[test]
fn soft_targets_and_class_weights_have_the_values_and_gradients_of_keras() {
    let golden: Value = serde_json::from_str(include_str!("../tests/golden/soft.json")).expect("JSON");
    for case in golden["cases"].as_array().expect("a list") {
        let loss: Loss = serde_json::from_value(case["loss"].clone()).expect("a loss");
        let (outputs, units) = rows(&case["outputs"]);
        let (labels, weights, soft);
        let (targets, weights) = match case.get("labels") {
            Some(given) => {
                labels = serde_json::from_value::<Vec<u32>>(given.clone()).expect("labels");
                let classes: Vec<f32> = serde_json::from_value(case["class_weights"].clone()).expect("weights");
                weights = sample_weights(&classes, &labels);
                (Targets::Labels(&labels), Some(weights.as_slice()))
            }
            None => {
                soft = rows(&case["targets"]).0;
                (Targets::Distributions(&soft), None)
            }
        };
        check(&loss, (&outputs, units), targets, weights, case);
    }
}

#[test]
fn images_with_several_classes_have_the_values_and_gradients_of_keras() {
    let golden: Value = serde_json::from_str(include_str!("../tests/golden/several.json")).expect("JSON");
    let cases = golden["cases"].as_array().expect("a list");
    assert_eq!(cases.len(), 8, "logits and probabilities, with and without smoothing, whole and mixed");
    for case in cases {
        let loss: Loss = serde_json::from_value(case["loss"].clone()).expect("a loss");
        let ((outputs, units), targets) = (rows(&case["outputs"]), rows(&case["targets"]).0);
        check(&loss, (&outputs, units), Targets::Independent(&targets), None, case);
    }
}

#[test]
fn one_decision_is_the_same_as_two_classes() {
    let (outputs, loss) = ([0.25, -1.5, 3.0], Loss::BinaryCrossentropy { from_logits: true, label_smoothing: 0.1 });
    let gradient = |targets| loss.gradient(Outputs::new(&outputs, 1), targets, None);
    let decisions = gradient(Targets::Independent(&[1.0, 0.0, 1.0])).expect("they fit");
    assert_eq!(decisions, gradient(Targets::Labels(&[1, 0, 1])).expect("they fit"));
    let error = gradient(Targets::Independent(&[1.0, 0.0])).expect_err("two decisions").to_string();
    assert_eq!(error, "soft targets have shape [2, 1], expected [3, 1]: one row per output and one column per class");
}

#[test]
fn hard_targets_are_a_special_case_of_soft_targets() {
    let outputs = Outputs::new(&[0.25, -1.5, 3.0], 1);
    let targets = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0];
    let loss = Loss::BinaryCrossentropy { from_logits: true, label_smoothing: 0.0 };
    let hard = loss.gradient(outputs, Targets::Labels(&[1, 0, 1]), None).expect("they fit");
    assert_eq!(hard, loss.gradient(outputs, Targets::Distributions(&targets), None).expect("they fit"));
    let error = loss.value(outputs, Targets::Distributions(&targets[..4]), None).expect_err("two rows").to_string();
    assert_eq!(error, "soft targets have shape [2, 2], expected [3, 2]: one row per output and one column per class");
}

#[test]
fn balanced_weights_make_classes_count_the_same() {
    // scikit-learn's compute_class_weight("balanced") gives these values for 6, 3 and 1 images.
    let weights = balanced(&[6, 3, 1]);
    for (ours, theirs) in
        weights.iter().zip([0.555_555_555_555_555_6, 1.111_111_111_111_111_2, 3.333_333_333_333_333_5])
    {
        assert!((ours - theirs).abs() < 1e-12, "{weights:?}");
    }
    assert_eq!(balanced(&[4, 0]), [0.5, 0.0]);
}

#[test]
fn a_teacher_adds_the_divergence_and_the_gradient_of_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../tests/golden/distillation.json")).expect("JSON");
    let cases = golden.as_array().expect("a list");
    assert_eq!(cases.len(), 18, "softmax, one sigmoid and several, from logits and from probabilities");
    for case in cases {
        let loss: Loss = serde_json::from_value(case["loss"].clone()).expect("a loss");
        let ((outputs, units), (teacher, _)) = (rows(&case["outputs"]), rows(&case["teacher"]));
        let (labels, decisions);
        let targets = match loss.is_binary() {
            true => {
                decisions = rows(&case["labels"]).0;
                Targets::Independent(&decisions)
            }
            false => {
                labels = serde_json::from_value::<Vec<u32>>(case["labels"].clone()).expect("labels");
                Targets::Labels(&labels)
            }
        };
        let weights: Option<Vec<f32>> = serde_json::from_value(case["weights"].clone()).expect("weights");
        let number = |key: &str| case[key].as_f64().expect("a number");
        let distillation = Distillation { temperature: number("temperature"), alpha: number("alpha") };
        let taught = Taught { loss: &loss, distillation, teacher: Outputs::new(&teacher, units) };
        let (value, gradient) =
            taught.gradient(Outputs::new(&outputs, units), targets, weights.as_deref()).expect("they fit");
        let shape = [outputs.len() / units, units];
        let leaf = Tensor::<2>::from_data(TensorData::new(outputs, shape), &Device::flex().autodiff()).require_grad();
        let on_tensors = taught.forward(leaf.clone(), targets, weights.as_deref()).expect("they fit");
        let slopes = leaf.grad(&on_tensors.backward()).expect("a gradient").into_data();
        close(value as f32, &case["value"], &taught);
        close_to(on_tensors.inner().into_scalar::<f32>(), &case["value"], 2e-5, &taught);
        let theirs = rows(&case["gradient"]).0;
        for ((ours, on_tensors), theirs) in gradient.iter().zip(slopes.iter::<f32>()).zip(theirs) {
            close(*ours, &theirs.into(), &taught);
            close_to(on_tensors, &theirs.into(), 2e-5, &taught);
        }
    }
}

#[test]
fn a_teacher_that_says_what_the_student_says_leaves_the_loss_by_the_labels_alone() {
    let outputs = Outputs::new(&[0.5, -1.0, 2.0, 0.25, 0.0, -3.0], 3);
    let loss = Loss::SparseCategoricalCrossentropy { from_logits: true };
    let taught = Taught { loss: &loss, distillation: Distillation { temperature: 2.0, alpha: 0.25 }, teacher: outputs };
    let (value, gradient) = taught.gradient(outputs, Targets::Labels(&[2, 0]), None).expect("they fit");
    let (alone, slopes) = loss.gradient(outputs, Targets::Labels(&[2, 0]), None).expect("they fit");
    assert!((value - 0.25 * alone).abs() < 1e-12, "{value} is not a quarter of {alone}");
    for (ours, alone) in gradient.iter().zip(slopes) {
        assert!((ours - 0.25 * alone).abs() < 1e-7);
    }
    let error = Taught { teacher: Outputs::new(&[0.5, 1.0], 1), ..taught };
    let error = error.gradient(outputs, Targets::Labels(&[2, 0]), None).expect_err("one unit").to_string();
    assert_eq!(error, "soft targets have shape [2, 1], expected [2, 3]: one row per output and one column per class");
}
