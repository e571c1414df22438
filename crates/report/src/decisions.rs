//! What can be left to a model: how well its probabilities are calibrated, and where it may answer alone.

use injerto_experiment::Calibration;
use injerto_insight::calibration::{Bin, Operation, Reliability};
use injerto_insight::stats::Estimate;
use maud::{Markup, html};

use crate::page::{NONE, cell, figures, table};
use crate::plane::{Plane, Point, Trace, scene};
use crate::scene::Ink;
use crate::words::grouped;

/// With more classes than this, the table of classes is folded.
const CLASSES: usize = 30;

/// The section about calibration and decisions.
pub fn decisions(calibration: &Calibration) -> Markup {
    let rows: Vec<Vec<Markup>> = calibration.alone.iter().map(|alone| operation(alone.accuracy, alone.at)).collect();
    let classes: Vec<Vec<Markup>> = calibration.classes.iter().map(class).collect();
    let of_classes = table(&["class", "#believed from", "#of these right", "#of its images found"], &classes);
    html! {
        p { (temperature(calibration)) }
        @if let Some(sentence) = alone(calibration) { p { (sentence) } }
        p class="muted" {
            "All of this is measured on the " (grouped(calibration.images)) " validation images that also chose the epoch; \
             brackets are 95 % intervals."
        }
        (figures(&[scene(&reliability(calibration), "How often the model is right at each confidence"),
            scene(&coverage(calibration), "Accuracy over the share of images that the model answers")]))
        h3 { "Where the model answers alone" }
        (table(&["wanted accuracy", "#confidence from", "#answers", "#of these right"], &rows))
        h3 { "From where on a class is believed, at a precision of " (percent(calibration.class_precision)) }
        @if classes.len() > CLASSES {
            details { summary { (grouped(classes.len())) " classes" } (of_classes) }
        } @else {
            (of_classes)
        }
    }
}

/// How probabilities are calibrated, in words.
fn temperature(calibration: &Calibration) -> String {
    let n = grouped(calibration.images);
    let own = calibration.reliability.ece;
    match (&calibration.temperature, &calibration.calibrated) {
        (Some(temperature), Some(after)) => format!(
            "Logits are divided by the temperature {:.2}, which was fitted to {n} validation images: the calibration error \
             falls from {own:.4} to {:.4}, and the loss from {:.4} to {:.4}. No predicted class changes.",
            temperature.value, after.ece, temperature.loss_before, temperature.loss_after
        ),
        (Some(temperature), None) => format!(
            "The probabilities are left as they are: the best temperature, {:.2}, gains no more than chance would on {n} \
             validation images. Their calibration error is {own:.4}.",
            temperature.value
        ),
        (None, _) => format!(
            "The probabilities are left as they are, because those of an image do not add up to 1. Their calibration error is \
             {own:.4} on {n} validation images."
        ),
    }
}

/// What may be left to the model, in words.
fn alone(calibration: &Calibration) -> Option<String> {
    let Operation { threshold, coverage, accuracy } = calibration.sure()?;
    Some(format!(
        "With {} of its answers right, the model answers {} of {} validation photos alone: those of which it is {} sure or more. The others \
         go to a person.",
        percent(accuracy.value),
        percent(coverage),
        grouped(calibration.images),
        percent(threshold)
    ))
}

fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

fn with_interval(Estimate { value, interval: [low, high], n }: Estimate) -> Markup {
    cell(format!("{value:.3} [{low:.3}, {high:.3}] of {}", grouped(n)))
}

fn operation(wanted: f64, at: Option<Operation>) -> Vec<Markup> {
    let first = cell(percent(wanted));
    match at {
        Some(Operation { threshold, coverage, accuracy }) => {
            vec![first, cell(format!("{threshold:.3}")), cell(percent(coverage)), with_interval(accuracy)]
        }
        None => vec![first, cell(NONE), cell("never"), cell(NONE)],
    }
}

fn class(class: &injerto_experiment::knowledge::ClassPrecision) -> Vec<Markup> {
    match class.at {
        Some(at) => vec![
            cell(&class.class),
            cell(format!("{:.3}", at.threshold)),
            with_interval(at.precision),
            with_interval(at.recall),
        ],
        None => vec![cell(&class.class), cell("never"), cell(NONE), cell(NONE)],
    }
}

/// The reliability diagram: a dot per range of confidence, the larger the more images it stands for.
fn reliability(calibration: &Calibration) -> Plane {
    let trace = |name: &str, ink: Ink, found: &Reliability| {
        let images = calibration.images.max(1) as f64;
        let point = |bin: &Bin| Point {
            at: (bin.confidence, bin.accuracy.value),
            interval: Some(bin.accuracy.interval),
            radius: 2.0 + 6.0 * (bin.accuracy.n as f64 / images).sqrt(),
        };
        Trace { name: name.to_owned(), ink, dashed: false, points: found.bins.iter().map(point).collect() }
    };
    let diagonal = Trace::line("", Ink::Muted, true, [(0.0, 0.0), (1.0, 1.0)]);
    let own = trace("the network's own", Ink::Training, &calibration.reliability);
    let calibrated = calibration.calibrated.as_ref().map(|found| trace("calibrated", Ink::Validation, found));
    let traces = [diagonal, own].into_iter().chain(calibrated).collect();
    Plane {
        title: "Share that is right".to_owned(),
        across: "confidence".to_owned(),
        counts: false,
        traces,
        mark: None,
    }
}

fn coverage(calibration: &Calibration) -> Plane {
    let points = calibration.coverage.iter().map(|point| (point.coverage, point.accuracy.value));
    let mark = calibration.sure().map(|at| {
        let text = format!("{} right: answers {}", percent(at.accuracy.value), percent(at.coverage));
        ((at.coverage, at.accuracy.value), text)
    });
    Plane {
        title: "Share of the answers that is right".to_owned(),
        across: "share of images that the model answers, the surest first".to_owned(),
        counts: false,
        traces: vec![Trace::line("", Ink::Validation, false, points)],
        mark,
    }
}
