//! What is measured on each photo: the facts of its file, and what its pixels say.

use injerto_data::{Batch, Combinations, Dataset, Loader, LoaderOptions, Origin, Sample};
use injerto_insight::health::{Photo, Pixels};
use injerto_insight::{Image, Part};
use injerto_trainer::cache::{CacheSettings, PixelRows};
use injerto_trainer::{Event, Watch};

use crate::ExperimentError;
use crate::features::name;

/// Height and width at which photos are measured where there is no backbone that has a size of its own.
pub(super) const SIZE: [usize; 2] = [224, 224];

/// What the rows of the cache hold; another number when they are computed otherwise.
const ROWS: &str = "photo facts 1";

/// The photos of a dataset, of which some are measured.
pub(super) struct Measured<'d> {
    dataset: &'d Dataset,
    part: Part,
    pixels: &'d LoaderOptions,
    rows: PixelRows,
}

impl<'d> Measured<'d> {
    /// With what is kept of these photos.
    pub fn open(dataset: &'d Dataset, part: Part, pixels: &'d LoaderOptions, cache: &CacheSettings) -> Self {
        Self { dataset, part, pixels, rows: PixelRows::open(cache, ROWS, 4, dataset, pixels) }
    }

    /// Measures the photos of a batch that are not measured yet.
    pub fn see(&mut self, batch: &Batch) {
        let [height, width] = self.pixels.image_size;
        for (image, pixels) in batch.indices.iter().zip(batch.pixels.chunks_exact(height * width * 3)) {
            if !self.rows.has(*image) {
                let bytes: Vec<u8> = pixels.iter().map(|value| value.round() as u8).collect();
                let measured = Pixels::measure(width, height, &bytes).expect("a batch has the pixels of its images");
                let Pixels { brightness, contrast, sharpness, colour } = measured;
                self.rows.put(*image, [brightness, contrast, sharpness, colour].map(|value| value as f32).to_vec());
            }
        }
    }
}

/// All photos of these datasets, measured; those are decoded that nobody has seen. `None` if it was stopped.
pub(super) fn measured(
    sets: Vec<Measured<'_>>,
    labels: &Combinations,
    watch: &mut Watch<'_>,
) -> Result<Option<Vec<(Image, Photo)>>, ExperimentError> {
    let mut photos = Vec::new();
    let (mut done, mut stopped) = (0, false);
    let total = sets.iter().map(|set| set.rows.missing().len()).sum();
    for mut set in sets {
        let missing = set.rows.missing();
        if !stopped && !missing.is_empty() {
            let loader = Loader::new(set.dataset.clone(), set.pixels.clone());
            for batch in loader.batches(&missing) {
                set.see(&batch?);
                done = (done + loader.batch_size()).min(total);
                watch.observer.observe(&Event::Evaluated { done, total });
                if watch.is_stopped() {
                    stopped = true;
                    break;
                }
            }
        }
        let Measured { dataset, part, pixels, rows } = set;
        for (sample, row) in dataset.samples.iter().zip(rows.keep()) {
            let label = labels.place(&sample.label);
            let Some(photo) = row.and_then(|row| photo(sample, label, pixels, &row)) else { continue };
            photos.push((Image { part, ..Image::new(name(&sample.origin), label) }, photo));
        }
    }
    Ok((!stopped).then_some(photos))
}

fn photo(sample: &Sample, label: u32, pixels: &LoaderOptions, row: &[f32]) -> Option<Photo> {
    let numbers: [f64; 4] = <[f32; 4]>::try_from(row).ok()?.map(f64::from);
    let [brightness, contrast, sharpness, colour] = numbers;
    let measured = Pixels { brightness, contrast, sharpness, colour };
    let [height, width] = pixels.image_size;
    let drawn = "drawn".to_owned();
    match &sample.origin {
        Origin::File(_) => {
            let facts = sample.facts()?;
            let seen = facts.examined;
            Some(Photo {
                label,
                width: seen.width as usize,
                height: seen.height as usize,
                bytes: facts.bytes,
                format: seen.format.name().to_owned(),
                turned: seen.turned,
                pixels: measured,
            })
        }
        _ => Some(Photo { label, width, height, bytes: 0, format: drawn, turned: false, pixels: measured }),
    }
}
