//! Runs that learn from another run, and runs of several processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::train::{assert_same_weights, folder, history};
use crate::{contains, injerto, run};

/// A folder with tiny.toml and its run `large`.
fn with_teacher() -> tempfile::TempDir {
    let at = folder();
    run(at.path(), &["train", "tiny.toml", "--run-dir", "large"]).succeeds();
    at
}

/// Options of a smaller network that `large` teaches.
const STUDENT: [&str; 8] = [
    "--set",
    "distill.teacher=large",
    "--set",
    "distill.temperature=2.0",
    "--set",
    "backbone.parameters={filters=[2, 4]}",
    "--set",
    "data.image_size=[24, 24]",
];

#[test]
fn a_run_teaches_a_smaller_network_and_a_stopped_student_goes_on_with_the_same_bits() {
    let at = with_teacher();
    let at = at.path();
    let plan = run(at, &[&["train", "tiny.toml", "--dry-run"], &STUDENT[..]].concat()).succeeds();
    contains(
        &plan,
        &["teacher    large: small_cnn at 32x32, val_accuracy 0.", "; temperature 2, alpha 0.1", "[distill]"],
    );
    let json = run(at, &[&["train", "tiny.toml", "--dry-run", "--json"], &STUDENT[..]].concat()).json();
    assert_eq!(json["teacher"]["temperature"], 2.0);
    let train = |out: &str, epochs: &str| {
        run(at, &[&["train", "tiny.toml", "--run-dir", out, "--set", epochs], &STUDENT[..]].concat()).succeeds();
    };
    train("whole", "phases.1.epochs=4");
    train("stopped", "phases.1.epochs=2");
    run(at, &["train", "--resume", "stopped", "--set", "phases.1.epochs=4"]).succeeds();
    assert_eq!(history(&at.join("whole")), history(&at.join("stopped")));
    assert_same_weights(&at.join("whole"), &at.join("stopped"));
    // A teacher with other weights would be another run.
    run(at, &["train", "tiny.toml", "--run-dir", "other", "--set", "seed=9"]).succeeds();
    let arguments = ["train", "--resume", "stopped", "--set", "distill.teacher=other", "--set", "phases.1.epochs=5"];
    contains(&run(at, &arguments).fails(), &["distill.teacher: other: its weights are no longer those"]);
    // One that was moved is the same.
    std::fs::rename(at.join("large"), at.join("moved")).expect("moved");
    let arguments = ["train", "--resume", "stopped", "--set", "distill.teacher=moved", "--set", "phases.1.epochs=5"];
    run(at, &arguments).succeeds();
}

#[test]
fn a_teacher_that_is_missing_or_knows_other_classes_is_named() {
    let at = with_teacher();
    let error = run(at.path(), &["train", "tiny.toml", "--set", "distill.teacher=runs/none"]).fails();
    contains(&error, &["distill.teacher: runs/none: there is no checkpoint"]);
    let shapes = ["train", "tiny.toml", "--set", "data.generated=shapes", "--set", "distill.teacher=large"];
    let error = run(at.path(), &shapes).fails();
    contains(
        &error,
        &["a teacher must have the same classes, but it does not know ", "which these images do not have"],
    );
}

/// The library for MPI, compiled into this folder; `None` where there is no MPI.
fn library(at: &Path) -> Option<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collective");
    let (source, library) = (crates.join("mpi/injerto_mpi.c"), at.join("libinjerto_mpi.so"));
    let mut compiler = Command::new("mpicc");
    compiler.args(["-Wall", "-Werror", "-O2", "-shared", "-fPIC", "-I"]).arg(crates.join("include"));
    match compiler.arg("-o").arg(&library).arg(source).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(library)
        }
        Err(_) => {
            eprintln!("skipped: there is no mpicc");
            None
        }
    }
}

/// `injerto` with these arguments in so many processes.
fn processes(at: &Path, library: &Path, number: usize, arguments: &[&str]) -> Command {
    let alone = injerto(at);
    let mut command = Command::new("mpirun");
    // These options and variables are Open MPI's; others do not know them, and do not need them.
    command.args(["--oversubscribe", "-n", &number.to_string()]).arg(alone.get_program()).args(arguments);
    command.arg("--collective").arg(library).current_dir(at);
    for (name, value) in alone.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command
}

/// Options without what differs between one process and several: dropout, and statistics of the own part.
const ALIKE: [&str; 4] = ["--set", "head.dropout=0.0", "--set", "phases.1.batch_norm=frozen"];

/// The largest difference between the weights of the last epochs of two runs.
fn distance(a: &Path, b: &Path) -> f32 {
    let values = |run: &Path| -> Vec<f32> {
        let bytes = std::fs::read(run.join("best.safetensors")).expect("a checkpoint");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        bytes[8 + length..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
    };
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn processes_of_mpi_train_the_network_of_one_process_and_one_of_them_writes() {
    let at = folder();
    let at = at.path();
    let Some(library) = library(at) else { return };
    run(at, &[&["train", "tiny.toml", "--run-dir", "one"], &ALIKE[..]].concat()).succeeds();
    let arguments = [&["train", "tiny.toml", "--run-dir", "two"], &ALIKE[..]].concat();
    let output = processes(at, &library, 2, &arguments).output().expect("mpirun starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("use it     injerto predict").count(), 1, "one process speaks for all: {said}");
    let worst = distance(&at.join("one"), &at.join("two"));
    assert!(worst < 1e-5, "{worst}");
    let accuracies = |run: &str| -> Vec<Value> {
        history(&at.join(run)).iter().map(|record| record["val_accuracy"].clone()).collect()
    };
    assert_eq!(accuracies("one"), accuracies("two"));
}

#[test]
fn a_process_that_is_killed_leaves_a_run_that_any_number_of_processes_goes_on_with() {
    let at = folder();
    let at = at.path();
    let Some(library) = library(at) else { return };
    let long = ["--set", "phases.1.epochs=400"];
    let arguments = [&["train", "tiny.toml", "--run-dir", "out"], &ALIKE[..], &long[..]].concat();
    let mut started = processes(at, &library, 2, &arguments);
    let mut started = started.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mpirun starts");
    let began = std::time::Instant::now();
    while history(&at.join("out")).len() < 3 {
        assert!(began.elapsed() < Duration::from_secs(120), "no epoch comes to its end");
        assert!(started.try_wait().expect("asked").is_none(), "it ended before");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_one_of(started.id());
    assert!(!started.wait().expect("it ends").success());
    assert!(began.elapsed() < Duration::from_secs(120), "the other process does not wait for ever");
    let kept = history(&at.join("out")).len();
    assert!((3..402).contains(&kept), "{kept} epochs");
    let epochs = format!("phases.1.epochs={}", kept + 2);
    let output = processes(at, &library, 3, &["train", "--resume", "out", "--set", &epochs]).output();
    let output = output.expect("mpirun starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("best.safetensors is missing"), "it is in the folder of process 0: {said}");
    run(at, &["train", "--resume", "out", "--set", &format!("phases.1.epochs={}", kept + 3)]).succeeds();
    assert_eq!(history(&at.join("out")).len(), kept + 5);
}

/// Kills the last process that this one has started.
fn kill_one_of(parent: u32) {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("there are some");
    let last = children.split_whitespace().last().expect("a child");
    assert!(Command::new("kill").args(["-KILL", last]).status().expect("kill starts").success());
}
