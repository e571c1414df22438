//! `injerto features`, `injerto predict --out` and `injerto gather`: work on very many photos, part by part.

use std::fs;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Command;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use injerto_files::Writer;
use injerto_shards::{Gathered, Row};

use crate::train::{assert_same_weights, folder, history};
use crate::{Ran, contains, injerto, run};

/// A folder `drawn/train` with 30 photos, six per class.
fn drawn() -> tempfile::TempDir {
    let at = tempfile::tempdir().expect("a folder");
    run(at.path(), &["generate", "flowers", "drawn", "--train", "6", "--validation", "2", "--size", "32"]).succeeds();
    at
}

/// A small network with weights from a seed, which says the same on every machine.
const SMALL: [&str; 3] = ["features", "small_cnn", "drawn/train"];
const SETS: [&str; 4] = ["--set", "backbone.weights=none", "--set", "data.image_size=[32,32]"];

fn features(at: &Path, words: &[&str]) -> Ran {
    run(at, &[&SMALL, words, &SETS].concat())
}

/// The rows of the shards in a folder, sorted by their keys.
pub(crate) fn rows(folder: &Path) -> Vec<Row> {
    let gathered = Gathered::open(&[folder.to_owned()]).expect("gathered");
    let mut rows: Vec<Row> = gathered.rows(true).collect::<Result<_, _>>().expect("read");
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

#[test]
fn features_of_eight_shards_are_those_of_one_process_bit_for_bit() {
    let at = drawn();
    let at = at.path();
    contains(
        &features(at, &["--out", "one"]).succeeds(),
        &["shard 0/1  30 photos in ", "one/shard-00000-of-00001.parquet"],
    );
    for index in 0..8 {
        features(at, &["--out", "eight", "--shard", &format!("{index}/8")]).succeeds();
    }
    let (one, eight) = (rows(&at.join("one")), rows(&at.join("eight")));
    assert_eq!((one.len(), one[0].key.as_str()), (30, "daisy/00000.png"));
    let bits = |rows: &[Row]| -> Vec<Vec<u32>> {
        rows.iter().map(|row| row.features.iter().map(|x| x.to_bits()).collect()).collect()
    };
    // In each shard other photos share a batch.
    assert_eq!(bits(&one), bits(&eight));
    assert!(one.iter().all(|row| row.features.len() > 1 && row.features.iter().any(|x| *x != 0.0)));
    assert_eq!(
        one.iter().map(|row| &row.label).collect::<Vec<_>>(),
        eight.iter().map(|row| &row.label).collect::<Vec<_>>()
    );
    let said = run(at, &["gather", "eight"]).succeeds();
    contains(&said, &["network    small_cnn", "7/8"]);
    assert_eq!(said.lines().last(), Some("30 photos in 8 shards"));
}

#[test]
fn the_environment_says_which_shard_a_task_computes() {
    let at = drawn();
    let started = |variables: &[(&str, &str)]| {
        let mut command = injerto(at.path());
        command.args([&SMALL[..], &["--out", "out"], &SETS].concat()).envs(variables.iter().copied());
        let output = command.output().expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    };
    let slurm = [("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_COUNT", "4")];
    contains(&started(&slurm).succeeds(), &["shard 1/4  ", "shard-00001-of-00004.parquet"]);
    contains(&started(&[("JOB_COMPLETION_INDEX", "3"), ("INJERTO_SHARDS", "4")]).succeeds(), &["shard 3/4  "]);
    contains(&started(&[("JOB_COMPLETION_INDEX", "3")]).fails(), &["JOB_COMPLETION_INDEX", "INJERTO_SHARDS"]);
    let ran = run(at.path(), &["gather", "out"]);
    assert_eq!(ran.out.lines().last().map(|line| line.ends_with("photos in 2 shards")), Some(true), "{}", ran.out);
    contains(&ran.fails(), &["out: the shards 0/4, 2/4 are missing"]);
}

#[test]
fn results_among_the_photos_are_no_input() {
    let at = drawn();
    let at = at.path();
    // The second shard sees what the first one has left, and the first one starts again.
    for (shard, expected) in [("0/2", "/2  "), ("1/2", "/2  "), ("0/2", "skipped: ")] {
        contains(&features(at, &["--out", "drawn/train/features", "--shard", shard]).succeeds(), &[expected]);
    }
    let said = run(at, &["gather", "drawn/train/features"]).succeeds();
    assert_eq!(said.lines().last(), Some("30 photos in 2 shards"));
    // Where they are named, they are tables: each row names a photo, which lies elsewhere.
    let table = "drawn/train/features/shard-00000-of-00002.parquet";
    let named = run(at, &[&["features", "small_cnn", table, "--out", "again"][..], &SETS].concat());
    contains(&named.succeeds(), &["shard 0/1  "]);
}

#[test]
fn a_shard_that_is_done_is_skipped_and_one_with_a_new_photo_is_not() {
    let at = drawn();
    let at = at.path();
    features(at, &["--out", "out"]).succeeds();
    contains(
        &features(at, &["--out", "out"]).succeeds(),
        &["30 photos, skipped: out/shard-00000-of-00001.parquet exists already"],
    );
    fs::write(at.join("drawn/train/daisy/bad.png"), b"no photo").expect("written");
    // A photo that cannot be read is a row, and no failure.
    contains(
        &features(at, &["--out", "out"]).succeeds(),
        &["31 photos, 1 without an answer (the column 'error' says why) in "],
    );
    let rows = rows(&at.join("out"));
    let bad = rows.iter().find(|row| row.key == "daisy/bad.png").expect("a row");
    assert!(bad.error.as_deref().is_some_and(|error| !error.contains("bad.png")), "{:?}", bad.error);
    // Other numbers are another network.
    contains(
        &features(at, &["--out", "out", "--set", "cache.precision=f16"]).succeeds(),
        &["31 photos, 1 without an answer"],
    );
    contains(
        &run(at, &["gather", "out"]).succeeds(),
        &[" as f16", "31 photos in 1 shard, 1 of them without an answer"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_shard_whose_process_is_killed_is_computed_by_the_next_one() {
    let at = drawn();
    let at = at.path();
    features(at, &["--out", "expected"]).succeeds();
    // So many photos that the process is still busy when it is found to have begun.
    fs::create_dir(at.join("many")).expect("made");
    for row in rows(&at.join("expected")) {
        let (photo, name) = (at.join("drawn/train").join(&row.key), row.key.replace('/', "-"));
        (0..40).for_each(|copy| fs::hard_link(&photo, at.join(format!("many/{copy}-{name}"))).expect("linked"));
    }
    let words = [&["features", "small_cnn", "many", "--out", "out"][..], &SETS].concat();
    let mut child = injerto(at).args(&words).spawn().expect("it starts");
    let (began, out) = (Instant::now(), at.join("out"));
    let unfinished = || injerto_files::unfinished(&out).len();
    let is_written = || injerto_files::unfinished(&out).iter().any(|file| file.writer == Writer::Alive);
    while !is_written() {
        assert!(began.elapsed() < Duration::from_secs(120), "it never began to write");
        std::thread::sleep(Duration::from_millis(5));
    }
    // It is halted and not yet killed, so that it neither ends nor goes on: nobody takes its file away.
    let halted = Command::new("kill").args(["-STOP", &child.id().to_string()]).status();
    assert!(halted.expect("kill starts").success());
    run(at, &[&words[..], &["--shard", "0/9"]].concat()).succeeds();
    assert_eq!(unfinished(), 1);
    contains(&run(at, &["gather", "out"]).fails(), &["out: 1 unfinished file (", "): being written"]);
    child.kill().expect("killed");
    child.wait().expect("ended");
    contains(
        &run(at, &["gather", "out"]).fails(),
        &[
            "out: 1 unfinished file (",
            "left by processes that were killed; the next shard that is computed there removes it",
        ],
    );
    fs::remove_file(out.join("shard-00000-of-00009.parquet")).expect("removed");
    contains(&run(at, &words).succeeds(), &["shard 0/1  1,200 photos in "]);
    assert_eq!(unfinished(), 0);
    let (expected, found) = (rows(&at.join("expected")), rows(&out));
    assert_eq!(found.len(), 1200);
    for row in found {
        let same = expected.iter().find(|it| it.sha256 == row.sha256).expect("a copy of one of them");
        assert_eq!(row.features, same.features);
    }
}

#[test]
fn a_run_says_what_it_sees_and_what_it_thinks_part_by_part() {
    let at = folder();
    let at = at.path();
    run(at, &["train", "tiny.toml", "--run-dir", "out"]).succeeds();
    run(at, &["generate", "flowers", "drawn", "--train", "2", "--validation", "2", "--size", "32"]).succeeds();
    for index in ["0/2", "1/2"] {
        run(at, &["predict", "--run", "out", "drawn/train", "--out", "said", "--shard", index]).succeeds();
        run(at, &["features", "out", "drawn/train", "--out", "seen", "--shard", index]).succeeds();
    }
    contains(&run(at, &["gather", "said"]).succeeds(), &["5 classes", "10 photos in 2 shards"]);
    contains(&run(at, &["gather", "seen"]).succeeds(), &["10 photos in 2 shards"]);
    assert!(rows(&at.join("seen")).iter().all(|row| !row.features.is_empty()));
    // Another threshold may give other answers.
    let again = ["predict", "--run", "out", "drawn/train", "--out", "said", "--shard", "0/2"];
    contains(&run(at, &again).succeeds(), &["skipped"]);
    let ran = run(at, &[&again[..], &["--threshold", "0.9"]].concat()).succeeds();
    assert!(!ran.contains("skipped"), "{ran}");
    contains(&run(at, &["predict", "--run", "out", "drawn/train", "--shard", "0/2"]).fails(), &["needs --out"]);
    contains(
        &run(at, &["features", "out", "drawn", "--out", "x", "--set", "data.image_size=[16,16]"]).fails(),
        &["brings its backbone"],
    );
}

/// An experiment on drawn flowers that trains a head; `data` says where its images are.
pub(crate) fn experiment(data: &str) -> String {
    format!(
        "name = \"head\"\n[data]\n{data}\nvalidation_split = 0.25\nimage_size = [32, 32]\nbatch_size = 5\n\
         [backbone]\nplugin = \"small_cnn\"\nweights = \"none\"\n[[phases]]\nname = \"head\"\nepochs = 3\n"
    )
}

#[test]
fn a_head_that_is_trained_on_features_is_the_one_that_is_trained_on_photos() {
    let at = drawn();
    let at = at.path();
    fs::write(at.join("photos.toml"), experiment("root = \"drawn/train\"")).expect("written");
    // The features say at which size the network saw the photos.
    let on_features = experiment("features = \"seen\"").replace("image_size = [32, 32]\n", "");
    fs::write(at.join("features.toml"), on_features).expect("written");
    for shard in ["0/3", "1/3"] {
        features(at, &["--out", "seen", "--shard", shard]).succeeds();
    }
    contains(&run(at, &["train", "features.toml", "--run-dir", "none"]).fails(), &["seen: the shard 2/3 is missing"]);
    features(at, &["--out", "seen", "--shard", "2/3"]).succeeds();
    // Another size is another network.
    let other = ["train", "features.toml", "--run-dir", "none", "--set", "data.image_size=[16,16]"];
    contains(&run(at, &other).fails(), &["computed by another network", " at 32x32) than this", " at 16x16)"]);
    let tuned = ["train", "features.toml", "--run-dir", "none", "--set", "phases.0.unfreeze=all"];
    contains(&run(at, &tuned).fails(), &["phase 'head' needs the photos themselves"]);
    run(at, &["train", "photos.toml", "--run-dir", "from_photos"]).succeeds();
    let saved = at.join("elsewhere");
    fs::rename(at.join("drawn"), &saved).expect("moved");
    run(at, &["cache", "clear"]);
    run(at, &["train", "features.toml", "--run-dir", "from_features"]).succeeds();
    assert_same_weights(&at.join("from_photos"), &at.join("from_features"));
    assert_eq!(history(&at.join("from_photos")), history(&at.join("from_features")));
    // The trained network is the whole one.
    let photo = saved.join("train/daisy/00000.png");
    contains(&run(at, &["predict", "--run", "from_features", photo.to_str().expect("UTF-8")]).succeeds(), &["daisy"]);
}

#[test]
fn features_of_one_photo_under_two_shards_are_refused() {
    let at = drawn();
    let at = at.path();
    for shard in ["0/2", "1/2"] {
        features(at, &["--out", "seen", "--shard", shard]).succeeds();
    }
    features(at, &["--out", "again"]).succeeds();
    fs::write(at.join("my.toml"), experiment("features = [\"seen\", \"again\"]")).expect("written");
    contains(
        &run(at, &["train", "my.toml", "--run-dir", "none"]).fails(),
        &["30 keys stand for several photos: daisy/00000.png", "… and 22 more"],
    );
    let name = |index: u32| at.join(format!("seen/shard-0000{index}-of-00002.parquet"));
    fs::copy(name(0), name(1)).expect("copied");
    for command in ["cv", "inspect", "advise"] {
        contains(&run(at, &[command, "seen"]).fails(), &["the shard in this file is 0/2"]);
    }
}

#[test]
fn addresses_where_a_path_is_expected_are_named_as_such() {
    let at = drawn();
    let at = at.path();
    let check = |words: &[&str], expected: &str| {
        contains(&run(at, words).fails(), &[expected]);
    };
    check(
        &["features", "s3://photos/run", "drawn/train", "--out", "x"],
        "s3://photos/run: a network is read from this machine",
    );
    check(&["features", "small_cnn", "drawn/tarin", "--out", "x"], "drawn/tarin: No such file");
    assert!(!at.join("x").exists());
}

#[test]
fn features_are_cross_validated_without_an_experiment() {
    let at = drawn();
    let at = at.path();
    features(at, &["--out", "seen"]).succeeds();
    let found = run(at, &["cv", "seen", "--folds", "3"]).succeeds();
    contains(&found, &["30 images of 5 classes", "small_cnn", "accuracy"]);
    fs::write(at.join("photos.toml"), experiment("root = \"drawn/train\"")).expect("written");
    // The experiment divides its images, and the folds do not ask how.
    assert_eq!(run(at, &["cv", "seen", "--folds", "3", "--json"]).json()["accuracy"]["n"], 30);
}

#[test]
fn features_are_inspected_without_opening_a_photo() {
    let at = drawn();
    let at = at.path();
    features(at, &["--out", "seen"]).succeeds();
    fs::remove_dir_all(at.join("drawn")).expect("removed");
    let found = run(at, &["inspect", "seen"]).succeeds();
    contains(&found, &["30 images of 5 classes", "small_cnn", "its features were computed before", "probe", "leaks"]);
    contains(&found, &["files, shortcuts: no photo was opened", "next       injerto cv seen"]);
    let json = run(at, &["inspect", "seen", "--json"]).json();
    assert_eq!((&json["images"], &json["probe"]["n"]), (&30.into(), &30.into()));
    assert_eq!(json["health"]["n"], 0);
    contains(&run(at, &["inspect", "seen", "--set", "seed=7"]).fails(), &["seen holds features", "leave --set out"]);
    contains(&run(at, &["inspect", "seen", "--moves", "moves.csv"]).fails(), &["no photos that could be moved"]);
}
