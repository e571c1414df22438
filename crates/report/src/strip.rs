//! The network as a strip: what each layer does in each phase.

use injerto_trainer::PhasePlan;
use injerto_trainer::plan::{Kept, Place};
use maud::{Markup, html};

use crate::words::counted;

/// What a layer does in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// It is frozen, and runs once per image; what it computes is kept.
    Cached,
    /// It is frozen, and runs in every epoch.
    Frozen,
    /// It trains.
    Trains,
}

impl Work {
    const ALL: [Self; 3] = [Self::Cached, Self::Frozen, Self::Trains];

    /// Name of the CSS class.
    fn class(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Frozen => "frozen",
            Self::Trains => "trains",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Cached => "frozen, and run once per image",
            Self::Frozen => "frozen, and run in every epoch",
            Self::Trains => "trained",
        }
    }
}

/// The work of each layer of a phase, in order.
fn work(plan: &PhasePlan) -> Vec<Work> {
    let kept = matches!(plan.keeps.training, Kept::Features { place: Place::Memory | Place::Folder, .. });
    let prefix: std::collections::HashSet<usize> = plan.split().prefix.iter().copied().collect();
    let of = |(at, trains): (usize, bool)| match (prefix.contains(&at), trains) {
        (true, _) if kept => Work::Cached,
        (false, true) => Work::Trains,
        _ => Work::Frozen,
    };
    plan.layers.iter().map(|layer| layer.trains).enumerate().map(of).collect()
}

/// A strip per phase, with what its colours mean.
pub fn strips(phases: &[PhasePlan]) -> Markup {
    html! {
        @if !phases.is_empty() {
            p class="legend" {
                @for work in Work::ALL { span { span class={ "swatch " (work.class()) } {} (work.in_words()) } " " }
            }
            @for plan in phases { (strip(plan)) }
        }
    }
}

fn strip(plan: &PhasePlan) -> Markup {
    let work = work(plan);
    let counts = Work::ALL.map(|kind| (kind, work.iter().filter(|work| **work == kind).count()));
    let parts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{} {}", counted(*count, "layer"), kind.in_words()))
        .collect();
    let words = parts.join("; ");
    let cut = plan.cut.before.as_ref().and_then(|before| plan.layers.iter().position(|layer| layer.name == *before));
    html! {
        h3 { (plan.phase.name) }
        svg class="strip" viewBox={ "0 0 " (work.len().max(1)) " 10" } preserveAspectRatio="none" role="img" aria-label=(words) {
            @for (at, (layer, work)) in plan.layers.iter().zip(&work).enumerate() {
                rect class=(work.class()) x=(at) y="1" width="0.86" height="8" { title { (layer.name) ": " (work.in_words()) } }
            }
            @if let Some(cut) = cut { rect class="cut" x=(cut as f64 - 0.32) y="0" width="0.5" height="10" {} }
        }
        p class="muted" {
            (words)
            @if let (Some(before), Some(_)) = (&plan.cut.before, cut) { "; the line is the cut before " (before) }
            "."
        }
    }
}
