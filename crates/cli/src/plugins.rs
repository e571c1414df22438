//! `injerto plugins`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use injerto_backbones::plugin::{Probe, validate};
use serde_json::json;

use crate::Common;

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
        Arguments::List { json: false } => println!("{}", common.catalog()?.listing()),
        Arguments::List { json: true } => {
            let catalog = common.catalog()?;
            let found: Vec<_> = catalog
                .found
                .iter()
                .map(|found| {
                    json!({ "library": found.library, "descriptor": found.descriptor, "shadowed_by": found.shadowed_by })
                })
                .collect();
            let refused: Vec<_> = catalog
                .refused
                .iter()
                .map(|refused| json!({ "library": refused.library, "reason": refused.error.to_string() }))
                .collect();
            println!("{}", serde_json::to_string_pretty(&json!({ "found": found, "refused": refused }))?);
        }
        Arguments::Validate { path, json } => {
            if !path.is_file() {
                bail!("{}: no such file", path.display());
            }
            let report = validate(&path, &Probe::this_program()?);
            if json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                for check in &report.checks {
                    match &check.problem {
                        None => println!("ok      {}", check.name),
                        Some(problem) => println!("FAILED  {}\n        {problem}", check.name),
                    }
                }
            }
            return Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(1) });
        }
    }
    Ok(ExitCode::SUCCESS)
}
