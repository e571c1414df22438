//! The model card of a run, `README.md`: what Hugging Face shows of a model, made of what the run has measured. It names no path of the
//! machine that trained.

use std::fmt::Write as _;
use std::path::Path;

use injerto_backbones::resolve::Origin;
use injerto_config::Images;
use injerto_files::printable;
use injerto_insight::stats::{Estimate, LEVEL, wilson};
use injerto_trainer::metrics::MultiLabelReport;
use serde_json::{Value, json};

use crate::summary::{ImageCounts, Summary, TestSummary};
use crate::{Prepared, Trust};

/// The content of `README.md`.
pub(crate) fn readme(prepared: &Prepared, summary: &Summary) -> String {
    let front = front(prepared, summary);
    let mut text = "---\n".to_owned();
    for (key, value) in front.as_object().into_iter().flatten() {
        // JSON is YAML, and needs no other quoting.
        let _ = writeln!(text, "{key}: {value}");
    }
    text += "---\n\n";
    let _ = write!(text, "{}", body(prepared, summary));
    text
}

/// What the photos are called: the name of their folder, or what is drawn.
fn dataset(prepared: &Prepared) -> String {
    match &prepared.config.data.images {
        Images::Folder { root } => {
            let name = root.first().and_then(|root| root.file_name());
            name.map_or_else(|| "images".to_owned(), |name| printable(&Path::new(name).to_string_lossy()).to_string())
        }
        Images::Drawn { generated, .. } => format!("drawn {}", generated.name()),
        Images::Features { .. } => "photos whose features were computed before".to_owned(),
    }
}

/// A licence as Hugging Face names it, and as the weights name it.
fn licence(origin: &Origin) -> Option<(&'static str, String)> {
    let Origin::Set { licence, .. } = origin else { return None };
    let known = ["apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0"];
    let lower = licence.to_ascii_lowercase();
    let id = known.into_iter().find(|known| lower == *known).unwrap_or("other");
    Some((id, licence.clone()))
}

fn front(prepared: &Prepared, summary: &Summary) -> Value {
    let metric = |kind: &str, name: &str, value: f64, interval: Option<[f64; 2]>, n: usize| {
        let limits = interval.map_or(String::new(), |[low, high]| format!(", 95 % interval {low:.4} to {high:.4}"));
        json!({"type": kind, "value": value, "name": format!("{name} (n = {n}{limits})")})
    };
    let of_several = |report: &MultiLabelReport| {
        let mut all = vec![metric("accuracy", "Binary accuracy", report.binary_accuracy, None, report.images)];
        all.extend(
            report
                .mean_average_precision
                .map(|value| metric("mean_average_precision", "Mean average precision", value, None, report.images)),
        );
        all.push(metric("f1", "F1, macro", report.macro_mean.f1, None, report.images));
        all
    };
    let mut results = Vec::new();
    let mut add = |split: &str, metrics: Vec<Value>| {
        if !metrics.is_empty() {
            results.push(json!({
                "task": {"type": "image-classification", "name": "Image Classification"},
                "dataset": {"name": dataset(prepared), "type": "image_folder", "split": split},
                "metrics": metrics,
            }));
        }
    };
    let validation = match (&summary.multi_label, &summary.trust, &summary.metrics) {
        (Some(report), ..) => of_several(report),
        (None, Some(Trust { accuracy, macro_f1, .. }), _) => {
            let one = |kind, name, it: &Estimate| metric(kind, name, it.value, Some(it.interval), it.n);
            let mut all = vec![one("accuracy", "Accuracy", accuracy)];
            all.extend(macro_f1.as_ref().map(|it| one("f1", "F1, macro", it)));
            all
        }
        (None, None, Some(report)) => {
            let limits = wilson(report.accuracy, report.images, LEVEL);
            vec![metric("accuracy", "Accuracy", report.accuracy, Some(limits), report.images)]
        }
        (None, None, None) => Vec::new(),
    };
    add("validation", validation);
    if let Some(TestSummary { accuracy, interval, n, multi_label, .. }) = &summary.test {
        add(
            "test",
            multi_label
                .as_ref()
                .map_or_else(|| vec![metric("accuracy", "Accuracy", *accuracy, Some(*interval), *n)], of_several),
        );
    }
    let mut front = json!({
        "library_name": "injerto",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", "injerto"],
        "datasets": [dataset(prepared)],
        "metrics": if summary.multi_label.is_some() { json!(["accuracy", "f1", "mean_average_precision"]) } else { json!(["accuracy", "f1"]) },
    });
    if let Some((id, licence)) = licence(&prepared.base) {
        front["license"] = json!(id);
        if id == "other" {
            front["license_name"] = json!(licence);
        }
    }
    if !results.is_empty() {
        front["model-index"] = json!([{"name": summary.name, "results": results}]);
    }
    front
}

fn body(prepared: &Prepared, summary: &Summary) -> String {
    let mut text = format!("# {}\n\n", printable(&summary.name));
    let classes: Vec<String> = summary.classes.iter().map(|class| format!("`{}`", printable(class))).collect();
    let several = match prepared.card.thresholds.is_some() {
        true => "A photo may have several of these classes, or none",
        false => "A classifier of photos. Each photo has one of these classes",
    };
    let _ = writeln!(text, "{several}: {}.\n", classes.join(", "));
    let backbone = &prepared.config.backbone.plugin;
    let named = Path::new(backbone).file_name().map_or(backbone.as_str(), |name| name.to_str().unwrap_or("a file"));
    let weights = match &prepared.base {
        Origin::Fresh => "with new weights: nothing was learned from other images".to_owned(),
        Origin::Set { .. } => format!("with the weights {}", prepared.base),
        Origin::File { .. } => {
            "with weights from a file of its author, whose licence this card does not know".to_owned()
        }
    };
    let [height, width] = prepared.card.image_size();
    let _ = writeln!(
        text,
        "The base model is `{}` {weights}. Photos are resized to {height} × {width} pixels.\n",
        printable(named)
    );
    text += "## Use\n\n```sh\ninjerto predict PHOTO --run best.safetensors\n```\n\n";
    text += "It is meant for photos like those that it was trained on, of the classes above. Before it is used for decisions about people, or on photos from elsewhere, it should be measured on such photos (`injerto evaluate`).\n\n";
    if let Some(ImageCounts { train, validation, test }) = &summary.images {
        text +=
            "## Training data\n\n| class | training images | validation images | test images |\n|---|---|---|---|\n";
        for (at, class) in summary.classes.iter().enumerate() {
            let count = |counts: &[usize]| counts.get(at).map_or("–".to_owned(), ToString::to_string);
            let class = printable(class).to_string().replace('|', "\\|");
            let _ = writeln!(text, "| {class} | {} | {} | {} |", count(train), count(validation), count(test));
        }
        text.push('\n');
    }
    text += "## Training\n\n";
    for phase in &summary.phases {
        let _ = writeln!(
            text,
            "- {}: {} epochs, {} of {} values trained",
            printable(&phase.name),
            phase.epochs,
            phase.trainable_params,
            phase.trainable_params + phase.non_trainable_params
        );
    }
    let _ = writeln!(
        text,
        "\nThe weights are those of epoch {}, the best by {}. Seed {}, {:.0} s on `{}`.\n",
        summary.best.epoch, summary.best.monitor, summary.seed, summary.seconds.total, summary.device
    );
    text + &limits(prepared, summary)
}

/// The measured facts that speak against trusting the model.
fn limits(prepared: &Prepared, summary: &Summary) -> String {
    let mut lines = Vec::new();
    if summary.test.is_none() {
        lines.push(
            "There was no test split. The validation images chose the epoch, so their figures are a little too good."
                .to_owned(),
        );
    }
    if let Some(Trust { against, accuracy, .. }) = &summary.trust {
        let largest = summary.classes.get(against.majority_class).map_or("one class", String::as_str);
        lines.push(format!(
            "Accuracy on {} validation images is {:.4}, and {:.4} by always saying {}.",
            accuracy.n,
            accuracy.value,
            against.majority,
            printable(largest)
        ));
    }
    let worst = summary.metrics.iter().flat_map(|report| &report.per_class).filter(|class| class.support > 0);
    if let Some(class) = worst.min_by(|a, b| a.recall.total_cmp(&b.recall)) {
        let [low, high] = wilson(class.recall, class.support, LEVEL);
        lines.push(format!(
            "The class with the lowest recall is {}: {:.3} of {} images (95 % interval {low:.3} to {high:.3}).",
            printable(&class.class),
            class.recall,
            class.support
        ));
    }
    if let Some(report) = &summary.multi_label {
        let rated = report.per_class.iter().filter_map(|class| Some((class.average_precision?, class)));
        if let Some((value, class)) = rated.min_by(|a, b| a.0.total_cmp(&b.0)) {
            lines.push(format!(
                "The class with the lowest average precision is {}: {value:.3} with {} images. The thresholds of the classes were chosen on \
                 the validation images.",
                printable(&class.class),
                class.support
            ));
        }
    }
    if let Some(report) = &summary.metrics {
        lines.push(format!("The expected calibration error of its own probabilities is {:.4}.", report.ece));
    }
    if let Some(leaks) = summary.leaks.filter(|leaks| leaks.trained_across_split() + leaks.across_class > 0) {
        lines.push(format!(
            "Pairs of copies on two sides of the split: {}; under two classes: {}.",
            leaks.trained_across_split(),
            leaks.across_class
        ));
    }
    if summary.knowledge.is_some() {
        lines.push(
            "`knowledge.safetensors` beside the weights says which photos are unlike all training images.".to_owned(),
        );
    }
    if prepared.inventory.is_none() {
        lines.push("The images were drawn, and say nothing of photos.".to_owned());
    }
    if summary.interrupted {
        lines.push("Training was stopped before its end.".to_owned());
    }
    let mut text = "## Limits\n\n".to_owned();
    lines.iter().for_each(|line| {
        let _ = writeln!(text, "- {line}");
    });
    text
}
