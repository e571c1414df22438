//! `injerto-prove`: the long forms of the proofs. `cargo xtask prove` builds what it needs and calls it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use injerto_backbones::plugin::answer_if_asked;
use injerto_data::decode::{Orientation, decode};
use injerto_files::memory;
use injerto_proofs::{fuzz, kills, soak};

/// Try to break Injerto, and say how often it was tried
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Feed everything that reads with damaged input
    Fuzz {
        /// Inputs for each target
        #[arg(long, default_value_t = 1_000_000)]
        inputs: u64,
        /// Where the series begins; the same seed gives the same inputs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A target (may be given several times)
        #[arg(long, value_name = "TARGET")]
        only: Vec<String>,
        /// Megabytes that a target may take beyond what it begins with
        #[arg(long, default_value_t = 1024)]
        memory: u64,
        /// Seconds after which an input hangs
        #[arg(long, default_value_t = 20)]
        patience: u64,
    },
    /// Write one input of a series into a file, to look at
    FuzzInput {
        /// Its target
        target: String,
        /// Its number
        number: u64,
        /// Where to
        file: PathBuf,
        /// Its series
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Fail or kill a run at its file operations, resume, and compare
    Kills {
        /// Only every so many operations
        #[arg(long, default_value_t = 1)]
        every: usize,
        /// Kinds of failures; all if none is named
        #[arg(long, value_name = "KIND", value_parser = kills::KINDS)]
        how: Vec<String>,
        /// Kills at random instants as well
        #[arg(long, default_value_t = 50)]
        random: usize,
        /// What the random instants depend on
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Run and predict many times in one process, and watch its memory
    Soak {
        /// Runs in a row
        #[arg(long, default_value_t = 200)]
        runs: usize,
        /// Predictions in a row
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
    /// What `fuzz` starts for each target
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
            std::fs::write(file, fuzz::input(&ready.corpus, seed, number))?;
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
