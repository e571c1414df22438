//! Photos whose answer was wrong, collected for the next training: `corrections/` in the run's folder, with two lists.
//!
//! `labels.csv` is a list that `data.labels` takes. `moves.csv` is a list that `injerto data apply` carries out, after which each photo
//! lies in a folder of its class. Where a photo lies is looked up, not remembered, so that both lists are right after photos were moved,
//! moved back or taken away.

use std::collections::HashMap;
use std::fs::DirEntry;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use injerto_data::decode::{Format, examine};
use injerto_data::moves::{Inside, Move, journal, to_csv};
use injerto_files::{Lock, LockError, csv, from_text, hex, to_text};
use sha2::{Digest as _, Sha256};

use crate::Refusal;

/// Name of the folder in that of the run.
pub(crate) const FOLDER: &str = "corrections";
/// Name of the list in the folder.
pub(crate) const LIST: &str = "labels.csv";
/// Name of the first list of moves in the folder. Further ones have a number.
const MOVES: &str = "moves";
/// Most photos that are collected. A visitor cannot fill the disk.
const MOST: usize = 10_000;
/// The columns of the list.
const HEADER: [&str; 3] = ["path", "class", "name"];

/// The server has one list, which one request changes at a time.
static CHANGING: Mutex<()> = Mutex::new(());

/// What has been collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collected {
    /// Number of photos.
    pub count: usize,
    /// Name of the list that moves them into a folder for each class; `None` if all of them lie there.
    pub moves: Option<String>,
}

/// A photo, and what is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// Path of its file below the folder. The file's name is the checksum of its content.
    path: String,
    class: String,
    /// The name that its sender gave it.
    name: String,
}

impl Row {
    /// Name of the file, without the folder of a class.
    fn file(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Where the photo belongs: in a folder that has the name of its class, unless the class cannot be the name of a folder.
    fn target(&self) -> Option<String> {
        let class = from_text(&self.class);
        let is_name = matches!(class.components().collect::<Vec<_>>()[..], [Component::Normal(part)] if part == class);
        is_name.then(|| format!("{}/{}", self.class, self.file()))
    }

    /// The move to the place where it belongs; `None` if it is there.
    fn way(&self) -> Option<Move> {
        let inside = |path: &str| Inside::new(&from_text(path));
        let target = self.target().filter(|target| *target != self.path)?;
        Some(Move { from: inside(&self.path)?, to: inside(&target)? })
    }
}

/// Keeps a photo under the class that it shows, and returns what is collected. A photo that was kept before gets the new class.
///
/// # Errors
/// [`Refusal`]: no readable image, or a list that is full or cannot be written.
pub(crate) fn keep(run: &Path, photo: &[u8], class: &str, name: &str) -> Result<Collected, Refusal> {
    let format = Format::of(photo).ok_or(Refusal::NoImage)?;
    examine(photo).map_err(Refusal::Unreadable)?;
    let ending = match format {
        Format::Jpeg => "jpg",
        Format::Tiff => "tif",
        other => other.name(),
    };
    let file = format!("{}.{ending}", hex(&Sha256::digest(photo)[..16]));
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = run.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let _lock = Lock::take(&folder).map_err(|error| match error {
        LockError::Taken => Refusal::Busy,
        error => failed(error),
    })?;
    let mut rows = rows(&folder)?;
    match rows.iter().position(|row| row.file() == file) {
        Some(known) => (rows[known].class, rows[known].name) = (class.to_owned(), name.to_owned()),
        None if rows.len() >= MOST => {
            return Err(Refusal::Malformed(format!("{MOST} photos are collected; train with them first")));
        }
        None => {
            injerto_files::write(&folder.join(&file), photo).map_err(failed)?;
            rows.push(Row { path: file, class: class.to_owned(), name: name.to_owned() });
        }
    }
    let line = |row: &Row| csv::line([row.path.as_str(), &row.class, &row.name]) + "\n";
    let text = csv::line(HEADER) + "\n" + &rows.iter().map(line).collect::<String>();
    injerto_files::write(&folder.join(LIST), text.as_bytes()).map_err(failed)?;
    let moves: Vec<Move> = rows.iter().filter_map(Row::way).collect();
    let list = list_of_moves(&folder);
    injerto_files::write(&list, to_csv(&moves).as_bytes()).map_err(failed)?;
    let name = list.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Collected { count: rows.len(), moves: name.filter(|_| !moves.is_empty()) })
}

/// The first list of moves that has not been applied. A list that was applied stays as it was, so that it can be taken back.
fn list_of_moves(folder: &Path) -> PathBuf {
    let mut number = 1;
    loop {
        let name = if number == 1 { format!("{MOVES}.csv") } else { format!("{MOVES}-{number}.csv") };
        let list = folder.join(name);
        if journal(&list).symlink_metadata().is_err() {
            return list;
        }
        number += 1;
    }
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

/// The lines of the list whose photos still exist.
fn rows(folder: &Path) -> Result<Vec<Row>, Refusal> {
    let text = list(folder.parent().unwrap_or(folder))?;
    let lines =
        csv::lines(&text).map_err(|line| failed(format!("{LIST}, line {line}: a quotation mark is not closed")))?;
    let row = |(line, fields): (usize, Vec<String>)| match <[String; 3]>::try_from(fields) {
        Ok([path, class, name]) => Ok(Row { path, class, name }),
        Err(_) => Err(failed(format!("{LIST}, line {line}: expected path,class,name"))),
    };
    let rows = lines.into_iter().skip(1).map(row).collect::<Result<Vec<_>, _>>()?;
    let mut places = places(folder);
    let found = |row: Row| Some(Row { path: places.remove(row.file())?, ..row });
    Ok(rows.into_iter().filter_map(found).collect())
}

/// The files in the folder and in those of the classes: their paths by their names.
fn places(folder: &Path) -> HashMap<String, String> {
    let inside = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: &DirEntry| to_text(&entry.file_name()).into_owned();
    let mut places = HashMap::new();
    for entry in inside(folder) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let class = name(&entry);
                places.extend(inside(&entry.path()).map(|photo| (name(&photo), format!("{class}/{}", name(&photo)))));
            }
            _ => drop(places.insert(name(&entry), name(&entry))),
        }
    }
    places
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
        let one = Ok(Collected { count: 1, moves: Some("moves.csv".to_owned()) });
        assert_eq!(keep(run.path(), PNG, "roses", "../a, \"b\".png"), one);
        assert_eq!(keep(run.path(), PNG, "tulips", "again.png"), one);
        let text = list(run.path()).expect("there");
        let file = text.lines().nth(1).and_then(|line| line.split(',').next()).expect("a row");
        assert_eq!(text, format!("path,class,name\n{file},tulips,again.png\n"));
        assert_eq!(std::fs::read(run.path().join(FOLDER).join(file)).expect("there"), PNG);
        assert_eq!(keep(run.path(), b"no image", "roses", "x"), Err(Refusal::NoImage));
        assert!(matches!(keep(run.path(), &PNG[..50], "roses", "x"), Err(Refusal::Unreadable(_))));
        assert_eq!(count(run.path()), 1);
    }

    #[test]
    fn a_photo_whose_list_was_applied_is_moved_again_when_another_class_is_said() {
        let run = tempfile::tempdir().expect("a folder");
        let folder = run.path().join(FOLDER);
        let said = |class: &str| keep(run.path(), PNG, class, "a.png").expect("kept");
        let paths = || -> Vec<String> { rows(&folder).expect("a list").into_iter().map(|row| row.path).collect() };
        let moves = |name: &str| Collected { count: 1, moves: Some(name.to_owned()) };
        assert_eq!(said("roses"), moves("moves.csv"));
        let file = paths().remove(0);
        let apply = |name: &str| injerto_data::moves::apply(&folder.join(name), &folder).expect("applied");
        assert_eq!((apply("moves.csv"), paths()), (1, vec![format!("roses/{file}")]));
        assert_eq!(said("roses"), Collected { count: 1, moves: None }, "it lies where it is to lie");
        assert_eq!(said("tulips"), moves("moves-2.csv"));
        assert_eq!((apply("moves-2.csv"), paths()), (1, vec![format!("tulips/{file}")]));
        // Taken back, it lies where the first list had put it; taken away, it is collected no more.
        injerto_data::moves::undo(&folder.join("moves-2.csv"), &folder).expect("taken back");
        assert_eq!((paths(), said("tulips")), (vec![format!("roses/{file}")], moves("moves-2.csv")));
        std::fs::remove_dir_all(folder.join("roses")).expect("removed");
        assert_eq!(count(run.path()), 0);
    }

    #[test]
    fn a_class_that_cannot_name_a_folder_moves_nothing() {
        let run = tempfile::tempdir().expect("a folder");
        for class in ["..", "a/b", "/tmp", "."] {
            assert_eq!(keep(run.path(), PNG, class, "a.png"), Ok(Collected { count: 1, moves: None }), "{class}");
        }
    }
}
