//! Opening what was named as a file.

use std::fs::{File, FileType};
use std::io::{self, Read as _};
use std::path::Path;

/// Opens a file to read it, but neither a pipe, nor a socket, nor a device: even opening a pipe waits for a writer, and a
/// device may never end. A folder is left to the system, which refuses to read it.
///
/// # Errors
/// What the system says, or [`io::ErrorKind::InvalidInput`] with a sentence that says what it is instead of a file.
pub fn open(path: &Path) -> io::Result<File> {
    match instead(std::fs::metadata(path)?.file_type()) {
        Some(kind) => {
            let message = format!("it is {kind}, and a regular file is needed: write what it gives into one first");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
        None => File::open(path),
    }
}

/// The content of a file as text, which is opened as [`open`] does.
///
/// # Errors
/// Those of [`open`], and text that is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Whether an error says that this program or the system has too little of something (files that may be open, memory), and so nothing
/// of the file that was to be opened or read.
pub fn is_shortage(error: &io::Error) -> bool {
    // ENFILE and EMFILE are the same numbers on all systems of the family of Unix.
    let codes: &[i32] = if cfg!(windows) { &[TOO_MANY_OPEN_FILES] } else { &[ENFILE, EMFILE] };
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// The system has as many files open as it may have.
const ENFILE: i32 = 23;

/// This program has as many files open as it may have.
const EMFILE: i32 = 24;

/// The same on Windows (`ERROR_TOO_MANY_OPEN_FILES`).
const TOO_MANY_OPEN_FILES: i32 = 4;

/// What something is that is neither a file nor a folder.
#[cfg(unix)]
fn instead(kind: FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    match () {
        () if kind.is_fifo() => Some("a pipe"),
        () if kind.is_socket() => Some("a socket"),
        () if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        () => None,
    }
}

/// What something is that is neither a file nor a folder; other systems have their own places for such things.
#[cfg(not(unix))]
fn instead(_: FileType) -> Option<&'static str> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_and_a_device_are_refused_at_once_and_a_link_to_a_file_is_opened() {
        let at = tempfile::tempdir().expect("a folder");
        let (pipe, file, link) = (at.path().join("pipe"), at.path().join("file"), at.path().join("link"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        std::fs::write(&file, "a").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        let check = |path: &Path, says: &str| {
            let error = read_text(path).expect_err(says);
            assert!(error.to_string().starts_with(says), "{error}");
        };
        check(&pipe, "it is a pipe, and a regular file is needed");
        check(Path::new("/dev/null"), "it is a device, and a regular file is needed");
        assert_eq!(
            (read_text(&file).expect("a file"), read_text(&link).expect("a file")),
            ("a".to_owned(), "a".to_owned())
        );
        assert_eq!(open(&at.path().join("none")).expect_err("nothing").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_the_system_lacks_is_told_from_what_is_wrong_with_a_file() {
        let check = |error: io::Error, expected: bool| assert_eq!(is_shortage(&error), expected, "{error}");
        check(io::Error::from_raw_os_error(EMFILE), true);
        check(io::Error::from_raw_os_error(ENFILE), true);
        check(io::ErrorKind::OutOfMemory.into(), true);
        // "Input/output error", "Permission denied" and "No such file or directory" are said of one file.
        for code in [5, 13, 2] {
            check(io::Error::from_raw_os_error(code), false);
        }
    }
}
