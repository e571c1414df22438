//! `cargo xtask bench` runs the benchmarks.

use crate::Outcome;
use crate::workspace::{cargo, code, hand_over, packages, root};

/// Text of `--help`.
pub const HELP: &str = "\
Runs the benchmarks of all crates, or of one crate. Criterion keeps the figures and compares them with the previous run.

Usage: cargo xtask bench [CRATE] [-- ARGUMENTS OF CRITERION]
       cargo xtask bench peers [DATA] [OPTIONS]     the same work in other frameworks; --help says more

Examples:

  cargo xtask bench
  cargo xtask bench data
  cargo xtask bench data -- resize --save-baseline before";

/// Runs the command.
///
/// # Errors
/// The crate does not exist or has no benchmarks, or a program cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    let border = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (chosen, for_criterion) = arguments.split_at(border);
    let all = packages(&root().join("crates"))?.into_iter().filter(|package| package.has_benches);
    let all: Vec<String> = all.map(|package| package.name).collect();
    let names: Vec<&str> = all.iter().map(|name| name.strip_prefix("injerto-").unwrap_or(name)).collect();
    let benched = match chosen {
        [] if all.is_empty() => {
            eprintln!("no crate has benchmarks");
            return Ok(code(true));
        }
        [] => all.clone(),
        [name] => match all.iter().find(|package| *package == name || package.strip_prefix("injerto-") == Some(name)) {
            Some(package) => vec![package.clone()],
            None if all.is_empty() => return Err(format!("{name} has no benchmarks, and neither has any other crate")),
            None => return Err(format!("no crate {name} with benchmarks; these have some: {}", names.join(", "))),
        },
        [_, more, ..] => {
            return Err(format!(
                "only one crate may be given; write `--` before {more} if it is an argument for criterion"
            ));
        }
    };
    let mut command = cargo("bench");
    for package in &benched {
        command.args(["--package", package]);
    }
    // Without this, the unit tests of the crates would run as benchmarks too, and they do not know criterion's arguments.
    hand_over(command.args(["--bench", "*"]).args(for_criterion))
}
