use std::path::Path;
use std::sync::atomic::AtomicBool;

use injerto_data::decode::Orientation;
use injerto_data::folder::{self, Inventory};
use injerto_data::look::Looked;
use injerto_data::{Loader, LoaderOptions, OnCorrupt, Origin, Sample};
use injerto_losses::CrossEntropy as _;
use injerto_trainer::metrics::Report;
use injerto_trainer::{Model, Observer, Runner};

use crate::{ExperimentError, device};

/// A trained network that names what is on photos, and says how well it does. It needs its checkpoint alone: neither plugin
/// nor experiment.
#[derive(Debug)]
pub struct Predictor {
    model: Model,
    runner: Runner,
    options: LoaderOptions,
}

/// How well a network tells the photos of a folder apart, and what of the folder it was not asked about.
#[derive(Debug)]
pub struct Asked {
    /// How well.
    pub report: Report,
    /// What was left out of the folder.
    pub inventory: Inventory,
    /// What was seen of the photos' files.
    pub looked: Looked,
    /// What is done with photos that the camera was turned for.
    pub orientation: Orientation,
}

impl Predictor {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// A file that is no checkpoint, a device that is not there.
    pub fn load(checkpoint: &Path, on: injerto_config::Device) -> Result<Self, ExperimentError> {
        let model = Model::load(checkpoint, &device(on)?)?;
        let options = LoaderOptions {
            interpolation: model.card.interpolation,
            crop_to_aspect_ratio: model.card.crop_to_aspect_ratio,
            orientation: model.card.exif_orientation,
            scaled_decoding: model.card.scaled_decoding,
            ..LoaderOptions::new(model.card.image_size(), 32)
        };
        Ok(Self { runner: model.runner(on.has_kernels())?, model, options })
    }

    /// Classes of an image with their probabilities, the most probable first.
    ///
    /// # Errors
    /// A file that is no readable image.
    pub fn predict(&self, image: &Path) -> Result<Vec<(String, f32)>, ExperimentError> {
        let sample = Sample { origin: Origin::File(image.to_owned()), label: 0 };
        let outputs = self.runner.outputs(&self.options.load(&sample)?, 1)?;
        let probabilities = self.model.card.loss.probabilities(outputs).into_data();
        let named = self.model.card.classes.iter().cloned().zip(probabilities.iter::<f32>());
        let mut named: Vec<(String, f32)> = named.collect();
        named.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(named)
    }

    /// How well it tells the photos of a folder with one sub-folder a class apart. The classes may be some of those that it
    /// was trained for. Every file is looked at first; with [`OnCorrupt::Skip`], those that are no images are left out and
    /// listed. The observer is told as of the frozen prefix: so many images of so many.
    ///
    /// # Errors
    /// A folder that cannot be read or has no photos, a class that the network does not know, files that are no images.
    pub fn evaluate(
        &self,
        root: &Path,
        on_corrupt: OnCorrupt,
        observer: &mut dyn Observer,
    ) -> Result<Asked, ExperimentError> {
        let mut found = folder::classes(root)?;
        let known = &self.model.card.classes;
        let labels: Vec<u32> = found
            .train
            .classes
            .iter()
            .map(|class| {
                // A Mac writes accents otherwise, and it is the same class.
                let same = |known: &String| folder::composed(known) == folder::composed(class);
                let at = known.iter().position(same);
                at.map(|at| at as u32)
                    .ok_or_else(|| ExperimentError::UnknownClass { class: class.clone(), known: known.clone() })
            })
            .collect::<Result<_, _>>()?;
        let looked = found.look(on_corrupt, None, &|_| {})?;
        let mut dataset = found.train;
        dataset.samples.iter_mut().for_each(|sample| sample.label = labels[sample.label as usize]);
        dataset.classes.clone_from(known);
        let loader = Loader::new(dataset, self.options.clone());
        let report = self.model.report(&self.runner, &loader, observer, &AtomicBool::new(false))?;
        let report = report.expect("nobody stops it, and there are images");
        Ok(Asked { report, inventory: found.inventory, looked, orientation: self.options.orientation })
    }
}
