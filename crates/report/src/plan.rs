//! What is decided about a phase, in words.

use injerto_trainer::PhasePlan;
use injerto_trainer::plan::{Kept, Place, Reason};

use crate::words::{bytes, grouped, millions};

/// The cut, and why: the bytes that cross per image against the work that is repeated.
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

/// The sizes of prefix and tail.
pub fn parts(plan: &PhasePlan) -> String {
    let (prefix, tail) = (plan.split().prefix.len(), plan.split().tail.len());
    let values = grouped(plan.boundary_values);
    format!("frozen prefix {prefix} layers, tail {tail} layers, {values} values per image between them")
}

/// What is kept of the training images and of the validation images, as far as there is something to say of it.
pub fn keeps(plan: &PhasePlan) -> Vec<String> {
    let mut lines = Vec::new();
    match plan.keeps.training {
        Kept::Features { views: Some(views), .. } => {
            lines.push(format!("{views} changed views of each training image pass the prefix once"));
        }
        Kept::Nothing(Reason::Mixed) if plan.split().prefix.len() > 1 => {
            lines.push("training images are mixed anew, and pass the prefix in every epoch".to_owned());
        }
        Kept::Nothing(Reason::Augmented) if plan.split().prefix.len() > 1 => {
            lines.push(
                "training images are changed anew, and pass the prefix in every epoch; data.cached_views = 4 would keep \
                 four views of each"
                    .to_owned(),
            );
        }
        Kept::Features { views: None, .. } | Kept::Nothing(_) => {}
    }
    let homeless = |kept| matches!(kept, Kept::Features { place: Place::Nowhere, .. });
    if homeless(plan.keeps.training) || homeless(plan.keeps.validation) {
        lines.push("features have no place and are computed anew in every epoch".to_owned());
    }
    lines
}
