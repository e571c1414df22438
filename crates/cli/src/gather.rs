//! `injerto gather`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use injerto_files::printable;
use injerto_report::words::grouped;
use injerto_shards::{About, Gathered, Kind, Place, Precision};

use crate::output::{self, out};
use crate::shards::photos;

/// What `injerto gather` takes.
#[derive(Args)]
#[command(after_help = "\
Checks the files that `injerto features` and `injerto predict --out` have written: whether
all shards are there, whether one network has written them, and whether each key stands for
one photo. The last line says how many photos there are. The exit code is 1 if something is
wrong.

Folders whose shards do not overlap are parts of one set; otherwise each folder is a set.

Examples:

  injerto gather features
  injerto gather node1/features node2/features
  injerto gather s3://bucket/features")]
pub struct Arguments {
    /// Folders with the files of shards, also file:///FOLDER and s3://BUCKET/PREFIX
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let gathered = Gathered::open(&Place::parse_all(&arguments.folders)?)?;
    let width = gathered.parts().map(|part| part.shard.to_string().len()).max().unwrap_or(0).max(5);
    out!("{:<width$}  {:>11}  {:>10}  file", "shard", "photos", "unanswered")?;
    for part in gathered.parts() {
        let (photos, errors) = (grouped(part.photos), grouped(part.errors));
        out!("{:<width$}  {photos:>11}  {errors:>10}  {}", part.shard.to_string(), part.place)?;
    }
    if let Some(about) = gathered.about() {
        out!("network    {}", network(about))?;
    }
    let same = gathered.same_keys()?;
    let faults: Vec<_> = gathered.faults().iter().chain(&same).collect();
    faults.iter().for_each(|fault| output::error(&anyhow::anyhow!("{fault}")));
    let errors = match gathered.errors() {
        0 => String::new(),
        errors => format!(", {} of them without an answer", grouped(errors)),
    };
    let shards = gathered.parts().count();
    let shards = format!("{} {}", grouped(shards), if shards == 1 { "shard" } else { "shards" });
    out!("{} in {shards}{errors}", photos(gathered.photos()))?;
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn network(About { name, model, kind, .. }: &About) -> String {
    let (name, model) = (printable(name), printable(model.get(..12).unwrap_or(model)).to_string());
    match kind {
        Kind::Features { layer, width, precision } => {
            let precision = match precision {
                Precision::F16 => "f16",
                Precision::F32 => "f32",
            };
            format!("{name} ({model}): {} values of {} as {precision}", grouped(*width), printable(layer))
        }
        Kind::Predictions { classes } => format!("{name} ({model}): {} classes", grouped(classes.len())),
    }
}
