//! A folder of photos that changes: after each change there is a new answer within a second or two.
//!
//! Each new photo passes through the backbone once, and a logistic regression on the features of all photos is fitted again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_data::folder::{self, Folder, Inventory};
use injerto_data::look::{Verdicts, look};
use injerto_data::{DataError, Dataset, OnCorrupt, Sample};
use injerto_files::to_text;
use injerto_insight::folds::Folds;
use injerto_insight::neighbours::Neighbourhood;
use injerto_insight::probe::{CrossValidation, Mean, Probe, Strengths};
use injerto_insight::{Content, FeatureTable, InsightError, labels};
use injerto_trainer::{Model, Watch};
use serde::{Serialize, Serializer};

use crate::gallery::Gallery;
use crate::inspect::{ClassCount, FOLDS, SuspectFound};
use crate::{ExperimentError, Prepared};

/// Name of the folder whose photos have no class yet.
pub const UNSORTED: &str = "unsorted";

/// Folders that hold the classes of one part of a split each. The photos of all of them are judged together.
const PARTS: [&str; 7] = ["train", "training", "validation", "valid", "val", "test", "testing"];

/// Share of new photos from which on the strength of the probe is chosen anew.
const GROWN: f64 = 0.1;

/// The photos of a folder by their paths, with size and time of the last write.
pub type State = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// A folder that is watched.
#[derive(Debug)]
pub struct Watched {
    root: PathBuf,
    prepared: Prepared,
    /// The network whose features are taken. It is made once, and serves every look.
    model: Model,
    cache: Cache,
    /// The photos of the last answer: their content, and the folder that each lies in.
    before: Option<BTreeMap<PathBuf, Option<Content>>>,
    /// Strength of the probe, and the number of photos for which it was chosen.
    strength: Option<(f64, usize)>,
}

/// What is known of the folder now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Photos that have a class.
    pub photos: usize,
    /// Photos of each class.
    pub classes: Vec<ClassCount>,
    /// What has changed since the last answer; `None` in the first one.
    pub changes: Option<Changes>,
    /// Accuracy of a logistic regression by cross-validation: each photo is judged by one that has not seen it.
    pub accuracy: Option<Mean>,
    /// Why there is no accuracy, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Photos whose class looks wrong, those first whose class is the least probable.
    pub labels: Vec<SuspectFound>,
    /// The predictions for photos without a class, the surest first.
    pub unsorted: Vec<Guess>,
    /// Files that cannot be read, half-written ones among them.
    #[serde(serialize_with = "texts")]
    pub unreadable: Vec<PathBuf>,
    /// Seconds that the answer took.
    pub seconds: f64,
}

/// What has changed in a folder. A photo whose content was there under another path has moved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Changes {
    /// New photos.
    #[serde(serialize_with = "texts")]
    pub added: Vec<PathBuf>,
    /// Photos that are gone.
    #[serde(serialize_with = "texts")]
    pub removed: Vec<PathBuf>,
    /// Photos that lie elsewhere now: the path before, and the path now.
    #[serde(serialize_with = "pairs")]
    pub moved: Vec<(PathBuf, PathBuf)>,
}

/// The prediction for a photo without a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guess {
    /// The file.
    #[serde(serialize_with = "text")]
    pub path: PathBuf,
    /// The class.
    pub class: String,
    /// Probability of the class.
    pub probability: f64,
}

impl Watched {
    /// Prepares to watch a folder with one sub-folder per class (or with such folders in `train` and `validation`), and with an `unsorted`
    /// one for photos without a class. `config` says with which backbone, and how photos are read.
    ///
    /// # Errors
    /// [`ExperimentError`] if the backbone or its weights cannot be found.
    pub fn begin(root: &Path, config: Config, catalog: &mut Catalog, cache: &Cache) -> Result<Self, ExperimentError> {
        let device = crate::device(config.device)?;
        // The head is that of any two classes: nothing is trained, and the classes may change.
        let train = Dataset { classes: ["a", "b"].map(str::to_owned).to_vec(), samples: Vec::new() };
        let folder = Folder { train, validation: None, test: None, inventory: Inventory::default() };
        let gallery = Gallery::given(folder);
        let prepared = Prepared::on(&gallery, config, catalog, cache)?;
        let model = prepared.model(prepared.config.seed, &device)?;
        let (root, cache) = (root.to_owned(), cache.clone());
        Ok(Self { root, prepared, model, cache, before: None, strength: None })
    }

    /// The backbone's name and the source of its weights.
    pub fn backbone(&self) -> (&str, &str) {
        (&self.prepared.config.backbone.plugin, &self.prepared.origin)
    }

    /// The photos that lie in the folder now, unread.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn state(&self) -> Result<State, ExperimentError> {
        let (files, _) = folder::images(&self.root)?;
        // A file that is gone since then is not there.
        let seen = |path: PathBuf| {
            let about = path.metadata().ok()?;
            Some((path, (about.len(), about.modified().ok())))
        };
        Ok(files.into_iter().filter_map(seen).collect())
    }

    /// Looks at all photos, of which only new ones pass through the backbone, and fits the probe again. `None` if it was stopped.
    ///
    /// # Errors
    /// The folder cannot be read, or features cannot be computed.
    pub fn answer(&mut self, watch: &mut Watch<'_>) -> Result<Option<Answer>, ExperimentError> {
        let began = Instant::now();
        let (gallery, mut unreadable) = self.sorted()?;
        let classes = gallery.folder.train.classes.clone();
        let Some(table) = self.features(&gallery, watch)? else { return Ok(None) };
        let (loose, spoilt) = self.loose()?;
        unreadable.extend(spoilt);
        let loose = match &loose {
            Some(gallery) => {
                let Some(table) = self.features(gallery, watch)? else { return Ok(None) };
                table
            }
            None => None,
        };
        let tables = || table.iter().chain(&loose);
        let now: BTreeMap<PathBuf, Option<Content>> = tables()
            .flat_map(|table| {
                table.images().iter().enumerate().map(|(row, it)| (table.path(row).to_owned(), it.content))
            })
            .collect();
        let changes = self.before.as_ref().map(|before| Changes::between(before, &now));
        let counts = gallery.folder.train.counts();
        let counted = classes.iter().zip(&counts).map(|(name, &images)| ClassCount { name: name.clone(), images });
        let mut answer = Answer {
            photos: counts.iter().sum(),
            classes: counted.collect(),
            changes,
            accuracy: None,
            reason: None,
            labels: Vec::new(),
            unsorted: Vec::new(),
            unreadable,
            seconds: 0.0,
        };
        let filled = counts.iter().filter(|count| **count > 0).count();
        match &table {
            Some(table) if filled > 1 => match self.judge(table, loose.as_ref(), watch, &mut answer) {
                Err(ExperimentError::Insight(InsightError::Stopped)) => return Ok(None),
                Err(ExperimentError::Insight(reason)) => answer.reason = Some(reason.to_string()),
                done => done?,
            },
            _ => answer.reason = Some(format!("two classes with photos are needed, and there are {filled}")),
        }
        self.before = Some(now);
        answer.seconds = began.elapsed().as_secs_f64();
        Ok(Some(answer))
    }

    /// Fits the probe, and applies it to all photos.
    fn judge(
        &mut self,
        table: &FeatureTable,
        loose: Option<&FeatureTable>,
        watch: &Watch<'_>,
        answer: &mut Answer,
    ) -> Result<(), ExperimentError> {
        let stop = injerto_insight::Watch::none().stopped_by(watch.stop);
        let photos = table.len();
        // The strength depends little on a few photos, and choosing it takes the longest.
        let grown = |of: usize| photos.abs_diff(of) as f64 > GROWN * of as f64;
        let strengths = match self.strength {
            Some((strength, of)) if !grown(of) => Strengths::new(vec![strength])?,
            _ => Strengths::default(),
        };
        let chosen = self.strength.filter(|(_, of)| !grown(*of)).map_or(photos, |(_, of)| of);
        let folds = Folds::new(FOLDS.min(photos), u64::from(self.prepared.config.seed));
        let found = CrossValidation::run(table, folds, &strengths, stop)?;
        self.strength = Some((found.strength, chosen));
        answer.accuracy = Some(found.accuracy);
        let suspects = labels::find(table, &Neighbourhood::of(table, stop)?, &found.predictions)?;
        answer.labels = suspects.iter().map(|suspect| SuspectFound::new(suspect, table)).collect();
        if let Some(loose) = loose {
            let probabilities = Probe::fit(table, found.strength, stop)?.probabilities(loose.features())?;
            let rows = probabilities.chunks_exact(table.classes().len()).enumerate();
            let guess = |(row, probabilities): (usize, &[f64])| {
                let best = (1..probabilities.len())
                    .fold(0, |best, at| if probabilities[at] > probabilities[best] { at } else { best });
                let (class, probability) = (table.classes()[best].clone(), probabilities[best]);
                Guess { path: loose.path(row).to_owned(), class, probability }
            };
            answer.unsorted = rows.map(guess).collect();
            answer.unsorted.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.path.cmp(&b.path)));
        }
        Ok(())
    }

    /// Features of the photos of a gallery; the inner `None` without photos, the outer one if it was stopped.
    fn features(
        &self,
        gallery: &Gallery,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Option<FeatureTable>>, ExperimentError> {
        if gallery.folder.train.samples.is_empty() {
            return Ok(Some(None));
        }
        let found = self.prepared.features_of(&self.model, gallery, watch, &mut |_, _| {})?;
        Ok(found.map(Some))
    }

    /// The photos that have a class, looked at; and files that cannot be read.
    fn sorted(&self) -> Result<(Gallery, Vec<PathBuf>), ExperimentError> {
        let folders = |folder: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let named = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default();
                !name.as_encoded_bytes().starts_with(b".") && !name.eq_ignore_ascii_case(UNSORTED) && path.is_dir()
            };
            entries.filter(named).collect()
        };
        let own = folders(&self.root);
        let is_part = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            PARTS.iter().any(|part| name.eq_ignore_ascii_case(part))
        };
        // Without a folder of training images, `test` is a class like any other.
        let parts: Vec<PathBuf> =
            match own.iter().any(|path| path.file_name().is_some_and(|it| it.eq_ignore_ascii_case("train"))) {
                true => own.into_iter().filter(is_part).collect(),
                false => vec![self.root.clone()],
            };
        let mut photos: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for class in parts.iter().flat_map(|part| folders(part)) {
            let name = folder::composed(&to_text(class.file_name().unwrap_or_default()));
            photos.entry(name).or_default().extend(folder::images(&class)?.0);
        }
        let (classes, photos): (Vec<String>, Vec<Vec<PathBuf>>) = photos.into_iter().unzip();
        let samples =
            (0..).zip(photos).flat_map(|(label, files)| files.into_iter().map(move |file| Sample::new(file, label)));
        self.look(Dataset { classes, samples: samples.collect() }, &self.root)
    }

    /// The photos without a class, looked at; and files that cannot be read.
    fn loose(&self) -> Result<(Option<Gallery>, Vec<PathBuf>), ExperimentError> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut named = entries.filter(|path| path.file_name().is_some_and(|it| it.eq_ignore_ascii_case(UNSORTED)));
        let Some(folder) = named.find(|path| path.is_dir()) else { return Ok((None, Vec::new())) };
        let samples = folder::images(&folder)?.0.into_iter().map(|file| Sample::new(file, 0)).collect();
        let (gallery, spoilt) = self.look(Dataset { classes: vec![UNSORTED.to_owned()], samples }, &folder)?;
        Ok((Some(gallery), spoilt))
    }

    /// Looks at photos, and leaves out those that cannot be read.
    fn look(&self, mut train: Dataset, root: &Path) -> Result<(Gallery, Vec<PathBuf>), ExperimentError> {
        let verdicts = Verdicts::new(&self.cache.looked(), root);
        let files: Vec<PathBuf> =
            train.samples.iter().filter_map(|sample| sample.origin.path().map(Path::to_owned)).collect();
        let looked = look(&files.iter().collect::<Vec<_>>(), Some(&verdicts), &|_| {})?;
        let spoilt: Vec<PathBuf> =
            looked.unreadable.iter().filter_map(|file| file.origin.path().map(Path::to_owned)).collect();
        train.samples.retain(|sample| sample.origin.path().is_none_or(|path| !spoilt.iter().any(|it| it == path)));
        let mut folder = Folder { train, validation: None, test: None, inventory: Inventory::default() };
        if !folder.train.samples.is_empty() {
            match folder.look(OnCorrupt::Skip, Some(&verdicts), &|_| {}) {
                // A photo was taken away or is written to at this moment; the next look will tell.
                Ok(_) | Err(DataError::NoneReadable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((Gallery { folder, root: Some(root.to_owned()), looked, features: Default::default() }, spoilt))
    }
}

impl Changes {
    fn between(before: &BTreeMap<PathBuf, Option<Content>>, now: &BTreeMap<PathBuf, Option<Content>>) -> Self {
        let same = |path: &PathBuf, content: &Option<Content>, other: &BTreeMap<PathBuf, Option<Content>>| {
            other.get(path).is_some_and(|it| it == content)
        };
        let gone = before.iter().filter(|(path, content)| !same(path, content, now));
        let mut gone: Vec<(&PathBuf, &Option<Content>)> = gone.collect();
        let mut changes = Self::default();
        for (path, content) in now.iter().filter(|(path, content)| !same(path, content, before)) {
            match gone.iter().position(|(_, was)| content.is_some() && *was == content) {
                Some(at) => changes.moved.push((gone.remove(at).0.clone(), path.clone())),
                None => changes.added.push(path.clone()),
            }
        }
        changes.removed = gone.into_iter().map(|(path, _)| path.clone()).collect();
        changes
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_text(path.as_os_str()))
}

fn texts<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| to_text(path.as_os_str())))
}

fn pairs<S: Serializer>(pairs: &[(PathBuf, PathBuf)], serializer: S) -> Result<S::Ok, S::Error> {
    let text = |path: &PathBuf| to_text(path.as_os_str()).into_owned();
    serializer.collect_seq(pairs.iter().map(|(from, to)| [text(from), text(to)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_with_the_content_of_one_that_is_gone_has_moved() {
        let state = |photos: &[(&str, u8)]| -> BTreeMap<PathBuf, Option<Content>> {
            photos.iter().map(|(path, content)| (path.into(), Some([*content; 32]))).collect()
        };
        let before = state(&[("cats/1.jpg", 1), ("cats/2.jpg", 2), ("cats/3.jpg", 3), ("unsorted/4.jpg", 4)]);
        let now = state(&[("cats/1.jpg", 1), ("cats/2.jpg", 9), ("dogs/4.jpg", 4), ("dogs/5.jpg", 5)]);
        let changes = Changes::between(&before, &now);
        assert_eq!(changes.moved, [("unsorted/4.jpg".into(), "dogs/4.jpg".into())]);
        // A file that was replaced is another photo.
        assert_eq!(changes.added, [PathBuf::from("cats/2.jpg"), "dogs/5.jpg".into()]);
        assert_eq!(changes.removed, [PathBuf::from("cats/2.jpg"), "cats/3.jpg".into()]);
        assert!(Changes::between(&now, &now).is_empty());
    }
}
