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
    let kernels =
        [("depthwise_kernel", &[3, 2, 4, 2][..]), ("pointwise_kernel", &[1, 1, 8, 5][..]), ("bias", &[5][..])];
    let config = json!({"filters": 5, "kernel_size": [3, 2], "depth_multiplier": 2});
    check("SeparableConv2D", config, &[6, 5, 5], &kernels, 30 * 8 * (6 + 5));
}

#[test]
fn element_wise_layers() {
    let same = [8, 6, 4];
    let c = &[4][..];
    let (gamma, beta, mean, variance) = (("gamma", c), ("beta", c), ("moving_mean", c), ("moving_variance", c));
    check("BatchNormalization", json!({}), &same, &[gamma, beta, mean, variance], 192);
    check("BatchNormalization", json!({"scale": false}), &same, &[beta, mean, variance], 192);
    check("BatchNormalization", json!({"center": false}), &same, &[gamma, mean, variance], 192);
    check("LayerNormalization", json!({}), &same, &[gamma, beta], 192);
    check("LayerNormalization", json!({"center": false}), &same, &[gamma], 192);
    check("GroupNormalization", json!({"groups": 2}), &same, &[gamma, beta], 192);
    check("GlobalResponseNormalization", json!({}), &same, &[gamma, beta], 192);
    check("LayerScale", json!({}), &same, &[gamma], 192);
    check("PositionEmbedding", json!({}), &same, &[("embeddings", &same)], 192);
    check("ReLU", json!({"negative_slope": 0.1}), &same, &[], 192);
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
    check("Take", json!({"indices": [3, 0, 3]}), &[8, 6, 3], &[], 0);
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

/// Checks one layer after an image `[8, 6, 4]` as tokens `[48, 4]`, or its error.
fn check_tokens(class: &str, config: Value, expected: Result<(&[usize], &[usize], u64), &str>) {
    let graph = graph(&[
        ("input", "InputLayer", json!({"shape": [8, 6, 4]}), &[]),
        ("tokens", "Reshape", json!({"target_shape": [48, 4]}), &["input"]),
        ("layer", class, config.clone(), &["tokens"]),
    ]);
    match (graph, expected) {
        (Ok(graph), Ok((shape, parameter, multiply_adds))) => {
            let node = &graph.nodes()[2];
            assert_eq!(node.shape.0, shape, "{class} {config}");
            let found: Vec<usize> = node.parameters.iter().flat_map(|p| p.shape.clone()).collect();
            assert_eq!(found, parameter, "{class} {config}");
            assert_eq!(node.multiply_adds(), multiply_adds, "{class} {config}");
        }
        (Err(error), Err(reason)) => {
            let whole = format!("layer 2 'layer' ({class}): it cannot take an input of shape [48, 4]: {reason}");
            assert_eq!(error.to_string(), whole);
        }
        (found, _) => panic!("{class} {config}: {found:?}"),
    }
}

#[test]
fn layers_on_tokens() {
    let resample = |from: [usize; 2], to: [usize; 2]| json!({"resample": {"from": from, "to": to}});
    check_tokens("PrependTokens", json!({}), Ok((&[49, 4], &[1, 4], 0)));
    check_tokens("PrependTokens", json!({"count": 5}), Ok((&[53, 4], &[5, 4], 0)));
    check_tokens("PositionEmbedding", json!({}), Ok((&[48, 4], &[48, 4], 192)));
    // The two tokens before a grid of 46 positions keep their embedding.
    check_tokens("PositionEmbedding", resample([3, 5], [2, 23]), Ok((&[48, 4], &[17, 4], 192)));
    let reason = "a grid of [7, 7] has more positions than the 48 tokens";
    check_tokens("PositionEmbedding", resample([3, 5], [7, 7]), Err(reason));
    check_tokens("Cropping1D", json!({"cropping": [1, 40]}), Ok((&[7, 4], &[], 0)));
    check_tokens("Cropping1D", json!({"cropping": [8, 40]}), Err("leaving out 8 and 40 positions leaves none"));
    let reason = "4 channels are not queries, keys and values of equal width";
    check_tokens("DotProductAttention", json!({"num_heads": 1}), Err(reason));
    check_tokens("LayerNormalization", json!({}), Ok((&[48, 4], &[4, 4], 192)));
    check_tokens("GroupNormalization", json!({"groups": 3}), Err("3 groups do not divide 4 channels"));
    check_tokens("Conv2D", json!({"filters": 1, "kernel_size": [1, 1]}), Err("expected [height, width, channels]"));
}

#[test]
fn attention_reads_one_joint_value_or_three() {
    let attention = |heads: usize, units: [usize; 3], inputs: &[&str]| {
        let dense = |units: usize| json!({"units": units, "use_bias": false});
        let graph = graph(&[
            ("input", "InputLayer", json!({"shape": [8, 6, 4]}), &[]),
            ("tokens", "Reshape", json!({"target_shape": [48, 4]}), &["input"]),
            ("others", "Cropping1D", json!({"cropping": [8, 0]}), &["tokens"]),
            ("q", "Dense", dense(units[0]), &["tokens"]),
            ("k", "Dense", dense(units[1]), &["others"]),
            ("v", "Dense", dense(units[2]), &["others"]),
            ("layer", "DotProductAttention", json!({"num_heads": heads}), inputs),
            ("all", "Flatten", json!({}), &["layer"]),
            ("rest", "Flatten", json!({}), &["q"]),
            ("more", "Flatten", json!({}), &["k"]),
            ("last", "Flatten", json!({}), &["v"]),
            ("end", "Concatenate", json!({}), &["all", "rest", "more", "last"]),
        ]);
        graph.map_err(|error| error.to_string()).map(|graph| {
            let node = &graph.nodes()[6];
            (node.shape.0.clone(), node.multiply_adds(), node.working_values())
        })
    };
    assert_eq!(attention(2, [6, 6, 10], &["q", "k", "v"]), Ok((vec![48, 10], 48 * 40 * 16, 2 * 48 * 40)));
    assert_eq!(attention(3, [9, 1, 1], &["q"]), Ok((vec![48, 3], 48 * 48 * 6, 3 * 48 * 48)));
    for (heads, units, inputs, reason) in [
        (1, [6, 5, 6], &["q", "k", "v"][..], "queries of 6 channels do not fit keys [40, 5] and values [40, 6]"),
        (4, [6, 6, 8], &["q", "k", "v"], "4 heads do not divide 6 channels and 8 channels of values"),
        (0, [6, 6, 6], &["q", "k", "v"], "0 heads do not divide 6 channels and 6 channels of values"),
    ] {
        let error = attention(heads, units, inputs).expect_err(reason);
        assert!(error.ends_with(reason), "{error}");
    }
    let error = attention(1, [6, 6, 6], &["q", "k"]).expect_err("two inputs");
    assert!(error.ends_with("it takes one input or three, but has 2"), "{error}");
}
