//! `injerto export`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use injerto_backbones::weights::Precision;
use injerto_config::Device;
use injerto_experiment::mlflow::to_mlflow;
use injerto_experiment::{Knowledge, device, export};
use injerto_files::{shell_word, shown, to_text};
use injerto_trainer::{Checkpoints, Model};
use serde_json::{Value, json};

use crate::output::out;

/// What `injerto export` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto export runs/cats-20260101-120000 cats.safetensors --precision f16
  injerto export runs/shapes-20260101-120000 shapes.safetensors --backbone
  injerto export runs/cats-20260101-120000 cats.onnx
  injerto export runs/cats-20260101-120000 --mlflow mlruns

The first is a model that `injerto predict --run cats.safetensors` takes; the second holds weights for the next \
experiment: backbone.weights = \"shapes.safetensors\". The third is for other programs: it takes `image`, float32 \
[batch, height, width, 3], RGB from 0 to 255, already resized, and gives `probabilities`, float32 [batch, classes], in the \
order of the metadata `classes`. With --precision f16 it holds kernels of 16 bits and computes with 32.")]
pub struct Arguments {
    /// A run's folder (its best checkpoint is taken) or a checkpoint
    run: PathBuf,
    /// The file to write: FILE.safetensors, with tensors named LAYER/PARAMETER in Keras's axes, or FILE.onnx
    #[arg(required_unless_present = "mlflow")]
    file: Option<PathBuf>,
    /// Write a finished run into this file store of MLflow: parameters, metrics by epoch, tags, report and best checkpoint
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["file", "backbone", "precision"])]
    mlflow: Option<PathBuf>,
    /// Leave the head out
    #[arg(long)]
    backbone: bool,
    /// Number type of the file
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    precision: Numbers,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Numbers {
    F32,
    F16,
}

impl Numbers {
    fn of_weights(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::F16 => Precision::F16,
        }
    }

    fn of_onnx(self) -> injerto_onnx::Precision {
        match self {
            Self::F32 => injerto_onnx::Precision::F32,
            Self::F16 => injerto_onnx::Precision::F16,
        }
    }
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { run, file, mlflow, backbone, precision, json } = arguments;
    if let Some(store) = mlflow {
        let written = to_mlflow(&run, &store)?;
        out!("{}\nlook at it  mlflow ui --backend-store-uri {}", shown(&written), shell_word(&store))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(file) = file else { bail!("name the file to write") };
    let ending = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_onnx = match ending {
        "safetensors" => false,
        "onnx" if backbone => bail!("{}: an ONNX model is a whole classifier; leave --backbone out", shown(&file)),
        "onnx" => true,
        _ => bail!("{}: expected a name that ends in .safetensors or .onnx", shown(&file)),
    };
    if is_of_a_run(&file) {
        bail!("{}: a run keeps its own weights there, and needs them; name another file", shown(&file));
    }
    let checkpoint = if run.is_dir() { run.join(Checkpoints::BEST) } else { run };
    let model = Model::load(&checkpoint, &device(Device::Flex)?)?;
    if is_onnx {
        export::to_onnx(&model, &file, precision.of_onnx())?;
        let [height, width] = model.card.graph.image_size()?;
        if json {
            let values = model.card.graph.parameter_count();
            out!(
                "{}",
                written(&file, values, &json!({ "image_size": [height, width], "classes": model.card.classes }))
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        out!(
            "{} values in {}\ninput image: float32 [batch, {height}, {width}, 3], RGB from 0 to 255, resized before\noutput \
             probabilities: float32 [batch, {}]",
            model.card.graph.parameter_count(),
            shown(&file),
            model.card.classes.len(),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let precision = precision.of_weights();
    let count = if backbone {
        let card = model.card.backbone_card()?;
        let weights = model.network.weights().restricted_to(&card.graph);
        weights.save(&file, &card.metadata(), precision)?;
        weights.count()
    } else {
        model.save(&file, precision)?;
        model.card.graph.parameter_count()
    };
    match json {
        true => out!("{}", written(&file, count, &json!({ "backbone": backbone, "classes": model.card.classes })))?,
        false => out!("{count} values in {}", shown(&file))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a file is one of those in a run's folder from which the run is predicted with and resumed.
fn is_of_a_run(file: &Path) -> bool {
    let folder = file.parent().unwrap_or(Path::new(""));
    let own = [Checkpoints::BEST, Checkpoints::LAST, Knowledge::FILE];
    own.iter().any(|name| file.file_name() == Some(name.as_ref())) && folder.join("experiment.toml").is_file()
}

/// What was written, as JSON.
fn written(file: &Path, values: usize, more: &Value) -> Value {
    let mut line = json!({ "file": to_text(file.as_os_str()), "values": values });
    more.as_object().into_iter().flatten().for_each(|(key, value)| line[key] = value.clone());
    line
}
