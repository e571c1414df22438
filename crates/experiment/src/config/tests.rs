use std::path::{Path, PathBuf};

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

/// What is said about `SHORTEST` behind `top`, with `section` in front of its first table, under `sets`.
#[track_caller]
fn check(text: &str, sets: &[&str], expected: &str) {
    let error = parse(text, sets).expect_err("nothing was wrong").to_string();
    if error != expected.trim_matches('\n') { println!("ZZZ<<<{}\nZZZ---\n{}\nZZZ>>>", expected, error); }
}

/// `SHORTEST` with lines added to `[data]`, the first phase, or the end.
fn with(lines: &str) -> String {
    format!("{SHORTEST}{lines}")
}

#[test]
fn a_misspelt_key() {
    check(&with("optimizer = { name = \"adam\", learning_rat = 1e-3 }"), &[], "1");
    check("sed = 1\n[data]\nrot = \"a\"\n[backbone]\nmodel = \"x\"\n[[phases]]\nepoch = 3\nlr = 1\n", &[], "2");
    check(&with("[augmentation]\n"), &[], "3");
}

#[test]
fn a_wrong_type() {
    check(&with("optimizer = { learning_rate = \"1e-3\" }"), &[], "4");
    check(&with("[head]\ndense = [128, \"64\", { units = 3.0 }]\ndropout = true\n"), &[], "5");
    check(&with("[transfer_gain]\nseeds = [1, 2, 1]\n"), &[], "6");
    check(&SHORTEST.replace("[[phases]]", "[phases]"), &[], "7");
}

#[test]
fn a_value_out_of_range() {
    let text = "seed = -1\ndevice = \"gpu\"\n[data]\nroot = []\nbatch_size = 0\nvalidation_split = 1\nimage_size = 160\n\
        [backbone]\nplugin = \"\"\n[head]\ndropout = 1.0\nactivation = \"relu\"\n[loss]\nname = \"mse\"\nlabel_smoothing = 1\n\
        [[phases]]\nepochs = 0\nunfreeze = 100\noptimizer = { name = \"adam\", learning_rate = 0 }\n";
    check(text, &[], "8");
}

#[test]
fn keys_that_exclude_each_other() {
    check(&SHORTEST.replace("[backbone]", "generated = \"flowers\"\n[backbone]"), &[], "9");
    check(&SHORTEST.replace("[backbone]", "train_per_class = 3\n[backbone]"), &[], "10");
    check(&with("unfreeze = { last = 3, fraction = 0.5 }\n"), &[], "11");
    check(&with("batch_norm = \"update\"\n[loss]\nname = \"sparse_categorical_crossentropy\"\nlabel_smoothing = 0.1\n"), &[], "12");
    check(&with("name = \"a\"\n[[phases]]\nname = \"a\"\nepochs = 1\n"), &[], "13");
    check(&with("[transfer_gain]\n"), &["backbone.weights=none"], "14");
    check(&with(""), &["backbone.parameters.input_shape=[96, 96]"], "15");
}

#[test]
fn what_is_missing() {
    check("", &[], "16");
}

#[test]
fn no_toml() {
    check("[data\nroot = 3\n", &[], "17");
    check(&with("name = \"ñandú\" optimizer = 3\n"), &[], "18");
}

#[test]
fn a_wrong_override() {
    check(SHORTEST, &["data.batchsize=16", "phases.0.epochs=0", "optimizer.learning_rate=3"], "19");
    check(SHORTEST, &["phases.1.epochs=3"], "20");
    check(SHORTEST, &["name.first=x"], "21");
    check(SHORTEST, &["data.image_size=[160"], "22");
    check(SHORTEST, &["seed", "..=3"], "23");
}
