//! Runs' folders, whole and in pieces, and what is drawn of them.

mod photos;

use std::path::{Path, PathBuf};

use injerto_report::verdict::{State, verdict};
use injerto_report::{Comparison, ReportError, Run, report, write};
use serde_json::{Value, json};

/// An epoch's line of the history; its accuracies rise to `top`.
fn epoch(number: usize, phase: &str, top: f64) -> Value {
    let rest = 0.5f64.powi(number as i32);
    json!({ "epoch": number, "phase": phase, "loss": 0.2 + rest, "accuracy": top - 0.4 * rest, "val_loss": 0.3 + rest,
        "val_accuracy": top - 0.02 - 0.4 * rest, "learning_rate": 1e-3, "seconds": 1.5 })
}

/// `summary.json` of a run with two phases.
fn summary(name: &str, top: f64) -> Value {
    let phase = |name: &str, epochs: std::ops::RangeInclusive<usize>, trainable: usize| {
        let history: Vec<Value> = epochs.map(|number| epoch(number, name, top)).collect();
        json!({ "name": name, "epochs": history.len(), "trainable_params": trainable, "non_trainable_params": 2257984,
            "seconds": 6.0, "history": history })
    };
    json!({ "name": name, "device": "flex", "seed": 123, "classes": ["cats", "dogs"],
        "phases": [phase("head", 1..=4, 1281), phase("fine-tuning", 5..=8, 1862721)],
        "best": { "epoch": 8, "monitor": "val_accuracy", "value": top - 0.02 - 0.4 * 0.5f64.powi(8), "checkpoint": "best.safetensors" },
        "seconds": { "total": 12.0, "decode": 1.0, "prefix": 2.0, "train": 8.0, "validate": 1.0 },
        "images_per_second": 500.0, "peak_memory_bytes": 1 << 30 })
}

fn put(folder: &Path, name: &str, value: &Value) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), serde_json::to_string_pretty(value).unwrap()).unwrap();
    folder.to_owned()
}

/// What begins with `<` and is no tag of ours would be read as one by a browser: tags must close in their order.
fn well_formed(html: &str) {
    let alone = ["!doctype", "meta", "br", "input"];
    let mut open: Vec<&str> = Vec::new();
    for piece in html.split('<').skip(1) {
        let tag = piece.split('>').next().unwrap();
        let name = tag.split_whitespace().next().unwrap().trim_end_matches('/');
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "in {piece}"),
            None if alone.contains(&name) || tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// A page must not load anything: its links lead to places on it, and its pictures are inside.
fn stands_alone(html: &str) {
    for outside in ["src=", "url(", "@import", "<link"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let mut ids: Vec<&str> = html.split(" id=\"").skip(1).map(|piece| piece.split('"').next().unwrap()).collect();
    for piece in html.split(" href=\"").skip(1) {
        let target = piece.split('"').next().unwrap();
        let inside = ["jpeg", "png"].iter().any(|kind| target.starts_with(&format!("data:image/{kind};base64,")));
        assert!(inside || target.strip_prefix('#').is_some_and(|id| ids.contains(&id)), "{target}");
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "each name is there once");
}

#[test]
fn a_runs_folder_gets_its_plots_and_its_page() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "summary.json", &summary("cats", 0.97));
    let page = write(folder.path()).unwrap();
    assert_eq!(page, folder.path().join("report.html"));
    let svg = std::fs::read_to_string(folder.path().join("plots/curves.svg")).unwrap();
    well_formed(&svg);
    // Two panels with two curves each, their names, the phases' names and the best epoch.
    for (part, times) in
        [("training ", 2), ("validation ", 2), (">head<", 2), (">fine-tuning<", 2), (">best epoch: ", 2)]
    {
        assert_eq!(svg.matches(part).count(), times, "{part}");
    }
    let png = std::fs::read(folder.path().join("plots/curves.png")).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((side(16), side(20)), (1960, 776));
    // Twice the same bytes.
    write(folder.path()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("plots/curves.png")).unwrap(), png);
}

#[test]
fn the_page_needs_nothing_beside_itself_and_says_it_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = summary("cats <b>& dogs", 0.97);
    whole["classes"] = json!(["cats", "<script>dogs"]);
    whole["images"] = json!({ "train": [1000, 999], "validation": [500, 498] });
    whole["weights"] = json!("imagenet: 1,000 classes");
    whole["skipped"] = json!([["photos/broken.jpg", "not a JPEG"]]);
    whole["transfer_gain"] = json!({ "start": 0.31, "slope": 0.12, "asymptote": 0.05, "seeds": [1, 2],
        "transfer": [0.8, 0.9], "scratch": [0.5, 0.6] });
    let mean = json!({ "precision": 0.951, "recall": 0.951, "f1": 0.9505 });
    whole["metrics"] = json!({ "images": 998, "macro": mean, "weighted": mean, "ece": 0.02,
        "accuracy": 0.95, "macro_f1": 0.9423, "top_5": 1.0, "confusion": [[480, 20], [29, 469]],
        "per_class": [{ "class": "cats", "precision": 0.943, "recall": 0.96, "f1": 0.951, "support": 500 },
            { "class": "<script>dogs", "precision": 0.959, "recall": 0.942, "f1": 0.95, "support": 498 }] });
    put(folder.path(), "summary.json", &whole);
    put(folder.path(), "environment.json", &json!({ "cpu": "a processor", "command": ["injerto", "train"] }));
    let experiment = "name = \"cats\" # <odd>\n[data]\nroot = \"photos\"\nbatch_size = 16\n[backbone]\n\
        plugin = \"mobilenet_v2\"\nweights = \"imagenet\"\n[[phases]]\nname = \"head\"\nepochs = 4\n";
    std::fs::write(folder.path().join("experiment.toml"), experiment).unwrap();
    let html = report(&Run::load(folder.path()).unwrap());
    well_formed(&html);
    assert!(
        !html.contains("<script") && !html.contains("<odd>"),
        "names are not markup, and nothing here needs a script"
    );
    // Panels by themselves find their place on a narrow screen, and wide tables become lists that name each figure.
    assert_eq!(html.matches("<svg ").count(), 3);
    assert_eq!(html.matches("<title>epoch 3: ").count(), 4, "each point of four curves says its value");
    assert!(html.contains("data-label=\"val_loss\""), "{html}");
    stands_alone(&html);
    for part in [
        "cats &lt;b&gt;&amp; dogs",
        "1,862,721",
        "1,999",
        "photos/broken.jpg",
        "+0.310",
        "0.9423",
        "0.959",
        ">469</td>",
        "0.9420 (0.918 to 0.959, n = 498)",
        "imagenet: 1,000 classes",
        "a processor",
        "injerto train",
        "&lt;odd&gt;",
        "Still improving when it ended.",
        "photos, 16 per step",
        "prefers-color-scheme: dark",
    ] {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn what_can_be_left_to_the_model_is_drawn_and_said() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "summary.json", &summary("cats", 0.97));
    let share = |value: f64, n: usize| json!({ "value": value, "interval": [value - 0.01, value + 0.01], "n": n });
    let bin = |confidence: f64, accuracy: f64| json!({ "above": 0.4, "up_to": 0.9, "confidence": confidence, "accuracy": share(accuracy, 500) });
    let at = |coverage: f64, accuracy: f64| json!({ "threshold": 0.875, "coverage": coverage, "accuracy": share(accuracy, 830) });
    let mut whole = json!({
        "images": 1000,
        "temperature": { "value": 1.5, "loss_before": 0.1234, "loss_after": 0.1111, "n": 1000 },
        "applied": true,
        "reliability": { "bins": [bin(0.6, 0.5), bin(0.99, 0.9)], "ece": 0.0456 },
        "calibrated": { "bins": [bin(0.55, 0.5), bin(0.9, 0.9)], "ece": 0.0123 },
        "coverage": [at(0.1, 1.0), at(0.83, 0.99), at(1.0, 0.96)],
        "alone": [{ "accuracy": 0.95, "at": at(1.0, 0.96) }, { "accuracy": 0.99, "at": at(0.83, 0.99) }],
        "class_precision": 0.99,
        "classes": [
            { "class": "cats", "at": { "class": 0, "threshold": 0.777, "precision": share(0.99, 400), "recall": share(0.8, 500) } },
            { "class": "<i>dogs", "at": null },
        ],
    });
    put(folder.path(), "calibration.json", &whole);
    let page = |folder: &Path| report(&Run::load(folder).unwrap());
    let html = page(folder.path());
    well_formed(&html);
    assert_eq!(html.matches("<svg ").count(), 4, "two curves, the reliability diagram and the coverage");
    for part in [
        "temperature 1.50",
        "falls from 0.0456 to 0.0123",
        "With 99 % of its answers right, the model answers 83 % of 1,000 validation photos alone: those of which it is 87.5 % sure",
        "go to a person",
        ">99 % right: answers 83 %<",
        "calibrated",
        "0.777",
        "&lt;i&gt;dogs",
        "never",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // Without a gain nothing is divided, and nobody need be told where there is no such confidence.
    whole["applied"] = json!(false);
    whole["calibrated"] = json!(null);
    whole["alone"] = json!([{ "accuracy": 0.99, "at": null }]);
    put(folder.path(), "calibration.json", &whole);
    let html = page(folder.path());
    assert!(html.contains("left as they are") && !html.contains("go to a person"), "{html}");
    // Edited numbers draw something, and another version's file is passed over.
    whole["coverage"] = json!([]);
    whole["reliability"]["bins"] = json!([bin(-5.0, 1e300)]);
    put(folder.path(), "calibration.json", &whole);
    well_formed(&page(folder.path()));
    put(folder.path(), "calibration.json", &json!({ "version": 9 }));
    assert!(!page(folder.path()).contains("What can be left to the model"));
}

#[test]
fn many_classes_are_folded() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = summary("many", 0.9);
    let confusion: Vec<Vec<usize>> = (0..40)
        .map(|is| {
            (0..40)
                .map(|taken_for| if (is, taken_for) == (3, 38) { 17 } else { usize::from(is == taken_for) })
                .collect()
        })
        .collect();
    whole["classes"] = (0..40).map(|class| json!(format!("class {class}"))).collect();
    whole["images"] = json!({ "train": vec![10; 40], "validation": vec![5; 40] });
    let mean = json!({ "precision": 0.7, "recall": 0.7, "f1": 0.7 });
    let class = |class: usize| json!({ "class": format!("class {class}"), "precision": 0.7, "recall": 0.7, "f1": 0.7, "support": 1 });
    let per_class: Vec<Value> = (0..40).map(class).collect();
    whole["metrics"] = json!({ "images": 56, "accuracy": 0.7, "per_class": per_class, "macro": mean, "weighted": mean,
        "macro_f1": 0.7, "confusion": confusion, "ece": 0.1 });
    put(folder.path(), "summary.json", &whole);
    let html = report(&Run::load(folder.path()).unwrap());
    well_formed(&html);
    assert!(html.contains("<summary>40 classes</summary>") && !html.contains("class=\"matrix\""));
    assert!(html.contains("<td>class 3</td><td>class 38</td><td class=\"number\">17</td>"));
}

#[test]
fn the_verdict_ends_with_the_command_to_type_next() {
    let check = |losses: [f64; 6], finished: bool, set: &str, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let record = |(number, loss): (usize, f64)| {
            let mut record = epoch(number, "head", 0.99);
            record["val_loss"] = json!(loss);
            record
        };
        let history: Vec<Value> = (1..).zip(losses).map(record).collect();
        if finished {
            let mut whole = summary("cats", 0.97);
            whole["phases"] = json!([{ "name": "head", "epochs": 6, "trainable_params": 1, "non_trainable_params": 2,
                "seconds": 6.0, "history": history }]);
            whole["best"]["epoch"] = json!(6);
            put(folder.path(), "summary.json", &whole);
        } else {
            let lines: String = history.iter().map(|record| record.to_string() + "\n").collect();
            std::fs::write(folder.path().join("history.jsonl"), lines).unwrap();
        }
        let experiment = format!(
            "[data]\nroot = \"photos\"\n{set}\n[backbone]\nplugin = \"mobilenet_v2\"\n[[phases]]\nname = \"head\"\nepochs = 6\n"
        );
        std::fs::write(folder.path().join("experiment.toml"), experiment).unwrap();
        let page = report(&Run::load(folder.path()).unwrap());
        let expected = expected.replace("RUN", &folder.path().display().to_string());
        assert!(page.contains(&format!("Next: <code>{expected}</code>")), "{expected}");
    };
    let falling = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4];
    check(falling, true, "", "injerto train --resume RUN --set phases.0.epochs=12");
    check(falling, false, "", "injerto train --resume RUN");
    let rising = [0.9, 0.5, 0.6, 0.7, 0.8, 0.9];
    check(rising, true, "", "injerto train RUN/experiment.toml --set data.augment=medium");
    check(rising, true, "augment = \"light\"", "injerto inspect photos");
    check([0.5; 6], true, "", "injerto advise photos");
}

#[test]
fn a_killed_run_is_drawn_as_far_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (1..=3).map(|number| epoch(number, "head", 0.9).to_string() + "\n").collect();
    std::fs::write(folder.path().join("history.jsonl"), lines + "{\"epoch\": 4, \"pha").unwrap();
    let run = Run::load(folder.path()).unwrap();
    assert_eq!((run.history.len(), run.best.epoch, run.best.monitor.as_str()), (3, 3, "val_accuracy"));
    assert_eq!(verdict(&run.history, run.best.epoch, &run.guessing()).state, State::Improving);
    assert!(report(&run).contains("not finished"));
    write(folder.path()).unwrap();
}

#[test]
fn what_is_no_run_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Run::load(folder.path()), Err(ReportError::NothingToDraw { .. })));
    put(folder.path(), "summary.json", &json!({ "name": "half" }));
    let error = write(folder.path()).unwrap_err().to_string();
    assert!(error.contains("summary.json") && error.contains("missing field"), "{error}");
}

#[test]
fn a_damaged_file_is_named_with_its_line() {
    let check = |file: &str, text: &str, parts: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), text).unwrap();
        let error = Run::load(folder.path()).unwrap_err().to_string();
        for part in [file, "was it written by `injerto train`?"].iter().chain(parts) {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    let line = |number: usize| epoch(number, "head", 0.9).to_string() + "\n";
    check("history.jsonl", &(line(1) + "{\"epoch\": 2, \"pha\n" + &line(3)), &["line 2"]);
    check("history.jsonl", &(line(1) + &line(1)), &["line 2: epoch 1 is out of place"]);
    check("summary.json", "{\n\"name\": \"a\",\n", &["line 3"]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut whole = summary("cats", 0.97);
        change(&mut whole);
        whole.to_string()
    };
    check("summary.json", &with(&|whole| whole["best"]["epoch"] = json!(9)), &["the best epoch is 9, but there are 8"]);
    check(
        "summary.json",
        &with(&|whole| whole["phases"][0]["history"][1]["epoch"] = json!(7)),
        &["epoch 7 is in place 2"],
    );
    let counts = json!({ "train": [1, 2, 3], "validation": [1, 2, 3] });
    check("summary.json", &with(&|whole| whole["images"] = counts.clone()), &["3 counts of images for 2 classes"]);
    let counts = json!({ "train": [u64::MAX, 1], "validation": [1, 1] });
    let said = format!("it counts {} images", u64::MAX);
    check("summary.json", &with(&|whole| whole["images"] = counts.clone()), &[&said]);
}

#[test]
fn a_run_without_validation_images_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = summary("blind", 0.9);
    for phase in whole["phases"].as_array_mut().unwrap() {
        for record in phase["history"].as_array_mut().unwrap() {
            record.as_object_mut().unwrap().retain(|name, _| !name.starts_with("val_"));
        }
    }
    put(folder.path(), "summary.json", &whole);
    write(folder.path()).unwrap();
    let svg = std::fs::read_to_string(folder.path().join("plots/curves.svg")).unwrap();
    assert!(svg.contains("training ") && !svg.contains("validation "));
}

#[test]
fn runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = summary("cats", 0.75);
    other["classes"] = json!(["cats", "dogs", "foxes"]);
    let runs = [
        put(&folder.path().join("good"), "summary.json", &summary("cats", 0.97)),
        put(&folder.path().join("bad"), "summary.json", &other),
        put(&folder.path().join("other"), "summary.json", &summary("alone", 0.91)),
    ];
    let comparison = Comparison::load(&runs).unwrap();
    // Folders name runs of one experiment.
    let labels: Vec<&str> = comparison.runs.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["good", "bad", "alone"]);
    let first = comparison.measures[0];
    assert!(
        (first.start - 0.75).abs() < 1e-9 && (first.asymptote - 0.95 + 0.4 * 3.0 / 512.0).abs() < 1e-9,
        "{first:?}"
    );
    let gains = comparison.gains();
    assert_eq!(gains[0].0, "bad");
    assert!((gains[0].1.start - 0.22).abs() < 1e-9 && (gains[0].1.asymptote - 0.22).abs() < 1e-9, "{gains:?}");
    assert!(gains[0].1.slope > 0.0, "{gains:?}");
    assert!((gains[1].1.start - 0.06).abs() < 1e-9, "{gains:?}");
    // The same as an experiment's transfer gain.
    let two = Comparison::load(&[runs[0].clone(), runs[2].clone()]).unwrap();
    let [ours, theirs] = [0, 1].map(|at: usize| two.runs[at].1.accuracies());
    let expected = injerto_experiment::gain::compare(&[(1, ours, theirs)], 2);
    assert!((two.gains()[0].1.slope - expected.slope).abs() < 1e-12, "{expected:?}");
    assert!(comparison.warnings().iter().any(|warning| warning.starts_with("bad has other classes than good")));
    let page = comparison.write(&folder.path().join("out")).unwrap();
    let html = std::fs::read_to_string(page).unwrap();
    well_formed(&html);
    assert!(html.contains("What good gains") && html.contains("+0.220"), "{html}");
    assert!(folder.path().join("out/compare.png").is_file() && folder.path().join("out/compare.svg").is_file());
}

#[test]
fn the_plan_is_told_as_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "summary.json", &summary("cats", 0.97));
    let layer = json!({ "name": "stem", "trains": false });
    let phase = json!({ "name": "fine-tuning", "epochs": 4, "plan": [false], "batch_norm": "frozen",
        "optimizer": { "name": "adam", "learning_rate": 1e-3 } });
    let cut = json!({ "split": { "prefix": [0], "tail": [1], "boundary": [0] }, "recomputed": [1], "multiply_adds": 5_587_200,
        "bytes": 38_400, "latest_bytes": 268_800, "before": "block_2_expand" });
    let keeps = json!({ "training": { "features": { "views": 4, "place": "folder" } }, "validation": { "nothing": "no_images" } });
    let plan = json!({ "phase": phase, "layers": [layer], "cut": cut, "precision": "f32", "boundary_values": 9_600,
        "keeps": keeps, "trainable": 1_862_721, "non_trainable": 2_257_984 });
    put(folder.path(), "plan.json", &json!({ "phases": [plan] }));
    let html = report(&Run::load(folder.path()).unwrap());
    well_formed(&html);
    for words in [
        ">fine-tuning</td>",
        "2,257,984",
        "frozen prefix 1 layer, tail 1 layer, 9,600 values per image between them",
        "cut before block_2_expand: 38 KB per image instead of 269 KB; recomputes 5.6 M multiply-adds per image in each epoch",
        "4 augmented views of each training image pass through the prefix once",
    ] {
        assert!(html.contains(words), "{words}");
    }
    // The strip shows what each layer does.
    assert!(html.contains("<title>stem: frozen, and run once per image</title>"), "{html}");
    // A plan of another version is left out, and the rest is drawn.
    put(folder.path(), "plan.json", &json!({ "phases": [{ "phase": "another" }] }));
    assert!(!report(&Run::load(folder.path()).unwrap()).contains("frozen prefix 1 layer"));
}
