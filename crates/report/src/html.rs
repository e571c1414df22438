//! `report.html`.

use std::fmt::Write as _;

use injerto_experiment::Summary;
use injerto_experiment::config::{Config, Images};
use injerto_experiment::gain::Gain;
use injerto_files::shown;
use injerto_trainer::PhasePlan;
use serde_json::Value;

use crate::curves::{gain_figure, run_figure};
use crate::page::{duration, figures, grouped, page, section, table, tile};
use crate::plan as words;
use crate::run::Run;
use crate::svg::escaped;
use crate::verdict::{State, Verdict, verdict};

/// Files that were left out, named up to this many.
const SKIPPED: usize = 200;
/// Up to this many classes are shown at once; of more, the table is folded and only the worst confusions are named.
const CLASSES: usize = 30;
/// How many of those.
const CONFUSIONS: usize = 20;

/// A run's page.
pub fn report(run: &Run) -> String {
    let summary = run.summary.as_ref();
    let verdict = verdict(&run.history, run.best.epoch, &run.guessing());
    let mut body = header(run, &verdict);
    body += &section("Learning curves", &figures(&run_figure(run).each()));
    body += &section("What the curves say", &words(&verdict));
    body += &section("Phases", &phases(run));
    body += &section("Classes", &classes(run));
    if let Some(gain) = summary.and_then(|summary| summary.transfer_gain.as_ref()) {
        body += &section("What transfer gained", &transfer(gain));
    }
    body += &section("Plan", &(plan(run) + &plans(run)));
    if let Some(summary) = summary {
        body += &section("Where the time went", &time(summary));
        body += &section("Files left out", &skipped(summary));
    }
    body += &section("Environment", &environment(&run.environment));
    if let Some(toml) = &run.experiment {
        let text = format!(
            "<p class=\"muted\">Every key, defaults included. Saved as a file, it runs the same experiment again.</p>\n\
             <pre>{}</pre>",
            escaped(toml)
        );
        body += &section("Experiment", &text);
    }
    page(&format!("{} – report", run.name), &body)
}

fn header(run: &Run, verdict: &Verdict) -> String {
    let mut facts = Vec::new();
    if let Some(summary) = &run.summary {
        facts.push(format!("seed {}", summary.seed));
        facts.push(format!("device {}", summary.device));
    }
    facts.extend(run.environment["started"].as_str().map(|time| {
        let minute = time.get(..16).unwrap_or(time).replace('T', " ");
        format!("begun {minute} UTC")
    }));
    let stopped = match &run.summary {
        Some(summary) if !summary.interrupted => String::new(),
        Some(_) => " <span class=\"chip fair\">stopped before its end</span>".to_owned(),
        None => " <span class=\"chip fair\">not finished</span>".to_owned(),
    };
    let mut html = format!(
        "<h1>{}{stopped} {}</h1>\n<p class=\"muted\">{}</p>\n<div class=\"tiles\">\n",
        escaped(&run.name),
        chip(verdict),
        escaped(&facts.join(", "))
    );
    if let Some(value) = run.best.value {
        html += &tile(&format!("{value:.4}"), &format!("best {}, epoch {}", run.best.monitor, run.best.epoch));
    }
    html += &tile(&run.history.len().to_string(), if run.history.len() == 1 { "epoch" } else { "epochs" });
    if let Some(summary) = &run.summary {
        if let Some(images) = &summary.images {
            let [train, validation] = [&images.train, &images.validation].map(|counts| counts.iter().sum::<usize>());
            html += &tile(&grouped(train), "images to train on");
            html += &tile(&grouped(validation), "images to validate on");
        }
        if let Some(phase) = summary.phases.iter().rfind(|phase| phase.epochs > 0) {
            html += &tile(&grouped(phase.trainable_params), "values that train");
        }
        html += &tile(&duration(summary.seconds.total), "in all");
    }
    html + "</div>\n"
}

fn chip(verdict: &Verdict) -> String {
    let class = match verdict.state {
        State::Converged => "good",
        State::Improving | State::Stalled => "fair",
        State::Overfitting { .. } | State::Worsening { .. } | State::Guessing => "bad",
        State::Unknown => return String::new(),
    };
    format!("<span class=\"chip {class}\">{}</span>", escaped(&verdict.headline))
}

fn words(verdict: &Verdict) -> String {
    let mut headline = verdict.headline.clone();
    if let Some(first) = headline.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let mut html = format!("<p><b>{}.</b> {}</p>\n<ul>\n", escaped(&headline), escaped(&verdict.advice));
    for line in &verdict.evidence {
        let _ = writeln!(html, "<li>{}</li>", escaped(line));
    }
    html + "</ul>"
}

fn phases(run: &Run) -> String {
    let last = |history: &[injerto_trainer::history::EpochRecord]| match history.last() {
        Some(record) => {
            let optional = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
            [
                format!("{:.4}", record.loss),
                format!("{:.4}", record.accuracy),
                optional(record.val_loss),
                optional(record.val_accuracy),
            ]
        }
        None => ["–", "–", "–", "–"].map(str::to_owned),
    };
    match &run.summary {
        Some(summary) => {
            let row = |phase: &injerto_experiment::PhaseSummary| {
                let mut row = vec![
                    escaped(&phase.name),
                    phase.epochs.to_string(),
                    grouped(phase.trainable_params),
                    grouped(phase.non_trainable_params),
                    duration(phase.seconds),
                ];
                row.extend(last(&phase.history));
                row
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
        None => {
            let row = |stretch: &crate::Stretch| {
                let within = |record: &&injerto_trainer::history::EpochRecord| {
                    (stretch.first..=stretch.last).contains(&record.epoch)
                };
                let own: Vec<_> = run.history.iter().filter(within).cloned().collect();
                let mut row = vec![escaped(&stretch.name), own.len().to_string()];
                row.extend(last(&own));
                row
            };
            let rows: Vec<_> = run.stretches().iter().map(row).collect();
            table(&["phase", "#epochs", "#loss", "#accuracy", "#val_loss", "#val_accuracy"], &rows)
        }
    }
}

/// Images, precision, recall and confusions of each class, as far as the run says them.
fn classes(run: &Run) -> String {
    let Some(summary) = &run.summary else { return String::new() };
    let per_class = run.metrics["per_class"].as_array();
    let of_class = |class: &str, place: usize| {
        let found = per_class?.iter().find(|row| row["class"] == class).or_else(|| per_class?.get(place));
        found.cloned()
    };
    let number = |value: &Value| value.as_f64().map_or("–".to_owned(), |value| format!("{value:.3}"));
    let mut headings = vec!["class"];
    if summary.images.is_some() {
        headings.extend(["#images to train on", "#to validate on"]);
    }
    if per_class.is_some() {
        headings.extend(["#precision", "#recall", "#F1", "#support"]);
    }
    if headings.len() == 1 {
        return format!("<p>{}</p>", escaped(&summary.classes.join(", ")));
    }
    let rows = summary.classes.iter().enumerate().map(|(place, class)| {
        let mut row = vec![escaped(class)];
        if let Some(images) = &summary.images {
            let count = |counts: &[usize]| counts.get(place).map_or("–".to_owned(), |&count| grouped(count));
            row.extend([count(&images.train), count(&images.validation)]);
        }
        if per_class.is_some() {
            let own = of_class(class, place).unwrap_or(Value::Null);
            row.extend(["precision", "recall", "f1"].map(|name| number(&own[name])));
            row.push(own["support"].as_u64().map_or("–".to_owned(), |count| grouped(count as usize)));
        }
        row
    });
    let mut html = table(&headings, &rows.collect::<Vec<_>>());
    if summary.classes.len() > CLASSES {
        html = format!("<details><summary>{} classes</summary>\n{html}</details>\n", grouped(summary.classes.len()));
    }
    let whole: Vec<Vec<String>> = run
        .metrics
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let figure = value.as_u64().map(|count| grouped(count as usize));
            Some(vec![metric(name), figure.or_else(|| Some(format!("{:.4}", value.as_f64()?)))?])
        })
        .collect();
    if !whole.is_empty() {
        html += "<h3>All classes together</h3>\n";
        html += &table(&["metric", "#value"], &whole);
    }
    html + &confusion(&summary.classes, &run.metrics["confusion"])
}

/// What a metric is called among people.
fn metric(name: &str) -> String {
    match name {
        "accuracy" => "accuracy".to_owned(),
        "macro_f1" => "F1, the mean over the classes that occur".to_owned(),
        "roc_auc" => "area under the ROC curve".to_owned(),
        "ece" => "expected calibration error".to_owned(),
        other => match other.strip_prefix("top_") {
            Some(count) => format!("right class among the {} most probable", escaped(count)),
            None => escaped(&other.replace('_', " ")),
        },
    }
}

/// Rows are what the images are, columns what they were taken for; the shade is the share of the row.
fn confusion(classes: &[String], matrix: &Value) -> String {
    let Some(rows) = matrix.as_array().filter(|rows| rows.len() == classes.len()) else { return String::new() };
    if classes.len() > CLASSES {
        return worst_confusions(classes, rows);
    }
    let mut html = "<h3>Taken for</h3>\n<p class=\"muted\">Rows: what the validation images are. Columns: what they were \
         taken for. The shade is the share of the row.</p>\n<div class=\"scroll\"><table class=\"matrix\">\n<tr><th></th>".to_owned();
    for class in classes {
        let _ = write!(html, "<th class=\"top\">{}</th>", escaped(class));
    }
    html += "</tr>\n";
    for (class, row) in classes.iter().zip(rows) {
        let counts: Vec<u64> = row.as_array().into_iter().flatten().map(|count| count.as_u64().unwrap_or(0)).collect();
        let total = counts.iter().sum::<u64>().max(1);
        let _ = write!(html, "<tr><th>{}</th>", escaped(class));
        for count in counts {
            // Never so strong that the number on it is hard to read, in light or dark.
            let share = (count as f64 / total as f64 * 60.0).round();
            let _ = write!(
                html,
                "<td style=\"background:color-mix(in srgb, var(--training) {share}%, var(--band))\">{count}</td>"
            );
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

/// The pairs that are taken for each other most often.
fn worst_confusions(classes: &[String], rows: &[Value]) -> String {
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
        |&(count, is, taken_for): &(u64, &str, &str)| vec![escaped(is), escaped(taken_for), grouped(count as usize)];
    let rows: Vec<_> = pairs.iter().take(CONFUSIONS).map(row).collect();
    let found = match rows.is_empty() {
        true => "<p>Every validation image was taken for what it is.</p>\n".to_owned(),
        false => table(&["is", "taken for", "#images"], &rows),
    };
    format!("<h3>Most often confused</h3>\n{found}")
}

fn transfer(gain: &Gain) -> String {
    let seeds = gain.seeds.len();
    let rows = [
        ("higher start", gain.start, "after the first epoch"),
        ("higher slope", gain.slope, "per epoch, on the way up"),
        ("higher asymptote", gain.asymptote, "at the end"),
    ];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, value, when)| vec![(*name).to_owned(), format!("{value:+.3}"), (*when).to_owned()])
        .collect();
    let words = format!(
        "<p>The same network, once by transfer and once from scratch: validation accuracy, the mean over {seeds} seed{}.</p>\n",
        if seeds == 1 { "" } else { "s" }
    );
    words + &table(&["benefit", "#difference", ""], &rows) + &figures(&gain_figure(gain).each())
}

fn plan(run: &Run) -> String {
    let Some(config) =
        run.experiment.as_ref().and_then(|text| Config::parse(text, "experiment.toml".as_ref(), &[]).ok())
    else {
        return String::new();
    };
    let images = match &config.data.images {
        Images::Folder { root } => root.iter().map(|path| shown(path).to_string()).collect::<Vec<_>>().join(" or "),
        Images::Drawn { generated, .. } => format!("drawn: {generated:?}").to_lowercase(),
    };
    let size = config.data.image_size.map_or(String::new(), |[height, width]| format!(", {height}×{width}"));
    let hidden = match config.head.dense.len() {
        0 => String::new(),
        count => format!("{count} hidden layer{}, ", if count == 1 { "" } else { "s" }),
    };
    let units =
        config.head.units.map_or(String::new(), |units| format!("{units} unit{}", if units == 1 { "" } else { "s" }));
    let head = format!("{} pooling, {hidden}{units}", format!("{:?}", config.head.pooling).to_lowercase());
    let loss = config.loss.name.map_or(String::new(), |name| {
        let logits = if config.loss.from_logits { ", from logits" } else { "" };
        serde_json::to_value(name).ok().and_then(|name| Some(format!("{}{logits}", name.as_str()?))).unwrap_or_default()
    });
    let weights =
        run.summary.as_ref().and_then(|summary| summary.weights.clone()).unwrap_or(config.backbone.weights.clone());
    let rows = [
        ("images", images + &size + &format!(", {} a step", config.data.batch_size)),
        ("backbone", config.backbone.plugin.clone()),
        ("weights", weights),
        ("head", head),
        ("loss", loss),
        ("kept", format!("the epoch with the best {}", config.checkpoint.monitor.name())),
    ];
    let rows: Vec<Vec<String>> = rows.iter().map(|(what, value)| vec![(*what).to_owned(), escaped(value)]).collect();
    table(&["", ""], &rows).replace("<tr><th></th><th></th></tr>\n", "")
}

/// What was decided about each phase before it began.
fn plans(run: &Run) -> String {
    let row = |plan: &PhasePlan| {
        let mut words = vec![words::parts(plan), words::cut(plan)];
        words.extend(words::keeps(plan));
        vec![
            escaped(&plan.phase.name),
            plan.phase.epochs.to_string(),
            grouped(plan.trainable),
            grouped(plan.non_trainable),
            words.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br>"),
        ]
    };
    let rows: Vec<Vec<String>> = run.plan.iter().flat_map(|plan| &plan.phases).map(row).collect();
    table(&["phase", "#epochs", "#trainable", "#non-trainable", "network"], &rows)
}

fn time(summary: &Summary) -> String {
    let seconds = &summary.seconds;
    let rows = [
        ("in all", duration(seconds.total)),
        ("reading and decoding, over all threads, beside the rest", duration(seconds.decode)),
        ("frozen prefix", duration(seconds.prefix)),
        ("training steps", duration(seconds.train)),
        ("validation", duration(seconds.validate)),
        ("images a second, each counted once a pass", format!("{:.0}", summary.images_per_second)),
        ("most memory held", format!("{:.2} GiB", summary.peak_memory_bytes as f64 / f64::from(1 << 30))),
    ];
    let rows: Vec<Vec<String>> = rows.iter().map(|(what, value)| vec![(*what).to_owned(), value.clone()]).collect();
    table(&["", "#"], &rows).replace("<tr><th></th><th class=\"number\"></th></tr>\n", "")
}

fn skipped(summary: &Summary) -> String {
    let row = |(path, reason): &(String, String)| vec![escaped(path), escaped(reason)];
    let rows: Vec<_> = summary.skipped.iter().take(SKIPPED).map(row).collect();
    let more = summary.skipped.len().saturating_sub(SKIPPED);
    let html = table(&["file", "reason"], &rows);
    if more > 0 { html + &format!("<p class=\"muted\">and {more} more, all in summary.json</p>") } else { html }
}

fn environment(environment: &Value) -> String {
    let words = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> = environment
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| vec![escaped(name), escaped(&words(value))])
        .collect();
    table(&["", ""], &rows).replace("<tr><th></th><th></th></tr>\n", "")
}
