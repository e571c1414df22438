//! Damaged input for everything that reads.
//!
//! A series of inputs is made from valid files and from inputs that a search by coverage found ([`Seeds`]), with a seed, so that
//! each input can be made again from its number. Each target runs in a
//! separate process with limited memory. An unchecked size from a file ends this process, and so do a stack overflow and an access
//! to foreign memory. The parent process sees at which input it ended, reports it, and starts another process after that input.

mod child;
mod form;
mod found;
mod input;
mod limit;
mod mutate;
mod seeds;
mod targets;

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

pub use child::work;
pub use found::keep_found;
pub use input::Seeds;
pub use mutate::Random;
pub use targets::{Ready, TARGETS, Target};

/// The number and kinds of trials.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Number of inputs per target.
    pub inputs: u64,
    /// Seed of the series.
    pub seed: u64,
    /// Names of targets; all if there are none.
    pub only: Vec<String>,
    /// Megabytes by which the address space of a target may grow.
    pub memory: u64,
    /// Processor time after which an input counts as hanging. One that waits without computing may take thirty times as long.
    pub patience: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self { inputs: 1_000_000, seed: 1, only: Vec::new(), memory: 1024, patience: Duration::from_secs(20) }
    }
}

/// An input that did harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Number in the series.
    pub number: u64,
    /// The harm that it did.
    pub what: String,
}

/// Results of a target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Number of inputs that were read.
    pub inputs: u64,
    /// Number of inputs that were accepted.
    pub accepted: u64,
    /// Longest time for one input.
    pub slowest_ms: u64,
    /// Number of the slowest input.
    pub slowest: u64,
    /// Different faults, with the first input of each.
    pub faults: Vec<Fault>,
    /// Number of all inputs that did harm.
    pub harmful: u64,
}

impl Findings {
    fn add(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.accepted += other.accepted;
        if other.slowest_ms > self.slowest_ms {
            (self.slowest_ms, self.slowest) = (other.slowest_ms, other.slowest);
        }
        self.harmful += other.harmful;
        for fault in other.faults {
            if self.faults.iter().all(|known| known.what != fault.what) {
                self.faults.push(fault);
            }
        }
    }
}

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    /// The target's name.
    pub target: &'static str,
    /// Results of the target.
    pub findings: Findings,
    /// Total time.
    pub seconds: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { inputs, accepted, slowest_ms, slowest, faults, harmful } = &self.findings;
        let (target, seconds) = (self.target, self.seconds);
        write!(f, "| {target:<12} | {inputs:>9} | {accepted:>9} | {harmful:>7} | {slowest_ms:>6} | {seconds:>7.1} |")?;
        for Fault { number, what } in faults {
            write!(f, "\n  {target}, input {number}: {what}")?;
        }
        if *slowest_ms > 1000 {
            write!(f, "\n  {target}, input {slowest} took {slowest_ms} ms")?;
        }
        Ok(())
    }
}

/// The head of the table.
pub const HEAD: &str = "\
| target       |    inputs |  accepted | harmful |     ms | seconds |
| ------------ | --------: | --------: | ------: | -----: | ------: |";

/// Feeds all targets of a plan. `program` is this project's `injerto-prove`; each row is reported when it is complete.
///
/// # Errors
/// A target that does not exist or cannot be made ready.
pub fn feed(program: &Path, plan: &Plan, tell: &mut dyn FnMut(&Row)) -> Result<Vec<Row>> {
    let unknown = plan.only.iter().find(|name| TARGETS.iter().all(|target| target.name != name.as_str()));
    if let Some(name) = unknown {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        bail!("no target '{name}'; there are {}", known.join(", "));
    }
    let folder = in_memory()?;
    let run = crate::example::finished(folder.path())?;
    let mut rows = Vec::new();
    for target in
        TARGETS.iter().filter(|target| plan.only.is_empty() || plan.only.iter().any(|name| name == target.name))
    {
        let began = Instant::now();
        let findings =
            one(program, plan, target, &run, folder.path()).with_context(|| format!("target {}", target.name))?;
        let mut findings = findings;
        keep(&mut findings, target, plan.seed, &run, folder.path())?;
        let row = Row { target: target.name, findings, seconds: began.elapsed().as_secs_f64() };
        tell(&row);
        rows.push(row);
    }
    Ok(rows)
}

/// A folder for a moment, in memory where the system has files there: a disk makes what reads from files slow.
///
/// # Errors
/// A system without room.
pub fn in_memory() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    Ok(folder?)
}

/// Writes what a search by coverage begins with into a folder: a finished run as `out`, and for each target its corpus in a
/// folder of its name.
///
/// # Errors
/// The folder cannot be written to.
pub fn begin(folder: &Path) -> Result<()> {
    let folder = &folder.canonicalize()?;
    let run = crate::example::finished(folder)?;
    for target in TARGETS {
        let scratch = tempfile::tempdir()?;
        let inputs = folder.join(target.name);
        std::fs::create_dir_all(&inputs)?;
        for (number, input) in target.ready(&run, scratch.path())?.seeds.all().enumerate() {
            std::fs::write(inputs.join(format!("known-{number}")), input)?;
        }
    }
    Ok(())
}

/// Keeps harmful inputs in the folder for what is temporary, and says where: those made from a run's files hold its times, and
/// so cannot be made again from their numbers.
fn keep(findings: &mut Findings, target: &Target, seed: u64, run: &Path, scratch: &Path) -> Result<()> {
    if findings.faults.is_empty() {
        return Ok(());
    }
    let kept = std::env::temp_dir().join("injerto-fuzz");
    std::fs::create_dir_all(&kept)?;
    let ready = target.ready(run, scratch)?;
    for fault in &mut findings.faults {
        let path = kept.join(format!("{}-{seed}-{}", target.name, fault.number));
        std::fs::write(&path, ready.seeds.input(seed, fault.number))?;
        fault.what += &format!(" (kept as {})", path.display());
    }
    Ok(())
}

/// How many processes of a target may die before it is enough.
const DEATHS: usize = 8;

fn one(program: &Path, plan: &Plan, target: &Target, run: &Path, folder: &Path) -> Result<Findings> {
    let (mut all, mut from) = (Findings::default(), 0);
    for _ in 0..DEATHS {
        if from >= plan.inputs {
            break;
        }
        let place = folder.join(format!("{}.number", target.name));
        std::fs::write(&place, [from.to_le_bytes(), 0_u64.to_le_bytes()].concat())?;
        let mut command = Command::new(program);
        command.args([
            "fuzz-child",
            target.name,
            "--seed",
            &plan.seed.to_string(),
            "--memory",
            &plan.memory.to_string(),
        ]);
        command.args(["--from", &from.to_string(), "--to", &plan.inputs.to_string()]);
        command.arg("--run").arg(run).arg("--place").arg(&place).env("TMPDIR", folder);
        // A decoder whose assertions are on notes where it is again and again, which takes a thousand times as long.
        command.env("RUST_BACKTRACE", "0");
        let what = match watched(&mut command, &place, plan.patience)? {
            Ended::Done(findings) => {
                all.add(findings);
                return Ok(all);
            }
            Ended::Died(how) => how,
        };
        let [number, accepted] = reached(&place)?;
        let faults = vec![Fault { number, what }];
        all.add(Findings { inputs: number + 1 - from, accepted, harmful: 1, faults, ..Findings::default() });
        from = number + 1;
    }
    Ok(all)
}

/// The number that a child has reached, and how many inputs before it were accepted.
fn reached(place: &Path) -> Result<[u64; 2]> {
    let bytes: [u8; 16] = std::fs::read(place)?.try_into().ok().context("sixteen bytes say where it is")?;
    let (number, accepted) = bytes.split_at(8);
    Ok([u64::from_le_bytes(number.try_into()?), u64::from_le_bytes(accepted.try_into()?)])
}

enum Ended {
    Done(Findings),
    Died(String),
}

/// When a child began to read an input.
struct Standing {
    began: Instant,
    /// Processor time of the child until then.
    used: Option<Duration>,
}

impl Standing {
    fn new(pid: u32) -> Self {
        Self { began: Instant::now(), used: processor_time(pid) }
    }

    /// Whether the input takes too long. On a busy machine a child may wait for minutes until it is its turn, which is no fault of
    /// the input, so processor time decides where the system tells it.
    fn hangs(&self, pid: u32, patience: Duration) -> bool {
        let waited = self.began.elapsed();
        match (self.used, processor_time(pid)) {
            (Some(before), Some(now)) => now.saturating_sub(before) > patience || waited > 30 * patience,
            _ => waited > patience,
        }
    }
}

/// Processor time that a process has used, from Linux's `/proc` (`man 5 proc_pid_stat`); `None` on other systems.
fn processor_time(pid: u32) -> Option<Duration> {
    /// Linux counts these in hundredths of a second on every common architecture (`USER_HZ`).
    const TICK: Duration = Duration::from_millis(10);
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last bracket may contain spaces. `utime` and `stime` are fields 14 and 15; the first one after it is 3.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * (ticks()? + ticks()?))
}

/// Runs a child until it is done, dies, or stands still.
fn watched(command: &mut Command, place: &Path, patience: Duration) -> Result<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut out, mut err) = (child.stdout.take().context("a pipe")?, child.stderr.take().context("a pipe")?);
    // The output is read while the child runs, because a full pipe would stop it.
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let err = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = err.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let pid = child.id();
    let (mut last, mut since) = (u64::MAX, Standing::new(pid));
    let mut hung = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let now = reached(place).map_or(last, |[number, _]| number);
        if now != last {
            (last, since) = (now, Standing::new(pid));
        }
        if since.hangs(pid, patience) {
            hung = true;
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let out = out.join().unwrap_or_default();
    let err = err.join().unwrap_or_default();
    if status.success() {
        return Ok(Ended::Done(serde_json::from_str(&out).context("a child ends with its findings")?));
    }
    let telling = |line: &&str| line.contains("memory allocation of") || line.contains("overflowed its stack");
    let said = err.lines().find(telling).or_else(|| err.lines().rev().find(|line| !line.trim().is_empty()));
    let said = said.unwrap_or("no word");
    let how = if hung {
        format!("hangs for more than {} s", patience.as_secs())
    } else {
        format!("ends the process ({status}): {said}")
    };
    Ok(Ended::Died(how))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// What a process that runs `script` looks like after `wait`.
    fn hangs_after(script: &str, wait: Duration) -> Result<bool> {
        let mut child = Command::new("sh").args(["-c", script]).spawn()?;
        let standing = Standing::new(child.id());
        std::thread::sleep(wait);
        let hangs = standing.hangs(child.id(), Duration::from_millis(50));
        child.kill()?;
        child.wait()?;
        Ok(hangs)
    }

    #[test]
    fn an_input_that_waits_for_its_turn_does_not_hang_until_it_has_waited_very_long() -> Result<()> {
        assert!(!hangs_after("exec sleep 60", Duration::from_millis(300))?);
        assert!(hangs_after("exec sleep 60", Duration::from_millis(1600))?);
        Ok(())
    }

    #[test]
    fn an_input_that_computes_without_end_hangs() -> Result<()> {
        assert!(hangs_after("while :; do :; done", Duration::from_millis(1600))?);
        Ok(())
    }
}
