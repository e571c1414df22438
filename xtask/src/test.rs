//! `cargo xtask test` builds the plugins and runs all tests.

use std::io::{BufRead, BufReader, IsTerminal};
use std::process::Stdio;

use crate::Outcome;
use crate::workspace::{PROOFS, PYTHON, Profile, build_with, cargo, code};

/// Text of `--help`.
pub const HELP: &str = "\
Builds the backbones, which tests load, and runs all tests. At the end it says which tests skipped something, and why.
Only tests with real photos, large published weights and a browser may skip; if another test skips, that is a failure.

Usage: cargo xtask test [--release | --profile NAME] [ARGUMENTS OF CARGO TEST] [-- ARGUMENTS OF THE TESTS]

Examples:

  cargo xtask test
  cargo xtask test -p injerto-data
  cargo xtask test resize -- --nocapture";

/// Runs the command.
///
/// # Errors
/// A program cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    let border = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (for_cargo, for_tests) = arguments.split_at(border);
    let mut for_cargo = for_cargo.to_vec();
    let profile = Profile::take(&mut for_cargo)?;
    // The program of the proofs is built together with their tests; a library that Python loads is not.
    if build_with(&profile, &[], &[PROOFS[0], PYTHON])?.is_none() {
        return Ok(code(false));
    }
    let mut command = cargo("test");
    // Cargo's profile for tests shares its dependencies with `dev`.
    if profile != Profile::default() {
        command.args(["--profile", profile.name()]);
    }
    if !for_cargo.iter().any(|a| a == "--package" || a.starts_with("--package=") || a.starts_with("-p")) {
        command.arg("--workspace");
    }
    // Tests print what they skip, and cargo shows the output of passing tests only on request.
    command.args(for_cargo).args(["--", "--show-output"]);
    if std::io::stdout().is_terminal() {
        command.args(["--color", "always"]);
    }
    command.args(for_tests.iter().skip(1)).stdout(Stdio::piped());

    let mut child = command.spawn().map_err(|error| format!("cannot start cargo: {error}"))?;
    let output = child.stdout.take().ok_or("cargo has no output")?;
    let mut filter = Filter::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(|error| format!("cannot read the output of the tests: {error}"))?;
        if let Some(line) = filter.take(&String::from_utf8_lossy(&line)) {
            println!("{line}");
        }
    }
    let status = child.wait().map_err(|error| format!("cannot wait for cargo: {error}"))?;
    if !filter.skipped.is_empty() {
        println!("skipped, in part or in whole:");
        for (test, why) in &filter.skipped {
            println!("  {test}: {why}");
        }
    }
    let wrong = wrongly(&filter.skipped);
    for test in &wrong {
        println!(
            "error: {test} skips, but needs neither real photos nor large weights (see MAY_SKIP in xtask/src/test.rs)"
        );
    }
    Ok(code(status.success() && wrong.is_empty()))
}

/// Output of a test that needs a tool which not every machine has.
const NO_COMPILER: &str = "no C compiler";
/// Beginning of the output of a test that compares with packages of Python.
const NO_PYTHON: &str = "no Python with ";

/// The tests that may skip, because their files are too large for the repository.
const MAY_SKIP: &[&str] = &[
    // These need real photos.
    "all_real_photos_decode",
    "inception_v3_sees_in_photos_what_keras_sees",
    "efficientnet_lite0_names_imagenets_classes_as_often_as_in_pytorch",
    // This needs a browser.
    "a_browser_opens_tabs_and_cells_without_an_error",
    // These need published weights, which are fetched.
    "golden::published_weights_give_pytorchs_features_block_by_block",
    "published::a_model_that_someone_trained_and_saved_gives_its_backbone",
];

/// The tests that skipped although they must not.
fn wrongly(skipped: &[(String, String)]) -> Vec<&str> {
    let is_tool = |why: &str| why == NO_COMPILER || why.starts_with(NO_PYTHON);
    let wrong = skipped.iter().filter(|(test, why)| !is_tool(why) && !MAY_SKIP.contains(&test.as_str()));
    wrong.map(|(test, _)| test.as_str()).collect()
}

/// Passes the output of tests on, without that of passing tests, and records what they skipped.
#[derive(Default)]
struct Filter {
    /// Whether the current line is in the section `successes:`.
    inside: bool,
    /// The test to which the current line belongs.
    test: String,
    /// Skipped tests with their reasons.
    skipped: Vec<(String, String)>,
}

impl Filter {
    /// Returns the line if it must be shown.
    fn take<'l>(&mut self, line: &'l str) -> Option<&'l str> {
        match line {
            "successes:" => self.inside = true,
            "failures:" => self.inside = false,
            _ if line.starts_with("test result: ") => self.inside = false,
            _ => {}
        }
        if !self.inside {
            return Some(line);
        }
        if let Some(test) = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")) {
            test.clone_into(&mut self.test);
        } else if let Some(why) = line.strip_prefix("skipped: ") {
            self.skipped.push((self.test.clone(), why.to_owned()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_with_photos_and_large_weights_may_skip() {
        let skipped =
            ["all_real_photos_decode", "resizing_is_tensorflows"].map(|test| (test.to_owned(), "x".to_owned()));
        assert_eq!(wrongly(&skipped), ["resizing_is_tensorflows"]);
    }

    #[test]
    fn the_output_of_passing_tests_is_left_out_and_their_skips_are_recorded() {
        let output = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nsuccesses:\n\n---- a stdout ----\nchatter\n\
            skipped: no photos\n\nsuccesses:\n    a\n\nfailures:\n\n---- b stdout ----\nskipped: not this\n\n\
            failures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed";
        let mut filter = Filter::default();
        let shown: Vec<&str> = output.lines().filter_map(|line| filter.take(line)).collect();
        let expected = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n\
            skipped: not this\n\nfailures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed";
        assert_eq!(shown.join("\n"), expected);
        assert_eq!(filter.skipped, [("a".to_owned(), "no photos".to_owned())]);
    }
}
