use std::path::Path;

use injerto_data::augment::MixOptions;
use injerto_data::decode::Orientation;
use injerto_data::{LoaderOptions, OnCorrupt, Origin, Sample};
use injerto_trainer::Model;

use crate::prepare::interpolation;
use crate::{ExperimentError, config, device};

/// A trained network that names what is on photos. It needs its checkpoint alone: neither plugin nor experiment.
#[derive(Debug)]
pub struct Predictor {
    model: Model,
    options: LoaderOptions,
}

impl Predictor {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// A file that is no checkpoint, a device that is not there.
    pub fn load(checkpoint: &Path, on: config::Device) -> Result<Self, ExperimentError> {
        let model = Model::load(checkpoint, &device(on)?)?;
        let options = LoaderOptions {
            image_size: model.card.image_size(),
            batch_size: 1,
            interpolation: interpolation(model.card.interpolation),
            crop_to_aspect_ratio: model.card.crop_to_aspect_ratio,
            orientation: Orientation::Ignore,
            on_corrupt: OnCorrupt::Error,
            shuffle: None,
            augment: Vec::new(),
            mix: MixOptions::default(),
            seed: 0,
            cache_bytes: 0,
        };
        Ok(Self { model, options })
    }

    /// Classes of an image with their probabilities, the most probable first.
    ///
    /// # Errors
    /// A file that is no readable image.
    pub fn predict(&self, image: &Path) -> Result<Vec<(String, f32)>, ExperimentError> {
        let sample = Sample { origin: Origin::File(image.to_owned()), label: 0 };
        let outputs = self.model.outputs(&self.options.load(&sample)?, 1);
        let probabilities = self.model.card.loss.probabilities(outputs).into_data();
        let named = self.model.card.classes.iter().cloned().zip(probabilities.iter::<f32>());
        let mut named: Vec<(String, f32)> = named.collect();
        named.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(named)
    }
}
