//! `injerto advise`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_experiment::advise::{Advice, Ask, advise};
use injerto_experiment::inspect::backbone::{Candidate, Judged, Ranked, candidates, judge, ranked};
#[cfg(feature = "shards")]
use injerto_experiment::inspect::backbone::{Probed, probed};
use injerto_experiment::{Gallery, Prepared, device};
use injerto_files::{printable, shell_word, shown};
use injerto_insight::InsightError;
#[cfg(feature = "shards")]
use injerto_insight::stats::Baselines;
use injerto_report::words::{grouped, millions};
use injerto_trainer::Watch;
use serde_json::json;

use crate::Common;
use crate::output::{self, note, out};
use crate::prepare::prepare;
use crate::progress::{Looking, Progress, interrupted, on_interrupt};

/// What `injerto advise` takes.
#[derive(Args)]
#[command(after_help = "\
Without --backbone, every installed backbone whose weights are at hand sees the images once,
and a cross-validated probe on its features says what it is worth for them.

For a folder that `injerto features` has written, the probe judges the backbone that computed
the features; questions that need the photos are named, and not answered.

Examples:

  injerto advise photos --out my.toml
  injerto advise photos --backbone mobilenet_v2
  injerto advise photos --backbone inception_v3 --weights my.safetensors \\
      --set data.image_size=[224,224] --out my.toml
  injerto advise features")]
pub struct Arguments {
    /// Folder of the images (train/ and validation/, or one sub-folder per class), or of features
    #[arg(value_parser = crate::images())]
    data: PathBuf,
    /// Name of the backbone, or path of its library; without it, all whose weights are at hand are compared
    #[arg(long, value_parser = crate::text())]
    backbone: Option<String>,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet", requires = "backbone", value_parser = crate::text())]
    weights: String,
    /// Any key of an experiment, such as seed=7 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// Write the recommended experiment here
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    if let Some(file) = arguments.out.as_deref().filter(|file| file.is_file()) {
        bail!("{} is there already, and is not overwritten; name another file with --out", shown(file));
    }
    let stop = on_interrupt()?;
    match advised(arguments, common, &stop) {
        Err(error) if interrupted(&error) => {
            note!("stopped; features that were computed are kept");
            Ok(ExitCode::from(130))
        }
        done => done,
    }
}

fn advised(arguments: &Arguments, common: &Common, stop: &AtomicBool) -> Result<ExitCode> {
    #[cfg(feature = "shards")]
    if crate::shards::is_gathered(&arguments.data)? {
        return of_features(arguments, stop);
    }
    let Arguments { data, set, out, json, .. } = arguments;
    let file = out.as_deref().unwrap_or(Path::new("advised.toml"));
    let (ranking, prepared) = match &arguments.backbone {
        Some(backbone) => {
            let ask = Ask { root: data, backbone, weights: &arguments.weights, sets: set, file };
            (None, Box::new(prepare(ask.experiment()?, common)?))
        }
        None => {
            let (ranking, prepared) = compared(arguments, file, common, stop)?;
            (Some(ranking), prepared)
        }
    };
    let (backbone, weights) = match &ranking {
        Some(ranking) => (&ranking[0].backbone, &ranking[0].weights),
        None => (arguments.backbone.as_ref().expect("without a ranking there is a name"), &arguments.weights),
    };
    let ask = Ask { root: data, backbone, weights, sets: set, file };
    let on = device(prepared.config.device)?;
    let mut progress = Progress::new();
    let advice = advise(&prepared, &on, &mut Watch { observer: &mut progress, stop });
    progress.end();
    let advice = advice?.ok_or(InsightError::Stopped)?;
    let experiment = ask.recommended(&prepared, &advice)?.to_toml();
    if let Some(out) = out {
        injerto_files::write(out, experiment.as_bytes()).with_context(|| shown(out).to_string())?;
    }
    if *json {
        output::json(&match &ranking {
            Some(ranking) => json!({ "backbones": ranking, "advice": advice, "experiment": experiment }),
            None => json!({ "advice": advice, "experiment": experiment }),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(ranking) = &ranking {
        show_ranking(ranking)?;
    }
    show(&advice)?;
    match out {
        Some(out) => out!("\n{}", command(out, common))?,
        None => out!("\n{experiment}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Judges a backbone by features that it has computed before.
#[cfg(feature = "shards")]
fn of_features(arguments: &Arguments, stop: &AtomicBool) -> Result<ExitCode> {
    let Arguments { data, backbone, weights: _, set, out, json } = arguments;
    let folder = shown(data);
    let needs_photos = [("--backbone", backbone.is_some()), ("--set", !set.is_empty()), ("--out", out.is_some())];
    if let Some((option, _)) = needs_photos.iter().find(|(_, given)| *given) {
        bail!(
            "{option}: {folder} holds the features of one backbone, and the photos are needed for this; leave {option} out, or give the \
             folder of the photos"
        );
    }
    let gathered = injerto_experiment::gathered::complete(std::slice::from_ref(data))?;
    let (table, unused) = injerto_experiment::gathered::table(&gathered)?;
    if unused.unread + unused.unlabelled > 0 {
        let (unread, unlabelled) = (grouped(unused.unread), grouped(unused.unlabelled));
        note!("left out   {unlabelled} photos without a label, {unread} that could not be read");
    }
    let looking = Looking::new();
    let listener = |progress: injerto_insight::Progress| looking.stage(&progress);
    let watch = injerto_insight::Watch::none().stopped_by(stop).told_to(&listener);
    let found = probed(&table, u64::from(Config::SEED), watch);
    looking.end();
    let Probed { accuracy, logme } = found?;
    let name = gathered.about().map_or(String::new(), |about| about.name.clone());
    let missing = "the other backbones, the depths of this one, and whether fine-tuning would pay";
    if *json {
        let (features, images) = (table.features().width(), table.len());
        output::json(&json!({ "backbones": [{
            "backbone": name, "features": features, "images": images, "accuracy": accuracy, "logme": logme,
        }], "not_compared": missing }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let ([low, high], n) = (accuracy.interval, grouped(accuracy.n));
    out!("backbone {}, {} features", printable(&name), grouped(table.features().width()))?;
    out!(
        "accuracy {:.4} of a probe on images that it has not seen ({low:.3} to {high:.3}, 95 %, n = {n})",
        accuracy.mean
    )?;
    let Baselines { chance, majority, majority_class, .. } = Baselines::of(&table.counts());
    let largest = printable(&table.classes()[majority_class]);
    out!("against  {chance:.4} by chance, {majority:.4} for always saying {largest}")?;
    // Features that are all the same say nothing.
    if logme.is_finite() {
        out!("LogME    {logme:+.3}")?;
    }
    output::prose(&format!(
        "\nNot compared: {missing}. These need the photos: run `injerto advise FOLDER` on their folder."
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// All backbones at hand, the best first, and the experiment of the best. The images are looked at once for all of them.
fn compared(
    arguments: &Arguments,
    file: &Path,
    common: &Common,
    stop: &AtomicBool,
) -> Result<(Vec<Ranked>, Box<Prepared>)> {
    let (mut catalog, cache) = (common.catalog()?, Cache::of_user()?);
    let all = candidates(&catalog, &cache);
    let at_hand: Vec<&Candidate> = all.iter().filter(|it| it.at_hand).collect();
    if at_hand.is_empty() {
        let names: Vec<&str> = all.iter().map(|it| it.backbone.as_str()).collect();
        let names =
            if names.is_empty() { "none is installed".to_owned() } else { format!("one of {}", names.join(", ")) };
        bail!(
            "there is no backbone whose weights are at hand; name one with --backbone, and its weights are fetched: {names}"
        );
    }
    let experiment = |it: &Candidate| -> Result<Config> {
        let (root, sets) = (&arguments.data, &arguments.set);
        Ok(Ask { root, backbone: &it.backbone, weights: &it.weights, sets, file }.experiment()?)
    };
    let looking = Looking::new();
    let gallery = Gallery::open(&experiment(at_hand[0])?, &cache, &|done, all| looking.show(done, all));
    looking.end();
    let gallery = gallery?;
    let mut judged: Vec<Judged> = Vec::new();
    for candidate in &at_hand {
        note!("{} ({})", printable(&candidate.backbone), printable(&candidate.weights));
        let prepared =
            match experiment(candidate).and_then(|config| Ok(Prepared::on(&gallery, config, &mut catalog, &cache)?)) {
                Ok(prepared) => prepared,
                Err(error) if at_hand.len() > 1 => {
                    output::warning(&format!("{} is left out: {}", candidate.backbone, output::in_words(&error)));
                    continue;
                }
                Err(error) => return Err(error),
            };
        let (on, looking, mut progress) = (device(prepared.config.device)?, Looking::new(), Progress::new());
        let listener = |progress: injerto_insight::Progress| looking.stage(&progress);
        let quiet = injerto_insight::Watch::none().stopped_by(stop).told_to(&listener);
        let mut watch = Watch { observer: &mut progress, stop };
        let found = judge(candidate, &prepared, &gallery, &on, &mut watch, quiet);
        looking.end();
        progress.end();
        let (found, _) = found?.ok_or(InsightError::Stopped)?;
        judged.push(found);
    }
    let ranking = ranked(judged);
    let Some(first) = ranking.first() else { bail!("no backbone takes these images") };
    let best = at_hand.iter().find(|it| it.backbone == first.backbone).expect("what is ranked was at hand");
    let prepared = Prepared::on(&gallery, experiment(best)?, &mut catalog, &cache)?;
    Ok((ranking, Box::new(prepared)))
}

/// The ranking as a table.
fn show_ranking(ranking: &[Ranked]) -> Result<()> {
    let n = ranking.first().map_or(0, |it| it.accuracy.n);
    output::prose(&format!(
        "Backbones whose weights are at hand, by the accuracy of a probe on images that it has not seen (n = {}); * no other is both \
         as accurate and as fast:",
        grouped(n)
    ))?;
    out!(
        "    {:<18} {:<20} {:>8}  {:<16} {:>9} {:>11} {:>8}",
        "backbone",
        "weights",
        "accuracy",
        "95 %",
        "images/s",
        "parameters",
        "LogME"
    )?;
    for it in ranking {
        let [low, high] = it.accuracy.interval;
        out!(
            "  {} {:<18} {:<20} {:>8.4}  {:<16} {:>9.1} {:>11} {:>+8.3}",
            if it.pareto { '*' } else { ' ' },
            printable(&it.backbone).to_string(),
            printable(&it.weights).to_string(),
            it.accuracy.mean,
            format!("{low:.3} to {high:.3}"),
            it.images_per_second,
            millions(it.parameters as u64),
            it.logme
        )?;
    }
    // Of the backbones that cannot be told apart from the first, the fastest is named.
    let alike =
        ranking.iter().skip(1).filter(|it| it.like_first && it.images_per_second > ranking[0].images_per_second);
    if let Some(fast) = alike.max_by(|a, b| a.images_per_second.total_cmp(&b.images_per_second)) {
        output::prose(&format!(
            "{} cannot be told apart from {} on these images (McNemar's test, n = {}), and is {:.1} times as fast.",
            printable(&fast.backbone),
            printable(&ranking[0].backbone),
            grouped(n),
            fast.images_per_second / ranking[0].images_per_second
        ))?;
    }
    Ok(out!("")?)
}

/// What trains the experiment in `file`, to be copied into a shell.
fn command(file: &Path, common: &Common) -> String {
    let folders = common.plugin_dir.iter().map(|folder| format!(" --plugin-dir {}", shell_word(folder)));
    format!("injerto train {}{}", shell_word(file), folders.collect::<String>())
}

/// Upper limit of the classes that are named.
const CLASSES: usize = 20;

fn show(advice: &Advice) -> Result<()> {
    let count = |(class, count): &(String, usize)| format!("{} {count}", printable(class));
    let mut counts: Vec<String> = advice.classes.iter().take(CLASSES).map(count).collect();
    if advice.classes.len() > CLASSES {
        counts.push(format!("… and {} more classes", advice.classes.len() - CLASSES));
    }
    output::prose(&format!("images   {}\n", counts.join(", ")))?;
    output::prose("How well the features of each depth tell the classes apart (LogME, higher is better):")?;
    for layer in &advice.layers {
        let (index, name) = (layer.index, printable(&layer.layer).to_string());
        out!("  {index:>4} {name:<28} {:>5} features  {:+.3}", layer.features, layer.logme)?;
    }
    out!("\nstrategy {}", advice.strategy.name())?;
    Ok(output::prose(&format!("because  {}", advice.reason))?)
}
