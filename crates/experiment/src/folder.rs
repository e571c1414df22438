use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use injerto_files::{Lock, LockError, remove_partial};
use injerto_trainer::Checkpoints;

use crate::{ExperimentError, Plan};

/// The folder that a run leaves. Whoever has one may write into it: no other process does meanwhile.
///
/// A new folder whose run never trains a batch disappears again with the last of its clones, so that a start that fails
/// leaves nothing: [`RunFolder::keep`] ends that.
#[derive(Debug, Clone)]
pub struct RunFolder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Let go only after the folder has been dealt with.
    _lock: Lock,
    /// Folders that were made for it, the outermost first; the last is its own, unless that was there before.
    made: Vec<PathBuf>,
    kept: AtomicBool,
}

/// Files by which a folder is known to hold a run.
const SIGNS: [&str; 6] =
    [RunFolder::EXPERIMENT, "history.jsonl", "history.csv", "summary.json", Checkpoints::BEST, Checkpoints::LAST];

/// What else a run writes. Of such a name there may be something of the user's own in a folder.
const OTHERS: [&str; 5] =
    [RunFolder::SPLIT, RunFolder::ENVIRONMENT, "report.html", "plots/curves.svg", "plots/curves.png"];

impl RunFolder {
    /// The resolved experiment.
    pub(crate) const EXPERIMENT: &str = "experiment.toml";
    /// Which image is on which side.
    pub(crate) const SPLIT: &str = "split.csv";
    /// What scripts read.
    pub(crate) const SUMMARY: &str = "summary.json";
    /// What was decided before the first batch.
    pub(crate) const PLAN: &str = Plan::FILE;
    /// What the run was made with and on.
    pub(crate) const ENVIRONMENT: &str = "environment.json";

    /// A new folder: `wanted`, or `runs/NAME-TIME`.
    ///
    /// # Errors
    /// A folder that holds a run already, is being written to by another process, or cannot be made.
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
                let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
                let base = format!("{}-{time}", name.chars().map(safe).collect::<String>());
                let runs = Path::new("runs");
                // Of several runs that begin in one second each makes a folder of its own, or learns that it is not the first.
                for number in 1_u32.. {
                    let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
                    let (mut made, path) = (make(runs)?, runs.join(name));
                    match std::fs::create_dir(&path) {
                        Ok(()) => {
                            made.push(path.clone());
                            return Self::locked(&path, made, false);
                        }
                        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                        // Another run that failed at its start has just removed `runs`.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound && number < 1000 => {}
                        Err(source) => return Err(ExperimentError::Io { path, source }),
                    }
                }
                unreachable!("numbers do not run out")
            }
        }
    }

    /// Whether a new run may begin in `path`.
    ///
    /// # Errors
    /// A folder that holds a run or a file that a run would write over, or a file.
    fn is_free(path: &Path) -> Result<(), ExperimentError> {
        if path.exists() && !path.is_dir() {
            let source =
                std::io::Error::new(std::io::ErrorKind::NotADirectory, "it is a file, and no folder for a run");
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

    /// The folder of a run that has begun, to go on with. What a killed process left half written is removed.
    ///
    /// # Errors
    /// A folder without an experiment in it, or one that another process is writing to.
    pub fn open(path: &Path) -> Result<Self, ExperimentError> {
        if !path.join(Self::EXPERIMENT).is_file() {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file; this is not a run's folder");
            return Err(ExperimentError::Io { path: path.join(Self::EXPERIMENT), source });
        }
        let folder = Self::locked(path, Vec::new(), true)?;
        remove_partial(path, Duration::ZERO);
        Ok(folder)
    }

    fn locked(path: &Path, made: Vec<PathBuf>, kept: bool) -> Result<Self, ExperimentError> {
        let lock = Lock::take(path).map_err(|error| match error {
            LockError::Taken => ExperimentError::Busy { path: path.to_owned() },
            LockError::Io { path, source } => ExperimentError::Io { path, source },
        })?;
        let inner = Inner { path: path.to_owned(), _lock: lock, made, kept: AtomicBool::new(kept) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What in the folder says that epochs were finished, in words; `None` where nothing does.
    pub(crate) fn trained(&self) -> Option<String> {
        let lines = |name| std::fs::read_to_string(self.path().join(name)).map_or(0, |text| text.lines().count());
        // The first line of the table is its head.
        let epochs = lines("history.jsonl").max(lines("history.csv").saturating_sub(1));
        let there = |name: &&&str| self.path().join(name).symlink_metadata().is_ok();
        match epochs {
            // The best weights alone say nothing: they are written first, and the process may have been killed then.
            0 => [Self::SUMMARY, "report.html"].iter().find(there).map(|name| format!("{name} is there")),
            1 => Some("the history speaks of 1 finished epoch".to_owned()),
            _ => Some(format!("the history speaks of {epochs} finished epochs")),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The resolved experiment in it.
    pub fn experiment(&self) -> PathBuf {
        self.path().join(Self::EXPERIMENT)
    }

    /// From here on there is something in it that is worth keeping.
    pub fn keep(&self) {
        self.inner.kept.store(true, Ordering::Relaxed);
    }

    /// Writes a file that appears whole or not at all.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), ExperimentError> {
        let path = self.path().join(name);
        injerto_files::write(&path, text.as_bytes()).map_err(|source| ExperimentError::Io { path, source })
    }

    /// A file's text; `None` where there is no such file.
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
        // Nothing can be done about a file that cannot be removed.
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
            let ours = SIGNS.iter().chain(&[RunFolder::SPLIT, RunFolder::ENVIRONMENT, Lock::FILE]);
            ours.for_each(|name| drop(std::fs::remove_file(self.path.join(name))));
        }
        // Folders around it go if they are empty.
        self.made.iter().rev().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

/// Makes a folder and those around it; what was made, the outermost first.
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
    fn a_folder_that_nobody_kept_disappears_with_those_around_it() {
        let at = tempfile::tempdir().expect("a folder");
        let path = at.path().join("a/b/run");
        let folder = RunFolder::create(Some(&path), "name").expect("it is free");
        folder.write(RunFolder::EXPERIMENT, "name = \"a\"").expect("written");
        let clone = folder.clone();
        drop(folder);
        assert!(path.is_dir(), "somebody still has it");
        drop(clone);
        assert_eq!(names(at.path()), [""; 0]);
        // What was there before stays, with all that is not the run's.
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
