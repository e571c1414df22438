use injerto_data::LoaderOptions;
use injerto_graph::Split;
use injerto_recipe::FeaturePrecision;

use crate::cache::{CacheSettings, rounded};
use crate::prefix::Prefix;
use crate::{Model, TrainError};

/// What a layer puts out for images as they come, with the numbers that a training would keep of them.
pub struct Extractor {
    prefix: Prefix,
    precision: FeaturePrecision,
    space: String,
    shape: Vec<usize>,
}

impl Extractor {
    /// Prepares the layers up to `layer` (a position in the graph) for images that are read as `pixels` says. Features are rounded to
    /// `precision`; `kernels` is for a model on the CPU.
    ///
    /// # Errors
    /// The kernels cannot compile the network.
    pub fn new(
        model: &Model,
        layer: usize,
        pixels: &LoaderOptions,
        precision: FeaturePrecision,
        kernels: bool,
    ) -> Result<Self, TrainError> {
        let prefix = Prefix::new(model, &Split::at(model.network.graph(), layer), kernels);
        prefix.program()?;
        let namespace = prefix.namespace(&CacheSettings { folder: None, memory: 0, precision }, pixels);
        let (space, shape) = (namespace.name().to_owned(), namespace.shapes()[0].clone());
        Ok(Self { prefix, precision, space, shape })
    }

    /// Hash of everything but the image on which features depend: how pixels are made, the layers and their weights, the precision, the
    /// code. Features of two extractors with the same hash are equal, bit for bit, and a training finds the features that it would
    /// compute by the same hash.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// Shape of the layer's output for one image, channels last.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number type to which features are rounded.
    pub fn precision(&self) -> FeaturePrecision {
        self.precision
    }

    /// Features of so many images with the pixels `[images, height, width, 3]`, one image after the other.
    ///
    /// # Errors
    /// There is not enough memory for the batch.
    pub fn run(&self, pixels: &[f32], images: usize) -> Result<Vec<f32>, TrainError> {
        if images == 0 {
            return Ok(Vec::new());
        }
        let boundary = rounded(self.prefix.run_on(pixels, images)?, self.precision);
        Ok(boundary.on_host()[0].clone())
    }
}
