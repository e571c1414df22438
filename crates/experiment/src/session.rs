use std::sync::Arc;

use burn_tensor::Device;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_trainer::{Collective, TrainError, Watch};

use crate::run::{Start, run};
use crate::stop::StopFile;
use crate::{ExperimentError, Outcome, Prepared, RunFolder, device};

/// A prepared training with its folder. It owns its data, so that a server or a binding for another language can send it to
/// another thread and run it there. The observer is passed to [`Session::run`].
#[derive(Debug)]
pub struct Session {
    prepared: Prepared,
    folder: RunFolder,
    device: Device,
    start: Start,
}

impl Session {
    /// A new run of `prepared`, which writes its files into `folder`.
    ///
    /// # Errors
    /// [`ExperimentError::Device`] if the device is not available.
    pub fn begin(prepared: Prepared, folder: RunFolder) -> Result<Self, ExperimentError> {
        Self::new(prepared, folder, Start::New)
    }

    /// The run in `folder`, to be continued after its last finished epoch. `sets` are applied to the run's experiment. While
    /// the images are read, `looking` is called with the number of files that are done and the number of all files.
    ///
    /// A change that would make the rest of the run another run is refused: another value of a key that decides what is
    /// trained, and changed images, unless `changed_data` allows them. If it does, each image that still exists stays on its
    /// side of the split, even if its file was moved, so that no training image becomes a validation image. New images go
    /// where the split puts them.
    ///
    /// If the backbone's weights can no longer be found, they are read from the checkpoint, which contains all of them.
    ///
    /// # Errors
    /// [`ExperimentError`] if a part is missing or does not fit, if a change is refused, or if the checkpoint is missing or
    /// damaged.
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

    /// The prepared experiment.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The folder of the run.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Trains, and writes the run's folder: `experiment.toml`, `plan.json` and `environment.json` first, a line of history and
    /// two checkpoints per epoch, and `summary.json` at the end. If the experiment asks for the transfer gain, the summary is
    /// written once more after the runs of the comparison.
    ///
    /// A resumed run continues after its last finished epoch and computes the same numbers as a run that was never stopped. In
    /// the end all files, the summary included, describe the whole run. Until a new epoch is finished, the folder stays as it
    /// was, except that `experiment.toml` and `plan.json` are updated and missing lines of the history are added. A run that is
    /// complete is not trained any further.
    ///
    /// It ends after the current batch when `watch` is stopped, or when a file named [`RunFolder::STOP`] appears in the folder.
    ///
    /// # Errors
    /// [`ExperimentError`] if training fails or a file cannot be written. The files of finished epochs stay; a new folder in
    /// which no batch was trained is removed.
    pub fn run(self, watch: &mut Watch<'_>) -> Result<Outcome, ExperimentError> {
        self.run_as(watch)
    }

    /// Trains together with other processes, each of which runs the same experiment: each trains on its part of every batch
    /// ([`injerto_trainer::Collective`]). Process 0 writes the run's folder as [`Session::run`] does, and alone goes on with what follows
    /// the training; the others have a folder of their own ([`RunFolder::scratch`]), and their summary is that of the training alone.
    ///
    /// # Errors
    /// Those of [`Session::run`]; a process is lost.
    pub fn run_together(
        mut self,
        collective: Arc<dyn Collective>,
        watch: &mut Watch<'_>,
    ) -> Result<Outcome, ExperimentError> {
        // No process writes before all have read.
        collective.barrier().map_err(TrainError::from)?;
        self.prepared.collective = Some(collective);
        self.run_as(watch)
    }

    fn run_as(self, watch: &mut Watch<'_>) -> Result<Outcome, ExperimentError> {
        let Self { prepared, folder, device, start } = self;
        let all = &mut (StopFile::new(&folder, watch.stop), &mut *watch.observer);
        run(prepared, &device, &folder, start, &mut Watch { observer: all, stop: watch.stop })
    }
}
