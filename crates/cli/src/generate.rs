//! `injerto generate`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use injerto_data::generated::{Task, export};
use injerto_files::shown;

use crate::output::out;

/// What `injerto generate` takes.
#[derive(Args)]
pub struct Arguments {
    /// What to draw: flowers or shapes
    task: String,
    /// The folder; train/ and validation/ are made in it, one folder per class
    folder: PathBuf,
    /// Images of each class to train on
    #[arg(long, default_value_t = 100)]
    train: usize,
    /// Images of each class to validate on
    #[arg(long, default_value_t = 50)]
    validation: usize,
    /// Height and width in pixels
    #[arg(long, default_value_t = 96)]
    size: usize,
    /// Other images for another seed
    #[arg(long, default_value_t = 123)]
    seed: u64,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { task, folder, train, validation, size, seed } = arguments;
    let task = Task::of_name(&task)?;
    for (series, (name, per_class)) in [("train", train), ("validation", validation)].into_iter().enumerate() {
        export(&task.dataset(per_class, seed, series as u32), &folder.join(name), [size, size])?;
    }
    out!("{} images in {}", task.classes().len() * (train + validation), shown(&folder))?;
    Ok(ExitCode::SUCCESS)
}
