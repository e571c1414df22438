//! Networks that answer about the photos of a shard: a backbone with its features, or a trained network with its predictions.

use std::fs::File;
use std::path::Path;

use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_data::{DataError, SEPARATOR};
use injerto_files::hex;
use injerto_recipe::FeaturePrecision;
use injerto_shards::{About, Answer, Kind, Network, Photos, Precision, Problem};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::answer::Verdict;
use crate::extractor::Seeing;
use crate::{Calibration, ExperimentError, Knowledge, Prediction, Predictor};

/// What a head learns from: the output of the layer that [`ModelCard::head_input`](injerto_trainer::ModelCard::head_input) names, of a
/// backbone or of a trained network. The numbers are, bit for bit, those that a training keeps.
pub struct FeatureNetwork {
    seeing: Seeing,
    about: About,
    /// Source of the weights, in words.
    pub origin: String,
    /// Warnings about what is allowed but probably not intended.
    pub warnings: Vec<String>,
}

impl FeatureNetwork {
    /// The backbone of an experiment. Of `config`, only the backbone, the reading of images, the head's pooling, `cache.precision` and the
    /// device are used; no images are needed.
    ///
    /// # Errors
    /// [`ExperimentError`] if the backbone or its weights cannot be found or do not fit.
    pub fn of_backbone(config: Config, catalog: &mut Catalog, cache: &Cache) -> Result<Self, ExperimentError> {
        Ok(Self::of(Seeing::of_backbone(config, catalog, cache)?))
    }

    /// The network of a checkpoint, whose layers may have been fine-tuned, on the device `on`.
    ///
    /// # Errors
    /// [`ExperimentError`] if the file is not a checkpoint, or if the device is not available.
    pub fn of_checkpoint(
        checkpoint: &Path,
        precision: FeaturePrecision,
        on: injerto_config::Device,
    ) -> Result<Self, ExperimentError> {
        Ok(Self::of(Seeing::of_checkpoint(checkpoint, precision, on)?))
    }

    fn of(mut seeing: Seeing) -> Self {
        let card = &seeing.card;
        let name = card.backbone.as_ref().map_or_else(|| card.graph.name().to_owned(), |it| it.name.clone());
        let kind = Kind::Features {
            layer: card.graph.nodes()[card.head_input()].name().to_owned(),
            width: seeing.width(),
            precision: match seeing.extractor.precision() {
                FeaturePrecision::F16 => Precision::F16,
                // Tables have no such numbers; single precision holds each of them exactly.
                FeaturePrecision::BF16 | FeaturePrecision::F32 => Precision::F32,
            },
        };
        let image_size = Some(card.image_size());
        let about = About { name, model: seeing.extractor.space().to_owned(), image_size, kind };
        let (origin, warnings) = (std::mem::take(&mut seeing.origin), std::mem::take(&mut seeing.warnings));
        Self { seeing, about, origin, warnings }
    }
}

/// What is wrong with a photo, without the name that its row has already.
fn unreadable(error: &DataError) -> Problem {
    Problem::Photo(match error {
        DataError::Corrupt { reason, .. } => reason.clone(),
        other => other.to_string(),
    })
}

impl Network for FeatureNetwork {
    fn about(&self) -> About {
        self.about.clone()
    }

    fn answers(&self, photos: Photos) -> Box<dyn Iterator<Item = Result<Answer, Problem>> + '_> {
        Box::new(self.seeing.see(photos).map(|row| match row {
            Ok(Ok(features)) => Ok(Answer { features, ..Answer::default() }),
            Ok(Err(ExperimentError::Data(error))) => Err(unreadable(&error)),
            Ok(Err(error)) => Err(Problem::Photo(error.to_string())),
            Err(error) => Err(Problem::End(Box::new(error))),
        }))
    }
}

/// A trained network that says which classes photos have.
pub struct PredictionNetwork<'p> {
    predictor: &'p Predictor,
    threshold: Option<f32>,
    about: About,
}

impl<'p> PredictionNetwork<'p> {
    /// The network of `checkpoint`, which `predictor` has loaded. An answer that is less probable than `threshold` is unsure. `options` has
    /// all settings of the caller, as text, so that answers with other options count as those of another network.
    ///
    /// # Errors
    /// [`ExperimentError::Io`] if the checkpoint cannot be read again.
    pub fn new(
        predictor: &'p Predictor,
        checkpoint: &Path,
        threshold: Option<f32>,
        options: &str,
    ) -> Result<Self, ExperimentError> {
        let mut hash = Sha256::new_with_prefix(json!(["predictions", threshold, options]).to_string());
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| ExperimentError::Io { path, source }
        };
        // What the run knows of its images decides which photos are unknown, and how probabilities are calibrated.
        let beside = [Knowledge::FILE, Calibration::FILE].map(|file| checkpoint.with_file_name(file));
        let beside = beside.iter().map(std::path::PathBuf::as_path).filter(|file| file.is_file());
        for path in std::iter::once(checkpoint).chain(beside) {
            let mut file = File::open(path).map_err(io(path))?;
            let mut own = Sha256::new();
            std::io::copy(&mut file, &mut Hashing(&mut own)).map_err(io(path))?;
            hash.update(own.finalize());
        }
        let card = predictor.card();
        let name = card.backbone.as_ref().map_or_else(|| card.graph.name().to_owned(), |it| it.name.clone());
        let kind = Kind::Predictions { classes: predictor.classes().to_vec() };
        Ok(Self {
            predictor,
            threshold,
            about: About { name, model: hex(hash.finalize()), image_size: Some(card.image_size()), kind },
        })
    }

    fn answer(&self, answer: Result<Prediction, ExperimentError>) -> Result<Answer, Problem> {
        match answer {
            Ok(prediction) => {
                let verdict = Verdict::of(&prediction, self.threshold);
                let names = match prediction.chosen() {
                    Some(chosen) => {
                        let names: Vec<&str> = chosen.into_iter().map(|at| prediction.classes()[at].as_str()).collect();
                        names.join(SEPARATOR)
                    }
                    None => prediction.ranked().next().map_or(String::new(), |(class, _)| class.to_owned()),
                };
                Ok(Answer {
                    prediction: Some(names),
                    status: Some(verdict.name()),
                    probabilities: prediction.probabilities().to_vec(),
                    features: Vec::new(),
                })
            }
            Err(ExperimentError::Data(error @ DataError::Corrupt { .. })) => Err(unreadable(&error)),
            Err(error @ ExperimentError::NoAnswer) => Err(Problem::Photo(error.to_string())),
            Err(error) => Err(Problem::End(Box::new(error))),
        }
    }
}

struct Hashing<'h>(&'h mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Network for PredictionNetwork<'_> {
    fn about(&self) -> About {
        self.about.clone()
    }

    fn answers(&self, photos: Photos) -> Box<dyn Iterator<Item = Result<Answer, Problem>> + '_> {
        Box::new(self.predictor.predict(photos).map(|answer| self.answer(answer)))
    }
}
