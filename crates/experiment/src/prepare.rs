use std::sync::Arc;

use burn_tensor::FloatDType;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::resolve::{Ask, Resolved};
use injerto_backbones::weights::{BackboneName, Cache};
use injerto_config::{Completed, Config, InputScale, Precision};
use injerto_data::Dataset;
use injerto_data::folder::Folder;
use injerto_data::look::Looked;
use injerto_graph::{Description, Graph, Preprocessing};
use injerto_recipe::Task;
use injerto_trainer::history::Best;
use injerto_trainer::{Arithmetic, Arithmetics, ModelCard, Phase, check_monitors};

use crate::ExperimentError;
use crate::gallery::{Gallery, images, look};
use crate::guard;
use crate::listed::Listed;
use crate::phases::{class_weights, phases};
use crate::plan::{Plan, Questions};
use crate::prepared::Prepared;
use crate::source::{root, settle};
use crate::split::Sides;
use crate::teach::Teaching;
use crate::warnings;

/// The arithmetic of this machine for this precision, with the project's `kernels` or with Burn's operators.
pub(crate) fn arithmetic(precision: Precision, kernels: bool) -> Option<Arithmetics> {
    if !kernels {
        let prefix = match precision {
            Precision::F32 | Precision::Auto => return None,
            Precision::F16 => FloatDType::F16,
            Precision::Bf16 => FloatDType::BF16,
        };
        return Some(Arithmetics::Operators { prefix });
    }
    let (prefix, tail) = match precision {
        Precision::F32 | Precision::F16 => return None,
        Precision::Bf16 => [(); 2].map(|()| Arithmetic::bf16().unwrap_or_else(Arithmetic::f32)).into(),
        // Each part is measured by itself.
        Precision::Auto => (Arithmetic::fastest(), injerto_trainer::fastest_training()),
    };
    Some(Arithmetics::Kernels { prefix, tail })
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

    /// Prepares an experiment on images that were looked at already. The keys of `config` that say where they are and how they are split
    /// are ignored.
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
        let class_weights = weights_of_classes(&config, &train)?;
        let weights = resolved.weights(catalog, cache)?;
        warnings.extend(resolved.warnings.iter().cloned());
        let features = cache.features();
        let mut prepared = Self {
            arithmetic: arithmetic(config.backbone.precision, config.uses_kernels()),
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

    /// Another experiment on the same images, in the same division, and with the same backbone. The keys of `config` about the place and
    /// the split of the images and about the backbone are ignored.
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
        let mut prepared = Self {
            warnings: warnings::asked(&config),
            class_weights: weights_of_classes(&config, &self.train)?,
            config,
            card,
            plan: Plan::default(),
            teaching,
            collective: None,
            split: None,
            ..self.clone()
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

    /// Divides the same images anew, and decides again what depends on it: the weights of the classes, and where features are kept.
    pub(crate) fn divide(&mut self, sides: Sides) -> Result<(), ExperimentError> {
        (self.train, self.validation, self.test) = (sides.train, sides.validation, sides.test);
        self.class_weights = weights_of_classes(&self.config, &self.train)?;
        self.decide(&self.phases());
        Ok(())
    }
}

/// Weight of each class in the loss, if the experiment weights classes.
fn weights_of_classes(config: &Config, train: &Dataset) -> Result<Option<Vec<f32>>, ExperimentError> {
    let asked = config.loss.class_weights.as_ref();
    asked.map(|asked| class_weights(asked, &train.classes, &train.counts())).transpose()
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
