use std::collections::HashSet;

use injerto_data::{Fingerprint, LoaderOptions};
use injerto_graph::Split;
use injerto_recipe::FeaturePrecision;

use crate::cache::{CacheSettings, Namespace, keep, rounded};
use crate::prefix::Prefix;
use crate::{Model, TrainError};

/// What a layer puts out for images as they come, with the numbers that a training would keep of them.
pub struct Extractor {
    prefix: Prefix,
    namespace: Namespace,
}

impl Extractor {
    /// Prepares the layers up to `layer` (a position in the graph) for images that are read as `pixels` says. Features are rounded to
    /// the precision of `cache`; `kernels` is for a model on the CPU.
    ///
    /// # Errors
    /// The kernels cannot compile the network.
    pub fn new(
        model: &Model,
        layer: usize,
        pixels: &LoaderOptions,
        cache: &CacheSettings,
        kernels: bool,
    ) -> Result<Self, TrainError> {
        let prefix = Prefix::new(model, &Split::at(model.network.graph(), layer), kernels);
        prefix.program()?;
        let namespace = prefix.namespace(cache, pixels);
        Ok(Self { prefix, namespace })
    }

    /// Hash of everything but the image on which features depend: how pixels are made, the layers and their weights, the precision, the
    /// code. Features of two extractors with the same hash are equal, bit for bit, and a training finds the features that it would
    /// compute by the same hash.
    pub fn space(&self) -> &str {
        self.namespace.name()
    }

    /// Shape of the layer's output for one image, channels last.
    pub fn shape(&self) -> &[usize] {
        &self.namespace.shapes()[0]
    }

    /// Number type to which features are rounded.
    pub fn precision(&self) -> FeaturePrecision {
        self.namespace.precision()
    }

    /// Features of so many images with the pixels `[images, height, width, 3]`, one image after the other.
    ///
    /// # Errors
    /// There is not enough memory for the batch.
    pub fn run(&self, pixels: &[f32], images: usize) -> Result<Vec<f32>, TrainError> {
        if images == 0 {
            return Ok(Vec::new());
        }
        let boundary = rounded(self.prefix.run_on(pixels, images)?, self.precision());
        Ok(boundary.on_host()[0].clone())
    }

    /// The images whose features are kept already, by the SHA-256 of their content.
    pub fn kept(&self) -> HashSet<Fingerprint> {
        self.namespace.contents()
    }

    /// Keeps features that were computed elsewhere by an extractor with the same [hash](Self::space), so that a training finds them.
    /// Returns how many there were.
    ///
    /// # Errors
    /// The folder of the cache cannot be written to, or the first error of `rows`.
    ///
    /// # Panics
    /// If a row does not have as many values as the layer, or if features are not kept in a folder.
    pub fn keep<E: From<TrainError>>(
        &self,
        rows: impl Iterator<Item = Result<(Fingerprint, Vec<f32>), E>>,
    ) -> Result<usize, E> {
        keep(&self.namespace, rows)
    }
}
