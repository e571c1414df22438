//! `injerto plugins`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use injerto_backbones::plugin::{Probe, validate};
use injerto_files::shown;
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

/// A path in JSON, which takes no name that is not UTF-8.
fn text(path: &Path) -> String {
    shown(path).to_string()
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
                    let shadowed_by = found.shadowed_by.as_deref().map(text);
                    json!({ "library": text(&found.library), "descriptor": found.descriptor, "shadowed_by": shadowed_by })
                })
                .collect();
            let refused: Vec<_> = catalog
                .refused
                .iter()
                .map(|refused| json!({ "library": text(&refused.library), "reason": refused.error.to_string() }))
                .collect();
            let passed_over: Vec<String> = catalog.passed_over.iter().map(|library| text(library)).collect();
            let all = json!({ "found": found, "refused": refused, "passed_over": passed_over });
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Arguments::Validate { path, json } => {
            if !path.is_file() {
                bail!("{}: no such file", shown(&path));
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
