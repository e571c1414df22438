//! What the trials of a sweep share: images, backbone and features, each of them once.

use std::path::Path;
use std::sync::Arc;

use burn_tensor::Device;
use injerto_backbones::network::Network;
use injerto_backbones::weights::Weights;
use injerto_config::{Config, Initial, OnLeak};
use injerto_insight::probe::Probe;
use injerto_trainer::plan::Kept;
use injerto_trainer::{Fit, Model, SharedFeatures, TrainError, Watch};
use serde_json::{Value, json};

use crate::leaks::Copies;
use crate::plan::{Asked, Questions};
use crate::probe::{output_layer, probe, start_from};
use crate::questions::RowShape;
use crate::{ExperimentError, Prepared};

/// Tables and keys that decide neither which images there are and how they are divided, nor the backbone.
const FREE: [&str; 12] = [
    "name",
    "strategy",
    "kernels",
    "head",
    "loss",
    "phases",
    "callbacks",
    "checkpoint",
    "cache",
    "insight",
    "transfer_gain",
    "sweep",
];
/// Such keys of `[data]`.
const FREE_DATA: [&str; 6] = ["batch_size", "shuffle", "augment", "mixup", "cutmix", "cached_views"];
/// Tables and keys beside these that decide about the backbone alone.
const BACKBONE: [&str; 2] = ["backbone", "device"];

/// Images and a backbone that several trials share.
pub(super) struct Ground {
    /// The first of the trials.
    pub base: Prepared,
    /// The keys by which experiments belong to it, and by which they have the same images.
    key: Value,
    images: Value,
    /// The backbone on the device.
    network: Network,
    /// Digest of the list of images; empty for drawn ones.
    pub data: String,
}

/// The features that several trials share.
pub(super) struct Shared {
    features: SharedFeatures,
    /// The probe on them, if a head starts from it.
    probe: Option<Probe>,
}

impl Ground {
    /// The ground of a trial.
    pub fn new(base: Prepared, config: &Config, device: &Device) -> Result<Self, ExperimentError> {
        let mut weights = Weights::initialise(&base.backbone, u64::from(base.config.seed))?;
        weights.extend((*base.weights).clone());
        let network = Network::new(Arc::new(base.backbone.clone()), &weights, device).map_err(TrainError::from)?;
        let (key, images) = keys(config);
        Ok(Self { base, key, images, network, data: String::new() })
    }

    /// Whether an experiment belongs to this ground.
    pub fn bears(&self, config: &Config) -> bool {
        self.key == keys(config).0
    }

    /// Whether an experiment has the same images.
    pub fn has_images_of(&self, config: &Config) -> bool {
        self.images == keys(config).1
    }

    /// Notes which images there are.
    pub fn note(&mut self) {
        self.data = self.base.split_list().map_or_else(String::new, |list| list.digest());
    }

    /// Whether what is done with copies of images decides about the trials.
    pub fn moves_copies(&self) -> bool {
        matches!(self.base.config.data.on_leak, OnLeak::Move | OnLeak::Error)
    }

    /// Looks for copies among the images, and does with them what the experiment says, as a run does before its first epoch. Returns
    /// whether it was not stopped.
    pub fn settle(&mut self, folder: &Path, watch: &mut Watch<'_>) -> Result<bool, ExperimentError> {
        let near = self.base.plan.insight.is_some_and(|Questions { near_copies, .. }| near_copies == Asked::Yes);
        if self.base.config.data.on_leak != OnLeak::Off {
            let gathered = match near {
                true => {
                    let gathered = self.base.fit().gather(&self.model(&self.base)?, watch)?;
                    let Some(gathered) = gathered else { return Ok(false) };
                    Some(gathered)
                }
                false => None,
            };
            if let Some(copies) = Copies::find(&self.base, gathered.as_ref(), watch.stop)? {
                let mut write = |name: &str, text: &str| {
                    let path = folder.join(name);
                    injerto_files::write(&path, text.as_bytes()).map_err(|source| ExperimentError::Io { path, source })
                };
                copies.settle(&mut self.base, &mut write, watch)?;
            }
        }
        self.note();
        Ok(!watch.is_stopped())
    }

    /// The network of a trial, with a freshly initialised head. It is the one of [`Prepared::model`], but the parameters of the backbone
    /// are those of this ground.
    pub fn model(&self, trial: &Prepared) -> Result<Model, ExperimentError> {
        let graph = Arc::new(trial.card.graph.clone());
        let head = Weights::initialise_from(&graph, trial.card.backbone_layers, u64::from(trial.config.seed))?;
        let network = self.network.grown(graph, &head).map_err(TrainError::from)?;
        Ok(Model { network, card: trial.card.clone(), arithmetic: trial.arithmetic() })
    }

    /// Computes or finds the features of the first phase of a trial, for all trials with the same [`features`]. `None` if it was stopped.
    pub fn share(
        &self,
        trial: &Prepared,
        any_from_probe: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Shared>, ExperimentError> {
        let Some(gathered) = trial.fit().gather_again(&self.model(trial)?, watch)? else { return Ok(None) };
        let probe = match RowShape::of(trial) {
            Ok(shape) if any_from_probe => probe(trial, &shape, &gathered, watch.stop)?.map(|(_, probe)| probe),
            _ => None,
        };
        Ok((!watch.is_stopped()).then(|| Shared { features: gathered.shared(), probe }))
    }
}

impl Shared {
    /// The features for a training of `trial`, and its network, whose head starts from the probe if the trial says so.
    pub fn begin(
        &self,
        ground: &Ground,
        trial: &Prepared,
        fit: &Fit,
    ) -> Result<(Model, Option<injerto_trainer::Gathered>), ExperimentError> {
        let mut model = ground.model(trial)?;
        if let (Initial::Probe, Some(probe)) = (trial.config.head.initial, &self.probe) {
            let device = model.network.device().clone();
            start_from(&mut model, &output_layer(trial, probe)?, &device)?;
        }
        Ok((model, self.features.gathered(&fit.plans[0])))
    }
}

/// What decides about images and backbone, and what about the images alone.
fn keys(config: &Config) -> (Value, Value) {
    let mut key = serde_json::to_value(config).expect("an experiment is plain data");
    let table = key.as_object_mut().expect("an experiment is a table");
    FREE.iter().for_each(|name| drop(table.shift_remove(*name)));
    if let Some(data) = table.get_mut("data").and_then(Value::as_object_mut) {
        FREE_DATA.iter().for_each(|name| drop(data.shift_remove(*name)));
    }
    let mut images = key.clone();
    let table = images.as_object_mut().expect("an experiment is a table");
    BACKBONE.iter().for_each(|name| drop(table.shift_remove(*name)));
    if let Some(data) = table.get_mut("data").and_then(Value::as_object_mut) {
        data.shift_remove("image_size");
    }
    (key, images)
}

/// What the features of a trial's first phase depend on, beside its ground.
pub(super) fn features(trial: &Prepared) -> String {
    let (plan, card) = (&trial.plan.phases[0], &trial.card);
    let split = plan.split();
    let nodes = card.graph.nodes();
    let head = split.prefix.iter().filter(|at| **at >= card.backbone_layers);
    let head: Vec<_> = head.map(|&at| (&nodes[at].layer, &nodes[at].inputs)).collect();
    let views =
        matches!(plan.keeps.training, Kept::Features { views: Some(_), .. }).then_some(&trial.config.data.augment);
    let kept = [plan.keeps.training, plan.keeps.validation];
    let kernels = trial.config.uses_kernels();
    let pixels = trial.feature_pixels().pixels_key();
    json!([head, split.boundary, pixels, plan.precision, kept, views, kernels]).to_string()
}

/// Whether a trial trains a head alone, on features in memory and on the CPU: many of them run at once.
pub(super) fn is_head_alone(trial: &Prepared) -> bool {
    use injerto_trainer::plan::Place;

    let on_cpu = trial.config.device.has_kernels();
    on_cpu
        && trial.plan.phases.iter().all(|plan| {
            let kept = matches!(plan.keeps.training, Kept::Features { place: Place::Memory, .. });
            kept && plan.split().tail.iter().all(|at| *at >= trial.card.backbone_layers)
        })
}
