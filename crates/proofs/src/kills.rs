//! Runs that are killed, or whose file operations fail, and that are resumed.
//!
//! First, the operations of the example's run on files of its folder and its cache are counted. Then, for each operation and each kind
//! of failure, a new run fails at this operation. It is resumed, and its result must equal that of an uninterrupted run. If it has left
//! nothing to resume, it must be possible to begin it again. The library in `crates/failing`, which is loaded under the real binary,
//! makes operations fail; it works on Linux only.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::example::{begin, built, ended, equal, injerto, train};
use crate::fuzz::Random;

/// Kinds of failures, as `crates/failing` calls them.
pub const KINDS: [&str; 7] = ["kill", "torn", "ENOSPC", "full", "EACCES", "EIO", "short"];

/// The number of trials.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Distance between the tried operations; 1 tries every operation.
    pub every: usize,
    /// Kinds of failures; if it is empty, all kinds are tried.
    pub how: Vec<String>,
    /// Number of kills at random instants.
    pub random: usize,
    /// Seed of the random instants.
    pub seed: u64,
}

/// Path of the library that lets operations fail.
///
/// # Errors
/// The library is not built.
pub fn library() -> Result<PathBuf> {
    let path = built()?.join("libinjerto_failing.so");
    ensure!(path.is_file(), "{}: not built; run `cargo xtask prove kills`, which builds it", path.display());
    Ok(path)
}

/// A folder for one run, in which all operations are counted.
struct Place {
    /// Folder of the log, in which operations are not counted.
    outer: tempfile::TempDir,
    folder: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let outer = tempfile::tempdir()?;
        // The path has its links resolved, as the system reports it.
        let folder = outer.path().canonicalize()?.join("work");
        begin(&folder)?;
        Ok(Self { outer, folder })
    }

    fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// The command of the run, with the library loaded.
    fn failing(&self, at: usize, how: &str) -> Result<Command> {
        let mut command = train(&self.folder)?;
        command.env("LD_PRELOAD", library()?).env("INJERTO_FAILING_FOLDER", &self.folder);
        command.env("INJERTO_FAILING_AT", at.to_string()).env("INJERTO_FAILING_HOW", how);
        command.env("INJERTO_FAILING_LOG", self.outer.path().join("log"));
        Ok(command)
    }

    /// The operations of the run so far, as `NUMBER NAME PATH`, with the path relative to the folder.
    fn log(&self) -> Result<Vec<String>> {
        let text = std::fs::read(self.outer.path().join("log")).unwrap_or_default();
        let folder = format!("{}/", self.folder.display());
        Ok(String::from_utf8_lossy(&text).lines().map(|line| line.replace('\t', " ").replace(&folder, "")).collect())
    }
}

/// The uninterrupted run, and its file operations.
pub struct Whole {
    place: Place,
    /// One line per operation.
    pub operations: Vec<String>,
    took: Duration,
}

impl Whole {
    /// Does the uninterrupted run.
    ///
    /// # Errors
    /// The run fails.
    pub fn new() -> Result<Self> {
        let place = Place::new()?;
        let began = Instant::now();
        let ended = ended(&mut place.failing(0, "kill")?)?;
        ensure!(ended.code == Some(0), "the example does not train: {}", ended.said);
        let operations = place.log()?;
        ensure!(!operations.is_empty(), "the library counts nothing");
        Ok(Self { place, operations, took: began.elapsed() })
    }

    /// Lets operation `at` fail in the way `how`, and returns the fault in what follows, if there is one.
    ///
    /// # Errors
    /// A folder or a program is missing.
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
        // No operation failed, or none that the run needs.
        if failed.code == Some(0) {
            return Ok(equal(&place.out(), &self.place.out()).err().map(|error| format!("goes on, but {error:#}")));
        }
        self.goes_on(&place)
    }

    /// Kills a run after some time, and returns the fault in what follows, if there is one.
    fn check_instant(&self, after: Duration) -> Result<Option<String>> {
        let place = Place::new()?;
        let mut child = train(&place.folder)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("injerto")?;
        std::thread::sleep(after);
        child.kill()?;
        child.wait()?;
        self.goes_on(&place)
    }

    /// Resumes a run, or begins it again if it has left nothing to resume.
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

/// Does all trials of a plan. Every fault is reported when it is found, and returned at the end.
///
/// # Errors
/// The build is not complete, or the system is not Linux.
pub fn prove(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<Vec<String>> {
    let whole = Whole::new()?;
    let kinds: Vec<&str> =
        KINDS.into_iter().filter(|kind| plan.how.is_empty() || plan.how.iter().any(|how| how == kind)).collect();
    let count = whole.operations.len();
    tell(&format!("one run: {count} file operations, {:.1} s", whole.took.as_secs_f64()));
    let mut faults = Vec::new();
    for how in kinds {
        let (mut tried, mut wrong) = (0, 0);
        // Each kind begins at another operation, so that samples of different kinds try different operations.
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
