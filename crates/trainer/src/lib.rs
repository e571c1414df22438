//! Training: phases, freezing, features of the frozen prefix, optimisers, checkpoints, history.
//!
//! - [`Fit`] trains a [`Model`] (a backbone with its head) through phases;
//! - [`PhasePlan`] holds all decisions about a phase before its first batch;
//! - [`Runner`] runs a trained model in inference, and [`Model::extract`] computes the output of a layer for each image;
//! - [`Extractor`] computes the same for pixels as they come, for callers that keep features elsewhere;
//! - [`Fit::run_until`] pauses between two epochs, and [`Fit::range_test`] tries learning rates;
//! - [`optimizer`] has Adam and other optimisers with Keras's formulas;
//! - [`callbacks`] stop early or reduce the learning rate;
//! - [`history`] has one record per epoch, and the best epoch;
//! - [`cache`] keeps the features of the frozen prefix, which are computed once per image;
//! - [`metrics`] judge the predictions of a network;
//! - [`Checkpoints`] are written after each epoch, and a run is resumed from the [`Progress`] in them;
//! - a [`Collective`] carries gradients between processes that train one network together;
//! - a [`Teacher`] is a trained network whose answers a training learns from as well as from the labels;
//! - [`SharedFeatures`] are those of several trainings at once;
//! - an [`Observer`] shows and records progress, and a [`Watch`] stops a run.
//!
//! *Architecture invariant:* nothing is printed here, and no configuration file is read.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod arithmetic;
mod boundary;
pub mod cache;
pub mod callbacks;
mod checkpoint;
mod collective;
mod error;
mod evaluate;
mod exact;
mod executor;
mod extract;
mod extractor;
mod feed;
mod filling;
mod fit;
mod fitted;
mod gather;
mod gathered;
pub mod history;
pub mod metrics;
mod model;
mod observer;
pub mod optimizer;
mod pass;
mod paused;
mod phase;
pub mod plan;
mod prefix;
mod progress;
mod range_test;
mod runner;
mod settings;
mod slopes;
mod statistics;
mod tail;
mod teacher;
mod wanted;

pub use arithmetic::{Arithmetics, Multiplied, Part, Said};
pub use checkpoint::{Checkpoints, LastEpoch};
pub use collective::Collective;
pub use error::{Lost, TrainError};
pub use extract::Extracted;
pub use extractor::Extractor;
pub use fit::Fit;
pub use fitted::{Fitted, Seconds};
pub use gathered::{Gathered, KeptRows, SharedFeatures};
pub use injerto_kernels::inference::Arithmetic;
pub use injerto_kernels::training::{fastest as fastest_training, gain_of_bf16 as gain_of_bf16_in_training};
pub use model::{Model, ModelCard, head_input};
pub use observer::{Event, Observer, Watch};
pub use paused::Paused;
pub use phase::Phase;
pub use plan::{Feeding, PhasePlan};
pub use progress::{Asked, Ended, Lengthened, Progress};
pub use range_test::{RangeFound, RangePoint, RangeTest, Suggested};
pub use runner::Runner;
pub use settings::{Settings, check_compiles, check_monitors};
pub use slopes::{Seen, Slopes};
pub use teacher::Teacher;
