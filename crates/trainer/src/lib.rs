//! Training: phases, freezing, features of the frozen prefix, optimisers, checkpoints, history.
//!
//! - [`Fit`] trains a [`Model`] (a backbone with its head) through phases;
//! - [`PhasePlan`]: all that is decided about a phase before its first batch;
//! - [`Runner`] answers with a trained one, and [`Model::extract`] says what a layer puts out for each image;
//! - [`optimizer`]: Adam and others with Keras's formulas;
//! - [`callbacks`]: early stopping and falling learning rates;
//! - [`history`]: what each epoch brought, and the memory of the best;
//! - [`cache`]: features of the frozen prefix, computed once per image and kept;
//! - [`metrics`]: what a network's predictions are worth;
//! - [`Checkpoints`]: what is written after each epoch, and [`Progress`]: how a run goes on from it;
//! - [`Observer`], [`Watch`]: how progress is shown and recorded, and how a run is stopped.
//!
//! *Architecture invariant:* nothing is printed here, and no configuration file is read.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cache;
pub mod callbacks;
mod checkpoint;
mod error;
mod evaluate;
mod exact;
mod executor;
mod extract;
mod feed;
mod fit;
pub mod history;
pub mod metrics;
mod model;
mod observer;
pub mod optimizer;
mod pass;
mod phase;
pub mod plan;
mod progress;
mod runner;
mod tail;

pub use checkpoint::{Checkpoints, LastEpoch};
pub use error::TrainError;
pub use extract::Extracted;
pub use fit::{Fit, Fitted, Seconds, Settings, check_compiles, check_monitors};
pub use model::{Model, ModelCard};
pub use observer::{Event, Observer, Watch};
pub use phase::Phase;
pub use plan::{Feeding, PhasePlan};
pub use progress::{Asked, Ended, Lengthened, Progress};
pub use runner::Runner;
