//! `injerto train --resume`, and what a start that fails leaves.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::train::{TINY, assert_same_weights, folder, history};
use crate::{contains, injerto, run};

/// The experiment on drawn photos in a folder, of which a quarter validates.
fn on_photos(at: &Path) {
    run(at, &["generate", "flowers", "drawn", "--train", "6", "--validation", "1", "--size", "40"]).succeeds();
    std::fs::rename(at.join("drawn/train"), at.join("photos")).expect("renamed");
    let drawn = "generated = \"flowers\"\ntrain_per_class = 12\nvalidation_per_class = 4";
    let text = TINY.replace(drawn, "root = \"photos\"\nvalidation_split = 0.25");
    std::fs::write(at.join("photos.toml"), text).expect("written");
}

/// A run of these epochs, to its end.
fn trained(at: &Path, file: &str, out: &str, epochs: [usize; 2]) {
    let sets = [0, 1].map(|phase| format!("phases.{phase}.epochs={}", epochs[phase]));
    run(at, &["train", file, "--run-dir", out, "--set", &sets[0], "--set", &sets[1]]).succeeds();
}

/// Goes on with a run.
fn resume(at: &Path, out: &str, rest: &[&str]) -> crate::Ran {
    run(at, &[&["train", "--resume", out], rest].concat())
}

/// `summary.json` without what a clock, a scale or a folder says.
fn summary(run: &Path) -> Value {
    let text = std::fs::read_to_string(run.join("summary.json")).expect("there");
    let mut summary: Value = serde_json::from_str(&text).expect("JSON");
    let fields = summary.as_object_mut().expect("a table");
    for clock in ["seconds", "images_per_second", "peak_memory_bytes"] {
        assert!(fields.shift_remove(clock).is_some(), "{clock}");
    }
    if let Some(probe) = fields.get_mut("probe") {
        probe["seconds"] = Value::Null;
    }
    for phase in fields["phases"].as_array_mut().expect("a list") {
        phase["seconds"] = Value::Null;
        phase["history"].as_array_mut().expect("a list").iter_mut().for_each(|record| record["seconds"] = Value::Null);
    }
    summary
}

fn csv(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("history.csv")).expect("there");
    text.lines().map(|line| line.rsplit_once(',').expect("columns").0.to_owned()).collect()
}

#[test]
fn a_run_gets_more_epochs_from_any_folder_and_ends_as_a_longer_one() {
    let at = folder();
    let at = at.path();
    on_photos(at);
    trained(at, "photos.toml", "longer", [2, 5]);
    trained(at, "photos.toml", "run", [2, 2]);
    let elsewhere = at.join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    let out = at.join("run").display().to_string();
    resume(&elsewhere, &out, &["--set", "phases.1.epochs=4"]).succeeds();
    resume(&elsewhere, &out, &["--set", "phases.1.epochs=5"]).succeeds();
    let (run, longer) = (at.join("run"), at.join("longer"));
    assert_eq!(history(&run), history(&longer));
    assert_eq!(csv(&run), csv(&longer));
    assert_eq!(summary(&run), summary(&longer));
    assert_same_weights(&run, &longer);
    // Once more there is nothing to do, and nothing is touched.
    let before = std::fs::read(run.join("summary.json")).expect("there");
    resume(&elsewhere, &out, &[]).succeeds();
    assert_eq!(std::fs::read(run.join("summary.json")).expect("there"), before);
    contains(
        &resume(&elsewhere, &out, &["--set", "phases.0.epochs=3"]).fails(),
        &["phase 'head' cannot go on: it is finished"],
    );
    contains(
        &resume(&elsewhere, &out, &["--set", "phases.1.epochs=1"]).fails(),
        &["its `epochs` is 1 now, but 5 are complete"],
    );
}

#[test]
fn a_run_goes_on_with_what_it_began_with() {
    let at = folder();
    let at = at.path();
    trained(at, "tiny.toml", "out", [1, 1]);
    let file = at.join("out/experiment.toml");
    let whole = std::fs::read_to_string(&file).expect("there");
    let edited = |from: &str, to: &str, key: &str| {
        assert!(whole.contains(from), "{from} in {whole}");
        std::fs::write(&file, whole.replacen(from, to, 1)).expect("written");
        let error = resume(at, "out", &["--set", "phases.1.epochs=2"]).fails();
        contains(&error, &["out: the run cannot go on with a changed experiment: ", key]);
        std::fs::write(&file, &whole).expect("written");
    };
    edited("seed = 7", "seed = 8", "seed was 7 and is now 8");
    edited(
        "learning_rate = 0.001",
        "learning_rate = 0.01",
        "phases.0.optimizer.learning_rate was 0.001 and is now 0.01",
    );
    edited("unfreeze = \"all\"", "unfreeze = { last = 2 }", "phases.1.unfreeze");
    let set = |set: &str, parts: &[&str]| contains(&resume(at, "out", &["--set", set]).fails(), parts);
    set("data.batch_size=4", &["data.batch_size was 8 and is now 4"]);
    set("checkpoint.monitor=val_loss", &["checkpoint.monitor"]);
    set("data.batch_siz=4", &["did you mean `batch_size`?"]);
    // What decides nothing of what is trained may change.
    resume(at, "out", &["--set", "cache.memory_mb=1", "--set", "phases.1.epochs=2"]).succeeds();
    assert_eq!(history(&at.join("out")).len(), 3);
}

/// The photos of a folder, in their order.
fn photos(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("there").flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Which image is on which side: the lines of `split.csv`, path and side by content.
fn sides(run: &Path) -> std::collections::BTreeMap<String, String> {
    let text = std::fs::read_to_string(run.join("split.csv")).expect("there");
    let side = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[3].to_owned(), fields[2].to_owned())
    };
    text.lines().skip(1).map(side).collect()
}

#[test]
fn images_that_have_changed_are_told_and_taken_only_if_allowed() {
    let at = folder();
    let at = at.path();
    on_photos(at);
    trained(at, "photos.toml", "out", [1, 1]);
    let out = at.join("out");
    let before = sides(&out);
    let further = ["--set", "phases.1.epochs=2"];
    // One photo more of a class, one fewer of another, and one that is another photo under the old name.
    let (roses, tulips) = (photos(&at.join("photos/roses")), photos(&at.join("photos/tulips")));
    let new = photos(&at.join("drawn/validation/roses")).remove(0);
    std::fs::copy(&new, at.join("photos/roses/new.png")).expect("copied");
    std::fs::remove_file(&tulips[0]).expect("removed");
    std::fs::write(&roses[1], std::fs::read(photos(&at.join("drawn/validation/tulips")).remove(0)).expect("read"))
        .expect("written");
    let error = resume(at, "out", &further).fails();
    contains(
        &error,
        &[
            "out: the images have changed since the run began: ",
            "1 file added, 1 file removed, 1 file replaced",
            "the split moved",
            "--changed-data",
        ],
    );
    assert_eq!(history(&out).len(), 2, "nothing was trained");
    resume(at, "out", &[&further[..], &["--changed-data"]].concat()).succeeds();
    assert_eq!(history(&out).len(), 3);
    let after = sides(&out);
    for (content, side) in &after {
        assert!(before.get(content).is_none_or(|was| was == side), "{content} was on the other side");
    }
    assert_eq!(after.keys().filter(|content| !before.contains_key(*content)).count(), 2);
    // From here on the images are what they are now.
    resume(at, "out", &["--set", "phases.1.epochs=3"]).succeeds();
    assert_eq!(sides(&out), after);
    // Photos that lie elsewhere are the same photos.
    std::fs::rename(at.join("photos"), at.join("moved")).expect("renamed");
    contains(&resume(at, "out", &[]).fails(), &["data.root", "photos"]);
    resume(at, "out", &["--set", "phases.1.epochs=4", "--set", "data.root=moved"]).succeeds();
    assert_eq!(sides(&out), after);
    // Without the list nobody knows what was trained on: that is said before and after.
    std::fs::rename(out.join("split.csv"), at.join("split.csv")).expect("moved");
    std::fs::copy(&new, at.join("moved/roses/newer.png")).expect("copied");
    let further = ["--set", "phases.1.epochs=5"];
    contains(&resume(at, "out", &further).fails(), &["some that were trained on may become validation images"]);
    let ran = resume(at, "out", &[&further[..], &["--changed-data"]].concat());
    contains(&ran.err, &["warning: the images have changed, and no split.csv says which were trained on"]);
    ran.succeeds();
    // Two classes that were exchanged are told as such: the photos are known by what is in them.
    let exchange = || {
        for (from, to) in [("roses", "other"), ("tulips", "roses"), ("other", "tulips")] {
            std::fs::rename(at.join("moved").join(from), at.join("moved").join(to)).expect("renamed");
        }
    };
    exchange();
    let error = resume(at, "out", &["--set", "phases.1.epochs=6"]).fails();
    contains(&error, &["files moved to another class (", " from roses to tulips", " from tulips to roses"]);
    assert!(!error.contains("added") && !error.contains("removed"), "{error}");
    exchange();
    // Other classes are another task, whatever is allowed.
    std::fs::rename(at.join("moved/roses"), at.join("moved/rose")).expect("renamed");
    for rest in [&[][..], &["--changed-data"]] {
        let error = resume(at, "out", &[&["--set", "phases.1.epochs=6"], rest].concat()).fails();
        contains(&error, &["out: the run cannot go on with other classes: missing roses, new rose; give the folders"]);
    }
}

#[test]
fn a_run_whose_last_checkpoint_is_gone_does_not_begin_anew() {
    let at = folder();
    let at = at.path();
    trained(at, "tiny.toml", "out", [1, 1]);
    let kept = std::fs::read(at.join("out/best.safetensors")).expect("there");
    std::fs::rename(at.join("out/last.safetensors"), at.join("last.safetensors")).expect("moved");
    let check = |part: &str| {
        contains(&resume(at, "out", &[]).fails(), &["last.safetensors: it is missing, although ", part]);
        assert!(std::fs::read(at.join("out/best.safetensors")).expect("there") == kept);
    };
    check("the history lists 2 finished epochs; the run cannot go on from it");
    assert!(history(&at.join("out")).len() == 2);
    // Whatever is left of the run says that there was one.
    std::fs::remove_file(at.join("out/history.jsonl")).expect("removed");
    check("the history lists 2 finished epochs");
    std::fs::remove_file(at.join("out/history.csv")).expect("removed");
    check("summary.json exists");
    // One that is not whole is named once.
    std::fs::write(at.join("out/last.safetensors"), "").expect("written");
    let error = resume(at, "out", &[]).fails();
    assert_eq!(error.matches("last.safetensors").count(), 1, "{error}");
}

#[test]
fn a_file_of_a_run_is_not_its_folder() {
    let at = folder();
    std::fs::write(at.path().join("a.toml"), "").expect("written");
    contains(&resume(at.path(), "a.toml", &[]).fails(), &["a.toml: this is a file; name the folder of the run"]);
    contains(&resume(at.path(), ".", &[]).fails(), &["./experiment.toml: no such file; this is not a run's folder"]);
}

#[test]
fn a_run_whose_best_checkpoint_is_gone_says_so() {
    let at = folder();
    let at = at.path();
    trained(at, "tiny.toml", "out", [1, 1]);
    let best = at.join("out/best.safetensors");
    std::fs::remove_file(&best).expect("removed");
    let error = run(at, &["predict", "photo.jpg", "--run", "out"]).fails();
    contains(&error, &["out: there is no best.safetensors in this folder: it holds no run, or no epoch"]);
    // A damaged one is told before an epoch is trained.
    std::fs::write(&best, b"").expect("written");
    let error = resume(at, "out", &[]).fails();
    contains(
        &error,
        &["out/best.safetensors: not readable as safetensors: it is empty", "delete it to continue without"],
    );
    std::fs::remove_file(&best).expect("removed");
    let ran = resume(at, "out", &[]);
    contains(&ran.err, &["out/best.safetensors is missing: the weights of epoch ", "unless a later epoch is better"]);
    ran.succeeds();
}

#[test]
fn a_run_goes_on_without_the_weight_file_that_it_began_with() {
    let at = folder();
    let at = at.path();
    trained(at, "tiny.toml", "first", [1, 1]);
    run(at, &["export", "first", "w.safetensors", "--backbone"]).succeeds();
    let set = ["--set", "backbone.weights=w.safetensors", "--set", "phases.1.epochs=2"];
    for out in ["with", "without"] {
        run(at, &[&["train", "tiny.toml", "--run-dir", out], &set[..]].concat()).succeeds();
    }
    resume(at, "with", &["--set", "phases.1.epochs=3"]).succeeds();
    std::fs::remove_file(at.join("w.safetensors")).expect("removed");
    let ran = resume(at, "without", &["--set", "phases.1.epochs=3"]);
    contains(&ran.err, &["the run goes on with the backbone's weights of "]);
    ran.succeeds();
    assert_same_weights(&at.join("with"), &at.join("without"));
    assert_eq!(summary(&at.join("with")), summary(&at.join("without")));
}

#[test]
fn numbers_of_seventeen_digits_are_those_that_were_written() {
    let at = folder();
    let at = at.path();
    for (at_digit, dropout) in
        ["0.47122514188852516", "0.30000000000000004", "0.12345678901234567"].into_iter().enumerate()
    {
        let (out, set) = (format!("out{at_digit}"), format!("head.dropout={dropout}"));
        let short = ["--set", "phases.0.epochs=1", "--set", "phases.1.epochs=1"];
        run(at, &[&["train", "tiny.toml", "--run-dir", &out, "--set", &set], &short[..]].concat()).succeeds();
        resume(at, &out, &["--set", "phases.1.epochs=2"]).succeeds();
    }
}

#[test]
fn a_start_that_fails_leaves_nothing_and_a_dry_run_refuses_it_too() {
    let at = folder();
    let at = at.path();
    on_photos(at);
    std::fs::write(at.join("photos/roses/broken.jpg"), "no image").expect("written");
    let check = |file: &str, sets: &[&str], parts: &[&str], dry: bool| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        for rest in [&["--run-dir", "a/b/out"][..], &[]] {
            contains(&run(at, &[&["train", file], &sets[..], rest].concat()).fails(), parts);
            assert!(!at.join("a").exists() && !at.join("runs").exists(), "{parts:?}");
        }
        if dry {
            contains(&run(at, &[&["train", file, "--dry-run"], &sets[..]].concat()).fails(), parts);
        }
    };
    let blind = "train_per_class = 12\nvalidation_per_class = 4";
    std::fs::create_dir_all(at.join("blind/train")).expect("made");
    for class in ["roses", "tulips"] {
        std::fs::create_dir(at.join("blind").join(class)).expect("made");
        for photo in photos(&at.join("photos").join(class)).iter().filter(|photo| !photo.ends_with("broken.jpg")) {
            std::fs::copy(photo, at.join("blind").join(class).join(photo.file_name().expect("a name")))
                .expect("copied");
        }
    }
    std::fs::remove_dir(at.join("blind/train")).expect("removed");
    let text = TINY.replace(&format!("generated = \"flowers\"\n{blind}"), "root = \"blind\"");
    std::fs::write(at.join("blind.toml"), text).expect("written");
    check("blind.toml", &[], &["cannot monitor 'val_accuracy': there are no validation images"], true);
    check("tiny.toml", &["backbone.weights=nowhere.h5"], &["nowhere.h5"], true);
    check(
        "tiny.toml",
        &["checkpoint.mode=min"],
        &["would take the epoch with the lowest val_accuracy for the best"],
        true,
    );
    check("photos.toml", &[], &["broken.jpg"], false);
    // A folder that cannot be made, one that would be taken for a class, and one with a file that a run would write over.
    std::fs::create_dir_all(at.join("mine")).expect("made");
    std::fs::write(at.join("mine/split.csv"), "my own").expect("written");
    for (out, part) in [
        ("tiny.toml/out", "tiny.toml/out: "),
        ("blind", "blind: this folder lies among the folders of the classes, in "),
        ("blind/runs/a", "would be taken for a class; name a folder elsewhere with `--run-dir`"),
        ("mine", "mine/split.csv: this file exists already, and the run would overwrite it"),
    ] {
        for rest in [&[][..], &["--dry-run"]] {
            let begin = ["train", "blind.toml", "--set", "checkpoint.monitor=loss", "--run-dir", out];
            contains(&run(at, &[&begin, rest].concat()).fails(), &[part]);
        }
    }
    assert_eq!(std::fs::read_to_string(at.join("mine/split.csv")).expect("there"), "my own");
    assert_eq!(photos(&at.join("blind")).len(), 2, "two classes");
    // The corrected one begins where the other failed.
    run(at, &["train", "blind.toml", "--run-dir", "a/b/out", "--set", "checkpoint.monitor=loss"]).succeeds();
    let taken = run(at, &["train", "tiny.toml", "--run-dir", "a/b/out", "--dry-run"]);
    contains(&taken.fails(), &["there is a run in this folder already"]);
}

#[test]
fn runs_that_begin_at_once_have_folders_of_their_own() {
    let at = folder();
    let at = at.path();
    let begin = |seed: usize| {
        let mut command = injerto(at);
        let sets = [format!("seed={seed}"), "phases.0.epochs=1".to_owned(), "phases.1.epochs=1".to_owned()];
        command.arg("train").arg("tiny.toml").args(sets.iter().flat_map(|set| ["--set", set.as_str()]));
        command.stdout(std::process::Stdio::null()).spawn().expect("it starts")
    };
    let children: Vec<_> = (0..6).map(begin).collect();
    for mut child in children {
        assert!(child.wait().expect("a child").success());
    }
    let runs = photos(&at.join("runs"));
    let mut seeds: Vec<u64> = runs.iter().map(|run| summary(run)["seed"].as_u64().expect("a seed")).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [0, 1, 2, 3, 4, 5]);
}

#[cfg(unix)]
#[test]
fn one_process_trains_in_a_folder_at_a_time() {
    let at = folder();
    let at = at.path();
    let mut command = injerto(at);
    command.args(["train", "tiny.toml", "--set", "phases.1.epochs=400", "--run-dir", "out"]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("it starts");
    while history(&at.join("out")).is_empty() {
        assert!(child.try_wait().expect("a child").is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let error = resume(at, "out", &[]).fails();
    contains(&error, &["out: another process is training in this folder", "injerto train --resume out"]);
    child.kill().expect("killed");
    child.wait().expect("a child");
    std::fs::write(at.join("out/.partial-left"), "half").expect("written");
    let done = history(&at.join("out")).len();
    resume(at, "out", &["--set", &format!("phases.1.epochs={}", done + 2)]).succeeds();
    assert!(!at.join("out/.partial-left").exists(), "what the killed process left is gone");
}
