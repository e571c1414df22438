//! The TOML file that describes an experiment, and the run that it describes.
//!
//! - [`Prepared`]: everything found and checked: images, plugin, weights, head, loss, phases. Nothing has been trained;
//! - [`Session`]: a training, new or one that goes on, with the [`RunFolder`] that it leaves;
//! - [`Predictor`]: a trained network put to use, on files, bytes or pixels;
//! - [`advise`]: which strategy suits a dataset and a backbone;
//! - [`evaluate`], [`Classifier`]: a backbone with its own classifier on photos of ImageNet's classes;
//! - [`gain`]: how much transfer helped, against training from scratch.
//!
//! *Architecture invariant:* nothing is printed here; who watches is told through [`injerto_trainer::Watch`], which is
//! borrowed for one call. All else is owned.

#![warn(clippy::print_stdout, clippy::print_stderr)]

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
mod session;
mod split;
mod tensorboard;

pub use error::ExperimentError;
pub use evaluate::{Classifier, Evaluation, evaluate, imagenet_classes, labelled};
pub use folder::RunFolder;
pub use predict::{FolderEvaluation, Prediction, Predictions, Predictor};
pub use prepare::{Plan, Prepared, device};
pub use resume::ChangedKey;
pub use run::{BestSummary, ImageCounts, Outcome, PhaseSummary, Summary};
pub use session::Session;
pub use split::DataChange;

/// Whoever holds a training or a trained network can hand it to another thread, and ask one network from several at once.
const _: () = {
    const fn can_be_handed_on<T: Send + 'static>() {}
    const fn can_be_shared<T: Send + Sync + 'static>() {}
    can_be_handed_on::<Prepared>();
    can_be_handed_on::<Session>();
    can_be_handed_on::<Outcome>();
    can_be_handed_on::<injerto_trainer::Fit>();
    can_be_shared::<Predictor>();
    can_be_shared::<Classifier>();
};
