//! `injerto advise`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use injerto_experiment::advise::{Advice, Ask, advise};
use injerto_experiment::device;
use injerto_files::{printable, shell_word, shown};
use serde_json::json;

use crate::Common;
use crate::output::{self, out};
use crate::prepare::prepare;
use crate::progress::watched;

/// What `injerto advise` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto advise photos --backbone mobilenet_v2
  injerto advise photos --backbone inception_v3 --weights my.safetensors \\
      --set data.image_size=[224,224] --out my.toml")]
pub struct Arguments {
    /// Folder of the images: train/ and validation/, or one sub-folder per class
    data: PathBuf,
    /// Name of the backbone, or path of its library
    #[arg(long, value_parser = crate::text())]
    backbone: String,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet", value_parser = crate::text())]
    weights: String,
    /// Any key of an experiment, such as seed=7 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// Write the recommended experiment here
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    let Arguments { data, backbone, weights, set, out, json } = arguments;
    let file = out.as_deref().unwrap_or(Path::new("advised.toml"));
    let ask = Ask { root: data, backbone, weights, sets: set, file };
    let config = ask.experiment()?;
    let on = device(config.device)?;
    let prepared = prepare(config, common)?;
    let advice = watched(|watch| advise(&prepared, &on, watch))?;
    let experiment = ask.recommended(&prepared, &advice)?.to_toml();
    if let Some(out) = out {
        injerto_files::write(out, experiment.as_bytes()).with_context(|| shown(out).to_string())?;
    }
    if *json {
        output::json(&json!({ "advice": advice, "experiment": experiment }))?;
        return Ok(ExitCode::SUCCESS);
    }
    show(&advice)?;
    match out {
        Some(out) => out!("\n{}", command(out, common))?,
        None => out!("\n{experiment}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What trains the experiment in `file`, to be copied into a shell.
fn command(file: &Path, common: &Common) -> String {
    let folders = common.plugin_dir.iter().map(|folder| format!(" --plugin-dir {}", shell_word(folder)));
    format!("injerto train {}{}", shell_word(file), folders.collect::<String>())
}

/// Classes that are named, at most.
const CLASSES: usize = 20;

fn show(advice: &Advice) -> Result<()> {
    let count = |(class, count): &(String, usize)| format!("{} {count}", printable(class));
    let mut counts: Vec<String> = advice.classes.iter().take(CLASSES).map(count).collect();
    if advice.classes.len() > CLASSES {
        counts.push(format!("… and {} more classes", advice.classes.len() - CLASSES));
    }
    output::prose(&format!("images   {}\n", counts.join(", ")))?;
    output::prose("How well the features of each depth tell the classes apart (LogME, higher is better):")?;
    for layer in &advice.layers {
        let (index, name) = (layer.index, printable(&layer.layer).to_string());
        out!("  {index:>4} {name:<28} {:>5} features  {:+.3}", layer.features, layer.logme)?;
    }
    out!("\nstrategy {}", advice.strategy.name())?;
    Ok(output::prose(&format!("because  {}", advice.reason))?)
}
