//! The short forms of the proofs; `cargo xtask prove` runs the long ones.

use std::path::Path;
use std::time::Duration;

use injerto_backbones::plugin::answer_if_asked;
use injerto_proofs::fuzz::{self, Plan, TARGETS};

/// The child process of every question to a plugin. It is this program, which runs only this test.
#[test]
fn answers_a_plugin_question() {
    answer_if_asked();
}

#[test]
fn damaged_input_is_refused_and_does_no_harm() {
    let plan = Plan { inputs: 500, patience: Duration::from_secs(60), ..Plan::default() };
    let rows = fuzz::feed(Path::new(env!("CARGO_BIN_EXE_injerto-prove")), &plan, &mut |_| ()).expect("it is built");
    let harm: String = rows.iter().filter(|row| row.findings.harmful > 0).map(|row| format!("{row}\n")).collect();
    assert!(harm.is_empty(), "cargo xtask prove fuzz --inputs 500\n{}\n{harm}", fuzz::HEAD);
    // Inputs that are always refused prove little, so each target must accept some of its inputs.
    for row in &rows {
        assert_eq!(row.findings.inputs, 500, "{}", row.target);
        assert!(row.findings.accepted > 0, "{} accepts nothing", row.target);
    }
    assert_eq!(rows.len(), TARGETS.len());
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_that_is_killed_or_fails_at_a_file_operation_goes_on_to_the_same_end() {
    use injerto_proofs::kills::{Plan, Whole, prove};
    let count = Whole::new().expect("it is built").operations.len();
    // There is one failure of each kind, each at another operation.
    let plan = Plan { every: count.div_ceil(2), how: Vec::new(), random: 2, seed: 1 };
    let faults = prove(&plan, &mut |_| ()).expect("it is built");
    assert!(faults.is_empty(), "cargo xtask prove kills\n{}", faults.join("\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn many_runs_and_predictions_in_one_process_do_not_grow_its_memory() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_injerto-prove"))
        .args(["soak", "--runs", "12", "--predictions", "200"])
        .output()
        .expect("it is built");
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}
