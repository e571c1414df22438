//! Small models of PyTorch compute what PyTorch computes, forward and backward: the gradients of a fine-tuning step are PyTorch's.

use std::path::Path;

use injerto_onnx::read::{Ask, Folded, ModelFile, Network};
use injerto_reference::{Pass, evaluate};
use serde_json::Value;

use crate::assert_close;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// Reads a model, and compares its output and the gradients of the image with PyTorch's; if `has_all_parameters`, also those of the parameters.
fn check(model: &[u8], golden: &str, has_all_parameters: bool) -> Network {
    let network = ModelFile::from_bytes(model.to_vec(), Path::new("small.onnx")).read(&Ask::default()).expect("layers");
    let golden: Value = serde_json::from_str(golden).expect("JSON");
    let parameters: Vec<Vec<Vec<f64>>> = (network.graph.nodes().iter())
        .map(|node| {
            let values = |p: &injerto_graph::Parameter| {
                let values = network.parameter(&format!("{}/{}", node.name(), p.name())).expect("it has values");
                values.iter().map(|&value| f64::from(value)).collect()
            };
            node.parameters.iter().map(values).collect()
        })
        .collect();
    let values = evaluate(&network.graph, &parameters, &numbers(&golden["image"]), 2, &Pass::inference());
    assert_close(values.outputs.last().expect("layers"), &numbers(&golden["output"]), 1e-5, "output");
    let gradients = values.backward(&numbers(&golden["slopes"]));
    assert_close(&gradients.input, &numbers(&golden["gradient"]), 1e-5, "gradient of the image");
    if has_all_parameters {
        let sums: Vec<Vec<f64>> = (gradients.parameters.iter())
            .map(|(id, gradient)| {
                let own = &parameters[id.layer()][id.place()];
                vec![own.iter().sum(), gradient.iter().sum(), gradient.iter().map(|x| x * x).sum()]
            })
            .collect();
        let expected: Vec<Vec<f64>> = golden["parameters"].as_array().expect("a list").iter().map(numbers).collect();
        assert_eq!(sums.len(), expected.len(), "every parameter of PyTorch is one here");
        for one in expected {
            let near = |own: &&Vec<f64>| own.iter().zip(&one).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs().max(1.0));
            assert!(sums.iter().any(|own| near(&own)), "no parameter with {one:?} in {sums:?}");
        }
    }
    network
}

macro_rules! golden {
    ($name:literal) => {
        (
            include_bytes!(concat!("../../../../golden/onnx_small_", $name, ".onnx")).as_slice(),
            include_str!(concat!("../../../../golden/onnx_small_", $name, ".json")),
        )
    };
}

#[test]
fn a_convolutional_network_has_pytorchs_gradients() {
    let (model, golden) = golden!("cnn");
    let network = check(model, golden, true);
    assert_eq!((network.folded, network.classes), (Folded::No, Some(3)));
    assert_eq!(network.up_to(&network.features).expect("a layer").graph.output_shape().0, [5]);
}

#[test]
fn folded_normalisations_leave_the_values_as_they_are() {
    let (model, golden) = golden!("cnn_folded");
    assert_eq!(check(model, golden, false).folded, Folded::Surely);
}

#[test]
fn a_transformer_has_pytorchs_gradients() {
    let (model, golden) = golden!("transformer");
    let network = check(model, golden, true);
    let classes: Vec<&str> = network.graph.nodes().iter().map(|node| node.operator().class()).collect();
    for class in ["PrependTokens", "PositionEmbedding", "DotProductAttention", "LayerScale", "LayerNormalization"] {
        assert!(classes.contains(&class), "{class} in {classes:?}");
    }
}

#[test]
fn a_transformer_that_its_exporter_took_apart_is_the_same() {
    let ((model, golden), (whole, _)) = (golden!("transformer_old"), golden!("transformer"));
    let apart = check(model, golden, true);
    let whole = ModelFile::from_bytes(whole.to_vec(), Path::new("small.onnx")).read(&Ask::default()).expect("layers");
    let classes =
        |network: &Network| -> Vec<&str> { network.graph.nodes().iter().map(|node| node.operator().class()).collect() };
    assert_eq!(classes(&apart), classes(&whole));
}
