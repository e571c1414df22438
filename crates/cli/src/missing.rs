//! Commands that a build without their feature does not have: they are listed, accept any arguments, and say how to build them.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

/// Anything.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _all: Vec<OsString>,
}

/// Says how to build the command.
pub fn run(command: &str) -> Result<ExitCode> {
    bail!(
        "this build has no `injerto {command}`: `cargo xtask experiment` leaves out what a training does not need, to begin \
         sooner; `cargo build` adds it, and `cargo run -- {command}` runs it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_left_out_takes_anything_and_says_how_it_comes() {
        let command = Arguments::augment_args(clap::Command::new("serve"));
        for line in
            [&["serve"][..], &["serve", "runs/a", "--port", "80"], &["serve", "--help"], &["serve", "-x", "--", "y"]]
        {
            assert!(command.clone().try_get_matches_from(line).is_ok(), "{line:?}");
        }
        let error = run("serve").expect_err("it is left out").to_string();
        assert!(error.contains("`cargo run -- serve` runs it"), "{error}");
    }
}
