//! The process that reads the inputs of one target.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::{Fault, Findings, Target, limit};

thread_local! {
    /// Place and message of the panic of this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Reads inputs `from..to` of a target. Before each, its number and how many were accepted are written to
/// `place`.
///
/// # Errors
/// A target that cannot be made ready.
pub fn work(
    target: &Target,
    seed: u64,
    numbers: std::ops::Range<u64>,
    memory: u64,
    run: &Path,
    place: &Path,
) -> Result<Findings> {
    let scratch = tempfile::tempdir()?;
    let mut ready = target.ready(run, scratch.path())?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        let payload = panic.payload();
        let why =
            payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(|&s| s.to_owned()));
        let why = why.unwrap_or_default();
        // With numbers in the message, each panic would count as a different fault.
        let why: String = why.chars().take(160).map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
        PANIC.with_borrow_mut(|text| *text = format!("panics at {place}: {}", why.replace('\n', " ")));
    }));
    // Threads of pools allocate memory when they start, so they start before the limit is set.
    (ready.read)(&ready.seeds.good[0]);
    limit::memory(memory)?;
    let mut place = File::options().write(true).open(place).context("where the number goes")?;
    let mut findings = Findings::default();
    for number in numbers {
        place.seek(SeekFrom::Start(0))?;
        place.write_all(&[number.to_le_bytes(), findings.accepted.to_le_bytes()].concat())?;
        let bytes = ready.seeds.input(seed, number);
        let began = Instant::now();
        let read = catch_unwind(AssertUnwindSafe(|| (ready.read)(&bytes)));
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        findings.inputs += 1;
        if took > findings.slowest_ms {
            (findings.slowest_ms, findings.slowest) = (took, number);
        }
        match read {
            Ok(accepted) => findings.accepted += u64::from(accepted),
            Err(_) => {
                let what = PANIC.with_borrow(String::clone);
                findings.harmful += 1;
                if findings.faults.len() < 20 && findings.faults.iter().all(|fault| fault.what != what) {
                    findings.faults.push(Fault { number, what });
                }
            }
        }
    }
    Ok(findings)
}
