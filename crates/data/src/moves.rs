//! Moves of images from class to class: a list that a look at the labels has made, carried out and taken back.
//!
//! A list is a CSV file with the columns `from` and `to`, paths below the folder of the images. It may come from anywhere, so a path
//! can lead nowhere else by its type ([`Inside`]), no link is followed, and no file is ever overwritten. [`apply`] moves either all
//! files or none, as far as a file system lets it: what was moved before a failure is moved back. A journal beside the list, written
//! before the first move, is what [`undo`] reads, even if the process was killed in the middle.

use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use injerto_files::{csv, from_text, to_text};

use crate::DataError;

/// A path below a folder that is not named: a name, or names after each other, and nothing that leads up or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inside(PathBuf);

impl Inside {
    /// The path, if it leads below the folder in which it begins.
    pub fn new(path: &Path) -> Option<Self> {
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let inside = path.components().next().is_some() && path.components().all(plain);
        // What the components leave out (`a/./b`, a slash at the end) is left out here too.
        inside.then(|| Self(path.components().collect()))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A file's way from one class to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Where it lies.
    pub from: Inside,
    /// Where it is to lie.
    pub to: Inside,
}

/// The moves as the text of a list.
pub fn to_csv(moves: &[Move]) -> String {
    let mut text = "from,to\n".to_owned();
    for Move { from, to } in moves {
        text += &csv::line([&*to_text(from.0.as_os_str()), &*to_text(to.0.as_os_str())]);
        text.push('\n');
    }
    text
}

/// Reads a list: its first line names the columns, of which others than `from` and `to` are passed over.
///
/// # Errors
/// [`DataError::MoveList`], with the line: no such columns, a path that leads out of the folder, a file that is named twice.
pub fn read(list: &Path) -> Result<Vec<Move>, DataError> {
    parse(list, &text_of(list)?)
}

fn text_of(list: &Path) -> Result<String, DataError> {
    injerto_files::read_text(list).map_err(|error| failed(list, &error))
}

fn parse(list: &Path, text: &str) -> Result<Vec<Move>, DataError> {
    let wrong = |line: usize, reason: String| DataError::MoveList { path: list.to_owned(), line, reason };
    let lines = csv::lines(text).map_err(|line| wrong(line, "a quotation mark is not closed".to_owned()))?;
    let mut lines = lines.into_iter();
    let (_, header) = lines.next().unwrap_or_default();
    let column = |name: &str| {
        let at = header.iter().position(|column| column.trim() == name);
        at.ok_or_else(|| wrong(1, format!("there is no column '{name}'; the first line is expected to be from,to")))
    };
    let (from, to) = (column("from")?, column("to")?);
    let (mut moves, mut named) = (Vec::new(), HashSet::new());
    for (line, fields) in lines {
        let path = |column: usize| {
            let text = fields.get(column).ok_or_else(|| wrong(line, "a field is missing".to_owned()))?;
            let out =
                || wrong(line, format!("'{text}' does not lead below the folder of the images; nothing else is moved"));
            Inside::new(&from_text(text)).ok_or_else(out)
        };
        let one = Move { from: path(from)?, to: path(to)? };
        for path in [&one.from, &one.to] {
            if !named.insert(path.clone()) {
                let text = to_text(path.0.as_os_str()).into_owned();
                return Err(wrong(
                    line,
                    format!("'{text}' is named a second time; a file is moved once, to a place of its own"),
                ));
            }
        }
        moves.push(one);
    }
    Ok(moves)
}

/// Where the journal of a list is kept while the list is applied: beside it.
pub fn journal(list: &Path) -> PathBuf {
    let mut name = list.as_os_str().to_owned();
    name.push(".applied");
    name.into()
}

/// Carries a list out below `root`, and returns the number of files that were moved. Missing folders are made.
///
/// # Errors
/// [`DataError::MoveList`] as in [`read`]; [`DataError::Move`] with the first file that cannot be moved: it is missing, it or a folder
/// above it is a link, or something lies in its place already. Nothing has moved then. [`DataError::Applied`] for a list that is
/// applied already.
pub fn apply(list: &Path, root: &Path) -> Result<usize, DataError> {
    let moves = read(list)?;
    let journal = journal(list);
    if journal.symlink_metadata().is_ok() {
        return Err(DataError::Applied { path: list.to_owned() });
    }
    moves.iter().try_for_each(|one| check(root, one))?;
    let folders = missing_folders(root, &moves);
    let text = Journal { folders, moves };
    injerto_files::write(&journal, text.to_csv().as_bytes()).map_err(|error| failed(&journal, &error))?;
    let Journal { folders, moves } = text;
    let steps: Vec<Step> = moves.iter().map(|one| Step::of(root, &one.from, &one.to)).collect();
    let made = folders.iter().try_for_each(|folder| {
        let path = root.join(&folder.0);
        std::fs::create_dir(&path).map_err(|error| failed(&path, &error))
    });
    if let Err(error) = made.and_then(|()| all_or_none(&steps)) {
        remove_folders(root, &folders);
        // Where a move back has failed too, the journal is what brings the files back.
        if steps.iter().all(|step| step.from.symlink_metadata().is_ok()) {
            let _ = std::fs::remove_file(&journal);
        }
        return Err(error);
    }
    Ok(moves.len())
}

/// Takes back what [`apply`] did with this list, also where it was killed in the middle, and returns the number of files that were
/// moved back. Folders that were made for them and are empty again are removed.
///
/// # Errors
/// [`DataError::NotApplied`] without a journal; [`DataError::Move`] with the first file that is not where it was moved to, or whose old
/// place is taken. Nothing has moved then.
pub fn undo(list: &Path, root: &Path) -> Result<usize, DataError> {
    let journal = journal(list);
    let text = match std::fs::read_to_string(&journal) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(DataError::NotApplied { path: list.to_owned() });
        }
        text => text.map_err(|error| failed(&journal, &error))?,
    };
    let Journal { folders, moves } = Journal::parse(&journal, &text)?;
    let mut steps = Vec::new();
    for Move { from, to } in moves.iter().rev() {
        let step = Step::of(root, to, from);
        no_links(root, from)?;
        no_links(root, to)?;
        match (step.from.symlink_metadata().is_ok(), step.to.symlink_metadata().is_ok()) {
            (true, false) => steps.push(step),
            // The process was killed before this move, or in its middle: one file has two names.
            (false, true) => {}
            (true, true) if one_file(&step) => {
                std::fs::remove_file(&step.from).map_err(|error| failed(&step.from, &error))?;
            }
            (true, true) => return Err(unmoved(&step.to, "another file has taken its place; move it away first")),
            (false, false) => return Err(unmoved(&step.from, "the file that was moved here is gone")),
        }
    }
    all_or_none(&steps)?;
    remove_folders(root, &folders);
    std::fs::remove_file(&journal).map_err(|error| failed(&journal, &error))?;
    Ok(steps.len())
}

/// What [`apply`] sets out to do.
struct Journal {
    /// Folders that are made, the outer before the inner.
    folders: Vec<Inside>,
    moves: Vec<Move>,
}

impl Journal {
    fn to_csv(&self) -> String {
        let mut text = to_csv(&self.moves);
        for folder in &self.folders {
            text += &csv::line(["", &*to_text(folder.0.as_os_str())]);
            text.push('\n');
        }
        text
    }

    /// A folder is a line without `from`.
    fn parse(path: &Path, text: &str) -> Result<Self, DataError> {
        let damaged = |line| DataError::MoveList { path: path.to_owned(), line, reason: "it is damaged".to_owned() };
        let (mut folders, mut moves) = (Vec::new(), Vec::new());
        for (line, fields) in csv::lines(text).map_err(damaged)?.into_iter().skip(1) {
            let inside = |text: &str| Inside::new(&from_text(text)).ok_or_else(|| damaged(line));
            match fields.as_slice() {
                [from, to] if from.is_empty() => folders.push(inside(to)?),
                [from, to] => moves.push(Move { from: inside(from)?, to: inside(to)? }),
                _ => return Err(damaged(line)),
            }
        }
        Ok(Self { folders, moves })
    }
}

/// A move between two places.
struct Step {
    from: PathBuf,
    to: PathBuf,
}

impl Step {
    fn of(root: &Path, from: &Inside, to: &Inside) -> Self {
        Self { from: root.join(&from.0), to: root.join(&to.0) }
    }
}

/// Checks what can be known of a move before it is made.
fn check(root: &Path, one: &Move) -> Result<(), DataError> {
    no_links(root, &one.from)?;
    no_links(root, &one.to)?;
    let Step { from, to } = Step::of(root, &one.from, &one.to);
    match from.symlink_metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(unmoved(&from, "it is not a file")),
        Err(_) => {
            return Err(unmoved(
                &from,
                "there is no such file; name the folder that the list's paths begin in with --root",
            ));
        }
    }
    match to.symlink_metadata() {
        Ok(_) => {
            Err(unmoved(&to, "a file lies there already, and nothing is overwritten; change the list's second column"))
        }
        Err(_) => Ok(()),
    }
}

/// Refuses a path on which a link lies, which might lead anywhere, or a file where a folder is expected.
fn no_links(root: &Path, inside: &Inside) -> Result<(), DataError> {
    let mut path = root.to_owned();
    let mut parts = inside.0.components().peekable();
    while let Some(part) = parts.next() {
        path.push(part);
        let Ok(found) = path.symlink_metadata() else { continue };
        if found.file_type().is_symlink() {
            return Err(unmoved(&path, "it is a link, and links are not followed"));
        }
        if parts.peek().is_some() && !found.is_dir() {
            return Err(unmoved(&path, "it is a file, and the list names something below it"));
        }
    }
    Ok(())
}

/// The folders in which files are to lie and that are not there, the outer before the inner.
fn missing_folders(root: &Path, moves: &[Move]) -> Vec<Inside> {
    let above = |one: &Move| one.to.0.ancestors().skip(1).filter_map(Inside::new).collect::<Vec<_>>();
    let all: BTreeSet<Inside> = moves.iter().flat_map(above).collect();
    all.into_iter().filter(|folder| root.join(&folder.0).symlink_metadata().is_err()).collect()
}

fn remove_folders(root: &Path, folders: &[Inside]) {
    // A folder that is not empty holds files that others have put there.
    folders.iter().rev().for_each(|folder| drop(std::fs::remove_dir(root.join(&folder.0))));
}

/// Makes all moves; where one fails, those before it are made undone.
fn all_or_none(steps: &[Step]) -> Result<(), DataError> {
    for (done, step) in steps.iter().enumerate() {
        if let Err(error) = move_file(&step.from, &step.to) {
            // A move back that fails is left to the journal.
            steps[..done].iter().rev().for_each(|step| drop(move_file(&step.to, &step.from)));
            return Err(failed(&step.from, &error));
        }
    }
    Ok(())
}

/// Moves a file to a place where nothing lies. (A rename would overwrite what has come there since it was looked at.)
fn move_file(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from).inspect_err(|_| drop(std::fs::remove_file(to))),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // A file system without hard links.
        Err(_) if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

#[cfg(unix)]
fn one_file(step: &Step) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let number = |path: &Path| path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()));
    number(&step.from).is_some_and(|one| number(&step.to) == Some(one))
}

#[cfg(not(unix))]
fn one_file(_: &Step) -> bool {
    false
}

fn unmoved(path: &Path, reason: &str) -> DataError {
    DataError::Move { path: path.to_owned(), reason: reason.to_owned() }
}

fn failed(path: &Path, error: &std::io::Error) -> DataError {
    unmoved(path, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of images in two classes, and a list beside it.
    fn folder(list: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let at = tempfile::tempdir().expect("a folder");
        let (root, file) = (at.path().join("photos"), at.path().join("moves.csv"));
        for (path, text) in [("cats/1.jpg", "a cat"), ("cats/2.jpg", "a dog"), ("dogs/1.jpg", "another dog")] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a class")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        std::fs::write(&file, list).expect("written");
        (at, root, file)
    }

    /// All files below a folder, with their content.
    fn files(root: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("readable").flatten() {
                match entry.file_type().expect("a type").is_dir() {
                    true => folders.push(entry.path()),
                    false => {
                        let path = entry.path();
                        let name = path.strip_prefix(root).expect("below").display().to_string();
                        found.push((name, std::fs::read_to_string(&path).unwrap_or_default()));
                    }
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_list_is_applied_and_taken_back() {
        let (_at, root, list) =
            folder("from,to,why\r\ncats/2.jpg,dogs/2.jpg,\"looks, it is\"\r\ncats/1.jpg,birds/small/1.jpg,\r\n");
        let before = files(&root);
        assert_eq!(apply(&list, &root).expect("both can be moved"), 2);
        let after = ["birds/small/1.jpg", "dogs/1.jpg", "dogs/2.jpg"];
        assert_eq!(files(&root).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), after);
        let said = apply(&list, &root).expect_err("it was applied").to_string();
        assert!(said.contains("--undo"), "{said}");
        assert_eq!(undo(&list, &root).expect("both can be moved back"), 2);
        assert_eq!(files(&root), before);
        assert!(!root.join("birds").exists() && !journal(&list).exists());
        assert!(matches!(undo(&list, &root), Err(DataError::NotApplied { .. })));
    }

    #[test]
    fn a_list_that_names_anything_else_moves_nothing() {
        let check = |row: &str, expected: &str| {
            let (at, root, list) = folder(&format!("from,to\ncats/2.jpg,dogs/2.jpg\n{row}\n"));
            std::fs::write(at.path().join("secret"), "mine").expect("written");
            #[cfg(unix)]
            for (target, link) in [("..", "up"), ("cats/1.jpg", "linked.jpg")] {
                std::os::unix::fs::symlink(target, root.join(link)).expect("linked");
            }
            let before = files(at.path());
            let said = apply(&list, &root).expect_err(row).to_string();
            assert!(said.contains(expected), "{row}: {said}");
            assert_eq!(files(at.path()), before, "{row}");
            assert!(!journal(&list).exists(), "{row}");
        };
        check("../secret,dogs/secret", "line 3: '../secret' does not lead below the folder of the images");
        check("cats/1.jpg,../stolen.jpg", "does not lead below");
        check("cats/../../secret,dogs/3.jpg", "does not lead below");
        check("/etc/hostname,dogs/3.jpg", "does not lead below");
        check("cats/1.jpg,", "does not lead below");
        check("cats/1.jpg", "line 3: a field is missing");
        check("cats/1.jpg,dogs/1.jpg", "nothing is overwritten");
        check("cats/1.jpg,dogs/2.jpg", "'dogs/2.jpg' is named a second time");
        check("cats/2.jpg,dogs/4.jpg", "'cats/2.jpg' is named a second time");
        check("cats/9.jpg,dogs/9.jpg", "there is no such file");
        check("cats,dogs/cats", "it is not a file");
        check("cats/1.jpg,dogs/1.jpg/x.jpg", "dogs/1.jpg: it is a file, and the list names something below it");
        check("\"cats/1.jpg,dogs/3.jpg", "line 3: a quotation mark is not closed");
        #[cfg(unix)]
        {
            check("up/secret,dogs/secret", "it is a link");
            check("cats/1.jpg,up/1.jpg", "it is a link");
            check("linked.jpg,dogs/3.jpg", "it is a link");
        }
        let (_at, root, list) = folder("path,label\ncats/1.jpg,dogs\n");
        let said = apply(&list, &root).expect_err("other columns").to_string();
        assert!(said.contains("there is no column 'from'"), "{said}");
    }

    #[test]
    fn an_apply_that_was_killed_in_the_middle_is_taken_back() {
        let (_at, root, list) = folder("from,to\ncats/1.jpg,dogs/3.jpg\ncats/2.jpg,dogs/2.jpg\n");
        let before = files(&root);
        assert_eq!(apply(&list, &root).expect("both can be moved"), 2);
        // As if the process had been killed after the first move and in the middle of the second.
        std::fs::hard_link(root.join("dogs/2.jpg"), root.join("cats/2.jpg")).expect("linked");
        assert_eq!(undo(&list, &root).expect("taken back"), 1);
        assert_eq!(files(&root), before);
    }

    #[test]
    fn nothing_is_taken_back_over_a_file_that_came_since() {
        let (_at, root, list) = folder("from,to\ncats/1.jpg,dogs/3.jpg\ncats/2.jpg,dogs/2.jpg\n");
        apply(&list, &root).expect("both can be moved");
        std::fs::write(root.join("cats/1.jpg"), "a new cat").expect("written");
        let before = files(&root);
        let said = undo(&list, &root).expect_err("its place is taken").to_string();
        assert!(said.contains("cats/1.jpg: another file has taken its place"), "{said}");
        assert_eq!(files(&root), before);
        std::fs::remove_file(root.join("cats/1.jpg")).expect("removed");
        std::fs::remove_file(root.join("dogs/3.jpg")).expect("removed");
        let said = undo(&list, &root).expect_err("it is gone").to_string();
        assert!(said.contains("dogs/3.jpg: the file that was moved here is gone"), "{said}");
    }
}
