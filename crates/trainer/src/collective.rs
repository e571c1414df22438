//! Training across processes: each trains on its part of every batch, and their gradients are added up before each step.
//!
//! All processes read the same experiment, draw the same order of images from its seed, and make the same decisions, because everything on
//! which decisions rest (losses, predictions, requests to stop) is joined first. They call the collective in lockstep, so a process that is
//! lost ends the others with an error, and no epoch is half done.
//!
//! The gradient of a step is that of the joined batch: the sum over all images of all parts, divided by their number, so a last batch that
//! is not divided evenly is right too. A batch normalisation that trains normalises by the process's own part, as PyTorch's
//! `DistributedDataParallel` does, and the running statistics of all processes are averaged at the end of each epoch. Frozen ones are not
//! affected.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use injerto_data::{Dataset, Label, Part};

use crate::error::{Lost, TrainError};

/// Processes that train one network together. Implementations carry numbers between them; what is added up is decided here.
pub trait Collective: Debug + Send + Sync {
    /// Number of this process, counted from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn size(&self) -> usize;

    /// Replaces each value by its sum over all processes, which call this with as many values. Each of them gets the same bits.
    ///
    /// # Errors
    /// A process is lost, or has not come within a time that the implementation limits.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), Lost>;

    /// Replaces each value by its mean over all processes.
    ///
    /// # Errors
    /// Those of [`Collective::all_reduce_sum`].
    fn all_reduce_mean(&self, values: &mut [f32]) -> Result<(), Lost> {
        self.all_reduce_sum(values)?;
        let size = self.size() as f32;
        values.iter_mut().for_each(|value| *value /= size);
        Ok(())
    }

    /// Replaces the values by those of process 0.
    ///
    /// # Errors
    /// Those of [`Collective::all_reduce_sum`].
    fn broadcast(&self, values: &mut [f32]) -> Result<(), Lost> {
        if self.rank() > 0 {
            // A sum with negative zeros changes no bit, not even that of the sign.
            values.fill(-0.0);
        }
        self.all_reduce_sum(values)
    }

    /// Waits until all processes have come here.
    ///
    /// # Errors
    /// Those of [`Collective::all_reduce_sum`].
    fn barrier(&self) -> Result<(), Lost> {
        self.all_reduce_sum(&mut [0.0])
    }
}

/// The other processes of a training, if there are any. Alone, joining does nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peers<'a>(Option<&'a dyn Collective>);

/// A network's outputs for a batch.
pub(crate) struct Said {
    /// Position of each image in the dataset.
    pub(crate) images: Vec<usize>,
    pub(crate) labels: Vec<Label>,
    /// Outputs, `[images, units]`.
    pub(crate) outputs: Vec<f32>,
}

impl<'a> Peers<'a> {
    pub(crate) fn new(collective: Option<&'a dyn Collective>) -> Self {
        Self(collective.filter(|collective| collective.size() > 1))
    }

    /// Whether there is only this process.
    pub(crate) fn is_alone(self) -> bool {
        self.0.is_none()
    }

    /// Number of this process.
    pub(crate) fn rank(self) -> u64 {
        self.0.map_or(0, |collective| collective.rank() as u64)
    }

    /// The part of each batch that is this process's.
    pub(crate) fn part(self) -> Part {
        self.0.map_or(Part::WHOLE, |collective| Part::new(collective.rank(), collective.size()))
    }

    /// Checks that each process gets images of a full batch.
    pub(crate) fn check(self, batch_size: usize) -> Result<(), TrainError> {
        match self.0.map(Collective::size) {
            Some(processes) if processes > batch_size => Err(TrainError::SmallBatch { batch_size, processes }),
            _ => Ok(()),
        }
    }

    pub(crate) fn sum(self, values: &mut [f32]) -> Result<(), TrainError> {
        self.0.map_or(Ok(()), |collective| Ok(collective.all_reduce_sum(values)?))
    }

    pub(crate) fn mean(self, values: &mut [f32]) -> Result<(), TrainError> {
        self.0.map_or(Ok(()), |collective| Ok(collective.all_reduce_mean(values)?))
    }

    pub(crate) fn broadcast(self, values: &mut [f32]) -> Result<(), TrainError> {
        self.0.map_or(Ok(()), |collective| Ok(collective.broadcast(values)?))
    }

    pub(crate) fn barrier(self) -> Result<(), TrainError> {
        self.0.map_or(Ok(()), |collective| Ok(collective.barrier()?))
    }

    /// Whether somebody has asked one of the processes to stop.
    pub(crate) fn stopped(self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let stopped = stop.load(Ordering::Relaxed);
        if self.is_alone() {
            return Ok(stopped);
        }
        let mut votes = [f32::from(u8::from(stopped))];
        self.sum(&mut votes)?;
        Ok(votes[0] > 0.0)
    }

    /// The outputs of all processes for a batch with the images `batch` of `dataset`, in their order, of which `own` belongs to this
    /// process. An image that could not be read is left out.
    pub(crate) fn join(self, own: Said, batch: &[usize], dataset: &Dataset, units: usize) -> Result<Said, TrainError> {
        if self.is_alone() {
            return Ok(own);
        }
        // One row per image: whether it was read, and its outputs. Rows of others are zero.
        let width = units + 1;
        let mut rows = vec![0.0; batch.len() * width];
        let mut read = own.images.iter().zip(own.outputs.chunks_exact(units)).peekable();
        for place in self.part().of(batch.len()) {
            if let Some((_, outputs)) = read.next_if(|(image, _)| **image == batch[place]) {
                rows[place * width] = 1.0;
                rows[place * width + 1..(place + 1) * width].copy_from_slice(outputs);
            }
        }
        self.sum(&mut rows)?;
        let mut all = Said { images: Vec::new(), labels: Vec::new(), outputs: Vec::new() };
        for (row, &image) in rows.chunks_exact(width).zip(batch).filter(|(row, _)| row[0] > 0.0) {
            all.images.push(image);
            all.labels.push(dataset.samples[image].label.clone());
            all.outputs.extend_from_slice(&row[1..]);
        }
        Ok(all)
    }
}
