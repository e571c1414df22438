//! `injerto train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_collective::Library;
use injerto_config::{Config, Precision};
use injerto_data::Skipped;
use injerto_experiment::knowledge::KnowledgeSummary;
use injerto_experiment::{Asked, Prepared, Questions, RunFolder, Session, Summary, Taught, Trust, Why, card, device};
use injerto_files::{from_text, printable, shell_word, shown};
use injerto_insight::calibration::{Operation, Temperature};
use injerto_insight::stats::{Estimate, count_of};
use injerto_report::verdict::{Guessing, State, verdict};
use injerto_report::words::{counted, estimate, grouped};
use injerto_report::{ReportError, plan as words};
use injerto_trainer::Collective as _;
use injerto_trainer::history::EpochRecord;
use injerto_trainer::{Arithmetic, Checkpoints, Observer, Said, Watch, gain_of_bf16_in_training};

use crate::Common;
use crate::curves;
use crate::dashboard::{self, Board, Dashboard};
use crate::inventory;
use crate::new::{Wishes, Written};
use crate::output::{self, aside, note, out, tell};
use crate::progress::{Looking, Progress};
use crate::several;

/// What `injerto train` takes.
#[derive(Args)]
#[command(after_help = "\
Of a folder, with one sub-folder per class or with train/ and validation/, the experiment is written first: the split, the
backbone, the size of the images, the head and the phases are chosen for these images. The file that is written is the one to
change for the next run.

Examples:

  injerto train photos
  injerto train photos --backbone mobilenet_v2 --epochs 5 --fine-tune 100
  injerto train configs/quickstart.toml
  injerto train my.toml --set data.root=photos --set phases.0.epochs=3
  injerto train my.toml --dry-run
  injerto train my.toml --dry-run --json
  injerto train my.toml --tui
  injerto train --resume runs/my-20260101-120000
  injerto train --resume runs/my-20260101-120000 --set phases.1.epochs=12

Ctrl-C ends the run after the current batch; --resume goes on from the last finished epoch, from whatever folder it is called
in. With --set it takes more epochs for the phase under way or the last one, another place of the images, and caches; what
decides what is trained stays as it was when the run began.")]
pub struct Arguments {
    /// The experiment, or a folder of images
    #[arg(value_name = "FILE|FOLDER", required_unless_present = "resume", value_parser = crate::images())]
    file: Option<PathBuf>,
    #[command(flatten)]
    wishes: Wishes,
    /// Override any key, such as data.batch_size=16 or phases.0.epochs=3 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// Resolve everything, print the plan, train nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: print what is decided about the phases as JSON, as a run writes it to plan.json
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// The folder that the run leaves [default: runs/NAME-TIME]
    #[arg(long, value_name = "FOLDER")]
    run_dir: Option<PathBuf>,
    /// Go on with a run that was stopped, from its last finished epoch
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["file", "run_dir"])]
    resume: Option<PathBuf>,
    /// With --resume: go on although images were added, removed or replaced. Those that are still there keep their side
    #[arg(long, requires = "resume")]
    changed_data: bool,
    /// Train together with other processes, through this library (docs/together.md)
    #[arg(long, value_name = "LIBRARY", conflicts_with = "dry_run")]
    collective: Option<PathBuf>,
    /// With --collective: how long to wait for another process, in seconds
    #[arg(long, value_name = "SECONDS", requires = "collective", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    collective_timeout: u64,
    /// Show the training on the whole terminal, with live curves; q stops it, and every finished epoch is kept
    #[arg(long, conflicts_with = "dry_run")]
    tui: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments, common: &Common) -> Result<ExitCode> {
    let Arguments {
        file,
        wishes,
        set,
        dry_run,
        json,
        run_dir,
        resume,
        changed_data,
        collective,
        collective_timeout,
        tui,
    } = arguments;
    let patience = Duration::from_secs(collective_timeout);
    let library = collective.map(|path| Library::join(&path, patience).map(Arc::new)).transpose()?;
    // Process 0 writes the folder and prints for all.
    let follows = library.as_ref().is_some_and(|library| library.rank() > 0);
    if follows {
        output::set_quiet(true);
    }
    let (mut catalog, cache, looking) = (common.catalog()?, Cache::of_user()?, Looking::new());
    let look = |done, all| looking.show(done, all);
    // A run's folder is no folder of images: the reader of experiments names the command that resumes it.
    let folder = file.as_deref().filter(|file| file.is_dir() && !file.join("experiment.toml").is_file());
    if let (None, Some(option)) = (folder, wishes.first()) {
        bail!("{option} goes with a folder of images; an experiment that is written says it itself, or --set does");
    }
    let written = folder.map(|folder| Written::to_train(folder, &wishes, &set, &mut catalog, &cache)).transpose()?;
    let began = match resume {
        Some(folder) => {
            let folder = if follows { RunFolder::scratch(Some(&folder))? } else { RunFolder::open(&folder)? };
            Session::resume(folder, &set, changed_data, &mut catalog, &cache, &look)
                .map(|session| Began::Again(Box::new(session)))
        }
        None => {
            let file = file.expect("clap requires one of the two");
            let config = match &written {
                Some(written) => written.config.clone(),
                None => Config::load(&file, &set)?,
            };
            Prepared::watched(config, &mut catalog, &cache, &look).map(|prepared| Began::New(Box::new(prepared)))
        }
    };
    looking.end();
    let began = began?;
    let prepared = match &began {
        Began::New(prepared) => prepared,
        Began::Again(session) => session.prepared(),
    };
    let device = device(prepared.config.device)?;
    if let Some(written) = written.as_ref().filter(|_| !json) {
        show_written(written, dry_run)?;
    }
    if !json && (dry_run || !output::is_quiet()) {
        output::prose(&plan(prepared, card(&device))).or_else(|unsaid| if dry_run { Err(unsaid) } else { Ok(()) })?;
    }
    if !follows {
        // The others would say the same once more, and name folders of their own, which hold nothing yet.
        let warnings = inventory::warnings(prepared);
        warnings.iter().chain(&prepared.warnings).for_each(|warning| output::warning(warning));
    }
    if dry_run {
        // A dry run is refused for the same reasons as a start; a folder into which nothing is written disappears again.
        if let Began::New(prepared) = &began {
            begin(prepared, run_dir.as_deref())?;
        }
        prepared.rehearse(&device)?;
        match json {
            true => output::answer(&prepared.plan.to_json())?,
            false => out!("\n# The experiment, with every default\n{}", prepared.config.to_toml())?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let session = match began {
        Began::New(prepared) => {
            let folder = if follows { RunFolder::scratch(None)? } else { begin(&prepared, run_dir.as_deref())? };
            Session::begin(*prepared, folder)?
        }
        Began::Again(session) => *session,
    };
    aside!("folder     {}\n", shown(session.folder().path()));
    train(session, library, tui)
}

/// Trains until the end or until Ctrl-C, and reports what is in the run's folder then. Only process 0 of several reports.
fn train(session: Session, library: Option<Arc<Library>>, tui: bool) -> Result<ExitCode> {
    let follows = library.as_ref().is_some_and(|library| library.rank() > 0);
    let folder = session.folder().clone();
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        // A second Ctrl-C does not wait for the batch.
        if asked.swap(true, Ordering::Relaxed) {
            dashboard::give_back();
            std::process::exit(130);
        }
        note!("\nstopping after this batch (Ctrl-C again stops at once)");
    })?;
    let shown = (tui && !follows).then(|| show(&session, &stop)).transpose()?.flatten();
    let board: Box<dyn Observer> = match &shown {
        Some(shown) => Box::new(shown.observer()),
        None => Box::new(()),
    };
    let mut observer = (Progress::new(), board);
    let watch = &mut Watch { observer: &mut observer, stop: &stop };
    let outcome = match &library {
        Some(library) => session.run_together(library.clone(), watch),
        None => session.run(watch),
    };
    drop(shown);
    if let Some(library) = library.filter(|_| outcome.is_err()) {
        library.fail();
    }
    if follows {
        let interrupted = outcome?.summary.interrupted;
        return Ok(if interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS });
    }
    // The epochs before a failure are drawn too. A run that cannot be drawn is no failed run.
    match injerto_report::write(folder.path()) {
        Err(ReportError::NothingToDraw { .. }) | Ok(_) => {}
        Err(error) => output::warning(&format!("no report: {error}")),
    }
    let outcome = outcome.map_err(|error| with_what_is_kept(error.into(), &folder))?;
    report(&outcome.summary, &folder);
    Ok(if outcome.summary.interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// The dashboard of a training, or a sentence that says why there is none.
fn show(session: &Session, stop: &Arc<AtomicBool>) -> Result<Option<Dashboard>> {
    if !dashboard::is_possible() {
        note!(
            "--tui needs a terminal for its keys and its curves, and there is none: the training is shown in lines\n"
        );
        return Ok(None);
    }
    let (prepared, folder) = (session.prepared(), session.folder().path());
    // A new run has no epochs yet.
    let history = injerto_report::Run::load(folder).map_or_else(|_| Vec::new(), |run| run.history);
    let at = shell_word(folder).to_string();
    let board = Board::new(&prepared.config.name, at, &prepared.plan.phases, history);
    Dashboard::begin(board, stop)
        .map(Some)
        .context("the terminal cannot be taken for --tui; without it the training is shown in lines")
}

/// What is to be trained.
enum Began {
    /// A run that has no folder yet.
    New(Box<Prepared>),
    /// A run that goes on.
    Again(Box<Session>),
}

/// The folder of a new run, unless something refuses the run that is known before it starts.
fn begin(prepared: &Prepared, wanted: Option<&Path>) -> Result<RunFolder> {
    prepared.check_folder(wanted.unwrap_or(Path::new("runs")))?;
    prepared.check_copies()?;
    Ok(RunFolder::create(wanted, &prepared.config.name)?)
}

/// The error, and after a full disk also what is kept and how to go on.
fn with_what_is_kept(error: anyhow::Error, folder: &RunFolder) -> anyhow::Error {
    if !output::is_full_disk(&error) || !folder.path().join(Checkpoints::LAST).is_file() {
        return error;
    }
    let at = shell_word(folder.path());
    anyhow::anyhow!(
        "{}\nevery finished epoch is kept; once there is room for files of that size, go on: injerto train --resume {at}",
        output::in_words(&error)
    )
}

/// Writes the experiment of a folder, and shows it; a dry run shows it alone.
fn show_written(written: &Written, dry_run: bool) -> Result<()> {
    if dry_run {
        return Ok(out!("{}\n", written.text())?);
    }
    if !written.keep()? {
        bail!("{} has appeared meanwhile, and is not overwritten; call the command again", shown(written.file()));
    }
    aside!("{}\n\nThis is {}, the file to change for the next run.\n", written.text(), shown(written.file()));
    Ok(())
}

/// The number formats of prefix and tail, if anything but `f32` was asked for, and the reason.
fn precision(prepared: &Prepared) -> Option<String> {
    if prepared.config.backbone.precision == Precision::F32 {
        return None;
    }
    let Said { prefix, tail } = prepared.plan.arithmetic.as_ref()?;
    if !prepared.config.uses_kernels() {
        return Some(format!("frozen layers in {prefix}, the others in {}", tail.precision.name()));
    }
    let gains = Arithmetic::gain_of_bf16().zip(gain_of_bf16_in_training());
    let (Some(Arithmetic::Bf16(unit)), Some((frozen, trained))) = (Arithmetic::bf16(), gains) else {
        return Some("f32: this processor has no unit for bf16".to_owned());
    };
    Some(format!(
        "frozen layers in {prefix}, the others in {tail}; on this machine, bf16 by {} is {frozen:.1} and {trained:.1} times as fast as f32",
        unit.name()
    ))
}

/// What will be done, in a few lines.
fn plan(prepared: &Prepared, card: Option<String>) -> String {
    let on = match card {
        Some(card) => format!("{}, {}", prepared.config.device.name(), printable(&card)),
        None => prepared.config.device.name().to_owned(),
    };
    let Prepared { config, card, .. } = prepared;
    let [height, width] = card.image_size();
    let name = printable(&config.name);
    let mut lines = vec![format!("experiment {name} (seed {}, device {on})", config.seed)];
    lines.extend(inventory::lines(prepared));
    let plugin = printable(&config.backbone.plugin);
    lines.extend([
        format!("backbone   {plugin} at {height}x{width}, {} layers", card.backbone_layers),
        format!("weights    {}", printable(&prepared.origin)),
    ]);
    lines.extend(precision(prepared).map(|line| format!("precision  {line}")));
    lines.extend([
        format!(
            "head       {}",
            card.graph.nodes()[card.backbone_layers..].iter().map(|node| node.name()).collect::<Vec<_>>().join(", ")
        ),
        format!("loss       {}{}", card.loss.name(), if card.loss.from_logits() { " from logits" } else { "" }),
    ]);
    lines.extend(prepared.plan.teacher.iter().map(teacher));
    for (at, plan) in prepared.plan.phases.iter().enumerate() {
        lines.push(format!(
            "phase {}    {}: {}, trainable {} / non-trainable {}",
            at + 1,
            printable(&plan.phase.name),
            counted(plan.phase.epochs, "epoch"),
            grouped(plan.trainable),
            grouped(plan.non_trainable),
        ));
        let further = [words::parts(plan), words::cut(plan)].into_iter().chain(words::keeps(plan));
        lines.extend(further.map(|line| format!("           {line}")));
    }
    if let Some(Questions { probe: Asked::No(why), .. }) = prepared.plan.insight
        && why != Why::Off
    {
        lines.push(format!("probe      none: {why}"));
    }
    lines.join("\n")
}

/// The run that teaches, in one line.
fn teacher(taught: &Taught) -> String {
    let Taught { teacher, backbone, image_size: [height, width], best, distillation, .. } = taught;
    let reached = best.as_ref().and_then(|best| Some((best, best.value?)));
    let reached = reached.map_or_else(String::new, |(best, value)| {
        let words = best.n.map_or_else(|| format!("{value:.4}"), |n| estimate(value, best.interval, n));
        format!(", {} {words}", best.monitor)
    });
    format!(
        "teacher    {}: {} at {height}x{width}{reached}; temperature {}, alpha {}",
        shown(teacher),
        printable(backbone),
        distillation.temperature,
        distillation.alpha
    )
}

/// The best value, with its interval and the number of images; how many predictions are wrong; and what is wrong with the images.
fn conclude(summary: &Summary) {
    let best = &summary.best;
    if let Some(value) = best.value {
        let words = best.n.map_or_else(|| format!("{value:.4}"), |n| estimate(value, best.interval, n));
        tell!("best {} {words} in epoch {}", best.monitor, best.epoch);
    }
    let mut found = Vec::new();
    if let Some(report) = &summary.multi_label {
        let wrong = report.images - count_of(report.exact_match, report.images);
        found.push(format!("on {} of {} validation photos a class is wrong", grouped(wrong), grouped(report.images)));
    }
    if let Some(Trust { accuracy, .. }) = &summary.trust {
        let wrong = accuracy.n - accuracy.count();
        let are = if wrong == 1 { "is" } else { "are" };
        found.push(format!("{} of {} validation photos {are} wrong", grouped(wrong), grouped(accuracy.n)));
    }
    if let Some(leaks) = &summary.leaks {
        for (pairs, what) in
            [(leaks.trained_across_split(), "on two sides of the split"), (leaks.across_class, "under two classes")]
        {
            if pairs > 0 {
                let stand = if pairs == 1 { "pair of copies stands" } else { "pairs of copies stand" };
                found.push(format!("{} {stand} {what} ({})", grouped(pairs), RunFolder::LEAKS));
            }
        }
    }
    if !found.is_empty() {
        tell!("{}", found.join("; "));
    }
}

/// Other figures of the best epoch, and what guessing and the probe reach.
fn beside(summary: &Summary) {
    let best = &summary.best;
    let mut others = Vec::new();
    if let Some(Trust { accuracy, macro_f1, roc_auc, against }) = &summary.trust {
        if !best.monitor.ends_with("accuracy") {
            others.push(format!("accuracy {}", estimate(accuracy.value, Some(accuracy.interval), accuracy.n)));
        }
        for (name, figure) in [("F1", macro_f1), ("ROC AUC", roc_auc)] {
            if let Some(Estimate { value, interval: [low, high], .. }) = figure {
                others.push(format!("{name} {value:.4} ({low:.3} to {high:.3})"));
            }
        }
        let largest = summary.classes.get(against.majority_class).map_or("one class", String::as_str);
        others.push(format!(
            "against {:.4} by chance and {:.4} for always saying {}",
            against.chance,
            against.majority,
            printable(largest)
        ));
    }
    if !others.is_empty() {
        tell!("{}", others.join(", "));
    }
    if let Some(report) = &summary.multi_label {
        tell!("{}; the thresholds were chosen on these photos", several::summary(report));
    }
    if let Some(probe) = &summary.probe {
        tell!("the probe before the first epoch reached {}", estimate(probe.accuracy, Some(probe.interval), probe.n));
    }
    if let Some(test) = &summary.test {
        let words = estimate(test.accuracy, Some(test.interval), test.n);
        if let Some(report) = &test.multi_label {
            tell!("on the test photos: {}", several::summary(report));
        }
        tell!("test accuracy {words}, loss {:.4}: photos that were not used before", test.loss);
    }
}

/// What was kept with the model, in words: how probabilities are calibrated, and what can be left to the model.
fn decisions(knowledge: &KnowledgeSummary) -> Vec<String> {
    let (photos, mut lines) = (grouped(knowledge.validation_images), Vec::new());
    if let Some(Temperature { value, loss_before, loss_after, .. }) = knowledge.temperature {
        lines.push(match knowledge.calibrated {
            true => format!(
                "calibrated by temperature {value:.2}: loss {loss_before:.4} becomes {loss_after:.4} on {photos} validation \
                 photos; predict --uncalibrated goes without"
            ),
            false => format!(
                "calibrated already: temperature {value:.2} would gain no more than chance on {photos} validation photos"
            ),
        });
    }
    if let Some(Operation { threshold, coverage, accuracy }) = knowledge.alone {
        lines.push(format!(
            "with {:.1} % of its answers right, the model answers {:.1} % of {photos} validation photos alone (those of which it \
             is {:.1} % sure or more); the others go to a person",
            accuracy.value * 100.0,
            coverage * 100.0,
            threshold * 100.0
        ));
    }
    lines
}

fn report(summary: &Summary, folder: &RunFolder) {
    if !summary.skipped.is_empty() {
        tell!("\n{} file(s) left out:", summary.skipped.len());
        let skipped = summary.skipped.iter();
        let skipped = skipped.map(|(path, reason)| Skipped { origin: from_text(path).into(), reason: reason.clone() });
        inventory::files(&skipped.collect::<Vec<_>>()).iter().for_each(|line| tell!("  {line}"));
    }
    if let Some(gain) = &summary.transfer_gain {
        tell!("\n{}", curves::draw(&[("by transfer", &gain.transfer), ("from scratch", &gain.scratch)]));
        let seeds = gain.seeds.len();
        tell!("What transfer gained, validation accuracy over {seeds} seeds:");
        tell!("  higher start      {:+.3}  after the first epoch", gain.start);
        tell!("  higher slope      {:+.3}  per epoch, on the way up", gain.slope);
        tell!("  higher asymptote  {:+.3}  at the end", gain.asymptote);
    }
    if summary.interrupted {
        let at = shell_word(folder.path());
        tell!("\nstopped; every finished epoch is kept. To go on: injerto train --resume {at}");
        return;
    }
    tell!("");
    beside(summary);
    if let Some(knowledge) = &summary.knowledge {
        decisions(knowledge).iter().for_each(|line| tell!("{line}"));
    }
    tell!("{:.1} s, everything is in {}\n", summary.seconds.total, shown(folder.path()));
    // The last lines say what a user wants to know: the result, what is wrong, what to do, what to look at, how to use the model.
    conclude(summary);
    let history: Vec<EpochRecord> = summary.phases.iter().flat_map(|phase| phase.history.clone()).collect();
    let guessing = Guessing::of(summary);
    let verdict = verdict(&history, summary.best.epoch, &guessing);
    if verdict.state != State::Unknown {
        tell!("{}: {}", verdict.headline, verdict.advice);
    }
    tell!("look at    {}", shown(&folder.path().join("report.html")));
    tell!("use it     injerto predict PHOTO --run {}", shell_word(folder.path()));
}
