//! The common part of the commands that divide their photos into shards.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use injerto_report::words::{duration, grouped};
use injerto_shards::{Done, Gathered, Input, Network, Outcome, Place, Shard, Share, work};

use crate::inventory;
use crate::output::{note, out};
use crate::progress::{Counted, on_interrupt};

/// Which part of the work is done.
#[derive(Args)]
pub struct Sharing {
    /// Compute part I of N, counted from 0 [default: what SLURM's or Kubernetes' variables say, or else all]
    #[arg(long, value_name = "I/N", value_parser = str::parse::<Shard>)]
    shard: Option<Shard>,
}

impl Sharing {
    /// Whether a part was asked for.
    pub fn is_given(&self) -> bool {
        self.shard.is_some()
    }

    /// The photos of the part.
    pub fn share(&self, input: &[PathBuf]) -> Result<Share> {
        let shard = match self.shard {
            Some(shard) => shard,
            None => Shard::from_environment(|name| std::env::var(name).ok())?.unwrap_or(Shard::WHOLE),
        };
        let input = Input::open(&Place::parse_all(input)?)?;
        for left_out in &input.left_out {
            let words = inventory::left_out(left_out);
            if !words.is_empty() {
                note!("left out   {words}");
            }
        }
        Ok(input.share(shard)?)
    }
}

/// Whether a path or an address is that of a folder with the files of shards.
pub fn is_gathered(named: &Path) -> Result<bool> {
    Ok(Gathered::is_in(&Place::parse(named.as_os_str())?))
}

/// A number of photos, in words.
pub fn photos(count: usize) -> String {
    format!("{} {}", grouped(count), if count == 1 { "photo" } else { "photos" })
}

/// Runs the network on the photos of a part, and prints the result.
pub fn compute(share: Share, network: &dyn Network, folder: &Place) -> Result<ExitCode> {
    let (began, stop, shard) = (Instant::now(), on_interrupt()?, share.shard());
    let mut counted = Counted::new(share.count().unwrap_or(0));
    let done = work(share, network, folder.clone(), &mut |done| {
        counted.show(done);
        !stop.load(Ordering::Relaxed)
    });
    counted.end();
    let Outcome { done, place, photos, errors } = done?;
    let unanswered = match errors {
        0 => String::new(),
        errors => format!(", {} without an answer (the column 'error' says why)", grouped(errors)),
    };
    let photos = self::photos(photos);
    match done {
        Done::Written => {
            let time = duration(began.elapsed().as_secs_f64());
            out!("shard {shard}  {photos}{unanswered} in {time}: {place}")?;
        }
        Done::Skipped => {
            out!(
                "shard {shard}  {photos}{unanswered}, skipped: {place} exists already, with this network and these photos"
            )?;
        }
        Done::Stopped => {
            note!("stopped; nothing was written");
            return Ok(ExitCode::from(130));
        }
    }
    Ok(ExitCode::SUCCESS)
}
