//! `injerto lr-find`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use injerto_config::Config;
use injerto_experiment::{Prepared, device};
use injerto_files::{listed, printable, shown};
use injerto_trainer::{RangeFound, RangeTest, Suggested, Watch};
use serde_json::json;

use crate::Common;
use crate::curves::sparkline;
use crate::output::{self, note, out};
use crate::place;
use crate::prepare::prepare;
use crate::progress::{Quietly, on_interrupt};

/// What `injerto lr-find` takes.
#[derive(Args)]
#[command(after_help = "\
The phase is trained for a few steps with learning rates that grow from step
to step, until the loss grows too (Smith, 2017). The learning rate at which
the loss falls the most steeply, and a tenth of the one at which it is the
lowest, are both good ones; the smaller of the two is suggested. The
experiment does not change, and no run is written.

Examples:

  injerto lr-find my.toml
  injerto lr-find my.toml --phase 1 --set phases.1.optimizer=sgd --out rates.svg")]
pub struct Arguments {
    /// The experiment
    file: PathBuf,
    /// Number of the phase, from 0, or its name. The phases before it are trained first
    #[arg(long, value_name = "PHASE", default_value = "0", value_parser = crate::text())]
    phase: String,
    /// The first learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-6)]
    low: f64,
    /// The last learning rate
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    high: f64,
    /// Number of steps
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    steps: u32,
    /// Any key of the experiment, such as data.batch_size=16 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// The figure [default: FILE with the ending .rates.svg]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    let Arguments { low, high, steps, .. } = *arguments;
    if !(low > 0.0 && high > low && high.is_finite()) {
        bail!("--low and --high must be above 0, and --high the larger one; they are {low} and {high}");
    }
    let file = arguments.out.clone().unwrap_or_else(|| arguments.file.with_extension("rates.svg"));
    place::check(&file, place::FIGURE)?;
    let prepared = prepare(Config::load(&arguments.file, &arguments.set)?, common)?;
    let phase = phase(&prepared, &arguments.phase)?;
    let (on, stop, mut progress) = (device(prepared.config.device)?, on_interrupt()?, Quietly::new());
    let test = RangeTest { low, high, steps: steps as usize, ..RangeTest::default() };
    let found = prepared.range_test(phase, &test, &on, &mut Watch { observer: &mut progress, stop: &stop });
    progress.end();
    let Some(found) = found? else {
        note!("stopped; features that were computed are kept");
        return Ok(ExitCode::from(130));
    };
    let name = &prepared.plan.phases[phase].phase.name;
    let figure = injerto_report::rates(name, &found);
    injerto_files::write(&file, figure.as_bytes()).with_context(|| shown(&file).to_string())?;
    let suggested = found.suggested();
    if arguments.json {
        output::json(&json!({
            "phase": name,
            "suggested": suggested.map(|it| it.taken()),
            "steepest": suggested.map(|it| it.steepest),
            "tenth_of_minimum": suggested.map(|it| it.tenth_of_minimum),
            "diverged": found.diverged,
            "points": found.points,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    show(&prepared, phase, &found, &test)?;
    out!("look at    {}", shown(&file))?;
    Ok(ExitCode::SUCCESS)
}

/// Place in the plan of the phase with this number or name.
fn phase(prepared: &Prepared, wanted: &str) -> Result<usize> {
    let names: Vec<&str> = prepared.plan.phases.iter().map(|plan| plan.phase.name.as_str()).collect();
    let place = names.iter().position(|name| *name == wanted).or_else(|| wanted.parse().ok());
    place.filter(|place| *place < names.len()).with_context(|| {
        let numbered: Vec<String> = names.iter().enumerate().map(|(at, name)| format!("{at} ({name})")).collect();
        let numbered = listed(numbered.iter().map(String::as_str));
        format!("there is no phase {}; the phases are {numbered}", printable(wanted))
    })
}

fn show(prepared: &Prepared, phase: usize, found: &RangeFound, test: &RangeTest) -> Result<()> {
    let plan = &prepared.plan.phases[phase].phase;
    let (name, steps) = (printable(&plan.name), found.points.len());
    let Some((first, last)) = found.points.first().zip(found.points.last()) else {
        bail!(
            "the loss of the first step is not a number at a learning rate of {:e}; --low sets a smaller one",
            test.low
        );
    };
    let end = if found.diverged { ", where the loss grows" } else { "" };
    output::prose(&format!(
        "phase      {name}: {steps} steps with learning rates from {:.0e} to {:.0e}{end}",
        first.learning_rate, last.learning_rate
    ))?;
    // The rise at the end would flatten the rest.
    let top = first.smoothed * 1.2;
    let losses: Vec<f64> = found.points.iter().map(|point| point.smoothed.min(top)).collect();
    out!("loss       {}", sparkline(&losses, 60))?;
    let Some(suggested) = found.suggested() else {
        let reason = "the loss does not fall, so no learning rate can be suggested";
        return Ok(output::prose(&format!(
            "suggested  none: {reason}; --steps takes more of them, and --low and --high others"
        ))?);
    };
    let Suggested { steepest, tenth_of_minimum } = suggested;
    let (rate, which) = match steepest <= tenth_of_minimum {
        true => (steepest, "where the loss falls the most steeply"),
        false => (tenth_of_minimum, "a tenth of where the loss is the lowest"),
    };
    out!("steepest   {steepest:.1e}")?;
    out!("lowest/10  {tenth_of_minimum:.1e}")?;
    output::prose(&format!("suggested  {rate:.1e}, the smaller of the two: {which}"))?;
    let now = plan.optimizer.rule.learning_rate();
    // The stages of a phase with `gradual` are not phases of the file.
    let key =
        if prepared.plan.phases.len() == prepared.config.phases.len() { phase.to_string() } else { "N".to_owned() };
    output::prose(&format!(
        "use it     --set phases.{key}.optimizer.learning_rate={rate:.1e} (the experiment says {now:e})"
    ))?;
    Ok(())
}
