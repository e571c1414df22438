//! Shape, parameters and multiply-adds of every operator.

use serde_json::{Value, json};

use crate::{graph, one_layer};

/// Checks one layer after an image `[8, 6, 4]`.
fn check(class: &str, config: Value, shape: &[usize], parameters: &[(&str, &[usize])], multiply_adds: u64) {
    let graph = one_layer(class, config.clone()).expect("fits");
    let node = &graph.nodes()[1];
    let found: Vec<(&str, &[usize])> = node.parameters.iter().map(|p| (p.name(), p.shape.as_slice())).collect();
    assert_eq!(node.shape.0, shape, "{class} {config}");
    assert_eq!(found, parameters, "{class} {config}");
    assert_eq!(node.multiply_adds(), multiply_adds, "{class} {config}");
    assert_eq!(node.operator().class(), class);
    assert_eq!(graph.multiply_adds(), multiply_adds);
}

#[test]
fn convolutions() {
    let conv = |more: Value| {
        let mut config = json!({"filters": 6, "kernel_size": [3, 3]});
        config.as_object_mut().expect("a table").extend(more.as_object().expect("a table").clone());
        config
    };
    let (kernel, bias) = (("kernel", &[3, 3, 4, 6][..]), ("bias", &[6][..]));
    check("Conv2D", conv(json!({})), &[6, 4, 6], &[kernel, bias], 24 * 36 * 6);
    check("Conv2D", conv(json!({"padding": "same", "use_bias": false})), &[8, 6, 6], &[kernel], 48 * 36 * 6);
    check("Conv2D", conv(json!({"padding": "same", "strides": [3, 4]})), &[3, 2, 6], &[kernel, bias], 6 * 36 * 6);
    check("Conv2D", conv(json!({"padding": [[1, 0], [2, 3]]})), &[7, 9, 6], &[kernel, bias], 63 * 36 * 6);
    check("Conv2D", conv(json!({"dilation_rate": [3, 2]})), &[2, 2, 6], &[kernel, bias], 4 * 36 * 6);
    let grouped = ("kernel", &[3, 3, 2, 6][..]);
    check("Conv2D", conv(json!({"groups": 2})), &[6, 4, 6], &[grouped, bias], 24 * 18 * 6);
    let depthwise = ("kernel", &[3, 2, 4, 2][..]);
    let config = json!({"kernel_size": [3, 2], "depth_multiplier": 2});
    check("DepthwiseConv2D", config, &[6, 5, 8], &[depthwise, ("bias", &[8])], 30 * 8 * 6);
}

#[test]
fn element_wise_layers() {
    let same = [8, 6, 4];
    let c = &[4][..];
    let (gamma, beta, mean, variance) = (("gamma", c), ("beta", c), ("moving_mean", c), ("moving_variance", c));
    check("BatchNormalization", json!({}), &same, &[gamma, beta, mean, variance], 192);
    check("BatchNormalization", json!({"scale": false}), &same, &[beta, mean, variance], 192);
    check("BatchNormalization", json!({"center": false}), &same, &[gamma, mean, variance], 192);
    check("Rescaling", json!({"scale": 0.5}), &same, &[], 192);
    check("Rescaling", json!({"scale": [1.0, 2.0, 3.0, 4.0], "offset": -1.0}), &same, &[], 192);
    check("Normalization", json!({}), &same, &[("mean", c), ("variance", c), ("count", &[])], 192);
    check("ReLU", json!({"max_value": 6.0}), &same, &[], 192);
    check("Activation", json!({"activation": "swish"}), &same, &[], 192);
    check("Softmax", json!({}), &same, &[], 192);
    check("Dropout", json!({"rate": 0.5}), &same, &[], 0);
}

#[test]
fn pooling_windows_and_global_pooling() {
    let window = |padding: Value| json!({"pool_size": [3, 2], "strides": [2, 2], "padding": padding});
    for class in ["MaxPooling2D", "AveragePooling2D"] {
        check(class, window(json!("valid")), &[3, 3, 4], &[], 36 * 6);
        check(class, window(json!("same")), &[4, 3, 4], &[], 48 * 6);
        check(class, window(json!([[1, 1], [0, 1]])), &[4, 3, 4], &[], 48 * 6);
    }
    for class in ["GlobalAveragePooling2D", "GlobalMaxPooling2D"] {
        check(class, json!({}), &[4], &[], 192);
        check(class, json!({"keepdims": true}), &[1, 1, 4], &[], 192);
    }
}

#[test]
fn layers_that_only_move_values() {
    check("ZeroPadding2D", json!({"padding": [[1, 2], [0, 3]]}), &[11, 9, 4], &[], 0);
    check("Flatten", json!({}), &[192], &[], 0);
    check("Reshape", json!({"target_shape": [16, 12]}), &[16, 12], &[], 0);
    check("Dense", json!({"units": 5}), &[8, 6, 5], &[("kernel", &[4, 5]), ("bias", &[5])], 48 * 4 * 5);
    check("Dense", json!({"units": 5, "use_bias": false}), &[8, 6, 5], &[("kernel", &[4, 5])], 48 * 4 * 5);
}

#[test]
fn layers_with_several_inputs() {
    let joined = |class: &str, inputs: &[&str]| {
        let graph = graph(&[
            ("input", "InputLayer", json!({"shape": [8, 6, 4]}), &[]),
            ("relu", "ReLU", json!({}), &["input"]),
            ("gate", "GlobalAveragePooling2D", json!({"keepdims": true}), &["relu"]),
            ("spread", "Multiply", json!({}), &["gate", "input"]),
            ("layer", class, json!({}), inputs),
        ])
        .expect("fits");
        let node = &graph.nodes()[4];
        (node.shape.0.clone(), node.multiply_adds(), graph.nodes()[3].multiply_adds())
    };
    assert_eq!(joined("Add", &["input", "relu", "spread"]), (vec![8, 6, 4], 3 * 192, 196));
    assert_eq!(joined("Multiply", &["spread", "relu"]), (vec![8, 6, 4], 2 * 192, 196));
    assert_eq!(joined("Concatenate", &["spread", "spread", "input"]), (vec![8, 6, 12], 0, 196));
}
