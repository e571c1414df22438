//! Features of images from anywhere, one row per image ([`Extractor`]).

use std::path::Path;

use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::{Cache, Weights};
use injerto_config::{Config, Device};
use injerto_data::{LoaderOptions, Origin};
use injerto_recipe::FeaturePrecision;
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::{Model, ModelCard};

use crate::advise::pooled;
use crate::one_each::{Answer, OneEach};
use crate::predict::batch_size;
use crate::prepare::{card, resolve};
use crate::reading::pixels;
use crate::{ExperimentError, device};

/// What a head learns from, of images as they come: the output of the layer that
/// [`ModelCard::head_input`](injerto_trainer::ModelCard::head_input) names, and how images are read for it. The numbers are, bit for bit,
/// those that a training keeps. All code that needs features of single images gets them from this type.
pub(crate) struct Seeing {
    /// Computes the layer.
    pub(crate) extractor: injerto_trainer::Extractor,
    options: LoaderOptions,
    /// The whole network, head included.
    pub(crate) card: ModelCard,
    /// Source of the weights, in words.
    pub(crate) origin: String,
    /// Warnings about what is allowed but probably not intended.
    pub(crate) warnings: Vec<String>,
}

impl Seeing {
    /// The backbone of an experiment. Of `config`, only the backbone, the reading of images, the head's pooling, the device and
    /// `cache.precision` are used; no images are needed.
    ///
    /// # Errors
    /// [`ExperimentError`] if the backbone or its weights cannot be found or do not fit, or if the device is not available.
    pub(crate) fn of_backbone(
        mut config: Config,
        catalog: &mut Catalog,
        cache: &Cache,
    ) -> Result<Self, ExperimentError> {
        let resolved = resolve(&config, catalog)?;
        // The head's input does not depend on its last layers, so any classes will do.
        let classes = ["a", "b"].map(str::to_owned);
        let grafted = (&resolved.backbone, Some(&resolved.name), &resolved.description.preprocessing);
        let card = card(&mut config, grafted, &classes)?;
        let mut weights = Weights::initialise_from(&card.graph, card.backbone_layers, u64::from(config.seed))?;
        weights.extend(resolved.weights(catalog, cache)?);
        let model = Model::new(card, &weights, &device(config.device)?)?;
        let seeing = Self::of(&model, config.cache.precision, config.uses_kernels())?;
        Ok(Self { origin: resolved.origin.to_string(), warnings: resolved.warnings, ..seeing })
    }

    /// The network of a checkpoint, whose layers may have been fine-tuned, on the device `on`.
    ///
    /// # Errors
    /// [`ExperimentError`] if the file is not a checkpoint, or if the device is not available.
    pub(crate) fn of_checkpoint(
        checkpoint: &Path,
        precision: FeaturePrecision,
        on: Device,
    ) -> Result<Self, ExperimentError> {
        let seeing = Self::of(&Model::load(checkpoint, &device(on)?)?, precision, on.has_kernels())?;
        Ok(Self { origin: injerto_files::shown(checkpoint).to_string(), ..seeing })
    }

    fn of(model: &Model, precision: FeaturePrecision, kernels: bool) -> Result<Self, ExperimentError> {
        let card = model.card.clone();
        let options = pixels(&card, batch_size(card.image_size()));
        let cache = CacheSettings { folder: None, memory: 0, precision };
        let extractor = injerto_trainer::Extractor::new(model, card.head_input(), &options, &cache, kernels)?;
        Ok(Self { extractor, options, card, origin: String::new(), warnings: Vec::new() })
    }

    /// Number of values of the layer.
    pub(crate) fn width(&self) -> usize {
        self.extractor.shape().iter().product()
    }

    /// The values of the layer for each image, in the order of the images.
    ///
    /// An image that cannot be read gives an error in its place, [`ExperimentError::Data`], and so does one whose outputs are not numbers,
    /// [`ExperimentError::NoAnswer`]; both are inner errors. An outer error ends the iterator.
    pub(crate) fn see<I>(&self, images: I) -> Rows<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        Rows { seeing: self, images: OneEach::new(self.options.stream(images)) }
    }

    /// The values of the layer for this number of images.
    fn rows(&self, pixels: &[f32], images: usize) -> Result<Vec<Row>, ExperimentError> {
        let values = self.extractor.run(pixels, images)?;
        let row = |row: &[f32]| match row.iter().all(|value| value.is_finite()) {
            true => Ok(row.to_vec()),
            false => Err(ExperimentError::NoAnswer),
        };
        Ok(values.chunks_exact(self.width().max(1)).map(row).collect())
    }
}

/// The values of a layer for an image, or why there are none.
type Row = Answer<Vec<f32>>;

/// What [`Seeing::see`] returns.
pub(crate) struct Rows<'s> {
    seeing: &'s Seeing,
    images: OneEach<Vec<f32>>,
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, ExperimentError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.images.next(|pixels, images| self.seeing.rows(pixels, images))
    }
}

/// A frozen backbone that computes the features of images: its pooled output, one row per image. It owns its data and can be used by
/// several threads at once.
///
/// The rows are those of [`Prepared::features`](crate::Prepared::features) for an experiment with the same keys, bit for bit, whatever
/// images they are computed with.
pub struct Extractor {
    seeing: Seeing,
}

impl Extractor {
    /// The backbone of an experiment, with its weights, its device and its way of reading images. Everything else in the experiment is
    /// ignored.
    ///
    /// # Errors
    /// [`ExperimentError`] if the backbone or its weights cannot be found, or if the device is not available.
    pub fn new(config: &Config, catalog: &mut Catalog, cache: &Cache) -> Result<Self, ExperimentError> {
        let mut config = config.clone();
        // The caller rounds the rows.
        config.cache.precision = FeaturePrecision::F32;
        Ok(Self { seeing: Seeing::of_backbone(config, catalog, cache)? })
    }

    /// The backbone of a trained network, with the weights that training has left it.
    ///
    /// # Errors
    /// [`ExperimentError`] if the file is not a checkpoint, or if the device is not available.
    pub fn load(checkpoint: &Path, on: Device) -> Result<Self, ExperimentError> {
        Ok(Self { seeing: Seeing::of_checkpoint(checkpoint, FeaturePrecision::F32, on)? })
    }

    /// Number of features per image.
    pub fn width(&self) -> usize {
        self.seeing.card.graph.nodes()[self.seeing.card.head_input()].shape.channels()
    }

    /// Height and width of the images that the network takes. Images of other sizes are resized.
    pub fn image_size(&self) -> [usize; 2] {
        self.seeing.card.image_size()
    }

    /// Source of the weights, in words.
    pub fn origin(&self) -> &str {
        &self.seeing.origin
    }

    /// Warnings about what is allowed but probably not intended.
    pub fn warnings(&self) -> &[String] {
        &self.seeing.warnings
    }

    /// The features of images. [`Predictor::predict`](crate::Predictor::predict) describes the forms of images and the order of the
    /// answers.
    pub fn extract<I>(&self, images: I) -> Extraction<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        Extraction { rows: self.seeing.see(images), width: self.width() }
    }
}

/// The features of images: one row per image, in the order of the images.
///
/// An image that cannot be read gives an error in its place ([`DataError::Corrupt`](injerto_data::DataError::Corrupt)), and so does
/// one for which the network puts out no numbers ([`ExperimentError::NoAnswer`]). Any other error ends the iterator.
pub struct Extraction<'e> {
    rows: Rows<'e>,
    width: usize,
}

impl Iterator for Extraction<'_> {
    type Item = Result<Vec<f32>, ExperimentError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.rows.next()?.flatten().map(|row| pooled(&row, self.width)))
    }
}
