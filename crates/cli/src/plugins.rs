//! `injerto plugins`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use injerto_backbones::plugin::{BackboneFile, Origin, Probe, validate};
use injerto_files::{printable, shown, to_text};
use serde_json::json;

use crate::Common;
use crate::output::{self, note, out};
use crate::summary::parameters;

/// What `injerto plugins` takes.
#[derive(Subcommand)]
pub enum Arguments {
    /// List the backbones that are found, the libraries that are refused, and where was searched
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a plugin, each question in a process of its own, so that a crash is a result; or a backbone file or ONNX model
    Validate {
        /// The library, NAME.backbone.json or NAME.onnx
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a backbone as a file, which is found, summarised and trained like a plugin, and needs none
    #[command(after_help = "\
Examples:

  injerto plugins dump vgg --param include_top=true > my_vgg.backbone.json
  injerto plugins dump small_cnn --weights shapes --param input_shape=[64,64] --out plugins/shapes.backbone.json

The name of the file is the backbone's: NAME.backbone.json in a plugin folder is the backbone NAME.")]
    Dump {
        /// Name of the backbone, or path of its library
        backbone: String,
        /// A parameter of the backbone as JSON, such as alpha=0.35 (may be given several times)
        #[arg(long, value_name = "KEY=VALUE")]
        param: Vec<String>,
        /// Set the parameters that these weights require
        #[arg(long, value_name = "ID")]
        weights: Option<String>,
        /// Write NAME.backbone.json here, and the weights that the library carries beside it, instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// The place of a plugin in JSON: its file, or `linked in`.
fn library(origin: &Origin) -> String {
    origin.file().map_or_else(|| "linked in".to_owned(), |path| to_text(path.as_os_str()).into_owned())
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
                        "library": library(&found.origin),
                        "descriptor": found.descriptor,
                        "shadowed_by": found.shadowed_by.as_ref().map(library),
                    })
                })
                .collect();
            let refused: Vec<_> = catalog
                .refused
                .iter()
                .map(|refused| json!({ "library": library(&refused.origin), "reason": refused.error.to_string() }))
                .collect();
            let passed_over: Vec<_> = catalog.passed_over.iter().map(|library| to_text(library.as_os_str())).collect();
            output::json(&json!({ "found": found, "refused": refused, "passed_over": passed_over }))?;
        }
        Arguments::Validate { path, json } => {
            if !path.is_file() {
                bail!(
                    "{}: no such file; `plugins validate` takes the path of a library or of a NAME.backbone.json, and `injerto plugins list` \
                     says where these are",
                    shown(&path)
                );
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
        Arguments::Dump { backbone, param, weights, out } => {
            let mut catalog = common.catalog()?;
            let found = catalog.find(&backbone)?;
            let name = out.as_deref().map_or(Ok(found.descriptor.name.as_str()), BackboneFile::name)?;
            let dump = catalog.dump(&found, &parameters(&param)?, weights.as_deref(), name)?;
            let dump = match &out {
                Some(path) => {
                    dump.write(path)?;
                    dump
                }
                None => {
                    let dump = dump.alone();
                    out!("{}", dump.file.to_json().trim_end())?;
                    dump
                }
            };
            for reason in &dump.left_out {
                note!("left out: {}", printable(reason));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
