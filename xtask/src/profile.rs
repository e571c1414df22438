//! `cargo xtask profile CRATE` runs benchmarks under a profiler.

use std::process::{Command, Stdio};

use crate::Outcome;
use crate::workspace::{hand_over, packages, root};

/// Text of `--help`.
pub const HELP: &str = "\
Runs the benchmarks of a crate under a profiler: perf if it is installed and allowed, or else valgrind's callgrind.

Usage: cargo xtask profile CRATE [FILTER]

The record is written to profile/ in the target folder. The command that reads it is printed at the start.";

/// Runs the command.
///
/// # Errors
/// The crate does not exist or has no benchmarks, there is no profiler, or a program cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    let (name, filter) = match arguments {
        [name] => (name, None),
        [name, filter] => (name, Some(filter)),
        _ => return Err(format!("which crate?\n\n{HELP}")),
    };
    let all = packages(&root().join("crates"))?;
    let benched = all.iter().filter(|package| package.has_benches);
    let package =
        benched.clone().find(|package| package.name == *name || package.name.strip_prefix("injerto-") == Some(name));
    let Some(package) = package else {
        let names: Vec<&str> = benched.map(|package| package.name.as_str()).collect();
        return Err(format!("no crate {name} with benchmarks; these have some: {}", names.join(", ")));
    };
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program's own path: {error}"))?;
    let target = own.parent().and_then(std::path::Path::parent).ok_or("this program is in no target folder")?;
    let folder = target.join("profile");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let record = folder.join(&package.name);
    let record = record.to_str().ok_or("the target folder's path is not UTF-8")?;
    // Running `true` under perf also shows whether the system allows it to record.
    let (runner, read) = if works("perf", &["record", "-o", &format!("{record}.probe"), "true"]) {
        (format!("perf record -g -o {record}.perf"), format!("perf report -i {record}.perf"))
    } else if works("valgrind", &["--version"]) {
        let callgrind = format!("valgrind --tool=callgrind --callgrind-out-file={record}.callgrind");
        (callgrind, format!("callgrind_annotate {record}.callgrind"))
    } else {
        return Err(
            "there is no profiler: install perf (linux-tools) or valgrind from the packages of the system".to_owned()
        );
    };
    let _ = std::fs::remove_file(format!("{record}.probe"));
    println!("read it with: {read}");
    let host = host()?;
    let mut command = crate::workspace::cargo("bench");
    command.env(runner_variable(&host), runner).args(["--package", &package.name, "--bench", "*", "--"]);
    // Criterion's `--profile-time` runs without analysis. Under callgrind each second takes a minute.
    hand_over(command.args(["--profile-time", "1"]).args(filter))
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The default target of the compiler.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| format!("cannot start rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not say its host")?;
    Ok(host.to_owned())
}

/// The environment variable that tells Cargo how to run the programs of a target.
fn runner_variable(host: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", host.replace(['-', '.'], "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_finds_the_runner_by_the_name_of_the_target() {
        let expected = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";
        assert_eq!(runner_variable("x86_64-unknown-linux-gnu"), expected);
    }
}
