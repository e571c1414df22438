use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use injerto_trainer::{Event, Observer};

use crate::RunFolder;

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_millis(300);

/// Ends a run when a file appears in its folder that asks for it ([`RunFolder::STOP`]), as Ctrl-C does. The file is removed, so that
/// it asks once.
#[derive(Debug)]
pub(crate) struct StopFile<'s> {
    file: PathBuf,
    stop: &'s AtomicBool,
    looked: Instant,
}

impl<'s> StopFile<'s> {
    /// Looks for the file in `folder`, and sets `stop` when it is there. A file of an earlier run is removed.
    pub fn new(folder: &RunFolder, stop: &'s AtomicBool) -> Self {
        let file = folder.path().join(RunFolder::STOP);
        let _ = std::fs::remove_file(&file);
        Self { file, stop, looked: Instant::now() }
    }
}

impl Observer for StopFile<'_> {
    fn observe(&mut self, _: &Event<'_>) {
        if self.looked.elapsed() < EVERY {
            return;
        }
        self.looked = Instant::now();
        if self.file.symlink_metadata().is_ok() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for StopFile<'_> {
    /// Until the run has ended, the file says that it is about to.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
