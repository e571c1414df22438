//! Error messages for descriptions that are not valid networks.

use injerto_graph::layers::Conv2D;
use injerto_graph::{
    Activation, Builder, Description, Descriptor, FreezePlan, Graph, GraphSpec, LayerRef, Operator, Padding,
    PerChannel, Preprocessing, Selection, Window, limits,
};
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
    check(&[input(), ("a", "ReLU", relu(), &[])], "layer 1 'a' (ReLU): it takes one input, but has 0");
    check(&[input(), ("a", "Add", relu(), &["input"])], "layer 1 'a' (Add): it takes two inputs or more, but has 1");
    check(
        &[input(), ("a", "ReLU", relu(), &["input"]), ("b", "ReLU", relu(), &["input"])],
        "layer 1 'a': nothing uses its output, and it is not the last layer",
    );
}

#[test]
fn options_that_do_not_fit_the_input() {
    let message = |class: &str, reason: &str| {
        format!("layer 1 'layer' ({class}): it cannot take an input of shape [8, 6, 4]: {reason}")
    };
    let window = |size: [usize; 2]| json!({"pool_size": size, "strides": [1, 1]});
    for (class, config, reason) in [
        (
            "Conv2D",
            json!({"filters": 4, "kernel_size": [1, 1], "groups": 3}),
            "3 groups do not divide both 4 channels and 4 filters",
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
        ("AveragePooling2D", window([1 << 40, 1]), "window, strides, dilation or padding are larger than 1048576"),
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
        ("Add", "another input is [4]: sides must be equal or 1"),
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
fn numbers_out_of_their_range() {
    let check = |operator: Operator, reason: &str| {
        let mut net = Builder::new("net");
        let input = net.input([8, 6, 4]);
        net.add("layer", operator, &[input]);
        let error = net.finish().expect_err(reason).to_string();
        assert!(error.starts_with("layer 1 'layer' (") && error.ends_with(&format!("): {reason}")), "{error}");
    };
    let norm = |epsilon, momentum| Operator::BatchNormalization { epsilon, momentum, center: true, scale: true };
    let rescaling = |scale| Operator::Rescaling { scale, offset: PerChannel::One(0.0) };
    check(Operator::Dropout { rate: 1.0, per_sample: false }, "rate must be 0.0 to 1.0 (1.0 excluded), not 1");
    check(Operator::Dropout { rate: f64::NAN, per_sample: true }, "rate must be 0.0 to 1.0 (1.0 excluded), not NaN");
    check(norm(-1.0, 0.9), "epsilon must be finite and not negative, not -1");
    check(norm(f64::INFINITY, 0.9), "epsilon must be finite and not negative, not inf");
    check(norm(f64::NAN, 0.9), "epsilon must be finite and not negative, not NaN");
    check(norm(1e-3, 2.0), "momentum must be 0.0 to 1.0, not 2");
    check(norm(1e-3, f64::NAN), "momentum must be 0.0 to 1.0, not NaN");
    check(
        Operator::ReLU { max_value: Some(-1.0), negative_slope: 0.0 },
        "max_value must be finite and not negative, not -1",
    );
    check(
        Operator::ReLU { max_value: Some(f64::NAN), negative_slope: 0.0 },
        "max_value must be finite and not negative, not NaN",
    );
    let leaky = |negative_slope| Operator::ReLU { max_value: None, negative_slope };
    check(leaky(-0.1), "negative_slope must be 0.0 to 1.0, not -0.1");
    check(leaky(f64::NAN), "negative_slope must be 0.0 to 1.0, not NaN");
    let layer_norm = |epsilon| Operator::LayerNormalization { epsilon, center: true, scale: true };
    check(layer_norm(-1.0), "epsilon must be finite and not negative, not -1");
    check(
        Operator::GlobalResponseNormalization { epsilon: f64::NAN },
        "epsilon must be finite and not negative, not NaN",
    );
    check(rescaling(PerChannel::One(f64::NAN)), "scale must be finite");
    // The number is finite, but not in single precision, in which networks compute.
    check(rescaling(PerChannel::Each(vec![1.0, 1.0, 1e39, 1.0])), "scale must be finite");
}

#[test]
fn names_that_are_not_printable() {
    let check = |name: &str, message: &str| {
        let error = graph(&[input(), (name, "ReLU", json!({}), &["input"])]).expect_err(message);
        assert_eq!(error.to_string(), format!("layer 1: its name cannot be used: {message}"));
    };
    check("", "the name is empty");
    check("a\u{1b}]0;owned\u{7}", "'a\\u{1b}]0;owned\\u{7}' has characters that are not printable");
    check("two\nlines", "'two\\nlines' has characters that are not printable");
    check("right\u{202e}tfel", "'right\\u{202e}tfel' has characters that are not printable");
    check(&"n".repeat(257), &format!("'{}…' is longer than 256 bytes", "n".repeat(64)));
    let spec =
        |name: &str| json!({"name": name, "layers": [{"name": "a", "class": "InputLayer", "config": {"shape": [1]}}]});
    let error = serde_json::from_value::<Graph>(spec("\u{9b}31m")).expect_err("colours").to_string();
    assert_eq!(error, "the graph's name cannot be used: '\\u{9b}31m' has characters that are not printable");
    // Unusual names are valid.
    for name in ["café 猫", "block1/conv:0", &"n".repeat(256)] {
        assert!(graph(&[input(), (name, "ReLU", json!({}), &["input"])]).is_ok(), "{name}");
    }
    // The name of an input is escaped as well.
    let error = graph(&[input(), ("a", "ReLU", json!({}), &["\u{1b}[2J"])]).expect_err("not there").to_string();
    assert_eq!(error, "layer 1 'a': its input '\\u{1b}[2J' is not a layer before it");
}

#[test]
fn networks_that_exceed_the_limits() {
    let check = |input: [usize; 3], class: &str, config: Value, limit: &str| {
        let layers: [(&str, &str, Value, &[&str]); 2] =
            [("input", "InputLayer", json!({"shape": input}), &[]), ("layer", class, config, &["input"])];
        let error = graph(&layers).expect_err(limit).to_string();
        assert!(error.contains(": the network is too large: ") && error.ends_with(limit), "{error}");
    };
    let values = "the limit is 4294967296 values per image, padding included";
    let parameters = "the limit is 4294967296 values of all parameters";
    let (side, same) = (1_usize << 20, "same");
    check([1 << 19, 1 << 19, 3], "ReLU", json!({}), values);
    check([8, 6, 3], "ZeroPadding2D", json!({"padding": [[100_000, 0], [0, 100_000]]}), values);
    // Outputs and parameters are small, but the zeros around the image are not.
    let dilated = json!({"filters": 1, "kernel_size": [1058, 1], "dilation_rate": [side, 1], "padding": same});
    check([8, 6, 3], "Conv2D", dilated.clone(), values);
    check(
        [8, 6, 3],
        "DepthwiseConv2D",
        json!({"kernel_size": [3, 3], "dilation_rate": [side, side], "padding": same}),
        values,
    );
    check(
        [8, 6, 3],
        "Conv2D",
        json!({"filters": 1, "kernel_size": [1, 1], "padding": [[side, 0], [side, 0]], "strides": [side, side]}),
        values,
    );
    check([8, 6, 3], "MaxPooling2D", json!({"pool_size": [side, side], "strides": [1, 1], "padding": same}), values);
    check([8, 6, 8192], "Dense", json!({"units": side}), parameters);
    check([8, 6, 3], "Conv2D", json!({"filters": side, "kernel_size": [1 << 12, 1], "padding": same}), parameters);
    check([8, 6, 3], "Conv2D", json!({"filters": side, "kernel_size": [side, side], "padding": same}), values);
    // Each layer is small enough, but all layers together are not.
    let relu =
        |at: usize| json!({"name": at.to_string(), "class": "ReLU", "config": {}, "inputs": [(at - 1).to_string()]});
    let first = json!({"name": "0", "class": "InputLayer", "config": {"shape": [1 << 13, 1 << 13, 3]}});
    let layers: Vec<Value> = std::iter::once(first).chain((1..40).map(relu)).collect();
    let error = serde_json::from_value::<Graph>(json!({"name": "net", "layers": layers})).expect_err(values);
    assert_eq!(error.to_string(), format!("layer 21 '21' (ReLU): the network is too large: {values}"));
}

#[test]
fn the_largest_networks_in_use_are_far_from_the_limits() {
    // The network is VGG16 with its top, for images of 1024×1024.
    let mut net = Builder::new("vgg16");
    let mut x = net.input([1024, 1024, 3]);
    for (block, (convolutions, filters)) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)].into_iter().enumerate() {
        for at in 0..convolutions {
            let operator = Conv2D::new(filters, 3).same().relu();
            x = net.add(format!("block{block}_conv{at}"), operator, &[x]);
        }
        let window = Window { pool_size: [2, 2], strides: [2, 2], padding: Padding::Valid, count_include_pad: false };
        x = net.add(format!("block{block}_pool"), Operator::MaxPooling2D(window), &[x]);
    }
    x = net.add("flatten", Operator::Flatten {}, &[x]);
    for (name, units) in [("fc1", 4096), ("fc2", 4096), ("predictions", 1000)] {
        x = net.add(name, Operator::Dense { units, use_bias: true, activation: Activation::Relu }, &[x]);
    }
    let graph = net.finish().expect("it is large, and in use");
    let values: usize = graph.nodes().iter().map(|node| node.shape.count()).sum();
    assert!(values * 10 < limits::MOST_VALUES, "{values}");
    assert!(graph.parameter_count() < limits::MOST_PARAMETERS, "{}", graph.parameter_count());
    assert!(graph.multiply_adds() * 100 < limits::MOST_MULTIPLY_ADDS, "{}", graph.multiply_adds());
}

#[test]
fn inputs_that_are_not_photos_and_preprocessing_that_loses_them() {
    let description = |shape: &[usize], preprocessing: Value| {
        let layers = json!([{"name": "in", "class": "InputLayer", "config": {"shape": shape}}]);
        json!({"graph": {"name": "net", "layers": layers}, "preprocessing": preprocessing})
    };
    let plain = || json!({"scale": 1.0, "mean": [0, 0, 0], "deviation": [1, 1, 1]});
    let check = |description: Value, message: &str| {
        let error = serde_json::from_value::<Description>(description).expect_err(message).to_string();
        assert_eq!(error, message);
    };
    assert!(serde_json::from_value::<Description>(description(&[8, 6, 3], plain())).is_ok());
    for shape in [&[8][..], &[8, 6], &[8, 6, 1], &[1, 8, 6, 3], &[1 << 14, 1 << 13, 3]] {
        let sides = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let message = "but an image has the shape [height, width, 3] and at most 67108864 pixels";
        check(description(shape, plain()), &format!("'net' takes inputs of shape [{sides}], {message}"));
    }
    for (key, value, reason) in [
        ("scale", json!(0.0), "scale must be finite and not 0, not 0"),
        ("deviation", json!([1, 0, 1]), "each deviation must be finite and greater than 0, not 0"),
        ("deviation", json!([1, -2, 1]), "each deviation must be finite and greater than 0, not -2"),
        ("scale", json!(1e300), "mean 0 and deviation 1 lose the image in single precision"),
        ("crop", json!(1.5), "crop must be above 0.0 and at most 1.0, not 1.5"),
    ] {
        let mut preprocessing = plain();
        preprocessing[key] = value;
        check(description(&[8, 6, 3], preprocessing), &format!("its preprocessing cannot be used: {reason}"));
    }
}

#[test]
fn a_standard_deviation_is_written_as_before_and_may_be_read_by_either_name() {
    for name in ["deviation", "std"] {
        let read: Preprocessing =
            serde_json::from_value(json!({"scale": 1.0, "mean": [0, 0, 0], name: [1, 2, 3]})).expect("either name");
        assert_eq!(read.std, [1.0, 2.0, 3.0]);
        let written = serde_json::to_value(&read).expect("plain data");
        assert_eq!((&written["deviation"], written.get("std")), (&json!([1.0, 2.0, 3.0]), None));
    }
}

#[test]
fn texts_of_a_descriptor_that_are_not_printable() {
    let plain = json!({"name": "tiny", "summary": "small", "weights": ["own"],
                       "parameters": {"width": {"default": 1, "doc": "multiplies"}}});
    assert!(serde_json::from_value::<Descriptor>(plain.clone()).is_ok());
    for place in ["/name", "/summary", "/weights/0", "/parameters/width/doc"] {
        let mut spoilt = plain.clone();
        *spoilt.pointer_mut(place).expect("a place") = json!("red \u{1b}[31m");
        let error = serde_json::from_value::<Descriptor>(spoilt).expect_err(place).to_string();
        assert_eq!(error, "'red \\u{1b}[31m' has characters that are not printable", "{place}");
    }
    let spoilt = json!({"name": "tiny", "summary": "x".repeat(5000)});
    let error = serde_json::from_value::<Descriptor>(spoilt).expect_err("endless").to_string();
    assert!(error.ends_with("…' is longer than 4096 bytes"), "{error}");
}

#[test]
fn unknown_words_are_named() {
    for (layer, word) in [
        (json!({"name": "a", "class": "Conv3D", "config": {}}), "Conv3D"),
        (json!({"name": "a", "class": "ReLU", "config": {"max": 6}}), "max"),
        (json!({"name": "a", "class": "Activation", "config": {"activation": "mish"}}), "mish"),
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
fn selections_of_layers_that_do_not_exist() {
    let graph = small();
    for (selection, message) in [
        (Selection::FromLayer(LayerRef::Index(4)), "there is no layer 4 in 'net': it has 4 layers, 0 to 3"),
        (
            Selection::FromLayer(LayerRef::Name("block_1_con".into())),
            "there is no layer 'block_1_con' in 'net'; did you mean 'block_1_conv'?",
        ),
        // The name of a block means its first layer.
        (
            Selection::FromLayer(LayerRef::Name("block_1".into())),
            "there is no layer 'block_1' in 'net'; did you mean 'block_1_conv'?",
        ),
        (Selection::FromLayer(LayerRef::Name("quite else".into())), "there is no layer 'quite else' in 'net'"),
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
        // A run's plan.json contains it as text.
        let text = serde_json::to_string(&plan).expect("plain data");
        assert_eq!(serde_json::from_str::<FreezePlan>(&text).expect("its own text"), plan);
    }
    let convolution = 3 * 3 * 4 * 2 + 2;
    let counts = |selection| FreezePlan::new(&graph, &selection).expect("fits").counts(&graph);
    assert_eq!(counts(Selection::All), (convolution + 4 + 9, 4));
    assert_eq!(counts(Selection::Last(1)), (9, convolution + 8));
}
