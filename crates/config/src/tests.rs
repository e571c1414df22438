mod diagnostics;
mod schema;
mod sections;

use std::path::{Path, PathBuf};

use injerto_data::ClassSampling;
use injerto_data::augment::Preset;
use injerto_data::folder::{ClassColumns, Column, FolderWord, Grouping, Labels, Layout, ListFiles, Lists};
use injerto_files::is_plain;
use injerto_graph::{Activation, Interpolation, Selection};
use injerto_recipe::{Distillation, LossName, Swa, Task};
use proptest::prelude::*;

use super::*;

/// The shortest experiment that there is.
const SHORTEST: &str = "[data]\nroot = \"photos\"\n[backbone]\nplugin = \"small_cnn\"\n[[phases]]\nepochs = 1\n";

fn parse(text: &str, sets: &[&str]) -> Result<Config, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::parse(text, Path::new("cats.toml"), &sets)
}

fn good(text: &str, sets: &[&str]) -> Config {
    parse(text, sets).unwrap_or_else(|error| panic!("{error}"))
}

/// `SHORTEST` with more lines, the first of which belong to its phase.
fn with(lines: &str) -> String {
    format!("{SHORTEST}{lines}")
}

#[test]
fn a_file_that_is_not_there() {
    let error = Config::load(Path::new("no/such.toml"), &[]).expect_err("there is none").to_string();
    assert!(error.starts_with("no/such.toml: cannot read the experiment's file: "), "{error}");
}

#[test]
fn a_name_that_is_not_utf_8_comes_back_from_the_file_that_is_written() {
    let config = good(&SHORTEST.replace("\"photos\"", r"'caf\xe9'"), &[]);
    let Images::Folder { root } = &config.data.images else { panic!("a folder") };
    #[cfg(unix)]
    assert_eq!(root[0].as_os_str().as_encoded_bytes(), b"caf\xe9");
    assert_eq!(good(&config.to_toml(), &[]).data.images, Images::Folder { root: root.clone() });
}

#[test]
fn what_a_file_is_called_is_a_name_that_a_folder_can_have() {
    let check = |path: &str, name: &str| {
        let config = Config::parse(SHORTEST, Path::new(path), &[]).expect("an experiment");
        assert_eq!(config.name, name);
        assert_eq!(good(&config.to_toml(), &[]).name, name);
    };
    check("my exp.toml", "my exp");
    check("a:b\u{1b}[31m?.toml", "a-b-[31m-");
    check("..hidden.toml", "hidden");
    check("..", "experiment");
}

#[test]
fn the_shortest_experiment_is_keras_with_its_defaults() {
    let expected = r#"name = "cats"
seed = 123
device = "flex"
kernels = true

[data]
root = ["photos"]
batch_size = 32
stratify = false
crop_to_aspect_ratio = false
on_corrupt = "error"
on_leak = "warn"
exif_orientation = "ignore"
scaled_decoding = false
shuffle = true
sampling = "natural"

[backbone]
plugin = "small_cnn"
weights = "imagenet"
parameters = {}
precision = "f32"

[head]
pooling = "avg"
batch_norm = false
dense = []
dropout = 0.0
initial = "random"

[loss]
from_logits = false
label_smoothing = 0.0

[[phases]]
name = "phase-0"
epochs = 1
unfreeze = "none"
batch_norm = "frozen"
optimizer = { name = "adam", learning_rate = 0.001, beta_1 = 0.9, beta_2 = 0.999, epsilon = 0.0000001 }

[checkpoint]
monitor = "val_accuracy"
mode = "auto"
save_best_only = true

[cache]
keep = true
precision = "f32"
memory_mb = 256
images_mb = 0
photos_mb = 4096

[insight]
probe = true
more_photos = false
knowledge = true
"#;
    assert_eq!(good(SHORTEST, &[]).to_toml(), expected);
}

/// Every key there is, none with its default.
const LONGEST: &str = r#"
name = "Näme with 'quotes'"
seed = 4_294_967_295
device = "cpu"
kernels = false
data = { generated = "flowers", train_per_class = 7, validation_per_class = 3, image_size = [96, 128], batch_size = 8,
         crop_to_aspect_ratio = true, interpolation = "bicubic", on_corrupt = "skip", on_leak = "off", exif_orientation = "apply",
         scaled_decoding = true,
         shuffle = false, cached_views = 4, augment = [
           "random_flip", { name = "random_flip", mode = "vertical" },
           { name = "random_rotation", factor = 0.1, fill_mode = "constant", interpolation = "nearest", fill_value = 7 },
           { name = "random_zoom", height_factor = [-0.2, 0.3], width_factor = 0.1, fill_mode = "wrap" },
           { name = "random_translation", height_factor = 0.1, width_factor = [0, 0.1], fill_mode = "nearest" },
           { name = "random_contrast", factor = [0.1, 0.3] }, { name = "random_brightness", factor = -0.2 },
           { name = "random_crop", height = 80, width = 100 }, "random_resized_crop",
           { name = "color_jitter", brightness = 0.4, hue = [-0.1, 0.2] }, { name = "random_erasing", value = 124 },
           { name = "rand_augment", num_ops = 3, magnitude = 5, num_magnitude_bins = 11, interpolation = "bilinear" },
           { name = "trivial_augment_wide", fill_value = 7 }] }
backbone.plugin = "./libmine.so"
backbone.weights = "mine.safetensors"
backbone.precision = "auto"
[backbone.parameters]
alpha = 1.0
depth = 3
nested = { list = [1, 2.5, "x", [true]], "odd key.here" = {} }
[head]
pooling = "flatten"
batch_norm = true
dense = [128, { units = 64, activation = "silu" }]
dropout = 0.5
units = 5
activation = "linear"
[loss]
name = "categorical_crossentropy"
from_logits = true
label_smoothing = 0.1
class_weights = { cats = 2, "a dog" = 0.5 }
[distill]
teacher = "runs/large"
temperature = 2
alpha = 0.25
[[phases]]
name = "head"
epochs = 2
optimizer = "rmsprop"
schedule = { name = "cosine", warmup = { epochs = 0.5 }, warmup_start = 1e-6, alpha = 0.01 }
[[phases]]
epochs = 0x3
unfreeze.from_layer = "block_13_expand"
batch_norm = "update"
optimizer = { name = "sgd", learning_rate = 1, momentum = 0.9, nesterov = true, clipnorm = 1, ema_momentum = 0.99,
              gradient_accumulation_steps = 4 }
schedule = { name = "one_cycle", pct_start = 0.25, anneal = "linear", three_phase = true, max_momentum = 0.9 }
learning_rates = { "block_1*" = 0.1, "block_16_*" = 1, head = 10 }
gradual = { stages = 2, epochs_per_stage = 2, factor = 0.5 }
[[phases]]
epochs = 3
swa = { start_epoch = 2 }
unfreeze = { patterns = ["block_16_*", "Conv_1*"] }
optimizer = { name = "adamw", weight_decay = 0, beta_1 = 0.8, beta_2 = 0.99, epsilon = 1e-300,
              exclude_from_weight_decay = "bias" }
schedule = { name = "piecewise", boundaries = [10, { epochs = 0.5 }], values = [1e-4, 1] }
[callbacks]
early_stopping = { monitor = "val_accuracy", mode = "max", patience = 3, min_delta = 0.001, baseline = 0.5,
                   restore_best_weights = true, start_from_epoch = 2 }
[checkpoint]
monitor = "loss"
mode = "min"
save_best_only = false
[cache]
keep = false
precision = "bf16"
memory_mb = 1
images_mb = 2
photos_mb = 3
[insight]
probe = false
more_photos = true
knowledge = false
[transfer_gain]
seeds = 7
scratch = { learning_rate = 1e-2 }
[sweep]
grid = { "head.dropout" = [0.0, 0.25], "head.dense" = [[], [{ units = 8 }]], phases.0.optimizer = ["sgd", "adam"] }
random = { phases.0.optimizer.learning_rate = "1e-5..0.1:log", data.batch_size = "8..64", seed = [1, 2] }
trials = 5
halving = true
jobs = 2
"#;

#[test]
fn what_is_written_out_is_read_as_the_same_experiment() {
    let selections = ["all", "none", "{from_layer=0}", "{last=3}", "{fraction=0.25}", "{patterns='a*'}"];
    let phases = selections.map(|selection| format!("phases.0.unfreeze={selection}"));
    for config in phases.iter().map(|set| good(LONGEST, &[set])).chain([good(LONGEST, &[]), good(SHORTEST, &[])]) {
        let written = config.to_toml();
        let read =
            Config::parse(&written, Path::new("experiment.toml"), &[]).unwrap_or_else(|e| panic!("{e}\n{written}"));
        assert_eq!(read, config, "{written}");
        let mut complete = config;
        complete.complete(5, [224, 224], Interpolation::Bilinear);
        assert_eq!(good(&complete.to_toml(), &[]), complete);
    }
}

#[test]
fn overrides_reach_every_place() {
    let sets = [
        "name=from the shell",
        "data.root=elsewhere",
        "head.dense=[64]",
        "head.dense.0=32",
        "phases.0.epochs=3",
        "phases.0.optimizer.learning_rate=1e-5",
        "phases.0.unfreeze={ from_layer = 100 }",
        "backbone.parameters.alpha=0.5",
        "loss.from_logits = true",
        "seed=5",
        "seed=6",
    ];
    let config = good(SHORTEST, &sets);
    assert_eq!(config.name, "from the shell");
    assert_eq!(config.data.images, Images::Folder { root: vec![PathBuf::from("elsewhere")] });
    assert_eq!(config.head.body.dense[0].units, 32);
    assert_eq!(config.phases[0].epochs, 3);
    assert_eq!(config.phases[0].optimizer.rule.learning_rate(), 1e-5);
    assert_eq!(config.phases[0].unfreeze, Selection::FromLayer(injerto_graph::LayerRef::Index(100)));
    assert_eq!(config.backbone.parameters["alpha"], 0.5);
    assert!(config.loss.from_logits);
    assert_eq!(config.seed, 6, "the last one holds");
}

#[test]
fn every_experiment_of_the_repository_is_one() {
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs"))];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("configs/ can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let config = Config::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(Config::parse(&config.to_toml(), &path, &[]).expect("written out"), config);
                read += 1;
            }
        }
    }
    assert!(read > 0, "configs/ holds no experiment");
}

#[test]
fn nesting_without_end_is_an_error() {
    let error = |text: &str, sets: &[&str]| parse(text, sets).expect_err("it never ends").to_string();
    for (bracket, of_value, of_key) in [
        ("[", "--set: `[[[[", "--set: unknown key `[[[["),
        ("{a=", "--set: `{a={a=", "--set: `{a={a="),
        ("a.", "--set: unknown key `a`", "--set: `a.a.a.a."),
    ] {
        let endless = bracket.repeat(50_000);
        for text in [endless.clone(), format!("a = {endless}")] {
            let error = error(&text, &[]);
            assert!(error.starts_with("cats.toml:1:") && error.contains(": this is not TOML: "), "{error}");
        }
        for (set, start) in [(format!("a={endless}"), of_value), (format!("{endless}=1"), of_key)] {
            let error = error(SHORTEST, &[&set]);
            assert!(error.starts_with(start), "{error}");
        }
    }
}

/// Checks that a text is an experiment, whose own text is read and written again as it is, or an error that says where the fault is and
/// that a terminal only prints.
fn check_hostile(text: &str, sets: &[&str]) -> Result<(), TestCaseError> {
    match parse(text, sets) {
        Ok(config) => {
            let written = config.to_toml();
            prop_assert_eq!(good(&written, &[]).to_toml(), written);
        }
        Err(error) => {
            let error = error.to_string();
            let is_located = error.starts_with("cats.toml:") || (!sets.is_empty() && error.starts_with("--set: "));
            prop_assert!(is_located, "{}", error);
            prop_assert!(error.chars().all(|c| matches!(c, '\n' | '\t') || is_plain(c)), "{:?}", error);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*", set in ".*") {
        check_hostile(&text, &[&set])?;
        check_hostile(SHORTEST, &[&set])?;
    }

    /// Valid text with a piece cut out and another put in, which gets past the parser far more often.
    #[test]
    fn no_damage_panics(from in 0..LONGEST.len(), cut in 0..12_usize, put in "[\\[\\]{}=.,\"'#\n\t\r0-9a-zé]{0,6}") {
        let end = (from + cut).min(LONGEST.len());
        let (Some(before), Some(after)) = (LONGEST.get(..from), LONGEST.get(end..)) else { return Ok(()) };
        match parse(&format!("{before}{put}{after}"), &[]) {
            Ok(config) => prop_assert_eq!(good(&config.to_toml(), &[]), config),
            Err(error) => prop_assert!(error.to_string().starts_with("cats.toml:"), "{}", error),
        }
    }

    #[test]
    fn no_override_panics(
        path in prop::sample::select(vec!["seed", "data", "data.generated", "phases", "phases.0", "phases.1.unfreeze",
            "phases.0.optimizer", "phases.0.schedule", "phases.1.gradual", "phases.1.learning_rates", "callbacks",
            "callbacks.early_stopping", "loss.class_weights", "head.dense", "head.dense.1", "backbone.parameters", "loss.name", "transfer_gain"]),
        value in prop::sample::select(vec!["", "0", "-1", "nan", "1e400", "99999999999999999999", "[]", "{}", "{a=1}",
            "[[[]]]", "1979-05-27", "\"\"", "'adam'", "true", "adam", "[1,'x',{}]", "{ name = 3 }"]),
    ) {
        check_hostile(LONGEST, &[&format!("{path}={value}")])?;
    }
}

#[test]
fn a_strategy_fills_in_what_the_file_leaves_out() {
    let base = |strategy: &str, more: &str| {
        format!("strategy = \"{strategy}\"\n[data]\nroot = \"photos\"\n[backbone]\nplugin = \"inception_v3\"\n{more}")
    };
    let check = |strategy: &str, more: &str, dense: usize, unfrozen: &[Selection]| {
        let config = good(&base(strategy, more), &[]);
        assert_eq!(config.head.body.dense.len(), dense, "{strategy}");
        let phases: Vec<Selection> = config.phases.iter().map(|phase| phase.unfreeze.clone()).collect();
        assert_eq!(phases, unfrozen, "{strategy}");
        assert_eq!(good(&config.to_toml(), &[]), Config { name: "cats".to_owned(), ..config });
    };
    check("retrain-all", "", 0, &[Selection::None, Selection::All]);
    check("retrain-all", "[[phases]]\nepochs = 1\n", 0, &[Selection::All]);
    check("feature-extractor", "", 1, &[Selection::None]);
    check("feature-extractor", "[head]\ndense = []\n[[phases]]\nepochs = 1\n", 0, &[Selection::None]);
    check("early-layers", "last_layer = \"mixed5\"\n", 1, &[Selection::None]);
}
