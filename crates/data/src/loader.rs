use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::ahead::Ahead;
use crate::augment::{Mix, augment, generator_of};
use crate::cache::PixelCache;
use crate::kept::{Kept, KeptCounts, Row};
use crate::options::Looked;
use crate::order::{self, Place};
use crate::{ClassSampling, DataError, Dataset, Label, LoaderOptions, OnCorrupt, Origin, Part, Sample, Skipped};

/// Some images, ready for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[batch, height, width, 3]`, 0 to 255.
    pub pixels: Vec<f32>,
    /// What each image shows.
    pub labels: Vec<Label>,
    /// Places of the images in the dataset.
    pub indices: Vec<usize>,
    /// Which view of its image each place holds; 0 except in [`Loader::views`].
    pub views: Vec<u32>,
    /// What was mixed into the images; then `labels` are only a part of the targets.
    pub mix: Option<Mix>,
}

/// Makes batches of a dataset. Clones share all that a loader has read and counted.
#[derive(Debug, Clone)]
pub struct Loader {
    shared: Arc<Shared>,
    part: Part,
}

/// What a loader shares with its decoding threads.
#[derive(Debug)]
struct Shared {
    dataset: Dataset,
    options: LoaderOptions,
    cache: PixelCache,
    /// Photos on disk, and for each image whether it was decoded before.
    kept: OnceLock<Kept>,
    decoded: Vec<AtomicBool>,
    nanoseconds: AtomicU64,
    skipped: Mutex<BTreeMap<usize, String>>,
}

/// Whether and how images are changed at random.
#[derive(Debug, Clone, Copy)]
enum Variation {
    /// Not at all.
    None,
    /// Each is changed as in this epoch, and the batch is mixed.
    Epoch(u64),
    /// Each is changed as in this view.
    View(u64),
    /// Each comes so many times, changed each time.
    Views(usize),
}

/// An image of a batch, or consecutive views of it, and where its pixels go.
struct Slot<'a> {
    index: usize,
    /// How often the image has come in the epoch before.
    repeat: u64,
    views: Range<usize>,
    pixels: &'a mut [f32],
}

impl Loader {
    /// A loader; nothing is read yet.
    pub fn new(dataset: Dataset, options: LoaderOptions) -> Self {
        Self { shared: Arc::new(Shared::new(dataset, options)), part: Part::WHOLE }
    }

    /// The same loader, whose batches have this part of the images of each batch: none, some of them or all. What is drawn at random for
    /// an image or a batch stays what it is for the whole batch.
    #[must_use]
    pub fn part(&self, part: Part) -> Self {
        Self { shared: self.shared.clone(), part }
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

    /// Images per batch.
    pub fn batch_size(&self) -> usize {
        self.shared.options.batch_size
    }

    /// Order of the images in an epoch: the same for the same seed and epoch, on any machine. With
    /// [`ClassSampling::Balanced`], some images come several times and others do not come.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let LoaderOptions { shuffle, sampling, .. } = self.shared.options;
        let mut order: Vec<usize> = (0..self.len()).collect();
        if let Some(seed) = shuffle {
            let mut random = order::generator(seed, epoch);
            match sampling {
                ClassSampling::Natural => order::shuffle(&mut order, &mut random),
                ClassSampling::Balanced => order = order::balanced(&self.shared.dataset.samples, &mut random),
            }
        }
        order
    }

    /// Batches of these images, in this order, decoded by all cores ahead of use. Two batches wait at most, so memory
    /// does not grow with the dataset. Dropping the iterator ends the work.
    pub fn batches(&self, order: &[usize]) -> Batches {
        self.start(order, Variation::None)
    }

    /// [`batches`](Self::batches) to train on in this epoch: changed by [`LoaderOptions::augment`], then mixed by
    /// [`LoaderOptions::mix`]. Without either they are the same as there.
    ///
    /// These pixels differ in each epoch, so that nothing computed from them can be kept for the next one. An image that comes
    /// several times in `order` is changed anew each time.
    pub fn augmented(&self, order: &[usize], epoch: u64) -> Batches {
        self.start(order, Variation::Epoch(epoch))
    }

    /// `views` randomly changed versions of each image, few enough to be kept: first all of the first image in `order`, then all of
    /// the second. View `n` is what [`augmented`](Self::augmented) makes of the image in epoch `n`, without mixing, which happens
    /// to batches. An image is decoded once for all its views in a batch.
    pub fn views(&self, order: &[usize], views: usize) -> Batches {
        self.start(order, Variation::Views(views))
    }

    /// One of the [`views`](Self::views) of each image. An image that comes several times in `order` is the same each time.
    pub fn view(&self, order: &[usize], view: u64) -> Batches {
        self.start(order, Variation::View(view))
    }

    fn start(&self, order: &[usize], variation: Variation) -> Batches {
        let (shared, part, mut order) = (self.shared.clone(), self.part, order::places(order));
        if !matches!(variation, Variation::Epoch(_)) {
            order.iter_mut().for_each(|place| place.repeat = 0);
        }
        let places = order.len() * variation.views();
        let size = shared.options.batch_size.max(1);
        let batches = (0..places).step_by(size).enumerate().map(move |(number, first)| {
            let whole = first..(first + size).min(places);
            // Images that are mixed with each other are read together.
            if shared.options.mix.is_on() && matches!(variation, Variation::Epoch(_)) {
                return Ok(shared.batch(&order, whole, variation, number)?.part(part));
            }
            let own = part.of(whole.len());
            shared.batch(&order, first + own.start..first + own.end, variation, number)
        });
        Batches { ahead: Ahead::new(batches) }
    }

    /// Time spent reading, decoding and resizing, added over all threads.
    pub fn decode_time(&self) -> Duration {
        Duration::from_nanos(self.shared.nanoseconds.load(Ordering::Relaxed))
    }

    /// How many photos were read from those that are kept on disk, how many were kept, and why no more are.
    pub fn kept(&self) -> KeptCounts {
        self.shared.kept.get().map(Kept::counts).unwrap_or_default()
    }

    /// Images that were left out so far, in the order of the dataset.
    pub fn skipped(&self) -> Vec<Skipped> {
        let skipped = self.shared.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let image = |(&index, reason): (&usize, &String)| Skipped {
            origin: self.shared.dataset.samples[index].origin.clone(),
            reason: reason.clone(),
        };
        skipped.iter().map(image).collect()
    }
}

/// Images of a [stream](LoaderOptions::stream), each with its answer.
#[derive(Debug)]
pub struct Decoded {
    /// `[readable images, height, width, 3]`, 0 to 255.
    pub pixels: Vec<f32>,
    /// For each image of the stream in turn, whether it was read: those that were stand in `pixels` one after the other.
    pub images: Vec<Result<(), DataError>>,
}

/// Bytes of files in memory after which a batch of a [stream](LoaderOptions::stream) is full.
const BATCH_BYTES: usize = 32 << 20;

impl LoaderOptions {
    /// Images without labels, decoded by all cores ahead of use, [`LoaderOptions::batch_size`] at a time and in their order. An
    /// image that cannot be read is an error in its own place. Images are taken from the iterator as they are wanted, by
    /// another thread, and four batches of them are in memory at most, however many come. A batch is decoded once the iterator
    /// has given all of its images; it is smaller where images are given as the content of large files. After [`DataError::Stopped`] there is nothing more.
    ///
    /// Nothing is changed at random or kept in memory: of these options only those have an effect that decide how an image is read.
    pub fn stream<I>(&self, images: I) -> Batches<Decoded>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        let options = Self { on_corrupt: OnCorrupt::Skip, cache_bytes: 0, kept: None, ..self.clone() };
        let size = options.batch_size.max(1);
        let mut images = images.into_iter().map(|image| Sample::new(image, 0));
        let batches = std::iter::from_fn(move || {
            let (mut samples, mut bytes): (Vec<Sample>, usize) = (Vec::new(), 0);
            while samples.len() < size && bytes < BATCH_BYTES {
                let Some(sample) = images.next() else { break };
                bytes += match &sample.origin {
                    Origin::Bytes(content) => content.len(),
                    _ => 0,
                };
                samples.push(sample);
            }
            (!samples.is_empty())
                .then(|| Shared::new(Dataset { classes: Vec::new(), samples }, options.clone()).decoded())
        });
        Batches { ahead: Ahead::new(batches) }
    }
}

impl Batch {
    /// A part of the batch.
    fn part(self, part: Part) -> Self {
        if part.is_whole() {
            return self;
        }
        let own = part.of(self.labels.len());
        let each = self.pixels.len() / self.labels.len().max(1);
        Self {
            pixels: self.pixels[own.start * each..own.end * each].to_vec(),
            labels: self.labels[own.clone()].to_vec(),
            indices: self.indices[own.clone()].to_vec(),
            views: self.views[own.clone()].to_vec(),
            mix: self.mix.map(|mix| Mix { labels: mix.labels[own.clone()].to_vec(), parts: mix.parts[own].to_vec() }),
        }
    }
}

impl Variation {
    /// How often each image comes.
    fn views(self) -> usize {
        match self {
            Self::None | Self::Epoch(_) | Self::View(_) => 1,
            Self::Views(views) => views,
        }
    }
}

impl Shared {
    fn new(dataset: Dataset, options: LoaderOptions) -> Self {
        let cache = PixelCache::new(options.cache_bytes, dataset.samples.len());
        let decoded = if options.kept.is_some() { dataset.samples.len() } else { 0 };
        let decoded = (0..decoded).map(|_| AtomicBool::new(false)).collect();
        let (kept, nanoseconds) = (OnceLock::new(), AtomicU64::new(0));
        Self { dataset, options, cache, kept, decoded, nanoseconds, skipped: Mutex::default() }
    }

    /// All images as one batch, each with its answer.
    fn decoded(self) -> Result<Decoded, DataError> {
        let all: Vec<Place> = (0..self.dataset.samples.len()).map(|image| Place { image, repeat: 0 }).collect();
        let Batch { pixels, .. } = self.batch(&all, 0..all.len(), Variation::None, 0)?;
        let mut skipped = self.skipped.into_inner().unwrap_or_else(PoisonError::into_inner);
        let answer = |(at, sample): (usize, Sample)| match skipped.remove(&at) {
            Some(reason) => Err(DataError::Corrupt { origin: sample.origin, reason }),
            None => Ok(()),
        };
        Ok(Decoded { pixels, images: self.dataset.samples.into_iter().enumerate().map(answer).collect() })
    }

    /// The batch of these places, where an image of `order` has as many places as there are views of it.
    fn batch(
        &self,
        order: &[Place],
        places: Range<usize>,
        variation: Variation,
        number: usize,
    ) -> Result<Batch, DataError> {
        let (views, values) = (variation.views(), self.options.values());
        let mut pixels = vec![0.0_f32; places.len() * values];
        let (mut slots, mut rest, mut at) = (Vec::new(), pixels.as_mut_slice(), places.start);
        while at < places.end {
            let image = at / views;
            let end = places.end.min((image + 1) * views);
            let (pixels, others) = rest.split_at_mut((end - at) * values);
            let Place { image: index, repeat } = order[image];
            slots.push(Slot { index, repeat, views: at - image * views..end - image * views, pixels });
            (rest, at) = (others, end);
        }
        let one = |slot: Slot<'_>| (slot.index, slot.views.clone(), self.fill(slot, variation));
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
                        batch.labels.push(self.dataset.samples[index].label.clone());
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
        if let Variation::Epoch(epoch) = variation {
            let LoaderOptions { mix, seed, image_size, .. } = &self.options;
            batch.mix = mix.mix(&mut batch.pixels, &batch.labels, *image_size, (*seed, epoch, number as u64));
        }
        Ok(batch)
    }

    /// Loads an image: from the photos on disk, or else from its file. `again` says that it will be wanted again.
    fn load(&self, index: usize, pixels: &mut [f32], again: bool) -> Result<(), DataError> {
        let (options, sample) = (&self.options, &self.dataset.samples[index]);
        let Some((photos, photo)) = options.kept.as_ref().zip(sample.known()) else {
            return options.load_into(&sample.origin, pixels).map(drop);
        };
        let kept = self.kept.get_or_init(|| Kept::open(photos, &options.pixels_key()));
        let take = |of: [usize; 2], bytes: &[u8]| match of {
            [0, 0] if bytes.len() == size_of_val(pixels) => {
                pixels
                    .iter_mut()
                    .zip(bytes.as_chunks().0)
                    .for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
                true
            }
            of => options.fit_looked(of, bytes, pixels),
        };
        if kept.read(&photo, take) {
            return Ok(());
        }
        let looked = options.load_into(&sample.origin, pixels)?;
        // A file that is written to at this moment may have pixels that are not those of its fingerprint.
        if (self.decoded[index].swap(true, Ordering::Relaxed) || again) && sample.known() == Some(photo) {
            match looked {
                Some(Looked { of, bytes }) if bytes.len() <= size_of_val(pixels) => {
                    kept.write(&photo, &Row::Seen(of, &bytes));
                }
                _ => kept.write(&photo, &Row::Values(pixels)),
            }
        }
        Ok(())
    }

    /// Loads an image, and makes its views.
    fn fill(&self, slot: Slot<'_>, variation: Variation) -> Result<(), DataError> {
        let values = self.options.values();
        let (first, others) = slot.pixels.split_at_mut(values);
        if !self.cache.read(slot.index, first) {
            let began = Instant::now();
            let loaded = self.load(slot.index, first, matches!(variation, Variation::Epoch(_)));
            self.nanoseconds.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
            loaded?;
            self.cache.offer(slot.index, first);
        }
        let epoch = match variation {
            Variation::None => return Ok(()),
            Variation::Epoch(epoch) | Variation::View(epoch) => epoch,
            Variation::Views(_) => slot.views.start as u64,
        };
        let LoaderOptions { augment: layers, seed, image_size, .. } = &self.options;
        let change = |pixels: &mut [f32], epoch: u64| {
            augment(layers, pixels, *image_size, &mut generator_of(*seed, epoch, slot.index as u64, slot.repeat));
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
pub struct Batches<T = Batch> {
    ahead: Ahead<Result<T, DataError>>,
}

impl<T> Iterator for Batches<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.ahead.next()?.and_then(|batch| batch);
        if next.is_err() {
            self.ahead.end();
        }
        Some(next)
    }
}
