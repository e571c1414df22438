//! How a network is trained, as values: the loss, the optimiser, the schedule of its learning rate, callbacks, and monitored
//! metrics.
//!
//! - [`Loss`]: a cross-entropy, and whether a head's output fits it;
//! - [`Distillation`]: the weight of a teacher's answers in the loss;
//! - [`Task`]: one class per image, or any number of them;
//! - [`OptimizerConfig`]: an optimiser with its options;
//! - [`Schedule`]: the learning rate of each step;
//! - [`Callbacks`]: early stopping, and reduction of the learning rate on a plateau;
//! - [`Metric`], [`Mode`]: a metric of an epoch, and which direction is better;
//! - [`BatchNorm`], [`FeaturePrecision`]: the treatment of running statistics, and the number format of stored features.
//!
//! The defaults of each type are Keras's (those of one-cycle, PyTorch's), and each type says how it is written in JSON and TOML.
//!
//! *Architecture invariant:* nothing is computed on tensors here, and there is no Burn, so that code that reads or shows an experiment
//! compiles in seconds. A default is defined on its type and nowhere else.

mod agreement;
mod callbacks;
mod distillation;
mod loss;
mod metric;
mod optimizer;
mod phase;
mod schedule;
mod task;

pub use agreement::Mismatch;
pub use callbacks::{Callbacks, EarlyStopping, ReduceOnPlateau};
pub use distillation::Distillation;
pub use loss::{Focus, Loss, LossName};
pub use metric::{Metric, Mode};
pub use optimizer::{Adam, Clip, OptimizerConfig, RmsProp, Rule, Sgd};
pub use phase::{BatchNorm, FeaturePrecision, Swa};
pub use schedule::{Anneal, Curve, Length, OneCycle, Schedule, StepCount, StepSize};
pub use task::Task;
