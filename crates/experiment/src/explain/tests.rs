use injerto_backbones::weights::Weights;
use injerto_config::Device;
use injerto_graph::layers::{
    BatchNormalization, Conv2D, Dense, DepthwiseConv2D, DotProductAttention, GlobalAveragePooling2D,
    LayerNormalization, PositionEmbedding, PrependTokens, ReLU,
};
use injerto_graph::{Activation, Builder, Graph, LayerId, Operator, Preprocessing, Role};
use injerto_recipe::Loss;
use injerto_trainer::{Model, ModelCard};
use serde_json::Value;

use super::*;

/// The weights of `golden/explain_values.py`; those of the layers in `enlarged` are four times as large.
fn formulas(graph: &Graph, enlarged: &str) -> Weights {
    let (mut weights, mut number) = (Weights::default(), 0);
    for node in graph.nodes() {
        for parameter in &node.parameters {
            let shape = &parameter.shape;
            let of = |at: usize| {
                let f = 43758.5453 * (12.9898 * at as f64 + 78.233 * f64::from(number)).sin();
                2.0 * (f - f.floor()) - 1.0
            };
            let kernel = |fan_in: usize| {
                let scale = (6.0 / fan_in as f64).sqrt() * if node.name().contains(enlarged) { 4.0 } else { 1.0 };
                move |s: f64| scale * s
            };
            let count = parameter.count();
            let values: Vec<f64> = match parameter.role {
                Role::DepthwiseKernel => (0..count).map(of).map(kernel(shape[0] * shape[1])).collect(),
                Role::ConvolutionKernel | Role::DenseKernel => {
                    (0..count).map(of).map(kernel(count / shape[shape.len() - 1])).collect()
                }
                Role::MovingVariance => (0..count).map(of).map(|s| 1.0 + 0.5 * s * s).collect(),
                Role::Gamma => (0..count).map(of).map(|s| 1.0 + 0.1 * s).collect(),
                _ => (0..count).map(of).map(|s| 0.1 * s).collect(),
            };
            number += 1;
            let name = format!("{}/{}", node.name(), parameter.name());
            weights.insert(name, shape.clone(), values.into_iter().map(|value| value as f32).collect());
        }
    }
    weights
}

/// A predictor of three classes, or of as many as the network has units.
fn predictor(graph: Graph, weights: &Weights, loss: Loss) -> Predictor {
    let units = graph.output_shape().count();
    let card = ModelCard {
        backbone: None,
        backbone_layers: graph.len() - 1,
        thresholds: None,
        graph,
        preprocessing: Preprocessing::minus_one_to_one(),
        crop_to_aspect_ratio: false,
        interpolation: Default::default(),
        exif_orientation: Default::default(),
        scaled_decoding: false,
        classes: (0..units.max(2)).map(|class| format!("class {class}")).collect(),
        loss,
    };
    let device = crate::device(Device::Flex).expect("the CPU is always there");
    Predictor::new(Model::new(card, weights, &device).expect("the weights fit"), Device::Flex).expect("it compiles")
}

fn from_probabilities() -> Loss {
    Loss::SparseCategoricalCrossentropy { from_logits: false }
}

/// The images of `golden/explain_values.py`.
fn images([height, width]: [usize; 2]) -> Vec<f32> {
    let mut pixels = Vec::new();
    for image in 0..2 {
        for (y, x, channel) in places(height, width) {
            let (y, x) = (y as f64, x as f64);
            let angle = 0.2 * f64::from(image + 1) * y + 0.11 * x + 0.004 * x * y + 2.1 * channel as f64;
            pixels.push((127.5 + 127.5 * angle.sin()) as f32);
        }
    }
    pixels
}

fn places(height: usize, width: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..height).flat_map(move |y| (0..width).flat_map(move |x| (0..3).map(move |channel| (y, x, channel))))
}

/// A small MobileNetV2; its output has this activation.
fn mobilenet(activation: Activation) -> Graph {
    let mut net = Builder::new("small");
    let conv = |filters: usize, size: usize| Conv2D::new(filters, size).padding(around(size)).use_bias(false);
    fn norm(net: &mut Builder, name: &str, clip: bool) -> LayerId {
        let x = net.then(format!("{name}_BN"), BatchNormalization::new());
        if clip { net.then(format!("{name}_relu"), ReLU::new().max_value(6.0)) } else { x }
    }
    net.image([48, 64]);
    net.then("Conv1", conv(8, 3).strides(2));
    let mut x = norm(&mut net, "Conv1", true);
    for (name, inputs, filters, stride) in [("block_1", 8, 8, 1), ("block_2", 8, 12, 2), ("block_3", 12, 12, 1)] {
        let entry = x;
        net.then(format!("{name}_expand"), conv(4 * inputs, 1));
        norm(&mut net, &format!("{name}_expand"), true);
        let depthwise = DepthwiseConv2D::new(3).padding(around(3)).use_bias(false).strides(stride);
        net.then(format!("{name}_depthwise"), depthwise);
        norm(&mut net, &format!("{name}_depthwise"), true);
        net.then(format!("{name}_project"), conv(filters, 1));
        x = norm(&mut net, &format!("{name}_project"), false);
        if stride == 1 {
            x = net.add(format!("{name}_add"), Operator::Add {}, &[x, entry]);
        }
    }
    net.then("Conv_1", conv(32, 1));
    net.then("Conv_1_bn", BatchNormalization::new());
    net.then("out_relu", ReLU::new().max_value(6.0));
    net.then("pool", GlobalAveragePooling2D::new());
    net.then("predictions", Dense::new(3).activation(activation));
    net.finish().expect("a graph")
}

fn around(size: usize) -> injerto_graph::Padding {
    injerto_graph::Padding::around(size / 2)
}

/// A transformer of two attentions between 3 x 4 patches and a class token, which the output is made of.
fn transformer() -> Graph {
    let (mut net, width) = (Builder::new("tokens"), 12);
    net.image([24, 32]);
    net.then("patches", Conv2D::new(width, 8).strides(8));
    net.then("tokens", Operator::Reshape { target_shape: vec![12, width] });
    net.then("class", PrependTokens::new());
    let mut x = net.then("positions", PositionEmbedding::new());
    for block in 0..2 {
        let entry = x;
        net.then(format!("norm_{block}"), LayerNormalization::new().epsilon(1e-6));
        net.then(format!("qkv_{block}"), Dense::new(3 * width));
        net.then(format!("attention_{block}"), DotProductAttention::new(2));
        let y = net.then(format!("project_{block}"), Dense::new(width));
        x = net.add(format!("add_{block}"), Operator::Add {}, &[entry, y]);
    }
    net.then("token", Operator::Cropping1D { cropping: [0, 12] });
    net.then("flat", Operator::Flatten {});
    net.then("predictions", Dense::new(3).activation(Activation::Softmax));
    net.finish().expect("a graph")
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../golden/explain.json")).expect("golden files are JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().expect("a number")],
    }
}

/// Compares values, each of which is at most 1.
fn near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < 2e-4, "{what}, place {at}: {found}, expected {expected}");
    }
}

#[test]
fn grad_cam_is_that_of_pytorch() {
    let expected = &golden()["grad_cam"];
    // The map is that of the logit, whatever activation and loss come after it.
    for (activation, from_logits) in [(Activation::Softmax, false), (Activation::Linear, true)] {
        let graph = mobilenet(activation);
        let weights = formulas(&graph, "nothing");
        let predictor = predictor(graph, &weights, Loss::SparseCategoricalCrossentropy { from_logits });
        // The last of these layers comes after a branch around it, which the gradient crosses too.
        for layer in [None, Some("block_3_depthwise_relu"), Some("block_1_depthwise_relu")] {
            let explainer = Explainer::new(&predictor, None, layer).expect("it has a map");
            let name = layer.unwrap_or("out_relu");
            assert_eq!((explainer.method(), explainer.layer()), (Method::GradCam, Some(name)));
            for class in 0..3 {
                let found = explainer.maps(&images([48, 64]), 2, Some(class)).expect("it is computed");
                for (image, explanation) in found.iter().enumerate() {
                    let what = format!("{name}, class {class}, image {image}, {activation:?}");
                    near(&explanation.probabilities, &numbers(&expected["probabilities"][image]), &what);
                    let map = &explanation.map;
                    let size = if name == "block_1_depthwise_relu" { [24, 32] } else { [12, 16] };
                    assert_eq!([map.rows(), map.columns()], size);
                    near(map.values(), &numbers(&expected["maps"][name][class][image]), &what);
                }
            }
        }
    }
}

#[test]
fn without_a_class_the_map_is_of_the_one_that_is_predicted() {
    let graph = mobilenet(Activation::Softmax);
    let weights = formulas(&graph, "nothing");
    let explainer = Explainer::new(&predictor(graph, &weights, from_probabilities()), None, None).expect("a map");
    let pixels = images([48, 64]);
    let found = explainer.maps(&pixels, 2, None).expect("it is computed");
    assert_eq!(found.iter().map(|it| [it.class, it.predicted()]).collect::<Vec<_>>(), [[2, 2]; 2]);
    assert_eq!(found, explainer.maps(&pixels, 2, Some(2)).expect("it is computed"));
    // An image has the same map alone, and photos that cannot be read have an error in their place.
    let size = pixels.len() / 2;
    let alone = explainer.maps(&pixels[size..], 1, None).expect("it is computed");
    near(alone[0].map.values(), &found[1].map.values().iter().copied().map(f64::from).collect::<Vec<_>>(), "alone");
    let image = injerto_data::decode::Rgb { height: 30, width: 40, pixels: vec![90; 30 * 40 * 3] };
    let origins = [Origin::from(image), b"no image".to_vec().into()];
    let said: Vec<bool> = explainer.explain(origins, None).map(|found| found.is_ok()).collect();
    assert_eq!(said, [true, false]);
}

#[test]
fn one_unit_has_a_map_for_each_of_its_two_classes() {
    let check = |activation, from_logits| {
        let mut layers = injerto_graph::GraphSpec::from(mobilenet(Activation::Linear)).layers;
        layers.last_mut().expect("an output").operator = Dense::new(1).activation(activation).into();
        let graph = Graph::new(injerto_graph::GraphSpec { name: "one".to_owned(), layers }).expect("a graph");
        let weights = formulas(&graph, "nothing");
        let predictor = predictor(graph, &weights, Loss::BinaryCrossentropy { from_logits, label_smoothing: 0.0 });
        let explainer = Explainer::new(&predictor, None, None).expect("a map");
        let map = |class| explainer.maps(&images([48, 64]), 2, Some(class)).expect("computed").swap_remove(0).map;
        let (first, second) = (map(0), map(1));
        let both = first.values().iter().zip(second.values()).filter(|(a, b)| **a > 0.0 && **b > 0.0).count();
        assert!(!first.is_empty() && !second.is_empty() && both == 0, "what speaks for one speaks against the other");
    };
    check(Activation::Sigmoid, false);
    check(Activation::Linear, true);
}

#[test]
fn rollout_is_that_of_pytorch() {
    let graph = transformer();
    let weights = formulas(&graph, "qkv");
    let predictor = predictor(graph, &weights, from_probabilities());
    let explainer = Explainer::new(&predictor, None, None).expect("it attends");
    assert_eq!(explainer.method(), Method::Rollout);
    let found = explainer.maps(&images([24, 32]), 2, None).expect("it is computed");
    for (image, explanation) in found.iter().enumerate() {
        let shares = numbers(&golden()["rollout"][image]);
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        let most = shares.iter().copied().fold(0.0, f64::max);
        let expected: Vec<f64> = shares.iter().map(|share| (share - least) / (most - least)).collect();
        assert_eq!([explanation.map.rows(), explanation.map.columns()], [3, 4]);
        near(explanation.map.values(), &expected, &format!("image {image}"));
    }
}

#[test]
fn occlusion_finds_the_place_that_decides() {
    // The first class is as probable as the lower right quarter is red, whatever the rest of the image shows.
    let mut net = Builder::new("corner");
    net.image([16, 16]);
    net.then("flat", Operator::Flatten {});
    net.then("predictions", Dense::new(2).activation(Activation::Softmax));
    let graph = net.finish().expect("a graph");
    let mut weights = Weights::default();
    let decides = |y: usize, x: usize, channel: usize| y >= 12 && x >= 12 && channel == 0;
    let kernel = places(16, 16).flat_map(|(y, x, channel)| [if decides(y, x, channel) { 0.05 } else { 0.0 }, 0.0]);
    weights.insert("predictions/kernel", vec![768, 2], kernel.collect());
    weights.insert("predictions/bias", vec![2], vec![0.0; 2]);
    let predictor = predictor(graph, &weights, from_probabilities());
    let explainer = Explainer::new(&predictor, None, None).expect("it suits every network");
    assert_eq!(explainer.method(), Method::Occlusion);
    let red = |(y, x, channel): (usize, usize, usize)| if decides(y, x, channel) { 255.0 } else { 0.0 };
    let pixels: Vec<f32> = places(16, 16).map(red).collect();
    let map = explainer.maps(&pixels, 1, Some(0)).expect("it is computed").swap_remove(0).map;
    // Places of two by two pixels; the quarter has four of them, and a square that touches it covers a neighbour too.
    let counts = |row: usize, column: usize| map.values()[row * 8 + column] > 0.0;
    for (row, column) in (0..8).flat_map(|row| (0..8).map(move |column| (row, column))) {
        assert_eq!(counts(row, column), row >= 5 && column >= 5, "{row}, {column}: {map:?}");
    }
    assert!((map.values()[7 * 8 + 7] - 1.0).abs() < 1e-6, "{map:?}");
    assert!(explainer.maps(&pixels, 1, Some(1)).expect("it is computed")[0].map.is_empty(), "nothing speaks for it");
}

#[test]
fn a_method_that_does_not_suit_is_refused_with_the_one_that_does() {
    let refused = |graph: Graph, method: Option<Method>, layer: Option<&str>, part: &str| {
        let weights = formulas(&graph, "nothing");
        let error = Explainer::new(&predictor(graph, &weights, from_probabilities()), method, layer).expect_err(part);
        assert!(error.to_string().contains(part), "{part}: {error}");
    };
    let small = || mobilenet(Activation::Softmax);
    refused(small(), Some(Method::Rollout), None, "has no attention; occlusion suits every network");
    refused(small(), None, Some("pool"), "layer 'pool' puts out [32], and Grad-CAM needs a map");
    refused(small(), None, Some("out_rellu"), "out_relu");
    refused(small(), Some(Method::Occlusion), Some("out_relu"), "occlusion has no layer to choose");
    refused(transformer(), None, Some("add_1"), "layer 'add_1' puts out [13, 12]");
}

#[test]
fn a_map_is_interpolated_between_the_centres_of_its_places() {
    let map = Map::new(1, 2, vec![-3.0, 4.0]);
    assert_eq!(map.values(), [0.0, 1.0], "what counts against the class is nothing");
    assert_eq!(map.resized(2, 4), [0.0, 0.25, 0.75, 1.0, 0.0, 0.25, 0.75, 1.0]);
    assert!(Map::new(1, 2, vec![f32::NAN, -1.0]).is_empty());
}
