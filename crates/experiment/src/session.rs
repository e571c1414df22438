use burn_tensor::Device;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_trainer::{LastEpoch, Watch};

use crate::run::run;
use crate::{ExperimentError, Outcome, Prepared, RunFolder, device};

/// A training that is prepared and has its folder. It is owned: whoever holds it, a server or another language, can hand it to
/// another thread and run it there. Who watches is said when it runs.
#[derive(Debug)]
pub struct Session {
    prepared: Prepared,
    folder: RunFolder,
    device: Device,
    start: Start,
}

/// Where a training starts.
#[derive(Debug)]
pub(crate) enum Start {
    /// At its beginning, in a new folder.
    New,
    /// In a folder where it began before, after this epoch if one was done.
    Again(Option<Box<LastEpoch>>),
}

impl Session {
    /// A new run of `prepared`, which leaves its files in `folder`.
    ///
    /// # Errors
    /// A device that is not there.
    pub fn begin(prepared: Prepared, folder: RunFolder) -> Result<Self, ExperimentError> {
        Self::new(prepared, folder, Start::New)
    }

    /// The run in `folder`, to go on after its last finished epoch: its experiment with `sets` written over it. `looking` is told
    /// how many files of how many have been looked at.
    ///
    /// Refused is whatever would make the rest of the run another than the one that began: another value of a key that
    /// decides what is trained, and images that have changed, unless `changed_data` allows them. Then an image that is still
    /// there, wherever it lies, stays on its side: what was trained on never validates. A new one goes where the split puts it.
    ///
    /// Weights of the backbone that are no longer to be had are taken from the checkpoint, which has all of them.
    ///
    /// # Errors
    /// [`ExperimentError`]; a checkpoint that is missing or damaged.
    pub fn resume(
        folder: RunFolder,
        sets: &[String],
        changed_data: bool,
        catalog: &mut Catalog,
        cache: &Cache,
        looking: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, ExperimentError> {
        let (prepared, last) = Prepared::resume(&folder, sets, changed_data, catalog, cache, looking)?;
        Self::new(prepared, folder, Start::Again(last.map(Box::new)))
    }

    fn new(prepared: Prepared, folder: RunFolder, start: Start) -> Result<Self, ExperimentError> {
        let device = device(prepared.config.device)?;
        Ok(Self { prepared, folder, device, start })
    }

    /// What is trained, on what and how.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Where the run leaves its files.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Trains, and writes the run's folder: `experiment.toml` and `environment.json` first, a line of history and two checkpoints
    /// per epoch, `summary.json` at the end, and once more after the runs to compare with.
    ///
    /// A run that was stopped or killed goes on from its last finished epoch, with the same numbers as if it had never stopped: all
    /// files are then those of the whole run, the summary included. Until an epoch of its own is done, the folder stays as it
    /// was, but for a newer form of the experiment and what may be missing in histories and summary. A run that was complete before
    /// is not touched.
    ///
    /// # Errors
    /// Whatever training meets. Files of finished epochs are there all the same; a folder in which no batch was trained is not.
    pub fn run(self, watch: &mut Watch<'_>) -> Result<Outcome, ExperimentError> {
        let Self { prepared, folder, device, start } = self;
        run(&prepared, &device, &folder, start, watch)
    }
}
