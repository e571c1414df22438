//! Groups: images that were taken together (of one patient, in one burst, by one camera on one day). If some of them train and
//! others validate, the accuracy says how well the network remembers, not how well it recognises.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use injerto_files::shown;
use rayon::prelude::*;
use regex_lite::Regex;
use serde::Serialize;

use crate::{DataError, Dataset, Sample, decode, read};

/// The rule by which images belong together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Grouping {
    /// The sub-folder of the class that an image lies in, whichever class it is.
    Folder(FolderWord),
    /// A pattern in the name of the file: its first group in parentheses, or all that it matches.
    Pattern {
        /// A regular expression.
        pattern: String,
    },
    /// The time at which the photo was taken (EXIF): photos that follow each other within so many seconds.
    ExifSeconds {
        /// Seconds, at least 0.
        exif_seconds: f64,
    },
    /// A column of a CSV file with a header.
    Csv {
        /// The file.
        #[serde(serialize_with = "path")]
        csv: PathBuf,
        /// The column that holds the groups.
        column: String,
        /// The column that holds the names of the images: paths below the root, or names of files. `None`: the first column.
        #[serde(skip_serializing_if = "Option::is_none")]
        file_column: Option<String>,
    },
}

/// A path as an experiment's file has it.
fn path<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&injerto_files::to_text(path.as_os_str()))
}

/// The word for [`Grouping::Folder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderWord {
    /// `"folder"`.
    #[default]
    Folder,
}

impl Grouping {
    /// The regular expression of a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn regex(pattern: &str) -> Result<Regex, String> {
        Regex::new(pattern).map_err(|error| error.to_string())
    }

    /// Sets the group of each image. Returns the number of images that belong to no group; each of these is a group of its own.
    ///
    /// # Errors
    /// [`DataError::Group`] for a file or a pattern that cannot be used, or if no image belongs to a group.
    pub fn assign<'d>(
        &self,
        root: &Path,
        parts: impl IntoIterator<Item = &'d mut Dataset>,
    ) -> Result<usize, DataError> {
        let parts: Vec<&mut Dataset> = parts.into_iter().collect();
        let group = |reason: String| DataError::Group { reason };
        let found: Vec<Vec<Option<Arc<str>>>> = match self {
            Self::Folder(_) => by(&parts, &|path, class| sub_folder(root, path, class)),
            Self::Pattern { pattern } => {
                let regex = Self::regex(pattern).map_err(group)?;
                by(&parts, &|path, _| matched(&regex, path))
            }
            Self::ExifSeconds { exif_seconds } => by_time(&parts, *exif_seconds),
            Self::Csv { csv, column, file_column } => {
                let table = Table::read(csv, column, file_column.as_deref()).map_err(group)?;
                by(&parts, &|path, _| table.group(root, path))
            }
        };
        let (all, without) = found
            .iter()
            .flatten()
            .fold((0, 0), |(all, without), group| (all + 1, without + usize::from(group.is_none())));
        if all == without {
            return Err(group(format!("{}; leave the key out, or name another one", self.nothing())));
        }
        for (part, groups) in parts.into_iter().zip(found) {
            part.samples.iter_mut().zip(groups).for_each(|(sample, group)| sample.group = group);
        }
        Ok(without)
    }

    /// Why no image belongs to a group, in words.
    fn nothing(&self) -> String {
        match self {
            Self::Folder(_) => "no image lies in a sub-folder of its class".to_owned(),
            Self::Pattern { pattern } => format!("the name of no image matches the pattern {pattern:?}"),
            Self::ExifSeconds { .. } => "no image says when it was taken (EXIF)".to_owned(),
            Self::Csv { csv, .. } => format!("{} names none of the images", shown(csv)),
        }
    }
}

/// The group of each image by its path and its class.
fn by(parts: &[&mut Dataset], group: &(dyn Fn(&Path, &str) -> Option<String> + Sync)) -> Vec<Vec<Option<Arc<str>>>> {
    let of = |dataset: &Dataset, sample: &Sample| {
        let class = sample.label.name(&dataset.classes);
        group(sample.origin.path()?, &class).map(Arc::from)
    };
    parts.iter().map(|part| part.samples.iter().map(|sample| of(part, sample)).collect()).collect()
}

/// The folder right below that of the class, if the image lies in one.
fn sub_folder(root: &Path, path: &Path, class: &str) -> Option<String> {
    let folders = path.strip_prefix(root).unwrap_or(path).parent()?;
    let mut folders = folders.iter().map(|name| super::composed(&shown(Path::new(name)).to_string()));
    let class = super::composed(&shown(Path::new(class)).to_string());
    folders.by_ref().find(|name| *name == class)?;
    folders.next()
}

fn matched(regex: &Regex, path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let found = regex.captures(&name)?;
    Some(found.get(1).or(found.get(0))?.as_str().to_owned())
}

/// Photos whose times follow each other within `seconds`. Only the headers of the files are needed, but files are read whole.
fn by_time(parts: &[&mut Dataset], seconds: f64) -> Vec<Vec<Option<Arc<str>>>> {
    let taken = |sample: &Sample| sample.origin.path().and_then(|path| decode::taken(&read(path).ok()?));
    let times: Vec<Vec<Option<i64>>> =
        parts.iter().map(|part| part.samples.par_iter().with_max_len(1).map(taken).collect()).collect();
    let mut sorted: Vec<i64> = times.iter().flatten().copied().flatten().collect();
    sorted.sort_unstable();
    // A group is known by the time of its first photo.
    let mut first: HashMap<i64, i64> = HashMap::new();
    let mut before: Option<(i64, i64)> = None;
    for time in sorted {
        let begin = before.filter(|(last, _)| (time - last) as f64 <= seconds).map_or(time, |(_, begin)| begin);
        first.insert(time, begin);
        before = Some((time, begin));
    }
    let group = |time: Option<i64>| Some(Arc::from(first.get(&time?)?.to_string()));
    times.into_iter().map(|part| part.into_iter().map(group).collect()).collect()
}

/// Groups by the names of images.
struct Table(HashMap<String, String>);

impl Table {
    fn read(path: &Path, column: &str, file_column: Option<&str>) -> Result<Self, String> {
        let text = injerto_files::read_text(path).map_err(|error| format!("{}: {error}", shown(path)))?;
        let wrong = |line: usize, what: &str| format!("{}: line {line}: {what}", shown(path));
        let lines = injerto_files::csv::lines(&text).map_err(|line| wrong(line, "a quotation mark is not closed"))?;
        let mut lines = lines.into_iter();
        let header = lines.next().ok_or_else(|| wrong(1, "expected a header with the names of the columns"))?;
        let (at, header) = header;
        let place = |name: &str| {
            let known = header.iter().position(|column| column.trim() == name);
            known.ok_or_else(|| {
                let columns = injerto_files::listed(header.iter().map(String::as_str));
                wrong(at, &format!("there is no column '{name}'; the columns are {columns}"))
            })
        };
        let (file, group) = (file_column.map_or(Ok(0), place)?, place(column)?);
        let mut groups = HashMap::new();
        for (at, row) in lines {
            let [Some(file), Some(group)] = [file, group].map(|place| row.get(place)) else {
                return Err(wrong(at, &format!("expected {} fields, found {}", header.len(), row.len())));
            };
            if !group.trim().is_empty() {
                groups.insert(file.trim().to_owned(), group.trim().to_owned());
            }
        }
        Ok(Self(groups))
    }

    /// The group of an image by its path below the root, or else by the name of its file.
    fn group(&self, root: &Path, path: &Path) -> Option<String> {
        let names = [path.strip_prefix(root).ok().map(Path::to_owned), path.file_name().map(PathBuf::from)];
        names.into_iter().flatten().find_map(|name| self.0.get(shown(&name).to_string().as_str()).cloned())
    }
}
