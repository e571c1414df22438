//! The contents of a folder on the disk, before it is decided which sub-folders are classes.

use std::collections::BTreeMap;
use std::fs::FileType;
use std::path::{Path, PathBuf};

use injerto_files::shown;

use crate::DataError;
use crate::endings::EXTENSIONS;

/// The reason why a file or a folder is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its ending is not among [`EXTENSIONS`]. The value is the ending in lower case, with its dot.
    Ending(String),
    /// It has no ending.
    NoEnding,
    /// Its name begins with a dot.
    Hidden,
    /// It belongs to a file system, an archive program or another program.
    Service,
    /// It is a link whose target does not exist.
    BrokenLink,
    /// It is a link to a folder inside a class. Following it could lead in circles, or to images that are already used.
    LinkedFolder,
    /// It is neither a file nor a folder.
    Special,
    /// It is an image beside the folders of the classes.
    Unlabelled,
    /// It is an image that no list and no pattern names.
    NotListed,
}

impl Reason {
    /// Whether the reason is an ending that images have. Users may expect that such files are read.
    pub fn is_image(&self) -> bool {
        const IMAGES: [&str; 20] = [
            ".heic", ".heif", ".hif", ".avif", ".jfif", ".jpe", ".jp2", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw",
            ".raf", ".orf", ".rw2", ".tga", ".ppm", ".pgm", ".psd",
        ];
        matches!(self, Self::Ending(ending) if IMAGES.contains(&ending.as_str()))
    }
}

/// Files and folders that were left out for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Number of files and folders.
    pub count: usize,
    /// The first of them.
    pub first: PathBuf,
}

/// Files and folders that were left out, by reason.
pub type AllLeftOut = BTreeMap<Reason, LeftOut>;

/// Names of folders that programs create for themselves, in lower case. Names that begin with a dot are left out anyway.
const SERVICE: [&str; 15] = [
    "__macosx",
    "@eadir",
    "@recycle",
    "@tmp",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "lost+found",
    "system volume information",
    "network trash folder",
    "temporary items",
    "__pycache__",
    "found.000",
    "icon\r",
];
/// Names of files that programs create for themselves, in lower case.
const SERVICE_FILES: [&str; 4] = ["thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"];

/// A folder with its images and sub-folders.
#[derive(Debug)]
pub(super) struct Tree {
    pub path: PathBuf,
    /// Images directly in the folder, sorted.
    pub images: Vec<PathBuf>,
    /// Sub-folders, sorted.
    pub folders: Vec<Tree>,
    /// Links to folders. [`Tree::follow`] turns them into sub-folders, where they stand for classes or the halves of a split.
    linked: Vec<PathBuf>,
    left_out: Vec<(Reason, PathBuf)>,
}

impl Tree {
    /// Reads a folder and its sub-folders.
    pub fn read(path: PathBuf) -> Result<Self, DataError> {
        let unreadable =
            |error: std::io::Error| DataError::Unreadable { path: path.clone(), reason: error.to_string() };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            entries.push((entry.path(), entry.file_type().map_err(unreadable)?));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut images, mut folders, mut linked, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (entry, kind) in entries {
            match role(&entry, kind) {
                Ok(Entry::Image) => images.push(entry),
                Ok(Entry::Folder) => folders.push(Self::read(entry)?),
                Ok(Entry::Linked) => linked.push(entry),
                Err(reason) => left_out.push((reason, entry)),
            }
        }
        Ok(Self { path, images, folders, linked, left_out })
    }

    /// A folder of which only the names of the files in it are known, at any depth, with `/` between folders.
    pub fn of_names(path: PathBuf, names: &[&str]) -> Self {
        let (mut own, mut inside): (Vec<&str>, BTreeMap<&str, Vec<&str>>) = (Vec::new(), BTreeMap::new());
        for name in names {
            match name.split_once('/') {
                Some((folder, name)) => inside.entry(folder).or_default().push(name),
                None => own.push(name),
            }
        }
        let (mut images, mut folders, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for name in own {
            match role_of_name(name, false) {
                Ok(_) => images.push(path.join(name)),
                Err(reason) => left_out.push((reason, path.join(name))),
            }
        }
        for (folder, names) in inside {
            match role_of_name(folder, true) {
                Ok(_) => folders.push(Self::of_names(path.join(folder), &names)),
                Err(reason) => left_out.push((reason, path.join(folder))),
            }
        }
        images.sort();
        folders.sort_by(|a, b| a.path.cmp(&b.path));
        Self { path, images, folders, linked: Vec::new(), left_out }
    }

    /// Follows the links to folders that are directly in this folder; links in its sub-folders are not followed. A link to a folder
    /// that this one lies in is an error: it would lead in a circle.
    pub fn follow(&mut self) -> Result<(), DataError> {
        let own = target(&self.path);
        for linked in std::mem::take(&mut self.linked) {
            if own.starts_with(target(&linked)) {
                return Err(DataError::SameFolder { folder: linked, other: self.path.clone() });
            }
            self.folders.push(Self::read(linked)?);
        }
        self.folders.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// Name of the folder, with each byte that is not UTF-8 written as `\xNN`.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_str().map_or_else(|| shown(Path::new(name)).to_string(), str::to_owned)
    }

    /// Number of images at any depth.
    pub fn count(&self) -> usize {
        self.images.len() + self.folders.iter().map(Self::count).sum::<usize>()
    }

    /// Images at any depth, in Keras's order: folders sorted by their whole paths, and the files of each folder sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let (mut folders, mut waiting) = (Vec::new(), vec![self]);
        while let Some(tree) = waiting.pop() {
            waiting.extend(&tree.folders);
            folders.push(tree);
        }
        folders.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        folders.into_iter().flat_map(|tree| tree.images.iter().cloned()).collect()
    }

    /// Paths of the folders directly in this one, which are its classes.
    pub fn class_paths(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|class| class.path.clone()).collect()
    }

    /// Adds the files and folders that were left out, at any depth, to `all`.
    pub fn tell(&self, all: &mut AllLeftOut) {
        self.tell_own(all);
        self.folders.iter().for_each(|folder| folder.tell(all));
    }

    /// Adds the files and folders that were left out directly in this folder to `all`.
    pub fn tell_own(&self, all: &mut AllLeftOut) {
        self.left_out.iter().for_each(|(reason, path)| add(all, reason.clone(), path));
        self.linked.iter().for_each(|path| add(all, Reason::LinkedFolder, path));
    }

    /// Adds the images directly in this folder, which have no class if its sub-folders are the classes, to `all`.
    pub fn tell_unlabelled(&self, all: &mut AllLeftOut) {
        self.images.iter().for_each(|path| add(all, Reason::Unlabelled, path));
    }
}

/// The folder that a path leads to in the end.
fn target(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Checks that no folder of images is another one of them, or lies in it, by way of a link: its images would count twice, and stand
/// under two classes or on two sides of a split.
pub(super) fn distinct(folders: &[PathBuf]) -> Result<(), DataError> {
    let mut targets: Vec<(PathBuf, &PathBuf)> = folders.iter().map(|folder| (target(folder), folder)).collect();
    // What lies in a folder follows it in the order of paths.
    targets.sort();
    match targets.windows(2).find(|pair| pair[1].0.starts_with(&pair[0].0)) {
        Some(pair) => Err(DataError::SameFolder { folder: pair[0].1.clone(), other: pair[1].1.clone() }),
        None => Ok(()),
    }
}

pub(super) fn add(all: &mut AllLeftOut, reason: Reason, path: &Path) {
    all.entry(reason).or_insert_with(|| LeftOut { count: 0, first: path.to_owned() }).count += 1;
}

enum Entry {
    Image,
    Folder,
    Linked,
}

fn role(path: &Path, kind: FileType) -> Result<Entry, Reason> {
    let name = path.file_name().unwrap_or_default();
    if name.as_encoded_bytes().starts_with(b".") {
        return Err(Reason::Hidden);
    }
    // A link counts as its target.
    let target = if kind.is_symlink() { std::fs::metadata(path).ok() } else { None };
    let (is_folder, is_file) = match &target {
        Some(target) => (target.is_dir(), target.is_file()),
        None if kind.is_symlink() => return Err(Reason::BrokenLink),
        None => (kind.is_dir(), kind.is_file()),
    };
    if !is_folder && !is_file {
        return Err(Reason::Special);
    }
    match role_of_name(&name.to_string_lossy(), is_folder)? {
        Entry::Folder if kind.is_symlink() => Ok(Entry::Linked),
        entry => Ok(entry),
    }
}

/// What the name alone says of a file or a folder.
fn role_of_name(name: &str, is_folder: bool) -> Result<Entry, Reason> {
    let lower = name.to_lowercase();
    if lower.starts_with('.') {
        return Err(Reason::Hidden);
    }
    if is_folder {
        return if SERVICE.contains(&lower.as_str()) { Err(Reason::Service) } else { Ok(Entry::Folder) };
    }
    if SERVICE_FILES.contains(&lower.as_str()) {
        return Err(Reason::Service);
    }
    if EXTENSIONS.iter().any(|extension| lower.ends_with(extension)) {
        return Ok(Entry::Image);
    }
    // A longer ending is part of the name.
    match lower.rsplit_once('.') {
        Some((_, ending)) if !ending.is_empty() && ending.chars().count() <= 12 => {
            Err(Reason::Ending(format!(".{ending}")))
        }
        _ => Err(Reason::NoEnding),
    }
}
