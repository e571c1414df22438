use std::path::{Path, PathBuf};

use injerto_experiment::gain::{Curve, measure};
use maud::{Markup, html};

use crate::curves::comparison_figure;
use crate::page::{NONE, cell, figures, page, section, table};
use crate::paired::{Answers, Duel};
use crate::run::Run;
use crate::scene::Ink;
use crate::words::estimate;
use crate::write::{write_figure, write_file};
use crate::{Kept, ReportError};

/// A comparison of several runs.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The runs, each with a unique label.
    pub runs: Vec<(String, Run)>,
    /// Start, slope and asymptote of each run's validation accuracy.
    pub measures: Vec<Curve>,
    /// The accuracy of guessing.
    pub chance: f64,
    /// The accuracy up to which all slopes are measured: 95 % of the way from chance to the lowest asymptote.
    pub target: f64,
}

impl Comparison {
    /// Number of runs that have different colours.
    pub const MOST: usize = 6;

    /// Reads the folders of at least one run.
    ///
    /// # Errors
    /// [`ReportError`] if a folder does not hold a run, or if its files cannot be read.
    pub fn load(folders: &[PathBuf]) -> Result<Self, ReportError> {
        let runs: Vec<Run> = folders.iter().map(|folder| Run::load(folder)).collect::<Result<_, _>>()?;
        let curves: Vec<Vec<f64>> = runs.iter().map(Run::accuracies).collect();
        // If no run was trained far enough to know its number of classes, two classes are assumed.
        let chance = runs.iter().find_map(Run::chance).unwrap_or(0.5);
        let lowest = curves.iter().map(|curve| measure(curve, chance, 1.0).asymptote).fold(1.0, f64::min);
        // The target lies above chance even if a run never got better than chance.
        let target = chance + 0.95 * (lowest - chance).max(0.05 * (1.0 - chance));
        let measures = curves.iter().map(|curve| measure(curve, chance, target)).collect();
        Ok(Self { runs: labels(&runs).into_iter().zip(runs).collect(), measures, chance, target })
    }

    /// Difference between the measures of the first run and those of each other run, with the other run's label. For two runs
    /// these are the figures of an experiment's transfer gain.
    pub fn gains(&self) -> Vec<(&str, Curve)> {
        let first = self.measures[0];
        let ahead = |other: &Curve| Curve {
            start: first.start - other.start,
            slope: first.slope - other.slope,
            asymptote: first.asymptote - other.asymptote,
        };
        self.runs.iter().zip(&self.measures).skip(1).map(|((label, _), other)| (label.as_str(), ahead(other))).collect()
    }

    /// Whether the first run and each other run can be told apart on the validation photos that both judged, in a sentence each. There
    /// is none for runs that kept no predictions.
    pub fn duels(&self) -> Vec<String> {
        let answers: Vec<Option<Answers>> = self.runs.iter().map(|(_, run)| Answers::load(&run.folder)).collect();
        let (name, first) = (&self.runs[0].0, answers[0].as_ref());
        let others = self.runs.iter().zip(&answers).skip(1);
        let duel = |((label, _), other): (&(String, Run), &Option<Answers>)| {
            Some(Duel::new(first?, other.as_ref()?)?.in_words(name, label))
        };
        others.filter_map(duel).collect()
    }

    /// Reasons why the comparison may be unfair, in words.
    pub fn warnings(&self) -> Vec<String> {
        let (first_label, first) = &self.runs[0];
        let mut warnings = Vec::new();
        for (label, run) in &self.runs {
            match (&first.summary, &run.summary) {
                (Some(ours), Some(theirs)) if ours.classes != theirs.classes => warnings.push(format!(
                    "{label} has other classes than {first_label} ({} and {}): their accuracies cannot be compared",
                    theirs.classes.len(),
                    ours.classes.len()
                )),
                (Some(ours), Some(theirs)) if ours.images != theirs.images => {
                    warnings.push(format!("{label} has another number of images than {first_label}"));
                }
                (_, None) => warnings.push(format!("{label} did not end")),
                _ => {}
            }
        }
        warnings
    }

    /// Writes `compare.svg`, `compare.png` and `compare.html`, and returns the path of the page.
    ///
    /// # Errors
    /// [`ReportError`] if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ReportError> {
        write_figure(&comparison_figure(&self.runs).beside(), folder, "compare")?;
        let path = folder.join("compare.html");
        write_file(&path, self.page().as_bytes())?;
        Ok(path)
    }

    fn page(&self) -> String {
        let names: Vec<&str> = self.runs.iter().map(|(label, _)| label.as_str()).collect();
        let warnings = self.warnings();
        let body = html! {
            h1 { "Runs compared" }
            p class="muted" { (names.join(", ")) }
            (section("Learning curves", &figures(&comparison_figure(&self.runs).each())))
            (section("Start, slope, asymptote", &self.measured()))
            (section(&format!("What {} gains", self.runs[0].0), &self.gained()))
            @let duels = self.duels();
            @if !duels.is_empty() {
                (section("Whether they can be told apart", &html! {
                    p class="muted" {
                        "On the validation photos that both runs judged: McNemar's exact test, and the difference of the accuracies "
                        "with the 95 % interval of the paired bootstrap."
                    }
                    ul { @for duel in &duels { li { (duel) } } }
                }))
            }
            @if !warnings.is_empty() {
                (section("Warnings", &html! { ul { @for warning in &warnings { li { (warning) } } } }))
            }
        };
        page("Runs compared", &body)
    }

    fn measured(&self) -> Markup {
        let rows = self.runs.iter().zip(&self.measures).enumerate().map(|(place, ((label, run), measured))| {
            let Kept { epoch, monitor, value } = &run.best;
            let colour = Ink::Run(place).variable();
            let [start, slope, asymptote] =
                [measured.start, measured.slope, measured.asymptote].map(|value| cell(format!("{value:.3}")));
            vec![
                html! { span class="key" style={ "background:var(" (colour) ")" } {} (label) },
                cell(run.history.len()),
                start,
                slope,
                asymptote,
                cell(value.map_or(NONE.to_owned(), |value| {
                    let trust = run.summary.as_ref().and_then(|summary| Some((summary.best.interval, summary.best.n?)));
                    let value = trust.map_or_else(|| format!("{value:.4}"), |(limits, n)| estimate(value, limits, n));
                    format!("{monitor} {value}, epoch {epoch}")
                })),
            ]
        });
        let headings = ["run", "#epochs", "#start", "#slope", "#asymptote", "best"];
        let (chance, target) = (format!("{:.3}", self.chance), format!("{:.3}", self.target));
        html! {
            p class="muted" {
                "These figures describe the validation accuracy. The start is the accuracy after the first epoch. The slope is the "
                "gain per epoch on the way from " (chance) " (chance) to " (target) " (95 % of the way to the lowest asymptote). The "
                "asymptote is the mean over the last quarter of the epochs."
            }
            (table(&headings, &rows.collect::<Vec<_>>()))
        }
    }

    fn gained(&self) -> Markup {
        let rows = self.gains().into_iter().map(|(label, gain)| {
            let figures = [gain.start, gain.slope, gain.asymptote].map(|value| cell(format!("{value:+.3}")));
            std::iter::once(cell(label)).chain(figures).collect()
        });
        table(&["over", "#start", "#slope", "#asymptote"], &rows.collect::<Vec<_>>())
    }
}

/// Labels of the runs: the name of the experiment, or the name of the folder if several runs have the same name, with a number
/// if the label is still not unique.
fn labels(runs: &[Run]) -> Vec<String> {
    let folder = |run: &Run| run.folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut labels: Vec<String> = Vec::new();
    for run in runs {
        let alone = runs.iter().filter(|other| other.name == run.name).count() == 1;
        let label = if alone { run.name.clone() } else { folder(run).unwrap_or_else(|| run.name.clone()) };
        let mut numbered = label.clone();
        let mut number = 2;
        while labels.contains(&numbered) {
            numbered = format!("{label} ({number})");
            number += 1;
        }
        labels.push(numbered);
    }
    labels
}
