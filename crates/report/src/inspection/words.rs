//! An inspection in sentences, for the terminal and for the page.

use std::fmt::Write as _;
use std::path::PathBuf;

use injerto_experiment::inspect::{Drift, HealthCard, Inspection, LeakFound, MorePhotos, Probe, SuspectFound};
use injerto_files::{listed, printable, shown};
use injerto_insight::health::{Shortcut, Trait};
use injerto_insight::leaks::{Across, Kind};

use crate::words::grouped;

/// A gain of accuracy below which more photos are not worth their work.
const WORTHWHILE: f64 = 0.005;
/// Photos of the largest class per photo of the smallest from which a dataset is called unbalanced.
const UNBALANCED: f64 = 3.0;

/// `0.879 to 0.900`.
pub fn interval([low, high]: [f64; 2]) -> String {
    format!("{low:.3} to {high:.3}")
}

/// How many images of which classes there are.
pub fn images(found: &Inspection) -> String {
    let images = grouped(found.images);
    if found.classes.len() < 2 {
        return format!("{images} images without labels");
    }
    let class = |class: &injerto_experiment::inspect::ClassCount| format!("{} {}", class.name, grouped(class.images));
    let classes: Vec<String> = found.classes.iter().map(class).collect();
    format!("{images} images of {} classes: {}", classes.len(), listed(classes.iter().map(String::as_str)))
}

/// The backbone that has seen the images; `None` without one.
pub fn backbone(found: &Inspection) -> Option<String> {
    let backbone = found.backbone.as_ref()?;
    let size = match backbone.image_size {
        Some([height, width]) => format!(" at {height}x{width}"),
        None => " at a size that its features do not say".to_owned(),
    };
    let (name, weights) = (printable(&backbone.name), printable(&backbone.weights));
    Some(format!("{name}{size}, {} features ({weights})", grouped(backbone.features)))
}

/// What a probe reaches.
pub fn probe(probe: &Probe) -> String {
    let Probe { accuracy, n, folds, baselines, .. } = probe;
    format!(
        "accuracy {accuracy:.4} ({}, n = {}, {folds} folds) by a linear probe; {:.4} by chance, {:.4} for always naming the largest class",
        interval(probe.interval),
        grouped(*n),
        baselines.chance,
        baselines.majority
    )
}

/// Whether more photos would help.
pub fn more(more: &MorePhotos) -> String {
    let (now, n) = more.points.last().map_or((0.0, 0), |point| (point.accuracy.value, point.accuracy.n));
    let mut text = format!(
        "with {} training photos a probe reaches {now:.4} (n = {}); with twice as many it is expected to reach {:.4} ({})",
        grouped(more.images.round() as usize),
        grouped(n),
        more.doubled.value,
        interval(more.doubled.interval)
    );
    text += match more.gain {
        gain if gain < WORTHWHILE => ": more photos of the same kind would hardly help",
        _ => ": more photos would help",
    };
    text
}

/// What a pair of copies stands on two sides of.
pub fn leak(leak: &LeakFound) -> String {
    let kind = match leak.kind {
        Kind::Exact => "the same file",
        Kind::Near if leak.mirrored => "one picture, mirrored",
        Kind::Near => "one picture",
    };
    let across = match leak.across {
        Across::Split => "one trains, the other validates",
        Across::Class => "under two classes",
        Across::None => "in one class",
    };
    let mut text = format!("{kind}, {across}");
    if leak.kind == Kind::Near {
        let _ = write!(text, " (similarity {:.3})", leak.similarity);
    }
    text
}

/// How many pairs of copies there are, and where they stand; `None` if there are none.
pub fn leaks(leaks: &[LeakFound]) -> Option<String> {
    let count = |across: Across| leaks.iter().filter(|leak| leak.across == across).count();
    let parts = [
        (count(Across::Split), "with one in training and the other in validation or test"),
        (count(Across::Class), "under two classes"),
        (count(Across::None), "within one class"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", grouped(*count)))
        .collect();
    let (pairs, are) = if leaks.len() == 1 { ("pair", "is") } else { ("pairs", "are") };
    (!parts.is_empty())
        .then(|| format!("{} {pairs} of photos {are} one picture: {}", grouped(leaks.len()), parts.join(", ")))
}

/// A label that looks wrong.
pub fn suspect(suspect: &SuspectFound) -> String {
    let (label, suggested) = (printable(&suspect.label), printable(&suspect.suggested));
    format!("{label}, but rather {suggested} ({:.0} %)", suspect.confidence * 100.0)
}

/// How many labels look wrong; `None` if there are none.
pub fn labels(suspects: &[SuspectFound], images: usize) -> Option<String> {
    let (labels, look) = if suspects.len() == 1 { ("label", "looks") } else { ("labels", "look") };
    (!suspects.is_empty()).then(|| format!("{} of {} {labels} {look} wrong", grouped(suspects.len()), grouped(images)))
}

/// Whether photos are like those of a training.
pub fn drift(drift: &Drift) -> String {
    let found = &drift.drift;
    let mut text = format!(
        "{:.1} % of the photos are unlike those of training ({}, n = {}; of photos like its validation images {:.0} % would be): ",
        found.unknown.value * 100.0,
        interval(found.unknown.interval),
        grouped(found.unknown.n),
        found.expected * 100.0
    );
    text += match (found.drifted, found.unknown.value > 0.5) {
        (true, true) => {
            "these are other photos than those of training, and a model trained there is not to be trusted here"
        }
        (true, false) => "they differ from those of training; label some of them and train with them",
        (false, _) => "they are like those of training",
    };
    if drift.trained > 0 {
        let _ = write!(text, "; {} of them are among the training's own images", grouped(drift.trained));
    }
    text
}

/// What is conspicuous about the files, the worst first; empty if nothing is.
pub fn health(health: &HealthCard) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(health.shortcuts.iter().filter(|it| it.gives_away).map(shortcut));
    let unreadable: Vec<PathBuf> = health.unreadable.iter().map(|unreadable| unreadable.path.clone()).collect();
    let kinds = [
        (&unreadable, "cannot be read and are left out"),
        (&health.turned, "were taken with the camera turned; data.exif_orientation = \"apply\" turns them"),
        (&health.dark, "are nearly black"),
        (&health.bright, "are nearly white"),
        (&health.blurred, "are blurred beside the others"),
        (&health.grey, "are grey, and most are coloured"),
    ];
    let all = health.n + health.unreadable.len();
    for (paths, what) in kinds {
        if let Some(first) = paths.first() {
            lines.push(format!(
                "{} of {} files {what} (the first is {})",
                grouped(paths.len()),
                grouped(all),
                shown(first)
            ));
        }
    }
    if let Some(imbalance) = health.imbalance.filter(|imbalance| *imbalance >= UNBALANCED) {
        let largest = printable(&health.largest_class);
        lines.push(format!(
            "the largest class, {largest}, has {imbalance:.1} times the images of the smallest; loss.class_weights = \"balanced\" \
             makes up for it"
        ));
    }
    lines
}

/// A warning about numbers that give the class away.
fn shortcut(shortcut: &Shortcut) -> String {
    let by = match shortcut.by {
        Trait::Light => "brightness and contrast alone predict",
        Trait::Size => "width and height alone predict",
        Trait::File => "the file's format and size alone predict",
        Trait::Sharpness => "sharpness alone predicts",
        Trait::Colour => "the strength of colours alone predicts",
    };
    format!(
        "{by} the class of {:.1} % of the images ({}, n = {}; always naming the largest class is right for {:.1} %): a network may \
         learn that instead of what the photos show",
        shortcut.accuracy.mean * 100.0,
        interval(shortcut.accuracy.interval),
        grouped(shortcut.accuracy.n),
        shortcut.majority * 100.0
    )
}

/// Sizes, formats and light in one line.
pub fn sizes(health: &HealthCard) -> String {
    let mut parts = Vec::new();
    if let (Some(width), Some(height)) = (health.width, health.height) {
        parts.push(format!(
            "{:.0}x{:.0} in the middle, {:.0}x{:.0} at most",
            width.median, height.median, width.most, height.most
        ));
    }
    parts.extend(health.formats.iter().map(|(format, count)| format!("{} {format}", grouped(*count))));
    parts.join(", ")
}

/// Questions without an answer, with the reasons; those with one reason share a line.
pub fn unanswered(found: &Inspection) -> Vec<String> {
    let mut lines: Vec<(Vec<String>, &str)> = Vec::new();
    for unanswered in &found.unanswered {
        let question = unanswered.question.replace('_', " ");
        match lines.iter_mut().find(|(_, reason)| *reason == unanswered.reason) {
            Some((questions, _)) => questions.push(question),
            None => lines.push((vec![question], &unanswered.reason)),
        }
    }
    lines.into_iter().map(|(questions, reason)| format!("{}: {reason}", questions.join(", "))).collect()
}

/// The most important findings, each in one line.
pub fn short(found: &Inspection) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(found.drift.as_ref().map(drift));
    lines.extend(found.probe.as_ref().map(probe));
    lines.extend(leaks(&found.leaks));
    lines.extend(labels(&found.labels, found.images));
    lines.extend(health(&found.health));
    lines.extend(found.more_photos.as_ref().map(more));
    lines
}

#[cfg(test)]
mod tests {
    use injerto_insight::stats::Estimate;
    use injerto_insight::unknown;

    use super::*;

    fn leak_of(across: Across) -> LeakFound {
        LeakFound { a: "a.jpg".into(), b: "b.jpg".into(), kind: Kind::Near, similarity: 0.99, across, mirrored: true }
    }

    #[test]
    fn copies_are_counted_by_what_they_stand_on_two_sides_of() {
        assert_eq!(leaks(&[]), None);
        let one = leaks(&[leak_of(Across::Class)]).expect("a sentence");
        assert_eq!(one, "1 pair of photos is one picture: 1 under two classes");
        let three = [Across::Split, Across::None, Across::None].map(leak_of);
        let text = leaks(&three).expect("a sentence");
        assert!(text.starts_with("3 pairs of photos are one picture: 1 with one in training"), "{text}");
        assert_eq!(leak(&three[0]), "one picture, mirrored, one trains, the other validates (similarity 0.990)");
    }

    #[test]
    fn drift_is_said_by_its_interval_and_not_by_its_share() {
        let of = |unknown: usize, n: usize| {
            let unknown = Estimate::share(unknown, n);
            let drifted = unknown.interval[0] > 0.05;
            let found = unknown::Drift { unknown, expected: 0.05, farther: 0.5, drifted };
            drift(&Drift { drift: found, known: 100, trained: 0, strangers: Vec::new() })
        };
        assert!(of(2, 20).contains("10.0 %") && of(2, 20).ends_with("they are like those of training"));
        assert!(of(200, 1000).contains("they differ from those of training"));
        assert!(of(990, 1000).contains("is not to be trusted here"));
    }
}
