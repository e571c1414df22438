//! `cargo xtask prove`: the long forms of the proofs.

use std::process::{Command, Stdio};

use crate::workspace::{PROOFS, Profile, build_with, code, root, succeeds};
use crate::{Outcome, cover};

/// What `--help` says.
pub const HELP: &str = "\
Tries to break the project, for as long as you like. Short forms of the first three are among the tests; docs/reliability.md
says what was tried how often.

Usage: cargo xtask prove fuzz [--inputs N] [--seed N] [--only TARGET]…
       cargo xtask prove fuzz-input TARGET NUMBER FILE [--seed N]
       cargo xtask prove kills [--every N] [--how KIND]… [--random N]
       cargo xtask prove soak [--runs N] [--predictions N]
       cargo xtask prove cover [--seconds N] [--only TARGET]… [--keep]
       cargo xtask prove memory

  fuzz         damaged input for everything that reads, 1,000,000 of each target unless --inputs says otherwise; a table of
               what was accepted, what did harm, and the slowest. Each harmful input is named by its number
  fuzz-input   writes one of these inputs into a file
  cover        the same targets under libFuzzer, which looks for inputs that reach new code, 60 seconds for each target; what
               is harmful lies in target/fuzz/harmful. With --keep the fewest inputs that reach as much replace those in
               crates/proofs/corpus, which every `fuzz` begins with. Takes a C++ compiler
  kills        fails a run at each of its file operations, in seven ways (kill, torn, ENOSPC, full, EACCES, EIO, short), and
               at 50 random instants; resumes it, and compares with the run that nothing interrupted. Linux only
  soak         200 runs and 1,000 predictions in one process, whose memory must not grow
  memory       Miri and AddressSanitizer on what holds `unsafe`, where a nightly toolchain with them is installed

`--release` or `--profile NAME` builds otherwise; as it is, dependencies are optimised and the project's own arithmetic is
checked for overflow, which is what these proofs want.

Examples:

  cargo xtask prove fuzz --inputs 10000 --only pickle
  cargo xtask prove kills --every 10 --how full
  cargo xtask prove cover --seconds 600 --only gif --keep
  cargo xtask prove soak --runs 20";

/// Runs the command.
///
/// # Errors
/// No proof of this name, or a program that cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let profile = Profile::take(&mut arguments)?;
    match arguments.first().map(String::as_str) {
        Some("memory") if arguments.len() == 1 => memory(),
        Some("cover") => cover::run(&profile, &arguments[1..]),
        Some("fuzz" | "fuzz-input" | "kills" | "soak") => {
            let Some(binary) = build_with(&profile, &[], &PROOFS)? else { return Ok(code(false)) };
            let program = binary.with_file_name(format!("injerto-prove{}", std::env::consts::EXE_SUFFIX));
            Ok(code(succeeds(Command::new(program).args(arguments))?))
        }
        Some(other) => Err(format!("no proof '{other}': fuzz, fuzz-input, cover, kills, soak or memory")),
        None => Err("which proof? fuzz, fuzz-input, cover, kills, soak or memory; --help says more".to_owned()),
    }
}

/// A check of memory: its name, what must be installed, and commands of cargo with a variable of the environment.
struct Check {
    name: &'static str,
    /// `cargo +nightly …` that succeeds where the tool is there.
    there: &'static [&'static str],
    /// `cargo +nightly …`, one after the other.
    commands: &'static [&'static [&'static str]],
    flags: (&'static str, &'static str),
}

/// The border of the plugins with libraries that are loaded, and all tests of the kernels, on every instruction set of this
/// machine. Miri knows neither libraries nor vector instructions: it checks the border within one program, and the portable
/// kernels.
const CHECKS: &[Check] = &[
    Check {
        name: "Miri, plugin border",
        there: &["miri", "--version"],
        commands: &[&["miri", "test", "--package", "injerto-plugin-abi"]],
        flags: ("MIRIFLAGS", "-Zmiri-disable-isolation"),
    },
    Check {
        name: "Miri, portable kernels",
        there: &["miri", "--version"],
        commands: &[&["miri", "test", "--package", "injerto-kernels", "--lib"]],
        flags: ("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks"),
    },
    Check {
        name: "Miri, programs of portable kernels",
        there: &["miri", "--version"],
        commands: &[&[
            "miri",
            "test",
            "--package",
            "injerto-kernels",
            "--test",
            "inference",
            "--test",
            "training",
            "every_kind_of_step",
        ]],
        // Rayon's queues hand out neighbours of a borrowed field, which tree borrows allow and stacked borrows do not.
        flags: (
            "MIRIFLAGS",
            "-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-tree-borrows -Zmiri-permissive-provenance",
        ),
    },
    Check {
        name: "AddressSanitizer, plugin border",
        there: &["--version"],
        commands: &[
            &["build", "--package", "injerto-plugin-small_cnn", "--target", HOST],
            &["test", "--package", "injerto-plugin-abi", "--tests", "--target", HOST],
        ],
        flags: ADDRESS,
    },
    Check {
        name: "AddressSanitizer, kernels",
        there: &["--version"],
        commands: &[&["test", "--package", "injerto-kernels", "--tests", "--target", HOST]],
        flags: ADDRESS,
    },
];

/// A library that is loaded finds the sanitizer's functions in the program, which must export them.
const ADDRESS: (&str, &str) = ("RUSTFLAGS", "-Zsanitizer=address -Clink-arg=-rdynamic");

/// The machine that sanitizers are tried on.
pub const HOST: &str = "x86_64-unknown-linux-gnu";

/// `cargo` of the nightly toolchain, in a target folder of its own: its artefacts do not go with those of stable.
fn nightly(arguments: &[&str]) -> Command {
    // The variable names the toolchain that runs this program.
    let mut command = Command::new("cargo");
    command.current_dir(root()).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command.arg("+nightly").args(arguments).env("CARGO_TARGET_DIR", root().join("target/nightly"));
    command
}

fn memory() -> Outcome {
    let mut report = Vec::new();
    let mut good = true;
    for check in CHECKS {
        let quiet = nightly(check.there).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !quiet.is_ok_and(|status| status.success()) {
            report.push(format!(
                "{:<32} not at hand: rustup toolchain install nightly --component miri,rust-src",
                check.name
            ));
            continue;
        }
        println!("== {}", check.name);
        let began = std::time::Instant::now();
        let mut holds = true;
        for arguments in check.commands {
            let mut command = nightly(arguments);
            command.env(check.flags.0, check.flags.1);
            // Memory that no machine has is an error of ours, which tests ask for; AddressSanitizer would end the process.
            command.env("ASAN_OPTIONS", "allocator_may_return_null=1");
            holds = holds && succeeds(&mut command)?;
        }
        good &= holds;
        let (verdict, seconds) = (if holds { "ok" } else { "FAILED" }, began.elapsed().as_secs_f64());
        report.push(format!("{:<32} {verdict:<6} {seconds:>7.1} s", check.name));
    }
    println!("\n{}", report.join("\n"));
    Ok(code(good))
}
