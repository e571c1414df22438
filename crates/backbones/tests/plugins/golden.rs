//! Compares every layer, parameter and number with real Keras and PyTorch.

use std::sync::Arc;

use burn_tensor::Device;
use injerto_backbones::network::{Network, Value as Output, to_input};
use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::{Cache, Weights};
use injerto_graph::summary::Summary;
use injerto_graph::{
    Activation, Description, FreezePlan, Graph, LayerRef, Node, Operator, Parameter, Preprocessing, Role, Selection,
};
use injerto_reference::{Pass, evaluate};
use serde_json::{Map, Value, json};

use crate::{missing, probe, workspace_plugins};

/// The networks of the golden files that have a plugin.
fn networks() -> [(&'static str, &'static str, Value); 15] {
    [
        ("mobilenet_v2_1.00_160", "mobilenet_v2", json!({"input_shape": [160, 160]})),
        ("mobilenet_v2_1.00_224_top", "mobilenet_v2", json!({"include_top": true})),
        ("mobilenet_v2_0.35_96", "mobilenet_v2", json!({"input_shape": [96, 96], "alpha": 0.35})),
        ("small_cnn_160", "small_cnn", json!({"include_top": true})),
        ("inception_v3_224", "inception_v3", json!({"input_shape": [224, 224]})),
        ("inception_v3_299_top", "inception_v3", json!({"include_top": true})),
        ("resnet50_224", "resnet", json!({})),
        ("vgg16_224", "vgg", json!({})),
        ("efficientnet_b0_224", "efficientnet", json!({})),
        ("efficientnet_b3_75", "efficientnet", json!({"size": "b3", "input_shape": [75, 75]})),
        ("efficientnet_v2_s_75", "efficientnet", json!({"size": "v2-s", "input_shape": [75, 75]})),
        ("xception_75", "xception", json!({"input_shape": [75, 75]})),
        ("densenet121_224", "densenet", json!({})),
        ("mobilenet_v3_small_224", "mobilenet_v3", json!({"size": "small"})),
        ("mobilenet_v3_large_224_top", "mobilenet_v3", json!({"include_top": true})),
    ]
}

fn golden(text: &str) -> Value {
    serde_json::from_str(text).expect("golden files are JSON")
}

pub(crate) fn describe(plugin: &str, parameters: &Value) -> Description {
    let mut catalog = Catalog::scan(workspace_plugins(), probe());
    let found = catalog.find(plugin).expect("built");
    catalog.describe(&found, parameters.as_object().expect("a table")).expect("describes")
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn count(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

#[test]
fn every_layer_is_keras_layer() {
    let golden = golden(include_str!("../../../../golden/keras_layers.json"));
    for (row, plugin, parameters) in networks() {
        let (expected, graph) = (&golden[row], describe(plugin, &parameters).graph);
        let all = FreezePlan::new(&graph, &Selection::All).expect("a plan");
        let summary = Summary::new(&graph, &all);
        let layers = expected["layers"].as_array().expect("a list");
        assert_eq!(summary.layers.len(), layers.len(), "{row}");
        // Keras computes a hard sigmoid as a ReLU between a sum and a product, which are no layers of its list.
        let is_hard = |name: &str| graph.position(name).is_ok_and(|at| is_hard_sigmoid(&graph.nodes()[at]));
        for ((ours, node), keras) in summary.layers.iter().zip(graph.nodes()).zip(layers) {
            let mut keras = keras.clone();
            if is_hard_sigmoid(node) {
                keras["class"] = json!("Activation");
                keras["inputs"] = json!(ours.inputs);
            }
            if ours.inputs.iter().any(|input| is_hard(input)) {
                keras["inputs"][1] = json!(ours.inputs[1]);
            }
            let found = json!({
                "index": ours.index,
                "name": ours.name,
                "class": ours.class,
                "output_shape": ours.output_shape,
                "params": ours.params,
                "trainable": ours.trainable,
                "inputs": ours.inputs,
                "weights": node.parameters.iter().map(|p| json!([p.name(), p.shape])).collect::<Vec<_>>(),
            });
            assert_eq!(found, keras, "{row}, layer {}", ours.index);
        }
        assert_eq!((summary.total, summary.trainable), (count(&expected["total"]), count(&expected["trainable"])));
        for (from, trainable) in expected["trainable_from_layer"].as_object().expect("a table") {
            let at = from.parse().expect("an index");
            // Keras's slice may begin after the last layer; then nothing trains.
            let selection = match at < graph.len() {
                true => Selection::FromLayer(LayerRef::Index(at)),
                false => Selection::None,
            };
            let plan = FreezePlan::new(&graph, &selection).expect("a plan");
            assert_eq!(plan.counts(&graph).0, count(trainable), "{row} from layer {from}");
        }
    }
}

fn is_hard_sigmoid(node: &Node) -> bool {
    matches!(node.operator(), Operator::Activation { activation: Activation::HardSigmoid })
}

/// The weights of `golden/keras_values.py`, which need no file: a sine of position, layer and parameter.
fn formula(graph: &Graph) -> Weights {
    let mut weights = Weights::default();
    for (layer, node) in graph.nodes().iter().enumerate() {
        for (k, parameter) in node.parameters.iter().enumerate() {
            let shape = &parameter.shape;
            let fan_in: usize = match parameter.role {
                Role::DepthwiseKernel => shape[0] * shape[1],
                _ => shape[..shape.len().saturating_sub(1)].iter().product(),
            };
            let value = |i: usize| {
                let s = (0.731 * i as f64 + 1.37 * layer as f64 + 0.11 * k as f64).sin();
                match parameter.role {
                    Role::ConvolutionKernel | Role::DepthwiseKernel | Role::DenseKernel => {
                        (3.0 / fan_in as f64).sqrt() * s
                    }
                    Role::Gamma => 1.0 + 0.1 * s,
                    Role::MovingVariance => 1.0 + 0.5 * s * s,
                    // Keras's `set_weights` does not change the constants with which a Normalization layer computes.
                    Role::Variance => 1.0,
                    Role::Mean | Role::Count => 0.0,
                    _ => 0.1 * s,
                }
            };
            let data = (0..parameter.count()).map(|i| value(i) as f32).collect();
            weights.insert(format!("{}/{}", node.name(), parameter.name()), shape.clone(), data);
        }
    }
    weights
}

/// The pixels of two images of waves, as in `golden/keras_values.py`.
fn formula_pixels(height: usize, width: usize) -> Vec<f32> {
    (0..2 * height * width * 3).map(|i| (127.5 + 127.5 * (0.013 * i as f64).sin()) as f32).collect()
}

/// The two images as a network's input.
pub(crate) fn formula_images(height: usize, width: usize, how: &Preprocessing) -> burn_tensor::Tensor<4> {
    to_input(&formula_pixels(height, width), [2, height, width], how, &Device::flex())
}

/// Checks mean, standard deviation and every 997th value, within 1e-4 of the spread of the values.
fn check(what: &str, output: &Output, mean: f64, deviation: f64, stride_997: &[f64]) {
    check_within(1e-4, what, output, mean, deviation, stride_997);
}

/// Checks the same within a part of the spread.
fn check_within(part: f64, what: &str, output: &Output, mean: f64, deviation: f64, stride_997: &[f64]) {
    let ours: Vec<f64> = output.to_host().into_iter().map(f64::from).collect();
    let our_mean = ours.iter().sum::<f64>() / ours.len() as f64;
    let our_deviation = (ours.iter().map(|x| (x - our_mean).powi(2)).sum::<f64>() / ours.len() as f64).sqrt();
    let scale = mean.abs().max(deviation);
    let near = |a: f64, b: f64| (a - b).abs() <= part * scale.max(b.abs());
    // PyTorch's standard deviation divides by n - 1.
    assert!(
        near(our_mean, mean) && (our_deviation - deviation).abs() < part * scale + deviation / ours.len() as f64,
        "{what}: mean {our_mean}, {mean}; deviation {our_deviation}, {deviation}"
    );
    for (at, &expected) in stride_997.iter().enumerate() {
        let found = ours[at * 997];
        assert!(near(found, expected), "{what}, value {}: {found} is not {expected}", at * 997);
    }
}

#[test]
fn every_block_puts_out_what_keras_does() {
    let golden = golden(include_str!("../../../../golden/keras_forward.json"));
    for (row, plugin, parameters) in networks() {
        let description = describe(plugin, &parameters);
        let graph = Arc::new(description.graph);
        let network = Network::new(graph.clone(), &formula(&graph), &Device::flex()).expect("fits");
        let [h, w, _] = graph.input_shape().image().expect("an image");
        let layers = golden[row]["layers"].as_array().expect("a list");
        let wanted: Vec<usize> = layers.iter().map(|layer| count(&layer["index"])).collect();
        let outputs = network.outputs(formula_images(h, w, &description.preprocessing), &wanted);
        for (layer, output) in layers.iter().zip(&outputs) {
            let what = format!("{row}, {}", layer["name"]);
            let (mean, deviation) = (layer["mean"].as_f64().expect("a mean"), layer["std"].as_f64().expect("a std"));
            // Twelve of the 64 values that Keras recorded here are up to 1.36e-4 of the spread from those of double precision: its
            // record is that far off. PyTorch and we are within 1e-6 of double precision, which the next test shows for all values.
            let part = if what == "efficientnet_b3_75, \"block2b_activation\"" { 1.5e-4 } else { 1e-4 };
            check_within(part, &what, output, mean, deviation, &numbers(&layer["stride_997"]));
        }
    }
}

#[test]
fn where_keras_record_is_inexact_the_values_are_those_of_double_precision() {
    let description = describe("efficientnet", &json!({"size": "b3", "input_shape": [75, 75]}));
    let layer = description.graph.position("block2b_activation").expect("a layer");
    let graph = Arc::new(description.graph.truncate(layer).expect("a network"));
    let weights = formula(&graph);
    let network = Network::new(graph.clone(), &weights, &Device::flex()).expect("fits");
    let output = network.outputs(formula_images(75, 75, &description.preprocessing), &[layer]).swap_remove(0);
    let double = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let of = |node: &Node| {
        let value = |p: &Parameter| weights.get(&format!("{}/{}", node.name(), p.name())).expect("a parameter");
        node.parameters.iter().map(|parameter| double(&value(parameter).data)).collect()
    };
    let parameters: Vec<Vec<Vec<f64>>> = graph.nodes().iter().map(of).collect();
    // The network takes pixels as they are.
    let pixels = double(&formula_pixels(75, 75));
    let exact = evaluate(&graph, &parameters, &pixels, 2, &Pass::inference()).outputs.swap_remove(layer);
    let ours = output.to_host();
    assert_eq!(ours.len(), exact.len());
    let spread = (exact.iter().map(|value| value * value).sum::<f64>() / exact.len() as f64).sqrt();
    let worst = ours.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(worst < 5e-6 * spread, "{worst} with a spread of {spread}");
}

/// The published ImageNet weights, which are fetched or read from the user's cache.
fn imagenet(input_shape: [usize; 2]) -> Option<(Description, Weights)> {
    let mut catalog = Catalog::scan(workspace_plugins(), probe());
    let given = Map::from_iter([("input_shape".to_owned(), json!(input_shape))]);
    let resolved = catalog.resolve(&crate::files::ask("mobilenet_v2", &given, "imagenet")).expect("a set");
    match resolved.weights(&catalog, &Cache::of_user().expect("a cache")) {
        Ok(weights) => Some((resolved.description, weights)),
        Err(error) => missing(&format!("{error}")),
    }
}

#[test]
fn published_weights_give_pytorchs_features_block_by_block() {
    let golden = golden(include_str!("../../../../golden/torch_mobilenet_v2_imagenet.json"));
    let Some((description, weights)) = imagenet([160, 160]) else { return };
    assert_eq!(weights.count(), 2_257_984);
    let graph = Arc::new(description.graph);
    let network = Network::new(graph.clone(), &weights, &Device::flex()).expect("fits");
    // These are the last layers of PyTorch's nineteen blocks.
    let last = |block: usize| match block {
        0 => "Conv1_relu".to_owned(),
        1 => "expanded_conv_project_BN".to_owned(),
        18 => "out_relu".to_owned(),
        block => {
            let add = format!("block_{}_add", block - 1);
            graph.position(&add).map_or_else(|_| format!("block_{}_project_BN", block - 1), |_| add)
        }
    };
    let blocks = golden["blocks"].as_array().expect("a list");
    let wanted: Vec<usize> = (0..blocks.len()).map(|at| graph.position(&last(at)).expect("a layer")).collect();
    let outputs = network.outputs(formula_images(160, 160, &description.preprocessing), &wanted);
    for (block, output) in blocks.iter().zip(&outputs) {
        let what = format!("block {}", block["block"]);
        let (mean, deviation) = (block["mean"].as_f64().expect("a mean"), block["std"].as_f64().expect("a std"));
        check(&what, output, mean, deviation, &numbers(&block["stride_997_nhwc"]));
    }
}

#[test]
fn weights_survive_the_device_and_a_file() {
    let graph = Arc::new(describe("mobilenet_v2", &json!({"input_shape": [32, 32], "alpha": 0.35})).graph);
    let weights = Weights::initialise(&graph, 7).expect("a little memory");
    let network = Network::new(graph.clone(), &weights, &Device::flex()).expect("fits");
    assert_eq!(network.weights(), weights);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.safetensors");
    weights.save(&path, &Default::default(), Default::default()).expect("written");
    assert_eq!(Weights::load_own(&path, &graph, &[]).expect("read"), weights);
    // The error for a network of another width names the tensors that do not fit.
    let other = describe("mobilenet_v2", &json!({"input_shape": [32, 32], "alpha": 0.5})).graph;
    let error = Weights::load_own(&path, &other, &[]).expect_err("does not fit").to_string();
    assert!(error.contains("of another shape") && error.contains("/kernel is ["), "{error}");
    let small = describe("small_cnn", &json!({"input_shape": [32, 32], "filters": [4]})).graph;
    let error = Weights::load_own(&path, &small, &[]).expect_err("does not fit").to_string();
    assert!(error.contains("missing: batch_normalization/") && error.contains("not needed: "), "{error}");
}
