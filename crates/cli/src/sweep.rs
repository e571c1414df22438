//! `injerto sweep`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_config::{Axis, Config, Drawn, Listed, SweepConfig};
use injerto_experiment::sweep::{Asked, Found, Options, Sweep};
use injerto_files::{printable, shell_word, shown};
use injerto_report::words::{counted, duration, estimate, grouped};
use injerto_report::{Standing, Standings};
use injerto_trainer::Watch;
use serde_json::{Value, json};

use crate::output::{self, note, out};
use crate::progress::{Looking, Quietly, Trials, on_interrupt};
use crate::{Common, inventory};

/// What `injerto sweep` takes.
#[derive(Args)]
#[command(after_help = "\
Each image passes through the frozen backbone once, and all trials train on
the kept features: a hundred heads take seconds. A table [sweep] of the
experiment may say what is tried; --grid and --random replace its keys. Each
trial leaves a folder with its experiment, history and predictions, and the
best one becomes a whole run. The same command goes on where a sweep was
stopped; finished trials are not trained again.

Examples:

  injerto sweep my.toml --grid head.dropout=0,0.2,0.5 --grid phases.0.optimizer=adam,rmsprop
  injerto sweep my.toml --random phases.0.optimizer.learning_rate=1e-5..1e-1:log --trials 100
  injerto sweep my.toml --random 'head.dense=[],[64],[128, 64]' --trials 60 --halving --csv > sweep.csv
  injerto sweep my.toml --grid backbone.plugin=mobilenet_v2,efficientnet --grid seed=1,2,3")]
pub struct Arguments {
    /// The experiment
    file: PathBuf,
    /// Try each of these values, with each of every other --grid (may be given several times)
    #[arg(long, value_name = "KEY=VALUE,VALUE", value_parser = crate::text())]
    grid: Vec<String>,
    /// Draw a value for each trial: from a range, by its logarithm with :log, or from a list (may be given several times)
    #[arg(long, value_name = "KEY=LOW..HIGH[:log]", value_parser = crate::text())]
    random: Vec<String>,
    /// How many times --random draws [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    trials: Option<u32>,
    /// Train all for few epochs, the best third for three times as many, and so on (successive halving)
    #[arg(long)]
    halving: bool,
    /// How many trials run at the same time [default: one per core where heads are trained alone, else one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: Option<u32>,
    /// Any key of all trials, such as phases.0.epochs=5 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// The folder of the sweep [default: sweeps/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// How many of the best trials are listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    let config = Config::load(&arguments.file, &arguments.set)?;
    let space = space(arguments, &config)?;
    let asked = asked(arguments, &space, config.seed)?;
    let folder = arguments.out.clone().unwrap_or_else(|| Path::new("sweeps").join(&config.name));
    let stop = on_interrupt()?;
    let looking = Looking::new();
    let options = Options { halving: space.halving, jobs: space.jobs };
    let look = |done, all| looking.show(done, all);
    let sweep = Sweep::prepare(&folder, asked, options, &mut common.catalog()?, &Cache::of_user()?, &look);
    looking.end();
    let sweep = sweep?;
    for prepared in sweep.grounds() {
        inventory::skipped(prepared).iter().for_each(|line| note!("{line}"));
        let warnings = inventory::warnings(prepared);
        warnings.iter().chain(&prepared.warnings).for_each(|warning| output::warning(warning));
    }
    let (began, mut progress, trials) = (Instant::now(), Quietly::new(), Trials::new());
    let folder_of = |number: usize| folder.join(format!("{number:03}"));
    let found = sweep.run(&mut Watch { observer: &mut progress, stop: &stop }, &|told| trials.show(told));
    trials.end();
    progress.end();
    let found = found?;
    let seconds = began.elapsed().as_secs_f64();
    let standings = Standings::of(&found.trials, &folder_of);
    let whole = as_json(&found, &standings, &folder, seconds);
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        injerto_files::write(&path, text.as_bytes()).with_context(|| shown(&path).to_string())
    };
    write(Sweep::CSV, &standings.to_csv())?;
    write(Sweep::JSON, &(serde_json::to_string_pretty(&whole)? + "\n"))?;
    if let Some((number, _)) = &found.best
        && let Err(error) = injerto_report::write(&folder_of(*number))
    {
        output::warning(&format!("no report: {error}"));
    }
    match (arguments.json, arguments.csv) {
        (true, _) => output::json(&whole)?,
        (false, true) => out!("{}", standings.to_csv().trim_end())?,
        (false, false) => show(&found, &standings, arguments, &folder_of, seconds)?,
    }
    if found.interrupted || stop.load(Ordering::Relaxed) {
        note!("stopped; what is finished is kept in {}, and the same command goes on", shown(&folder));
        return Ok(ExitCode::from(130));
    }
    // A sweep that has trained no network fails, so that a script notices.
    Ok(if found.best.is_some() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What is tried: the table of the experiment, unless the command line gives other keys.
fn space(arguments: &Arguments, config: &Config) -> Result<SweepConfig> {
    let Arguments { grid, random, trials, halving, jobs, .. } = arguments;
    let said = |argument: &String, reason: String| anyhow!("{}: {reason}", printable(argument));
    let listed = |text: &String| Axis::<Listed>::listed(text).map_err(|reason| said(text, reason));
    let drawn = |text: &String| Axis::<Drawn>::drawn(text).map_err(|reason| said(text, reason));
    let grid: Vec<_> = grid.iter().map(listed).collect::<Result<_>>()?;
    let random: Vec<_> = random.iter().map(drawn).collect::<Result<_>>()?;
    let none =
        SweepConfig { grid: Vec::new(), random: Vec::new(), trials: SweepConfig::TRIALS, halving: false, jobs: None };
    let table = config.sweep.clone().unwrap_or(none);
    let keys = if grid.is_empty() && random.is_empty() { (table.grid, table.random) } else { (grid, random) };
    if trials.is_some() && keys.1.is_empty() {
        return Err(anyhow!(
            "--trials says how often --random draws, and there is no --random; a grid tries all its values"
        ));
    }
    Ok(SweepConfig {
        grid: keys.0,
        random: keys.1,
        trials: trials.map_or(table.trials, |trials| trials as usize),
        halving: table.halving || *halving,
        jobs: jobs.map(|jobs| jobs as usize).or(table.jobs),
    })
}

/// The experiments of all trials.
fn asked(arguments: &Arguments, space: &SweepConfig, seed: u32) -> Result<Vec<Asked>> {
    let trials = space.trials(seed).map_err(|reason| anyhow!("{reason}"))?;
    let experiment = |sets: Vec<String>| {
        let all = [arguments.set.as_slice(), &sets].concat();
        let config = Config::load(&arguments.file, &all)
            .with_context(|| format!("the trial with {}", printable(&sets.join(" "))))?;
        Ok(Asked { sets, config })
    };
    trials.into_iter().map(experiment).collect()
}

fn as_json(found: &Found, standings: &Standings, folder: &Path, seconds: f64) -> Value {
    json!({
        "folder": injerto_files::to_text(folder.as_os_str()),
        "asked": found.asked,
        "known": found.known,
        "seconds": seconds,
        "seconds_of_trials": found.seconds,
        "interrupted": found.interrupted,
        "best": found.best.as_ref().map(|(number, summary)| json!({
            "trial": number,
            "folder": injerto_files::to_text(folder.join(format!("{number:03}")).as_os_str()),
            "test": summary.test,
        })),
        "like_best": standings.like_best(),
        "trials": standings.to_json(),
    })
}

fn show(
    found: &Found,
    standings: &Standings,
    arguments: &Arguments,
    folder_of: &dyn Fn(usize) -> PathBuf,
    seconds: f64,
) -> Result<()> {
    let new = found.trials.len().saturating_sub(found.known);
    let speed = match new {
        0 => String::new(),
        new => {
            let rate = new as f64 / found.seconds.max(1e-9);
            format!(", of which the trials took {} ({rate:.1} per second)", duration(found.seconds))
        }
    };
    let known = if found.known > 0 { format!("; {} finished before", grouped(found.known)) } else { String::new() };
    out!("{} in {}{speed}{known}\n", counted(new, "trial"), duration(seconds))?;
    let sized = standings.differ_in_size();
    let rows: Vec<Vec<String>> =
        standings.rows.iter().take(arguments.top).map(|row| cells(row, standings, sized)).collect();
    let mut heading = ["trial", "accuracy", "epochs", "parameters", "seconds"].map(str::to_owned).to_vec();
    heading.extend(standings.keys.iter().map(|key| printable(key).to_string()));
    heading.push(String::new());
    let all: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    let widths: Vec<usize> =
        (0..all[0].len()).map(|at| all.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    for row in &all {
        let fields: Vec<String> = row.iter().zip(&widths).map(|(field, width)| format!("{field:<width$}")).collect();
        out!("{}", fields.join("  ").trim_end())?;
    }
    if standings.rows.len() > arguments.top {
        out!("and {} more, in {}", grouped(standings.rows.len() - arguments.top), Sweep::CSV)?;
    }
    out!("")?;
    let failed = standings.rows.iter().filter_map(|row| Some((row.trial.number, row.trial.failed.as_ref()?)));
    for (number, reason) in failed.take(3) {
        output::prose(&format!("trial {number:03} failed: {}", printable(reason)))?;
    }
    let Some(best) = standings.rows.first().filter(|row| row.trial.value.is_some()) else {
        return Ok(out!("no trial has trained a network")?);
    };
    let names = |numbers: &[usize]| {
        let names: Vec<String> = numbers.iter().map(|number| format!("{number:03}")).collect();
        injerto_files::listed(names.iter().map(String::as_str))
    };
    let like = standings.like_best();
    if let Some(accuracy) = best.trial.accuracy {
        let photos = grouped(accuracy.n);
        match like.len() {
            0 => output::prose(&format!(
                "the best one is better than every other on its {photos} photos (McNemar, 5 %)"
            ))?,
            count => output::prose(&format!(
                "{} cannot be told apart from the best on its {photos} photos (McNemar, 5 %): {}",
                counted(count, "trial"),
                names(&like)
            ))?,
        }
    }
    for (mark, what) in [(Mark::Smallest, "parameters"), (Mark::Quickest, "seconds")] {
        let front: Vec<usize> =
            standings.rows.iter().filter(|row| mark.is_on(row)).map(|row| row.trial.number).collect();
        if !front.is_empty() && (sized || mark == Mark::Quickest) {
            output::prose(&format!("Pareto front of accuracy against {what}: {}", names(&front)))?;
        }
    }
    if let Some((number, summary)) = &found.best {
        let folder = folder_of(*number);
        let sets: Vec<String> = best.trial.sets.iter().map(|(key, value)| format!("{key}={value}")).collect();
        output::prose(&format!("\nbest trial {number:03} with {}", printable(&sets.join(" "))))?;
        if let Some(test) = &summary.test {
            let words = estimate(test.accuracy, Some(test.interval), test.n);
            output::prose(&format!("test accuracy {words}: photos that were not used before"))?;
        }
        out!("look at    {}", shown(&folder.join("report.html")))?;
        out!("use it     injerto predict PHOTO --run {}", shell_word(&folder))?;
    }
    Ok(())
}

/// A mark of a trial that lies on a Pareto front.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Smallest,
    Quickest,
}

impl Mark {
    fn is_on(self, row: &Standing) -> bool {
        match self {
            Self::Smallest => row.smallest,
            Self::Quickest => row.quickest,
        }
    }
}

/// The fields of a trial in the table.
fn cells(row: &Standing, standings: &Standings, sized: bool) -> Vec<String> {
    let trial = &row.trial;
    let accuracy = match (&trial.accuracy, trial.value) {
        (Some(accuracy), _) => estimate(accuracy.value, Some(accuracy.interval), accuracy.n),
        (None, Some(value)) => format!("{} {value:.4}", trial.monitor.name()),
        (None, None) => "failed".to_owned(),
    };
    let epochs = match trial.complete {
        true => trial.history.len().to_string(),
        false => format!("{} of {}", trial.history.len(), trial.of_epochs),
    };
    let mut cells = vec![
        format!("{:03}", trial.number),
        accuracy,
        epochs,
        grouped(trial.parameters),
        format!("{:.2}", trial.seconds),
    ];
    let own = |key: &String| trial.sets.iter().find(|(own, _)| own == key).map_or("", |(_, value)| value.as_str());
    cells.extend(standings.keys.iter().map(|key| printable(own(key)).to_string()));
    let mut marks = Vec::new();
    if row.like_best == Some(true) {
        marks.push("≈ best");
    }
    if row.quickest || (sized && row.smallest) {
        marks.push("Pareto");
    }
    cells.push(marks.join(", "));
    cells
}
