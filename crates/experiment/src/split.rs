//! The list of images that a run keeps, with the side of each, so that a resumed run can find out what has changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::path::Path;

use injerto_data::{Dataset, Origin, Sample};
use injerto_files::{csv, hex, shown};
use sha2::{Digest, Sha256};

/// Content of `split.csv`: the images of a run, in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SplitList {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// Path relative to the root, in printable form ([`name`]).
    path: String,
    class: String,
    side: Side,
    /// First half of the file's SHA-256, in hexadecimal; empty for a file that cannot be read.
    content: String,
}

/// The side of the split that an image is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Train,
    Validation,
    Test,
}

impl Side {
    const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The side that a word in a list means.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word.trim().to_lowercase().as_str() {
            "train" | "training" => Self::Train,
            "validation" | "val" | "valid" => Self::Validation,
            "test" | "testing" => Self::Test,
            _ => return None,
        })
    }
}

/// The images of an experiment, one dataset per side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sides {
    pub train: Dataset,
    pub validation: Option<Dataset>,
    pub test: Option<Dataset>,
}

impl Sides {
    /// All images, side by side, in the order of their list.
    pub fn samples(&self) -> impl Iterator<Item = (Side, &Sample)> {
        let datasets = [Some(&self.train), self.validation.as_ref(), self.test.as_ref()];
        let sides = Side::ALL.into_iter().zip(datasets).filter_map(|(side, dataset)| Some((side, dataset?)));
        sides.flat_map(|(side, dataset)| dataset.samples.iter().map(move |sample| (side, sample)))
    }

    /// The same images with new sides, one for each image of [`Sides::samples`]. Each side keeps the order.
    #[must_use]
    pub fn dealt(self, sides: impl IntoIterator<Item = Side>) -> Self {
        self.in_order(&sides.into_iter().enumerate().collect::<Vec<_>>())
    }

    /// These images of [`Sides::samples`], by their places, each on its side, in the given order.
    #[must_use]
    pub fn in_order(self, order: &[(usize, Side)]) -> Self {
        let Self { train: Dataset { classes, samples }, validation, test } = self;
        let others = [validation, test].into_iter().flatten().flat_map(|dataset| dataset.samples);
        let all: Vec<Sample> = samples.into_iter().chain(others).collect();
        let mut dealt = Side::ALL.map(|_| Vec::new());
        order.iter().for_each(|&(at, side)| dealt[side as usize].push(all[at].clone()));
        let [train, validation, test] = dealt.map(|samples| Dataset { classes: classes.clone(), samples });
        let some = |dataset: Dataset| Some(dataset).filter(|dataset| !dataset.samples.is_empty());
        Self { train, validation: some(validation), test: some(test) }
    }
}

const HEADER: &str = "path,class,side,sha256";

/// Changes of a run's images since the run began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataChange {
    /// Number of new files.
    pub added: usize,
    /// Number of files that no longer exist.
    pub removed: usize,
    /// Number of files with the same name but another content.
    pub replaced: usize,
    /// Number of files that are in another class.
    pub relabelled: usize,
    /// Number of training images that would become validation images.
    pub to_validation: usize,
    /// Number of validation images that would become training images.
    pub to_training: usize,
    /// Whether the changes are unknown, because the run's `split.csv` is missing or belongs to another run.
    pub unknown: bool,
}

impl fmt::Display for DataChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unknown {
            return f.write_str(
                "the lists of images differ, but split.csv, which would show how, is missing or belongs to another run",
            );
        }
        let counts = [
            (self.added, "added"),
            (self.removed, "removed"),
            (self.replaced, "replaced by others of the same name"),
            (self.relabelled, "moved to another class"),
        ];
        let mut parts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} file{} {what}", if count == 1 { "" } else { "s" }))
            .collect();
        if self.to_validation + self.to_training > 0 {
            parts.push(format!(
                "the split moved: {} training image{} would become validation images, and {} the other way round",
                self.to_validation,
                if self.to_validation == 1 { "" } else { "s" },
                self.to_training
            ));
        }
        match parts.is_empty() {
            true => f.write_str("the images are in another order"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

impl SplitList {
    /// The list of these images, whose paths are relative to `root`. Files are read if they have not been read before or have
    /// changed since.
    pub fn new(root: &Path, images: &Sides) -> Self {
        let datasets = [Some(&images.train), images.validation.as_ref(), images.test.as_ref()];
        let contents = datasets.into_iter().flatten().flat_map(Dataset::fingerprints);
        let rows = images.samples().zip(contents).map(|((side, sample), content)| Row {
            path: name(root, sample),
            class: sample.label.name(&images.train.classes).into_owned(),
            side,
            content: content.map_or_else(String::new, |content| hex(&content[..16])),
        });
        Self { rows: rows.collect() }
    }

    /// The list as the text of `split.csv`.
    pub fn to_csv(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for Row { path, class, side, content } in &self.rows {
            let _ = writeln!(text, "{}", csv::line([path, class, side.name(), content]));
        }
        text
    }

    /// Parses the text that [`SplitList::to_csv`] writes; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let rows = text.strip_prefix(HEADER)?.strip_prefix('\n')?;
        let row = |(_, fields): (usize, Vec<String>)| {
            let [path, class, side, content] = <[String; 4]>::try_from(fields).ok()?;
            let side = Side::ALL.into_iter().find(|known| known.name() == side)?;
            Some(Row { path, class, side, content })
        };
        Some(Self { rows: csv::lines(rows).ok()?.into_iter().map(row).collect::<Option<_>>()? })
    }

    /// SHA-256 of the list in hexadecimal, which checkpoints contain. Test images are not part of it, because they change nothing
    /// that is trained.
    pub fn digest(&self) -> String {
        let rows = self.rows.iter().filter(|row| row.side != Side::Test).cloned().collect();
        hex(Sha256::digest(Self { rows }.to_csv()))
    }

    /// The changes from the list `before` to this list.
    pub fn change_since(&self, before: &Self) -> DataChange {
        let old: BTreeMap<&str, &Row> = before.rows.iter().map(|row| (row.path.as_str(), row)).collect();
        let new: BTreeSet<&str> = self.rows.iter().map(|row| row.path.as_str()).collect();
        let sides = before.sides();
        let mut change =
            DataChange { removed: old.keys().filter(|path| !new.contains(*path)).count(), ..DataChange::default() };
        for row in &self.rows {
            match old.get(row.path.as_str()) {
                None => change.added += 1,
                Some(old) if old.class != row.class => change.relabelled += 1,
                Some(old) if old.content != row.content => change.replaced += 1,
                Some(_) => {}
            }
            match sides.get(row.content.as_str()) {
                Some(Side::Train) if row.side == Side::Validation => change.to_validation += 1,
                Some(Side::Validation) if row.side == Side::Train => change.to_training += 1,
                _ => {}
            }
        }
        change
    }

    /// The side of each content. If images with the same content are on both sides, it is the training side.
    fn sides(&self) -> HashMap<&str, Side> {
        let mut sides = HashMap::new();
        for row in self.rows.iter().filter(|row| !row.content.is_empty()) {
            let side = sides.entry(row.content.as_str()).or_insert(row.side);
            *side = row.side.min(*side);
        }
        sides
    }

    /// The images on the sides that their contents had in the list `before`, even if files were moved or renamed. This list
    /// describes the images before the move. New images stay where the split put them.
    pub fn keep_sides(&self, before: &Self, images: Sides) -> Sides {
        let sides = before.sides();
        let side = |row: &Row| sides.get(row.content.as_str()).copied().unwrap_or(row.side);
        images.dealt(self.rows.iter().map(side))
    }

    /// The list of the images after [`SplitList::keep_sides`], made without reading the files again.
    pub fn with_sides_of(&self, before: &Self) -> Self {
        let sides = before.sides();
        let moved =
            |row: &Row| Row { side: sides.get(row.content.as_str()).copied().unwrap_or(row.side), ..row.clone() };
        let mut rows: Vec<Row> = self.rows.iter().map(moved).collect();
        rows.sort_by_key(|row| row.side);
        Self { rows }
    }
}

/// What an image is called in the files of a run: its path below the root, in printable form.
pub(crate) fn name(root: &Path, sample: &Sample) -> String {
    match &sample.origin {
        Origin::File(path) => shown(path.strip_prefix(root).unwrap_or(path)).to_string(),
        Origin::Drawn(drawing) => format!("{drawing:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: &[(&str, &str, Side, &str)]) -> SplitList {
        let row = |&(path, class, side, content): &(&str, &str, Side, &str)| Row {
            path: path.to_owned(),
            class: class.to_owned(),
            side,
            content: content.to_owned(),
        };
        SplitList { rows: rows.iter().map(row).collect() }
    }

    #[test]
    fn a_list_is_parsed_as_it_was_written() {
        let odd = list(&[
            ("cats/a, b.jpg", "cats, large", Side::Train, "01"),
            ("cats/\"x\".jpg", "cats", Side::Validation, ""),
            ("", "", Side::Train, "ff"),
        ]);
        assert_eq!(SplitList::parse(&odd.to_csv()), Some(odd.clone()));
        for damaged in
            ["", "path,class\n", "path,class,side,sha256\na,b,spare,00\n", "path,class,side,sha256\n\"a,b,c\n"]
        {
            assert_eq!(SplitList::parse(damaged), None, "{damaged:?}");
        }
        assert_ne!(odd.digest(), list(&[]).digest());
    }

    #[test]
    fn a_change_is_described_by_the_change_of_each_file() {
        use Side::{Train, Validation};
        let before = list(&[
            ("a.jpg", "cats", Train, "01"),
            ("b.jpg", "cats", Train, "02"),
            ("c.jpg", "dogs", Validation, "03"),
            ("d.jpg", "dogs", Validation, "04"),
        ]);
        assert_eq!(before.change_since(&before), DataChange::default());
        // One file was removed, one added, one replaced and one moved to another class; and two changed sides.
        let after = list(&[
            ("c.jpg", "cats", Train, "03"),
            ("a.jpg", "cats", Validation, "01"),
            ("d.jpg", "dogs", Validation, "14"),
            ("e.jpg", "dogs", Validation, "05"),
        ]);
        let expected = DataChange {
            added: 1,
            removed: 1,
            replaced: 1,
            relabelled: 1,
            to_validation: 1,
            to_training: 1,
            unknown: false,
        };
        assert_eq!(after.change_since(&before), expected);
        let told = expected.to_string();
        for part in
            ["1 file added", "1 file removed", "1 file replaced", "the split moved: 1 training image would become"]
        {
            assert!(told.contains(part), "{told}");
        }
        // Training images stay in training, and validation images in validation; new images stay where the split put them.
        let sides: Vec<(String, Side)> =
            after.with_sides_of(&before).rows.into_iter().map(|row| (row.path, row.side)).collect();
        let expected = [("a.jpg", Train), ("c.jpg", Validation), ("d.jpg", Validation), ("e.jpg", Validation)];
        assert_eq!(sides, expected.map(|(path, side)| (path.to_owned(), side)));
    }

    #[test]
    fn a_photo_that_is_on_both_sides_was_trained_on() {
        let before = list(&[("a.jpg", "cats", Side::Validation, "01"), ("copy.jpg", "cats", Side::Train, "01")]);
        assert_eq!(before.sides()["01"], Side::Train);
    }
}
