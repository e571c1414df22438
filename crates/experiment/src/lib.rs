//! The TOML file that describes an experiment, and the run that it describes.
//!
//! - [`Prepared`]: everything found and checked: images, plugin, weights, head, loss, phases. Nothing has been trained;
//! - [`run`]: the training, in the [`RunFolder`] that it leaves, and [`Prepared::resume`]: how it goes on;
//! - [`Predictor`]: a checkpoint put to use;
//! - [`advise`]: which strategy suits a dataset and a backbone;
//! - [`evaluate`], [`Classifier`]: a backbone with its own classifier on photos of ImageNet's classes;
//! - [`gain`]: how much transfer helped, against training from scratch.
//!
//! *Architecture invariant:* nothing is printed here; who watches is told through [`injerto_trainer::Observer`].

pub mod advise;
mod environment;
mod error;
mod evaluate;
mod folder;
pub mod gain;
mod guard;
mod json;
mod phases;
mod predict;
mod prepare;
mod record;
mod resume;
mod run;
mod split;
mod tensorboard;

pub use error::ExperimentError;
pub use evaluate::{Classifier, Evaluation, evaluate, imagenet_classes, labelled};
pub use folder::RunFolder;
pub use predict::{Asked, Predictor};
pub use prepare::{Plan, Prepared, device};
pub use resume::ChangedKey;
pub use run::{BestSummary, ImageCounts, Outcome, PhaseSummary, Summary, Watch, run};
pub use split::DataChange;
