//! `injerto predict`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use injerto_experiment::{Predictor, config};
use serde_json::json;

/// What `injerto predict` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto predict photo.jpg --run runs/cats-20260101-120000
  injerto predict *.jpg --run model.safetensors --json")]
pub struct Arguments {
    /// The photos
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A run's folder (its best checkpoint is taken) or a checkpoint; by default the newest run in runs/
    #[arg(long, value_name = "PATH")]
    run: Option<PathBuf>,
    /// Print one line of JSON an image
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let run = match arguments.run {
        Some(run) => run,
        None => newest(Path::new("runs")).context("no run in runs/; name one with --run")?,
    };
    let checkpoint = if run.is_dir() { run.join("best.safetensors") } else { run };
    let predictor = Predictor::load(&checkpoint, config::Device::Flex)?;
    let mut failed = false;
    for image in &arguments.images {
        match predictor.predict(image) {
            Ok(prediction) if arguments.json => {
                let probabilities: Vec<_> =
                    prediction.iter().map(|(class, p)| json!({ "class": class, "probability": p })).collect();
                println!("{}", json!({ "image": image, "classes": probabilities }));
            }
            Ok(prediction) => {
                let words: Vec<String> =
                    prediction.iter().take(5).map(|(class, p)| format!("{class} {:.1} %", p * 100.0)).collect();
                println!("{}: {}", image.display(), words.join(", "));
            }
            // One bad file does not keep the others from their answer.
            Err(error) => {
                failed = true;
                eprintln!("error: {error}");
            }
        }
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// The run that was written to last.
fn newest(runs: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path());
    let with_time = folders.filter_map(|path| {
        let time = path.join("best.safetensors").metadata().ok()?.modified().ok()?;
        Some((time, path))
    });
    with_time.max().map(|(_, path)| path)
}
