use injerto_data::{Batch, Loader};
use injerto_graph::Split;

use crate::cache::{CacheSettings, Features, Namespace};
use crate::executor::identity;
use crate::{Event, Model, Runner, TrainError, Watch};

/// What a layer puts out for the images of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// Positions of the images in the dataset, in its order; those that cannot be read are missing where they are skipped.
    pub images: Vec<usize>,
    /// Values of one image after the other, channels last.
    pub values: Vec<f32>,
}

impl Model {
    /// What `layer` (a position in the graph) puts out for each image of `loader`, without augmentation: read where features
    /// are kept, computed and kept where they are not. `None` if it was stopped; what is done by then is kept. A training whose
    /// prefix ends at the same layer finds these features, and the other way round.
    ///
    /// The observer hears [`Event::Prefix`]. `kernels` is for a model on the CPU.
    ///
    /// # Errors
    /// Images that cannot be read, a network that the kernels cannot compile.
    pub fn extract(
        &self,
        layer: usize,
        loader: &Loader,
        cache: &CacheSettings,
        kernels: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Extracted>, TrainError> {
        self.extract_and_see(layer, loader, cache, kernels, watch, &mut |_| {})
    }

    /// The same, and `see` gets each batch of images whose features are not kept yet: whoever wants their pixels for something else need
    /// not decode them a second time.
    ///
    /// # Errors
    /// Those of [`Model::extract`].
    pub fn extract_and_see(
        &self,
        layer: usize,
        loader: &Loader,
        cache: &CacheSettings,
        kernels: bool,
        watch: &mut Watch<'_>,
        see: &mut dyn FnMut(&Batch),
    ) -> Result<Option<Extracted>, TrainError> {
        let (network, preprocessing) = (&self.network, &self.card.preprocessing);
        let split = Split::at(network.graph(), layer);
        let runner = Runner::at(network.clone(), preprocessing.clone(), vec![layer], kernels)?;
        let identity = identity(kernels);
        let namespace = Namespace::new(cache, network, &split, preprocessing, loader.options(), &identity);
        let mut compute = |batch: &Batch| {
            see(batch);
            runner.values(&batch.pixels, batch.labels.len())
        };
        let total = loader.len();
        let mut advance = |done: usize| {
            watch.observer.observe(&Event::Prefix { done, total });
            !watch.is_stopped()
        };
        let found = Features::gather_all(namespace, loader, None, &mut compute, &mut advance)?;
        let Some(features) = found else { return Ok(None) };
        let images = features.usable(&(0..total).collect::<Vec<_>>());
        Ok(Some(Extracted { values: features.gather(&images, 0)?.0.swap_remove(0), images }))
    }
}
