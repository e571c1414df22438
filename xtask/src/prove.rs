//! `cargo xtask prove` runs the long forms of the proofs.

use std::process::{Command, Stdio};

use crate::workspace::{HOST, PROOFS, Profile, build_with, code, root, succeeds};
use crate::{Outcome, cover};

/// Text of `--help`.
pub const HELP: &str = "\
Tries to break the project, for as long as you like. Short forms of the first three run as tests; docs/reliability.md
says what was tried and how often.

Usage: cargo xtask prove fuzz [--inputs N] [--seed N] [--only TARGET]…
       cargo xtask prove fuzz-input TARGET NUMBER FILE [--seed N]
       cargo xtask prove kills [--every N] [--how KIND]… [--random N]
       cargo xtask prove soak [--runs N] [--predictions N]
       cargo xtask prove cover [--seconds N] [--only TARGET]… [--keep]
       cargo xtask prove memory

  fuzz         feed everything that reads with damaged input, 1,000,000 inputs per target unless --inputs is given; the table
               shows how many were accepted, how many did harm, and the slowest. Harmful inputs are named by their numbers.
               Pictures in AVIF and JPEG XL are tried where `--only avif` and `--only jxl` name them, and take longer to build
  fuzz-input   write one of these inputs into a file
  cover        run the same targets under libFuzzer, which looks for inputs that reach new code, for 60 seconds per target;
               harmful inputs are kept in target/fuzz/harmful. With --keep, the fewest inputs that reach as much replace
               those in crates/proofs/corpus, with which every `fuzz` begins. This needs a C++ compiler
  kills        let each file operation of a run fail, in seven ways (kill, torn, ENOSPC, full, EACCES, EIO, short), and kill
               runs at 50 random instants; resume each run, and compare it with an uninterrupted run. Linux only
  soak         do 200 runs and 1,000 predictions in one process, whose memory must not grow
  memory       run Miri and AddressSanitizer on the crates with `unsafe`, if a nightly toolchain with them is installed

By default, dependencies are optimised and the project's own arithmetic is checked for overflow, as these proofs need it.
`--release` or `--profile NAME` builds with another profile.

Examples:

  cargo xtask prove fuzz --inputs 10000 --only pickle
  cargo xtask prove kills --every 10 --how full
  cargo xtask prove cover --seconds 600 --only gif --keep
  cargo xtask prove soak --runs 20";

/// Runs the command.
///
/// # Errors
/// There is no proof of this name, or a program cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let profile = Profile::take(&mut arguments)?;
    match arguments.first().map(String::as_str) {
        Some("memory") if arguments.len() == 1 => memory(),
        Some("cover") => cover::run(&profile, &arguments[1..]),
        Some("fuzz" | "fuzz-input" | "kills" | "soak") => {
            let mut options = features(&arguments);
            if arguments[0] == "fuzz" {
                options.extend(LEVELS);
            }
            let Some(built) = build_with(&profile, &options, &PROOFS)? else { return Ok(code(false)) };
            let program = built.binary.with_file_name(format!("injerto-prove{}", std::env::consts::EXE_SUFFIX));
            Ok(code(succeeds(Command::new(program).args(arguments))?))
        }
        Some(other) => Err(format!("no proof '{other}': fuzz, fuzz-input, cover, kills, soak or memory")),
        None => Err("which proof? fuzz, fuzz-input, cover, kills, soak or memory; --help says more".to_owned()),
    }
}

/// Optimisation of what targets run a million times and an experiment runs once, for which `Cargo.toml` leaves it out: without it `report`
/// takes three times as long.
const LEVELS: [&str; 6] = [
    "--config=profile.dev.package.injerto-config.opt-level=2",
    "--config=profile.dev.package.injerto-experiment.opt-level=2",
    "--config=profile.dev.package.injerto-report.opt-level=2",
    "--config=profile.dev.package.injerto-trainer.opt-level=2",
    "--config=profile.dev.package.safetensors.opt-level=2",
    "--config=profile.dev.package.ttf-parser.opt-level=2",
];

/// Features with which the targets are built that are named and that not every program reads.
pub fn features(arguments: &[String]) -> Vec<&'static str> {
    let known = [("avif", "--features=injerto-proofs/avif"), ("jxl", "--features=injerto-proofs/jxl")];
    known
        .iter()
        .filter(|(name, _)| arguments.iter().any(|argument| argument == name))
        .map(|(_, feature)| *feature)
        .collect()
}

/// A check of memory: its name, a command that tests whether the tool is installed, and commands of cargo with an environment
/// variable.
struct Check {
    name: &'static str,
    /// Arguments of `cargo +nightly` that succeed if the tool is installed.
    there: &'static [&'static str],
    /// `cargo +nightly …`, one after the other.
    commands: &'static [&'static [&'static str]],
    flags: (&'static str, &'static str),
}

/// The checks: the border of the plugins with libraries that are loaded, and all tests of the kernels, on every instruction set of
/// this machine. Miri knows neither libraries nor vector instructions: it checks the border within one program, and the portable
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
        flags: RAYON,
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
            "a_small_network",
        ]],
        flags: RAYON,
    },
    Check {
        name: "AddressSanitizer, plugin border",
        there: &["--version"],
        commands: &[
            &["build", "--package", "injerto-plugin-small_cnn", "--examples", "--target", HOST],
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

/// For what runs on Rayon's threads, also within one test: its queues hand out neighbours of a borrowed field, which tree borrows allow and
/// stacked borrows do not.
const RAYON: (&str, &str) =
    ("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-tree-borrows -Zmiri-permissive-provenance");

/// A library that is loaded finds the sanitizer's functions in the program, which must export them.
const ADDRESS: (&str, &str) = ("RUSTFLAGS", "-Zsanitizer=address -Clink-arg=-rdynamic");

/// `cargo` of the nightly toolchain, with a separate target folder, because its artefacts do not fit those of stable.
fn nightly(arguments: &[&str]) -> Command {
    // This variable would force the toolchain that runs this program.
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
                "{:<32} not installed: rustup toolchain install nightly --component miri,rust-src",
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
            // Tests ask for more memory than any machine has and expect an error; AddressSanitizer would end the process instead.
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
