//! `injerto train`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_data::Skipped;
use injerto_experiment::config::{Config, DataConfig};
use injerto_experiment::{Prepared, RunFolder, Summary, Watch, device};
use injerto_graph::summary::grouped;
use injerto_graph::{Cut, CutOptions};
use injerto_report::ReportError;
use injerto_report::verdict::{State, verdict};
use injerto_trainer::history::EpochRecord;

use crate::Common;
use crate::curves;
use crate::inventory;
use crate::progress::{Looking, Progress};

/// What `injerto train` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto train configs/quickstart.toml
  injerto train my.toml --set data.root=photos --set phases.0.epochs=3
  injerto train my.toml --dry-run
  injerto train --resume runs/my-20260101-120000

Ctrl-C ends the run after the current batch; --resume goes on from the last finished epoch.")]
pub struct Arguments {
    /// The experiment
    #[arg(value_name = "FILE", required_unless_present = "resume")]
    file: Option<PathBuf>,
    /// Override any key, such as data.batch_size=16 or phases.0.epochs=3 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Resolve everything, print the plan, train nothing
    #[arg(long)]
    dry_run: bool,
    /// The folder that the run leaves [default: runs/NAME-TIME]
    #[arg(long, value_name = "FOLDER")]
    run_dir: Option<PathBuf>,
    /// Go on with a run that was stopped, from its last finished epoch
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["file", "set", "run_dir", "dry_run"])]
    resume: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: Arguments, common: &Common) -> Result<ExitCode> {
    let resumed = arguments.resume.as_deref().map(RunFolder::open).transpose()?;
    let file = resumed.as_ref().map(RunFolder::experiment).or(arguments.file).expect("clap requires one of the two");
    let config = Config::load(&file, &arguments.set)?;
    let device = device(config.device)?;
    let looking = Looking::new();
    let prepared =
        Prepared::watched(config, &mut common.catalog()?, &Cache::of_user(), &|done, all| looking.show(done, all));
    looking.end();
    let prepared = prepared?;
    println!("{}", plan(&prepared));
    inventory::warnings(&prepared).iter().for_each(|warning| eprintln!("warning: {warning}"));
    prepared.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    if arguments.dry_run {
        println!("\n# The experiment, with every default\n{}", prepared.config.to_toml());
        return Ok(ExitCode::SUCCESS);
    }
    let folder = match &resumed {
        Some(folder) => folder.clone(),
        None => RunFolder::create(arguments.run_dir.as_deref(), &prepared.config.name)?,
    };
    println!("folder     {}\n", folder.path().display());

    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        // The second time somebody means it.
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this batch (Ctrl-C again stops at once)");
    })?;
    let mut progress = Progress::new();
    let mut announce = |what: &str| println!("\n{what}");
    let mut watch = Watch { observer: &mut progress, announce: &mut announce, stop: &stop };
    let outcome = injerto_experiment::run(&prepared, &device, &folder, resumed.is_some(), &mut watch);
    // Of a run that failed, the epochs before are drawn. No run is lost because it cannot be drawn.
    match injerto_report::write(folder.path()) {
        Err(ReportError::NothingToDraw { .. }) | Ok(_) => {}
        Err(error) => tracing::warn!("no report: {error}"),
    }
    let outcome = outcome?;
    report(&outcome.summary, &folder);
    Ok(if outcome.summary.interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// What will be done, in a few lines.
fn plan(prepared: &Prepared) -> String {
    let Prepared { config, card, .. } = prepared;
    let [height, width] = card.image_size();
    let mut lines = vec![format!("experiment {} (seed {}, device {})", config.name, config.seed, config.device.name())];
    lines.extend(inventory::lines(prepared));
    lines.extend([
        format!("backbone   {} at {height}x{width}, {} layers", config.backbone.plugin, card.backbone_layers),
        format!("weights    {}", prepared.origin),
        format!(
            "head       {}",
            card.graph.nodes()[card.backbone_layers..].iter().map(|node| node.name()).collect::<Vec<_>>().join(", ")
        ),
        format!("loss       {}{}", card.loss.name(), if card.loss.from_logits() { " from logits" } else { "" }),
    ]);
    for (at, phase) in prepared.phases.iter().enumerate() {
        let (trainable, rest) = phase.plan.counts(&card.graph);
        let cut = Cut::new(&card.graph, &phase.plan, CutOptions::default());
        lines.push(format!(
            "phase {}    {}: {} epochs, trainable {} / non-trainable {}",
            at + 1,
            phase.name,
            phase.epochs,
            grouped(trainable),
            grouped(rest),
        ));
        lines.push(format!(
            "           frozen prefix {} layers, tail {} layers, {} values an image between them",
            cut.split.prefix.len(),
            cut.split.tail.len(),
            grouped(cut.split.crossing_values(&card.graph)),
        ));
        lines.push(format!("           {cut}"));
        if let Some(line) = changing(&config.data).filter(|_| cut.split.prefix.len() > 1) {
            lines.push(format!("           {line}"));
        }
    }
    lines.join("\n")
}

/// What becomes of training images that change, at the frozen prefix; `None` if they do not.
fn changing(data: &DataConfig) -> Option<String> {
    match data.cached_views {
        Some(views) => Some(format!("{views} changed views of each training image pass the prefix once")),
        None if data.mix().is_on() => Some("training images are mixed anew, and pass the prefix in every epoch".to_owned()),
        None if data.augment.is_empty() => None,
        None => Some(
            "training images are changed anew, and pass the prefix in every epoch; data.cached_views = 4 would keep four \
             views of each"
                .to_owned(),
        ),
    }
}

fn report(summary: &Summary, folder: &RunFolder) {
    if !summary.skipped.is_empty() {
        println!("\n{} file(s) left out:", summary.skipped.len());
        let skipped =
            summary.skipped.iter().map(|(path, reason)| Skipped { path: path.clone(), reason: reason.clone() });
        inventory::files(&skipped.collect::<Vec<_>>()).iter().for_each(|line| println!("  {line}"));
    }
    if let Some(gain) = &summary.transfer_gain {
        println!("\n{}", curves::draw(&[("by transfer", &gain.transfer), ("from scratch", &gain.scratch)]));
        let seeds = gain.seeds.len();
        println!("What transfer gained, validation accuracy over {seeds} seeds:");
        println!("  higher start      {:+.3}  after the first epoch", gain.start);
        println!("  higher slope      {:+.3}  an epoch, on the way up", gain.slope);
        println!("  higher asymptote  {:+.3}  at the end", gain.asymptote);
    }
    if summary.interrupted {
        let at = folder.path().display();
        println!("\nstopped; every finished epoch is kept. To go on: injerto train --resume {at}");
        return;
    }
    if let Some(value) = summary.best.value {
        println!("\nbest {} {value:.4} in epoch {}", summary.best.monitor, summary.best.epoch);
    }
    let history: Vec<EpochRecord> = summary.phases.iter().flat_map(|phase| phase.history.clone()).collect();
    let verdict = verdict(&history, summary.best.epoch, Some(1.0 / summary.classes.len().max(1) as f64));
    if verdict.state != State::Unknown {
        println!("{}: {}", verdict.headline, verdict.advice);
    }
    println!("{:.1} s, everything is in {}", summary.seconds.total, folder.path().display());
}
