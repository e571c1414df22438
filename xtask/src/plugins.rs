//! `cargo xtask plugins` builds the plugins, and lists or validates them.

use std::process::Command;

use crate::Outcome;
use crate::workspace::{Profile, build_with, code, hand_over};

/// Text of `--help`.
pub const HELP: &str = "\
Builds the backbones in plugins/ as libraries, and the binary, and runs `injerto plugins` with the arguments. The binary has the
standard backbones inside; as libraries they are in target/PROFILE/backbones, to be checked, copied and changed by themselves.

Usage: cargo xtask plugins [--release | --profile NAME] [list | validate PATH]

  list             list every backbone that is found, with its weight sets, the libraries first (the default)
  validate PATH    run every check that a plugin must pass, in a separate process

A new crate in plugins/ with crate-type = [\"cdylib\"] is built too; nothing else is compiled again.";

/// Runs the command.
///
/// # Errors
/// A program cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let profile = Profile::take(&mut arguments)?;
    if arguments.is_empty() {
        arguments.push("list".to_owned());
    }
    let Some(built) = build_with(&profile, &[], &[])? else { return Ok(code(false)) };
    hand_over(Command::new(built.binary).arg("plugins").args(arguments).arg("--plugin-dir").arg(built.libraries))
}
