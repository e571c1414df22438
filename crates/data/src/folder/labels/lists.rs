//! What the lines of a list say.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use injerto_files::{listed, printable, shown};

use super::classes::{Said, mark};
use super::index::{Found, Index};
use super::table::Table;
use super::{ClassColumns, Column, Labels, Line, ListFiles, Lists};
use crate::DataError;
use crate::endings::{EXTENSIONS, advice};
use crate::folder::roles::{Role, word_role};
use crate::folder::tree::{AllLeftOut, Reason};

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
/// Names of columns that hold 1 or true for the images of one part and 0 or false for training images, and that part.
const MARKED_PARTS: [(&str, Role); 4] = [
    ("is_valid", Role::Validation),
    ("is_val", Role::Validation),
    ("is_validation", Role::Validation),
    ("is_test", Role::Test),
];

/// Where a list says the classes of an image.
enum Classes {
    /// In the name of the folder that the image lies in.
    Folder,
    /// In one column.
    In(usize),
    /// In one column per class, which holds 1 if the image has the class and 0 if it has not.
    Marked(Vec<usize>),
}

/// Places of the columns, from 0.
struct Columns {
    path: usize,
    classes: Classes,
    split: Option<usize>,
    group: Option<usize>,
}

/// The name of a column as it is compared with known names.
fn lower(name: &str) -> String {
    name.trim().to_lowercase()
}

/// The columns of a list whose header has been taken off.
struct Header<'t> {
    table: &'t Table,
    /// Number of columns.
    width: usize,
}

impl<'t> Header<'t> {
    /// The columns of `table`. A line with more fields is an error: a class or a path of which only the first part is read would be
    /// another one.
    fn of(table: &'t Table) -> Result<Self, String> {
        let width =
            if table.has_header { table.header.len() } else { table.rows.first().map_or(0, |(_, row)| row.len()) };
        for (line, row) in &table.rows {
            let fields = row.iter().rposition(|field| !field.trim().is_empty()).map_or(0, |last| last + 1);
            if fields > width {
                let first = if table.has_header { "header" } else { "first line" };
                return Err(format!(
                    "line {line}: {fields} fields, and the {first} has {width}: put a text that holds the separator into quotation \
                     marks, in a .csv or .tsv"
                ));
            }
        }
        Ok(Self { table, width })
    }

    /// Lists the columns, for messages.
    fn names(&self) -> String {
        match self.table.has_header {
            true => format!("the columns are {}", listed(self.table.header.iter().map(|name| name.trim()))),
            false => format!("the list has no header, and {} columns", self.width),
        }
    }

    /// `at`, if no other column has its name.
    fn only(&self, at: usize) -> Result<usize, String> {
        let header = &self.table.header;
        match header.iter().filter(|name| lower(name) == lower(&header[at])).count() {
            1 => Ok(at),
            count => Err(format!(
                "{count} columns are called '{}': rename all but one, or name the column by its place from 1",
                printable(header[at].trim())
            )),
        }
    }

    /// The index of a column that an experiment names.
    fn place(&self, column: &Column) -> Result<usize, String> {
        match column {
            Column::Name(name) => {
                let found = self.table.header.iter().position(|known| known.trim() == name);
                self.only(found.ok_or_else(|| format!("there is no column '{}'; {}", printable(name), self.names()))?)
            }
            Column::Place(place) if (1..=self.width).contains(place) => Ok(place - 1),
            Column::Place(place) => Err(format!("there is no column {place}; {}", self.names())),
        }
    }

    /// The index of the column with the first of the `known` names that the header has.
    fn usual(&self, known: &[&str]) -> Result<Option<usize>, String> {
        let position = |name: &&str| self.table.header.iter().position(|column| lower(column) == *name);
        known.iter().find_map(position).map(|at| self.only(at)).transpose()
    }

    /// The index of the column that marks the images of one part.
    fn marked_part(&self) -> Result<Option<usize>, String> {
        let is_known = |name: &str| MARKED_PARTS.iter().any(|(known, _)| name == *known);
        // Of two such columns, one alone would put the images of the other part into training.
        if self.table.header.iter().filter(|name| is_known(&lower(name))).count() > 1 {
            return Err(format!(
                "several columns mark the images of a part; {}: put the parts into one column with train, validation or \
                 test",
                self.names()
            ));
        }
        self.usual(&MARKED_PARTS.map(|(name, _)| name))
    }

    /// Where the classes are if no column has a known name: in the columns that are not `taken` by something else.
    fn classes_beside(&self, taken: &[Option<usize>]) -> Result<Classes, String> {
        let left: Vec<usize> = (0..self.width).filter(|at| !taken.contains(&Some(*at))).collect();
        let is_marked = |at: &usize| {
            self.table.rows.iter().all(|(_, row)| row.get(*at).is_none_or(|field| mark(field.trim()).is_some()))
        };
        match left[..] {
            [] => Ok(Classes::Folder),
            [only] => Ok(Classes::In(only)),
            _ if self.table.has_header && left.iter().all(is_marked) => Ok(Classes::Marked(left)),
            _ => Err(format!(
                "it is unclear which column holds the classes; {}: set data.labels.class to its name, or to its place from 1, or \
                 to a list of columns that hold 1 or 0",
                self.names()
            )),
        }
    }
}

impl Lists {
    /// What a list says of the images in the index.
    pub(super) fn read(
        &self,
        file: &Path,
        role: Option<Role>,
        index: &Index,
        left_out: &AllLeftOut,
    ) -> Result<Vec<(usize, Line)>, String> {
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
            let classes = match &columns.classes {
                Classes::In(column) => Said::Text(field(*column)?.to_owned()),
                Classes::Marked(places) => {
                    let (mut marked, mut others) = (Vec::new(), Vec::new());
                    for &place in places {
                        let name = table.header[place].trim().to_owned();
                        match mark(field(place)?) {
                            Some(true) => marked.push(name),
                            Some(false) => others.push(name),
                            None => {
                                return Err(format!(
                                    "line {line}: the column of class '{}' must hold 1 or 0, but holds '{}'",
                                    printable(&name),
                                    printable(field(place)?)
                                ));
                            }
                        }
                    }
                    Said::Marks { marked, others }
                }
                Classes::Folder => Said::Folder(index.folder(at).ok_or_else(|| {
                    format!(
                        "line {line}: the list has no column of classes, and {} lies in no folder that could be one",
                        shown(&index.files()[at])
                    )
                })?),
            };
            let part = match columns.split {
                Some(column) => roles[field(column)?],
                None => role.unwrap_or(Role::Training),
            };
            let group = columns.group.map(&field).transpose()?.filter(|group| !group.is_empty()).map(Arc::from);
            told.push((at, Line { line, classes, role: part, group, by: format!("{}, line {line}", shown(file)) }));
        }
        if !lost.is_empty() {
            return Err(absent(&lost, &table, index, left_out));
        }
        match told.is_empty() {
            true => Err("this list names no images".to_owned()),
            false => Ok(told),
        }
    }

    /// Finds the columns of a list, and takes its header off.
    fn columns(&self, table: &mut Table, find: &dyn Fn(&str) -> Found) -> Result<Columns, String> {
        if !table.has_header {
            self.take_header(table, find);
        }
        let header = Header::of(table)?;
        let find = |column: &Option<Column>, known: &[&str]| match column {
            Some(column) => header.place(column).map(Some),
            None => header.usual(known),
        };
        let group = self.group.as_ref().map(|column| header.place(column)).transpose()?;
        let path = find(&self.path, PATHS)?.unwrap_or(0);
        let split = match find(&self.split, SPLITS)? {
            None => header.marked_part()?,
            found => found,
        };
        let classes = match &self.class {
            Some(ClassColumns::One(column)) => Classes::In(header.place(column)?),
            Some(ClassColumns::Each(columns)) => {
                Classes::Marked(columns.iter().map(|column| header.place(column)).collect::<Result<_, String>>()?)
            }
            None => match header.usual(CLASSES)? {
                Some(class) => Classes::In(class),
                None => header.classes_beside(&[Some(path), split, group])?,
            },
        };
        Ok(Columns { path, classes, split, group })
    }

    /// Takes the first row of a list off as its header, if the row is one.
    fn take_header(&self, table: &mut Table, find: &dyn Fn(&str) -> Found) {
        let first: Vec<String> =
            table.rows.first().map_or_else(Vec::new, |(_, row)| row.iter().map(|name| lower(name)).collect());
        let place = match self.path {
            Some(Column::Place(place)) => place - 1,
            _ => 0,
        };
        let is_image = |at: usize| {
            let path = table.rows.get(at).and_then(|(_, row)| row.get(place));
            path.is_some_and(|path| !matches!(find(path), Found::None))
        };
        let known = first.iter().any(|name| PATHS.contains(&name.as_str()));
        let class = match &self.class {
            Some(ClassColumns::One(column)) => Some(column),
            Some(ClassColumns::Each(columns)) => columns.first(),
            None => None,
        };
        let asked = [self.path.as_ref(), class, self.split.as_ref(), self.group.as_ref()];
        let named = asked.iter().any(|column| matches!(column, Some(Column::Name(_))));
        table.has_header = !is_image(0) && (known || named || is_image(1));
        if table.has_header {
            table.header = table.rows.remove(0).1;
        }
    }

    /// The part that each word of the column of parts means.
    fn roles<'t>(
        &self,
        table: &'t Table,
        columns: &Columns,
        role: Option<Role>,
    ) -> Result<HashMap<&'t str, Role>, String> {
        let Some(split) = columns.split else { return Ok(HashMap::new()) };
        let name = table.header.get(split).map_or_else(String::new, |name| name.trim().to_lowercase());
        let marked = MARKED_PARTS.iter().find(|(known, _)| *known == name).map(|&(_, role)| role);
        let said = |word: &str| match marked {
            Some(role) => mark(word).map(|is| if is { role } else { Role::Training }),
            None => word_role(word),
        };
        let expected = if marked.is_some() { "true or false" } else { "train, validation or test" };
        let mut roles = HashMap::new();
        for (line, row) in &table.rows {
            let Some(word) = row.get(split).map(|word| word.trim()) else { continue };
            if roles.contains_key(word) {
                continue;
            }
            let found = said(word).ok_or_else(|| {
                format!("line {line}: '{}' is not a part of a split: expected {expected}", printable(word))
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

/// An image that a list names, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path, as the list says it.
    pub path: String,
    /// Its class, or several with [`SEPARATOR`](crate::SEPARATOR) between them, if the list has a column of classes.
    pub class: Option<String>,
}

/// The images that a list names, line by line, without a look at what is there. Columns are found as [`Lists`] says.
///
/// # Errors
/// [`DataError::Labels`] if the list cannot be read.
pub fn listed_in(file: &Path) -> Result<Vec<Listed>, DataError> {
    let bad = |reason: String| DataError::Labels { path: file.to_owned(), reason };
    let beside = file.parent().unwrap_or(Path::new(""));
    let find = |path: &str| match beside.join(injerto_files::from_text(path)).is_file() {
        true => Found::One(0),
        false => Found::None,
    };
    let Labels::Lists(lists) = Labels::from(ListFiles::One { file: file.to_owned() }) else {
        unreachable!("a file is a list")
    };
    let mut table = Table::read(file, &|path| matches!(find(path), Found::One(_))).map_err(bad)?;
    let columns = lists.columns(&mut table, &find).map_err(bad)?;
    let mut images = Vec::with_capacity(table.rows.len());
    for (line, row) in &table.rows {
        let field = |at: usize| row.get(at).map(|field| field.trim());
        let path = field(columns.path).filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| bad(format!("line {line}: there is no path")))?.to_owned();
        let class = match &columns.classes {
            Classes::Folder => None,
            Classes::In(column) => field(*column).map(str::to_owned),
            Classes::Marked(places) => {
                let marked = places.iter().filter(|&&at| field(at).and_then(mark) == Some(true));
                let names: Vec<&str> = marked.map(|&at| table.header[at].trim()).collect();
                Some(names.join(crate::SEPARATOR))
            }
        };
        images.push(Listed { path, class: class.filter(|class| !class.is_empty()) });
    }
    Ok(images)
}

/// A message about listed files that are not among the images.
fn absent(lost: &[(usize, &str)], table: &Table, index: &Index, left_out: &AllLeftOut) -> String {
    let first: Vec<String> =
        lost.iter().take(3).map(|(line, path)| format!("'{}' (line {line})", printable(path))).collect();
    let more = if lost.len() > first.len() { ", …" } else { "" };
    let endings: BTreeSet<String> = lost
        .iter()
        .filter_map(|(_, path)| Some(format!(".{}", Path::new(path).extension()?.to_str()?.to_lowercase())))
        .collect();
    let known =
        |reason: &&Reason| matches!(reason, Reason::Ending(ending) if endings.contains(ending) && reason.is_image());
    let all = table.rows.len();
    // The name of a file does not go on after its ending.
    let is_joined = |(_, path): &(usize, &str)| {
        let path = path.to_lowercase();
        let mut rests = EXTENSIONS.iter().filter_map(|ending| Some(&path[path.find(ending)? + ending.len()..]));
        rests.any(|rest| rest.starts_with(|next: char| !next.is_alphanumeric()))
    };
    let fix = match left_out.keys().find(known) {
        Some(Reason::Ending(ending)) => format!("files that end in {ending} are not read: {}", advice(ending)),
        _ if lost.len() == all && table.rows.iter().all(|(_, row)| row.len() == 1) && lost.iter().any(is_joined) => {
            "the lines have one column each; put a comma, a semicolon, a tab or | between path and class".to_owned()
        }
        _ => {
            // Each look goes through all images.
            let meant = lost.iter().take(3).find_map(|(_, path)| Some((path, index.named_like(path)?)));
            let meant = meant.map_or_else(String::new, |(path, file)| {
                let name = file.file_name().and_then(|name| name.to_str());
                let is_equal = name.is_some_and(|name| path.trim().ends_with(name));
                let capitals = if is_equal { "" } else { "capitals count, " };
                format!(", {capitals}and '{}' may mean {}", printable(path), shown(file))
            });
            let root = shown(index.root());
            format!("paths begin below {root} (data.root) or beside the list{meant}; correct them, or remove the lines")
        }
    };
    format!("{} of {all} listed images are not there: {}{more}; {fix}", lost.len(), first.join(", "))
}
