//! `injerto predict`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_config::Device;
use injerto_experiment::{Classifier, Predictor};
use injerto_files::{printable, shown, to_text};
use injerto_trainer::Checkpoints;
use serde_json::json;

use crate::Common;
use crate::output::{self, note, out};
use crate::summary::parameters;

/// What `injerto predict` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto predict photo.jpg --run runs/cats-20260101-120000
  injerto predict *.jpg --run model.safetensors --json
  injerto predict photo.jpg --backbone efficientnet --param variant=lite0")]
pub struct Arguments {
    /// The photos; `-` is standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A run's folder (its best checkpoint is taken) or a checkpoint; by default the newest run in runs/
    #[arg(long, value_name = "PATH")]
    run: Option<PathBuf>,
    #[command(flatten)]
    top: Top,
    /// Print one line of JSON per image
    #[arg(long)]
    json: bool,
}

/// Options for a backbone instead of a run.
#[derive(Args)]
struct Top {
    /// Name ImageNet's classes with this backbone's own classifier, no training needed
    #[arg(long, value_name = "NAME", conflicts_with = "run", value_parser = crate::text())]
    backbone: Option<String>,
    /// A parameter of the backbone as JSON, such as variant=lite0 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", requires = "backbone", value_parser = crate::text())]
    param: Vec<String>,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet", requires = "backbone", value_parser = crate::text())]
    weights: String,
}

/// What is asked.
enum Network {
    Trained(Box<Predictor>),
    Backbone(Box<Classifier>),
}

/// Runs the command.
pub fn run(arguments: Arguments, common: &Common) -> Result<ExitCode> {
    let network = match &arguments.top.backbone {
        Some(backbone) => {
            let Top { param, weights, .. } = &arguments.top;
            let (mut catalog, cache) = (common.catalog()?, Cache::of_user()?);
            let parameters = parameters(param)?;
            let on = Device::Flex;
            let classifier = Classifier::new(&mut catalog, backbone, &parameters, weights, &cache, on)?;
            classifier.warnings.iter().for_each(|warning| output::warning(warning));
            Network::Backbone(Box::new(classifier))
        }
        None => Network::Trained(Box::new(Predictor::load(&checkpoint(arguments.run.as_deref())?, Device::Flex)?)),
    };
    let files = arguments.images.clone().into_iter().map(|image| file(&image));
    let answers = match &network {
        Network::Trained(predictor) => predictor.predict(files),
        Network::Backbone(classifier) => classifier.predict(files),
    };
    let mut failed = false;
    for (image, answer) in arguments.images.iter().zip(answers) {
        match answer {
            Ok(prediction) if arguments.json => {
                let ranked = prediction.ranked();
                let probabilities: Vec<_> =
                    ranked.map(|(class, p)| json!({ "class": class, "probability": p })).collect();
                out!("{}", json!({ "image": to_text(image.as_os_str()), "classes": probabilities }))?;
            }
            Ok(prediction) => {
                let word = |(class, p): (&str, f32)| format!("{} {:.1} %", printable(class), p * 100.0);
                let words: Vec<String> = prediction.ranked().take(5).map(word).collect();
                out!("{}: {}", shown(image), words.join(", "))?;
            }
            // One bad file does not keep the others from their answer.
            Err(error) => {
                failed = true;
                output::error(&error.into());
            }
        }
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// The file that a photo is read from: `-` stands for standard input where the system has a file for it.
fn file(image: &Path) -> PathBuf {
    let stdin = Path::new("/dev/stdin");
    if image.as_os_str() == "-" && stdin.exists() { stdin.to_owned() } else { image.to_owned() }
}

/// The checkpoint to use: the best one of a run's folder, or the file itself. Without `run` it is that of the newest run, and a
/// note says so.
pub fn checkpoint(run: Option<&Path>) -> Result<PathBuf> {
    let run = match run {
        Some(run) => run.to_owned(),
        None => {
            let newest = newest(Path::new("runs"));
            let newest = newest.context("no run in runs/; name one with --run, or a backbone with --backbone")?;
            note!("with the newest run, {} (--run names another)", shown(&newest));
            newest
        }
    };
    Ok(if run.is_dir() { run.join(Checkpoints::BEST) } else { run })
}

/// The run that was written to last.
fn newest(runs: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path());
    let with_time = folders.filter_map(|path| {
        let time = path.join(Checkpoints::BEST).metadata().ok()?.modified().ok()?;
        Some((time, path))
    });
    with_time.max().map(|(_, path)| path)
}
