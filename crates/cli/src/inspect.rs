//! `injerto inspect`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

#[cfg(feature = "shards")]
use anyhow::bail;
use anyhow::{Context as _, Result};
use clap::Args;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_config::{Config, Images};
use injerto_data::moves::{self, Move};
use injerto_data::{DataError, OnCorrupt};
use injerto_experiment::advise::Ask;
use injerto_experiment::inspect::backbone::{Candidate, candidates};
use injerto_experiment::inspect::{Drift, Inspection, Survey, relabel};
use injerto_experiment::{ExperimentError, Gallery, Predictor, Prepared, device};
use injerto_files::{printable, settled, shell_word, shown};
use injerto_insight::FeatureTable;
use injerto_report::inspection::{inspection, words};
use injerto_report::words::{duration, grouped};
use injerto_trainer::{Checkpoints, Watch};

use crate::output::{self, note, out};
use crate::progress::{Looking, Progress, interrupted, on_interrupt};
use crate::{Common, data, inventory, place};

/// Findings of each kind that are named in the terminal.
const MOST: usize = 10;

/// What `injerto inspect` takes.
#[derive(Args)]
#[command(after_help = "\
Nothing is trained. Each photo passes through a frozen backbone once, and its features are
kept, so that a second look takes seconds. Without --backbone, one is taken whose weights are
at hand or can be fetched; if there is none, only files and exact copies are examined.

Examples:

  injerto inspect photos
  injerto inspect photos --html photos.html --moves moves.csv
  injerto inspect my.toml --set seed=7 --json
  injerto inspect new_photos --run runs/my-20260101-120000
  injerto inspect features

The last example takes a folder that `injerto features` has written: no photo is opened.")]
pub struct Arguments {
    /// Folder of the images (train/ and validation/, or one sub-folder per class), an experiment, or a folder of features
    #[arg(value_parser = crate::images())]
    data: PathBuf,
    /// Name of the backbone, or path of its library
    #[arg(long, value_name = "NAME", conflicts_with = "run", value_parser = crate::text())]
    backbone: Option<String>,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet", requires = "backbone", value_parser = crate::text())]
    weights: String,
    /// Look through the backbone of this run, and say whether the photos are like those that it was trained on. The photos
    /// need no labels then
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
    /// Any key of an experiment, such as seed=7 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// Write the moves that put photos whose labels look wrong into the other class, for `injerto data apply`
    #[arg(long, value_name = "FILE")]
    moves: Option<PathBuf>,
    /// Write a page with the photos of the findings
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    let stop = on_interrupt()?;
    match inspected(arguments, common, &stop) {
        Err(error) if interrupted(&error) => {
            note!("stopped; features that were computed are kept");
            Ok(ExitCode::from(130))
        }
        done => done,
    }
}

fn inspected(arguments: &Arguments, common: &Common, stop: &AtomicBool) -> Result<ExitCode> {
    arguments.html.as_deref().map_or(Ok(()), |page| place::check(page, place::PAGE))?;
    arguments.moves.as_deref().map_or(Ok(()), |list| place::check(list, &moves::to_csv(&[])))?;
    let (began, mut catalog, cache) = (Instant::now(), common.catalog()?, Cache::of_user()?);
    let (survey, known, why) = match &arguments.run {
        Some(run) => {
            let config = Config::load(&run.join("experiment.toml"), &arguments.set)?;
            let on = device(config.device)?;
            let gallery = new_photos(&config, &arguments.data, &cache)?;
            let prepared = prepared(config, None, &mut catalog, &cache)?;
            let best = run.join(Checkpoints::BEST);
            let kept = best.is_file().then(|| Predictor::load(&best, prepared.config.device)).transpose()?;
            // The features that the run has kept are those of the network of its best epoch.
            let kept = kept.filter(|it| it.knowledge().is_ok_and(|it| it.threshold().is_some()));
            let (survey, known) = match kept {
                Some(kept) => {
                    let model = kept.model();
                    let survey = surveyed(|watch| Survey::seen_by(&model, &prepared, gallery, watch), stop)?;
                    (survey, Known::Kept(Box::new(kept), Box::new(Gallery::of(&prepared))))
                }
                None => {
                    let known = surveyed(|watch| prepared.features(&on, watch), stop)?;
                    (surveyed(|watch| Survey::with(&prepared, gallery, &on, watch), stop)?, Known::Seen(known))
                }
            };
            (survey, Some(known), format!("that of {}", shown(run)))
        }
        #[cfg(feature = "shards")]
        None if crate::shards::is_gathered(&arguments.data)? => {
            (of_features(arguments)?, None, "its features were computed before".to_owned())
        }
        None => {
            let (survey, why) = of_folder(arguments, &mut catalog, &cache, stop)?;
            (survey, None, why)
        }
    };
    let looking = Looking::new();
    let listener = |progress: injerto_insight::Progress| looking.stage(&progress);
    let watch = injerto_insight::Watch::none().stopped_by(stop).told_to(&listener);
    let found = survey.inspect(watch).and_then(|found| match &known {
        Some(known) => Ok(Inspection { drift: known.drift(&survey, watch)?, ..found }),
        None => Ok(found),
    });
    looking.end();
    let found = Inspection { seconds: began.elapsed().as_secs_f64(), ..found? };
    let written = arguments.moves.as_deref().map(|list| write_moves(list, &survey, &found)).transpose()?;
    if let Some(path) = &arguments.html {
        let page = inspection(&shown(&arguments.data).to_string(), &found);
        injerto_files::write(path, page.as_bytes()).with_context(|| shown(path).to_string())?;
    }
    match arguments.json {
        true => output::json(&found)?,
        false => show(&found, &why, arguments, written.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known about the images of a run.
enum Known {
    /// What the run has kept with its model, and its images.
    Kept(Box<Predictor>, Box<Gallery>),
    /// Their features, which were computed once more because the run has kept none.
    Seen(FeatureTable),
}

impl Known {
    fn drift(&self, survey: &Survey, watch: injerto_insight::Watch<'_>) -> Result<Option<Drift>, ExperimentError> {
        match self {
            Self::Kept(predictor, images) => survey.drift_from(predictor.knowledge()?, images, watch),
            Self::Seen(table) => survey.drift(table, watch),
        }
    }
}

/// The images of a folder or an experiment, seen through a backbone if there is one; and why it is this one.
fn of_folder(
    arguments: &Arguments,
    catalog: &mut Catalog,
    cache: &Cache,
    stop: &AtomicBool,
) -> Result<(Survey, String)> {
    let is_file = arguments.data.is_file();
    let configured = |candidate: Option<&Candidate>| -> Result<Config> {
        let mut config = match (is_file, candidate) {
            (true, _) => Config::load(&arguments.data, &arguments.set)?,
            (false, candidate) => {
                let (backbone, weights) = candidate.map_or(("none", "none"), |it| (&it.backbone, &it.weights));
                let file = Path::new("inspected.toml");
                Ask { root: &arguments.data, backbone, weights, sets: &arguments.set, file }.experiment()?
            }
        };
        if let Some(backbone) = arguments.backbone.as_ref().filter(|_| is_file) {
            (config.backbone.plugin, config.backbone.weights) = (backbone.clone(), arguments.weights.clone());
        }
        // A file that cannot be read is a finding.
        config.data.on_corrupt = OnCorrupt::Skip;
        Ok(config)
    };
    let (candidate, why) = match (&arguments.backbone, is_file) {
        (Some(name), _) => (Some(named(name, &arguments.weights)), "as you asked".to_owned()),
        (None, true) => (Some(named("", "")), format!("that of {}", shown(&arguments.data))),
        (None, false) => chosen(&candidates(catalog, cache)),
    };
    let config = configured(candidate.as_ref())?;
    let on = device(config.device)?;
    let looking = Looking::new();
    let gallery = Gallery::open(&config, cache, &|done, all| looking.show(done, all));
    looking.end();
    let gallery = gallery?;
    let images = inventory::left_out(&gallery.folder.inventory.left_out);
    if !images.is_empty() {
        note!("left out   {images}");
    }
    let prepared = match &candidate {
        None => None,
        Some(candidate) => match prepared(config.clone(), Some(&gallery), catalog, cache) {
            Ok(prepared) => Some(prepared),
            // The user has not asked for this backbone.
            Err(error) if arguments.backbone.is_none() && !is_file && !candidate.at_hand => {
                output::warning(&format!("no backbone: {}", output::in_words(&error)));
                None
            }
            Err(error) => return Err(error),
        },
    };
    let survey = match &prepared {
        Some(prepared) => surveyed(|watch| Survey::with(prepared, gallery, &on, watch), stop)?,
        None => surveyed(|watch| Survey::without(&config, gallery, cache, watch), stop)?,
    };
    Ok((survey, why))
}

/// Features that were computed before.
#[cfg(feature = "shards")]
fn of_features(arguments: &Arguments) -> Result<Survey> {
    let folder = shown(&arguments.data);
    if let Some(set) = arguments.set.first() {
        bail!("--set {}: {folder} holds features, and is no experiment; leave --set out", printable(set));
    }
    if arguments.backbone.is_some() {
        bail!("--backbone: {folder} holds the features of one backbone already; leave --backbone out");
    }
    if arguments.moves.is_some() {
        bail!("--moves: {folder} holds features, and no photos that could be moved; inspect the folder of the photos");
    }
    let gathered = injerto_experiment::gathered::complete(std::slice::from_ref(&arguments.data))?;
    let (survey, unused) = Survey::of_features(&gathered, u64::from(Config::SEED))?;
    if unused.unread + unused.unlabelled > 0 {
        let (unread, unlabelled) = (grouped(unused.unread), grouped(unused.unlabelled));
        note!("left out   {unlabelled} photos without a label, {unread} that could not be read");
    }
    Ok(survey)
}

/// The backbone of this name with this weight set.
pub fn named(backbone: &str, weights: &str) -> Candidate {
    let (backbone, weights) = (backbone.to_owned(), weights.to_owned());
    Candidate { backbone, weights, at_hand: true, general: true, multiply_adds: 0 }
}

/// The backbone to look through, and why: the fastest whose weights are at hand and were trained on photos of all kinds of things. Where
/// there is none, the weights of the fastest are fetched.
pub fn chosen(candidates: &[Candidate]) -> (Option<Candidate>, String) {
    let general = |at_hand: bool| candidates.iter().filter(move |it| it.general && it.at_hand == at_hand);
    let count = general(true).count();
    match (general(true).next(), general(false).next()) {
        (Some(first), _) => {
            let fastest = if count > 1 { format!(", and it is the fastest of {count}") } else { String::new() };
            let why =
                format!("its weights '{}' are at hand{fastest}; --backbone takes another", printable(&first.weights));
            (Some(first.clone()), why)
        }
        (None, Some(first)) => {
            note!("no weights are at hand; fetching '{}' of {}", printable(&first.weights), printable(&first.backbone));
            (
                Some(first.clone()),
                "its weights were fetched, because none are at hand; --backbone takes another".to_owned(),
            )
        }
        (None, None) => (None, String::new()),
    }
}

fn prepared(config: Config, gallery: Option<&Gallery>, catalog: &mut Catalog, cache: &Cache) -> Result<Prepared> {
    let looking = Looking::new();
    let prepared = match gallery {
        Some(gallery) => Prepared::on(gallery, config, catalog, cache),
        None => Prepared::watched(config, catalog, cache, &|done, all| looking.show(done, all)),
    };
    looking.end();
    let prepared = prepared?;
    // The other warnings of an experiment are about its training.
    Ok(prepared)
}

/// New photos, with or without classes.
fn new_photos(config: &Config, folder: &Path, cache: &Cache) -> Result<Gallery> {
    let mut config = config.clone();
    config.data.images = Images::Folder { root: vec![folder.to_owned()] };
    (config.data.validation_split, config.data.layout, config.data.on_corrupt) = (None, None, OnCorrupt::Skip);
    let looking = Looking::new();
    let show = |done: usize, all: usize| looking.show(done, all);
    let gallery = match Gallery::open(&config, cache, &show) {
        Err(ExperimentError::Data(
            DataError::NoClasses { .. }
            | DataError::Layout { .. }
            | DataError::EmptyClasses { .. }
            | DataError::NoneReadable { .. },
        )) => Gallery::unlabelled(folder, cache, &show),
        gallery => gallery,
    };
    looking.end();
    Ok(gallery?)
}

/// Runs work that reads images, with a bar. An interruption is an error here.
fn surveyed<T>(
    work: impl FnOnce(&mut Watch<'_>) -> Result<Option<T>, ExperimentError>,
    stop: &AtomicBool,
) -> Result<T> {
    let mut progress = Progress::new();
    let done = work(&mut Watch { observer: &mut progress, stop });
    progress.end();
    Ok(done?.ok_or(injerto_insight::InsightError::Stopped)?)
}

/// Writes the moves, and returns the command that carries them out. Paths begin in the list's folder if the images lie below it, so that
/// the command needs no other, and else in the images' own.
fn write_moves(list: &Path, survey: &Survey, found: &Inspection) -> Result<String> {
    let mut moves = relabel(&survey.gallery, &found.labels);
    let root = survey.gallery.root.clone().unwrap_or_default();
    let beside = settled(list).parent().map(Path::to_owned).unwrap_or_default();
    let below = settled(&root).strip_prefix(&beside).ok().map(Path::to_owned);
    let apply = match &below {
        Some(below) => {
            let inside = |path: &Path| moves::Inside::new(&below.join(path));
            moves = moves
                .iter()
                .filter_map(|it| Some(Move { from: inside(it.from.path())?, to: inside(it.to.path())? }))
                .collect();
            data::command(list, None)
        }
        None => data::command(list, Some(&root)),
    };
    injerto_files::write(list, moves::to_csv(&moves).as_bytes()).with_context(|| shown(list).to_string())?;
    if moves.len() < found.labels.len() {
        let left = found.labels.len() - moves.len();
        output::warning(&format!("{left} images do not lie in their class's folder, and are not in {}", shown(list)));
    }
    Ok(apply)
}

fn show(found: &Inspection, why: &str, arguments: &Arguments, written: Option<&str>) -> Result<()> {
    output::prose(&format!("images     {}", words::images(found)))?;
    match words::backbone(found) {
        Some(backbone) => output::prose(&format!("backbone   {backbone}: {why}"))?,
        None => output::prose(
            "backbone   none whose weights are at hand: only files and exact copies were examined. With access to the network, \
             `--backbone NAME` fetches its weights",
        )?,
    }
    let opened = found.health.n > 0;
    if opened {
        output::prose(&format!("files      {}", words::sizes(&found.health)))?;
    }
    let line = |label: &str, text: &str| output::prose(&format!("{label:<10} {text}"));
    if let Some(drift) = &found.drift {
        line("\ndrift     ", &words::drift(drift))?;
        for stranger in drift.strangers.iter().take(MOST) {
            out!("             {:.3}  {}", stranger.distance, shown(&stranger.path))?;
        }
        more(drift.strangers.len())?;
    }
    if let Some(probe) = &found.probe {
        line("\nprobe     ", &words::probe(probe))?;
    }
    line("\nleaks     ", &words::leaks(&found.leaks).unwrap_or_else(|| "no picture was found twice".to_owned()))?;
    for leak in found.leaks.iter().take(MOST) {
        out!(
            "             {}\n               {}\n               {}",
            words::leak(leak),
            shown(&leak.a),
            shown(&leak.b)
        )?;
    }
    more(found.leaks.len())?;
    if found.probe.is_some() {
        let labels = words::labels(&found.labels, found.images).unwrap_or_else(|| "no label looks wrong".to_owned());
        line("\nlabels    ", &labels)?;
        for suspect in found.labels.iter().take(MOST) {
            out!("             {}: {}", shown(&suspect.path), words::suspect(suspect))?;
        }
        more(found.labels.len())?;
    }
    let health = words::health(&found.health);
    if health.is_empty() && opened {
        line("\nhealth    ", &format!("nothing is conspicuous about {} files", grouped(found.health.n)))?;
    }
    for (at, text) in health.iter().enumerate() {
        line(if at == 0 { "\nhealth    " } else { "" }, text)?;
    }
    for unreadable in found.health.unreadable.iter().take(MOST) {
        out!("             {}: {}", shown(&unreadable.path), printable(&unreadable.reason))?;
    }
    if let Some(more) = &found.more_photos {
        line("\nmore      ", &words::more(more))?;
    }
    for text in words::unanswered(found) {
        line("\nunknown   ", &text)?;
    }
    out!("\n{} in all", duration(found.seconds))?;
    if let Some(page) = &arguments.html {
        out!("look at    {}", shown(page))?;
    }
    next(found, arguments, written)
}

/// How many findings are not named.
fn more(all: usize) -> Result<()> {
    if all > MOST {
        out!("             … and {} more; --html FILE shows them, --json lists them", grouped(all - MOST))?;
    }
    Ok(())
}

/// The command that most likely comes next.
fn next(found: &Inspection, arguments: &Arguments, written: Option<&str>) -> Result<()> {
    let data = shell_word(&arguments.data);
    Ok(match written {
        Some(apply) if !found.labels.is_empty() => {
            let list = arguments.moves.as_deref().unwrap_or(Path::new(""));
            out!(
                "next       look through {}, delete the lines that you do not agree with, and then: {apply}",
                shown(list)
            )
        }
        // Features cannot be moved, and an experiment on them has to be written by hand.
        _ if found.health.n == 0 => out!("next       injerto cv {data}"),
        _ if !found.labels.is_empty() => {
            out!("next       injerto inspect {data} --html inspection.html --moves moves.csv")
        }
        _ if arguments.run.is_some() => Ok(()),
        _ if arguments.data.is_file() => out!("next       injerto train {data}"),
        _ => out!("next       injerto advise {data} --out my.toml"),
    }?)
}
