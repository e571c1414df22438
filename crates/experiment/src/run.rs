use std::time::Instant;

use burn_tensor::Device;
use injerto_config::{Config, TransferGainConfig};
use injerto_data::{Dataset, Loader};
use injerto_files::memory;
use injerto_insight::predictions::Predictions;
use injerto_insight::probe::Linear;
use injerto_insight::stats::{Estimate, LEVEL, wilson};
use injerto_recipe::Metric;
use injerto_trainer::history::EpochRecord;
use injerto_trainer::metrics::{Answers, Figures, Report};
use injerto_trainer::{
    Checkpoints, Event, Fit, Fitted, LastEpoch, Model, Observer, PhasePlan, Progress, Settings, Watch,
};

use crate::anchored::anchored;
use crate::before::Before;
use crate::environment::environment;
use crate::gain::{Gain, compare};
use crate::judged::{self, Judged, Trust};
use crate::knowledge::learn;
use crate::probe::start_from;
use crate::readme::readme;
use crate::record::History;
use crate::resume::notes;
use crate::source::root;
use crate::split::SplitList;
use crate::summary::{BestSummary, ImageCounts, PhaseSummary, Summary, TestSummary};
use crate::tensorboard::TensorBoard;
use crate::{Calibration, ExperimentError, Knowledge, Plan, Prepared, RunFolder};

/// Result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Content of `summary.json`.
    pub summary: Summary,
    /// The network after the last epoch.
    pub model: Model,
}

/// The point at which a training starts.
#[derive(Debug)]
pub(crate) enum Start {
    /// A new run starts at its beginning, in a new folder.
    New,
    /// A resumed run starts after its last finished epoch, or at its beginning if there is none.
    Again(Option<Box<LastEpoch>>),
}

/// Trains and writes the run's folder, as [`Session::run`](crate::Session::run) describes. If the run was complete before, only
/// its summary is read.
pub(crate) fn run(
    mut prepared: Prepared,
    device: &Device,
    folder: &RunFolder,
    start: Start,
    watch: &mut Watch<'_>,
) -> Result<Outcome, ExperimentError> {
    let began = Instant::now();
    let experiment = anchored(&prepared.config).to_toml();
    if folder.read(RunFolder::EXPERIMENT)?.as_deref() != Some(&experiment) {
        folder.write(RunFolder::EXPERIMENT, &experiment)?;
    }
    folder.write(RunFolder::PLAN, &prepared.plan.to_json())?;
    if matches!(start, Start::New) {
        let environment =
            serde_json::to_string_pretty(&environment(prepared.config.device.name())).expect("plain data");
        folder.write(RunFolder::ENVIRONMENT, &environment)?;
    }
    let mut model = prepared.model(prepared.config.seed, device)?;
    let progress = match start {
        Start::Again(Some(last)) => Some(last.restore(&mut model)?),
        Start::Again(None) | Start::New => None,
    };
    if let Some(progress) = progress.as_ref().filter(|progress| progress.is_complete(&prepared.phases()))
        && let Some(summary) = whole_summary(folder, &prepared, progress)
        && (!wants_knowledge(&prepared.config, folder, &summary.best) || has_knowledge(folder, &summary))
    {
        return Ok(Outcome { summary, model });
    }
    let before = match &progress {
        None => Before::ask(&mut prepared, &mut model, folder, watch)?,
        Some(_) => Before::of(folder),
    };
    let prepared = &prepared;
    let config = &prepared.config;
    let split = prepared.split_list();
    let checkpoints =
        Checkpoints::new(folder.path(), config.checkpoint.save_best_only).with_notes(notes(prepared, split.as_ref()));
    let split = split.as_ref().map(SplitList::to_csv);
    if let Some(split) = split.as_ref().filter(|_| progress.is_none()) {
        folder.write(RunFolder::SPLIT, split)?;
    }
    let seconds_before = progress.as_ref().map_or(0.0, |progress| progress.seconds.total);
    let mut history = History::begin(folder.path(), progress.as_ref().map_or(&[], |done| &done.history))?;
    let mut board = TensorBoard::begin(folder.path())?;
    let mut keeper = Keeper { folder, split: split.filter(|_| progress.is_some()), first: true, failed: None };
    let (root, validation) = (root(config), prepared.validation.as_ref());
    let mut judged = Judged::new(folder, root, validation);
    let Before { fit, gathered, found, initial } = before;
    let writes = prepared.collective.as_ref().is_none_or(|collective| collective.rank() == 0);
    let fit = Fit { checkpoints: writes.then_some(checkpoints), ..fit.unwrap_or_else(|| prepared.fit()) };
    let all = &mut ((&mut keeper, &mut judged), (&mut history, (&mut board, &mut *watch.observer)));
    let fitted = fit.run_on(&mut model, progress, gathered, &mut Watch { observer: all, stop: watch.stop })?;
    folder.keep();
    if let Some(validation) = validation {
        board.show(validation);
    }
    history.finish()?;
    judged.finish()?;
    keeper.failed.map_or(Ok(()), Err)?;
    let mut summary = summarise(prepared, &fitted);
    if !writes {
        return Ok(Outcome { summary, model });
    }
    (summary.probe, summary.leaks) = (found.probe, found.leaks);
    let figures = metrics(prepared, &fitted, fit.validation.as_ref(), device, folder, watch)?;
    (summary.metrics, summary.multi_label) = figures.map_or((None, None), Figures::parts);
    summary.trust = trust(prepared, summary.metrics.as_ref(), folder)?;
    folder.write(RunFolder::SUMMARY, &crate::json::pretty(&summary))?;
    if !fitted.interrupted && fitted.best.epoch > 0 {
        summary.test = test(prepared, device, folder, watch)?;
        summary.interrupted = prepared.test.is_some() && summary.test.is_none();
        folder.write(RunFolder::SUMMARY, &crate::json::pretty(&summary))?;
    }
    if !summary.interrupted && wants_knowledge(config, folder, &summary.best) {
        let began = Instant::now();
        summary.knowledge = learn(prepared, &fitted, device, folder, watch)?;
        summary.interrupted = summary.knowledge.is_none();
        summary.seconds.knowledge = began.elapsed().as_secs_f64();
        folder.write(RunFolder::SUMMARY, &crate::json::pretty(&summary))?;
    }
    if let Some(asked) = config.transfer_gain.as_ref().filter(|_| !summary.interrupted) {
        let own = accuracies(&fitted.history);
        let compared = Compared { prepared, device, initial: initial.as_ref() };
        summary.transfer_gain = transfer_gain(&compared, asked, (config.seed, own), watch)?;
        summary.interrupted = summary.transfer_gain.is_none();
    }
    summary.seconds.total = seconds_before + began.elapsed().as_secs_f64();
    summary.peak_memory_bytes = summary.peak_memory_bytes.max(memory::peak());
    folder.write(RunFolder::SUMMARY, &crate::json::pretty(&summary))?;
    folder.write(RunFolder::README, &readme(prepared, &summary))?;
    // An error of TensorBoard's file is reported last, because it is the least important file.
    board.finish()?;
    Ok(Outcome { summary, model })
}

/// How far the figures of the best epoch can be trusted; `None` if an earlier version began the run and kept no predictions.
fn trust(prepared: &Prepared, metrics: Option<&Report>, folder: &RunFolder) -> Result<Option<Trust>, ExperimentError> {
    let Some(metrics) = metrics else { return Ok(None) };
    let text = folder.read(RunFolder::PREDICTIONS)?;
    let predictions = text.and_then(|text| judged::parse(&text, &prepared.card.classes));
    // The file is that of the best epoch unless somebody has changed it.
    let same = |predictions: &Predictions| {
        predictions.len() == metrics.images && (predictions.accuracy().value - metrics.accuracy).abs() < 1e-9
    };
    let predictions = predictions.filter(same);
    Ok(predictions.and_then(|predictions| Trust::new(&predictions, u64::from(prepared.config.seed))))
}

/// Evaluates the best epoch's network on the test images. `None` if there are none, or if it was stopped.
fn test(
    prepared: &Prepared,
    device: &Device,
    folder: &RunFolder,
    watch: &mut Watch<'_>,
) -> Result<Option<TestSummary>, ExperimentError> {
    let best = folder.path().join(Checkpoints::BEST);
    let Some(loader) = prepared.test_loader().filter(|_| best.is_file()) else { return Ok(None) };
    let model = Model::load(&best, device)?;
    let runner = model.runner(prepared.config.uses_kernels())?;
    let Some((loss, answers)) = model.card.evaluate(&runner, &loader, watch)? else { return Ok(None) };
    Ok(match answers {
        Answers::MultiClass(predictions) => {
            let right = predictions.rows().filter(|(_, predicted, label)| predicted == label).count();
            let Estimate { value, interval, n } = Estimate::share(right, predictions.len());
            Some(TestSummary { accuracy: value, interval, n, loss, multi_label: None })
        }
        Answers::MultiLabel(_) => match Figures::new(&answers, &model.card, Some(loss)) {
            Some(Figures::MultiLabel(report)) => {
                let (accuracy, n) = (report.binary_accuracy, report.images);
                let interval = wilson(accuracy, n, LEVEL);
                Some(TestSummary { accuracy, interval, n, loss, multi_label: Some(report) })
            }
            _ => None,
        },
    })
}

/// Whether what is known of the images is to be kept with the model of the best epoch, and there is such a model.
fn wants_knowledge(config: &Config, folder: &RunFolder, best: &BestSummary) -> bool {
    config.insight.knowledge && best.epoch > 0 && folder.path().join(Checkpoints::BEST).is_file()
}

/// Whether the knowledge of the images has been kept and reported.
fn has_knowledge(folder: &RunFolder, summary: &Summary) -> bool {
    summary.knowledge.is_some() && folder.path().join(Knowledge::FILE).is_file()
}

/// The summary in the folder, if it describes all epochs of the complete run and the comparison that is asked for.
fn whole_summary(folder: &RunFolder, prepared: &Prepared, progress: &Progress) -> Option<Summary> {
    let config = &prepared.config;
    let summary = RunFolder::summary_in(folder.path())?;
    summary.check().ok()?;
    let epochs: usize = summary.phases.iter().map(|phase| phase.history.len()).sum();
    let seeds = |gain: &Gain| config.transfer_gain.as_ref().is_some_and(|asked| asked.seeds == gain.seeds);
    let compared = summary.transfer_gain.as_ref().map_or(config.transfer_gain.is_none(), seeds);
    let tested = prepared.test.is_none() || summary.test.is_some();
    (!summary.interrupted && epochs == progress.history.len() && compared && tested).then_some(summary)
}

/// Observer that updates the run's folder during training.
struct Keeper<'a> {
    folder: &'a RunFolder,
    /// The list of images of a resumed run. It is written after the first checkpoint that has its digest.
    split: Option<String>,
    /// Whether no epoch has ended yet.
    first: bool,
    failed: Option<ExperimentError>,
}

impl Observer for Keeper<'_> {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Batch { .. } => self.folder.keep(),
            Event::EpochEnded { .. } if std::mem::take(&mut self.first) => {
                // The summary of an earlier part of the run, and what was kept with its model, are outdated.
                for outdated in [RunFolder::SUMMARY, Knowledge::FILE, Calibration::FILE] {
                    let _ = std::fs::remove_file(self.folder.path().join(outdated));
                }
                let written = self.split.take().map_or(Ok(()), |split| self.folder.write(RunFolder::SPLIT, &split));
                self.failed = written.err();
            }
            _ => {}
        }
    }
}

/// Accuracy and per-class figures of the validation images under the weights of the best epoch. If an older version began the
/// run, the figures are computed from its checkpoint.
fn metrics(
    prepared: &Prepared,
    fitted: &Fitted,
    validation: Option<&Loader>,
    device: &Device,
    folder: &RunFolder,
    watch: &mut Watch<'_>,
) -> Result<Option<Figures>, ExperimentError> {
    match (&fitted.report, validation) {
        (Some(report), _) => Ok(Some(report.clone())),
        (None, Some(loader)) if !fitted.interrupted && fitted.best.epoch > 0 => {
            let model = Model::load(&folder.path().join(Checkpoints::BEST), device)?;
            let runner = model.runner(prepared.config.uses_kernels())?;
            Ok(model.card.figures(&runner, loader, watch)?)
        }
        (None, _) => Ok(None),
    }
}

/// What the runs of a comparison have in common with the run itself.
struct Compared<'a> {
    prepared: &'a Prepared,
    device: &'a Device,
    /// The output layer that training starts from, if it is not random.
    initial: Option<&'a Linear>,
}

fn accuracies(history: &[EpochRecord]) -> Vec<f64> {
    history.iter().map(|record| record.val_accuracy.unwrap_or(record.accuracy)).collect()
}

/// Trains the network by transfer and from scratch for each seed, and compares the curves. `own` is the seed and the curve of
/// the run itself. Returns `None` if `watch` was stopped.
fn transfer_gain(
    compared: &Compared<'_>,
    asked: &TransferGainConfig,
    own: (u32, Vec<f64>),
    watch: &mut Watch<'_>,
) -> Result<Option<Gain>, ExperimentError> {
    let Compared { prepared, device, initial } = *compared;
    let scratch = prepared.scratch_plan(asked.scratch.learning_rate)?;
    let mut pairs = Vec::new();
    for &seed in &asked.seeds {
        let mut curve = |mut model: Model, plan: &Plan, from_scratch: bool| -> Result<_, ExperimentError> {
            watch.observer.observe(&Event::ComparisonBegan { seed, from_scratch });
            let (train, validation) = prepared.loaders(seed);
            // Process 0 alone compares.
            let settings = Settings { collective: None, ..prepared.settings(seed) };
            let plans = plan.phases.clone();
            let fitted = Fit { train, validation, plans, settings, checkpoints: None }.run(&mut model, None, watch)?;
            Ok((!fitted.interrupted).then(|| accuracies(&fitted.history)))
        };
        let transfer = if seed == own.0 {
            Some(own.1.clone())
        } else {
            let mut model = prepared.model(seed, device)?;
            initial.map_or(Ok(()), |layer| start_from(&mut model, layer, device))?;
            curve(model, &prepared.plan, false)?
        };
        let Some(transfer) = transfer else { return Ok(None) };
        let Some(scratch) = curve(prepared.scratch_model(seed, device)?, &scratch, true)? else { return Ok(None) };
        pairs.push((seed, transfer, scratch));
    }
    Ok(Some(compare(&pairs, prepared.card.classes.len())))
}

pub(crate) fn summarise(prepared: &Prepared, fitted: &Fitted) -> Summary {
    let config = &prepared.config;
    let count = |dataset: &Dataset| dataset.samples.len();
    let n = match fitted.best.monitor {
        Metric::ValLoss | Metric::ValAccuracy => {
            fitted.report.as_ref().map(Figures::images).or(prepared.validation.as_ref().map(count))
        }
        Metric::Loss | Metric::Accuracy => Some(count(&prepared.train)),
    };
    let n = n.filter(|_| fitted.best.epoch > 0);
    let is_accuracy = matches!(fitted.best.monitor, Metric::Accuracy | Metric::ValAccuracy);
    let interval = fitted.best.value.zip(n).filter(|_| is_accuracy).map(|(value, n)| wilson(value, n, LEVEL));
    let unreadable = prepared.looked.unreadable.iter();
    let unreadable = unreadable.map(|file| (file.origin.name().into_owned(), file.reason.clone()));
    let phase = |plan: &PhasePlan| {
        let own: Vec<EpochRecord> =
            fitted.history.iter().filter(|record| record.phase == plan.phase.name).cloned().collect();
        PhaseSummary {
            name: plan.phase.name.clone(),
            epochs: own.len(),
            trainable_params: plan.trainable,
            non_trainable_params: plan.non_trainable,
            seconds: own.iter().map(|record| record.seconds).sum(),
            history: own,
        }
    };
    Summary {
        name: config.name.clone(),
        device: config.device.name().to_owned(),
        seed: config.seed,
        classes: prepared.card.classes.clone(),
        images: Some(ImageCounts {
            train: prepared.train.counts(),
            validation: prepared.validation.as_ref().map_or_else(Vec::new, Dataset::counts),
            test: prepared.test.as_ref().map_or_else(Vec::new, Dataset::counts),
        }),
        weights: Some(prepared.origin.clone()),
        phases: prepared.plan.phases.iter().map(phase).collect(),
        best: BestSummary {
            epoch: fitted.best.epoch,
            monitor: fitted.best.monitor.name().to_owned(),
            value: fitted.best.value,
            interval,
            n,
            checkpoint: Checkpoints::BEST.to_owned(),
        },
        seconds: fitted.seconds,
        images_per_second: fitted.images as f64 / fitted.seconds.total.max(1e-9),
        peak_memory_bytes: fitted.peak_memory_bytes,
        skipped: unreadable.chain(fitted.skipped.iter().cloned()).collect(),
        interrupted: fitted.interrupted,
        metrics: None,
        multi_label: None,
        trust: None,
        probe: None,
        leaks: None,
        test: None,
        knowledge: None,
        transfer_gain: None,
    }
}
