//! Figures: one run's curves, several runs', and what transfer gained.

use injerto_experiment::gain::Gain;
use injerto_trainer::history::{EpochRecord, Metric};

use crate::chart::{Mark, Panel, Series, Unit};
use crate::run::Run;
use crate::scene::{Anchor, Ink, Scene};

/// Width of a figure.
const WIDTH: f64 = 980.0;
/// Height of its panels.
const HEIGHT: f64 = 320.0;
/// Distance between its panels, and from its edges.
const MARGIN: f64 = 24.0;

/// Loss and accuracy of a run, training and validation, with its phases and its best epoch; `titled` names the run above.
pub fn run_figure(run: &Run, titled: bool) -> Scene {
    let title = titled.then(|| {
        let facts = run.summary.as_ref().map_or(String::new(), |summary| {
            format!("seed {}, {}, {} classes", summary.seed, summary.device, summary.classes.len())
        });
        (run.name.as_str(), facts)
    });
    let panel = |title: &str, unit, training: Metric, validation: Metric| {
        let points = |metric: Metric| {
            let point = |record: &EpochRecord| metric.of(record).map(|value| (record.epoch, value));
            run.history.iter().filter_map(point).collect::<Vec<_>>()
        };
        let named = |name: &str, points: &[(usize, f64)]| {
            points.last().map_or_else(|| name.to_owned(), |(_, value)| format!("{name} {value:.3}"))
        };
        let (trained, validated) = (points(training), points(validation));
        let mut series =
            vec![Series { name: named("training", &trained), ink: Ink::Training, width: 1.6, points: trained }];
        if !validated.is_empty() {
            let name = named("validation", &validated);
            series.push(Series { name, ink: Ink::Validation, width: 2.2, points: validated });
        }
        let shown = if series.len() > 1 { (validation, Ink::Validation) } else { (training, Ink::Training) };
        let value = run.epoch(run.best.epoch).and_then(|record| shown.0.of(record));
        let mark = value.map(|value| {
            let text = format!("best epoch: {value:.3}");
            Mark { epoch: run.best.epoch, value, ink: shown.1, text }
        });
        Panel { title: title.to_owned(), unit, series, phases: run.stretches(), mark }
    };
    let panels = [
        panel("Accuracy", Unit::Share, Metric::Accuracy, Metric::ValAccuracy),
        panel("Loss", Unit::Loss, Metric::Loss, Metric::ValLoss),
    ];
    let best = match run.best.value {
        Some(value) => format!("; best {} {value:.4} in epoch {}", run.best.monitor, run.best.epoch),
        None => String::new(),
    };
    let description =
        format!("Learning curves of {}: accuracy and loss over {} epochs{best}", run.name, run.history.len());
    side_by_side(title, description, &panels)
}

/// Validation accuracy and loss of several runs, each called by its label.
pub fn comparison_figure(runs: &[(String, Run)], titled: bool) -> Scene {
    let panel = |title: &str, unit, metric: Metric, instead: Metric| {
        let series = runs.iter().enumerate().map(|(place, (label, run))| {
            let value = |record: &EpochRecord| metric.of(record).or_else(|| instead.of(record));
            let points = run.history.iter().filter_map(|record| Some((record.epoch, value(record)?))).collect();
            let width = if place == 0 { 2.6 } else { 1.8 };
            Series { name: label.clone(), ink: Ink::Run(place), width, points }
        });
        // The first run lies over the others.
        let mut series: Vec<Series> = series.collect();
        series.reverse();
        Panel { title: title.to_owned(), unit, series, phases: Vec::new(), mark: None }
    };
    let panels = [
        panel("Validation accuracy", Unit::Share, Metric::ValAccuracy, Metric::Accuracy),
        panel("Validation loss", Unit::Loss, Metric::ValLoss, Metric::Loss),
    ];
    let names: Vec<&str> = runs.iter().map(|(label, _)| label.as_str()).collect();
    let description = format!("Validation accuracy and loss of {}", names.join(", "));
    let title = titled.then(|| ("Runs compared", format!("{} runs", runs.len())));
    side_by_side(title, description, &panels)
}

/// The mean curves behind a transfer gain.
pub fn gain_figure(gain: &Gain) -> Scene {
    let series = |name: &str, ink, width, curve: &[f64]| {
        let points = curve.iter().enumerate().map(|(at, &value)| (at + 1, value)).collect();
        Series { name: name.to_owned(), ink, width, points }
    };
    let panel = Panel {
        title: "Validation accuracy".to_owned(),
        unit: Unit::Share,
        series: vec![
            series("from scratch", Ink::Run(0), 1.8, &gain.scratch),
            series("by transfer", Ink::Run(1), 2.6, &gain.transfer),
        ],
        phases: Vec::new(),
        mark: None,
    };
    let seeds = gain.seeds.len();
    let description = format!("Mean validation accuracy by transfer and from scratch over {seeds} seeds");
    let mut scene = Scene { width: 640.0, height: HEIGHT + MARGIN, description, items: Vec::new() };
    panel.draw(&mut scene, [MARGIN, MARGIN / 2.0, 640.0 - 2.0 * MARGIN, HEIGHT]);
    scene
}

fn side_by_side(title: Option<(&str, String)>, description: String, panels: &[Panel; 2]) -> Scene {
    let above = if title.is_some() { 56.0 } else { MARGIN / 2.0 };
    let mut scene = Scene { width: WIDTH, height: above + HEIGHT + MARGIN / 2.0, description, items: Vec::new() };
    if let Some((name, facts)) = title {
        scene.heading((MARGIN, 28.0), crate::font::fitted(name, 16.0, WIDTH / 2.0), 16.0);
        scene.text((WIDTH - MARGIN, 28.0), facts, 11.5, Ink::Muted, Anchor::End);
    }
    let width = (WIDTH - 3.0 * MARGIN) / 2.0;
    for (place, panel) in panels.iter().enumerate() {
        panel.draw(&mut scene, [MARGIN + place as f64 * (width + MARGIN), above, width, HEIGHT]);
    }
    scene
}
