//! Compares the networks that Keras does not have with those of timm, torchvision and transformers: every tensor of a published file must
//! have a place in the network, and every block must compute the same output.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn_tensor::Device;
use injerto_backbones::network::Network;
use injerto_backbones::weights::Weights;
use injerto_graph::{Description, Format, Source, WeightSet, matches_pattern};
use serde_json::{Value, json};

use crate::golden::{describe, formula_images, numbers};
use crate::published::{check, shape_of, torchvision_file};

fn networks() -> BTreeMap<String, Value> {
    let files = [
        include_str!("../../../../golden/timm_networks.json"),
        include_str!("../../../../golden/transformers_networks.json"),
    ];
    let read = |file: &str| -> BTreeMap<String, Value> { serde_json::from_str(file).expect("golden files are JSON") };
    files.into_iter().flat_map(read).collect()
}

/// The plugin that has a network, and its parameters.
fn plugin(network: &str) -> (&'static str, Value) {
    match network {
        "resnet18" => ("resnet", json!({"depth": 18})),
        "resnet34" => ("resnet", json!({"depth": 34})),
        "densenet121" => ("densenet", json!({"variant": "torch"})),
        "mobilenet_v3_small" => ("mobilenet_v3", json!({"size": "small", "variant": "torch"})),
        "mobilenet_v3_large" => ("mobilenet_v3", json!({"size": "large", "variant": "torch"})),
        "efficientnet-b0" => ("efficientnet", json!({"variant": "transformers"})),
        "efficientnet_v2_s" => ("efficientnet", json!({"size": "v2-s", "variant": "torch"})),
        _ if network.starts_with("efficientnet_") => {
            ("efficientnet", json!({"size": &network["efficientnet_".len()..], "variant": "torch"}))
        }
        _ if network.starts_with("vit") => ("vit", json!({"variant": network})),
        _ => ("convnext", json!({"variant": network})),
    }
}

/// A network's description with further parameters, and its weights from the library that the golden values are from.
fn described(network: &str, more: Value) -> (Description, WeightSet) {
    let (plugin, mut given) = plugin(network);
    let all = given.as_object_mut().expect("a table");
    all.extend(more.as_object().expect("a table").clone());
    let description = describe(plugin, &given);
    let theirs = |set: &&WeightSet| match &set.source {
        Source::Url { url } if matches!(plugin, "vit" | "convnext") => url.contains("huggingface.co/timm/"),
        Source::Url { url } if network == "efficientnet-b0" => url.contains("huggingface.co/google/efficientnet-b0"),
        Source::Url { url } => url.contains(&format!("download.pytorch.org/models/{network}")),
        _ => false,
    };
    let set = description.weights.iter().find(theirs).expect("a set").clone();
    for (key, value) in given.as_object().expect("a table").iter().filter(|(key, _)| plugin_decides(key)) {
        assert_eq!(set.requires.get(key), Some(value), "{network}");
    }
    (description, set)
}

/// Whether weights bring this parameter with them.
fn plugin_decides(key: &str) -> bool {
    matches!(key, "variant" | "depth" | "size")
}

#[test]
fn every_tensor_of_timms_files_has_its_place() {
    for (name, row) in networks() {
        let file: BTreeMap<&str, Vec<usize>> =
            row["tensors"].as_array().expect("a list").iter().map(shape_of).collect();
        let has_top = !name.contains("dinov2");
        for top in if has_top { vec![false, true] } else { vec![false] } {
            let (description, set) = described(&name, json!({"include_top": top}));
            let graph = &description.graph;
            let mut parameters: BTreeMap<String, usize> = BTreeMap::new();
            let mut trainable = 0;
            for node in graph.nodes() {
                let own = node.parameters.iter().map(|p| (format!("{}/{}", node.name(), p.name()), p.count()));
                parameters.extend(own);
                trainable += node.trainable_count();
            }
            for tensor in &set.tensors.names {
                let count = parameters.remove(&tensor.parameter).expect("each parameter once");
                let found = file.get(tensor.tensor.as_str()).map(|shape| shape.iter().product::<usize>());
                assert_eq!(found, Some(count), "{name}: {}", tensor.tensor);
            }
            assert!(parameters.is_empty(), "{name}: {parameters:?}");
            for tensor in file.keys() {
                let named = set.tensors.names.iter().any(|name| name.tensor == *tensor);
                let ignored = set.tensors.ignore.iter().any(|pattern| matches_pattern(pattern, tensor));
                assert!(named != ignored, "{name}: {tensor}");
            }
            if top == has_top {
                assert_eq!(json!(trainable), row["parameters"], "{name}");
            }
        }
    }
}

#[test]
fn every_block_puts_out_what_timms_does() {
    for (name, row) in networks() {
        let Some(outputs) = row["outputs"].as_object() else { continue };
        let [height, width] = [0, 1].map(|axis| numbers(&row["size"])[axis] as usize);
        let (description, set) = described(&name, json!({"input_shape": [height, width]}));
        let graph = Arc::new(description.graph);
        let bytes = torchvision_file(&row["tensors"]);
        let weights = Weights::read_bytes(bytes, &name, Format::Safetensors, &set.tensors, &graph).expect("fits");
        let network = Network::new(graph.clone(), &weights, &Device::flex()).expect("fits");
        let wanted: Vec<usize> = outputs.keys().map(|layer| graph.position(layer).expect("a layer")).collect();
        let images = formula_images(height, width, &description.preprocessing);
        for ((layer, expected), output) in outputs.iter().zip(network.outputs(images, &wanted)) {
            check(&format!("{name}, {layer}"), &output, expected, 1e-4);
        }
    }
}

/// Layers and parameters without the top; timm counts the same parameters.
#[test]
fn networks_have_as_many_layers_and_parameters_as_they_say() {
    let check = |plugin: &str, given: Value, expected: (usize, usize)| {
        let graph = describe(plugin, &given).graph;
        assert_eq!((graph.len(), graph.parameter_count()), expected, "{plugin} {given}");
    };
    check("vit", json!({}), (128, 21_665_664));
    check("vit", json!({"variant": "vit_base_patch16_224"}), (128, 85_798_656));
    check("vit", json!({"variant": "vit_small_patch14_dinov2"}), (152, 22_056_192));
    check("vit", json!({"variant": "vit_base_patch14_dinov2"}), (152, 86_579_712));
    check("convnext", json!({}), (137, 27_820_128));
    check("densenet", json!({}), (427, 7_037_504));
    check("mobilenet_v3", json!({"size": "small"}), (157, 939_120));
    check("mobilenet_v3", json!({"size": "large"}), (187, 2_996_352));
}
