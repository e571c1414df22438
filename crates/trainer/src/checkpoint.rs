//! Checkpoints, which are written after each epoch: the best weights, and everything that is needed to resume after the last epoch.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use injerto_backbones::weights::{Precision, WeightFile, Weights};
use injerto_graph::Format;

use crate::optimizer::{OptimizerState, Slot};
use crate::{Model, ModelCard, Progress, TrainError};

/// The checkpoint files of a run's folder.
///
/// Each file is written under a temporary name and then renamed, so a kill at any moment leaves either the old file or the new one.
/// Everything that a resumed run needs is in one file, so that its parts cannot disagree.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    save_best_only: bool,
    notes: BTreeMap<String, String>,
}

impl Checkpoints {
    /// The weights of the best epoch.
    pub const BEST: &str = "best.safetensors";
    /// The weights of the last epoch, with the state of the optimiser and the history.
    pub const LAST: &str = "last.safetensors";

    /// Metadata key of the optimiser's step in [`Checkpoints::LAST`].
    const STEP: &str = "injerto.optimizer.step";

    /// Checkpoints in `folder`. Unless `save_best_only` is set, the weights of every epoch are kept as `epoch-NNN.safetensors`.
    pub fn new(folder: impl Into<PathBuf>, save_best_only: bool) -> Self {
        Self { folder: folder.into(), save_best_only, notes: BTreeMap::new() }
    }

    /// Adds notes to [`Checkpoints::LAST`], which training does not need and which [`LastEpoch::notes`] reads.
    #[must_use]
    pub fn with_notes(self, notes: BTreeMap<String, String>) -> Self {
        Self { notes, ..self }
    }

    /// Path of [`Checkpoints::LAST`].
    pub fn last(&self) -> PathBuf {
        self.folder.join(Self::LAST)
    }

    /// Reads and checks [`Checkpoints::LAST`]; `None` if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn open(&self) -> Result<Option<LastEpoch>, TrainError> {
        let path = self.last();
        if !is_there(&path).map_err(|reason| self.lost(reason))? {
            return Ok(None);
        }
        let file = WeightFile::open_as(&path, Format::Safetensors).map_err(|error| self.unreadable(&error))?;
        Ok(Some(LastEpoch { checkpoints: self.clone(), file }))
    }

    /// Writes the weights of an epoch, if it is the best epoch or if the weights of every epoch are kept.
    pub(crate) fn write_epoch(&self, model: &Model, progress: &Progress, best: bool) -> Result<(), TrainError> {
        let every = format!("epoch-{:03}.safetensors", progress.history.len());
        let names = [(best, Self::BEST), (!self.save_best_only, &every)];
        for (_, name) in names.into_iter().filter(|(wanted, _)| *wanted) {
            model.save(&self.folder.join(name), Precision::F32)?;
        }
        Ok(())
    }

    /// Writes the weights of the best epoch.
    pub(crate) fn write_best(&self, model: &Model) -> Result<(), TrainError> {
        model.save(&self.folder.join(Self::BEST), Precision::F32)
    }

    /// Writes everything that is needed to resume here.
    pub(crate) fn write_last(
        &self,
        model: &Model,
        progress: &Progress,
        optimizer: OptimizerState,
    ) -> Result<(), TrainError> {
        let mut weights = model.network.weights();
        let mut metadata = model.metadata();
        metadata.extend(self.notes.clone());
        pack(progress, optimizer, &mut weights, &mut metadata);
        Ok(weights.save(&self.last(), &metadata, Precision::F32)?)
    }

    /// Sets `model` to its state after the last epoch, and returns how far the run has come; `None` if no epoch is complete.
    ///
    /// # Errors
    /// The checkpoint cannot be read, or belongs to another network.
    pub fn resume(&self, model: &mut Model) -> Result<Option<Progress>, TrainError> {
        self.open()?.map(|last| last.restore(model)).transpose()
    }

    /// [`Checkpoints::lost`] with the reason of an error that already names the file.
    fn unreadable(&self, error: &dyn Display) -> TrainError {
        let (said, name) = (error.to_string(), format!("{}", injerto_files::shown(&self.last())));
        self.lost(said.strip_prefix(&name).map_or(said.as_str(), |rest| rest.trim_start_matches([':', ' '])))
    }

    /// The best epoch, if the file of its weights is missing.
    pub fn lacks_best(&self, progress: &Progress) -> Option<usize> {
        let epoch = progress.best.epoch;
        (epoch > 0 && !self.folder.join(Self::BEST).is_file()).then_some(epoch)
    }

    /// The error for a [`Checkpoints::LAST`] that cannot be used, with what the user can do instead.
    pub fn lost(&self, reason: impl Into<String>) -> TrainError {
        TrainError::Lost { path: self.last(), reason: reason.into(), best: self.folder.join(Self::BEST).is_file() }
    }
}

/// [`Checkpoints::LAST`], open, so that code that first looks at it and then goes on from it reads it once.
#[derive(Debug)]
pub struct LastEpoch {
    checkpoints: Checkpoints,
    file: WeightFile,
}

impl LastEpoch {
    /// What the file says about itself, the [notes](Checkpoints::with_notes) among it.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        self.file.metadata()
    }

    /// Puts `model` back to the end of this epoch and says how far the run had come.
    ///
    /// # Errors
    /// The checkpoint cannot be read, or belongs to another network.
    pub fn restore(self, model: &mut Model) -> Result<Progress, TrainError> {
        let Self { checkpoints, file } = self;
        let (path, metadata) = (checkpoints.last(), file.metadata());
        let lost = |reason: String| checkpoints.lost(reason);
        let card = ModelCard::of(metadata).map_err(lost)?;
        if !card.agrees_with(&model.card) {
            return Err(TrainError::OtherCheckpoint { path, what: card.differs_from(&model.card) });
        }
        let found =
            Model::read(&file, &path, model.network.device()).map_err(|error| checkpoints.unreadable(&error))?;
        let progress = unpack(&file, &|reason| checkpoints.unreadable(&reason))?;
        *model = Model { arithmetic: model.arithmetic, ..found };
        Ok(progress)
    }
}

/// Adds to the tensors and the metadata of a file what a training needs beside the weights of its network to go on.
pub(crate) fn pack(
    progress: &Progress,
    optimizer: OptimizerState,
    weights: &mut Weights,
    metadata: &mut BTreeMap<String, String>,
) {
    for (name, slot) in optimizer.slots {
        for (part, values) in slot.into_parts() {
            if !values.is_empty() {
                weights.insert(format!("{}{part}:{name}", Model::OPTIMIZER), vec![values.len()], values);
            }
        }
    }
    for (prefix, kept) in [(Model::SNAPSHOT, &progress.snapshot), (Model::LEFT, &progress.left)] {
        for (name, values) in kept.iter().flat_map(Weights::iter) {
            weights.insert(format!("{prefix}{name}"), values.shape.clone(), values.data.clone());
        }
    }
    let json = serde_json::to_string(progress).expect("progress is plain data");
    metadata.insert(Progress::KEY.to_owned(), json);
    metadata.insert(Checkpoints::STEP.to_owned(), optimizer.step.to_string());
}

/// Reads what [`pack`] has added. `lost` says that the file cannot be used, and why.
pub(crate) fn unpack(file: &WeightFile, lost: &dyn Fn(String) -> TrainError) -> Result<Progress, TrainError> {
    let metadata = file.metadata();
    let field = |key: &str| metadata.get(key).ok_or_else(|| lost(format!("no '{key}' in its metadata")));
    let mut progress = Progress::of(metadata).map_err(lost)?;
    let step = field(Checkpoints::STEP)?.parse().map_err(|_| lost("its step is no number".to_owned()))?;
    let named = |prefix: &str| -> Result<Vec<(String, _)>, TrainError> {
        let found = file.named(&format!("{prefix}*")).map_err(|error| lost(error.to_string()))?;
        Ok(found.iter().map(|(name, values)| (name[prefix.len()..].to_owned(), values.clone())).collect())
    };
    let mut state = OptimizerState { step, ..OptimizerState::default() };
    for (name, values) in named(Model::OPTIMIZER)? {
        let Some((part, name)) = name.split_once(':') else { continue };
        let slot: &mut Slot = state.slots.entry(name.to_owned()).or_default();
        if let Some(place) = slot.part_mut(part) {
            *place = values.data;
        }
    }
    for (prefix, kept) in [(Model::SNAPSHOT, &mut progress.snapshot), (Model::LEFT, &mut progress.left)] {
        for (name, values) in named(prefix)? {
            kept.get_or_insert_default().insert(name, values.shape, values.data);
        }
    }
    progress.optimizer = Some(state);
    Ok(progress)
}

/// Whether the file exists. It is an error if something else has that name.
fn is_there(path: &Path) -> Result<bool, String> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
        Ok(_) => match std::fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(true),
            Ok(found) if found.is_dir() => Err("it is a folder".to_owned()),
            Ok(_) => Err("it is not a regular file".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}
