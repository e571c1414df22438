//! Weight files as users have them, and the parameters that each sets for its backbone.

use std::path::{Path, PathBuf};

use injerto_backbones::plugin::Catalog;
use injerto_backbones::resolve::{Ask, Resolved};
use injerto_backbones::weights::{BackboneCard, Cache, Precision, WeightFile, Weights};
use injerto_graph::{Format, Graph, Layout, Preprocessing, Role, TensorMap, WeightSet};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

use crate::golden::describe;
use crate::{probe, workspace_plugins};

/// A request with defaults for everything else.
pub(crate) fn ask<'a>(backbone: &'a str, parameters: &'a Map<String, Value>, weights: &'a str) -> Ask<'a> {
    Ask { backbone, parameters, image_size: None, last_layer: None, preprocessing: None, weights, seed: 0 }
}

/// MobileNetV2 with a third of its width, and a folder for files.
struct Bench {
    folder: tempfile::TempDir,
    catalog: Catalog,
    graph: Graph,
    weights: Weights,
}

const SMALL: &str = r#"{"input_shape": [32, 32], "alpha": 0.35}"#;

fn small() -> Map<String, Value> {
    serde_json::from_str(SMALL).expect("a table")
}

/// Tensors of a file.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

impl Bench {
    fn new() -> Self {
        let graph = describe("mobilenet_v2", &Value::Object(small())).graph;
        let weights = Weights::initialise(&graph, 3).expect("a little memory");
        let catalog = Catalog::scan(workspace_plugins(), probe());
        Self { folder: tempfile::tempdir().expect("a folder"), catalog, graph, weights }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The tensors with torchvision's names and PyTorch's axes.
    fn torch(&self) -> Tensors {
        self.named("imagenet-torchvision")
    }

    /// The tensors under the names of a set and in PyTorch's axes.
    fn named(&self, id: &str) -> Tensors {
        let set = set(id);
        let roles = |parameter: &str| {
            let (layer, name) = parameter.split_once('/').expect("a layer and a parameter");
            let node = &self.graph.nodes()[self.graph.position(layer).expect("a layer")];
            node.parameters.iter().find(|own| own.name() == name).expect("a parameter").role
        };
        let tensor = |name: &injerto_graph::TensorName| {
            let values = self.weights.get(&name.parameter).expect("there");
            let (shape, data) = to_torch(roles(&name.parameter), &values.shape, &values.data);
            (name.tensor.clone(), shape, data)
        };
        set.tensors.names.iter().map(tensor).collect()
    }

    fn resolve_with(&mut self, file: &str, given: Value) -> Result<Resolved, String> {
        let path = self.path(file).display().to_string();
        let mut parameters = small();
        parameters.extend(given.as_object().expect("a table").clone());
        self.catalog.resolve(&ask("mobilenet_v2", &parameters, &path)).map_err(|error| error.to_string())
    }

    fn resolve(&mut self, file: &str) -> Resolved {
        self.resolve_with(file, json!({})).expect("it fits")
    }

    /// Checks that the file gives these weights, and sets the variant that it needs.
    #[track_caller]
    fn gives(&mut self, file: &str, variant: &str) {
        let resolved = self.resolve(file);
        assert_eq!(resolved.name.parameters["variant"], variant, "{file}");
        let weights = resolved.weights(&self.catalog, &Cache::new("nowhere")).expect("readable");
        assert!(weights == self.weights, "{file}: other weights");
    }
}

fn set(id: &str) -> WeightSet {
    let sets = describe("mobilenet_v2", &json!({})).weights;
    sets.into_iter().find(|set| set.id == id).expect("a set")
}

/// The same values in PyTorch's axes.
fn to_torch(role: Role, shape: &[usize], data: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let (field, inner, outer, shape) = match (role, shape) {
        (Role::ConvolutionKernel, &[h, w, i, o]) => (h * w, i, o, vec![o, i, h, w]),
        (Role::DepthwiseKernel, &[h, w, c, m]) => (h * w, 1, c * m, vec![c * m, 1, h, w]),
        _ => return (shape.to_vec(), data.to_vec()),
    };
    let place = |o: usize, i: usize, f: usize| (f * inner + i) * outer + o;
    let values = (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i)));
    let values = values.flat_map(|(o, i)| (0..field).map(move |f| (o, i, f)));
    (shape, values.map(|(o, i, f)| data[place(o, i, f)]).collect())
}

/// Writes a safetensors file as other programs do, without metadata.
fn write(path: &Path, tensors: &Tensors) {
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let raw: Vec<_> = tensors.iter().map(|(name, shape, values)| (name, shape, bytes(values))).collect();
    let views = raw.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("bytes fill the shape"))
    });
    std::fs::write(path, safetensors::serialize(views, None).expect("sound")).expect("written");
}

fn tensor(name: &str, shape: &[usize]) -> (String, Vec<usize>, Vec<f32>) {
    (name.to_owned(), shape.to_vec(), vec![0.5; shape.iter().product()])
}

#[test]
fn tensors_with_pytorchs_names_bring_what_pytorch_did() {
    let mut bench = Bench::new();
    write(&bench.path("torch.safetensors"), &bench.torch());
    bench.gives("torch.safetensors", "torch");
    let resolved = bench.resolve("torch.safetensors");
    assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
    assert_eq!(resolved.description.preprocessing.mean, Preprocessing::imagenet().mean);
    let origin = resolved.origin.to_string();
    assert!(origin.contains("the names of 'imagenet-torchvision', which need variant = \"torch\""), "{origin}");
    // A parameter that contradicts the file is an error; a parameter that agrees with it is not.
    bench.resolve_with("torch.safetensors", json!({"variant": "torch"})).expect("it is");
    let error = bench.resolve_with("torch.safetensors", json!({"variant": "keras"})).expect_err("it is not");
    assert!(error.contains("need backbone.parameters.variant = \"torch\", but it is set to \"keras\""), "{error}");
    let error = bench.resolve_with("torch.safetensors", json!({"alpha": 0.5})).expect_err("another width");
    assert!(
        error.contains("of another shape: features.18.0.weight is [1280, 112, 1, 1], expected [1280, 160, 1, 1]"),
        "{error}"
    );
}

#[test]
fn wrappers_and_what_lies_beside_the_weights_are_no_hindrance() {
    let mut bench = Bench::new();
    let plain = bench.torch();
    let prefixes =
        ["module.", "model.", "_orig_mod.module.", "state_dict.", "state.", "checkpoint.model.backbone.", "0."];
    for prefix in prefixes {
        let mut tensors: Tensors =
            plain.iter().map(|(name, shape, data)| (format!("{prefix}{name}"), shape.clone(), data.clone())).collect();
        tensors.push(tensor("optimizer.state.0.exp_avg", &[4, 3]));
        tensors.push(tensor(&format!("{prefix}classifier.1.weight"), &[5, 1280]));
        tensors.push(tensor("head.weight", &[5, 1280]));
        write(&bench.path("wrapped.bin"), &tensors);
        bench.gives("wrapped.bin", "torch");
    }
    // `model.features` alone.
    let alone: Tensors = plain
        .iter()
        .map(|(name, shape, data)| (name.trim_start_matches("features.").to_owned(), shape.clone(), data.clone()))
        .collect();
    write(&bench.path("features"), &alone);
    bench.gives("features", "torch");
}

#[test]
fn names_of_timm_and_transformers_bring_their_variant() {
    let mut bench = Bench::new();
    for (id, variant) in [("imagenet-timm", "torch"), ("imagenet-huggingface", "keras")] {
        let mut tensors = bench.named(id);
        // These libraries also save a classifier and a counter.
        tensors.push(tensor("classifier.weight", &[5, 1280]));
        tensors.push(tensor("num_batches_tracked", &[]));
        write(&bench.path("model.safetensors"), &tensors);
        bench.gives("model.safetensors", variant);
    }
    // The bare model of transformers has no prefix.
    let bare = bench
        .named("imagenet-huggingface")
        .into_iter()
        .map(|(name, shape, values)| (name.trim_start_matches("mobilenet_v2.").to_owned(), shape, values));
    write(&bench.path("bare.safetensors"), &bare.collect());
    bench.gives("bare.safetensors", "keras");
}

/// A file of tensors that hold nothing but zeros, which takes no room on most disks.
fn write_zeros(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in tensors {
        let begin = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}));
    }
    let header = Value::Object(header).to_string().into_bytes();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], &header].concat();
    let length = bytes.len() + end;
    std::fs::write(path, bytes).expect("written");
    std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(length as u64)).expect("room");
}

#[test]
fn a_file_of_another_depth_or_size_brings_the_parameter_that_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let mut catalog = Catalog::scan(workspace_plugins(), probe());
    let mut check = |plugin: &str, id: &str, key: &str, needed: Value| {
        let set = describe(plugin, &json!({})).weights.into_iter().find(|set| set.id == id).expect("a set");
        let graph = describe(plugin, &Value::Object(set.requires.clone())).graph;
        let shape_of = |parameter: &str| {
            let (layer, name) = parameter.split_once('/').expect("a layer and a parameter");
            let node = &graph.nodes()[graph.position(layer).expect("a layer")];
            let own = node.parameters.iter().find(|own| own.name() == name).expect("a parameter");
            to_torch(own.role, &own.shape, &vec![0.0; own.count()]).0
        };
        let tensors: Vec<_> =
            set.tensors.names.iter().map(|name| (name.tensor.clone(), shape_of(&name.parameter))).collect();
        write_zeros(&path, &tensors);
        let file = path.display().to_string();
        let resolved = catalog.resolve(&ask(plugin, &Map::new(), &file)).expect("it fits");
        assert_eq!(resolved.name.parameters[key], needed, "{id}");
        // If the user set the parameter to another value, the error names it.
        let given = Map::from_iter([(key.to_owned(), json!(if key == "depth" { json!(50) } else { json!("torch") }))]);
        let error = catalog.resolve(&ask(plugin, &given, &file)).expect_err("it does not fit").to_string();
        let said = format!("need backbone.parameters.{key} = {needed}, but it is set to {}", given[key]);
        assert!(error.contains(&said), "{error}");
    };
    check("resnet", "imagenet-torchvision-101", "depth", json!(101));
    check("resnet", "imagenet-huggingface-152", "depth", json!(152));
    check("efficientnet", "imagenet-lite0", "variant", json!("lite0"));
    check("efficientnet", "imagenet-timm-lite0", "variant", json!("lite0"));
    check("efficientnet", "imagenet-huggingface", "variant", json!("transformers"));
}

#[test]
fn the_same_weights_twice_are_told() {
    let mut bench = Bench::new();
    let mut tensors = Tensors::new();
    for (name, shape, data) in bench.torch() {
        tensors.push((format!("model_ema.{name}"), shape.clone(), vec![9.0; data.len()]));
        tensors.push((format!("optimizer.exp_avg.{name}"), shape.clone(), vec![9.0; data.len()]));
        tensors.push((format!("state_dict.{name}"), shape, data));
    }
    write(&bench.path("twice.ckpt"), &tensors);
    bench.gives("twice.ckpt", "torch");
    let warnings = bench.resolve("twice.ckpt").warnings.join("\n");
    assert!(warnings.contains("under 'state_dict.' and 'model_ema.'"), "{warnings}");
    assert!(!warnings.contains("exp_avg"), "the state of an optimiser is not a copy of the weights: {warnings}");
}

#[test]
fn the_tensor_at_fault_is_the_one_that_is_named() {
    let mut bench = Bench::new();
    let mut check = |change: &dyn Fn(&mut Tensors), parts: &[&str]| {
        let mut tensors = bench.torch();
        change(&mut tensors);
        write(&bench.path("bad.safetensors"), &tensors);
        let resolved = bench.resolve_with("bad.safetensors", json!({}));
        let error = resolved.and_then(|resolved| {
            resolved.weights(&bench.catalog, &Cache::new("nowhere")).map_err(|error| error.to_string())
        });
        let error = error.expect_err("it does not fit");
        parts.iter().for_each(|part| assert!(error.contains(part), "no {part:?} in {error}"));
        assert!(error.lines().count() <= 2, "one thing is wrong: {error}");
    };
    let at = |tensors: &Tensors, name: &str| tensors.iter().position(|(own, _, _)| own == name).expect("there");
    check(
        &|tensors| drop(tensors.remove(at(tensors, "features.3.conv.1.1.bias"))),
        &["1 missing: features.3.conv.1.1.bias (for block_2_depthwise_BN/beta) ["],
    );
    check(
        &|tensors| {
            let at = at(tensors, "features.0.0.weight");
            tensors[at] = tensor("features.0.0.weight", &[16, 1, 3, 3]);
        },
        &["1 of another shape: features.0.0.weight is [16, 1, 3, 3], expected [16, 3, 3, 3]"],
    );
    check(
        &|tensors| {
            let at = at(tensors, "features.0.1.bias");
            tensors[at].2[0] = f32::NAN;
        },
        &["tensor 'features.0.1.bias' holds values that are infinite or not a number"],
    );
    // A file of a network with more blocks does not fit.
    check(&|tensors| tensors.push(tensor("features.19.0.weight", &[8, 1280, 1, 1])), &["1 not needed: features.19.0"]);
}

#[test]
fn shapes_alone_do_not_tell_a_variant_and_that_is_said() {
    let mut bench = Bench::new();
    let tensors = bench
        .weights
        .iter()
        .map(|(name, values)| (name.to_owned(), values.shape.clone(), values.data.clone()))
        .collect();
    write(&bench.path("plain.safetensors"), &tensors);
    bench.gives("plain.safetensors", "keras");
    let warnings = bench.resolve("plain.safetensors").warnings.join("\n");
    let said = "the default, backbone.parameters = { variant = \"keras\" }, is used; { variant = \"torch\" } would fit";
    assert!(warnings.contains(said), "{warnings}");
    // There is no warning if the user gives the parameter.
    for variant in ["keras", "torch"] {
        let resolved = bench.resolve_with("plain.safetensors", json!({"variant": variant})).expect("it fits");
        assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
    }
}

#[test]
fn files_of_this_program_say_what_they_are() {
    let mut bench = Bench::new();
    let torch = json!({"input_shape": [64, 64], "alpha": 0.35, "variant": "torch"});
    let description = describe("mobilenet_v2", &torch);
    let parameters = torch.as_object().expect("a table").clone();
    let name = bench.catalog.resolve(&ask("mobilenet_v2", &parameters, "none")).expect("described").name;
    let card = BackboneCard {
        backbone: Some(name),
        graph: description.graph.clone(),
        preprocessing: Preprocessing::zero_to_one(),
    };
    let save = |card: &BackboneCard, file: &str| {
        let weights = bench.weights.clone().restricted_to(&card.graph);
        weights.save(&bench.path(file), &card.metadata(), Precision::F32).expect("written");
    };
    save(&card, "own.safetensors");
    // Old files, which do not contain the name, show the variant in their layers.
    save(&BackboneCard { backbone: None, ..card.clone() }, "old.safetensors");
    let mixed = card.graph.truncate(card.graph.position("block_5_add").expect("a layer")).expect("a graph");
    save(&BackboneCard { graph: mixed, ..card.clone() }, "cut.safetensors");
    for file in ["own.safetensors", "old.safetensors"] {
        bench.gives(file, "torch");
        let resolved = bench.resolve(file);
        assert_eq!(resolved.description.preprocessing, card.preprocessing, "{file}");
        assert!(resolved.is_certain && resolved.warnings.is_empty(), "{file}: {:?}", resolved.warnings);
        let error = bench.resolve_with(file, json!({"variant": "keras"})).expect_err("it is not");
        assert!(error.contains("need backbone.parameters.variant = \"torch\""), "{file}: {error}");
    }
    // A file with a part of the layers is enough for that part.
    let error = bench.resolve_with("cut.safetensors", json!({})).expect_err("a part");
    assert!(error.ends_with("set backbone.last_layer = \"block_5_add\""), "{error}");
    let (path, parameters) = (bench.path("cut.safetensors").display().to_string(), small());
    let part = Ask { last_layer: Some("block_5_add"), ..ask("mobilenet_v2", &parameters, &path) };
    let resolved = bench.catalog.resolve(&part).expect("it fits");
    assert_eq!(resolved.name.parameters["variant"], "torch");
    // Another scaling may be asked for, and gives a warning.
    let scaled = Preprocessing::caffe();
    let resolved = bench.catalog.resolve(&Ask { preprocessing: Some(&scaled), ..part }).expect("it fits");
    assert!(resolved.warnings.join("\n").contains("another scaling of the pixels"), "{:?}", resolved.warnings);
    assert_eq!(resolved.description.preprocessing.mean, scaled.mean);
    // This is a file of another backbone.
    let parameters = Map::from_iter([("input_shape".to_owned(), json!([32, 32]))]);
    let error = bench.catalog.resolve(&ask("small_cnn", &parameters, &path)).expect_err("another").to_string();
    assert!(error.ends_with("it holds weights of 'mobilenet_v2'; set backbone.plugin = \"mobilenet_v2\""), "{error}");
}

#[test]
fn a_published_file_is_that_set_wherever_it_lies() {
    let mut bench = Bench::new();
    let found = bench.catalog.find("small_cnn").expect("built");
    let bytes = bench.catalog.weights(&found, "shapes", &serde_json::Map::new()).expect("carried");
    std::fs::write(bench.path("renamed.tmp"), bytes).expect("written");
    let path = bench.path("renamed.tmp").display().to_string();
    let parameters = Map::from_iter([("input_shape".to_owned(), json!([32, 32]))]);
    let resolved = bench.catalog.resolve(&ask("small_cnn", &parameters, &path)).expect("known");
    assert_eq!(resolved.name.parameters["filters"], json!([16, 32, 64]));
    assert!(resolved.origin.to_string().contains("the file of 'shapes', "), "{}", resolved.origin);
    assert!(resolved.is_certain);
}

#[test]
fn a_file_that_is_gone_is_said_to_be_no_file() {
    let mut bench = Bench::new();
    let path = bench.path("gone.h5").display().to_string();
    let error = bench.catalog.resolve(&ask("mobilenet_v2", &small(), &path)).expect_err("gone").to_string();
    assert!(error.starts_with(&format!("no weights '{path}' for this backbone: it is not a file")), "{error}");
}

#[test]
fn an_experiment_in_place_of_a_checkpoint_is_said_to_be_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("first.toml");
    std::fs::write(&path, "name = \"first\"\n[data]\nroot = \"photos\"\n").expect("written");
    let error = WeightFile::open_as(&path, Format::Safetensors).expect_err("no weights").to_string();
    assert!(error.ends_with("it is an experiment; name the folder of its run, or a checkpoint"), "{error}");
}

#[test]
fn what_is_no_file_of_weights_is_said_to_be_what_it_is() {
    let mut bench = Bench::new();
    let mut check = |bytes: &[u8], part: &str| {
        std::fs::write(bench.path("w.safetensors"), bytes).expect("written");
        let error = bench.resolve_with("w.safetensors", json!({})).expect_err("no weights");
        assert!(error.contains(part), "no {part:?} in {error}");
    };
    check(b"", "is not a file of weights: it is empty");
    check(b"<!doctype html>", "it is a web page");
    check(b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer");
    check(b"\x1f\x8b\x08\x00", "it is compressed by gzip; unpack it first");
    check(b"Entry not found", "it is a text, \"Entry not found\", not the file itself; download the file");
    check(b"{\"error\": \"Repository not found\"}\n", "it is a text, \"{");
    check(&[7; 100], "it is none of safetensors, a PyTorch file, Keras HDF5 and .keras");
    let mut tar = vec![0; 1024];
    tar[..9].copy_from_slice(b"model.pth");
    tar[257..262].copy_from_slice(b"ustar");
    check(&tar, "it is a tar archive of other files; unpack it first");
    check(&zip(&["model.pth"]), "it is an archive of other files; unpack it first");
    check(&zip(&["kernel.npy"]), "it holds NumPy's arrays");
    check(&zip(&["net/data.pkl", "net/constants.pkl"]), "it is a TorchScript program");
    let whole = zip(&["net/data.pkl", "net/data/0"]);
    check(&whole[..whole.len() / 2], "it is an archive that is damaged or cut short");
    let error = bench.resolve_with(".", json!({})).expect_err("a folder");
    assert!(error.ends_with("is not a file of weights: it is a folder"), "{error}");
    let mut holds = |tensors: &Tensors, part: &str| {
        write(&bench.path("w.safetensors"), tensors);
        let error = bench.resolve_with("w.safetensors", json!({})).expect_err("no weights");
        assert!(error.contains(part), "no {part:?} in {error}");
    };
    holds(&Tensors::new(), "it holds no tensors");
    holds(&vec![tensor("state.0.exp_avg", &[3])], "it holds the state of an optimiser alone");
    let whole = std::fs::read(bench.path("w.safetensors")).expect("written");
    let mut check = |bytes: &[u8], part: &str| {
        std::fs::write(bench.path("w.safetensors"), bytes).expect("written");
        let error = bench.resolve_with("w.safetensors", json!({})).expect_err("another length");
        assert!(error.contains(part), "no {part:?} in {error}");
    };
    check(&whole[..whole.len() - 5], "it is cut short: 7 of 12 bytes are there; fetch or copy it again");
    check(&[&whole[..], b"\n"].concat(), "more bytes follow its last tensor (1): it was changed");
}

/// An archive of empty files with these names.
fn zip(names: &[&str]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in names {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).expect("begun");
    }
    archive.finish().expect("finished").into_inner()
}

#[test]
fn weights_in_several_files_are_read_by_their_index() {
    let mut bench = Bench::new();
    let mut first = bench.torch();
    let second = first.split_off(first.len() / 2);
    let files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut places = serde_json::Map::new();
    for (file, tensors) in files.iter().zip([&first, &second]) {
        write(&bench.path(file), tensors);
        places.extend(tensors.iter().map(|(name, _, _)| (name.clone(), json!(file))));
    }
    let index = bench.path("model.safetensors.index.json");
    std::fs::write(&index, json!({ "metadata": {}, "weight_map": places }).to_string()).expect("written");
    bench.gives("model.safetensors.index.json", "torch");
    let mut refused = |place: &str, part: &str| {
        std::fs::write(&index, json!({ "weight_map": { "x": place } }).to_string()).expect("written");
        let error = bench.resolve_with("model.safetensors.index.json", json!({})).expect_err("refused");
        assert!(error.contains(part), "no {part:?} in {error}");
    };
    refused("gone.safetensors", "gone.safetensors");
    refused("../other.safetensors", "it is an index whose file '../other.safetensors' is not beside it");
    // An index that names itself ends all the same.
    refused("model.safetensors.index.json", "it is a text, ");
}

#[test]
fn a_table_without_names_may_be_in_pytorchs_axes() {
    let mut bench = Bench::new();
    let torch = bench.torch();
    let map: TensorMap = set("imagenet-torchvision").tensors;
    assert_eq!(map.layout, Layout::Torch);
    let named = |(name, shape, data): (String, Vec<usize>, Vec<f32>)| {
        let own = map.names.iter().find(|own| own.tensor == name).expect("named").parameter.clone();
        (own, shape, data)
    };
    write(&bench.path("axes.safetensors"), &torch.into_iter().map(named).collect());
    bench.gives("axes.safetensors", "keras");
}
