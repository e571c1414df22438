//! Images by the names that lists give them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use injerto_files::{absolute, settled, shown};

use crate::folder::composed;

/// The images below a root, by all names that may mean one of them: the path below the root, the end of this path, and both without
/// the ending of the file.
pub(super) struct Index {
    root: PathBuf,
    files: Vec<PathBuf>,
    names: HashMap<String, (Closeness, Found)>,
    /// How paths begin that lead to the root: absolute ones, and those from the current folder.
    leads: Vec<String>,
}

/// The images that a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    None,
    /// Place of the image.
    One(usize),
    /// Places of the first two images.
    Several([usize; 2]),
}

/// How much of a path a name gives. The closest name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Whole,
    WholeWithoutEnding,
    End,
    EndWithoutEnding,
}

impl Index {
    pub fn new(root: &Path, files: Vec<PathBuf>) -> Self {
        let mut names: HashMap<String, (Closeness, Found)> = HashMap::new();
        let mut note = |name: &str, closeness: Closeness, at: usize| match names.get_mut(name) {
            None => {
                names.insert(name.to_owned(), (closeness, Found::One(at)));
            }
            Some(known) if closeness < known.0 => *known = (closeness, Found::One(at)),
            Some((known, found)) if *known == closeness => {
                if let Found::One(first) = *found {
                    *found = Found::Several([first, at]);
                }
            }
            Some(_) => {}
        };
        for (at, file) in files.iter().enumerate() {
            let name = key(file.strip_prefix(root).unwrap_or(file));
            let mut rest = Some(name.as_str());
            let mut closeness = [Closeness::Whole, Closeness::WholeWithoutEnding];
            while let Some(name) = rest {
                note(name, closeness[0], at);
                if let Some((stem, ending)) = name.rsplit_once('.')
                    && !ending.contains('/')
                {
                    note(stem, closeness[1], at);
                }
                rest = name.split_once('/').map(|(_, rest)| rest);
                closeness = [Closeness::End, Closeness::EndWithoutEnding];
            }
        }
        let mut leads = vec![key(root), key(&absolute(root)), key(&settled(root))];
        leads.extend(settled(root).strip_prefix(settled(Path::new("."))).ok().map(key));
        leads.retain(|lead| !lead.is_empty() && lead != ".");
        Self { root: root.to_owned(), files, names, leads }
    }

    /// All images, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The paths of all images below the root, in order.
    pub fn below_root(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.strip_prefix(&self.root).unwrap_or(file))
    }

    /// Where a folder lies below the root; `None` for the root itself, and for a folder outside.
    pub fn below(&self, folder: &Path) -> Option<String> {
        let settled_root = settled(&self.root);
        let below = settled(folder).strip_prefix(settled_root).ok().map(key)?;
        Some(below).filter(|below| !below.is_empty())
    }

    /// The images that a path in a list may mean. The list lies in the folder `beside` below the root.
    pub fn find(&self, listed: &str, beside: Option<&str>) -> Found {
        let name = composed(listed.trim()).replace('\\', "/");
        let name = name.trim_start_matches("./");
        let get = |name: &str, most: Closeness| {
            self.names.get(name).filter(|(closeness, _)| *closeness <= most).map(|(_, found)| *found)
        };
        let whole = |name: &str| get(name, Closeness::WholeWithoutEnding);
        let led = |lead: &String| whole(name.strip_prefix(lead.as_str())?.strip_prefix('/')?);
        beside
            .and_then(|beside| whole(&format!("{beside}/{name}")))
            .or_else(|| whole(name))
            .or_else(|| self.leads.iter().find_map(led))
            .or_else(|| get(name, Closeness::EndWithoutEnding))
            .unwrap_or(Found::None)
    }

    /// An image that a path which means none may have been written for: its own name is that of the path, except perhaps for capitals.
    pub fn named_like(&self, listed: &str) -> Option<&Path> {
        let name = |path: &str| path.rsplit(['/', '\\']).next().map(str::to_lowercase);
        let wanted = name(&composed(listed.trim()))?;
        self.files.iter().find(|file| name(&key(file)).as_ref() == Some(&wanted)).map(PathBuf::as_path)
    }

    /// Name of the folder that an image lies in; `None` for the root.
    pub fn folder(&self, at: usize) -> Option<String> {
        let path = self.files[at].strip_prefix(&self.root).ok()?;
        let name = path.parent()?.file_name()?;
        Some(name.to_str().map_or_else(|| shown(Path::new(name)).to_string(), str::to_owned))
    }
}

/// A path as lists write it: with slashes, composed letters, and `\xNN` for what is not UTF-8.
fn key(path: &Path) -> String {
    match path.to_str() {
        Some(text) => composed(text).replace('\\', "/"),
        None => composed(&shown(path).to_string()),
    }
}
