use std::collections::HashMap;

use injerto_data::{Dataset, Fingerprint, LoaderOptions};
use injerto_files::shown;
use injerto_recipe::FeaturePrecision;

use super::CacheSettings;
use super::namespace::{Namespace, damaged};
use super::segment::{Writer, decode, encode};

/// A few numbers per image of a dataset that are computed from its pixels in a batch, and kept as features are: by content, so that names
/// and order do not matter, and only new images are computed.
#[derive(Debug)]
pub struct PixelRows {
    namespace: Namespace,
    prints: Vec<Option<Fingerprint>>,
    rows: Vec<Option<Vec<f32>>>,
    /// Images whose row was put here and is not kept yet.
    new: Vec<usize>,
}

impl PixelRows {
    /// The rows that are kept. `name` says what is computed from the pixels that `pixels` describes, and changes when it is computed
    /// otherwise; `width` is the number of numbers.
    pub fn open(settings: &CacheSettings, name: &str, width: usize, dataset: &Dataset, pixels: &LoaderOptions) -> Self {
        let namespace = Namespace::of_pixels(settings, name, width, pixels);
        let prints = dataset.fingerprints();
        let mut wanted: HashMap<Fingerprint, Vec<usize>> = HashMap::new();
        for (image, print) in prints.iter().enumerate() {
            print.iter().for_each(|print| wanted.entry(*print).or_default().push(image));
        }
        let mut rows = vec![None; prints.len()];
        let mut bytes = vec![0; namespace.header.row_bytes()];
        for segment in namespace.segments() {
            for (at, (print, _)) in segment.index.iter().enumerate() {
                let Some(images) = wanted.get(print) else { continue };
                if let Err(error) = segment.read(at, &mut bytes) {
                    damaged(&segment.path, &error.to_string());
                    break;
                }
                let mut row = Vec::with_capacity(width);
                decode(FeaturePrecision::F32, &bytes, &mut row);
                images.iter().for_each(|&image| rows[image] = Some(row.clone()));
            }
        }
        Self { namespace, prints, rows, new: Vec::new() }
    }

    /// Images without a row, in the order of the dataset.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.rows.len()).filter(|&image| self.rows[image].is_none()).collect()
    }

    /// Whether an image has a row.
    pub fn has(&self, image: usize) -> bool {
        self.rows[image].is_some()
    }

    /// Sets the row of an image.
    ///
    /// # Panics
    /// If the row does not have the width of the others.
    pub fn put(&mut self, image: usize, row: Vec<f32>) {
        assert_eq!(row.len(), self.namespace.shapes()[0][0], "all rows have one width");
        self.rows[image] = Some(row);
        self.new.push(image);
    }

    /// Keeps what is new for the next time, and returns the row of each image. A row that cannot be kept is reported, and is no error.
    pub fn keep(self) -> Vec<Option<Vec<f32>>> {
        let Self { namespace, prints, rows, new } = self;
        let Some(folder) = namespace.folder.as_ref().filter(|_| !new.is_empty()) else { return rows };
        let write = || -> std::io::Result<()> {
            let mut writer = Writer::new(folder, &namespace.header)?;
            for image in new {
                if let (Some(print), Some(row)) = (&prints[image], &rows[image]) {
                    let mut bytes = Vec::new();
                    encode(FeaturePrecision::F32, row, &mut bytes);
                    writer.push(print, &bytes)?;
                }
            }
            writer.finish().map(drop)
        };
        if let Err(error) = write() {
            tracing::warn!("{}: what was measured cannot be kept: {error}", shown(folder));
        }
        rows
    }
}
