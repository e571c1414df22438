//! What a run leaves after each epoch: the best weights, and all that is needed to go on from the last.

use std::path::PathBuf;

use injerto_backbones::weights::{Precision, WeightFile, Weights};
use injerto_graph::Format;
use serde::{Deserialize, Serialize};

use crate::callbacks::CallbackState;
use crate::history::{Best, EpochRecord};
use crate::optimizer::{Optimizer, OptimizerState, Slot};
use crate::{Model, ModelCard, TrainError};

/// How far a run has come. Epochs are never half done: an epoch that was stopped begins again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// One record for each epoch that is done.
    pub history: Vec<EpochRecord>,
    /// The checkpoint callback's memory.
    pub best: Best,
    /// Phases that are over.
    pub phases_done: usize,
    /// Epochs that are done of the phase behind them.
    pub epochs_done: usize,
    /// What the callbacks of that phase remember.
    pub callbacks: CallbackState,
    /// Weights to go back to at the end of that phase. They are tensors of the checkpoint.
    #[serde(skip)]
    pub snapshot: Option<Weights>,
    /// State of the optimiser of the phase that the last epoch belongs to. Its vectors are tensors of the checkpoint.
    #[serde(skip)]
    pub optimizer: Option<OptimizerState>,
}

impl Progress {
    /// Nothing done yet.
    pub fn new(best: Best) -> Self {
        Self {
            history: Vec::new(),
            best,
            phases_done: 0,
            epochs_done: 0,
            callbacks: CallbackState::default(),
            snapshot: None,
            optimizer: None,
        }
    }

    /// Counts an epoch of the current phase, which may have been its last.
    pub(crate) fn turn(&mut self, over: bool) {
        self.epochs_done += 1;
        if over {
            (self.phases_done, self.epochs_done) = (self.phases_done + 1, 0);
            (self.callbacks, self.snapshot) = (CallbackState::default(), None);
        }
    }
}

/// The checkpoint files of a run's folder.
///
/// Each file is written beside its name and renamed, so a kill at any moment leaves the old one or the new one. All that
/// a resumed run needs stands in one file, so that its parts cannot disagree.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    save_best_only: bool,
}

impl Checkpoints {
    /// The weights of the best epoch.
    pub const BEST: &str = "best.safetensors";
    /// The weights of the last epoch, with the state of the optimiser and the history.
    pub const LAST: &str = "last.safetensors";

    /// Keys of [`Checkpoints::LAST`]'s metadata.
    const PROGRESS: &str = "injerto.progress";
    const STEP: &str = "injerto.optimizer.step";

    /// Checkpoints in `folder`. Unless `save_best_only`, every epoch's weights are kept as `epoch-NNN.safetensors`.
    pub fn new(folder: impl Into<PathBuf>, save_best_only: bool) -> Self {
        Self { folder: folder.into(), save_best_only }
    }

    /// Writes the weights of an epoch, if it is the best or every epoch's are kept.
    pub(crate) fn write_epoch(&self, model: &Model, progress: &Progress, best: bool) -> Result<(), TrainError> {
        let every = format!("epoch-{:03}.safetensors", progress.history.len());
        let names = [(best, Self::BEST), (!self.save_best_only, &every)];
        for (_, name) in names.into_iter().filter(|(wanted, _)| *wanted) {
            model.save(&self.folder.join(name), Precision::F32)?;
        }
        Ok(())
    }

    /// Writes all that is needed to go on from here.
    pub(crate) fn write_last(
        &self,
        model: &Model,
        progress: &Progress,
        optimizer: &mut Optimizer,
    ) -> Result<(), TrainError> {
        let mut weights = model.network.weights();
        let mut metadata = model.metadata();
        for (name, slot) in optimizer.slots() {
            for (part, values) in slot.parts() {
                if !values.is_empty() {
                    weights.insert(format!("{}{part}:{name}", Model::OPTIMIZER), vec![values.len()], values.clone());
                }
            }
        }
        for (name, values) in progress.snapshot.iter().flat_map(Weights::iter) {
            weights.insert(format!("{}{name}", Model::SNAPSHOT), values.shape.clone(), values.data.clone());
        }
        let json = serde_json::to_string(progress).expect("progress is plain data");
        metadata.insert(Self::PROGRESS.to_owned(), json);
        metadata.insert(Self::STEP.to_owned(), optimizer.state().step.to_string());
        Ok(weights.save(&self.folder.join(Self::LAST), &metadata, Precision::F32)?)
    }

    /// Puts `model` back to the end of the last epoch and says how far the run had come; `None` if no epoch was done.
    ///
    /// # Errors
    /// A checkpoint that cannot be read, or that belongs to another network.
    pub fn resume(&self, model: &mut Model) -> Result<Option<Progress>, TrainError> {
        let path = self.folder.join(Self::LAST);
        if !path.is_file() {
            return Ok(None);
        }
        let bad = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
        let file = WeightFile::open_as(&path, Format::Safetensors)?;
        let found = Model::read(&file, &path, model.network.device())?;
        // Which parameters made the graph is known of newer checkpoints only; the graph itself is compared.
        if (ModelCard { backbone: None, ..found.card.clone() }) != (ModelCard { backbone: None, ..model.card.clone() })
        {
            return Err(bad("it belongs to another experiment: network, classes or loss differ".to_owned()));
        }
        let field = |key: &str| file.metadata().get(key).ok_or_else(|| bad(format!("no '{key}' in its metadata")));
        let mut progress: Progress =
            serde_json::from_str(field(Self::PROGRESS)?).map_err(|error| bad(error.to_string()))?;
        let step = field(Self::STEP)?.parse().map_err(|_| bad("its step is no number".to_owned()))?;
        let mut state = OptimizerState { step, ..OptimizerState::default() };
        for (name, values) in file.named(&format!("{}*", Model::OPTIMIZER))?.iter() {
            let Some((part, name)) = name[Model::OPTIMIZER.len()..].split_once(':') else { continue };
            let slot: &mut Slot = state.slots.entry(name.to_owned()).or_default();
            if let Some((_, place)) = slot.parts().into_iter().find(|(name, _)| *name == part) {
                place.clone_from(&values.data);
            }
        }
        for (name, values) in file.named(&format!("{}*", Model::SNAPSHOT))?.iter() {
            let name = &name[Model::SNAPSHOT.len()..];
            let kept = progress.snapshot.get_or_insert_default();
            kept.insert(name, values.shape.clone(), values.data.clone());
        }
        progress.optimizer = Some(state);
        *model = found;
        Ok(Some(progress))
    }
}
