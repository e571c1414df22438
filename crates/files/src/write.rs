use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::TempPath;

use crate::shown;
use crate::unfinished::{PREFIX, machine};

/// Writes a file that appears at `path` whole or not at all, also if the machine loses power.
///
/// # Errors
/// The folder cannot be written to, or the disk is full.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Partial::beside(path)?;
    file.write_all(bytes)?;
    file.persist(path)
}

/// An unfinished file, with a name that no code reads. Dropping it removes the file. A killed process leaves the file, and
/// [`remove_partial`](crate::remove_partial) removes it later.
///
/// While it exists it is locked, so that others see that it is being written. The lock ends with the process, in whatever way.
#[derive(Debug)]
pub struct Partial {
    file: BufWriter<File>,
    path: TempPath,
}

impl Partial {
    /// Creates an unfinished file in the folder of `path`, so that it can be renamed to `path`.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written to.
    pub fn beside(path: &Path) -> io::Result<Self> {
        // The name of the machine says that the file is locked, so it is given only to files that are.
        let Some(machine) = machine() else { return Self::create(path, PREFIX) };
        for _ in 0..Self::ATTEMPTS {
            match Self::create(path, &format!("{PREFIX}{machine}-"))?.lock() {
                Ok(Some(partial)) => return Ok(partial),
                Ok(None) => {}
                // A file system without locks.
                Err(_) => break,
            }
        }
        Self::create(path, PREFIX)
    }

    /// Locks the file. `None` if another process has taken it for one that nobody writes, and has removed it or is about to.
    fn lock(self) -> io::Result<Option<Self>> {
        match self.file.get_ref().try_lock() {
            Ok(()) if self.path.exists() => Ok(Some(self)),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// How often a file may be taken away between its creation and its lock.
    const ATTEMPTS: usize = 8;

    /// Creates a file whose name begins with `prefix`, without a lock.
    fn create(path: &Path, prefix: &str) -> io::Result<Self> {
        // The file gets the usual permissions of the user's files. The errors of `tempfile` would name the random file name,
        // which the user does not know.
        let mut code = None;
        let open = |path: &Path| {
            let file = File::options().read(true).write(true).create_new(true).open(path);
            file.inspect_err(|error| code = error.raw_os_error())
        };
        let file = tempfile::Builder::new().prefix(prefix).make_in(folder_of(path), open);
        let file = file.map_err(|error| match folder_of(path) {
            folder if !folder.is_dir() => {
                let reason = format!("there is no folder {}", shown(folder));
                io::Error::new(io::ErrorKind::NotFound, reason)
            }
            _ => code.map_or(error, io::Error::from_raw_os_error),
        })?;
        let (file, path) = file.into_parts();
        Ok(Self { file: BufWriter::new(file), path })
    }

    /// The random part of the file name, which no other unfinished file in the folder has.
    pub fn token(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.rsplit('-').next().unwrap_or_default().to_owned()
    }

    /// Flushes the file to the disk and renames it to `path`, replacing a file of that name.
    ///
    /// # Errors
    /// The disk is full, or the folder was removed meanwhile. Then the unfinished file is removed.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        // The file is closed, and with that unlocked, only when it has its name.
        self.path.persist(path).map_err(|error| error.error)?;
        drop(file);
        sync_folder(folder_of(path))
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Flushes a folder to the disk. A rename is on the disk only after that.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_replaces_the_old_one() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("summary.json");
        write(&path, b"one")?;
        write(&path, b"two")?;
        assert_eq!(std::fs::read(&path)?, b"two");
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1, "nothing is left beside it");
        Ok(())
    }

    #[test]
    fn an_error_names_the_folder_and_not_the_unfinished_file() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let check = |parent: &str| {
            let parent = folder.path().join(parent);
            let error = write(&parent.join("summary.json"), b"one").expect_err("there is no such folder");
            assert_eq!(error.to_string(), format!("there is no folder {}", shown(&parent)));
        };
        check("gone");
        std::fs::write(folder.path().join("file"), "")?;
        check("file");
        // Where the folder is there, the error is the system's own.
        let long = "x".repeat(300);
        let error = write(&folder.path().join(&long), b"one").expect_err("no name is so long");
        let own = io::Error::from_raw_os_error(error.raw_os_error().expect("the system's")).to_string();
        assert_eq!(error.to_string(), own);
        Ok(())
    }

    #[test]
    fn an_unfinished_file_is_removed_when_it_is_dropped() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut partial = Partial::beside(&folder.path().join("part"))?;
        partial.write_all(b"half")?;
        drop(partial);
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn a_file_that_was_taken_away_before_it_was_locked_is_noticed() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let begun = || Partial::create(&folder.path().join("part"), PREFIX);
        assert!(begun()?.lock()?.is_some());
        // Somebody else has removed it.
        let gone = begun()?;
        std::fs::remove_file(&gone.path)?;
        assert!(gone.lock()?.is_none());
        // Somebody else is about to.
        let taken = begun()?;
        let other = File::open(&taken.path)?;
        other.lock_shared()?;
        assert!(taken.lock()?.is_none());
        Ok(())
    }
}
