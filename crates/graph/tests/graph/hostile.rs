//! Hostile descriptions: each becomes an error or a network, and none causes a panic.

use injerto_graph::summary::Summary;
use injerto_graph::{Cut, CutOptions, Description, FreezePlan, Graph, Preprocessing, Selection, limits};
use injerto_reference::strategy::graphs;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Values that are put in places where they do not belong.
fn poison() -> impl Strategy<Value = Value> {
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    prop_oneof![
        Just(Value::Null),
        Just(json!(0)),
        Just(json!(-1)),
        Just(json!(1e308)),
        Just(json!(u64::MAX)),
        Just(json!(1_u64 << 40)),
        Just(json!((1_u64 << 20) + 1)),
        Just(json!(1_u64 << 20)),
        Just(json!([u64::MAX, u64::MAX])),
        Just(json!([1_u64 << 32, 1_u64 << 32])),
        Just(json!([[u64::MAX, u64::MAX], [u64::MAX, u64::MAX]])),
        Just(json!([1_u64 << 20, 1_u64 << 20, 1_u64 << 20])),
        Just(json!([])),
        Just(json!({})),
        Just(json!("same")),
        Just(json!("")),
        Just(json!("input_layer")),
        Just(nested(60)),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ]
}

/// Number of places in a value, itself included.
fn places(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(places).sum::<usize>(),
        Value::Object(fields) => fields.values().map(places).sum(),
        _ => 0,
    }
}

/// The place with the number `at`, counted from the outside to the inside.
fn place(value: &mut Value, at: usize) -> &mut Value {
    if at == 0 {
        return value;
    }
    let mut left = at - 1;
    let inner: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for item in inner {
        let inside = places(item);
        if left < inside {
            return place(item, left);
        }
        left -= inside;
    }
    unreachable!("there are that many places")
}

/// Does everything that the program does with a graph before a tensor exists.
fn use_it(graph: &Graph) {
    for selection in [Selection::None, Selection::All, Selection::Last(1), Selection::Fraction(0.5)] {
        let plan = FreezePlan::new(graph, &selection).expect("fits every graph");
        assert_eq!(Summary::new(graph, &plan).total, graph.parameter_count());
        let cut = Cut::new(graph, &plan, CutOptions::default());
        assert!(cut.bytes <= cut.latest_bytes && cut.split.prefix.contains(&0));
    }
    assert!(graph.truncate(graph.len() / 2).expect("a layer").multiply_adds() <= graph.multiply_adds());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn spoilt_descriptions(
        graph in graphs(8),
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), poison()), 1..4),
    ) {
        let description = Description { graph, preprocessing: Preprocessing::imagenet(), weights: Vec::new() };
        let mut json = serde_json::to_value(&description).expect("plain data");
        for (at, value) in spoilt {
            let at = at.index(places(&json));
            *place(&mut json, at) = value;
        }
        // A plugin's description arrives as text.
        if let Ok(read) = serde_json::from_str::<Description>(&json.to_string()) {
            use_it(&read.graph);
            prop_assert!(read.graph.image_size().is_ok() && read.preprocessing.check().is_ok());
        }
        // The network in the card of a checkpoint need not take photos.
        if let Ok(read) = serde_json::from_str::<Graph>(&json["graph"].to_string()) {
            use_it(&read);
        }
    }

    #[test]
    fn broken_text(graph in graphs(4), at in any::<prop::sample::Index>(), with in ".{0,4}") {
        let text = serde_json::to_string(&graph).expect("plain data");
        let mut cut = at.index(text.len());
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        if let Ok(read) = serde_json::from_str::<Graph>(&format!("{}{with}{}", &text[..cut], &text[cut..])) {
            use_it(&read);
        }
        prop_assert!(serde_json::from_str::<Graph>(&text[..cut]).is_err());
    }
}

#[test]
fn deep_nesting_is_an_error() {
    // These places hold any JSON value, so that only the depth is wrong.
    let config = r#"{"graph":{"name":"a","layers":[{"name":"b","config":"#;
    let requires = r#"{"weights":[{"requires":{"a":"#;
    for front in [config, requires] {
        for open in ["[", r#"{"a":"#] {
            let text = front.to_owned() + &open.repeat(100_000);
            let error = serde_json::from_str::<Description>(&text).expect_err("it never ends").to_string();
            assert!(error.starts_with("recursion limit exceeded at line 1 column "), "{error}");
        }
    }
    // Elsewhere, the first list in a list has a wrong type.
    let error = serde_json::from_str::<Description>(&"[".repeat(100_000)).expect_err("it never ends").to_string();
    assert!(error.starts_with("invalid type: sequence, expected a string at line 1 column "), "{error}");
}

/// A network with an image `[4, 4, 3]` as input and `count` layers in a row, each of which `layer` writes.
fn long(count: usize, layer: impl Fn(usize, &str) -> Value) -> serde_json::Result<Graph> {
    let mut layers = vec![json!({"name": "0", "class": "InputLayer", "config": {"shape": [4, 4, 3]}})];
    layers.extend((1..=count).map(|at| {
        let mut layer = layer(at, &(at - 1).to_string());
        layer["name"] = json!(at.to_string());
        layer
    }));
    serde_json::from_value(json!({"name": "long", "layers": layers}))
}

#[test]
fn the_longest_networks_are_used_at_once_and_longer_ones_are_refused() {
    let relu = |_, before: &str| json!({"class": "ReLU", "config": {}, "inputs": [before]});
    use_it(&long(limits::MOST_LAYERS - 1, relu).expect("it is short enough"));
    let error = long(limits::MOST_LAYERS, relu).expect_err("one too many").to_string();
    assert_eq!(error, "'long' has 16385 layers, but the limit is 16384");
    let sum = |_, before: &str| json!({"class": "Add", "config": {}, "inputs": vec![before; 1 << 16]});
    let error = long(3, sum).expect_err("too many inputs").to_string();
    assert_eq!(error, "layer 3 '3' (Add): the network is too large: the limit is 131072 inputs of all layers");
}

#[test]
fn numbers_at_the_limits() {
    let layers = |config: Value, class: &str| {
        json!({"name": "net", "layers": [
            {"name": "in", "class": "InputLayer", "config": {"shape": [4, 4, 3]}},
            {"name": "x", "class": class, "config": config, "inputs": ["in"]},
        ]})
    };
    let max = u64::MAX;
    for (class, config) in [
        ("Conv2D", json!({"filters": 1, "kernel_size": [max, max], "padding": "same"})),
        ("Conv2D", json!({"filters": max, "kernel_size": [1, 1]})),
        ("Conv2D", json!({"filters": 1, "kernel_size": [2, 2], "dilation_rate": [max, max], "padding": "same"})),
        ("Conv2D", json!({"filters": 1, "kernel_size": [1, 1], "strides": [max, max], "padding": "same"})),
        ("Conv2D", json!({"filters": 1, "kernel_size": [1, 1], "padding": [[max, max], [1, 1]]})),
        ("DepthwiseConv2D", json!({"kernel_size": [1, 1], "depth_multiplier": max})),
        ("SeparableConv2D", json!({"filters": 1, "kernel_size": [1, 1], "depth_multiplier": max})),
        ("SeparableConv2D", json!({"filters": max, "kernel_size": [1, 1]})),
        ("SeparableConv2D", json!({"filters": 1, "kernel_size": [1, 1], "depth_multiplier": 0})),
        ("Take", json!({"indices": [max]})),
        ("Take", json!({"indices": [0, 3]})),
        ("Take", json!({"indices": []})),
        ("MaxPooling2D", json!({"pool_size": [max, max], "strides": [1, 1], "padding": "same"})),
        ("MaxPooling2D", json!({"pool_size": [1, 1], "strides": [1, 1], "padding": [[max / 2, 1], [0, 0]]})),
        ("ZeroPadding2D", json!({"padding": [[max, max], [max, max]]})),
        ("Reshape", json!({"target_shape": [max, max, 2]})),
        ("Reshape", json!({"target_shape": []})),
        ("Dense", json!({"units": max})),
        ("GroupNormalization", json!({"groups": max})),
        ("DotProductAttention", json!({"num_heads": max})),
        ("PrependTokens", json!({"count": max})),
        ("PositionEmbedding", json!({"resample": {"from": [max, max], "to": [1, 1]}})),
        ("Cropping1D", json!({"cropping": [max, max]})),
        ("InputLayer", json!({"shape": [max]})),
    ] {
        let error = serde_json::from_value::<Graph>(layers(config, class)).expect_err(class).to_string();
        assert!(error.contains("layer 1 'x'"), "{class}: {error}");
    }
}

#[test]
fn what_an_operator_needs_beside_its_output_counts_too() {
    let after_tokens = |tokens: usize, class: &str, config: Value| {
        json!({"name": "net", "layers": [
            {"name": "in", "class": "InputLayer", "config": {"shape": [tokens, 1, 3]}},
            {"name": "tokens", "class": "Reshape", "config": {"target_shape": [tokens, 3]}, "inputs": ["in"]},
            {"name": "x", "class": class, "config": config, "inputs": ["tokens"]},
        ]})
    };
    let reason =
        "layer 2 'x' (DotProductAttention): the network is too large: the limit is 4294967296 values per image";
    let attention = after_tokens(1 << 16, "DotProductAttention", json!({"num_heads": 1}));
    let error = serde_json::from_value::<Graph>(attention).expect_err("too many scores").to_string();
    assert!(error.starts_with(reason), "{error}");
    let grids = json!({"resample": {"from": [1 << 20, 1], "to": [1 << 20, 1]}});
    let embedding = after_tokens(1 << 20, "PositionEmbedding", grids);
    let error = serde_json::from_value::<Graph>(embedding).expect_err("too many weights").to_string();
    assert!(error.contains("layer 2 'x' (PositionEmbedding): the network is too large"), "{error}");
}
