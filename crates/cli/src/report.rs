//! `injerto report`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use injerto_files::shown;

use crate::output::out;

/// What `injerto report` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto report runs/cats-20260101-120000

A run draws its own report when it ends; this draws it again, also for a run that was killed.")]
pub struct Arguments {
    /// The run's folder
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    for folder in arguments.runs {
        out!("{}", shown(&injerto_report::write(&folder)?))?;
    }
    Ok(ExitCode::SUCCESS)
}
