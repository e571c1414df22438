//! How well the probability of a class ranks the images: ROC and precision-recall curves.

use injerto_insight::predictions::Predictions;
use maud::{Markup, html};

use crate::judged::Judged;
use crate::page::figures;
use crate::plane::{Plane, Trace, scene};
use crate::scene::Ink;
use crate::words::grouped;

/// Most classes whose curves are drawn.
const CLASSES: usize = 5;
/// Most points of a curve. A curve with more is thinned.
const POINTS: usize = 250;

/// The curves of one class against all others.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Share of the other images that are accepted, and share of the class's images that are found, from no image to all.
    pub roc: Vec<(f64, f64)>,
    /// Share of the class's images that are found, and share of the accepted images that are of the class.
    pub precision: Vec<(f64, f64)>,
    /// Area under the ROC curve.
    pub area: f64,
    /// Sum of the precisions, each weighted by the recall that it adds (as scikit-learn's `average_precision_score`).
    pub average_precision: f64,
}

impl Ranking {
    /// Accepts the images in the order of the probability of `class`, equal ones together. `None` if all images or none are of the class.
    pub fn new(predictions: &Predictions, class: usize) -> Option<Self> {
        let mut sorted: Vec<(f64, bool)> =
            predictions.rows().map(|(label, row)| (row[class], label as usize == class)).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let of_class = sorted.iter().filter(|(_, is)| *is).count();
        let others = sorted.len() - of_class;
        if of_class == 0 || others == 0 {
            return None;
        }
        let (mut hits, mut misses) = (0, 0);
        let (mut roc, mut precision, mut area, mut average_precision) = (vec![(0.0, 0.0)], Vec::new(), 0.0, 0.0);
        for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
            let (before, accepted) = (roc[roc.len() - 1], equal.iter().filter(|(_, is)| *is).count());
            hits += accepted;
            misses += equal.len() - accepted;
            let (across, up) = (misses as f64 / others as f64, hits as f64 / of_class as f64);
            area += (across - before.0) * (up + before.1) / 2.0;
            let right = hits as f64 / (hits + misses) as f64;
            average_precision += (up - before.1) * right;
            roc.push((across, up));
            precision.push((up, right));
        }
        Some(Self { roc, precision, area, average_precision })
    }
}

/// Both figures. With many classes, those are drawn whose curves are worst.
pub fn rankings(judged: &Judged) -> Markup {
    let classes = judged.classes.len();
    // Of two classes one curve says everything, because their probabilities add up to 1.
    let of = if classes == 2 { 1..2 } else { 0..classes };
    let mut found: Vec<(usize, Ranking)> =
        of.filter_map(|class| Some((class, Ranking::new(&judged.predictions, class)?))).collect();
    if found.is_empty() {
        return html! {};
    }
    let all = found.len();
    found.sort_by(|a, b| a.1.area.total_cmp(&b.1.area));
    found.truncate(CLASSES);
    let traces = |points: fn(&Ranking) -> &[(f64, f64)], value: fn(&Ranking) -> f64| -> Vec<Trace> {
        let trace = |(place, (class, ranking)): (usize, &(usize, Ranking))| {
            let name = crate::font::fitted(&judged.classes[*class], crate::chart::SMALL, 150.0);
            Trace::line(&format!("{name} {:.4}", value(ranking)), Ink::Run(place), false, thinned(points(ranking)))
        };
        found.iter().enumerate().map(trace).collect()
    };
    let diagonal = Trace::line("", Ink::Muted, true, [(0.0, 0.0), (1.0, 1.0)]);
    let roc = Plane {
        title: "Share of the class's images that is found".to_owned(),
        across: "share of the other images that is accepted (ROC)".to_owned(),
        counts: false,
        traces: [diagonal].into_iter().chain(traces(|it| &it.roc, |it| it.area)).collect(),
        mark: None,
    };
    let base = Trace::line("", Ink::Muted, true, [(0.0, 0.0), (1.0, 0.0)]);
    let precision = Plane {
        title: "Share of the accepted images that is of the class".to_owned(),
        across: "share of the class's images that is found (precision and recall)".to_owned(),
        counts: false,
        traces: [base].into_iter().chain(traces(|it| &it.precision, |it| it.average_precision)).collect(),
        mark: None,
    };
    html! {
        p class="muted" {
            "Each class against the others on " (grouped(judged.paths.len())) " validation images, which also chose the epoch. The numbers are the "
            "area under the ROC curve and the average precision."
            @if all > CLASSES { " Of " (grouped(all)) " classes the " (CLASSES) " with the smallest area are drawn." }
        }
        (figures(&[scene(&roc, "ROC curves"), scene(&precision, "Precision over recall")]))
    }
}

/// The points of a curve without those in the middle of a straight piece, and at most [`POINTS`] of the others.
pub(crate) fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let corner = |at: usize| {
        let Some((before, after)) = at.checked_sub(1).and_then(|at| points.get(at)).zip(points.get(at + 1)) else {
            return true;
        };
        let (x, y) = points[at];
        !(before.0 == x && x == after.0 || before.1 == y && y == after.1)
    };
    let corners: Vec<(f64, f64)> = (0..points.len()).filter(|&at| corner(at)).map(|at| points[at]).collect();
    let step = corners.len().div_ceil(POINTS).max(1);
    let last = corners.len().saturating_sub(1);
    corners.into_iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last).map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_and_average_precision_are_those_of_scikit_learn() {
        // roc_auc_score and average_precision_score of y = [0, 0, 1, 1, 1], score = [0.1, 0.4, 0.35, 0.8, 0.4].
        let labels = vec![0, 0, 1, 1, 1];
        let probabilities = [0.1, 0.4, 0.35, 0.8, 0.4].into_iter().flat_map(|p| [1.0 - p, p]).collect();
        let found =
            Ranking::new(&Predictions::new(2, labels, probabilities).expect("a table"), 1).expect("both classes");
        assert!((found.area - 0.75).abs() < 1e-12, "{found:?}");
        assert!((found.average_precision - 0.805_555_555_555_555_6).abs() < 1e-12, "{found:?}");
        assert_eq!((found.roc.first(), found.roc.last()), (Some(&(0.0, 0.0)), Some(&(1.0, 1.0))));
    }

    #[test]
    fn a_curve_is_drawn_by_its_corners() {
        let stairs = [(0.0, 0.0), (0.0, 0.5), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0)];
        assert_eq!(thinned(&stairs), [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]);
        let slope: Vec<(f64, f64)> =
            (0..1001).map(|at| (f64::from(at) / 1000.0, (f64::from(at) / 1000.0).sqrt())).collect();
        let thin = thinned(&slope);
        assert!(thin.len() < 260 && thin.last() == Some(&(1.0, 1.0)), "{}", thin.len());
    }
}
