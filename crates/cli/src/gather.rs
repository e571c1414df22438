//! `injerto gather`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use injerto_files::{Unfinished, Writer, printable, unfinished};
use injerto_report::words::{bytes, counted, duration, grouped};
use injerto_shards::{About, Gathered, Kind, Place, Precision};

use crate::output::{self, note, out};
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
    let folders = Place::parse_all(&arguments.folders)?;
    folders.iter().flat_map(unfinished_in).for_each(|line| note!("{line}"));
    let gathered = Gathered::open(&folders)?;
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

/// What is said of the unfinished files in a folder. In a store there are none that can be seen.
fn unfinished_in(folder: &Place) -> Vec<String> {
    let all = folder.local().map(unfinished).unwrap_or_default();
    let said = [Writer::Alive, Writer::Gone, Writer::Unknown].map(|writer| {
        let files: Vec<&Unfinished> = all.iter().filter(|file| file.writer == writer).collect();
        let last = files.iter().map(|file| file.idle.as_secs_f64()).reduce(f64::min)?;
        let size = bytes(files.iter().map(|file| file.bytes).sum());
        let (these, them) = (counted(files.len(), "unfinished file"), if files.len() == 1 { "it" } else { "them" });
        Some(match writer {
            Writer::Alive => format!("{folder}: {these} ({size}): being written"),
            Writer::Gone => format!(
                "{folder}: {these} ({size}): left by processes that were killed; the next shard that is computed there removes \
                 {them}"
            ),
            Writer::Unknown => format!(
                "{folder}: {these} ({size}), last written to {} ago: another machine is writing {them} or has left {them}; \
                 remove {them} (.partial-…) if no shard is being computed",
                duration(last)
            ),
        })
    });
    said.into_iter().flatten().collect()
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
