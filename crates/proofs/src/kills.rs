//! Runs that are killed, or whose file operations fail, and go on.
//!
//! The example's run is counted through once: so many operations on files of its folder and cache. Then, for each of them
//! and each kind of failure, a fresh run fails there; what it leaves is resumed, and what comes out must equal the run that
//! nothing interrupted. A run that can be begun again instead, because it had left nothing, is as good. Failures come from
//! the library in `crates/failing`, which lies under the real binary: Linux only.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::example::{begin, built, ended, equal, injerto, train};
use crate::fuzz::Random;

/// Kinds of failures, as `crates/failing` calls them.
pub const KINDS: [&str; 7] = ["kill", "torn", "ENOSPC", "full", "EACCES", "EIO", "short"];

/// How much is tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Only every so many operations.
    pub every: usize,
    /// Which kinds; all if there are none.
    pub how: Vec<String>,
    /// Kills at random instants.
    pub random: usize,
    /// What the instants depend on.
    pub seed: u64,
}

/// The library that fails operations.
///
/// # Errors
/// A build without it.
pub fn library() -> Result<PathBuf> {
    let path = built()?.join("libinjerto_failing.so");
    ensure!(path.is_file(), "{}: not built; run `cargo xtask prove kills`, which builds it", path.display());
    Ok(path)
}

/// A folder for one run: everything in it is counted.
struct Place {
    /// Holds the log, which is not counted.
    outer: tempfile::TempDir,
    folder: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let outer = tempfile::tempdir()?;
        // As the system calls it, links resolved.
        let folder = outer.path().canonicalize()?.join("work");
        begin(&folder)?;
        Ok(Self { outer, folder })
    }

    fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// The run, with the library under it.
    fn failing(&self, at: usize, how: &str) -> Result<Command> {
        let mut command = train(&self.folder)?;
        command.env("LD_PRELOAD", library()?).env("INJERTO_FAILING_FOLDER", &self.folder);
        command.env("INJERTO_FAILING_AT", at.to_string()).env("INJERTO_FAILING_HOW", how);
        command.env("INJERTO_FAILING_LOG", self.outer.path().join("log"));
        Ok(command)
    }

    /// The operations of the run so far, as `NUMBER NAME PATH`, the path from the folder on.
    fn log(&self) -> Result<Vec<String>> {
        let text = std::fs::read(self.outer.path().join("log")).unwrap_or_default();
        let folder = format!("{}/", self.folder.display());
        Ok(String::from_utf8_lossy(&text).lines().map(|line| line.replace('\t', " ").replace(&folder, "")).collect())
    }
}

/// The run that nothing interrupts, and its file operations.
pub struct Whole {
    place: Place,
    /// A line for each operation.
    pub operations: Vec<String>,
    took: Duration,
}

impl Whole {
    /// Runs it.
    ///
    /// # Errors
    /// A run that fails by itself.
    pub fn new() -> Result<Self> {
        let place = Place::new()?;
        let began = Instant::now();
        let ended = ended(&mut place.failing(0, "kill")?)?;
        ensure!(ended.code == Some(0), "the example does not train: {}", ended.said);
        let operations = place.log()?;
        ensure!(!operations.is_empty(), "the library counts nothing");
        Ok(Self { place, operations, took: began.elapsed() })
    }

    /// Fails operation `at` in the way `how`, and says what is wrong with what follows.
    ///
    /// # Errors
    /// A folder or program that is not there.
    pub fn check(&self, at: usize, how: &str) -> Result<Option<String>> {
        let place = Place::new()?;
        let failed = ended(&mut place.failing(at, how)?)?;
        let reached = place.log()?.iter().any(|line| line.starts_with(&format!("{at} ")));
        let wrong = match (failed.code, how) {
            _ if failed.said.contains("panicked") => Some(format!("panics: {}", first(&failed.said, "panicked"))),
            (None, "kill" | "torn") => None,
            (_, "kill" | "torn") if reached => Some(format!("was not killed: {}", failed.said)),
            (Some(0), _) => None,
            (Some(1), "short") => Some(format!("takes a short write for a failure: {}", failed.said)),
            (Some(1), _) if failed.said.contains("error: ") => None,
            (code, _) => Some(format!("ends with {code:?}: {}", failed.said)),
        };
        if wrong.is_some() {
            return Ok(wrong);
        }
        // Nothing failed, or nothing that the run needs.
        if failed.code == Some(0) {
            return Ok(equal(&place.out(), &self.place.out()).err().map(|error| format!("goes on, but {error:#}")));
        }
        self.goes_on(&place)
    }

    /// Kills a run after so long, and says what is wrong with what follows.
    fn check_instant(&self, after: Duration) -> Result<Option<String>> {
        let place = Place::new()?;
        let mut child = train(&place.folder)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("injerto")?;
        std::thread::sleep(after);
        child.kill()?;
        child.wait()?;
        self.goes_on(&place)
    }

    /// Resumes what a run has left, or begins again where it has left nothing to go on from.
    fn goes_on(&self, place: &Place) -> Result<Option<String>> {
        let resumed = ended(injerto(&place.folder)?.args(["train", "--resume", "out"]))?;
        if resumed.code != Some(0) {
            let again = ended(&mut train(&place.folder)?)?;
            if again.code != Some(0) {
                let (resumed, again) = (resumed.said.trim().to_owned(), again.said.trim().to_owned());
                return Ok(Some(format!("can neither be resumed ({resumed}) nor begun again ({again})")));
            }
        }
        Ok(equal(&place.out(), &self.place.out()).err().map(|error| format!("goes on, but {error:#}")))
    }
}

/// The first line that contains a word.
fn first<'t>(text: &'t str, word: &str) -> &'t str {
    text.lines().find(|line| line.contains(word)).unwrap_or(text)
}

/// Tries a plan; every fault is told as it is found, and given back.
///
/// # Errors
/// A build that is not complete, or a system that is not Linux.
pub fn prove(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<Vec<String>> {
    let whole = Whole::new()?;
    let kinds: Vec<&str> =
        KINDS.into_iter().filter(|kind| plan.how.is_empty() || plan.how.iter().any(|how| how == kind)).collect();
    let count = whole.operations.len();
    tell(&format!("one run: {count} file operations, {:.1} s", whole.took.as_secs_f64()));
    let mut faults = Vec::new();
    for how in kinds {
        let (mut tried, mut wrong) = (0, 0);
        // Each kind begins elsewhere, so that a sample does not meet the same operations in each.
        let begin = 1 + KINDS.iter().position(|kind| *kind == how).unwrap_or(0) % plan.every.max(1);
        for at in (begin..=count).step_by(plan.every.max(1)) {
            tried += 1;
            if let Some(fault) = whole.check(at, how)? {
                wrong += 1;
                let fault = format!("{how} at operation {}: {fault}", whole.operations[at - 1]);
                tell(&format!("  {fault}"));
                faults.push(fault);
            }
        }
        tell(&format!("{how:<8} {tried:>5} operations failed, {wrong} went wrong"));
    }
    let mut random = Random::new(plan.seed, 0);
    let mut wrong = 0;
    for _ in 0..plan.random {
        let after = Duration::from_micros(random.below(whole.took.as_micros() as usize) as u64);
        if let Some(fault) = whole.check_instant(after)? {
            wrong += 1;
            let fault = format!("killed after {after:?}: {fault}");
            tell(&format!("  {fault}"));
            faults.push(fault);
        }
    }
    if plan.random > 0 {
        tell(&format!("random   {:>5} instants, {wrong} went wrong", plan.random));
    }
    Ok(faults)
}
