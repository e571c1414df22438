//! Photos whose answer was wrong, collected for the next training: `corrections/` in the run's folder, with `labels.csv`, a list that
//! `data.labels` takes.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use injerto_data::decode::{Format, examine};
use injerto_files::{Lock, LockError, csv, hex};
use sha2::{Digest as _, Sha256};

use crate::Refusal;

/// Name of the folder in that of the run.
pub(crate) const FOLDER: &str = "corrections";
/// Name of the list in the folder.
pub(crate) const LIST: &str = "labels.csv";
/// Most photos that are collected. A visitor cannot fill the disk.
const MOST: usize = 10_000;
/// The columns of the list.
const HEADER: [&str; 3] = ["path", "class", "name"];

/// The server has one list, which one request changes at a time.
static CHANGING: Mutex<()> = Mutex::new(());

/// A photo, and what is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// Name of its file in the folder: the checksum of its content.
    path: String,
    class: String,
    /// What it was called by whoever sent it.
    name: String,
}

/// Keeps a photo under the class that it shows, and returns how many are collected. A photo that was kept before gets the new class.
///
/// # Errors
/// [`Refusal`]: no readable image, or a list that is full or cannot be written.
pub(crate) fn keep(run: &Path, photo: &[u8], class: &str, name: &str) -> Result<usize, Refusal> {
    let format = Format::of(photo).ok_or(Refusal::NoImage)?;
    examine(photo).map_err(Refusal::Unreadable)?;
    let ending = match format {
        Format::Jpeg => "jpg",
        Format::Tiff => "tif",
        other => other.name(),
    };
    let path = format!("{}.{ending}", hex(&Sha256::digest(photo)[..16]));
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = run.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let _lock = Lock::take(&folder).map_err(|error| match error {
        LockError::Taken => Refusal::Busy,
        error => failed(error),
    })?;
    let mut rows = rows(&folder)?;
    let row = Row { path: path.clone(), class: class.to_owned(), name: name.to_owned() };
    match rows.iter().position(|row| row.path == path) {
        Some(known) => rows[known] = row,
        None if rows.len() >= MOST => {
            return Err(Refusal::Malformed(format!("{MOST} photos are collected; train with them first")));
        }
        None => {
            injerto_files::write(&folder.join(&path), photo).map_err(failed)?;
            rows.push(row);
        }
    }
    let line = |row: &Row| csv::line([row.path.as_str(), &row.class, &row.name]) + "\n";
    let text = csv::line(HEADER) + "\n" + &rows.iter().map(line).collect::<String>();
    injerto_files::write(&folder.join(LIST), text.as_bytes()).map_err(failed)?;
    Ok(rows.len())
}

/// The list as text; its header alone if nothing is collected.
pub(crate) fn list(run: &Path) -> Result<String, Refusal> {
    match std::fs::read_to_string(run.join(FOLDER).join(LIST)) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(csv::line(HEADER) + "\n"),
        Err(error) => Err(failed(error)),
    }
}

/// Number of photos that are collected.
pub(crate) fn count(run: &Path) -> usize {
    rows(&run.join(FOLDER)).map_or(0, |rows| rows.len())
}

fn rows(folder: &Path) -> Result<Vec<Row>, Refusal> {
    let text = list(folder.parent().unwrap_or(folder))?;
    let lines =
        csv::lines(&text).map_err(|line| failed(format!("{LIST}, line {line}: a quotation mark is not closed")))?;
    let row = |(line, fields): (usize, Vec<String>)| match <[String; 3]>::try_from(fields) {
        Ok([path, class, name]) => Ok(Row { path, class, name }),
        Err(_) => Err(failed(format!("{LIST}, line {line}: expected path,class,name"))),
    };
    lines.into_iter().skip(1).map(row).collect()
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    tracing::error!("a correction cannot be kept: {error}");
    Refusal::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG of one pixel.
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82";

    #[test]
    fn a_photo_is_kept_once_under_the_class_that_was_said_last() {
        let run = tempfile::tempdir().expect("a folder");
        assert_eq!((count(run.path()), list(run.path())), (0, Ok("path,class,name\n".to_owned())));
        assert_eq!(keep(run.path(), PNG, "roses", "../a, \"b\".png"), Ok(1));
        assert_eq!(keep(run.path(), PNG, "tulips", "again.png"), Ok(1));
        let text = list(run.path()).expect("there");
        let file = text.lines().nth(1).and_then(|line| line.split(',').next()).expect("a row");
        assert_eq!(text, format!("path,class,name\n{file},tulips,again.png\n"));
        assert_eq!(std::fs::read(run.path().join(FOLDER).join(file)).expect("there"), PNG);
        assert_eq!(keep(run.path(), b"no image", "roses", "x"), Err(Refusal::NoImage));
        assert!(matches!(keep(run.path(), &PNG[..50], "roses", "x"), Err(Refusal::Unreadable(_))));
        assert_eq!(count(run.path()), 1);
    }
}
