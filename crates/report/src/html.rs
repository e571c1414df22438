//! The page `report.html`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use injerto_config::Images;
use injerto_experiment::gain::Gain;
use injerto_experiment::{PhaseSummary, Summary, Trust};
use injerto_files::shown;
use injerto_trainer::PhasePlan;
use injerto_trainer::history::EpochRecord;
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use crate::album::Album;
use crate::chart::Stretch;
use crate::classes::{Examples, classes};
use crate::curves::{gain_figure, run_figure};
use crate::decisions::decisions;
use crate::elsewhere::elsewhere;
use crate::images::Samples;
use crate::looks::Looks;
use crate::more::more;
use crate::next::command;
use crate::page::{NONE, anchor, cell, facts, figures, page, section, table, tile};
use crate::plan as words;
use crate::ranking::rankings;
use crate::run::Run;
use crate::several;
use crate::strip::strips;
use crate::verdict::{State, Verdict, verdict};
use crate::wall::Wall;
use crate::words::{counted, duration, grouped, interval};

/// Upper limit of the left-out files that the page names.
const SKIPPED: usize = 200;

/// The page of a run, as HTML: one file with its small pictures inside. It can be read without its script, which makes tabs of lists.
pub fn report(run: &Run) -> String {
    let summary = run.summary.as_ref();
    let verdict = verdict(&run.history, run.best.epoch, &run.guessing());
    let wall = run.judged.as_ref().map(Wall::new);
    let examples = run.judged.as_ref().map(Examples::new).unwrap_or_default();
    let samples = Samples::new(run);
    let judged = |row: usize| run.judged.iter().map(move |judged| judged.paths[row].as_str());
    let first: Vec<&str> = wall.iter().flat_map(Wall::rows).flat_map(judged).collect();
    let looks = run.root().map_or_else(Looks::default, |root| Looks::of(run, &root, &first));
    let several = summary.and_then(|summary| summary.multi_label.as_ref());
    let tagged = run.tagged.as_ref().zip(several);
    let album = run.root().map(|root| {
        let tags = tagged.into_iter().flat_map(|(tagged, report)| {
            tagged.rows(report).into_iter().map(|row| tagged.paths[row].as_str()).collect::<Vec<_>>()
        });
        let wanted = first.iter().copied().chain(tags).chain(looks.training_photos()).chain(samples.paths());
        Album::of(&root, wanted.chain(examples.rows().flat_map(judged)), &looks.overlays)
    });
    let drawn = Album::default();
    let of_classes = if album.is_some() { &examples } else { &Examples::default() };
    let mistakes = album.as_ref().and_then(|album| match (&wall, tagged) {
        (_, Some((tagged, report))) => Some(tagged.wall(report, album)),
        (wall, None) => wall.as_ref().map(|wall| wall.show(album, &looks)),
    });
    let of_each = match several {
        Some(report) => several::classes(report),
        None => classes(run, of_classes, album.as_ref().unwrap_or(&drawn)),
    };
    let ranked = match tagged {
        Some((tagged, report)) => Some(tagged.curves(report)),
        None => run.judged.as_ref().map(rankings),
    };
    let has_wall = wall.is_some() || tagged.is_some();
    let parts = [
        ("Mistakes", mistakes),
        ("Learning curves", Some(figures(&run_figure(run).each()))),
        ("What the curves say", Some(advice(&verdict, command(run, &verdict)))),
        ("Phases", Some(phases(run))),
        ("Classes", Some(of_each)),
        ("How far the figures can be trusted", summary.map(trusted)),
        ("Which images the model finds first", ranked),
        ("What can be left to the model", run.calibration.as_ref().map(decisions)),
        ("Would more photos help?", run.more.as_ref().map(more)),
        ("Images", Some(html! { (samples.show(run, album.as_ref())) (batch(&looks)) })),
        ("What transfer gained", summary.and_then(|summary| summary.transfer_gain.as_ref()).map(transfer)),
        ("The network", run.plan.as_ref().map(|plan| strips(&plan.phases))),
        ("Plan", Some(html! { (plan(run)) (plans(run)) })),
        ("Where the time went", summary.map(|summary| time(run, summary))),
        ("Files left out", summary.map(skipped)),
        ("Again, and elsewhere", Some(elsewhere(run))),
        ("Environment", Some(environment(&run.environment))),
        ("Experiment", run.experiment.as_deref().map(experiment)),
    ];
    let parts: Vec<(&str, Markup)> = parts
        .into_iter()
        .filter_map(|(heading, body)| Some((heading, body?)))
        .filter(|(_, body)| !body.0.is_empty())
        .collect();
    let body = html! {
        @if let Some(album) = &album { (album.definitions()) }
        (header(run, &verdict))
        nav aria-label="Sections" { @for (heading, _) in &parts { a href={ "#" (anchor(heading)) } { (heading) } " " } }
        @for (heading, body) in &parts { (section(heading, body)) }
        @if album.is_some() && has_wall { script { (PreEscaped(include_str!("report.js"))) } }
    };
    page(&format!("{} – report", run.name), &body)
}

/// Training photos as the network sees them.
fn batch(looks: &Looks) -> Markup {
    html! {
        @if !looks.batch.is_empty() {
            h3 { "As the network sees them" }
            p class="muted" { "Training photos of all classes, changed at random as in training, at the network's size." }
            div class="samples" {
                @for jpeg in &looks.batch {
                    svg class="photo" viewBox="0 0 96 96" role="img" aria-label="a training image, changed at random" {
                        image width="96" height="96" href={ "data:image/jpeg;base64," (STANDARD.encode(jpeg)) } {}
                    }
                }
            }
        }
    }
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

pub(crate) fn tiles(run: &Run) -> Markup {
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
        @if let Some(value) = run.summary.as_ref().and_then(|it| it.multi_label.as_ref()?.mean_average_precision) {
            (tile(&format!("{value:.4}"), "mean average precision"))
        }
        (tile(&epochs.to_string(), if epochs == 1 { "epoch" } else { "epochs" }))
        @if let Some(summary) = &run.summary {
            @if let Some(images) = &summary.images {
                (tile(&grouped(number(run, "train", &images.train)), "training images"))
                (tile(&grouped(number(run, "validation", &images.validation)), "validation images"))
                @if !images.test.is_empty() { (tile(&grouped(number(run, "test", &images.test)), "test images")) }
            }
            @if let Some(phase) = summary.phases.iter().rfind(|phase| phase.epochs > 0) {
                (tile(&grouped(phase.trainable_params), "trainable parameters"))
            }
            (tile(&duration(summary.seconds.total), "in total"))
        }
    }
}

/// Number of images on a side. An image of several classes counts for each, so that such images are counted by their list.
fn number(run: &Run, side: &str, of_classes: &[usize]) -> usize {
    match run.summary.as_ref().is_some_and(|summary| summary.multi_label.is_some()) {
        true => run.placed.iter().filter(|placed| placed.side == side).count(),
        false => of_classes.iter().sum(),
    }
}

pub(crate) fn chip(verdict: &Verdict) -> Markup {
    let class = match verdict.state {
        State::Converged => "good",
        State::Improving | State::Stalled => "fair",
        State::Overfitting { .. } | State::Worsening { .. } | State::Guessing => "bad",
        State::Unknown => return html! {},
    };
    html! { span class={ "chip " (class) } { (verdict.headline) } }
}

/// The verdict with its evidence, and the command to type next, if there is one.
pub(crate) fn advice(verdict: &Verdict, next: Option<String>) -> Markup {
    let mut headline = verdict.headline.clone();
    if let Some(first) = headline.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    html! {
        p { b { (headline) "." } " " (verdict.advice) }
        @if let Some(next) = next { p { "Next: " code { (next) } } }
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
    let Some(config) = run.config() else { return html! {} };
    let images = match &config.data.images {
        Images::Folder { root } => root.iter().map(|path| shown(path).to_string()).collect::<Vec<_>>().join(" or "),
        Images::Drawn { generated, .. } => format!("drawn: {}", generated.name()),
        Images::Features { features } => {
            let folders: Vec<String> = features.iter().map(|path| shown(path).to_string()).collect();
            format!("features in {}", folders.join(", "))
        }
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

fn time(run: &Run, summary: &Summary) -> Markup {
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
    html! { (facts(Some("number"), &rows)) (energy(run, summary)) }
}

/// Power that a machine takes, in watts: the whole without its work, each thread of the processor at work, and a graphics card at work.
/// Nothing measures them; they are those of an ordinary desktop.
const WATTS: [f64; 3] = [20.0, 10.0, 250.0];

/// How much energy the run may have taken.
fn energy(run: &Run, summary: &Summary) -> Markup {
    let Some(threads) = run.environment["threads"].as_u64().filter(|threads| *threads > 0) else { return html! {} };
    let [idle, thread, card] = WATTS;
    let on_card = !matches!(summary.device.as_str(), "flex" | "cpu" | "ndarray");
    let watts = idle + thread * threads as f64 + if on_card { card } else { 0.0 };
    let hours = watts * summary.seconds.total / 3600.0;
    let said = if hours < 1000.0 { format!("{hours:.1} Wh") } else { format!("{:.1} kWh", hours / 1000.0) };
    html! {
        p class="muted" {
            "Energy, an estimate and not a measurement: " (said) ", if the machine takes " (format!("{watts:.0}")) " W all the time ("
            (format!("{idle:.0}")) " W, and " (format!("{thread:.0}")) " W for each of " (counted(threads as usize, "thread"))
            @if on_card { ", and " (format!("{card:.0}")) " W for the graphics card" }
            ")."
        }
    }
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
