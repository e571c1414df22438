//! The images of an experiment: found, and looked at.

use std::path::{Path, PathBuf};

use injerto_backbones::weights::Cache;
use injerto_config::{Config, Images};
use injerto_data::folder::{self, Folder, Inventory};
use injerto_data::look::{Looked, Verdicts};
use injerto_data::{Combinations, Dataset, OnCorrupt};
use injerto_insight::Part;

use crate::source::{Features, locate, root};
use crate::{ExperimentError, Prepared};

/// Images that were found and looked at, before any network. Several experiments can be prepared on one gallery.
#[derive(Debug, Clone)]
pub struct Gallery {
    /// The images, and how they were found.
    pub folder: Folder,
    /// Folder of the images; `None` for drawn ones.
    pub root: Option<PathBuf>,
    /// Findings of the look at the files.
    pub looked: Looked,
    pub(crate) features: Features,
}

impl Gallery {
    /// Finds the images of an experiment and looks at each file. `looking` is called with the number of files that are done and the number
    /// of all files.
    ///
    /// # Errors
    /// [`ExperimentError::NoRoot`], [`ExperimentError::Data`].
    pub fn open(
        config: &Config,
        cache: &Cache,
        looking: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, ExperimentError> {
        let (mut folder, root, features) = images(config, cache)?;
        let looked = match &root {
            Some(root) => look(&mut folder, config, root, cache, looking)?,
            None => Looked::default(),
        };
        Ok(Self { folder, root, looked, features })
    }

    /// Finds the images of an experiment, as [`Gallery::open`] does, and does not examine them.
    ///
    /// # Errors
    /// [`ExperimentError::NoRoot`], [`ExperimentError::Data`].
    pub fn found(config: &Config, cache: &Cache) -> Result<Folder, ExperimentError> {
        Ok(images(config, cache)?.0)
    }

    /// Finds the images of a folder whose sub-folders are no classes, and looks at each file; files that cannot be read are left out.
    ///
    /// # Errors
    /// [`ExperimentError::Data`].
    pub fn unlabelled(
        root: &Path,
        cache: &Cache,
        looking: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, ExperimentError> {
        let mut folder = folder::unlabelled(root)?;
        let total = folder.train.samples.len();
        let verdicts = Verdicts::new(&cache.looked(), root);
        let looked = folder.look(OnCorrupt::Skip, Some(&verdicts), &|done| looking(done, total))?;
        Ok(Self { folder, root: Some(root.to_owned()), looked, features: Features::default() })
    }

    /// Images that a program hands over. They are not examined before the training.
    pub fn given(folder: Folder) -> Self {
        Self { folder, root: None, looked: Looked::default(), features: Features::default() }
    }

    /// The images of a prepared experiment.
    pub fn of(prepared: &Prepared) -> Self {
        let Prepared { config, train, validation, test, inventory, looked, .. } = prepared;
        let inventory = inventory.clone().unwrap_or_default();
        let folder = Folder { train: train.clone(), validation: validation.clone(), test: test.clone(), inventory };
        let root = root(config).map(Path::to_owned);
        Self { folder, root, looked: looked.clone(), features: Features::default() }
    }

    /// The labels that occur, each as if it were a class.
    pub fn combinations(&self) -> Combinations {
        Combinations::of(self.sets().into_iter().map(|(dataset, _)| dataset))
    }

    /// The parts of the images that there are.
    pub fn sets(&self) -> Vec<(&Dataset, Part)> {
        let Folder { train, validation, .. } = &self.folder;
        std::iter::once((train, Part::Training)).chain(validation.iter().map(|held| (held, Part::Validation))).collect()
    }
}

/// Reads every image once. Those that cannot be decoded are refused or left out, as the experiment says.
pub(crate) fn look(
    images: &mut Folder,
    config: &Config,
    root: &Path,
    cache: &Cache,
    looking: &(dyn Fn(usize, usize) + Sync),
) -> Result<Looked, ExperimentError> {
    let verdicts = Verdicts::new(&cache.looked(), root);
    let parts = [Some(&images.train), images.validation.as_ref(), images.test.as_ref()];
    let total = parts.into_iter().flatten().map(|part| part.samples.len()).sum();
    Ok(images.look(config.data.on_corrupt, Some(&verdicts), &|done| looking(done, total))?)
}

/// The images of an experiment, and their root folder unless they are drawn.
pub(crate) fn images(config: &Config, cache: &Cache) -> Result<(Folder, Option<PathBuf>, Features), ExperimentError> {
    match &config.data.images {
        Images::Folder { .. } => {
            let root = &locate(config, cache)?.expect("images of folders have a root");
            let options = folder::Options {
                layout: config.data.layout.unwrap_or_default(),
                labels: config.data.labels.clone(),
                multi_label: config.data.multi_label,
                validation_split: config.data.validation_split,
                test_split: config.data.test_split,
                stratify: config.data.stratify,
                group: config.data.group.clone(),
                seed: config.seed,
            };
            Ok((folder::open(root, options)?, Some(root.clone()), Features::default()))
        }
        Images::Drawn { generated, train_per_class, validation_per_class } => {
            let seed = u64::from(config.seed);
            let validation = Some(generated.dataset(*validation_per_class, seed, 1));
            let train = generated.dataset(*train_per_class, seed, 0);
            Ok((Folder { train, validation, test: None, inventory: Inventory::default() }, None, Features::default()))
        }
        #[cfg(feature = "shards")]
        Images::Features { features } => {
            let gathered = crate::gathered::complete(features)?;
            Ok((crate::gathered::folder(&gathered, config)?, None, Some(gathered.into())))
        }
        #[cfg(not(feature = "shards"))]
        Images::Features { .. } => Err(ExperimentError::Gathered {
            reason: "data.features: this build cannot read features; build it with the feature `shards`, which is on unless \
                     --no-default-features switches it off"
                .to_owned(),
        }),
    }
}
