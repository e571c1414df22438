//! Published weights on real photos, compared with Keras and PyTorch; and the examples.

#[path = "../examples/in_memory.rs"]
mod in_memory;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn_tensor::Device;
use injerto_backbones::network::{Network, to_input};
use injerto_backbones::plugin::{Catalog, Probe, SearchPath};
use injerto_backbones::resolve::Ask;
use injerto_backbones::weights::Cache;
use injerto_config::{self as config, Config, Precision};
use injerto_data::Origin;
use injerto_data::decode::{Orientation, decode};
use injerto_data::resize::{Interpolation, resize};
use injerto_experiment::{Classifier, ExperimentError, Extractor, Prepared, evaluate};
use injerto_trainer::{Multiplied, Watch};
use serde_json::{Map, Value, json};

/// The standard backbones, which are linked into this program, so that no child process is asked.
fn catalog() -> Catalog {
    let path = SearchPath::default().with_linked(injerto_standard::PLUGINS);
    Catalog::scan(path, Probe::this_program().expect("this program"))
}

/// A file or folder of `../shared`. If it is missing, the test is skipped with a message; in CI it must exist.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    missing(&format!("{} is missing", path.display()))
}

/// Prints that a test is skipped; in CI it fails instead.
fn missing<T>(what: &str) -> Option<T> {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
    eprintln!("skipped: {what}");
    None
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

/// The features of images from anywhere are those that an experiment with the same backbone trains its head on.
#[test]
fn an_extractor_gives_the_features_that_an_experiment_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut catalog, cache) = (catalog(), Cache::new(folder.path()));
    let config = || {
        let text = include_str!("../examples/tiny.toml");
        Config::parse(text, Path::new("tiny.toml"), &[]).expect("valid")
    };
    let prepared = Prepared::new(config(), &mut catalog, &cache).expect("it fits");
    let device = injerto_experiment::device(config().device).expect("the CPU");
    let mut watch = Watch { observer: &mut (), stop: &AtomicBool::new(false) };
    let table = prepared.features(&device, &mut watch).expect("features").expect("not stopped");

    let extractor = Extractor::new(&config(), &mut catalog, &cache).expect("it fits");
    assert_eq!((extractor.width(), extractor.image_size(), extractor.origin()), (8, [32, 32], "fresh"));
    let images = |count| {
        let samples = prepared.train.samples.iter().chain(&prepared.validation.as_ref().expect("held out").samples);
        samples.map(|sample| sample.origin.clone()).take(count).collect::<Vec<Origin>>()
    };
    // The batches of an experiment have eight images, and those of an extractor more.
    let rows: Vec<_> = extractor.extract(images(usize::MAX)).map(|row| row.expect("readable")).collect();
    assert_eq!(rows.len(), 80);
    assert!(rows.iter().map(Vec::as_slice).eq(table.features().rows()), "the same numbers, bit for bit");

    let mut with_one_that_is_none = images(2);
    with_one_that_is_none.insert(1, b"no image".to_vec().into());
    let found: Vec<_> = extractor.extract(with_one_that_is_none).collect();
    assert_eq!(found[2].as_ref().expect("readable"), &rows[1]);
    let error = found[1].as_ref().expect_err("no image").to_string();
    assert!(error.contains("8 bytes in memory"), "{error}");
}

/// The example `in_memory`: an image gives the same answer as bytes and as pixels, from any thread, and bytes that are not an
/// image give an error in their place among the answers.
#[test]
fn a_training_and_its_network_can_be_handed_from_thread_to_thread() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = in_memory::train_and_predict(&mut catalog(), folder.path()).expect("it trains and predicts");
    assert_eq!(said.len(), 6 * 3, "{said:?}");
    for forms in said.chunks_exact(3) {
        assert!(forms[0].ends_with(" %") && forms[0] == forms[1], "{said:?}");
        assert!(forms[2].starts_with("an image of 8 bytes in memory: not a readable image"), "{said:?}");
    }
}

#[test]
fn inception_v3_sees_in_photos_what_keras_sees() {
    let (Some(file), Some(photos)) = (shared("data/inception_v3_keras_f16.safetensors"), shared("data/flower_photos"))
    else {
        return;
    };
    let mut catalog = catalog();
    let ask = Ask {
        backbone: "inception_v3",
        parameters: &Map::new(),
        image_size: Some([224, 224]),
        last_layer: None,
        preprocessing: None,
        weights: file.to_str().expect("a path"),
        seed: 0,
    };
    let resolved = catalog.resolve(&ask).expect("a file");
    let weights = resolved.weights(&catalog, &Cache::new("nowhere")).expect("fits");
    let description = resolved.description;
    let graph = Arc::new(description.graph);
    assert_eq!(weights.count(), 21_802_784);
    let network = Network::new(graph.clone(), &weights, &Device::flex()).expect("fits");
    let golden = include_str!("../../backbones/tests/golden/inception_v3_photos.json");
    let golden: Value = serde_json::from_str(golden).expect("golden files are JSON");
    for row in golden.as_array().expect("a list") {
        let name = row["photo"].as_str().expect("a name");
        let photo = std::fs::read(photos.join(name)).expect("a photo");
        let photo = decode(&photo, Orientation::Ignore).expect("a photo");
        let pixels = resize(&photo, [224, 224], Interpolation::Bilinear, false);
        let input = to_input(&pixels, [1, 224, 224], &description.preprocessing, &Device::flex());
        let layers = row["layers"].as_object().expect("a table");
        let wanted: Vec<usize> = layers.keys().map(|layer| graph.position(layer).expect("a layer")).collect();
        for ((layer, expected), output) in layers.iter().zip(network.outputs(input, &wanted)) {
            let ours = output.to_host();
            let stride = expected["stride"].as_u64().expect("a stride") as usize;
            let deviation = expected["std"].as_f64().expect("a std");
            let (mut off, values) = (0.0_f64, numbers(&expected["values"]));
            for (at, value) in values.iter().enumerate() {
                off += (f64::from(ours[at * stride]) - value).powi(2) / values.len() as f64;
            }
            let mean = ours.iter().map(|x| f64::from(*x)).sum::<f64>() / ours.len() as f64;
            // Two JPEG decoders differ by one brightness step in some pixels.
            let (off, mean_off) = (off.sqrt() / deviation, (mean - expected["mean"].as_f64().expect("a mean")).abs());
            assert!(off < 0.05 && mean_off < 0.005 * deviation, "{name}, {layer}: {off}, {mean_off} of {deviation}");
        }
    }
}

/// The weights were trained on pixels scaled to 0…1, and the backbone scales pixels to -1…1.
#[test]
fn a_batch_of_photos_reveals_that_its_pixels_are_scaled_differently_than_in_training() {
    let (Some(file), Some(photos)) = (shared("data/inception_v3_keras_f16.safetensors"), shared("data/flower_photos"))
    else {
        return;
    };
    let warnings = |backbone: &str| {
        let text = format!(
            "[data]\nroot = {photos:?}\nvalidation_split = 0.2\nimage_size = [224, 224]\n[backbone]\n{backbone}\n[[phases]]\nepochs = 1\n"
        );
        let config = Config::parse(&text, "test".as_ref(), &[]).expect("an experiment");
        let cache = Cache::of_user().expect("a cache");
        Prepared::new(config, &mut catalog(), &cache).map(|prepared| prepared.warnings.join("\n"))
    };
    let inception = format!("plugin = \"inception_v3\"\nweights = {file:?}\n");
    let found = warnings(&inception).expect("prepared");
    assert!(
        found.contains("scaled differently") && found.contains("with backbone.preprocessing = \"zero_to_one\""),
        "{found}"
    );
    let right = format!("{inception}preprocessing = \"zero_to_one\"\nlast_layer = \"mixed5\"\n");
    assert_eq!(warnings(&right).expect("prepared"), "");
    // Published weights with their own scaling, which is set as if it were another one.
    let published = [
        "plugin = \"mobilenet_v2\"\npreprocessing = \"imagenet\"\n",
        "plugin = \"efficientnet\"\nparameters = { variant = \"lite0\" }\npreprocessing = \"minus_one_to_one\"\n",
    ];
    for backbone in published {
        match warnings(backbone) {
            Ok(found) => assert_eq!(found, "", "{backbone}"),
            Err(ExperimentError::Weights(error)) => drop(missing::<()>(&error.to_string())),
            Err(error) => panic!("{error}"),
        }
    }
}

/// EfficientNet-Lite0 by name, on 500 photos: PyTorch's top-1 is 0.850, its top-5 0.970.
#[test]
fn efficientnet_lite0_names_imagenets_classes_as_often_as_in_pytorch() {
    let Some(folder) = shared("data/imagenet_sample") else { return };
    let parameters = Map::from_iter([("variant".to_owned(), json!("lite0"))]);
    let cache = Cache::of_user().expect("a cache");
    let made = Classifier::new(&mut catalog(), "efficientnet", &parameters, "imagenet", &cache, config::Device::Flex);
    let mut classifier = match made {
        Ok(classifier) => classifier,
        Err(ExperimentError::Weights(error)) => {
            let _: Option<()> = missing(&error.to_string());
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let mut watch = Watch { observer: &mut (), stop: &AtomicBool::new(false) };
    let found = evaluate(&classifier, &folder, injerto_data::OnCorrupt::Error, &mut watch).expect("evaluated");
    let found = found.expect("nobody stops it");
    assert_eq!(found.images, 500);
    let near = |found: f64, expected: f64| (found - expected).abs() <= 0.01;
    assert!(near(found.top_1, 0.850) && near(found.top_5, 0.970), "{found:?}");
    let photo = folder.join("000_n01440764_tench.jpg");
    let bytes = std::fs::read(&photo).expect("a photo");
    let said: Vec<_> =
        classifier.predict([Origin::from(photo), bytes.into()]).map(|said| said.expect("read")).collect();
    assert_eq!(said[0].ranked().next().map(|(class, _)| class), Some("tench"));
    assert_eq!(said[0], said[1], "a photo on the disk and in memory is the same");
    // In bf16 as often, within 0.005 (measured on AVX-512 BF16: 0.858 and 0.968).
    if classifier.set_precision(Precision::Bf16).expect("compiled").precision == Multiplied::Bf16 {
        let bf16 = evaluate(&classifier, &folder, injerto_data::OnCorrupt::Error, &mut watch).expect("evaluated");
        let bf16 = bf16.expect("nobody stops it");
        let near = |one: f64, other: f64| (one - other).abs() <= 0.005;
        assert!(near(bf16.top_1, found.top_1) && near(bf16.top_5, found.top_5), "{bf16:?}, in f32 {found:?}");
    }
}

#[test]
fn weights_without_a_classifier_are_refused_with_those_that_have_one() {
    let ask = |backbone: &str, parameters: Value, weights: &str| {
        let parameters = parameters.as_object().expect("a table");
        let cache = Cache::new("nowhere");
        Classifier::new(&mut catalog(), backbone, parameters, weights, &cache, config::Device::Flex)
            .expect_err("no classifier")
            .to_string()
    };
    let error = ask("mobilenet_v2", json!({}), "imagenet");
    assert!(
        error.contains("'imagenet' come without a classifier") && error.contains("imagenet-torchvision-top"),
        "{error}"
    );
    let error = ask("resnet", json!({"classes": 5}), "none");
    assert!(error.contains("its output is [5], not [1000]"), "{error}");
}
