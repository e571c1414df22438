use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::shown;

use tempfile::TempPath;

/// What the names of unfinished files begin with. Nobody reads a file of such a name.
const PREFIX: &str = ".partial-";

/// Writes a file that appears under `path` whole or not at all, also when the machine loses power.
///
/// # Errors
/// A folder that cannot be written to, a full disk.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Partial::beside(path)?;
    file.write_all(bytes)?;
    file.persist(path)
}

/// A file that is being written under a name that nobody reads. Dropping it removes it; a killed process leaves it, and
/// [`remove_partial`] clears it away.
#[derive(Debug)]
pub struct Partial {
    file: BufWriter<File>,
    path: TempPath,
}

impl Partial {
    /// A new file in the folder of `path`, so that it can be renamed to `path`.
    ///
    /// # Errors
    /// A folder that is not there or cannot be written to.
    pub fn beside(path: &Path) -> io::Result<Self> {
        // Others may read the file as they may read any file that the user makes. `tempfile` would name the random name in
        // every error, and nobody has heard of that.
        let mut code = None;
        let open = |path: &Path| {
            let file = File::options().read(true).write(true).create_new(true).open(path);
            file.inspect_err(|error| code = error.raw_os_error())
        };
        let file = tempfile::Builder::new().prefix(PREFIX).make_in(folder_of(path), open);
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

    /// The random part of its name, which no other unfinished file in the folder has.
    pub fn token(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.trim_start_matches(PREFIX).to_owned()
    }

    /// Flushes the file to the disk and gives it its name, replacing a file of that name.
    ///
    /// # Errors
    /// A full disk, a folder that was removed meanwhile. Nothing is left then.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        drop(file);
        self.path.persist(path).map_err(|error| error.error)?;
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

/// A rename is on the disk only when its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Removes unfinished files that killed processes have left in `folder`: those that were not written to for `age`.
/// Returns what was removed. A folder that cannot be read holds none.
pub fn remove_partial(folder: &Path, age: Duration) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let now = SystemTime::now();
    let mut removed = Vec::new();
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let Ok(metadata) = entry.metadata() else { continue };
        let old = metadata.modified().ok().and_then(|at| now.duration_since(at).ok()).is_some_and(|is| is >= age);
        if ours && old && metadata.is_file() && std::fs::remove_file(entry.path()).is_ok() {
            removed.push(entry.path());
        }
    }
    removed
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
    fn an_error_names_the_folder_and_not_the_file_that_nobody_reads() -> io::Result<()> {
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
    fn what_is_not_finished_is_removed() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut partial = Partial::beside(&folder.path().join("part"))?;
        partial.write_all(b"half")?;
        drop(partial);
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn what_a_killed_process_leaves_is_cleared_away_once_it_is_old() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let left = folder.path().join(".partial-abc");
        std::fs::write(&left, "half")?;
        std::fs::write(folder.path().join("whole"), "whole")?;
        assert_eq!(remove_partial(folder.path(), Duration::from_secs(3600)), Vec::<PathBuf>::new());
        assert_eq!(remove_partial(folder.path(), Duration::ZERO), [left]);
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }
}
