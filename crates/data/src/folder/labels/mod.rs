//! Labels that folders do not give: lists that name the images with their classes, and patterns of file names.

mod classes;
mod index;
mod lists;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use injerto_files::{listed, printable, shown};
use serde::{Serialize, Serializer};

use self::classes::{Reading, Said};
use self::index::Index;
pub use self::lists::{Listed, listed_in};
use super::roles::Role;
use super::tree::{Reason, add};
use super::{Inventory, root_of};
use crate::{DataError, Dataset, Label, Sample};

/// The rule that gives each image its class, instead of the folder that it lies in.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Labels {
    /// Lists of images.
    Lists(Lists),
    /// Patterns of file names.
    Patterns {
        /// Names of the classes with the patterns of their files: `*` and `?` match within a name, `**` matches folders too. A
        /// pattern without `/` is matched against the name of a file, any other against its path below the root.
        patterns: BTreeMap<String, Vec<String>>,
    },
}

/// Lists of images, all with the same columns.
///
/// A list is a CSV file (`.csv`; `.tsv` with tabs), a file with one JSON object per line (`.jsonl`, `.ndjson`), or a text file
/// with one path per line that may be followed by further fields after spaces (any other ending; lines that begin with `#` are
/// comments). A first line that names columns is a header.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lists {
    /// The lists.
    #[serde(flatten)]
    pub files: ListFiles,
    /// The column of the paths. `None`: a column with a usual name (`path`, `file_name`, `image`, …), or else the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Column>,
    /// The column of the classes. `None`: a column with a usual name (`class`, `label`, …), or else the only one that is left; in
    /// a list of paths alone, the class is the folder that the image lies in.
    ///
    /// Without one, several columns that all hold 1 or 0 are one class each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassColumns>,
    /// The separator between the classes of an image that has several. `None`: `|`, or else `;`, if one of them occurs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The column that says whether an image trains, validates or tests. `None`: a column with a usual name (`split`, `set`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Column>,
    /// The column of what images belong together. `None`: each image stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Column>,
}

/// The files of lists.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ListFiles {
    /// One list of all images.
    One {
        /// The list.
        #[serde(serialize_with = "to_text")]
        file: PathBuf,
    },
    /// One list per part.
    Parts {
        /// The list of the training images.
        #[serde(serialize_with = "to_text")]
        train: PathBuf,
        /// The list of the validation images.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_to_text")]
        validation: Option<PathBuf>,
        /// The list of the test images.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_to_text")]
        test: Option<PathBuf>,
    },
}

/// The column, or columns, of the classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ClassColumns {
    /// One column that holds their names.
    One(Column),
    /// One column per class, named after it, that holds 1 if an image has the class and 0 if it has not.
    Each(Vec<Column>),
}

impl From<Column> for ClassColumns {
    fn from(column: Column) -> Self {
        Self::One(column)
    }
}

/// A column of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Column {
    /// By its name in the header.
    Name(String),
    /// By its place, from 1.
    Place(usize),
}

fn to_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&injerto_files::to_text(path.as_os_str()))
}

fn some_to_text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| injerto_files::to_text(path.as_os_str())).serialize(serializer)
}

impl From<ListFiles> for Labels {
    fn from(files: ListFiles) -> Self {
        Self::Lists(Lists { files, path: None, class: None, separator: None, split: None, group: None })
    }
}

impl Labels {
    /// The files of the lists.
    pub fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Lists(Lists { files: ListFiles::One { file }, .. }) => vec![file],
            Self::Lists(Lists { files: ListFiles::Parts { train, validation, test }, .. }) => {
                std::iter::once(train).chain(validation).chain(test).collect()
            }
            Self::Patterns { .. } => Vec::new(),
        }
    }

    /// Whether a pattern can be read.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn check_pattern(pattern: &str) -> Result<(), String> {
        glob::Pattern::new(pattern).map(|_| ()).map_err(|error| error.to_string())
    }
}

/// The images of each part that lists or patterns name.
pub(super) struct Labelled {
    pub train: Dataset,
    pub validation: Option<Dataset>,
    pub test: Option<Dataset>,
    /// What divides them, for messages.
    pub by: PathBuf,
}

/// A statement about one image, and its place.
struct Line {
    /// Number of the line, from 1; 0 for a pattern.
    line: usize,
    classes: Said,
    role: Role,
    group: Option<Arc<str>>,
    /// The list and the line, or the pattern.
    by: String,
}

/// What is known of one image.
struct Known {
    classes: BTreeSet<String>,
    role: Role,
    group: Option<Arc<str>>,
    by: String,
}

/// Finds the images below `root` that lists or patterns name. Images that they do not name are left out. `several` says whether an image
/// may have several classes, or none; otherwise the lists show it.
pub(super) fn find(
    root: &Path,
    labels: &Labels,
    several: Option<bool>,
    inventory: &mut Inventory,
) -> Result<Labelled, DataError> {
    let tree = root_of(root)?;
    tree.tell(&mut inventory.left_out);
    let index = Index::new(root, tree.files());
    let (mut told, mut separator) = (Vec::new(), None);
    match labels {
        Labels::Lists(lists) => {
            separator = lists.separator.as_deref();
            let parts = match &lists.files {
                ListFiles::One { file } => vec![(file, None)],
                ListFiles::Parts { train, validation, test } => {
                    let others = [(validation, Role::Validation), (test, Role::Test)];
                    let others = others.into_iter().filter_map(|(file, role)| Some((file.as_ref()?, Some(role))));
                    std::iter::once((train, Some(Role::Training))).chain(others).collect()
                }
            };
            for (file, role) in &parts {
                let file = place_of(file, root);
                let lines = lists.read(&file, *role, &index, &inventory.left_out);
                let lines = lines.map_err(|reason| DataError::Labels { path: file.clone(), reason })?;
                told.push((file, lines));
            }
        }
        Labels::Patterns { patterns } => {
            let lines = by_patterns(patterns, &index);
            let lines = lines.map_err(|reason| DataError::Labels { path: root.to_owned(), reason })?;
            told.push((root.to_owned(), lines));
        }
    }
    let reading = Reading::of(several, separator, told.iter().flat_map(|(_, lines)| lines).map(|(_, it)| &it.classes));
    inventory.several = reading.in_words();
    let by = told[0].0.clone();
    let (mut known, mut classes) = (BTreeMap::new(), BTreeSet::new());
    for (path, lines) in told {
        for (at, line) in lines {
            line.classes.every(&mut classes);
            let said = reading.classes(&line).and_then(|own| {
                let Line { role, group, by, .. } = line;
                say(&mut known, &index, at, Known { classes: own, role, group, by }, several == Some(true))
            });
            said.map_err(|reason| DataError::Labels { path: path.clone(), reason })?;
        }
    }
    for (at, path) in index.files().iter().enumerate() {
        if !known.contains_key(&at) {
            add(&mut inventory.left_out, Reason::NotListed, path);
        }
    }
    let not_utf8 = |at: &&usize| index.files()[**at].strip_prefix(root).is_ok_and(|path| path.to_str().is_none());
    inventory.not_utf8 = known.keys().filter(not_utf8).count();
    classes.extend(known.values().flat_map(|known| known.classes.iter().cloned()));
    labelled(&index, known, classes, &reading, by)
}

/// Notes what is said of an image. Twice the same is once. With `adds`, each further line adds its classes.
fn say(all: &mut BTreeMap<usize, Known>, index: &Index, at: usize, one: Known, adds: bool) -> Result<(), String> {
    if let Some(before) = all.get_mut(&at) {
        let names = |known: &Known| {
            let names: Vec<String> = known.classes.iter().map(|class| printable(class).to_string()).collect();
            names.join(crate::SEPARATOR)
        };
        let differs = match (before.classes == one.classes, before.role == one.role) {
            (true, true) => return Ok(()),
            (false, true) if adds => {
                before.classes.extend(one.classes);
                return Ok(());
            }
            (false, _) => format!("of class '{}' and of class '{}'", names(before), names(&one)),
            (true, false) => "in two parts of the split".to_owned(),
        };
        return Err(format!(
            "{} is {differs} ({} and {}): an image has one class and stands in one part; keep one of the two, or set \
             data.multi_label = true for images that have several classes",
            shown(&index.files()[at]),
            printable(&before.by),
            printable(&one.by)
        ));
    }
    all.insert(at, one);
    Ok(())
}

/// A list by the path that was given, or else below the root of the images.
fn place_of(file: &Path, root: &Path) -> PathBuf {
    let below = root.join(file);
    if !file.exists() && below.exists() { below } else { file.to_owned() }
}

/// The datasets of what was said. Within a part, images stand in the order in which they would stand if their classes were folders;
/// images that may have several classes stand in the order of their paths.
fn labelled(
    index: &Index,
    known: BTreeMap<usize, Known>,
    classes: BTreeSet<String>,
    reading: &Reading,
    by: PathBuf,
) -> Result<Labelled, DataError> {
    let wrong = |reason: String| DataError::Labels { path: by.clone(), reason };
    let mut classes: Vec<String> = classes.into_iter().collect();
    // Numbers have their own order: 2 comes before 10.
    if let Some(numbers) = classes.iter().map(|class| class.parse::<i64>().ok()).collect::<Option<Vec<_>>>() {
        let mut numbered: Vec<(i64, String)> = numbers.into_iter().zip(classes).collect();
        numbered.sort();
        classes = numbered.into_iter().map(|(_, class)| class).collect();
    }
    let several = matches!(reading, Reading::Several { .. });
    match &classes[..] {
        [] => return Err(wrong("no image has a class".to_owned())),
        [only] if several => {
            return Err(wrong(format!(
                "there is only one class, '{}': whether an image has it or not are two classes, one per image (data.multi_label = \
                 false)",
                printable(only)
            )));
        }
        [only] => {
            return Err(wrong(format!(
                "there is nothing to tell apart: all images are of class '{}'",
                printable(only)
            )));
        }
        _ => {}
    }
    let place: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let mut parts: [Vec<Sample>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    for (at, known) in &known {
        let mut own = known.classes.iter().map(|class| place[class.as_str()]);
        let label = match several {
            true => Label::several(own),
            false => Label::Class(own.next().expect("an image that has one class")),
        };
        let sample = Sample::new(index.files()[*at].clone(), label);
        parts[known.role as usize].push(Sample { group: known.group.clone(), ..sample });
    }
    parts.iter_mut().for_each(|samples| samples.sort_by_key(|sample| sample.label.class()));
    let [train, validation, test] = parts.map(|samples| Dataset { classes: classes.clone(), samples });
    let counts = train.counts();
    let untrained: Vec<&str> =
        classes.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(class, _)| class.as_str()).collect();
    if !untrained.is_empty() {
        return Err(wrong(format!(
            "no training images of {}: add some, or remove the other images of the class",
            listed(untrained.iter().copied())
        )));
    }
    let some = |dataset: Dataset| Some(dataset).filter(|dataset| !dataset.samples.is_empty());
    Ok(Labelled { train, validation: some(validation), test: some(test), by })
}

fn by_patterns(patterns: &BTreeMap<String, Vec<String>>, index: &Index) -> Result<Vec<(usize, Line)>, String> {
    // A star does not reach into another folder, as in a shell.
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let mut told = Vec::new();
    for (class, texts) in patterns {
        let before = told.len();
        for text in texts {
            let pattern = glob::Pattern::new(text).map_err(|error| format!("pattern {text:?}: {error}"))?;
            for (at, path) in index.below_root().enumerate() {
                let name = if text.contains('/') { Some(path) } else { path.file_name().map(Path::new) };
                if name.is_some_and(|name| pattern.matches_path_with(name, options)) {
                    let by = format!("pattern {text:?}");
                    let classes = Said::Folder(class.clone());
                    told.push((at, Line { line: 0, classes, role: Role::Training, group: None, by }));
                }
            }
        }
        if told.len() == before {
            return Err(format!(
                "data.labels.patterns: no image matches {} of class '{}'; a pattern without / is matched against the names of files \
                 at any depth, any other against paths below this folder",
                listed(texts.iter().map(String::as_str)),
                printable(class)
            ));
        }
    }
    Ok(told)
}
