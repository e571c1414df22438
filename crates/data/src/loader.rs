use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::Serialize;

use crate::augment::{Augmentation, Mix, MixOptions, augment, generator};
use crate::cache::PixelCache;
use crate::decode::{Orientation, decode_held};
use crate::read::read;
use crate::resize::{Interpolation, resize_into};
use crate::{DataError, Dataset, Origin, Sample};

/// What to do with a file that is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
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
    /// Whether large JPEGs are decoded at a part of their size: [`decode_scaled`](crate::decode::decode_scaled).
    pub scaled_decoding: bool,
    /// What to do with a file that is no image.
    pub on_corrupt: OnCorrupt,
    /// A new order every epoch, from this seed; `None` keeps the dataset's.
    pub shuffle: Option<u64>,
    /// Random changes, in this order. [`Loader::augmented`] and [`Loader::views`] make them, [`Loader::batches`] does not.
    pub augment: Vec<Augmentation>,
    /// How the images of a batch are mixed; [`Loader::augmented`] alone does it.
    pub mix: MixOptions,
    /// Of what `augment` and `mix` draw.
    pub seed: u64,
    /// Decoded and resized images are kept up to this many bytes, so that later epochs need not decode them again; 0
    /// keeps none. The first that come stay: in epochs that run over all images, dropping the oldest would drop each
    /// one just before its turn.
    pub cache_bytes: usize,
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
    /// Which view of its image each is; 0 except in [`Loader::views`].
    pub views: Vec<u32>,
    /// What was mixed into the images; then `labels` are only a part of the targets.
    pub mix: Option<Mix>,
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
    cache: PixelCache,
    nanoseconds: AtomicU64,
    skipped: Mutex<BTreeMap<usize, String>>,
}

/// What becomes of the images on their way.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Nothing.
    Plain,
    /// They are changed as in this epoch, and mixed.
    Epoch(u64),
    /// Each comes as often, changed each time.
    Views(usize),
}

/// An image of a batch, or consecutive views of it, and where its pixels go.
struct Slot<'a> {
    index: usize,
    views: Range<usize>,
    pixels: &'a mut [f32],
}

/// Batches decoded ahead of use.
const AHEAD: usize = 2;

impl Loader {
    /// A loader; nothing is read yet.
    pub fn new(dataset: Dataset, options: LoaderOptions) -> Self {
        let cache = PixelCache::new(options.cache_bytes, dataset.samples.len());
        let shared = Shared { dataset, options, cache, nanoseconds: AtomicU64::new(0), skipped: Mutex::default() };
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
        self.start(order, Way::Plain)
    }

    /// [`batches`](Self::batches) to train on in this epoch: changed by [`LoaderOptions::augment`], then mixed by
    /// [`LoaderOptions::mix`]. Without either they are the same as there.
    ///
    /// Nothing in front of a cut may be cached that comes from here: it is another image each epoch.
    pub fn augmented(&self, order: &[usize], epoch: u64) -> Batches {
        self.start(order, Way::Epoch(epoch))
    }

    /// `views` changed versions of each image, to be cached in place of endless ones: first all of the first image in
    /// `order`, then all of the second. View `n` is what [`augmented`](Self::augmented) makes of the image in epoch `n`,
    /// without mixing, which is an affair of the batch. An image is decoded once for all its views in a batch.
    pub fn views(&self, order: &[usize], views: usize) -> Batches {
        self.start(order, Way::Views(views))
    }

    fn start(&self, order: &[usize], way: Way) -> Batches {
        let (send, receive) = sync_channel(AHEAD);
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, order, stopped) = (self.shared.clone(), order.to_vec(), stop.clone());
        let thread = std::thread::spawn(move || {
            let places = order.len() * way.views();
            let size = shared.options.batch_size.max(1);
            for (number, first) in (0..places).step_by(size).enumerate() {
                let batch = || shared.batch(&order, first..(first + size).min(places), way, number);
                if stopped.load(Ordering::Relaxed) || send.send(batch()).is_err() {
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
    /// Images of this size (`[height, width]`) in batches of so many, as Keras reads them, in the dataset's order, unchanged.
    pub fn new(image_size: [usize; 2], batch_size: usize) -> Self {
        Self {
            image_size,
            batch_size,
            interpolation: Interpolation::default(),
            crop_to_aspect_ratio: false,
            orientation: Orientation::default(),
            scaled_decoding: false,
            on_corrupt: OnCorrupt::default(),
            shuffle: None,
            augment: Vec::new(),
            mix: MixOptions::default(),
            seed: 0,
            cache_bytes: 0,
        }
    }

    /// One image as it would stand in a batch: `[height, width, 3]`, 0 to 255.
    ///
    /// # Errors
    /// [`DataError::Corrupt`], also for a file that cannot be read.
    pub fn load(&self, sample: &Sample) -> Result<Vec<f32>, DataError> {
        let mut pixels = vec![0.0; self.values()];
        self.load_into(sample, &mut pixels)?;
        Ok(pixels)
    }

    /// [`load`](Self::load), straight to where the pixels are wanted. Whatever a file holds, it is an error and no panic.
    fn load_into(&self, sample: &Sample, pixels: &mut [f32]) -> Result<(), DataError> {
        let load = || {
            let (image, _permit) = match &sample.origin {
                Origin::File(path) => {
                    let corrupt = |reason: String| DataError::Corrupt { path: path.clone(), reason };
                    let bytes = read(path).map_err(corrupt)?;
                    let enough = self.scaled_decoding.then_some(self.image_size);
                    let (image, permit) = decode_held(&bytes, self.orientation, enough).map_err(corrupt)?;
                    (image, Some(permit))
                }
                Origin::Drawn(drawing) => (drawing.draw(self.image_size), None),
            };
            resize_into(&image, self.image_size, self.interpolation, self.crop_to_aspect_ratio, pixels);
            Ok(())
        };
        catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| match &sample.origin {
            Origin::File(path) => {
                Err(DataError::Corrupt { path: path.clone(), reason: "reading it failed".to_owned() })
            }
            Origin::Drawn(_) => Err(DataError::Stopped),
        })
    }

    /// Numbers that make up an image.
    fn values(&self) -> usize {
        self.image_size.iter().product::<usize>() * 3
    }
}

impl Way {
    /// How often an image comes.
    fn views(self) -> usize {
        match self {
            Self::Plain | Self::Epoch(_) => 1,
            Self::Views(views) => views,
        }
    }
}

impl Shared {
    /// The batch of these places, where an image of `order` has as many places as there are views of it.
    fn batch(&self, order: &[usize], places: Range<usize>, way: Way, number: usize) -> Result<Batch, DataError> {
        let (views, values) = (way.views(), self.options.values());
        let mut pixels = vec![0.0_f32; places.len() * values];
        let (mut slots, mut rest, mut at) = (Vec::new(), pixels.as_mut_slice(), places.start);
        while at < places.end {
            let image = at / views;
            let end = places.end.min((image + 1) * views);
            let (pixels, others) = rest.split_at_mut((end - at) * values);
            slots.push(Slot { index: order[image], views: at - image * views..end - image * views, pixels });
            (rest, at) = (others, end);
        }
        let one = |slot: Slot<'_>| (slot.index, slot.views.clone(), self.fill(slot, way));
        // One at a time: images differ in size, and threads that take half a batch each wait for each other.
        let filled: Vec<_> = slots.into_par_iter().with_max_len(1).map(one).collect();
        let mut batch = Batch { pixels, labels: Vec::new(), indices: Vec::new(), views: Vec::new(), mix: None };
        let mut read = 0;
        for (index, views, result) in filled {
            let from = read * values..(read + views.len()) * values;
            read += views.len();
            match result {
                Ok(()) => {
                    // Others close the gap of an image that was left out.
                    if batch.labels.len() * values < from.start {
                        batch.pixels.copy_within(from, batch.labels.len() * values);
                    }
                    for view in views {
                        batch.labels.push(self.dataset.samples[index].label);
                        batch.indices.push(index);
                        batch.views.push(view as u32);
                    }
                }
                Err(DataError::Corrupt { reason, .. }) if self.options.on_corrupt == OnCorrupt::Skip => {
                    self.skipped.lock().unwrap_or_else(PoisonError::into_inner).insert(index, reason);
                }
                Err(error) => return Err(error),
            }
        }
        batch.pixels.truncate(batch.labels.len() * values);
        if let Way::Epoch(epoch) = way {
            let LoaderOptions { mix, seed, image_size, .. } = &self.options;
            batch.mix = mix.mix(&mut batch.pixels, &batch.labels, *image_size, (*seed, epoch, number as u64));
        }
        Ok(batch)
    }

    /// Loads an image, and makes its views.
    fn fill(&self, slot: Slot<'_>, way: Way) -> Result<(), DataError> {
        let values = self.options.values();
        let (first, others) = slot.pixels.split_at_mut(values);
        if !self.cache.read(slot.index, first) {
            let began = Instant::now();
            let loaded = self.options.load_into(&self.dataset.samples[slot.index], first);
            self.nanoseconds.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
            loaded?;
            self.cache.offer(slot.index, first);
        }
        let epoch = match way {
            Way::Plain => return Ok(()),
            Way::Epoch(epoch) => epoch,
            Way::Views(_) => slot.views.start as u64,
        };
        let LoaderOptions { augment: layers, seed, image_size, .. } = &self.options;
        let change = |pixels: &mut [f32], epoch: u64| {
            augment(layers, pixels, *image_size, &mut generator(*seed, epoch, slot.index as u64));
        };
        for (other, epoch) in others.chunks_exact_mut(values.max(1)).zip(epoch + 1..) {
            other.copy_from_slice(first);
            change(other, epoch);
        }
        change(first, epoch);
        Ok(())
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
