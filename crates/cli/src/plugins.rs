//! `injerto plugins`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use injerto_backbones::plugin::{Probe, validate};
use injerto_files::{printable, shown, to_text};
use serde_json::json;

use crate::Common;
use crate::output::{self, out};

/// What `injerto plugins` takes.
#[derive(Subcommand)]
pub enum Arguments {
    /// List the backbones that are found, the libraries that are refused, and where was searched
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a plugin, each question in a process of its own, so that a crash is a result
    Validate {
        /// The library
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(arguments: Arguments, common: &Common) -> Result<ExitCode> {
    match arguments {
        Arguments::List { json: false } => out!("{}", common.catalog()?.listing())?,
        Arguments::List { json: true } => {
            let catalog = common.catalog()?;
            let found: Vec<_> = catalog
                .found
                .iter()
                .map(|found| {
                    json!({
                        "library": to_text(found.library.as_os_str()),
                        "descriptor": found.descriptor,
                        "shadowed_by": found.shadowed_by.as_ref().map(|first| to_text(first.as_os_str())),
                    })
                })
                .collect();
            let refused: Vec<_> = catalog
                .refused
                .iter()
                .map(|refused| json!({ "library": to_text(refused.library.as_os_str()), "reason": refused.error.to_string() }))
                .collect();
            output::json(&json!({ "found": found, "refused": refused }))?;
        }
        Arguments::Validate { path, json } => {
            if !path.is_file() {
                bail!("{}: no such file", shown(&path));
            }
            let report = validate(&path, &Probe::this_program()?);
            if json {
                output::json(&report)?;
            } else {
                for check in &report.checks {
                    match &check.problem {
                        None => out!("ok      {}", check.name)?,
                        Some(problem) => out!("FAILED  {}\n        {}", check.name, printable(problem))?,
                    }
                }
            }
            return Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(1) });
        }
    }
    Ok(ExitCode::SUCCESS)
}
