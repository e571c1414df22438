//! A prepared experiment as a value. Other modules prepare one, ask about it and train it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use injerto_backbones::resolve::Origin;
use injerto_backbones::weights::Weights;
use injerto_config::Config;
use injerto_data::Dataset;
use injerto_data::folder::Inventory;
use injerto_data::look::Looked;
use injerto_files::settled;
use injerto_graph::Graph;
use injerto_trainer::{Arithmetics, Collective, Feeding, ModelCard, Phase, PhasePlan};

use crate::ExperimentError;
use crate::plan::Plan;
use crate::source::root;
use crate::split::{Sides, SplitList};
use crate::teach::Teaching;

/// An experiment whose images, backbone, weights and phases have been found and fit together, before training.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The experiment, with the values filled in that depend on the images and the backbone.
    pub config: Config,
    /// Training images.
    pub train: Dataset,
    /// Validation images.
    pub validation: Option<Dataset>,
    /// Test images, which are not used before the last epoch has ended.
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
    /// The arithmetic of prefix and tail, unless the experiment leaves it at `f32`.
    pub(crate) arithmetic: Option<Arithmetics>,
    /// The processes that train together, if there are several.
    pub(crate) collective: Option<Arc<dyn Collective>>,
    /// List of the images of a resumed run.
    pub(crate) split: Option<SplitList>,
    /// Folder of cached features.
    pub(crate) features: PathBuf,
}

impl Prepared {
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

    /// The arithmetic of prefix and tail, as `backbone.precision` and the machine on which the run began have decided; `None` if the
    /// experiment leaves it at `f32`.
    pub fn arithmetic(&self) -> Option<Arithmetics> {
        self.arithmetic
    }

    /// Sets the arithmetic of prefix and tail, and records it in the plan.
    pub(crate) fn compute_with(&mut self, arithmetic: Option<Arithmetics>) {
        self.arithmetic = arithmetic;
        let by_default = self.config.uses_kernels().then(Arithmetics::f32);
        self.plan.arithmetic = arithmetic.or(by_default).map(Arithmetics::said);
    }

    /// The images, side by side.
    pub(crate) fn sides(&self) -> Sides {
        Sides { train: self.train.clone(), validation: self.validation.clone(), test: self.test.clone() }
    }
}
