//! What a description that is no network is told.

use injerto_graph::{FreezePlan, Graph, GraphSpec, LayerRef, Selection};
use serde_json::{Value, json};

use crate::{graph, one_layer};

const IMAGE: [usize; 3] = [8, 6, 4];

fn input() -> (&'static str, &'static str, Value, &'static [&'static str]) {
    ("input", "InputLayer", json!({"shape": IMAGE}), &[])
}

fn check(layers: &[(&str, &str, Value, &[&str])], message: &str) {
    assert_eq!(graph(layers).expect_err(message).to_string(), message);
}

#[test]
fn structure() {
    let relu = || json!({});
    check(&[], "the graph 'net' has no layers");
    check(&[("a", "ReLU", relu(), &[])], "layer 0 'a': the first layer, and no other, must be an InputLayer");
    check(
        &[input(), ("again", "InputLayer", json!({"shape": [1]}), &[])],
        "layer 1 'again': the first layer, and no other, must be an InputLayer",
    );
    check(&[input(), ("input", "ReLU", relu(), &["input"])], "layer 1 'input': the name is already taken by layer 0");
    check(
        &[input(), ("a", "ReLU", relu(), &["b"]), ("b", "ReLU", relu(), &["a"])],
        "layer 1 'a': its input 'b' is not a layer before it",
    );
    check(&[input(), ("a", "ReLU", relu(), &["a"])], "layer 1 'a': its input 'a' is not a layer before it");
    check(&[input(), ("a", "ReLU", relu(), &[])], "layer 1 'a' (ReLU): takes one input, has 0");
    check(&[input(), ("a", "Add", relu(), &["input"])], "layer 1 'a' (Add): takes two inputs or more, has 1");
    check(
        &[input(), ("a", "ReLU", relu(), &["input"]), ("b", "ReLU", relu(), &["input"])],
        "layer 1 'a': nothing uses its output, and it is not the last layer",
    );
}

#[test]
fn options_that_do_not_fit_the_input() {
    let message = |class: &str, reason: &str| {
        format!("layer 1 'layer' ({class}): cannot take an input of shape [8, 6, 4]: {reason}")
    };
    let window = |size: [usize; 2]| json!({"pool_size": size, "strides": [1, 1]});
    for (class, config, reason) in [
        (
            "Conv2D",
            json!({"filters": 4, "kernel_size": [1, 1], "groups": 3}),
            "3 groups divide neither or not both of 4 channels and 4 filters",
        ),
        ("Conv2D", json!({"filters": 4, "kernel_size": [9, 1]}), "a window of 9 does not fit in 8"),
        ("Conv2D", json!({"filters": 0, "kernel_size": [1, 1]}), "its output would be [8, 6, 0]"),
        (
            "Conv2D",
            json!({"filters": 4, "kernel_size": [1, 1], "strides": [0, 1]}),
            "window, strides and dilation must be at least 1",
        ),
        ("DepthwiseConv2D", json!({"kernel_size": [1, 7]}), "a window of 7 does not fit in 6"),
        ("MaxPooling2D", window([0, 1]), "window, strides and dilation must be at least 1"),
        ("AveragePooling2D", window([1 << 40, 1]), "window, strides, dilation or padding are too large to be meant"),
        ("Dropout", json!({"rate": 1.0}), "rate 1 is not in 0.0 to 1.0"),
        ("BatchNormalization", json!({"momentum": 2.0}), "epsilon must not be negative, momentum must be 0 to 1"),
        ("Rescaling", json!({"scale": [1.0, 2.0]}), "2 values for 4 channels"),
        ("Reshape", json!({"target_shape": [5, 5]}), "192 values do not fill [5, 5]"),
        ("Dense", json!({"units": 0}), "its output would be [8, 6, 0]"),
        ("Dense", json!({"units": 1_usize << 21}), "its output would be [8, 6, 2097152]"),
        ("ZeroPadding2D", json!({"padding": [[u64::MAX, 1], [0, 0]]}), "padding overflows"),
    ] {
        assert_eq!(one_layer(class, config).expect_err(reason).to_string(), message(class, reason));
    }
    let pool = || ("pool", "GlobalAveragePooling2D", json!({}), &["input"][..]);
    for (class, reason) in [
        ("Add", "another input is [4]: shapes must be equal"),
        ("Multiply", "another input is [4]: sides must be equal or 1"),
        ("Concatenate", "another input is [4]: all axes but the last must agree"),
    ] {
        let error = graph(&[input(), pool(), ("layer", class, json!({}), &["input", "pool"])]).expect_err(reason);
        assert_eq!(error.to_string(), message(class, reason).replace("layer 1", "layer 2"));
    }
    let error = graph(&[input(), pool(), ("conv", "Conv2D", json!({"filters": 1, "kernel_size": [1, 1]}), &["pool"])]);
    let error = error.expect_err("not an image").to_string();
    assert!(error.starts_with("layer 2 'conv' (Conv2D): ") && error.ends_with("[height, width, channels]"), "{error}");
}

#[test]
fn unknown_words_are_named() {
    for (layer, word) in [
        (json!({"name": "a", "class": "Conv3D", "config": {}}), "Conv3D"),
        (json!({"name": "a", "class": "ReLU", "config": {"max": 6}}), "max"),
        (json!({"name": "a", "class": "Activation", "config": {"activation": "gelu"}}), "gelu"),
    ] {
        let spec = json!({"name": "net", "layers": [layer]});
        let error = serde_json::from_value::<GraphSpec>(spec).expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
    }
}

fn small() -> Graph {
    graph(&[
        input(),
        ("block_1_conv", "Conv2D", json!({"filters": 2, "kernel_size": [3, 3]}), &["input"]),
        ("block_1_bn", "BatchNormalization", json!({}), &["block_1_conv"]),
        ("top", "Dense", json!({"units": 3}), &["block_1_bn"]),
    ])
    .expect("holds together")
}

#[test]
fn wishes_about_layers_that_are_not_there() {
    let graph = small();
    for (selection, message) in [
        (Selection::FromLayer(LayerRef::Index(4)), "no layer 4 in 'net': it has 4 layers, 0 to 3"),
        (
            Selection::FromLayer(LayerRef::Name("block_1_con".into())),
            "no layer 'block_1_con' in 'net'; did you mean 'block_1_conv'?",
        ),
        (Selection::FromLayer(LayerRef::Name("quite else".into())), "no layer 'quite else' in 'net'"),
        (
            Selection::Patterns(vec!["top".into(), "block_2_*".into()]),
            "the pattern 'block_2_*' matches no layer of 'net'",
        ),
        (Selection::Fraction(1.5), "1.5 is not a fraction of the layers: expected 0.0 to 1.0"),
        (Selection::Fraction(f64::NAN), "NaN is not a fraction of the layers: expected 0.0 to 1.0"),
    ] {
        assert_eq!(FreezePlan::new(&graph, &selection).expect_err(message).to_string(), message);
    }
    assert!(graph.truncate(4).is_err());
    assert_eq!(graph.truncate(1).expect("a layer").output_shape().0, [6, 4, 2]);
}

#[test]
fn every_form_of_selection() {
    let graph = small();
    for (selection, trains) in [
        (Selection::None, [false, false, false, false]),
        (Selection::All, [true, true, true, true]),
        (Selection::FromLayer(LayerRef::Index(2)), [false, false, true, true]),
        (Selection::FromLayer(LayerRef::Name("block_1_bn".into())), [false, false, true, true]),
        (Selection::Patterns(vec!["block_1_*".into()]), [false, true, true, false]),
        (Selection::Patterns(vec!["*_bn".into(), "t?p".into()]), [false, false, true, true]),
        (Selection::Last(1), [false, false, false, true]),
        (Selection::Last(9), [true, true, true, true]),
        (Selection::Fraction(0.5), [false, false, true, true]),
        (Selection::Fraction(0.0), [false, false, false, false]),
    ] {
        let plan = FreezePlan::new(&graph, &selection).expect("fits");
        let found: Vec<bool> = (0..4).map(|at| plan.trains(at)).collect();
        assert_eq!(found, trains, "{selection:?}");
        // As it stands in a run's manifest.
        let text = serde_json::to_string(&plan).expect("plain data");
        assert_eq!(serde_json::from_str::<FreezePlan>(&text).expect("its own text"), plan);
    }
    let convolution = 3 * 3 * 4 * 2 + 2;
    let counts = |selection| FreezePlan::new(&graph, &selection).expect("fits").counts(&graph);
    assert_eq!(counts(Selection::All), (convolution + 4 + 9, 4));
    assert_eq!(counts(Selection::Last(1)), (9, convolution + 8));
}
