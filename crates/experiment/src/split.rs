//! The list of images that a run keeps, with the side of each, so that a resumed run can find out what has changed.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::path::Path;

use injerto_data::{Dataset, Origin, Sample};
use injerto_files::{csv, hex, listed, shown};
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
    /// Number of files with another name but the same content and class.
    pub renamed: usize,
    /// Number of files that are in another class, by their classes before and now.
    pub relabelled: BTreeMap<[String; 2], usize>,
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
        let files = |count: usize| format!("{count} file{}", if count == 1 { "" } else { "s" });
        let counts = [
            (self.added, "added"),
            (self.removed, "removed"),
            (self.replaced, "replaced by others of the same name"),
            (self.renamed, "renamed"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let mut parts: Vec<String> = counts.map(|(count, what)| format!("{} {what}", files(count))).collect();
        if !self.relabelled.is_empty() {
            let mut pairs: Vec<_> = self.relabelled.iter().collect();
            pairs.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let pairs: Vec<String> =
                pairs.into_iter().map(|([from, to], count)| format!("{count} from {from} to {to}")).collect();
            let all = files(self.relabelled.values().sum());
            parts.push(format!("{all} moved to another class ({})", listed(pairs.iter().map(String::as_str))));
        }
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

    /// The changes from the list `before` to this list. A file is known by its content first, wherever it lies now, and then by its
    /// name.
    pub fn change_since(&self, before: &Self) -> DataChange {
        let sides = before.sides();
        let mut change = DataChange::default();
        let mut gone: BTreeMap<&str, &Row> = before.rows.iter().map(|row| (row.path.as_str(), row)).collect();
        let relabel = |change: &mut DataChange, old: &Row, new: &Row| {
            if old.class != new.class {
                *change.relabelled.entry([old.class.clone(), new.class.clone()]).or_default() += 1;
            }
        };
        // Those that lie where they were, then those that lie elsewhere, then those that others have replaced.
        let mut left: Vec<&Row> = Vec::new();
        for row in &self.rows {
            match gone.get(row.path.as_str()) {
                Some(old) if old.content == row.content => {
                    relabel(&mut change, old, row);
                    gone.remove(row.path.as_str());
                }
                _ => left.push(row),
            }
            match sides.get(row.content.as_str()) {
                Some(Side::Train) if row.side == Side::Validation => change.to_validation += 1,
                Some(Side::Validation) if row.side == Side::Train => change.to_training += 1,
                _ => {}
            }
        }
        let mut by_content: HashMap<&str, Vec<&str>> = HashMap::new();
        for (path, row) in gone.iter().rev().filter(|(_, row)| !row.content.is_empty()) {
            by_content.entry(row.content.as_str()).or_default().push(path);
        }
        left.retain(|row| match by_content.get_mut(row.content.as_str()).and_then(Vec::pop) {
            Some(path) => {
                let old = gone.remove(path).expect("each path is taken once");
                change.renamed += usize::from(old.class == row.class);
                relabel(&mut change, old, row);
                false
            }
            None => true,
        });
        for row in left {
            match gone.remove(row.path.as_str()) {
                Some(old) => {
                    change.replaced += 1;
                    relabel(&mut change, old, row);
                }
                None => change.added += 1,
            }
        }
        change.removed = gone.len();
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
            renamed: 0,
            relabelled: BTreeMap::from([(["dogs".to_owned(), "cats".to_owned()], 1)]),
            to_validation: 1,
            to_training: 1,
            unknown: false,
        };
        assert_eq!(after.change_since(&before), expected);
        let told = expected.to_string();
        for part in [
            "1 file added, 1 file removed, 1 file replaced",
            "1 file moved to another class (1 from dogs to cats), the split moved: 1 training image would become",
        ] {
            assert!(told.contains(part), "{told}");
        }
        // Training images stay in training, and validation images in validation; new images stay where the split put them.
        let sides: Vec<(String, Side)> =
            after.with_sides_of(&before).rows.into_iter().map(|row| (row.path, row.side)).collect();
        let expected = [("a.jpg", Train), ("c.jpg", Validation), ("d.jpg", Validation), ("e.jpg", Validation)];
        assert_eq!(sides, expected.map(|(path, side)| (path.to_owned(), side)));
    }

    #[test]
    fn files_are_known_by_their_contents_wherever_they_lie() {
        let was = ["cats/1.jpg", "cats/2.jpg", "dogs/1.jpg", "dogs/2.jpg"];
        let check = |is: [(&str, &str); 4], expected: &str| {
            let row = |(path, content): (&'static str, &'static str)| (path, &path[..4], Side::Train, content);
            let before = list(&was.into_iter().zip(["01", "02", "03", "04"]).map(row).collect::<Vec<_>>());
            let mut after: Vec<(&str, &str, Side, &str)> =
                is.iter().map(|&(path, content)| (path, &path[..4], Side::Train, content)).collect();
            after.sort();
            assert_eq!(list(&after).change_since(&before).to_string(), expected, "{is:?}");
        };
        // Two classes whose folders were exchanged, with files of the same names.
        check(
            [("cats/1.jpg", "03"), ("cats/2.jpg", "04"), ("dogs/1.jpg", "01"), ("dogs/2.jpg", "02")],
            "4 files moved to another class (2 from cats to dogs, 2 from dogs to cats)",
        );
        check(
            [("cats/1.jpg", "01"), ("dogs/9.jpg", "02"), ("dogs/1.jpg", "03"), ("dogs/2.jpg", "04")],
            "1 file moved to another class (1 from cats to dogs)",
        );
        check(
            [("cats/a.jpg", "01"), ("cats/2.jpg", "02"), ("dogs/1.jpg", "04"), ("dogs/2.jpg", "03")],
            "3 files renamed",
        );
        // A copy is a further file, and a file that cannot be read is known by its name alone.
        check(
            [("cats/1.jpg", "01"), ("cats/2.jpg", "01"), ("dogs/1.jpg", "03"), ("dogs/2.jpg", "04")],
            "1 file replaced by others of the same name",
        );
        check(
            [("cats/1.jpg", ""), ("cats/3.jpg", ""), ("dogs/1.jpg", "03"), ("dogs/2.jpg", "04")],
            "1 file added, 1 file removed, 1 file replaced by others of the same name",
        );
    }

    #[test]
    fn a_photo_that_is_on_both_sides_was_trained_on() {
        let before = list(&[("a.jpg", "cats", Side::Validation, "01"), ("copy.jpg", "cats", Side::Train, "01")]);
        assert_eq!(before.sides()["01"], Side::Train);
    }
}
