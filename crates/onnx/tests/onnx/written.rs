//! Models that are written compute what the network computes: read back by this crate, and in ONNX Runtime.

use std::collections::HashMap;
use std::path::Path;

use injerto_graph::layers::Conv2D;
use injerto_graph::{Graph, GraphSpec, Layer, Operator, Preprocessing};
use injerto_onnx::read::{Ask, ModelFile};
use injerto_onnx::{Answer, Classifier, Precision};
use injerto_reference::networks::{self, Random};
use injerto_reference::{examples, strategy};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{assert_close, computed, outputs, python, script};

/// The network for RGB images, ending in a row of numbers: a convolution before its first layer makes the channels that this layer takes.
fn of_images(graph: &Graph) -> Graph {
    let &[height, width, channels] = graph.input_shape().0.as_slice() else { panic!("an image") };
    let first = graph.nodes()[0].name().to_owned();
    let mut layers: Vec<Layer> = graph.nodes().iter().map(|node| node.layer.clone()).collect();
    layers[0] = Layer { name: first, operator: Conv2D::new(channels, 1).into(), inputs: vec!["the image".to_owned()] };
    let image = Operator::InputLayer { shape: vec![height, width, 3] };
    layers.insert(0, Layer { name: "the image".to_owned(), operator: image, inputs: Vec::new() });
    let last = layers[layers.len() - 1].name.clone();
    layers.push(Layer { name: "the row".to_owned(), operator: Operator::Flatten {}, inputs: vec![last] });
    Graph::new(GraphSpec { name: "net".to_owned(), layers }).expect("a network")
}

/// Parameters by their names.
fn parameters(graph: &Graph, seed: u64) -> HashMap<String, Vec<f32>> {
    let values = networks::parameters(graph, seed);
    let named = graph.nodes().iter().zip(values).flat_map(|(node, values)| {
        let names = node.parameters.iter().map(|parameter| format!("{}/{}", node.name(), parameter.name()));
        names.zip(values).collect::<Vec<_>>()
    });
    named.collect()
}

/// A classifier, its images and its probabilities.
struct Case {
    graph: Graph,
    preprocessing: Preprocessing,
    answer: Answer,
    parameters: HashMap<String, Vec<f32>>,
    /// Two images of pixels from 0 to 255.
    pixels: Vec<f64>,
}

impl Case {
    fn new(graph: Graph, preprocessing: Preprocessing, answer: Answer, seed: u64) -> Self {
        let parameters = parameters(&graph, seed);
        let count = 2 * graph.input_shape().count();
        let pixels = Random::new(seed).values(count, 0.0, 255.0).into_iter().map(|x| f64::from(x.round())).collect();
        Self { graph, preprocessing, answer, parameters, pixels }
    }

    fn write(&self, precision: Precision) -> Vec<u8> {
        let (graph, preprocessing, answer) = (&self.graph, &self.preprocessing, self.answer);
        let metadata = [("classes".to_owned(), "[\"cat\",\"dog\"]".to_owned())];
        let classifier = Classifier { graph, preprocessing, answer, metadata: &metadata, precision };
        let mut bytes = Vec::new();
        let parameter = |name: &str| self.parameters.get(name).map(Vec::as_slice);
        classifier.write(&parameter, &mut bytes).expect("a model");
        bytes
    }

    /// The probabilities by the specification of preprocessing, layers and answer, in double precision.
    fn expected(&self) -> Vec<f64> {
        let Preprocessing { scale, mean, std, channel_order, .. } = &self.preprocessing;
        let reversed = |c: usize| if *channel_order == injerto_graph::ChannelOrder::Bgr { 2 - c } else { c };
        let input: Vec<f64> = (self.pixels.chunks_exact(3))
            .flat_map(|pixel| (0..3).map(move |c| (pixel[reversed(c)] * scale - mean[c]) / std[c]))
            .collect();
        let parameter = |name: &str| Some(self.parameters.get(name)?.iter().map(|&value| f64::from(value)).collect());
        let rows = outputs(&self.graph, &parameter, &input, 2);
        let units = rows.len() / 2;
        rows.chunks_exact(units)
            .flat_map(|row| {
                let largest = row.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
                let answer = |&x: &f64| match self.answer {
                    Answer::Probabilities => x,
                    Answer::Sigmoid => 1.0 / (1.0 + (-x).exp()),
                    Answer::Softmax => (x - largest).exp() / sum,
                };
                let row: Vec<f64> = row.iter().map(answer).collect();
                if units == 1 { vec![1.0 - row[0], row[0]] } else { row }
            })
            .collect()
    }
}

/// Writes the network, reads the model back, and compares what both compute.
fn check(graph: &Graph, seed: u64, what: &str) {
    let case = Case::new(of_images(graph), Preprocessing::caffe(), Answer::Probabilities, seed);
    let file = ModelFile::from_bytes(case.write(Precision::F32), Path::new("written.onnx"));
    let network = file.read(&Ask::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_close(&computed(&network, &case.pixels, 2), &case.expected(), 1e-4, what);
}

#[test]
fn every_operator_is_written_and_read_back() {
    for (at, example) in examples().iter().enumerate() {
        check(&example.after_a_convolution(), at as u64, &format!("{example:?}"));
    }
}

#[test]
fn random_networks_are_written_and_read_back() {
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 200, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let networks = (strategy::graphs(12), any::<u64>());
    let run = runner.run(&networks, |(graph, seed)| {
        check(&graph, seed, "a random network");
        Ok(())
    });
    run.expect("every network is read back");
}

/// Classifiers with every way to prepare images and to answer.
fn classifiers() -> Vec<(String, Case)> {
    let mobilenet = networks::mobilenet_v2(32);
    let preprocessings = [
        ("none", Preprocessing::none()),
        ("caffe", Preprocessing::caffe()),
        ("tf", Preprocessing::minus_one_to_one()),
        ("imagenet", Preprocessing::imagenet()),
    ];
    let answers =
        [("softmax", Answer::Softmax, 4), ("sigmoid", Answer::Sigmoid, 1), ("plain", Answer::Probabilities, 2)];
    let mut all = Vec::new();
    for (at, (how, preprocessing)) in preprocessings.into_iter().enumerate() {
        let (answer_name, answer, units) = answers[at % 3];
        let dense = injerto_graph::layers::Dense::new(units);
        let pooling = injerto_graph::layers::GlobalAveragePooling2D::new();
        let layers = vec![
            Layer { name: "pool".to_owned(), operator: pooling.into(), inputs: Vec::new() },
            Layer { name: "probabilities".to_owned(), operator: dense.into(), inputs: vec!["pool".to_owned()] },
        ];
        let end = mobilenet.nodes().iter().rposition(|node| node.shape.image().is_some()).expect("an image");
        let graph = of_rgb(&mobilenet.truncate(end).expect("a layer")).graft("net", layers).expect("fits");
        all.push((format!("{how}_{answer_name}"), Case::new(graph, preprocessing, answer, at as u64)));
    }
    all
}

/// The network, which takes RGB images already.
fn of_rgb(graph: &Graph) -> Graph {
    assert_eq!(graph.input_shape().channels(), 3);
    graph.clone()
}

#[test]
fn classifiers_answer_with_probabilities() {
    for (name, case) in classifiers() {
        let file = ModelFile::from_bytes(case.write(Precision::F32), Path::new("written.onnx"));
        let network = file.read(&Ask::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (found, expected) = (computed(&network, &case.pixels, 2), case.expected());
        assert_close(&found, &expected, 1e-5, &name);
        assert_eq!(network.metadata, [("classes".to_owned(), "[\"cat\",\"dog\"]".to_owned())]);
    }
}

#[test]
fn half_precision_halves_the_file_and_changes_little() {
    let (_, case) = classifiers().remove(0);
    let (whole, half) = (case.write(Precision::F32), case.write(Precision::F16));
    assert!(half.len() * 10 < whole.len() * 6, "{} of {}", half.len(), whole.len());
    let network = ModelFile::from_bytes(half, Path::new("half.onnx")).read(&Ask::default()).expect("a model");
    assert_close(&computed(&network, &case.pixels, 2), &case.expected(), 5e-2, "half precision");
}

#[test]
fn onnx_runtime_computes_what_was_written() {
    let Some(mut python) = python("onnx, onnxruntime, numpy") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = |values: &[f64]| values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect::<Vec<u8>>();
    let put = |name: &str, case: &Case| {
        let place = |ending: &str| folder.path().join(format!("{name}.{ending}"));
        std::fs::write(place("onnx"), case.write(Precision::F32)).expect("written");
        std::fs::write(place("in"), bytes(&case.pixels)).expect("written");
        std::fs::write(place("out"), bytes(&case.expected())).expect("written");
    };
    for (at, example) in examples().iter().enumerate() {
        let graph = of_images(&example.after_a_convolution());
        let case = Case::new(graph, Preprocessing::imagenet(), Answer::Probabilities, at as u64);
        put(&format!("{}_{at}", example.class), &case);
    }
    classifiers().iter().for_each(|(name, case)| put(name, case));
    let output = python.arg(script("onnx_check.py")).arg(folder.path()).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
