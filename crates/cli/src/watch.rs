//! `injerto watch`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_data::OnCorrupt;
use injerto_experiment::advise::Ask;
use injerto_experiment::inspect::SuspectFound;
use injerto_experiment::inspect::backbone::candidates;
use injerto_experiment::watch::{Answer, Changes, Guess, State, Watched};
use injerto_files::{printable, shown};
use injerto_insight::probe::Mean;
use injerto_report::words::{counted, grouped};
use injerto_trainer::Watch;

use crate::Common;
use crate::inspect::{chosen, named};
use crate::output::{self, note, out};
use crate::progress::{Quietly, on_interrupt};

/// Photos of each kind that are named in the terminal.
const MOST: usize = 10;

/// What `injerto watch` takes.
#[derive(Args)]
#[command(after_help = "\
The folder has one sub-folder per class, or such folders in train and
validation. Photos in a folder `unsorted` have no class yet. Whenever photos
are added, removed or moved, the new ones pass through the backbone, a
logistic regression on the features of all photos is fitted again, and the
answer is printed: its accuracy on photos that it has not seen, the predicted
classes of the unsorted photos, and the photos that seem to lie in the wrong
folder. Files that are still being copied are waited for. Ctrl-C ends the
command.

Examples:

  injerto watch photos
  injerto watch photos --backbone mobilenet_v2 --once --json")]
pub struct Arguments {
    /// The folder of the photos
    #[arg(value_parser = crate::images())]
    folder: PathBuf,
    /// Name of the backbone, or path of its library [default: one whose weights are at hand]
    #[arg(long, value_name = "NAME", value_parser = crate::text())]
    backbone: Option<String>,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet", requires = "backbone", value_parser = crate::text())]
    weights: String,
    /// Any key of an experiment, such as data.batch_size=16 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// Seconds between two looks at the folder
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    interval: f64,
    /// Answer once, and end
    #[arg(long)]
    once: bool,
    /// Print a line of JSON per answer
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    if !(0.01..=3600.0).contains(&arguments.interval) {
        bail!("--interval must be from 0.01 to 3600 seconds, and is {}", arguments.interval);
    }
    let stop = on_interrupt()?;
    let mut watched = begin(arguments, common)?;
    let mut answered: Option<State> = None;
    let mut last: Option<State> = None;
    while !stop.load(Ordering::Relaxed) {
        let now = watched.state()?;
        // If nothing changes from one look to the next, no copying is under way.
        let is_still = arguments.once || last.as_ref() == Some(&now) || answered.is_none();
        if is_still && answered.as_ref() != Some(&now) {
            let mut progress = Quietly::new();
            let answer = watched.answer(&mut Watch { observer: &mut progress, stop: &stop });
            progress.end();
            let Some(answer) = answer? else { break };
            show(&answer, arguments)?;
            answered = Some(now.clone());
        }
        if arguments.once {
            return Ok(ExitCode::SUCCESS);
        }
        last = Some(now);
        wait(arguments.interval, &stop);
    }
    Ok(ExitCode::from(130))
}

fn begin(arguments: &Arguments, common: &Common) -> Result<Watched> {
    let (mut catalog, cache) = (common.catalog()?, Cache::of_user()?);
    let root: &Path = &arguments.folder;
    if !root.is_dir() {
        bail!("{}: there is no such folder", shown(root));
    }
    let (candidate, why) = match &arguments.backbone {
        Some(name) => (Some(named(name, &arguments.weights)), "as you asked".to_owned()),
        None => chosen(&candidates(&catalog, &cache)),
    };
    let Some(candidate) = candidate else {
        bail!(
            "there is no backbone whose weights are at hand or can be fetched; `injerto plugins list` shows what there is"
        );
    };
    let file = Path::new("watched.toml");
    let ask = Ask { root, backbone: &candidate.backbone, weights: &candidate.weights, sets: &arguments.set, file };
    let mut config = ask.experiment()?;
    config.data.on_corrupt = OnCorrupt::Skip;
    let watched = Watched::begin(root, config, &mut catalog, &cache)?;
    let (backbone, weights) = watched.backbone();
    note!("backbone   {}, {}: {why}", printable(backbone), printable(weights));
    if !arguments.once {
        note!("watching   {}; Ctrl-C ends it", shown(root));
    }
    Ok(watched)
}

/// Waits, but not longer than until somebody asks to stop.
fn wait(seconds: f64, stop: &AtomicBool) {
    let mut left = seconds;
    while left > 0.0 && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_secs_f64(left.min(0.1)));
        left -= 0.1;
    }
}

fn show(answer: &Answer, arguments: &Arguments) -> Result<()> {
    if arguments.json {
        return Ok(output::answer(&serde_json::to_string(answer)?)?);
    }
    let path = |path: &Path| shown(path.strip_prefix(&arguments.folder).unwrap_or(path)).to_string();
    let classes: Vec<String> =
        answer.classes.iter().map(|class| format!("{} {}", printable(&class.name), grouped(class.images))).collect();
    if let Some(changes) = &answer.changes {
        out!("")?;
        let Changes { added, removed, moved } = changes;
        let lines = added.iter().map(|it| format!("+ {}", path(it)));
        let lines = lines.chain(removed.iter().map(|it| format!("- {}", path(it))));
        let lines = lines.chain(moved.iter().map(|(from, to)| format!("{} → {}", path(from), path(to))));
        listed(lines, added.len() + removed.len() + moved.len())?;
    }
    output::prose(&format!("photos     {} ({})", grouped(answer.photos), classes.join(", ")))?;
    match (&answer.accuracy, &answer.reason) {
        (Some(Mean { mean, interval: [low, high], n, .. }), _) => {
            out!("accuracy   {mean:.4} ({low:.3} to {high:.3}, n = {}), in {:.1} s", grouped(*n), answer.seconds)?;
        }
        (None, reason) => {
            output::prose(&format!("accuracy   none yet: {}", printable(reason.as_deref().unwrap_or_default())))?;
        }
    }
    if !answer.unsorted.is_empty() {
        out!("unsorted   {}, the surest first", counted(answer.unsorted.len(), "photo"))?;
        let line = |Guess { path: file, class, probability }: &Guess| {
            format!("{:5.1} %  {}  {}", probability * 100.0, printable(class), path(file))
        };
        listed(answer.unsorted.iter().map(line), answer.unsorted.len())?;
    }
    if !answer.labels.is_empty() {
        out!("look at    {} that may lie in the wrong folder", counted(answer.labels.len(), "photo"))?;
        let line = |it: &SuspectFound| {
            let SuspectFound { path: file, suggested, confidence, .. } = it;
            format!("{:5.1} %  {}  {}", confidence * 100.0, printable(suggested), path(file))
        };
        listed(answer.labels.iter().map(line), answer.labels.len())?;
    }
    if !answer.unreadable.is_empty() {
        out!("unreadable {}", counted(answer.unreadable.len(), "file"))?;
        listed(answer.unreadable.iter().map(|file| path(file)), answer.unreadable.len())?;
    }
    Ok(())
}

/// The first of some lines, and how many more there are.
fn listed(lines: impl Iterator<Item = String>, total: usize) -> Result<()> {
    for line in lines.take(MOST) {
        out!("           {line}")?;
    }
    if total > MOST {
        out!("           and {} more", grouped(total - MOST))?;
    }
    Ok(())
}
