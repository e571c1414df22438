//! Resuming a run: which keys and images may have changed since it began, and which must not.

use std::collections::BTreeMap;
use std::path::Path;

use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::{Cache, WeightFile};
use injerto_config::Config;
use injerto_files::shown;
use injerto_graph::Format;
use injerto_trainer::{Arithmetic, Arithmetics, Checkpoints, LastEpoch, ModelCard, Multiplied, Part, Progress, Said};
use serde_json::Value;

use crate::anchored::anchored;
use crate::error::ChangedKey;
use crate::source::root;
use crate::split::{DataChange, SplitList};
use crate::{ExperimentError, Prepared, RunFolder};

/// Entries of a checkpoint beside those that the trainer needs.
const EXPERIMENT: &str = "injerto.experiment";
const DATA: &str = "injerto.data";
const ORIGIN: &str = "injerto.weights";
const TEACHER: &str = "injerto.teacher";

/// Keys that a resumed run may change, because they do not change what is trained: names, folders, caches, and what happens
/// after training. `device` and `kernels` change at most the last bits of the results.
const FREE: [&str; 18] = [
    "name",
    "strategy",
    "device",
    "kernels",
    "data.root",
    "data.url",
    "distill.teacher",
    "data.sha256",
    "data.on_corrupt",
    "data.on_leak",
    "insight.probe",
    "insight.more_photos",
    "cache.keep",
    "cache.memory_mb",
    "cache.images_mb",
    "cache.photos_mb",
    "checkpoint.save_best_only",
    "insight.knowledge",
];

/// Keys that later versions have added, with the values that describe what earlier ones did.
const ADDED: [(&str, &str); 4] = [
    ("data.stratify", "false"),
    ("head.initial", "\"random\""),
    ("data.sampling", "\"natural\""),
    ("backbone.precision", "\"f32\""),
];

/// Entries that a run adds to its checkpoints, so that it can be resumed.
pub(crate) fn notes(prepared: &Prepared, split: Option<&SplitList>) -> BTreeMap<String, String> {
    let experiment = serde_json::to_string(&anchored(&prepared.config)).expect("an experiment is plain data");
    let mut notes = BTreeMap::from([(EXPERIMENT.to_owned(), experiment), (ORIGIN.to_owned(), prepared.origin.clone())]);
    let teaching = prepared.teaching.as_ref().and_then(|teaching| teaching.taught.checksum.clone());
    notes.extend(teaching.map(|checksum| (TEACHER.to_owned(), checksum)));
    notes.extend(split.map(|split| (DATA.to_owned(), split.digest())));
    notes
}

impl Prepared {
    /// List of the training and the validation images; `None` for drawn images. Files that have changed since they were last
    /// read are read again.
    pub(crate) fn split_list(&self) -> Option<SplitList> {
        let known = self.split.clone();
        known.or_else(|| Some(SplitList::new(root(&self.config)?, &self.sides())))
    }

    /// Prepares a run to be resumed, as [`Prepared::watched`] prepares a new one: the run's experiment, with `sets` applied to
    /// it, and the checkpoint of its last finished epoch, if there is one.
    ///
    /// [`Session::resume`](crate::Session::resume) says which changes are refused, and what happens to changed images and to
    /// missing weights.
    ///
    /// # Errors
    /// [`ExperimentError`] if a part is missing or does not fit, if a change is refused, or if the checkpoint is missing or
    /// damaged.
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
            if folder.is_trial() {
                return Err(ExperimentError::IsTrial { path: folder.path().to_owned() });
            }
            return match folder.trained() {
                // Nothing has been trained, so any key may change.
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
                // If the error lists the available weights, only its first line says what is missing.
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
        if let (Some(was), Some(teaching)) = (notes.get(TEACHER), &prepared.teaching)
            && teaching.taught.checksum.as_ref() != Some(was)
        {
            let reason =
                "its weights are no longer those that the run has learned from; put them back, or begin a new run";
            let path = teaching.taught.teacher.clone();
            return Err(ExperimentError::Teacher { path, reason: reason.to_owned() });
        }
        if let Some(chosen) = prepared.arithmetic() {
            let said = notes.get(Arithmetics::KEY).map(|text| serde_json::from_str::<Said>(text)).transpose();
            let said = said.map_err(|error| checkpoints.lost(error.to_string()))?;
            prepared.keep_arithmetic(folder.path(), chosen, said.as_ref(), Arithmetic::bf16())?;
        }
        if let Some(digest) = notes.get(DATA) {
            prepared.keep_split(folder, digest, changed_data)?;
        }
        let best = folder.path().join(Checkpoints::BEST);
        if best.is_file() {
            // Otherwise the run would find out after its last epoch.
            WeightFile::open_as(&best, Format::Safetensors)
                .map_err(|source| ExperimentError::DamagedBest { source })?;
        }
        if let Some(epoch) = checkpoints.lacks_best(&progress) {
            prepared.warnings.push(format!(
                "{} is missing: the weights of epoch {epoch}, the best so far, are lost; unless a later epoch is better, the \
                 run ends without the weights of its best epoch",
                shown(&folder.path().join(Checkpoints::BEST))
            ));
        }
        for name in progress.lengthened(&prepared.phases())?.stretched {
            prepared.warnings.push(format!(
                "the schedule of phase '{name}' is stretched over its new length: from here on, the learning rate is that of \
                 the longer phase, but the epochs so far were trained with the learning rates of the shorter one"
            ));
        }
        Ok((prepared, Some(last)))
    }

    /// Prepares the experiment with the checkpoint as its weight file. `None` if that gives another network, or if the
    /// experiment needs the weights from before training (for `transfer_gain`).
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

    /// Computes prefix and tail in the precision in which the run began, whatever this machine, whose unit for bf16 is `unit`, would decide.
    /// Earlier versions, which noted nothing, computed every tail in `f32`.
    fn keep_arithmetic(
        &mut self,
        path: &Path,
        chosen: Arithmetics,
        said: Option<&Said>,
        unit: Option<Arithmetic>,
    ) -> Result<(), ExperimentError> {
        let Arithmetics::Kernels { prefix, .. } = chosen else { return Ok(()) };
        let Some(said) = said else {
            self.compute_with(Some(Arithmetics::Kernels { prefix, tail: Arithmetic::f32() }));
            return Ok(());
        };
        let again = |part: &Part| part.again(unit).ok_or_else(|| ExperimentError::NoUnit { path: path.to_owned() });
        let kept = Arithmetics::Kernels { prefix: again(&said.prefix)?, tail: again(&said.tail)? };
        self.compute_with(Some(kept));
        let now = kept.said();
        let other = [(&said.prefix, &now.prefix), (&said.tail, &now.tail)]
            .into_iter()
            .find(|(was, is)| was != is && was.precision == Multiplied::Bf16);
        if let Some((was, is)) = other {
            self.warnings.push(format!(
                "the epochs so far were computed in {was}, and this machine computes in {is}, which adds up in another order: the last \
                 bits of results differ"
            ));
        }
        Ok(())
    }

    /// Keeps the split of the run's list of images, which has the digest `digest`. Changed images are an error unless they
    /// are `allowed`; then each image that still exists stays on its side.
    fn keep_split(&mut self, folder: &RunFolder, digest: &str, allowed: bool) -> Result<(), ExperimentError> {
        let Some(now) = self.split_list() else { return Ok(()) };
        if now.digest() == digest {
            self.split = Some(now);
            return Ok(());
        }
        let before = folder.read(RunFolder::SPLIT)?.as_deref().and_then(SplitList::parse);
        let kept = before.as_ref().map(|before| now.with_sides_of(before));
        // The change was allowed in an earlier resumption. The list in the folder may be older or newer than that.
        let settled = kept.as_ref().is_some_and(|kept| kept.digest() == digest);
        let before = before.filter(|before| settled || before.digest() == digest);
        if !settled && !allowed {
            let unknown = || DataChange { unknown: true, ..DataChange::default() };
            let change = before.as_ref().map_or_else(unknown, |before| now.change_since(before));
            return Err(ExperimentError::DataChanged { path: folder.path().to_owned(), change });
        }
        self.split = Some(match (&before, kept) {
            (Some(before), Some(kept)) => {
                self.divide(now.keep_sides(before, self.sides()))?;
                kept
            }
            _ => {
                self.warnings.push(
                    "the images have changed, and no split.csv says which were trained on: they are split again, and some \
                     training images may become validation images, which makes the validation figures look better than \
                     they are"
                        .to_owned(),
                );
                now
            }
        });
        Ok(())
    }
}

/// Keys whose values differ, except those that may change.
fn changed_keys(was: &Value, is: &Value) -> Vec<ChangedKey> {
    let phases = was["phases"].as_array().map_or(0, Vec::len);
    let may = |key: &str| {
        let free = FREE.contains(&key)
            || key.starts_with("data.root.")
            || ["transfer_gain", "sweep"].iter().any(|table| key.starts_with(table));
        // The number of epochs is checked later, where it is known how many are finished. A phase that was added has not
        // begun.
        let phase = key.strip_prefix("phases.").and_then(|rest| rest.split_once('.'));
        free || phase.is_some_and(|(at, rest)| rest == "epochs" || at.parse().is_ok_and(|at: usize| at >= phases))
    };
    let (mut was, mut is) = (leaves(was), leaves(is));
    for (key, value) in ADDED {
        for leaves in [&mut was, &mut is] {
            leaves.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    let keys = was.keys().chain(is.keys().filter(|key| !was.contains_key(*key)));
    let text = |leaves: &BTreeMap<String, String>, key| leaves.get(key).map_or_else(|| "null".to_owned(), Clone::clone);
    keys.filter(|key| was.get(*key) != is.get(*key) && !may(key))
        .map(|key| ChangedKey { key: key.clone(), was: text(&was, key), is: text(&is, key) })
        .collect()
}

/// All values that are neither a table nor a list, by their dotted keys.
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
    fn a_resumed_run_keeps_every_key_that_decides_what_is_trained() {
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
        // The folder of the images, the number of epochs, later phases and what follows the training may change.
        check(&["data", "root"], json!(["y", "x"]), &[]);
        check(&["phases", "0", "epochs"], json!(9), &[]);
        check(&["phases"], json!([was["phases"][0], { "epochs": 3, "unfreeze": "all" }]), &[]);
        check(&["transfer_gain"], json!({ "seeds": [1] }), &[]);
        check(&["cache"], json!({ "memory_mb": 1 }), &[]);
        check(&["sweep"], json!({ "trials": 3 }), &[]);
    }
}
