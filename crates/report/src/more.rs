//! What more photos would bring, as a figure.

use injerto_experiment::inspect::MorePhotos;
use maud::{Markup, html};

use crate::inspection::words;
use crate::page::figures;
use crate::plane::{Plane, Point, Trace, scene};
use crate::scene::Ink;

/// Points of the curve that the law draws.
const STEPS: usize = 40;

/// The sentence, and the curve up to twice as many photos.
pub fn more(more: &MorePhotos) -> Markup {
    let mut sentence = words::more(more);
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    html! {
        p { (sentence) "." }
        p class="muted" {
            "The probe is a logistic regression on the features of the frozen backbone, cross-validated on growing parts of the training photos. The "
            "line is the law error = floor + scale · n^-exponent, fitted to the points; bars are 95 % intervals."
        }
        (figures(&[scene(&plane(more), "Accuracy over the number of training photos")]))
    }
}

fn plane(more: &MorePhotos) -> Plane {
    let measured = |point: &injerto_insight::more::Point| Point {
        at: (point.images, point.accuracy.value),
        interval: Some(point.accuracy.interval),
        radius: 3.5,
    };
    let first = more.points.first().map_or(1.0, |point| point.images).max(1.0);
    let last = (2.0 * more.images).max(first);
    // Even steps of the logarithm: the law bends most where photos are few.
    let at = |step: usize| first * (last / first).powf(step as f64 / STEPS as f64);
    let law = (0..=STEPS).map(at).map(|images| (images, (1.0 - more.law.error(images)).clamp(0.0, 1.0)));
    let doubled = Point { at: (last, more.doubled.value), interval: Some(more.doubled.interval), radius: 3.5 };
    Plane {
        title: "Accuracy of a probe".to_owned(),
        across: "training photos".to_owned(),
        counts: true,
        traces: vec![
            Trace::line("the law", Ink::Muted, true, law),
            Trace { name: "expected".to_owned(), ink: Ink::Validation, dashed: false, points: vec![doubled] },
            Trace {
                name: "measured".to_owned(),
                ink: Ink::Training,
                dashed: false,
                points: more.points.iter().map(measured).collect(),
            },
        ],
        mark: None,
    }
}
