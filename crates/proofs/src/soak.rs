//! Does many runs and predictions in one process, whose memory must not grow.

use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use injerto_backbones::plugin::{Catalog, Probe, SearchPath};
use injerto_backbones::weights::Cache;
use injerto_config::{Config, Device};
use injerto_experiment::{Predictor, Prepared, RunFolder, Session};
use injerto_trainer::{Checkpoints, Watch};

use crate::example::{EXPERIMENT, SHORTER, built};

/// Growth from the first quarter to the end that still counts as flat, because allocators and thread pools settle late.
const FLAT: u64 = 16 << 20;

/// Measured memory.
#[derive(Debug)]
pub struct Soak {
    /// Resident bytes after each run.
    pub runs: Vec<u64>,
    /// Resident bytes after every tenth prediction.
    pub predictions: Vec<u64>,
}

/// Difference between the maximum after the first quarter and the maximum within it.
fn growth(bytes: &[u64]) -> u64 {
    let (first, rest) = bytes.split_at((bytes.len() / 4).max(1).min(bytes.len()));
    let most = |bytes: &[u64]| bytes.iter().copied().max().unwrap_or(0);
    most(rest).saturating_sub(most(first))
}

impl Soak {
    /// Whether memory grew by at most 16 MiB after the first quarter.
    pub fn is_flat(&self) -> bool {
        growth(&self.runs) <= FLAT && growth(&self.predictions) <= FLAT
    }
}

impl fmt::Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        for (what, bytes) in [("runs", &self.runs), ("predictions, every tenth", &self.predictions)] {
            let (first, last) = (bytes.first().copied().unwrap_or(0), bytes.last().copied().unwrap_or(0));
            let (count, grown) = (bytes.len(), mib(growth(bytes)));
            writeln!(
                f,
                "{count} {what}: {:.1} MiB after the first, {:.1} after the last, {grown:.1} more after the first quarter than in it",
                mib(first),
                mib(last)
            )?;
        }
        write!(f, "{}", if self.is_flat() { "memory is flat" } else { "memory grows" })
    }
}

/// Bytes of memory of this process; 0 if the system does not say.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Runs the example `runs` times, and predicts `predictions` times.
///
/// # Errors
/// Training or prediction fails.
pub fn soak(runs: usize, predictions: usize) -> Result<Soak> {
    let folder = tempfile::tempdir()?;
    let mut seen = Soak { runs: Vec::new(), predictions: Vec::new() };
    let mut last = folder.path().join("none");
    let mut catalog = Catalog::scan(SearchPath::of([built()?.join("backbones")]), Probe::this_program()?);
    for number in 0..runs {
        let shorter = SHORTER.iter().map(|set| (*set).to_owned());
        let sets: Vec<String> = shorter.chain([format!("seed={number}")]).collect();
        let config = Config::parse(EXPERIMENT, Path::new("tiny.toml"), &sets)?;
        let prepared = Prepared::new(config, &mut catalog, &Cache::new(folder.path().join("cache")))?;
        last = folder.path().join(format!("run-{number}"));
        let out = RunFolder::create(Some(&last), "soak")?;
        Session::begin(prepared, out)?.run(&mut Watch { observer: &mut (), stop: &AtomicBool::new(false) })?;
        injerto_report::write(&last)?;
        seen.runs.push(resident());
    }
    let picture = folder.path().join("picture.png");
    image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([(x * 6) as u8, (y * 8) as u8, 90])).save(&picture)?;
    let checkpoint = last.join(Checkpoints::BEST);
    let predictor = Predictor::load(&checkpoint, Device::Flex).context("the last run's network")?;
    let predict = |predictor: &Predictor| predictor.predict([picture.clone()]).try_for_each(|said| said.map(drop));
    for number in 0..predictions {
        predict(&predictor)?;
        // Loading a model is part of long use too.
        if number % 10 == 9 {
            predict(&Predictor::load(&checkpoint, Device::Flex)?)?;
            seen.predictions.push(resident());
        }
    }
    Ok(seen)
}
