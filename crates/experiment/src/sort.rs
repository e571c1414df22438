//! Sorts photos into folders by a network's predictions.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::path::{Component, Path, PathBuf};

use injerto_files::{from_text, printable};

use crate::ExperimentError;

/// How a photo is put into the folder of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sorting {
    /// It is moved into the folder of its class.
    Move,
    /// It stays where it is, and a link to it is put into the folder of its class.
    Link,
}

/// Puts photos into one folder per class, below a folder. No file is ever overwritten: a name that is taken gets a number
/// (`photo-2.jpg`).
#[derive(Debug)]
pub struct Sorter {
    sorting: Sorting,
    folders: HashMap<String, PathBuf>,
}

impl Sorter {
    /// For photos of these classes. Folders are made when they are needed.
    ///
    /// # Errors
    /// [`ExperimentError::Io`] if the name of a class cannot be the name of a folder. (Names come from a checkpoint, which may come from
    /// anywhere; no name leads out of `below`.)
    pub fn new(below: &Path, classes: &[String], sorting: Sorting) -> Result<Self, ExperimentError> {
        let folder = |class: &String| {
            let name = from_text(class);
            let is_name =
                matches!(name.components().collect::<Vec<_>>()[..], [Component::Normal(part)] if part == name);
            match is_name {
                true => Ok((class.clone(), below.join(name))),
                false => Err(ExperimentError::Io {
                    path: below.to_owned(),
                    source: Error::new(
                        ErrorKind::InvalidInput,
                        format!("the class '{}' cannot be the name of a folder", printable(class)),
                    ),
                }),
            }
        };
        Ok(Self { sorting, folders: classes.iter().map(folder).collect::<Result<_, _>>()? })
    }

    /// Puts a photo into the folder of a class, and returns where it is now. A photo of which a link is there already gets no other.
    ///
    /// # Errors
    /// [`ExperimentError::Io`] if a folder, a link or a file cannot be made. The photo is then where it was.
    ///
    /// # Panics
    /// If the class is not one of those that the sorter was made for.
    pub fn put(&self, photo: &Path, class: &str) -> Result<PathBuf, ExperimentError> {
        let folder = &self.folders[class];
        let failed = |path: &Path, source| ExperimentError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        // Where the file really is: a link may be relative to a folder that it leaves.
        let real = photo.canonicalize().map_err(|source| failed(photo, source))?;
        for name in names(photo) {
            let target = folder.join(name);
            let done = match self.sorting {
                Sorting::Link if std::fs::read_link(&target).is_ok_and(|there| there == real) => Ok(()),
                Sorting::Link => link(&real, &target),
                Sorting::Move => set_down(photo, &real, &target),
            };
            match done {
                Ok(()) if self.sorting == Sorting::Move => {
                    // A photo that cannot be taken away stays where it is, and nowhere else.
                    let taken = std::fs::remove_file(photo).inspect_err(|_| drop(std::fs::remove_file(&target)));
                    return taken.map(|()| target).map_err(|source| failed(photo, source));
                }
                Ok(()) => return Ok(target),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&target, error)),
            }
        }
        unreachable!("numbers do not run out")
    }
}

/// The photo's name, and the same with numbers.
fn names(photo: &Path) -> impl Iterator<Item = OsString> {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_owned();
    let (whole, stem, ending) =
        (part(photo.file_name()), part(photo.file_stem()), photo.extension().map(OsString::from));
    let numbered = (2_u64..).map(move |number| {
        let mut name = stem.clone();
        name.push(format!("-{number}"));
        if let Some(ending) = &ending {
            name.push(".");
            name.push(ending);
        }
        name
    });
    std::iter::once(whole).chain(numbered)
}

#[cfg(unix)]
fn link(real: &Path, target: &Path) -> Result<(), Error> {
    std::os::unix::fs::symlink(real, target)
}

/// Elsewhere a link to a file takes a right that users do not have, and a second name of the file takes none.
#[cfg(not(unix))]
fn link(real: &Path, target: &Path) -> Result<(), Error> {
    std::fs::hard_link(real, target)
}

/// Gives a file a second place, where nothing is. (`rename` would replace what is there.)
fn set_down(photo: &Path, real: &Path, target: &Path) -> Result<(), Error> {
    if photo.is_symlink() {
        return link(real, target);
    }
    match std::fs::hard_link(photo, target) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            // Another disk, or a file system without second names.
            copy(photo, target)
        }
        done => done,
    }
}

fn copy(photo: &Path, target: &Path) -> Result<(), Error> {
    let mut to = std::fs::OpenOptions::new().write(true).create_new(true).open(target)?;
    let copied =
        std::fs::File::open(photo).and_then(|mut from| std::io::copy(&mut from, &mut to)).and_then(|_| to.sync_all());
    if copied.is_err() {
        let _ = std::fs::remove_file(target);
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_whose_name_leads_elsewhere_is_refused() {
        let check = |class: &str, is_allowed: bool| {
            let sorter = Sorter::new(Path::new("sorted"), &[class.to_owned()], Sorting::Move);
            assert_eq!(sorter.is_ok(), is_allowed, "{class:?}");
        };
        check("cats", true);
        check("golden retriever", true);
        check("..", false);
        check("../cats", false);
        check("/etc", false);
        check("a/b", false);
        check("", false);
        check(".", false);
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number_and_nothing_is_overwritten() {
        let at = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = at.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(&path, text).expect("written");
            path
        };
        let read = |name: &str| std::fs::read_to_string(at.path().join(name)).expect("readable");
        let sorter = |sorting| Sorter::new(&at.path().join("sorted"), &["cats".to_owned()], sorting).expect("a name");
        for (folder, text) in [("a", "first"), ("b", "second"), ("c", "third")] {
            let photo = write(&format!("{folder}/photo.jpg"), text);
            sorter(Sorting::Move).put(&photo, "cats").expect("moved");
            assert!(!photo.exists());
        }
        let sorted = ["photo.jpg", "photo-2.jpg", "photo-3.jpg"].map(|name| read(&format!("sorted/cats/{name}")));
        assert_eq!(sorted, ["first", "second", "third"]);
        // A link is made once, and the photo stays.
        let photo = write("d/photo.jpg", "fourth");
        let linked = sorter(Sorting::Link).put(&photo, "cats").expect("linked");
        assert!(linked.ends_with("photo-4.jpg") && read("d/photo.jpg") == read("sorted/cats/photo-4.jpg"));
        #[cfg(unix)]
        assert_eq!(sorter(Sorting::Link).put(&photo, "cats").expect("there already"), linked);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_photo_that_cannot_be_taken_away_stays_in_its_one_place() {
        let at = tempfile::tempdir().expect("a folder");
        let sorter = Sorter::new(at.path(), &["cats".to_owned()], Sorting::Move).expect("a name");
        // Nobody may remove this link, not even who may do everything.
        let error = sorter.put(Path::new("/proc/self/exe"), "cats").expect_err("it stays").to_string();
        assert!(error.starts_with("/proc/self/exe: "), "{error}");
        assert_eq!(std::fs::read_dir(at.path().join("cats")).expect("made").count(), 0);
    }
}
