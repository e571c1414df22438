//! The TOML file that describes an experiment, and the run that it describes.
//!
//! - [`config`]: the schema, its diagnostics, `--set`, and the resolved file;
//! - [`Prepared`]: everything found and checked: images, plugin, weights, head, loss, phases. Nothing has been trained;
//! - [`run`]: the training, and the folder that it leaves;
//! - [`Predictor`]: a checkpoint put to use;
//! - [`advise`]: which strategy suits a dataset and a backbone;
//! - [`evaluate`], [`Classifier`]: a backbone with its own classifier on photos of ImageNet's classes;
//! - [`gain`]: how much transfer helped, against training from scratch.
//!
//! *Architecture invariant:* nothing is printed here; who watches is told through [`injerto_trainer::Observer`].

pub mod advise;
pub mod config;
mod environment;
mod error;
mod evaluate;
pub mod gain;
mod guard;
mod json;
mod phases;
mod predict;
mod prepare;
mod record;
mod run;
mod tensorboard;

pub use error::ExperimentError;
pub use evaluate::{Classifier, Evaluation, evaluate, imagenet_classes, labelled};
pub use predict::Predictor;
pub use prepare::{Prepared, device};
pub use run::{BestSummary, ImageCounts, Outcome, PhaseSummary, RunFolder, Summary, Watch, run};
