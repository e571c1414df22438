//! `injerto predict`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_config::Device;
use injerto_experiment::{Classifier, Prediction, Predictor, Similar};
use injerto_files::{printable, shown, to_text};
use injerto_insight::unknown::Standing;
use injerto_report::words::grouped;
use injerto_trainer::Checkpoints;
use serde_json::{Value, json};

use crate::Common;
use crate::output::{self, note, out};
use crate::summary::parameters;

/// What `injerto predict` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto predict photo.jpg --run runs/cats-20260101-120000
  injerto predict *.jpg --run model.safetensors --json
  injerto predict photo.jpg --neighbours
  injerto predict photo.jpg --backbone efficientnet --param variant=lite0

A run keeps with its model what it knows of the photos that it was trained on (knowledge.safetensors). A photo that is unlike
all of them is unknown, whatever the probabilities say, and probabilities are calibrated where that helps. A checkpoint without
that file names classes alone.")]
pub struct Arguments {
    /// The photos; `-` is standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A run's folder (its best checkpoint is taken) or a checkpoint; by default the newest run in runs/
    #[arg(long, value_name = "PATH")]
    run: Option<PathBuf>,
    /// List the training photos that resemble each photo most: five, or N
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "5",
        conflicts_with = "backbone", value_parser = clap::value_parser!(u16).range(1..=1000))]
    neighbours: Option<u16>,
    /// Show the network's own probabilities, also where the run has found a temperature that calibrates them
    #[arg(long, conflicts_with = "backbone")]
    uncalibrated: bool,
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
        None => {
            let mut predictor = Predictor::load(&checkpoint(arguments.run.as_deref())?, Device::Flex)?;
            predictor.set_calibrated(!arguments.uncalibrated);
            if let Some(count) = arguments.neighbours {
                predictor.set_neighbours(count.into())?;
            }
            Network::Trained(Box::new(predictor))
        }
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
                out!("{}", as_json(image, &prediction, arguments.neighbours.is_some()))?;
            }
            Ok(prediction) => {
                let word = |(class, p): (&str, f32)| format!("{} {:.1} %", printable(class), p * 100.0);
                let words: Vec<String> = prediction.ranked().take(5).map(word).collect();
                out!("{}: {}{}", shown(image), unknown(&network, &prediction), words.join(", "))?;
                for Similar { path, label, similarity } in prediction.neighbours() {
                    out!("  {similarity:.3}  {}  {}", printable(label), printable(path))?;
                }
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

/// What comes before the classes of a photo that is unlike all training photos; nothing for other photos.
fn unknown(network: &Network, prediction: &Prediction) -> String {
    let Network::Trained(predictor) = network else { return String::new() };
    let knowledge = predictor.knowledge().ok();
    let judged = prediction.standing().zip(knowledge.and_then(|knowledge| knowledge.threshold()));
    let Some((standing, threshold)) = judged.filter(|(standing, _)| standing.unknown) else { return String::new() };
    let (all, nearer) = (grouped(threshold.n), 1.0 - standing.as_far);
    let than = match standing.as_far > 0.0 {
        true => format!("{:.1} % of {all} validation photos", nearer * 100.0),
        false => format!("all {all} validation photos"),
    };
    format!("unknown (farther from the training photos than {than}); among the known classes, ")
}

/// A photo's line of JSON.
fn as_json(image: &Path, prediction: &Prediction, neighbours: bool) -> Value {
    let classes: Vec<_> = prediction.ranked().map(|(class, p)| json!({ "class": class, "probability": p })).collect();
    let mut line = json!({ "image": to_text(image.as_os_str()), "classes": classes });
    if let Some(Standing { unknown, distance, as_far, .. }) = prediction.standing() {
        line["unknown"] = json!(unknown);
        line["familiarity"] = json!(as_far);
        line["distance"] = json!(distance);
    }
    if neighbours {
        line["neighbours"] = json!(prediction.neighbours());
    }
    line
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
