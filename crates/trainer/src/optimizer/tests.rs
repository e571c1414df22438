//! Comparison with Keras, step by step.

use burn_tensor::Tensor;
use serde_json::Value;

use super::*;

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}

#[track_caller]
fn close(ours: &[f32], theirs: &[f32], what: &dyn std::fmt::Debug) {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6 * b.abs().max(1.0);
    assert!(ours.len() == theirs.len() && ours.iter().zip(theirs).all(near), "{what:?}: {ours:?} is not {theirs:?}");
}

/// Parameters of these names, all with the multiplier 1.
fn named(names: &[&str]) -> Vec<Trained> {
    names.iter().map(|name| Trained { name: (*name).to_owned(), multiplier: 1.0 }).collect()
}

/// Takes one step of one parameter.
fn step(optimizer: &mut Optimizer, values: &mut [f32], gradient: &[f32], learning_rate: f64) {
    let size = StepSize { learning_rate, momentum: None };
    optimizer.step(size, &mut [Some(Update { values, gradient })]);
}

#[test]
fn adam_is_keras_adam_at_every_step() {
    let cases: Value = serde_json::from_str(include_str!("../../../../golden/keras_adam.json")).expect("JSON");
    for case in cases.as_array().expect("a list") {
        let learning_rate = case["learning_rate"].as_f64().expect("a number");
        let mut adam = Optimizer::new(OptimizerConfig::default(), named(&["w"]));
        let mut values = floats(&case["start"]);
        for (t, golden) in case["steps"].as_array().expect("a list").iter().enumerate() {
            step(&mut adam, &mut values, &floats(&golden["grad"]), learning_rate);
            close(&values, &floats(&golden["value"]), &t);
        }
    }
}

#[test]
fn every_optimiser_is_keras_at_every_step() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/optimizers.json")).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    for case in list(&golden["cases"]) {
        let config: OptimizerConfig = serde_json::from_value(case["config"].clone()).expect("an optimiser");
        let mut optimizer = Optimizer::new(config.clone(), named(&["l/kernel", "l/bias"]));
        let [mut kernel, mut bias] = ["kernel", "bias"].map(|name| floats(&golden["start"][name]));
        for (gradients, expected) in list(&golden["gradients"]).iter().zip(list(&case["values"])) {
            let [kernels, biases] = ["kernel", "bias"].map(|name| floats(&gradients[name]));
            let size = optimizer.step_size();
            let kernel_update = Update { values: &mut kernel, gradient: &kernels };
            let bias_update = Update { values: &mut bias, gradient: &biases };
            optimizer.step(size, &mut [Some(kernel_update), Some(bias_update)]);
            close(&kernel, &floats(&expected["kernel"]), &(&config, optimizer.steps()));
            close(&bias, &floats(&expected["bias"]), &(&config, optimizer.steps()));
        }
        if let Some(averages) = case.get("averages") {
            let ours: Vec<Vec<f32>> = optimizer.averages().map(|(_, values)| values.clone()).collect();
            close(&ours[1], &floats(&averages["bias"]), &config);
            close(&ours[0], &floats(&averages["kernel"]), &config);
        }
    }
}

#[test]
fn on_a_device_the_same_rules_make_the_same_weights() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/optimizers.json")).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let device = burn_tensor::Device::flex();
    let tensor = |values: &[f32]| Tensor::<1>::from_floats(values, &device);
    let host = |tensor: &Tensor<1>| injerto_backbones::network::to_host(tensor.clone());
    for case in list(&golden["cases"]) {
        let config: OptimizerConfig = serde_json::from_value(case["config"].clone()).expect("an optimiser");
        let trained = named(&["l/kernel", "l/bias"]);
        let size = Optimizer::new(config.clone(), trained.clone()).step_size();
        let mut optimizer = DeviceOptimizer::resume(config.clone(), trained, 0, vec![DeviceSlot::default(); 2]);
        let mut values = ["kernel", "bias"].map(|name| tensor(&floats(&golden["start"][name])));
        for (gradients, expected) in list(&golden["gradients"]).iter().zip(list(&case["values"])) {
            let mut updates = ["kernel", "bias"].map(|name| tensor(&floats(&gradients[name]))).into_iter().zip(&values);
            let mut updates: Vec<_> = updates
                .by_ref()
                .map(|(gradient, values)| Some(DeviceUpdate { values: values.clone(), gradient }))
                .collect();
            optimizer.step(size, &mut updates);
            for ((values, update), name) in values.iter_mut().zip(updates).zip(["kernel", "bias"]) {
                *values = update.expect("it had a gradient").values;
                close(&host(values), &floats(&expected[name]), &(&config, optimizer.steps(), name));
            }
        }
        if let Some(averages) = case.get("averages") {
            for ((_, average), name) in optimizer.averages().zip(["kernel", "bias"]) {
                close(&host(average), &floats(&averages[name]), &(&config, name));
            }
        }
    }
}

#[test]
fn a_layer_may_learn_at_a_rate_of_its_own() {
    let config = OptimizerConfig { weight_decay: Some(0.5), ..OptimizerConfig::adam(1e-2) };
    let mut half = Optimizer::new(config.clone(), named(&["w"]));
    let mut slow = Optimizer::new(config, vec![Trained { name: "w".to_owned(), multiplier: 0.1 }]);
    let (mut a, mut b) = ([1.0_f32, -2.0], [1.0_f32, -2.0]);
    for gradient in [[0.5, 0.25], [-1.0, 3.0]] {
        step(&mut half, &mut a, &gradient, 1e-2 * 0.1);
        step(&mut slow, &mut b, &gradient, 1e-2);
    }
    assert_eq!(a, b);
}

#[test]
fn a_resumed_optimiser_goes_on_with_the_same_bits() {
    let gradients: Vec<[f32; 3]> = (0..6).map(|t| [t as f32 - 2.0, 0.5, -0.1 * t as f32]).collect();
    let run = |optimizer: &mut Optimizer, w: &mut [f32; 3], part: &[[f32; 3]]| {
        part.iter().for_each(|gradient| step(optimizer, w, gradient, 1e-2));
    };
    let centered = r#"{"name": "rmsprop", "centered": true, "momentum": 0.5, "ema_momentum": 0.9}"#;
    for config in [OptimizerConfig::default(), serde_json::from_str(centered).expect("a config")] {
        let (mut whole, mut a) = (Optimizer::new(config.clone(), named(&["w"])), [1.0, 2.0, 3.0]);
        run(&mut whole, &mut a, &gradients);
        let (mut first, mut b) = (Optimizer::new(config.clone(), named(&["w"])), [1.0, 2.0, 3.0]);
        run(&mut first, &mut b, &gradients[..3]);
        let mut second = Optimizer::resume(config, named(&["w"]), first.state());
        run(&mut second, &mut b, &gradients[3..]);
        assert_eq!((a, whole.state()), (b, second.state()));
    }
}
