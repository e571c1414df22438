//! `injerto features`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_experiment::advise::Ask;
use injerto_experiment::shards::FeatureNetwork;
use injerto_recipe::FeaturePrecision;
use injerto_shards::Place;

use crate::output::{self, note};
use crate::shards::{self, Sharing};
use crate::{Common, predict};

/// What `injerto features` takes.
#[derive(Args)]
#[command(after_help = "\
Each photo passes through the frozen backbone once. The features that a head would learn
from are written into one Parquet file per shard: key, path, sha256, label, features,
error. They are those that a training keeps, bit for bit, whatever the number of shards.

Input: folders, images, lists (.csv, .tsv, .jsonl, .txt), WebDataset archives (.tar)
and Parquet tables with a column of bytes or paths. All of them, and the output, may lie
in an S3 store (s3://BUCKET/PREFIX), with the keys in AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, the region in AWS_REGION, and AWS_ENDPOINT_URL for other stores
than AWS.

--shard I/N computes part I of N, counted from 0. Without it, an array of SLURM
(SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT) or a Kubernetes Indexed Job
(JOB_COMPLETION_INDEX, and INJERTO_SHARDS for N) says which part this is; if neither
does, all photos are one part. The part of a photo follows from its key: the first 8
bytes of the key's SHA-256, modulo N. Archives and tables are dealt whole, one by one
in the order of their names, unless there are fewer than N.

A part is skipped if its file exists, with the same network and the same photos. A
photo that cannot be read is a row with its error, and the exit code is 0.

Examples:

  injerto features mobilenet_v2 photos --out features
  injerto features mobilenet_v2 photos --set data.image_size=[160,160] --shard 3/8 --out features
  injerto features runs/cats-20260101-120000 shards/*.tar --shard 0/100 --out features
  injerto features mobilenet_v2 s3://photos/2026 --shard 3/8 --out s3://results/features
  injerto gather features")]
pub struct Arguments {
    /// A backbone's name, a run's folder, or a checkpoint
    #[arg(value_name = "MODEL", value_parser = crate::text())]
    model: String,
    /// Folders, images, lists, .tar archives and .parquet tables; also file:///FOLDER and s3://BUCKET/PREFIX
    #[arg(required = true, value_name = "INPUT")]
    input: Vec<PathBuf>,
    #[command(flatten)]
    sharing: Sharing,
    /// Folder for the files of the shards, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// A key of an experiment that says how photos are read and what the backbone is, such as `data.image_size=[160,160]`,
    /// `backbone.weights=imagenet`, `backbone.parameters.alpha=0.5`, `backbone.last_layer=NAME` or `cache.precision=f32` (may be given
    /// several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    let Arguments { model, input, sharing, out, set } = arguments;
    let out = Place::parse(out.as_os_str())?;
    let share = sharing.share(input)?;
    let network = network(model, set, common)?;
    network.warnings.iter().for_each(|warning| output::warning(warning));
    note!("weights    {}", network.origin);
    shards::compute(share, &network, &out)
}

/// The network of a run or a checkpoint, or the backbone of this name.
fn network(model: &str, set: &[String], common: &Common) -> Result<FeatureNetwork> {
    let path = injerto_files::from_text(model);
    if model.contains("://") && !path.exists() {
        let model = injerto_files::printable(model);
        bail!("{model}: a network is read from this machine; copy its folder, or its checkpoint, here first");
    }
    if !path.is_dir() && path.extension().is_none_or(|ending| ending != "safetensors") {
        let (mut catalog, cache) = (common.catalog()?, Cache::of_user()?);
        let file = Path::new("features.toml");
        let config =
            Ask { root: Path::new("."), backbone: model, weights: "imagenet", sets: set, file }.experiment()?;
        return Ok(FeatureNetwork::of_backbone(config, &mut catalog, &cache)?);
    }
    // How a trained network reads photos cannot be changed.
    let settled = |set: &&String| !["cache.precision", "device"].iter().any(|key| set.trim_start().starts_with(key));
    if let Some(set) = set.iter().find(settled) {
        bail!(
            "--set {}: a trained network brings its backbone and the size of its photos with it; only cache.precision and \
             device can be set",
            injerto_files::printable(set)
        );
    }
    let checkpoint = predict::checkpoint(Some(&path))?;
    let file = path.join("experiment.toml");
    let (precision, on) = match file.is_file() {
        true => {
            let config = Config::load(&file, set)?;
            (config.cache.precision, config.device)
        }
        false if set.is_empty() => (FeaturePrecision::default(), injerto_config::Device::Flex),
        false => bail!("--set needs the run's folder, where experiment.toml lies beside the checkpoint"),
    };
    Ok(FeatureNetwork::of_checkpoint(&checkpoint, precision, on)?)
}
