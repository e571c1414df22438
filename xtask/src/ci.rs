//! `cargo xtask ci` checks everything that CI checks.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::workspace::{cargo, code, root, succeeds};
use crate::{Outcome, dependencies, features, test, unsafe_blocks};

/// Text of `--help`.
pub const HELP: &str = "\
Checks everything that must hold before a change is merged: format, features (experiments and tests build each dependency alike,
so that Burn is compiled once), the list of unsafe code, licences and sources of dependencies (and duplicates, if cargo-deny is
installed), tests, lints and documentation. The checks run in this order and stop at the first failure; the time of each is shown.

Usage: cargo xtask ci

It needs the components rustfmt and clippy of the toolchain.";

/// Name of a step, and the function that checks it.
type Step = (&'static str, fn() -> Result<bool, String>);

const STEPS: &[Step] = &[
    ("format", format),
    ("features", features::agree),
    ("unsafe", unsafe_blocks::agrees),
    ("dependencies", dependencies::agree),
    ("tests", tests),
    ("lints", lints),
    ("documentation", documentation),
];

fn format() -> Result<bool, String> {
    succeeds(cargo("fmt").args(["--all", "--check"]))
}

fn tests() -> Result<bool, String> {
    test::run(&[]).map(|code| code == ExitCode::SUCCESS)
}

fn lints() -> Result<bool, String> {
    succeeds(cargo("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn documentation() -> Result<bool, String> {
    succeeds(cargo("doc").args(["--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs the command.
///
/// # Errors
/// There is an argument, a component is not installed, or a program cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    if let Some(argument) = arguments.first() {
        return Err(format!("`cargo xtask ci` takes no arguments, but there is {argument}"));
    }
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(root()).args([tool, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        if !succeeds(&mut command)? {
            let install = format!("rustup component add {component}");
            return Err(format!("the toolchain has no {component}; install it with `{install}`"));
        }
    }
    let mut report = Vec::new();
    let mut good = true;
    for (name, step) in STEPS {
        println!("== {name}");
        let start = Instant::now();
        good = step()?;
        let verdict = if good { "ok" } else { "FAILED" };
        report.push(format!("{name:<14} {verdict:<6} {:>7.1} s", start.elapsed().as_secs_f64()));
        if !good {
            break;
        }
    }
    println!("\n{}", report.join("\n"));
    Ok(code(good))
}
