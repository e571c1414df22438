//! `injerto summary`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use injerto_graph::summary::Summary;
use injerto_graph::{FreezePlan, LayerRef, Selection};
use serde_json::{Map, Value};

use crate::Common;
use crate::output::{self, out};

/// What `injerto summary` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto summary mobilenet_v2
  injerto summary mobilenet_v2 --param input_shape=[160,160] --from-layer 100
  injerto summary mobilenet_v2 --param alpha=0.35 --json")]
pub struct Arguments {
    /// Name of the backbone, or path of its library
    #[arg(value_parser = crate::text())]
    backbone: String,
    /// A parameter of the backbone as JSON, such as alpha=0.35 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    param: Vec<String>,
    /// Freeze everything before this layer (its index or its name)
    #[arg(long, value_name = "LAYER", value_parser = crate::text())]
    from_layer: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments, common: &Common) -> Result<ExitCode> {
    let mut catalog = common.catalog()?;
    let found = catalog.find(&arguments.backbone)?;
    let parameters = parameters(&arguments.param)?;
    let graph = catalog.describe(&found, &parameters)?.graph;
    let selection = arguments.from_layer.map_or(Selection::All, |layer| {
        Selection::FromLayer(layer.parse().map_or(LayerRef::Name(layer), LayerRef::Index))
    });
    let summary = Summary::new(&graph, &FreezePlan::new(&graph, &selection)?);
    match arguments.json {
        true => output::json(&summary)?,
        false => out!("{}", injerto_report::network(&summary).trim_end_matches('\n'))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Parameters of a backbone from `KEY=VALUE`.
pub fn parameters(given: &[String]) -> Result<Map<String, Value>> {
    let mut parameters = Map::new();
    for parameter in given {
        let Some((key, value)) = parameter.split_once('=') else { bail!("--param {parameter}: expected KEY=VALUE") };
        // A value that is not JSON is taken as a string.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        parameters.insert(key.to_owned(), value);
    }
    Ok(parameters)
}
