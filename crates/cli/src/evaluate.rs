//! `injerto evaluate`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use injerto_backbones::weights::Cache;
use injerto_experiment::{Classifier, config, evaluate};
use serde_json::json;

use crate::Common;
use crate::summary::parameters;

/// What `injerto evaluate` takes.
#[derive(Args)]
#[command(after_help = "\
The class of a photo is read from its name (207_golden_retriever.jpg), or from the name of its folder (207, n02099601 or
golden_retriever). Each photo is cut, resized and scaled as the backbone's weights ask.

Examples:

  injerto evaluate photos --backbone efficientnet --param variant=lite0
  injerto evaluate photos --backbone mobilenet_v2 --weights imagenet-torchvision-top --crop 0.875 --json")]
pub struct Arguments {
    /// The photos: a folder of them, or one folder a class
    folder: PathBuf,
    /// Name of the backbone, or path of its library
    #[arg(long, value_name = "NAME")]
    backbone: String,
    /// A parameter of the backbone as JSON, such as variant=lite0 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE")]
    param: Vec<String>,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet")]
    weights: String,
    /// Look at the middle of each photo only: a square of this share of its shorter side
    #[arg(long, value_name = "SHARE")]
    crop: Option<f64>,
    /// Photos at a time
    #[arg(long, default_value_t = 16)]
    batch_size: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments, common: &Common) -> Result<ExitCode> {
    let Arguments { folder, backbone, param, weights, crop, batch_size, json } = arguments;
    if let Some(share) = crop.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
        bail!("--crop {share}: expected a share of the shorter side, more than 0 and at most 1");
    }
    let (mut catalog, cache, on) = (common.catalog()?, Cache::of_user(), config::Device::Flex);
    let mut classifier = Classifier::new(&mut catalog, &backbone, &parameters(&param)?, &weights, &cache, on)?;
    if let Some(share) = crop {
        classifier.set_crop(share);
    }
    let bar = ProgressBar::new(0);
    let found = evaluate(&classifier, &folder, batch_size, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if json {
        let line = json!({
            "backbone": backbone,
            "weights": classifier.origin,
            "crop": classifier.crop(),
            "images": found.images,
            "top_1": found.top_1,
            "top_5": found.top_5,
            "seconds": found.seconds,
        });
        println!("{}", serde_json::to_string_pretty(&line)?);
    } else {
        println!("{backbone}, {}", classifier.origin);
        println!(
            "{} photos in {:.1} s: top-1 {:.3}, top-5 {:.3}",
            found.images, found.seconds, found.top_1, found.top_5
        );
    }
    Ok(ExitCode::SUCCESS)
}
