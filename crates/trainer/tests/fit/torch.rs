//! Steps on the layers of published networks, read from ONNX models, change the weights as PyTorch does.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use burn_tensor::Device;
use injerto_backbones::weights::Weights;
use injerto_data::decode::{Orientation, Rgb};
use injerto_data::{Dataset, Loader, LoaderOptions, Sample};
use injerto_graph::{FreezePlan, Interpolation, LayerRef, Preprocessing, Selection};
use injerto_onnx::read::{Ask, ModelFile, Network};
use injerto_recipe::{Adam, Loss, OptimizerConfig, Rule, Sgd};
use injerto_trainer::{Fit, Model, ModelCard, Phase, Watch};

use crate::{plans, settings};

/// Steps, each of which sees all images.
const STEPS: usize = 2;

/// Writes models before and after steps in PyTorch into a new folder; `None` if there is no Python with PyTorch.
fn written_by_pytorch(wanted: &[String]) -> Option<tempfile::TempDir> {
    let python = std::env::var_os("INJERTO_PYTHON").unwrap_or_else(|| "python3".into());
    let imports = ["-c", "import torch, torchvision, timm, onnx, onnxruntime, onnxscript"];
    if !Command::new(&python).args(imports).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no Python with torch, torchvision, timm, onnx, onnxruntime and onnxscript");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/onnx_steps.py");
    let output = Command::new(python).arg(script).arg(folder.path()).args(wanted).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(folder)
}

fn read(folder: &Path, name: &str) -> Network {
    let file = ModelFile::open(&folder.join(format!("{name}.onnx"))).expect("a file");
    file.read(&Ask::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The images of a model, image i of class i of ten.
fn loader(folder: &Path, name: &str, size: [usize; 2]) -> Loader {
    let bytes = std::fs::read(folder.join(format!("{name}.pixels"))).expect("pixels");
    let [height, width] = size;
    let image = |pixels: &[u8]| Rgb { height, width, pixels: pixels.to_vec() };
    let images = bytes.chunks_exact(height * width * 3).map(image);
    let samples: Vec<Sample> = images.zip(0..10_u32).map(|(image, class)| Sample::new(image, class)).collect();
    let batch = samples.len();
    let classes = (0..10).map(|class| class.to_string()).collect();
    Loader::new(Dataset { classes, samples }, LoaderOptions::new(size, batch))
}

/// Trains a network from the first layer on whose name begins with `first`.
fn trained(folder: &Path, name: &str, first: &str, optimizer: OptimizerConfig, kernels: bool) -> (Network, Weights) {
    let network = read(folder, name);
    let graph = network.graph.clone();
    let mut weights = Weights::default();
    for tensor in &network.weights {
        weights.insert(tensor.name.clone(), tensor.shape.clone(), tensor.values.clone());
    }
    let loader = loader(folder, name, graph.image_size().expect("images"));
    let card = ModelCard {
        backbone: None,
        backbone_layers: graph.len() - 1,
        preprocessing: Preprocessing::minus_one_to_one(),
        crop_to_aspect_ratio: false,
        interpolation: Interpolation::Bilinear,
        exif_orientation: Orientation::Ignore,
        scaled_decoding: false,
        classes: (0..10).map(|class| class.to_string()).collect(),
        loss: Loss::SparseCategoricalCrossentropy { from_logits: true },
        thresholds: None,
        graph,
    };
    let graph = &card.graph;
    let begin = graph.nodes().iter().position(|node| node.name().starts_with(first)).expect("a layer");
    let plan = FreezePlan::new(graph, &Selection::FromLayer(LayerRef::Index(begin))).expect("fits");
    let phases = [Phase::new("steps", STEPS, plan, optimizer)];
    let mut model = Model::new(card, &weights, &Device::flex()).expect("fits");
    let mut settings = settings(1 << 24);
    settings.kernels = kernels;
    settings.best = injerto_trainer::history::Best::new(injerto_recipe::Metric::Loss, injerto_recipe::Mode::Auto);
    let plans = plans(&phases, &model, (&loader, None), None, &settings);
    let fit = Fit { train: loader, validation: None, plans, settings, checkpoints: None };
    let stop = AtomicBool::new(false);
    fit.run(&mut model, None, &mut Watch { observer: &mut (), stop: &stop }).expect("trains");
    (network, model.network.weights())
}

/// Asserts that every parameter has changed as in PyTorch, within three roundings: 1/1000 of the largest change of the parameter, which is
/// what sums of gradients in another order may cost; two units in the last place of the parameter, because a sum of a large parameter
/// and a small step is rounded (PyTorch in single and in double precision differ by one); and 1/100,000 of the largest change of any
/// parameter, because some have no gradient but what rounding leaves (the bias of an attention's keys).
fn assert_same_steps(name: &str, before: &Network, found: &Weights, after: &Network) {
    let names =
        |network: &Network| -> Vec<String> { network.weights.iter().map(|tensor| tensor.name.clone()).collect() };
    assert_eq!(names(before), names(after), "{name}: a parameter is one before training as after it");
    let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let of = |tensor: &injerto_onnx::read::Tensor| {
        let theirs = after.parameter(&tensor.name).unwrap_or_else(|| panic!("{name}: no {}", tensor.name));
        let ours = &found.get(&tensor.name).expect("the same network").data;
        (
            largest(&tensor.values, theirs),
            largest(ours, theirs),
            tensor.values.iter().fold(0.0, |most, x| x.abs().max(most)),
        )
    };
    let all: Vec<_> = before.weights.iter().map(of).collect();
    let most = all.iter().map(|(change, ..)| *change).fold(0.0, f32::max);
    let changed = all.iter().filter(|(change, ..)| *change > 0.0).count();
    assert!(most > 1e-3 && changed > 4 && changed < all.len(), "{name}: {changed} of {} changed, by {most}", all.len());
    let mut faults = Vec::new();
    for (tensor, (change, difference, size)) in before.weights.iter().zip(&all) {
        let allowed = 1e-3 * change + 1e-5 * most + 2.0 * f32::EPSILON * size;
        // What is frozen does not change at all.
        let allowed = if *change > 0.0 { allowed } else { 0.0 };
        if *difference > allowed {
            faults.push(format!(
                "{}: differs by {difference:.1e} where PyTorch changes it by {change:.1e} and {allowed:.1e} is allowed",
                tensor.name
            ));
        }
    }
    assert!(faults.is_empty(), "{name}, {} of {} parameters:\n{}", faults.len(), all.len(), faults.join("\n"));
}

/// A network, of which the parameters of some layers train.
struct Steps {
    /// Its name in torchvision or timm.
    name: &'static str,
    /// The module from which on parameters train, and the seed of the images (`golden/onnx_steps.py` says what they must fulfil).
    from: &'static str,
    /// The beginning of the names of the layers of that module.
    first: &'static str,
    /// Whether the layers run on the project's kernels, on Burn's operators, or once on each.
    kernels: &'static [bool],
}

/// Both kinds of executors.
const BOTH: &[bool] = &[true, false];

/// Asserts that steps of SGD with momentum and of Adam change the weights as in PyTorch.
fn check(all: &[Steps]) {
    let wanted: Vec<String> = all.iter().map(|steps| format!("{}={}", steps.name, steps.from)).collect();
    let Some(folder) = written_by_pytorch(&wanted) else { return };
    let sgd = Rule::Sgd(Sgd { learning_rate: 0.02, momentum: 0.9, nesterov: false });
    // With Keras's epsilon of 1e-7, a gradient that is nothing but rounding becomes a step of full length.
    let adam = Rule::Adam(Adam { learning_rate: 0.002, epsilon: 1e-4, ..Adam::default() });
    for Steps { name, first, kernels, .. } in all {
        for (rule, suffix) in [(&sgd, "sgd"), (&adam, "adam")] {
            let after = read(folder.path(), &format!("{name}_{suffix}"));
            for &kernels in *kernels {
                let (before, found) = trained(folder.path(), name, first, (*rule).into(), kernels);
                assert_same_steps(&format!("{name}, {suffix}, kernels = {kernels}"), &before, &found, &after);
            }
        }
    }
}

#[test]
fn steps_on_convolutional_networks_are_pytorchs() {
    let steps = |name, from, first| Steps { name, from, first, kernels: &[true] };
    check(&[
        steps("resnet18", "layer4:41", "/layer4/"),
        steps("densenet121", "features.denseblock4.denselayer13:30", "/features/denseblock4/denselayer13/"),
        steps("shufflenet_v2_x1_0", "conv5:5", "/conv5/"),
        steps("regnet_y_400mf", "trunk_output.block4.block4-4:5", "/trunk_output/block4/block4-4/"),
        steps("efficientnet_b0", "features.1:5", "/features/features.1/"),
        Steps { kernels: BOTH, ..steps("mobilenet_v3_small", "features.7:5", "/features/features.7/") },
    ]);
}

#[test]
fn steps_on_transformers_and_convnexts_are_pytorchs() {
    check(&[
        Steps { name: "convnext_tiny", from: "features.5:5", first: "/features/features.5/", kernels: &[true] },
        Steps { name: "vit_small_patch16_224", from: "blocks.9:5", first: "/blocks/blocks.9/", kernels: BOTH },
    ]);
}
