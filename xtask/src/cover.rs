//! `cargo xtask prove cover`: fuzzing that is guided by what inputs reach.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::workspace::{HOST, PROOFS, Profile, build_with, code, root, succeeds};

/// Counters at each edge and comparison, as libFuzzer wants them.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What was asked for.
struct Asked {
    seconds: String,
    only: Vec<String>,
    keep: bool,
}

impl Asked {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut asked = Self { seconds: "60".to_owned(), only: Vec::new(), keep: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--seconds" => asked.seconds = value()?,
                "--only" => asked.only.push(value()?),
                "--keep" => asked.keep = true,
                other => return Err(format!("no option '{other}': --seconds, --only or --keep")),
            }
        }
        match asked.seconds.parse::<u32>() {
            Ok(1..) => Ok(asked),
            _ => Err(format!("--seconds {}: expected a number of seconds", asked.seconds)),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Arguments, folders or programs that are not there.
pub fn run(profile: &Profile, arguments: &[String]) -> Outcome {
    let asked = Asked::parse(arguments)?;
    let Some(built) = build_with(profile, &[], &PROOFS)? else { return Ok(code(false)) };
    let program = built.binary.with_file_name(format!("injerto-prove{}", std::env::consts::EXE_SUFFIX));
    let target = root().join("target/fuzz");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--target", HOST, "--manifest-path"]).arg(root().join("fuzz/Cargo.toml"));
    if !succeeds(build.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", COUNTERS))? {
        return Ok(code(false));
    }
    let fuzzer = target.join(HOST).join("debug/injerto-cover");
    let (corpora, harmful) = (target.join("corpora"), target.join("harmful"));
    for folder in [&corpora, &harmful] {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    // The run of another time would be in the way of a new one; inputs that were found before stay.
    let _ = std::fs::remove_dir_all(corpora.join("out"));
    let begun = Command::new(&program).arg("cover-begin").arg(&corpora).output();
    let begun = begun.map_err(|error| format!("{}: {error}", program.display()))?;
    if !begun.status.success() {
        return Err(String::from_utf8_lossy(&begun.stderr).into_owned());
    }
    let names = String::from_utf8_lossy(&begun.stdout).into_owned();
    let names: Vec<&str> = names.lines().collect();
    if let Some(unknown) = asked.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("no target '{unknown}'; there are {}", names.join(", ")));
    }
    let mut report = Vec::new();
    let mut good = true;
    for name in names.into_iter().filter(|name| asked.only.is_empty() || asked.only.iter().any(|only| only == name)) {
        println!("== {name}");
        let holds = search(&fuzzer, name, &corpora, &harmful, &asked.seconds)?;
        if holds && asked.keep {
            keep(&fuzzer, &program, name, &corpora)?;
        }
        good &= holds;
        report.push(format!("{name:<14} {}", if holds { "ok" } else { "FAILED" }));
    }
    println!("\n{}", report.join("\n"));
    Ok(code(good))
}

/// libFuzzer on a target.
fn fuzzer(program: &Path, name: &str, corpora: &Path) -> Command {
    let mut command = Command::new(program);
    let scratch = corpora.join(format!("{name}-scratch"));
    let _ = std::fs::create_dir_all(&scratch);
    command.env("INJERTO_FUZZ_TARGET", name).env("INJERTO_FUZZ_RUN", corpora.join("out"));
    command.env("INJERTO_FUZZ_SCRATCH", scratch);
    command.args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=131072", "-print_final_stats=1"]);
    command
}

/// Looks for inputs for so long; whether none did harm.
fn search(program: &Path, name: &str, corpora: &Path, harmful: &Path, seconds: &str) -> Result<bool, String> {
    let mut command = fuzzer(program, name, corpora);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/{name}-", harmful.display()));
    succeeds(command.arg(corpora.join(name)))
}

/// Keeps the fewest inputs that reach as much as all.
fn keep(program: &Path, prove: &Path, name: &str, corpora: &Path) -> Result<(), String> {
    let least = corpora.join(format!("{name}-least"));
    let _ = std::fs::remove_dir_all(&least);
    std::fs::create_dir_all(&least).map_err(|error| format!("{}: {error}", least.display()))?;
    let mut command = fuzzer(program, name, corpora);
    let merged = succeeds(command.arg("-merge=1").arg(&least).arg(corpora.join(name)))?;
    let kept = merged && succeeds(Command::new(prove).args(["cover-keep", name]).arg(&least))?;
    if kept { Ok(()) } else { Err(format!("{name}: the inputs cannot be kept")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_are_named() {
        let parse = |words: &[&str]| Asked::parse(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let asked = parse(&["--seconds", "5", "--only", "gif", "--only", "png", "--keep"]).expect("good options");
        assert_eq!((asked.seconds.as_str(), asked.only.len(), asked.keep), ("5", 2, true));
        for (words, part) in [
            (&["--seconds", "soon"][..], "--seconds soon"),
            (&["--only"][..], "--only needs a value"),
            (&["--fast"][..], "no option '--fast'"),
        ] {
            assert!(parse(words).is_err_and(|error| error.contains(part)), "{part}");
        }
    }
}
