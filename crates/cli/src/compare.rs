//! `injerto compare`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use injerto_files::{printable, shown};
use injerto_report::Comparison;
use injerto_report::words::estimate;
use serde_json::{Value, json};

use crate::curves;
use crate::output::{self, out};

/// What `injerto compare` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto compare runs/fine-tuning-20260101-120000 runs/baseline-20260101-130000
  injerto compare runs/* --out comparison

The gain is the first run's over each of the others.")]
pub struct Arguments {
    /// Folders of the runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write compare.svg, compare.png and compare.html into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.runs.len() > Comparison::MOST {
        let most = Comparison::MOST;
        bail!(
            "{} runs: the curves of more than {most} cannot be told apart; name the {most} that matter",
            arguments.runs.len()
        );
    }
    let comparison = Comparison::load(&arguments.runs)?;
    let accuracies: Vec<Vec<f64>> = comparison.runs.iter().map(|(_, run)| run.accuracies()).collect();
    let names: Vec<String> = comparison.runs.iter().map(|(label, _)| printable(label).to_string()).collect();
    let labels = || names.iter().map(String::as_str);
    let drawn: Vec<(&str, &[f64])> = labels().zip(accuracies.iter().map(Vec::as_slice)).collect();
    let written = arguments.out.as_deref().map(|folder| comparison.write(folder)).transpose()?;
    for warning in comparison.warnings() {
        output::warning(&warning.to_string());
    }
    if arguments.json {
        output::json(&as_json(&comparison))?;
        return Ok(ExitCode::SUCCESS);
    }
    out!("{}", curves::draw(&drawn))?;
    let width = labels().map(|label| label.chars().count()).max().unwrap_or(0);
    let header = || out!("{:<width$}  {:>7}  {:>7}  {:>9}", "", "start", "slope", "asymptote");
    header()?;
    for (label, measured) in labels().zip(&comparison.measures) {
        let (start, slope, asymptote) = (measured.start, measured.slope, measured.asymptote);
        out!("{label:<width$}  {start:>7.3}  {slope:>7.3}  {asymptote:>9.3}")?;
    }
    let gains = comparison.gains();
    if !gains.is_empty() {
        out!("\nGain of {} over", names[0])?;
        header()?;
        for (label, gain) in gains {
            let label = printable(label).to_string();
            out!("{label:<width$}  {:>+7.3}  {:>+7.3}  {:>+9.3}", gain.start, gain.slope, gain.asymptote)?;
        }
    }
    let best = comparison.runs.iter().zip(&names).filter_map(|((_, run), name)| {
        let (best, value) = (&run.summary.as_ref()?.best, run.best.value?);
        Some(format!("{name:<width$}  best {} {}", run.best.monitor, estimate(value, best.interval, best.n?)))
    });
    let best: Vec<String> = best.collect();
    if !best.is_empty() {
        out!("\n{}", best.join("\n"))?;
    }
    for duel in comparison.duels() {
        out!("\n{}", printable(&duel))?;
    }
    if let Some(page) = written {
        out!("\n{}", shown(&page))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The comparison as JSON: each run with its measures and its best epoch, and what the first gains over each of the others.
fn as_json(comparison: &Comparison) -> Value {
    let runs = comparison.runs.iter().zip(&comparison.measures).map(|((label, run), measured)| {
        json!({
            "run": label,
            "start": measured.start,
            "slope": measured.slope,
            "asymptote": measured.asymptote,
            "best": run.summary.as_ref().map(|summary| &summary.best),
        })
    });
    let gains = comparison.gains().into_iter().map(
        |(label, gain)| json!({ "over": label, "start": gain.start, "slope": gain.slope, "asymptote": gain.asymptote }),
    );
    json!({
        "runs": runs.collect::<Vec<_>>(),
        "gains": gains.collect::<Vec<_>>(),
        "verdicts": comparison.duels(),
    })
}
