//! The predicting threads: photos of several requests run through the network together.
//!
//! One thread gathers photos while the other has its own decoded and in the network, so that neither the decoders nor the network wait
//! for each other. An answer does not depend on the other photos of its batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use injerto_data::decode::{Format, dimensions};
use injerto_data::{DataError, Origin};
use injerto_experiment::{ExperimentError, Prediction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::metrics::Metrics;
use crate::model::{Heat, Model, Slot};
use crate::{Limits, Refusal};

/// Predicting threads.
const THREADS: usize = 2;
/// Most photos that run together.
const TOGETHER: usize = 32;
/// How long a photo waits for others to share its batch.
const GATHER: Duration = Duration::from_millis(2);

/// The answer about a photo, and where the network looked, if that was asked.
pub(crate) type Answer = Result<(Prediction, Option<Heat>), Refusal>;

/// A photo that waits for its answer.
struct Job {
    photo: Bytes,
    /// Whether to say where the network looks.
    heat: bool,
    reply: oneshot::Sender<Answer>,
    /// Its place among those that may wait.
    _place: OwnedSemaphorePermit,
}

/// The predicting threads. Dropping it waits until they have answered what they have.
#[derive(Debug)]
pub(crate) struct Engine {
    jobs: Option<Sender<Job>>,
    places: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(model: &Arc<Slot>, metrics: &Arc<Metrics>, limits: &Limits) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let pixels = limits.pixels;
        let start = |number: usize| {
            let (waiting, model, metrics) = (waiting.clone(), model.clone(), metrics.clone());
            thread::Builder::new().name(format!("predict {number}")).spawn(move || {
                while let Some(batch) = gathered(&waiting) {
                    answer(batch, model.get(), pixels, &metrics);
                }
            })
        };
        let threads = (0..THREADS).map(start).collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), places: Arc::new(Semaphore::new(limits.waiting)), threads })
    }

    /// Hands photos to the network, all of them or none. Each answer goes to the place that the iterator gives.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too many are waiting; [`Refusal::Stopping`].
    pub fn ask(
        &self,
        photos: impl ExactSizeIterator<Item = Bytes>,
        heat: bool,
    ) -> Result<Vec<oneshot::Receiver<Answer>>, Refusal> {
        let jobs = self.jobs.as_ref().ok_or(Refusal::Stopping)?;
        let places = self.places.clone().try_acquire_many_owned(photos.len() as u32);
        let mut places = places.map_err(|_| Refusal::Busy)?;
        let ask = |photo| {
            let (reply, answer) = oneshot::channel();
            let place = places.split(1).expect("there is a place for each photo");
            jobs.send(Job { photo, heat, reply, _place: place }).map_err(|_| Refusal::Failed)?;
            Ok(answer)
        };
        photos.map(ask).collect()
    }

    /// Photos that wait or are in the network.
    pub fn waiting(&self, limits: &Limits) -> usize {
        limits.waiting - self.places.available_permits()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.jobs = None;
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// The next photos that run together; `None` when no more come. Photos whose request was given up are left out.
fn gathered(waiting: &Mutex<Receiver<Job>>) -> Option<Vec<Job>> {
    let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let mut batch = vec![waiting.recv().ok()?];
        let end = Instant::now() + GATHER;
        while batch.len() < TOGETHER
            && let Ok(job) = waiting.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            batch.push(job);
        }
        batch.retain(|job| !job.reply.is_closed());
        if !batch.is_empty() {
            return Some(batch);
        }
    }
}

/// Answers all photos of a batch.
fn answer(batch: Vec<Job>, model: Option<Arc<Model>>, pixels: u64, metrics: &Metrics) {
    let say = |job: Job, answer: Answer| {
        let counter = if answer.is_ok() { &metrics.answered } else { &metrics.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        // The client may have gone away.
        let _ = job.reply.send(answer);
    };
    let mut fit = Vec::with_capacity(batch.len());
    for job in batch {
        match (&model, check(&job.photo, pixels)) {
            (None, _) => say(job, Err(Refusal::NoModel)),
            (_, Err(refusal)) => say(job, Err(refusal)),
            _ => fit.push(job),
        }
    }
    let Some(model) = model.filter(|_| !fit.is_empty()) else { return };
    metrics.batches.fetch_add(1, Ordering::Relaxed);
    let photos: Vec<Origin> = fit.iter().map(|job| Origin::from(Arc::<[u8]>::from(&job.photo[..]))).collect();
    let mut fit = fit.into_iter();
    let done = catch_unwind(AssertUnwindSafe(|| {
        let mut looked = Vec::new();
        for (prediction, job) in model.predictor.predict(photos).zip(fit.by_ref()) {
            match prediction.map_err(refusal) {
                Ok(prediction) if job.heat => looked.push((job, prediction)),
                answer => say(job, answer.map(|prediction| (prediction, None))),
            }
        }
        // The answers of the others do not wait for the maps.
        let photos: Vec<Bytes> = looked.iter().map(|(job, _)| job.photo.clone()).collect();
        let heats = if photos.is_empty() { Vec::new() } else { model.heat(&photos) };
        for ((job, prediction), heat) in looked.into_iter().zip(heats) {
            say(job, Ok((prediction, heat)));
        }
    }));
    if done.is_err() {
        tracing::error!("a photo made the network fail; this is a defect of injerto");
    }
    fit.for_each(|job| say(job, Err(Refusal::Failed)));
}

/// Checks a photo by its first bytes and its header, before anything is decoded.
pub(crate) fn check(photo: &[u8], most: u64) -> Result<(), Refusal> {
    if Format::of(photo).is_none() {
        return Err(Refusal::NoImage);
    }
    let (width, height) = dimensions(photo).map_err(Refusal::Unreadable)?;
    match u64::from(width) * u64::from(height) {
        found if found > most => Err(Refusal::Pixels { found, limit: most }),
        _ => Ok(()),
    }
}

/// The answer for an error. Only errors of the photo itself are told; all others go to the log.
fn refusal(error: ExperimentError) -> Refusal {
    match error {
        ExperimentError::Data(DataError::Corrupt { reason, .. }) => Refusal::Unreadable(reason),
        error => {
            tracing::error!("a photo was not answered: {error}");
            Refusal::Failed
        }
    }
}
