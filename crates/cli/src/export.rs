//! `injerto export`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use injerto_backbones::weights::Precision;
use injerto_config::Device;
use injerto_experiment::device;
use injerto_files::shown;
use injerto_trainer::{Checkpoints, Model};

use crate::output::out;

/// What `injerto export` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto export runs/cats-20260101-120000 cats.safetensors --precision f16
  injerto export runs/shapes-20260101-120000 shapes.safetensors --backbone

The first is a model that `injerto predict --run cats.safetensors` takes; the second holds weights for the next \
experiment: backbone.weights = \"shapes.safetensors\".")]
pub struct Arguments {
    /// A run's folder (its best checkpoint is taken) or a checkpoint
    run: PathBuf,
    /// The safetensors file to write, with tensors named LAYER/PARAMETER in Keras's axes
    file: PathBuf,
    /// Leave the head out
    #[arg(long)]
    backbone: bool,
    /// Number type of the file
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    precision: Numbers,
}

#[derive(Clone, Copy, ValueEnum)]
enum Numbers {
    F32,
    F16,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { run, file, backbone, precision } = arguments;
    if file.extension().is_none_or(|extension| extension != "safetensors") {
        bail!("{}: expected a name that ends in .safetensors", shown(&file));
    }
    let checkpoint = if run.is_dir() { run.join(Checkpoints::BEST) } else { run };
    let model = Model::load(&checkpoint, &device(Device::Flex)?)?;
    let precision = match precision {
        Numbers::F32 => Precision::F32,
        Numbers::F16 => Precision::F16,
    };
    let count = if backbone {
        let card = model.card.backbone_card()?;
        let weights = model.network.weights().restricted_to(&card.graph);
        weights.save(&file, &card.metadata(), precision)?;
        weights.count()
    } else {
        model.save(&file, precision)?;
        model.card.graph.parameter_count()
    };
    out!("{count} values in {}", shown(&file))?;
    Ok(ExitCode::SUCCESS)
}
