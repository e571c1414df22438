use injerto_data::{Loader, Origin};
use injerto_insight::{FeatureTable, Image, Matrix, Part};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::{Extracted, Watch};

use crate::advise::pooled;
use crate::prepare::pixels;
use crate::{ExperimentError, Prepared};

impl Prepared {
    /// What the frozen backbone says of all images, training before validation: its pooled output, one row per image, kept as
    /// training keeps features (where its prefix ends there, they are the same). `None` if it was stopped.
    ///
    /// # Errors
    /// Images that cannot be read, weights that cannot be put on the device.
    pub fn features(
        &self,
        device: &burn_tensor::Device,
        watch: &mut Watch<'_>,
    ) -> Result<Option<FeatureTable>, ExperimentError> {
        let model = self.model(self.config.seed, device)?;
        let nodes = model.network.graph().nodes();
        // Where the head begins with pooling, its output is what training keeps.
        let layer = model.card.head_input();
        let channels = nodes[layer].shape.channels();
        let cache = CacheSettings { memory: usize::MAX, ..self.settings(self.config.seed).cache };
        let (mut rows, mut images) = (Vec::new(), Vec::new());
        for (dataset, part) in [(Some(&self.train), Part::Training), (self.validation.as_ref(), Part::Validation)] {
            let Some(dataset) = dataset else { continue };
            let options = injerto_data::LoaderOptions {
                on_corrupt: self.config.data.on_corrupt,
                ..pixels(&self.card, self.config.data.batch_size)
            };
            let loader = Loader::new(dataset.clone(), options);
            let found = model.extract(layer, &loader, &cache, self.config.uses_kernels(), watch)?;
            let Some(Extracted { images: usable, values }) = found else { return Ok(None) };
            let size = nodes[layer].shape.count();
            rows.extend(values.chunks_exact(size).flat_map(|image| pooled(image, channels)));
            let contents = dataset.fingerprints();
            images.extend(usable.into_iter().map(|at| {
                let sample = &dataset.samples[at];
                let path = match &sample.origin {
                    Origin::File(path) => path.clone(),
                    other => other.name().into_owned().into(),
                };
                let group = sample.group.as_deref().map(str::to_owned);
                Image { part, content: contents[at], group, ..Image::new(path, sample.label) }
            }));
        }
        let table = FeatureTable::new(Matrix::new(channels, rows)?, images, self.train.classes.clone())?;
        Ok(Some(table))
    }
}
