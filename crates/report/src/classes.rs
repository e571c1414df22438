//! The classes of a run: their figures with intervals, the confusion matrix, and photos of both.

use std::collections::BTreeMap;

use injerto_experiment::Summary;
use injerto_insight::stats::{LEVEL, wilson};
use maud::{Markup, html};
use serde_json::Value;

use crate::album::Album;
use crate::judged::Judged;
use crate::page::{NONE, bar, cell, table};
use crate::run::Run;
use crate::wall::photo;
use crate::words::{counted, estimate, grouped};

/// With more classes than this, the table of classes is folded and shows no photos, and the most frequent confusions replace the matrix.
pub const CLASSES: usize = 30;
/// Upper limit of the confusions that the page names.
const CONFUSIONS: usize = 20;
/// Most photos that a cell of the matrix opens: of errors, and of images that were predicted right.
const PER_CELL: [usize; 2] = [6, 3];
/// Most photos that all cells open together.
const OPENED: usize = 120;

/// The photos of classes and of the cells of the confusion matrix; empty with many classes.
#[derive(Debug, Default)]
pub struct Examples {
    /// For each class, the surest of its images that were predicted right and wrong.
    of_class: Vec<[Option<usize>; 2]>,
    /// Images by label and predicted class: the most confident errors, and those right answers that were least sure.
    of_cell: BTreeMap<(usize, usize), Vec<usize>>,
}

impl Examples {
    /// Chooses among the validation images of a run.
    pub fn new(judged: &Judged) -> Self {
        let classes = judged.classes.len();
        if classes > CLASSES {
            return Self::default();
        }
        let surest = judged.ranked(|_| true, |row| judged.confidence(row));
        let of = |class: usize, right: bool| {
            surest.iter().copied().find(|&row| judged.label(row) == class && judged.is_right(row) == right)
        };
        let of_class = (0..classes).map(|class| [of(class, true), of(class, false)]).collect();
        let mut all: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for row in judged.ranked(|_| true, |row| judged.confidence(row) * if judged.is_right(row) { -1.0 } else { 1.0 })
        {
            all.entry((judged.label(row), judged.predicted[row])).or_default().push(row);
        }
        // Errors come first, and among them the frequent ones.
        let mut cells: Vec<((usize, usize), Vec<usize>)> = all.into_iter().collect();
        cells.sort_by_key(|((label, predicted), rows)| (label == predicted, std::cmp::Reverse(rows.len())));
        let mut room = OPENED;
        let mut of_cell = BTreeMap::new();
        for ((label, predicted), mut rows) in cells {
            rows.truncate(PER_CELL[usize::from(label == predicted)].min(room));
            room -= rows.len();
            if !rows.is_empty() {
                of_cell.insert((label, predicted), rows);
            }
        }
        Self { of_class, of_cell }
    }

    /// The images that are shown, those first that are needed most.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        let of_class = self.of_class.iter().flatten().flatten();
        of_class.chain(self.of_cell.values().flatten()).copied()
    }
}

/// The figures of each class, those of all together, and the confusions, as far as the run has them.
pub fn classes(run: &Run, examples: &Examples, album: &Album) -> Markup {
    let Some(summary) = &run.summary else { return html! {} };
    let Some(per_class) = run.metrics["per_class"].as_array() else {
        return html! { p { (summary.classes.join(", ")) } };
    };
    let of_classes = class_table(run, summary, per_class, examples, album);
    let whole = run.metrics.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let count = value.as_u64().map(|count| grouped(count as usize));
        Some(vec![cell(metric(name)), cell(count.or_else(|| Some(format!("{:.4}", value.as_f64()?)))?)])
    });
    let whole: Vec<Vec<Markup>> = whole.collect();
    html! {
        (confusion(run, &summary.classes, examples, album))
        h3 { "Each class" }
        p class="muted" { "Recall is the share of a class's images that were found; the line on its bar is the 95 % interval." }
        @if summary.classes.len() > CLASSES {
            details { summary { (grouped(summary.classes.len())) " classes" } (of_classes) }
        } @else {
            (of_classes)
        }
        @if !whole.is_empty() { h3 { "All classes together" } (table(&["metric", "#value"], &whole)) }
    }
}

/// A table with one row per class.
fn class_table(run: &Run, summary: &Summary, per_class: &[Value], examples: &Examples, album: &Album) -> Markup {
    let number = |value: &Value| cell(value.as_f64().map_or(NONE.to_owned(), |value| format!("{value:.3}")));
    let mut headings = vec!["class", "recall", "#precision", "#F1"];
    if !examples.of_class.is_empty() {
        headings.extend(["surest right", "surest wrong"]);
    }
    let rows = summary.classes.iter().enumerate().map(|(place, class)| {
        let named = per_class.iter().find(|row| row["class"] == **class);
        let own = named.or_else(|| per_class.get(place)).unwrap_or(&Value::Null);
        let mut row = vec![cell(class), recall(own), number(&own["precision"]), number(&own["f1"])];
        for found in examples.of_class.get(place).into_iter().flatten() {
            row.push(match (found, &run.judged) {
                (Some(image), Some(judged)) => photo(judged, album, *image),
                _ => cell("none"),
            });
        }
        row
    });
    table(&headings, &rows.collect::<Vec<_>>())
}

/// The recall of a class as a bar and as a number, with its interval.
fn recall(own: &Value) -> Markup {
    let (Some(recall), Some(support)) = (own["recall"].as_f64(), own["support"].as_u64()) else { return cell(NONE) };
    let support = support as usize;
    let interval = wilson(recall.clamp(0.0, 1.0), support, LEVEL);
    html! { (bar(recall, Some(interval))) (estimate(recall, Some(interval), support)) }
}

/// Name of a metric in plain words.
fn metric(name: &str) -> String {
    match name {
        "accuracy" => "accuracy".to_owned(),
        "macro_f1" => "F1, the mean over the classes that occur".to_owned(),
        "roc_auc" => "area under the ROC curve".to_owned(),
        "ece" => "expected calibration error".to_owned(),
        other => match other.strip_prefix("top_") {
            Some(count) => format!("right class among the {count} most probable"),
            None => other.replace('_', " "),
        },
    }
}

/// The confusion matrix. Rows are true classes, columns are predicted classes; the shade is the share of the row.
fn confusion(run: &Run, classes: &[String], examples: &Examples, album: &Album) -> Markup {
    let matrix = &run.metrics["confusion"];
    let Some(rows) = matrix.as_array().filter(|rows| rows.len() == classes.len()) else { return html! {} };
    if classes.len() > CLASSES {
        return worst_confusions(classes, rows);
    }
    let counts = |row: &Value| -> Vec<u64> {
        row.as_array().into_iter().flatten().map(|count| count.as_u64().unwrap_or(0)).take(classes.len()).collect()
    };
    let share = |count: u64, of: &[u64]| count as f64 / of.iter().sum::<u64>().max(1) as f64;
    // The shade stays weak enough that the number on it can be read on light and on dark paper.
    let shade =
        |share: f64| format!("background:color-mix(in srgb, var(--training) {:.0}%, var(--band))", share * 60.0);
    let opens = !examples.of_cell.is_empty();
    html! {
        h3 id="matrix" { "Confusion matrix" }
        p class="muted" {
            "Rows are the true classes of the validation images, columns their predicted classes. The shade is the share of the row."
            @if opens { " A number opens photos of its images." }
        }
        div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix" {
            table class="matrix" {
                thead { tr { td {} @for class in classes { th class="top" scope="col" { (class) } } } }
                tbody {
                    @for (is, (class, row)) in classes.iter().zip(rows).enumerate() {
                        @let row = counts(row);
                        tr {
                            th scope="row" { (class) }
                            @for (said, &count) in row.iter().enumerate() {
                                @let share = share(count, &row);
                                td style=(shade(share)) title={ (class) " → " (classes[said]) ": " (format!("{:.1} %", share * 100.0)) } {
                                    @if examples.of_cell.contains_key(&(is, said)) {
                                        a href={ "#cell-" (is) "-" (said) } { (count) }
                                    } @else {
                                        (count)
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if let Some(judged) = &run.judged {
            @for ((is, said), rows) in &examples.of_cell {
                @let all = rows_of(matrix, *is, *said).max(rows.len());
                div class="opened" id={ "cell-" (is) "-" (said) } tabindex="-1" {
                    h4 { (heading(classes, *is, *said)) ": " (rows.len()) " of " (counted(all, "image")) }
                    div class="wall" { @for &row in rows { (photo(judged, album, row)) } }
                    p { a href="#matrix" { "close" } }
                }
            }
        }
    }
}

fn rows_of(matrix: &Value, is: usize, said: usize) -> usize {
    matrix[is][said].as_u64().unwrap_or(0) as usize
}

fn heading(classes: &[String], is: usize, said: usize) -> String {
    match is == said {
        true => format!("{}, predicted right, the least sure first", classes[is]),
        false => format!("{} → {}, the most confident first", classes[is], classes[said]),
    }
}

/// The most frequent confusions: pairs of a true and a predicted class.
fn worst_confusions(classes: &[String], rows: &[Value]) -> Markup {
    let mut pairs: Vec<(u64, &str, &str)> = Vec::new();
    for (is, row) in classes.iter().zip(rows) {
        for (taken_for, count) in classes.iter().zip(row.as_array().into_iter().flatten()) {
            let count = count.as_u64().unwrap_or(0);
            if is != taken_for && count > 0 {
                pairs.push((count, is, taken_for));
            }
        }
    }
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.0));
    let row =
        |&(count, is, taken_for): &(u64, &str, &str)| vec![cell(is), cell(taken_for), cell(grouped(count as usize))];
    let rows: Vec<_> = pairs.iter().take(CONFUSIONS).map(row).collect();
    html! {
        h3 { "Most often confused" }
        @if rows.is_empty() { p { "The predicted class of every validation image is right." } }
        (table(&["true class", "predicted class", "#images"], &rows))
    }
}
