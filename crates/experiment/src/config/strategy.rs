//! `strategy`: the three ways of transfer that a course teaches, as one key that fills in what the file leaves out.

use injerto_graph::{Activation, Selection};
use injerto_heads::Hidden;
use serde::Serialize;

use super::reader::Field;
use super::{BackboneConfig, BatchNorm, LearningRates, OptimizerConfig, PhaseConfig, Schedule};

/// How much of the backbone is kept, and how much of it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Much data, like the source's: a new head, then everything trains from the pre-trained weights.
    RetrainAll,
    /// Little data, like the source's: the backbone is frozen, new dense layers train.
    FeatureExtractor,
    /// Little data, unlike the source's: only the first layers are kept, up to `backbone.last_layer`, frozen; new dense
    /// layers train.
    EarlyLayers,
}

pub(super) const STRATEGIES: &[(&str, Strategy)] = &[
    ("retrain-all", Strategy::RetrainAll),
    ("feature-extractor", Strategy::FeatureExtractor),
    ("early-layers", Strategy::EarlyLayers),
];

impl Strategy {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RetrainAll => "retrain-all",
            Self::FeatureExtractor => "feature-extractor",
            Self::EarlyLayers => "early-layers",
        }
    }

    /// Hidden layers where the file names none.
    pub(super) fn dense(self) -> Vec<Hidden> {
        match self {
            Self::RetrainAll => Vec::new(),
            Self::FeatureExtractor | Self::EarlyLayers => vec![Hidden { units: 128, activation: Activation::Relu }],
        }
    }

    /// What a phase unfreezes where the file does not say.
    pub(super) fn unfreeze(self) -> Selection {
        match self {
            Self::RetrainAll => Selection::All,
            Self::FeatureExtractor | Self::EarlyLayers => Selection::None,
        }
    }

    /// Phases where the file has none: as Keras's guide to transfer learning has them, the head alone first.
    pub(super) fn phases(self) -> Vec<PhaseConfig> {
        let phase = |name: &str, epochs, unfreeze, learning_rate| PhaseConfig {
            name: name.to_owned(),
            epochs,
            unfreeze,
            batch_norm: BatchNorm::Frozen,
            optimizer: OptimizerConfig::adam(learning_rate),
            schedule: Schedule::default(),
            learning_rates: LearningRates::default(),
            gradual: None,
        };
        match self {
            Self::RetrainAll => {
                vec![phase("head", 3, Selection::None, 1e-3), phase("retrain-all", 10, Selection::All, 1e-5)]
            }
            Self::FeatureExtractor | Self::EarlyLayers => vec![phase(self.name(), 10, Selection::None, 1e-3)],
        }
    }

    /// Notes what in the file contradicts the strategy.
    pub(super) fn check(self, field: &Field<'_>, backbone: &BackboneConfig, phases: &[PhaseConfig]) -> Option<()> {
        let frozen = matches!(self, Self::FeatureExtractor | Self::EarlyLayers);
        if let Some(phase) = phases.iter().find(|phase| frozen && phase.unfreeze != Selection::None) {
            let message = format!(
                "`strategy = \"{}\"` keeps the backbone frozen, but phase {:?} unfreezes layers",
                self.name(),
                phase.name
            );
            return field.wrong(message, "leave `unfreeze` out, or leave `strategy` out".to_owned());
        }
        match (self, &backbone.last_layer) {
            (Self::EarlyLayers, None) => {
                let message = "`strategy = \"early-layers\"` needs the last layer that is kept".to_owned();
                let help = "add `last_layer = \"…\"` to [backbone]; `injerto summary` lists the layers, `injerto advise` \
                            recommends one";
                field.wrong(message, help.to_owned())
            }
            (Self::RetrainAll | Self::FeatureExtractor, Some(layer)) => {
                let message = format!("`strategy = \"{}\"` keeps the whole backbone", self.name());
                let help = format!("set `strategy` to \"early-layers\", or leave `last_layer = {layer:?}` out");
                field.wrong(message, help)
            }
            _ => Some(()),
        }
    }
}
