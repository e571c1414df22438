//! Figures: the curves of one run, the curves of several runs, and the gain of transfer.

use injerto_experiment::gain::Gain;
use injerto_recipe::Metric;
use injerto_trainer::history::EpochRecord;

use crate::chart::{Mark, Panel, Series, Unit};
use crate::run::Run;
use crate::scene::{Anchor, Ink, Scene};

/// Width of a figure with several panels side by side, in units of the scene.
const WIDTH: f64 = 980.0;
/// Width of a single panel, in units of the scene. Its text stays readable on the screen of a phone.
const ALONE: f64 = 460.0;
/// Height of a panel, in units of the scene.
const HEIGHT: f64 = 320.0;
/// Distance between panels, and from the edges of the figure, in units of the scene.
const MARGIN: f64 = 24.0;

/// Panels that belong together. A file shows them side by side; a page contains each one separately, and arranges them by the
/// width of the screen.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Title above the panels in a file: its left and its right part.
    title: [String; 2],
    /// Description of the panels for screen readers.
    description: String,
    panels: Vec<Panel>,
}

/// Accuracy and loss of a run in training and validation, with its phases and its best epoch.
pub fn run_figure(run: &Run) -> Figure {
    let facts = run.summary.as_ref().map_or(String::new(), |summary| {
        format!("seed {}, {}, {} classes", summary.seed, summary.device, summary.classes.len())
    });
    let panel = |title: &str, unit, training: Metric, validation: Metric| {
        let points = |metric: Metric| {
            let point = |record: &EpochRecord| record.figure(metric).map(|value| (record.epoch, value));
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
        let value = run.epoch(run.best.epoch).and_then(|record| record.figure(shown.0));
        let mark = value.map(|value| {
            let text = format!("best epoch: {value:.3}");
            Mark { epoch: run.best.epoch, value, ink: shown.1, text }
        });
        Panel { title: title.to_owned(), unit, series, phases: run.stretches(), mark }
    };
    let panels = vec![
        panel("Accuracy", Unit::Share, Metric::Accuracy, Metric::ValAccuracy),
        panel("Loss", Unit::Loss, Metric::Loss, Metric::ValLoss),
    ];
    let best = match run.best.value {
        Some(value) => format!("; best {} {value:.4} in epoch {}", run.best.monitor, run.best.epoch),
        None => String::new(),
    };
    let description =
        format!("Learning curves of {}: accuracy and loss over {} epochs{best}", run.name, run.history.len());
    Figure { title: [run.name.clone(), facts], description, panels }
}

/// Validation accuracy and loss of several runs, with the label of each run.
pub fn comparison_figure(runs: &[(String, Run)]) -> Figure {
    let panel = |title: &str, unit, metric: Metric, instead: Metric| {
        let series = runs.iter().enumerate().map(|(place, (label, run))| {
            let value = |record: &EpochRecord| record.figure(metric).or_else(|| record.figure(instead));
            let points = run.history.iter().filter_map(|record| Some((record.epoch, value(record)?))).collect();
            let width = if place == 0 { 2.6 } else { 1.8 };
            Series { name: label.clone(), ink: Ink::Run(place), width, points }
        });
        // The first run is drawn last, over the others.
        let mut series: Vec<Series> = series.collect();
        series.reverse();
        Panel { title: title.to_owned(), unit, series, phases: Vec::new(), mark: None }
    };
    let panels = vec![
        panel("Validation accuracy", Unit::Share, Metric::ValAccuracy, Metric::Accuracy),
        panel("Validation loss", Unit::Loss, Metric::ValLoss, Metric::Loss),
    ];
    let names: Vec<&str> = runs.iter().map(|(label, _)| label.as_str()).collect();
    let description = format!("Validation accuracy and loss of {}", names.join(", "));
    Figure { title: ["Runs compared".to_owned(), format!("{} runs", runs.len())], description, panels }
}

/// The mean curves of a transfer gain.
pub fn gain_figure(gain: &Gain) -> Figure {
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
    Figure { title: ["Transfer gain".to_owned(), format!("{seeds} seeds")], description, panels: vec![panel] }
}

impl Figure {
    /// All panels side by side, with the title above them.
    pub fn beside(&self) -> Scene {
        let above = 56.0;
        let mut scene = Scene {
            width: WIDTH,
            height: above + HEIGHT + MARGIN / 2.0,
            description: self.description.clone(),
            items: Vec::new(),
        };
        let [name, facts] = &self.title;
        scene.heading((MARGIN, 28.0), crate::font::fitted(name, 16.0, WIDTH / 2.0), 16.0);
        scene.text((WIDTH - MARGIN, 28.0), facts.clone(), 11.5, Ink::Muted, Anchor::End);
        let count = self.panels.len() as f64;
        let width = (WIDTH - (count + 1.0) * MARGIN) / count;
        for (place, panel) in self.panels.iter().enumerate() {
            panel.draw(&mut scene, [MARGIN + place as f64 * (width + MARGIN), above, width, HEIGHT]);
        }
        scene
    }

    /// Each panel as a separate scene, without the title of the figure.
    pub fn each(&self) -> Vec<Scene> {
        let scene = |panel: &Panel| {
            let description = format!("{}. {}", panel.title, self.description);
            let mut scene = Scene { width: ALONE, height: HEIGHT + MARGIN / 2.0, description, items: Vec::new() };
            panel.draw(&mut scene, [0.0, MARGIN / 2.0, ALONE - MARGIN, HEIGHT]);
            scene
        };
        self.panels.iter().map(scene).collect()
    }
}
