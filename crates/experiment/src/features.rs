use injerto_data::{Batch, Combinations, Dataset, Loader, LoaderOptions, Origin};
use injerto_insight::{FeatureTable, Image, Matrix, Part};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::{Extracted, Model, Watch};

use crate::advise::pooled;
use crate::gallery::Gallery;
use crate::reading::pixels;
use crate::{ExperimentError, Prepared};

impl Prepared {
    /// The features of all images, training before validation: the pooled output of the frozen backbone, one row per image, kept as
    /// training keeps features (if the training's prefix ends there, they are the same). `None` if it was stopped.
    ///
    /// # Errors
    /// Images that cannot be read, weights that cannot be put on the device.
    pub fn features(
        &self,
        device: &burn_tensor::Device,
        watch: &mut Watch<'_>,
    ) -> Result<Option<FeatureTable>, ExperimentError> {
        let model = self.model(self.config.seed, device)?;
        self.features_of(&model, &Gallery::of(self), watch, &mut |_, _| {})
    }

    /// The same of the images of a gallery, which need not be the experiment's, by a model with the experiment's network. `see` gets each batch whose features are not kept yet, with
    /// the number of its set.
    ///
    /// # Errors
    /// Those of [`Prepared::features`].
    pub(crate) fn features_of(
        &self,
        model: &Model,
        gallery: &Gallery,
        watch: &mut Watch<'_>,
        see: &mut dyn FnMut(usize, &Batch),
    ) -> Result<Option<FeatureTable>, ExperimentError> {
        let nodes = model.network.graph().nodes();
        let layer = model.card.head_input();
        let channels = nodes[layer].shape.channels();
        let cache = self.feature_cache();
        let (mut rows, mut images) = (Vec::new(), Vec::new());
        let labels = gallery.combinations();
        for (set, (dataset, part)) in gallery.sets().into_iter().enumerate() {
            let loader = Loader::new(dataset.clone(), self.feature_pixels());
            let kernels = self.config.uses_kernels();
            let mut see = |batch: &Batch| see(set, batch);
            let found = model.extract_and_see(layer, &loader, &cache, kernels, watch, &mut see)?;
            let Some(Extracted { images: usable, values }) = found else { return Ok(None) };
            let size = nodes[layer].shape.count();
            rows.extend(values.chunks_exact(size).flat_map(|image| pooled(image, channels)));
            let contents = dataset.fingerprints();
            images.extend(
                usable.into_iter().map(|at| Image { content: contents[at], ..image(dataset, at, part, &labels) }),
            );
        }
        let classes = labels.names().to_vec();
        Ok(Some(FeatureTable::new(Matrix::new(channels, rows)?, images, classes)?))
    }

    /// How images are read for their features.
    pub(crate) fn feature_pixels(&self) -> LoaderOptions {
        LoaderOptions { on_corrupt: self.config.data.on_corrupt, ..pixels(&self.card, self.config.data.batch_size) }
    }

    /// Where features of whole datasets are kept: in memory they always fit.
    pub(crate) fn feature_cache(&self) -> CacheSettings {
        CacheSettings { memory: usize::MAX, ..self.settings(self.config.seed).cache }
    }
}

/// The path by which findings name an image.
pub(crate) fn name(origin: &Origin) -> std::path::PathBuf {
    match origin {
        Origin::File(path) => path.clone(),
        other => other.name().into_owned().into(),
    }
}

/// What is known of an image without its features, but for its content.
pub(crate) fn image(dataset: &Dataset, at: usize, part: Part, labels: &Combinations) -> Image {
    let sample = &dataset.samples[at];
    let group = sample.group.as_deref().map(str::to_owned);
    Image { part, group, ..Image::new(name(&sample.origin), labels.place(&sample.label)) }
}

/// All images of some parts, with what their files' content is known by.
pub(crate) fn images<'d>(parts: impl IntoIterator<Item = (&'d Dataset, Part)>, labels: &Combinations) -> Vec<Image> {
    let of = |(dataset, part): (&Dataset, Part)| {
        let contents = dataset.fingerprints().into_iter().enumerate();
        contents.map(|(at, content)| Image { content, ..image(dataset, at, part, labels) }).collect::<Vec<_>>()
    };
    parts.into_iter().flat_map(of).collect()
}
