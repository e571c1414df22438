//! Labels that folders do not give: lists that name the images with their classes, and patterns of file names.

mod index;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use injerto_files::{listed, printable, shown};
use serde::{Serialize, Serializer};

use self::index::{Found, Index};
use self::table::Table;
use super::roles::{Role, word_role};
use super::tree::{AllLeftOut, Reason, add, advice};
use super::{Inventory, root_of};
use crate::{DataError, Dataset, Sample};

/// What says which class each image has, instead of the folder that it lies in.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Column>,
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
        Self::Lists(Lists { files, path: None, class: None, split: None, group: None })
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

/// What is said of one image, and where.
struct Said {
    class: String,
    role: Role,
    group: Option<Arc<str>>,
    /// The list and the line, or the pattern.
    by: String,
}

/// Finds the images below `root` that lists or patterns name. Images that they do not name are left out.
pub(super) fn find(root: &Path, labels: &Labels, inventory: &mut Inventory) -> Result<Labelled, DataError> {
    let tree = root_of(root)?;
    tree.tell(&mut inventory.left_out);
    let index = Index::new(root, tree.files());
    let mut said: BTreeMap<usize, Said> = BTreeMap::new();
    let by = match labels {
        Labels::Lists(lists) => {
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
                let told = lists.read(&file, *role, &index, &inventory.left_out);
                let told =
                    told.and_then(|told| told.into_iter().try_for_each(|(at, one)| say(&mut said, &index, at, one)));
                told.map_err(|reason| DataError::Labels { path: file, reason })?;
            }
            place_of(parts[0].0, root)
        }
        Labels::Patterns { patterns } => {
            let told = by_patterns(patterns, &index);
            let told = told.and_then(|told| told.into_iter().try_for_each(|(at, one)| say(&mut said, &index, at, one)));
            told.map_err(|reason| DataError::Labels { path: root.to_owned(), reason })?;
            root.to_owned()
        }
    };
    for (at, path) in index.files().iter().enumerate() {
        if !said.contains_key(&at) {
            add(&mut inventory.left_out, Reason::NotListed, path);
        }
    }
    let not_utf8 = |at: &&usize| index.files()[**at].strip_prefix(root).is_ok_and(|path| path.to_str().is_none());
    inventory.not_utf8 = said.keys().filter(not_utf8).count();
    labelled(&index, said, by)
}

/// Notes what is said of an image. Twice the same is once.
fn say(all: &mut BTreeMap<usize, Said>, index: &Index, at: usize, one: Said) -> Result<(), String> {
    if let Some(before) = all.get(&at) {
        let differs = match (before.class == one.class, before.role == one.role) {
            (true, true) => return Ok(()),
            (false, _) => format!("of class '{}' and of class '{}'", printable(&before.class), printable(&one.class)),
            (true, false) => "in two parts of the split".to_owned(),
        };
        return Err(format!(
            "{} is {differs} ({} and {}): an image has one class and stands in one part; keep one of the two",
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

/// The datasets of what was said. Within a part, images stand in the order in which they would stand if their classes were folders.
fn labelled(index: &Index, said: BTreeMap<usize, Said>, by: PathBuf) -> Result<Labelled, DataError> {
    let wrong = |reason: String| DataError::Labels { path: by.clone(), reason };
    let names: BTreeSet<&str> = said.values().map(|said| said.class.as_str()).collect();
    let mut classes: Vec<String> = names.into_iter().map(str::to_owned).collect();
    // Numbers have their own order: 2 comes before 10.
    if let Some(numbers) = classes.iter().map(|class| class.parse::<i64>().ok()).collect::<Option<Vec<_>>>() {
        let mut numbered: Vec<(i64, String)> = numbers.into_iter().zip(classes).collect();
        numbered.sort();
        classes = numbered.into_iter().map(|(_, class)| class).collect();
    }
    if let [only] = &classes[..] {
        return Err(wrong(format!("there is nothing to tell apart: all images are of class '{}'", printable(only))));
    }
    let place: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let mut parts: [Vec<Sample>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    for (at, said) in &said {
        let sample = Sample::new(index.files()[*at].clone(), place[said.class.as_str()]);
        parts[said.role as usize].push(Sample { group: said.group.clone(), ..sample });
    }
    parts.iter_mut().for_each(|samples| samples.sort_by_key(|sample| sample.label));
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

fn by_patterns(patterns: &BTreeMap<String, Vec<String>>, index: &Index) -> Result<Vec<(usize, Said)>, String> {
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
                    told.push((at, Said { class: class.clone(), role: Role::Training, group: None, by }));
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

/// Names of columns that are found without being told, in lower case, the likelier first.
const PATHS: &[&str] = &[
    "path",
    "file_name",
    "filename",
    "file",
    "filepath",
    "file_path",
    "image_path",
    "image",
    "image_name",
    "image_id",
    "img",
    "img_path",
    "name",
    "id",
];
const CLASSES: &[&str] = &[
    "class",
    "label",
    "class_name",
    "label_name",
    "category",
    "target",
    "species",
    "breed",
    "diagnosis",
    "labels",
    "classes",
    "y",
    "dx",
];
const SPLITS: &[&str] = &["split", "side", "set", "subset", "partition"];

/// Places of the columns, from 0.
struct Columns {
    path: usize,
    class: Option<usize>,
    split: Option<usize>,
    group: Option<usize>,
}

impl Lists {
    /// What a list says of the images in the index.
    fn read(
        &self,
        file: &Path,
        role: Option<Role>,
        index: &Index,
        left_out: &AllLeftOut,
    ) -> Result<Vec<(usize, Said)>, String> {
        let beside = index.below(file.parent().unwrap_or(Path::new("")));
        let find = |path: &str| index.find(path, beside.as_deref());
        let mut table = Table::read(file, &|path| matches!(find(path), Found::One(_)))?;
        let columns = self.columns(&mut table, &find)?;
        let roles = self.roles(&table, &columns, role)?;
        let (mut told, mut lost) = (Vec::new(), Vec::new());
        for (line, row) in &table.rows {
            let line = *line;
            let field = |at: usize| match row.get(at).map(|field| field.trim()) {
                Some(field) => Ok(field),
                None => Err(format!("line {line}: expected at least {} fields, found {}", at + 1, row.len())),
            };
            let path = field(columns.path)?;
            let at = match find(path) {
                Found::One(at) => at,
                Found::Several([a, b]) => {
                    return Err(format!(
                        "line {line}: '{}' may be {} or {}: write more of the path",
                        printable(path),
                        shown(&index.files()[a]),
                        shown(&index.files()[b])
                    ));
                }
                Found::None => {
                    lost.push((line, path));
                    continue;
                }
            };
            let class = match columns.class {
                Some(column) => match field(column)? {
                    "" => return Err(format!("line {line}: there is no class; add it, or remove the line")),
                    class => class.to_owned(),
                },
                None => index.folder(at).ok_or_else(|| {
                    format!(
                        "line {line}: the list has no column of classes, and {} lies in no folder that could be one",
                        shown(&index.files()[at])
                    )
                })?,
            };
            let part = match columns.split {
                Some(column) => roles[field(column)?],
                None => role.unwrap_or(Role::Training),
            };
            let group = columns.group.map(&field).transpose()?.filter(|group| !group.is_empty()).map(Arc::from);
            told.push((at, Said { class, role: part, group, by: format!("{}, line {line}", shown(file)) }));
        }
        if !lost.is_empty() {
            return Err(absent(&lost, table.rows.len(), index, left_out));
        }
        match told.is_empty() {
            true => Err("this list names no images".to_owned()),
            false => Ok(told),
        }
    }

    /// Finds the columns of a list, and takes its header off.
    fn columns(&self, table: &mut Table, find: &dyn Fn(&str) -> Found) -> Result<Columns, String> {
        let lower = |name: &String| name.trim().to_lowercase();
        let asked = [&self.path, &self.class, &self.split, &self.group];
        if !table.has_header {
            let first: Vec<String> =
                table.rows.first().map_or_else(Vec::new, |(_, row)| row.iter().map(lower).collect());
            let place = match self.path {
                Some(Column::Place(place)) => place - 1,
                _ => 0,
            };
            let is_image = |at: usize| {
                let path = table.rows.get(at).and_then(|(_, row)| row.get(place));
                path.is_some_and(|path| !matches!(find(path), Found::None))
            };
            let known = first.iter().any(|name| PATHS.contains(&name.as_str()));
            let named = asked.iter().any(|column| matches!(column, Some(Column::Name(_))));
            table.has_header = !is_image(0) && (known || named || is_image(1));
            if table.has_header {
                table.header = table.rows.remove(0).1;
            }
        }
        let width =
            if table.has_header { table.header.len() } else { table.rows.first().map_or(0, |(_, row)| row.len()) };
        let names = || match table.has_header {
            true => format!("the columns are {}", listed(table.header.iter().map(|name| name.trim()))),
            false => format!("the list has no header, and {width} columns"),
        };
        let place = |column: &Column| match column {
            Column::Name(name) => table
                .header
                .iter()
                .position(|known| known.trim() == name)
                .ok_or_else(|| format!("there is no column '{}'; {}", printable(name), names())),
            Column::Place(place) if (1..=width).contains(place) => Ok(place - 1),
            Column::Place(place) => Err(format!("there is no column {place}; {}", names())),
        };
        let usual = |known: &[&str]| {
            known.iter().find_map(|name| table.header.iter().position(|column| lower(column) == *name))
        };
        let find = |column: &Option<Column>, known: &[&str]| match column {
            Some(column) => place(column).map(Some),
            None => Ok(usual(known)),
        };
        let group = self.group.as_ref().map(place).transpose()?;
        let path = find(&self.path, PATHS)?.unwrap_or(0);
        let split = find(&self.split, SPLITS)?;
        let class = match find(&self.class, CLASSES)? {
            Some(class) => Some(class),
            None => {
                let taken = [Some(path), split, group];
                match (0..width).filter(|at| !taken.contains(&Some(*at))).collect::<Vec<_>>()[..] {
                    [] => None,
                    [only] => Some(only),
                    _ => {
                        return Err(format!(
                            "it is unclear which column holds the classes; {}: set data.labels.class to its name, or to its \
                             place from 1",
                            names()
                        ));
                    }
                }
            }
        };
        Ok(Columns { path, class, split, group })
    }

    /// The part that each word of the column of parts means.
    fn roles<'t>(
        &self,
        table: &'t Table,
        columns: &Columns,
        role: Option<Role>,
    ) -> Result<HashMap<&'t str, Role>, String> {
        let Some(split) = columns.split else { return Ok(HashMap::new()) };
        let mut roles = HashMap::new();
        for (line, row) in &table.rows {
            let Some(word) = row.get(split).map(|word| word.trim()) else { continue };
            if roles.contains_key(word) {
                continue;
            }
            let found = word_role(word).ok_or_else(|| {
                format!("line {line}: '{}' is no part of a split: expected train, validation or test", printable(word))
            })?;
            if role.is_some_and(|role| role != found) {
                return Err(format!(
                    "line {line}: the column of parts says '{}', but the list is given for another part",
                    printable(word)
                ));
            }
            roles.insert(word, found);
        }
        Ok(roles)
    }
}

/// A message about listed files that are not among the images.
fn absent(lost: &[(usize, &str)], all: usize, index: &Index, left_out: &AllLeftOut) -> String {
    let first: Vec<String> =
        lost.iter().take(3).map(|(line, path)| format!("'{}' (line {line})", printable(path))).collect();
    let more = if lost.len() > first.len() { ", …" } else { "" };
    let endings: BTreeSet<String> = lost
        .iter()
        .filter_map(|(_, path)| Some(format!(".{}", Path::new(path).extension()?.to_str()?.to_lowercase())))
        .collect();
    let known =
        |reason: &&Reason| matches!(reason, Reason::Ending(ending) if endings.contains(ending) && reason.is_image());
    let fix = match left_out.keys().find(known) {
        Some(Reason::Ending(ending)) => format!("files that end in {ending} are not read: {}", advice(ending)),
        _ => format!(
            "paths begin below {} (data.root) or beside the list; correct them, or remove the lines",
            shown(index.root())
        ),
    };
    format!("{} of {all} listed images are not there: {}{more}; {fix}", lost.len(), first.join(", "))
}
