//! `injerto cache`.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use injerto_backbones::weights::Cache;
use injerto_data::look::{VerdictFile, verdict_files};
use injerto_data::{KeptFile, kept_files};
use injerto_files::{printable, shown, to_text};
use injerto_report::words;
use injerto_trainer::cache::{CachedNamespace, clear, list, prune};
use serde_json::json;

use crate::output::{self, out};

/// What `injerto cache` takes.
#[derive(Subcommand)]
#[command(after_help = "\
Features of frozen prefixes are computed once per image and kept, so that the next experiment with the same prefix \
starts at once; so are decoded photos for runs that read them in each epoch, and what a look at the images' files found. Deleting them costs time and nothing else.")]
pub enum Arguments {
    /// List what is kept, the newest first
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete features that are old, or the oldest ones until few enough are left
    Prune {
        /// Delete features that were not added to for this many days
        #[arg(long, value_name = "DAYS", required_unless_present = "max_size")]
        older_than: Option<u64>,
        /// Delete the oldest until no more is left than this, such as 500MB or 10GB
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
    },
    /// Delete all of it
    Clear,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let cache = Cache::of_user()?;
    let (folder, looked) = (cache.features(), cache.looked());
    let photos = folder.with_file_name("photos");
    // The limits of what stays: its age, and its size in all.
    let (age, most) = match arguments {
        Arguments::List { json } => {
            show(&list(&folder)?, &kept_photos(&photos), &verdict_files(&looked)?, *json)?;
            return Ok(ExitCode::SUCCESS);
        }
        Arguments::Prune { older_than, max_size } => {
            (older_than.map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60))), *max_size)
        }
        Arguments::Clear => (None, Some(0)),
    };
    let removed = match arguments {
        Arguments::Clear => clear(&folder)?,
        _ => prune(&folder, age, most)?,
    };
    let features = list(&folder)?.iter().map(|space| space.bytes).sum();
    let left: Option<u64> = most.map(|most| most.saturating_sub(features));
    let decoded = forget(kept_photos(&photos), age, left)?;
    let left = left.map(|left| left.saturating_sub(kept_photos(&photos).iter().map(|file| file.bytes).sum()));
    let verdicts = forget(verdict_files(&looked)?, age, left)?;
    let files = || decoded.iter().chain(&verdicts);
    let bytes = removed.iter().map(|space| space.bytes).sum::<u64>() + files().map(|file| file.bytes).sum::<u64>();
    out!("{} deleted, {}", removed.len() + files().count(), words::bytes(bytes))?;
    Ok(ExitCode::SUCCESS)
}

/// The files of decoded photos, the newest first.
fn kept_photos(folder: &Path) -> Vec<VerdictFile> {
    let file = |KeptFile { path, bytes, modified }| VerdictFile { path, bytes, modified };
    kept_files(folder).into_iter().map(file).collect()
}

/// Deletes files that are too old, or too many in all; the oldest go first.
fn forget(files: Vec<VerdictFile>, age: Option<Duration>, most: Option<u64>) -> Result<Vec<VerdictFile>> {
    let (now, mut total, mut removed) = (SystemTime::now(), 0_u64, Vec::new());
    for file in files {
        let old = age.is_some_and(|age| now.duration_since(file.modified).is_ok_and(|since| since > age));
        total += file.bytes;
        if old || most.is_some_and(|most| total > most) {
            total -= file.bytes;
            std::fs::remove_file(&file.path).with_context(|| shown(&file.path).to_string())?;
            removed.push(file);
        }
    }
    Ok(removed)
}

fn show(spaces: &[CachedNamespace], photos: &[VerdictFile], looked: &[VerdictFile], as_json: bool) -> Result<()> {
    if as_json {
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let space = |space: &CachedNamespace| {
            json!({
                "folder": to_text(space.folder.as_os_str()), "network": space.network, "shapes": space.shapes, "images": space.images,
                "bytes": space.bytes, "modified": seconds(space.modified),
            })
        };
        let file = |file: &VerdictFile| json!({ "looked": to_text(file.path.as_os_str()), "bytes": file.bytes, "modified": seconds(file.modified) });
        let decoded = |file: &VerdictFile| json!({ "photos": to_text(file.path.as_os_str()), "bytes": file.bytes, "modified": seconds(file.modified) });
        let all = spaces.iter().map(space).chain(photos.iter().map(decoded)).chain(looked.iter().map(file));
        return Ok(output::json(&all.collect::<Vec<_>>())?);
    }
    if spaces.is_empty() {
        out!("no features are kept")?;
    }
    for space in spaces {
        let side = |shape: &Vec<usize>| shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let shapes: Vec<String> = space.shapes.iter().map(side).collect();
        let (bytes, shapes) = (words::bytes(space.bytes), shapes.join(" + "));
        let hours = space.modified.elapsed().unwrap_or_default().as_secs() / 3600;
        let age = if hours < 48 { format!("{hours} hours old") } else { format!("{} days old", hours / 24) };
        let network = printable(&space.network).to_string();
        out!("{bytes:>9}  {:>8} images  {network:<16} {shapes:<16} {age}", space.images)?;
        out!("           {}", shown(&space.folder))?;
    }
    let decoded: u64 = photos.iter().map(|file| file.bytes).sum();
    if let Some(file) = photos.first() {
        out!("{:>9}  of decoded photos", words::bytes(decoded))?;
        out!("           {}", shown(file.path.parent().and_then(Path::parent).unwrap_or(Path::new(""))))?;
    }
    let verdicts: u64 = looked.iter().map(|file| file.bytes).sum();
    if let Some(file) = looked.first() {
        out!("{:>9}  of findings about the image files of {} folders", words::bytes(verdicts), looked.len())?;
        out!("           {}", shown(file.path.parent().unwrap_or(Path::new(""))))?;
    }
    let total = decoded + verdicts + spaces.iter().map(|space| space.bytes).sum::<u64>();
    Ok(out!("{:>9}  in all", words::bytes(total))?)
}

const UNITS: [(&str, u64); 4] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000), ("B", 1)];

fn size(text: &str) -> Result<u64> {
    let upper = text.trim().to_uppercase();
    let (unit, factor) = UNITS.iter().find(|(unit, _)| upper.ends_with(unit)).unwrap_or(&("", 1));
    match upper.trim_end_matches(unit).trim().parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok((number * *factor as f64) as u64),
        _ => bail!("expected a size such as 500MB or 10GB"),
    }
}
