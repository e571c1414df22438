//! What a training takes from a prepared experiment: the network, the images as it reads them, and its settings.

use burn_tensor::Device;
use injerto_backbones::weights::Weights;
use injerto_config::CacheConfig;
use injerto_data::{Dataset, KeptPhotos, Loader, LoaderOptions};
use injerto_graph::{FreezePlan, Selection};
use injerto_recipe::{BatchNorm, Loss, OptimizerConfig};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::history::Best;
use injerto_trainer::{Arithmetics, Fit, Model, Phase, Settings, check_compiles};

use crate::reading::{pixels, training_images};
use crate::teach::Teaching;
use crate::{ExperimentError, Plan, Prepared};

impl Prepared {
    /// The network with the backbone's weights and a freshly initialised head.
    ///
    /// # Errors
    /// [`ExperimentError`] if the weights cannot be put on the device.
    pub fn model(&self, seed: u32, device: &Device) -> Result<Model, ExperimentError> {
        let mut weights = Weights::initialise(&self.card.graph, u64::from(seed))?;
        weights.extend((*self.weights).clone());
        self.model_of(&weights, device)
    }

    /// The network with these weights, in the number format that the experiment names, if the device computes in it.
    fn model_of(&self, weights: &Weights, device: &Device) -> Result<Model, ExperimentError> {
        let arithmetic = self.arithmetic();
        if let Some(Arithmetics::Operators { prefix }) = arithmetic
            && !device.supports_dtype(prefix)
        {
            let format = self.config.backbone.precision.name();
            let reason = format!("it does not compute in {format}; take `backbone.precision = \"f32\"`");
            return Err(ExperimentError::Device { device: self.config.device.name(), reason });
        }
        Ok(Model { arithmetic, ..Model::new(self.card.clone(), weights, device)? })
    }

    /// Creates the network on the device and compiles every phase, so that problems of these steps appear before the run
    /// starts.
    ///
    /// # Errors
    /// [`ExperimentError`] if the weights cannot be put on the device, or if the kernels cannot compile the network.
    pub fn rehearse(&self, device: &Device) -> Result<(), ExperimentError> {
        let model = self.model(self.config.seed, device)?;
        Ok(check_compiles(&model, &self.plan.phases, &self.settings(self.config.seed))?)
    }

    /// The network with all weights freshly initialised.
    ///
    /// # Errors
    /// [`ExperimentError`] if the weights cannot be put on the device.
    pub fn scratch_model(&self, seed: u32, device: &Device) -> Result<Model, ExperimentError> {
        self.model_of(&Weights::initialise(&self.card.graph, u64::from(seed))?, device)
    }

    /// A plan for training from scratch: one phase, as long as all phases together, in which every layer trains.
    ///
    /// # Errors
    /// None in practice, because the selection of all layers always resolves.
    pub fn scratch_plan(&self, learning_rate: f64) -> Result<Plan, ExperimentError> {
        let epochs = self.plan.phases.iter().map(|plan| plan.phase.epochs).sum();
        let plan = FreezePlan::new(&self.card.graph, &Selection::All)?;
        let phase = Phase::new("scratch", epochs, plan, OptimizerConfig::adam(learning_rate));
        Ok(self.plan_of(&[Phase { batch_norm: BatchNorm::Update, ..phase }]))
    }

    /// Loaders of the training and the validation images.
    pub fn loaders(&self, seed: u32) -> (Loader, Option<Loader>) {
        let data = &self.config.data;
        let images = |dataset: Option<&Dataset>| dataset.map_or(0, |dataset| dataset.samples.len());
        // Each set has the same share of the memory as of the images.
        let room = |of: usize| {
            let all = images(Some(&self.train)) + images(self.validation.as_ref());
            (self.config.cache.images_mb << 20) / all.max(1) * of
        };
        let CacheConfig { keep, photos_mb, .. } = self.config.cache;
        let kept = (keep && photos_mb > 0)
            .then(|| KeptPhotos { folder: self.features.with_file_name("photos"), bytes: (photos_mb as u64) << 20 });
        // Every file was looked at before. One that cannot be read any more ends the training, which goes on once the file is back:
        // epochs that were measured on other images than the rest would be compared with them.
        let validating = LoaderOptions {
            kept: kept.clone(),
            seed: u64::from(seed),
            cache_bytes: room(images(self.validation.as_ref())),
            ..pixels(&self.card, data.batch_size)
        };
        let training =
            LoaderOptions { kept, cache_bytes: room(images(Some(&self.train))), ..self.training_options(seed) };
        let validation = self.validation.clone().map(|dataset| Loader::new(dataset, validating));
        (Loader::new(self.train.clone(), training), validation)
    }

    /// How the training images come in a training with this seed.
    fn training_options(&self, seed: u32) -> LoaderOptions {
        let data = &self.config.data;
        LoaderOptions {
            shuffle: data.shuffle.then_some(u64::from(seed)),
            sampling: data.sampling,
            ..training_images(&self.config, &self.card)
        }
    }

    /// How many of the images are at least four times as large as the network's input in both directions, so that
    /// `data.scaled_decoding` changes their pixels; and how many there are.
    pub fn large_photos(&self) -> (usize, usize) {
        let options = pixels(&self.card, self.config.data.batch_size);
        let samples = || std::iter::once(&self.train).chain(&self.validation).flat_map(|dataset| &dataset.samples);
        (samples().filter(|sample| options.squares(sample).is_some_and(|side| side > 1)).count(), samples().count())
    }

    /// The training that the plan describes, without files.
    pub(crate) fn fit(&self) -> Fit {
        let (train, validation) = self.loaders(self.config.seed);
        let settings = self.settings(self.config.seed);
        Fit { train, validation, plans: self.plan.phases.clone(), settings, checkpoints: None }
    }

    /// Loader of the test images.
    pub(crate) fn test_loader(&self) -> Option<Loader> {
        let data = &self.config.data;
        let options = LoaderOptions { on_corrupt: data.on_corrupt, ..pixels(&self.card, data.batch_size) };
        self.test.clone().map(|dataset| Loader::new(dataset, options))
    }

    /// Settings of a training with this seed, apart from its phases.
    pub fn settings(&self, seed: u32) -> Settings {
        let checkpoint = &self.config.checkpoint;
        let teacher = |teaching: &Teaching| teaching.teacher(&self.train, &self.training_options(seed));
        Settings {
            seed: u64::from(seed),
            best: Best::new(checkpoint.monitor, checkpoint.mode),
            class_weights: self.class_weights.clone(),
            cache: self.cache(),
            kernels: self.config.uses_kernels(),
            teacher: self.teaching.as_ref().map(teacher),
            collective: self.collective.clone(),
        }
    }

    /// Whether and how features are kept.
    pub(crate) fn cache(&self) -> CacheSettings {
        let cache = &self.config.cache;
        CacheSettings {
            folder: cache.keep.then(|| self.features.clone()),
            memory: cache.memory_mb << 20,
            precision: cache.precision,
        }
    }

    /// The loss of the training.
    pub fn loss(&self) -> &Loss {
        &self.card.loss
    }
}
