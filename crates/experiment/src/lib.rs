//! Experiments: this crate prepares, trains, resumes and evaluates what a TOML file describes.
//!
//! - [`Prepared`]: an experiment whose images, plugin, weights, head, loss and phases are found and checked, before training;
//! - [`Prepared::features`]: the features of the images, about which [`injerto_insight`] answers questions;
//! - [`Session`]: a new or resumed training with its [`RunFolder`];
//! - [`Predictor`]: a trained network that classifies files, bytes or pixels;
//! - [`advise`]: a recommended strategy for a dataset and a backbone;
//! - [`evaluate`], [`Classifier`]: a backbone with its own classifier, on photos of ImageNet's classes;
//! - [`gain`]: the gain of transfer over training from scratch.
//!
//! *Architecture invariant:* nothing is printed here. Progress is reported to the observer in [`injerto_trainer::Watch`],
//! which is borrowed for one call; all other types own their data.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod advise;
mod environment;
mod error;
mod evaluate;
pub mod export;
mod features;
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

/// Trainings and trained networks can be sent to another thread, and one network can be used by several threads at once.
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
