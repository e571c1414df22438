//! Features that `injerto features` has computed part by part, as the images of an experiment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use injerto_config::{Config, Images};
use injerto_data::folder::{Folder, Inventory, split_evenly};
use injerto_data::{Dataset, Label, Origin, Sample};
use injerto_files::{memory, shown};
use injerto_insight::{FeatureTable, Image, Matrix};
use injerto_recipe::FeaturePrecision;
use injerto_shards::{About, Fault, Gathered, Kind, Place, Precision, Row};
use injerto_trainer::Extractor;
use injerto_trainer::plan::Kept;

use crate::source::Features;
use crate::{ExperimentError, Prepared, device};

/// Number of rows after which the progress of copying is reported.
const TOLD: usize = 1000;

/// Photos that cannot be used, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unused {
    /// Photos that could not be read when their features were computed.
    pub unread: usize,
    /// Photos without a label.
    pub unlabelled: usize,
}

/// The features in some folders, complete and of one network.
///
/// # Errors
/// [`ExperimentError::Gathered`] with all that is wrong, and [`ExperimentError::Shards`].
pub fn complete(folders: &[PathBuf]) -> Result<Gathered, ExperimentError> {
    let gathered = Gathered::open(&Place::parse_all(folders)?)?;
    let faults: Vec<String> = gathered.faults().iter().map(ToString::to_string).collect();
    if !faults.is_empty() {
        return Err(ExperimentError::Gathered { reason: faults.join("\n") });
    }
    match gathered.about().map(|about| &about.kind) {
        Some(Kind::Features { .. }) => Ok(gathered),
        _ => Err(ExperimentError::Gathered {
            reason: format!(
                "{}: these shards hold predictions and no features; `injerto features` computes features",
                folders.iter().map(|folder| shown(folder).to_string()).collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

/// The rows that can be used, without their features, class by class and sorted by their keys, so that neither the number of shards nor
/// their order matters. It is the order of a folder with one sub-folder per class. Each has its place among all rows.
fn usable(gathered: &Gathered) -> Result<(Vec<(usize, Row)>, Unused), ExperimentError> {
    let (mut rows, mut unused) = (Vec::new(), Unused::default());
    for (at, row) in gathered.rows(false).enumerate() {
        let row = row?;
        match (&row.error, &row.label) {
            (Some(_), _) => unused.unread += 1,
            (None, None) => unused.unlabelled += 1,
            (None, Some(_)) => rows.push((at, row)),
        }
    }
    if rows.is_empty() {
        let Unused { unread, unlabelled } = unused;
        return Err(ExperimentError::Gathered {
            reason: format!(
                "no photo has a label ({unlabelled} have none, and {unread} could not be read); labels come from folders of classes, \
                 lists, .cls files or a column of labels"
            ),
        });
    }
    rows.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
    let mut keys: Vec<String> =
        rows.array_windows().filter(|[(_, a), (_, b)]| a.key == b.key).map(|[(_, a), _]| a.key.clone()).collect();
    keys.dedup();
    if !keys.is_empty() {
        return Err(ExperimentError::Gathered { reason: Fault::SameKeys { keys }.to_string() });
    }
    // The sort is stable, so the rows of a class keep the order of their keys.
    rows.sort_by(|(_, a), (_, b)| a.label.cmp(&b.label));
    Ok((rows, unused))
}

/// Names of the classes, sorted by their bytes, and the place of each.
fn classes(rows: &[(usize, Row)]) -> (Vec<String>, BTreeMap<String, u32>) {
    let names: BTreeSet<&String> = rows.iter().filter_map(|(_, row)| row.label.as_ref()).collect();
    let places = names.iter().zip(0..).map(|(name, at)| ((*name).clone(), at)).collect();
    (names.into_iter().cloned().collect(), places)
}

/// A backbone's features of the labelled photos, as a table about which questions can be asked. All of it is in memory.
///
/// # Errors
/// [`ExperimentError`] if a file is damaged, if no photo has a label, or if there is not enough memory for the table and a copy of it, which
/// questions need. That is known before any features are read.
pub fn table(gathered: &Gathered) -> Result<(FeatureTable, Unused), ExperimentError> {
    let (rows, unused) = usable(gathered)?;
    let (names, places) = classes(&rows);
    let width = match gathered.about().map(|about| &about.kind) {
        Some(Kind::Features { width, .. }) => *width,
        _ => 0,
    };
    let bytes = (rows.len() * width * size_of::<f32>()) as u64;
    let count = rows.len();
    let what = format!("{count} rows of {width} features and a copy (a training reads them from the disk instead)");
    memory::ask(2 * bytes, &what)?;
    let mut values = vec![0.0; rows.len() * width];
    let place: BTreeMap<usize, usize> = rows.iter().enumerate().map(|(place, (at, _))| (*at, place)).collect();
    for (at, row) in gathered.rows(true).enumerate() {
        let row = row?;
        if let Some(place) = place.get(&at) {
            if row.features.len() != width {
                let (key, found) = (injerto_files::printable(&row.key), row.features.len());
                return Err(ExperimentError::Gathered {
                    reason: format!("the row of '{key}' has {found} features and not {width}; compute its shard again"),
                });
            }
            values[place * width..(place + 1) * width].copy_from_slice(&row.features);
        }
    }
    let images = rows.iter().map(|(_, row)| {
        let label = row.label.as_ref().map_or(0, |label| places[label]);
        Image { content: row.sha256, ..Image::new(&row.path, label) }
    });
    let images = images.collect();
    Ok((FeatureTable::new(Matrix::new(width, values)?, images, names)?, unused))
}

/// The labelled photos as images of which only the features are kept.
///
/// # Errors
/// Those of [`table`].
pub(crate) fn dataset(gathered: &Gathered) -> Result<(Dataset, Unused), ExperimentError> {
    let (rows, unused) = usable(gathered)?;
    let (classes, places) = classes(&rows);
    let sample = |(_, row): (usize, Row)| {
        let label = row.label.as_ref().map_or(0, |label| places[label]);
        Some(Sample::new(Origin::kept(injerto_files::from_text(&row.path), row.sha256?), Label::from(label)))
    };
    Ok((Dataset { classes, samples: rows.into_iter().filter_map(sample).collect() }, unused))
}

/// The images of an experiment with `data.features`, divided into training and validation images.
pub(crate) fn folder(gathered: &Gathered, config: &Config) -> Result<Folder, ExperimentError> {
    let (train, unused) = dataset(gathered)?;
    if let [only] = &train.classes[..] {
        return Err(ExperimentError::Gathered {
            reason: format!(
                "data.features: all photos have the label '{}', and there is nothing to learn; name folders whose photos have \
                 several labels",
                injerto_files::printable(only)
            ),
        });
    }
    if unused != Unused::default() {
        let Unused { unread, unlabelled } = unused;
        tracing::warn!(
            "data.features: {unlabelled} photos without a label and {unread} that could not be read are left out"
        );
    }
    let (train, validation) = match config.data.validation_split {
        Some(share) => {
            let (train, held) = split_evenly(train, share, config.data.stratify, config.seed)?;
            (train, Some(held))
        }
        None => (train, None),
    };
    Ok(Folder { train, validation, test: None, inventory: Inventory::default() })
}

/// Sets the number type of an experiment's features, and the size of its images unless the experiment says it, to those of `data.features`,
/// if it has these, and returns their files, which are opened unless they were.
pub(crate) fn settle(config: &mut Config, opened: Features) -> Result<Features, ExperimentError> {
    let Images::Features { features } = &config.data.images else { return Ok(None) };
    let gathered = opened.map_or_else(|| complete(features).map(Arc::new), Ok)?;
    if let Some(About { kind: Kind::Features { precision, .. }, image_size, .. }) = gathered.about() {
        if *precision == Precision::F16 {
            config.cache.precision = FeaturePrecision::F16;
        }
        config.data.image_size = config.data.image_size.or(*image_size);
    }
    Ok(Some(gathered))
}

impl Prepared {
    /// Puts the features of `data.features` where a training looks for features, unless they are there already. Does nothing for other
    /// images. `copying` is called with the number of rows that were read and the number of all rows.
    pub(crate) fn bring_features(
        &self,
        gathered: Option<&Gathered>,
        copying: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(), ExperimentError> {
        let (Some(gathered), Images::Features { features }) = (gathered, &self.config.data.images) else {
            return Ok(());
        };
        let refuse = |reason: String| ExperimentError::Gathered { reason: format!("data.features: {reason}") };
        let layer = self.card.head_input();
        for plan in &self.plan.phases {
            let plain = matches!(plan.keeps.training, Kept::Features { views: None, .. });
            if !plain || plan.split().boundary != [layer] {
                let name = injerto_files::printable(&plan.phase.name);
                return Err(refuse(format!(
                    "phase '{name}' needs the photos themselves, because it trains layers of the backbone or changes photos at \
                     random; set unfreeze = \"none\" and leave data.augment out, or take data.root"
                )));
            }
        }
        if !self.config.cache.keep {
            return Err(refuse("the features are read from the cache; leave cache.keep = false out".to_owned()));
        }
        let model = self.model(self.config.seed, &device(self.config.device)?)?;
        let cache = self.feature_cache();
        let extractor = Extractor::new(&model, layer, &self.feature_pixels(), &cache, self.config.uses_kernels())?;
        let about = gathered.about().expect("a complete set has a file");
        if about.model != extractor.space() {
            let network = |name: &str, model: &str, size: Option<[usize; 2]>| {
                let size = size.map_or_else(String::new, |[height, width]| format!(" at {height}x{width}"));
                format!("{} {}{size}", injerto_files::printable(name), model.get(..12).unwrap_or_default())
            };
            return Err(refuse(format!(
                "the features in {} were computed by another network ({}) than this experiment has ({}); give [backbone], \
                 data.image_size and cache.precision the values that `injerto features` was given with --set",
                shown(&features[0]),
                network(&about.name, &about.model, about.image_size),
                network(self.backbone.name(), extractor.space(), Some(self.card.image_size())),
            )));
        }
        let kept = extractor.kept();
        let missing = gathered.rows(false).any(|row| {
            row.is_ok_and(|row| row.error.is_none() && row.sha256.is_some_and(|content| !kept.contains(&content)))
        });
        if missing {
            let all = gathered.photos();
            let told = gathered.rows(true).enumerate().inspect(|(done, _)| {
                if done % TOLD == 0 {
                    copying(*done, all);
                }
            });
            let rows = told.filter_map(|(_, row)| match row {
                Ok(row) if row.error.is_some() => None,
                Ok(row) => {
                    row.sha256.filter(|content| !kept.contains(content)).map(|content| Ok((content, row.features)))
                }
                Err(error) => Some(Err(ExperimentError::from(error))),
            });
            let count = extractor.keep(rows)?;
            tracing::info!("{count} rows of features were put into the cache");
        }
        Ok(())
    }
}
