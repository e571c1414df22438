//! `injerto schema`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::output::out;

/// What `injerto schema` takes.
#[derive(Args)]
#[command(after_help = "\
An editor that knows TOML (such as VS Code with Even Better TOML, or any editor with taplo) completes and checks the keys of an
experiment whose first line is

  #:schema ./experiment.schema.json

Example:

  injerto schema > experiment.schema.json")]
pub struct Arguments {}

/// Runs the command.
pub fn run(_: &Arguments) -> Result<ExitCode> {
    out!("{}", serde_json::to_string_pretty(&injerto_config::json_schema())?)?;
    Ok(ExitCode::SUCCESS)
}
