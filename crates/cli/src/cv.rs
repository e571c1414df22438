//! `injerto cv`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use injerto_config::Config;
use injerto_experiment::{ExperimentError, device};
use injerto_files::{csv, printable, shown, to_text};
use injerto_insight::folds::Folds;
use injerto_insight::probe::{CrossValidation, Strengths};
use injerto_insight::stats::Baselines;
use injerto_insight::{FeatureTable, Watch};
use injerto_report::words::grouped;
use serde_json::json;

use crate::Common;
use crate::output::{self, out};
use crate::place;
use crate::prepare::prepare;
use crate::progress::watched;

/// What `injerto cv` takes.
#[derive(Args)]
#[command(after_help = "\
The images of the experiment, training and validation together, pass through its
frozen backbone once, and their features are kept. A logistic regression is then
fitted to all folds but one and judged on that one, for each fold in turn. The
phases of the experiment are not trained.

Examples:

  injerto cv configs/flowers/mobilenet_v2.toml
  injerto cv my.toml --folds 10 --repeats 3 --predictions out_of_fold.csv
  injerto cv features

The last example takes a folder that `injerto features` has written: nothing is
computed but the classifier.")]
pub struct Arguments {
    /// The experiment, or a folder of features
    file: PathBuf,
    /// Number of folds
    #[arg(long, value_name = "N", default_value_t = 5)]
    folds: usize,
    /// How many times the images are divided into folds anew
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeats: usize,
    /// Any key of the experiment, such as seed=7 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// Write the prediction for each image, by a classifier that had not seen it
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The first columns of the file of predictions.
const COLUMNS: &str = "path,label,predicted";

/// Runs the command.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    arguments.predictions.as_deref().map_or(Ok(()), |file| place::check(file, COLUMNS))?;
    #[cfg(feature = "shards")]
    if crate::shards::is_gathered(&arguments.file)? {
        return of_features(arguments);
    }
    let config = Config::load(&arguments.file, &arguments.set)?;
    let (seed, on) = (u64::from(config.seed), device(config.device)?);
    let prepared = prepare(config, common)?;
    if prepared.card.thresholds.is_some() {
        return Err(ExperimentError::SeveralClasses { what: "injerto cv" }.into());
    }
    let table = watched(|watch| prepared.features(&on, watch))?;
    judged(arguments, &table, prepared.backbone.name(), seed)
}

/// Cross-validates on features that were computed before.
#[cfg(feature = "shards")]
fn of_features(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(set) = arguments.set.first() {
        let (set, folder) = (printable(set), shown(&arguments.file));
        anyhow::bail!("--set {set}: {folder} holds features and is not an experiment; leave --set out");
    }
    let gathered = injerto_experiment::gathered::complete(std::slice::from_ref(&arguments.file))?;
    let (table, unused) = injerto_experiment::gathered::table(&gathered)?;
    if unused.unread + unused.unlabelled > 0 {
        let (unread, unlabelled) = (grouped(unused.unread), grouped(unused.unlabelled));
        crate::output::note!("left out   {unlabelled} photos without a label, {unread} that could not be read");
    }
    let name = gathered.about().map_or(String::new(), |about| about.name.clone());
    judged(arguments, &table, &name, u64::from(Config::SEED))
}

/// Cross-validates, and prints the result.
fn judged(arguments: &Arguments, table: &FeatureTable, backbone: &str, seed: u64) -> Result<ExitCode> {
    let folds = Folds { repeats: arguments.repeats, ..Folds::new(arguments.folds, seed) };
    let found = CrossValidation::run(table, folds, &Strengths::default(), Watch::none())?;
    if let Some(path) = &arguments.predictions {
        injerto_files::write(path, out_of_fold(table, &found).as_bytes()).with_context(|| shown(path).to_string())?;
    }
    match arguments.json {
        true => output::json(&json!({ "accuracy": found.accuracy, "folds": found.folds, "strength": found.strength }))?,
        false => show(table, &found, backbone)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(table: &FeatureTable, found: &CrossValidation, backbone: &str) -> Result<()> {
    let (photos, width) = (grouped(table.len()), grouped(table.features().width()));
    out!("{photos} images of {} classes, {width} features of {}", table.classes().len(), printable(backbone))?;
    for score in &found.folds {
        let [low, high] = score.accuracy.interval;
        let (fold, n) = (score.fold + 1, grouped(score.accuracy.n));
        let deal = if score.repeat > 0 { format!(", deal {}", score.repeat + 1) } else { String::new() };
        out!("  fold {fold:>2}  {:.4}  ({low:.3} to {high:.3}, n = {n}{deal})", score.accuracy.value)?;
    }
    let accuracy = &found.accuracy;
    let ([low, high], n) = (accuracy.interval, grouped(accuracy.n));
    out!(
        "accuracy   {:.4} ± {:.4} from fold to fold, {low:.3} to {high:.3} (95 %, n = {n})",
        accuracy.mean,
        accuracy.sd
    )?;
    let Baselines { chance, majority, majority_class, .. } = Baselines::of(&table.counts());
    let largest = printable(&table.classes()[majority_class]);
    Ok(out!("against    {chance:.4} by chance, {majority:.4} for always saying {largest}")?)
}

/// One line per image: path, label, prediction, and the probability of each class.
fn out_of_fold(table: &FeatureTable, found: &CrossValidation) -> String {
    let classes = table.classes();
    let mut text = format!("{COLUMNS},{}\n", csv::line(classes.iter().map(String::as_str)));
    for (row, predicted) in found.predictions.predicted().into_iter().enumerate() {
        let path: &Path = table.path(row);
        let label = &classes[table.images()[row].label as usize];
        text += &csv::line([&*to_text(path.as_os_str()), label, &classes[predicted as usize]]);
        for probability in found.predictions.row(row) {
            let _ = write!(text, ",{probability:.6}");
        }
        text.push('\n');
    }
    text
}
