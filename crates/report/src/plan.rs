//! The plan of a phase, in words.

use injerto_trainer::PhasePlan;
use injerto_trainer::plan::{Kept, Place, Reason};

use crate::words::{bytes, counted, grouped, millions};

/// The cut of a phase with its costs: bytes per image at the boundary, and multiply-adds per image that are repeated in each
/// epoch.
pub fn cut(plan: &PhasePlan) -> String {
    let cut = &plan.cut;
    let Some(before) = &cut.before else {
        return format!("nothing trains: {} per image", bytes(cut.bytes));
    };
    let begin = format!("cut before {before}: {} per image", bytes(cut.bytes));
    if cut.recomputed.is_empty() {
        return begin + "; nothing is computed twice";
    }
    let (latest, again) = (bytes(cut.latest_bytes), millions(cut.multiply_adds));
    format!("{begin} instead of {latest}; recomputes {again} multiply-adds per image in each epoch")
}

/// Number of layers in prefix and tail, and number of values between them.
pub fn parts(plan: &PhasePlan) -> String {
    let [prefix, tail] = [&plan.split().prefix, &plan.split().tail].map(|layers| counted(layers.len(), "layer"));
    let values = grouped(plan.boundary_values);
    format!("frozen prefix {prefix}, tail {tail}, {values} values per image between them")
}

/// Notes on the kept features of the training and validation images. There is no note on the usual case, in which each image
/// passes through the prefix once.
pub fn keeps(plan: &PhasePlan) -> Vec<String> {
    let mut lines = Vec::new();
    match plan.keeps.training {
        Kept::Features { views: Some(views), .. } => {
            lines.push(format!("{views} augmented views of each training image pass through the prefix once"));
        }
        Kept::Nothing(Reason::Mixed) if plan.split().prefix.len() > 1 => {
            lines.push(
                "training images are mixed differently in each epoch, and pass through the prefix in every epoch"
                    .to_owned(),
            );
        }
        Kept::Nothing(Reason::Augmented) if plan.split().prefix.len() > 1 => {
            lines.push(
                "training images are augmented differently in each epoch, and pass through the prefix in every epoch; \
                 data.cached_views = 4 would keep four views of each"
                    .to_owned(),
            );
        }
        Kept::Features { views: None, .. } | Kept::Nothing(_) => {}
    }
    let homeless = |kept| matches!(kept, Kept::Features { place: Place::Nowhere, .. });
    if homeless(plan.keeps.training) || homeless(plan.keeps.validation) {
        lines.push("features are not stored and are computed again in every epoch".to_owned());
    }
    lines
}
