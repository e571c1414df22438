//! Recipes: balanced classes, strong augmentation, a focal loss and accumulated gradients in one run; several runs and several views
//! of a photo in one answer.

use std::path::Path;

use injerto_config::Device;
use injerto_data::decode::Rgb;
use injerto_experiment::Predictor;
use serde_json::Value;

use crate::train::{assert_same_weights, folder, history};
use crate::{contains, run};

/// Options of a run that uses every recipe of training.
const RECIPES: [&str; 6] = [
    "data.sampling=balanced",
    "data.augment=strong",
    "loss={name='categorical_focal_crossentropy', gamma=1.5}",
    "phases.0.optimizer.gradient_accumulation_steps=2",
    "phases.1.optimizer.gradient_accumulation_steps=3",
    "phases.1.swa.start_epoch=1",
];

#[test]
fn a_run_with_every_recipe_goes_on_with_the_same_bits() {
    let at = folder();
    // With the same images in every epoch, the features of the first phase are kept.
    for augment in ["data.augment=strong", "data.augment=[]"] {
        let [whole, stopped] = ["whole", "stopped"].map(|run| format!("{run}-{}", augment.len()));
        let train = |out: &str, epochs: usize| {
            let epochs = format!("phases.1.epochs={epochs}");
            let all = RECIPES.iter().copied().chain([augment, epochs.as_str()]);
            let sets: Vec<&str> = all.flat_map(|set| ["--set", set]).collect();
            run(at.path(), &[&["train", "tiny.toml", "--run-dir", out], &sets[..]].concat()).succeeds()
        };
        train(&whole, 4);
        train(&stopped, 2);
        run(at.path(), &["train", "--resume", &stopped, "--set", "phases.1.epochs=4"]).succeeds();
        let [whole, stopped] = [whole, stopped].map(|run| at.path().join(run));
        assert_eq!(history(&whole), history(&stopped), "{augment}");
        assert_same_weights(&whole, &stopped);
        let written = std::fs::read_to_string(whole.join("experiment.toml")).expect("there");
        contains(
            &written,
            &["sampling = \"balanced\"", "gradient_accumulation_steps = 2", "gamma = 1.5", "start_epoch = 1"],
        );
        assert_eq!(written.contains("trivial_augment_wide"), augment.ends_with("strong"));
    }
}

/// Runs of tiny.toml with these names and seeds, and ten drawn photos in `new`, two per class.
fn trained(runs: &[(&str, &str)]) -> tempfile::TempDir {
    let at = folder();
    for (name, seed) in runs {
        run(at.path(), &["train", "tiny.toml", "--run-dir", name, "--set", &format!("seed={seed}")]).succeeds();
    }
    run(at.path(), &["generate", "flowers", "drawn", "--train", "2", "--validation", "2", "--size", "32"]).succeeds();
    std::fs::rename(at.path().join("drawn/train"), at.path().join("new")).expect("moved");
    at
}

/// The probabilities of each photo, by the class's name.
fn probabilities(at: &Path, words: &[&str]) -> Vec<std::collections::BTreeMap<String, f64>> {
    let text = run(at, &[&["predict", "new", "--json"], words].concat()).succeeds();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let class = |entry: &Value| {
            (entry["class"].as_str().expect("a name").to_owned(), entry["probability"].as_f64().expect("a number"))
        };
        line["classes"].as_array().expect("a list").iter().map(class).collect()
    };
    text.lines().map(line).collect()
}

#[test]
fn several_runs_answer_by_the_mean_of_their_probabilities() {
    let at = trained(&[("one", "1"), ("two", "2")]);
    let at = at.path();
    let (one, two) = (probabilities(at, &["--run", "one"]), probabilities(at, &["--run", "two"]));
    let both = probabilities(at, &["--run", "one", "--run", "two"]);
    assert_eq!(both.len(), 10);
    for ((one, two), both) in one.iter().zip(&two).zip(&both) {
        assert_ne!(one, two);
        for (class, p) in both {
            assert!((p - (one[class] + two[class]) / 2.0).abs() < 1e-6, "{class}: {p} of {one:?} and {two:?}");
        }
    }
    let evaluate = |words: &[&str]| run(at, &[&["evaluate", "new", "--json"], words].concat()).json();
    let (alone, twice) = (evaluate(&["--run", "one"]), evaluate(&["--run", "one", "--run", "one"]));
    assert_eq!(alone["accuracy"], twice["accuracy"], "the same network twice is the same network");
    let right = both.iter().enumerate().filter(|(at, row)| {
        let best = row.iter().max_by(|a, b| a.1.total_cmp(b.1)).expect("classes").0;
        // The photos come class by class, two of each, and a map has the classes in the same order.
        row.keys().position(|class| class == best) == Some(at / 2)
    });
    let together = evaluate(&["--run", "one", "--run", "two"]);
    assert_eq!(together["accuracy"].as_f64(), Some(right.count() as f64 / 10.0));
    contains(&run(at, &["predict", "new", "--run", "one", "--run", "two", "--neighbours"]).fails(), &["takes one run"]);
    let shapes = ["--set", "data.generated=shapes", "--set", "phases.0.epochs=1", "--set", "phases.1.epochs=1"];
    run(at, &[&["train", "tiny.toml", "--run-dir", "shapes"], &shapes[..]].concat()).succeeds();
    let refused = run(at, &["predict", "new", "--run", "one", "--run", "shapes"]).fails();
    contains(&refused, &["network 2 has the classes", "trained for the same classes"]);
}

#[test]
fn a_photo_and_its_mirror_image_have_the_same_views() {
    let at = trained(&[("out", "1")]);
    let mut predictor = Predictor::load(&at.path().join("out/best.safetensors"), Device::Flex).expect("a checkpoint");
    predictor.set_calibrated(false);
    let (height, width) = (32, 32);
    let pixels: Vec<u8> = (0..height * width * 3).map(|at| (at * at * 7 + at * 31) as u8).collect();
    let mirrored = pixels.chunks(width * 3).flat_map(|row| row.as_chunks::<3>().0.iter().rev().copied().flatten());
    let mirrored = Rgb { height, width, pixels: mirrored.collect() };
    let images = [Rgb { height, width, pixels }, mirrored];
    let mut answers = |views: usize| -> Vec<Vec<f32>> {
        predictor.set_views(views);
        let answers = predictor.predict(images.clone());
        answers.map(|answer| answer.expect("an answer").probabilities().to_vec()).collect()
    };
    let alone = answers(1);
    assert_ne!(alone[0], alone[1]);
    for views in [2, 12] {
        let together = answers(views);
        let farthest = together[0].iter().zip(&together[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(farthest < 1e-5, "{views} views: {together:?}");
        assert!((together[0].iter().sum::<f32>() - 1.0).abs() < 1e-5);
        if views == 2 {
            let mean = alone[0].iter().zip(&alone[1]).map(|(a, b)| (a + b) / 2.0);
            assert!(mean.zip(&together[0]).all(|(a, b)| (a - b).abs() < 1e-6), "{alone:?} {together:?}");
        }
    }
    // The commands take views as well.
    let single = probabilities(at.path(), &["--run", "out"]);
    assert_ne!(single, probabilities(at.path(), &["--run", "out", "--tta"]));
    let evaluated = run(at.path(), &["evaluate", "new", "--run", "out", "--tta=6", "--json"]).json();
    assert!(evaluated["images"] == 10 && evaluated["loss"].as_f64().is_some_and(|loss| loss > 0.0));
    assert_eq!(run(at.path(), &["predict", "new", "--run", "out", "--tta=13"]).code, Some(2));
}
