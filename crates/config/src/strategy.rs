//! `strategy`: the three ways of transfer that a course teaches, as one key that fills in what the file leaves out.

use injerto_graph::Selection;
use injerto_heads::Hidden;
use injerto_recipe::{BatchNorm, OptimizerConfig, Schedule};

use crate::kinds::{LearningRates, Strategy};
use crate::reader::Field;
use crate::values::{BackboneConfig, PhaseConfig};

/// The hidden layers, where the file names none.
pub(crate) fn dense(strategy: Strategy) -> Vec<Hidden> {
    match strategy {
        Strategy::RetrainAll => Vec::new(),
        Strategy::FeatureExtractor | Strategy::EarlyLayers => vec![Hidden::relu(128)],
    }
}

/// What a phase unfreezes where the file does not say.
pub(crate) fn unfreeze(strategy: Strategy) -> Selection {
    match strategy {
        Strategy::RetrainAll => Selection::All,
        Strategy::FeatureExtractor | Strategy::EarlyLayers => Selection::None,
    }
}

/// The phases, where the file has none: the head trains alone first, as in Keras's guide to transfer learning.
pub(crate) fn phases(strategy: Strategy) -> Vec<PhaseConfig> {
    let phase = |name: &str, epochs, unfreeze, learning_rate| PhaseConfig {
        name: name.to_owned(),
        epochs,
        unfreeze,
        batch_norm: BatchNorm::default(),
        optimizer: OptimizerConfig::adam(learning_rate),
        schedule: Schedule::default(),
        learning_rates: LearningRates::default(),
        swa: None,
        gradual: None,
    };
    match strategy {
        Strategy::RetrainAll => {
            vec![phase("head", 3, Selection::None, 1e-3), phase("retrain-all", 10, Selection::All, 1e-5)]
        }
        Strategy::FeatureExtractor | Strategy::EarlyLayers => vec![phase(strategy.name(), 10, Selection::None, 1e-3)],
    }
}

/// Notes what in the file contradicts the strategy.
pub(crate) fn check(
    strategy: Strategy,
    field: &Field<'_>,
    backbone: &BackboneConfig,
    phases: &[PhaseConfig],
) -> Option<()> {
    let frozen = matches!(strategy, Strategy::FeatureExtractor | Strategy::EarlyLayers);
    if let Some(phase) = phases.iter().find(|phase| frozen && phase.unfreeze != Selection::None) {
        let message = format!(
            "`strategy = \"{}\"` keeps the backbone frozen, but phase {:?} unfreezes layers",
            strategy.name(),
            phase.name
        );
        return field.wrong(message, "leave `unfreeze` out, or leave `strategy` out".to_owned());
    }
    match (strategy, &backbone.last_layer) {
        (Strategy::EarlyLayers, None) => {
            let message = "`strategy = \"early-layers\"` needs the last layer that is kept".to_owned();
            let help = "add `last_layer = \"…\"` to [backbone]; `injerto summary` lists the layers, `injerto advise` \
                        recommends one";
            field.wrong(message, help.to_owned())
        }
        (Strategy::RetrainAll | Strategy::FeatureExtractor, Some(layer)) => {
            let message = format!("`strategy = \"{}\"` keeps the whole backbone", strategy.name());
            let help = format!("set `strategy` to \"early-layers\", or leave `last_layer = {layer:?}` out");
            field.wrong(message, help)
        }
        _ => Some(()),
    }
}
