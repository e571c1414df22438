//! `injerto advise`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use injerto_backbones::weights::Cache;
use injerto_experiment::advise::{Advice, advise};
use injerto_experiment::config::Config;
use injerto_experiment::{Prepared, device};
use serde_json::json;

use crate::Common;

/// What `injerto advise` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto advise photos --backbone mobilenet_v2
  injerto advise photos --backbone inception_v3 --weights my.safetensors --set data.image_size=[224,224] --out my.toml")]
pub struct Arguments {
    /// Folder of the images: train/ and validation/, or one sub-folder a class
    data: PathBuf,
    /// Name of the backbone, or path of its library
    #[arg(long)]
    backbone: String,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet")]
    weights: String,
    /// Any key of an experiment, such as seed=7 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE")]
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
    let value = |text: &str| serde_json::to_string(text).expect("a text is JSON, and the same in TOML");
    let root = std::path::absolute(&arguments.data)?;
    let mut text = format!(
        "[data]\nroot = {}\n[backbone]\nplugin = {}\nweights = {}\n[[phases]]\nepochs = 10\n",
        value(&root.to_string_lossy()),
        value(&arguments.backbone),
        value(&arguments.weights),
    );
    let config = Config::parse(&text, "advise".as_ref(), &arguments.set)?;
    let on = device(config.device)?;
    let prepared = Prepared::new(config, &mut common.catalog()?, &Cache::of_user()?)?;
    prepared.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let style = ProgressStyle::with_template("{prefix:>12} {bar:32} {pos}/{len} images {eta}")?;
    let bar = ProgressBar::new(0).with_style(style.progress_chars("━╸ ")).with_prefix("features");
    let advice = advise(&prepared, &on, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    // The recommendation without the phases that it was asked with: the strategy has its own.
    text.truncate(text.find("[[phases]]").unwrap_or(text.len()));
    if let Some(layer) = &advice.last_layer {
        text.push_str(&format!("last_layer = {}\n", value(layer)));
    }
    let strategy = format!("strategy = {}\n{text}", value(advice.strategy.name()));
    let experiment = Config::parse(&strategy, "advise".as_ref(), &arguments.set)?.to_toml();
    if let Some(out) = &arguments.out {
        std::fs::write(out, &experiment)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "advice": advice, "experiment": experiment }))?);
    } else {
        show(&advice);
        match &arguments.out {
            Some(out) => println!("\ncargo xtask experiment {}", out.display()),
            None => println!("\n{experiment}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(advice: &Advice) {
    let counts: Vec<String> = advice.classes.iter().map(|(class, count)| format!("{class} {count}")).collect();
    println!("images   {}\n", counts.join(", "));
    println!("How well the features of each depth tell the classes apart (LogME, higher is better):");
    for layer in &advice.layers {
        println!("  {:>4} {:<28} {:>5} features  {:+.3}", layer.index, layer.layer, layer.features, layer.logme);
    }
    println!("\nstrategy {}", advice.strategy.name());
    println!("because  {}", advice.reason);
}
