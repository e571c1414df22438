//! `data.split`: a list that says of each image whether it trains, validates or tests.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use injerto_files::{csv, hex, listed, printable, shown};

use crate::ExperimentError;
use crate::split::{Side, Sides, name};

/// A list that a person or an earlier run wrote: columns `path` and `side`, and `sha256` if it is known.
#[derive(Debug)]
pub(crate) struct Listed {
    path: PathBuf,
    rows: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Path below the root, in printable form.
    path: String,
    side: Side,
    /// The beginning of the file's SHA-256 in hexadecimal; empty if it is unknown, or if the file could not be read.
    content: String,
}

impl Listed {
    /// Reads a list.
    ///
    /// # Errors
    /// [`ExperimentError::List`] with the line that is wrong.
    pub fn read(path: &Path) -> Result<Self, ExperimentError> {
        let wrong = |line: usize, reason: String| ExperimentError::List {
            path: path.to_owned(),
            reason: format!("line {line}: {reason}"),
        };
        let text =
            injerto_files::read_text(path).map_err(|source| ExperimentError::Io { path: path.to_owned(), source })?;
        let lines = csv::lines(&text).map_err(|line| wrong(line, "a quotation mark is not closed".to_owned()))?;
        let mut lines = lines.into_iter();
        let (at, header) = lines.next().unwrap_or((1, Vec::new()));
        let place = |column: &str| header.iter().position(|name| name.trim() == column);
        let needed = |column: &str| {
            let expected = "expected a header with the columns path and side, as in the split.csv of a run";
            place(column).ok_or_else(|| wrong(at, format!("there is no column '{column}'; {expected}")))
        };
        let (path_at, side_at, content_at) = (needed("path")?, needed("side")?, place("sha256"));
        let (mut rows, mut named) = (Vec::new(), HashSet::new());
        for (line, row) in lines {
            let (Some(path), Some(side)) = (row.get(path_at), row.get(side_at)) else {
                return Err(wrong(line, format!("expected {} fields, found {}", header.len(), row.len())));
            };
            let side = Side::of(side).ok_or_else(|| {
                wrong(line, format!("the side is '{}', and it must be train, validation or test", printable(side)))
            })?;
            if !named.insert(path.clone()) {
                return Err(wrong(line, format!("'{}' is named a second time", printable(path))));
            }
            let content = content_at.and_then(|at| row.get(at)).cloned().unwrap_or_default();
            rows.push(Entry { path: path.clone(), side, content });
        }
        if !rows.iter().any(|row| row.side == Side::Train) {
            return Err(wrong(at, "no image is on the side train".to_owned()));
        }
        Ok(Self { path: path.to_owned(), rows })
    }

    /// Whether it names validation images.
    pub fn validates(&self) -> bool {
        self.rows.iter().any(|row| row.side == Side::Validation)
    }

    /// The images on the sides of the list, in its order, and a warning about those that it does not name. A file that was renamed
    /// is found by its content.
    ///
    /// # Errors
    /// [`ExperimentError::List`] if images of the list are not there.
    pub fn divide(&self, root: &Path, images: Sides) -> Result<(Sides, Option<String>), ExperimentError> {
        let names: Vec<String> = images.samples().map(|(_, sample)| name(root, sample)).collect();
        let by_name: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let mut found: Vec<Option<usize>> =
            self.rows.iter().map(|row| by_name.get(row.path.as_str()).copied()).collect();
        if found.iter().any(Option::is_none) && self.rows.iter().any(|row| !row.content.is_empty()) {
            let taken: HashSet<usize> = found.iter().flatten().copied().collect();
            let mut by_content: HashMap<String, Vec<usize>> = HashMap::new();
            for (at, (_, sample)) in images.samples().enumerate().filter(|(at, _)| !taken.contains(at)) {
                let content = sample.fingerprint().map(|content| hex(&content[..16]));
                content.into_iter().for_each(|content| by_content.entry(content).or_default().push(at));
            }
            for (row, place) in self.rows.iter().zip(&mut found).filter(|(_, place)| place.is_none()) {
                let content = row.content.get(..32).unwrap_or(&row.content);
                *place = by_content.get_mut(content).and_then(Vec::pop);
            }
        }
        // A file that could not be read when the list was written has no content there, and may have been left out now.
        let missing = self.rows.iter().zip(&found).filter(|(row, place)| place.is_none() && !self.was_unreadable(row));
        let missing: Vec<&str> = missing.map(|(row, _)| row.path.as_str()).collect();
        if !missing.is_empty() {
            let reason = format!(
                "{} of {} images are not in {}: {}; put them there, or take their lines out of the list",
                missing.len(),
                self.rows.len(),
                shown(root),
                listed(missing.iter().copied())
            );
            return Err(ExperimentError::List { path: self.path.clone(), reason });
        }
        let mut order: Vec<(usize, Side)> =
            found.iter().zip(&self.rows).filter_map(|(place, row)| Some(((*place)?, row.side))).collect();
        order.sort_by_key(|(_, side)| *side);
        let unnamed = names.len() - order.iter().map(|(at, _)| at).collect::<HashSet<_>>().len();
        let warning = (unnamed > 0).then(|| {
            format!(
                "{unnamed} of {} images in {} are not in the list {}, and are not used",
                names.len(),
                shown(root),
                shown(&self.path)
            )
        });
        Ok((images.in_order(&order), warning))
    }

    fn was_unreadable(&self, row: &Entry) -> bool {
        row.content.is_empty() && self.rows.iter().any(|row| !row.content.is_empty())
    }
}
