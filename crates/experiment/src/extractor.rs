//! Features of images from anywhere, one row per image ([`Extractor`]).

use std::path::Path;
use std::sync::Arc;
use std::vec;

use injerto_backbones::network::Network;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_config::{Config, Device};
use injerto_data::{Batches, Decoded, LoaderOptions, Origin};
use injerto_graph::Activation;
use injerto_heads::{Body, Head};
use injerto_trainer::{Model, Runner, TrainError, head_input};

use crate::advise::pooled;
use crate::predict::batch_size;
use crate::prepare::{pixels, resolve};
use crate::{ExperimentError, device};

/// A frozen backbone that says what it sees on images: its pooled output, one row per image. It owns its data and can be used by
/// several threads at once.
///
/// The rows are those of [`Prepared::features`](crate::Prepared::features) for an experiment with the same keys, bit for bit, whatever
/// images they are computed with.
#[derive(Debug)]
pub struct Extractor {
    runner: Runner,
    options: LoaderOptions,
    /// Number of values per image.
    width: usize,
    /// Source of the weights, in words.
    origin: String,
    warnings: Vec<String>,
}

impl Extractor {
    /// The backbone of an experiment, with its weights, its device and its way of reading images. Nothing else of the experiment is
    /// looked at.
    ///
    /// # Errors
    /// [`ExperimentError`] if the backbone or its weights cannot be found, or if the device is not available.
    pub fn new(config: &Config, catalog: &mut Catalog, cache: &Cache) -> Result<Self, ExperimentError> {
        let resolved = resolve(config, catalog)?;
        let preprocessing = resolved.description.preprocessing.clone();
        // The head says where its input is, so that the features are those of a training.
        let head = Head { body: Body::default(), units: 1, activation: Activation::Linear };
        let graph = head.graft(&resolved.backbone)?;
        let layer = head_input(&graph, resolved.backbone.len());
        let graph = Arc::new(graph.truncate(layer)?);
        let weights = resolved.weights(catalog, cache)?;
        let network = Network::new(graph, &weights, &device(config.device)?).map_err(TrainError::from)?;
        let size = network.graph().image_size()?;
        let data = &config.data;
        let options = LoaderOptions {
            interpolation: data.interpolation.unwrap_or(preprocessing.interpolation),
            crop_to_aspect_ratio: data.crop_to_aspect_ratio,
            orientation: data.exif_orientation,
            scaled_decoding: data.scaled_decoding,
            ..LoaderOptions::new(size, batch_size(size))
        };
        let runner = Runner::new(network, preprocessing, config.uses_kernels())?;
        Ok(Self::of(runner, None, options, resolved.origin.to_string(), resolved.warnings))
    }

    /// The backbone of a trained network, with the weights that training has left it.
    ///
    /// # Errors
    /// [`ExperimentError`] if the file is not a checkpoint, or if the device is not available.
    pub fn load(checkpoint: &Path, on: Device) -> Result<Self, ExperimentError> {
        let Model { network, card, .. } = Model::load(checkpoint, &device(on)?)?;
        let layer = card.head_input();
        let options = pixels(&card, batch_size(card.image_size()));
        let runner = Runner::at(network, card.preprocessing, vec![layer], on.has_kernels())?;
        let origin = injerto_files::shown(checkpoint).to_string();
        Ok(Self::of(runner, Some(layer), options, origin, Vec::new()))
    }

    /// `layer` is the position of the layer that is pooled; `None` means the last one.
    fn of(runner: Runner, layer: Option<usize>, options: LoaderOptions, origin: String, warnings: Vec<String>) -> Self {
        let nodes = runner.network().graph().nodes();
        let width = nodes[layer.unwrap_or(nodes.len() - 1)].shape.channels();
        Self { runner, options, width, origin, warnings }
    }

    /// Number of features per image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height and width of the images that the network takes. Images of other sizes are resized.
    pub fn image_size(&self) -> [usize; 2] {
        self.options.image_size
    }

    /// Source of the weights, in words.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Warnings about what is allowed but probably not intended.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The features of images. [`Predictor::predict`](crate::Predictor::predict) describes the forms of images and the order of the
    /// answers.
    pub fn extract<I>(&self, images: I) -> Extraction<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        Extraction { extractor: self, decoded: Some(self.options.stream(images)), ready: Vec::new().into_iter() }
    }

    /// Features of decoded images, one result per image.
    fn rows(
        &self,
        Decoded { pixels, images }: Decoded,
    ) -> Result<Vec<Result<Vec<f32>, ExperimentError>>, ExperimentError> {
        let readable = images.iter().filter(|image| image.is_ok()).count();
        let values = match readable {
            0 => Vec::new(),
            _ => self.runner.values(&pixels, readable)?.swap_remove(0),
        };
        let mut rows = values.chunks_exact((values.len() / readable.max(1)).max(1));
        let mut row = |image: Result<(), _>| {
            image?;
            let row = pooled(rows.next().expect("there is a row for each image that was read"), self.width);
            if row.iter().all(|value| value.is_finite()) { Ok(row) } else { Err(ExperimentError::NoAnswer) }
        };
        Ok(images.into_iter().map(&mut row).collect())
    }
}

/// The features of images: one row per image, in the order of the images.
///
/// An image that cannot be read gives an error in its place ([`DataError::Corrupt`](injerto_data::DataError::Corrupt)), and so does
/// one for which the network puts out no numbers ([`ExperimentError::NoAnswer`]). Any other error ends the iterator.
#[derive(Debug)]
pub struct Extraction<'e> {
    extractor: &'e Extractor,
    decoded: Option<Batches<Decoded>>,
    ready: vec::IntoIter<Result<Vec<f32>, ExperimentError>>,
}

impl Iterator for Extraction<'_> {
    type Item = Result<Vec<f32>, ExperimentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.next() {
                return Some(row);
            }
            let decoded = self.decoded.as_mut()?.next()?;
            match decoded.map_err(ExperimentError::from).and_then(|decoded| self.extractor.rows(decoded)) {
                Ok(rows) => self.ready = rows.into_iter(),
                Err(error) => {
                    self.decoded = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
