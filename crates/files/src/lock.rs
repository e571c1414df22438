use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The right to write into a folder, which only one process has at a time. It ends when the lock is dropped, or when the process
/// ends, in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The reason why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has the lock.
    #[error("another process is writing into this folder")]
    Taken,
    /// The lock file cannot be opened.
    #[error("{}: {source}", crate::shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl Lock {
    /// Name of the file that is locked. It stays in the folder, because otherwise two processes could lock two files of that name.
    pub const FILE: &str = ".lock";

    /// Locks `folder`, which must exist.
    ///
    /// A process that asks [whether it is locked](Self::is_taken) holds the file for a moment; this waits for it.
    ///
    /// On a file system without locks this succeeds, because there is nothing better to do than to go on.
    ///
    /// # Errors
    /// [`LockError::Taken`], after at most 50 ms; [`LockError::Io`].
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(Self::FILE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| LockError::Io { path: path.clone(), source })?;
        let began = Instant::now();
        let taken = loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if began.elapsed() < Self::PATIENCE => thread::sleep(Self::PATIENCE / 10),
                taken => break taken,
            }
        };
        match taken {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Self { _file: file }),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }

    /// How long [`Lock::take`] waits for those who only look.
    const PATIENCE: Duration = Duration::from_millis(50);

    /// Whether a process has the lock of `folder`. `false` where there is no lock file, or where the file system has no locks.
    pub fn is_taken(folder: &Path) -> bool {
        // A shared lock, so that two who look do not take each other for the owner.
        let file = File::open(folder.join(Self::FILE));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_free_again_afterwards() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = Lock::take(folder.path()).expect("it is free");
        assert!(matches!(Lock::take(folder.path()), Err(LockError::Taken)));
        drop(lock);
        Lock::take(folder.path()).expect("it is free again");
    }

    #[test]
    fn looking_at_a_lock_takes_it_from_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!Lock::is_taken(folder.path()), "there is no lock file");
        let lock = Lock::take(folder.path()).expect("it is free");
        assert!(Lock::is_taken(folder.path()) && Lock::is_taken(folder.path()));
        drop(lock);
        assert!(!Lock::is_taken(folder.path()));
        // While others look again and again, the folder can be locked all the same.
        thread::scope(|scope| {
            let looking = scope.spawn(|| (0..2000).filter(|_| Lock::is_taken(folder.path())).count());
            while !looking.is_finished() {
                Lock::take(folder.path()).expect("nobody has it");
            }
        });
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Lock::take(Path::new("no/such")).expect_err("there is none").to_string();
        assert!(error.starts_with("no/such/.lock: "), "{error}");
    }
}
