//! The photos that the best epoch got wrong, those of which it was least sure, and those whose labels look wrong.

use std::collections::BTreeMap;

use injerto_experiment::Similar;
use injerto_files::printable;
use injerto_insight::labels::{Suspect, suspects};
use maud::{Markup, html};

use crate::album::Album;
use crate::judged::Judged;
use crate::looks::Looks;
use crate::words::{counted, grouped};

/// Most photos of a list.
const MOST: usize = 24;
/// Most pairs of classes whose confusions are shown.
const PAIRS: usize = 6;
/// Most photos per pair.
const PER_PAIR: usize = 8;
/// Most photos of which the network was least sure.
const UNSURE: usize = 16;

/// A choice of the photos that a reader wants to see first.
pub struct Wall<'j> {
    judged: &'j Judged,
    /// Number of images whose predicted class is not their label.
    wrong: usize,
    /// These images, the most confident first.
    worst: Vec<usize>,
    /// The most frequent pairs of a label and a wrong class: number of images, and the most confident of them.
    pairs: Vec<(usize, Vec<usize>)>,
    unsure: Vec<usize>,
    suspects: Vec<Suspect>,
}

impl<'j> Wall<'j> {
    /// Chooses among the validation images of a run.
    pub fn new(judged: &'j Judged) -> Self {
        let wrong = judged.ranked(|row| !judged.is_right(row), |row| judged.confidence(row));
        let mut pairs: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for &row in &wrong {
            pairs.entry((judged.label(row), judged.predicted[row])).or_default().push(row);
        }
        let mut pairs: Vec<(usize, Vec<usize>)> = pairs.into_values().map(|rows| (rows.len(), rows)).collect();
        pairs.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        pairs.truncate(PAIRS);
        pairs.iter_mut().for_each(|(_, rows)| rows.truncate(PER_PAIR));
        let mut unsure = judged.ranked(|_| true, |row| -judged.margin(row));
        unsure.truncate(UNSURE);
        // No network was trained on the validation images, so their probabilities are evidence about their labels.
        let suspects = suspects(&judged.predictions).unwrap_or_default();
        Self { judged, wrong: wrong.len(), worst: wrong.into_iter().take(MOST).collect(), pairs, unsure, suspects }
    }

    /// The images that the wall shows, those first that are needed most.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        let pairs = self.pairs.iter().flat_map(|(_, rows)| rows.iter().copied());
        let suspects = self.suspects.iter().take(MOST).map(|suspect| suspect.row);
        self.worst.iter().copied().chain(pairs).chain(suspects).chain(self.unsure.iter().copied())
    }

    /// The wall. Without a script its lists stand one below the other.
    pub fn show(&self, album: &Album, looks: &Looks) -> Markup {
        let images = grouped(self.judged.paths.len());
        let picture = |&row: &usize| photo(self.judged, album, row);
        html! {
            p {
                @match self.wrong {
                    0 => { "The best epoch is right on all " (images) " validation images." },
                    wrong => {
                        b { (grouped(wrong)) " of " (images) " validation images are wrong." }
                        " The label is before the arrow, and after it the class that was predicted, with its probability. A click on a name "
                        "selects it."
                    },
                }
            }
            @if let Some(gone) = album.gone() { p class="fair" { (gone) } }
            @if let Some(method) = &looks.method {
                p class="muted" {
                    (method) ". It lies over a photo that the pointer or the focus is on, and, on paper, beside it. "
                    label { input type="checkbox" id="all-maps"; " over all photos" }
                }
            }
            div class="tabs" aria-label="Lists of photos" {
                @if !self.worst.is_empty() {
                    (panel("worst", "Most confident errors", &html! {
                        div class="wall" { @for row in &self.worst { (picture(row)) } }
                        @if self.wrong > MOST { p class="muted" { "and " (grouped(self.wrong - MOST)) " more, all in predictions.csv" } }
                    }))
                    (panel("pairs", "By confused pair", &html! {
                        @for (count, rows) in &self.pairs {
                            h4 { (title(self.judged, rows[0])) ": " (counted(*count, "image")) }
                            div class="wall" { @for row in rows { (picture(row)) } }
                        }
                    }))
                }
                @if !looks.nearest.is_empty() {
                    (panel("nearest", "Training photos that resemble them", &html! {
                        p class="muted" {
                            "The most confident errors, each with the training photos whose features are most similar (cosine). A neighbour of "
                            "the wrong class may have a wrong label itself, or show why the network was misled."
                        }
                        @for (path, similar) in &looks.nearest { (self.resembled(path, similar, album)) }
                    }))
                }
                (panel("unsure", "Least sure", &html! {
                    p class="muted" { "The two most probable classes are nearly equally probable. A label for more photos like these helps most." }
                    div class="wall" { @for row in &self.unsure { (picture(row)) } }
                }))
                @if !self.suspects.is_empty() {
                    (panel("suspects", "Labels that look wrong", &html! {
                        p class="muted" {
                            (grouped(self.suspects.len())) " of " (images)
                            " labels, by confident learning on the probabilities of a network that did not train on these images. Look at them "
                            "before you believe it: a network that is wrong and sure looks the same."
                        }
                        div class="wall" { @for suspect in self.suspects.iter().take(MOST) { (self.suspect(suspect, album)) } }
                        @if self.suspects.len() > MOST { p class="muted" { "and " (grouped(self.suspects.len() - MOST)) " more" } }
                    }))
                }
            }
        }
    }

    /// A photo with the training photos that resemble it.
    fn resembled(&self, path: &str, similar: &[Similar], album: &Album) -> Markup {
        let row = self.judged.paths.iter().position(|own| own == path);
        html! {
            div class="resembled" {
                @if let Some(row) = row { (photo(self.judged, album, row)) }
                div class="near" {
                    @for Similar { path, label, similarity } in similar {
                        figure {
                            (album.picture(path, &format!("a training image of {}", printable(label))))
                            figcaption { b { (printable(label)) } " " span class="share" { (format!("{similarity:.3}")) } br; code { (printable(path)) } }
                        }
                    }
                }
            }
        }
    }

    fn suspect(&self, suspect: &Suspect, album: &Album) -> Markup {
        let name = |class: u32| &self.judged.classes[class as usize];
        let title = format!("{}, or rather {}?", name(suspect.label), name(suspect.suggested));
        figure(album, &self.judged.paths[suspect.row], &title, Some(suspect.confidence))
    }
}

/// A list of the wall, which a script makes a tab.
pub(crate) fn panel(id: &str, heading: &str, body: &Markup) -> Markup {
    html! { div class="panel" id=(id) { h3 { (heading) } (body) } }
}

/// `cats → dogs`, or the class alone where it was predicted right.
fn title(judged: &Judged, row: usize) -> String {
    let (label, predicted) = (&judged.classes[judged.label(row)], &judged.classes[judged.predicted[row]]);
    if judged.is_right(row) { label.clone() } else { format!("{label} → {predicted}") }
}

/// A judged photo: its picture, label and predicted class, probability and path.
pub fn photo(judged: &Judged, album: &Album, row: usize) -> Markup {
    figure(album, &judged.paths[row], &title(judged, row), Some(judged.confidence(row)))
}

/// A photo with a title, a probability and its path.
pub fn figure(album: &Album, path: &str, title: &str, probability: Option<f64>) -> Markup {
    html! {
        figure {
            (album.picture(path, title))
            figcaption {
                b { (title) }
                @if let Some(probability) = probability { " " span class="share" { (percent(probability)) } }
                br;
                code { (path) }
            }
        }
    }
}

/// A probability as a percentage; a probability that is not 1 is not called 100 %.
fn percent(probability: f64) -> String {
    let percent = probability * 100.0;
    match percent {
        99.95..100.0 => "> 99.9 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}
