//! `injerto predict`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_config::Device;
use injerto_data::SEPARATOR;
use injerto_data::augment::MOST_VIEWS;
use injerto_experiment::answer::{Said, Verdict};
use injerto_experiment::{
    Classifier, Ensemble, ExperimentError, Prediction, Predictor, RunFolder, Similar, Sorter, Sorting,
};
use injerto_files::{csv, printable, shown, to_text};
use injerto_report::words::{duration, grouped};
use injerto_trainer::Checkpoints;
use serde_json::json;

use crate::Common;
use crate::output::{self, note, out};
use crate::photos::{Photo, photos};
use crate::progress::Counted;
use crate::summary::parameters;

/// What `injerto predict` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto predict photo.jpg --run runs/cats-20260101-120000
  injerto predict new_photos --csv --top 3 > answers.csv
  injerto predict 'new_photos/**/*.jpg' --run model.safetensors --json
  find . -name '*.jpg' -print0 | injerto predict -
  injerto predict new_photos --threshold 0.9 --move-to sorted
  injerto predict photo.jpg --neighbours
  injerto predict new_photos --tta --run runs/cats-20260101-120000 --run runs/cats-20260102-090000
  injerto predict photo.jpg --backbone efficientnet --param variant=lite0

If photos may have several classes (data.multi_label), each photo gets those whose probabilities reach their thresholds, which
training has chosen; --json lists them as `labels`.

A run keeps with its model what it knows about the photos that it was trained on (knowledge.safetensors). A photo that is unlike
all of them is unknown, whatever the probabilities say, and probabilities are calibrated where that helps. A checkpoint without
that file only names classes.

--move-to and --link-to make one folder per class. No file is ever overwritten, and photos that are unknown, or less sure than
--threshold, stay where they are.

The exit code is 1 if a photo could not be read; the others have their answers all the same.")]
pub struct Arguments {
    /// Photos, folders (searched at every depth) and patterns; `-` is standard input: one image, or paths
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    together: Together,
    /// List the training photos that resemble each photo most: five, or N
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "5",
        conflicts_with = "backbone", value_parser = clap::value_parser!(u16).range(1..=1000))]
    neighbours: Option<u16>,
    /// Show the network's own probabilities, even if the run has found a temperature that calibrates them
    #[arg(long, conflicts_with = "backbone")]
    uncalibrated: bool,
    #[command(flatten)]
    other: Other,
    /// Number of classes to name per photo, the most probable first [default: 5, with --csv 1, with --json all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    top: Option<u16>,
    /// Call an answer unsure if it is less probable than this share, such as 0.9; if photos may have several classes, use it as the
    /// threshold of all classes
    #[arg(long, value_name = "SHARE", value_parser = share)]
    threshold: Option<f32>,
    /// Print one line of JSON per image
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV with a header and one line per image
    #[arg(long, conflicts_with = "neighbours")]
    csv: bool,
    /// Write the answers into a Parquet file in this folder instead: of all photos, or of the part that --shard says. Photos may
    /// then also be in lists, .tar archives and .parquet tables (`injerto features --help` says how they are divided)
    #[cfg(feature = "shards")]
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["json", "csv", "top", "neighbours", "move_to", "link_to", "backbone"])]
    out: Option<PathBuf>,
    #[cfg(feature = "shards")]
    #[command(flatten)]
    sharing: crate::shards::Sharing,
    /// Move each photo into the folder of its class below this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "link_to")]
    move_to: Option<PathBuf>,
    /// Put a link to each photo into the folder of its class below this folder
    #[arg(long, value_name = "FOLDER")]
    link_to: Option<PathBuf>,
}

/// The networks whose probabilities are averaged.
#[derive(Args)]
pub struct Together {
    /// A run's folder (its best checkpoint is taken) or a checkpoint; by default the newest run in runs/. Of several, the mean of the
    /// probabilities is taken
    #[arg(long, value_name = "PATH", conflicts_with = "backbone")]
    run: Vec<PathBuf>,
    /// Take the mean over views of each photo: itself and its mirror image, or N views (then also pieces of it)
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "2",
        conflicts_with = "backbone", value_parser = clap::value_parser!(u16).range(2..=MOST_VIEWS as i64))]
    tta: Option<u16>,
}

/// One trained network, or several that answer together.
pub enum Trained {
    One(Box<Predictor>),
    Several(Ensemble),
}

impl Together {
    /// Loads the networks; `prepare` is called with each.
    pub fn load(&self, prepare: impl Fn(&mut Predictor) -> Result<()>) -> Result<Trained> {
        let paths = match &self.run[..] {
            [] => vec![checkpoint(None)?],
            runs => runs.iter().map(|run| checkpoint(Some(run))).collect::<Result<_>>()?,
        };
        let load = |path: &PathBuf| -> Result<Predictor> {
            let mut predictor = Predictor::load(path, Device::Flex)?;
            predictor.set_views(self.tta.unwrap_or(1).into());
            prepare(&mut predictor)?;
            Ok(predictor)
        };
        let mut all = paths.iter().map(load).collect::<Result<Vec<_>>>()?;
        match all.pop() {
            Some(one) if all.is_empty() => Ok(Trained::One(Box::new(one))),
            last => Ok(Trained::Several(Ensemble::new(all.into_iter().chain(last).collect())?)),
        }
    }
}

/// Options for a backbone instead of a run.
#[derive(Args)]
struct Other {
    /// Name ImageNet's classes with this backbone's own classifier, no training needed
    #[arg(long, value_name = "NAME", conflicts_with = "run", value_parser = crate::text())]
    backbone: Option<String>,
    /// A parameter of the backbone as JSON, such as variant=lite0 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", requires = "backbone", value_parser = crate::text())]
    param: Vec<String>,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet", requires = "backbone", value_parser = crate::text())]
    weights: String,
}

/// A share from 0 to 1.
pub fn share(text: &str) -> Result<f32, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1, such as 0.9".to_owned())
}

/// What is asked.
enum Network {
    Trained(Trained),
    Backbone(Box<Classifier>),
}

impl Network {
    fn load(arguments: &Arguments, common: &Common) -> Result<Self> {
        Ok(match &arguments.other.backbone {
            Some(backbone) => {
                let Other { param, weights, .. } = &arguments.other;
                let (mut catalog, cache) = (common.catalog()?, Cache::of_user()?);
                let parameters = parameters(param)?;
                let on = Device::Flex;
                let classifier = Classifier::new(&mut catalog, backbone, &parameters, weights, &cache, on)?;
                classifier.warnings.iter().for_each(|warning| output::warning(warning));
                Self::Backbone(Box::new(classifier))
            }
            None => {
                if arguments.neighbours.is_some() && arguments.together.run.len() > 1 {
                    bail!("--neighbours takes one run: each run has training photos of its own");
                }
                Self::Trained(arguments.together.load(|predictor| {
                    predictor.set_calibrated(!arguments.uncalibrated);
                    if let Some(threshold) = arguments.threshold {
                        predictor.set_threshold(threshold);
                    }
                    let count = arguments.neighbours.map(usize::from);
                    Ok(count.map_or(Ok(()), |count| predictor.set_neighbours(count))?)
                })?)
            }
        })
    }

    /// Whether a photo may have several classes.
    fn has_several(&self) -> bool {
        match self {
            Self::Trained(Trained::One(predictor)) => predictor.thresholds().is_some(),
            Self::Trained(Trained::Several(ensemble)) => ensemble.thresholds().is_some(),
            Self::Backbone(_) => false,
        }
    }

    fn classes(&self) -> &[String] {
        match self {
            Self::Trained(Trained::One(predictor)) => predictor.classes(),
            Self::Trained(Trained::Several(ensemble)) => ensemble.classes(),
            Self::Backbone(classifier) => classifier.classes(),
        }
    }
}

/// Columns that the name of a photo is padded to, at most.
const NAME: usize = 60;

/// Runs the command.
pub fn run(arguments: Arguments, common: &Common) -> Result<ExitCode> {
    let Arguments { images, move_to, link_to, threshold, json, csv, .. } = &arguments;
    #[cfg(feature = "shards")]
    match &arguments.out {
        Some(folder) => return shard(&arguments, folder),
        None if arguments.sharing.is_given() => bail!("--shard writes a file, and needs --out FOLDER for it"),
        None => {}
    }
    let sorted = move_to.as_ref().map(|at| (at, Sorting::Move)).or(link_to.as_ref().map(|at| (at, Sorting::Link)));
    let network = Network::load(&arguments, common)?;
    if network.has_several() && sorted.is_some() {
        bail!(
            "a photo may have several classes here (data.multi_label), so that it belongs into no one folder; leave --move-to out"
        );
    }
    let photos = photos(images, sorted.map(|(at, _)| at.as_path()))?;
    if sorted.is_some() && photos.iter().any(|photo| photo.origin.path().is_none()) {
        bail!("an image on standard input has no file that could be sorted; give its path");
    }
    let sorter = sorted.map(|(at, sorting)| Sorter::new(at, network.classes(), sorting)).transpose()?;
    let origins: Vec<_> = photos.iter().map(|photo| photo.origin.clone()).collect();
    let answers: Box<dyn Iterator<Item = Result<Prediction, ExperimentError>>> = match &network {
        Network::Trained(Trained::One(predictor)) => Box::new(predictor.predict(origins)),
        Network::Trained(Trained::Several(ensemble)) => Box::new(ensemble.predict(origins)),
        Network::Backbone(classifier) => Box::new(classifier.predict(origins)),
    };
    let top = arguments.top.map(usize::from);
    let style = match (json, csv) {
        (false, true) if network.has_several() => Style::SeveralCsv,
        (true, _) => {
            Style::Json(Said { top, neighbours: arguments.neighbours.map(usize::from), threshold: *threshold })
        }
        (_, true) => Style::Csv { top: top.unwrap_or(1).min(network.classes().len()) },
        _ => {
            let width = |photo: &Photo| shown(&photo.name).to_string().chars().count() + 1;
            Style::Text { top: top.unwrap_or(5), width: photos.iter().map(width).max().unwrap_or(0).min(NAME) }
        }
    };
    match &style {
        Style::Csv { top } => out!("{}", header(*top, sorted.map(|(_, sorting)| sorting)))?,
        Style::SeveralCsv => {
            let fixed = ["image", "status", "classes"].into_iter();
            out!("{}", csv::line(fixed.chain(network.classes().iter().map(String::as_str))))?;
        }
        Style::Text { .. } | Style::Json { .. } => {}
    }
    let (began, mut counted) = (Instant::now(), Counted::new(photos.len()));
    let (mut counts, mut failed) = (BTreeMap::<String, usize>::new(), 0_usize);
    for (done, (photo, answer)) in (1..).zip(photos.iter().zip(answers)) {
        let said = answer.and_then(|prediction| {
            let verdict = Verdict::of(&prediction, *threshold);
            let place = match (&sorter, verdict.class(), photo.origin.path()) {
                (Some(sorter), Some(class), Some(path)) => Some(sorter.put(path, class)?),
                _ => None,
            };
            match (verdict, prediction.chosen()) {
                // A photo counts for each of its classes.
                (Verdict::Several, Some(chosen)) => {
                    let words = chosen.iter().map(|&at| printable(&prediction.classes()[at]).to_string());
                    words.for_each(|word| *counts.entry(word).or_default() += 1);
                }
                _ => {
                    let word =
                        verdict.class().map_or_else(|| verdict.name().to_owned(), |class| printable(class).to_string());
                    *counts.entry(word).or_default() += 1;
                }
            }
            Ok(style.line(&network, photo, &prediction, verdict, place.as_deref(), sorted.map(|(_, sorting)| sorting)))
        });
        match said {
            Ok(line) => out!("{line}")?,
            // One bad file does not keep the others from being answered.
            Err(error) => {
                failed += 1;
                counted.end();
                let error = match error {
                    // The error names the file already.
                    ExperimentError::NoAnswer => anyhow::Error::from(error).context(shown(&photo.name).to_string()),
                    error => error.into(),
                };
                output::error(&error);
            }
        }
        counted.show(done);
    }
    counted.end();
    if photos.len() > 1 {
        let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{word} {}", grouped(*count))).collect();
        let answered = injerto_files::listed(counts.iter().map(String::as_str));
        let failures = if failed > 0 { format!("{} without an answer", grouped(failed)) } else { String::new() };
        let said: Vec<String> = [answered, failures].into_iter().filter(|part| !part.is_empty()).collect();
        let (count, time) = (grouped(photos.len()), duration(began.elapsed().as_secs_f64()));
        note!("{count} photos in {time}: {}", said.join(", "));
    }
    Ok(if failed > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Writes what the network says of one part of the photos into a file.
#[cfg(feature = "shards")]
fn shard(arguments: &Arguments, folder: &Path) -> Result<ExitCode> {
    let Arguments { together, threshold, uncalibrated, .. } = arguments;
    if together.run.len() > 1 {
        bail!("--out takes one run; give one --run");
    }
    let folder = injerto_shards::Place::parse(folder.as_os_str())?;
    let share = arguments.sharing.share(&arguments.images)?;
    let checkpoint = checkpoint(together.run.first().map(PathBuf::as_path))?;
    let mut predictor = Predictor::load(&checkpoint, Device::Flex)?;
    predictor.set_views(together.tta.unwrap_or(1).into());
    predictor.set_calibrated(!uncalibrated);
    threshold.iter().for_each(|threshold| predictor.set_threshold(*threshold));
    let options = format!("{} {uncalibrated}", together.tta.unwrap_or(1));
    let network = injerto_experiment::shards::PredictionNetwork::new(&predictor, &checkpoint, *threshold, &options)?;
    crate::shards::compute(share, &network, &folder)
}

/// How answers are written.
enum Style {
    Text {
        top: usize,
        width: usize,
    },
    Json(Said),
    Csv {
        top: usize,
    },
    /// CSV for photos that may have several classes: their names in one field, and the probability of every class.
    SeveralCsv,
}

impl Style {
    /// A photo's line, or lines. `place` is where its file or the link to it has been put.
    fn line(
        &self,
        network: &Network,
        photo: &Photo,
        prediction: &Prediction,
        verdict: Verdict<'_>,
        place: Option<&Path>,
        sorting: Option<Sorting>,
    ) -> String {
        match self {
            Self::Text { top, width } => {
                let word = |(class, p): (&str, f32)| format!("{} {:.1} %", printable(class), p * 100.0);
                let words: Vec<String> = match prediction.chosen() {
                    Some(chosen) => {
                        let one = |at: usize| word((prediction.classes()[at].as_str(), prediction.probabilities()[at]));
                        chosen.into_iter().map(one).collect()
                    }
                    None => prediction.ranked().take(*top).map(word).collect(),
                };
                let words = match verdict {
                    Verdict::Nothing => {
                        let (nearest, p) = prediction.ranked().next().unwrap_or_default();
                        vec![format!("nothing ({} {:.1} % at most)", printable(nearest), p * 100.0)]
                    }
                    _ => words,
                };
                let name = format!("{}:", shown(&photo.name));
                let unsure = if verdict == Verdict::Unsure { "unsure, " } else { "" };
                let mut line = format!("{name:width$} {unsure}{}{}", unknown(network, prediction), words.join(", "));
                if let Some(place) = place {
                    line += &format!(" -> {}", shown(place));
                }
                for Similar { path, label, similarity } in prediction.neighbours() {
                    line += &format!("\n  {similarity:.3}  {}  {}", printable(label), printable(path));
                }
                line
            }
            Self::Json(said) => {
                let mut line = said.of(&to_text(photo.name.as_os_str()), prediction);
                if let Some((place, sorting)) = place.zip(sorting) {
                    line[put(sorting)] = json!(to_text(place.as_os_str()));
                }
                line.to_string()
            }
            Self::SeveralCsv => {
                let chosen = prediction.chosen().unwrap_or_default();
                let names: Vec<&str> = chosen.into_iter().map(|at| prediction.classes()[at].as_str()).collect();
                let mut fields = vec![to_text(photo.name.as_os_str()).into_owned(), verdict.name().to_owned()];
                fields.push(if verdict == Verdict::Unknown { String::new() } else { names.join(SEPARATOR) });
                fields.extend(prediction.probabilities().iter().map(|p| format!("{p:.6}")));
                csv::line(fields.iter().map(String::as_str))
            }
            Self::Csv { top } => {
                let mut fields = vec![to_text(photo.name.as_os_str()).into_owned(), verdict.name().to_owned()];
                for (class, p) in prediction.ranked().take(*top) {
                    fields.extend([class.to_owned(), format!("{p:.6}")]);
                }
                if sorting.is_some() {
                    fields.push(place.map_or(String::new(), |place| to_text(place.as_os_str()).into_owned()));
                }
                csv::line(fields.iter().map(String::as_str))
            }
        }
    }
}

/// The first line of CSV.
fn header(top: usize, sorting: Option<Sorting>) -> String {
    let mut columns = vec!["image".to_owned(), "status".to_owned()];
    for place in 1..=top {
        let number = if place == 1 { String::new() } else { format!("_{place}") };
        columns.extend(["class", "probability"].map(|name| format!("{name}{number}")));
    }
    columns.extend(sorting.map(|sorting| put(sorting).to_owned()));
    columns.join(",")
}

/// The key of where a photo has been put.
fn put(sorting: Sorting) -> &'static str {
    match sorting {
        Sorting::Move => "moved_to",
        Sorting::Link => "linked_to",
    }
}

/// The text before the classes of a photo that is unlike all training photos; empty for other photos.
fn unknown(network: &Network, prediction: &Prediction) -> String {
    let knowledge = match network {
        Network::Trained(Trained::One(predictor)) => predictor.knowledge().ok(),
        Network::Trained(Trained::Several(_)) if prediction.standing().is_some_and(|standing| standing.unknown) => {
            return "unknown to most of the runs; among the known classes, ".to_owned();
        }
        _ => None,
    };
    let judged = prediction.standing().zip(knowledge.and_then(|knowledge| knowledge.threshold()));
    let Some((standing, threshold)) = judged.filter(|(standing, _)| standing.unknown) else { return String::new() };
    let (all, nearer) = (grouped(threshold.n), 1.0 - standing.as_far);
    let than = match standing.as_far > 0.0 {
        true => format!("{:.1} % of {all} validation photos", nearer * 100.0),
        false => format!("all {all} validation photos"),
    };
    format!("unknown (farther from the training photos than {than}); among the known classes, ")
}

/// The checkpoint to use: the best one of a run's folder, or the file itself. Without `run` it is that of the newest run, and a
/// note says so.
pub fn checkpoint(run: Option<&Path>) -> Result<PathBuf> {
    let run = match run {
        Some(run) => run.to_owned(),
        None => {
            let newest = newest(Path::new("runs"));
            let newest = newest.context("no run in runs/; name one with --run, or a backbone with --backbone")?;
            note!("with the newest run, {} (--run names another)", shown(&newest));
            newest
        }
    };
    Ok(RunFolder::checkpoint(&run)?)
}

/// The run that was written to last.
pub fn newest(runs: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path());
    let with_time = folders.filter_map(|path| {
        let time = path.join(Checkpoints::BEST).metadata().ok()?.modified().ok()?;
        Some((time, path))
    });
    with_time.max().map(|(_, path)| path)
}
