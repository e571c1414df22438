use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use injerto_files::{Lock, LockError, remove_partial};
use injerto_trainer::Checkpoints;

use crate::ExperimentError;
use crate::summary::Summary;

/// The folder of a run, locked: while a `RunFolder` exists, no other process writes into its folder.
///
/// A new folder is removed with the last clone of its `RunFolder`, so that a start that fails leaves nothing behind.
/// [`RunFolder::keep`] makes it permanent; training calls it at the first batch.
#[derive(Debug, Clone)]
pub struct RunFolder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// The lock. It is released after [`Inner::drop`] has kept or removed the folder.
    _lock: Lock,
    /// Folders that were created for the run, the outermost first. The last one is the run's own folder, unless that
    /// existed before.
    made: Vec<PathBuf>,
    /// Whether the folder stays when the last clone is dropped.
    kept: AtomicBool,
    /// Whether it is only for this process, and never stays.
    scratch: bool,
}

/// Files that show that a folder holds a run.
const SIGNS: [&str; 6] =
    [RunFolder::EXPERIMENT, "history.jsonl", "history.csv", "summary.json", Checkpoints::BEST, Checkpoints::LAST];

/// Other files that a run writes. The user may have files of the same names in a folder without a run.
const OTHERS: [&str; 12] = [
    RunFolder::README,
    RunFolder::SPLIT,
    RunFolder::LEAKS,
    RunFolder::INSIGHT,
    RunFolder::MORE_PHOTOS,
    RunFolder::PREDICTIONS,
    RunFolder::ENVIRONMENT,
    RunFolder::KNOWLEDGE,
    RunFolder::CALIBRATION,
    "report.html",
    "plots/curves.svg",
    "plots/curves.png",
];

impl RunFolder {
    /// The checkpoint that a path means: that of the best epoch in a run's folder, or the path itself if it is no folder.
    ///
    /// # Errors
    /// [`ExperimentError::NoCheckpoint`] if the folder has none.
    pub fn checkpoint(path: &Path) -> Result<PathBuf, ExperimentError> {
        if !path.is_dir() {
            return Ok(path.to_owned());
        }
        let best = path.join(Checkpoints::BEST);
        if best.exists() { Ok(best) } else { Err(ExperimentError::NoCheckpoint { path: path.to_owned() }) }
    }

    /// File of the resolved experiment.
    pub(crate) const EXPERIMENT: &str = "experiment.toml";
    /// File that lists the images with the side of each.
    pub const SPLIT: &str = "split.csv";
    /// File of the photos that are there more than once.
    pub const LEAKS: &str = "leaks.csv";
    /// File of what more training images would bring.
    pub const MORE_PHOTOS: &str = "more_photos.json";
    /// File that somebody puts into the folder to end the training after the current batch, from another process or machine.
    pub const STOP: &str = "stop";
    /// File of what was found out before the first epoch.
    pub(crate) const INSIGHT: &str = "insight.json";
    /// File of what the best epoch says of each validation image.
    pub const PREDICTIONS: &str = "predictions.csv";
    /// The model card.
    pub const README: &str = "README.md";
    /// File of the run's summary, for scripts.
    pub(crate) const SUMMARY: &str = "summary.json";
    /// File of the plan that was made before the first batch.
    pub(crate) const PLAN: &str = "plan.json";
    /// File of what the run knows of its images.
    pub(crate) const KNOWLEDGE: &str = "knowledge.safetensors";
    /// File of the fitted temperature and of what it says.
    pub(crate) const CALIBRATION: &str = "calibration.json";
    /// File that records version, machine, device and command of the run.
    pub(crate) const ENVIRONMENT: &str = "environment.json";

    /// File of a trial's record in its folder within a sweep, which is written last.
    pub(crate) const TRIAL: &str = "trial.json";

    /// Creates and locks the folder of a new run: `wanted`, or `runs/NAME-TIME` for `None`.
    ///
    /// # Errors
    /// [`ExperimentError`] if the folder holds a run or a file that a run would overwrite, if another process is writing to
    /// it, or if it cannot be created.
    pub fn create(wanted: Option<&Path>, name: &str) -> Result<Self, ExperimentError> {
        match wanted {
            Some(path) => {
                Self::is_free(path)?;
                let made = make(path)?;
                let folder = Self::locked(path, made, false)?;
                // Another process may have begun and ended a run here meanwhile.
                if let Err(error) = Self::is_free(path) {
                    folder.keep();
                    return Err(error);
                }
                Ok(folder)
            }
            None => {
                let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
                let base = format!("{}-{}", name.chars().map(safe).collect::<String>(), in_a_name(SystemTime::now()));
                let runs = Path::new("runs");
                // Several runs may begin in the same second. `create_dir` succeeds for one of them; the others try the next
                // number.
                for number in 1_u32.. {
                    let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
                    let (mut made, path) = (make(runs)?, runs.join(name));
                    match std::fs::create_dir(&path) {
                        Ok(()) => {
                            made.push(path.clone());
                            return Self::locked(&path, made, false);
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                        // Another run whose start failed has just removed `runs`.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound && number < 1000 => {}
                        Err(source) => return Err(ExperimentError::Io { path, source }),
                    }
                }
                unreachable!("numbers do not run out")
            }
        }
    }

    /// Checks that a new run may begin in `path`.
    ///
    /// # Errors
    /// [`ExperimentError`] if `path` is a file, or a folder with a run or with a file that a run would overwrite.
    fn is_free(path: &Path) -> Result<(), ExperimentError> {
        if path.exists() && !path.is_dir() {
            let source =
                std::io::Error::new(std::io::ErrorKind::NotADirectory, "this is a file; name a folder for the run");
            return Err(ExperimentError::Io { path: path.to_owned(), source });
        }
        if SIGNS.iter().any(|name| path.join(name).exists()) {
            return Err(ExperimentError::Occupied { path: path.to_owned() });
        }
        match OTHERS.iter().map(|name| path.join(name)).find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => Err(ExperimentError::WouldReplace { path }),
            None => Ok(()),
        }
    }

    /// Opens and locks the folder of an earlier run, to resume the run. Partly written files of a killed process are removed.
    ///
    /// # Errors
    /// [`ExperimentError`] if there is no experiment in the folder, or if another process is writing to it.
    pub fn open(path: &Path) -> Result<Self, ExperimentError> {
        if !path.join(Self::EXPERIMENT).is_file() {
            let source = |said| std::io::Error::new(std::io::ErrorKind::NotFound, said);
            return Err(match path.is_file() {
                true => {
                    let source = source("this is a file; name the folder of the run");
                    ExperimentError::Io { path: path.to_owned(), source }
                }
                false => {
                    let source = source("no such file; this is not a run's folder");
                    ExperimentError::Io { path: path.join(Self::EXPERIMENT), source }
                }
            });
        }
        let folder = Self::locked(path, Vec::new(), true)?;
        remove_partial(path, Duration::ZERO);
        Ok(folder)
    }

    /// A folder for a process that trains together with another one, which writes the run's folder: it has what a training reads of the run
    /// `of`, if there is one, and disappears with its last clone whatever is written into it.
    ///
    /// # Errors
    /// [`ExperimentError`] if it cannot be created, or there is no experiment in the folder of the run.
    pub fn scratch(of: Option<&Path>) -> Result<Self, ExperimentError> {
        let number = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = std::env::temp_dir().join(format!("injerto-{}-{number}", std::process::id()));
        let made = make(&path)?;
        let mut folder = Self::locked(&path, made, false)?;
        Arc::get_mut(&mut folder.inner).expect("nobody else has it yet").scratch = true;
        for name in [Self::EXPERIMENT, Checkpoints::LAST, Self::SPLIT, Self::INSIGHT] {
            let Some(from) = of.map(|of| of.join(name)) else { continue };
            match std::fs::copy(&from, path.join(name)) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && name != Self::EXPERIMENT => {}
                Err(source) => return Err(ExperimentError::Io { path: from, source }),
            }
        }
        Ok(folder)
    }

    fn locked(path: &Path, made: Vec<PathBuf>, kept: bool) -> Result<Self, ExperimentError> {
        let lock = Lock::take(path).map_err(|error| match error {
            LockError::Taken => ExperimentError::Busy { path: path.to_owned() },
            LockError::Io { path, source } => ExperimentError::Io { path, source },
        })?;
        let inner = Inner { path: path.to_owned(), _lock: lock, made, kept: AtomicBool::new(kept), scratch: false };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The sign in the folder that epochs were finished, in words; `None` if there is none.
    pub(crate) fn trained(&self) -> Option<String> {
        let lines = |name| std::fs::read_to_string(self.path().join(name)).map_or(0, |text| text.lines().count());
        // The first line of the CSV file is its header.
        let epochs = lines("history.jsonl").max(lines("history.csv").saturating_sub(1));
        let there = |name: &&&str| self.path().join(name).symlink_metadata().is_ok();
        match epochs {
            // The best weights alone prove nothing: they are written first, and the process may have been killed before
            // it wrote the other files.
            // A run that was interrupted before its first epoch ended has a summary, which says so.
            0 if self.is_untrained() => None,
            0 => [Self::SUMMARY, "report.html"].iter().find(there).map(|name| format!("{name} exists")),
            1 => Some("the history lists 1 finished epoch".to_owned()),
            _ => Some(format!("the history lists {epochs} finished epochs")),
        }
    }

    /// Whether there is a summary that knows of no epoch.
    fn is_untrained(&self) -> bool {
        let summary = Self::summary_in(self.path());
        summary.is_some_and(|summary| summary.interrupted && summary.phases.iter().all(|phase| phase.epochs == 0))
    }

    /// The summary in the folder of a run, which need not be locked; `None` if there is none that can be read.
    pub(crate) fn summary_in(folder: &Path) -> Option<Summary> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(Self::SUMMARY)).ok()?).ok()
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether it is the folder of a trial of a sweep.
    pub(crate) fn is_trial(&self) -> bool {
        self.path().join(Self::TRIAL).is_file()
    }

    /// Path of the resolved experiment in the folder.
    pub fn experiment(&self) -> PathBuf {
        self.path().join(Self::EXPERIMENT)
    }

    /// Makes the folder permanent: it stays when the last clone is dropped.
    pub fn keep(&self) {
        self.inner.kept.store(!self.inner.scratch, Ordering::Relaxed);
    }

    /// Writes a file in the folder atomically.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), ExperimentError> {
        let path = self.path().join(name);
        injerto_files::write(&path, text.as_bytes()).map_err(|source| ExperimentError::Io { path, source })
    }

    /// Text of a file in the folder; `None` if the file does not exist.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, ExperimentError> {
        let path = self.path().join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ExperimentError::Io { path, source }),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if *self.kept.get_mut() {
            return;
        }
        // Errors are ignored, because `drop` cannot report a file that cannot be removed.
        if self.made.last() == Some(&self.path) {
            let _ = std::fs::remove_dir_all(&self.path);
        } else {
            let events = self.path.join("tensorboard");
            for entry in std::fs::read_dir(&events).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains(".injerto.") {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
            let _ = std::fs::remove_dir(events);
            let ours = SIGNS.iter().chain(&[
                RunFolder::SPLIT,
                RunFolder::LEAKS,
                RunFolder::INSIGHT,
                RunFolder::MORE_PHOTOS,
                RunFolder::ENVIRONMENT,
                Lock::FILE,
            ]);
            ours.for_each(|name| drop(std::fs::remove_file(self.path.join(name))));
        }
        // Parent folders that were created for the run are removed too, if they are empty.
        self.made.iter().rev().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

/// A time in UTC as folders have it in their names, such as `20261127-075422`.
fn in_a_name(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace(['-', ':', 'Z'], "").replace('T', "-")
}

/// Creates a folder with its missing parents, and returns the created folders, the outermost first.
fn make(path: &Path) -> Result<Vec<PathBuf>, ExperimentError> {
    let missing = path.ancestors().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    missing.reverse();
    std::fs::create_dir_all(path).map_err(|source| ExperimentError::Io { path: path.to_owned(), source })?;
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("readable").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_name_has_the_time_in_utc() {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_766_062_900);
        assert_eq!(in_a_name(time), "20261127-075422");
    }

    #[test]
    fn a_folder_that_nobody_kept_disappears_with_those_around_it() {
        let at = tempfile::tempdir().expect("a folder");
        let path = at.path().join("a/b/run");
        let folder = RunFolder::create(Some(&path), "name").expect("it is free");
        folder.write(RunFolder::EXPERIMENT, "name = \"a\"").expect("written");
        let clone = folder.clone();
        drop(folder);
        assert!(path.is_dir(), "a clone still exists");
        drop(clone);
        assert_eq!(names(at.path()), [""; 0]);
        // A folder that existed before stays, with all files that are not the run's.
        std::fs::create_dir_all(&path).expect("made");
        std::fs::write(path.join("notes.txt"), "mine").expect("written");
        let folder = RunFolder::create(Some(&path), "name").expect("it is free");
        folder.write(RunFolder::EXPERIMENT, "name = \"a\"").expect("written");
        drop(folder);
        assert_eq!(names(&path), ["notes.txt"]);
    }

    #[test]
    fn a_folder_that_is_kept_is_a_runs_folder_that_one_process_writes_to() {
        let at = tempfile::tempdir().expect("a folder");
        let path = at.path().join("run");
        let folder = RunFolder::create(Some(&path), "name").expect("it is free");
        folder.write(RunFolder::EXPERIMENT, "name = \"a\"").expect("written");
        folder.keep();
        let busy = RunFolder::open(&path).expect_err("it is locked").to_string();
        assert!(busy.contains("another process") && busy.contains("--resume"), "{busy}");
        drop(folder);
        std::fs::write(path.join(".partial-x"), "half").expect("written");
        let folder = RunFolder::open(&path).expect("it is there");
        assert!(!path.join(".partial-x").exists());
        drop(folder);
        assert!(path.join(RunFolder::EXPERIMENT).is_file());
        assert!(matches!(RunFolder::create(Some(&path), "name"), Err(ExperimentError::Occupied { .. })));
    }
}
