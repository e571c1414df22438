//! Experiments: this crate prepares, trains, resumes and evaluates what a TOML file describes.
//!
//! - [`Prepared`]: an experiment whose images, plugin, weights, head, loss and phases are found and checked, before training;
//! - [`Prepared::features`]: the features of the images, about which [`injerto_insight`] answers questions;
//! - [`inspect`]: what can be found out about images before any training, and which backbone suits them;
//! - [`first`]: the first experiment on a folder, which has no experiment's file yet;
//! - [`Session`]: a new or resumed training with its [`RunFolder`];
//! - [`sweep`]: many experiments on the same images, with one set of features;
//! - [`Predictor`]: a trained network that classifies files, bytes or pixels, and says which are unlike all it was trained on;
//! - [`Extractor`]: the features of files, bytes or pixels, by a backbone or by that of a run;
//! - [`explain`]: where a network looks, as maps of an image;
//! - [`Ensemble`]: several of them that answer together;
//! - [`answer`]: the answer about an image, and its form;
//! - [`Sorter`]: puts photos into folders by a network's predictions;
//! - [`Knowledge`], [`Calibration`]: what a run keeps with its model for that;
//! - [`watch`]: a folder of photos that changes;
//! - [`advise`]: a recommended strategy for a dataset and a backbone;
//! - [`evaluate`], [`Classifier`]: a backbone with its own classifier, on photos of ImageNet's classes;
//! - `shards` (with the feature of this name): networks that answer about very many photos;
//! - [`gain`]: the gain of transfer over training from scratch.
//!
//! *Architecture invariant:* nothing is printed here. Progress is reported to the observer in [`injerto_trainer::Watch`],
//! which is borrowed for one call; all other types own their data.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod advise;
mod anchored;
pub mod answer;
mod before;
mod device;
mod ensemble;
mod environment;
mod error;
mod evaluate;
pub mod explain;
pub mod export;
mod extractor;
mod features;
pub mod first;
mod folder;
pub mod gain;
mod gallery;
#[cfg(feature = "shards")]
pub mod gathered;
mod guard;
pub mod inspect;
mod json;
mod judged;
pub mod knowledge;
mod leaks;
mod listed;
pub mod mlflow;
mod one_each;
mod phases;
mod plan;
mod predict;
mod prediction;
mod prepare;
mod prepared;
mod probe;
mod questions;
mod rates;
mod reading;
mod readme;
mod record;
mod resume;
mod run;
mod session;
#[cfg(feature = "shards")]
pub mod shards;
mod sort;
pub mod source;
mod split;
mod stop;
mod suggest;
mod summary;
pub mod sweep;
mod teach;
mod tensorboard;
mod training;
mod warnings;
pub mod watch;

pub use device::{card, device};
pub use ensemble::Ensemble;
pub use error::{ChangedKey, ExperimentError};
pub use evaluate::{Classifier, Evaluation, evaluate, imagenet_classes, labelled};
pub use extractor::{Extraction, Extractor};
pub use folder::RunFolder;
pub use gallery::Gallery;
pub use judged::Trust;
pub use knowledge::{Calibration, Knowledge, Similar};
pub use plan::{Asked, Plan, Questions, Why};
pub use predict::{Calibrated, FolderEvaluation, Predictor};
pub use prediction::{Prediction, Predictions};
pub use prepared::Prepared;
pub use reading::training_images;
pub use run::Outcome;
pub use session::Session;
pub use sort::{Sorter, Sorting};
pub use split::DataChange;
pub use suggest::{SuggestedPhoto, Suggestions};
pub use summary::{BestSummary, ImageCounts, LeakCounts, PhaseSummary, ProbeSummary, Summary, TestSummary};
pub use teach::Taught;

/// Trainings and trained networks can be sent to another thread, and one network can be used by several threads at once.
const _: () = {
    const fn can_be_handed_on<T: Send + 'static>() {}
    const fn can_be_shared<T: Send + Sync + 'static>() {}
    can_be_handed_on::<Prepared>();
    can_be_handed_on::<inspect::Survey>();
    can_be_handed_on::<Session>();
    can_be_shared::<Prepared>();
    can_be_handed_on::<Outcome>();
    can_be_handed_on::<injerto_trainer::Fit>();
    can_be_shared::<Predictor>();
    can_be_shared::<Extractor>();
    can_be_shared::<Classifier>();
    can_be_shared::<explain::Explainer>();
};
