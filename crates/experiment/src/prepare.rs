use std::path::{Path, PathBuf};

use burn_tensor::Device;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::resolve::Ask;
use injerto_backbones::weights::{Cache, Weights};
use injerto_config::{Completed, Config, Images, InputScale};
use injerto_data::folder::{self, Folder, Inventory};
use injerto_data::look::{Looked, Verdicts};
use injerto_data::{Dataset, Loader, LoaderOptions};
use injerto_files::settled;
use injerto_graph::{FreezePlan, Graph, Selection};
use injerto_recipe::{BatchNorm, Loss, OptimizerConfig};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::history::Best;
use injerto_trainer::plan::{Kept, Place};
use injerto_trainer::{Feeding, Model, ModelCard, Phase, PhasePlan, Settings, check_compiles, check_monitors};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::guard;
use crate::phases::{class_weights, phases};
use crate::resume::root;
use crate::split::SplitList;

/// `plan.json`: what is decided before the first batch, and trained from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The phases, in order.
    pub phases: Vec<PhasePlan>,
}

impl Plan {
    /// Name of its file in a run's folder.
    pub const FILE: &str = "plan.json";

    /// As its file has it.
    pub fn to_json(&self) -> String {
        crate::json::pretty(self)
    }
}

/// An experiment in which everything has been found and fits together; nothing has been trained yet.
#[derive(Debug)]
pub struct Prepared {
    /// The experiment, with all that data and backbone had to say filled in.
    pub config: Config,
    /// Training images.
    pub train: Dataset,
    /// Validation images.
    pub validation: Option<Dataset>,
    /// How the images were found; `None` for drawn ones.
    pub inventory: Option<Inventory>,
    /// What was seen of the images' files.
    pub looked: Looked,
    /// What is trained, without its weights.
    pub card: ModelCard,
    /// The backbone alone.
    pub backbone: Graph,
    /// Where the backbone's weights are from, in words.
    pub origin: String,
    /// The backbone's weights.
    pub weights: Weights,
    /// What is decided about each phase.
    pub plan: Plan,
    /// What the loss of each class is multiplied by, where the experiment says it.
    pub class_weights: Option<Vec<f32>>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// Which image is on which side, once the files have been read for it.
    pub(crate) split: Option<SplitList>,
    /// Where features are kept.
    features: PathBuf,
}

impl Prepared {
    /// Finds images, plugin and weights, looks at every image, grafts the head, and checks that all of it belongs together.
    ///
    /// # Errors
    /// [`ExperimentError`], the first thing that is missing or does not fit.
    pub fn new(config: Config, catalog: &mut Catalog, cache: &Cache) -> Result<Self, ExperimentError> {
        Self::watched(config, catalog, cache, &|_, _| {})
    }

    /// [`Prepared::new`], where `looking` is told how many files of how many have been looked at.
    ///
    /// # Errors
    /// As [`Prepared::new`]'s.
    pub fn watched(
        mut config: Config,
        catalog: &mut Catalog,
        cache: &Cache,
        looking: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, ExperimentError> {
        let (mut found_images, root) = images(&config)?;
        let train = &found_images.train;
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
        let description = &resolved.description;
        let own = description.graph.image_size()?;
        if config.data.image_size.is_some_and(|size| size != own) {
            let backbone = resolved.name.name;
            return Err(ExperimentError::FixedSize { backbone, height: own[0], width: own[1] });
        }
        let interpolation = description.preprocessing.interpolation;
        let Completed { head, loss } = config.complete(train.classes.len(), own, interpolation);
        loss.check(head.activation, head.units, train.classes.len())?;
        let backbone = resolved.backbone.clone();
        let graph = head.graft(&backbone)?;
        let phases = phases(&config.phases, &config.callbacks, &backbone, graph.len())?;
        let best = Best::new(config.checkpoint.monitor, config.checkpoint.mode);
        check_monitors(&phases, &best, found_images.validation.is_some())?;
        // Last of what needs no weights: it takes the longest.
        let looked = match &root {
            Some(root) => {
                let verdicts = Verdicts::new(&cache.looked(), root);
                let total = train.samples.len() + found_images.validation.as_ref().map_or(0, |held| held.samples.len());
                found_images.look(config.data.on_corrupt, Some(&verdicts), &|done| looking(done, total))?
            }
            None => Looked::default(),
        };
        let inventory = root.is_some().then_some(found_images.inventory);
        let Folder { train, validation, .. } = found_images;
        let weights_asked = config.loss.class_weights.as_ref();
        let class_weights =
            weights_asked.map(|asked| class_weights(asked, &train.classes, &train.counts())).transpose()?;
        let weights = resolved.weights(catalog, cache)?;
        let mut warnings = warnings(&config);
        warnings.extend(resolved.warnings.iter().cloned());
        let card = ModelCard {
            backbone_layers: backbone.len(),
            backbone: Some(resolved.name.clone()),
            preprocessing: description.preprocessing.clone(),
            crop_to_aspect_ratio: config.data.crop_to_aspect_ratio,
            interpolation: config.data.interpolation.unwrap_or_default(),
            exif_orientation: config.data.exif_orientation,
            scaled_decoding: config.data.scaled_decoding,
            classes: train.classes.clone(),
            loss,
            graph,
        };
        let features = cache.features();
        let mut prepared = Self {
            config,
            train,
            validation,
            inventory,
            looked,
            card,
            backbone,
            origin: resolved.origin.to_string(),
            weights,
            plan: Plan { phases: Vec::new() },
            class_weights,
            warnings,
            split: None,
            features,
        };
        prepared.decide(&phases);
        prepared.warnings.extend(homeless_features(&prepared));
        prepared.warnings.extend(guard::warning(&prepared, &resolved));
        Ok(prepared)
    }

    /// Decides about the phases, for the images that there are.
    pub(crate) fn decide(&mut self, phases: &[Phase]) {
        self.plan = self.plan_of(phases);
    }

    /// What these phases mean for the network and the images.
    pub fn plan_of(&self, phases: &[Phase]) -> Plan {
        let data = &self.config.data;
        let feeding = Feeding {
            training: self.train.samples.len(),
            validation: self.validation.as_ref().map(|dataset| dataset.samples.len()),
            augments: !data.augment.is_empty(),
            mixes: data.mix().is_on(),
            views: data.cached_views,
            cache: self.settings(self.config.seed).cache,
        };
        let ModelCard { graph, backbone_layers, .. } = &self.card;
        let phases = phases.iter().map(|phase| PhasePlan::resolve(phase, graph, *backbone_layers, &feeding));
        Plan { phases: phases.collect() }
    }

    /// The phases as the experiment asks for them.
    pub fn phases(&self) -> Vec<Phase> {
        self.plan.phases.iter().map(|plan| plan.phase.clone()).collect()
    }

    /// Whether a run may have this folder: it must not lie where it would be taken for a class.
    ///
    /// # Errors
    /// A folder among those of the classes.
    pub fn check_folder(&self, path: &Path) -> Result<(), ExperimentError> {
        let Some(inventory) = &self.inventory else { return Ok(()) };
        let images: Vec<&Path> = match &inventory.halves {
            Some((train, validation)) => std::iter::once(train).chain(validation).map(PathBuf::as_path).collect(),
            None => root(&self.config).into_iter().collect(),
        };
        let place = settled(path);
        let holds = |images: &Path| {
            let inside = place.strip_prefix(settled(images)).ok()?;
            // What is hidden is no class.
            let hidden = |part: &std::ffi::OsStr| part.as_encoded_bytes().starts_with(b".");
            inside.iter().next().is_none_or(|first| !hidden(first)).then(|| images.to_owned())
        };
        match images.into_iter().find_map(holds) {
            Some(images) => Err(ExperimentError::AmongImages { path: path.to_owned(), images }),
            None => Ok(()),
        }
    }

    /// The network with the backbone's weights and a fresh head.
    ///
    /// # Errors
    /// Weights that cannot be put on the device.
    pub fn model(&self, seed: u32, device: &Device) -> Result<Model, ExperimentError> {
        let mut weights = Weights::initialise(&self.card.graph, u64::from(seed))?;
        weights.extend(self.weights.clone());
        Ok(Model::new(self.card.clone(), &weights, device)?)
    }

    /// Makes the network on the device and compiles every phase, so that a start cannot fail at what is known now.
    ///
    /// # Errors
    /// As [`Prepared::model`]'s, and a network that the kernels cannot compile.
    pub fn rehearse(&self, device: &Device) -> Result<(), ExperimentError> {
        let model = self.model(self.config.seed, device)?;
        Ok(check_compiles(&model, &self.plan.phases, self.config.uses_kernels())?)
    }

    /// The same network with fresh weights throughout.
    ///
    /// # Errors
    /// As [`Prepared::model`]'s.
    pub fn scratch_model(&self, seed: u32, device: &Device) -> Result<Model, ExperimentError> {
        let weights = Weights::initialise(&self.card.graph, u64::from(seed))?;
        Ok(Model::new(self.card.clone(), &weights, device)?)
    }

    /// One phase as long as all phases together, in which everything trains.
    ///
    /// # Errors
    /// None in practice: a plan for all layers always resolves.
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
        // Each set has as much of the room as it has of the images.
        let room = |of: usize| {
            let all = images(Some(&self.train)) + images(self.validation.as_ref());
            (self.config.cache.images_mb << 20) / all.max(1) * of
        };
        let validating = LoaderOptions {
            on_corrupt: data.on_corrupt,
            seed: u64::from(seed),
            cache_bytes: room(images(self.validation.as_ref())),
            ..pixels(&self.card, data.batch_size)
        };
        let training = LoaderOptions {
            shuffle: data.shuffle.then_some(u64::from(seed)),
            augment: data.augment.clone(),
            mix: data.mix(),
            cache_bytes: room(images(Some(&self.train))),
            ..validating.clone()
        };
        let validation = self.validation.clone().map(|dataset| Loader::new(dataset, validating));
        (Loader::new(self.train.clone(), training), validation)
    }

    /// How to train with this seed, beside what.
    pub fn settings(&self, seed: u32) -> Settings {
        let (checkpoint, cache) = (&self.config.checkpoint, &self.config.cache);
        Settings {
            seed: u64::from(seed),
            best: Best::new(checkpoint.monitor, checkpoint.mode),
            class_weights: self.class_weights.clone(),
            cache: CacheSettings {
                folder: cache.keep.then(|| self.features.clone()),
                memory: cache.memory_mb << 20,
                precision: cache.precision,
            },
            kernels: self.config.uses_kernels(),
        }
    }

    /// The loss.
    pub fn loss(&self) -> &Loss {
        &self.card.loss
    }
}

/// How images are read for the network of a card, `batch_size` at a time: in training, in evaluations and in predictions.
pub(crate) fn pixels(card: &ModelCard, batch_size: usize) -> LoaderOptions {
    LoaderOptions {
        interpolation: card.interpolation,
        crop_to_aspect_ratio: card.crop_to_aspect_ratio,
        orientation: card.exif_orientation,
        scaled_decoding: card.scaled_decoding,
        ..LoaderOptions::new(card.image_size(), batch_size)
    }
}

/// The images, and the folder that they are from.
fn images(config: &Config) -> Result<(Folder, Option<PathBuf>), ExperimentError> {
    match &config.data.images {
        Images::Folder { root } => {
            let Some(root) = root.iter().find(|root| Path::is_dir(root)) else {
                return Err(ExperimentError::NoRoot { tried: root.clone() });
            };
            let options = folder::Options {
                layout: config.data.layout.unwrap_or_default(),
                validation_split: config.data.validation_split,
                seed: config.seed,
            };
            Ok((folder::open(root, options)?, Some(root.clone())))
        }
        Images::Drawn { generated, train_per_class, validation_per_class } => {
            let seed = u64::from(config.seed);
            let validation = Some(generated.dataset(*validation_per_class, seed, 1));
            let train = generated.dataset(*train_per_class, seed, 0);
            Ok((Folder { train, validation, inventory: Inventory::default() }, None))
        }
    }
}

fn warnings(config: &Config) -> Vec<String> {
    let first = &config.phases[0];
    let mut warnings = Vec::new();
    if config.backbone.weights != "none" && first.unfreeze != Selection::None {
        warnings.push(format!(
            "phase '{}' trains layers of the backbone under a head that was never trained: the gradients of random weights \
             are large, and the backbone may forget what it was pre-trained for; put a phase with unfreeze = \"none\" first",
            first.name
        ));
    }
    warnings
}

/// A word on features that have no place: they fit into neither memory nor, as the experiment wants it, the cache.
fn homeless_features(prepared: &Prepared) -> Option<String> {
    let bytes_of = |plan: &PhasePlan| {
        let rows = |kept: Kept, images: usize| match kept {
            Kept::Features { views, place: Place::Nowhere } => images.saturating_mul(views.unwrap_or(1)),
            Kept::Features { .. } | Kept::Nothing(_) => 0,
        };
        let training = rows(plan.keeps.training, prepared.train.samples.len());
        let validation = prepared.validation.as_ref().map_or(0, |dataset| dataset.samples.len());
        (training.max(rows(plan.keeps.validation, validation)) as u64).saturating_mul(plan.cut.bytes)
    };
    let phases = &prepared.plan.phases;
    let (plan, bytes) = phases.iter().map(|plan| (plan, bytes_of(plan))).max_by_key(|(_, bytes)| *bytes)?;
    (bytes > 0).then(|| {
        format!(
            "the features of phase '{}' take {} KiB, more than cache.memory_mb = {}, and cache.keep = false keeps them nowhere \
             else: they are computed anew in every epoch, which takes longer and trains the same",
            plan.phase.name,
            bytes.div_ceil(1 << 10),
            prepared.config.cache.memory_mb
        )
    })
}

/// The device that an experiment names.
///
/// # Errors
/// A device that this build does not have.
pub fn device(wanted: injerto_config::Device) -> Result<Device, ExperimentError> {
    match wanted {
        injerto_config::Device::Flex => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        injerto_config::Device::Wgpu => Ok(Device::wgpu(burn_tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        injerto_config::Device::Cuda => Ok(Device::cuda(0)),
        #[cfg(not(feature = "wgpu"))]
        injerto_config::Device::Wgpu => Err(not_built("wgpu")),
        #[cfg(not(feature = "cuda"))]
        injerto_config::Device::Cuda => Err(not_built("cuda")),
    }
}

#[cfg(not(all(feature = "wgpu", feature = "cuda")))]
fn not_built(device: &'static str) -> ExperimentError {
    let reason = format!(
        "this binary was built without it; `cargo xtask experiment` builds it in, or add `--features {device}`"
    );
    ExperimentError::Device { device, reason }
}
