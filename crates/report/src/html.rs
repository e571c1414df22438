//! The page `report.html`.

use injerto_config::{Config, Images};
use injerto_experiment::gain::Gain;
use injerto_experiment::{LeakCounts, PhaseSummary, Summary, Trust};
use injerto_files::shown;
use injerto_trainer::PhasePlan;
use injerto_trainer::history::EpochRecord;
use maud::{Markup, html};
use serde_json::Value;

use crate::curves::{gain_figure, run_figure};
use crate::decisions::decisions;
use crate::page::{NONE, cell, facts, figures, page, section, table, tile};
use crate::plan as words;
use crate::run::{Run, Stretch};
use crate::verdict::{State, Verdict, verdict};
use crate::words::{counted, duration, grouped, interval};

/// Upper limit of the left-out files that the page names.
const SKIPPED: usize = 200;
/// With more classes than this, the table of classes is folded, and the most frequent confusions replace the matrix.
const CLASSES: usize = 30;
/// Upper limit of the confusions that the page names.
const CONFUSIONS: usize = 20;

/// The page of a run, as HTML.
pub fn report(run: &Run) -> String {
    let summary = run.summary.as_ref();
    let verdict = verdict(&run.history, run.best.epoch, &run.guessing());
    let body = html! {
        (header(run, &verdict))
        (section("Learning curves", &figures(&run_figure(run).each())))
        (section("What the curves say", &advice(&verdict)))
        (section("Phases", &phases(run)))
        (section("Classes", &classes(run)))
        @if let Some(summary) = summary {
            (section("How far the figures can be trusted", &trusted(summary)))
            (section("Copies of photos", &copies(summary)))
        }
        @if let Some(calibration) = &run.calibration {
            (section("What can be left to the model", &decisions(calibration)))
        }
        @if let Some(gain) = summary.and_then(|summary| summary.transfer_gain.as_ref()) {
            (section("What transfer gained", &transfer(gain)))
        }
        (section("Plan", &html! { (plan(run)) (plans(run)) }))
        @if let Some(summary) = summary {
            (section("Where the time went", &time(summary)))
            (section("Files left out", &skipped(summary)))
        }
        (section("Environment", &environment(&run.environment)))
        @if let Some(toml) = &run.experiment { (section("Experiment", &experiment(toml))) }
    };
    page(&format!("{} – report", run.name), &body)
}

fn experiment(toml: &str) -> Markup {
    html! {
        p class="muted" { "Every key, defaults included. Saved as a file, it runs the same experiment again." }
        pre { (toml) }
    }
}

fn header(run: &Run, verdict: &Verdict) -> Markup {
    let mut facts = Vec::new();
    if let Some(summary) = &run.summary {
        facts.push(format!("seed {}", summary.seed));
        facts.push(format!("device {}", summary.device));
    }
    facts.extend(run.environment["started"].as_str().map(|time| {
        let minute = time.get(..16).unwrap_or(time).replace('T', " ");
        format!("begun {minute} UTC")
    }));
    let unfinished = match &run.summary {
        Some(summary) => summary.interrupted.then_some("stopped before its end"),
        None => Some("not finished"),
    };
    html! {
        h1 {
            (run.name) " "
            @if let Some(words) = unfinished { span class="chip fair" { (words) } " " }
            (chip(verdict))
        }
        p class="muted" { (facts.join(", ")) }
        div class="tiles" { (tiles(run)) }
    }
}

fn tiles(run: &Run) -> Markup {
    let epochs = run.history.len();
    html! {
        @if let Some(value) = run.best.value {
            @let trust = run.summary.as_ref().and_then(|summary| Some((summary.best.interval, summary.best.n?)));
            @let trust = trust.map_or(String::new(), |(limits, n)| format!(" ({})", interval(limits, n)));
            (tile(&format!("{value:.4}"), &format!("best {}, epoch {}{trust}", run.best.monitor, run.best.epoch)))
        }
        @if let Some(test) = run.summary.as_ref().and_then(|summary| summary.test.as_ref()) {
            @let trust = interval(Some(test.interval), test.n);
            (tile(&format!("{:.4}", test.accuracy), &format!("test accuracy ({trust})")))
        }
        @if let Some(probe) = run.summary.as_ref().and_then(|summary| summary.probe.as_ref()) {
            @let trust = interval(Some(probe.interval), probe.n);
            (tile(&format!("{:.4}", probe.accuracy), &format!("probe before the first epoch ({trust})")))
        }
        (tile(&epochs.to_string(), if epochs == 1 { "epoch" } else { "epochs" }))
        @if let Some(summary) = &run.summary {
            @if let Some(images) = &summary.images {
                (tile(&grouped(images.train.iter().sum()), "training images"))
                (tile(&grouped(images.validation.iter().sum()), "validation images"))
                @if !images.test.is_empty() { (tile(&grouped(images.test.iter().sum()), "test images")) }
            }
            @if let Some(phase) = summary.phases.iter().rfind(|phase| phase.epochs > 0) {
                (tile(&grouped(phase.trainable_params), "trainable parameters"))
            }
            (tile(&duration(summary.seconds.total), "in total"))
        }
    }
}

fn chip(verdict: &Verdict) -> Markup {
    let class = match verdict.state {
        State::Converged => "good",
        State::Improving | State::Stalled => "fair",
        State::Overfitting { .. } | State::Worsening { .. } | State::Guessing => "bad",
        State::Unknown => return html! {},
    };
    html! { span class={ "chip " (class) } { (verdict.headline) } }
}

fn advice(verdict: &Verdict) -> Markup {
    let mut headline = verdict.headline.clone();
    if let Some(first) = headline.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    html! {
        p { b { (headline) "." } " " (verdict.advice) }
        ul {
            @for line in &verdict.evidence { li { (line) } }
        }
    }
}

/// Figures of the last epoch in `history`: loss, accuracy, val_loss and val_accuracy.
fn last(history: &[&EpochRecord]) -> [Markup; 4] {
    let record = history.last();
    let figures = [
        record.map(|record| record.loss),
        record.map(|record| record.accuracy),
        record.and_then(|record| record.val_loss),
        record.and_then(|record| record.val_accuracy),
    ];
    figures.map(|figure| cell(figure.map_or(NONE.to_owned(), |figure| format!("{figure:.4}"))))
}

fn phases(run: &Run) -> Markup {
    let Some(summary) = &run.summary else {
        let row = |stretch: &Stretch| {
            let within = |record: &&EpochRecord| (stretch.first..=stretch.last).contains(&record.epoch);
            let own: Vec<&EpochRecord> = run.history.iter().filter(within).collect();
            [cell(&stretch.name), cell(own.len())].into_iter().chain(last(&own)).collect()
        };
        let rows: Vec<_> = run.stretches().iter().map(row).collect();
        return table(&["phase", "#epochs", "#loss", "#accuracy", "#val_loss", "#val_accuracy"], &rows);
    };
    let row = |phase: &PhaseSummary| {
        let own = [
            cell(&phase.name),
            cell(phase.epochs),
            cell(grouped(phase.trainable_params)),
            cell(grouped(phase.non_trainable_params)),
            cell(duration(phase.seconds)),
        ];
        own.into_iter().chain(last(&phase.history.iter().collect::<Vec<_>>())).collect()
    };
    let rows: Vec<_> = summary.phases.iter().map(row).collect();
    let headings = [
        "phase",
        "#epochs",
        "#trainable",
        "#non-trainable",
        "#time",
        "#loss",
        "#accuracy",
        "#val_loss",
        "#val_accuracy",
    ];
    table(&headings, &rows)
}

/// Number of images, precision, recall and confusions of each class, as far as the run has these figures.
fn classes(run: &Run) -> Markup {
    let Some(summary) = &run.summary else { return html! {} };
    let of_classes = class_table(run, summary);
    let whole = run.metrics.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let count = value.as_u64().map(|count| grouped(count as usize));
        Some(vec![cell(metric(name)), cell(count.or_else(|| Some(format!("{:.4}", value.as_f64()?)))?)])
    });
    let whole: Vec<Vec<Markup>> = whole.collect();
    html! {
        @if summary.classes.len() > CLASSES && has_figures(run, summary) {
            details { summary { (grouped(summary.classes.len())) " classes" } (of_classes) }
        } @else {
            (of_classes)
        }
        @if has_figures(run, summary) {
            @if !whole.is_empty() { h3 { "All classes together" } (table(&["metric", "#value"], &whole)) }
            (confusion(&summary.classes, &run.metrics["confusion"]))
        }
    }
}

/// Whether the run has more information about its classes than their names.
fn has_figures(run: &Run, summary: &Summary) -> bool {
    summary.images.is_some() || run.metrics["per_class"].is_array()
}

/// A table with one row per class, or a list of names if there are no figures.
fn class_table(run: &Run, summary: &Summary) -> Markup {
    if !has_figures(run, summary) {
        return html! { p { (summary.classes.join(", ")) } };
    }
    let per_class = run.metrics["per_class"].as_array();
    let number = |value: &Value| cell(value.as_f64().map_or(NONE.to_owned(), |value| format!("{value:.3}")));
    let mut headings = vec!["class"];
    if summary.images.is_some() {
        headings.extend(["#training images", "#validation images"]);
    }
    if per_class.is_some() {
        headings.extend(["#precision", "#recall", "#F1", "#support"]);
    }
    let rows = summary.classes.iter().enumerate().map(|(place, class)| {
        let mut row = vec![cell(class)];
        if let Some(images) = &summary.images {
            let count = |counts: &[usize]| counts.get(place).map_or(NONE.to_owned(), |&count| grouped(count));
            row.extend([&images.train, &images.validation].map(|counts| cell(count(counts))));
        }
        if let Some(per_class) = per_class {
            let named = per_class.iter().find(|row| row["class"] == **class);
            let own = named.or_else(|| per_class.get(place)).unwrap_or(&Value::Null);
            row.extend(["precision", "recall", "f1"].map(|name| number(&own[name])));
            row.push(cell(own["support"].as_u64().map_or(NONE.to_owned(), |count| grouped(count as usize))));
        }
        row
    });
    table(&headings, &rows.collect::<Vec<_>>())
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
fn confusion(classes: &[String], matrix: &Value) -> Markup {
    let Some(rows) = matrix.as_array().filter(|rows| rows.len() == classes.len()) else { return html! {} };
    if classes.len() > CLASSES {
        return worst_confusions(classes, rows);
    }
    let counts = |row: &Value| -> Vec<u64> {
        row.as_array().into_iter().flatten().map(|count| count.as_u64().unwrap_or(0)).collect()
    };
    let shade = |count: u64, of: &[u64]| {
        // The shade stays weak enough that the number on it can be read on light and on dark paper.
        let share = (count as f64 / of.iter().sum::<u64>().max(1) as f64 * 60.0).round();
        format!("background:color-mix(in srgb, var(--training) {share}%, var(--band))")
    };
    html! {
        h3 { "Confusion matrix" }
        p class="muted" {
            "Rows are the true classes of the validation images, columns their predicted classes. The shade is the share of the row."
        }
        div class="scroll" {
            table class="matrix" {
                tr { th {} @for class in classes { th class="top" { (class) } } }
                @for (class, row) in classes.iter().zip(rows) {
                    @let row = counts(row);
                    tr {
                        th { (class) }
                        @for &count in &row { td style=(shade(count, &row)) { (count) } }
                    }
                }
            }
        }
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

/// The figures of the best epoch, of the test and of the probe, each with its interval and the number of images, and the figures of
/// guessing.
fn trusted(summary: &Summary) -> Markup {
    let row = |what: String, value: f64, limits: Option<[f64; 2]>, n: usize| {
        let limits = limits.map_or(NONE.to_owned(), |[low, high]| format!("{low:.4} to {high:.4}"));
        vec![cell(what), cell(format!("{value:.4}")), cell(limits), cell(grouped(n))]
    };
    let mut rows = Vec::new();
    if let Some(Trust { accuracy, macro_f1, roc_auc, against }) = &summary.trust {
        let figures = [
            ("accuracy of the best epoch, validation images", Some(accuracy)),
            ("F1, the mean over the classes that occur", macro_f1.as_ref()),
            ("area under the ROC curve", roc_auc.as_ref()),
        ];
        for (what, figure) in figures {
            rows.extend(figure.map(|it| row(what.to_owned(), it.value, Some(it.interval), it.n)));
        }
        let largest = summary.classes.get(against.majority_class).map_or("one class", String::as_str);
        rows.push(row("accuracy of guessing".to_owned(), against.chance, None, against.n));
        rows.push(row(format!("accuracy of always saying {largest}"), against.majority, None, against.n));
    }
    if let Some(test) = &summary.test {
        rows.push(row("accuracy on the test images".to_owned(), test.accuracy, Some(test.interval), test.n));
    }
    if let Some(probe) = &summary.probe {
        let what = format!(
            "logistic regression on the features before the first epoch ({} training images, {})",
            grouped(probe.images),
            duration(probe.seconds)
        );
        rows.push(row(what, probe.accuracy, Some(probe.interval), probe.n));
    }
    let note =
        "Intervals are at 95 %: Wilson's for accuracies, and the bootstrap's for F1 and the area under the ROC curve.";
    html! {
        @if !rows.is_empty() { p class="muted" { (note) } }
        (table(&["figure", "#value", "#interval", "#images"], &rows))
    }
}

/// How many photos are there more than once.
fn copies(summary: &Summary) -> Markup {
    let Some(LeakCounts { across_split, across_class, none, moved }) = summary.leaks else { return html! {} };
    let rows = [
        ("pairs on two sides of the split", across_split),
        ("pairs under two classes", across_class),
        ("pairs on one side and under one class", none),
        ("photos that were moved to another side before training", moved),
    ];
    let rows: Vec<(&str, String)> =
        rows.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| (what, grouped(count))).collect();
    html! {
        @if rows.is_empty() { p { "No photo was found to be there twice." } }
        @else { p class="muted" { "Each pair is named in leaks.csv." } }
        (facts(Some("number"), &rows))
    }
}

fn transfer(gain: &Gain) -> Markup {
    let rows = [
        ("higher start", gain.start, "after the first epoch"),
        ("higher slope", gain.slope, "per epoch, on the way up"),
        ("higher asymptote", gain.asymptote, "at the end"),
    ];
    let rows = rows.map(|(name, value, when)| vec![cell(name), cell(format!("{value:+.3}")), cell(when)]);
    html! {
        p {
            "The same network, once by transfer and once from scratch: validation accuracy, the mean over "
            (counted(gain.seeds.len(), "seed")) "."
        }
        (table(&["benefit", "#difference", ""], &rows))
        (figures(&gain_figure(gain).each()))
    }
}

fn plan(run: &Run) -> Markup {
    let Some(config) =
        run.experiment.as_ref().and_then(|text| Config::parse(text, "experiment.toml".as_ref(), &[]).ok())
    else {
        return html! {};
    };
    let images = match &config.data.images {
        Images::Folder { root } => root.iter().map(|path| shown(path).to_string()).collect::<Vec<_>>().join(" or "),
        Images::Drawn { generated, .. } => format!("drawn: {}", generated.name()),
    };
    let size = config.data.image_size.map_or(String::new(), |[height, width]| format!(", {height}×{width}"));
    let hidden = match config.head.body.dense.len() {
        0 => String::new(),
        count => format!("{}, ", counted(count, "hidden layer")),
    };
    let units = config.head.units.map_or(String::new(), |units| counted(units, "unit"));
    let head = format!("{} pooling, {hidden}{units}", config.head.body.pooling.name());
    let loss = config.loss.name.map_or(String::new(), |name| {
        format!("{}{}", name.name(), if config.loss.from_logits { ", from logits" } else { "" })
    });
    let weights =
        run.summary.as_ref().and_then(|summary| summary.weights.clone()).unwrap_or(config.backbone.weights.clone());
    let rows = [
        ("images", format!("{images}{size}, {} per step", config.data.batch_size)),
        ("backbone", config.backbone.plugin.clone()),
        ("weights", weights),
        ("head", head),
        ("loss", loss),
        ("kept", format!("the epoch with the best {}", config.checkpoint.monitor.name())),
    ];
    facts(None, &rows)
}

/// A table of the plan: the network's division and the kept features of each phase.
fn plans(run: &Run) -> Markup {
    let row = |plan: &PhasePlan| {
        let mut lines = vec![words::parts(plan), words::cut(plan)];
        lines.extend(words::keeps(plan));
        let network = html! {
            @for (at, line) in lines.iter().enumerate() {
                @if at > 0 { br; }
                (line)
            }
        };
        vec![
            cell(&plan.phase.name),
            cell(plan.phase.epochs),
            cell(grouped(plan.trainable)),
            cell(grouped(plan.non_trainable)),
            network,
        ]
    };
    let rows: Vec<Vec<Markup>> = run.plan.iter().flat_map(|plan| &plan.phases).map(row).collect();
    table(&["phase", "#epochs", "#trainable", "#non-trainable", "network"], &rows)
}

fn time(summary: &Summary) -> Markup {
    let seconds = &summary.seconds;
    let rows = [
        ("in total", duration(seconds.total)),
        ("reading and decoding, summed over threads, in parallel with the rest", duration(seconds.decode)),
        ("frozen prefix", duration(seconds.prefix)),
        ("training steps", duration(seconds.train)),
        ("validation", duration(seconds.validate)),
        ("what is kept with the model", duration(seconds.knowledge)),
        ("images per second, each counted once per pass", format!("{:.0}", summary.images_per_second)),
        ("largest use of memory", format!("{:.2} GiB", summary.peak_memory_bytes as f64 / f64::from(1 << 30))),
    ];
    facts(Some("number"), &rows)
}

fn skipped(summary: &Summary) -> Markup {
    let row = |(path, reason): &(String, String)| vec![cell(path), cell(reason)];
    let rows: Vec<_> = summary.skipped.iter().take(SKIPPED).map(row).collect();
    let more = summary.skipped.len().saturating_sub(SKIPPED);
    html! {
        (table(&["file", "reason"], &rows))
        @if more > 0 { p class="muted" { "and " (more) " more, all in summary.json" } }
    }
}

fn environment(environment: &Value) -> Markup {
    let words = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        Value::Null => NONE.to_owned(),
        other => other.to_string(),
    };
    let rows: Vec<(&str, String)> =
        environment.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), words(value))).collect();
    facts(None, &rows)
}
