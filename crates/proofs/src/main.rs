//! `injerto-prove` runs the long forms of the proofs. `cargo xtask prove` builds everything that it needs, and calls it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use injerto_backbones::plugin::answer_if_asked;
use injerto_data::decode::{Orientation, decode};
use injerto_files::memory;
use injerto_proofs::{fuzz, kills, soak};

/// Try to break Injerto, and count the trials
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Feed everything that reads with damaged input
    Fuzz {
        /// Number of inputs per target
        #[arg(long, default_value_t = 1_000_000)]
        inputs: u64,
        /// Seed of the series; the same seed gives the same inputs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A target (may be given several times)
        #[arg(long, value_name = "TARGET")]
        only: Vec<String>,
        /// Megabytes by which the memory of a target may grow
        #[arg(long, default_value_t = 1024)]
        memory: u64,
        /// Seconds of processor time after which an input counts as hanging
        #[arg(long, default_value_t = 20)]
        patience: u64,
    },
    /// Write one input of a series into a file, to look at
    FuzzInput {
        /// Name of the target
        target: String,
        /// Number of the input
        number: u64,
        /// File to write
        file: PathBuf,
        /// Seed of the series
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Let file operations of a run fail or kill it there, resume it, and compare
    Kills {
        /// Try only every N-th operation
        #[arg(long, default_value_t = 1)]
        every: usize,
        /// Kinds of failures; the default is all
        #[arg(long, value_name = "KIND", value_parser = kills::KINDS)]
        how: Vec<String>,
        /// Number of kills at random instants
        #[arg(long, default_value_t = 50)]
        random: usize,
        /// Seed of the random instants
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Run and predict many times in one process, and watch its memory
    Soak {
        /// Number of runs
        #[arg(long, default_value_t = 200)]
        runs: usize,
        /// Number of predictions
        #[arg(long, default_value_t = 1000)]
        predictions: usize,
    },
    /// Decode a picture, and say how much memory that took at the most
    Decode { file: PathBuf },
    /// What `cover` begins with: a finished run and the good inputs of all targets
    #[command(hide = true)]
    CoverBegin { folder: PathBuf },
    /// Keep the inputs in a folder as those that were found for a target
    #[command(hide = true)]
    CoverKeep { target: String, folder: PathBuf },
    /// The process that `fuzz` starts for each target
    #[command(hide = true)]
    FuzzChild {
        target: String,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        memory: u64,
        #[arg(long)]
        from: u64,
        #[arg(long)]
        to: u64,
        #[arg(long)]
        run: PathBuf,
        #[arg(long)]
        place: PathBuf,
    },
}

fn target(name: &str) -> Result<&'static fuzz::Target> {
    fuzz::TARGETS.iter().find(|target| target.name == name).with_context(|| format!("no target '{name}'"))
}

fn main() -> Result<ExitCode> {
    answer_if_asked();
    let good = match Cli::parse().command {
        Command::Fuzz { inputs, seed, only, memory, patience } => {
            let plan = fuzz::Plan { inputs, seed, only, memory, patience: Duration::from_secs(patience) };
            println!("{}", fuzz::HEAD);
            let rows = fuzz::feed(&std::env::current_exe()?, &plan, &mut |row| println!("{row}"))?;
            rows.iter().all(|row| row.findings.harmful == 0)
        }
        Command::FuzzInput { target: name, number, file, seed } => {
            let folder = tempfile::tempdir()?;
            let run = injerto_proofs::example::finished(folder.path())?;
            let ready = target(&name)?.ready(&run, folder.path())?;
            std::fs::write(file, ready.seeds.input(seed, number))?;
            true
        }
        Command::Kills { every, how, random, seed } => {
            let plan = kills::Plan { every, how, random, seed };
            kills::prove(&plan, &mut |line| println!("{line}"))?.is_empty()
        }
        Command::Soak { runs, predictions } => {
            let found = soak::soak(runs, predictions)?;
            println!("{found}");
            found.is_flat()
        }
        Command::Decode { file } => {
            let bytes = std::fs::read(file)?;
            let before = memory::peak();
            let decoded = decode(&bytes, Orientation::Apply);
            println!("{} bytes", memory::peak() - before);
            match decoded {
                Ok(image) => println!("{}x{}", image.width, image.height),
                Err(reason) => println!("refused: {reason}"),
            }
            true
        }
        Command::CoverBegin { folder } => {
            fuzz::begin(&folder)?;
            fuzz::TARGETS.iter().for_each(|target| println!("{}", target.name));
            true
        }
        Command::CoverKeep { target: name, folder } => {
            println!("{name}: {} inputs are kept", fuzz::keep_found(target(&name)?.name, &folder)?);
            true
        }
        Command::FuzzChild { target: name, seed, memory, from, to, run, place } => {
            let findings = fuzz::work(target(&name)?, seed, from..to, memory, &run, &place)?;
            println!("{}", serde_json::to_string(&findings)?);
            true
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
