use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_tensor::Device;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::resolve::{Ask, Origin, Resolved};
use injerto_backbones::weights::{BackboneName, Cache, Weights};
use injerto_config::{CacheConfig, Completed, Config, InputScale, Precision};
use injerto_data::folder::{Folder, Inventory};
use injerto_data::look::Looked;
use injerto_data::{Dataset, KeptPhotos, Loader, LoaderOptions};
use injerto_files::settled;
use injerto_graph::{Description, FreezePlan, Graph, Preprocessing, Selection};
use injerto_recipe::{BatchNorm, Loss, OptimizerConfig, Task};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::history::Best;
use injerto_trainer::{
    Arithmetic, Arithmetics, Collective, Feeding, Fit, Model, ModelCard, Phase, PhasePlan, Said, Settings,
    check_compiles, check_monitors,
};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::gallery::{Gallery, images, look};
use crate::guard;
use crate::listed::Listed;
use crate::phases::{class_weights, phases};
use crate::questions::Questions;
use crate::resume::root;
use crate::source::settle;
use crate::split::{Sides, SplitList};
use crate::teach::{Taught, Teaching};
use crate::warnings;

/// Content of `plan.json`: the phases as they are resolved before the first batch. Training follows this plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The phases, in order.
    pub phases: Vec<PhasePlan>,
    /// What is asked about the features before the first epoch. Plans of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insight: Option<Questions>,
    /// The run that teaches, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Taught>,
    /// What prefix and tail are computed with; `None` where the project's kernels do not compute them. Plans of earlier versions do not say
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<Said>,
}

impl Plan {
    /// Name of its file in a run's folder.
    pub const FILE: &str = "plan.json";

    /// The plan as the JSON of its file.
    pub fn to_json(&self) -> String {
        crate::json::pretty(self)
    }
}

/// An experiment whose images, backbone, weights and phases have been found and fit together, before training.
#[derive(Debug)]
pub struct Prepared {
    /// The experiment, with the values filled in that depend on the images and the backbone.
    pub config: Config,
    /// Training images.
    pub train: Dataset,
    /// Validation images.
    pub validation: Option<Dataset>,
    /// Test images, which nothing looks at before the last epoch.
    pub test: Option<Dataset>,
    /// How the images were found; `None` for drawn images.
    pub inventory: Option<Inventory>,
    /// Findings of the first look at the images' files: unreadable ones, and those taken with the camera turned.
    pub looked: Looked,
    /// Description of the whole network, without its weights.
    pub card: ModelCard,
    /// The backbone without the head.
    pub backbone: Graph,
    /// Source of the backbone's weights, in words.
    pub origin: String,
    /// The same as a value.
    pub(crate) base: Origin,
    /// The backbone's weights.
    pub weights: Arc<Weights>,
    /// The resolved phases.
    pub plan: Plan,
    /// Weight of each class in the loss, if the experiment sets class weights.
    pub class_weights: Option<Vec<f32>>,
    /// Warnings about what is allowed but probably not intended.
    pub warnings: Vec<String>,
    /// The run that teaches, if one does.
    pub(crate) teaching: Option<Teaching>,
    /// What prefix and tail are computed with, where the experiment does not leave it at `f32`.
    arithmetic: Option<Arithmetics>,
    /// The processes that train together, if there are several.
    pub(crate) collective: Option<Arc<dyn Collective>>,
    /// List of the images of a resumed run.
    pub(crate) split: Option<SplitList>,
    /// Folder of cached features.
    features: PathBuf,
}

/// What this machine computes with where this precision is asked for.
fn arithmetic(precision: Precision) -> Option<Arithmetics> {
    let (prefix, tail) = match precision {
        Precision::F32 => return None,
        Precision::Bf16 => [(); 2].map(|()| Arithmetic::bf16().unwrap_or_else(Arithmetic::f32)).into(),
        // Each part is measured by itself.
        Precision::Auto => (Arithmetic::fastest(), injerto_trainer::fastest_training()),
    };
    Some(Arithmetics { prefix, tail })
}

impl Prepared {
    /// Finds images, plugin and weights, reads every image once, grafts the head, and checks that all parts fit together.
    ///
    /// # Errors
    /// [`ExperimentError`] for the first part that is missing or does not fit.
    pub fn new(config: Config, catalog: &mut Catalog, cache: &Cache) -> Result<Self, ExperimentError> {
        Self::watched(config, catalog, cache, &|_, _| {})
    }

    /// The same as [`Prepared::new`], with progress: while the images are read, or features that are given are copied, `looking` is called
    /// with the number of those that are done and the number of all.
    ///
    /// # Errors
    /// [`ExperimentError`] for the first part that is missing or does not fit.
    pub fn watched(
        config: Config,
        catalog: &mut Catalog,
        cache: &Cache,
        looking: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, ExperimentError> {
        Self::found(config, None, catalog, cache, looking)
    }

    /// Prepares an experiment on images that were looked at already. What `config` says of where they are and how they are split is not
    /// looked at.
    ///
    /// # Errors
    /// [`ExperimentError`] for the first part that is missing or does not fit.
    pub fn on(
        gallery: &Gallery,
        config: Config,
        catalog: &mut Catalog,
        cache: &Cache,
    ) -> Result<Self, ExperimentError> {
        Self::found(config, Some(gallery), catalog, cache, &|_, _| {})
    }

    fn found(
        mut config: Config,
        gallery: Option<&Gallery>,
        catalog: &mut Catalog,
        cache: &Cache,
        looking: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, ExperimentError> {
        #[cfg_attr(not(feature = "shards"), expect(unused_variables, reason = "there are no features in files"))]
        let (mut images, root, given) = match gallery {
            Some(gallery) => (gallery.folder.clone(), gallery.root.clone(), gallery.features.clone()),
            None => images(&config, cache)?,
        };
        if let Some(root) = root.as_deref().filter(|_| gallery.is_none()) {
            settle(&mut config, root);
        }
        #[cfg(feature = "shards")]
        let given = crate::gathered::settle(&mut config, given)?;
        found_labels(&mut config, &images.train)?;
        let resolved = resolve(&config, catalog)?;
        let Description { preprocessing, .. } = &resolved.description;
        let grafted = (&resolved.backbone, Some(&resolved.name), preprocessing);
        let card = card(&mut config, grafted, &images.train.classes)?;
        let backbone = resolved.backbone.clone();
        let phases = phases(&config.phases, &config.callbacks, &backbone, card.graph.len())?;
        let teaching = config.distill.as_ref().map(|distill| Teaching::find(distill, &card)).transpose()?;
        let best = Best::new(config.checkpoint.monitor, config.checkpoint.mode);
        let list = config.data.split.as_deref().filter(|_| gallery.is_none());
        let list = list.map(Listed::read).transpose()?;
        check_monitors(&phases, &best, list.as_ref().map_or(images.validation.is_some(), Listed::validates))?;
        // Reading the images takes the longest, so it is the last check that needs no weights.
        let looked = match (gallery, &root) {
            (Some(gallery), _) => gallery.looked.clone(),
            (None, Some(root)) => look(&mut images, &config, root, cache, looking)?,
            (None, None) => Looked::default(),
        };
        let Folder { train, validation, test, inventory } = images;
        let mut sides = Sides { train, validation, test };
        let mut warnings = warnings::asked(&config);
        if let Some((list, root)) = list.as_ref().zip(root.as_ref()) {
            let (divided, warning) = list.divide(root, sides)?;
            sides = divided;
            warnings.extend(warning);
        }
        warnings.extend(warnings::parted_groups(&sides));
        let Sides { train, validation, test } = sides;
        let inventory = root.is_some().then_some(inventory);
        let asked = config.loss.class_weights.as_ref();
        let class_weights = asked.map(|asked| class_weights(asked, &train.classes, &train.counts())).transpose()?;
        let weights = resolved.weights(catalog, cache)?;
        warnings.extend(resolved.warnings.iter().cloned());
        let features = cache.features();
        let mut prepared = Self {
            arithmetic: arithmetic(config.backbone.precision),
            config,
            train,
            validation,
            test,
            inventory,
            looked,
            card,
            backbone,
            origin: resolved.origin.to_string(),
            base: resolved.origin.clone(),
            weights: Arc::new(weights),
            plan: Plan::default(),
            class_weights,
            warnings,
            teaching,
            collective: None,
            split: None,
            features,
        };
        prepared.decide(&phases);
        prepared.check_initial()?;
        #[cfg(feature = "shards")]
        prepared.bring_features(given.as_deref(), looking)?;
        prepared.warnings.extend(warnings::homeless_features(&prepared));
        prepared.warnings.extend(guard::warning(&prepared, &resolved));
        Ok(prepared)
    }

    /// Another experiment on the same images, in the same division, and with the same backbone. What `config` says of where the images
    /// are, how they are divided, and of the backbone is not looked at.
    ///
    /// # Errors
    /// [`ExperimentError`] for the first part that does not fit.
    pub(crate) fn with(&self, mut config: Config) -> Result<Self, ExperimentError> {
        if let Some(root) = root(&self.config) {
            settle(&mut config, root);
        }
        found_labels(&mut config, &self.train)?;
        let grafted = (&self.backbone, self.card.backbone.as_ref(), &self.card.preprocessing);
        let card = card(&mut config, grafted, &self.train.classes)?;
        let phases = phases(&config.phases, &config.callbacks, &self.backbone, card.graph.len())?;
        let teaching = config.distill.as_ref().map(|distill| Teaching::find(distill, &card)).transpose()?;
        let best = Best::new(config.checkpoint.monitor, config.checkpoint.mode);
        check_monitors(&phases, &best, self.validation.is_some())?;
        let (asked, counts) = (config.loss.class_weights.as_ref(), self.train.counts());
        let class_weights = asked.map(|asked| class_weights(asked, &self.train.classes, &counts)).transpose()?;
        let mut prepared = Self {
            warnings: warnings::asked(&config),
            arithmetic: self.arithmetic,
            config,
            train: self.train.clone(),
            validation: self.validation.clone(),
            test: self.test.clone(),
            inventory: self.inventory.clone(),
            looked: self.looked.clone(),
            card,
            backbone: self.backbone.clone(),
            origin: self.origin.clone(),
            base: self.base.clone(),
            weights: self.weights.clone(),
            plan: Plan::default(),
            class_weights,
            teaching,
            collective: None,
            split: None,
            features: self.features.clone(),
        };
        prepared.decide(&phases);
        prepared.check_initial()?;
        prepared.warnings.extend(warnings::homeless_features(&prepared));
        Ok(prepared)
    }

    /// Replaces the plan by one of these phases for the images of the experiment.
    pub(crate) fn decide(&mut self, phases: &[Phase]) {
        self.plan = self.plan_of(phases);
        self.plan.insight = Some(Questions::new(self));
        self.compute_with(self.arithmetic);
        self.plan.teacher = self.teaching.as_ref().map(|teaching| teaching.taught.clone());
    }

    /// Resolves phases for the network and the images of the experiment.
    pub fn plan_of(&self, phases: &[Phase]) -> Plan {
        let data = &self.config.data;
        let feeding = Feeding {
            training: self.train.samples.len(),
            validation: self.validation.as_ref().map(|dataset| dataset.samples.len()),
            augments: !data.augment.is_empty(),
            mixes: data.mix().is_on(),
            views: data.cached_views,
            cache: self.cache(),
        };
        let ModelCard { graph, backbone_layers, .. } = &self.card;
        let phases = phases.iter().map(|phase| PhasePlan::resolve(phase, graph, *backbone_layers, &feeding));
        Plan { phases: phases.collect(), ..Plan::default() }
    }

    /// The phases of the plan, as the experiment describes them.
    pub fn phases(&self) -> Vec<Phase> {
        self.plan.phases.iter().map(|plan| plan.phase.clone()).collect()
    }

    /// Checks that a run may use this folder: it must not lie where it would be taken for a class.
    ///
    /// # Errors
    /// [`ExperimentError::AmongImages`] if the folder lies among the folders of the classes.
    pub fn check_folder(&self, path: &Path) -> Result<(), ExperimentError> {
        let Some(inventory) = &self.inventory else { return Ok(()) };
        let images: Vec<&Path> = match &inventory.halves {
            Some((train, validation)) => {
                std::iter::once(train).chain(validation).chain(&inventory.test).map(PathBuf::as_path).collect()
            }
            None => root(&self.config).into_iter().collect(),
        };
        let place = settled(path);
        let holds = |images: &Path| {
            let inside = place.strip_prefix(settled(images)).ok()?;
            // A hidden folder is not a class.
            let hidden = |part: &std::ffi::OsStr| part.as_encoded_bytes().starts_with(b".");
            inside.iter().next().is_none_or(|first| !hidden(first)).then(|| images.to_owned())
        };
        match images.into_iter().find_map(holds) {
            Some(images) => Err(ExperimentError::AmongImages { path: path.to_owned(), images }),
            None => Ok(()),
        }
    }

    /// The network with the backbone's weights and a freshly initialised head.
    ///
    /// # Errors
    /// [`ExperimentError`] if the weights cannot be put on the device.
    pub fn model(&self, seed: u32, device: &Device) -> Result<Model, ExperimentError> {
        let mut weights = Weights::initialise(&self.card.graph, u64::from(seed))?;
        weights.extend((*self.weights).clone());
        let model = Model::new(self.card.clone(), &weights, device)?;
        Ok(Model { arithmetic: self.arithmetic(), ..model })
    }

    /// What prefix and tail are computed with, as `backbone.precision` and the machine on which the run began have decided; `None` where the
    /// experiment leaves it at `f32`.
    pub fn arithmetic(&self) -> Option<Arithmetics> {
        self.arithmetic
    }

    /// Computes prefix and tail with this, and says so in the plan.
    pub(crate) fn compute_with(&mut self, arithmetic: Option<Arithmetics>) {
        self.arithmetic = arithmetic;
        self.plan.arithmetic = self.config.uses_kernels().then(|| arithmetic.unwrap_or_else(Arithmetics::f32).said());
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
        let weights = Weights::initialise(&self.card.graph, u64::from(seed))?;
        Ok(Model { arithmetic: self.arithmetic(), ..Model::new(self.card.clone(), &weights, device)? })
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
        let validating = LoaderOptions {
            kept: kept.clone(),
            on_corrupt: data.on_corrupt,
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

    /// The images, side by side.
    pub(crate) fn sides(&self) -> Sides {
        Sides { train: self.train.clone(), validation: self.validation.clone(), test: self.test.clone() }
    }

    /// Divides the same images anew, and decides again what depends on it: the weights of the classes, and where features are kept.
    pub(crate) fn divide(&mut self, sides: Sides) -> Result<(), ExperimentError> {
        (self.train, self.validation, self.test) = (sides.train, sides.validation, sides.test);
        let asked = self.config.loss.class_weights.as_ref();
        let counts = self.train.counts();
        self.class_weights = asked.map(|asked| class_weights(asked, &self.train.classes, &counts)).transpose()?;
        self.decide(&self.phases());
        Ok(())
    }

    /// Settings of a training with this seed, apart from its phases.
    pub fn settings(&self, seed: u32) -> Settings {
        let checkpoint = &self.config.checkpoint;
        let teacher = |teaching: &Teaching| teaching.teacher(self, &self.training_options(seed));
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

/// Notes in `config` that images may have several classes, if they may, and refuses what needs one class per image.
fn found_labels(config: &mut Config, train: &Dataset) -> Result<(), ExperimentError> {
    if train.is_multi_label() {
        config.data.multi_label = Some(true);
        if config.loss.class_weights.is_some() {
            return Err(ExperimentError::ClassWeights);
        }
    }
    Ok(())
}

/// How the training images of an experiment are read for the network of `card`, and changed at random.
pub fn training_images(config: &Config, card: &ModelCard) -> LoaderOptions {
    let (data, seed) = (&config.data, u64::from(config.seed));
    LoaderOptions {
        shuffle: data.shuffle.then_some(seed),
        augment: data.augment.clone(),
        mix: data.mix(),
        seed,
        ..pixels(card, data.batch_size)
    }
}

/// Options for reading images for the network of `card`, `batch_size` images per batch. Training, evaluation and prediction
/// use the same options.
pub(crate) fn pixels(card: &ModelCard, batch_size: usize) -> LoaderOptions {
    LoaderOptions {
        interpolation: card.interpolation,
        crop_to_aspect_ratio: card.crop_to_aspect_ratio,
        orientation: card.exif_orientation,
        scaled_decoding: card.scaled_decoding,
        ..LoaderOptions::new(card.image_size(), batch_size)
    }
}

/// Finds the backbone and its weights in a file or a published set. The weights are not loaded yet.
pub(crate) fn resolve(config: &Config, catalog: &mut Catalog) -> Result<Resolved, ExperimentError> {
    let scale = config.backbone.preprocessing.map(InputScale::preprocessing);
    let resolved = catalog.resolve(&Ask {
        backbone: &config.backbone.plugin,
        parameters: &config.backbone.parameters,
        image_size: config.data.image_size,
        last_layer: config.backbone.last_layer.as_deref(),
        preprocessing: scale.as_ref(),
        weights: &config.backbone.weights,
        seed: u64::from(config.seed),
    })?;
    let [height, width] = resolved.description.graph.image_size()?;
    if config.data.image_size.is_some_and(|size| size != [height, width]) {
        return Err(ExperimentError::FixedSize { backbone: resolved.name.name, height, width });
    }
    Ok(resolved)
}

/// Fills in the values of `config` that depend on backbone and classes, and grafts the head onto the backbone.
pub(crate) fn card(
    config: &mut Config,
    (backbone, name, preprocessing): (&Graph, Option<&BackboneName>, &Preprocessing),
    classes: &[String],
) -> Result<ModelCard, ExperimentError> {
    let Completed { head, loss } = config.complete(classes.len(), backbone.image_size()?, preprocessing.interpolation);
    let thresholds = (config.data.multi_label == Some(true)).then(|| vec![0.5; classes.len()]);
    let task = if thresholds.is_some() { Task::MultiLabel } else { Task::MultiClass };
    loss.check(task, head.activation, head.units, classes.len())?;
    Ok(ModelCard {
        backbone_layers: backbone.len(),
        backbone: name.cloned(),
        preprocessing: preprocessing.clone(),
        crop_to_aspect_ratio: config.data.crop_to_aspect_ratio,
        interpolation: config.data.interpolation.unwrap_or_default(),
        exif_orientation: config.data.exif_orientation,
        scaled_decoding: config.data.scaled_decoding,
        classes: classes.to_vec(),
        loss,
        thresholds,
        graph: head.graft(backbone)?,
    })
}
