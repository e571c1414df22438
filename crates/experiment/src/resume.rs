//! Going on with a run: what may have changed since it began, and what must not.

use std::collections::BTreeMap;
use std::path::Path;

use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_config::{Config, Images};
use injerto_data::Dataset;
use injerto_files::{absolute, shown};
use injerto_trainer::{Checkpoints, LastEpoch, ModelCard, Progress};
use serde_json::Value;

use crate::phases::class_weights;
use crate::split::{DataChange, SplitList};
use crate::{ExperimentError, Prepared, RunFolder};

/// What a checkpoint carries beside what training needs.
const EXPERIMENT: &str = "injerto.experiment";
const DATA: &str = "injerto.data";
const ORIGIN: &str = "injerto.weights";

/// Keys that decide neither what was trained nor what is trained from here: names, places, caches, and what is done after
/// training. `device` and `kernels` decide where it is computed, and with it the last bits of what comes.
const FREE: [&str; 10] = [
    "name",
    "strategy",
    "device",
    "kernels",
    "data.root",
    "data.on_corrupt",
    "cache.keep",
    "cache.memory_mb",
    "cache.images_mb",
    "checkpoint.save_best_only",
];

/// A key of a run's experiment that is not what it was when the run began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedKey {
    /// Such as `phases.0.optimizer.learning_rate`.
    pub key: String,
    /// What it was, as JSON; `null` where it was left out.
    pub was: String,
    /// What it is.
    pub is: String,
}

/// The experiment as a run's folder keeps it: with the folder of its images, its weight file and its plugin named so that
/// they are found from any folder. What was written is kept beside the folder of the images, for a run that is moved together
/// with them.
pub(crate) fn anchored(config: &Config) -> Config {
    let mut config = config.clone();
    // A name that is not UTF-8 cannot stand in TOML: it stays as it was written.
    let named = |path: &Path| Some(absolute(path)).filter(|path| path.to_str().is_some());
    let file = |text: &str| {
        let path = Path::new(text);
        let is_path = path.extension().is_some() || path.components().count() > 1;
        let found = named(path).filter(|_| is_path && path.is_file())?;
        found.to_str().map(str::to_owned)
    };
    if let Some(found) = root(&config).and_then(named)
        && let Images::Folder { root } = &mut config.data.images
    {
        root.retain(|root| *root != found);
        root.insert(0, found);
    }
    for text in [&mut config.backbone.weights, &mut config.backbone.plugin] {
        if let Some(path) = file(text) {
            *text = path;
        }
    }
    config
}

/// The folder of the images, where there is one.
pub(crate) fn root(config: &Config) -> Option<&Path> {
    match &config.data.images {
        Images::Folder { root } => root.iter().map(AsRef::as_ref).find(|root: &&Path| root.is_dir()),
        Images::Drawn { .. } => None,
    }
}

/// What the checkpoints of a run carry, so that the run can go on.
pub(crate) fn notes(prepared: &Prepared, split: Option<&SplitList>) -> BTreeMap<String, String> {
    let experiment = serde_json::to_string(&anchored(&prepared.config)).expect("an experiment is plain data");
    let mut notes = BTreeMap::from([(EXPERIMENT.to_owned(), experiment), (ORIGIN.to_owned(), prepared.origin.clone())]);
    notes.extend(split.map(|split| (DATA.to_owned(), split.digest())));
    notes
}

impl Prepared {
    /// Which image is on which side; `None` for images that are drawn. A file that has changed since it was looked at is read.
    pub(crate) fn split_list(&self) -> Option<SplitList> {
        let known = self.split.clone();
        known.or_else(|| Some(SplitList::new(root(&self.config)?, &self.train, self.validation.as_ref())))
    }

    /// As [`Prepared::watched`], for a run that goes on: its experiment with `sets` written over it. The checkpoint to go on from
    /// comes with it, unless no epoch was done.
    ///
    /// Refused is whatever would make the rest of the run another than the one that began: another value of a key that
    /// decides what is trained, and images that have changed, unless `changed_data` allows them. Then an image that is still
    /// there, wherever it lies, stays on its side: what was trained on never validates. A new one goes where the split puts it.
    ///
    /// Weights of the backbone that are no longer to be had are taken from the checkpoint, which has all of them.
    ///
    /// # Errors
    /// [`ExperimentError`]; a checkpoint that is missing or damaged.
    pub(crate) fn resume(
        folder: &RunFolder,
        sets: &[String],
        changed_data: bool,
        catalog: &mut Catalog,
        cache: &Cache,
        looking: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(Self, Option<LastEpoch>), ExperimentError> {
        let config = Config::load(&folder.experiment(), sets)?;
        let checkpoints = Checkpoints::new(folder.path(), true);
        let Some(last) = checkpoints.open()? else {
            return match folder.trained() {
                // Nothing has been trained, so that nothing can have changed.
                None => Ok((Self::watched(config, catalog, cache, looking)?, None)),
                Some(sign) => Err(checkpoints.lost(format!("it is missing, although {sign}")).into()),
            };
        };
        let notes = last.notes();
        let card = ModelCard::of(notes).map_err(|reason| checkpoints.lost(reason))?;
        let progress = Progress::of(notes).map_err(|reason| checkpoints.lost(reason))?;
        if let Some(text) = notes.get(EXPERIMENT) {
            let was: Value = serde_json::from_str(text).map_err(|error| checkpoints.lost(error.to_string()))?;
            let is = serde_json::to_value(&config).expect("an experiment is plain data");
            let changed = changed_keys(&was, &is);
            if !changed.is_empty() {
                return Err(ExperimentError::OtherExperiment { path: folder.path().to_owned(), changed });
            }
        }
        let mut prepared = match Self::watched(config.clone(), catalog, cache, looking) {
            Err(error @ ExperimentError::Weights(_)) => {
                let found = Self::from_checkpoint(&config, &checkpoints, &card, catalog, cache);
                let mut prepared = found.ok_or_else(|| ExperimentError::Lost { reason: error.to_string() })?;
                // Of an error that lists what there is instead, the first line says what is missing.
                let missing = error.to_string();
                let missing = missing.lines().next().unwrap_or_default().trim_end_matches(", and the weight sets are:");
                let file = checkpoints.last();
                prepared
                    .warnings
                    .push(format!("{missing}; the run goes on with the backbone's weights of {}", shown(&file)));
                prepared
            }
            prepared => prepared?,
        };
        let without = |names: &[String], others: &[String]| -> Vec<String> {
            names.iter().filter(|name| !others.contains(name)).cloned().collect()
        };
        let (was, is) = (&card.classes, &prepared.card.classes);
        if was != is {
            let path = folder.path().to_owned();
            return Err(ExperimentError::OtherClasses { path, missing: without(was, is), new: without(is, was) });
        }
        if let Some(origin) = notes.get(ORIGIN) {
            prepared.origin.clone_from(origin);
        }
        if let Some(digest) = notes.get(DATA) {
            prepared.keep_split(folder, digest, changed_data)?;
            // Other images may have other room for their features.
            prepared.decide(&prepared.phases());
        }
        if let Some(epoch) = checkpoints.lacks_best(&progress) {
            prepared.warnings.push(format!(
                "{} is missing: the weights of epoch {epoch}, the best so far, are gone; unless a later epoch is better, the \
                 run ends without them",
                shown(&folder.path().join(Checkpoints::BEST))
            ));
        }
        for name in progress.lengthened(&prepared.phases())?.stretched {
            prepared.warnings.push(format!(
                "the schedule of phase '{name}' is stretched over its epochs: from here its learning rate is that of the \
                 longer phase, while its epochs so far had others than a phase of this length would have had"
            ));
        }
        Ok((prepared, Some(last)))
    }

    /// Prepared with the checkpoint for a weight file; `None` where that gives another network, or where the weights from
    /// before training are asked for.
    fn from_checkpoint(
        config: &Config,
        checkpoints: &Checkpoints,
        card: &ModelCard,
        catalog: &mut Catalog,
        cache: &Cache,
    ) -> Option<Self> {
        let mut from = config.clone();
        from.backbone.weights = checkpoints.last().to_str()?.to_owned();
        let mut prepared = Self::new(from, catalog, cache).ok()?;
        if !prepared.card.agrees_with(card) || config.transfer_gain.is_some() {
            return None;
        }
        prepared.config.backbone.weights.clone_from(&config.backbone.weights);
        Some(prepared)
    }

    /// Sees to it that the images are those of the list with this digest, or changed ones if that is allowed.
    fn keep_split(&mut self, folder: &RunFolder, digest: &str, allowed: bool) -> Result<(), ExperimentError> {
        let Some(now) = self.split_list() else { return Ok(()) };
        if now.digest() == digest {
            self.split = Some(now);
            return Ok(());
        }
        let before = folder.read(RunFolder::SPLIT)?.as_deref().and_then(SplitList::parse);
        let kept = before.as_ref().map(|before| now.with_sides_of(before));
        // It was allowed before, and the list of the folder is from before that or from after.
        let settled = kept.as_ref().is_some_and(|kept| kept.digest() == digest);
        let before = before.filter(|before| settled || before.digest() == digest);
        if !settled && !allowed {
            let unknown = || DataChange { unknown: true, ..DataChange::default() };
            let change = before.as_ref().map_or_else(unknown, |before| now.change_since(before));
            return Err(ExperimentError::DataChanged { path: folder.path().to_owned(), change });
        }
        self.split = Some(match (&before, kept) {
            (Some(before), Some(kept)) => {
                let classes = self.train.classes.clone();
                let none = || Dataset { classes, samples: Vec::new() };
                let mut validation = self.validation.take().unwrap_or_else(none);
                now.keep_sides(before, &mut self.train, &mut validation);
                self.validation = Some(validation).filter(|validation| !validation.samples.is_empty());
                kept
            }
            _ => {
                self.warnings.push(
                    "the images have changed, and no split.csv says which were trained on: they are divided anew, and some \
                     of those may validate now, which makes the validation figures look better than they are"
                        .to_owned(),
                );
                now
            }
        });
        let asked = self.config.loss.class_weights.as_ref();
        let counts = self.train.counts();
        self.class_weights = asked.map(|asked| class_weights(asked, &self.train.classes, &counts)).transpose()?;
        Ok(())
    }
}

/// Keys whose values differ, but for those that may.
fn changed_keys(was: &Value, is: &Value) -> Vec<ChangedKey> {
    let phases = was["phases"].as_array().map_or(0, Vec::len);
    let may = |key: &str| {
        let free = FREE.contains(&key) || key.starts_with("data.root.") || key.starts_with("transfer_gain");
        // Epochs are looked at where it is known how many are done, and a further phase has not begun.
        let phase = key.strip_prefix("phases.").and_then(|rest| rest.split_once('.'));
        free || phase.is_some_and(|(at, rest)| rest == "epochs" || at.parse().is_ok_and(|at: usize| at >= phases))
    };
    let (was, is) = (leaves(was), leaves(is));
    let keys = was.keys().chain(is.keys().filter(|key| !was.contains_key(*key)));
    let text = |leaves: &BTreeMap<String, String>, key| leaves.get(key).map_or_else(|| "null".to_owned(), Clone::clone);
    keys.filter(|key| was.get(*key) != is.get(*key) && !may(key))
        .map(|key| ChangedKey { key: key.clone(), was: text(&was, key), is: text(&is, key) })
        .collect()
}

/// Every value that is no table and no list, by its dotted key.
fn leaves(value: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![(String::new(), value)];
    while let Some((key, value)) = waiting.pop() {
        let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
        match value {
            Value::Object(fields) => waiting.extend(fields.iter().map(|(name, value)| (below(name), value))),
            Value::Array(items) => {
                waiting.extend(items.iter().enumerate().map(|(at, value)| (below(&at.to_string()), value)));
            }
            value => drop(found.insert(key, value.to_string())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_goes_on_with_what_it_began_with() {
        let was = json!({ "name": "a", "seed": 7, "data": { "root": ["x"], "batch_size": 8 },
            "phases": [{ "epochs": 2, "optimizer": { "learning_rate": 0.1 } }] });
        let check = |key: &[&str], to: Value, expected: &[&str]| {
            let mut is = was.clone();
            let place = key.iter().fold(&mut is, |value, key| match key.parse::<usize>() {
                Ok(at) => &mut value[at],
                Err(_) => &mut value[*key],
            });
            *place = to;
            let keys: Vec<String> = changed_keys(&was, &is).into_iter().map(|changed| changed.key).collect();
            assert_eq!(keys, expected, "{key:?}");
        };
        check(&["seed"], json!(7), &[]);
        check(&["seed"], json!(8), &["seed"]);
        check(&["data", "batch_size"], json!(4), &["data.batch_size"]);
        check(&["phases", "0", "optimizer", "learning_rate"], json!(0.2), &["phases.0.optimizer.learning_rate"]);
        check(&["phases", "0", "unfreeze"], json!("all"), &["phases.0.unfreeze"]);
        check(&["head"], json!({ "dropout": 0.5 }), &["head.dropout"]);
        // Where the images lie, how many epochs there are, and what comes after them.
        check(&["data", "root"], json!(["y", "x"]), &[]);
        check(&["phases", "0", "epochs"], json!(9), &[]);
        check(&["phases"], json!([was["phases"][0], { "epochs": 3, "unfreeze": "all" }]), &[]);
        check(&["transfer_gain"], json!({ "seeds": [1] }), &[]);
        check(&["cache"], json!({ "memory_mb": 1 }), &[]);
    }
}
