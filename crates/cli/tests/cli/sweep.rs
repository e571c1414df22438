//! `injerto sweep`.

use std::fs;

use serde_json::{Value, json};

use crate::train::{assert_same_weights, folder, history};
use crate::{contains, run};

/// The small experiment with its head alone, for some epochs.
fn heads(epochs: usize) -> String {
    format!("phases=[{{ name = 'head', epochs = {epochs} }}]")
}

/// What a sweep prints, without what a clock says and without the costs that follow from it.
fn timeless(mut found: Value) -> Value {
    for trial in found["trials"].as_array_mut().expect("a list") {
        ["seconds", "quickest"].iter().for_each(|key| drop(trial.as_object_mut().expect("a trial").shift_remove(*key)));
    }
    json!([found["best"]["trial"], found["like_best"], found["trials"]])
}

fn epochs(found: &Value) -> Vec<u64> {
    let trials = found["trials"].as_array().expect("a list").iter();
    let mut epochs: Vec<u64> = trials.map(|trial| trial["epochs"].as_u64().expect("a number")).collect();
    epochs.sort_unstable();
    epochs
}

#[test]
fn each_trial_is_what_it_would_be_alone_and_the_best_becomes_a_whole_run() {
    let at = folder();
    let heads = heads(3);
    let rates = ["--grid", "phases.0.optimizer.learning_rate=0.0001,0.05"];
    let sweep = |dropout: &str, more: &[&str]| {
        let dropout = format!("head.dropout={dropout}");
        let arguments = ["sweep", "tiny.toml", "--set", &heads, "--out", "out", "--grid", &dropout];
        run(at.path(), &[&arguments, &rates[..], more].concat())
    };
    let found = sweep("0.0,0.4", &["--json"]).json();
    let folder_of = |number: &Value| at.path().join(format!("out/{:03}", number.as_u64().expect("a number")));
    assert_eq!((&found["asked"], &found["known"], epochs(&found)), (&json!(4), &json!(0), vec![3; 4]));
    let best = folder_of(&found["best"]["trial"]);
    assert_eq!(found["trials"][0]["trial"], found["best"]["trial"]);
    for trial in found["trials"].as_array().expect("a list") {
        let folder = folder_of(&trial["trial"]);
        // A trial's own experiment trains the same, epoch by epoch.
        let alone = format!("alone-{}", trial["trial"]);
        run(at.path(), &["train", folder.join("experiment.toml").to_str().expect("UTF-8"), "--run-dir", &alone])
            .succeeds();
        assert_eq!(history(&folder), history(&at.path().join(&alone)), "{trial}");
        let (ours, theirs) = (folder.join("predictions.csv"), at.path().join(&alone).join("predictions.csv"));
        assert_eq!(fs::read(ours).expect("there"), fs::read(theirs).expect("there"), "{trial}");
        let is_whole = ["best.safetensors", "last.safetensors", "report.html", "knowledge.safetensors"]
            .map(|name| folder.join(name).is_file());
        assert_eq!(is_whole, [folder == best; 4], "{trial}");
        assert!(!folder.join("state.safetensors").exists());
        if folder == best {
            assert_same_weights(&folder, &at.path().join(&alone));
            run(at.path(), &["report", folder.to_str().expect("UTF-8")]).succeeds();
        } else {
            let resumed = run(at.path(), &["train", "--resume", folder.to_str().expect("UTF-8")]);
            contains(&resumed.fails(), &["this is a trial of a sweep", "experiment.toml` trains it as a run"]);
        }
    }
    // The table beside it says the same, one line per trial.
    let table = fs::read_to_string(at.path().join("out/sweep.csv")).expect("there");
    assert!(
        table.starts_with("rank,trial,head.dropout,phases.0.optimizer.learning_rate,accuracy,low,high,n,"),
        "{table}"
    );
    assert_eq!(table.lines().count(), 5, "{table}");

    // What is finished is not done again, also with more values; what was taken away is.
    fs::remove_file(folder_of(&found["trials"][3]["trial"]).join("trial.json")).expect("removed");
    let more = sweep("0.0,0.4,0.7", &["--json"]).json();
    assert_eq!((&more["asked"], &more["known"]), (&json!(6), &json!(3)));
    let again = sweep("0.0,0.4,0.7", &[]).succeeds();
    contains(
        &again,
        &[
            "0 trials in ",
            "; 6 finished before",
            "trial  accuracy",
            "≈ best",
            "McNemar",
            "Pareto front of accuracy",
            "use it  ",
        ],
    );
    assert_eq!(timeless(sweep("0.0,0.4,0.7", &["--json"]).json()), timeless(more));
}

#[test]
fn heads_from_the_probe_images_that_change_and_layers_that_are_tuned_are_tried_as_they_train_alone() {
    let at = folder();
    let check = |out: &str, more: &[&str]| {
        let found = run(at.path(), &[&["sweep", "tiny.toml", "--json", "--out", out], more].concat()).json();
        for trial in found["trials"].as_array().expect("a list") {
            let folder = format!("{out}/{:03}", trial["trial"].as_u64().expect("a number"));
            let alone = format!("alone-{}", folder.replace('/', "-"));
            run(at.path(), &["train", &format!("{folder}/experiment.toml"), "--run-dir", &alone]).succeeds();
            let (ours, theirs) = (history(&at.path().join(&folder)), history(&at.path().join(&alone)));
            assert!(!ours.is_empty() && ours == theirs, "{folder}: {ours:?} is not {theirs:?}");
        }
        assert_eq!(found["trials"].as_array().map(Vec::len), Some(2), "{found}");
    };
    check("probe", &["--set", &heads(2), "--grid", "head.initial=random,probe"]);
    check("changing", &["--set", &heads(1), "--grid", "data.augment=[],['random_flip']"]);
    // Two phases, of which the second trains all layers, side by side.
    let two = ["--set", "phases.0.epochs=1", "--set", "phases.1.epochs=1", "--jobs", "2"];
    check("tuned", &[&two[..], &["--grid", "phases.1.optimizer.learning_rate=0.001,0.01"]].concat());
}

#[test]
fn halving_goes_on_with_the_best_third_and_jobs_change_no_bit() {
    let at = folder();
    let heads = heads(9);
    let random = ["--random", "phases.0.optimizer.learning_rate=1e-4..1e-1:log", "--random", "head.dropout=0.0..0.5"];
    let sweep = |out: &str, more: &[&str]| {
        let arguments = ["sweep", "tiny.toml", "--set", &heads, "--trials", "9", "--json", "--out", out];
        run(at.path(), &[&arguments, &random[..], more].concat()).json()
    };
    let found = sweep("two", &["--halving", "--jobs", "2"]);
    assert_eq!(epochs(&found), [1, 1, 1, 1, 1, 1, 3, 3, 9]);
    assert_eq!(timeless(sweep("one", &["--halving", "--jobs", "1"])), timeless(found.clone()));
    // The best one has paused twice, and is the run that it would have been.
    let best = at.path().join(found["best"]["folder"].as_str().expect("a path"));
    let experiment = best.join("experiment.toml");
    run(at.path(), &["train", experiment.to_str().expect("UTF-8"), "--run-dir", "alone"]).succeeds();
    assert_eq!(history(&best), history(&at.path().join("alone")));
    assert_same_weights(&best, &at.path().join("alone"));
    // A halved sweep has nothing left to do, and a whole one trains the others to their end.
    assert_eq!(sweep("two", &["--halving"])["known"], 9);
    assert_eq!(epochs(&sweep("two", &[])), [9; 9]);
}

#[test]
fn what_is_tried_may_stand_in_the_experiment_and_may_change_images_and_backbone() {
    let at = folder();
    let table = "\n[sweep]\ngrid = { \"backbone.parameters\" = [{ filters = [4] }, { filters = [4, 8] }], data.batch_size = [4, 8] }\n";
    let text = fs::read_to_string(at.path().join("tiny.toml")).expect("there") + table;
    fs::write(at.path().join("swept.toml"), text).expect("written");
    let found = run(at.path(), &["sweep", "swept.toml", "--set", &heads(1), "--json"]).json();
    assert_eq!(found["folder"], "sweeps/tiny");
    let trials = found["trials"].as_array().expect("a list");
    let sizes: std::collections::BTreeSet<u64> =
        trials.iter().map(|it| it["parameters"].as_u64().expect("a number")).collect();
    assert_eq!((trials.len(), sizes.len()), (4, 2), "{found}");
    // The experiment of a trial is one without a sweep, and the experiment itself trains as it did.
    let own = fs::read_to_string(at.path().join("sweeps/tiny/001/experiment.toml")).expect("there");
    assert!(!own.contains("[sweep]"), "{own}");
    run(at.path(), &["train", "swept.toml", "--dry-run"]).succeeds();
}

#[test]
fn mistakes_are_told_before_the_first_trial_trains() {
    let at = folder();
    let check = |arguments: &[&str], parts: &[&str]| {
        contains(&run(at.path(), &[&["sweep", "tiny.toml"], arguments].concat()).fails(), parts);
        assert!(!at.path().join("sweeps").exists(), "{arguments:?}");
    };
    check(&[], &["a sweep needs keys", "--grid KEY=VALUE,VALUE"]);
    check(&["--grid", "head.dropout=0.1,2"], &["the trial with head.dropout=2", "`head.dropout` must be"]);
    check(&["--grid", "head.dropuot=0.1"], &["unknown key `dropuot`", "did you mean `dropout`?"]);
    check(&["--random", "head.dropout=0.5..0.1"], &["the range 0.5..0.1 is empty"]);
    check(&["--grid", "head.dropout=0,0.1", "--trials", "3"], &["--trials says how often --random draws"]);
    check(&["--grid", "phases.1.unfreeze={ from_layer = 'conv' }"], &["no layer 'conv' in 'small_cnn'"]);
}
