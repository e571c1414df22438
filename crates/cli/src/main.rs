//! The `injerto` binary: trains, describes, lists, predicts.

mod advise;
mod cache;
mod compare;
mod curves;
mod evaluate;
mod export;
mod generate;
mod inventory;
mod plugins;
mod predict;
mod progress;
mod report;
mod summary;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use injerto_backbones::plugin::{Catalog, Probe, SearchPath, answer_if_asked};

/// Transfer learning on your own photos: a new head on a pre-trained backbone.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
A first experiment, with nothing to download:

  injerto train configs/quickstart.toml

Backbones are plugins: shared libraries named libinjerto_plugin_NAME, looked for in --plugin-dir, INJERTO_PLUGIN_PATH,
beside this program, and in the user's data folder. `injerto plugins list` shows what is found."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every command takes.
#[derive(Args)]
struct Common {
    /// Look for plugins here first (may be given several times)
    #[arg(long, global = true, value_name = "FOLDER")]
    plugin_dir: Vec<PathBuf>,
    /// Say more about what is done
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the experiment that a TOML file describes
    Train(train::Arguments),
    /// Show a backbone's layers, shapes and parameters, as Keras's model.summary() does
    Summary(summary::Arguments),
    /// List the backbones that are found, or check a plugin
    #[command(subcommand)]
    Plugins(plugins::Arguments),
    /// Say what is on photos, with a trained checkpoint or a backbone's own classifier
    Predict(predict::Arguments),
    /// Look at your images through a backbone and recommend a strategy, with a ready experiment
    Advise(advise::Arguments),
    /// List or delete kept features of frozen prefixes
    #[command(subcommand)]
    Cache(cache::Arguments),
    /// Write a trained network, or its backbone alone, into one file
    Export(export::Arguments),
    /// Draw several runs together, and say what the first gains over the others
    Compare(compare::Arguments),
    /// Draw a run's curves and its report.html again
    Report(report::Arguments),
    /// Measure a backbone's own classifier on photos of ImageNet's classes
    Evaluate(evaluate::Arguments),
    /// Write the drawn images of the quickstart into a folder, to look at
    Generate(generate::Arguments),
}

impl Common {
    fn catalog(&self) -> Result<Catalog> {
        Ok(Catalog::scan(SearchPath::usual(self.plugin_dir.clone()), Probe::this_program()?))
    }
}

fn main() -> ExitCode {
    answer_if_asked();
    let Cli { command, common } = Cli::parse();
    let level = if common.verbose { tracing::Level::DEBUG } else { tracing::Level::WARN };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let done = match command {
        Command::Train(arguments) => train::run(arguments, &common),
        Command::Summary(arguments) => summary::run(arguments, &common),
        Command::Plugins(arguments) => plugins::run(arguments, &common),
        Command::Advise(arguments) => advise::run(&arguments, &common),
        Command::Cache(arguments) => cache::run(&arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Predict(arguments) => predict::run(arguments, &common),
        Command::Evaluate(arguments) => evaluate::run(arguments, &common),
        Command::Generate(arguments) => generate::run(arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(1)
    })
}
