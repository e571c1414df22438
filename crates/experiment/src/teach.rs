//! The run that teaches another one: which run it is, and whether it can teach.

use std::path::{Path, PathBuf};

use injerto_backbones::weights::WeightFile;
use injerto_config::DistillConfig;
use injerto_data::{Dataset, Loader, LoaderOptions};
use injerto_files::listed;
use injerto_graph::Format;
use injerto_recipe::{Distillation, Task};
use injerto_trainer::{Checkpoints, ModelCard, Teacher, TrainError};
use serde::{Deserialize, Serialize};

use crate::reading::pixels;
use crate::{BestSummary, ExperimentError, RunFolder};

/// The teacher in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taught {
    /// Folder of the run that teaches, or its checkpoint, as the experiment names it.
    pub teacher: PathBuf,
    /// Checksum of the checkpoint; `None` for one of an old version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Name of its backbone.
    pub backbone: String,
    /// Height and width of the images that it takes.
    pub image_size: [usize; 2],
    /// Its best epoch, if its folder says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestSummary>,
    /// How much its answers count, and the temperature.
    #[serde(flatten)]
    pub distillation: Distillation,
}

/// A teacher that was found and fits the images.
#[derive(Debug, Clone)]
pub(crate) struct Teaching {
    pub taught: Taught,
    checkpoint: PathBuf,
    card: ModelCard,
}

impl Teaching {
    /// Finds the checkpoint and checks that its classes are those of `student`. Its weights are not read yet.
    pub fn find(config: &DistillConfig, student: &ModelCard) -> Result<Self, ExperimentError> {
        let DistillConfig { teacher, distillation } = config;
        let refuse = |reason: String| ExperimentError::Teacher { path: teacher.clone(), reason };
        let folder = teacher.is_dir().then_some(teacher.as_path());
        let checkpoint = folder.map_or_else(|| teacher.clone(), |folder| folder.join(Checkpoints::BEST));
        if !checkpoint.is_file() {
            let reason = "there is no checkpoint; name the folder of a finished run, or one of its checkpoints";
            return Err(refuse(reason.to_owned()));
        }
        let file = WeightFile::open_as(&checkpoint, Format::Safetensors)?;
        let card = ModelCard::of(file.metadata())
            .map_err(|reason| TrainError::Checkpoint { path: checkpoint.clone(), reason })?;
        differences(&card, student).map_or(Ok(()), |reason| Err(refuse(reason)))?;
        let name = card.backbone.as_ref().map_or_else(|| card.graph.name(), |backbone| &backbone.name).to_owned();
        let taught = Taught {
            teacher: teacher.clone(),
            checksum: file.checksum().map(str::to_owned),
            backbone: name,
            image_size: card.image_size(),
            best: folder.and_then(best),
            distillation: *distillation,
        };
        Ok(Self { taught, checkpoint, card })
    }

    /// The teacher of a training on `images`, which are read and changed with these options.
    pub fn teacher(&self, images: &Dataset, training: &LoaderOptions) -> Teacher {
        let LoaderOptions { shuffle, sampling, augment, mix, seed, on_corrupt, batch_size, .. } = training.clone();
        let own = pixels(&self.card, batch_size);
        let options = LoaderOptions { shuffle, sampling, augment, mix, seed, on_corrupt, ..own };
        Teacher {
            checkpoint: self.checkpoint.clone(),
            images: Loader::new(images.clone(), options),
            distillation: self.taught.distillation,
        }
    }
}

/// Why `teacher` cannot teach a network with this card, in words.
fn differences(teacher: &ModelCard, student: &ModelCard) -> Option<String> {
    let lacks = |card: &ModelCard, of: &ModelCard| -> Vec<String> {
        of.classes.iter().filter(|class| !card.classes.contains(class)).cloned().collect()
    };
    let (unknown, more) = (lacks(teacher, student), lacks(student, teacher));
    let named = |classes: &[String]| listed(classes.iter().map(String::as_str));
    let parts = [
        (!unknown.is_empty()).then(|| format!("it does not know {}", named(&unknown))),
        (!more.is_empty()).then(|| format!("it knows {}, which these images do not have", named(&more))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        return Some(format!("a teacher must have the same classes, but {}", parts.join(", and ")));
    }
    let words = |card: &ModelCard| match card.task() {
        Task::MultiClass => "one class",
        Task::MultiLabel => "any number of classes",
    };
    (teacher.task() != student.task())
        .then(|| format!("it gives an image {}, but these images have {}", words(teacher), words(student)))
}

/// The best epoch of a run, as its folder says it.
fn best(folder: &Path) -> Option<BestSummary> {
    RunFolder::summary_in(folder).map(|summary| summary.best)
}
