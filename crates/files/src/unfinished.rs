use std::fs::{File, Metadata, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

/// Beginning of the names of unfinished files. No code reads a file with such a name.
///
/// If the file is locked while it is written, the name of the [machine] and a hyphen follow. At last come random letters.
pub(crate) const PREFIX: &str = ".partial-";

/// A file that is not yet finished, or never will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The file.
    pub path: PathBuf,
    /// Its size so far.
    pub bytes: u64,
    /// How long it was not written to.
    pub idle: Duration,
    /// What is known about the process that began it.
    pub writer: Writer,
}

/// What is known about the process that writes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// It is running: it has the lock of the file.
    Alive,
    /// It has ended: it ran on this machine, since the machine was started, and has the lock no more.
    Gone,
    /// It runs or ran on another machine, whose locks need not be visible here, or on a file system without locks.
    Unknown,
}

/// The unfinished files in `folder`, in the order of their names. A folder that cannot be read counts as empty.
pub fn unfinished(folder: &Path) -> Vec<Unfinished> {
    let mut found: Vec<Unfinished> = looked_at(folder).map(|(unfinished, _lock)| unfinished).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Removes the unfinished files in `folder` that killed processes have left: those whose process has [ended](Writer::Gone), and those whose
/// process is [unknown](Writer::Unknown) and that were not written to for `age`. A file that a process of this machine is writing is never
/// removed. Returns the removed files. A folder that cannot be read counts as empty.
pub fn remove_partial(folder: &Path, age: Duration) -> Vec<PathBuf> {
    let mut removed = Vec::new();
    // The lock is held until the file is removed, so that a process that has just begun it finds out.
    for (Unfinished { path, idle, writer, .. }, _lock) in looked_at(folder) {
        let left = writer == Writer::Gone || (writer == Writer::Unknown && idle >= age);
        if left && std::fs::remove_file(&path).is_ok() {
            removed.push(path);
        }
    }
    removed
}

/// The unfinished files in a folder, those that nobody writes with their locks.
fn looked_at(folder: &Path) -> impl Iterator<Item = (Unfinished, Option<File>)> {
    let now = SystemTime::now();
    let look = move |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let rest = name.to_str()?.strip_prefix(PREFIX)?;
        let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
        let own = machine().is_some_and(|machine| rest.strip_prefix(machine).is_some_and(|rest| rest.starts_with('-')));
        let path = entry.path();
        // Some network file systems lock only files that are open for writing.
        let opened = File::options().read(true).write(true).open(&path);
        let (writer, lock) = match opened.map(|file| (file.try_lock(), file)) {
            Ok((Err(TryLockError::WouldBlock), _)) => (Writer::Alive, None),
            Ok((Ok(()), file)) if own => (Writer::Gone, Some(file)),
            _ => (Writer::Unknown, None),
        };
        let idle = metadata.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
        Some((Unfinished { path, bytes: metadata.len(), idle, writer }, lock))
    };
    std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(look)
}

/// A name for this machine since it was started, the same in all of its containers: whoever has this name sees the locks of all others that
/// have it. `None` on systems that give no such name.
pub(crate) fn machine() -> Option<&'static str> {
    static MACHINE: LazyLock<Option<String>> = LazyLock::new(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        (digits.len() == 16).then_some(digits)
    });
    MACHINE.as_deref()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};
    use std::thread;

    use super::*;
    use crate::Partial;

    /// Puts an unfinished file there as a process that was killed leaves it.
    fn left(folder: &Path, name: &str) -> io::Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, "half")?;
        Ok(path)
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn what_a_killed_process_has_left_is_removed_at_once_and_what_is_being_written_never() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        std::fs::write(at.join("whole"), "whole")?;
        let mut partial = Partial::beside(&at.join("part"))?;
        partial.write_all(b"half")?;
        let (Some(machine), [written]) = (machine(), &unfinished(at)[..]) else {
            assert_eq!(machine(), None, "the file is seen");
            return Ok(());
        };
        assert_eq!(written.writer, Writer::Alive);
        let killed = left(at, &format!(".partial-{machine}-abcdef"))?;
        let found = unfinished(at).into_iter().find(|it| it.path == killed).expect("seen");
        assert_eq!((found.writer, found.bytes), (Writer::Gone, 4));
        assert_eq!(remove_partial(at, DAY), [killed]);
        assert_eq!(remove_partial(at, Duration::ZERO), Vec::<PathBuf>::new(), "however old it is");
        partial.persist(&at.join("part"))?;
        assert_eq!(std::fs::read(at.join("part"))?, b"half");
        assert_eq!(unfinished(at), []);
        Ok(())
    }

    /// The name of a folder, for the process that is killed.
    const KILLED_IN: &str = "INJERTO_TEST_KILLED_IN";

    /// Does nothing, but in the process that the next test starts: there it begins a file and never ends.
    #[test]
    fn begins_a_file_and_waits_to_be_killed() -> io::Result<()> {
        let Some(folder) = std::env::var_os(KILLED_IN) else { return Ok(()) };
        let mut partial = Partial::beside(&Path::new(&folder).join("part"))?;
        partial.write_all(b"half")?;
        partial.flush()?;
        loop {
            thread::park();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_is_killed_leaves_a_file_that_is_known_to_be_left() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        let mut process = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "unfinished::tests::begins_a_file_and_waits_to_be_killed"])
            .env(KILLED_IN, at)
            .spawn()?;
        let writer = || unfinished(at).first().filter(|file| file.bytes == 4).map(|file| file.writer);
        let began = std::time::Instant::now();
        while writer().is_none() && began.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(writer(), Some(Writer::Alive));
        assert_eq!(remove_partial(at, Duration::ZERO), Vec::<PathBuf>::new());
        process.kill()?;
        process.wait()?;
        assert_eq!(writer(), Some(Writer::Gone));
        assert_eq!(remove_partial(at, DAY).len(), 1);
        assert_eq!(unfinished(at), []);
        Ok(())
    }

    #[test]
    fn a_file_of_another_machine_is_removed_once_it_is_old() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        // The second one is of a machine without a name, or of a file system without locks.
        let files = [left(at, ".partial-0000000000000000-abcdef")?, left(at, ".partial-abcdef")?];
        assert!(unfinished(at).iter().all(|it| it.writer == Writer::Unknown && it.idle < DAY));
        assert_eq!(remove_partial(at, DAY), Vec::<PathBuf>::new());
        File::options().write(true).open(&files[0])?.set_modified(SystemTime::now() - 2 * DAY)?;
        assert_eq!(remove_partial(at, DAY), &files[..1]);
        assert_eq!(remove_partial(at, Duration::ZERO), &files[1..]);
        Ok(())
    }

    #[test]
    fn whoever_removes_takes_no_file_from_those_who_begin_one() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        thread::scope(|scope| {
            let removing = scope.spawn(|| (0..2000).for_each(|_| drop(remove_partial(at, DAY))));
            let mut number = 0;
            while !removing.is_finished() {
                let path = at.join(number.to_string());
                Partial::beside(&path)?.persist(&path)?;
                number += 1;
            }
            Ok(())
        })
    }

    #[test]
    fn a_link_or_a_folder_with_such_a_name_is_left_alone() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        std::fs::create_dir(at.join(".partial-folder"))?;
        #[cfg(unix)]
        std::os::unix::fs::symlink(left(at, "whole")?, at.join(".partial-link"))?;
        assert_eq!(unfinished(at), []);
        assert_eq!(remove_partial(at, Duration::ZERO), Vec::<PathBuf>::new());
        Ok(())
    }
}
