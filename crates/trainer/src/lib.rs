//! Training: phases, freezing, features of the frozen prefix, optimisers, checkpoints, history.
//!
//! - [`Fit`] trains a [`Model`] (a backbone with its head) through [`Phase`]s;
//! - [`optimizer`]: Adam and others with Keras's formulas;
//! - [`history`]: what each epoch brought, and the memory of the best;
//! - [`cache`]: features of the frozen prefix, computed once an image and kept;
//! - [`Checkpoints`]: what is written after each epoch, and how a run goes on;
//! - [`Observer`]: how progress is shown and recorded.
//!
//! *Architecture invariant:* nothing is printed here, and no configuration file is read.

pub mod cache;
mod checkpoint;
mod error;
mod fit;
pub mod history;
pub mod metrics;
mod model;
mod observer;
pub mod optimizer;

pub use checkpoint::{Checkpoints, Progress};
pub use error::TrainError;
pub use fit::{BatchNorm, Fit, Fitted, Phase, Seconds, Settings};
pub use model::{Model, ModelCard};
pub use observer::{Event, Observer};
