use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::decode::{Orientation, decode};
use crate::resize::{Interpolation, resize};
use crate::{DataError, Dataset, Origin, Sample};

/// What to do with a file that is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCorrupt {
    /// Stop and name it.
    #[default]
    Error,
    /// Leave it out, and remember it.
    Skip,
}

/// How images become batches.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderOptions {
    /// `[height, width]`.
    pub image_size: [usize; 2],
    /// Images in a batch; the last may have fewer.
    pub batch_size: usize,
    /// How images are resized.
    pub interpolation: Interpolation,
    /// Cut to the aspect ratio instead of squeezing.
    pub crop_to_aspect_ratio: bool,
    /// Whether photos are turned as their EXIF data says.
    pub orientation: Orientation,
    /// What to do with a file that is no image.
    pub on_corrupt: OnCorrupt,
    /// A new order every epoch, from this seed; `None` keeps the dataset's.
    pub shuffle: Option<u64>,
}

/// Some images, ready for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[batch, height, width, 3]`, 0 to 255.
    pub pixels: Vec<f32>,
    /// One a image.
    pub labels: Vec<u32>,
    /// Places of the images in the dataset.
    pub indices: Vec<usize>,
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

/// Makes batches of a dataset.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
}

/// What the decoding thread needs too.
#[derive(Debug)]
struct Shared {
    dataset: Dataset,
    options: LoaderOptions,
    nanoseconds: AtomicU64,
    skipped: Mutex<BTreeMap<usize, String>>,
}

/// Batches decoded ahead of use.
const AHEAD: usize = 2;

impl Loader {
    /// A loader; nothing is read yet.
    pub fn new(dataset: Dataset, options: LoaderOptions) -> Self {
        let shared = Shared { dataset, options, nanoseconds: AtomicU64::new(0), skipped: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        &self.shared.dataset
    }

    /// How images become batches.
    pub fn options(&self) -> &LoaderOptions {
        &self.shared.options
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.shared.dataset.samples.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Images in a batch.
    pub fn batch_size(&self) -> usize {
        self.shared.options.batch_size
    }

    /// Order of the images in an epoch: the same for the same seed and epoch, on any machine.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        if let Some(seed) = self.shared.options.shuffle {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(epoch);
            for last in (1..order.len()).rev() {
                // The upper half of a product is uniform enough below 2^64, and needs no rejection.
                let pick = ((u128::from(random.next_u64()) * (last as u128 + 1)) >> 64) as usize;
                order.swap(last, pick);
            }
        }
        order
    }

    /// Batches of these images, in this order, decoded by all cores ahead of use. Two batches wait at most, so memory
    /// does not grow with the dataset. Dropping the iterator ends the work.
    pub fn batches(&self, order: &[usize]) -> Batches {
        let (send, receive) = sync_channel(AHEAD);
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, order, stopped) = (self.shared.clone(), order.to_vec(), stop.clone());
        let thread = std::thread::spawn(move || {
            for indices in order.chunks(shared.options.batch_size.max(1)) {
                if stopped.load(Ordering::Relaxed) || send.send(shared.batch(indices)).is_err() {
                    break;
                }
            }
        });
        Batches { receive: Some(receive), thread: Some(thread), stop }
    }

    /// Time spent reading, decoding and resizing, added over all threads.
    pub fn decode_time(&self) -> Duration {
        Duration::from_nanos(self.shared.nanoseconds.load(Ordering::Relaxed))
    }

    /// Files that were left out so far, in the order of the dataset.
    pub fn skipped(&self) -> Vec<Skipped> {
        let skipped = self.shared.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let file = |(&index, reason): (&usize, &String)| match &self.shared.dataset.samples[index].origin {
            Origin::File(path) => Some(Skipped { path: path.clone(), reason: reason.clone() }),
            Origin::Drawn(_) => None,
        };
        skipped.iter().filter_map(file).collect()
    }
}

impl LoaderOptions {
    /// One image as it would stand in a batch: `[height, width, 3]`, 0 to 255.
    ///
    /// # Errors
    /// [`DataError::Corrupt`], also for a file that cannot be read.
    pub fn load(&self, sample: &Sample) -> Result<Vec<f32>, DataError> {
        let image = match &sample.origin {
            Origin::File(path) => {
                let corrupt = |reason: String| DataError::Corrupt { path: path.clone(), reason };
                let bytes = std::fs::read(path).map_err(|error| corrupt(error.to_string()))?;
                decode(&bytes, self.orientation).map_err(corrupt)?
            }
            Origin::Drawn(drawing) => drawing.draw(self.image_size),
        };
        Ok(resize(&image, self.image_size, self.interpolation, self.crop_to_aspect_ratio))
    }
}

impl Shared {
    fn batch(&self, indices: &[usize]) -> Result<Batch, DataError> {
        let one = |&index: &usize| {
            let began = Instant::now();
            let loaded = self.options.load(&self.dataset.samples[index]);
            self.nanoseconds.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
            loaded
        };
        let loaded: Vec<Result<Vec<f32>, DataError>> = indices.par_iter().map(one).collect();
        let size: usize = self.options.image_size.iter().product::<usize>() * 3;
        let pixels = Vec::with_capacity(indices.len() * size);
        let mut batch = Batch { pixels, labels: Vec::new(), indices: Vec::new() };
        for (&index, pixels) in indices.iter().zip(loaded) {
            match pixels {
                Ok(pixels) => {
                    batch.pixels.extend_from_slice(&pixels);
                    batch.labels.push(self.dataset.samples[index].label);
                    batch.indices.push(index);
                }
                Err(DataError::Corrupt { reason, .. }) if self.options.on_corrupt == OnCorrupt::Skip => {
                    self.skipped.lock().unwrap_or_else(PoisonError::into_inner).insert(index, reason);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }
}

/// Batches as they come. After an error there is nothing more.
#[derive(Debug)]
pub struct Batches {
    receive: Option<Receiver<Result<Batch, DataError>>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.receive.as_ref()?.recv();
        match next {
            Ok(Ok(batch)) => Some(Ok(batch)),
            Ok(Err(error)) => {
                self.receive = None;
                Some(Err(error))
            }
            // The thread is done, or dead.
            Err(_) => {
                self.receive = None;
                self.thread.take()?.join().err().map(|_| Err(DataError::Stopped))
            }
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A full queue lets go of its sender only when the receiver is gone.
        self.receive = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
