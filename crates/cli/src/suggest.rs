//! `injerto suggest`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use injerto_config::Device;
use injerto_experiment::{Predictor, SuggestedPhoto, Suggestions};
use injerto_files::{csv, printable, shown, to_text};
use injerto_report::words::grouped;
use serde_json::{Value, json};

use crate::inventory;
use crate::output::{self, note, out};
use crate::predict::checkpoint;
use crate::progress::watched;

/// What `injerto suggest` takes.
#[derive(Args)]
#[command(after_help = "\
First come the photos of which the network is unsure, that resemble many others, and that differ from the training photos and
from each other. The folder is searched at every depth.

Examples:

  injerto suggest photos/new --run runs/cats-20260101-120000 --count 50
  injerto suggest photos/new --count 200 --csv > next.csv")]
pub struct Arguments {
    /// The photos, without labels
    folder: PathBuf,
    /// A run's folder (its best checkpoint is taken) or a checkpoint; by default the newest run in runs/
    #[arg(long, value_name = "PATH")]
    run: Option<PathBuf>,
    /// How many photos to name
    #[arg(long, value_name = "N", default_value_t = 20)]
    count: usize,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let predictor = Predictor::load(&checkpoint(arguments.run.as_deref())?, Device::Flex)?;
    let found = watched(|watch| predictor.suggest(&arguments.folder, arguments.count, watch))?;
    let Suggestions { photos, suggested, skipped, left_out } = &found;
    let left_out = inventory::left_out(left_out);
    if !left_out.is_empty() {
        note!("left out   {left_out}");
    }
    if !skipped.is_empty() {
        note!("skipped    {} files that are not readable images:", grouped(skipped.len()));
        inventory::files(skipped).iter().for_each(|line| note!("           {line}"));
    }
    match (arguments.json, arguments.csv) {
        (true, _) => output::json(&json!({
            "photos": photos,
            "suggested": suggested.iter().map(as_json).collect::<Vec<_>>(),
            "skipped": skipped.iter().map(|file| json!({ "path": file.origin.name(), "reason": file.reason })).collect::<Vec<_>>(),
        }))?,
        (false, true) => out!("{}", as_csv(suggested).trim_end())?,
        (false, false) => {
            out!(
                "{} of {} photos, in the order in which they are worth a label:",
                grouped(suggested.len()),
                grouped(*photos)
            )?;
            out!("unsure  typical  distance  photo")?;
            for photo in suggested {
                let SuggestedPhoto { uncertainty, typicality, distance, predicted, probability, path } = photo;
                let said = format!("{} {:.1} %", printable(predicted), probability * 100.0);
                out!("{uncertainty:6.3}  {typicality:7.3}  {distance:8.3}  {} ({said})", shown(path))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(photo: &SuggestedPhoto) -> Value {
    let mut line = serde_json::to_value(photo).unwrap_or_default();
    line["path"] = json!(to_text(photo.path.as_os_str()));
    line
}

fn as_csv(suggested: &[SuggestedPhoto]) -> String {
    let mut text = "path,predicted,probability,uncertainty,typicality,distance\n".to_owned();
    for photo in suggested {
        let SuggestedPhoto { uncertainty, typicality, distance, predicted, probability, path } = photo;
        let names = csv::line([&*to_text(path.as_os_str()), predicted]);
        let _ = writeln!(text, "{names},{probability:.6},{uncertainty:.6},{typicality:.6},{distance:.6}");
    }
    text
}
