//! Constructors of operators have the same defaults as descriptions.

use injerto_graph::layers::{
    AveragePooling2D, BatchNormalization, Conv2D, Dense, DepthwiseConv2D, DotProductAttention, Dropout,
    GlobalAveragePooling2D, GlobalMaxPooling2D, GlobalResponseNormalization, GroupNormalization, LayerNormalization,
    MaxPooling2D, PositionEmbedding, PrependTokens, ReLU, Rescaling, SeparableConv2D, ZeroPadding2D,
};
use injerto_graph::{Activation, Operator, Resample};
use serde_json::{Value, json};

#[track_caller]
fn check(layer: impl Into<Operator>, class: &str, config: Value) {
    let described: Operator = serde_json::from_value(json!({ "class": class, "config": config })).expect("an operator");
    assert_eq!(layer.into(), described);
}

#[test]
fn a_layer_takes_the_defaults_that_a_description_takes() {
    check(Conv2D::new(64, 3), "Conv2D", json!({ "filters": 64, "kernel_size": [3, 3] }));
    check(DepthwiseConv2D::new([3, 5]), "DepthwiseConv2D", json!({ "kernel_size": [3, 5] }));
    check(SeparableConv2D::new(8, 3), "SeparableConv2D", json!({ "filters": 8, "kernel_size": [3, 3] }));
    check(Dense::new(10), "Dense", json!({ "units": 10 }));
    check(BatchNormalization::new(), "BatchNormalization", json!({}));
    check(ReLU::new(), "ReLU", json!({}));
    check(LayerNormalization::new(), "LayerNormalization", json!({}));
    check(GroupNormalization::new(), "GroupNormalization", json!({}));
    check(GlobalResponseNormalization::new(), "GlobalResponseNormalization", json!({}));
    check(DotProductAttention::new(6), "DotProductAttention", json!({ "num_heads": 6 }));
    check(PrependTokens::new(), "PrependTokens", json!({}));
    check(PositionEmbedding::new(), "PositionEmbedding", json!({}));
    check(Dropout::new(0.2), "Dropout", json!({ "rate": 0.2 }));
    check(Rescaling::new(0.5), "Rescaling", json!({ "scale": 0.5 }));
    check(GlobalAveragePooling2D::new(), "GlobalAveragePooling2D", json!({}));
    check(GlobalMaxPooling2D::new(), "GlobalMaxPooling2D", json!({}));
    check(ZeroPadding2D::around(1), "ZeroPadding2D", json!({ "padding": [[1, 1], [1, 1]] }));
    check(Activation::Swish, "Activation", json!({ "activation": "swish" }));
}

#[test]
fn a_pooling_window_moves_by_its_own_length_by_default() {
    check(MaxPooling2D::new(3), "MaxPooling2D", json!({ "pool_size": [3, 3] }));
    check(AveragePooling2D::new([2, 4]), "AveragePooling2D", json!({ "pool_size": [2, 4], "strides": [2, 4] }));
    check(MaxPooling2D::new(3).strides(2), "MaxPooling2D", json!({ "pool_size": [3, 3], "strides": [2, 2] }));
}

#[test]
fn every_option_has_the_name_that_keras_gives_it() {
    check(
        Conv2D::new(8, [1, 7]).strides(2).same().groups(2).use_bias(false).relu(),
        "Conv2D",
        json!({ "filters": 8, "kernel_size": [1, 7], "strides": [2, 2], "padding": "same", "groups": 2,
                "use_bias": false, "activation": "relu" }),
    );
    check(
        DepthwiseConv2D::new(3).dilation_rate([2, 1]).depth_multiplier(2),
        "DepthwiseConv2D",
        json!({ "kernel_size": [3, 3], "dilation_rate": [2, 1], "depth_multiplier": 2 }),
    );
    check(
        BatchNormalization::new().epsilon(1e-5).momentum(0.9).scale(false),
        "BatchNormalization",
        json!({ "epsilon": 1e-5, "momentum": 0.9, "scale": false }),
    );
    check(ReLU::new().max_value(6.0), "ReLU", json!({ "max_value": 6.0 }));
    check(ReLU::new().negative_slope(0.2), "ReLU", json!({ "negative_slope": 0.2 }));
    check(
        PositionEmbedding::new().resample(Resample { from: [14, 14], to: [16, 12] }),
        "PositionEmbedding",
        json!({ "resample": { "from": [14, 14], "to": [16, 12] } }),
    );
    check(Rescaling::new([1.0, 2.0, 3.0]).offset(0.5), "Rescaling", json!({ "scale": [1.0, 2.0, 3.0], "offset": 0.5 }));
    check(
        AveragePooling2D::new(3).strides(1).same().count_include_pad(true),
        "AveragePooling2D",
        json!({ "pool_size": [3, 3], "strides": [1, 1], "padding": "same", "count_include_pad": true }),
    );
}

/// Descriptions without these options, and cache keys that are computed from them, are the same as before the options existed.
#[test]
fn options_that_came_later_are_written_only_where_they_are_set() {
    let written = |operator: Operator| serde_json::to_value(operator).expect("plain data")["config"].clone();
    assert_eq!(written(ReLU::new().max_value(6.0).into()), json!({ "max_value": 6.0 }));
    assert_eq!(written(PositionEmbedding::new().into()), json!({}));
}

#[test]
fn every_activation_is_found_by_its_name() {
    for activation in Activation::ALL {
        let read: Activation = serde_json::from_value(json!(activation.name())).expect("an activation");
        assert_eq!(read, activation);
    }
}
