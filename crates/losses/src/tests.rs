//! Soft targets and class weights have Keras's values and gradients.

use burn_tensor::{Device, Tensor, TensorData};
use serde_json::Value;

use super::*;

fn matrix(value: &Value, device: &Device) -> Tensor<2> {
    let rows: Vec<Vec<f32>> = serde_json::from_value(value.clone()).expect("rows of numbers");
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), device)
}

#[track_caller]
fn close(ours: f32, keras: &Value, what: &dyn std::fmt::Debug) {
    let keras = keras.as_f64().expect("a number") as f32;
    assert!((ours - keras).abs() < 2e-6 * keras.abs().max(1.0), "{what:?}: {ours} is not {keras}");
}

#[test]
fn soft_targets_and_class_weights_have_the_values_and_gradients_of_keras() {
    let golden: Value = serde_json::from_str(include_str!("../tests/golden/soft.json")).expect("JSON");
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    for case in golden["cases"].as_array().expect("a list") {
        let loss: Loss = serde_json::from_value(case["loss"].clone()).expect("a loss");
        let outputs = matrix(&case["outputs"], &device).require_grad();
        let value = match case.get("labels") {
            Some(labels) => {
                let labels: Vec<u32> = serde_json::from_value(labels.clone()).expect("labels");
                let weights: Vec<f32> = serde_json::from_value(case["class_weights"].clone()).expect("weights");
                let weights = sample_weights(&weights, &labels);
                let weights = Tensor::from_data(TensorData::new(weights, [labels.len()]), &plain);
                loss.forward(outputs.clone(), &labels, Some(weights))
            }
            None => loss.forward_soft(outputs.clone(), matrix(&case["targets"], &plain), None),
        };
        let value = value.expect("they fit");
        close(value.clone().inner().into_scalar::<f32>(), &case["value"], &loss);
        let gradient = outputs.grad(&value.backward()).expect("a gradient").into_data();
        let keras = case["gradient"].as_array().expect("rows").iter().flat_map(|row| row.as_array().expect("a row"));
        for (ours, keras) in gradient.iter::<f32>().zip(keras) {
            close(ours, keras, &loss);
        }
    }
}

#[test]
fn hard_targets_are_a_special_case_of_soft_targets() {
    let device = Device::flex();
    let outputs = Tensor::<2>::from_data(TensorData::new(vec![0.25_f32, -1.5, 3.0], [3, 1]), &device);
    let targets = Tensor::<2>::from_data(TensorData::new(vec![0.0_f32, 1.0, 1.0, 0.0, 0.0, 1.0], [3, 2]), &device);
    let loss = Loss::BinaryCrossentropy { from_logits: true, label_smoothing: 0.0 };
    let hard = loss.forward(outputs.clone(), &[1, 0, 1], None).expect("they fit").into_scalar::<f32>();
    let soft = loss.forward_soft(outputs.clone(), targets.clone(), None).expect("they fit").into_scalar::<f32>();
    assert_eq!(hard, soft);
    let error = loss.forward_soft(outputs, targets.narrow(1, 0, 1), None).expect_err("one column").to_string();
    assert_eq!(error, "soft targets have shape [3, 1], expected [3, 2]: one row per output and one column per class");
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
