//! The images of a run: samples of each class, how many there are, and copies among them.

use injerto_experiment::{LeakCounts, Summary};
use maud::{Markup, html};

use crate::album::Album;
use crate::judged::{Pair, Placed};
use crate::page::{bar, cell, facts, table};
use crate::run::Run;
use crate::wall::figure;
use crate::words::grouped;

/// Most classes of which samples are shown.
const CLASSES: usize = 8;
/// Samples per class.
const SAMPLES: usize = 5;
/// Most pairs of copies that are shown.
const PAIRS: usize = 12;
/// With more classes than this, the table of their images is folded.
const FOLDED: usize = 12;

/// The photos of the section.
#[derive(Debug)]
pub struct Samples<'r> {
    /// Training images of each class.
    classes: Vec<(&'r str, Vec<&'r Placed>)>,
    pairs: &'r [Pair],
}

impl<'r> Samples<'r> {
    /// Chooses among the images of a run: training images of the first classes, evenly spaced, and the worst pairs of copies.
    pub fn new(run: &'r Run) -> Self {
        let mut classes: Vec<(&str, Vec<&Placed>)> = Vec::new();
        for placed in run.placed.iter().filter(|placed| placed.side == "train") {
            match classes.iter().position(|(class, _)| *class == placed.class) {
                Some(at) => classes[at].1.push(placed),
                None if classes.len() < CLASSES => classes.push((&placed.class, vec![placed])),
                None => {}
            }
        }
        for (_, images) in &mut classes {
            let all = std::mem::take(images);
            let count = all.len().min(SAMPLES);
            images.extend((0..count).map(|at| all[at * all.len() / count]));
        }
        Self { classes, pairs: &run.pairs[..run.pairs.len().min(PAIRS)] }
    }

    /// The paths of the photos that are shown.
    pub fn paths(&self) -> impl Iterator<Item = &'r str> {
        let pairs = self.pairs.iter().flat_map(|pair| &pair.photos);
        pairs
            .chain(self.classes.iter().flat_map(|(_, images)| images.iter().copied()))
            .map(|placed| placed.path.as_str())
    }

    /// The section.
    pub fn show(&self, run: &Run, album: Option<&Album>) -> Markup {
        html! {
            @if let Some(album) = album {
                @for (class, images) in &self.classes {
                    h3 { (class) }
                    div class="samples" { @for image in images { (album.picture(&image.path, &format!("a training image of {class}"))) } }
                }
            }
            @if let Some(summary) = &run.summary {
                (balance(summary))
                (copies(summary))
            }
            @if let Some(album) = album {
                div class="pairs" { @for pair in self.pairs { (copy(pair, album)) } }
                @if run.pairs.len() > PAIRS { p class="muted" { "and " (grouped(run.pairs.len() - PAIRS)) " more, all in leaks.csv" } }
            }
        }
    }
}

/// How many images each class has.
fn balance(summary: &Summary) -> Markup {
    let Some(images) = &summary.images else { return html! {} };
    let most = images.train.iter().copied().max().unwrap_or(0).max(1) as f64;
    let sides = [
        ("#training images", &images.train),
        ("#validation images", &images.validation),
        ("#test images", &images.test),
    ];
    let sides: Vec<_> = sides.into_iter().filter(|(_, counts)| !counts.is_empty()).collect();
    let row = |(place, class): (usize, &String)| {
        let count = |counts: &[usize]| counts.get(place).copied().unwrap_or(0);
        let share = count(&images.train) as f64 / most;
        let counts = sides.iter().map(|(_, counts)| cell(grouped(count(counts))));
        [cell(class)].into_iter().chain(counts).chain([bar(share, None)]).collect()
    };
    let rows: Vec<Vec<Markup>> = summary.classes.iter().enumerate().map(row).collect();
    let headings: Vec<&str> =
        ["class"].into_iter().chain(sides.iter().map(|(name, _)| *name)).chain(["training"]).collect();
    let whole = table(&headings, &rows);
    html! {
        h3 { "How many" }
        @if rows.len() > FOLDED { details { summary { (grouped(rows.len())) " classes" } (whole) } } @else { (whole) }
    }
}

/// How many photos are there more than once.
fn copies(summary: &Summary) -> Markup {
    let Some(LeakCounts { across_split, across_class, none, moved }) = summary.leaks else { return html! {} };
    let rows = [
        (
            if moved > 0 { "pairs that were on two sides of the split" } else { "pairs on two sides of the split" },
            across_split,
        ),
        ("pairs under two classes", across_class),
        ("pairs on one side and under one class", none),
        ("photos that were moved to another side before training", moved),
    ];
    let rows: Vec<(&str, String)> =
        rows.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| (what, grouped(count))).collect();
    html! {
        h3 { "Copies of photos" }
        @if rows.is_empty() { p { "No photo was found to be there twice." } }
        @else { p class="muted" { "Each pair is named in leaks.csv." } }
        (facts(Some("number"), &rows))
    }
}

/// Two photos that show one picture.
fn copy(pair: &Pair, album: &Album) -> Markup {
    let what = match (pair.exact, pair.across.as_str()) {
        (true, "split") => "the same file on two sides of the split",
        (true, "class") => "the same file under two classes",
        (true, _) => "the same file twice",
        (false, "split") => "one picture on two sides of the split",
        (false, "class") => "one picture under two classes",
        (false, _) => "one picture twice",
    };
    html! {
        div class="copy" {
            b { (what) }
            @if !pair.exact { " " span class="muted" { "(similarity " (format!("{:.3}", pair.similarity)) ")" } }
            div class="pair" {
                @for photo in &pair.photos { (figure(album, &photo.path, &format!("{}, {}", photo.class, photo.side), None)) }
            }
        }
    }
}
