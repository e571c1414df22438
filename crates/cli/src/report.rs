//! `injerto report`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use injerto_files::{shown, to_text};
use serde_json::json;

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
    /// Print one line of JSON per run
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    for folder in arguments.runs {
        let page = injerto_report::write(&folder)?;
        match arguments.json {
            true => {
                let bytes = std::fs::metadata(&page).with_context(|| shown(&page).to_string())?.len();
                let text = |path: &Path| to_text(path.as_os_str()).into_owned();
                out!("{}", json!({ "run": text(&folder), "report": text(&page), "bytes": bytes }))?;
            }
            false => out!("{}", shown(&page))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
