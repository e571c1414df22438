//! Warnings about an experiment before it is trained.

use std::collections::{BTreeSet, HashMap};

use injerto_config::Config;
use injerto_files::listed;
use injerto_graph::Selection;
use injerto_trainer::PhasePlan;
use injerto_trainer::plan::{Kept, Place};

use crate::Prepared;
use crate::split::{Side, Sides};

/// Warnings about what an experiment asks for.
pub fn asked(config: &Config) -> Vec<String> {
    let first = &config.phases[0];
    let mut warnings = Vec::new();
    if config.backbone.weights != "none" && first.unfreeze != Selection::None {
        warnings.push(format!(
            "phase '{}' trains layers of the backbone under a head that was never trained: the gradients of random weights \
             are large, and the backbone may forget what it learned in pre-training; put a phase with unfreeze = \"none\" first",
            first.name
        ));
    }
    if config.backbone.weights == "none" && config.phases.iter().all(|phase| phase.unfreeze == Selection::None) {
        warnings.push(
            "the backbone has fresh weights, and no phase trains any of them: the head learns from random features; set \
             unfreeze = \"all\" in a phase, or backbone.weights"
                .to_owned(),
        );
    }
    warnings
}

/// A warning about groups that stand on several sides, where the folders or a list divide the images.
pub fn parted_groups(images: &Sides) -> Option<String> {
    let mut sides: HashMap<&str, Side> = HashMap::new();
    let mut parted: BTreeSet<&str> = BTreeSet::new();
    for (side, sample) in images.samples() {
        let Some(group) = sample.group.as_deref() else { continue };
        if *sides.entry(group).or_insert(side) != side {
            parted.insert(group);
        }
    }
    (!parted.is_empty()).then(|| {
        format!(
            "{} of {} groups (data.group) stand on more than one side of the split, so that the accuracy may be too good: {}; \
             let data.validation_split divide the images",
            parted.len(),
            sides.len(),
            listed(parted.iter().copied())
        )
    })
}

/// A warning about features that are stored nowhere: they do not fit into memory, and the experiment does not cache them on
/// disk.
pub fn homeless_features(prepared: &Prepared) -> Option<String> {
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
            "the features of phase '{}' take {} KiB, more than cache.memory_mb = {}, and with cache.keep = false they are not \
             written to disk: they are computed again in every epoch, which takes longer but trains the same network",
            plan.phase.name,
            bytes.div_ceil(1 << 10),
            prepared.config.cache.memory_mb
        )
    })
}
