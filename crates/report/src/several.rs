//! The validation images of a run whose images may have several classes: mistakes, figures and curves class by class.

use injerto_insight::stats::{LEVEL, count_of, wilson};
use injerto_trainer::metrics::{ClassFigures, MultiLabelReport};
use maud::{Markup, html};

use crate::album::Album;
use crate::classes::CLASSES as FOLDED;
use crate::page::{NONE, bar, cell, facts, figures, table};
use crate::plane::{Plane, Trace, scene};
use crate::ranking::thinned;
use crate::scene::Ink;
use crate::tagged::Tagged;
use crate::wall::{figure, panel};
use crate::words::{counted, estimate, grouped};

/// Most classes whose mistakes are shown.
const CLASSES: usize = 8;
/// Most photos of each kind of mistake of a class.
const PHOTOS: usize = 10;
/// Most classes whose curves are drawn.
const CURVES: usize = 5;

/// The mistakes of a class.
#[derive(Debug)]
struct Mistakes {
    class: usize,
    /// Images that are said to have it and have it not, the most confident first.
    wrong: Vec<(usize, f32)>,
    /// Images that have it and are not said to, the least probable first.
    missed: Vec<(usize, f32)>,
}

impl Tagged {
    /// The mistakes of the classes with the most of them.
    fn mistakes(&self, report: &MultiLabelReport) -> Vec<Mistakes> {
        let of = |(class, figures): (usize, &ClassFigures)| {
            let (mut wrong, mut missed) = (Vec::new(), Vec::new());
            for (row, (probabilities, truth)) in self.predictions.rows().enumerate() {
                match (probabilities[class] >= figures.threshold, truth[class]) {
                    (true, false) => wrong.push((row, probabilities[class])),
                    (false, true) => missed.push((row, probabilities[class])),
                    _ => {}
                }
            }
            wrong.sort_by(|a, b| b.1.total_cmp(&a.1));
            missed.sort_by(|a, b| a.1.total_cmp(&b.1));
            Mistakes { class, wrong, missed }
        };
        let mut all: Vec<Mistakes> = report.per_class.iter().enumerate().map(of).collect();
        all.retain(|it| !it.wrong.is_empty() || !it.missed.is_empty());
        all.sort_by_key(|it| std::cmp::Reverse(it.wrong.len() + it.missed.len()));
        all.truncate(CLASSES);
        all
    }

    /// The images that the wall shows, those first that are needed most.
    pub fn rows(&self, report: &MultiLabelReport) -> Vec<usize> {
        let photos = |it: Mistakes| {
            let shown = |rows: Vec<(usize, f32)>| rows.into_iter().take(PHOTOS).map(|(row, _)| row);
            shown(it.wrong).chain(shown(it.missed)).collect::<Vec<_>>()
        };
        self.mistakes(report).into_iter().flat_map(photos).collect()
    }

    /// The mistakes, class by class.
    pub fn wall(&self, report: &MultiLabelReport, album: &Album) -> Markup {
        let mistakes = self.mistakes(report);
        let wrong = report.images - count_of(report.exact_match, report.images);
        let photos = |rows: &[(usize, f32)], heading: String| {
            html! {
                @if !rows.is_empty() {
                    h4 { (heading) }
                    div class="wall" {
                        @for &(row, probability) in rows.iter().take(PHOTOS) {
                            @let own = if self.labels[row].is_empty() { "nothing" } else { &self.labels[row] };
                            (figure(album, &self.paths[row], own, Some(probability.into())))
                        }
                    }
                    @if rows.len() > PHOTOS { p class="muted" { "and " (grouped(rows.len() - PHOTOS)) " more, all in predictions.csv" } }
                }
            }
        };
        html! {
            p {
                @if wrong == 0 { "The best epoch is right about every class of all " (grouped(report.images)) " validation images." }
                @else {
                    b { "On " (grouped(wrong)) " of " (grouped(report.images)) " validation images a class is wrong." }
                    " Below each photo stand the classes that it is labelled with, and the probability of the class in question. A click on a "
                    "name selects it."
                }
            }
            @if let Some(gone) = album.gone() { p class="fair" { (gone) } }
            div class="tabs" aria-label="Classes with mistakes" {
                @for it in &mistakes {
                    @let class = &report.per_class[it.class].class;
                    (panel(&format!("class-{}", it.class), class, &html! {
                        (photos(&it.wrong, format!("Said to be {class}, and not labelled so: {}", counted(it.wrong.len(), "image"))))
                        (photos(&it.missed, format!("Labelled {class}, and not said to be: {}", counted(it.missed.len(), "image"))))
                    }))
                }
            }
        }
    }

    /// The curves of precision over recall. With many classes, those are drawn whose average precision is worst.
    pub fn curves(&self, report: &MultiLabelReport) -> Markup {
        let mut found: Vec<(f64, &ClassFigures, usize)> = (0..)
            .zip(&report.per_class)
            .filter_map(|(class, figures)| Some((figures.average_precision?, figures, class)))
            .collect();
        if found.is_empty() {
            return html! {};
        }
        let all = found.len();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.truncate(CURVES);
        let trace = |(place, (average, figures, class)): (usize, &(f64, &ClassFigures, usize))| {
            let name = crate::font::fitted(&figures.class, crate::chart::SMALL, 150.0);
            let points: Vec<(f64, f64)> = self.predictions.scores(*class).curve().into_iter().map(Into::into).collect();
            Trace::line(&format!("{name} {average:.4}"), Ink::Run(place), false, thinned(&points))
        };
        let base = Trace::line("", Ink::Muted, true, [(0.0, 0.0), (1.0, 0.0)]);
        let plane = Plane {
            title: "Share of the accepted images that have the class".to_owned(),
            across: "share of the images with the class that is found (precision and recall)".to_owned(),
            counts: false,
            traces: [base].into_iter().chain(found.iter().enumerate().map(trace)).collect(),
            mark: None,
        };
        html! {
            p class="muted" {
                "Each class on " (grouped(report.images)) " validation images, which also chose the epoch and the thresholds. The numbers are the "
                "average precision."
                @if all > CURVES { " Of " (grouped(all)) " classes the " (CURVES) " with the smallest are drawn." }
            }
            (figures(&[scene(&plane, "Precision over recall")]))
        }
    }
}

/// The figures of each class, and those of all together.
pub fn classes(report: &MultiLabelReport) -> Markup {
    let row = |class: &ClassFigures| {
        let average = class.average_precision;
        let [[rest, wrong], [missed, right]] = class.confusion;
        let limits = wilson(class.recall.clamp(0.0, 1.0), class.support, LEVEL);
        vec![
            cell(&class.class),
            cell(grouped(class.support)),
            average.map_or_else(|| cell(NONE), |value| html! { (bar(value, None)) (format!("{value:.3}")) }),
            cell(estimate(class.recall, Some(limits), class.support)),
            cell(format!("{:.3}", class.precision)),
            cell(format!("{:.3}", class.f1)),
            cell(format!("{:.3}", class.threshold)),
            cell(grouped(right)),
            cell(grouped(wrong)),
            cell(grouped(missed)),
            cell(grouped(rest)),
        ]
    };
    let rows: Vec<_> = report.per_class.iter().map(row).collect();
    let headings = [
        "class",
        "#images",
        "average precision",
        "recall",
        "#precision",
        "#F1",
        "#threshold",
        "#rightly said",
        "#wrongly said",
        "#missed",
        "#rightly not said",
    ];
    let whole = table(&headings, &rows);
    let number = |value: f64| format!("{value:.4}");
    let together = [
        ("mean average precision", report.mean_average_precision.map_or(NONE.to_owned(), number)),
        ("F1, the mean over the classes, by their thresholds", number(report.macro_mean.f1)),
        ("F1, the mean over the classes, with one half as the threshold", number(report.macro_f1_at_half)),
        ("F1 of all decisions together", number(report.micro.f1)),
        ("share of right decisions, with one half as the threshold", number(report.binary_accuracy)),
        ("share of the images all of whose classes are right", number(report.exact_match)),
    ];
    html! {
        p class="muted" {
            "An image may have several classes, so each class is a decision of its own. Its threshold is the one with the best F1 on these "
            (grouped(report.images)) " validation images, so that precision, recall and F1 are a little too good; average precision needs no threshold."
        }
        @if rows.len() > FOLDED {
            details { summary { (grouped(rows.len())) " classes" } (whole) }
        } @else {
            (whole)
        }
        h3 { "All classes together" }
        (facts(Some("number"), &together))
    }
}
