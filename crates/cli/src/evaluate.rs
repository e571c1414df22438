//! `injerto evaluate`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use injerto_backbones::weights::Cache;
use injerto_config::{Config, Device, Precision};
use injerto_data::folder::{self, Folder};
use injerto_data::{Dataset, OnCorrupt, Skipped};
use injerto_experiment::advise::Ask;
use injerto_experiment::{Calibrated, Classifier, Evaluation, FolderEvaluation, Gallery, evaluate};
use injerto_files::{printable, shown};
use injerto_insight::stats::{Estimate, count_of};
use injerto_report::words::{estimate, grouped};
use injerto_trainer::Multiplied;
use injerto_trainer::metrics::{Figures, Report};
use serde_json::{Value, json};

use crate::output::{self, note, out};
use crate::predict::{Together, Trained};
use crate::progress::watched;
use crate::summary::parameters;
use crate::{Common, inventory, several};

/// What `injerto evaluate` takes.
#[derive(Args)]
#[command(after_help = "\
A run is measured on photos in one folder per class, with the names of its classes: accuracy, loss, precision and recall \
per class, area under the ROC curve, calibration error. Of a folder with train/ and validation/ or test/, one part is \
taken. An experiment's file says where the photos are and how they are divided, with all keys that training takes.

Every file is examined first. If some are not readable images, the command ends with a list of them, or leaves them out \
with --on-corrupt skip.

A backbone's own classifier is measured on ImageNet's classes. The class of a photo is read from its \
name (207_golden_retriever.jpg), or from the name of its folder (207, n02099601 or golden_retriever). Each photo is \
cropped, resized and scaled as the backbone's weights require.

Examples:

  injerto evaluate photos/test --run runs/cats-20260101-120000
  injerto evaluate photos --part validation --tta
  injerto evaluate my.toml --set data.test_split=0.2 --part test
  injerto evaluate photos --backbone efficientnet --param variant=lite0
  injerto evaluate photos --backbone mobilenet_v2 \\
      --weights imagenet-torchvision-top --crop 0.875 --json")]
pub struct Arguments {
    /// The photos: a folder of them, one folder per class, train/ and validation/, or an experiment's file
    #[arg(value_name = "FOLDER|FILE", value_parser = crate::images())]
    folder: PathBuf,
    /// Which part of divided photos [default: test, or validation if there is no test]
    #[arg(long, value_enum, conflicts_with = "backbone")]
    part: Option<Part>,
    /// A key of the experiment, such as data.layout=classes (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "backbone", value_parser = crate::text())]
    set: Vec<String>,
    #[command(flatten)]
    together: Together,
    /// Instead of a run, a backbone with its own classifier: its name, or the path of its library
    #[arg(long, value_name = "NAME", conflicts_with = "run", value_parser = crate::text())]
    backbone: Option<String>,
    /// A parameter of the backbone as JSON, such as variant=lite0 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", requires = "backbone", value_parser = crate::text())]
    param: Vec<String>,
    /// A weight set of the backbone, or a file
    #[arg(long, default_value = "imagenet", requires = "backbone", value_parser = crate::text())]
    weights: String,
    /// Look at the middle of each photo only: a square of this share of its shorter side
    #[arg(long, value_name = "SHARE", requires = "backbone")]
    crop: Option<f64>,
    /// Number format in which the network is computed: f32, bf16 if the processor has a unit for it, or auto, the faster of both
    #[arg(long, value_name = "FORMAT", value_parser = precision(), default_value = Precision::default().name(), requires = "backbone")]
    precision: Precision,
    /// Photos per batch
    #[arg(long, default_value_t = 16, requires = "backbone")]
    batch_size: usize,
    /// What to do about files that are not readable images: end with a list of them, or leave them out and list them
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    on_corrupt: Corrupt,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `data.on_corrupt`, as a word of the command line.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Corrupt {
    #[default]
    Error,
    Skip,
}

/// A part of divided photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Train,
    Validation,
    Test,
}

/// The words of `backbone.precision` for the CPU.
fn precision() -> impl TypedValueParser<Value = Precision> {
    let of = |name: String| Precision::ALL.into_iter().find(|precision| precision.name() == name).unwrap_or_default();
    PossibleValuesParser::new([Precision::F32, Precision::Bf16, Precision::Auto].map(Precision::name)).map(of)
}

/// Runs the command.
pub fn run(arguments: Arguments, common: &Common) -> Result<ExitCode> {
    let Arguments {
        folder,
        part,
        set,
        together,
        backbone,
        param,
        weights,
        crop,
        precision,
        batch_size,
        on_corrupt,
        json,
    } = arguments;
    let on_corrupt = match on_corrupt {
        Corrupt::Error => OnCorrupt::Error,
        Corrupt::Skip => OnCorrupt::Skip,
    };
    let Some(backbone) = backbone else {
        return of_run(labelled(&folder, &set, part)?, &together, on_corrupt, json);
    };
    if let Some(share) = crop.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
        bail!("--crop {share}: expected a share of the shorter side, more than 0 and at most 1");
    }
    let (mut catalog, cache, on) = (common.catalog()?, Cache::of_user()?, Device::Flex);
    let mut classifier = Classifier::new(&mut catalog, &backbone, &parameters(&param)?, &weights, &cache, on)?;
    classifier.warnings.iter().for_each(|warning| output::warning(warning));
    if let Some(share) = crop {
        classifier.set_crop(share);
    }
    classifier.set_batch_size(batch_size);
    let computed = classifier.set_precision(precision)?;
    if precision == Precision::Bf16 && computed.precision == Multiplied::F32 {
        output::warning("this processor has no unit for bf16, so the network is computed in f32");
    }
    let found = watched(|watch| evaluate(&classifier, &folder, on_corrupt, watch))?;
    tell_skipped(&found.skipped);
    if json {
        let line = json!({
            "backbone": backbone,
            "weights": classifier.origin,
            "crop": classifier.crop(),
            "arithmetic": computed,
            "images": found.images,
            "top_1": found.top_1,
            "top_5": found.top_5,
            "seconds": found.seconds,
            "skipped": skipped(&found.skipped),
        });
        output::json(&line)?;
    } else {
        out!("{}, {}", printable(&backbone), printable(&classifier.origin.to_string()))?;
        let Evaluation { images, seconds, top_1, top_5, .. } = found;
        out!("{images} photos in {seconds:.1} s, computed in {computed}: top-1 {top_1:.3}, top-5 {top_5:.3}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The photos with their classes, in every form that training takes.
fn labelled(photos: &Path, sets: &[String], part: Option<Part>) -> Result<Folder> {
    let found = if photos.is_file() {
        Gallery::found(&Config::load(photos, sets)?, &Cache::of_user()?)?
    } else {
        let file = Path::new("evaluated.toml");
        let ask = Ask { root: photos, backbone: "none", weights: "none", sets, file };
        match Gallery::found(&ask.experiment()?, &Cache::of_user()?) {
            Ok(found) if found.validation.is_some() || found.inventory.halves.is_some() => found,
            // Photos that are not divided may be of a single class.
            Ok(_) | Err(_) if sets.is_empty() => folder::classes(photos)?,
            other => other?,
        }
    };
    let Folder { train, validation, test, inventory } = found;
    let divided = validation.is_some() || test.is_some() || inventory.halves.is_some();
    let has = |it: &Option<Dataset>| it.is_some();
    let part = match part {
        Some(part) => part,
        None if has(&test) => Part::Test,
        None if has(&validation) => Part::Validation,
        None => Part::Train,
    };
    let (name, images) = match part {
        Part::Train => ("training", Some(train)),
        Part::Validation => ("validation", validation),
        Part::Test => ("test", test),
    };
    let Some(images) = images else {
        bail!("{}: there are no {name} images (--part names another part)", shown(photos))
    };
    if divided {
        note!("{} {name} images of {}", grouped(images.samples.len()), shown(photos));
    }
    Ok(Folder { train: images, validation: None, test: None, inventory })
}

/// Evaluates a trained network on labelled photos.
fn of_run(photos: Folder, together: &Together, on_corrupt: OnCorrupt, json: bool) -> Result<ExitCode> {
    let trained = together.load(|_| Ok(()))?;
    let FolderEvaluation { figures, unknown, calibrated, inventory, looked, orientation } =
        watched(|watch| match trained {
            Trained::One(predictor) => predictor.evaluate_images(photos, on_corrupt, watch),
            Trained::Several(ensemble) => ensemble.evaluate_images(photos, on_corrupt, watch),
        })?;
    let left_out = inventory::left_out(&inventory.left_out);
    if !left_out.is_empty() {
        note!("left out   {left_out}");
    }
    tell_skipped(&looked.unreadable);
    let turns =
        "this network was trained in that way; one that is trained with data.exif_orientation = \"apply\" turns them";
    inventory::of_files(&inventory, &looked, orientation, turns).iter().for_each(|warning| output::warning(warning));
    if json {
        let mut line = serde_json::to_value(&figures)?;
        if let Some(unknown) = unknown {
            line["unknown"] = serde_json::to_value(unknown)?;
        }
        if let Some(calibrated) = calibrated {
            line["calibrated"] = serde_json::to_value(calibrated)?;
        }
        line["skipped"] = skipped(&looked.unreadable);
        output::json(&line)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &figures {
        Figures::MultiClass(report) => tell_report(report)?,
        Figures::MultiLabel(report) => several::figures(report)?,
    }
    if let Some(Calibrated { temperature, loss, ece }) = calibrated {
        out!(
            "calibrated by temperature {temperature:.2}, as predict shows them: loss {loss:.4}, calibration error {ece:.4}"
        )?;
    }
    if let Some(Estimate { value, interval: [low, high], n }) = unknown {
        out!(
            "unknown: {:.1} % of {} photos are unlike all training photos (95 % interval {:.1} to {:.1} %)",
            value * 100.0,
            grouped(n),
            low * 100.0,
            high * 100.0
        )?;
    }
    match &figures {
        Figures::MultiClass(report) => tell_classes(report)?,
        Figures::MultiLabel(report) => several::classes(report)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The figures of photos that have one class each.
fn tell_report(report: &Report) -> Result<()> {
    let figure =
        |name: &str, value: Option<f64>| value.map_or_else(String::new, |value| format!(", {name} {value:.4}"));
    let accuracy = Estimate::share(count_of(report.accuracy, report.images), report.images);
    out!(
        "{} photos: accuracy {}{}{}{}, calibration error {:.4}",
        grouped(report.images),
        estimate(accuracy.value, Some(accuracy.interval), accuracy.n),
        figure("top-5", report.top_5),
        figure("loss", report.loss),
        figure("ROC AUC", report.roc_auc),
        report.ece
    )?;
    Ok(())
}

/// A line per class.
fn tell_classes(report: &Report) -> Result<()> {
    let names: Vec<String> = report.per_class.iter().map(|class| printable(&class.class).to_string()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    out!("{:width$}  {:>7}  precision  recall      F1", "class", "photos")?;
    for (name, class) in names.iter().zip(&report.per_class) {
        let photos = grouped(class.support);
        out!("{name:width$}  {photos:>7}     {:.4}  {:.4}  {:.4}", class.precision, class.recall, class.f1)?;
    }
    Ok(())
}

/// Tells which files were left out.
fn tell_skipped(skipped: &[Skipped]) {
    if !skipped.is_empty() {
        note!("skipped    {} files that are not readable images:", grouped(skipped.len()));
        inventory::files(skipped).iter().for_each(|line| note!("           {line}"));
    }
}

/// The files that were left out, as JSON.
fn skipped(skipped: &[Skipped]) -> Value {
    let file = |file: &Skipped| json!({ "path": file.origin.name(), "reason": file.reason });
    skipped.iter().map(file).collect()
}
