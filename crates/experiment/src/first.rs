//! The first experiment on a folder of images, which has no experiment's file yet.
//!
//! [`Ground::choose`] chooses the backbone, and [`First::write`] looks at the folder and writes the experiment as a text with comments,
//! which is then the file to change.

use std::fmt::Write as _;
use std::path::Path;

use injerto_backbones::plugin::Catalog;
use injerto_backbones::resolve::Ask;
use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_data::decode::examine;
use injerto_data::folder::{self, Folder};
use injerto_files::to_text;
use serde_json::Map;
use toml::{Table, Value};

use crate::ExperimentError;
use crate::inspect::backbone::{Candidate, candidate, candidates};

/// The backbone that is trained from scratch where there are no weights.
const SMALL: &str = "small_cnn";
/// Share of the images that is held out where the folder holds no validation images.
const HELD_OUT: f64 = 0.2;
/// Images per step, at most.
const LARGEST_BATCH: usize = 32;
/// Classes are weighted if the largest has more than this many times the images of the smallest.
const UNEVEN: usize = 3;
/// Images of which the size is read to choose the size for a network from scratch.
const MEASURED: usize = 64;

/// The backbone of a first experiment, and its weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ground {
    /// A backbone with weights that were trained on photos of all kinds of things.
    Pretrained(Candidate),
    /// A backbone with new weights, all of which are trained.
    Fresh {
        /// Name of the backbone, or path of its library.
        backbone: String,
    },
}

impl Ground {
    /// The fastest backbone whose weights are at hand and were trained on photos of all kinds of things. If there is none, it is the
    /// fastest one whose weights can be fetched, and without any such backbone it is a small network with new weights.
    pub fn choose(catalog: &Catalog, cache: &Cache) -> Self {
        // Those at hand come first, and the faster ones before the slower ones.
        let general = candidates(catalog, cache).into_iter().find(|it| it.general);
        general.map_or_else(Self::small, Self::Pretrained)
    }

    /// The backbone of this name, or of the library at this path, with its best weights that were trained on photos of all kinds of
    /// things, or with new ones if it has no such weights.
    ///
    /// # Errors
    /// [`ExperimentError::Plugin`] if there is no such backbone.
    pub fn named(catalog: &mut Catalog, cache: &Cache, backbone: &str) -> Result<Self, ExperimentError> {
        let found = catalog.find(backbone)?;
        let fresh = || Self::Fresh { backbone: backbone.to_owned() };
        let best = candidate(catalog, cache, &found).filter(|it| it.general);
        Ok(best.map_or_else(fresh, |it| Self::Pretrained(Candidate { backbone: backbone.to_owned(), ..it })))
    }

    /// The small network that is trained from scratch where there are no weights.
    pub fn small() -> Self {
        Self::Fresh { backbone: SMALL.to_owned() }
    }

    /// Name of the backbone, or path of its library, and id of its weight set.
    pub fn names(&self) -> (&str, &str) {
        match self {
            Self::Pretrained(Candidate { backbone, weights, .. }) => (backbone, weights),
            Self::Fresh { backbone } => (backbone, "none"),
        }
    }

    /// Gets the weights, so that they are at hand.
    ///
    /// # Errors
    /// [`ExperimentError`] if they cannot be fetched or do not fit the backbone.
    pub fn fetch(&self, catalog: &mut Catalog, cache: &Cache) -> Result<(), ExperimentError> {
        self.resolved(catalog)?.weights(catalog, cache)?;
        Ok(())
    }

    fn resolved(&self, catalog: &mut Catalog) -> Result<injerto_backbones::resolve::Resolved, ExperimentError> {
        let (backbone, weights) = self.names();
        let (parameters, last_layer, preprocessing) = (&Map::new(), None, None);
        let ask = Ask { backbone, parameters, image_size: None, last_layer, preprocessing, weights, seed: 0 };
        Ok(catalog.resolve(&ask)?)
    }
}

/// The options of a first experiment.
#[derive(Debug, Clone, Copy)]
pub struct First<'a> {
    /// Root folder of the images.
    pub root: &'a Path,
    /// The backbone and its weights.
    pub ground: &'a Ground,
    /// Epochs of each phase; `None` for the usual numbers.
    pub epochs: Option<u32>,
    /// Number or name of the layer from which a second phase trains the backbone too.
    pub fine_tune: Option<&'a str>,
    /// Name of the experiment; `None` for that of its file.
    pub name: Option<&'a str>,
    /// Settings in the form `KEY=VALUE`, as `--set` takes them; they are written into the experiment.
    pub sets: &'a [String],
    /// File that the experiment will be written to.
    pub file: &'a Path,
}

impl First<'_> {
    /// Looks at the folder and writes the experiment: its text with comments, and what the text says.
    ///
    /// # Errors
    /// [`ExperimentError::Data`] if the folder holds no classes or is ambiguous; [`ExperimentError::Config`] if a setting does not fit;
    /// [`ExperimentError::Plugin`] if the backbone cannot be described.
    pub fn write(&self, catalog: &mut Catalog) -> Result<(String, Config), ExperimentError> {
        let size = match self.ground {
            Ground::Pretrained(_) => Some(self.ground.resolved(catalog)?.description.graph.image_size()?),
            Ground::Fresh { .. } => None,
        };
        let (images, holds_out) = look(self.root)?;
        let mut sections = self.sections(&images, holds_out, size);
        // An error in a setting is reported for the setting, and not for the text that contains it.
        let asked = Config::parse(&text(&sections), self.file, self.sets)?;
        self.sets.iter().for_each(|set| apply(&mut sections, set));
        let text = format!(
            "#:schema ./experiment.schema.json\n# An experiment on the images in '{}'. Every key is explained in docs/experiment.md; \
             `injerto schema > experiment.schema.json` lets editors\n# complete and check them.\n\n{}",
            to_text(self.root.as_os_str()).escape_debug(),
            text(&sections)
        );
        let config = Config::parse(&text, self.file, &[])?;
        debug_assert_eq!(config.to_toml(), asked.to_toml(), "the text says what was set");
        Ok((text, config))
    }

    fn sections(&self, images: &Folder, holds_out: bool, size: Option<[usize; 2]>) -> Vec<Section> {
        let (backbone, weights) = self.ground.names();
        let is_fresh = size.is_none();
        let validates = holds_out || images.validation.is_some();
        let [height, width] = size.unwrap_or_else(|| fitting(images));

        let mut top = Section::new("");
        if let Some(name) = self.name {
            top.put("name", name, "part of the name of the run's folder");
        }
        let mut data = Section::new("[data]");
        data.put("root", &*to_text(self.root.as_os_str()), "");
        if holds_out {
            data.put("validation_split", HELD_OUT, "the folder holds no validation images, so a fifth is held out");
            data.put("stratify", true, "the same share of each class");
        }
        let of_size = if is_fresh { "about that of the photos" } else { "that of the backbone's weights" };
        data.put("image_size", vec![int(height), int(width)], of_size);
        let batch = batch_size(images.train.samples.len());
        data.put(
            "batch_size",
            int(batch),
            if batch < LARGEST_BATCH { "few images make few steps, so batches are small" } else { "" },
        );
        data.put("exif_orientation", "apply", "photos from cameras and phones are turned upright");
        data.put("on_corrupt", "skip", "files that are no images are listed and left out");
        if is_fresh {
            let flip = Table::from_iter([("name", "random_flip"), ("mode", "horizontal")].map(pair));
            data.put("augment", vec![Value::Table(flip)], "a new network needs many photos; mirroring gives more");
        }
        let mut network = Section::new("[backbone]");
        network.put("plugin", backbone, "`injerto plugins list` shows others, `injerto advise` compares them");
        network.put("weights", weights, if is_fresh { "everything is trained from scratch" } else { "" });
        if backbone == SMALL {
            let filters = [16, 32, 64].map(int).to_vec();
            let small = [("filters".to_owned(), filters.into()), ("momentum".to_owned(), 0.9.into())];
            network.put("parameters", Table::from_iter(small), "small enough for a CPU without a GPU");
        }
        let mut head = Section::new("[head]");
        head.put("dropout", 0.2, "share of the features that a step leaves out, against overfitting");
        let mut loss = Section::new("[loss]");
        let counts = images.train.counts();
        let [fewest, most] = [counts.iter().min(), counts.iter().max()].map(|count| count.copied().unwrap_or(0));
        if most > fewest.saturating_mul(UNEVEN) {
            loss.put(
                "class_weights",
                "balanced",
                &format!("classes have {fewest} to {most} images; rare ones weigh more"),
            );
        }
        let mut ends = Section::new(if validates { "[callbacks]" } else { "[checkpoint]" });
        if validates {
            let stop = Table::from_iter([
                ("monitor".to_owned(), "val_loss".into()),
                ("patience".to_owned(), Value::Integer(if is_fresh { 8 } else { 3 })),
                ("restore_best_weights".to_owned(), true.into()),
            ]);
            ends.put("early_stopping", stop, "a phase ends when it no longer helps");
        } else {
            ends.put("monitor", "loss", "there are too few images to hold any out");
        }
        let epochs = |usual: u32| Value::Integer(i64::from(self.epochs.unwrap_or(usual)));
        let mut phase = Section::new("[[phases]]");
        if is_fresh {
            phase.put("name", "from-scratch", "");
            phase.put("epochs", epochs(40), "");
            phase.put("unfreeze", "all", "");
            phase.put("batch_norm", "update", "");
        } else {
            phase.put("name", "feature-extraction", "the backbone is frozen; each photo passes through it once");
            phase.put("epochs", epochs(10), "");
        }
        let mut sections = vec![top, data, network, head, loss, ends, phase];
        if let Some(layer) = self.fine_tune.filter(|_| !is_fresh) {
            let mut phase = Section::new("[[phases]]");
            phase.put("name", "fine-tuning", "the last layers of the backbone learn too, in small steps");
            phase.put("epochs", epochs(5), "");
            let layer = layer.parse().map_or_else(|_| layer.into(), Value::Integer);
            phase.put("unfreeze", Table::from_iter([("from_layer".to_owned(), layer)]), "");
            let adam = [("name".to_owned(), "adam".into()), ("learning_rate".to_owned(), Value::Float(1e-5))];
            phase.put("optimizer", Table::from_iter(adam), "");
            sections.push(phase);
        }
        sections
    }
}

fn pair((key, value): (&str, &str)) -> (String, Value) {
    (key.to_owned(), value.into())
}

fn int(value: usize) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The images of a root, and whether a share of them is to be held out for validation.
fn look(root: &Path) -> Result<(Folder, bool), ExperimentError> {
    let split = folder::Options { validation_split: Some(HELD_OUT), stratify: true, ..folder::Options::default() };
    match folder::open(root, split) {
        Ok(images) => Ok((images, true)),
        // There are validation images, or too few images to hold any out. Any other error occurs without a split too.
        Err(_) => Ok((folder::open(root, folder::Options::default())?, false)),
    }
}

/// Images per step, from 8 to [`LARGEST_BATCH`], so that an epoch has some fifty steps.
fn batch_size(images: usize) -> usize {
    (images / 50).next_power_of_two().clamp(8, LARGEST_BATCH)
}

/// Height and width for a network from scratch: about the shorter side of the photos, and not so large that it takes hours.
fn fitting(images: &Folder) -> [usize; 2] {
    let samples = &images.train.samples;
    let some = samples.iter().step_by(samples.len().div_ceil(MEASURED).max(1));
    let shorter = some.filter_map(|sample| {
        let found = examine(&std::fs::read(sample.origin.path()?).ok()?).ok()?;
        usize::try_from(found.width.min(found.height)).ok()
    });
    let mut shorter: Vec<usize> = shorter.collect();
    shorter.sort_unstable();
    let side = shorter.get(shorter.len() / 2).map_or(96, |side| (side / 32 * 32).clamp(32, 96));
    [side, side]
}

/// A table of the experiment's file, with a comment on each key that needs one.
#[derive(Debug)]
struct Section {
    /// `[data]`, `[[phases]]`, or nothing for the keys at the top.
    header: String,
    entries: Vec<(String, Value, String)>,
}

impl Section {
    fn new(header: &str) -> Self {
        Self { header: header.to_owned(), entries: Vec::new() }
    }

    fn put(&mut self, key: &str, value: impl Into<Value>, comment: &str) {
        self.entries.push((key.to_owned(), value.into(), comment.to_owned()));
    }
}

/// The column at which comments begin, where keys and values leave room.
const COMMENTS: usize = 34;

fn text(sections: &[Section]) -> String {
    let mut text = String::new();
    for Section { header, entries } in sections.iter().filter(|section| !section.entries.is_empty()) {
        if !header.is_empty() {
            let _ = writeln!(text, "{header}");
        }
        for (key, value, comment) in entries {
            let line = format!("{key} = {value}");
            let _ = match comment.as_str() {
                "" => writeln!(text, "{line}"),
                comment => writeln!(text, "{line:COMMENTS$} # {comment}"),
            };
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Writes what `--set` says into the sections. [`Config::parse`] has found nothing wrong with it.
fn apply(sections: &mut Vec<Section>, set: &str) {
    let Some((path, value)) = set.split_once('=') else { return };
    let value = value.trim().parse::<Value>().unwrap_or_else(|_| value.trim().into());
    let keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let (section, keys) = match keys.as_slice() {
        [key] => (at(sections, "", 0), std::slice::from_ref(key)),
        ["phases", number, keys @ ..] => (at(sections, "[[phases]]", number.parse().unwrap_or(0)), keys),
        [table, keys @ ..] => (at(sections, &format!("[{table}]"), 0), keys),
        [] => return,
    };
    let [first, rest @ ..] = keys else { return };
    let entries = &mut sections[section].entries;
    let place = entries.iter().position(|(key, ..)| key == first).unwrap_or_else(|| {
        entries.push(((*first).to_owned(), Value::Table(Table::new()), String::new()));
        entries.len() - 1
    });
    // The comment was on the value that is replaced.
    let (_, target, comment) = &mut entries[place];
    comment.clear();
    *rest.iter().fold(target, |target, key| inside(target, key)) = value;
}

/// Position of the section with this header, of several the one with this number; it is added if it is not there.
fn at(sections: &mut Vec<Section>, header: &str, number: usize) -> usize {
    let found = (0..sections.len()).filter(|&at| sections[at].header == header).nth(number);
    found.unwrap_or_else(|| {
        let phases = sections.iter().position(|section| section.header == "[[phases]]");
        let place = phases.unwrap_or(sections.len());
        sections.insert(place, Section::new(header));
        place
    })
}

fn inside<'v>(value: &'v mut Value, key: &str) -> &'v mut Value {
    if let Value::Array(items) = value
        && let Ok(at) = key.parse::<usize>()
        && at < items.len()
    {
        let Value::Array(items) = value else { unreachable!("it was an array") };
        return &mut items[at];
    }
    if !value.is_table() {
        *value = Value::Table(Table::new());
    }
    let Value::Table(table) = value else { unreachable!("it is a table now") };
    table.entry(key).or_insert_with(|| Value::Table(Table::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_in_the_text_in_place_of_what_they_replace() {
        let check = |set: &str, expected: &str| {
            let mut data = Section::new("[data]");
            data.put("image_size", vec![int(96), int(96)], "about that of the photos");
            let mut phase = Section::new("[[phases]]");
            phase.put("epochs", 10, "");
            let mut sections = vec![Section::new(""), data, phase];
            apply(&mut sections, set);
            assert_eq!(text(&sections), expected, "{set}");
        };
        check(
            "seed=7",
            "seed = 7\n\n[data]\nimage_size = [96, 96]              # about that of the photos\n\n[[phases]]\nepochs = 10\n",
        );
        check("data.image_size=[32,32]", "[data]\nimage_size = [32, 32]\n\n[[phases]]\nepochs = 10\n");
        check("data.image_size.1=48", "[data]\nimage_size = [96, 48]\n\n[[phases]]\nepochs = 10\n");
        check(
            "phases.0.optimizer.learning_rate=0.5",
            "[data]\nimage_size = [96, 96]              # about that of the photos\n\n[[phases]]\nepochs = 10\noptimizer = { learning_rate = 0.5 }\n",
        );
        check(
            "cache.keep=false",
            "[data]\nimage_size = [96, 96]              # about that of the photos\n\n[cache]\nkeep = false\n\n[[phases]]\nepochs = 10\n",
        );
    }
}
