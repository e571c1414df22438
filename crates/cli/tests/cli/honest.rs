//! What a run says about its images and its figures: the probe, copies, the split, the test, and how far each number can be trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::train::{TINY, assert_same_weights, folder, history};
use crate::{contains, run};

/// Drawn photos of five classes in `photos/CLASS`, and the experiment on them with these keys of `[data]`.
fn on_photos(at: &Path, per_class: usize, keys: &str) {
    if !at.join("photos").exists() {
        let count = per_class.to_string();
        run(at, &["generate", "flowers", "drawn", "--train", &count, "--validation", "1", "--size", "40"]).succeeds();
        std::fs::rename(at.join("drawn/train"), at.join("photos")).expect("renamed");
    }
    experiment(at, &format!("root = \"photos\"\n{keys}"));
}

/// The experiment with these keys of `[data]` in place of the drawn images.
fn experiment(at: &Path, data: &str) {
    let drawn = "generated = \"flowers\"\ntrain_per_class = 12\nvalidation_per_class = 4";
    let text = TINY.replace(drawn, data);
    assert_ne!(text, TINY);
    std::fs::write(at.join("photos.toml"), text).expect("written");
}

fn summary(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("summary.json")).expect("a summary")).expect("JSON")
}

fn table(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).expect("a table");
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// Names of the images on each side, by `split.csv`.
fn sides(run: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut sides: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in table(&run.join("split.csv")).into_iter().skip(1) {
        sides.entry(row[2].clone()).or_default().insert(row[0].clone());
    }
    sides
}

#[test]
fn a_run_says_what_its_features_are_worth_and_how_far_its_figures_can_be_trusted() {
    let at = folder();
    let text = run(at.path(), &["train", "tiny.toml", "--run-dir", "out"]).succeeds();
    contains(
        &text,
        &["probe  ", "a logistic regression on the features reaches 0.", "n = 20)", "by chance and 0.2000"],
    );
    let out = summary(&at.path().join("out"));
    let probe = &out["probe"];
    assert_eq!((probe["n"].as_u64(), probe["images"].as_u64()), (Some(20), Some(60)));
    let limits = |figure: &Value| [0, 1].map(|at| figure["interval"][at].as_f64().expect("a limit"));
    let inside = |value: &Value, [low, high]: [f64; 2]| (low..=high).contains(&value.as_f64().expect("a number"));
    assert!(inside(&probe["accuracy"], limits(probe)) && probe["strength"].as_f64() > Some(0.0), "{probe}");
    assert_eq!(out["best"]["n"], 20);
    assert!(inside(&out["best"]["value"], limits(&out["best"])), "{}", out["best"]);
    let trust = &out["trust"];
    assert_eq!(trust["accuracy"]["value"], out["metrics"]["accuracy"]);
    for (figure, metric) in [("macro_f1", "macro_f1"), ("roc_auc", "roc_auc")] {
        let (ours, theirs) = (trust[figure]["value"].as_f64(), out["metrics"][metric].as_f64());
        assert!((ours.expect("a value") - theirs.expect("a value")).abs() < 1e-9, "{figure}");
        assert!(inside(&trust[figure]["value"], limits(&trust[figure])), "{figure}");
    }
    // The predictions are those of the best epoch.
    let rows = table(&at.path().join("out/predictions.csv"));
    assert_eq!((rows.len(), &rows[0][..3]), (21, &["path", "label", "predicted"].map(str::to_owned)[..]));
    let end = rows[1].len();
    let right = rows[1..].iter().filter(|row| row[end - 6] == row[end - 7]).count();
    assert_eq!(out["best"]["value"].as_f64(), Some(right as f64 / 20.0));
    let page = std::fs::read_to_string(at.path().join("out/report.html")).expect("a report");
    contains(&page, &["probe before the first epoch (", "How far the figures can be trusted", "n = 20"]);
    // Without it nothing else changes, and neither does it where features are held in memory only.
    let off = ["--set", "insight.probe=false"];
    let text = run(at.path(), &[&["train", "tiny.toml", "--run-dir", "off"], &off[..]].concat()).succeeds();
    assert!(!text.contains("probe"), "{text}");
    assert!(summary(&at.path().join("off")).get("probe").is_none());
    run(at.path(), &["train", "tiny.toml", "--run-dir", "held", "--set", "cache.keep=false"]).succeeds();
    for other in ["off", "held"] {
        assert_eq!(history(&at.path().join(other)), history(&at.path().join("out")), "{other}");
        assert_same_weights(&at.path().join(other), &at.path().join("out"));
    }
    let [held, out] = ["held", "out"].map(|name| summary(&at.path().join(name))["probe"]["accuracy"].clone());
    assert_eq!(held, out);
}

#[test]
fn a_run_that_is_asked_says_what_more_photos_would_bring() {
    let at = folder();
    on_photos(at.path(), 24, "validation_split = 0.25");
    let train = |run_dir: &str, more: &str| {
        run(at.path(), &["train", "photos.toml", "--run-dir", run_dir, "--set", &format!("insight.more_photos={more}")])
            .succeeds()
    };
    train("asked", "true");
    train("other", "false");
    let found = std::fs::read(at.path().join("asked/more_photos.json")).expect("it was asked");
    let found: Value = serde_json::from_slice(&found).expect("JSON");
    // Four fifths of the 90 training photos.
    assert_eq!((found["images"].as_f64(), found["points"].as_array().map(Vec::len)), (Some(72.0), Some(6)), "{found}");
    let page = std::fs::read_to_string(at.path().join("asked/report.html")).expect("a report");
    contains(&page, &["Would more photos help?", "With 72 training photos a probe reaches "]);
    // The training is the same, and a finished run is not asked again.
    assert!(!at.path().join("other/more_photos.json").exists());
    assert_same_weights(&at.path().join("asked"), &at.path().join("other"));
}

#[test]
fn a_probe_that_would_need_a_pass_of_its_own_is_left_out_and_the_plan_says_why() {
    let at = folder();
    let check = |set: &str, reason: &str, code: &str| {
        let plan = run(at.path(), &["train", "tiny.toml", "--dry-run", "--set", set]).succeeds();
        contains(&plan, &[&format!("probe      none: {reason}")]);
        let plan = run(at.path(), &["train", "tiny.toml", "--dry-run", "--json", "--set", set]).json();
        assert_eq!(plan["insight"]["probe"]["no"], code);
        let probe = ["train", "tiny.toml", "--dry-run", "--set", set, "--set", "head.initial=probe"];
        contains(&run(at.path(), &probe).fails(), &["head.initial = \"probe\": ", reason]);
    };
    check("data.augment=['random_flip']", "the training images change in every epoch", "changing");
    check("phases.0.unfreeze=all", "the first phase trains layers of the backbone", "trained");
}

#[test]
fn a_head_that_starts_from_the_probe_begins_with_its_accuracy() {
    let at = folder();
    // A backbone that was trained on other drawings, so that its features are worth something.
    let backbone = ["backbone.weights=shapes", "backbone.parameters={ filters = [16, 32, 64], momentum = 0.8 }"];
    let sets = ["head.initial=probe", "phases.0.epochs=1", "phases.1.epochs=1"].into_iter().chain(backbone);
    let still: Vec<&str> = sets.flat_map(|set| ["--set", set]).collect();
    let check = |out: &str, more: &[&str]| {
        let rate = ["--set", "phases.0.optimizer={ name = 'sgd', learning_rate = 1e-30 }"];
        run(at.path(), &[&["train", "tiny.toml", "--run-dir", out], &still[..], &rate, more].concat()).succeeds();
        let (run, first) = (summary(&at.path().join(out)), history(&at.path().join(out)).swap_remove(0));
        // Steps of this size change no weight.
        assert_eq!(first["val_accuracy"], run["probe"]["accuracy"], "{out}");
        assert!(run["probe"]["accuracy"].as_f64() > Some(0.3), "better than chance: {}", run["probe"]);
    };
    check("softmax", &[]);
    check("logits", &["--set", "loss.from_logits=true", "--set", "cache.keep=false"]);
    check("max", &["--set", "head.pooling=max"]);
    on_two_classes(at.path());
    let two = [
        "train",
        "two.toml",
        "--run-dir",
        "sigmoid",
        "--set",
        "phases.0.optimizer={ name = 'sgd', learning_rate = 1e-30 }",
    ];
    run(at.path(), &[&two[..], &still].concat()).succeeds();
    let first = history(&at.path().join("sigmoid")).swap_remove(0);
    assert_eq!(first["val_accuracy"], summary(&at.path().join("sigmoid"))["probe"]["accuracy"]);
}

/// The experiment on two classes, for which the head has one unit.
fn on_two_classes(at: &Path) {
    on_photos(at, 16, "validation_split = 0.25");
    let text = std::fs::read_to_string(at.join("photos.toml")).expect("it is there");
    std::fs::write(at.join("two.toml"), text.replace("\"photos\"", "\"two\"")).expect("written");
    std::fs::create_dir(at.join("two")).expect("made");
    for class in ["roses", "tulips"] {
        std::fs::rename(at.join("photos").join(class), at.join("two").join(class)).expect("moved");
    }
}

#[test]
fn test_images_are_looked_at_once_after_the_last_epoch() {
    let at = folder();
    let at = at.path();
    on_photos(at, 16, "validation_split = 0.2\ntest_split = 0.1");
    let plan = run(at, &["train", "photos.toml", "--dry-run"]).succeeds();
    contains(&plan, &["56 to train", "16 to validate, 8 for the test after training"]);
    let text = run(at, &["train", "photos.toml", "--run-dir", "out"]).succeeds();
    contains(&text, &["test accuracy ", "n = 8), loss "]);
    let test = summary(&at.join("out"))["test"].clone();
    assert_eq!(test["n"], 8);
    // It is what `evaluate` says of these photos with the best checkpoint.
    let test_sides = sides(&at.join("out")).remove("test").expect("test images");
    for class in std::fs::read_dir(at.join("photos")).expect("classes").flatten() {
        std::fs::create_dir_all(at.join("kept").join(class.file_name())).expect("made");
    }
    test_sides.iter().for_each(|path| drop(std::fs::copy(at.join("photos").join(path), at.join("kept").join(path))));
    let empty = |class: &std::fs::DirEntry| std::fs::read_dir(class.path()).expect("a class").next().is_none();
    let classes: Vec<_> = std::fs::read_dir(at.join("kept")).expect("classes").flatten().collect();
    classes.iter().filter(|class| empty(class)).for_each(|class| std::fs::remove_dir(class.path()).expect("removed"));
    let evaluated = run(at, &["evaluate", "kept", "--run", "out", "--json"]).json();
    assert_eq!((&evaluated["accuracy"], &evaluated["images"]), (&test["accuracy"], &test["n"]));
    // The validation images are those without a test, and a finished run is not tested again.
    on_photos(at, 16, "validation_split = 0.2");
    run(at, &["train", "photos.toml", "--run-dir", "without"]).succeeds();
    assert_eq!(sides(&at.join("without"))["validation"], sides(&at.join("out"))["validation"]);
    let before = std::fs::read(at.join("out/summary.json")).expect("there");
    run(at, &["train", "--resume", "out"]).succeeds();
    assert_eq!(std::fs::read(at.join("out/summary.json")).expect("there"), before);
}

#[test]
fn a_list_of_sides_gives_the_same_run_again() {
    let at = folder();
    let at = at.path();
    on_photos(at, 8, "validation_split = 0.25\ntest_split = 0.1\nstratify = true");
    run(at, &["train", "photos.toml", "--run-dir", "first"]).succeeds();
    let counts = |run: &Path| sides(run).into_iter().map(|(side, images)| (side, images.len())).collect::<Vec<_>>();
    let expected = [("test", 5), ("train", 25), ("validation", 10)].map(|(side, count)| (side.to_owned(), count));
    assert_eq!(counts(&at.join("first")), expected, "each class has the same share of each side");
    on_photos(at, 8, "split = \"first/split.csv\"");
    std::fs::rename(at.join("photos/roses/0.jpg"), at.join("photos/roses/renamed.jpg")).ok();
    run(at, &["train", "photos.toml", "--run-dir", "again"]).succeeds();
    assert_eq!(history(&at.join("again")), history(&at.join("first")));
    assert_same_weights(&at.join("again"), &at.join("first"));
    // A photo that the list does not name is not used, and one that it names must be there.
    let some = std::fs::read_dir(at.join("photos/tulips")).expect("a class").flatten().next().expect("a photo").path();
    std::fs::copy(&some, at.join("photos/tulips/more.jpg")).expect("copied");
    let ran = run(at, &["train", "photos.toml", "--dry-run"]);
    contains(&ran.err, &["1 of 41 images in photos are not in the list first/split.csv, and are not used"]);
    std::fs::remove_file(at.join("photos/tulips/more.jpg")).expect("removed");
    std::fs::remove_file(&some).expect("removed");
    let error = run(at, &["train", "photos.toml", "--dry-run"]).fails();
    contains(&error, &["data.split: first/split.csv: 1 of 40 images are not in photos: tulips/"]);
    std::fs::write(at.join("bad.csv"), "path,side\nroses/0.jpg,spare\n").expect("written");
    on_photos(at, 8, "split = \"bad.csv\"");
    let error = run(at, &["train", "photos.toml", "--dry-run"]).fails();
    contains(&error, &["bad.csv: line 2: the side is 'spare', and it must be train, validation or test"]);
}

#[test]
fn photos_of_one_group_stay_together_in_splits_and_in_cross_validation() {
    let at = folder();
    let at = at.path();
    on_photos(at, 12, "validation_split = 0.25\ngroup = { pattern = '^(\\w+)-' }");
    // Two photos of each session, which has photos of every class.
    for class in std::fs::read_dir(at.join("photos")).expect("classes").flatten() {
        let photos = std::fs::read_dir(class.path()).expect("a class").flatten();
        for (number, photo) in photos.enumerate() {
            let name = format!("session{}-{number}.png", number / 2);
            std::fs::rename(photo.path(), class.path().join(name)).expect("renamed");
        }
    }
    let plan = run(at, &["train", "photos.toml", "--run-dir", "out"]).succeeds();
    contains(&plan, &["6 groups, none of which is divided by a split"]);
    let session = |path: &String| path.rsplit('/').next().and_then(|name| name.split('-').next()).map(str::to_owned);
    let of = |side: &str| sides(&at.join("out"))[side].iter().filter_map(session).collect::<BTreeSet<_>>();
    assert!(of("train").is_disjoint(&of("validation")) && !of("validation").is_empty());
    let error = run(at, &["cv", "photos.toml", "--folds", "7"]).fails();
    contains(&error, &["at least 7 images or groups, and there are 6"]);
    run(at, &["cv", "photos.toml", "--folds", "3"]).succeeds();
    on_photos(at, 12, "validation_split = 0.25\ngroup = { pattern = '^(\\d+)x' }");
    let error = run(at, &["train", "photos.toml", "--dry-run"]).fails();
    contains(&error, &["data.group: the name of no image matches the pattern"]);
}

#[test]
fn a_photo_on_both_sides_of_the_split_is_told_moved_or_refused() {
    let at = folder();
    let at = at.path();
    run(at, &["generate", "flowers", "drawn", "--train", "12", "--validation", "4", "--size", "40"]).succeeds();
    experiment(at, "root = \"drawn\"");
    let first = |half: &str, class: &str| {
        let photos = std::fs::read_dir(at.join("drawn").join(half).join(class)).expect("a class").flatten();
        photos.map(|photo| photo.path()).min().expect("a photo")
    };
    // One photo under its own class on both sides, and one under two classes of training.
    std::fs::copy(first("train", "roses"), at.join("drawn/validation/roses/copy.png")).expect("copied");
    std::fs::copy(first("train", "tulips"), at.join("drawn/train/roses/other.png")).expect("copied");
    let ran = run(at, &["train", "photos.toml", "--run-dir", "warn"]);
    contains(
        &ran.err,
        &[
            "1 pair of copies stands on two sides of the split (1 exact): train/roses/",
            "and validation/roses/copy.png",
            "1 pair of copies stands under two classes (1 exact): train/roses/other.png and train/tulips/",
            "data.on_leak = \"move\" keeps copies on one side; leaks.csv names all pairs",
        ],
    );
    assert_eq!(ran.err.matches("on two sides of the split").count(), 1, "it is told once");
    let leaks = table(&at.join("warn/leaks.csv"));
    assert_eq!(leaks[0].join(","), "a,b,kind,similarity,across,a_side,b_side,a_class,b_class");
    let across: Vec<&str> = leaks[1..].iter().map(|row| row[4].as_str()).collect();
    assert_eq!(across[..2], ["split", "class"]);
    assert_eq!(summary(&at.join("warn"))["leaks"]["across_split"], 1);

    run(at, &["train", "photos.toml", "--run-dir", "off", "--set", "data.on_leak=off"]).succeeds();
    assert!(!at.join("off/leaks.csv").exists());
    assert_same_weights(&at.join("off"), &at.join("warn"));

    let error = run(at, &["train", "photos.toml", "--run-dir", "error", "--set", "data.on_leak=error"]).fails();
    contains(&error, &["on two sides of the split", "data.on_leak = \"move\" keeps copies on one side"]);
    assert!(!at.join("error").exists(), "nothing was trained");
    let dry = run(at, &["train", "photos.toml", "--dry-run", "--set", "data.on_leak=error"]).fails();
    contains(&dry, &["on two sides of the split", "data.on_leak = \"warn\" trains nevertheless"]);
    run(at, &["train", "photos.toml", "--dry-run"]).succeeds();

    // What was moved is in the list, and a run that goes on keeps it.
    let moving = ["--set", "data.on_leak=move"];
    let ran = run(at, &[&["train", "photos.toml", "--run-dir", "move"], &moving[..]].concat());
    contains(&ran.err, &["1 photo was moved, so that its copies stand on one side"]);
    assert!(!ran.out.contains("two sides of the split"), "they no longer are: {}", ran.out);
    assert!(sides(&at.join("move"))["train"].contains("validation/roses/copy.png"));
    assert_eq!(summary(&at.join("move"))["images"]["validation"][2], 4);
    let short = ["--set", "phases.1.epochs=2"];
    run(at, &[&["train", "photos.toml", "--run-dir", "short"], &moving[..], &short].concat()).succeeds();
    run(at, &["train", "--resume", "short", "--set", "phases.1.epochs=4"]).succeeds();
    assert_eq!(history(&at.join("short")), history(&at.join("move")));
    assert_same_weights(&at.join("short"), &at.join("move"));
    assert_eq!(summary(&at.join("short"))["leaks"], summary(&at.join("move"))["leaks"]);

    // No side is the right one for a photo that has a wrong class.
    std::fs::remove_file(at.join("drawn/validation/roses/copy.png")).expect("removed");
    let error = run(at, &["train", "photos.toml", "--run-dir", "error", "--set", "data.on_leak=error"]).fails();
    contains(&error, &["stands under two classes", "keep each photo in its own class alone; data.on_leak = \"warn\""]);
    assert!(!error.contains("move"), "{error}");
}

#[test]
fn two_runs_on_the_same_photos_are_told_apart_or_not() {
    let at = folder();
    let at = at.path();
    run(at, &["train", "tiny.toml", "--run-dir", "one"]).succeeds();
    run(at, &["train", "tiny.toml", "--run-dir", "two", "--set", "cache.keep=false"]).succeeds();
    let json = run(at, &["compare", "one", "two", "--json"]).json();
    assert_eq!((&json["runs"][1]["run"], &json["gains"][0]["over"]), (&"two".into(), &"two".into()), "{json}");
    assert!(json["runs"][0]["best"]["value"].is_number() && json["runs"][0]["asymptote"].is_number(), "{json}");
    let text = run(at, &["compare", "one", "two"]).succeeds();
    contains(
        &text,
        &[
            "one and two cannot be told apart on 20 photos, because they are right equally often (difference +0.0000",
            "p = 1.000, n = 20",
            "best val_accuracy 0.",
            "n = 20)",
        ],
    );
}

#[test]
fn a_single_training_image_gives_no_probe_and_ends_no_run() {
    let at = folder();
    on_photos(at.path(), 1, "validation_split = 0.9");
    let ran = run(at.path(), &["train", "photos.toml", "--run-dir", "out"]);
    let text = ran.err.clone() + &ran.succeeds();
    contains(&text, &["1 to train", "no probe: ", "best "]);
}

#[test]
fn features_that_are_equal_for_all_images_are_told() {
    let at = folder();
    on_photos(at.path(), 4, "validation_split = 0.25\non_leak = \"off\"");
    let train = |out: &str| run(at.path(), &["train", "photos.toml", "--run-dir", out]);
    let told = "training images are equal, so that nothing can be learned from them";
    let ran = train("different");
    assert!(!ran.err.contains(told), "{}", ran.err);
    ran.succeeds();
    // As weights that are zeros do, equal images give equal features.
    let classes = std::fs::read_dir(at.path().join("photos")).expect("there").map(|class| class.expect("read").path());
    let files =
        classes.flat_map(|class| std::fs::read_dir(class).expect("there").map(|file| file.expect("read").path()));
    let files: Vec<_> = files.collect();
    let first = std::fs::read(&files[0]).expect("there");
    files.iter().for_each(|file| std::fs::write(file, &first).expect("written"));
    let ran = train("equal");
    let text = ran.err.clone() + &ran.succeeds();
    contains(&text, &["the features of the first ", told]);
}
